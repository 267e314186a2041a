//! What the events part counts, as Prometheus metrics of the default registry.
//!
//! Each function is one event: it counts, the caller logs. What must stay true: labels come from enums and
//! declared context names, never from routing keys or ids.

use std::sync::LazyLock;

use std::time::Duration;

use banyan_domain::{ContextName, Side};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts};

use crate::broker::{BrokerError, BrokerKind};
use crate::forwarder::Decision;

static PUBLISHED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "banyan_events_published_total",
        "Messages published, by broker and result",
        &["broker", "result"],
    )
});
static RECONNECTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter("banyan_events_broker_connections_total", "Connections made to a broker", &["broker"])
});
static CONNECTED: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge("banyan_events_broker_connected", "Broker connections that stand", &["broker"])
});

static DECIDED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let labels = ["context", "side", "decision"];
    counter(
        "banyan_events_decided_total",
        "Events decided; context is empty outside of all",
        &labels,
    )
});
static RESTARTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter("banyan_events_forwarder_restarts_total", "Times the forwarder started over", &[])
});
static RUNNING: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge("banyan_events_forwarder_running", "1 while this forwarder leads and forwards", &[])
});
static LAG: LazyLock<IntGaugeVec> =
    LazyLock::new(|| gauge("banyan_events_lag_events", "Events waiting in a raw queue", &["side"]));
static LAG_SECONDS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "At most so old is the oldest event waiting in a raw queue";
    gauge("banyan_events_lag_seconds_max", help, &["side"])
});
static RELEASED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Late events that an operator released and that were published";
    counter("banyan_events_released_total", help, &["side"])
});
static QUARANTINE: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge("banyan_events_quarantine_events", "Late events that wait for an operator", &[])
});
static HELD: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge("banyan_events_held", "1 while a raw queue waits at a marker of a handover", &["side"])
});
static UNROUTED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Published events that no consumer's queue was bound for";
    counter("banyan_events_unrouted_total", help, &["context"])
});
static BATCH: LazyLock<HistogramVec> = LazyLock::new(|| {
    let help = "Time from receiving a batch of events to its acknowledgement";
    build(HistogramVec::new(HistogramOpts::new("banyan_events_batch_seconds", help), &["side"]))
});

/// A metric that cannot be registered (twice, say) still counts; it is just not exported.
fn counter(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    build(IntCounterVec::new(Opts::new(name, help), labels))
}

fn gauge(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    build(IntGaugeVec::new(Opts::new(name, help), labels))
}

#[expect(clippy::expect_used, reason = "names and labels are constants, checked by a test")]
fn build<M: prometheus::core::Collector + Clone + 'static>(metric: prometheus::Result<M>) -> M {
    let metric = metric.expect("metric names are legal");
    if let Err(error) = prometheus::register(Box::new(metric.clone())) {
        tracing::debug!(%error, "a metric was not registered");
    }
    metric
}

/// Messages were published, or were not.
pub(crate) fn published(broker: BrokerKind, messages: usize, error: Option<&BrokerError>) {
    let result = match error {
        None => "confirmed",
        Some(BrokerError::Unconfirmed { .. } | BrokerError::Blocked { .. }) => "unconfirmed",
        Some(BrokerError::Unroutable { .. }) => "unroutable",
        Some(_) => "refused",
    };
    PUBLISHED.with_label_values(&[broker.as_str(), result]).inc_by(messages as u64);
}

/// A connection to a broker stands.
pub(crate) fn connected(broker: BrokerKind) {
    RECONNECTS.with_label_values(&[broker.as_str()]).inc();
    CONNECTED.with_label_values(&[broker.as_str()]).inc();
}

/// A connection to a broker ended.
pub(crate) fn disconnected(broker: BrokerKind) {
    CONNECTED.with_label_values(&[broker.as_str()]).dec();
}

/// An event was decided for the first time.
pub(crate) fn decided(context: Option<&ContextName>, side: Side, decision: Decision) {
    let context = context.map_or("", ContextName::as_str);
    DECIDED.with_label_values(&[context, side.as_str(), decision.as_str()]).inc();
}

/// Published events reached no queue.
pub(crate) fn unrouted(context: &str, events: u64) {
    UNROUTED.with_label_values(&[context]).inc_by(events);
}

/// A batch went all the way.
pub(crate) fn batch_done(side: Side, events: usize, took: Duration) {
    BATCH.with_label_values(&[side.as_str()]).observe(took.as_secs_f64());
    tracing::debug!(%side, events, ?took, "batch forwarded");
}

/// The forwarder starts over after an error.
pub(crate) fn forwarder_restarted() {
    RESTARTS.with_label_values(&[]).inc();
}

/// The forwarder leads and forwards, or does not.
pub(crate) fn forwarder_state(running: bool) {
    RUNNING.with_label_values(&[]).set(i64::from(running));
}

/// A raw queue was measured.
pub(crate) fn raw_depth(side: Side, events: u64) {
    LAG.with_label_values(&[side.as_str()]).set(i64::try_from(events).unwrap_or(i64::MAX));
}

/// The oldest event of a raw queue is at most so old.
pub(crate) fn raw_age(side: Side, seconds_max: i64) {
    LAG_SECONDS.with_label_values(&[side.as_str()]).set(seconds_max);
}

/// Released late events went public.
pub(crate) fn released(side: Side, events: usize) {
    RELEASED.with_label_values(&[side.as_str()]).inc_by(events as u64);
}

/// Late events were counted.
pub(crate) fn quarantine_depth(events: u64) {
    QUARANTINE.with_label_values(&[]).set(i64::try_from(events).unwrap_or(i64::MAX));
}

/// A raw queue waits at a marker, or goes on.
pub(crate) fn held(side: Side, held: bool) {
    HELD.with_label_values(&[side.as_str()]).set(i64::from(held));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_can_be_built() {
        published(BrokerKind::Embedded, 1, None);
        connected(BrokerKind::RabbitMq);
        disconnected(BrokerKind::RabbitMq);
        decided(None, Side::Legacy, Decision::Unmigrated);
        batch_done(Side::New, 1, Duration::ZERO);
        forwarder_restarted();
        forwarder_state(true);
        raw_depth(Side::Legacy, 3);
        raw_age(Side::Legacy, 1);
        released(Side::New, 1);
        quarantine_depth(0);
        held(Side::New, false);
        let names: Vec<_> = prometheus::gather().iter().map(|m| m.get_name().to_owned()).collect();
        assert!(names.iter().filter(|name| name.starts_with("banyan_events_")).count() >= 12);
    }
}
