//! Brokers behind one trait: the embedded one (a SQLite file) and RabbitMQ.
//!
//! Owns the traits [`Broker`] and [`Consumer`], [`connect`], and the errors. It exists so that the mothership,
//! the forwarder and the demo's consumers run unchanged on a bare machine and on a production broker.
//!
//! What must stay true, for each broker, and is tested by one suite (`tests/broker.rs`):
//! - a publish resolves only when the broker has the message durably; a refused message is an error;
//! - a queue gives its messages in the order of publishing; an unacknowledged one is given again, in its
//!   old place, after the consumer died;
//! - a consumer that lost its queue can neither acknowledge nor publish (fencing by channel).

pub mod embedded;
pub mod message;
pub mod rabbitmq;
pub mod topology;
mod unrouted;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;

pub use message::{HeaderValue, Headers, Message, Properties, PublishId};
pub use topology::{Binding, ExchangeKind, QueueOptions, Topology, topic_matches};

/// Connects to the broker named by `url`.
///
/// - `embedded:/path/broker.db`: a file, made when absent; `?lease_ms=N` sets after how long a consumer that
///   stopped beating loses its queue (default 5,000).
/// - `amqp://user:password@host:port/vhost` or `amqps://`: RabbitMQ. Returns when the first connection
///   stands; later ones are made anew by a supervisor.
///
/// # Errors
/// [`BrokerError::Url`] for anything else, [`BrokerError::Unreachable`] or [`BrokerError::Storage`] when it cannot be opened.
pub async fn connect(url: &str) -> Result<Arc<dyn Broker>, BrokerError> {
    match url.split_once(':') {
        Some(("embedded", _)) => Ok(Arc::new(embedded::EmbeddedBroker::open(url).await?)),
        Some(("amqp" | "amqps", _)) => Ok(Arc::new(rabbitmq::RabbitBroker::connect(url).await?)),
        Some(_) | None => Err(BrokerError::Url {
            reason: "the scheme must be `embedded:`, `amqp://` or `amqps://`".to_owned(),
        }),
    }
}

/// Which broker it is, for the few places where they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerKind {
    /// A SQLite file; remembers [`PublishId`]s, so a repeated publish is harmless.
    Embedded,
    /// RabbitMQ; a repeated publish is a second message with the same `message_id`.
    RabbitMq,
}

impl BrokerKind {
    /// Its name in metrics and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::RabbitMq => "rabbitmq",
        }
    }

    /// After this silence of a process its connections are certainly dead. The embedded broker has none that could
    /// outlive their session.
    pub(crate) fn silence_max(self) -> Duration {
        match self {
            Self::Embedded => Duration::ZERO,
            Self::RabbitMq => rabbitmq::SILENCE_MAX,
        }
    }
}

/// Asked before each message: a publisher that may not go on sends nothing more.
pub type GoOn<'a> = &'a (dyn Fn() -> bool + Send + Sync);

/// What a broker handle knows of its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerState {
    /// Usable.
    Connected,
    /// Connected, but the broker takes no publishes (memory or disk alarm).
    Blocked {
        /// The broker's words.
        reason: String,
    },
    /// Not usable now; being connected anew unless closed.
    Disconnected {
        /// The last error.
        reason: String,
    },
}

/// A place that events are published to and consumed from.
#[async_trait]
pub trait Broker: Send + Sync {
    /// Which broker it is.
    fn kind(&self) -> BrokerKind;

    /// What is known of the connection right now.
    fn state(&self) -> BrokerState;

    /// Makes sure that everything in `topology` is there. Idempotent, also said again after a reconnect.
    async fn declare(&self, topology: &Topology) -> Result<(), BrokerError>;

    /// Publishes one message; resolves when the broker has it durably.
    ///
    /// # Errors
    /// [`BrokerError::Unconfirmed`] leaves open whether it arrived; every other error says that it did not.
    /// [`BrokerError::Unroutable`] only for a message that must be routed ([`Message::mandatory`]).
    async fn publish(&self, message: Message) -> Result<(), BrokerError> {
        self.publish_all(vec![message]).await
    }

