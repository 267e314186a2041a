//! Rules that would explain mismatches, each proven by comparing again.
//!
//! Owns the way from confirmed mismatches to "this rule explains 412 of 430, leaves 18, and would also have hidden 3
//! breaking ones". It exists because writing the narrowest rule by hand is work, and the broad one is tempting. What must
//! stay true: nothing is suggested that a second comparison with the rule did not prove; nothing that covers a protected
//! place; rules and causes carry places, classes and small parameters, never a value of an answer (host names are the one
//! exception, see [`propose`]).

mod cover;
mod propose;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use cover::{Suggestion, cover};
pub use propose::propose;

use crate::difference::Difference;
use crate::{Budget, Comparison, Obs, Protect, Rule, RuleSet, Severity, Verdict, compare};

/// Causes that one suggester knows; further ones get no suggestion.
const CAUSES_MAX: usize = 256;
/// Candidate rules per cause.
const CANDIDATES_MAX: usize = 6;
/// Rules that are tried per mismatch for its own causes.
const OWN_TRIALS_MAX: usize = 24;
/// Rules for other causes that are tried per mismatch, to see what they would also hide.
const OTHER_TRIALS_MAX: usize = 8;

/// What differences with one reason have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cause {
    /// Where, without indices.
    pub shape: String,
    /// What kind, such as `value_changed:time_format`.
    pub kind: String,
    /// From what to what, such as `rails-time -> iso8601`.
    pub transition: String,
}

impl Cause {
    /// The cause of a difference.
    pub fn of(difference: &Difference) -> Self {
        Self {
            shape: difference.location.shape.clone(),
            kind: difference.kind.label().into_owned(),
            transition: difference.transition(),
        }
    }
}

/// How far one candidate explains one cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The cause.
    pub cause: Cause,
    /// The candidate, as [`Rule::to_toml`] writes it, for all endpoints.
    pub rule: String,
    /// Mismatches in which it hides all differences of the cause, and makes no new ones.
    pub explained: u64,
    /// Mismatches of the cause on which it was tried.
    pub seen: u64,
    /// Mismatches in which it hides a breaking difference of another cause.
    pub hides_breaking: u64,
}

/// A mismatch with what is needed to compare again.
#[derive(Debug, Clone, Copy)]
pub struct Mismatch<'a> {
    /// Legacy's answer.
    pub legacy: Obs<'a>,
    /// New's answer.
    pub new: Obs<'a>,
}

/// Collects candidates and tries them, mismatch by mismatch. One per endpoint.
#[derive(Debug, Clone, Default)]
pub struct Suggester {
    protect: Protect,
    candidates: BTreeMap<Cause, Vec<Rule>>,
    /// Where the next trials of other causes begin.
    turn: usize,
}

/// The rules that explain most of these mismatches, best first.
pub fn suggest(
    mismatches: &[Mismatch<'_>],
    rules: &RuleSet,
    protect: &Protect,
    budget: &Budget,
) -> Vec<Suggestion> {
    let mut suggester = Suggester::new(protect.clone());
    let compared: Vec<Comparison> = mismatches
        .iter()
        .map(|mismatch| compare(&mismatch.legacy, &mismatch.new, rules, budget))
        .collect();
    for (mismatch, comparison) in mismatches.iter().zip(&compared) {
        suggester.learn(mismatch, comparison, budget);
    }
    let mut tallies: Vec<Tally> = Vec::new();
    for (mismatch, comparison) in mismatches.iter().zip(&compared) {
        for tally in suggester.try_on(mismatch, comparison, rules, budget) {
            match tallies.iter_mut().find(|t| t.cause == tally.cause && t.rule == tally.rule) {
                Some(known) => known.add(&tally),
                None => tallies.push(tally),
            }
        }
    }
    cover(&tallies)
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.explained += other.explained;
        self.seen += other.seen;
        self.hides_breaking += other.hides_breaking;
    }
}

impl Suggester {
    /// Knows nothing yet; never suggests what covers a protected place.
    pub fn new(protect: Protect) -> Self {
        Self { protect, ..Self::default() }
    }

