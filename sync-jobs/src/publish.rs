//! Publishes where a run is: to the progress port at once, to the store several times per second.
//!
//! A task of its own saves the watermark, so that a long batch or a wait after a failure does not make the
//! proxy believe an old lag; lag grows by the clock while nothing is applied.
//!
//! What must stay true: the watermark is what a complete drain proved, never an estimate; a store that
//! fails is logged and does not stop the run; the task ends with the run.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use banyan_engine::WaitReason;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::job::JobInner;
use crate::metric;
use crate::progress::{Counters, JobState, ProgressEvent, Watermark};
use crate::state::Written;

/// Longest time between two saved watermarks.
const SAVE_EVERY: Duration = Duration::from_millis(200);
/// Shortest time between two saved watermarks.
const SAVE_GAP: Duration = Duration::from_millis(50);
/// Longest wait for the store.
const SAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Shortest time between two progress events of one state.
const SHOW_GAP: Duration = Duration::from_millis(50);

/// Publishes one run; dropping it ends the saving task.
pub(crate) struct Publisher {
    shared: Arc<Shared>,
    saver: JoinHandle<()>,
}

struct Shared {
    job: Arc<JobInner>,
    now: Mutex<Now>,
    changed: Notify,
    committed: Notify,
}

#[derive(Clone)]
struct Now {
    state: JobState,
    reason: Option<String>,
    /// The word of the reason to wait, for the metric.
    waits: Option<&'static str>,
    /// What else an operator must see, such as a cache server that is away.
    note: Option<String>,
    done: u64,
    total: u64,
    pending: u64,
    counters: Counters,
    rows_per_second: f64,
    rate_since: Instant,
    rate_rows: u64,
    watermark_ms: i64,
    source_clock: Option<(i64, Instant)>,
    shown: Option<Instant>,
}

impl Publisher {
    /// Starts to publish.
    pub(crate) fn start(job: Arc<JobInner>) -> Self {
        let now = Now {
            state: JobState::Starting,
            reason: None,
            waits: None,
            note: None,
            done: 0,
            total: 0,
            pending: 0,
            counters: Counters::default(),
            rows_per_second: 0.0,
            rate_since: Instant::now(),
            rate_rows: 0,
            watermark_ms: 0,
            source_clock: None,
            shown: None,
        };
        let shared = Arc::new(Shared {
            job,
            now: Mutex::new(now),
            changed: Notify::new(),
            committed: Notify::new(),
        });
        let saver = tokio::spawn(save_repeatedly(Arc::clone(&shared)));
        Self { shared, saver }
    }

    /// The run is in this state, because of that.
    pub(crate) fn state(&self, state: JobState, reason: Option<String>) {
        self.enter(state, reason, None);
    }

    /// The run waits, because of that.
    pub(crate) fn waiting(&self, because: &WaitReason) {
        self.waits(because.word(), because.to_string());
    }

    /// The run waits; `word` is for the metric.
    pub(crate) fn waits(&self, word: &'static str, reason: String) {
        self.enter(JobState::Waiting, Some(reason), Some(word));
    }

    /// A handle to say more beside the state.
    pub(crate) fn note(&self) -> Note {
        Note(Arc::clone(&self.shared))
    }

    fn enter(&self, state: JobState, reason: Option<String>, waits: Option<&'static str>) {
        self.change(|now| {
            if now.state != state || now.reason != reason {
                now.shown = None;
            }
            if now.waits != waits {
                metric::waiting(&self.shared.job.spec.name, now.waits, waits);
            }
            (now.state, now.reason, now.waits) = (state, reason, waits);
        });
    }

    /// The first copy is here.
    pub(crate) fn copied(&self, done: i64, total: i64) {
        metric::copied(&self.shared.job.spec.name, done, total);
        self.change(|now| {
            now.done = u64::try_from(done).unwrap_or(0);
            now.total = u64::try_from(total).unwrap_or(0);
        });
    }

    /// A batch of `roots` aggregates was committed.
    pub(crate) fn wrote(&self, written: Written, roots: usize) {
        metric::batch(&self.shared.job.spec.name, written);
        self.change(|now| {
            now.counters.rows_inserted += written.inserted;
            now.counters.rows_updated += written.updated;
            now.counters.rows_deleted += written.deleted;
            now.counters.batches += 1;
            now.counters.roots_applied += u64::try_from(roots).unwrap_or(0);
        });
        self.shared.committed.notify_one();
    }

    /// Change rows were applied and deleted.
    pub(crate) fn applied(&self, changes: usize) {
        metric::changes(&self.shared.job.spec.name, changes);
        let changes = u64::try_from(changes).unwrap_or(0);
        self.change(|now| {
            now.counters.changes_applied += changes;
            now.pending = now.pending.saturating_sub(changes);
        });
    }

