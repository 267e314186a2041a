//! Tallies of the shadow reads, as the store keeps them.
//!
//! Owns the batch that goes in and the summary that comes out. It exists because reports and gates outlive
//! the process that compared. The shadow's own words (outcome, kind, severity) are kept as text: the store
//! counts them and does not judge them, with one exception, [`is_compared`] and [`is_confirmed`], for the
//! two numbers of the status line.

use crate::advice::Advice;
use banyan_domain::EndpointName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What happened since the last batch. One batch is recorded in one transaction.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ShadowBatch {
    /// How comparisons ended, skips included.
    pub outcomes: Vec<OutcomeCount>,
    /// Differences that were found.
    pub differences: Vec<DifferenceCount>,
    /// What rules hid.
    pub hidden: Vec<HiddenCount>,
    /// Redacted examples.
    pub samples: Vec<Sample>,
    /// Which distinct requests were compared.
    pub fingerprints: Vec<Fingerprint>,
    /// What looks for noise saw.
    #[serde(default)]
    pub noise: Vec<NoiseCount>,
    /// Templates of undeclared requests, and candidate rules.
    #[serde(default)]
    pub advice: Advice,
    /// How late the other side was.
    #[serde(default)]
    pub lags: Vec<LagCount>,
}

/// A number of reads whose lag lies in one bucket of the histogram.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LagCount {
    /// When, Unix ms.
    pub at_ms: u64,
    /// The endpoint.
    pub endpoint: EndpointName,
    /// Upper bound of the bucket, in ms.
    pub bound_ms: u64,
    /// How many.
    pub count: u64,
}

/// What looks for noise saw at one place; with empty shape and kind, of the whole endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoiseCount {
    /// When, Unix ms.
    pub at_ms: u64,
    /// The endpoint.
    pub endpoint: EndpointName,
    /// Where, with indices removed; empty for the whole endpoint.
    pub shape: String,
    /// What kind; empty for the whole endpoint.
    pub kind: String,
    /// The counts.
    pub sums: NoiseSums,
}

/// Counts of noise. Pairs and triples are counted for the whole endpoint, the rest per place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoiseSums {
    /// Pairs of re-reads of legacy, of reads chosen by chance.
    pub pairs: u64,
    /// Of these, those in which legacy differed from itself.
    pub noisy: u64,
    /// Pairs of reads chosen because they differed.
    pub suspected_pairs: u64,
    /// Of these, those in which legacy differed from itself.
    pub suspected_noisy: u64,
    /// Pairs in which legacy changed and kept what it changed to.
    pub moved: u64,
    /// Triples that were read to their end.
    pub triples: u64,
    /// Triples in which only new differed.
    pub new_alone: u64,
    /// Triples in which only legacy differed.
    pub legacy_alone: u64,
    /// The token of a value of legacy that differed.
    pub example: Option<String>,
}

/// Counts of noise over the whole time asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoiseTotal {
    /// Where, with indices removed; empty for the whole endpoint.
    pub shape: String,
    /// What kind; empty for the whole endpoint.
    pub kind: String,
    /// The counts.
    pub sums: NoiseSums,
    /// First counted, Unix ms.
    pub first_ms: u64,
    /// Last counted, Unix ms.
    pub last_ms: u64,
}

/// A number of comparisons that ended the same way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeCount {
    /// When, Unix ms.
    pub at_ms: u64,
    /// The endpoint.
    pub endpoint: EndpointName,
    /// The word of the verdict, such as `match`, `mismatch`, `lag` or `skipped`.
    pub outcome: String,
    /// Why, such as `queue_full`; may be empty.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// A number of equal differences.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferenceCount {
    /// When, Unix ms.
    pub at_ms: u64,
    /// The endpoint.
    pub endpoint: EndpointName,
    /// Where, with indices removed: `$.messages[*].created_at`.
    pub shape: String,
    /// What kind, such as `value_changed`.
    pub kind: String,
    /// How much it would hurt, such as `breaking`.
    pub severity: String,
    /// The class of the change, such as `null->absent`; may be empty.
    pub transition: String,
    /// How many.
    pub count: u64,
}

/// A number of differences that a rule hid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HiddenCount {
    /// When, Unix ms.
    pub at_ms: u64,
    /// The endpoint.
    pub endpoint: EndpointName,
    /// The rule.
    pub rule: String,
    /// How many.
    pub count: u64,
}

/// A redacted example of a difference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When, Unix ms.
    pub at_ms: u64,
    /// The endpoint.
    pub endpoint: EndpointName,
    /// Where, with indices removed.
    pub shape: String,
    /// What kind.
    pub kind: String,
    /// What the shadow wants to show; opaque to the store.
    pub body: serde_json::Value,
}

