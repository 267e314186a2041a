//! The outcome of one comparison, in the words that reports and gates use.
//!
//! Lag and noise are not here: they need re-reads, so the shadow shell decides them. Must stay true: `Severity` is
//! ordered from harmless to breaking, and an inconclusive verdict always carries its reason.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How much a difference would hurt a client; ordered from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nobody can tell without looking at the bytes.
    Cosmetic,
    /// Something was added that a tolerant reader skips.
    Additive,
    /// The same elements in another order.
    Order,
    /// The same shape with another value.
    Value,
    /// Status, type, redirect or something missing: clients fail.
    Breaking,
}

impl Severity {
    /// The word used in reports and configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cosmetic => "cosmetic",
            Self::Additive => "additive",
            Self::Order => "order",
            Self::Value => "value",
            Self::Breaking => "breaking",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a comparison could not be decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The work or the size went over [`crate::Budget`].
    OverBudget,
    /// JSON is nested deeper than 512 levels.
    TooDeep,
    /// A content encoding that is unknown, broken or expands too far.
    Undecodable,
    /// One side answered 304, the other sent the body: there is nothing to compare.
    NotModified,
}

impl Why {
    /// The word used in reports, tallies and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OverBudget => "over_budget",
            Self::TooDeep => "too_deep",
            Self::Undecodable => "undecodable",
            Self::NotModified => "not_modified",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Outcome of one comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Equal as they came.
    Match,
    /// Equal after rules hid something; [`crate::Comparison::hidden`] says what.
    MatchNormalised,
    /// Different; the worst difference decides the severity.
    Mismatch(Severity),
    /// Not decided.
    Inconclusive(Why),
    /// Only new answered 5xx.
    NewError,
    /// Only legacy answered 5xx.
    LegacyError,
    /// Both answered 5xx: no evidence that they agree.
    BothError,
}

impl Verdict {
    /// The word used in tallies, reports and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::MatchNormalised => "match_normalised",
            Self::Mismatch(_) => "mismatch",
            Self::Inconclusive(_) => "inconclusive",
            Self::NewError => "new_error",
            Self::LegacyError => "legacy_error",
            Self::BothError => "both_error",
        }
    }

    /// Whether both sides agree, as they came or after rules.
    pub fn is_match(self) -> bool {
        matches!(self, Self::Match | Self::MatchNormalised)
    }
}
