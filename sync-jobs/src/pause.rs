//! Named points of a run at which a test can stop it.
//!
//! Races and crashes are tested at these points, not with sleeps: a test's port never returns at one of
//! them and drops the run, which is what `kill -9` does to a process there.
//!
//! What must stay true: every step between two commits has a point before and after it.

use async_trait::async_trait;

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PausePoint {
    /// Before a batch of listed root keys is written to the work list.
    BeforeListWrite,
    /// After the listing, before the phase moves to copying.
    BeforeListDone,
    /// Before the snapshot of a chunk or drain batch.
    BeforeSnapshot,
    /// After the source's aggregates were read, before the target's transaction.
    AfterSourceRead,
    /// After the target's rows were written, before the commit.
    BeforeCommit,
    /// After the commit, before the change rows are deleted.
    BeforeDelete,
    /// After the change rows were deleted.
    AfterDelete,
}

impl PausePoint {
    /// All points, in the order of a run.
    pub const ALL: [Self; 7] = [
        Self::BeforeListWrite,
        Self::BeforeListDone,
        Self::BeforeSnapshot,
        Self::AfterSourceRead,
        Self::BeforeCommit,
        Self::BeforeDelete,
        Self::AfterDelete,
    ];
}

/// Is told where the run is, and may hold it there.
#[async_trait]
pub trait Pause: Send + Sync {
    /// The run reached this point and goes on when this returns.
    async fn reach(&self, point: PausePoint);
}

/// Never holds.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPause;

#[async_trait]
impl Pause for NoPause {
    async fn reach(&self, _point: PausePoint) {}
}
