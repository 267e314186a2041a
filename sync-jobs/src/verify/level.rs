//! Levels 1 and 2 of verify: lanes of chunks, then of their roots.
//!
//! What must stay true: a root is equal only if the source's snapshot shows no pending change of it, and its
//! lanes are equal or those of its chunk are; a root that is not proved equal here goes to `settle`, whatever the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use banyan_engine::{ChunkSizer, Lanes, RootKey};

use super::clean::{self, Since};
use super::measure::{Measure, TableLanes};
use super::roots::Roots;
use super::{HashedHere, VerifyOptions, VerifyReport};
use crate::aggregate;
use crate::connection::Connection;
use crate::drain;
use crate::error::SyncError;
use crate::install;
use crate::job::JobInner;
use crate::listing;
use crate::progress::{Counters, JobState, ProgressEvent};
use crate::select;
use crate::session;
use crate::shape::{self, TableShape};
use crate::slot;
use crate::state::Phase;

/// Doubtful roots that wait for their stable windows at most; they are judged together.
const DOUBTFUL_MAX: usize = 5_000;

/// Roots of a chunk at most; how many follows the time that a chunk takes.
const KEYS_PER_CHUNK_MAX: usize = 16_000;

/// One select per table; `None` where no row can be.
type Selects = Vec<Option<String>>;

/// One verify after the other, over the same connections and by what was learned of the tables at first.
pub(super) struct Verifier {
    pub(super) job: Arc<JobInner>,
    pub(super) options: VerifyOptions,
    pub(super) source: Connection,
    pub(super) target: Connection,
    pub(super) shapes: Vec<TableShape>,
    pub(super) report: VerifyReport,
    pub(super) differing_keys: Vec<RootKey>,
    /// Roots that this pass did not prove equal, differing or hot; `None` when there are too many to remember.
    pub(super) unproved: Option<Vec<RootKey>>,
    measure: [Measure; 2],
    hashed_here: Vec<HashedHere>,
    doubtful: Vec<RootKey>,
    total: i64,
}

impl Verifier {
    pub(super) async fn open(
        job: &Arc<JobInner>,
        options: VerifyOptions,
    ) -> Result<Self, SyncError> {
        let mut source = job.connect_source().await?;
        let mut target = job.connect_target().await?;
        session::check_installed(job, &mut source, &mut target).await?;
        let shapes = shape::resolve(&job.spec, job.to, &mut source, &mut target).await?;
        let mut hashed_here = Vec::new();
        let measure = [
            Measure::of_source(job, &mut source, &shapes, &mut hashed_here).await?,
            Measure::of_target(job, &mut target, &shapes, &mut hashed_here).await?,
        ];
        Ok(Self {
            job: Arc::clone(job),
            options,
            source,
            target,
            shapes,
            report: VerifyReport::default(),
            differing_keys: Vec::new(),
            unproved: None,
            measure,
            hashed_here,
            doubtful: Vec::new(),
            total: 0,
        })
    }

    /// Forgets what the run before found.
    async fn begin(&mut self) -> Result<(), SyncError> {
        let Self { job, target, .. } = self;
        let state = job.state.load(target).await?.ok_or_else(|| job.state.missing())?;
        // A scheduled sweep compares a target that was complete before it.
        let is_sweep = install::exists(target, "by_slot").await?
            && slot::sweep_relists(job, target).await? == Some(state.relists);
        self.report = VerifyReport {
            copied: state.phase == Phase::Drain || is_sweep,
            hashed_here: self.hashed_here.clone(),
            ..VerifyReport::default()
        };
        self.differing_keys.clear();
        self.unproved = Some(Vec::new());
        self.doubtful.clear();
        self.total = 0;
        Ok(())
    }

