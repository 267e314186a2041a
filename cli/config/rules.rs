//! Rules of the file: packs, `[[shadow.rule]]`, the older `[[shadow.ignore]]`, and what they may not cover.
//!
//! Owns the way from the file to one [`RuleSet`]. Must stay true: a rule that covers a protected place refuses the whole
//! file; an expired rule does not, because a proxy that does not start is worse than a difference that is shown again.

use super::problem::{Problem, closest};
use super::reader::{Found, Section};
use super::value;
use banyan_diff::{Pack, Protect, Rule, RuleSet, rules_from_array};
use std::ops::Range;

/// A rule with its place in the file.
type Placed = (Rule, Option<Range<usize>>);

/// Reads every key, also after a problem: an unread key would be called unknown.
pub(crate) fn read(section: &Section<'_>, text: &str) -> (Option<RuleSet>, Protect) {
    let (packs, protect) = (packs(section), protect(section).unwrap_or_default());
    let off = section.strings("builtin-off").unwrap_or_default();
    let mut rules: Vec<Placed> = section
        .sections("ignore")
        .iter()
        .filter_map(|section| Some((ignore(section)?, section.span())))
        .collect();
    let items = section.items("rule");
    match rules_from_array(text, &items) {
        Ok(found) => rules.extend(found.into_iter().zip(items.iter().map(|i| Some(i.span())))),
        Err(problems) => problems.into_iter().for_each(|found| {
            let message = format!("`shadow.rule`: {}", found.message);
            let problem = Problem::error(Some(found.span), message);
            section.problem(match found.hint {
                Some(hint) => problem.hint(hint),
                None => problem,
            });
        }),
    }
    refuse_twins(section, &rules);
    refuse_covering(section, &rules, &protect);
    let set = packs.into_iter().fold(RuleSet::empty(), RuleSet::with_pack);
    let set = set.with(rules.into_iter().map(|(rule, _)| rule));
    (without(section, &off, set), protect)
}

fn packs(section: &Section<'_>) -> Vec<Pack> {
    let Some(words) = section.strings("packs") else { return vec![Pack::Rails] };
    let mut packs = Vec::new();
    for word in words {
        match Pack::ALL.into_iter().find(|pack| pack.as_str() == word.value) {
            Some(pack) if packs.contains(&pack) => {}
            Some(pack) => packs.push(pack),
            None => section.problem(
                Problem::error(word.span, format!("`shadow.packs`: unknown pack `{}`", word.value))
                    .hint("known packs: rails, rails-json"),
            ),
        }
    }
    packs
}

fn protect(section: &Section<'_>) -> Option<Protect> {
    let Some(words) = section.strings("protect") else { return Some(Protect::default()) };
    for word in &words {
        if let Err(error) = Protect::new([word.value.as_str()]) {
            let message = format!("`shadow.protect`: {}", error.kind);
            section.problem(Problem::error(word.span.clone(), message).hint(error.hint()));
        }
    }
    Protect::new(words.iter().map(|word| word.value.as_str())).ok()
}

/// The older form: a place that is ignored.
fn ignore(section: &Section<'_>) -> Option<Rule> {
    let at = section.required("at", "\"$.server_time\" or \"header:x-build\"", value::text);
    let reason = section.required("reason", "\"why this difference is harmless\"", value::text);
    let endpoint = section.optional("endpoint", value::text);
    section.finish();
    let at = at?;
    match Rule::ignore(&at.value, &reason?.value) {
        Ok(rule) => Some(match endpoint {
            Some(endpoint) => rule.for_endpoint(&endpoint.value),
            None => rule,
        }),
        Err(error) => {
            let hint = error.hint();
            section.problem(
                Problem::error(at.span, format!("`shadow.ignore.at`: {error}")).hint(hint),
            );
            None
        }
    }
}

/// Hits are counted by id: two rules of one id could not be told apart.
fn refuse_twins(section: &Section<'_>, rules: &[Placed]) {
    for (at, (rule, span)) in rules.iter().enumerate() {
        if rules.iter().take(at).any(|(other, _)| other.id() == rule.id()) {
            section.problem(
                Problem::error(span.clone(), format!("rule `{}` is declared twice", rule.id()))
                    .hint("give one of them another `id`"),
            );
        }
    }
}

fn refuse_covering(section: &Section<'_>, rules: &[Placed], protect: &Protect) {
    for (rule, span) in rules {
        if let Some(refused) = protect.refuses(rule) {
            section.problem(
                Problem::error(span.clone(), refused.to_string()).hint(
                    "select less, or take the place out of `shadow.protect` if it may differ",
                ),
            );
        }
    }
}

fn without(section: &Section<'_>, off: &[Found<String>], set: RuleSet) -> Option<RuleSet> {
    let known: Vec<&str> = banyan_diff::builtin_ids().collect();
    for word in off.iter().filter(|word| !known.contains(&word.value.as_str())) {
        let message = format!("`shadow.builtin-off`: there is no built-in rule `{}`", word.value);
        let problem = Problem::error(word.span.clone(), message);
        section.problem(match closest(&word.value, known.iter().copied()) {
            Some(meant) => problem.hint(format!("did you mean `{meant}`?")),
            None => problem.hint("banyan shadow rules list shows them"),
        });
    }
    set.without(off.iter().map(|word| word.value.as_str())).ok()
}
