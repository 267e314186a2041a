//! What the events part counts, as Prometheus metrics of the default registry.
//!
//! Each function is one event: it counts, the caller logs. What must stay true: labels come from enums and
//! declared context names, never from routing keys or ids.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, IntGaugeVec, Opts};

use crate::broker::{BrokerError, BrokerKind};

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
        Some(BrokerError::Unconfirmed { .. }) => "unconfirmed",
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
