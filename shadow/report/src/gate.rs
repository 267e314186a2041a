//! The gate: may traffic move, given what was compared?
//!
//! Owns the decision as a pure function of counts. A budget of mismatches alone would pass an endpoint that was hardly
//! looked at; therefore the budget must be *proven*: the exact (Clopper-Pearson) lower bound of the share of agreeing
//! requests has to reach the target. What must stay true: nothing compared never passes; one confirmed breaking difference
//! fails at once; between proof of good and proof of bad the answer is inconclusive, with the evidence still needed; more
//! agreement never turns a pass into a failure, more mismatches never a failure into a pass.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::number::{duration, grouped, percent};
use crate::{binomial, watched};

/// Percent of distinct requests that may mismatch unless configured otherwise.
pub const MAX_MISMATCH_PERCENT: f64 = 0.1;

/// Confidence of both proofs unless configured otherwise.
const CONFIDENCE: f64 = 0.95;

/// A pass needs this share of the tried comparisons decided, in percent: what could not be settled may hide a defect.
const DECIDED_MIN_PERCENT: u64 = 95;

/// What an endpoint must show.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// Percent of distinct requests that must agree, e.g. 99.9.
    pub target_percent: f64,
    /// Confidence of the proof as a share, e.g. 0.95.
    pub confidence: f64,
    /// Distinct requests to compare at least, whatever the proof needs.
    pub min_compared: u64,
    /// How often the gate is looked at.
    #[serde(default)]
    pub bound: Bound,
    /// The last mismatch must be older than this.
    #[serde(default)]
    pub quiet_for_ms: Option<u64>,
    /// 99 % of the late answers of new must agree within this time.
    #[serde(default)]
    pub max_lag_p99_ms: Option<u64>,
    /// Percent of the endpoints asked for that must be judged; the others may lack evidence.
    #[serde(default = "all_percent")]
    pub min_coverage_percent: f64,
}

/// How often a gate is looked at, which decides what counts as proof.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Once, as a step of CI: the exact bound of Clopper and Pearson.
    #[default]
    Once,
    /// Again and again until it passes: a bound that holds at every look, [`crate::watched`].
    Watched,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            target_percent: 100.0 - MAX_MISMATCH_PERCENT,
            confidence: CONFIDENCE,
            min_compared: 1,
            bound: Bound::Once,
            quiet_for_ms: None,
            max_lag_p99_ms: None,
            min_coverage_percent: all_percent(),
        }
    }
}

/// What was seen of one endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Different requests with a decided comparison (match, normalised or confirmed mismatch).
    pub distinct: u64,
    /// Different requests with a confirmed mismatch.
    pub mismatched: u64,
    /// Confirmed mismatches with a breaking difference.
    pub breaking: u64,
    /// Comparisons where only new answered 5xx or not at all, confirmed by a re-read.
    pub new_errors: u64,
    /// Comparisons that were tried.
    #[serde(default)]
    pub tried: u64,
    /// Of these, not decided.
    #[serde(default)]
    pub undecided: u64,
    /// The endpoint is in a phase in which nothing is compared.
    #[serde(default)]
    pub dormant: bool,
    /// How long ago the last mismatch was confirmed; absent when there was none.
    #[serde(default)]
    pub mismatch_age_ms: Option<u64>,
    /// Comparisons within [`Gate::quiet_for_ms`].
    #[serde(default)]
    pub tried_while_quiet: u64,
    /// 99 % of the late answers agreed within this time; absent when none was late.
    #[serde(default)]
    pub lag_p99_ms: Option<u64>,
    /// Places at which legacy differs from itself and new differs beyond that.
    #[serde(default)]
    pub real_under_noise: u64,
}

/// What the gate says about one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum GateVerdict {
    /// The target is proven.
    Pass,
    /// The target is missed.
    Fail {
        /// Why.
        why: FailReason,
    },
    /// Too little evidence.
    Inconclusive {
        /// Distinct requests needed in all, if no further mismatch is found.
        needed: u64,
        /// What is missing.
        #[serde(default)]
        why: OpenReason,
    },
}

/// Why a gate is inconclusive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum OpenReason {
    /// Too few distinct requests were compared.
    #[default]
    Evidence,
    /// The endpoint is in a phase in which nothing is compared, so what was seen says nothing about today.
    Dormant,
    /// Too many comparisons could not be decided.
    Undecided {
        /// How many.
        count: u64,
    },
    /// The last mismatch is too young.
    Restless {
        /// How long ago it was, in ms.
        age_ms: u64,
    },
    /// No mismatch, but also nothing compared, in the time that had to be quiet.
    Silent,
    /// Too few of the endpoints asked for could be judged.
    Coverage,
    /// The log of events does not reach back to the beginning of the period any more.
    Trimmed,
    /// In the period only one side published events.
    OneSided,
}

