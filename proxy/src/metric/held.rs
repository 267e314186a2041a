//! Counts of writes that are held, or that a fence refused.
//!
//! Owns their names and words. What must stay true: labels come from our enums and from declared contexts only.

use super::{Registered, inc};
use prometheus::{
    HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, register_histogram_vec,
    register_int_counter_vec, register_int_gauge, register_int_gauge_vec,
};
use std::sync::LazyLock;

const SECONDS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

static HELD: Registered<IntGaugeVec> = LazyLock::new(|| {
    let help = "Writes held now, because their context is cut over";
    register_int_gauge_vec!("banyan_proxy_held", help, &["context"]).ok()
});
static HELD_TOTAL: Registered<IntCounterVec> = LazyLock::new(|| {
    let help = "Writes that were held, by how it ended";
    register_int_counter_vec!("banyan_proxy_held_total", help, &["context", "outcome"]).ok()
});
static HOLD_SECONDS: Registered<HistogramVec> = LazyLock::new(|| {
    let help = "Time that a write was held";
    register_histogram_vec!("banyan_proxy_hold_seconds", help, &["context"], SECONDS.to_vec()).ok()
});
static FENCED: Registered<IntCounterVec> = LazyLock::new(|| {
    let help = "Answers of a side's fence, by what became of the request";
    let labels = ["context", "outcome"];
    register_int_counter_vec!("banyan_proxy_fenced_writes_total", help, &labels).ok()
});
static CUT_OFF: Registered<IntGauge> = LazyLock::new(|| {
    let help = "1 while the control store is away for longer than the lease and a cutover is armed";
    register_int_gauge!("banyan_proxy_cut_off", help).ok()
});

/// How the wait of a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The table let it go.
    Released,
    /// It waited as long as it may.
    Timeout,
    /// Too many waited already.
    Full,
    /// The client left.
    Left,
    /// The proxy stops, or the declarations have changed.
    Refused,
}

/// What became of a write that a fence refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fenced {
    /// It was forwarded once more.
    Rerouted,
    /// The wait for the next owner ended otherwise.
    Wait(Outcome),
    /// Its body could not be sent again whole.
    Large,
    /// It was refused a second time.
    Again,
    /// The request is not declared as a write of the fence's context: the client got the answer as it was.
    Stray,
}

/// A write is held.
pub(crate) fn began(context: &str) {
    move_held(context, 1);
}

/// A write is not held any more, after `seconds`; or it never was, because there was no place.
pub(crate) fn ended(context: &str, outcome: Outcome, seconds: Option<f64>) {
    inc(&HELD_TOTAL, &[context, outcome.as_str()]);
    if let Some(seconds) = seconds {
        move_held(context, -1);
        if let Some(histogram) = HOLD_SECONDS.as_ref() {
            histogram.with_label_values(&[context]).observe(seconds);
        }
    }
}

/// A fence refused a write.
pub(crate) fn fenced(context: &str, outcome: Fenced) {
    inc(&FENCED, &[context, outcome.as_str()]);
}

/// Whether armed contexts are stopped because the control store is away.
pub(crate) fn cut_off(is: bool) {
    if let Some(gauge) = CUT_OFF.as_ref() {
        gauge.set(i64::from(is));
    }
}

fn move_held(context: &str, step: i64) {
    if let Some(gauges) = HELD.as_ref() {
        gauges.with_label_values(&[context]).add(step);
    }
}

impl Outcome {
    /// The word for labels and logs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Timeout => "timeout",
            Self::Full => "full",
            Self::Left => "left",
            Self::Refused => "refused",
        }
    }

    /// The word under which a request is counted that no side saw.
    pub(crate) const fn counted_as(self) -> &'static str {
        match self {
            Self::Released => "hold released",
            Self::Timeout => "hold timeout",
            Self::Full => "hold full",
            Self::Left => "hold left",
            Self::Refused => "hold refused",
        }
    }
}

impl Fenced {
    /// The word for labels and logs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Rerouted => "rerouted",
            Self::Wait(outcome) => outcome.as_str(),
            Self::Large => "large",
            Self::Again => "again",
            Self::Stray => "stray",
        }
    }
}
