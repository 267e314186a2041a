//! RabbitMQ through lapin, under a supervisor of our own.
//!
//! Owns the connection: one task connects, declares what was ever declared, offers the connection to
//! publishers and consumers, and on any error drops everything, waits and starts over. lapin's own recovery
//! stays off: it reopens some things and not others, and a dead channel must stay dead, because that is what
//! fences a consumer that lost its queue.
//!
//! What must stay true: nothing is ever requeued by a negative acknowledgement (that would reorder a quorum
//! queue); every wait on the broker has an end; a publish whose confirm is missing is reported as unknown.

pub(crate) mod change;
mod channel;
mod convert;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{Stream, StreamExt as _};
use lapin::options::{
    ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, Event};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::channel::RabbitConsumer;
use super::{
    Broker, BrokerError, BrokerKind, BrokerState, Consumer, ExchangeKind, GoOn, Message,
    QueueOptions, Topology,
};
use crate::backoff::Backoff;
use crate::metrics;

/// Longest wait for a connection, from the first packet to the open virtual host.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Longest wait of a publish, declare or consume for a connection that stands.
const LINK_MAX: Duration = Duration::from_secs(10);
/// Longest wait for an answer to a declare, consume or close.
pub(super) const REPLY_MAX: Duration = Duration::from_secs(10);
/// Seconds between heartbeats; the broker drops a silent connection after at most twice that. The usual 60 would let a
/// paused leader block a failover for two minutes.
const HEARTBEAT_SECONDS: u16 = 5;
/// After this silence of a process the broker has certainly dropped its connections: two heartbeats and a margin.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(2 * HEARTBEAT_SECONDS as u64 + 2);
/// First and longest wait between two tries to connect.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How often the connection is looked at besides listening to its events.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A supervised connection to one virtual host.
pub struct RabbitBroker {
    shared: Arc<Shared>,
}

struct Shared {
    uri: AMQPUri,
    /// The URL without the password.
    place: String,
    link: watch::Sender<Link>,
    /// Everything declared so far, said again after each reconnect.
    topology: Mutex<Topology>,
    /// The channel that `publish` uses; dropped after any error on it.
    publisher: tokio::sync::Mutex<Option<Channel>>,
    /// The channel of publishes that must be routed, one call at a time: what is returned on it belongs to that call.
    returning: tokio::sync::Mutex<Option<Channel>>,
    end: CancellationToken,
}

#[derive(Clone)]
enum Link {
    Up(Arc<Connection>),
    Blocked(Arc<Connection>, String),
    Down(String),
}

impl RabbitBroker {
    /// Connects once, so that a wrong URL fails here, and then keeps connected.
    ///
    /// # Errors
    /// [`BrokerError::Url`] or [`BrokerError::Unreachable`].
    pub async fn connect(url: &str) -> Result<Self, BrokerError> {
        let mut uri: AMQPUri = url.parse().map_err(|reason| BrokerError::Url { reason })?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        let place = format!("{}:{}/{}", uri.authority.host, uri.authority.port, uri.vhost);
        let shared = Arc::new(Shared {
            uri,
            place,
            link: watch::Sender::new(Link::Down("never connected".to_owned())),
            topology: Mutex::default(),
            publisher: tokio::sync::Mutex::default(),
            returning: tokio::sync::Mutex::default(),
            end: CancellationToken::new(),
        });
        let first = shared.open().await?;
        tokio::spawn(supervise(Arc::clone(&shared), first));
        Ok(Self { shared })
    }

    async fn channel(&self) -> Result<(Arc<Connection>, Channel), BrokerError> {
        let connection = self.shared.connection().await?;
        let opening = timeout(REPLY_MAX, connection.create_channel()).await;
        let channel = self.shared.reached(opening)?;
        Ok((connection, channel))
    }

    /// The channel that is kept in `slot`, or a new one.
    async fn publisher(&self, slot: &mut Option<Channel>) -> Result<Channel, BrokerError> {
        if let Some(channel) = slot.as_ref().filter(|channel| channel.status().connected()) {
            return Ok(channel.clone());
        }
        let (_connection, channel) = self.channel().await?;
        let selecting = timeout(REPLY_MAX, channel.confirm_select(ConfirmSelectOptions::default()));
        self.shared.reached(selecting.await)?;
        *slot = Some(channel.clone());
        Ok(channel)
    }

    async fn publish_returning(
        &self,
        messages: &[Message],
        go_on: GoOn<'_>,
    ) -> Result<(), BrokerError> {
        let mut slot = self.shared.returning.lock().await;
        let channel = self.publisher(&mut slot).await?;
        let result = channel::publish_confirmed(&channel, messages, go_on).await;
        if !matches!(result, Ok(()) | Err(BrokerError::Unroutable { .. })) {
            *slot = None;
        }
        result
    }

    /// Says that the broker takes nothing, where that is why a confirm stays away.
    fn or_blocked(&self, error: BrokerError) -> BrokerError {
        match (self.state(), error) {
            (BrokerState::Blocked { reason }, BrokerError::Unconfirmed { .. }) => {
                BrokerError::Blocked { reason }
            }
            (_, error) => error,
        }
    }
}

