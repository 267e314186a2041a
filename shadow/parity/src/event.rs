//! One event as the forwarder's log has it.
//!
//! Owns no rule. It exists so that this crate knows neither broker nor database: the binary copies the fields over. What must
//! stay true: `at_ms` and `row` come from one log, so that the events of one side can be put in the order in which they came.

use banyan_domain::Side;

/// An event of one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its row in the log; later events have greater ones.
    pub row: i64,
    /// Who published it.
    pub side: Side,
    /// When the forwarder saw it, Unix time.
    pub at_ms: i64,
    /// What happened, such as `message.sent`.
    pub kind: String,
    /// What it is paired by; nothing when a part of the key is missing in it.
    pub key: Option<EventKey>,
    /// MIME type of the body.
    pub content_type: Option<String>,
    /// The payload; nothing when it was too long for the log.
    pub body: Option<Vec<u8>>,
}

/// What an event is paired by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventKey {
    /// All parts, as one text whose borders are unambiguous.
    pub text: String,
    /// The parts that say what it happened to; the order of events counts among equal ones.
    pub subject: String,
    /// The parts as a report names them: label and value, the value not redacted.
    pub parts: Vec<(String, String)>,
}

impl Event {
    /// Bytes that it holds, for limits.
    pub(crate) fn weight(&self) -> usize {
        self.body.as_ref().map_or(0, Vec::len) + 256
    }

    /// The place in its side's stream.
    pub(crate) fn place(&self) -> (i64, i64) {
        (self.at_ms, self.row)
    }
}