/// One compared request, by its fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The endpoint.
    pub endpoint: EndpointName,
    /// Hash of method, template, parameters and class of caller.
    pub fingerprint: u64,
    /// When, Unix ms.
    pub at_ms: u64,
    /// Whether a mismatch was confirmed for it.
    pub mismatched: bool,
}

/// Everything the store knows, per endpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ShadowSummary {
    /// The endpoints that have any evidence.
    pub endpoints: BTreeMap<EndpointName, EndpointShadow>,
}

/// The evidence of one endpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EndpointShadow {
    /// Comparisons and skips.
    pub outcomes: Outcomes,
    /// Differences, most frequent first.
    pub differences: Vec<DifferenceTotal>,
    /// What rules hid, most frequent first.
    pub hidden: Vec<HiddenTotal>,
    /// Examples, newest first.
    pub samples: Vec<Sample>,
    /// Distinct requests that were compared.
    pub distinct: u64,
    /// Distinct requests with a confirmed mismatch.
    pub distinct_mismatched: u64,
    /// What looks for noise saw, by place.
    #[serde(default)]
    pub noise: Vec<NoiseTotal>,
    /// When the first comparison of the time asked for was tried, Unix ms (to the second, later to the minute).
    #[serde(default)]
    pub first_ms: Option<u64>,
    /// Measured lags: upper bound of the bucket in ms, and how many reads.
    #[serde(default)]
    pub lags: BTreeMap<u64, u64>,
}

/// Counts by outcome, then by reason (empty when there is none).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Outcomes(pub BTreeMap<String, BTreeMap<String, u64>>);

impl Outcomes {
    /// Adds `count` to an outcome.
    pub fn add(&mut self, outcome: &str, reason: &str, count: u64) {
        let reasons = self.0.entry(outcome.to_owned()).or_default();
        *reasons.entry(reason.to_owned()).or_default() += count;
    }

    /// How many ended as `outcome`, whatever the reason.
    pub fn count(&self, outcome: &str) -> u64 {
        self.0.get(outcome).map_or(0, |reasons| reasons.values().sum())
    }

    /// How many were really compared ([`is_compared`]).
    pub fn compared(&self) -> u64 {
        self.sum_of(is_compared)
    }

    /// How many are confirmed to differ ([`is_confirmed`]).
    pub fn confirmed(&self) -> u64 {
        self.sum_of(is_confirmed)
    }

    fn sum_of(&self, wanted: fn(&str) -> bool) -> u64 {
        let chosen = self.0.iter().filter(|(outcome, _)| wanted(outcome));
        chosen.flat_map(|(_, reasons)| reasons.values()).sum()
    }
}

/// A difference over the whole time asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferenceTotal {
    /// Where, with indices removed.
    pub shape: String,
    /// What kind.
    pub kind: String,
    /// How much it would hurt.
    pub severity: String,
    /// The class of the change, may be empty.
    pub transition: String,
    /// How many.
    pub count: u64,
    /// First seen, Unix ms.
    pub first_ms: u64,
    /// Last seen, Unix ms.
    pub last_ms: u64,
}

/// What one rule hid over the whole time asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HiddenTotal {
    /// The rule.
    pub rule: String,
    /// How many.
    pub count: u64,
    /// First hidden, Unix ms (to the second, later to the minute).
    pub first_ms: u64,
    /// Last hidden, Unix ms (to the second, later to the minute).
    pub last_ms: u64,
}

/// Whether an outcome is a comparison that was decided: both sides answered and were looked at. Skips,
/// answers that cannot be compared and undecided ones are not.
pub fn is_compared(outcome: &str) -> bool {
    matches!(outcome, "match" | "match_normalised" | "ignored" | "noise" | "lag" | "raced")
        || matches!(outcome, "legacy_error" | "both_error")
        || is_confirmed(outcome)
}

/// Whether an outcome is a confirmed mismatch: `mismatch` (with any suffix) or an error only new gave.
pub fn is_confirmed(outcome: &str) -> bool {
    outcome.starts_with("mismatch") || outcome == "new_error"
}

/// How long and how much the store keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShadowLimits {
    /// Everything older is deleted; in ms, default 7 days.
    pub retention_ms: u64,
    /// Younger counts are kept per second, older ones per minute; in ms, default one hour.
    pub fine_ms: u64,
    /// Examples per endpoint, shape and kind; the newest are kept.
    pub samples_per_shape: u32,
    /// Examples per endpoint over all its shapes; the newest are kept.
    pub samples_per_endpoint: u32,
    /// Distinct requests per endpoint; the oldest are dropped.
    pub fingerprints_per_endpoint: u32,
}

impl Default for ShadowLimits {
    fn default() -> Self {
        Self {
            retention_ms: 7 * 24 * 3_600_000,
            fine_ms: 3_600_000,
            samples_per_shape: 20,
            samples_per_endpoint: 2_000,
            fingerprints_per_endpoint: 100_000,
        }
    }
}
