//! From tallies to few rules.
//!
//! Owns the greedy choice: the rule that explains most of what is left, and of nearly equal ones the narrowest. Must stay
//! true: the order of tallies does not matter; what explains less than half of its cause is not suggested.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Cause, Tally};
use crate::rules_from_toml;

/// A rule, and what speaks for and against it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suggestion {
    /// The rule as a `[[rule]]` table.
    pub rule: String,
    /// The causes that it explains.
    pub causes: Vec<Cause>,
    /// Mismatches of these causes that it explains.
    pub explains: u64,
    /// Mismatches of these causes on which it was tried.
    pub of: u64,
    /// Those that it does not explain.
    pub residual: u64,
    /// Mismatches in which it would also have hidden a breaking difference of another cause.
    pub hides_breaking: u64,
}

/// Few rules that explain most, best first.
pub fn cover(tallies: &[Tally]) -> Vec<Suggestion> {
    let mut rules: BTreeMap<&str, Vec<&Tally>> = BTreeMap::new();
    for tally in tallies.iter().filter(|tally| tally.seen > 0 || tally.hides_breaking > 0) {
        rules.entry(&tally.rule).or_default().push(tally);
    }
    let mut open: BTreeSet<&Cause> = tallies.iter().map(|tally| &tally.cause).collect();
    let mut suggestions = Vec::new();
    loop {
        let mut best: Vec<Suggestion> =
            rules.iter().filter_map(|(rule, tallies)| judge(rule, tallies, &open)).collect();
        let most = best.iter().map(|suggestion| suggestion.explains).max();
        let Some(most) = most else { return suggestions };
        // Nearly as much with a narrower rule is better.
        best.retain(|suggestion| suggestion.explains.saturating_mul(10) >= most.saturating_mul(9));
        let order = |s: &Suggestion| {
            (s.hides_breaking, breadth(&s.rule), std::cmp::Reverse(s.explains), s.rule.clone())
        };
        let Some(chosen) = best.into_iter().min_by_key(order) else { return suggestions };
        open.retain(|cause| !chosen.causes.contains(cause));
        suggestions.push(chosen);
    }
}

/// What a rule does for the causes that are still open.
fn judge(rule: &str, tallies: &[&Tally], open: &BTreeSet<&Cause>) -> Option<Suggestion> {
    let explains = |tally: &&&Tally| {
        open.contains(&tally.cause) && tally.explained > 0 && tally.explained * 2 >= tally.seen
    };
    let chosen: Vec<&&Tally> = tallies.iter().filter(explains).collect();
    if chosen.is_empty() {
        return None;
    }
    let (explains, of) = chosen
        .iter()
        .fold((0, 0), |(explains, of), tally| (explains + tally.explained, of + tally.seen));
    // One mismatch may be counted under several causes; each of them is judged apart, so the largest count is right.
    let hides_breaking = tallies.iter().map(|tally| tally.hides_breaking).max().unwrap_or(0);
    Some(Suggestion {
        rule: rule.to_owned(),
        causes: chosen.iter().map(|tally| tally.cause.clone()).collect(),
        explains,
        of,
        residual: of - explains,
        hides_breaking,
    })
}

/// How much a rule allows, from little to everything.
fn breadth(rule: &str) -> (u8, usize) {
    let rules = rules_from_toml(rule).unwrap_or_default();
    let Some(rule) = rules.first() else { return (u8::MAX, 0) };
    let rank = match rule.action().word() {
        "expect" | "time" | "number_eq_string" | "case" | "trim" | "null_eq_missing"
        | "null_eq_empty" | "url_host_map" | "key" | "ordered" => 0,
        "tolerance" | "multiset" | "regex_replace" | "cookie_attrs_only" => 1,
        "normaliser" | "set" | "bijection" => 2,
        "ignore_value" => 3,
        _ => 4,
    };
    (rank, usize::from(rule.at().contains("..")))
}