    /// Publishes in order with a window of outstanding confirms; resolves when all are durable.
    /// After an error any prefix of the messages may have been published; after [`BrokerError::Unroutable`] all are
    /// durable but those that it names.
    async fn publish_all(&self, messages: Vec<Message>) -> Result<(), BrokerError> {
        self.publish_while(messages, &|| true).await
    }

    /// As [`Broker::publish_all`], for as long as `go_on` says yes.
    ///
    /// # Errors
    /// Also [`BrokerError::Unconfirmed`] when `go_on` said no.
    async fn publish_while(
        &self,
        messages: Vec<Message>,
        go_on: GoOn<'_>,
    ) -> Result<(), BrokerError>;

    /// Starts to consume `queue` with at most `prefetch` (at least 1) unacknowledged messages.
    async fn consume(&self, queue: &str, prefetch: u16) -> Result<Box<dyn Consumer>, BrokerError>;

    /// Messages waiting in `queue`, without those delivered and not yet acknowledged.
    async fn depth(&self, queue: &str) -> Result<u64, BrokerError>;

    /// Ends this handle: later calls fail with [`BrokerError::Closed`].
    async fn close(&self);
}

/// One consumer of one queue. Dropping it gives its unacknowledged messages back, in their old places.
#[async_trait]
pub trait Consumer: Send {
    /// Waits for the next message; cancelling the wait loses nothing.
    ///
    /// With `prefetch` messages unacknowledged there is no next one: it waits until the future is dropped.
    ///
    /// # Errors
    /// [`BrokerError::ConsumerLost`] ends the consumer for good: make a new one.
    async fn next(&mut self) -> Result<Delivery, BrokerError>;

    /// Waits for one message and takes up to `max` that are already here.
    async fn next_batch(&mut self, max: usize) -> Result<Vec<Delivery>, BrokerError> {
        let mut batch = vec![self.next().await?];
        while batch.len() < max {
            match self.next().now_or_never() {
                Some(delivery) => batch.push(delivery?),
                None => break,
            }
        }
        Ok(batch)
    }

    /// Publishes on the channel that it consumes from, so that a consumer which lost its queue cannot publish.
    async fn publish(&mut self, message: Message) -> Result<(), BrokerError> {
        self.publish_all(vec![message]).await
    }

    /// As [`Broker::publish_all`], on the channel that it consumes from.
    async fn publish_all(&mut self, messages: Vec<Message>) -> Result<(), BrokerError> {
        self.publish_while(messages, &|| true).await
    }

    /// As [`Broker::publish_while`], on the channel that it consumes from.
    async fn publish_while(
        &mut self,
        messages: Vec<Message>,
        go_on: GoOn<'_>,
    ) -> Result<(), BrokerError>;

    /// Acknowledges every message up to and including `tag`.
    async fn ack_through(&mut self, tag: u64) -> Result<(), BrokerError>;

    /// Acknowledges exactly these messages.
    async fn ack(&mut self, tags: &[u64]) -> Result<(), BrokerError>;
}

/// A message handed to a consumer.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// Names the delivery when acknowledging; grows, unique within the consumer.
    pub tag: u64,
    /// It was delivered before and not acknowledged.
    pub redelivered: bool,
    /// The message as it was published.
    pub message: Message,
}

