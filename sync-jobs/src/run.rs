//! Runs a job once or continuously, with retries, lease and history.
//!
//! What must stay true: `Follow` never gives up and says why it waits; `Once` ends within a bounded number
//! of tries; a stop ends at a checkpoint; a lease is given back when the run ends by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use banyan_engine::Backoff;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::cache::Cleaner;
use crate::dialect::Engine;
use crate::error::SyncError;
use crate::job::{Job, JobInner};
use crate::metric;
use crate::progress::{Counters, JobState, RunOutcome, RunRecord};
use crate::publish::Publisher;
use crate::session::{Session, Step};

/// How long a stop waits for the step that is under way.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// How long the release of a lease may take.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a saved record may take.
const RECORD_TIMEOUT: Duration = Duration::from_secs(5);

static RUNS: AtomicU64 = AtomicU64::new(0);

/// How long a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunMode {
    /// Until everything that is there is applied.
    Once,
    /// The same, but it ends at once where another worker holds the lease of either direction: that one does it.
    OnceIfFree,
    /// Until it is told to stop.
    Follow,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSummary {
    /// The job.
    pub job: String,
    /// How it ended; never `Failed`, that is an error.
    pub outcome: RunOutcome,
    /// What it wrote.
    pub counters: Counters,
    /// How long it took.
    pub elapsed: Duration,
    /// Source time up to which all is applied, Unix milliseconds; 0 if the first copy is not done.
    pub watermark_ms: i64,
}

impl Job {
    /// Runs the job.
    ///
    /// # Errors
    /// In `Once`: what could not be overcome in the allowed tries. In `Follow`: nothing but a stop ends it.
    pub async fn run(
        &self,
        mode: RunMode,
        cancel: CancellationToken,
    ) -> Result<RunSummary, SyncError> {
        let (started, started_ms) = (Instant::now(), unix_ms());
        let publisher = Publisher::start(Arc::clone(&self.inner));
        let holder = holder();
        let cleaner = Cleaner::start(&self.inner, publisher.note());
        let ended = Box::pin(work(&self.inner, mode, &cancel, &publisher, &holder)).await;
        if let Some(cleaner) = cleaner {
            cleaner.end().await;
        }
        drop(timeout(RELEASE_TIMEOUT, release(&self.inner, &holder)).await);
        let ended = match ended {
            // Not told over what the other worker tells of the job.
            Err(error) if leaves_to_another(&error, mode) => return Err(error),
            ended => ended,
        };
        let (counters, watermark_ms) = (publisher.counters(), publisher.watermark_ms());
        let (outcome, state, error) = match &ended {
            Ok(RunOutcome::Done) => (RunOutcome::Done, JobState::Done, None),
            Ok(RunOutcome::Stopped | RunOutcome::Failed) | Err(SyncError::Stopped) => {
                (RunOutcome::Stopped, JobState::Stopped, None)
            }
            Err(error) => (RunOutcome::Failed, JobState::Failing, Some(error.chain())),
        };
        publisher.stop(state, error.clone()).await;
        self.record(started_ms, outcome, error, counters).await;
        match ended {
            Err(error) if outcome == RunOutcome::Failed => Err(error),
            Ok(_) | Err(_) => Ok(RunSummary {
                job: self.inner.spec.name.clone(),
                outcome,
                counters,
                elapsed: started.elapsed(),
                watermark_ms,
            }),
        }
    }

    async fn record(
        &self,
        started_ms: i64,
        outcome: RunOutcome,
        error: Option<String>,
        counters: Counters,
    ) {
        let job = &self.inner;
        let run = RunRecord {
            job: job.spec.name.clone(),
            context: job.spec.context.clone(),
            to: job.to,
            started_ms,
            ended_ms: unix_ms(),
            outcome,
            error,
            counters,
        };
        match timeout(RECORD_TIMEOUT, job.ports.store.save_run(&run)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(job = %run.job, %error, "run is not recorded"),
            Err(_) => tracing::warn!(job = %run.job, "run is not recorded: store timed out"),
        }
    }
}

