//! Reading a message: what names the event, and what it says. Pure.
//!
//! The monolith's events are plain JSON with the AMQP `message_id`; the service's are CloudEvents around the same JSON.
//! Consumers must not care which side emitted, so both become the same [`Event`] here.
//!
//! What must stay true: every message has a key, also one that cannot be read, and a redelivery has the same one; no
//! bytes make it panic; a reason never quotes the body.

use banyan_outbox::EventKey;
use banyan_seams::events::broker::Message;
use banyan_seams::events::envelope::CloudEvent;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// Longest source and id that an inbox takes, in bytes.
const KEY_BYTES_MAX: usize = 255;
/// Longest type, in bytes; also keeps the table of counts small.
const KIND_BYTES_MAX: usize = 64;
const RAILS_TIME: &str = "%Y/%m/%d %H:%M:%S %z";

/// A message with its name, readable or not.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Received {
    pub(crate) key: EventKey,
    pub(crate) content: Result<Event, Unreadable>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    /// Such as `message.sent`.
    pub(crate) kind: String,
    pub(crate) at: DateTime<Utc>,
    body: Map<String, Value>,
}

/// A notification that an event asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Notification {
    /// Who is notified.
    pub(crate) user: i64,
    /// Of which message.
    pub(crate) message: i64,
    /// From whom.
    pub(crate) sender: i64,
}

/// Why a message cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable(pub(crate) String);

impl Received {
    pub(crate) fn read(message: &Message) -> Self {
        let unreadable = |reason: &str| Err(Unreadable(reason.to_owned()));
        match EventKey::of(message) {
            Ok(Some(key)) if key.source.len() > KEY_BYTES_MAX || key.id.len() > KEY_BYTES_MAX => {
                let reason = "its source or id is longer than 255 bytes";
                Self { key: content_key(message), content: unreadable(reason) }
            }
            Ok(Some(key)) => Self { key, content: Event::read(message) },
            Ok(None) => Self {
                key: content_key(message),
                content: unreadable("it has no message_id, so it cannot be told from another one"),
            },
            Err(error) => Self {
                key: content_key(message),
                content: Err(Unreadable(format!("it is no legal CloudEvent: {error}"))),
            },
        }
    }
}

/// Names a message that has no usable id by what is in it, so that its redelivery is recognised.
fn content_key(message: &Message) -> EventKey {
    let mut hasher = Sha256::new();
    let id = message.properties.message_id.as_deref().unwrap_or_default();
    for part in [id.as_bytes(), message.routing_key.as_bytes(), &message.body] {
        hasher.update(part.len().to_le_bytes());
        hasher.update(part);
    }
    let nibbles = hasher.finalize().into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let id = nibbles.filter_map(|nibble| char::from_digit(u32::from(nibble), 16)).collect();
    EventKey { source: "content".to_owned(), id }
}

impl Event {
    fn read(message: &Message) -> Result<Self, Unreadable> {
        let no = |reason: &str| Unreadable(reason.to_owned());
        let envelope = CloudEvent::from_message(message).map_err(|e| Unreadable(e.to_string()))?;
        let data = envelope.as_ref().map_or(&message.body, |event| &event.data);
        let body: Map<String, Value> =
            serde_json::from_slice(data).map_err(|_| no("its body is no JSON object"))?;
        let said = |name| body.get(name).and_then(Value::as_str);
        let kind = match &envelope {
            Some(event) => event.kind.as_str(),
            None => said("type").ok_or_else(|| no("its body has no text `type`"))?,
        };
        if !is_kind(kind) {
            return Err(no("its type is not made of a-z, 0-9, `.`, `_` and `-`, at most 64"));
        }
        let at = match envelope.as_ref().and_then(|event| event.time.as_deref()) {
            Some(time) => DateTime::parse_from_rfc3339(time).ok(),
            None => said("occurred_at").and_then(|time| {
                let rails = DateTime::parse_from_str(time, RAILS_TIME);
                rails.or_else(|_| DateTime::parse_from_rfc3339(time)).ok()
            }),
        };
        let at = at.ok_or_else(|| no("it does not say when it happened"))?.to_utc();
        Ok(Self { kind: kind.to_owned(), at, body })
    }

    /// Whom it notifies; nobody, unless a message was sent to somebody else.
    pub(crate) fn notification(&self) -> Result<Option<Notification>, Unreadable> {
        if self.kind != "message.sent" {
            return Ok(None);
        }
        let data = self.body.get("data").and_then(Value::as_object);
        let of_data = |name: &str| {
            let number = data.and_then(|data| data.get(name)).and_then(Value::as_i64);
            number.ok_or_else(|| Unreadable(format!("its body has no whole number `data.{name}`")))
        };
        let message = self.body.get("subject").and_then(|subject| subject.get("id"));
        let message = message
            .and_then(Value::as_i64)
            .ok_or_else(|| Unreadable("its body has no whole number `subject.id`".to_owned()))?;
        let (user, sender) = (of_data("recipient_id")?, of_data("sender_id")?);
        let notification = Notification { user, message, sender };
        Ok((user != sender).then_some(notification))
    }
}

