//! Level 3 of verify: judges doubtful roots by stable windows, with their rows.
//!
//! What must stay true: source, target, source again, and pending changes are looked at in this order; every
//! root ends as equal, differing or hot within a bounded number of windows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use banyan_engine::{AggregateHash, Look, RootKey, StableWindow, Verdict};
use tokio::time::sleep;

use super::level::Verifier;
use super::{KEPT_KEYS_MAX, KeyDiff};
use crate::aggregate::{self, ReadFor, Tables};
use crate::connection::TooHeavy;
use crate::drain;
use crate::error::SyncError;
use crate::row_diff::row_diffs;

/// Row differences shown per root.
const ROWS_PER_KEY: usize = 20;
/// Roots whose rows are held at once; halved when they are too heavy.
const KEYS_AT_ONCE: usize = 100;

/// One look at the source's rows of some roots.
struct Seen {
    hashes: BTreeMap<RootKey, AggregateHash>,
    pending: BTreeSet<RootKey>,
}

impl Verifier {
    /// Judges doubtful roots by stable windows.
    pub(super) async fn settle(&mut self, doubtful: Vec<RootKey>) -> Result<(), SyncError> {
        let windows = self.options.windows.max(2);
        let mut open: BTreeMap<RootKey, StableWindow> =
            doubtful.into_iter().map(|key| (key, StableWindow::new(windows))).collect();
        let mut wait = self.options.window_wait;
        while !open.is_empty() {
            let keys: Vec<RootKey> = open.keys().cloned().collect();
            for chunk in keys.chunks(KEYS_AT_ONCE) {
                self.look_again(chunk, &mut open).await?;
            }
            if !open.is_empty() {
                sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(1));
            }
        }
        Ok(())
    }

    async fn look_again(
        &mut self,
        keys: &[RootKey],
        open: &mut BTreeMap<RootKey, StableWindow>,
    ) -> Result<(), SyncError> {
        let looks = (
            self.look_source(keys).await?,
            self.look_target(keys).await?,
            self.look_source(keys).await?,
        );
        let (Ok(before), Ok(target), Ok(after)) = looks else {
            return self.look_at_halves(keys, open).await;
        };
        for key in keys {
            let (Some(before), Some(after), Some(found)) =
                (before.look(key), after.look(key), target.get(key))
            else {
                continue;
            };
            let Some(window) = open.get_mut(key) else { continue };
            match window.observe(before, *found, after) {
                Verdict::Again => continue,
                Verdict::Equal => self.report.equal += 1,
                Verdict::Differs => self.differs(key).await?,
                Verdict::Hot => self.hot(key),
            }
            open.remove(key);
        }
        Ok(())
    }

    async fn look_at_halves(
        &mut self,
        keys: &[RootKey],
        open: &mut BTreeMap<RootKey, StableWindow>,
    ) -> Result<(), SyncError> {
        if let [key] = keys {
            let limit_bytes = self.job.spec.limits.bytes_per_aggregate;
            return Err(SyncError::AggregateTooLarge { key: key.to_string(), limit_bytes });
        }
        let (left, right) = keys.split_at(keys.len() / 2);
        Box::pin(self.look_again(left, open)).await?;
        Box::pin(self.look_again(right, open)).await
    }

    /// Remembers a root that the next incremental pass has to look at again.
    fn keep_unproved(&mut self, key: &RootKey) {
        if let Some(unproved) = &mut self.unproved {
            unproved.push(key.clone());
            if unproved.len() > super::clean::UNPROVED_MAX {
                self.unproved = None;
            }
        }
    }

    fn hot(&mut self, key: &RootKey) {
        self.report.hot_total += 1;
        self.keep_unproved(key);
        if self.report.hot_unverified.len() < self.options.listed_max {
            self.report.hot_unverified.push(key.to_string());
        }
    }

    async fn differs(&mut self, key: &RootKey) -> Result<(), SyncError> {
        self.report.differing_total += 1;
        self.keep_unproved(key);
        if self.differing_keys.len() < KEPT_KEYS_MAX {
            self.differing_keys.push(key.clone());
        }
        if self.report.differing.len() >= self.options.listed_max {
            return Ok(());
        }
        let keys = std::slice::from_ref(key);
        let (Ok(want), Ok(have)) = (self.rows_source(keys).await?, self.rows_target(keys).await?)
        else {
            return Ok(());
        };
        let rows = self
            .shapes
            .iter()
            .zip(aggregate::differences(&self.shapes, &have, &want))
            .flat_map(|(shape, diff)| row_diffs(shape, &diff, ROWS_PER_KEY))
            .take(ROWS_PER_KEY)
            .collect();
        self.report.differing.push(KeyDiff { key: key.to_string(), rows });
        Ok(())
    }

    /// Hashes and pending marks of the source, in one snapshot.
    async fn look_source(&mut self, keys: &[RootKey]) -> Result<Result<Seen, TooHeavy>, SyncError> {
        let bytes = self.bytes_max(keys.len());
        self.source.begin_snapshot().await?;
        let pending = drain::pending_on_source(&self.job, &mut self.source, keys).await?;
        let key = &self.job.spec.key;
        let rows = aggregate::read_source(&mut self.source, &self.shapes, key, keys, bytes).await?;
        self.source.commit().await?;
        Ok(rows.map(|rows| Seen { hashes: aggregate::hashes(&self.shapes, &rows, keys), pending }))
    }

    async fn look_target(
        &mut self,
        keys: &[RootKey],
    ) -> Result<Result<BTreeMap<RootKey, AggregateHash>, TooHeavy>, SyncError> {
        let rows = self.rows_target(keys).await?;
        Ok(rows.map(|rows| aggregate::hashes(&self.shapes, &rows, keys)))
    }

    async fn rows_source(
        &mut self,
        keys: &[RootKey],
    ) -> Result<Result<Tables, TooHeavy>, SyncError> {
        let bytes = self.bytes_max(keys.len());
        self.source.begin_snapshot().await?;
        let key = &self.job.spec.key;
        let rows = aggregate::read_source(&mut self.source, &self.shapes, key, keys, bytes).await?;
        self.source.commit().await?;
        Ok(rows)
    }

    /// The target's rows, in one snapshot too: an apply writes several tables at once.
    async fn rows_target(
        &mut self,
        keys: &[RootKey],
    ) -> Result<Result<Tables, TooHeavy>, SyncError> {
        let bytes = self.bytes_max(keys.len());
        self.target.begin_snapshot().await?;
        let compare = ReadFor::Compare;
        let rows =
            aggregate::read_target(&mut self.target, &self.shapes, keys, compare, bytes).await?;
        self.target.commit().await?;
        Ok(rows)
    }

    fn bytes_max(&self, keys: usize) -> usize {
        let limits = &self.job.spec.limits;
        if keys <= 1 { limits.bytes_per_aggregate } else { limits.bytes_per_chunk }
    }
}

impl Seen {
    fn look(&self, key: &RootKey) -> Option<Look> {
        let hash = *self.hashes.get(key)?;
        Some(Look { hash, pending: self.pending.contains(key) })
    }
}
