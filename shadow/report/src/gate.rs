//! The gate: may traffic move, given what was compared?
//!
//! Owns the decision as a pure function of counts. A budget of mismatches alone would pass an endpoint that was hardly
//! looked at; therefore the budget must be *proven*: the exact (Clopper-Pearson) lower bound of the share of agreeing
//! requests has to reach the target. What must stay true: nothing compared never passes; one confirmed breaking difference
//! fails at once; between proof of good and proof of bad the answer is inconclusive, with the evidence still needed.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::binomial;
use crate::number::{grouped, percent};

/// Percent of distinct requests that may mismatch unless configured otherwise.
pub const MAX_MISMATCH_PERCENT: f64 = 0.1;

/// Confidence of both proofs unless configured otherwise.
const CONFIDENCE: f64 = 0.95;

/// What an endpoint must show.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// Percent of distinct requests that must agree, e.g. 99.9.
    pub target_percent: f64,
    /// Confidence of the proof as a share, e.g. 0.95.
    pub confidence: f64,
    /// Distinct requests to compare at least, whatever the proof needs.
    pub min_compared: u64,
}

impl Default for Gate {
    fn default() -> Self {
        let target_percent = 100.0 - MAX_MISMATCH_PERCENT;
        Self { target_percent, confidence: CONFIDENCE, min_compared: 1 }
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
    },
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
}

impl fmt::Display for FailReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Breaking { count } => write!(f, "{} breaking", grouped(*count)),
            Self::NewErrors { count } => write!(f, "new failed {} times", grouped(*count)),
            Self::OverBudget => f.write_str("over budget"),
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

    /// Percent of distinct requests that may mismatch.
    pub fn budget_percent(&self) -> f64 {
        100.0 - self.target_percent
    }

    /// The decision.
    pub fn decide(&self, evidence: Evidence) -> GateVerdict {
        if evidence.breaking > 0 {
            return GateVerdict::Fail { why: FailReason::Breaking { count: evidence.breaking } };
        }
        if evidence.new_errors > 0 {
            return GateVerdict::Fail { why: FailReason::NewErrors { count: evidence.new_errors } };
        }
        let distinct = evidence.distinct.max(evidence.mismatched);
        let needed = self.needed(evidence.mismatched);
        if distinct >= needed {
            return GateVerdict::Pass;
        }
        let credible = binomial::at_least(evidence.mismatched, distinct, self.chance());
        if evidence.mismatched > 0 && credible <= 1.0 - self.confidence {
            return GateVerdict::Fail { why: FailReason::OverBudget };
        }
        GateVerdict::Inconclusive { needed }
    }

    /// Distinct requests that prove the target when `mismatched` of them differ; `u64::MAX` when nothing would.
    pub fn needed(&self, mismatched: u64) -> u64 {
        let proof = binomial::trials_needed(mismatched, self.chance(), self.confidence);
        proof.unwrap_or(u64::MAX).max(self.min_compared).max(1)
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

fn inside_percent(value: f64) -> bool {
    value > 0.0 && value < 100.0
}

#[cfg(test)]
mod tests;
