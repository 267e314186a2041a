//! From stored tallies to the report.
//!
//! Owns the way from counts to a judged [`Report`]: pure, so that `banyan shadow report` and `gate` only print. What must
//! stay true: every declared read endpoint appears; without evidence, in phase `legacy`, or with too much left undecided
//! an endpoint is inconclusive, never a pass.

use crate::lag::lag_report;
use crate::noise::{NOISE_RULE, NoiseTotal, judge_noise};
use crate::tally::{Outcome, Sample};
use banyan_diff::Severity;
use banyan_domain::{EndpointKind, EndpointName, Phase};
use banyan_report::{
    Credentials, EndpointReport, Evidence, Example, Gate, Group, HiddenCount, NoiseReport, Report,
    Transition,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Examples that a group shows.
const EXAMPLES_MAX: usize = 3;

/// Everything the store knows, per endpoint.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// The endpoints that have any evidence.
    pub endpoints: BTreeMap<EndpointName, EndpointSummary>,
    /// Accepted noise: endpoint, place and kind.
    pub accepted: BTreeSet<(EndpointName, String, String)>,
}

/// The evidence of one endpoint.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EndpointSummary {
    /// Reads by outcome, then by reason.
    pub outcomes: BTreeMap<String, BTreeMap<String, u64>>,
    /// Confirmed differences.
    pub differences: Vec<DifferenceTotal>,
    /// What rules hid.
    pub hidden: Vec<HiddenTotal>,
    /// Redacted examples.
    pub samples: Vec<Sample>,
    /// Distinct requests that were compared.
    pub distinct: u64,
    /// Of these, with a confirmed mismatch.
    pub distinct_mismatched: u64,
    /// When the first comparison was tried, Unix ms.
    pub first_ms: Option<u64>,
    /// How late the new side was: upper bounds of buckets in ms, and how many reads.
    pub lags: BTreeMap<u64, u64>,
    /// What happened lately.
    pub recent: Recent,
    /// What looks for noise saw, by place.
    pub noise: Vec<NoiseTotal>,
}

/// What happened lately on an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Recent {
    /// Comparisons that were tried in the time that the gate wants to be quiet.
    pub tried_while_quiet: u64,
}

/// What one rule hid over the whole time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HiddenTotal {
    /// The rule.
    pub rule: String,
    /// How many differences.
    pub count: u64,
    /// First hidden, Unix ms.
    pub first_ms: u64,
    /// Last hidden, Unix ms.
    pub last_ms: u64,
}

/// One group of differences over the whole time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DifferenceTotal {
    /// Where, with indices removed.
    pub shape: String,
    /// What kind.
    pub kind: String,
    /// How much it would hurt.
    pub severity: String,
    /// From which class of value to which.
    pub transition: String,
    /// How many reads showed it.
    pub count: u64,
    /// First seen, Unix ms.
    pub first_ms: u64,
    /// Last seen, Unix ms.
    pub last_ms: u64,
}

/// A declared endpoint and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Its name.
    pub endpoint: EndpointName,
    /// Only reads are reported.
    pub kind: EndpointKind,
    /// Its present phase.
    pub phase: Phase,
}

/// The time that a report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// When the report is made, Unix ms.
    pub generated_ms: u64,
    /// Since when evidence was asked for, Unix ms; all of it if absent.
    pub since_ms: Option<u64>,
}

/// The report over what is stored. Writes are never compared and left out; so are retired endpoints without evidence.
pub fn assemble(summary: &Summary, gate: Gate, declared: &[Declared], period: Period) -> Report {
    let nothing = EndpointSummary::default();
    let noise = noise(summary, declared);
    let endpoints = declared.iter().filter(|declared| declared.kind == EndpointKind::Read);
    let endpoints = endpoints.filter_map(|declared| {
        let found = summary.endpoints.get(&declared.endpoint);
        let left_out = declared.phase == Phase::Retired && found.is_none();
        let real = noise.iter().filter(|place| place.endpoint == declared.endpoint.as_str());
        let real = real.filter(|place| place.is_real).count() as u64;
        let gated = Gated { gate: &gate, period, real_under_noise: real };
        (!left_out).then(|| endpoint(declared, found.unwrap_or(&nothing), &gated))
    });
    let report = Report::new(period.generated_ms, period.since_ms, gate, endpoints.collect());
    Report { noise, lag: lag_report(&lags(summary, &report)), ..report }
}

