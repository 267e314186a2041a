//! Verify: compares every aggregate of both sides, also while they are written.
//!
//! All roots of both sides go to a work list of their own; each chunk is hashed on both sides; roots that
//! differ or have pending changes go through stable windows (`banyan_engine::StableWindow`).
//!
//! What must stay true: a root counts as equal only on a quiet look; one that never got quiet is reported
//! as hot, never as equal; memory holds one chunk and the bounded lists of the report.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use banyan_engine::{AggregateHash, Look, RootKey, StableWindow, Verdict};
use tokio::time::sleep;

use crate::aggregate::{self, ReadFor, Tables};
use crate::connection::{Connection, TooHeavy};
use crate::drain;
use crate::error::SyncError;
use crate::job::{Job, JobInner};
use crate::listing::WorkList;
use crate::pause::NoPause;
use crate::progress::{Counters, JobState, ProgressEvent};
use crate::row_diff::{RowDiff, row_diffs};
use crate::run::unix_ms;
use crate::session;
use crate::shape::{self, TableShape};
use crate::state::Phase;

/// Row differences shown per root.
const ROWS_PER_KEY: usize = 20;

/// How to verify.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// Only these roots; all of both sides when `None`.
    pub keys: Option<Vec<String>>,
    /// Roots per chunk.
    pub keys_per_chunk: usize,
    /// Windows that a moving root gets before it is called hot.
    pub windows: u32,
    /// Wait before the second window; doubles, at most one second.
    pub window_wait: Duration,
    /// Differing and hot roots listed by name, each; the counts go on.
    pub listed_max: usize,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self {
            keys: None,
            keys_per_chunk: 1_000,
            windows: 8,
            window_wait: Duration::from_millis(50),
            listed_max: 100,
        }
    }
}

/// What verify found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Roots looked at.
    pub checked: u64,
    /// Roots whose rows are the same on both sides.
    pub equal: u64,
    /// Roots that differ although nothing is pending.
    pub differing_total: u64,
    /// The first of them, with their rows.
    pub differing: Vec<KeyDiff>,
    /// Roots that never got quiet: pending or changing in every window.
    pub hot_total: u64,
    /// The first of them.
    pub hot_unverified: Vec<String>,
    /// Changes that wait to be applied, at the end.
    pub pending: i64,
    /// Whether the first copy is done; before that, roots that it did not reach differ.
    pub copied: bool,
}

/// One root that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDiff {
    /// The root key.
    pub key: String,
    /// The rows that differ.
    pub rows: Vec<RowDiff>,
}

impl VerifyReport {
    /// Whether both sides are proved equal.
    pub fn is_clean(&self) -> bool {
        self.checked == self.equal
    }
}

impl Job {
    /// Compares both sides. Safe beside a running worker.
    ///
    /// # Errors
    /// No connection, a job that is not installed, or a mapping that does not fit.
    pub async fn verify(&self, options: VerifyOptions) -> Result<VerifyReport, SyncError> {
        let mut verifier = Verifier::open(&self.inner, options).await?;
        let list = WorkList::new(format!(
            "verify:{}:{}-{}",
            self.inner.state.list_name(),
            std::process::id(),
            unix_ms()
        ));
        let done = verifier.run(&list).await;
        // Also after a failure: the list is only this run's.
        let cleared = match &done {
            Ok(()) => list.clear(&mut verifier.target).await,
            Err(_) => clear_anew(&self.inner, &list).await,
        };
        done.and(cleared)?;
        verifier.report.pending = drain::pending(&mut verifier.source, &self.inner).await?;
        Ok(verifier.report)
    }
}

async fn clear_anew(job: &JobInner, list: &WorkList) -> Result<(), SyncError> {
    let mut target = job.connect_target().await?;
    list.clear(&mut target).await
}

struct Verifier<'a> {
    job: &'a JobInner,
    options: VerifyOptions,
    source: Connection,
    target: Connection,
    shapes: Vec<TableShape>,
    total: i64,
    report: VerifyReport,
}

/// One side's rows of some roots.
struct Seen {
    hashes: BTreeMap<RootKey, AggregateHash>,
    pending: BTreeSet<RootKey>,
}

impl<'a> Verifier<'a> {
    async fn open(job: &'a JobInner, options: VerifyOptions) -> Result<Self, SyncError> {
        let mut source = job.connect_source().await?;
        let mut target = job.connect_target().await?;
        session::check_installed(job, &mut source, &mut target).await?;
        let shapes = shape::resolve(&job.spec, job.to, &mut source, &mut target).await?;
        let state = job.state.load(&mut target).await?.ok_or_else(|| job.state.missing())?;
        let report =
            VerifyReport { copied: state.phase == Phase::Drain, ..VerifyReport::default() };
        Ok(Self { job, options, source, target, shapes, total: 0, report })
    }

