//! Counters of the seam in Prometheus' default registry.
//!
//! What must stay true: labels come from operation names, sides and verdicts only; an application without a
//! registry (or with a clashing one) still works, uncounted.

use crate::{lab::Experiment, op::SeamError};
use banyan_domain::Side;
use prometheus::{IntCounterVec, register_int_counter_vec};
use std::sync::LazyLock;

static CALLS: LazyLock<Option<IntCounterVec>> = LazyLock::new(|| {
    register_int_counter_vec!(
        "banyan_seam_calls_total",
        "Calls that a seam sent to a side for a caller",
        &["op", "side", "outcome"]
    )
    .ok()
});

static EXPERIMENTS: LazyLock<Option<IntCounterVec>> = LazyLock::new(|| {
    register_int_counter_vec!(
        "banyan_seam_experiments_total",
        "Comparisons of both sides by a seam",
        &["op", "served", "verdict"]
    )
    .ok()
});

/// Counts a call for a caller.
pub(crate) fn call<T, E>(op: &'static str, side: Side, answer: &Result<T, SeamError<E>>) {
    if let Some(calls) = CALLS.as_ref() {
        calls.with_label_values(&[op, side.as_str(), outcome(answer)]).inc();
    }
}

/// Counts an experiment.
pub(crate) fn experiment(experiment: Experiment) {
    if let Some(experiments) = EXPERIMENTS.as_ref() {
        let Experiment { op, served, verdict } = experiment;
        experiments.with_label_values(&[op, served.as_str(), verdict.as_str()]).inc();
    }
}

fn outcome<T, E>(answer: &Result<T, SeamError<E>>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(SeamError::App(_)) => "refused",
        Err(SeamError::Unavailable(_)) => "unavailable",
        Err(SeamError::Timeout) => "timeout",
        Err(SeamError::NotOwner { .. }) => "not_owner",
    }
}
