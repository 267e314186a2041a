//! Semantic events: one per change, published after the change is committed.
//!
//! As in any monolith of 2014 the event is not part of the transaction: a crash between commit and publish loses it,
//! and its audit row is the only trace. What can be promised is promised: a broken broker never fails a request, and
//! on a healthy one each committed event goes out, also at a graceful end.
//!
//! What must stay true: events are published in audit order (the audit row is written, committed and queued under
//! one turn); the queue is bounded by [`QUEUE_MAX`], at the limit the newest event is dropped, counted and logged.

use crate::{
    MothershipError,
    database::{Arg, Database, Reader, Tx},
};
use banyan_seams::events::broker::{
    Broker, BrokerError, ExchangeKind, Message, PublishId, Topology, connect,
};
use chrono::Utc;
use fixture_passport::time;
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinHandle,
};

/// Committed events that may wait for the broker; about 5 MB.
const QUEUE_MAX: usize = 10_000;
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How long the end waits for events that the broker has not taken.
const DRAIN_MAX: Duration = Duration::from_secs(15);
const INSTANCE_KEY: &str = "instance";

const AUDIT: &str = "INSERT INTO audits \
     (event_type, subject_type, subject_id, user_id, request_id, created_at) VALUES (?, ?, ?, ?, ?, ?)";

/// What can happen. The names are public.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventType {
    MessageSent,
    MessageEdited,
    MessageRead,
    MessageDeleted,
    CommentCreated,
    TrackPlayed,
    TrackCreated,
    UserFollowed,
}

/// A change, as its transaction knows it.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) event_type: EventType,
    pub(crate) subject_id: i64,
    pub(crate) actor_id: Option<i64>,
    pub(crate) request_id: String,
    /// When, as database text.
    pub(crate) now: String,
    pub(crate) data: Value,
}

/// Writes audit rows, commits, and queues the events.
#[derive(Debug)]
pub(crate) struct Events {
    /// Held from the audit row to the queue, so that the queue is in audit order.
    turn: Mutex<Queue>,
    watched: Option<mpsc::WeakSender<Outgoing>>,
    lost: AtomicU64,
}

#[derive(Debug)]
enum Queue {
    /// No broker is configured.
    Absent,
    Open(mpsc::Sender<Outgoing>),
    /// The mothership ends.
    Closed,
}

/// The task that publishes; ends when [`Events`] is closed and the queue is empty.
#[derive(Debug)]
pub(crate) struct Publisher {
    task: Option<JoinHandle<()>>,
}

/// Where events go.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    pub(crate) broker: String,
    pub(crate) exchange: String,
}

#[derive(Debug)]
struct Outgoing {
    audit_id: i64,
    event_type: EventType,
    body: Vec<u8>,
}

impl EventType {
    /// Routing key and `type`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::MessageSent => "message.sent",
            Self::MessageEdited => "message.edited",
            Self::MessageRead => "message.read",
            Self::MessageDeleted => "message.deleted",
            Self::CommentCreated => "comment.created",
            Self::TrackPlayed => "track.played",
            Self::TrackCreated => "track.created",
            Self::UserFollowed => "user.followed",
        }
    }

    fn subject_type(self) -> &'static str {
        match self {
            Self::MessageSent | Self::MessageEdited | Self::MessageRead | Self::MessageDeleted => {
                "Message"
            }
            Self::CommentCreated => "Comment",
            Self::TrackPlayed | Self::TrackCreated => "Track",
            Self::UserFollowed => "User",
        }
    }
}

impl Events {
    /// Starts the publisher when there is a destination.
    pub(crate) async fn start(
        database: &Database,
        destination: Option<Destination>,
    ) -> Result<(Self, Publisher), MothershipError> {
        let Some(destination) = destination else {
            return Ok((Self::new(Queue::Absent, None), Publisher { task: None }));
        };
        refuse_unknown_broker(&destination.broker)?;
        let instance = instance(database).await?;
        let (queue, outgoing) = mpsc::channel(QUEUE_MAX);
        let task = tokio::spawn(publish_all(destination, instance, outgoing));
        let watched = queue.downgrade();
        Ok((Self::new(Queue::Open(queue), Some(watched)), Publisher { task: Some(task) }))
    }

    fn new(queue: Queue, watched: Option<mpsc::WeakSender<Outgoing>>) -> Self {
        Self { turn: Mutex::new(queue), watched, lost: AtomicU64::new(0) }
    }

    /// Takes no more events: lets the publisher end once the queue is empty.
    pub(crate) async fn close(&self) {
        let mut queue = self.turn.lock().await;
        if matches!(*queue, Queue::Open(_)) {
            *queue = Queue::Closed;
        }
    }

    /// Ends the transaction with its audit row; the event follows once the commit stands.
    pub(crate) async fn commit(&self, mut tx: Tx, change: Change) -> Result<(), MothershipError> {
        let queue = self.turn.lock().await;
        let args: [Arg; 6] = [
            change.event_type.as_str().into(),
            change.event_type.subject_type().into(),
            change.subject_id.into(),
            change.actor_id.into(),
            change.request_id.as_str().into(),
            change.now.as_str().into(),
        ];
        let audit_id = tx.execute(AUDIT.into(), &args).await?.id;
        tx.commit().await?;
        let body = event_body(audit_id, &change);
        self.enqueue(&queue, Outgoing { audit_id, event_type: change.event_type, body });
        drop(queue);
        Ok(())
    }

    /// Events committed and not yet taken by the broker.
    pub(crate) fn pending(&self) -> usize {
        let queue = self.watched.as_ref().and_then(mpsc::WeakSender::upgrade);
        queue.map_or(0, |queue| queue.max_capacity() - queue.capacity())
    }

