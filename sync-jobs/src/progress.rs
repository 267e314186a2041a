//! What a run tells others: progress for people, watermarks for the proxy, records for history.
//!
//! Both are ports, so the engine knows neither a terminal nor the control store.
//!
//! What must stay true: `watermark_ms` is conservative. It is the source's clock taken *before* the
//! snapshot of a drain, and moves only when everything in that snapshot's change table was applied; so
//! every change committed up to it can be read on the target.

use async_trait::async_trait;
use banyan_domain::Side;

/// What a job does right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobState {
    /// Connecting and checking.
    Starting,
    /// Waits for another worker's lease.
    Waiting,
    /// Enumerates root keys for the first copy.
    Listing,
    /// First copy, interleaved with the drain.
    Copying,
    /// Drains changes as they come.
    Following,
    /// Compares both sides.
    Verifying,
    /// The last step failed; it is tried again.
    Failing,
    /// Ended as asked.
    Done,
    /// Ended early, at a checkpoint.
    Stopped,
}

/// Rows written so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Rows inserted on the target.
    pub rows_inserted: u64,
    /// Rows updated on the target.
    pub rows_updated: u64,
    /// Rows deleted on the target.
    pub rows_deleted: u64,
    /// Target transactions.
    pub batches: u64,
    /// Change rows of the source that were applied and deleted.
    pub changes_applied: u64,
    /// Aggregates looked at.
    pub roots_applied: u64,
}

impl Counters {
    /// All rows written.
    pub fn rows(&self) -> u64 {
        self.rows_inserted + self.rows_updated + self.rows_deleted
    }
}

/// One observation of a run; each replaces the one before.
#[derive(Debug, Clone, PartialEq)]
pub struct ProgressEvent {
    /// The job.
    pub job: String,
    /// Its context.
    pub context: String,
    /// The target side.
    pub to: Side,
    /// What the job does.
    pub state: JobState,
    /// Why it waits or fails.
    pub reason: Option<String>,
    /// Root keys of the first copy (or of a verify) that are done.
    pub done: u64,
    /// All root keys of the first copy; 0 while it is not known.
    pub total: u64,
    /// Rows written per second, smoothed.
    pub rows_per_second: f64,
    /// How far the target is behind; `None` before the first full drain.
    pub lag_ms: Option<i64>,
    /// Change rows seen and not applied yet.
    pub pending: u64,
    /// Rows written by this run.
    pub counters: Counters,
}

/// Up to when the target has everything; the proxy's read-your-writes test reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    /// The job.
    pub job: String,
    /// Its context.
    pub context: String,
    /// The target side.
    pub to: Side,
    /// Source time, Unix milliseconds; all changes committed up to it are applied. 0: not copied yet.
    pub watermark_ms: i64,
    /// Source clock minus `watermark_ms`; -1 while there is no watermark.
    pub lag_ms: i64,
    /// What the job does.
    pub state: JobState,
    /// Why it waits or fails.
    pub reason: Option<String>,
    /// Change rows seen and not applied yet.
    pub pending: u64,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunOutcome {
    /// Everything was applied.
    Done,
    /// Stopped at a checkpoint because it was told to.
    Stopped,
    /// Gave up.
    Failed,
}

/// One finished run, for the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRecord {
    /// The job.
    pub job: String,
    /// Its context.
    pub context: String,
    /// The target side.
    pub to: Side,
    /// Start, Unix milliseconds of this machine.
    pub started_ms: i64,
    /// End, Unix milliseconds of this machine.
    pub ended_ms: i64,
    /// How it ended.
    pub outcome: RunOutcome,
    /// The last error with its causes.
    pub error: Option<String>,
    /// What it wrote.
    pub counters: Counters,
}

/// Shows progress. Called often; must return at once.
pub trait Progress: Send + Sync {
    /// The run is here now.
    fn observe(&self, event: ProgressEvent);
}

/// A store refused a watermark or a record; the run goes on and logs it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProgressStoreError(pub String);

/// Keeps watermarks and records where the proxy and `status` can read them.
#[async_trait]
pub trait ProgressStore: Send + Sync {
    /// Replaces the watermark of the job and direction.
    async fn save_watermark(&self, watermark: &Watermark) -> Result<(), ProgressStoreError>;
    /// Adds a finished run to the history.
    async fn save_run(&self, run: &RunRecord) -> Result<(), ProgressStoreError>;
}

/// Shows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn observe(&self, _event: ProgressEvent) {}
}

/// Keeps nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgressStore;

#[async_trait]
impl ProgressStore for NoProgressStore {
    async fn save_watermark(&self, _watermark: &Watermark) -> Result<(), ProgressStoreError> {
        Ok(())
    }

    async fn save_run(&self, _run: &RunRecord) -> Result<(), ProgressStoreError> {
        Ok(())
    }
}

impl JobState {
    /// The state as a word of the output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Waiting => "waiting",
            Self::Listing => "listing",
            Self::Copying => "copying",
            Self::Following => "following",
            Self::Verifying => "verifying",
            Self::Failing => "failing",
            Self::Done => "done",
            Self::Stopped => "stopped",
        }
    }
}

impl RunOutcome {
    /// The outcome as a word of the output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}