    /// Takes candidates from a mismatch.
    pub fn learn(&mut self, mismatch: &Mismatch<'_>, comparison: &Comparison, budget: &Budget) {
        for (cause, rule) in propose(mismatch, comparison, budget) {
            if self.protect.refuses(&rule).is_some() {
                continue;
            }
            let full = self.candidates.len() >= CAUSES_MAX;
            if full && !self.candidates.contains_key(&cause) {
                continue;
            }
            let known = self.candidates.entry(cause).or_default();
            if known.len() < CANDIDATES_MAX && !known.contains(&rule) {
                known.push(rule);
            }
        }
    }

    /// Tries candidates on a mismatch: all of its own causes, and some of others.
    pub fn try_on(
        &mut self,
        mismatch: &Mismatch<'_>,
        before: &Comparison,
        rules: &RuleSet,
        budget: &Budget,
    ) -> Vec<Tally> {
        // A cut list of differences cannot prove that one is gone.
        if before.total_differences != before.differences.len() as u64 {
            return Vec::new();
        }
        let before = Causes::of(before);
        let (mut own, mut others) = (BTreeMap::new(), Vec::new());
        for (origin, candidates) in &self.candidates {
            let alike = |cause: &&Cause| cause.shape == origin.shape && cause.kind == origin.kind;
            let causes: BTreeSet<&Cause> = before.all.iter().filter(alike).collect();
            for rule in candidates {
                if causes.is_empty() {
                    others.push((origin, rule));
                    continue;
                }
                let trial: &mut Trial<'_> = own.entry(rule.to_toml()).or_insert(Trial::new(rule));
                trial.causes.extend(&causes);
            }
        }
        let mut trials: Vec<Trial<'_>> = own.into_values().take(OWN_TRIALS_MAX).collect();
        // Without a breaking difference there is nothing that a rule for another cause could wrongly hide.
        if !before.breaking.is_empty() && !others.is_empty() {
            let start = self.turn % others.len();
            let turn = others.iter().cycle().skip(start).take(OTHER_TRIALS_MAX.min(others.len()));
            trials.extend(turn.map(|(origin, rule)| Trial {
                causes: BTreeSet::from([*origin]),
                ..Trial::new(rule)
            }));
            self.turn = self.turn.wrapping_add(OTHER_TRIALS_MAX);
        }
        let run = |trial: Trial<'_>| {
            let with = rules.clone().with([trial.rule.clone()]);
            let after = compare(&mismatch.legacy, &mismatch.new, &with, budget);
            before.tallies(&trial, &after)
        };
        trials.into_iter().flat_map(run).collect()
    }
}

/// A rule on trial, with the causes that it is meant for.
struct Trial<'a> {
    rule: &'a Rule,
    causes: BTreeSet<&'a Cause>,
}

impl<'a> Trial<'a> {
    fn new(rule: &'a Rule) -> Self {
        Self { rule, causes: BTreeSet::new() }
    }
}

/// The causes of one comparison.
struct Causes {
    all: BTreeSet<Cause>,
    breaking: BTreeSet<Cause>,
}

impl Causes {
    fn of(comparison: &Comparison) -> Self {
        let breaking = comparison.differences.iter().filter(|d| d.severity == Severity::Breaking);
        Self {
            all: comparison.differences.iter().map(Cause::of).collect(),
            breaking: breaking.map(Cause::of).collect(),
        }
    }

    /// What one rule did for each cause that it is meant for.
    fn tallies(&self, trial: &Trial<'_>, after: &Comparison) -> Vec<Tally> {
        let decided = matches!(
            after.verdict,
            Verdict::Match | Verdict::MatchNormalised | Verdict::Mismatch(_) | Verdict::NewError
        );
        let left = Self::of(after);
        let sound = decided && left.all.is_subset(&self.all);
        let others = self.breaking.iter().filter(|other| !trial.causes.contains(*other));
        let hides_breaking = decided && others.into_iter().any(|other| !left.all.contains(other));
        let rule = trial.rule.to_toml();
        let tally = |cause: &&Cause| {
            let seen = self.all.contains(*cause);
            Tally {
                cause: (*cause).clone(),
                rule: rule.clone(),
                explained: u64::from(seen && sound && !left.all.contains(*cause)),
                seen: u64::from(seen),
                hides_breaking: u64::from(hides_breaking),
            }
        };
        trial.causes.iter().map(tally).collect()
    }
}

#[cfg(test)]
mod tests;
