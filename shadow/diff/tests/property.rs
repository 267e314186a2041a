//! Promises over generated answers: total, symmetric, and a planted change is found exactly.

use std::collections::BTreeMap;

use banyan_diff::{Budget, Comparison, Kind, Obs, Rule, RuleSet, Verdict, check_json, compare};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, Value, json};

type Headers = Vec<(String, Vec<u8>)>;

fn compared(legacy: &[u8], new: &[u8]) -> Comparison {
    let headers: Headers = vec![("content-type".to_owned(), b"application/json".to_vec())];
    let answer = |body| Obs { status: 200, headers: &headers, body };
    compare(&answer(legacy), &answer(new), &RuleSet::builtin(), &Budget::default())
}

fn compared_values(legacy: &Value, new: &Value) -> Comparison {
    compared(legacy.to_string().as_bytes(), new.to_string().as_bytes())
}

/// Documents of which no two scalars are equal, so that a planted change has one explanation only.
fn document() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![Just(json!(0)), Just(json!("s")), Just(json!("2014/06/12 10:00:00 +0000"))];
    let tree = leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..5).prop_map(Value::Array),
            prop::collection::btree_map("[a-f][a-z/~' é]{0,3}", inner, 1..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    });
    tree.prop_map(|mut value| {
        number_leaves(&mut value, &mut 0);
        json!({ "root": value, "other": ["x", "y"] })
    })
}

fn number_leaves(value: &mut Value, next: &mut u32) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| number_leaves(item, next)),
        Value::Object(members) => members.values_mut().for_each(|item| number_leaves(item, next)),
        Value::Number(_) => {
            *next += 1;
            *value = json!(*next);
        }
        Value::String(text) => {
            *next += 1;
            *value = json!(format!("{text}{next}"));
        }
        Value::Null | Value::Bool(_) => {}
    }
}

