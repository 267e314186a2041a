//! Where others look on: raw answers of rechecks, in memory only.
//!
//! Owns the port through which noise statistics and suggestions see what they learn from. It exists because both need
//! whole answers, and nothing that is stored has them. What must stay true: an observer sees what was compared anyway, on
//! the task that compared it; it must not wait, and whatever it keeps or writes goes through [`crate::Redaction`] first.

use crate::{Answer, MirrorRequest};
use banyan_diff::{Comparison, RuleSet};
use banyan_domain::{ContextName, EndpointName};

/// Which read the answers belong to.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The context of the endpoint.
    pub context: &'a ContextName,
    /// The endpoint.
    pub endpoint: &'a EndpointName,
    /// The request as it was sent to both sides; holds credentials.
    pub request: &'a MirrorRequest,
    /// The rules of the endpoint.
    pub rules: &'a RuleSet,
    /// When the client was answered, in Unix ms.
    pub at_ms: u64,
}

/// A confirmed mismatch, with the answers of its last comparison.
#[derive(Debug, Clone, Copy)]
pub struct Confirmed<'a> {
    /// Which read.
    pub seen: Seen<'a>,
    /// What is reported: only the differences that stood until the end.
    pub comparison: &'a Comparison,
    /// Legacy's answer, raw.
    pub legacy: &'a Answer,
    /// New's answer, raw.
    pub new: &'a Answer,
}

/// Two answers of legacy to one request, one right after the other, and new's answer read between them.
#[derive(Debug, Clone, Copy)]
pub struct LegacyPair<'a> {
    /// Which read.
    pub seen: Seen<'a>,
    /// Legacy's answer before.
    pub before: &'a Answer,
    /// New's answer, read between the two.
    pub new: &'a Answer,
    /// Legacy's answer after.
    pub after: &'a Answer,
}

/// Looks on. Called on worker tasks, sometimes on a thread of the blocking pool; must be quick and must not wait.
pub trait Observer: Send + Sync {
    /// A mismatch is confirmed. Called once per mismatch, before it is counted.
    fn confirmed(&self, _confirmed: &Confirmed<'_>) {}

    /// Legacy was read twice. Called for each round of a recheck in a context that legacy owns.
    fn legacy_pair(&self, _pair: &LegacyPair<'_>) {}
}
