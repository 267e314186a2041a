//! The history of the route table: who changed, or tried to change, what.
//!
//! Owns the records of generations and of the audit, and the words they use. It exists because at 3 a.m.
//! the first question is who moved it. The audit is append-only, also for the database itself.

use banyan_domain::change::Moved;
use banyan_domain::{Actor, Change, EndpointName, Generation, RouteTable};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A change that was made (or was already so).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// The table now.
    pub table: RouteTable,
    /// What the change did.
    pub effect: banyan_domain::change::Effect,
}

/// One generation, without its table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationRecord {
    /// Its number.
    pub generation: Generation,
    /// When it was made, Unix ms.
    pub at_ms: u64,
    /// Who made it.
    pub actor: String,
    /// The reason that was given, may be empty.
    pub reason: String,
    /// What made it: the word of [`action`].
    pub action: String,
    /// What moved, in words.
    pub detail: String,
}

/// How a try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditOutcome {
    /// It is so now.
    Done,
    /// A safety rule said no.
    Refused,
    /// The caller had seen an older generation.
    Stale,
}

impl AuditOutcome {
    /// All outcomes.
    pub const ALL: [Self; 3] = [Self::Done, Self::Refused, Self::Stale];

    /// `done`, `refused` or `stale`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Stale => "stale",
        }
    }

    /// The outcome that a word names, or nothing.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }
}

impl fmt::Display for AuditOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One try to change the route table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its number; later tries have greater ones.
    pub id: u64,
    /// When, Unix ms.
    pub at_ms: u64,
    /// Who.
    pub actor: String,
    /// The reason that was given, may be empty.
    pub reason: String,
    /// `flip`, `rollback`, `arm`, `hold`, `disarm`, `move-owner`, `freeze`, `unfreeze`, `adopt` or `restore`.
    pub action: String,
    /// The endpoint or context it was about; empty when it was about the whole table.
    pub target: String,
    /// How it ended.
    pub outcome: AuditOutcome,
    /// Generation before.
    pub before: Generation,
    /// Generation after; the same when nothing changed.
    pub after: Generation,
    /// What moved, or why not, in words.
    pub detail: String,
}

/// Who tries a change, when and why.
pub fn actor(name: &str, reason: &str, at_ms: u64) -> Actor {
    Actor { name: name.to_owned(), reason: reason.to_owned(), at_ms }
}

/// The word for a change: the same in CLI, API and audit.
pub const fn action(change: &Change) -> &'static str {
    match change {
        Change::Flip { .. } => "flip",
        Change::RollbackEndpoint { .. } | Change::RollbackContext { .. } => "rollback",
        Change::Arm { .. } => "arm",
        Change::Hold { .. } => "hold",
        Change::Disarm { .. } => "disarm",
        Change::MoveOwner { .. } => "move-owner",
        Change::Freeze => "freeze",
        Change::Unfreeze => "unfreeze",
        Change::Adopt => "adopt",
    }
}

/// The endpoint or context that a change is about, empty for the whole table.
pub fn target(change: &Change) -> String {
    match change {
        Change::Flip { endpoint, .. } | Change::RollbackEndpoint { endpoint } => {
            endpoint.to_string()
        }
        Change::RollbackContext { context }
        | Change::Arm { context, .. }
        | Change::Hold { context, .. }
        | Change::Disarm { context, .. }
        | Change::MoveOwner { context, .. } => context.to_string(),
        Change::Freeze | Change::Unfreeze | Change::Adopt => String::new(),
    }
}

/// What was wanted, in words, for tries that came to nothing.
pub fn wish(change: &Change) -> String {
    match change {
        Change::Flip { endpoint, to } => format!("{endpoint} -> {to}"),
        Change::Arm { context, epoch }
        | Change::Hold { context, epoch }
        | Change::Disarm { context, epoch } => {
            format!("{} {context} for epoch {epoch}", action(change))
        }
        Change::MoveOwner { context, to, epoch } => format!("{context} -> {to} at epoch {epoch}"),
        Change::RollbackEndpoint { .. }
        | Change::RollbackContext { .. }
        | Change::Freeze
        | Change::Unfreeze
        | Change::Adopt => format!("{} {}", action(change), target(change)).trim_end().to_owned(),
    }
}

/// What a change did, in words: `messages.list: shadow -> canary 10%`.
pub fn describe(change: &Change, moved: &[Moved], changed: bool) -> String {
    if !changed {
        return format!("{}: already so", wish(change));
    }
    match change {
        Change::Flip { .. } | Change::RollbackEndpoint { .. } | Change::RollbackContext { .. } => {
            moved.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        }
        Change::Arm { .. } | Change::MoveOwner { .. } => wish(change),
        Change::Hold { context, epoch } => {
            format!("new writes of {context} are held for epoch {epoch}")
        }
        Change::Disarm { context, epoch } => {
            format!("the cutover of {context} to epoch {epoch} was given up")
        }
        Change::Freeze => "forward flips are refused".to_owned(),
        Change::Unfreeze => "forward flips are allowed".to_owned(),
        Change::Adopt => "took in what the file declares".to_owned(),
    }
}

/// The endpoints that a committed change moved.
pub fn moved_names(moved: &[Moved]) -> Vec<EndpointName> {
    moved.iter().map(|step| step.endpoint.clone()).collect()
}