/// The lags of all reported endpoints together.
fn lags(summary: &Summary, report: &Report) -> BTreeMap<u64, u64> {
    let mut sums = BTreeMap::new();
    let reported =
        |name: &EndpointName| report.endpoints.iter().any(|e| e.endpoint == name.as_str());
    let found = summary.endpoints.iter().filter(|(name, _)| reported(name));
    for (bound_ms, count) in found.flat_map(|(_, endpoint)| &endpoint.lags) {
        let sum: &mut u64 = sums.entry(*bound_ms).or_insert(0);
        *sum = sum.saturating_add(*count);
    }
    sums
}

/// What an endpoint is judged by, besides its own counts.
struct Gated<'a> {
    gate: &'a Gate,
    period: Period,
    /// Places at which new differs beyond legacy's noise.
    real_under_noise: u64,
}

/// Places at which legacy differs from itself, and accepted ones; worst first.
fn noise(summary: &Summary, declared: &[Declared]) -> Vec<NoiseReport> {
    let wanted = |endpoint: &EndpointName| declared.iter().any(|d| d.endpoint == *endpoint);
    let judged = judge_noise(summary, &|_, _| false).into_iter();
    let shown = judged
        .filter(|(endpoint, place)| wanted(endpoint) && (place.is_noise() || place.is_real()));
    let mut places: Vec<NoiseReport> = shown
        .map(|(endpoint, place)| {
            let key = (endpoint.clone(), place.shape.clone(), place.kind.clone());
            NoiseReport {
                endpoint: endpoint.as_str().to_owned(),
                hidden: summary.hidden_by(&endpoint, &format!("{NOISE_RULE}{}", place.shape)),
                accepted: summary.accepted.contains(&key),
                is_real: place.is_real(),
                path: place.shape,
                kind: place.kind,
                pairs: place.counts.pairs,
                noisy: place.counts.noisy,
                rate_low_percent: place.rate_percent.0,
                rate_high_percent: place.rate_percent.1,
                new_alone: place.counts.new_alone,
                legacy_alone: place.counts.legacy_alone,
                p: place.judged.p,
                first_ms: Some(place.first_ms),
                last_ms: Some(place.last_ms),
            }
        })
        .collect();
    places.sort_by_key(|place| !place.is_real);
    places
}

fn endpoint(declared: &Declared, summary: &EndpointSummary, gated: &Gated<'_>) -> EndpointReport {
    let gate = gated.gate;
    let count = |outcome| summary.count(outcome);
    let errors = count(Outcome::NewError) + count(Outcome::LegacyError) + count(Outcome::BothError);
    let skipped = summary.outcomes.get(Outcome::Skipped.as_str()).cloned().unwrap_or_default();
    let hidden = summary.hidden.iter();
    EndpointReport {
        endpoint: declared.endpoint.as_str().to_owned(),
        compared: summary.compared(),
        matched: count(Outcome::Match),
        normalised: count(Outcome::MatchNormalised),
        noise: count(Outcome::Noise),
        mismatched: count(Outcome::Mismatch),
        lag: count(Outcome::Lag),
        // Of no verdict either; the reasons are told apart in the tally.
        inconclusive: count(Outcome::Inconclusive) + count(Outcome::NotComparable),
        errors,
        skipped,
        distinct_requests: summary.distinct,
        gate: gate.decide(evidence(declared, summary, gated)),
        groups: groups(&declared.endpoint, summary),
        hidden: hidden
            .map(|total| HiddenCount {
                rule: total.rule.clone(),
                count: total.count,
                first_ms: Some(total.first_ms),
                last_ms: Some(total.last_ms),
            })
            .collect(),
        phase: declared.phase.to_string(),
        last_mismatch_ms: summary.last_mismatch_ms(),
        proven_percent: gate.proven_percent(summary.distinct_mismatched, summary.distinct),
        distinct_per_hour: summary.distinct_per_hour(gated.period),
        lag_time: lag_report(&summary.lags),
    }
}

impl Summary {
    /// Differences that a rule hid on an endpoint.
    fn hidden_by(&self, endpoint: &EndpointName, rule: &str) -> u64 {
        let hidden = self.endpoints.get(endpoint).into_iter().flat_map(|found| &found.hidden);
        hidden.filter(|total| total.rule == rule).map(|total| total.count).sum()
    }
}

