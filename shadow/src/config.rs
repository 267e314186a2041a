//! What shadowing may do: limits, times, rules.
//!
//! Owns the settings and the ports the binary fills in. What must stay true: every limit has a default that is safe for
//! the monolith; whatever goes over a limit is counted under a named reason.

use crate::backoff::BackoffConfig;
use crate::clock::Clock;
use crate::guard::SideLimits;
use crate::http::HttpConfig;
use crate::ledger::LedgerLimit;
use crate::noise::{LearnedRules, NoiseConfig};
use crate::observe::Observer;
use crate::queue::QueueLimit;
use crate::redact::Redaction;
use crate::settle::SettleConfig;
use crate::tally::TallyStore;
use crate::version::Version;
use banyan_diff::{Budget, Protect, RuleSet};
use banyan_domain::{ContextName, EndpointName, Generation, PathTemplate, Side};
use banyan_template::Pin;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Settings of shadow reads.
#[derive(Debug, Clone)]
pub struct ShadowConfig {
    /// Limits of the queue; over them the newest is skipped as `queue_full`.
    pub queue: QueueLimit,
    /// Reads that are worked on at once, at least 1.
    pub workers: usize,
    /// How much shadow traffic the sides get; more is skipped as `over_capacity` or `backing_off`.
    pub sides: SideLimits,
    /// Pauses for a side that does not answer; reads meanwhile are skipped as `side_down`.
    pub backoff: BackoffConfig,
    /// When and how often mismatches are looked at again.
    pub recheck: RecheckConfig,
    /// Where the sides are, and how long to wait for them.
    pub http: HttpConfig,
    /// What is known of each endpoint.
    pub endpoints: BTreeMap<EndpointName, EndpointConfig>,
    /// Rules for endpoints that are not listed.
    pub rules: RuleSet,
    /// How much legacy is read again to see whether it agrees with itself; not at all until told otherwise.
    pub noise: NoiseConfig,
    /// Rules of the endpoints with accepted noise, instead of their own; can be replaced while reads are compared.
    pub learned: LearnedRules,
    /// Limits of one comparison; over them it is inconclusive.
    pub budget: Budget,
    /// Bytes that all renamings of ids may take; over them the oldest are forgotten.
    pub renaming_bytes_max: usize,
    /// How values are made fit to store.
    pub redaction: Redaction,
    /// Samples kept per endpoint, place and kind, in a minute.
    pub samples_per_minute: u32,
    /// Limits of what waits for the store.
    pub ledger: LedgerLimit,
    /// Places that no suggested rule may cover.
    pub protect: Protect,
    /// Templates of undeclared requests that are given, not inferred.
    pub pins: Vec<Pin>,
    /// Time between two saves of the tally, in ms.
    pub flush_ms: u64,
    /// How long the queue may drain at shutdown, in ms; the rest is counted as lost.
    pub drain_ms: u64,
}

/// Settings of one endpoint.
#[derive(Debug, Clone, Default)]
pub struct EndpointConfig {
    /// Its rules, already limited to it ([`RuleSet::for_endpoint`]).
    pub rules: RuleSet,
    /// Its path; tells in samples which parts of a target are fixed text.
    pub template: Option<PathTemplate>,
    /// Where its answers say which version of their data they show.
    pub version: Option<Version>,
}

/// Limits of rechecks. A mismatch that finds no place is inconclusive as `no_budget`, never counted as a mismatch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecheckConfig {
    /// When re-reads are due, and what they must show.
    pub settle: SettleConfig,
    /// Limits of a context that has none of its own.
    pub limits: RecheckLimits,
    /// Limits of single contexts.
    pub contexts: BTreeMap<ContextName, RecheckLimits>,
    /// Of the waiting mismatches of all contexts, those with the same endpoint, places and kinds: a common defect must not keep out a rare one.
    pub per_cause_max: usize,
    /// Bytes of answers that waiting mismatches may keep.
    pub bytes_max: usize,
}

