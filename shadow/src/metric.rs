//! The metrics of shadow reads, in the default registry.
//!
//! Owns every `banyan_shadow_*` name. What must stay true: labels come from enums and declared names only.

use crate::SkipReason;
use banyan_domain::{EndpointName, Side};
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, core::Collector,
};
use std::sync::LazyLock;

static OFFERED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter("banyan_shadow_offered_total", "Answered reads handed over.", &["endpoint"])
});
static SKIPPED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "banyan_shadow_skipped_total",
        "Reads not compared, by reason.",
        &["endpoint", "reason"],
    )
});
static COMPARED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter("banyan_shadow_compared_total", "Comparisons by outcome.", &["endpoint", "outcome"])
});
static LOST: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter("banyan_shadow_tally_dropped_total", "Parts of a tally that were dropped.", &["part"])
});
static QUEUE_DEPTH: LazyLock<IntGauge> =
    LazyLock::new(|| gauge("banyan_shadow_queue_depth", "Exchanges that wait for a worker."));
static RECHECKS_WAITING: LazyLock<IntGauge> =
    LazyLock::new(|| gauge("banyan_shadow_rechecks_waiting", "Mismatches that wait for re-reads."));
static CAPACITY_SHARE: LazyLock<GaugeVec> = LazyLock::new(|| {
    let opts = Opts::new(
        "banyan_shadow_capacity_share",
        "Share of its allowance of shadow traffic that a side gets; below 1 it suffers.",
    );
    registered(constant(GaugeVec::new(opts, &["side", "context"])))
});
static LAG: LazyLock<HistogramVec> = LazyLock::new(|| {
    let opts = HistogramOpts::new(
        "banyan_shadow_lag_seconds",
        "Time from the client's answer until both sides agreed.",
    )
    .buckets(vec![0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]);
    registered(constant(HistogramVec::new(opts, &["endpoint"])))
});

static NOISE_LOOKS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "banyan_shadow_noise_looks_total",
        "Reads of which legacy was to be asked again to see its noise, by what became of it.",
        &["endpoint", "result"],
    )
});

pub(crate) fn noise_look(endpoint: &EndpointName, result: &'static str) {
    NOISE_LOOKS.with_label_values(&[endpoint.as_str(), result]).inc();
}

pub(crate) fn offered(endpoint: &EndpointName) {
    OFFERED.with_label_values(&[endpoint.as_str()]).inc();
}

pub(crate) fn skipped(endpoint: &EndpointName, reason: SkipReason) {
    SKIPPED.with_label_values(&[endpoint.as_str(), reason.as_str()]).inc();
}

pub(crate) fn compared(endpoint: &EndpointName, outcome: crate::Outcome) {
    COMPARED.with_label_values(&[endpoint.as_str(), outcome.as_str()]).inc();
}

pub(crate) fn dropped(part: &'static str, count: u64) {
    LOST.with_label_values(&[part]).inc_by(count);
}

pub(crate) fn queue_depth(depth: usize) {
    QUEUE_DEPTH.set(i64::try_from(depth).unwrap_or(i64::MAX));
}

pub(crate) fn rechecks_waiting(count: usize) {
    RECHECKS_WAITING.set(i64::try_from(count).unwrap_or(i64::MAX));
}

pub(crate) fn capacity_share(side: Side, context: &str, share: f64) {
    CAPACITY_SHARE.with_label_values(&[side.as_str(), context]).set(share);
}

pub(crate) fn lag(endpoint: &EndpointName, seconds: f64) {
    LAG.with_label_values(&[endpoint.as_str()]).observe(seconds);
}

fn counter(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    registered(constant(IntCounterVec::new(Opts::new(name, help), labels)))
}

fn gauge(name: &str, help: &str) -> IntGauge {
    registered(constant(IntGauge::new(name, help)))
}

#[expect(clippy::expect_used, reason = "names and labels are constants of this file")]
fn constant<T>(metric: prometheus::Result<T>) -> T {
    metric.expect("a metric's name and labels are legal")
}

/// Registers a metric; one that cannot be registered still counts, it is only not shown.
fn registered<C: Collector + Clone + 'static>(metric: C) -> C {
    if let Err(error) = prometheus::register(Box::new(metric.clone())) {
        tracing::warn!(%error, "a shadow metric could not be registered");
    }
    metric
}