impl fmt::Display for OpenReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Evidence => f.write_str("too few distinct requests"),
            Self::Dormant => f.write_str("its phase compares nothing"),
            Self::Undecided { count } => {
                write!(f, "{} comparisons could not be decided", grouped(*count))
            }
            Self::Restless { age_ms } => write!(f, "last mismatch {} ago", duration(*age_ms)),
            Self::Silent => f.write_str("nothing was compared lately"),
            Self::Coverage => f.write_str("too few endpoints could be judged"),
            Self::Trimmed => f.write_str("the log was trimmed inside the period"),
            Self::OneSided => f.write_str("only one side published events"),
        }
    }
}

/// Why a gate fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum FailReason {
    /// Confirmed mismatches break clients.
    Breaking {
        /// How many.
        count: u64,
    },
    /// New fails where legacy answers.
    NewErrors {
        /// How many.
        count: u64,
    },
    /// More mismatches than the budget can explain.
    OverBudget,
    /// New differs beyond legacy's noise, where the noise would hide it.
    UnderNoise {
        /// At how many places.
        places: u64,
    },
    /// New is too late.
    Lag {
        /// 99 % of the late answers agreed within this time.
        p99_ms: u64,
    },
}

impl fmt::Display for FailReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Breaking { count } => write!(f, "{} breaking", grouped(*count)),
            Self::NewErrors { count } => write!(f, "new failed {} times", grouped(*count)),
            Self::OverBudget => f.write_str("over budget"),
            Self::UnderNoise { places } => {
                write!(f, "real differences under noise at {} places", grouped(*places))
            }
            Self::Lag { p99_ms } => write!(f, "lag p99 {}", duration(*p99_ms)),
        }
    }
}

/// Why a gate cannot be configured so.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[non_exhaustive]
pub enum GateError {
    /// A mismatch budget that is not above 0 and below 100.
    #[error("a mismatch budget of {0} % cannot be proven, it must be above 0 and below 100")]
    Budget(f64),
    /// A target that is not above 0 and below 100.
    #[error("a target of {0} % cannot be proven, it must be above 0 and below 100")]
    Target(f64),
    /// A confidence that is not at least 0.5 and below 1.
    #[error("a confidence of {0} is none, it must be at least 0.5 and below 1")]
    Confidence(f64),
    /// A coverage that is not above 0 and at most 100.
    #[error("a coverage of {0} % asks for nothing or too much, it must be above 0 and at most 100")]
    Coverage(f64),
}

impl Gate {
    /// A gate from the percent of distinct requests that may mismatch, e.g. [`MAX_MISMATCH_PERCENT`].
    pub fn from_budget(max_mismatch_percent: f64) -> Result<Self, GateError> {
        if !inside_percent(max_mismatch_percent) {
            return Err(GateError::Budget(max_mismatch_percent));
        }
        Ok(Self { target_percent: 100.0 - max_mismatch_percent, ..Self::default() })
    }

    /// A gate from a target in percent and a confidence as a share.
    pub fn from_target(target_percent: f64, confidence: f64) -> Result<Self, GateError> {
        if !inside_percent(target_percent) {
            return Err(GateError::Target(target_percent));
        }
        if !(0.5..1.0).contains(&confidence) {
            return Err(GateError::Confidence(confidence));
        }
        Ok(Self { target_percent, confidence, ..Self::default() })
    }

    /// Asks for at least so many distinct requests.
    #[must_use]
    pub fn with_min_compared(self, min_compared: u64) -> Self {
        Self { min_compared: min_compared.max(1), ..self }
    }

    /// Asks for verdicts on at least so many percent of the endpoints.
    pub fn with_min_coverage(self, percent: f64) -> Result<Self, GateError> {
        let asks = percent > 0.0 && percent <= 100.0;
        let covered = Self { min_coverage_percent: percent, ..self };
        asks.then_some(covered).ok_or(GateError::Coverage(percent))
    }

    /// Percent of distinct requests that may mismatch.
    pub fn budget_percent(&self) -> f64 {
        100.0 - self.target_percent
    }

