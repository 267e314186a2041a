//! What the protocol needs of the world: fences, route table, sync, verify, sequences, markers, audit, clock.
//!
//! Owns the trait that adapters implement for one context, its answers and its one error. It exists so that the real
//! run, the dry run, the simulation and the model check are the same code. What must stay true for every adapter: each
//! call may be repeated, also after a reply was lost; a call that returned an error may or may not have happened, and
//! the next reading tells; every call ends within a limit of its own.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use banyan_domain::{ContextName, Epoch, Side};
use serde::Serialize;

use crate::fence::{Fence, Move};
use crate::step::{MarkerKind, RouteMove, Step};
use crate::switch::Switch;

/// The world of one context.
#[async_trait]
pub trait Ports: Send + Sync {
    /// The context that is switched.
    fn context(&self) -> &ContextName;

    /// The fence of one side, as committed now. An unreachable side is an error that names it.
    async fn fence(&self, side: Side) -> Result<Fence, PortError>;

    /// What the control store says about the context, and how far the proxies are.
    async fn route(&self) -> Result<Route, PortError>;

    /// What the forwarder has acted on; `None` when no events of the context go through a forwarder.
    async fn standing(&self) -> Result<Option<Standing>, PortError>;

    /// The checks before a switch. They change nothing.
    async fn preflight(&self, switch: &Switch) -> Result<Vec<Check>, PortError>;

    /// One compare-and-set on a fence row with the meaning of [`Fence::moved`], waiting at most `lock_wait` for the
    /// transactions that read the row.
    async fn change_fence(
        &self,
        side: Side,
        wanted: Move,
        lock_wait: Duration,
    ) -> Result<FenceChange, PortError>;

    /// Changes the route table; returns when every live proxy acknowledged it, or after `ack_wait` with those that did
    /// not. Repeating a change that is there already is no error.
    async fn change_route(
        &self,
        switch: &Switch,
        wanted: RouteMove,
        ack_wait: Duration,
    ) -> Result<Acknowledged, PortError>;

    /// While writes go on: moves what is waiting and compares what changed, so that the hold has little left to do.
    async fn catch_up(&self, switch: &Switch, within: Duration) -> Result<Drained, PortError>;

    /// Moves `from`'s last rows. Called only while `from` is closed at the epoch of the switch, so an empty change
    /// table is final. Each apply must check that the target's fence is as it was read and not open.
    async fn drain(&self, switch: &Switch, within: Duration) -> Result<Drained, PortError>;

    /// Compares the aggregates that changed since the last clean comparison.
    async fn verify(&self, switch: &Switch, within: Duration) -> Result<Verified, PortError>;

    /// Raises the target's sequences above the highest numbers of `from`. Never lowers one.
    async fn raise_sequences(&self, switch: &Switch) -> Result<u64, PortError>;

    /// Puts a marker into a side's raw queue; returns when the broker has it.
    async fn put_marker(&self, side: Side, kind: MarkerKind, epoch: Epoch)
    -> Result<(), PortError>;

    /// Events that a side has committed and not yet published to its raw queue (its outbox).
    async fn unpublished(&self, side: Side) -> Result<u64, PortError>;

    /// Makes the sync run from the new owner to the last one. It may come long after the decision, by a run that took
    /// up what another had left, so it must not vouch for more than is still known.
    async fn turn_sync(&self, switch: &Switch) -> Result<(), PortError>;

    /// One line of the audit and of the run's row. A failure is reported and never stops a switch. It is called while
    /// writes are held, so it must be quick: better queue the line than wait for a disk.
    async fn record(&self, record: &Record) -> Result<(), PortError>;

    /// The wall clock in ms, that of [`Route::changed_ms`].
    fn now_ms(&self) -> u64;

    /// Waits before the next reading.
    async fn pause(&self, wait: Duration);

    /// Named pause point: the step's effect is there, nothing has followed from it. Crash tests die here.
    async fn done(&self, step: Step) {
        let _ = step;
    }
}

/// The context's entry in the route table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Route {
    /// The owner.
    pub owner: Side,
    /// Number of its ownership.
    pub epoch: Epoch,
    /// Set while a switch to this epoch may come.
    pub armed: Option<Epoch>,
    /// Whether the proxies hold the context's writes.
    pub holding: bool,
    /// When the entry changed last: while holding, when the hold began.
    pub changed_ms: u64,
    /// Live proxies that have not acknowledged this entry.
    pub missing: Vec<String>,
    /// Writes of the context under way to a side, in all proxies. Held writes do not count.
    pub in_flight: u64,
}

