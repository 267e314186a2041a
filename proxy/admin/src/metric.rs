//! The metrics of the admin API, in the default registry. Labels come from our own route names only.

use prometheus::{IntCounterVec, register_int_counter_vec};
use std::sync::LazyLock;

static REQUESTS: LazyLock<Option<IntCounterVec>> = LazyLock::new(|| {
    let counter = register_int_counter_vec!(
        "banyan_admin_requests_total",
        "Requests to the admin API by class of answer",
        &["answer"]
    );
    let warn = |error: &prometheus::Error| {
        tracing::warn!(%error, "an admin metric cannot be registered");
    };
    counter.inspect_err(warn).ok()
});

/// Counts an answer by its class.
pub(crate) fn request(status: u16) {
    let answer = match status {
        0..400 => "done",
        401 => "unauthorized",
        403 => "forbidden",
        409 => "stale",
        400..500 => "refused",
        500.. => "failed",
    };
    if let Some(counter) = &*REQUESTS {
        counter.with_label_values(&[answer]).inc();
    }
}
