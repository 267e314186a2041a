//! One worker's session: both connections, the lease, and the steps of a run.
//!
//! A step is a listing, a chunk of the first copy, or a drain batch. During the first copy each chunk is
//! followed by a drain batch of the same worker, so a chunk can never overwrite a newer change.
//!
//! What must stay true: the source is read in one snapshot per batch; the change rows of a batch are
//! deleted after its commit and by their ids; after any error the session is dropped as a whole.

use std::sync::Arc;
use std::time::{Duration, Instant};

use banyan_engine::{ChunkSizer, KeyedRows, RootKey};

use crate::aggregate::{self, Tables};
use crate::apply::{Applier, Batch};
use crate::connection::{Connection, TooHeavy};
use crate::drain::{self, Changes};
use crate::error::SyncError;
use crate::install;
use crate::job::JobInner;
use crate::listing::WorkList;
use crate::pause::PausePoint;
use crate::progress::JobState;
use crate::publish::Publisher;
use crate::shape::{self, TableShape};
use crate::state::{Checkpoint, Lease, Phase, State, Written};
use crate::verify;

/// How often a running job looks whether its triggers are still there.
const CAPTURE_CHECK_EVERY: Duration = Duration::from_secs(5);

/// What a step found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// There may be more to do at once.
    Worked,
    /// Everything is applied.
    Idle,
}

/// A batch of roots that was tried.
enum Tried {
    Applied(Written),
    TooHeavy,
}

/// One worker's session.
pub(crate) struct Session<'p> {
    job: Arc<JobInner>,
    publisher: &'p Publisher,
    source: Connection,
    target: Connection,
    shapes: Vec<TableShape>,
    lease: Lease,
    renewed: Instant,
    captured: Instant,
    state: State,
    list: WorkList,
    sizer: ChunkSizer,
    changes_limit: usize,
}

impl<'p> Session<'p> {
    /// Connects, checks mapping and capture, takes the lease.
    pub(crate) async fn open(
        job: Arc<JobInner>,
        publisher: &'p Publisher,
        holder: &str,
    ) -> Result<Self, SyncError> {
        let mut source = job.connect_source().await?;
        let mut target = job.connect_target().await?;
        check_installed(&job, &mut source, &mut target).await?;
        let shapes = shape::resolve(&job.spec, job.to, &mut source, &mut target).await?;
        let lease = job.state.acquire(&mut target, holder, job.ttl_ms()).await?;
        let state = job.state.load(&mut target).await?.ok_or_else(|| job.state.missing())?;
        let limits = &job.spec.limits;
        let sizer =
            ChunkSizer::new(limits.keys_per_chunk, limits.keys_per_chunk_max, limits.chunk_target);
        publisher.copied(state.roots_done, state.roots_total);
        Ok(Self {
            publisher,
            source,
            target,
            shapes,
            lease,
            renewed: Instant::now(),
            captured: Instant::now(),
            state,
            list: WorkList::new(job.state.list_name()),
            sizer,
            changes_limit: limits.changes_per_batch,
            job,
        })
    }

    /// Does the next piece of work.
    pub(crate) async fn step(&mut self) -> Result<Step, SyncError> {
        self.keep().await?;
        match self.state.phase {
            Phase::List => self.list_roots().await,
            Phase::Copy => {
                self.copy_chunk().await?;
                self.drain().await?;
                Ok(Step::Worked)
            }
            Phase::Drain => self.drain().await,
        }
    }

    /// Renews the lease in good time and looks whether the capture is still there.
    async fn keep(&mut self) -> Result<(), SyncError> {
        if self.renewed.elapsed() * 3 > self.job.spec.limits.lease_ttl {
            self.keep_lease().await?;
        }
        if self.captured.elapsed() > CAPTURE_CHECK_EVERY {
            check_capture(&self.job, &mut self.source).await?;
            self.captured = Instant::now();
            // Somebody may have asked for a new listing (install after a lost trigger).
            self.reload().await?;
        }
        Ok(())
    }

    async fn reload(&mut self) -> Result<(), SyncError> {
        let state = self.job.state.load(&mut self.target).await?;
        self.state = state.ok_or_else(|| self.job.state.missing())?;
        Ok(())
    }

