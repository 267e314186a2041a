//! The parts of a report besides its endpoints.
//!
//! Owns what was hidden and why, how late the new side was, how much of what was asked for could be judged, and what the
//! differences suggest. It exists so that each source of facts (rules, noise, recheck, inference) fills one list of its
//! own. What must stay true: every field has a default, so that older reports can be read; values are already redacted.

use serde::{Deserialize, Serialize};

/// Where the comparisons come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// Mirrored traffic of a running proxy.
    #[default]
    Live,
    /// A recording that was sent again.
    Replay {
        /// The recording.
        file: String,
    },
    /// The events that both sides published in a context; each type of event stands where endpoints stand.
    Events {
        /// The context.
        context: String,
    },
}

/// How many of the endpoints asked for could be judged: passed or failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Read endpoints asked for.
    pub endpoints: u64,
    /// Of these, with evidence enough for a verdict.
    pub judged: u64,
}

impl Coverage {
    /// The share that could be judged, in percent.
    #[expect(clippy::cast_precision_loss, reason = "a share of few endpoints")]
    pub fn percent(&self) -> f64 {
        if self.endpoints == 0 { 0.0 } else { self.judged as f64 * 100.0 / self.endpoints as f64 }
    }
}

/// One rule and what became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleReport {
    /// Its id, the same as in [`crate::HiddenCount`].
    pub id: String,
    /// What it does, e.g. `ignore`, `ignore_value`, `tolerance`.
    #[serde(default)]
    pub action: String,
    /// The place it covers, e.g. `$.messages[*].created_at`.
    #[serde(default)]
    pub selector: String,
    /// Where it comes from: `builtin`, `learned` or `human`.
    #[serde(default)]
    pub origin: String,
    /// Who answers for it.
    #[serde(default)]
    pub owner: String,
    /// Why the difference is harmless.
    #[serde(default)]
    pub reason: String,
    /// Last day of its validity, e.g. `2026-12-31`.
    #[serde(default)]
    pub expires: Option<String>,
    /// Whether it still does something.
    #[serde(default)]
    pub state: RuleState,
    /// Differences it hid in this report's period.
    #[serde(default)]
    pub hidden: u64,
    /// When it first hid one, Unix time.
    #[serde(default)]
    pub first_ms: Option<u64>,
    /// When it last hid one, Unix time.
    #[serde(default)]
    pub last_ms: Option<u64>,
}

/// Whether a rule still does something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleState {
    /// In force.
    #[default]
    Active,
    /// In force, but it hid nothing in the period: a candidate for deletion.
    Dead,
    /// Past its date and no longer applied.
    Expired,
}

impl RuleState {
    /// The word that reports show.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Dead => "dead",
            Self::Expired => "expired",
        }
    }
}

/// One place where legacy differs from itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NoiseReport {
    /// The endpoint.
    pub endpoint: String,
    /// Shape path.
    pub path: String,
    /// Kind of the difference; may be empty.
    #[serde(default)]
    pub kind: String,
    /// Pairs of answers of legacy that were compared.
    pub pairs: u64,
    /// Of these, different.
    pub noisy: u64,
    /// Lower end of the interval of the rate of noise, in percent.
    #[serde(default)]
    pub rate_low_percent: f64,
    /// Upper end of it.
    #[serde(default)]
    pub rate_high_percent: f64,
    /// Differences between legacy and new that were hidden because of it.
    #[serde(default)]
    pub hidden: u64,
    /// Whether a person accepted it (`noise.lock`).
    #[serde(default)]
    pub accepted: bool,
    /// Requests on which only new differed from legacy's first answer.
    #[serde(default)]
    pub new_alone: u64,
    /// Requests on which only legacy's second answer did.
    #[serde(default)]
    pub legacy_alone: u64,
    /// How likely so many of the first are, if new is just another legacy.
    #[serde(default)]
    pub p: f64,
    /// Whether new differs there beyond the noise: a defect that the noise would hide.
    #[serde(default)]
    pub is_real: bool,
    /// First seen, Unix time.
    #[serde(default)]
    pub first_ms: Option<u64>,
    /// Last seen, Unix time.
    #[serde(default)]
    pub last_ms: Option<u64>,
}

/// How long it took until both sides agreed, over the reads that ended as lag.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LagReport {
    /// Reads that ended as lag.
    pub count: u64,
    /// Half of them agreed after this time, in ms.
    pub p50_ms: u64,
    /// 95 % of them.
    pub p95_ms: u64,
    /// 99 % of them.
    pub p99_ms: u64,
    /// All of them.
    pub max_ms: u64,
    /// The histogram, ascending; each bucket counts its own reads only.
    #[serde(default)]
    pub buckets: Vec<LagBucket>,
}

/// Reads that agreed within one span of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LagBucket {
    /// Upper bound in ms; absent for the last, open bucket.
    pub le_ms: Option<u64>,
    /// How many.
    pub count: u64,
}

/// A rule that would explain many of the differences.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuggestionReport {
    /// The endpoint; empty when it covers several.
    #[serde(default)]
    pub endpoint: String,
    /// What seems to be the cause, e.g. `times lost their fraction`.
    pub cause: String,
    /// The rule as TOML, to be copied into a rules file.
    pub rule: String,
    /// Mismatching pairs it explains, found by comparing them again.
    pub explains: u64,
    /// Mismatching pairs that were looked at.
    pub of: u64,
    /// Confirmed breaking mismatches it would have hidden as well.
    #[serde(default)]
    pub hides_breaking: u64,
}

/// A template inferred for requests that no endpoint declares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateReport {
    /// The method.
    pub method: String,
    /// The template, e.g. `/users/{int}/tracks`.
    pub template: String,
    /// Requests it covers.
    pub requests: u64,
    /// Names of the query parameters.
    #[serde(default)]
    pub query: Vec<String>,
    /// How sure the inference is, and why, e.g. `4 distinct children, declared nowhere`.
    #[serde(default)]
    pub note: String,
}