fn pointers(value: &Value, at: &str, out: &mut Vec<String>) {
    let escaped = |name: &str| name.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                out.push(format!("{at}/{index}"));
                pointers(item, &format!("{at}/{index}"), out);
            }
        }
        Value::Object(members) => {
            for (name, item) in members {
                let at = format!("{at}/{}", escaped(name));
                out.push(at.clone());
                pointers(item, &at, out);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[derive(Debug, Clone, Copy)]
enum Plant {
    Change,
    Type,
    Remove,
    Insert,
    Rotate,
}

/// Plants one change; what must be reported, or `None` where the plant does not fit the place.
fn plant(value: &mut Value, at: &str, plant: Plant) -> Option<(String, &'static str)> {
    let (parent, name) = at.rsplit_once('/')?;
    let name = name.replace("~1", "/").replace("~0", "~");
    let found = |kind| Some((at.to_owned(), kind));
    match plant {
        Plant::Change => match value.pointer_mut(at)? {
            Value::Number(number) => {
                *number = 1_000_000.into();
                found("value_changed:number")
            }
            Value::String(text) => {
                "something else".clone_into(text);
                found("value_changed:string")
            }
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        },
        Plant::Type => {
            *value.pointer_mut(at)? = json!(true);
            found("type_changed")
        }
        Plant::Remove => match value.pointer_mut(parent)? {
            Value::Array(items) => {
                items.remove(name.parse::<usize>().ok()?);
                found("elem_missing")
            }
            Value::Object(members) => {
                members.shift_remove(&name)?;
                found("key_missing")
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        },
        Plant::Insert => match value.pointer_mut(at)? {
            Value::Array(items) => {
                items.insert(0, json!("planted"));
                Some((format!("{at}/0"), "elem_extra"))
            }
            Value::Object(members) => {
                members.insert("planted".to_owned(), json!(1));
                Some((format!("{at}/planted"), "key_extra"))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        },
        Plant::Rotate => match value.pointer_mut(at)? {
            Value::Array(items) if items.len() > 1 => {
                items.rotate_left(1);
                found("array_reordered")
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => None,
        },
    }
}

fn mirrored(kind: Kind) -> Kind {
    let swaps = [(Kind::KeyMissing, Kind::KeyExtra), (Kind::ElemMissing, Kind::ElemExtra)];
    let found = swaps.iter().find(|(missing, extra)| kind == *missing || kind == *extra);
    found.map_or(kind, |(missing, extra)| if kind == *missing { *extra } else { *missing })
}

fn tally(comparison: &Comparison, kind: fn(Kind) -> Kind) -> BTreeMap<(String, Kind), usize> {
    let mut tally = BTreeMap::new();
    for difference in &comparison.differences {
        // What was renamed or moved has two places; which of them is the hint depends on the side.
        let mut places = vec![difference.location.shape.clone()];
        places.extend(difference.hint.clone());
        places.sort_unstable();
        *tally.entry((places.join(" "), kind(difference.kind))).or_default() += 1;
    }
    tally
}

/// Small documents with many equal parts: hard for alignment.
fn muddle() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..4).prop_map(Value::from),
        "[a-b]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::btree_map("id|name|[a-c]", inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn header_list() -> impl Strategy<Value = Headers> {
    let name = prop_oneof![
        Just("content-type".to_owned()),
        Just("content-encoding".to_owned()),
        Just("set-cookie".to_owned()),
        Just("etag".to_owned()),
        Just("vary".to_owned()),
        "[a-z-]{0,8}",
    ];
    let value = prop_oneof![
        Just(b"application/json".to_vec()),
        Just(b"text/html; charset=x".to_vec()),
        Just(b"gzip".to_vec()),
        Just(b"deflate".to_vec()),
        Just(b"a=b; Path=/; ;=".to_vec()),
        prop::collection::vec(any::<u8>(), 0..20),
    ];
    prop::collection::vec((name, value), 0..6)
}

fn any_body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        r#"[\[\]{},:"\\a0-9.eE \n-]{0,40}"#.prop_map(String::into_bytes),
        muddle().prop_map(|value| value.to_string().into_bytes()),
        // Valid JSON with one byte overwritten.
        (muddle(), any::<Index>(), any::<u8>()).prop_map(|(value, at, byte)| {
            let mut text = value.to_string().into_bytes();
            let at = at.index(text.len());
            text[at] = byte;
            text
        }),
    ]
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
    fn any_two_answers_get_a_verdict(
        (status_a, status_b) in (prop_oneof![Just(200), Just(302), any::<u16>()], prop_oneof![Just(200), any::<u16>()]),
        (headers_a, headers_b) in (header_list(), header_list()),
        (body_a, body_b) in (any_body(), any_body()),
        steps in prop_oneof![Just(20_000_000u64), 0u64..200],
    ) {
        let a = Obs { status: status_a, headers: &headers_a, body: &body_a };
        let b = Obs { status: status_b, headers: &headers_b, body: &body_b };
        let rules = RuleSet::builtin().with([Rule::ignore("$..a", "test").unwrap()]);
        let budget = Budget { steps, ..Budget::default() };
        let comparison = compare(&a, &b, &rules, &budget);
        prop_assert_eq!(comparison.total_differences, comparison.differences.len() as u64);
        if comparison.verdict == Verdict::Match {
            prop_assert!(comparison.differences.is_empty() && comparison.hidden.is_empty());
        }
        prop_assert_eq!(&comparison, &compare(&a, &b, &rules, &budget));
        let back = compare(&b, &a, &rules, &budget).verdict.is_match();
        prop_assert_eq!(comparison.verdict.is_match(), back);
        let own = compare(&a, &a, &rules, &budget).verdict;
        prop_assert_eq!(own, if status_a >= 500 { Verdict::BothError } else { Verdict::Match });
    }

    #[test]
    fn planted_change_is_found_exactly(
        legacy in document(),
        at in any::<Index>(),
        change in prop_oneof![
            Just(Plant::Change), Just(Plant::Type), Just(Plant::Remove), Just(Plant::Insert), Just(Plant::Rotate),
        ],
    ) {
        let mut places = Vec::new();
        pointers(&legacy, "", &mut places);
        let at = &places[at.index(places.len())];
        let mut new = legacy.clone();
        let Some((pointer, kind)) = plant(&mut new, at, change) else { return Ok(()) };
        let comparison = compared_values(&legacy, &new);
        let found: Vec<_> = comparison.differences.iter().map(|d| (d.location.pointer.clone(), d.kind.label())).collect();
        prop_assert_eq!(found, vec![(pointer, kind.into())], "{} {}", legacy, new);
    }

    #[test]
    fn swapping_the_sides_swaps_missing_and_extra(legacy in muddle(), new in muddle()) {
        let (forth, back) = (compared_values(&legacy, &new), compared_values(&new, &legacy));
        prop_assert_eq!(tally(&forth, |kind| kind), tally(&back, mirrored), "{} {}", legacy, new);
    }

    #[test]
    fn different_values_never_match_and_equal_ones_always_do(legacy in muddle(), new in muddle()) {
        let comparison = compared_values(&legacy, &new);
        prop_assert_eq!(comparison.verdict.is_match(), legacy == new, "{} {}", legacy, new);
        let pretty = serde_json::to_string_pretty(&legacy).unwrap();
        let reordered = reverse_members(&legacy).to_string();
        prop_assert!(compared(pretty.as_bytes(), reordered.as_bytes()).verdict.is_match());
    }

    #[test]
    fn shuffled_list_with_edits_is_one_reorder_and_the_edits(
        order in Just((0..30u32).collect::<Vec<_>>()).prop_shuffle(),
        edited in prop::collection::btree_set(0..30u32, 0..5),
        key in prop_oneof![Just("id"), Just("uuid"), Just("permalink")],
    ) {
        let element = |id: &u32, edit: bool| json!({ "kind": "m", key: format!("k{id}"), "body": i32::from(edit) });
        let legacy: Vec<Value> = (0..30).map(|id| element(&id, false)).collect();
        let new: Vec<Value> = order.iter().map(|id| element(id, edited.contains(id))).collect();
        let comparison = compared_values(&json!(legacy), &json!(new));
        let mut expected: Vec<String> = edited.iter().map(|id| format!("$[?@.{key}=='k{id}'].body")).collect();
        if !order.is_sorted() {
            expected.insert(0, "$".to_owned());
        }
        let found: Vec<_> = comparison.differences.iter().map(|d| d.location.path.clone()).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn shuffled_list_without_identity_is_one_reorder(
        order in Just((0..40u32).map(|n| n % 25).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let legacy: Vec<u32> = (0..40).map(|n| n % 25).collect();
        let comparison = compared_values(&json!(legacy), &json!(order));
        let kinds: Vec<_> = comparison.differences.iter().map(|d| d.kind.label()).collect();
        prop_assert_eq!(kinds, if order == legacy { vec![] } else { vec!["array_reordered"] });
    }

    #[test]
    fn any_selector_is_a_rule_or_an_error_inside_it(text in r#"(header:|cookie:|\$|/)?[$.\[\]*a-z0-9'"\\?-]{0,16}"#) {
        if let Err(error) = Rule::ignore(&text, "test") {
            prop_assert!(error.at + error.len <= text.len());
            prop_assert!(text.get(error.at..error.at + error.len).is_some());
        }
    }
}

fn reverse_members(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(reverse_members).collect(),
        Value::Object(members) => {
            let reversed =
                members.iter().rev().map(|(name, item)| (name.clone(), reverse_members(item)));
            Value::Object(reversed.collect::<Map<_, _>>())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[test]
fn attacks_end_quickly_and_never_match() {
    let many = |text: &str, count: usize| text.repeat(count);
    for (name, legacy, new) in [
        ("open brackets", many("[", 1_000_000), many("[", 999_999)),
        ("digits", format!("[{}]", many("9", 1_000_000)), format!("[{}8]", many("9", 999_999))),
        ("exponents", format!("[1e{}]", many("9", 100_000)), format!("[1e{}]", many("9", 99_999))),
        ("zeros", format!("[{}1]", many("0,", 200_000)), format!("[1{}]", many(",0", 200_000))),
        (
            "escapes",
            format!("\"{}\"", many("\\u0041", 100_000)),
            format!("\"{}B\"", many("A", 99_999)),
        ),
        (
            "names",
            format!("{{{}\"b\":1}}", many("\"a\":1,", 100_000)),
            format!("{{{}\"b\":2}}", many("\"a\":1,", 100_000)),
        ),
        ("lines", many("a\nb\n", 50_000), many("b\na\n", 50_000)),
    ] {
        let comparison = compared(legacy.as_bytes(), new.as_bytes());
        assert!(!comparison.verdict.is_match(), "{name}");
    }
    assert!(check_json(many("{\"a\":", 100_000).as_bytes()).is_err());
}
