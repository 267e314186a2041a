//! Semantic events: one per change, published after the change is committed.
//!
//! The audit row is written in the transaction of the change and says that its event is not published yet. After the
//! commit the publisher (`src/event/publisher.rs`) is woken, publishes what the audits hold back, and marks it. So a
//! crash between commit and publish loses nothing: the next start publishes what is left.
//!
//! What must stay true: events are published in audit order (the audit row is written and committed under one turn,
//! so a lower id never appears later); a broken broker never fails a request; a change that is rolled back leaves no
//! audit row and so no event.

mod publisher;

use crate::{
    MothershipError,
    database::{Arg, Database, Reader, Tx},
};
use chrono::Utc;
use fixture_passport::time;
use publisher::Destined;
pub(crate) use publisher::{Destination, Publisher};
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

const AUDIT: &str = "INSERT INTO audits \
     (event_type, subject_type, subject_id, user_id, request_id, created_at, data, published) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?)";

/// Walks `index_audits_on_published`.
const UNPUBLISHED: &str = "SELECT COUNT(*) FROM audits WHERE published = 0";

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

/// Writes audit rows, commits, and wakes the publisher.
#[derive(Debug)]
pub(crate) struct Events {
    /// Held from the audit row to the commit, so that audits appear in the order of their ids.
    turn: Mutex<()>,
    line: Option<Arc<Line>>,
}

/// What the changes and the publisher share: the line itself is in the audits.
#[derive(Debug, Default)]
struct Line {
    changed: Notify,
    closed: CancellationToken,
    lost: AtomicU64,
}

/// An audit as its event tells it.
#[derive(Debug)]
struct Audit<'a> {
    id: i64,
    event_type: &'a str,
    subject_type: &'a str,
    subject_id: i64,
    actor_id: Option<i64>,
    request_id: &'a str,
    at: &'a str,
    data: Value,
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
    /// Starts the publisher when there is a destination; it begins with what an earlier process left behind.
    pub(crate) async fn start(
        database: &Database,
        destination: Option<Destination>,
    ) -> Result<(Self, Publisher), MothershipError> {
        let Some(destination) = destination else {
            return Ok((Self { turn: Mutex::default(), line: None }, Publisher::absent()));
        };
        publisher::refuse_unknown_broker(&destination.broker)?;
        let instance = publisher::instance(database).await?;
        let left = pending(database).await?;
        if left > 0 {
            tracing::info!(events = left, "publishing what an earlier process left behind");
        }
        let line = Arc::new(Line::default());
        let events = Self { turn: Mutex::default(), line: Some(Arc::clone(&line)) };
        let destined = Destined { to: destination, instance, database: database.clone(), line };
        Ok((events, Publisher::start(destined)))
    }

    /// Says that no more changes come: lets the publisher end once everything is out.
    pub(crate) fn close(&self) {
        if let Some(line) = &self.line {
            line.closed.cancel();
        }
    }

    /// Ends the transaction with its audit row; the event follows once the commit stands.
    pub(crate) async fn commit(&self, mut tx: Tx, change: Change) -> Result<(), MothershipError> {
        let turn = self.turn.lock().await;
        // Without a broker nobody waits for the event, today or later.
        let published = i64::from(self.line.is_none());
        let args: [Arg; 8] = [
            change.event_type.as_str().into(),
            change.event_type.subject_type().into(),
            change.subject_id.into(),
            change.actor_id.into(),
            change.request_id.as_str().into(),
            change.now.as_str().into(),
            change.data.to_string().into(),
            published.into(),
        ];
        tx.execute(AUDIT.into(), &args).await?;
        let committed = tx.commit().await;
        drop(turn);
        if let Some(line) = &self.line {
            // Also after an error: a commit whose answer got lost may stand.
            line.changed.notify_one();
        }
        committed
    }

    /// Events that no broker would take.
    pub(crate) fn lost(&self) -> u64 {
        self.line.as_ref().map_or(0, |line| line.lost.load(Ordering::Relaxed))
    }
}

impl Audit<'_> {
    /// The body of its event, in the key order of the contract.
    fn body(&self) -> Vec<u8> {
        let body = json!({
            "type": self.event_type,
            "audit_id": self.id,
            "occurred_at": time::rails(self.at),
            "request_id": self.request_id,
            "subject": { "type": self.subject_type, "id": self.subject_id },
            "actor_id": self.actor_id,
            "data": self.data,
        });
        body.to_string().into_bytes()
    }
}

/// Events committed and not yet taken by the broker, whichever process committed them.
pub(crate) async fn pending(database: &Database) -> Result<i64, MothershipError> {
    let counted = database.clone().rows(UNPUBLISHED.into(), &[]).await?;
    Ok(counted.first().map(|row| row.cells().int()).transpose()?.unwrap_or_default())
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
        let audit = Audit {
            id: 812,
            event_type: EventType::MessageSent.as_str(),
            subject_type: EventType::MessageSent.subject_type(),
            subject_id: 91,
            actor_id: Some(3),
            request_id: "r",
            at: "2014-06-12 10:00:00",
            data: json!({ "thread_id": 12 }),
        };
        assert_eq!(
            String::from_utf8(audit.body()).unwrap(),
            r#"{"type":"message.sent","audit_id":812,"occurred_at":"2014/06/12 10:00:00 +0000","request_id":"r","subject":{"type":"Message","id":91},"actor_id":3,"data":{"thread_id":12}}"#
        );
    }
}
