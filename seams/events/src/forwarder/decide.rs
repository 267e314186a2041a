//! What becomes of an event: a pure function of who owns its context and what is known of it.
//!
//! What must stay true: an event of the side that does not own the context is never published, whatever else
//! is known; the function is total.

use std::collections::BTreeMap;

use banyan_domain::Side;
use serde::{Deserialize, Serialize};

use super::config::Dedupe;
use super::ownership::Ownership;
use crate::broker::{Message, Properties};

/// A header that says where a write came from. `sync`, `replay` and `shadow` are never announced: the side
/// that took the original write has already done so.
pub const ORIGIN_HEADER: &str = "x-banyan-origin";

/// A header by which an emitter flags an event that it publishes for parity only. Whatever its value, whoever owns the
/// context and whatever marker came, such an event is muted: its emitter did not own the context when it happened.
pub const MUTED_HEADER: &str = "x-banyan-muted";

/// What was decided about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// The owner's: published.
    Forward,
    /// The other side's: recorded only.
    Mute,
    /// Of a side that owned the context and was sealed: kept for an operator.
    Late,
    /// The emitter sent it before: not published again.
    Dup,
    /// Belongs to no context that is being carved out: published.
    Unmigrated,
}

impl Decision {
    /// All decisions.
    pub const ALL: [Self; 5] = [Self::Forward, Self::Mute, Self::Late, Self::Dup, Self::Unmigrated];

    /// Its word in the store, in labels and in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Mute => "mute",
            Self::Late => "late",
            Self::Dup => "dup",
            Self::Unmigrated => "unmigrated",
        }
    }

    /// The decision that a word names.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|decision| decision.as_str() == word)
    }

    /// Whether the event goes to the public exchange.
    pub const fn publishes(self) -> bool {
        match self {
            Self::Forward | Self::Unmigrated => true,
            Self::Mute | Self::Late | Self::Dup => false,
        }
    }
}

/// Decides about an event seen for the first time. `ownership` is `None` for an event of no context.
pub(super) fn decide(side: Side, ownership: Option<Ownership>, message: &Message) -> Decision {
    if message.has_header(MUTED_HEADER) {
        return Decision::Mute;
    }
    let Some(ownership) = ownership else {
        return match side {
            Side::Legacy => Decision::Unmigrated,
            Side::New => Decision::Mute,
        };
    };
    if is_copy(message) {
        return Decision::Mute;
    }
    if ownership.owner == side && ownership.opened {
        return Decision::Forward;
    }
    if ownership.sealed.of(side) { Decision::Late } else { Decision::Mute }
}

fn is_copy(message: &Message) -> bool {
    matches!(message.text_header(ORIGIN_HEADER), Some("sync" | "replay" | "shadow"))
}

/// What the emitter calls the event, if it calls it anything: the same id is the same event.
pub(super) fn emitter_key(dedupe: Dedupe, message: &Message) -> Option<String> {
    match dedupe {
        Dedupe::Content => None,
        Dedupe::Id => cloud_event_key(message)
            .or_else(|| message.properties.message_id.as_ref().map(|id| format!("id:{id}"))),
    }
}

/// The CloudEvents id is unique within its source. Both header prefixes in use are read.
fn cloud_event_key(message: &Message) -> Option<String> {
    ["cloudEvents_", "cloudEvents:", "ce-"].into_iter().find_map(|prefix| {
        let id = message.text_header(&format!("{prefix}id"))?;
        let source = message.text_header(&format!("{prefix}source")).unwrap_or_default();
        Some(format!("ce:{source} {id}"))
    })
}

/// Hash of everything that is passed on, so that a redelivery without an id is recognised.
pub(crate) fn content_hash(message: &Message) -> String {
    content_hash_with(message, &serde_json::to_string(&message.properties).unwrap_or_default())
}

