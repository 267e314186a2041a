//! What was found, counted per type of event.
//!
//! Owns counts, groups and redacted examples. It exists so that a report needs no event any more. What must stay true: an
//! event is counted once, however much is wrong with it; no value gets here but through [`Show`]; every list has a limit.

use std::collections::{BTreeMap, BTreeSet};

use banyan_diff::{Comparison, Fragment, Location, Protect, Verdict};
use banyan_domain::Side;
use banyan_report::{Example, Group, HiddenCount, Severity, SuggestionReport, Transition};

use crate::advice::Advice;
use crate::cluster::{Pair, Settled};
use crate::delay::Delays;
use crate::judge::{Judge, Same};
use crate::{Counts, Event, Finding, Period};

/// Types of event that are told apart; all further ones are counted together.
const TYPES_MAX: usize = 200;
/// Groups of findings per type; further ones are only counted.
const GROUPS_MAX: usize = 300;
/// Examples per group, and causes.
const EXAMPLES_MAX: usize = 3;
const CAUSES_MAX: usize = 20;
/// Where the name of types beyond the limit leads.
const OTHER_TYPES: &str = "(other types)";

/// Makes what stood in events fit for a report.
pub trait Show: Send + Sync {
    /// A value of a payload.
    fn value(&self, location: &Location, fragment: &Fragment) -> String;
    /// A place, without names that may be data.
    fn shape(&self, shape: &str) -> String;
    /// The name of a type of event.
    fn kind(&self, text: &str) -> String;
    /// A part of a key.
    fn part(&self, text: &str) -> String;
}

/// What was seen of one type.
#[derive(Debug, Default)]
pub(crate) struct TypeTally {
    pub(crate) matched: u64,
    pub(crate) normalised: u64,
    pub(crate) mismatched: u64,
    pub(crate) breaking: u64,
    pub(crate) last_mismatch_ms: Option<i64>,
    /// What could not be decided, by the word of why.
    pub(crate) unknown: BTreeMap<&'static str, u64>,
    pub(crate) pending: u64,
    pub(crate) delays: Delays,
    pub(crate) groups: BTreeMap<(String, String), Group>,
    pub(crate) hidden: BTreeMap<String, HiddenCount>,
}

pub(crate) struct Tally<'a> {
    period: Period,
    show: &'a dyn Show,
    types: BTreeMap<String, TypeTally>,
    counts: Counts,
    advice: Advice,
    suggestions: Vec<SuggestionReport>,
}

/// Everything that was found; [`crate::Outcome::report`] makes a report of it.
#[derive(Debug)]
pub struct Outcome {
    /// Numbers over all types.
    pub counts: Counts,
    pub(crate) types: BTreeMap<String, TypeTally>,
    pub(crate) suggestions: Vec<SuggestionReport>,
    pub(crate) period: Period,
}

/// A finding on its way into a group.
struct Found<'f> {
    path: String,
    kind: String,
    severity: Severity,
    cause: String,
    example: Box<dyn FnOnce() -> Example + 'f>,
}

impl<'a> Tally<'a> {
    pub(crate) fn new(period: Period, show: &'a dyn Show) -> Self {
        Self {
            period,
            show,
            types: BTreeMap::new(),
            counts: Counts::default(),
            advice: Advice::default(),
            suggestions: Vec::new(),
        }
    }

    /// Notes that an event was read.
    pub(crate) fn saw(&mut self, event: &Event) {
        if event.at_ms >= self.period.from_ms {
            match event.side {
                Side::Legacy => self.counts.legacy += 1,
                Side::New => self.counts.new += 1,
            }
        }
    }

    /// An event of which nothing can be said.
    pub(crate) fn unknown(&mut self, name: &str, event: &Event, why: &'static str) {
        if event.at_ms < self.period.from_ms {
            return;
        }
        self.counts.unknown += 1;
        *self.of(name).unknown.entry(why).or_default() += 1;
    }

    pub(crate) fn count(&mut self, settled: Settled, judge: &mut Judge) {
        match settled {
            Settled::Pair(pair) => self.pair(&pair, judge),
            Settled::Alone(event) => {
                let finding = match event.side {
                    Side::Legacy => Finding::OnlyLegacy,
                    Side::New => Finding::OnlyNew,
                };
                self.single(&event, finding, judge);
            }
            Settled::Duplicate(event) => self.single(&event, Finding::Duplicated, judge),
            Settled::Pending(event) => {
                if event.at_ms >= self.period.from_ms {
                    self.counts.pending += 1;
                    self.of(&judge.name(&event.kind)).pending += 1;
                }
            }
        }
    }

    pub(crate) fn finish(mut self) -> Outcome {
        self.counts.breaking = self.types.values().map(|of| of.breaking).sum();
        self.suggestions.extend(self.advice.finish(&Protect::default(), self.show));
        Outcome {
            counts: self.counts,
            types: self.types,
            suggestions: self.suggestions,
            period: self.period,
        }
    }