impl Drop for RabbitBroker {
    fn drop(&mut self) {
        self.shared.end.cancel();
    }
}

impl Shared {
    /// Connects and says all declarations again.
    async fn open(&self) -> Result<Arc<Connection>, BrokerError> {
        let properties = ConnectionProperties::default().with_connection_name("banyan".into());
        let connecting = Connection::connect_uri(self.uri.clone(), properties);
        let connection = self.reached(timeout(CONNECT_MAX, connecting).await)?;
        let topology = self.topology.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let channel = self.reached(timeout(REPLY_MAX, connection.create_channel()).await)?;
        declare_on(&channel, &topology).await?;
        metrics::connected(BrokerKind::RabbitMq);
        Ok(Arc::new(connection))
    }

    /// The connection, waiting for the supervisor if there is none right now.
    async fn connection(&self) -> Result<Arc<Connection>, BrokerError> {
        let mut link = self.link.subscribe();
        let up = |link: &Link| matches!(link, Link::Up(_) | Link::Blocked(..));
        let waiting = timeout(LINK_MAX, link.wait_for(up));
        let found = tokio::select! {
            () = self.end.cancelled() => return Err(BrokerError::Closed),
            found = waiting => found,
        };
        match found.map(|link| link.map(|link| link.clone())) {
            Ok(Ok(Link::Up(connection) | Link::Blocked(connection, _))) => Ok(connection),
            Ok(Ok(Link::Down(reason))) => Err(self.unreachable(reason)),
            Ok(Err(_)) => Err(BrokerError::Closed),
            Err(_elapsed) => Err(self.unreachable(self.reason())),
        }
    }

    fn reason(&self) -> String {
        match &*self.link.borrow() {
            Link::Up(_) => "connected just now".to_owned(),
            Link::Blocked(_, reason) | Link::Down(reason) => reason.clone(),
        }
    }

    fn unreachable(&self, reason: String) -> BrokerError {
        BrokerError::Unreachable { place: self.place.clone(), reason }
    }

    fn reached<T>(
        &self,
        outcome: Result<Result<T, lapin::Error>, tokio::time::error::Elapsed>,
    ) -> Result<T, BrokerError> {
        match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.unreachable(error.to_string())),
            Err(_elapsed) => Err(self.unreachable("no answer in time".to_owned())),
        }
    }
}

/// Offers the connection while it stands; then drops it, waits and makes a new one, until the end.
async fn supervise(shared: Arc<Shared>, first: Arc<Connection>) {
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    let mut opened: Result<_, BrokerError> = Ok(first);
    loop {
        let reason = match opened {
            Ok(connection) => {
                backoff.reset();
                let reason = attend(&shared, &connection).await;
                metrics::disconnected(BrokerKind::RabbitMq);
                reason
            }
            Err(error) => error.to_string(),
        };
        shared.link.send_replace(Link::Down(reason.clone()));
        *shared.publisher.lock().await = None;
        if shared.end.is_cancelled() {
            return;
        }
        tracing::warn!(broker = %shared.place, reason, "broker connection down, trying again");
        let wait = backoff.wait();
        tokio::select! {
            () = shared.end.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        opened = shared.open().await;
    }
}

/// Publishes the state of one connection until it is gone; answers why it went.
async fn attend(shared: &Shared, connection: &Arc<Connection>) -> String {
    let mut events = std::pin::pin!(connection.events_listener());
    shared.link.send_replace(Link::Up(Arc::clone(connection)));
    loop {
        let event = tokio::select! {
            () = shared.end.cancelled() => {
                let closing = connection.close(200, "banyan is done".into());
                drop(timeout(REPLY_MAX, closing).await);
                return "closed".to_owned();
            }
            event = next_event(&mut events) => event,
        };
        match event {
            Some(Event::ConnectionBlocked(reason)) => {
                tracing::warn!(broker = %shared.place, reason, "the broker takes no publishes");
                shared.link.send_replace(Link::Blocked(Arc::clone(connection), reason));
            }
            Some(Event::ConnectionUnblocked) => {
                shared.link.send_replace(Link::Up(Arc::clone(connection)));
            }
            Some(Event::Error(error)) if !connection.status().connected() => {
                return error.to_string();
            }
            _ if !connection.status().connected() => return "connection lost".to_owned(),
            _ => {}
        }
    }
}

/// The next event, or `None` when it is time to look at the connection itself.
async fn next_event(events: &mut (impl Stream<Item = Event> + Unpin)) -> Option<Event> {
    match timeout(LOOK_EVERY, events.next()).await {
        Ok(Some(event)) => Some(event),
        Ok(None) => {
            tokio::time::sleep(LOOK_EVERY).await;
            None
        }
        Err(_elapsed) => None,
    }
}

async fn declare_on(channel: &Channel, topology: &Topology) -> Result<(), BrokerError> {
    for (name, kind) in &topology.exchanges {
        let kind = match kind {
            ExchangeKind::Topic => lapin::ExchangeKind::Topic,
            ExchangeKind::Fanout => lapin::ExchangeKind::Fanout,
            ExchangeKind::Direct => lapin::ExchangeKind::Direct,
        };
        let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let declaring =
            channel.exchange_declare(short(name)?, kind, options, FieldTable::default());
        declared(name, timeout(REPLY_MAX, declaring).await)?;
    }
    for (name, options) in &topology.queues {
        let arguments = queue_arguments(options);
        let declaring =
            channel.queue_declare(short(name)?, QueueDeclareOptions::durable(), arguments);
        declared(name, timeout(REPLY_MAX, declaring).await)?;
    }
    for binding in &topology.bindings {
        let (queue, exchange) = (short(&binding.queue)?, short(&binding.exchange)?);
        let (pattern, options) = (short(&binding.pattern)?, QueueBindOptions::default());
        let binding_now =
            channel.queue_bind(queue, exchange, pattern, options, FieldTable::default());
        declared(&binding.queue, timeout(REPLY_MAX, binding_now).await)?;
    }
    Ok(())
}

fn queue_arguments(options: &QueueOptions) -> FieldTable {
    let mut arguments = FieldTable::default();
    let kind = if options.quorum { "quorum" } else { "classic" };
    arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
    if options.single_active_consumer {
        arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    }
    if let Some(length_max) = options.max_length {
        arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(i64::from(length_max)));
        let overflow = if options.drops_oldest { "drop-head" } else { "reject-publish" };
        arguments.insert("x-overflow".into(), AMQPValue::LongString(overflow.into()));
    }
    arguments
}