/// Who emits the context's events, as the forwarder has acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Standing {
    /// The side.
    pub owner: Side,
    /// The ownership.
    pub epoch: Epoch,
    /// Whether the owner's `open` was met.
    pub opened: bool,
    /// The last epoch that was given up.
    pub voided: Epoch,
}

/// Result of a change of a fence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FenceChange {
    /// The row changed to this.
    Done(Fence),
    /// The row is in another state than the move starts from; nothing changed. After a lost reply this is how a
    /// repeated move is answered.
    NotApplicable(Fence),
    /// A transaction kept the row locked for longer than the wait; nothing changed.
    Blocked {
        /// The sessions that hold the lock, as their database names them.
        by: Vec<String>,
    },
}

/// How far a change of the route table came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Acknowledged {
    /// Proxies that applied it.
    pub applied: u64,
    /// Live proxies.
    pub of: u64,
    /// Those that did not answer in time.
    pub missing: Vec<String>,
    /// How long it took.
    pub elapsed_ms: u64,
}

/// What a drain did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Drained {
    /// Rows written to the target.
    pub rows: u64,
    /// Change rows that are left; zero is the end.
    pub pending: u64,
    /// Aggregates that could not be written, by key and reason. Any stops the switch.
    pub conflicts: Vec<String>,
    /// Who has to write what is left.
    pub workers: Vec<String>,
}

impl fmt::Display for Drained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows moved, {} waiting", self.rows, self.pending)?;
        if self.pending > 0 && !self.workers.is_empty() {
            write!(f, " for {}", self.workers.join(", "))?;
        }
        Ok(())
    }
}

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Whether everything that was compared is equal.
    pub equal: bool,
    /// Aggregates compared.
    pub checked: u64,
    /// Root keys that differ, cut to a few.
    pub differing: Vec<String>,
}

/// Verdict of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckVerdict {
    /// Fine.
    Ok,
    /// Worth a look; it does not stop the switch.
    Warn,
    /// Stops the switch, unless a person overrides it with a reason.
    Fail,
    /// Stops the switch whatever anybody says: data or events would be lost.
    Never,
}

/// One check before a switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// How it came out.
    pub verdict: CheckVerdict,
    /// What was seen.
    pub detail: String,
    /// What to do about it: the next command. Empty when it is fine.
    pub remedy: String,
}

/// One line of the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    /// The switch it is about.
    pub switch: Switch,
    /// The step.
    pub step: Step,
    /// What became of it.
    pub outcome: RecordOutcome,
    /// For people; no row data.
    pub detail: String,
    /// How long the step took.
    pub elapsed_ms: u64,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordOutcome {
    /// It was done.
    Done,
    /// It failed; before the decision the switch is then given up.
    Failed,
    /// Somebody else had done or undone it already.
    Overtaken,
    /// It is tried again.
    Retried,
}

impl RecordOutcome {
    /// Its word in the audit.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Overtaken => "overtaken",
            Self::Retried => "retried",
        }
    }
}

/// Why a port did not do it. What became of the call is then unknown; the next reading tells.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// It cannot be reached; trying again may help.
    #[error("`{what}` cannot be reached: {reason}")]
    Unreachable {
        /// A side's database, the control store, the broker, the forwarder's store.
        what: String,
        /// Its own words.
        reason: String,
    },
    /// It is reachable and says no; trying again does not help.
    #[error("`{what}` refuses: {reason}")]
    Refused {
        /// Who.
        what: String,
        /// The stable code.
        code: String,
        /// Why.
        reason: String,
        /// The next command.
        hint: String,
    },
    /// It did not end within its limit.
    #[error("`{what}` did not end within {after_ms} ms, waiting for {waiting_for}")]
    TimedOut {
        /// What was done.
        what: String,
        /// The limit.
        after_ms: u64,
        /// What it was waiting for.
        waiting_for: String,
    },
}

impl PortError {
    /// Whether the same call may succeed a little later.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } => true,
            Self::Refused { .. } => false,
        }
    }
}
