//! What shadowing finds out beside verdicts: templates of undeclared requests, and how far candidate rules explain
//! mismatches.
//!
//! Owns the rows and their growing sums. What must stay true: nothing here is a raw value: templates come out of
//! `banyan_template`, rules and causes carry places, kinds and classes only; sums are bounded, and what does not fit is
//! counted.

use crate::metric;
use banyan_diff::{Cause, Tally};
use banyan_domain::EndpointName;
use banyan_template::{Lost, Template};
use std::collections::BTreeMap;

/// Different rows that wait to be saved; beyond, new ones are dropped and counted.
const ROWS_MAX: usize = 20_000;

/// Rows since the last batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Advice {
    /// Undeclared requests by template.
    pub templates: Vec<TemplateCount>,
    /// Undeclared requests that are under no template.
    pub lost: Vec<LostCount>,
    /// How far candidate rules explain confirmed mismatches.
    pub suggestions: Vec<SuggestionCount>,
}

/// A number of undeclared requests of one template with one kind of answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateCount {
    /// When last, Unix ms.
    pub at_ms: u64,
    /// The method.
    pub method: String,
    /// The path with classes for values: `/users/{int}`.
    pub path: String,
    /// The query keys, joined by `&`.
    pub query: String,
    /// The class of the status, such as `2xx`.
    pub status: String,
    /// The media type of the answer; may be empty.
    pub media: String,
    /// How many.
    pub count: u64,
}

/// A number of undeclared requests that are under no template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostCount {
    /// When last, Unix ms.
    pub at_ms: u64,
    /// The word of why: `passed_over`, `misses`, `overflow`.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// How far one candidate rule explains one cause of mismatches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuggestionCount {
    /// When last, Unix ms.
    pub at_ms: u64,
    /// The endpoint.
    pub endpoint: EndpointName,
    /// Where the cause is, with indices removed.
    pub shape: String,
    /// The kind of its differences.
    pub kind: String,
    /// The class of the change.
    pub transition: String,
    /// The rule, as it is written in a rules file.
    pub rule: String,
    /// Mismatches whose differences of this cause it hides.
    pub explained: u64,
    /// Mismatches of this cause on which it was tried.
    pub seen: u64,
    /// Mismatches in which it also hides a breaking difference of another cause.
    pub hides_breaking: u64,
}

type TemplateKey = (String, String, String, &'static str, String);
type SuggestionKey = (EndpointName, String, String, String, String);

/// Explained, seen, hides a breaking one.
type Explained = [u64; 3];

/// The advice that grows between two saves.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    at_ms: u64,
    templates: BTreeMap<TemplateKey, u64>,
    lost: BTreeMap<&'static str, u64>,
    suggestions: BTreeMap<SuggestionKey, Explained>,
}

impl Sums {
    pub(crate) fn templates(
        &mut self,
        at_ms: u64,
        templates: Vec<Template>,
        lost: Lost,
        passed_over: u64,
    ) {
        self.at_ms = self.at_ms.max(at_ms);
        for template in templates {
            for answers in template.answers {
                let key = (
                    template.method.clone(),
                    template.path.clone(),
                    template.query.join("&"),
                    answers.status.as_str(),
                    answers.media,
                );
                add(&mut self.templates, key, answers.count);
            }
        }
        for (reason, count) in
            [("misses", lost.misses), ("overflow", lost.overflow), ("passed_over", passed_over)]
        {
            if count > 0 {
                *self.lost.entry(reason).or_default() += count;
            }
        }
    }

    pub(crate) fn tallies(&mut self, endpoint: &EndpointName, at_ms: u64, tallies: Vec<Tally>) {
        self.at_ms = self.at_ms.max(at_ms);
        for tally in tallies {
            let Cause { shape, kind, transition } = tally.cause;
            let key = (endpoint.clone(), shape, kind, transition, tally.rule);
            self.suggestion(key, [tally.explained, tally.seen, tally.hides_breaking]);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.templates.is_empty() && self.lost.is_empty() && self.suggestions.is_empty()
    }

    /// Takes back what could not be saved.
    pub(crate) fn merge(&mut self, other: Self) {
        self.at_ms = self.at_ms.max(other.at_ms);
        for (key, count) in other.templates {
            add(&mut self.templates, key, count);
        }
        for (reason, count) in other.lost {
            *self.lost.entry(reason).or_default() += count;
        }
        for (key, counts) in other.suggestions {
            self.suggestion(key, counts);
        }
    }

    fn suggestion(&mut self, key: SuggestionKey, counts: Explained) {
        if self.suggestions.len() >= ROWS_MAX && !self.suggestions.contains_key(&key) {
            return metric::dropped("suggestion", 1);
        }
        let sums = self.suggestions.entry(key).or_default();
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += count;
        }
    }

    pub(crate) fn rows(&self) -> Advice {
        let at_ms = self.at_ms;
        let templates = self.templates.iter().map(|(key, count)| {
            let (method, path, query, status, media) = key.clone();
            TemplateCount {
                at_ms,
                method,
                path,
                query,
                status: status.to_owned(),
                media,
                count: *count,
            }
        });
        let lost = self.lost.iter().map(|(reason, count)| LostCount {
            at_ms,
            reason: (*reason).to_owned(),
            count: *count,
        });
        let suggestions =
            self.suggestions.iter().map(|(key, [explained, seen, hides_breaking])| {
                let (endpoint, shape, kind, transition, rule) = key.clone();
                SuggestionCount {
                    at_ms,
                    endpoint,
                    shape,
                    kind,
                    transition,
                    rule,
                    explained: *explained,
                    seen: *seen,
                    hides_breaking: *hides_breaking,
                }
            });
        Advice {
            templates: templates.collect(),
            lost: lost.collect(),
            suggestions: suggestions.collect(),
        }
    }
}

fn add(rows: &mut BTreeMap<TemplateKey, u64>, key: TemplateKey, count: u64) {
    if rows.len() >= ROWS_MAX && !rows.contains_key(&key) {
        return metric::dropped("template", count);
    }
    *rows.entry(key).or_default() += count;
}