    async fn list_roots(&mut self) -> Result<Step, SyncError> {
        self.publisher.state(JobState::Listing, None);
        self.reload().await?;
        let relists = self.state.relists;
        self.list.clear(&mut self.target).await?;
        let roots = self.job.spec.roots_of(self.job.from()).unwrap_or_default().to_owned();
        let pause = self.job.ports.pause.as_ref();
        self.list.fill(&mut self.source, roots, &mut self.target, pause).await?;
        self.list.fill_from_target(&mut self.target, &self.shapes).await?;
        let total = self.list.count(&mut self.target).await?;
        self.job.ports.pause.reach(PausePoint::BeforeListDone).await;
        self.keep_lease().await?;
        self.job.state.end_list(&mut self.target, &self.lease, relists, total).await?;
        // If a new listing was asked for meanwhile, the phase is still `list`.
        self.reload().await?;
        self.publisher.copied(0, total);
        Ok(Step::Worked)
    }

    async fn keep_lease(&mut self) -> Result<(), SyncError> {
        self.job.state.renew(&mut self.target, &self.lease, self.job.ttl_ms()).await?;
        self.renewed = Instant::now();
        Ok(())
    }

    async fn copy_chunk(&mut self) -> Result<(), SyncError> {
        self.publisher.state(JobState::Copying, None);
        let cursor = self.state.cursor.clone();
        let size = self.sizer.size();
        let keys = self.list.next(&mut self.target, cursor.as_ref(), size).await?;
        let Some(last) = keys.last().cloned() else {
            return self.finish_copy().await;
        };
        let started = Instant::now();
        self.reach(PausePoint::BeforeSnapshot).await;
        self.source.begin_snapshot().await?;
        let checkpoint = Checkpoint::Copy { cursor: last.clone(), roots: keys.len() };
        match self.read_and_apply(&keys, &checkpoint).await? {
            Tried::TooHeavy if self.sizer.too_heavy(keys.len()) => Ok(()),
            Tried::TooHeavy => Err(self.too_large(&last)),
            Tried::Applied(written) => {
                self.sizer.observe(keys.len(), started.elapsed());
                self.state.cursor = Some(last);
                self.state.roots_done += i64::try_from(keys.len()).unwrap_or(0);
                self.publisher.wrote(written, keys.len());
                self.publisher.copied(self.state.roots_done, self.state.roots_total);
                Ok(())
            }
        }
    }

    async fn finish_copy(&mut self) -> Result<(), SyncError> {
        let done = Checkpoint::CopyDone;
        let empty: Tables = self.shapes.iter().map(|_| KeyedRows::default()).collect();
        self.apply(&[], &empty, &done).await?;
        self.list.clear(&mut self.target).await?;
        self.reload().await
    }

    /// Applies one batch of changes.
    async fn drain(&mut self) -> Result<Step, SyncError> {
        // The clock comes first: what commits after it may be in the snapshot, but need not be.
        let clock_ms = self.source.clock_ms().await?;
        self.reach(PausePoint::BeforeSnapshot).await;
        self.source.begin_snapshot().await?;
        let changes =
            drain::read(&mut self.source, &self.job.spec.name, self.changes_limit).await?;
        self.publisher.seen(clock_ms, changes.ids.len());
        if changes.ids.is_empty() {
            self.source.commit().await?;
            self.caught_up(clock_ms);
            return Ok(Step::Idle);
        }
        if changes.truncated {
            self.source.commit().await?;
            self.keep_lease().await?;
            self.target.run("ask for a new listing", &self.job.state.relist_sql()).await?;
            self.reload().await?;
            drain::delete(&mut self.source, &changes.ids).await?;
            return Ok(Step::Worked);
        }
        self.drain_batch(&changes).await?;
        if changes.complete {
            self.caught_up(clock_ms);
        }
        Ok(Step::Worked)
    }