    async fn run(&mut self, list: &WorkList) -> Result<(), SyncError> {
        if let Some(keys) = self.options.keys.clone() {
            self.total = i64::try_from(keys.len()).unwrap_or(i64::MAX);
            let keys: Vec<RootKey> = keys.into_iter().map(RootKey::new).collect();
            for chunk in keys.chunks(self.options.keys_per_chunk.max(1)) {
                self.check(chunk.to_vec()).await?;
            }
            return Ok(());
        }
        let roots = self.job.spec.roots_of(self.job.from()).unwrap_or_default().to_owned();
        list.fill(&mut self.source, roots, &mut self.target, &NoPause).await?;
        list.fill_from_target(&mut self.target, &self.shapes, self.job).await?;
        self.total = list.count(&mut self.target).await?;
        let mut cursor = None;
        loop {
            let size = self.options.keys_per_chunk.max(1);
            let keys = list.next(&mut self.target, cursor.as_ref(), size).await?;
            let Some(last) = keys.last().cloned() else { return Ok(()) };
            cursor = Some(last);
            self.check(keys).await?;
        }
    }

    /// Compares a chunk; halves it when its rows are too heavy.
    async fn check(&mut self, keys: Vec<RootKey>) -> Result<(), SyncError> {
        let mut work = vec![keys];
        while let Some(keys) = work.pop() {
            if self.check_chunk(&keys).await?.is_ok() {
                self.observe();
                continue;
            }
            if let [key] = keys.as_slice() {
                let limit_bytes = self.job.spec.limits.bytes_per_aggregate;
                return Err(SyncError::AggregateTooLarge { key: key.to_string(), limit_bytes });
            }
            let (left, right) = keys.split_at(keys.len() / 2);
            work.push(right.to_vec());
            work.push(left.to_vec());
        }
        Ok(())
    }

    async fn check_chunk(&mut self, keys: &[RootKey]) -> Result<Result<(), TooHeavy>, SyncError> {
        let Ok(source) = self.look_source(keys).await? else { return Ok(Err(TooHeavy)) };
        let Ok(target) = self.look_target(keys).await? else { return Ok(Err(TooHeavy)) };
        let doubtful: Vec<RootKey> = keys
            .iter()
            .filter(|key| source.hashes.get(key) != target.get(key) || source.pending.contains(key))
            .cloned()
            .collect();
        self.report.checked += u64::try_from(keys.len()).unwrap_or(0);
        self.report.equal += u64::try_from(keys.len() - doubtful.len()).unwrap_or(0);
        self.settle(doubtful).await.map(Ok)
    }

    /// Judges doubtful roots by stable windows.
    async fn settle(&mut self, doubtful: Vec<RootKey>) -> Result<(), SyncError> {
        let windows = self.options.windows.max(2);
        let mut open: BTreeMap<RootKey, StableWindow> =
            doubtful.into_iter().map(|key| (key, StableWindow::new(windows))).collect();
        let mut wait = self.options.window_wait;
        while !open.is_empty() {
            let keys: Vec<RootKey> = open.keys().cloned().collect();
            for chunk in keys.chunks(100) {
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

    fn hot(&mut self, key: &RootKey) {
        self.report.hot_total += 1;
        if self.report.hot_unverified.len() < self.options.listed_max {
            self.report.hot_unverified.push(key.to_string());
        }
    }

    async fn differs(&mut self, key: &RootKey) -> Result<(), SyncError> {
        self.report.differing_total += 1;
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
        let pending = drain::pending_on_source(self.job, &mut self.source, keys).await?;
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

    fn observe(&self) {
        self.job.ports.progress.observe(ProgressEvent {
            job: self.job.spec.name.clone(),
            context: self.job.spec.context.clone(),
            to: self.job.to,
            state: JobState::Verifying,
            reason: None,
            done: self.report.checked,
            total: u64::try_from(self.total).unwrap_or(0),
            rows_per_second: 0.0,
            lag_ms: None,
            pending: 0,
            counters: Counters::default(),
        });
    }
}

impl Seen {
    fn look(&self, key: &RootKey) -> Option<Look> {
        let hash = *self.hashes.get(key)?;
        Some(Look { hash, pending: self.pending.contains(key) })
    }
}
