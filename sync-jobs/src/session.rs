//! One worker's session: both connections, the lease, and the steps of a run.
//!
//! A step is a listing, a chunk of the first copy, or a drain batch. During the first copy each chunk is
//! followed by a drain batch of the same worker, so a chunk can never overwrite a newer change.
//!
//! What must stay true: the source is read in one snapshot per batch, and batches are written in the order of
//! their snapshots; the change rows of a batch are deleted after its commit and by their ids; after any
//! error the session is dropped as a whole.

mod copy;
mod pass;
mod read;
mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use banyan_engine::{ChunkSizer, RootKey};

use crate::aggregate::Tables;
use crate::apply::{Applied, Applier, Batch};
use crate::connection::Connection;
use crate::cursor;
use crate::drain::{self, Changes};
use crate::error::SyncError;
use crate::form;
use crate::gate::Gate;
use crate::install;
use crate::job::JobInner;
use crate::listing::WorkList;
use crate::pause::PausePoint;
use crate::progress::JobState;
use crate::publish::Publisher;
use crate::shape::{self, TableShape};
use crate::spec::CaptureMode;
use crate::state::{Checkpoint, Lease, Phase, State, Written};
use crate::verify;
use copy::Chunk;
use read::{Marked, Read, Reader};

/// How often a running job looks whether its triggers are still there.
const CAPTURE_CHECK_EVERY: Duration = Duration::from_secs(5);

/// How often a lease is renewed at least: a switch waits until it has seen that the worker lives.
const RENEW_EVERY: Duration = Duration::from_secs(1);

/// What a step found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// There may be more to do at once.
    Worked,
    /// Everything is applied.
    Idle,
    /// Something holds the job back; nothing was done, or only a drain that found nothing.
    Held(Duration),
}

/// A batch of roots that was tried.
enum Tried {
    Applied(Written),
    TooHeavy,
}