    fn single(&mut self, event: &Event, finding: Finding, judge: &Judge) {
        if event.at_ms < self.period.from_ms {
            return;
        }
        *self.counts.findings.entry(finding).or_default() += 1;
        self.counts.mismatched += 1;
        self.counts.decided += 1;
        let show = self.show;
        let found = Found {
            path: "event".to_owned(),
            kind: finding.as_str().to_owned(),
            severity: finding.severity(),
            cause: match finding {
                Finding::Duplicated => format!("{} says it once more", event.side),
                Finding::Differ
                | Finding::OnlyLegacy
                | Finding::OnlyNew
                | Finding::Reordered
                | Finding::Late => format!("{} has none", event.side.other()),
            },
            example: Box::new(|| example_of_one(show, event)),
        };
        let name = judge.name(&event.kind);
        let of = self.of(&name);
        of.mismatched += 1;
        of.last_mismatch_ms = of.last_mismatch_ms.max(Some(event.at_ms));
        of.group(found, event.at_ms);
    }

    fn pair(&mut self, pair: &Pair, judge: &mut Judge) {
        let at_ms = pair.legacy.at_ms.max(pair.new.at_ms);
        if at_ms < self.period.from_ms {
            return;
        }
        self.counts.pairs += 1;
        let name = judge.name(&pair.legacy.kind);
        let show = self.show;
        let findings = pair_findings(pair, &self.period);
        for finding in &findings {
            *self.counts.findings.entry(*finding).or_default() += 1;
        }
        self.counts.mismatched += u64::from(!findings.is_empty());
        if let Same::No(comparison) = &pair.same {
            self.advice.offer(&name, pair, comparison, judge);
        }
        let unknown = matches!(pair.same, Same::Unknown(_)) && findings.is_empty();
        self.counts.unknown += u64::from(unknown);
        self.counts.decided += u64::from(!unknown);
        let of = self.of(&name);
        of.delays.add(pair.delay_ms());
        of.verdict(pair, &findings, at_ms);
        for found in differences(pair, show) {
            of.group(found, at_ms);
        }
        for finding in findings.iter().filter(|finding| **finding != Finding::Differ) {
            let cause = match finding {
                Finding::Late => format!("more than {} ms apart", self.period.late_max_ms),
                Finding::Reordered
                | Finding::Differ
                | Finding::OnlyLegacy
                | Finding::OnlyNew
                | Finding::Duplicated => "another place among the events of its subject".to_owned(),
            };
            let found = Found {
                path: "event".to_owned(),
                kind: finding.as_str().to_owned(),
                severity: finding.severity(),
                cause,
                example: Box::new(|| example_of_pair(show, pair, *finding)),
            };
            // Borrowed anew: the period was read in between.
            self.of(&name).group(found, at_ms);
        }
    }

    fn of(&mut self, name: &str) -> &mut TypeTally {
        let full = self.types.len() >= TYPES_MAX && !self.types.contains_key(name);
        let name = if full { OTHER_TYPES.to_owned() } else { self.show.kind(name) };
        self.types.entry(name).or_default()
    }
}

fn pair_findings(pair: &Pair, period: &Period) -> Vec<Finding> {
    let differs = matches!(pair.same, Same::No(_)) || pair.legacy.kind != pair.new.kind;
    let all = [
        (differs, Finding::Differ),
        (pair.moved, Finding::Reordered),
        (pair.delay_ms() > period.late_max_ms, Finding::Late),
    ];
    all.into_iter().filter(|(holds, _)| *holds).map(|(_, finding)| finding).collect()
}

/// What differs within a pair, each place and kind once.
fn differences<'p>(pair: &'p Pair, show: &'p dyn Show) -> Vec<Found<'p>> {
    let mut found = Vec::new();
    if pair.legacy.kind != pair.new.kind {
        found.push(Found {
            path: "type".to_owned(),
            kind: "value_changed".to_owned(),
            severity: Severity::Breaking,
            cause: format!("{} -> {}", show.kind(&pair.legacy.kind), show.kind(&pair.new.kind)),
            example: Box::new(|| Example {
                legacy: Some(show.kind(&pair.legacy.kind)),
                new: Some(show.kind(&pair.new.kind)),
                ..example_of_pair(show, pair, Finding::Differ)
            }),
        });
    }
    let Same::No(comparison) = &pair.same else { return found };
    let mut seen = BTreeSet::new();
    for difference in &comparison.differences {
        let path = show.shape(&difference.location.shape);
        let kind = difference.kind.label().into_owned();
        if !seen.insert((path.clone(), kind.clone())) {
            continue;
        }
        let value = |side: &'p Option<Fragment>| {
            side.as_ref().map(|fragment| show.value(&difference.location, fragment))
        };
        found.push(Found {
            path: path.clone(),
            kind,
            severity: difference.severity,
            cause: difference.transition(),
            example: Box::new(move || Example {
                location: path,
                legacy: value(&difference.legacy),
                new: value(&difference.new),
                ..example_of_pair(show, pair, Finding::Differ)
            }),
        });
    }
    found
}

