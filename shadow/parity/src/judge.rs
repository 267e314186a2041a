//! Whether two events say the same.
//!
//! Owns the way into the diff engine: the payload and its content type under the rules of one event type. It exists so that
//! pairing, duplicates and findings all mean the same by "the same". What must stay true: the envelope (id, time, source,
//! sequence, trace) names the emission and is never compared; a payload that is not there is unknown, never equal.

use std::collections::BTreeMap;

use banyan_diff::{Bijections, Budget, Comparison, Obs, RuleSet, Verdict, compare, compare_with};

use crate::Event;

/// Types with rules of their own in memory; further ones are looked up again.
const TYPES_MAX: usize = 256;
/// Memory of renamings (rules with `bijection`), in bytes.
const RENAMING_BYTES: usize = 16 << 20;

/// What a comparison says.
#[derive(Debug, Clone)]
pub(crate) enum Same {
    /// Equal; what rules hid is listed.
    Yes(Comparison),
    /// Different.
    No(Comparison),
    /// It cannot be told: the word of why.
    Unknown(&'static str),
}

/// Compares events of one context.
#[derive(Debug)]
pub struct Judge {
    context: String,
    rules: RuleSet,
    budget: Budget,
    by_type: BTreeMap<String, RuleSet>,
    renamings: Bijections,
}

impl Judge {
    /// A judge with the rules of the file; `key` is the secret under which renamed values are hashed. A rule for one type of
    /// event names the endpoint `CONTEXT.TYPE`.
    pub fn new(context: &str, rules: RuleSet, key: [u8; 32]) -> Self {
        Self {
            context: context.to_owned(),
            rules,
            budget: Budget::default(),
            by_type: BTreeMap::new(),
            renamings: Bijections::new(key, RENAMING_BYTES),
        }
    }

    /// The name under which a type of event is compared and reported.
    pub(crate) fn name(&self, kind: &str) -> String {
        format!("{}.{kind}", self.context)
    }

    /// Compares the two events of a pair.
    pub(crate) fn pair(&mut self, legacy: &Event, new: &Event) -> Same {
        let rules = self.rules_of(&legacy.kind);
        if !rules.renames() {
            return look(legacy, new, &rules, &self.budget);
        }
        let memory = &mut self.renamings;
        let budget = &self.budget;
        told(legacy, new, |a, b| compare_with(a, b, &rules, budget, memory))
    }

    /// Compares without remembering anything: to find out which events belong together.
    pub(crate) fn alike(&mut self, one: &Event, other: &Event) -> bool {
        if one.kind != other.kind {
            return false;
        }
        let rules = self.rules_of(&one.kind);
        match look(one, other, &rules, &self.budget) {
            Same::Yes(_) => true,
            Same::No(_) | Same::Unknown(_) => false,
        }
    }

    pub(crate) fn rules_of(&mut self, kind: &str) -> RuleSet {
        if let Some(rules) = self.by_type.get(kind) {
            return rules.clone();
        }
        let rules = self.rules.for_endpoint(&self.name(kind));
        if self.by_type.len() < TYPES_MAX {
            self.by_type.insert(kind.to_owned(), rules.clone());
        }
        rules
    }

    pub(crate) fn budget(&self) -> Budget {
        self.budget
    }
}

fn look(legacy: &Event, new: &Event, rules: &RuleSet, budget: &Budget) -> Same {
    told(legacy, new, |a, b| compare(a, b, rules, budget))
}

fn told(
    legacy: &Event,
    new: &Event,
    compare: impl FnOnce(&Obs<'_>, &Obs<'_>) -> Comparison,
) -> Same {
    let (Some(legacy_body), Some(new_body)) = (&legacy.body, &new.body) else {
        return Same::Unknown("no_body");
    };
    let (a, b) = (headers(legacy), headers(new));
    let comparison = compare(&obs(&a, legacy_body), &obs(&b, new_body));
    match comparison.verdict {
        Verdict::Match | Verdict::MatchNormalised => Same::Yes(comparison),
        Verdict::Mismatch(_) => Same::No(comparison),
        Verdict::Inconclusive(why) => Same::Unknown(why.as_str()),
        // No status but 200 goes in.
        Verdict::NewError | Verdict::LegacyError | Verdict::BothError => Same::Unknown("undecided"),
    }
}

/// What the engine sees of an event, as an answer.
pub(crate) fn obs<'a>(headers: &'a [(String, Vec<u8>)], body: &'a [u8]) -> Obs<'a> {
    Obs { status: 200, headers, body }
}

/// The content type; without one an event that looks like JSON is read as JSON.
pub(crate) fn headers(event: &Event) -> Vec<(String, Vec<u8>)> {
    let body = event.body.as_deref().unwrap_or_default();
    let is_json = || matches!(body.trim_ascii_start().first(), Some(b'{' | b'['));
    let declared = event.content_type.clone();
    let media = declared.or_else(|| is_json().then(|| "application/json".to_owned()));
    media.map(|media| ("content-type".to_owned(), media.into_bytes())).into_iter().collect()
}
