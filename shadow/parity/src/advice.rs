//! Rules that would explain the differences, each proven on the pairs themselves.
//!
//! Owns the sample of differing pairs. It exists because ids and times that each side mints itself differ in every pair, and only a
//! person can say that this is harmless. What must stay true: a suggestion hides nothing until it stands in the file.

use std::collections::BTreeMap;

use banyan_diff::{
    Budget, Comparison, Mismatch, Protect, RuleSet, Suggestion, rules_from_toml, suggest,
};
use banyan_report::SuggestionReport;

use crate::cluster::Pair;
use crate::judge::{Judge, headers, obs};
use crate::{Event, Show};

/// Differing pairs of one type that rules are tried on, and bytes of all of them.
const PAIRS_MAX: usize = 24;
const BYTES_MAX: usize = 8 << 20;
/// Suggestions per type.
const SUGGESTIONS_MAX: usize = 8;

#[derive(Default)]
pub(crate) struct Advice {
    samples: BTreeMap<String, Sample>,
    bytes: usize,
}

struct Sample {
    rules: RuleSet,
    budget: Budget,
    pairs: Vec<(Event, Event)>,
}

impl Advice {
    pub(crate) fn offer(
        &mut self,
        name: &str,
        pair: &Pair,
        comparison: &Comparison,
        judge: &mut Judge,
    ) {
        let weight = pair.legacy.weight() + pair.new.weight();
        let known = self.samples.get(name).map_or(0, |sample| sample.pairs.len());
        if comparison.differences.is_empty()
            || known >= PAIRS_MAX
            || self.bytes + weight > BYTES_MAX
        {
            return;
        }
        self.bytes += weight;
        let sample = self.samples.entry(name.to_owned()).or_insert_with(|| Sample {
            rules: judge.rules_of(&pair.legacy.kind),
            budget: judge.budget(),
            pairs: Vec::new(),
        });
        sample.pairs.push((pair.legacy.clone(), pair.new.clone()));
    }

    /// The suggestions; one that names a place which may be data is left out.
    pub(crate) fn finish(self, protect: &Protect, show: &dyn Show) -> Vec<SuggestionReport> {
        let mut all = Vec::new();
        for (name, sample) in self.samples.into_iter().filter(|(name, _)| show.kind(name) == *name)
        {
            let harmless = |suggestion: &Suggestion| {
                suggestion.causes.iter().all(|cause| show.shape(&cause.shape) == cause.shape)
            };
            let suggestions = sample.suggestions(protect).into_iter().filter(harmless);
            all.extend(
                suggestions
                    .take(SUGGESTIONS_MAX)
                    .filter_map(|suggestion| reported(&name, &suggestion)),
            );
        }
        all
    }
}

impl Sample {
    fn suggestions(&self, protect: &Protect) -> Vec<Suggestion> {
        let headers: Vec<_> =
            self.pairs.iter().map(|(legacy, new)| (headers(legacy), headers(new))).collect();
        let body = |event: &'_ Event| event.body.clone().unwrap_or_default();
        let bodies: Vec<_> =
            self.pairs.iter().map(|(legacy, new)| (body(legacy), body(new))).collect();
        let mismatches: Vec<Mismatch<'_>> = headers
            .iter()
            .zip(&bodies)
            .map(|(headers, bodies)| Mismatch {
                legacy: obs(&headers.0, &bodies.0),
                new: obs(&headers.1, &bodies.1),
            })
            .collect();
        suggest(&mismatches, &self.rules, protect, &self.budget)
    }
}

fn reported(name: &str, suggestion: &Suggestion) -> Option<SuggestionReport> {
    let rule = rules_from_toml(&suggestion.rule).ok()?.into_iter().next()?;
    let causes: Vec<String> = suggestion
        .causes
        .iter()
        .map(|cause| format!("{} {} {}", cause.shape, cause.kind, cause.transition))
        .collect();
    Some(SuggestionReport {
        endpoint: name.to_owned(),
        cause: causes.join(", "),
        rule: rule.for_endpoint(name).to_toml(),
        explains: suggestion.explains,
        of: suggestion.of,
        hides_breaking: suggestion.hides_breaking,
    })
}
