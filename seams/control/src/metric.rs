//! The metrics of control state, in the default registry.
//!
//! Owns their names and labels. Labels come from our own enums only. What must stay true: a name that
//! cannot be registered costs a warning and the metric, never the process.

use crate::audit::AuditOutcome;
use prometheus::{IntCounterVec, IntGauge, register_int_counter_vec, register_int_gauge};
use std::sync::LazyLock;

static STORE_UP: LazyLock<Option<IntGauge>> = LazyLock::new(|| {
    let gauge = register_int_gauge!(
        "banyan_control_store_up",
        "1 while the control store answers and is not behind, else 0"
    );
    gauge.inspect_err(warn).ok()
});

static GENERATION: LazyLock<Option<IntGauge>> = LazyLock::new(|| {
    let gauge = register_int_gauge!(
        "banyan_route_generation",
        "Generation of the route table that this process routes by"
    );
    gauge.inspect_err(warn).ok()
});

static CHANGES: LazyLock<Option<IntCounterVec>> = LazyLock::new(|| {
    let counter = register_int_counter_vec!(
        "banyan_control_changes_total",
        "Tries to change the route table by this process",
        &["action", "outcome"]
    );
    counter.inspect_err(warn).ok()
});

/// Says whether the store looks well.
pub(crate) fn store_up(up: bool) {
    if let Some(gauge) = &*STORE_UP {
        gauge.set(i64::from(up));
    }
}

/// Says which generation is in force here.
pub(crate) fn generation(generation: u64) {
    if let Some(gauge) = &*GENERATION {
        gauge.set(i64::try_from(generation).unwrap_or(i64::MAX));
    }
}

/// Counts a try to change the table.
pub(crate) fn change(action: &'static str, outcome: AuditOutcome) {
    if let Some(counter) = &*CHANGES {
        counter.with_label_values(&[action, outcome.as_str()]).inc();
    }
}

fn warn(error: &prometheus::Error) {
    tracing::warn!(%error, "a control metric cannot be registered");
}
