//! Mirror queue, recheck, tally and gate.
//!
//! Owns what happens after a client got its answer: the same read on the other side, the comparison, the second look at
//! a mismatch, and the honest count of all of it. It exists as a shell around the pure `banyan_diff` and `banyan_report`.
//! What must stay true: the proxy never waits for anything here; a read leaves exactly one outcome; only a confirmed
//! mismatch counts as one; no value of an answer leaves the process.

mod account;
mod advice;
mod advise;
mod ask;
mod backoff;
mod capacity;
mod clock;
mod config;
mod direct;
mod event;
mod exchange;
#[cfg(test)]
mod fixture;
mod guard;
mod http;
mod judge;
mod lag;
mod ledger;
mod metric;
mod moves;
mod noise;
mod observe;
mod probe;
mod queue;
mod recheck;
mod redact;
mod renaming;
mod request;
mod reread;
mod sample;
mod secret;
mod settle;
mod shadow;
mod skip;
mod summary;
mod tally;
mod undeclared;
mod version;
mod worker;

pub use advice::{Advice, LostCount, SuggestionCount, TemplateCount};
pub use ask::{Answer, Ask, AskError};
pub use backoff::BackoffConfig;
pub use capacity::CapacityConfig;
pub use clock::{Clock, Sleep, SystemClock};
pub use config::{
    EndpointConfig, LagSource, MirrorPlan, Ports, RecheckConfig, RecheckLimits, ShadowConfig,
    StartError,
};
pub use direct::{Direct, Pair, Unasked};
pub use exchange::{Exchange, Served};
pub use guard::SideLimits;
pub use http::{HttpAsk, HttpConfig};
pub use ledger::LedgerLimit;
pub use noise::{LearnedRules, NOISE_RULE, NoiseConfig, NoisePlace, NoiseTotal, judge_noise};
pub use observe::{Confirmed, LegacyPair, Observer, Seen};
pub use queue::{QueueLimit, Queued, ShadowHandle, ShadowQueue, Tap, queue};
pub use redact::{NumericIds, Redaction, RedactionKey};
pub use request::{HOPS_HEADER, MirrorRequest, SHADOW_HEADER};
pub use settle::SettleConfig;
pub use shadow::{Drained, Shadow};
pub use skip::SkipReason;
pub use summary::{
    Declared, DifferenceTotal, EndpointSummary, HiddenTotal, Period, Recent, Summary, assemble,
};
pub use tally::{
    DifferenceCount, Fingerprint, HiddenCount, LagCount, NoiseCount, NoiseSums, Outcome,
    OutcomeCount, Sample, TallyBatch, TallyError, TallyStore,
};
pub use undeclared::Undeclared;
pub use version::Version;
