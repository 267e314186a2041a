//! What relays count, as Prometheus metrics of the default registry, with the log lines that belong to them.
//!
//! What must stay true: labels come from enums, enrolled contexts and the relay's configured name; only the leader says
//! what waits, and says nothing more once it leads no more.

use std::collections::BTreeSet;
use std::sync::{LazyLock, Mutex, PoisonError};

use prometheus::{IntCounterVec, IntGaugeVec, Opts};

use crate::row::RowState;
use crate::status::ContextStatus;

static ROWS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Rows by what became of them; refused ones are tried again, parity ones were muted";
    counter("banyan_outbox_rows_total", help, &["result"])
});
static RESTARTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Times a relay started over after an error of the broker or the database";
    counter("banyan_outbox_relay_restarts_total", help, &["relay"])
});
static LEADS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge("banyan_outbox_relay_leads", "1 while the relay of this process leads", &["relay"])
});
static GENERATION: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "Number of the last leadership that the relay of this process had";
    gauge("banyan_outbox_relay_generation", help, &["relay"])
});
static BACKLOG: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "Rows that are not published, by context and state; counted by the leader";
    gauge("banyan_outbox_backlog_rows", help, &["relay", "context", "state"])
});
static LAG: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "Age of the oldest row that is not published; counted by the leader";
    gauge("banyan_outbox_lag_seconds", help, &["relay", "context"])
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

/// The rows of a batch were marked: `dead` are among those that were refused.
pub(crate) fn settled(sent: usize, refused: usize, dead: usize) {
    rows("sent", sent);
    rows("refused", refused - dead);
    rows("dead", dead);
    if refused > dead {
        tracing::warn!(rows = refused - dead, "outbox rows were refused and are tried again");
    }
    tracing::debug!(sent, refused, dead, "outbox batch marked");
}

/// Muted rows were marked.
pub(crate) fn muted(published: usize, given_up: usize) {
    rows("parity", published);
    rows("silent", given_up);
    if given_up > 0 {
        tracing::warn!(rows = given_up, "muted outbox rows cannot be published for parity");
    }
    tracing::debug!(published, given_up, "muted outbox rows marked");
}

/// A relay starts over after an error.
pub(crate) fn restarted(relay: &str) {
    RESTARTS.with_label_values(&[relay]).inc();
}

fn rows(result: &'static str, rows: usize) {
    ROWS.with_label_values(&[result]).inc_by(rows as u64);
}

/// A leadership; dropping it takes back what only a leader may say.
pub(crate) struct Leading {
    relay: String,
    contexts: Mutex<BTreeSet<String>>,
}

/// States that are counted of each context.
const WAITING: [RowState; 3] = [RowState::Ready, RowState::Waiting, RowState::Dead];

impl Leading {
    pub(crate) fn begin(relay: &str, generation: i64) -> Self {
        LEADS.with_label_values(&[relay]).set(1);
        GENERATION.with_label_values(&[relay]).set(generation);
        Self { relay: relay.to_owned(), contexts: Mutex::default() }
    }

    /// The backlog of every enrolled context was counted.
    pub(crate) fn measured(&self, contexts: &[ContextStatus]) {
        let set = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let mut known = self.contexts.lock().unwrap_or_else(PoisonError::into_inner);
        for context in contexts {
            let counts = [context.ready, context.waiting, context.dead];
            for (state, count) in WAITING.into_iter().zip(counts) {
                let labels = [self.relay.as_str(), &context.context, state.as_str()];
                BACKLOG.with_label_values(&labels).set(set(count));
            }
            let labels = [self.relay.as_str(), &context.context];
            LAG.with_label_values(&labels).set(set(context.lag_ms / 1_000));
            known.insert(context.context.clone());
        }
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        LEADS.with_label_values(&[&self.relay]).set(0);
        let known = self.contexts.get_mut().unwrap_or_else(PoisonError::into_inner);
        for context in known.iter() {
            for state in WAITING {
                let labels = [self.relay.as_str(), context, state.as_str()];
                // A series that is not there needs no removal.
                BACKLOG.remove_label_values(&labels).ok();
            }
            LAG.remove_label_values(&[self.relay.as_str(), context]).ok();
        }
    }
}
