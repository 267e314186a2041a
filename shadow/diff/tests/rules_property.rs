//! Promises of rules over generated answers: they only take away, only where they select, and never what is undecided.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::collections::BTreeSet;

use banyan_diff::{
    Action, BijectionRule, Budget, Comparison, Expected, HostPair, KeyRule, Kind, Normaliser, Obs,
    Order, Pack, Replacement, Rule, RuleSet, TimeRule, Tolerance, Types, Verdict, compare,
    rules_from_toml,
};
use proptest::prelude::*;
use serde_json::{Value, json};

type Headers = Vec<(String, Vec<u8>)>;

fn compared(legacy: &[u8], new: &[u8], rules: &RuleSet, budget: &Budget) -> Comparison {
    let headers: Headers = vec![("content-type".to_owned(), b"application/json".to_vec())];
    let answer = |body| Obs { status: 200, headers: &headers, body };
    compare(&answer(legacy), &answer(new), rules, budget)
}

fn values(legacy: &Value, new: &Value, rules: &RuleSet) -> Comparison {
    let (legacy, new) = (legacy.to_string(), new.to_string());
    compared(legacy.as_bytes(), new.as_bytes(), rules, &Budget::default())
}

/// Actions that treat both sides alike.
fn symmetric() -> Vec<Action> {
    vec![
        Action::Ignore,
        Action::IgnoreValue,
        Action::Tolerance(Tolerance { abs: Some(1.0), rel: None, decimals: Some(0) }),
        Action::Time(TimeRule { slack_ms: 1_000, formats: Vec::new() }),
        Action::Set,
        Action::Multiset,
        Action::Key(KeyRule { names: vec!["a".to_owned()], order: Order::Free }),
        Action::NullEqMissing,
        Action::NullEqEmpty,
        Action::NumberEqString { decimals: Some(0) },
        Action::Case,
        Action::Trim,
        Action::RegexReplace(Replacement::new("[ab]", "x").unwrap()),
        Action::Normaliser(Normaliser::Whitespace),
        Action::Normaliser(Normaliser::CsrfToken),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    let mut all = symmetric();
    all.extend([
        Action::Ordered,
        Action::UrlHostMap(vec![HostPair {
            legacy: "http://a".to_owned(),
            new: "http://b".to_owned(),
        }]),
        Action::Bijection(BijectionRule { domain: "d".to_owned(), types: Types::Any }),
        Action::Expect(Expected::Text("b".to_owned())),
        Action::Expect(Expected::Absent),
        Action::Expect(Expected::Rails3Emoji),
    ]);
    prop::sample::select(all)
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..4).prop_map(Value::from),
        Just(json!(1.5)),
        "[aAbB ]{0,3}".prop_map(Value::from),
        Just(json!("1.50")),
        Just(json!("http://a/x")),
        Just(json!("http://b/x")),
        Just(json!("2014/06/12 10:00:00 +0000")),
        Just(json!("2014-06-12T10:00:00Z")),
        Just(json!("\u{1f600}")),
        Just(json!("\u{f600}")),
    ]
}

fn tree(lists: bool) -> impl Strategy<Value = Value> {
    leaf().prop_recursive(4, 40, 5, move |inner| {
        let object = prop::collection::btree_map("id|uri|[a-c]", inner.clone(), 0..5)
            .prop_map(|members| Value::Object(members.into_iter().collect()));
        let list = prop::collection::vec(inner, 0..5).prop_map(Value::Array);
        if lists { prop_oneof![object, list].boxed() } else { object.boxed() }
    })
}

fn selector() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("$".to_owned()),
        Just("$..*".to_owned()),
        Just("$..id".to_owned()),
        Just("$[*].uri".to_owned()),
        Just("$..[?@.a==1].b".to_owned()),
        "\\$(\\.[abc*]|\\[[0-2*]\\]|\\.\\.[abc]){1,3}",
        "(/[abc0-2]){1,3}",
    ]
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let rule =
        (selector(), action()).prop_map(|(at, action)| Rule::new(&at, action, "test").unwrap());
    prop::collection::vec(rule, 0..4)
}

/// What is reported where. A renamed member is one missing and one extra member: with a rule for one of the two names only the
/// other is left.
fn found(comparison: &Comparison) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for difference in &comparison.differences {
        let path = difference.location.path.clone();
        if difference.kind == Kind::KeyRenamed {
            found.insert((path, Kind::KeyMissing.label().into_owned()));
            let renamed = difference.hint.clone().unwrap();
            found.insert((renamed, Kind::KeyExtra.label().into_owned()));
        } else {
            found.insert((path, difference.kind.label().into_owned()));
        }
    }
    found
}

