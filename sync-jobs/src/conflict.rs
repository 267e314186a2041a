//! Aggregates that both sides wrote: the owner's application on the source, and somebody on the target.
//!
//! A worker never overwrites what an application wrote on the target. It sets the aggregate aside in `by_conflict`, in
//! the transaction that would have written it, and goes on with the others; people look at the rows and decide.
//!
//! What must stay true: overruling deletes the target's marks before the aggregate is marked on the source and forgets the
//! conflict last, so that a crash in between leaves it listed and never lost.

use banyan_engine::RootKey;

use crate::aggregate::{self, ReadFor};
use crate::drain;
use crate::error::SyncError;
use crate::install;
use crate::job::Job;
use crate::row_diff::row_diffs;
use crate::shape;
use crate::verify::KeyDiff;

/// Row differences shown per root.
const ROWS_PER_KEY: usize = 20;
/// Roots that are overruled in one go.
const KEYS_PER_CHUNK: usize = 500;
/// The origin of marks that overruling makes.
const OVERRULED: &str = "overruled";

/// Aggregates that are set aside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conflicts {
    /// How many there are.
    pub total: u64,
    /// The first of them: what the source says and what the target has.
    pub keys: Vec<KeyDiff>,
}

impl Job {
    /// The aggregates that both sides wrote, the first `limit` with their rows.
    ///
    /// # Errors
    /// No connection, or a job that is not installed.
    pub async fn conflicts(&self, limit: usize) -> Result<Conflicts, SyncError> {
        let job = &self.inner;
        let mut source = job.connect_source().await?;
        let mut target = job.connect_target().await?;
        if !install::all_exist(&mut target, &install::STATE_TABLES).await? {
            return Err(job.state.missing());
        }
        let total = job.state.count_conflicts(&mut target).await?;
        let shapes = shape::resolve(&job.spec, job.to, &mut source, &mut target).await?;
        let bytes = job.spec.limits.bytes_per_aggregate;
        let mut keys = Vec::new();
        for key in job.state.conflicts(&mut target, limit).await? {
            let one = std::slice::from_ref(&key);
            source.begin_snapshot().await?;
            let want =
                aggregate::read_source(&mut source, &shapes, &job.spec.key, one, bytes).await?;
            source.commit().await?;
            let read = ReadFor::Compare;
            let have = aggregate::read_target(&mut target, &shapes, one, read, bytes).await?;
            let mut rows = Vec::new();
            if let (Ok(have), Ok(want)) = (have, want) {
                let diffs = aggregate::differences(&shapes, &have, &want);
                let found = shapes.iter().zip(&diffs);
                rows.extend(found.flat_map(|(shape, diff)| row_diffs(shape, diff, ROWS_PER_KEY)));
                rows.truncate(ROWS_PER_KEY);
            }
            keys.push(KeyDiff { key: key.to_string(), rows });
        }
        Ok(Conflicts { total: u64::try_from(total).unwrap_or(0), keys })
    }

    /// Decides conflicts for the source: the next drain overwrites what the target has. Answers how many of the keys were
    /// in conflict.
    ///
    /// # Errors
    /// No connection, or a job that is not installed.
    pub async fn overrule(&self, keys: &[String]) -> Result<u64, SyncError> {
        let job = &self.inner;
        let mut source = job.connect_source().await?;
        let mut target = job.connect_target().await?;
        let known: Vec<RootKey> = keys.iter().map(|key| RootKey::new(key.as_str())).collect();
        let mut done = 0;
        for chunk in known.chunks(KEYS_PER_CHUNK) {
            let listed = job.state.conflicts_of(&mut target, chunk).await?;
            if listed.is_empty() {
                continue;
            }
            drain::overrule(&mut target, &job.spec.name, &listed).await?;
            drain::enqueue(&mut source, &job.spec.name, &listed, OVERRULED).await?;
            job.state.forget_conflicts(&mut target, &listed).await?;
            done += listed.len();
        }
        Ok(u64::try_from(done).unwrap_or(u64::MAX))
    }

    /// Whether the mapping describes both directions.
    pub fn is_two_way(&self) -> bool {
        self.inner.spec.is_two_way()
    }
}