impl EndpointSummary {
    /// Reads with this outcome, whatever the reason.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(outcome.as_str()).map_or(0, |reasons| reasons.values().sum())
    }

    /// Reads that were tried: every outcome but skipped.
    pub fn compared(&self) -> u64 {
        let tried = Outcome::ALL.into_iter().filter(|outcome| *outcome != Outcome::Skipped);
        tried.map(|outcome| self.count(outcome)).sum()
    }

    /// Distinct requests per hour, from the first comparison on; not known in its first minute.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn distinct_per_hour(&self, period: Period) -> Option<f64> {
        let seen_ms = period.generated_ms.checked_sub(self.first_ms?)?;
        (seen_ms >= 60_000).then(|| self.distinct as f64 * 3_600_000.0 / seen_ms as f64)
    }

    /// When a mismatch was last confirmed, Unix ms.
    pub fn last_mismatch_ms(&self) -> Option<u64> {
        self.differences.iter().map(|total| total.last_ms).max()
    }

    fn breaking(&self) -> u64 {
        let mismatches = self.outcomes.get(Outcome::Mismatch.as_str());
        mismatches.and_then(|by| by.get(Severity::Breaking.as_str())).copied().unwrap_or(0)
    }
}

fn evidence(declared: &Declared, summary: &EndpointSummary, gated: &Gated<'_>) -> Evidence {
    let period = gated.period;
    let last_mismatch = summary.last_mismatch_ms();
    Evidence {
        distinct: summary.distinct,
        mismatched: summary.distinct_mismatched,
        breaking: summary.breaking(),
        new_errors: summary.count(Outcome::NewError),
        tried: summary.compared(),
        undecided: summary.count(Outcome::Inconclusive) + summary.count(Outcome::NotComparable),
        dormant: declared.phase == Phase::Legacy,
        mismatch_age_ms: last_mismatch.map(|at| period.generated_ms.saturating_sub(at)),
        tried_while_quiet: summary.recent.tried_while_quiet,
        lag_p99_ms: lag_report(&summary.lags).map(|lag| lag.p99_ms),
        real_under_noise: gated.real_under_noise,
    }
}

/// Groups by place and kind; the transitions of one place and kind are its causes.
fn groups(endpoint: &EndpointName, summary: &EndpointSummary) -> Vec<Group> {
    let mut groups: BTreeMap<(&str, &str), Group> = BTreeMap::new();
    for total in &summary.differences {
        let group = groups.entry((&total.shape, &total.kind)).or_insert_with(|| Group {
            path: total.shape.clone(),
            kind: total.kind.clone(),
            severity: Severity::Cosmetic,
            count: 0,
            first_seen_ms: total.first_ms,
            last_seen_ms: total.last_ms,
            causes: Vec::new(),
            examples: examples(endpoint, summary, &total.shape, &total.kind),
        });
        group.severity = group.severity.max(severity(&total.severity));
        group.count += total.count;
        group.first_seen_ms = group.first_seen_ms.min(total.first_ms);
        group.last_seen_ms = group.last_seen_ms.max(total.last_ms);
        cause(&mut group.causes, &total.transition, total.count);
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    for group in &mut groups {
        group.causes.sort_by(|a, b| (b.count, &a.text).cmp(&(a.count, &b.text)));
    }
    groups
}

fn cause(causes: &mut Vec<Transition>, text: &str, count: u64) {
    match causes.iter_mut().find(|cause| cause.text == text) {
        Some(cause) => cause.count += count,
        None => causes.push(Transition { text: text.to_owned(), count }),
    }
}

/// A severity by its stored word; one that this version does not know counts as the worst.
fn severity(word: &str) -> Severity {
    let known = [Severity::Cosmetic, Severity::Additive, Severity::Order, Severity::Value];
    known.into_iter().find(|severity| severity.as_str() == word).unwrap_or(Severity::Breaking)
}

fn examples(
    endpoint: &EndpointName,
    summary: &EndpointSummary,
    shape: &str,
    kind: &str,
) -> Vec<Example> {
    let of_endpoint = summary.samples.iter().filter(|sample| sample.endpoint == *endpoint);
    of_endpoint.filter_map(|sample| example(&sample.body, shape, kind)).take(EXAMPLES_MAX).collect()
}

/// The first difference of a sample that is of this place and kind. A sample of another form gives none.
fn example(body: &Value, shape: &str, kind: &str) -> Option<Example> {
    let text = |value: &Value, key: &str| value.get(key)?.as_str().map(str::to_owned);
    let of_group = |difference: &&Value| {
        text(difference, "shape").as_deref() == Some(shape)
            && text(difference, "kind").as_deref() == Some(kind)
    };
    let difference = body.get("differences")?.as_array()?.iter().find(of_group)?;
    Some(Example {
        request: format!("{} {}", text(body, "method")?, text(body, "target")?),
        location: shape.to_owned(),
        legacy: text(difference, "legacy"),
        new: text(difference, "new"),
        replay: String::new(),
        note: String::new(),
        credentials: Credentials::from_word(&text(body, "auth").unwrap_or_default()),
    })
}

#[cfg(test)]
mod tests;
