//! States of a row, and how a row comes back as a message.

use banyan_events::broker::{Message, Properties};
use banyan_events::forwarder::MUTED_HEADER;

use crate::engine::AnyRow;
use crate::error::OutboxError;

/// Where a row is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RowState {
    /// To be published.
    Ready,
    /// Failed; tried again later. Holds its lane.
    Waiting,
    /// Published and confirmed.
    Sent,
    /// Not this side's to announce; kept for parity.
    Muted,
    /// Muted, and published with the flag that keeps it from ever being announced.
    Parity,
    /// Muted, and given up after too many tries to publish it for parity.
    Silent,
    /// Given up after too many tries. Holds its lane until an operator retries or drops it.
    Dead,
    /// Given up for good by an operator.
    Dropped,
}

/// States from which a row is published to be announced.
const PUBLISHED: [RowState; 2] = [RowState::Ready, RowState::Waiting];

/// What the relay needs of a row.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) lane: Vec<u8>,
    pub(crate) routing_key: String,
    pub(crate) properties: String,
    pub(crate) body: Vec<u8>,
    pub(crate) attempts: i64,
    pub(crate) state: String,
}

impl RowState {
    /// Its word in the column `state`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::Muted => "muted",
            Self::Parity => "parity",
            Self::Silent => "silent",
            Self::Dead => "dead",
            Self::Dropped => "dropped",
        }
    }
}

impl Row {
    /// The message as it was built when the event was emitted. A row that was not this side's to announce is flagged,
    /// by whichever way it gets here.
    pub(crate) fn message(&self, exchange: &str) -> Result<Message, OutboxError> {
        let broken = |_| OutboxError::Row { table: "banyan_outbox", what: "properties" };
        let properties: Properties = serde_json::from_str(&self.properties).map_err(broken)?;
        let message = Message::new(exchange, &self.routing_key, self.body.clone());
        let message = message.properties(properties).mandatory();
        let is_announced = PUBLISHED.iter().any(|state| self.state == state.as_str());
        Ok(if is_announced { message } else { message.header(MUTED_HEADER, "1") })
    }
}

#[cfg(test)]
impl Row {
    /// A row of which only id and lane matter.
    pub(crate) fn of_lane(id: i64, lane: u8) -> Self {
        Self {
            id,
            lane: vec![lane],
            routing_key: String::new(),
            properties: String::new(),
            body: Vec::new(),
            attempts: 0,
            state: RowState::Ready.as_str().to_owned(),
        }
    }
}

impl AnyRow for Row {
    fn weight_bytes(&self) -> usize {
        self.lane.len() + self.routing_key.len() + self.properties.len() + self.body.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_row_of_the_owner_leaves_without_the_flag() {
        let states = [
            (RowState::Ready, false),
            (RowState::Waiting, false),
            (RowState::Sent, true),
            (RowState::Muted, true),
            (RowState::Parity, true),
            (RowState::Silent, true),
            (RowState::Dead, true),
            (RowState::Dropped, true),
        ];
        for (state, flagged) in states {
            let mut row = Row::of_lane(1, 1);
            row.properties = serde_json::to_string(&Properties::default()).unwrap_or_default();
            row.state = state.as_str().to_owned();
            let message = row.message("raw").ok();
            let found = message.map(|message| message.has_header(MUTED_HEADER));
            assert_eq!(found, Some(flagged), "{state:?}");
        }
    }
}