impl TypeTally {
    fn verdict(&mut self, pair: &Pair, findings: &[Finding], at_ms: i64) {
        let at = u64::try_from(at_ms).unwrap_or(0);
        let comparison: Option<&Comparison> = match &pair.same {
            Same::Yes(comparison) | Same::No(comparison) => Some(comparison),
            Same::Unknown(_) => None,
        };
        for hidden in comparison.into_iter().flat_map(|comparison| &comparison.hidden) {
            let entry = self.hidden.entry(hidden.rule.clone()).or_insert_with(|| HiddenCount {
                rule: hidden.rule.clone(),
                count: 0,
                first_ms: Some(at),
                last_ms: None,
            });
            entry.count += hidden.count;
            entry.last_ms = Some(at);
        }
        if !findings.is_empty() {
            self.mismatched += 1;
            self.last_mismatch_ms = self.last_mismatch_ms.max(Some(at_ms));
            let breaks = comparison
                .is_some_and(|c| c.verdict == Verdict::Mismatch(Severity::Breaking))
                || pair.legacy.kind != pair.new.kind;
            self.breaking += u64::from(breaks);
            return;
        }
        match &pair.same {
            Same::Unknown(why) => *self.unknown.entry(why).or_default() += 1,
            Same::Yes(comparison) if comparison.verdict == Verdict::MatchNormalised => {
                self.normalised += 1;
            }
            Same::Yes(_) | Same::No(_) => self.matched += 1,
        }
    }

    fn group(&mut self, found: Found<'_>, at_ms: i64) {
        let at_ms = u64::try_from(at_ms).unwrap_or(0);
        let key = (found.path.clone(), found.kind.clone());
        if self.groups.len() >= GROUPS_MAX && !self.groups.contains_key(&key) {
            return;
        }
        let group = self.groups.entry(key).or_insert_with(|| Group {
            path: found.path,
            kind: found.kind,
            severity: found.severity,
            count: 0,
            first_seen_ms: at_ms,
            last_seen_ms: at_ms,
            causes: Vec::new(),
            examples: Vec::new(),
        });
        group.count += 1;
        group.severity = group.severity.max(found.severity);
        group.first_seen_ms = group.first_seen_ms.min(at_ms);
        group.last_seen_ms = group.last_seen_ms.max(at_ms);
        let room = group.causes.len() < CAUSES_MAX;
        match group.causes.iter_mut().find(|cause| cause.text == found.cause) {
            Some(cause) => cause.count += 1,
            None if room => group.causes.push(Transition { text: found.cause, count: 1 }),
            None => {}
        }
        if group.examples.len() < EXAMPLES_MAX {
            group.examples.push((found.example)());
        }
    }
}

fn example_of_one(show: &dyn Show, event: &Event) -> Example {
    let row = Some(format!("row {}", event.row));
    let (legacy, new) = match event.side {
        Side::Legacy => (row, None),
        Side::New => (None, row),
    };
    Example {
        request: named(show, event),
        location: format!("row {} of {}", event.row, event.side),
        legacy,
        new,
        replay: String::new(),
        note: String::new(),
        credentials: banyan_report::Credentials::None,
    }
}

fn example_of_pair(show: &dyn Show, pair: &Pair, finding: Finding) -> Example {
    let rows = format!("rows {} and {}", pair.legacy.row, pair.new.row);
    let apart = pair.new.at_ms - pair.legacy.at_ms;
    Example {
        request: match finding {
            Finding::Differ => format!("{}  {rows}", named(show, &pair.legacy)),
            Finding::OnlyLegacy
            | Finding::OnlyNew
            | Finding::Duplicated
            | Finding::Reordered
            | Finding::Late => named(show, &pair.legacy),
        },
        location: rows,
        legacy: Some(format!("row {}", pair.legacy.row)),
        new: Some(format!("row {}, {apart} ms after legacy's", pair.new.row)),
        replay: String::new(),
        note: String::new(),
        credentials: banyan_report::Credentials::None,
    }
}

/// The event by its key, values redacted.
fn named(show: &dyn Show, event: &Event) -> String {
    let parts = event.key.iter().flat_map(|key| &key.parts);
    let shown = |(word, value): &(String, String)| match word.as_str() {
        "type" | "routing-key" => show.kind(value),
        _ => format!("{word} {}", show.part(value)),
    };
    let parts: Vec<String> = parts.map(shown).collect();
    parts.join(", ")
}
