use proptest::prelude::*;

use super::*;
use crate::json::{Limits, parse, parse_beside};

const LIMITS: Limits = Limits { nodes: 100_000 };

/// Parses `text` beside `other` and alone, and proves that nothing tells them apart.
fn same_as_alone(other: &str, text: &str) {
    let Ok(guide) = parse(other.as_bytes(), LIMITS) else { return };
    let beside = parse_beside(text.as_bytes(), LIMITS, &guide);
    match (beside, parse(text.as_bytes(), LIMITS)) {
        (Ok(a), Ok(b)) => {
            assert_eq!(a.nodes, b.nodes, "{other}\n{text}");
            assert_eq!(a.decoded, b.decoded, "{other}\n{text}");
        }
        (Err(a), Err(b)) => assert_eq!(a, b, "{other}\n{text}"),
        (a, b) => panic!("{other}\n{text}\n{a:?}\n{b:?}"),
    }
}

#[test]
fn numbers_that_go_on_are_not_taken_for_shorter_ones() {
    for (other, text) in [
        ("[1,2]", "[12,2]"),
        ("[1]", "[1.5]"),
        ("[1]", "[1e5]"),
        ("{\"a\":1}", "{\"a\":1e+5}"),
        ("1", "12"),
        ("[1,2]", "[1-,2]"),
    ] {
        same_as_alone(other, text);
    }
}

#[test]
fn repeated_names_and_escapes_are_kept() {
    for (other, text) in [
        (r#"{"a":1,"a":[2]}"#, r#"{"a":[2],"a":1}"#),
        (r#"{"\u0061":["\u0062x"],"c":"\n"}"#, r#"{"\u0061":["\u0062x"],"c":"\n","d":1}"#),
        (r#"{"a":["\ud800",{"b":"\t"}]}"#, r#"{"z":"\r","a":["\ud800",{"b":"\t"}]}"#),
    ] {
        same_as_alone(other, text);
    }
}

#[test]
fn common_prefix_is_exact_around_its_steps() {
    for len in [0, 1, 63, 64, 65, 127, 128, 200] {
        let a = vec![b'x'; len];
        assert_eq!(common_prefix(&a, &a), len);
        for at in 0..len {
            let mut b = a.clone();
            b[at] = b'y';
            assert_eq!(common_prefix(&a, &b), at);
        }
    }
}

/// Elements that are alike at their beginning cost many looks in vain; the guide gives up.
#[test]
fn looks_in_vain_are_bounded() {
    let long = "x".repeat(5_000);
    let list = |last: char| {
        let all: Vec<String> = (0..200).map(|n| format!("{{\"a\":\"{long}{n}{last}\"}}")).collect();
        format!("[{}]", all.join(","))
    };
    let (other, text) = (list('a'), list('b'));
    let guide = parse(other.as_bytes(), LIMITS).unwrap();
    let mut own = Guide::new(&guide, text.len());
    let before = own.spare;
    assert!(!own.same(text.as_bytes(), 1, 1, text.len() - 2, true));
    assert_eq!(before - own.spare, 5_007);
    same_as_alone(&other, &text);
}

/// JSON-like text: mostly valid, sometimes not.
fn json() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        "-?[0-9]{1,20}",
        "[0-9]{1,3}(\\.[0-9]{1,3})?(e[0-9])?",
        Just("null".to_owned()),
        Just("true".to_owned()),
        "\"[a-c]{0,4}\"",
        "\"(a|\\\\u0061|\\\\n|\\\\ud800|é){0,3}\"",
        Just("01".to_owned()),
    ];
    scalar.prop_recursive(4, 40, 6, |inner| {
        let space = || prop_oneof![4 => Just(""), 1 => Just(" ")];
        prop_oneof![
            (prop::collection::vec(inner.clone(), 0..6), space())
                .prop_map(|(all, space)| format!("[{space}{}]", all.join(&format!(",{space}")))),
            (prop::collection::vec(("(a|b|c|\\\\u0061|dd)", inner), 0..6), space()).prop_map(
                |(all, space)| {
                    let all = all.iter().map(|(key, value)| format!("\"{key}\":{space}{value}"));
                    format!("{{{}}}", all.collect::<Vec<_>>().join(","))
                }
            ),
        ]
    })
}

proptest! {
    #[test]
    fn any_two_texts_parse_beside_each_other_as_alone(a in json(), b in json()) {
        same_as_alone(&a, &b);
    }

    #[test]
    fn an_edited_text_parses_as_alone(
        a in json(),
        at in any::<prop::sample::Index>(),
        len in 0usize..6,
        put in prop_oneof![Just(""), Just("1"), Just(","), Just("\"a\""), Just("[]"), Just("\\"), Just(" "), Just("{\"a\":1},")],
    ) {
        let places: Vec<usize> = a.char_indices().map(|(at, _)| at).chain([a.len()]).collect();
        let from = *at.get(&places);
        let to = *places.iter().find(|place| **place >= from + len).unwrap_or(&a.len());
        let b = format!("{}{put}{}", a.get(..from).unwrap(), a.get(to..).unwrap());
        same_as_alone(&a, &b);
        same_as_alone(&b, &a);
    }
}
