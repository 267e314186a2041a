//! Runs a job at its slots: a sweep over all roots, then the drain.
//!
//! Several schedulers may stand beside each other, in one process or on many machines: the row in `by_slot`
//! gives each slot to one of them, and the job's lease guards the run itself. A job that follows is not run by a
//! second worker, which would wait for the lease for ever: its follower is asked for the sweep by the same
//! request that an install after a lost trigger makes.
//!
//! What must stay true: time is the target's clock; a slot is run by the one that claimed it, or after its
//! claim expired by the one that took it up; what is passed over is logged, counted and written down.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use banyan_engine::{Backoff, Decision, PassReason, Passed, Schedule};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::connection::Connection;
use crate::error::SyncError;
use crate::job::{Job, JobInner};
use crate::metric;
use crate::run::{RunMode, holder};
use crate::slot::{self, Beside, SlotRow, Slots};
use crate::tables;

/// Time between two looks while a slot runs or waits.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longest sleep, so that a clock that was set is noticed.
const SLEEP_MAX: Duration = Duration::from_secs(30);
/// How many leases long a claim is.
const CLAIM_LEASES: u128 = 4;

/// The time of a scheduler.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Now in Unix milliseconds; nothing when the target's own clock counts.
    fn now_ms(&self) -> Option<i64>;
    /// Waits.
    async fn sleep(&self, wait: Duration);
}

/// The target's clock, the only one that several schedulers share.
#[derive(Debug, Clone, Copy, Default)]
pub struct TargetClock;

#[async_trait]
impl Clock for TargetClock {
    fn now_ms(&self) -> Option<i64> {
        None
    }

    async fn sleep(&self, wait: Duration) {
        tokio::time::sleep(wait).await;
    }
}

/// What happened to slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotEvent {
    /// This scheduler runs the slot.
    Claimed {
        /// The slot.
        slot_ms: i64,
        /// Missed slots that the run stands for.
        folded: Option<Passed>,
    },
    /// This scheduler goes on with a slot whose scheduler is gone.
    TakenUp {
        /// The slot.
        slot_ms: i64,
    },
    /// Slots are not run.
    Passed {
        /// Which.
        passed: Passed,
        /// Why.
        why: PassReason,
    },
    /// The slot's run ended.
    Ended {
        /// The slot.
        slot_ms: i64,
        /// Why it failed, if it did.
        error: Option<String>,
    },
}

/// Is told what happens to slots.
pub trait SlotWatch: Send + Sync {
    /// This happened.
    fn saw(&self, event: SlotEvent);
}

struct NoWatch;

impl SlotWatch for NoWatch {
    fn saw(&self, _event: SlotEvent) {}
}

/// Runs one job at its slots.
pub struct Scheduler {
    job: Job,
    schedule: Schedule,
    holder: String,
    clock: Arc<dyn Clock>,
    watch: Arc<dyn SlotWatch>,
}

/// A run of a slot in this process.
struct Running {
    slot_ms: i64,
    cancel: CancellationToken,
    task: JoinHandle<Option<String>>,
}

impl Scheduler {
    /// The scheduler of a job; nothing when the job has no schedule.
    pub fn new(job: &Job) -> Option<Self> {
        let schedule = job.inner.operate.schedule.clone()?;
        Some(Self {
            job: job.clone(),
            schedule,
            holder: holder(),
            clock: Arc::new(TargetClock),
            watch: Arc::new(NoWatch),
        })
    }

    /// With another clock, for tests.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Tells this one what happens.
    #[must_use]
    pub fn watched_by(mut self, watch: Arc<dyn SlotWatch>) -> Self {
        self.watch = watch;
        self
    }

    /// Runs slots until it is told to stop. Errors are logged and tried again.
    pub async fn run(&self, cancel: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        let mut running = None;
        while !cancel.is_cancelled() {
            let Err(error) = Box::pin(self.turns(&mut running, &mut backoff, &cancel)).await else {
                break;
            };
            metric::error(self.job.name());
            let wait = backoff.fail();
            tracing::warn!(job = self.job.name(), error = error.chain(), ?wait, "schedule waits");
            self.sleep(wait, &cancel).await;
        }
        if let Some(running) = running {
            self.stop(running).await;
        }
    }

