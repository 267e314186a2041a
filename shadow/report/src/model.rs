//! What a report says.
//!
//! Owns the serialized form (`banyan.shadow.report/1`, additive changes only). It exists as plain data that any renderer
//! walks once. What must stay true: counts are of this report's period; values in examples are already redacted; the
//! order is fixed by [`Report::new`], worst first.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Severity;
use crate::gate::{Gate, GateVerdict, OpenReason};
use crate::replay::{self, BaseUrls, Credentials};

mod part;

pub use part::{
    Coverage, LagBucket, LagReport, NoiseReport, RuleReport, RuleState, Source, SuggestionReport,
    TemplateReport,
};

/// Name and version of the serialized form.
pub const SCHEMA: &str = "banyan.shadow.report/1";

/// A shadow report over one period.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`]; a reader refuses what it does not know.
    pub schema: String,
    /// When the report was made, Unix time.
    pub generated_ms: u64,
    /// Only comparisons since then, Unix time; all if absent.
    pub since_ms: Option<u64>,
    /// The gate that judged each endpoint.
    pub gate: Gate,
    /// One entry per endpoint, worst first.
    pub endpoints: Vec<EndpointReport>,
    /// Where the comparisons come from.
    #[serde(default)]
    pub source: Source,
    /// How many of the endpoints asked for could be judged.
    #[serde(default)]
    pub coverage: Coverage,
    /// Every rule that was in force: what it hid, and whether it is dead or expired.
    #[serde(default)]
    pub rules: Vec<RuleReport>,
    /// Places where legacy differs from itself, and what was hidden as noise because of it.
    #[serde(default)]
    pub noise: Vec<NoiseReport>,
    /// How late the new side was, over all endpoints.
    #[serde(default)]
    pub lag: Option<LagReport>,
    /// Rules that would explain many of the differences, verified by comparing again.
    #[serde(default)]
    pub suggestions: Vec<SuggestionReport>,
    /// Templates inferred for requests that no endpoint declares.
    #[serde(default)]
    pub templates: Vec<TemplateReport>,
}

impl Report {
    /// A report with its endpoints and groups in their fixed order: failed endpoints first, severe groups first.
    pub fn new(
        generated_ms: u64,
        since_ms: Option<u64>,
        gate: Gate,
        mut endpoints: Vec<EndpointReport>,
    ) -> Self {
        for endpoint in &mut endpoints {
            sort_groups(&mut endpoint.groups);
            endpoint
                .hidden
                .sort_by(|a, b| (Reverse(a.count), &a.rule).cmp(&(Reverse(b.count), &b.rule)));
        }
        endpoints.sort_by(|a, b| (a.gate.rank(), &a.endpoint).cmp(&(b.gate.rank(), &b.endpoint)));
        let coverage = coverage(&endpoints);
        Self {
            schema: SCHEMA.to_owned(),
            generated_ms,
            since_ms,
            gate,
            endpoints,
            source: Source::Live,
            coverage,
            rules: Vec::new(),
            noise: Vec::new(),
            lag: None,
            suggestions: Vec::new(),
            templates: Vec::new(),
        }
    }

    /// The verdict over all endpoints: one failure fails, else one open question is inconclusive. No endpoint, no pass.
    /// Below a coverage of 100 % endpoints may stay open, if all they lack is traffic and nothing differs there.
    pub fn verdict(&self) -> GateVerdict {
        let mut open = None;
        for endpoint in &self.endpoints {
            match endpoint.gate {
                GateVerdict::Fail { .. } => return endpoint.gate,
                GateVerdict::Inconclusive { .. } if !self.may_stay_open(endpoint) => {
                    open = open.or(Some(endpoint.gate));
                }
                GateVerdict::Inconclusive { .. } | GateVerdict::Pass => {}
            }
        }
        let coverage = coverage(&self.endpoints);
        let lacks = |why| GateVerdict::Inconclusive { needed: self.gate.needed(0), why };
        open.unwrap_or(if coverage.judged == 0 {
            lacks(OpenReason::Evidence)
        } else if coverage.percent() < self.gate.min_coverage_percent {
            lacks(OpenReason::Coverage)
        } else {
            GateVerdict::Pass
        })
    }

    /// Gives each example the command that repeats it, or the reason why there is none.
    #[must_use]
    pub fn with_replay(mut self, urls: impl Fn(&str) -> Option<BaseUrls>) -> Self {
        for endpoint in &mut self.endpoints {
            let Some(urls) = urls(&endpoint.endpoint) else { continue };
            let examples = endpoint.groups.iter_mut().flat_map(|group| &mut group.examples);
            for example in examples.filter(|example| example.replay.is_empty()) {
                match replay::command(&example.request, example.credentials, &urls) {
                    Ok(command) => example.replay = command,
                    Err(why) => why.clone_into(&mut example.note),
                }
            }
        }
        self
    }

    fn may_stay_open(&self, endpoint: &EndpointReport) -> bool {
        let lacks_traffic = match endpoint.gate {
            GateVerdict::Inconclusive { why, .. } => {
                matches!(why, OpenReason::Evidence | OpenReason::Dormant)
            }
            GateVerdict::Pass | GateVerdict::Fail { .. } => false,
        };
        self.gate.min_coverage_percent < 100.0 && lacks_traffic && endpoint.mismatched == 0
    }
}