/// As [`content_hash`], given the properties as JSON.
pub(super) fn content_hash_with(message: &Message, properties: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut without_table = None;
    // RabbitMQ gives an empty header table back as none when it redelivers.
    if message.properties.headers.as_ref().is_some_and(BTreeMap::is_empty) {
        let bare = Properties { headers: None, ..message.properties.clone() };
        without_table = Some(serde_json::to_string(&bare).unwrap_or_default());
    }
    let properties = without_table.as_deref().unwrap_or(properties);
    for part in [
        message.exchange.as_bytes(),
        message.routing_key.as_bytes(),
        properties.as_bytes(),
        &message.body,
    ] {
        hasher.update(&part.len().to_le_bytes()).update(part);
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use banyan_domain::Epoch;

    use super::super::ownership::Sealed;
    use super::*;
    use crate::broker::HeaderValue;

    fn event() -> Message {
        Message::new("raw", "message.sent", b"{}".to_vec())
    }

    fn owned_by(owner: Side) -> Ownership {
        Ownership::first(owner, Epoch(1))
    }

    #[test]
    fn the_owner_is_forwarded_and_the_other_side_is_not() {
        for owner in Side::ALL {
            for sealed in [Sealed::default(), Sealed { legacy: true, new: true }] {
                let ownership = Ownership { sealed, ..owned_by(owner) };
                assert_eq!(decide(owner, Some(ownership), &event()), Decision::Forward);
                let of_other = decide(owner.other(), Some(ownership), &event());
                assert!(!of_other.publishes(), "{owner} {sealed:?}");
                let before_open = Ownership { opened: false, ..ownership };
                assert!(!decide(owner, Some(before_open), &event()).publishes(), "before its open");
            }
        }
    }

    #[test]
    fn a_straggler_of_a_sealed_side_is_late_and_not_just_muted() {
        let after_seal = Ownership::first(Side::New, Epoch(2));
        assert_eq!(decide(Side::Legacy, Some(after_seal), &event()), Decision::Late);
        assert_eq!(decide(Side::New, Some(owned_by(Side::Legacy)), &event()), Decision::Mute);
    }

    #[test]
    fn a_copied_write_is_not_announced_even_by_the_owner() {
        let copy = event().header(ORIGIN_HEADER, "sync");
        assert_eq!(decide(Side::New, Some(owned_by(Side::New)), &copy), Decision::Mute);
    }

    #[test]
    fn a_muted_event_is_never_published_and_never_late_whoever_owns() {
        let values = [
            HeaderValue::from("1"),
            HeaderValue::from("false"),
            HeaderValue::from(""),
            HeaderValue::Bool(false),
            HeaderValue::Void,
        ];
        for (side, owner) in Side::ALL.into_iter().flat_map(|s| Side::ALL.map(|o| (s, o))) {
            for (legacy, new, opened) in
                (0..8).map(|bits: u8| (bits & 1 > 0, bits & 2 > 0, bits & 4 > 0))
            {
                let ownership =
                    Ownership { sealed: Sealed { legacy, new }, opened, ..owned_by(owner) };
                for value in values.clone() {
                    let muted = event().header(MUTED_HEADER, value);
                    assert_eq!(decide(side, Some(ownership), &muted), Decision::Mute);
                    assert_eq!(decide(side, None, &muted), Decision::Mute);
                }
            }
        }
    }

    #[test]
    fn only_legacy_events_of_no_context_pass_through() {
        assert_eq!(decide(Side::Legacy, None, &event()), Decision::Unmigrated);
        assert_eq!(decide(Side::New, None, &event()), Decision::Mute);
    }

    #[test]
    fn an_event_is_known_by_its_cloud_event_id_before_its_message_id() {
        let plain = event().message_id("m-1");
        assert_eq!(emitter_key(Dedupe::Id, &plain).unwrap(), "id:m-1");
        assert_eq!(emitter_key(Dedupe::Content, &plain), None);
        assert_eq!(emitter_key(Dedupe::Id, &event()), None);
        for prefix in ["cloudEvents_", "cloudEvents:", "ce-"] {
            let event = plain
                .clone()
                .header(format!("{prefix}id"), "7")
                .header(format!("{prefix}source"), "/messages");
            assert_eq!(emitter_key(Dedupe::Id, &event).unwrap(), "ce:/messages 7");
        }
    }

    #[test]
    fn the_content_hash_changes_with_every_part() {
        let hashes = [
            event(),
            event().header("a", "b"),
            Message::new("raw", "message.sen", b"t{}".to_vec()),
            Message::new("raw", "message.sent", b"{ }".to_vec()),
        ]
        .map(|message| content_hash(&message));
        for (i, one) in hashes.iter().enumerate() {
            assert_eq!(hashes.iter().position(|other| other == one), Some(i));
        }
    }
}