/// How often aggregates that hold a needed unique value may join a batch.
const JOINS_MAX: usize = 8;
/// Roots that were changed on the target and are remembered at once.
const FOREIGN_MAX: usize = 1_000;
/// Chunks that are written with care after a bulk write was refused.
const CAREFUL_CHUNKS: u8 = 16;

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
    /// Whether the target has the triggers of the other direction.
    is_watched: bool,
    /// Source time at which the last listing of this session began.
    listed_ms: i64,
    /// Roots that are set aside.
    conflicts: i64,
    /// The identity of the triggers that the target was filled by.
    captured_by: Option<String>,
    list: WorkList,
    sizer: ChunkSizer,
    gate: Gate,
    changes_limit: usize,
    /// The next chunk of the first copy, if it was read while the last one was written.
    ahead: Option<Chunk>,
    /// Chunks that are written with care, because a bulk write was refused.
    careful: u8,
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
        watch::refuse_opposite(&job, &mut source).await?;
        for note in form::check(&job, &mut source, &mut target).await? {
            tracing::warn!(job = %job.spec.name, change = %note, "a table changed, going on");
        }
        let shapes = shape::resolve(&job.spec, job.to, &mut source, &mut target).await?;
        let is_watched = install::is_watched(&job, &mut target).await?;
        let captured_by = job.state.capture(&mut target).await?;
        let lease = job.state.acquire(&mut target, holder, job.ttl_ms()).await?;
        let mut state = job.state.load(&mut target).await?.ok_or_else(|| job.state.missing())?;
        state.fence = job.state.fence(&mut target).await?;
        let limits = &job.spec.limits;
        let sizer =
            ChunkSizer::new(limits.keys_per_chunk, limits.keys_per_chunk_max, limits.chunk_target);
        let gate = Gate::open(&job, &mut target).await?;
        publisher.copied(state.roots_done, state.roots_total);
        let mut session = Self {
            is_watched,
            captured_by,
            listed_ms: 0,
            conflicts: 0,
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
            gate,
            changes_limit: limits.changes_per_batch,
            ahead: None,
            careful: 0,
            job,
        };
        session.watch().await?;
        Ok(session)
    }

    /// Without triggers each run compares everything: only that finds deletes.
    pub(crate) async fn begin_sweep(&mut self) -> Result<(), SyncError> {
        if install::has_marks(&self.job) || self.state.phase != Phase::Drain {
            return Ok(());
        }
        self.target.run("ask for a new listing", &self.job.state.relist_sql()).await?;
        self.reload().await
    }

    /// Does the next piece of work.
    pub(crate) async fn step(&mut self) -> Result<Step, SyncError> {
        self.keep().await?;
        if let Some(step) = self.held().await? {
            return Ok(step);
        }
        match self.state.phase {
            Phase::List => self.list_roots().await,
            Phase::Copy => {
                self.copy_chunk().await?;
                Ok(Step::Worked)
            }
            Phase::Drain => self.drain().await,
        }
    }

    /// Waits if something holds the job back. Only a pause holds the drain.
    async fn held(&mut self) -> Result<Option<Step>, SyncError> {
        let copying = self.state.phase != Phase::Drain;
        let Some(hold) = self.gate.ask(&mut self.target, copying).await? else { return Ok(None) };
        if hold.because.holds_drain() {
            self.publisher.waiting(&hold.because);
            return Ok(Some(Step::Held(hold.pause)));
        }
        let step = self.drain().await?;
        self.publisher.waiting(&hold.because);
        Ok(Some(if step == Step::Idle { Step::Held(hold.pause) } else { step }))
    }

    /// Renews the lease in good time and looks whether the capture is still there.
    async fn keep(&mut self) -> Result<(), SyncError> {
        let renew_after = RENEW_EVERY.min(self.job.spec.limits.lease_ttl / 3);
        if self.renewed.elapsed() > renew_after {
            self.keep_lease().await?;
        }
        if self.captured.elapsed() > CAPTURE_CHECK_EVERY {
            form::check(&self.job, &mut self.source, &mut self.target).await?;
            watch::refuse_opposite(&self.job, &mut self.source).await?;
            let was_watched = self.is_watched;
            // The other direction may be installed while this one runs.
            self.is_watched = install::is_watched(&self.job, &mut self.target).await?;
            if was_watched && !self.is_watched {
                return Err(SyncError::NotInstalled {
                    job: self.job.spec.name.clone(),
                    side: self.job.to,
                    what: "a trigger that notices writes on the target".to_owned(),
                });
            }
            self.watch().await?;
            self.captured = Instant::now();
            // Somebody may have asked for a new listing (install after a lost trigger).
            self.reload().await?;
        }
        Ok(())
    }

    async fn reload(&mut self) -> Result<(), SyncError> {
        let state = self.job.state.load(&mut self.target).await?;
        let state = state.ok_or_else(|| self.job.state.missing())?;
        // The fence stays what it was when this session began: one that moved ends it.
        self.state = State { fence: self.state.fence, ..state };
        Ok(())
    }

    async fn list_roots(&mut self) -> Result<Step, SyncError> {
        self.publisher.state(JobState::Listing, None);
        self.reload().await?;
        let relists = self.state.relists;
        // What commits before this is in the listing's reach; cursors begin here.
        self.listed_ms = self.source.clock_ms().await?;
        cursor::start(&self.job, &mut self.source, &mut self.target).await?;
        self.list.clear(&mut self.target).await?;
        let roots = self.job.spec.roots_of(self.job.from()).unwrap_or_default().to_owned();
        let pause = self.job.ports.pause.as_ref();
        self.list.fill(&mut self.source, roots, &mut self.target, pause).await?;
        self.list.fill_from_target(&mut self.target, &self.shapes, &self.job).await?;
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

    /// Applies what changed, as far as the job's mode can tell.
    async fn drain(&mut self) -> Result<Step, SyncError> {
        match self.job.spec.mode {
            CaptureMode::Trigger => self.drain_marks().await,
            CaptureMode::Cursor => self.follow_cursors().await,
            CaptureMode::Sweep => {
                self.publisher.seen(self.source.clock_ms().await?, 0);
                Ok(Step::Idle)
            }
        }
    }

    /// Applies one batch of marks.
    async fn drain_marks(&mut self) -> Result<Step, SyncError> {
        // What was read ahead is older than what is read now, so it must not be written after it.
        self.ahead = None;
        let reader = Reader::of(&self.job, &self.shapes, self.changes_limit);
        let marked = reader.begin(&mut self.source).await?;
        self.source.commit().await?;
        self.apply_marked(marked).await
    }

    /// Applies marks whose roots were read.
    async fn apply_marked(&mut self, marked: Marked) -> Result<Step, SyncError> {
        let Marked { clock_ms, changes, identity, read } = marked;
        if !self.is_captured(identity).await? {
            return Ok(Step::Worked);
        }
        self.publisher.seen(clock_ms, changes.ids.len());
        if changes.ids.is_empty() {
            self.caught_up(clock_ms);
            return Ok(Step::Idle);
        }
        if changes.truncated {
            self.keep_lease().await?;
            self.target.run("ask for a new listing", &self.job.state.relist_sql()).await?;
            self.reload().await?;
            drain::delete(&mut self.source, &changes.ids).await?;
            return Ok(Step::Worked);
        }
        self.drain_batch(&changes, read).await?;
        if changes.complete {
            self.caught_up(clock_ms);
        }
        Ok(Step::Worked)
    }

    async fn drain_batch(&mut self, changes: &Changes, read: Read) -> Result<(), SyncError> {
        let checkpoint = Checkpoint::Drain { token: changes.token() };
        let written = match self.apply_read(&changes.keys, read, &checkpoint).await? {
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
            let reason = (self.conflicts > 0).then(|| {
                let (count, job) = (self.conflicts, &self.job.spec.name);
                format!(
                    "{count} aggregates were written on both sides: banyan sync conflicts {job}"
                )
            });
            self.publisher.state(JobState::Following, reason);
        } else if self.gate.is_sweep(self.state.relists) {
            // A scheduled sweep compares a target that was complete before it.
            self.publisher.watermark(clock_ms);
        }
    }

    /// Reads the roots in the running snapshot, ends it, and applies what it showed.
    async fn read_and_apply(
        &mut self,
        keys: &[RootKey],
        checkpoint: &Checkpoint,
    ) -> Result<Tried, SyncError> {
        let read = self.read(keys).await?;
        self.apply_read(keys, read, checkpoint).await
    }

    /// Reads the roots in the running snapshot and ends it.
    async fn read(&mut self, keys: &[RootKey]) -> Result<Read, SyncError> {
        let reader = Reader::of(&self.job, &self.shapes, self.changes_limit);
        let read = reader.rows(&mut self.source, keys).await?;
        self.source.commit().await?;
        Ok(read)
    }

    /// Applies what a snapshot showed; roots that have to be applied with these are read in newer ones.
    async fn apply_read(
        &mut self,
        keys: &[RootKey],
        mut read: Read,
        checkpoint: &Checkpoint,
    ) -> Result<Tried, SyncError> {
        let mut keys = keys.to_vec();
        for _ in 0..JOINS_MAX {
            let Ok(rows) = read else { return Ok(Tried::TooHeavy) };
            self.gate.spend(keys.len(), &rows, checkpoint);
            self.reach(PausePoint::AfterSourceRead).await;
            match self.apply(&keys, &rows, checkpoint).await? {
                Applied::Done { written, .. } => return Ok(Tried::Applied(written)),
                Applied::TooHeavy => return Ok(Tried::TooHeavy),
                // What holds the value has changed too, or it could not have been taken: a newer snapshot shows both.
                Applied::Taken { by } => keys.extend(by),
            }
            self.ahead = None;
            self.source.begin_snapshot().await?;
            read = self.read(&keys).await?;
        }
        Err(SyncError::ValueTaken { job: self.job.spec.name.clone() })
    }

    async fn apply(
        &mut self,
        keys: &[RootKey],
        rows: &Tables,
        checkpoint: &Checkpoint,
    ) -> Result<Applied, SyncError> {
        let batch = Batch { keys, source: rows, checkpoint };
        let (job, right) = (&self.job, (&self.lease, &self.state));
        let applier = Applier {
            is_watched: self.is_watched,
            ..Applier::of(job, right, &self.shapes, keys.len())
        };
        let applied = applier.apply(&mut self.target, &batch).await?;
        self.note(&applied).await?;
        Ok(applied)
    }

    /// Keeps what an apply says beside its result.
    async fn note(&mut self, applied: &Applied) -> Result<(), SyncError> {
        let Applied::Done { aside, was_refused, .. } = applied else { return Ok(()) };
        self.renewed = Instant::now();
        self.careful = if *was_refused { CAREFUL_CHUNKS } else { self.careful.saturating_sub(1) };
        if *aside > 0 {
            self.count_conflicts().await?;
        }
        Ok(())
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
    if !install::all_exist(target, &install::STATE_TABLES).await? {
        return Err(job.state.missing());
    }
    if !install::all_exist(target, &verify::clean::TABLES).await? {
        return Err(SyncError::NotInstalled {
            job: job.spec.name.clone(),
            side: job.to,
            what: "tables `by_verified`, `by_dirty`".to_owned(),
        });
    }
    if let Some(table) = install::missing_of_both_ways(job, target).await? {
        return Err(SyncError::NotInstalled {
            job: job.spec.name.clone(),
            side: job.to,
            what: format!("table `{table}`"),
        });
    }
    if !install::has_marks(job) {
        return Ok(());
    }
    if !install::all_exist(source, source.dialect.change_tables()).await? {
        return Err(SyncError::NotInstalled {
            job: job.spec.name.clone(),
            side: job.from(),
            what: "change table `by_change`".to_owned(),
        });
    }
    install::check_capture(job, source).await.map(drop)
}