    /// Turns on one connection, until a stop or an error.
    async fn turns(
        &self,
        running: &mut Option<Running>,
        backoff: &mut Backoff,
        cancel: &CancellationToken,
    ) -> Result<(), SyncError> {
        let mut target = self.inner().connect_target().await?;
        if tables::missing(&mut target).await? {
            return Err(tables::absent(self.inner(), "by_slot"));
        }
        while !cancel.is_cancelled() {
            let wait = Box::pin(self.turn(&mut target, running)).await?;
            backoff.succeed();
            self.sleep(wait, cancel).await;
        }
        Ok(())
    }

    /// Decides once and says how long to sleep.
    async fn turn(
        &self,
        target: &mut Connection,
        running: &mut Option<Running>,
    ) -> Result<Duration, SyncError> {
        let slots = self.slots(target);
        let row = slots.load(target).await?;
        let beside = slot::beside(self.inner(), target).await?;
        let beside = beside.ok_or_else(|| self.inner().state.missing())?;
        let busy = self.tend(&slots, target, running, &row, &beside).await?;
        let now_ms = match self.clock.now_ms() {
            Some(now_ms) => now_ms,
            None => target.clock_ms().await?,
        };
        // What ran ended just now: the row has changed.
        let row = slots.load(target).await?;
        let busy = busy || row.run_slot_ms != 0;
        match self.schedule.decide(row.cursor_ms, now_ms, busy) {
            Decision::Wait { until_ms } => {
                let left = until_ms.map_or(i64::MAX, |until| until.saturating_sub(now_ms));
                let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
                Ok(left.min(if busy { LOOK_EVERY } else { SLEEP_MAX }))
            }
            Decision::WaitForRun { .. } => Ok(LOOK_EVERY),
            Decision::Pass { passed, why } => {
                let note = format!("{} slots not run: {}", passed.count, why.as_str());
                let (before, last) = (row.cursor_ms, passed.last_ms);
                if slots.pass(target, before, last, passed.count, &note).await? {
                    self.saw(SlotEvent::Passed { passed, why });
                }
                Ok(Duration::ZERO)
            }
            Decision::Run { slot_ms, folded } => {
                let folded_count = folded.map_or(0, |folded| folded.count);
                if slots.claim(target, row.cursor_ms, slot_ms, folded_count).await? {
                    self.saw(SlotEvent::Claimed { slot_ms, folded });
                    self.start(&slots, target, running, slot_ms).await?;
                }
                Ok(Duration::ZERO)
            }
        }
    }

    /// Looks after the slot that runs, here or elsewhere; says whether something runs.
    async fn tend(
        &self,
        slots: &Slots<'_>,
        target: &mut Connection,
        running: &mut Option<Running>,
        row: &SlotRow,
        beside: &Beside,
    ) -> Result<bool, SyncError> {
        if running.as_ref().is_some_and(|run| run.task.is_finished())
            && let Some(run) = running.take()
        {
            let error = run.task.await.unwrap_or_else(|error| Some(error.to_string()));
            self.end(slots, target, run.slot_ms, error).await?;
            return Ok(false);
        }
        if let Some(run) = running {
            if !slots.keep(target, run.slot_ms).await? {
                tracing::warn!(job = self.job.name(), slot = run.slot_ms, "the claim was lost");
                run.cancel.cancel();
            }
            return Ok(true);
        }
        if row.run_slot_ms == 0 {
            let follows = self.job.spec().follow;
            return Ok(if follows { beside.phase != "drain" } else { beside.leased_ms > 0 });
        }
        if row.holder == self.holder && self.job.spec().follow {
            return self.tend_sweep(slots, target, row, beside).await;
        }
        if row.holder == self.holder {
            // The run ended, and that could not be written down: it finds nothing to do, and ends again.
            self.start(slots, target, running, row.run_slot_ms).await?;
            return Ok(true);
        }
        if row.expires_in_ms >= 0 || !slots.take_up(target, row.run_slot_ms).await? {
            return Ok(true);
        }
        self.saw(SlotEvent::TakenUp { slot_ms: row.run_slot_ms });
        self.start(slots, target, running, row.run_slot_ms).await?;
        Ok(true)
    }