    /// Events dropped because the queue was full.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn enqueue(&self, queue: &Queue, outgoing: Outgoing) {
        let refused = match queue {
            Queue::Absent => return,
            Queue::Open(queue) => {
                queue.try_send(outgoing).err().map(mpsc::error::TrySendError::into_inner)
            }
            Queue::Closed => Some(outgoing),
        };
        if let Some(outgoing) = refused {
            self.lost.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                audit_id = outgoing.audit_id,
                event_type = outgoing.event_type.as_str(),
                queue_max = QUEUE_MAX,
                "event dropped: the queue to the broker is full or closed"
            );
        }
    }
}

impl Publisher {
    /// Waits until all queued events are out. [`Events::close`] must come before.
    pub(crate) async fn drain(self) {
        let Some(mut task) = self.task else { return };
        if tokio::time::timeout(DRAIN_MAX, &mut task).await.is_err() {
            task.abort();
            tracing::error!("events lost: the broker did not take them before the end");
        }
    }
}

/// The body of an event, in the key order of the contract.
fn event_body(audit_id: i64, change: &Change) -> Vec<u8> {
    let body = json!({
        "type": change.event_type.as_str(),
        "audit_id": audit_id,
        "occurred_at": time::rails(&change.now),
        "request_id": change.request_id,
        "subject": { "type": change.event_type.subject_type(), "id": change.subject_id },
        "actor_id": change.actor_id,
        "data": change.data,
    });
    body.to_string().into_bytes()
}

fn refuse_unknown_broker(url: &str) -> Result<(), MothershipError> {
    if ["embedded:", "amqp://", "amqps://"].iter().any(|scheme| url.starts_with(scheme)) {
        Ok(())
    } else {
        let scheme = url.split(':').next().unwrap_or_default();
        Err(MothershipError::BrokerUrl { url: format!("{scheme}:...") })
    }
}

/// A name of this database, kept in it: brokers that remember publishes need to tell databases apart.
async fn instance(database: &Database) -> Result<String, MothershipError> {
    const FIND: &str = "SELECT value FROM ar_internal_metadata WHERE name = ?";
    if let Some(row) = database.clone().rows(FIND.into(), &[INSTANCE_KEY.into()]).await?.first() {
        return row.cells().text();
    }
    let instance = uuid::Uuid::new_v4().to_string();
    let mut tx = database.begin().await?;
    let insert = "INSERT INTO ar_internal_metadata (name, value) VALUES (?, ?)";
    tx.execute(insert.into(), &[INSTANCE_KEY.into(), instance.as_str().into()]).await?;
    tx.commit().await?;
    Ok(instance)
}

/// Publishes everything that is queued, in order; ends when the queue is closed and empty.
async fn publish_all(to: Destination, instance: String, mut queue: mpsc::Receiver<Outgoing>) {
    let mut broker: Option<Arc<dyn Broker>> = None;
    while let Some(outgoing) = queue.recv().await {
        publish(&to, &instance, &mut broker, &outgoing).await;
    }
    if let Some(broker) = broker {
        broker.close().await;
    }
}

/// Tries until the broker has it. Only an event that no broker takes is given up.
async fn publish(
    to: &Destination,
    instance: &str,
    broker: &mut Option<Arc<dyn Broker>>,
    outgoing: &Outgoing,
) {
    let mut wait = RETRY_FIRST;
    loop {
        match try_publish(to, instance, broker, outgoing).await {
            Ok(()) => return,
            Err(error @ BrokerError::InvalidMessage { .. }) => {
                tracing::error!(%error, audit_id = outgoing.audit_id, "event cannot be sent");
                return;
            }
            Err(error) => {
                tracing::warn!(%error, audit_id = outgoing.audit_id, "event waits for the broker");
                if matches!(error, BrokerError::Closed) {
                    *broker = None;
                }
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY_MAX);
    }
}

async fn try_publish(
    to: &Destination,
    instance: &str,
    broker: &mut Option<Arc<dyn Broker>>,
    outgoing: &Outgoing,
) -> Result<(), BrokerError> {
    let connected = if let Some(broker) = broker {
        Arc::clone(broker)
    } else {
        let fresh = connect(&to.broker).await?;
        fresh.declare(&Topology::new().exchange(&to.exchange, ExchangeKind::Topic)).await?;
        Arc::clone(broker.insert(fresh))
    };
    let kind = outgoing.event_type.as_str();
    let message = Message::new(&to.exchange, kind, outgoing.body.clone())
        .message_id(format!("mothership-{}", outgoing.audit_id))
        .content_type("application/json")
        .kind(kind)
        .persistent()
        .publish_once(PublishId {
            publisher: format!("mothership-{instance}"),
            sequence: outgoing.audit_id,
        });
    connected.publish(message).await
}

/// Now, as database text.
pub(crate) fn now() -> String {
    Utc::now().format("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_has_the_key_order_of_the_contract() {
        let change = Change {
            event_type: EventType::MessageSent,
            subject_id: 91,
            actor_id: Some(3),
            request_id: "r".to_owned(),
            now: "2014-06-12 10:00:00".to_owned(),
            data: json!({ "thread_id": 12 }),
        };
        assert_eq!(
            String::from_utf8(event_body(812, &change)).unwrap(),
            r#"{"type":"message.sent","audit_id":812,"occurred_at":"2014/06/12 10:00:00 +0000","request_id":"r","subject":{"type":"Message","id":91},"actor_id":3,"data":{"thread_id":12}}"#
        );
    }

    #[test]
    fn unknown_brokers_are_refused_without_their_password() {
        let error = refuse_unknown_broker("kafka://u:geheim@h").unwrap_err().to_string();
        assert!(error.contains("kafka") && error.contains("hint"), "{error}");
        assert!(!error.contains("geheim"), "{error}");
    }
}