    /// A snapshot taken after source time `clock_ms` shows this many pending changes.
    pub(crate) fn seen(&self, clock_ms: i64, pending: usize) {
        self.change(|now| {
            now.source_clock = Some((clock_ms, Instant::now()));
            now.pending = u64::try_from(pending).unwrap_or(0);
        });
    }

    /// Everything committed up to this source time is applied.
    pub(crate) fn watermark(&self, clock_ms: i64) {
        self.change(|now| now.watermark_ms = now.watermark_ms.max(clock_ms));
        self.shared.changed.notify_one();
    }

    /// So many roots are set aside, because both sides wrote them.
    pub(crate) fn conflicts(&self, count: i64) {
        metric::conflicts(&self.shared.job.spec.name, count);
    }

    /// Rows written so far.
    pub(crate) fn counters(&self) -> Counters {
        self.shared.lock().counters
    }

    /// The watermark so far; 0 if there is none.
    pub(crate) fn watermark_ms(&self) -> i64 {
        self.shared.lock().watermark_ms
    }

    /// Publishes the last state and stops.
    pub(crate) async fn stop(self, state: JobState, reason: Option<String>) {
        self.state(state, reason);
        self.saver.abort();
        save(&self.shared).await;
    }

    fn change(&self, act: impl FnOnce(&mut Now)) {
        let event = {
            let mut now = self.shared.lock();
            act(&mut now);
            now.rate();
            if now.shown.is_some_and(|shown| shown.elapsed() < SHOW_GAP) {
                return;
            }
            now.shown = Some(Instant::now());
            self.shared.event(&now)
        };
        self.shared.job.ports.progress.observe(event);
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.saver.abort();
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn event(&self, now: &Now) -> ProgressEvent {
        ProgressEvent {
            job: self.job.spec.name.clone(),
            context: self.job.spec.context.clone(),
            to: self.job.to,
            state: now.state,
            reason: now.says(),
            done: now.done,
            total: now.total,
            rows_per_second: now.rows_per_second,
            lag_ms: now.lag_ms(),
            pending: now.pending,
            counters: now.counters,
        }
    }
}

/// Says more about a run beside its state.
#[derive(Clone)]
pub(crate) struct Note(Arc<Shared>);

impl Note {
    /// This is to be seen; nothing takes it back.
    pub(crate) fn set(&self, text: Option<String>) {
        self.0.lock().note = text;
    }

    /// Returns after the next commit on the target.
    pub(crate) async fn committed(&self) {
        self.0.committed.notified().await;
    }
}

impl Now {
    /// The reason and the note.
    fn says(&self) -> Option<String> {
        match (&self.reason, &self.note) {
            (Some(reason), Some(note)) => Some(format!("{reason}; {note}")),
            (reason, note) => reason.as_ref().or(note.as_ref()).cloned(),
        }
    }

    /// The source's clock now minus the watermark.
    fn lag_ms(&self) -> Option<i64> {
        let (clock_ms, seen) = self.source_clock?;
        if self.watermark_ms == 0 {
            return None;
        }
        let since = i64::try_from(seen.elapsed().as_millis()).unwrap_or(i64::MAX);
        Some(clock_ms.saturating_add(since).saturating_sub(self.watermark_ms).max(0))
    }

    /// Smooths the rate over about five seconds.
    fn rate(&mut self) {
        let elapsed = self.rate_since.elapsed();
        if elapsed < Duration::from_millis(500) {
            return;
        }
        let rows = self.counters.rows();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people, far below 2^52")]
        let latest = (rows - self.rate_rows) as f64 / elapsed.as_secs_f64();
        let weight = if self.rate_rows == 0 { 1.0 } else { 0.3 };
        self.rows_per_second += weight * (latest - self.rows_per_second);
        (self.rate_since, self.rate_rows) = (Instant::now(), rows);
    }
}

async fn save_repeatedly(shared: Arc<Shared>) {
    loop {
        save(&shared).await;
        sleep(SAVE_GAP).await;
        // Either something new, or it is time to show that the lag grows.
        drop(timeout(SAVE_EVERY.saturating_sub(SAVE_GAP), shared.changed.notified()).await);
    }
}

async fn save(shared: &Shared) {
    let watermark = {
        let now = shared.lock();
        Watermark {
            job: shared.job.spec.name.clone(),
            context: shared.job.spec.context.clone(),
            to: shared.job.to,
            watermark_ms: now.watermark_ms,
            lag_ms: now.lag_ms().unwrap_or(-1),
            state: now.state,
            reason: now.says(),
            pending: now.pending,
        }
    };
    metric::lag(&watermark.job, watermark.lag_ms, watermark.pending);
    let saved = timeout(SAVE_TIMEOUT, shared.job.ports.store.save_watermark(&watermark)).await;
    match saved {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(job = %watermark.job, %error, "watermark is not saved"),
        Err(_) => tracing::warn!(job = %watermark.job, "watermark is not saved: store timed out"),
    }
}
