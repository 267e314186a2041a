//! Where the results of experiments go.
//!
//! An experiment is one comparison of what the other side would have answered with what the caller got. The lab
//! receives results only: it cannot change an answer.
//!
//! What must stay true: a result that was not obtained (dropped, failed) is never counted as a match.

use banyan_domain::Side;
use std::sync::atomic::{AtomicU64, Ordering};

/// One finished or dropped experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Experiment {
    /// The operation.
    pub op: &'static str,
    /// The side that answered the caller.
    pub served: Side,
    /// What came of it.
    pub verdict: Verdict,
}

/// What came of an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Both sides answered alike (a refusal with the same error is alike).
    Same,
    /// Both answered or both refused, but differently.
    Different,
    /// The served side refused, the mirrored one answered: perhaps a bug that was there before.
    OnlyServedRefused,
    /// The served side answered, the mirrored one refused.
    OnlyMirroredRefused,
    /// The mirrored side was unavailable, too slow, or panicked: nothing was learned.
    Failed,
    /// Too many experiments were under way: not run.
    Dropped,
}

/// Receives results of experiments.
pub trait Lab: Send + Sync + 'static {
    /// True to run experiments on the caller's path, which makes tests deterministic. Never in production.
    const INLINE: bool = false;

    /// Takes one result; must be quick, must not wait.
    fn observe(&self, experiment: Experiment);
}

/// Keeps nothing; the metrics still count.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLab;

/// Counts results by verdict.
#[derive(Debug, Default)]
pub struct CountingLab([AtomicU64; Verdict::ALL.len()]);

/// For tests of an application: runs experiments at once, on the caller's path, and panics when the sides differ
/// or the comparison was not obtained.
#[derive(Debug, Clone, Copy, Default)]
pub struct StrictLab;

impl Verdict {
    /// All verdicts.
    pub const ALL: [Self; 6] = [
        Self::Same,
        Self::Different,
        Self::OnlyServedRefused,
        Self::OnlyMirroredRefused,
        Self::Failed,
        Self::Dropped,
    ];

    /// The word for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Different => "different",
            Self::OnlyServedRefused => "only_served_refused",
            Self::OnlyMirroredRefused => "only_mirrored_refused",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Same => 0,
            Self::Different => 1,
            Self::OnlyServedRefused => 2,
            Self::OnlyMirroredRefused => 3,
            Self::Failed => 4,
            Self::Dropped => 5,
        }
    }
}

impl CountingLab {
    /// How many results had this verdict.
    pub fn count(&self, verdict: Verdict) -> u64 {
        self.0.get(verdict.index()).map_or(0, |count| count.load(Ordering::Relaxed))
    }
}

impl Lab for NoLab {
    fn observe(&self, _: Experiment) {}
}

impl Lab for CountingLab {
    fn observe(&self, experiment: Experiment) {
        if let Some(count) = self.0.get(experiment.verdict.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Lab for StrictLab {
    const INLINE: bool = true;

    fn observe(&self, experiment: Experiment) {
        assert!(
            experiment.verdict == Verdict::Same,
            "`{}` must answer alike on both sides, found `{}` (served by {})",
            experiment.op,
            experiment.verdict.as_str(),
            experiment.served,
        );
    }
}

/// A lab shared with whoever reads it.
impl<B: Lab> Lab for std::sync::Arc<B> {
    const INLINE: bool = B::INLINE;

    fn observe(&self, experiment: Experiment) {
        B::observe(self, experiment);
    }
}