/// A thousand cases each, or what `PROPTEST_CASES` asks for.
fn config() -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let config = ProptestConfig::default();
    if asked { config } else { ProptestConfig { cases: 1_000, ..config } }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn rules_only_take_differences_away(legacy in tree(false), new in tree(false), rules in rules()) {
        let without = values(&legacy, &new, &RuleSet::empty());
        let with = values(&legacy, &new, &RuleSet::empty().with(rules));
        // A difference inside an object that a rule does not hide stays where it was.
        prop_assert!(found(&with).is_subset(&found(&without)), "{} {}: {:?} {:?}", legacy, new, with, without);
        if with.verdict == Verdict::Match {
            prop_assert_eq!(without.verdict, Verdict::Match);
        }
        let hidden: u64 = with.hidden.iter().map(|hidden| hidden.count).sum();
        prop_assert_eq!(hidden == 0, found(&with) == found(&without));
    }

    #[test]
    fn rules_that_select_nothing_change_nothing(
        legacy in tree(true), new in tree(true), actions in prop::collection::vec(action(), 1..4),
    ) {
        let rules = actions.into_iter().map(|action| Rule::new("$..zzz.a", action, "test").unwrap());
        let with = values(&legacy, &new, &RuleSet::builtin().with(rules));
        prop_assert_eq!(with, values(&legacy, &new, &RuleSet::builtin()));
    }

    #[test]
    fn both_directions_agree_on_a_match(
        legacy in tree(true), new in tree(true), at in selector(), action in prop::sample::select(symmetric()),
    ) {
        let rules = RuleSet::builtin().with([Rule::new(&at, action, "test").unwrap()]);
        let (forth, back) = (values(&legacy, &new, &rules), values(&new, &legacy, &rules));
        prop_assert_eq!(forth.verdict.is_match(), back.verdict.is_match(), "{} {}", legacy, new);
    }

    #[test]
    fn the_shape_of_a_difference_is_a_selector_that_hides_it(legacy in tree(true), new in tree(true)) {
        let comparison = values(&legacy, &new, &RuleSet::builtin());
        for difference in comparison.differences.iter().take(3) {
            let rule = Rule::ignore(&difference.location.shape, "test").unwrap();
            let with = values(&legacy, &new, &RuleSet::builtin().with([rule]));
            let shapes: Vec<&str> = with.differences.iter().map(|d| d.location.shape.as_str()).collect();
            prop_assert!(!shapes.contains(&difference.location.shape.as_str()), "{} {}", legacy, new);
        }
    }

    #[test]
    fn undecided_stays_undecided(
        legacy in tree(true), new in tree(true), rules in rules(), nodes in 1u32..6, lenient in any::<bool>(),
    ) {
        let budget = Budget { nodes, ..Budget::default() };
        let (legacy, new) = (legacy.to_string(), new.to_string());
        let without = compared(legacy.as_bytes(), new.as_bytes(), &RuleSet::builtin(), &budget);
        let set = RuleSet::builtin().with(rules);
        let set = if lenient { set.with_pack(Pack::RailsJson) } else { set };
        let with = compared(legacy.as_bytes(), new.as_bytes(), &set, &budget);
        if matches!(without.verdict, Verdict::Inconclusive(_)) {
            prop_assert!(!with.verdict.is_match(), "{} {}", legacy, new);
        }
    }

    #[test]
    fn ignored_values_still_count_as_present_and_of_their_type(
        mut legacy in tree(false), name in "[a-c]", other in leaf(),
    ) {
        let Some(members) = legacy.as_object_mut() else { return Ok(()) };
        members.insert(name.clone(), json!("9f2c4f9e-27f3-4cc1-ae3f-0a4a9a9d21b7"));
        let rules = RuleSet::builtin().with([Rule::ignore_value("$..*", "noise").unwrap()]);
        let mut new = legacy.clone();
        new[&name] = json!("11111111-27f3-4cc1-ae3f-0a4a9a9d21b7");
        prop_assert!(values(&legacy, &new, &rules).verdict.is_match());
        new[&name] = other;
        prop_assert!(!values(&legacy, &new, &rules).verdict.is_match(), "{}", new);
        new.as_object_mut().unwrap().remove(&name);
        prop_assert!(!values(&legacy, &new, &rules).verdict.is_match());
    }

    #[test]
    fn any_bytes_under_any_rules_get_a_verdict(
        legacy in prop::collection::vec(any::<u8>(), 0..60),
        new in prop::collection::vec(any::<u8>(), 0..60),
        actions in prop::collection::vec(action(), 1..5),
        media in prop::sample::select(vec!["text/html", "text/plain", "image/png", "application/json"]),
    ) {
        let places = ["body:text", "body", "header:*-a", "header:x-a", "cookie:a", "$..*"];
        let rules = actions.iter().flat_map(|action| {
            places.iter().filter_map(|at| Rule::new(at, action.clone(), "test").ok())
        });
        let rules = RuleSet::builtin().with(rules);
        let headers = |own: &[u8]| -> Headers {
            vec![
                ("content-type".to_owned(), media.as_bytes().to_vec()),
                ("x-a".to_owned(), own.to_vec()),
                ("set-cookie".to_owned(), [b"a=", own].concat()),
            ]
        };
        let (a, b) = (headers(&legacy), headers(&new));
        let legacy = Obs { status: 200, headers: &a, body: &legacy };
        let new = Obs { status: 200, headers: &b, body: &new };
        let comparison = compare(&legacy, &new, &rules, &Budget::default());
        prop_assert_eq!(&comparison, &compare(&legacy, &new, &rules, &Budget::default()));
        prop_assert!(compare(&legacy, &legacy, &rules, &Budget::default()).verdict == Verdict::Match);
    }

    #[test]
    fn any_text_is_rules_or_problems_inside_it(
        text in prop_oneof![
            any::<String>(),
            r#"(\[\[rule\]\]\n)?((at|do|reason|abs|key|hosts|value|pattern|status|expires|é) = ("\$[.\[\]a?@*]{0,6}"|"[a-z_]{0,9}"|1|-2.5|true|\[\]|\{\}|2026-01-01|"\\u0041\(")\n){0,5}"#,
        ],
    ) {
        match rules_from_toml(&text) {
            Ok(rules) => {
                let written: String = rules.iter().map(Rule::to_toml).collect();
                prop_assert_eq!(rules_from_toml(&written), Ok(rules));
            }
            Err(problems) => {
                prop_assert!(!problems.is_empty());
                for problem in problems {
                    prop_assert!(text.get(problem.span.clone()).is_some(), "{problem:?}");
                    prop_assert!(problem.line >= 1 && problem.column >= 1);
                }
            }
        }
    }
}