    /// Looks after a sweep that the follower does.
    async fn tend_sweep(
        &self,
        slots: &Slots<'_>,
        target: &mut Connection,
        row: &SlotRow,
        beside: &Beside,
    ) -> Result<bool, SyncError> {
        let asked = row.sweep_slot_ms == row.run_slot_ms;
        if asked && beside.phase == "drain" && beside.relists >= row.sweep_relists {
            self.end(slots, target, row.run_slot_ms, None).await?;
            return Ok(false);
        }
        if !asked {
            slots.ask_sweep(target, row.run_slot_ms).await?;
        }
        slots.keep(target, row.run_slot_ms).await?;
        Ok(true)
    }

    /// Starts the run of a slot that is claimed.
    async fn start(
        &self,
        slots: &Slots<'_>,
        target: &mut Connection,
        running: &mut Option<Running>,
        slot_ms: i64,
    ) -> Result<(), SyncError> {
        let row = slots.load(target).await?;
        if row.sweep_slot_ms != slot_ms {
            // False when a listing is under way or due already: the run does that one.
            slots.ask_sweep(target, slot_ms).await?;
        }
        if self.job.spec().follow {
            return Ok(());
        }
        let (job, cancel) = (self.job.clone(), CancellationToken::new());
        let stop = cancel.clone();
        let task = tokio::spawn(async move {
            let ended = Box::pin(job.run(RunMode::Once, stop)).await;
            ended.err().map(|error| error.chain())
        });
        *running = Some(Running { slot_ms, cancel, task });
        Ok(())
    }

    async fn end(
        &self,
        slots: &Slots<'_>,
        target: &mut Connection,
        slot_ms: i64,
        error: Option<String>,
    ) -> Result<(), SyncError> {
        let note = error.as_ref().map(|error| format!("failed: {error}")).unwrap_or_default();
        if slots.end(target, slot_ms, &note).await? {
            self.saw(SlotEvent::Ended { slot_ms, error });
        }
        Ok(())
    }

    /// Stops a run at its checkpoint and gives the slot back, so that it is taken up soon.
    async fn stop(&self, running: Running) {
        running.cancel.cancel();
        drop(running.task.await);
        let given_back = async {
            let mut target = self.inner().connect_target().await?;
            self.slots(&target).give_back(&mut target, running.slot_ms).await
        };
        if let Err(error) = given_back.await {
            tracing::debug!(job = self.job.name(), error = error.chain(), "slot not given back");
        }
    }

    fn slots(&self, target: &Connection) -> Slots<'_> {
        let clock = match self.clock.now_ms() {
            Some(now_ms) => now_ms.to_string(),
            None => target.dialect.clock_ms().to_owned(),
        };
        let ttl_ms = self.inner().ttl_ms() * CLAIM_LEASES;
        Slots { job: self.inner(), holder: &self.holder, clock, ttl_ms }
    }

    fn inner(&self) -> &JobInner {
        &self.job.inner
    }

    async fn sleep(&self, wait: Duration, cancel: &CancellationToken) {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = self.clock.sleep(wait) => {}
        }
    }

    fn saw(&self, event: SlotEvent) {
        let job = self.job.name();
        match &event {
            SlotEvent::Claimed { slot_ms, folded } => {
                metric::slots(job, "run", 1);
                let folded = folded.map_or(0, |folded| folded.count);
                metric::slots(job, "folded", folded);
                tracing::info!(job, slot = slot_ms, folded, "scheduled run begins");
            }
            SlotEvent::TakenUp { slot_ms } => {
                metric::slots(job, "taken-up", 1);
                tracing::warn!(job, slot = slot_ms, "taking up a slot whose scheduler is gone");
            }
            SlotEvent::Passed { passed, why } => {
                metric::slots(job, why.as_str(), passed.count);
                let (count, why) = (passed.count, why.as_str());
                tracing::warn!(job, count, more = passed.more, why, "slots are not run");
            }
            SlotEvent::Ended { slot_ms, error: None } => {
                tracing::info!(job, slot = slot_ms, "scheduled run ended");
            }
            SlotEvent::Ended { slot_ms, error: Some(error) } => {
                metric::slots(job, "failed", 1);
                tracing::error!(job, slot = slot_ms, error, "scheduled run failed");
            }
        }
        self.watch.saw(event);
    }
}