    /// Looks at everything that was asked for.
    pub(super) async fn run(&mut self) -> Result<(), SyncError> {
        self.begin().await?;
        if let Some(keys) = self.options.keys.clone() {
            self.total = i64::try_from(keys.len()).unwrap_or(i64::MAX);
            let keys: Vec<RootKey> = keys.into_iter().map(RootKey::new).collect();
            for chunk in keys.chunks(self.options.keys_per_chunk.max(1)) {
                self.check(chunk).await?;
                self.settle_many().await?;
            }
            return self.settle_doubtful().await;
        }
        if self.options.since_clean && !self.can_be_incremental().await? {
            return Ok(());
        }
        let pass = clean::begin(&self.job, &mut self.target).await?;
        let done = self.check_all().await;
        if done.is_ok()
            && self.report.copied
            && let Some(unproved) = self.unproved.take()
        {
            return clean::end(&self.job, &mut self.target, pass, &unproved).await;
        }
        // After an error the connection is not to be trusted; the worst case is a list that grows to its limit.
        done?;
        clean::end_unclean(&self.job, &mut self.target, pass).await
    }

    async fn can_be_incremental(&mut self) -> Result<bool, SyncError> {
        let reason = match clean::since(&self.job, &mut self.target).await? {
            _ if !install::has_marks(&self.job) => Some("this mode of capture marks no changes"),
            _ if !self.report.copied => Some("the first copy is not done"),
            Since::Never => Some("no full verify of this job ended yet"),
            Since::TooMany => Some("too many aggregates changed since the last clean verify"),
            Since::Clean if drain::is_truncated(&mut self.source, &self.job.spec.name).await? => {
                Some("a captured table was truncated")
            }
            Since::Clean => None,
        };
        self.report.full_pass_needed = reason;
        Ok(reason.is_none())
    }

    async fn check_all(&mut self) -> Result<(), SyncError> {
        let (of_source, of_target) = if self.options.since_clean {
            let pending = drain::pending_keys(&self.job.spec.name);
            (pending, vec![clean::dirty_keys(&self.job)])
        } else {
            let of_source = self.job.spec.roots_of(self.job.from()).unwrap_or_default();
            let dialect = self.target.dialect;
            (of_source.to_owned(), listing::target_roots(dialect, &self.shapes, &self.job))
        };
        let mut roots = Roots::none().await?;
        roots.add((&mut self.source, vec![of_source]), (&mut self.target, of_target)).await?;
        self.total = roots.count().await?;
        let start = self.options.keys_per_chunk;
        let mut sizer =
            ChunkSizer::new(start, KEYS_PER_CHUNK_MAX, self.job.spec.limits.chunk_target);
        let mut cursor = None;
        loop {
            let keys = roots.next(cursor.as_ref(), sizer.size()).await?;
            let Some(last) = keys.last().cloned() else { break };
            cursor = Some(last);
            let begun = Instant::now();
            self.check(&keys).await?;
            sizer.observe(keys.len(), begun.elapsed());
            self.settle_many().await?;
        }
        self.settle_doubtful().await
    }

    /// Levels 1 and 2 of one chunk.
    async fn check(&mut self, keys: &[RootKey]) -> Result<(), SyncError> {
        let count = u64::try_from(keys.len()).unwrap_or(0);
        let doubtful = match self.quiet_and_equal(keys).await? {
            Some(pending) => {
                self.report.equal_by_lanes += count - u64::try_from(pending.len()).unwrap_or(0);
                pending
            }
            None => self.doubtful_of(keys).await?,
        };
        self.report.checked += count;
        self.report.equal += count - u64::try_from(doubtful.len()).unwrap_or(0);
        self.doubtful.extend(doubtful);
        self.observe();
        Ok(())
    }

    async fn settle_many(&mut self) -> Result<(), SyncError> {
        if self.doubtful.len() < DOUBTFUL_MAX { Ok(()) } else { self.settle_doubtful().await }
    }

    async fn settle_doubtful(&mut self) -> Result<(), SyncError> {
        let doubtful = std::mem::take(&mut self.doubtful);
        self.settle(doubtful).await
    }

