//! The semantic events of the service: CloudEvents around the body that the monolith's events have.
//!
//! What must stay true: types, keys and their order are the monolith's, so that a consumer need not know which side
//! emitted; `audit_id` is null, for the service has no audits: an event is named by its CloudEvents id.

use crate::ops::Message;
use banyan_outbox::NewEvent;
use banyan_seams::domain::ContextName;
use chrono::{DateTime, SubsecRound, Utc};
use fixture_passport::time;
use serde_json::{Value, json};

/// What can happen to a message. The names are public.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventType {
    Sent,
    Edited,
    Read,
    Deleted,
}

/// A moment, in whole seconds.
#[derive(Debug, Clone)]
pub(crate) struct Moment {
    at: DateTime<Utc>,
    /// As database text.
    pub(crate) text: String,
}

/// Who did something, when, by which request.
#[derive(Debug, Clone)]
pub(crate) struct Deed {
    pub(crate) user_id: i64,
    pub(crate) request_id: String,
    pub(crate) now: Moment,
}

impl Moment {
    pub(crate) fn now() -> Self {
        let at = Utc::now().trunc_subsecs(0);
        Self { at, text: at.format("%Y-%m-%d %H:%M:%S").to_string() }
    }
}

impl EventType {
    /// Routing key and `type`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "message.sent",
            Self::Edited => "message.edited",
            Self::Read => "message.read",
            Self::Deleted => "message.deleted",
        }
    }
}

/// The event that something happened to `message`.
pub(crate) fn event(
    context: &ContextName,
    kind: EventType,
    message: &Message,
    deed: &Deed,
) -> NewEvent {
    let body = body(kind, message, deed).to_string().into_bytes();
    NewEvent::new(context.clone(), kind.as_str(), message.id.to_string())
        .time(deed.now.at)
        .data("application/json", body)
}

fn body(kind: EventType, message: &Message, deed: &Deed) -> Value {
    let people = (message.author.id, message.recipient.id);
    let data = match kind {
        EventType::Sent => json!({
            "thread_id": message.thread_id,
            "parent_id": message.parent_id,
            "sender_id": people.0,
            "recipient_id": people.1,
        }),
        EventType::Edited | EventType::Read | EventType::Deleted => json!({
            "thread_id": message.thread_id,
            "sender_id": people.0,
            "recipient_id": people.1,
        }),
    };
    json!({
        "type": kind.as_str(),
        "audit_id": null,
        "occurred_at": time::rails(&deed.now.text),
        "request_id": deed.request_id,
        "subject": { "type": "Message", "id": message.id },
        "actor_id": deed.user_id,
        "data": data,
    })
}
