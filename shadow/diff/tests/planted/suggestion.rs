//! For each cause that a rule can explain: is the right rule suggested first, and does it explain?

use banyan_diff::{Budget, Mismatch, Protect, RuleSet, compare, rules_from_toml, suggest};

use super::TRIES;
use super::cause::{self, Pair};
use super::dice::Dice;

/// The action that a person would choose for a cause.
const RIGHT: &[(&str, &[&str])] = &[
    ("number rounded", &["tolerance"]),
    ("number precision", &["tolerance"]),
    ("number off by one", &["tolerance", "bijection"]),
    ("case", &["case"]),
    ("whitespace", &["trim"]),
    ("time shifted", &["time"]),
    ("time written otherwise", &["time"]),
    ("url host", &["url_host_map"]),
    ("string as number", &["number_eq_string"]),
    ("number as string", &["number_eq_string"]),
    ("null to empty", &["null_eq_empty"]),
    ("empty to null", &["null_eq_empty"]),
    ("null left out", &["null_eq_missing"]),
    ("null added", &["null_eq_missing"]),
    ("value to null", &["expect"]),
    ("string prefix added", &["regex_replace"]),
    ("list shuffled", &["key", "multiset"]),
    ("element moved", &["key", "multiset"]),
    ("key extra", &["ignore"]),
    ("time shifted everywhere in a list", &["time"]),
    ("string as number everywhere in a list", &["number_eq_string"]),
    ("host moved everywhere in a list", &["url_host_map"]),
    ("header extra", &["ignore"]),
    ("header missing", &["ignore"]),
    ("vary changed", &["ignore_value", "ignore"]),
];

/// Causes that no rule may hide without a person's own words.
const NEVER: &[&str] = &[
    "status of the same class",
    "not found",
    "new error",
    "type",
    "element missing",
    "element extra",
    "content type",
    "body lost",
    "JSON cut",
    "cookie missing",
    "cookie attribute lost",
];

fn suggested(pair: &Pair) -> Vec<String> {
    let mismatch = Mismatch { legacy: pair.legacy.obs(), new: pair.new.obs() };
    let found = suggest(&[mismatch], &pair.rules, &Protect::default(), &Budget::default());
    found.into_iter().map(|suggestion| suggestion.rule).collect()
}

fn word(rule: &str) -> String {
    rules_from_toml(rule).unwrap()[0].action().word().to_owned()
}

/// Whether the pair agrees once the rules are in force.
fn agrees(pair: &Pair, rules: &[String]) -> bool {
    let rules = rules.iter().flat_map(|rule| rules_from_toml(rule).unwrap());
    let rules: RuleSet = pair.rules.clone().with(rules);
    compare(&pair.legacy.obs(), &pair.new.obs(), &rules, &Budget::default()).verdict.is_match()
}

/// Whether the cause is at a place where no rule may lose a value.
fn is_protected(pair: &Pair) -> bool {
    let protected = [".id", ".uuid", ".urn"];
    pair.found.iter().any(|found| protected.iter().any(|end| found.shape.ends_with(end)))
}

/// Bare values in lists: what stands at which place there is known by the order alone, and nothing is suggested.
fn is_in_bare_lists(pair: &Pair) -> bool {
    pair.found.iter().all(|found| found.shape.ends_with("[*]"))
}

fn planted(name: &str, seed: u64) -> Pair {
    let causes = cause::catalogue();
    let cause = causes.iter().find(|cause| cause.name == name);
    let cause = cause.unwrap_or_else(|| panic!("no cause `{name}`"));
    let mut dice = Dice::new(seed);
    (0..TRIES).find_map(|_| (cause.plant)(&mut dice)).unwrap()
}

#[test]
fn the_right_rule_is_suggested_first_and_explains() {
    let each = super::setting("BANYAN_PAIRS", 1_300) / 13;
    let mut wrong = Vec::new();
    for (name, right) in RIGHT {
        let mut fine = 0;
        for seed in 0..each {
            let pair = planted(name, seed);
            let found = suggested(&pair);
            let first = found.first().map(|rule| word(rule));
            let is_right = first.as_deref().is_some_and(|first| right.contains(&first));
            let kept = found.is_empty() && (is_protected(&pair) || is_in_bare_lists(&pair));
            if kept || (is_right && agrees(&pair, &found)) {
                fine += 1;
            } else if wrong.len() < 12 {
                wrong.push(format!("`{name}` seed {seed}: {:?}\n{}", pair.found, found.join("\n")));
            }
        }
        println!("{name:<44} {fine:>6} of {each}");
        assert!(fine * 100 >= each * 95, "`{name}`: {fine} of {each}\n{}", wrong.join("\n\n"));
    }
}

#[test]
fn nothing_is_suggested_that_would_hide_what_breaks_clients() {
    for name in NEVER {
        for seed in 0..20 {
            let pair = planted(name, seed);
            let found = suggested(&pair);
            assert!(!agrees(&pair, &found), "`{name}` seed {seed}: {}", found.join("\n"));
        }
    }
}