/// Limits of the rechecks of one context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecheckLimits {
    /// Mismatches that may enter per second.
    pub per_second: u32,
    /// Mismatches that may wait at once.
    pub waiting_max: usize,
    /// Of those that enter, so many per second are looked at often enough to measure the lag.
    pub measured_per_second: u32,
    /// Of those that wait, so many at once are measured.
    pub measured_max: usize,
}

impl Default for RecheckLimits {
    fn default() -> Self {
        Self { per_second: 50, waiting_max: 256, measured_per_second: 2, measured_max: 8 }
    }
}

impl RecheckConfig {
    /// The limits of a context.
    pub(crate) fn limits(&self, context: &ContextName) -> &RecheckLimits {
        self.contexts.get(context).unwrap_or(&self.limits)
    }
}

impl Default for RecheckConfig {
    fn default() -> Self {
        Self {
            settle: SettleConfig::default(),
            limits: RecheckLimits::default(),
            contexts: BTreeMap::new(),
            per_cause_max: 16,
            bytes_max: 32 << 20,
        }
    }
}

impl ShadowConfig {
    /// Defaults for these sides, endpoints and redaction.
    pub fn new(
        http: HttpConfig,
        endpoints: BTreeMap<EndpointName, EndpointConfig>,
        redaction: Redaction,
    ) -> Self {
        Self {
            queue: QueueLimit::default(),
            workers: 8,
            sides: SideLimits::default(),
            backoff: BackoffConfig::default(),
            recheck: RecheckConfig::default(),
            http,
            endpoints,
            rules: RuleSet::builtin(),
            noise: NoiseConfig::OFF,
            learned: LearnedRules::default(),
            budget: Budget::default(),
            renaming_bytes_max: 32 << 20,
            redaction,
            samples_per_minute: 3,
            ledger: LedgerLimit::default(),
            protect: Protect::default(),
            pins: Vec::new(),
            flush_ms: 500,
            drain_ms: 3_000,
        }
    }
}

/// What shadowing needs of the rest of the program.
#[derive(Clone)]
pub struct Ports {
    /// Keeps the tally.
    pub store: Arc<dyn TallyStore>,
    /// Knows the present route table.
    pub plan: Arc<dyn MirrorPlan>,
    /// Knows how far the sync is, if one runs.
    pub lag: Option<Arc<dyn LagSource>>,
    /// Looks on at confirmed mismatches and at pairs of legacy's answers.
    pub observer: Option<Arc<dyn Observer>>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Seed of all chance.
    pub seed: u64,
}

/// Knows the present route table. Called for each read and re-read: must not wait.
pub trait MirrorPlan: Send + Sync {
    /// Whether reads of `endpoint` are still to be mirrored to `mirror_to`; `generation` is the table the read was
    /// routed by.
    fn still_planned(
        &self,
        endpoint: &EndpointName,
        mirror_to: Side,
        generation: Generation,
    ) -> bool;

    /// The owner of a context: the side whose answers the other one follows. Legacy unless told otherwise.
    fn owner(&self, _context: &ContextName) -> Side {
        Side::Legacy
    }
}

impl<F> MirrorPlan for F
where
    F: Fn(&EndpointName, Side, Generation) -> bool + Send + Sync,
{
    fn still_planned(
        &self,
        endpoint: &EndpointName,
        mirror_to: Side,
        generation: Generation,
    ) -> bool {
        self(endpoint, mirror_to, generation)
    }
}

/// Knows how far a context's sync is. Called for each re-read: must not wait.
pub trait LagSource: Send + Sync {
    /// Every write that the owner committed before this Unix time in ms can be read on the other side. With nothing
    /// left to do it is about now. Nothing if no sync is known: then only the delays protect against false mismatches.
    fn watermark_ms(&self, context: &ContextName) -> Option<u64>;
}

/// Why shadowing cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A side's address is no plain base URL.
    #[error(
        "use `{url}` as a side's address: write it as `http://host:port`, without path or query"
    )]
    BaseUrl {
        /// The address as it was given.
        url: String,
    },
    /// The HTTP client cannot be set up.
    #[error("set up the HTTP client of shadow reads")]
    Client(#[source] reqwest::Error),
}
