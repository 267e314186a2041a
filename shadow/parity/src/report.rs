//! From what was found to a report and its verdict.
//!
//! Owns the evidence that the gate gets. It exists so that parity is judged by the same proof as shadow reads. What must stay
//! true: a period that the log does not cover, or in which one side said nothing, is never a pass and never a failure.

use std::collections::BTreeMap;

use banyan_report::{EndpointReport, Evidence, Gate, GateVerdict, OpenReason, Report, Source};
use serde::{Deserialize, Serialize};

use crate::delay::Delays;
use crate::tally::TypeTally;
use crate::{Finding, Outcome};

/// Numbers over all types of event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Events of legacy in the period.
    pub legacy: u64,
    /// Events of new in the period.
    pub new: u64,
    /// Events of both sides that belong together.
    pub pairs: u64,
    /// Pairs and single events with a verdict: equal, or with a finding.
    pub decided: u64,
    /// Pairs and single events with at least one finding.
    pub mismatched: u64,
    /// Of these, pairs whose difference would break consumers.
    pub breaking: u64,
    /// Findings by kind; one pair may have several.
    pub findings: BTreeMap<Finding, u64>,
    /// Events whose partner may still come, or came before the log begins.
    pub pending: u64,
    /// What could not be decided: no key, no kept payload, over a limit.
    pub unknown: u64,
}

/// How the report is to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// The context.
    pub context: String,
    /// Now, Unix time.
    pub generated_ms: u64,
    /// What a pass needs.
    pub gate: Gate,
    /// The log was trimmed inside the period.
    pub trimmed: bool,
}

impl Outcome {
    /// The report: an entry per type of event.
    pub fn report(&self, asked: &Asked) -> Report {
        let first_ms = self.period.from_ms.max(self.period.known_from_ms);
        let seconds = self.period.watermark_ms.saturating_sub(first_ms) / 1_000;
        let entries = self.types.iter().map(|(name, of)| self.entry(name, of, asked, seconds));
        let from_ms = u64::try_from(self.period.from_ms).unwrap_or(0);
        let mut report =
            Report::new(asked.generated_ms, Some(from_ms), asked.gate, entries.collect());
        report.source = Source::Events { context: asked.context.clone() };
        let mut delays = Delays::default();
        self.types.values().for_each(|of| delays.merge(&of.delays));
        report.lag = delays.report();
        report.suggestions.clone_from(&self.suggestions);
        report
    }

    /// How many findings of a kind.
    pub fn found(&self, finding: Finding) -> u64 {
        self.counts.findings.get(&finding).copied().unwrap_or(0)
    }

    fn entry(&self, name: &str, of: &TypeTally, asked: &Asked, seconds: i64) -> EndpointReport {
        let decided = of.matched + of.normalised + of.mismatched;
        let undecided = of.unknown.values().sum::<u64>();
        let evidence = Evidence {
            distinct: decided,
            mismatched: of.mismatched,
            breaking: of.breaking,
            tried: decided + undecided,
            undecided,
            lag_p99_ms: of.delays.report().map(|delays| delays.p99_ms),
            ..Evidence::default()
        };
        let mut skipped = BTreeMap::new();
        if of.pending > 0 {
            skipped.insert("pending".to_owned(), of.pending);
        }
        let mut groups: Vec<_> = of.groups.values().cloned().collect();
        for group in &mut groups {
            group.causes.sort_by(|a, b| (b.count, &a.text).cmp(&(a.count, &b.text)));
        }
        EndpointReport {
            endpoint: name.to_owned(),
            compared: decided + undecided,
            matched: of.matched,
            normalised: of.normalised,
            noise: 0,
            mismatched: of.mismatched,
            lag: 0,
            inconclusive: undecided,
            errors: 0,
            skipped,
            distinct_requests: decided,
            gate: self.verdict(asked, evidence),
            groups,
            hidden: of.hidden.values().cloned().collect(),
            phase: String::new(),
            last_mismatch_ms: of.last_mismatch_ms.and_then(|ms| u64::try_from(ms).ok()),
            proven_percent: asked.gate.proven_percent(of.mismatched, decided),
            distinct_per_hour: per_hour(decided, seconds),
            lag_time: of.delays.report(),
        }
    }

    fn verdict(&self, asked: &Asked, evidence: Evidence) -> GateVerdict {
        let needed = asked.gate.needed(evidence.mismatched);
        let open = |why| GateVerdict::Inconclusive { needed, why };
        if asked.trimmed {
            return open(OpenReason::Trimmed);
        }
        if self.counts.legacy == 0 || self.counts.new == 0 {
            return open(OpenReason::OneSided);
        }
        asked.gate.decide(evidence)
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn per_hour(decided: u64, seconds: i64) -> Option<f64> {
    (seconds > 0).then(|| decided as f64 * 3_600.0 / seconds as f64)
}