fn is_kind(kind: &str) -> bool {
    let is_fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    (1..=KIND_BYTES_MAX).contains(&kind.len()) && kind.chars().all(is_fine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use banyan_seams::events::envelope::Mode;
    use serde_json::json;

    fn body(sender: i64, recipient: i64) -> Vec<u8> {
        let body = json!({
            "type": "message.sent", "audit_id": 812, "occurred_at": "2014/06/12 23:30:00 -0100",
            "subject": { "type": "Message", "id": 91 }, "actor_id": sender,
            "data": { "sender_id": sender, "recipient_id": recipient },
        });
        body.to_string().into_bytes()
    }

    fn legacy(body: Vec<u8>) -> Message {
        Message::new("public-events", "message.sent", body).message_id("mothership-812")
    }

    #[test]
    fn an_event_reads_the_same_from_either_side() {
        let mut read = vec![Received::read(&legacy(body(3, 17)))];
        assert_eq!(read[0].key, EventKey { source: String::new(), id: "mothership-812".into() });
        let at = read[0].content.as_ref().unwrap().at;
        assert_eq!(at.to_rfc3339(), "2014-06-13T00:30:00+00:00");
        for mode in [Mode::Binary, Mode::BinaryCe, Mode::Structured] {
            let event = CloudEvent::new("e-1", "/messages/new-messages", "message.sent")
                .time(at)
                .data("application/json", body(3, 17));
            read.push(Received::read(&event.to_message(mode, "x", "message.sent").unwrap()));
            assert_eq!(read.last().unwrap().key.id, "e-1");
        }
        for received in read {
            let event = received.content.unwrap();
            assert_eq!((event.kind.as_str(), event.at), ("message.sent", at));
            let wanted = Notification { user: 17, message: 91, sender: 3 };
            assert_eq!(event.notification().unwrap(), Some(wanted));
        }
    }

    #[test]
    fn nobody_is_notified_of_a_message_to_oneself_or_of_an_edit() {
        let event = Received::read(&legacy(body(3, 3))).content.unwrap();
        assert_eq!(event.notification(), Ok(None));
        let edited =
            json!({ "type": "message.edited", "occurred_at": "2014/06/12 10:00:00 +0000" });
        let event = Received::read(&legacy(edited.to_string().into_bytes())).content.unwrap();
        assert_eq!(event.notification(), Ok(None));
    }

    #[test]
    fn what_cannot_be_read_has_a_reason_and_a_stable_key() {
        let time = "2014/06/12 10:00:00 +0000";
        let cases = [
            (b"{\"type\":".to_vec(), "no JSON object"),
            (b"[1]".to_vec(), "no JSON object"),
            (b"\xff\xfe".to_vec(), "no JSON object"),
            (br#"{"occurred_at":"x"}"#.to_vec(), "no text `type`"),
            (br#"{"type":"Message Sent"}"#.to_vec(), "its type"),
            (br#"{"type":"message.sent","occurred_at":"yesterday"}"#.to_vec(), "when it happened"),
        ];
        for (body, wanted) in cases {
            let received = Received::read(&legacy(body));
            let reason = received.content.unwrap_err().0;
            assert!(reason.contains(wanted), "{reason}");
            assert_eq!(received.key.id, "mothership-812");
        }
        let sent = json!({ "type": "message.sent", "occurred_at": time, "subject": { "id": 1 } });
        let event = Received::read(&legacy(sent.to_string().into_bytes())).content.unwrap();
        let reason = event.notification().unwrap_err().0;
        assert!(reason.contains("`data.recipient_id`"), "{reason}");
    }

    #[test]
    fn a_message_without_a_usable_id_is_named_by_its_content() {
        let nameless = |body: &str| Message::new("x", "message.sent", body.as_bytes().to_vec());
        let long = "i".repeat(256);
        let broken = [
            nameless("{}"),
            nameless("{ }"),
            nameless("{}").message_id(long),
            nameless("{}").header("ce-id", "1"),
        ];
        for (at, message) in broken.iter().enumerate() {
            let received = Received::read(message);
            assert!(received.content.is_err());
            assert_eq!(received.key.source, "content");
            assert_eq!(Received::read(message).key, received.key, "a redelivery is the same");
            // The last has the same content as the first; only its headers are broken.
            let first = broken.iter().position(|other| Received::read(other).key == received.key);
            assert_eq!(first, Some(if at == 3 { 0 } else { at }));
        }
    }
}
