//! States of a row, and how a row comes back as a message.

use banyan_events::broker::{Message, Properties};

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
    /// Given up after too many tries. Holds its lane until an operator retries or drops it.
    Dead,
    /// Given up for good by an operator.
    Dropped,
}

/// What the relay needs of a row.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) lane: Vec<u8>,
    pub(crate) routing_key: String,
    pub(crate) properties: String,
    pub(crate) body: Vec<u8>,
    pub(crate) attempts: i64,
}

impl RowState {
    /// Its word in the column `state`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::Muted => "muted",
            Self::Dead => "dead",
            Self::Dropped => "dropped",
        }
    }
}

impl Row {
    /// The message as it was built when the event was emitted.
    pub(crate) fn message(&self, exchange: &str) -> Result<Message, OutboxError> {
        let broken = |_| OutboxError::Row { table: "banyan_outbox", what: "properties" };
        let properties: Properties = serde_json::from_str(&self.properties).map_err(broken)?;
        let message = Message::new(exchange, &self.routing_key, self.body.clone());
        Ok(message.properties(properties).mandatory())
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
        }
    }
}

impl AnyRow for Row {
    fn weight_bytes(&self) -> usize {
        self.lane.len() + self.routing_key.len() + self.properties.len() + self.body.len()
    }
}