    /// The decision.
    pub fn decide(&self, evidence: Evidence) -> GateVerdict {
        if let Some(why) = self.failure(&evidence) {
            return GateVerdict::Fail { why };
        }
        let needed = self.needed(evidence.mismatched);
        match self.open(&evidence, needed) {
            Some(why @ OpenReason::Undecided { count }) => {
                let needed = needed.max(evidence.distinct.saturating_add(count));
                GateVerdict::Inconclusive { needed, why }
            }
            Some(why) => GateVerdict::Inconclusive { needed, why },
            None => GateVerdict::Pass,
        }
    }

    fn failure(&self, evidence: &Evidence) -> Option<FailReason> {
        if evidence.breaking > 0 {
            return Some(FailReason::Breaking { count: evidence.breaking });
        }
        if evidence.new_errors > 0 {
            return Some(FailReason::NewErrors { count: evidence.new_errors });
        }
        if evidence.mismatched > 0 && self.is_refuted(evidence) {
            return Some(FailReason::OverBudget);
        }
        if evidence.real_under_noise > 0 {
            return Some(FailReason::UnderNoise { places: evidence.real_under_noise });
        }
        let (p99_ms, max_ms) = (evidence.lag_p99_ms?, self.max_lag_p99_ms?);
        (p99_ms > max_ms).then_some(FailReason::Lag { p99_ms })
    }

    /// What a pass still lacks.
    fn open(&self, evidence: &Evidence, needed: u64) -> Option<OpenReason> {
        let decided = evidence.tried.saturating_sub(evidence.undecided);
        let decided_min = evidence.tried.saturating_mul(DECIDED_MIN_PERCENT);
        let quiet_for_ms = self.quiet_for_ms.unwrap_or(0);
        if evidence.distinct.max(evidence.mismatched) < needed {
            return Some(OpenReason::Evidence);
        }
        if evidence.dormant {
            return Some(OpenReason::Dormant);
        }
        if decided.saturating_mul(100) < decided_min {
            return Some(OpenReason::Undecided { count: evidence.undecided });
        }
        if let Some(age_ms) = evidence.mismatch_age_ms.filter(|age_ms| *age_ms < quiet_for_ms) {
            return Some(OpenReason::Restless { age_ms });
        }
        (quiet_for_ms > 0 && evidence.tried_while_quiet == 0).then_some(OpenReason::Silent)
    }

    /// Whether so many mismatches would be incredible within the budget.
    fn is_refuted(&self, evidence: &Evidence) -> bool {
        let (mismatched, distinct) =
            (evidence.mismatched, evidence.distinct.max(evidence.mismatched));
        match self.bound {
            Bound::Once => {
                binomial::at_least(mismatched, distinct, self.chance()) <= 1.0 - self.confidence
            }
            Bound::Watched => {
                watched::proves_above(mismatched, distinct, self.chance(), self.confidence)
            }
        }
    }

    /// Distinct requests that prove the target when `mismatched` of them differ; `u64::MAX` when nothing would.
    pub fn needed(&self, mismatched: u64) -> u64 {
        let needed = match self.bound {
            Bound::Once => binomial::trials_needed,
            Bound::Watched => watched::trials_needed,
        };
        let proof = needed(mismatched, self.chance(), self.confidence);
        proof.unwrap_or(u64::MAX).max(self.min_compared).max(1)
    }

    /// Percent of agreeing requests that the evidence proves, at the gate's confidence.
    pub fn proven_percent(&self, mismatched: u64, distinct: u64) -> f64 {
        let bound = match self.bound {
            Bound::Once => binomial::lower_bound,
            Bound::Watched => watched::lower_bound,
        };
        bound(mismatched, distinct.max(mismatched), self.confidence) * 100.0
    }

    fn chance(&self) -> f64 {
        self.budget_percent() / 100.0
    }
}

impl GateVerdict {
    /// The word that starts a line: `PASS`, `FAIL` or `INCONCLUSIVE`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail { .. } => "FAIL",
            Self::Inconclusive { .. } => "INCONCLUSIVE",
        }
    }

    /// Order in reports and in the verdict over all: failures first.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Self::Fail { .. } => 0,
            Self::Inconclusive { .. } => 1,
            Self::Pass => 2,
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "budget {}", percent(self.budget_percent()))
    }
}

fn all_percent() -> f64 {
    100.0
}

fn inside_percent(value: f64) -> bool {
    value > 0.0 && value < 100.0
}

#[cfg(test)]
mod tests;