fn coverage(endpoints: &[EndpointReport]) -> Coverage {
    let judged = endpoints.iter().filter(|endpoint| match endpoint.gate {
        GateVerdict::Pass | GateVerdict::Fail { .. } => true,
        GateVerdict::Inconclusive { .. } => false,
    });
    Coverage { endpoints: endpoints.len() as u64, judged: judged.count() as u64 }
}

/// Groups of one path stay together; the path with the worst group comes first.
fn sort_groups(groups: &mut [Group]) {
    let mut worst: BTreeMap<String, (Severity, u64)> = BTreeMap::new();
    for group in groups.iter() {
        let entry = worst.entry(group.path.clone()).or_insert((group.severity, group.count));
        *entry = (*entry).max((group.severity, group.count));
    }
    groups.sort_by_cached_key(|group| {
        let path_rank = worst.get(&group.path).copied();
        let own_rank = (group.severity, group.count);
        (Reverse(path_rank), group.path.clone(), Reverse(own_rank), group.kind.clone())
    });
}

/// What shadowing saw of one endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndpointReport {
    /// Name of the endpoint, e.g. `messages.list`.
    pub endpoint: String,
    /// Comparisons with a verdict: matched, normalised, mismatched, lag, inconclusive and errors together.
    pub compared: u64,
    /// Equal as they came.
    pub matched: u64,
    /// Equal after rules hid harmless differences.
    pub normalised: u64,
    /// Equal after accepted noise of legacy was hidden.
    #[serde(default)]
    pub noise: u64,
    /// Confirmed mismatches.
    pub mismatched: u64,
    /// Differences that went away: the new side was late.
    pub lag: u64,
    /// Comparisons that could not be decided.
    pub inconclusive: u64,
    /// One or both sides answered 5xx or not at all.
    pub errors: u64,
    /// Requests that were not compared, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// Different requests among those compared; what the gate counts.
    pub distinct_requests: u64,
    /// What the gate says.
    pub gate: GateVerdict,
    /// Confirmed differences, grouped by path and kind.
    pub groups: Vec<Group>,
    /// What rules hid.
    pub hidden: Vec<HiddenCount>,
    /// The phase of the endpoint when the report was made; empty for a replay.
    #[serde(default)]
    pub phase: String,
    /// When a mismatch was last confirmed, Unix time.
    #[serde(default)]
    pub last_mismatch_ms: Option<u64>,
    /// Percent of agreeing requests that is proven, at the gate's confidence.
    #[serde(default)]
    pub proven_percent: f64,
    /// New distinct requests per hour at the present rate; absent when it is not known.
    #[serde(default)]
    pub distinct_per_hour: Option<f64>,
    /// How late the new side was.
    #[serde(default)]
    pub lag_time: Option<LagReport>,
}

impl EndpointReport {
    /// Requests that were not compared, over all reasons.
    pub fn skipped_total(&self) -> u64 {
        self.skipped.values().sum()
    }

    /// Differences that rules hid, over all rules.
    pub fn hidden_total(&self) -> u64 {
        self.hidden.iter().map(|hidden| hidden.count).sum()
    }
}

/// Differences with one path and kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Shape path, e.g. `$.messages[*].created_at`, `header:link`.
    pub path: String,
    /// Kind with its sub-kind, e.g. `value_changed:time_format`.
    pub kind: String,
    /// The worst severity seen.
    pub severity: Severity,
    /// Differences in the group.
    pub count: u64,
    /// When it was first seen, Unix time.
    pub first_seen_ms: u64,
    /// When it was last seen, Unix time.
    pub last_seen_ms: u64,
    /// What became what, most frequent first.
    pub causes: Vec<Transition>,
    /// A few examples, redacted.
    pub examples: Vec<Example>,
}

/// One way in which values change, e.g. `rails-time -> iso8601`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// Both value classes, or another short description.
    pub text: String,
    /// Differences of that kind.
    pub count: u64,
}

/// One difference, redacted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Request line, e.g. `GET /messages/91`.
    pub request: String,
    /// Exact place, e.g. `$.messages[?@.id==42].subject`.
    pub location: String,
    /// Legacy's value or its class; absent where legacy has none.
    pub legacy: Option<String>,
    /// New's value or its class; absent where new has none.
    pub new: Option<String>,
    /// A command that repeats the comparison; empty when there is none.
    pub replay: String,
    /// Why there is no command.
    #[serde(default)]
    pub note: String,
    /// With which credentials it was asked.
    #[serde(default)]
    pub credentials: Credentials,
}

/// How much one rule hid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HiddenCount {
    /// Id of the rule.
    pub rule: String,
    /// Differences it hid.
    pub count: u64,
    /// When it first hid one, Unix time.
    #[serde(default)]
    pub first_ms: Option<u64>,
    /// When it last hid one, Unix time.
    #[serde(default)]
    pub last_ms: Option<u64>,
}
