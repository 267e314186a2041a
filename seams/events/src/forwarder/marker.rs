//! Markers: the messages that move the emission of a context from one side to the other, in the raw queues.
//!
//! Owns their form. They exist because a queue is the only clock that both sides share: everything a side
//! published before its marker lies before it. What must stay true: a marker is put straight into a queue by
//! the default exchange, so nothing that an application publishes to its exchange can be taken for one; the
//! same marker twice has the effect of one.

use std::fmt;

use banyan_domain::{ContextName, Epoch};

use crate::broker::Message;

/// Header that makes a message of the default exchange a marker.
const KIND_HEADER: &str = "x-banyan-marker";
const CONTEXT_HEADER: &str = "x-banyan-context";
const EPOCH_HEADER: &str = "x-banyan-epoch";

/// What a marker says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MarkerKind {
    /// In the queue of the side that becomes the owner: from here on its events are the context's.
    Open,
    /// In the queue of the side that was the owner: its last event lies before.
    Seal,
    /// In the queue of the owner: the change to this epoch was given up, its `open` means nothing.
    Void,
}

/// One marker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Marker {
    /// What it says.
    pub kind: MarkerKind,
    /// The context it is about.
    pub context: ContextName,
    /// The ownership that begins, or never began.
    pub epoch: Epoch,
}

impl MarkerKind {
    const ALL: [Self; 3] = [Self::Open, Self::Seal, Self::Void];

    /// Its word in headers and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Seal => "seal",
            Self::Void => "void",
        }
    }
}

impl Marker {
    /// The message that puts the marker into `queue`. Its id is the same every time: putting it again is harmless.
    pub fn message(&self, queue: &str) -> Message {
        let id = format!("banyan-{}-{}-{}", self.kind.as_str(), self.context, self.epoch);
        Message::new("", queue, Vec::new())
            .persistent()
            .message_id(id)
            .header(KIND_HEADER, self.kind.as_str())
            .header(CONTEXT_HEADER, self.context.as_str())
            .header(EPOCH_HEADER, self.epoch.to_string())
    }

    /// The marker that a message of a raw queue is, if it is one.
    pub(super) fn read(message: &Message) -> Option<Self> {
        if !message.exchange.is_empty() {
            return None;
        }
        let kind = message.text_header(KIND_HEADER)?;
        let kind = MarkerKind::ALL.into_iter().find(|known| known.as_str() == kind)?;
        let context = ContextName::new(message.text_header(CONTEXT_HEADER)?).ok()?;
        let epoch = Epoch(message.text_header(EPOCH_HEADER)?.parse().ok()?);
        Some(Self { kind, context, epoch })
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({}) of `{}`", self.kind.as_str(), self.epoch, self.context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_read_back_and_only_from_the_default_exchange() {
        let context = ContextName::new("messages").unwrap();
        for kind in MarkerKind::ALL {
            let marker = Marker { kind, context: context.clone(), epoch: Epoch(7) };
            let mut message = marker.message("raw");
            assert_eq!(Marker::read(&message), Some(marker));
            "semantic-events".clone_into(&mut message.exchange);
            assert_eq!(Marker::read(&message), None, "an application cannot forge one");
        }
        assert_eq!(Marker::read(&Message::new("", "raw", b"{}".to_vec())), None);
    }
}