    async fn drain_batch(&mut self, changes: &Changes) -> Result<(), SyncError> {
        let checkpoint = Checkpoint::Drain { token: changes.token() };
        let written = match self.read_and_apply(&changes.keys, &checkpoint).await? {
            Tried::Applied(written) => written,
            Tried::TooHeavy if changes.keys.len() > 1 => {
                self.changes_limit = (changes.ids.len() / 2).max(1);
                return Ok(());
            }
            Tried::TooHeavy => {
                let key = changes.keys.first().cloned().unwrap_or_else(|| RootKey::new(""));
                return Err(self.too_large(&key));
            }
        };
        self.publisher.wrote(written, changes.keys.len());
        self.reach(PausePoint::BeforeDelete).await;
        drain::delete(&mut self.source, &changes.ids).await?;
        self.publisher.applied(changes.ids.len());
        self.reach(PausePoint::AfterDelete).await;
        self.changes_limit = (self.changes_limit * 2).min(self.job.spec.limits.changes_per_batch);
        Ok(())
    }

    /// Everything committed before `clock_ms` is on the target, unless the first copy is not done.
    fn caught_up(&self, clock_ms: i64) {
        if self.state.phase == Phase::Drain {
            self.publisher.watermark(clock_ms);
            self.publisher.state(JobState::Following, None);
        }
    }

    /// Reads the roots in the running snapshot, ends it, and applies what it showed.
    async fn read_and_apply(
        &mut self,
        keys: &[RootKey],
        checkpoint: &Checkpoint,
    ) -> Result<Tried, SyncError> {
        let bytes_max = self.bytes_max(keys.len());
        let (source, spec) = (&mut self.source, &self.job.spec);
        let read = aggregate::read_source(source, &self.shapes, &spec.key, keys, bytes_max).await?;
        self.source.commit().await?;
        let Ok(rows) = read else { return Ok(Tried::TooHeavy) };
        self.reach(PausePoint::AfterSourceRead).await;
        self.apply(keys, &rows, checkpoint).await
    }

    async fn apply(
        &mut self,
        keys: &[RootKey],
        rows: &Tables,
        checkpoint: &Checkpoint,
    ) -> Result<Tried, SyncError> {
        let applier = Applier {
            state: &self.job.state,
            lease: &self.lease,
            shapes: &self.shapes,
            pause: self.job.ports.pause.as_ref(),
            ttl_ms: self.job.ttl_ms(),
            bytes_max: self.bytes_max(keys.len()),
        };
        let batch = Batch { keys, source: rows, checkpoint };
        match applier.apply(&mut self.target, &batch).await? {
            Ok(written) => {
                self.renewed = Instant::now();
                Ok(Tried::Applied(written))
            }
            Err(TooHeavy) => Ok(Tried::TooHeavy),
        }
    }

    fn bytes_max(&self, keys: usize) -> usize {
        let limits = &self.job.spec.limits;
        if keys <= 1 { limits.bytes_per_aggregate } else { limits.bytes_per_chunk }
    }

    fn too_large(&self, key: &RootKey) -> SyncError {
        let limit_bytes = self.job.spec.limits.bytes_per_aggregate;
        SyncError::AggregateTooLarge { key: key.to_string(), limit_bytes }
    }

    async fn reach(&self, point: PausePoint) {
        self.job.ports.pause.reach(point).await;
    }
}

/// Whether tables and triggers of the job are there.
pub(crate) async fn check_installed(
    job: &JobInner,
    source: &mut Connection,
    target: &mut Connection,
) -> Result<(), SyncError> {
    if !install::exists(target, "by_state").await? || !install::exists(target, "by_copy").await? {
        return Err(job.state.missing());
    }
    if !install::exist(target, &verify::clean::TABLES).await? {
        return Err(SyncError::NotInstalled {
            job: job.spec.name.clone(),
            side: job.to,
            what: "tables `by_verified`, `by_dirty`".to_owned(),
        });
    }
    if !install::exists(source, "by_change").await? {
        return Err(SyncError::NotInstalled {
            job: job.spec.name.clone(),
            side: job.from(),
            what: "change table `by_change`".to_owned(),
        });
    }
    check_capture(job, source).await
}

async fn check_capture(job: &JobInner, source: &mut Connection) -> Result<(), SyncError> {
    let gap = install::gap(job, source).await?;
    if gap.missing.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = gap
        .missing
        .iter()
        .map(|object| format!("trigger `{}` on `{}`", object.name, object.table))
        .collect();
    Err(SyncError::NotInstalled {
        job: job.spec.name.clone(),
        side: job.from(),
        what: names.join(", "),
    })
}