/// Attempts until the run is over.
async fn work(
    job: &Arc<JobInner>,
    mode: RunMode,
    cancel: &CancellationToken,
    publisher: &Publisher,
    holder: &str,
) -> Result<RunOutcome, SyncError> {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    loop {
        let tried = Box::pin(attempt(job, mode, cancel, publisher, holder, &mut backoff));
        let Err(error) = tried.await else {
            return Ok(if cancel.is_cancelled() { RunOutcome::Stopped } else { RunOutcome::Done });
        };
        if matches!(error, SyncError::Stopped) || leaves_to_another(&error, mode) {
            return Err(error);
        }
        metric::error(&job.spec.name);
        let tries_left = backoff.failures() + 1 < job.spec.limits.once_tries;
        let is_over = match mode {
            RunMode::Follow => false,
            RunMode::Once | RunMode::OnceIfFree => !(error.is_transient() && tries_left),
        };
        if is_over {
            return Err(error);
        }
        let wait = wait_after(&error, publisher, &mut backoff);
        tracing::warn!(job = %job.spec.name, error = error.chain(), ?wait, "sync step failed");
        sleep_or_stop(cancel, wait).await;
        if cancel.is_cancelled() {
            return Ok(RunOutcome::Stopped);
        }
    }
}

/// Whether the error names the worker that this run leaves the work to: no failure, and nothing to try again.
fn leaves_to_another(error: &SyncError, mode: RunMode) -> bool {
    mode == RunMode::OnceIfFree && error.is_of_another_worker()
}

/// How long to wait, and what to say meanwhile.
fn wait_after(error: &SyncError, publisher: &Publisher, backoff: &mut Backoff) -> Duration {
    let wait = backoff.fail();
    if let SyncError::LeaseHeld { expires_in_ms, .. } = error {
        publisher.waits("lease", error.to_string());
        let left = u64::try_from(*expires_in_ms).unwrap_or(0).saturating_add(50);
        return Duration::from_millis(left.min(2_000));
    }
    let is_waiting = matches!(error, SyncError::OtherDirection { .. });
    let state = if is_waiting { JobState::Waiting } else { JobState::Failing };
    publisher.state(state, Some(error.chain()));
    wait
}

/// One session from connect to end.
async fn attempt(
    job: &Arc<JobInner>,
    mode: RunMode,
    cancel: &CancellationToken,
    publisher: &Publisher,
    holder: &str,
    backoff: &mut Backoff,
) -> Result<(), SyncError> {
    let open = Box::pin(Session::open(Arc::clone(job), publisher, holder));
    let mut session = or_stop(cancel, open).await?;
    if mode != RunMode::Follow {
        session.begin_sweep().await?;
    }
    let idle_wait = job.spec.limits.idle_wait.unwrap_or(match job.source {
        Engine::Sqlite => Duration::from_millis(50),
        Engine::Postgres | Engine::MySql => Duration::from_millis(100),
    });
    while !cancel.is_cancelled() {
        let step = or_stop(cancel, session.step()).await?;
        backoff.succeed();
        match (step, mode) {
            (Step::Worked, _) => {}
            (Step::Idle, RunMode::Once | RunMode::OnceIfFree) => return Ok(()),
            (Step::Idle, RunMode::Follow) => sleep_or_stop(cancel, idle_wait).await,
            // Short enough to keep the lease and to hear orders.
            (Step::Held(wait), _) => {
                sleep_or_stop(cancel, wait.min(job.spec.limits.lease_ttl / 4)).await;
            }
        }
    }
    Ok(())
}

async fn sleep_or_stop(cancel: &CancellationToken, wait: Duration) {
    tokio::select! {
        () = cancel.cancelled() => {}
        () = sleep(wait) => {}
    }
}

/// Lets a step finish after a stop, but not for ever.
async fn or_stop<T>(
    cancel: &CancellationToken,
    step: impl Future<Output = Result<T, SyncError>>,
) -> Result<T, SyncError> {
    let grace = async {
        cancel.cancelled().await;
        sleep(STOP_GRACE).await;
    };
    tokio::select! {
        done = step => done,
        () = grace => Err(SyncError::Stopped),
    }
}

/// Gives the lease back if this run holds it, so that the next worker need not wait for its end.
async fn release(job: &JobInner, holder: &str) {
    let Ok(mut target) = job.connect_target().await else { return };
    if let Err(error) = job.state.release(&mut target, holder).await {
        tracing::debug!(job = %job.spec.name, error = error.chain(), "lease was not released");
    }
}

/// A name that no other worker has.
pub(crate) fn holder() -> String {
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
    format!("{}-{nanos:x}-{run}", std::process::id())
}

/// This machine's clock in Unix milliseconds.
pub(crate) fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
