//! What shadowing learned, in the form in which it is saved.
//!
//! Owns the batch and the port of the store. It exists so that this crate knows no database: the binary copies the
//! fields over to the control store. What must stay true: nothing in a batch is a raw value of an answer, a request
//! header or a secret; see [`crate::Redaction`].

use async_trait::async_trait;
use banyan_domain::EndpointName;

/// Counts and samples since the last batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TallyBatch {
    /// Reads by what became of them.
    pub outcomes: Vec<OutcomeCount>,
    /// Confirmed differences by group.
    pub differences: Vec<DifferenceCount>,
    /// Differences that rules hid.
    pub hidden: Vec<HiddenCount>,
    /// Redacted examples of confirmed mismatches.
    pub samples: Vec<Sample>,
    /// Distinct requests that were compared.
    pub fingerprints: Vec<Fingerprint>,
    /// Tags of the compared pairs ([`crate::Direct`]) whose whole account is in this batch.
    pub done: Vec<u64>,
    /// What looks for noise saw.
    pub noise: Vec<NoiseCount>,
    /// Templates of undeclared requests, and candidate rules.
    pub advice: crate::Advice,
    /// Measured times until both sides agreed.
    pub lags: Vec<LagCount>,
}

/// Reads of an endpoint whose lag was measured to lie in one bucket of the histogram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LagCount {
    /// Start of the span of time that is counted together, in Unix ms.
    pub at_ms: u64,
    /// The endpoint.
    pub endpoint: EndpointName,
    /// Upper bound of the bucket, in ms: one of a fixed row, so that counts add up over processes and time.
    pub bound_ms: u64,
    /// How many reads.
    pub count: u64,
}

/// What looks for noise saw at one place; with empty shape and kind, of all places of the endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NoiseSums {
    /// Pairs of re-reads of legacy, of reads chosen by chance (whole endpoint only).
    pub pairs: u64,
    /// Of these, those in which legacy differed from itself there.
    pub noisy: u64,
    /// Pairs of reads chosen because they differed (whole endpoint only).
    pub suspected_pairs: u64,
    /// Of these, those in which legacy differed from itself there.
    pub suspected_noisy: u64,
    /// Pairs in which legacy changed there and kept what it changed to: a write, no evidence.
    pub moved: u64,
    /// Triples that were read to their end (whole endpoint only).
    pub triples: u64,
    /// Triples in which only new differed there.
    pub new_alone: u64,
    /// Triples in which only legacy differed there.
    pub legacy_alone: u64,
    /// The token of a value of legacy that differed.
    pub example: Option<String>,
}

/// What looks for noise saw at one place in a span of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoiseCount {
    /// Start of the span of time that is counted together, in Unix ms.
    pub at_ms: u64,
    /// The endpoint.
    pub endpoint: EndpointName,
    /// Where, without indices and ids; empty for the whole endpoint.
    pub shape: String,
    /// The kind of the difference; empty for the whole endpoint.
    pub kind: String,
    /// The counts.
    pub sums: NoiseSums,
}

/// Reads of an endpoint with one outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeCount {
    /// Start of the span of time that is counted together, in Unix ms.
    pub at_ms: u64,
    /// The endpoint.
    pub endpoint: EndpointName,
    /// A word of [`Outcome::as_str`].
    pub outcome: String,
    /// The word of why: a skip reason, a severity, a bound of lag; may be empty.
    pub reason: String,
    /// How many reads.
    pub count: u64,
}

/// Reads of an endpoint that showed one group of differences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DifferenceCount {
    /// Start of the span of time that is counted together, in Unix ms.
    pub at_ms: u64,
    /// The endpoint.
    pub endpoint: EndpointName,
    /// Where, without indices and ids, such as `$.messages[*].sender.badge`.
    pub shape: String,
    /// The kind, such as `value_changed:time_format`.
    pub kind: String,
    /// The severity.
    pub severity: String,
    /// From which class of value to which, such as `rails-time -> iso8601`.
    pub transition: String,
    /// How many reads showed it.
    pub count: u64,
}

/// Differences that one rule hid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HiddenCount {
    /// Start of the span of time that is counted together, in Unix ms.
    pub at_ms: u64,
    /// The endpoint.
    pub endpoint: EndpointName,
    /// Id of the rule.
    pub rule: String,
    /// How many differences.
    pub count: u64,
}

/// A redacted example of a confirmed mismatch.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// When the client was answered, in Unix ms.
    pub at_ms: u64,
    /// The endpoint.
    pub endpoint: EndpointName,
    /// Shape of the worst difference.
    pub shape: String,
    /// Kind of the worst difference.
    pub kind: String,
    /// Request and differences, redacted.
    pub body: serde_json::Value,
}

/// One distinct request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// The endpoint.
    pub endpoint: EndpointName,
    /// Keyed hash of method, endpoint, target and class of credentials.
    pub fingerprint: u64,
    /// When it was last answered, in Unix ms.
    pub at_ms: u64,
    /// Whether a mismatch was confirmed on it.
    pub mismatched: bool,
}

/// What became of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Equal as they came.
    Match,
    /// Equal after rules hid something.
    MatchNormalised,
    /// Equal after accepted noise of legacy was hidden.
    Noise,
    /// Different at first, equal when both were read again.
    Lag,
    /// Different for good.
    Mismatch,
    /// Tried, but nothing can be said.
    Inconclusive,
    /// Both sides said which version they show, and it was never the same one.
    NotComparable,
    /// Only the new side answered 5xx.
    NewError,
    /// Only legacy answered 5xx.
    LegacyError,
    /// Both answered 5xx.
    BothError,
    /// Not tried.
    Skipped,
}

impl Outcome {
    /// All outcomes, in the order in which they are reported.
    pub const ALL: [Self; 11] = [
        Self::Match,
        Self::MatchNormalised,
        Self::Noise,
        Self::Lag,
        Self::Mismatch,
        Self::Inconclusive,
        Self::NotComparable,
        Self::NewError,
        Self::LegacyError,
        Self::BothError,
        Self::Skipped,
    ];

    /// The word that is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::MatchNormalised => "match_normalised",
            Self::Noise => "noise",
            Self::Lag => "lag",
            Self::Mismatch => "mismatch",
            Self::Inconclusive => "inconclusive",
            Self::NotComparable => "not_comparable",
            Self::NewError => "new_error",
            Self::LegacyError => "legacy_error",
            Self::BothError => "both_error",
            Self::Skipped => "skipped",
        }
    }

    /// The outcome that a stored word names, or nothing.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }

    /// Whether both sides gave an answer and the comparison says something about the new one.
    pub const fn is_evidence(self) -> bool {
        match self {
            Self::Match
            | Self::MatchNormalised
            | Self::Noise
            | Self::Lag
            | Self::Mismatch
            | Self::NewError => true,
            Self::Inconclusive
            | Self::NotComparable
            | Self::LegacyError
            | Self::BothError
            | Self::Skipped => false,
        }
    }
}

/// Keeps tallies; the binary's adapter to the control store.
#[async_trait]
pub trait TallyStore: Send + Sync {
    /// Adds a batch to what is kept, all of it or nothing.
    ///
    /// # Errors
    /// When it was not saved; the batch is then merged into the next one.
    async fn save(&self, batch: TallyBatch) -> Result<(), TallyError>;
}

/// Why a batch was not saved.
#[derive(Debug, thiserror::Error)]
#[error("save the shadow tally")]
pub struct TallyError(#[source] pub Box<dyn std::error::Error + Send + Sync>);