    /// Level 1: the sums over the roots without pending changes, both sides at once. If they are equal, the
    /// pending roots are what is left.
    async fn quiet_and_equal(
        &mut self,
        keys: &[RootKey],
    ) -> Result<Option<Vec<RootKey>>, SyncError> {
        self.source.begin_snapshot().await?;
        let pending = drain::pending_on_source(&self.job, &mut self.source, keys).await?;
        let (pending, quiet): (Vec<RootKey>, Vec<RootKey>) =
            keys.iter().cloned().partition(|key| pending.contains(key));
        if quiet.is_empty() {
            self.source.commit().await?;
            return Ok(Some(pending));
        }
        let (source_selects, target_selects) = self.selects(&quiet)?;
        let Self { source, target, shapes, measure: [of_source, of_target], .. } = self;
        let wanted = async {
            let lanes = of_source.total(source, shapes, &source_selects).await?;
            source.commit().await?;
            Ok::<_, SyncError>(lanes)
        };
        let found = async {
            target.begin_snapshot().await?;
            let lanes = of_target.total(target, shapes, &target_selects).await?;
            target.commit().await?;
            Ok::<_, SyncError>(lanes)
        };
        let (wanted, found) = tokio::try_join!(wanted, found)?;
        Ok((wanted == found).then_some(pending))
    }

    /// Level 2: the roots of a chunk that are not proved equal.
    async fn doubtful_of(&mut self, keys: &[RootKey]) -> Result<Vec<RootKey>, SyncError> {
        let (source_selects, target_selects) = self.selects(keys)?;
        let Self { job, source, target, shapes, measure: [of_source, of_target], .. } = self;
        let wanted = async {
            source.begin_snapshot().await?;
            let pending = drain::pending_on_source(job, source, keys).await?;
            let lanes = of_source.by_root(source, shapes, &source_selects).await?;
            source.commit().await?;
            Ok::<_, SyncError>((pending, lanes))
        };
        let found = async {
            target.begin_snapshot().await?;
            let lanes = of_target.by_root(target, shapes, &target_selects).await?;
            target.commit().await?;
            Ok::<_, SyncError>(lanes)
        };
        let ((pending, wanted), found) = tokio::try_join!(wanted, found)?;
        self.refuse_foreign(keys, &wanted)?;
        let none: TableLanes = vec![Lanes::default(); self.shapes.len()];
        let is_doubtful = |key: &&RootKey| {
            pending.contains(*key)
                || wanted.get(*key).unwrap_or(&none) != found.get(*key).unwrap_or(&none)
        };
        Ok(keys.iter().filter(is_doubtful).cloned().collect())
    }

    /// A select that gives rows of other roots would make a chunk differ for ever.
    fn refuse_foreign(
        &self,
        keys: &[RootKey],
        wanted: &BTreeMap<RootKey, TableLanes>,
    ) -> Result<(), SyncError> {
        let asked: BTreeSet<&RootKey> = keys.iter().collect();
        let Some((key, lanes)) = wanted.iter().find(|(key, _)| !asked.contains(key)) else {
            return Ok(());
        };
        let at = lanes.iter().position(|lanes| lanes.rows > 0).unwrap_or(0);
        let table = self.shapes.get(at).map(|shape| shape.spec.name.clone()).unwrap_or_default();
        Err(SyncError::ForeignRoot { table, key: key.to_string() })
    }

    /// The selects of both sides, limited to these roots.
    fn selects(&self, keys: &[RootKey]) -> Result<(Selects, Selects), SyncError> {
        let (mut source, mut target) = (Vec::new(), Vec::new());
        for shape in &self.shapes {
            let (select, key) = (&shape.spec.select, &self.job.spec.key);
            source.push(Some(select::expand(select, self.source.dialect, key, keys)?));
            target.push(aggregate::target_select(&self.target, shape, keys)?);
        }
        Ok((source, target))
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
