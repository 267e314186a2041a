//! Metrics of the jobs. Labels are declared job names and words of our enums, never keys.
//!
//! What must stay true: a metric that cannot be registered (a name taken twice) is still counted, only
//! not exported; metrics never stop a run.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, IntGaugeVec, Opts};

use crate::state::Written;

static ROWS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter("banyan_sync_rows_total", "Rows written by sync jobs", &["job", "change"])
});
static BATCHES: LazyLock<IntCounterVec> =
    LazyLock::new(|| counter("banyan_sync_batches_total", "Target transactions", &["job"]));
static CHANGES: LazyLock<IntCounterVec> =
    LazyLock::new(|| counter("banyan_sync_changes_total", "Change rows applied", &["job"]));
static ERRORS: LazyLock<IntCounterVec> =
    LazyLock::new(|| counter("banyan_sync_errors_total", "Failed steps", &["job"]));
static LAG: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge("banyan_sync_lag_milliseconds", "How far the target is behind; -1 unknown", &["job"])
});
static PENDING: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge("banyan_sync_pending_changes", "Change rows seen and not applied yet", &["job"])
});

static CONFLICTS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge("banyan_sync_conflicts", "Aggregates set aside: written on both sides", &["job"])
});

static CAPTURE_LOST: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter("banyan_sync_capture_lost_total", "Triggers replaced: all is compared again", &["job"])
});

/// The triggers were away for a while.
pub(crate) fn capture_lost(job: &str) {
    CAPTURE_LOST.with_label_values(&[job]).inc();
}

/// So many roots are set aside.
pub(crate) fn conflicts(job: &str, count: i64) {
    CONFLICTS.with_label_values(&[job]).set(count);
}

static WAITING: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge("banyan_sync_waiting", "1 while the job waits for this reason", &["job", "reason"])
});
static ROOTS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge("banyan_sync_roots", "Roots of the running copy or sweep", &["job", "which"])
});
static SLOTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "banyan_sync_slots_total",
        "Slots of schedules by what became of them",
        &["job", "outcome"],
    )
});
static CACHE_KEYS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "banyan_sync_cache_keys_total",
        "Cache keys by what became of them",
        &["job", "outcome"],
    )
});
static CACHE_WAITING: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge(
        "banyan_sync_cache_waiting",
        "Cache keys that wait for their server; -1 unknown",
        &["job"],
    )
});

/// The job stopped waiting for one reason and waits for another.
pub(crate) fn waiting(job: &str, before: Option<&str>, now: Option<&str>) {
    for (word, holds) in [(before, 0), (now, 1)] {
        if let Some(word) = word {
            WAITING.with_label_values(&[job, word]).set(holds);
        }
    }
}

/// The copy or sweep is here.
pub(crate) fn copied(job: &str, done: i64, total: i64) {
    ROOTS.with_label_values(&[job, "done"]).set(done);
    ROOTS.with_label_values(&[job, "total"]).set(total);
}

/// This became of slots.
pub(crate) fn slots(job: &str, outcome: &str, count: usize) {
    SLOTS.with_label_values(&[job, outcome]).inc_by(u64::try_from(count).unwrap_or(u64::MAX));
}

/// Keys were deleted from their server.
pub(crate) fn cache_deleted(job: &str, count: usize) {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    CACHE_KEYS.with_label_values(&[job, "deleted"]).inc_by(count);
    CACHE_WAITING.with_label_values(&[job]).set(0);
}

/// Names of keys that memcached cannot hold.
pub(crate) fn cache_illegal(job: &str, count: usize) {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    CACHE_KEYS.with_label_values(&[job, "illegal"]).inc_by(count);
}

/// So many keys wait.
pub(crate) fn cache_waiting(job: &str, count: i64) {
    CACHE_WAITING.with_label_values(&[job]).set(count);
}

/// A batch was committed.
pub(crate) fn batch(job: &str, written: Written) {
    BATCHES.with_label_values(&[job]).inc();
    for (change, rows) in
        [("insert", written.inserted), ("update", written.updated), ("delete", written.deleted)]
    {
        ROWS.with_label_values(&[job, change]).inc_by(rows);
    }
}

/// Change rows were applied.
pub(crate) fn changes(job: &str, count: usize) {
    CHANGES.with_label_values(&[job]).inc_by(u64::try_from(count).unwrap_or(u64::MAX));
}

/// A step failed.
pub(crate) fn error(job: &str) {
    ERRORS.with_label_values(&[job]).inc();
}

/// The lag and the pending changes are these now.
pub(crate) fn lag(job: &str, lag_ms: i64, pending: u64) {
    LAG.with_label_values(&[job]).set(lag_ms);
    PENDING.with_label_values(&[job]).set(i64::try_from(pending).unwrap_or(i64::MAX));
}

fn counter(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    registered(IntCounterVec::new(Opts::new(name, help), labels))
}

fn gauge(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    registered(IntGaugeVec::new(Opts::new(name, help), labels))
}

#[expect(clippy::expect_used, reason = "the names and labels are constants of this file")]
fn registered<M>(metric: Result<M, prometheus::Error>) -> M
where
    M: prometheus::core::Collector + Clone + 'static,
{
    let metric = metric.expect("a constant metric name is valid");
    if let Err(error) = prometheus::register(Box::new(metric.clone())) {
        tracing::warn!(%error, "metric is not exported");
    }
    metric
}