fn declared<T>(
    name: &str,
    outcome: Result<Result<T, lapin::Error>, tokio::time::error::Elapsed>,
) -> Result<T, BrokerError> {
    let error = match outcome {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error,
        Err(_elapsed) => {
            let reason = format!("no answer in time about `{name}`");
            return Err(BrokerError::Refused { reason });
        }
    };
    let reason = error.to_string();
    let name = name.to_owned();
    Err(match convert::reply_code(&error) {
        Some(406) => BrokerError::TopologyConflict { name, reason },
        Some(404) if reason.contains("no exchange") => BrokerError::NoExchange { exchange: name },
        Some(404) => BrokerError::NoQueue { queue: name },
        Some(_) | None => BrokerError::Refused { reason },
    })
}

fn short(text: &str) -> Result<ShortString, BrokerError> {
    ShortString::try_new(text)
        .map_err(|error| BrokerError::InvalidMessage { reason: error.to_string() })
}

#[async_trait]
impl Broker for RabbitBroker {
    fn kind(&self) -> BrokerKind {
        BrokerKind::RabbitMq
    }

    fn state(&self) -> BrokerState {
        match &*self.shared.link.borrow() {
            Link::Up(_) => BrokerState::Connected,
            Link::Blocked(_, reason) => BrokerState::Blocked { reason: reason.clone() },
            Link::Down(reason) => BrokerState::Disconnected { reason: reason.clone() },
        }
    }

    async fn declare(&self, topology: &Topology) -> Result<(), BrokerError> {
        let (_connection, channel) = self.channel().await?;
        declare_on(&channel, topology).await?;
        self.shared.topology.lock().unwrap_or_else(PoisonError::into_inner).merge(topology);
        Ok(())
    }

    async fn publish_while(
        &self,
        messages: Vec<Message>,
        go_on: GoOn<'_>,
    ) -> Result<(), BrokerError> {
        messages.iter().try_for_each(Message::validate)?;
        if messages.iter().any(|message| message.is_mandatory) {
            let result = self.publish_returning(&messages, go_on).await;
            return result.map_err(|error| self.or_blocked(error));
        }
        let channel = self.publisher(&mut *self.shared.publisher.lock().await).await?;
        let result = channel::publish_confirmed(&channel, &messages, go_on).await;
        if result.is_err() {
            // The channel may be half dead; other publishers on it get errors of their own.
            *self.shared.publisher.lock().await = None;
        }
        result.map_err(|error| self.or_blocked(error))
    }

    async fn consume(&self, queue: &str, prefetch: u16) -> Result<Box<dyn Consumer>, BrokerError> {
        let (connection, channel) = self.channel().await?;
        let consumer = RabbitConsumer::start(connection, channel, queue, prefetch.max(1)).await?;
        Ok(Box::new(consumer))
    }

    async fn depth(&self, queue: &str) -> Result<u64, BrokerError> {
        let (_connection, channel) = self.channel().await?;
        let asking = channel.queue_declare(
            short(queue)?,
            QueueDeclareOptions::durable().passive(),
            FieldTable::default(),
        );
        let found = declared(queue, timeout(REPLY_MAX, asking).await)?;
        Ok(u64::from(found.message_count()))
    }

    async fn close(&self) {
        self.shared.end.cancel();
        let mut link = self.shared.link.subscribe();
        let down = |link: &Link| matches!(link, Link::Down(_));
        drop(timeout(REPLY_MAX, link.wait_for(down)).await);
    }
}
