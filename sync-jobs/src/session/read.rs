//! Reads of the source: marks and the rows of roots, in one snapshot.
//!
//! Apart from the session, because the next batch is read while the session writes the one before.
//!
//! What must stay true: the clock is read before the snapshot, the identity of the triggers after the marks; the
//! rows of a batch are bounded by the job's limits.

use banyan_engine::{KeyedRows, RootKey};

use crate::aggregate::{self, Tables};
use crate::connection::{Connection, TooHeavy};
use crate::drain::{self, Changes};
use crate::error::SyncError;
use crate::install;
use crate::job::JobInner;
use crate::pause::PausePoint;
use crate::shape::TableShape;

/// The rows of some roots, unless they are too heavy to hold.
pub(super) type Read = Result<Tables, TooHeavy>;

/// A batch of marks with the rows of its roots.
pub(super) struct Marked {
    /// The source's clock before the snapshot.
    pub(super) clock_ms: i64,
    pub(super) changes: Changes,
    /// The triggers that made the marks.
    pub(super) identity: String,
    pub(super) read: Read,
}

/// What a read needs to know of its session.
pub(super) struct Reader<'a> {
    job: &'a JobInner,
    shapes: &'a [TableShape],
    changes_limit: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn of(job: &'a JobInner, shapes: &'a [TableShape], changes_limit: usize) -> Self {
        Self { job, shapes, changes_limit }
    }

    /// Begins a snapshot, reads a batch of marks and their roots in it; the caller ends the snapshot.
    pub(super) async fn begin(&self, source: &mut Connection) -> Result<Marked, SyncError> {
        // The clock comes first: what commits after it may be in the snapshot, but need not be.
        let clock_ms = source.clock_ms().await?;
        self.job.ports.pause.reach(PausePoint::BeforeSnapshot).await;
        source.begin_snapshot().await?;
        let changes = drain::read(source, &self.job.spec.name, self.changes_limit).await?;
        // After the marks were read: whatever is not among them was captured by these triggers.
        let identity = install::check_capture(self.job, source).await?;
        let keys = if changes.truncated { &[] } else { changes.keys.as_slice() };
        let read = self.rows(source, keys).await?;
        Ok(Marked { clock_ms, changes, identity, read })
    }

    /// Reads the roots in the running snapshot.
    pub(super) async fn rows(
        &self,
        source: &mut Connection,
        keys: &[RootKey],
    ) -> Result<Read, SyncError> {
        if keys.is_empty() {
            return Ok(Ok(self.shapes.iter().map(|_| KeyedRows::default()).collect()));
        }
        let bytes_max = self.job.bytes_max(keys.len());
        aggregate::read_source(source, self.shapes, &self.job.spec.key, keys, bytes_max).await
    }
}