/// Why a broker could not do something. Texts never hold passwords or bodies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The URL is not one of ours.
    #[error("cannot use the broker url: {reason}")]
    Url {
        /// The rule that it breaks.
        reason: String,
    },
    /// No connection; nothing was sent.
    #[error("cannot reach the broker at `{place}`: {reason}")]
    Unreachable {
        /// URL without the password.
        place: String,
        /// The last error.
        reason: String,
    },
    /// The exchange was never declared.
    #[error("exchange `{exchange}` does not exist")]
    NoExchange {
        /// Its name.
        exchange: String,
    },
    /// The queue was never declared.
    #[error("queue `{queue}` does not exist")]
    NoQueue {
        /// Its name.
        queue: String,
    },
    /// A queue that would get the message is full; no queue got it.
    #[error("queue `{queue}` is full ({length_max} messages)")]
    QueueFull {
        /// The full one.
        queue: String,
        /// Its limit.
        length_max: u32,
    },
    /// The broker said no (RabbitMQ: a negative confirm, as from a full queue, or a closed channel).
    #[error("the broker refused: {reason}")]
    Refused {
        /// The broker's words.
        reason: String,
    },
    /// Sent, and the confirm never came: it may or may not have arrived.
    #[error("the publish was not confirmed: {reason}")]
    Unconfirmed {
        /// What ended the wait.
        reason: String,
    },
    /// The consumer is gone: connection lost, lease expired, queue deleted.
    #[error("the consumer of `{queue}` is gone: {reason}")]
    ConsumerLost {
        /// The queue.
        queue: String,
        /// Why.
        reason: String,
    },
    /// A name exists with other options.
    #[error("`{name}` exists with other options: {reason}")]
    TopologyConflict {
        /// Exchange or queue.
        name: String,
        /// The difference.
        reason: String,
    },
    /// No queue is bound for messages that must be routed; all others of the call are durable.
    #[error("no queue of exchange `{exchange}` is bound for {}", keys_of(routing_keys))]
    Unroutable {
        /// Where they were published.
        exchange: String,
        /// How many of each routing key.
        routing_keys: BTreeMap<String, u64>,
    },
    /// Connected, but the broker takes no publishes: a memory or disk alarm. Sent ones may or may not have arrived.
    #[error("the broker takes no publishes: {reason}")]
    Blocked {
        /// The broker's words.
        reason: String,
    },
    /// The message breaks a limit of every broker.
    #[error("the message cannot be sent: {reason}")]
    InvalidMessage {
        /// The limit.
        reason: String,
    },
    /// The embedded broker's file could not be used.
    #[error("cannot use the broker file `{path}`: {reason}")]
    Storage {
        /// The file.
        path: String,
        /// SQLite's words.
        reason: String,
    },
    /// The handle was closed.
    #[error("the broker handle is closed")]
    Closed,
}

impl BrokerError {
    /// What a user can do about it, if anything.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Url { .. } => {
                Some("use `embedded:/path/broker.db` or `amqp://user:password@host:5672/vhost`")
            }
            Self::Unreachable { .. } => Some("start the broker, or correct host, port and vhost"),
            Self::NoExchange { .. } | Self::NoQueue { .. } => {
                Some("declare it first; the forwarder declares its own when it starts")
            }
            Self::QueueFull { .. } => {
                Some("start or speed up its consumer; the message was not stored, publish it again")
            }
            Self::TopologyConflict { .. } => {
                Some("delete it on the broker, or configure the options that it has")
            }
            Self::Unroutable { .. } => {
                Some("bind a queue for it; a raw exchange gets its queue when the forwarder starts")
            }
            Self::Blocked { .. } => Some(
                "free memory or disk on the broker, or correct its limits; nothing is lost meanwhile",
            ),
            Self::Storage { .. } => {
                Some("check that the directory exists, is writable and not full")
            }
            Self::Refused { .. }
            | Self::Unconfirmed { .. }
            | Self::ConsumerLost { .. }
            | Self::InvalidMessage { .. }
            | Self::Closed => None,
        }
    }

    /// Whether the same call can succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::QueueFull { .. }
            | Self::Unroutable { .. }
            | Self::Blocked { .. }
            | Self::Refused { .. }
            | Self::Unconfirmed { .. }
            | Self::ConsumerLost { .. }
            | Self::Storage { .. } => true,
            Self::Url { .. }
            | Self::NoExchange { .. }
            | Self::NoQueue { .. }
            | Self::TopologyConflict { .. }
            | Self::InvalidMessage { .. }
            | Self::Closed => false,
        }
    }
}

/// Some routing keys, for people.
fn keys_of(routing_keys: &BTreeMap<String, u64>) -> String {
    const SHOWN_MAX: usize = 3;
    let mut keys: Vec<String> =
        routing_keys.keys().take(SHOWN_MAX).map(|key| format!("`{key}`")).collect();
    if routing_keys.len() > SHOWN_MAX {
        keys.push(format!("{} more", routing_keys.len() - SHOWN_MAX));
    }
    keys.join(", ")
}
