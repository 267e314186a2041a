//! What one comparison has found so far.
//!
//! Owns the cap on reported differences and the count of what rules hid. It exists so that no part of the engine decides
//! a verdict on its own. Must stay true: every difference counts in the total and in the worst severity, also beyond
//! the cap.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::difference::{Difference, Kind, Part};
use crate::{Bijections, Severity, Sides, Verdict, Why};

/// Places per comparison that are listed for what rules hid; more are counted under `…`.
const HIDDEN_PLACES_MAX: usize = 200;

/// How often a rule hid a difference, and where.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hidden {
    /// Id of the rule.
    pub rule: String,
    /// Shape path, e.g. `header:x-runtime`.
    pub location: String,
    /// Differences hidden there.
    pub count: u64,
}

#[derive(Debug)]
pub(crate) struct Findings {
    differences: Vec<Difference>,
    limit: usize,
    total: u64,
    worst: Option<Severity>,
    worst_outside_body: Option<Severity>,
    hidden: BTreeMap<(String, String), u64>,
    /// Renamings that rules look at.
    pub(crate) bijections: Bijections,
    content_type_lies: Sides,
}

/// Everything found, with the verdict it amounts to.
pub(crate) struct Conclusion {
    pub(crate) verdict: Verdict,
    pub(crate) differences: Vec<Difference>,
    pub(crate) hidden: Vec<Hidden>,
    pub(crate) total: u64,
    pub(crate) bijections: Bijections,
    pub(crate) content_type_lies: Sides,
}

impl Findings {
    pub(crate) fn new(limit: usize, bijections: Bijections) -> Self {
        Self {
            differences: Vec::new(),
            limit,
            total: 0,
            worst: None,
            worst_outside_body: None,
            hidden: BTreeMap::new(),
            bijections,
            content_type_lies: Sides::default(),
        }
    }

    /// Notes on which sides the body is not what its header says.
    pub(crate) fn content_type_lies(&mut self, sides: Sides) {
        self.content_type_lies = sides;
    }

    /// Differences plus hidden ones so far.
    pub(crate) fn seen(&self) -> u64 {
        self.total + self.hidden.values().sum::<u64>()
    }

    /// Adds a difference; it is built only while the cap allows to keep it.
    pub(crate) fn add(
        &mut self,
        severity: Severity,
        in_body: bool,
        build: impl FnOnce() -> Difference,
    ) {
        self.total += 1;
        self.worst = self.worst.max(Some(severity));
        if !in_body {
            self.worst_outside_body = self.worst_outside_body.max(Some(severity));
        }
        if self.differences.len() < self.limit {
            self.differences.push(build());
        }
    }

    /// Adds a difference that is already built.
    pub(crate) fn push(&mut self, difference: Difference) {
        let in_body = difference.location.part == Part::Body;
        self.add(difference.severity, in_body, || difference);
    }

    /// The index that the next difference will have; `None` when the cap is reached.
    pub(crate) fn next_index(&self) -> Option<usize> {
        (self.differences.len() < self.limit).then_some(self.differences.len())
    }

    /// Makes one difference of a missing value and the extra one that it became; the extra one is dropped later, so that
    /// indices stay valid.
    pub(crate) fn join(&mut self, missing: usize, extra: usize, kind: Kind, hint: String) {
        let value = self.differences.get(extra).and_then(|extra| extra.new.clone());
        if let Some(difference) = self.differences.get_mut(missing) {
            difference.kind = kind;
            difference.severity = kind.severity();
            difference.new = value;
            difference.hint = Some(hint);
        }
    }

    /// Drops the extra ends that were joined.
    pub(crate) fn drop_joined(&mut self, extras: &[usize]) {
        self.total -= extras.len() as u64;
        let mut at = 0;
        self.differences.retain(|_| {
            at += 1;
            !extras.contains(&(at - 1))
        });
    }

    /// Counts a difference that a rule hides.
    pub(crate) fn hide(&mut self, rule: &str, location: &str) {
        let key = (rule.to_owned(), location.to_owned());
        let full = self.hidden.len() >= HIDDEN_PLACES_MAX && !self.hidden.contains_key(&key);
        let key = if full { (key.0, "…".to_owned()) } else { key };
        *self.hidden.entry(key).or_default() += 1;
    }

    /// Turns what was found into a verdict; `stopped` says that the body was not compared to its end.
    pub(crate) fn conclude(mut self, stopped: Option<Why>, fixed: Option<Verdict>) -> Conclusion {
        let certain = self.worst_outside_body >= Some(Severity::Value);
        let verdict = match (fixed, stopped, self.worst) {
            (Some(verdict), _, _) => verdict,
            (None, Some(why), _) if !certain => Verdict::Inconclusive(why),
            (None, _, Some(severity)) => Verdict::Mismatch(severity),
            (None, _, None) if self.hidden.is_empty() => Verdict::Match,
            (None, _, None) => Verdict::MatchNormalised,
        };
        self.bijections.settle(verdict.is_match());
        let hidden = self.hidden.into_iter();
        let hidden = hidden.map(|((rule, location), count)| Hidden { rule, location, count });
        Conclusion {
            verdict,
            differences: self.differences,
            hidden: hidden.collect(),
            total: self.total,
            bijections: self.bijections,
            content_type_lies: self.content_type_lies,
        }
    }
}
