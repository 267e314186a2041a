//! Which rule comes first, what it must never be, and the numbers beside it.

use super::*;

type Headers = Vec<(String, Vec<u8>)>;

fn headers() -> Headers {
    vec![("content-type".to_owned(), b"application/json".to_vec())]
}

/// Suggestions for pairs of JSON texts.
fn suggested(pairs: &[(String, String)]) -> Vec<Suggestion> {
    suggested_with(pairs, &Protect::default())
}

fn suggested_with(pairs: &[(String, String)], protect: &Protect) -> Vec<Suggestion> {
    let headers = headers();
    let obs = |body: &'_ String| -> Vec<u8> { body.clone().into_bytes() };
    let bodies: Vec<(Vec<u8>, Vec<u8>)> = pairs.iter().map(|(a, b)| (obs(a), obs(b))).collect();
    let mismatches: Vec<Mismatch<'_>> = bodies
        .iter()
        .map(|(a, b)| Mismatch {
            legacy: Obs { status: 200, headers: &headers, body: a },
            new: Obs { status: 200, headers: &headers, body: b },
        })
        .collect();
    suggest(&mismatches, &RuleSet::builtin(), protect, &Budget::default())
}

fn one(legacy: &str, new: &str) -> Vec<(String, String)> {
    vec![(legacy.to_owned(), new.to_owned())]
}

/// The line of a rule that begins with a key.
fn value<'a>(suggestion: &'a Suggestion, key: &str) -> &'a str {
    let line = suggestion.rule.lines().find(|line| line.starts_with(&format!("{key} = ")));
    line.map_or("", |line| line.split_once(" = ").map_or("", |(_, value)| value))
}

#[test]
fn the_narrowest_rule_that_explains_is_first() {
    for (legacy, new, action, at) in [
        (
            r#"{"at":"2014/06/12 10:00:00 +0000"}"#,
            r#"{"at":"2014-06-12T10:00:00Z"}"#,
            "time",
            "$.at",
        ),
        (r#"{"a":12.345}"#, r#"{"a":12.3}"#, "tolerance", "$.a"),
        (r#"{"a":12.5}"#, r#"{"a":"12.50"}"#, "number_eq_string", "$.a"),
        (r#"{"a":"Ada"}"#, r#"{"a":"ada"}"#, "case", "$.a"),
        (r#"{"a":"x y"}"#, r#"{"a":"x y "}"#, "trim", "$.a"),
        (r#"{"a":null,"b":1}"#, r#"{"b":1}"#, "null_eq_missing", "$.a"),
        (r#"{"a":null}"#, r#"{"a":[]}"#, "null_eq_empty", "$.a"),
        (
            r#"{"a":"http://i.old.example/x"}"#,
            r#"{"a":"https://cdn.example/x"}"#,
            "url_host_map",
            "$.a",
        ),
        (
            r#"{"l":[{"id":1},{"id":2},{"id":3}]}"#,
            r#"{"l":[{"id":3},{"id":1},{"id":2}]}"#,
            "key",
            "$.l",
        ),
        (r#"{"l":["a","b","c"]}"#, r#"{"l":["c","a","b"]}"#, "multiset", "$.l"),
        (r#"{"user_id":17}"#, r#"{"user_id":4711}"#, "bijection", "$.user_id"),
        (r#"{"a":"Re: hello"}"#, r#"{"a":"hello"}"#, "regex_replace", "$.a"),
        (r#"{"a":"some text"}"#, r#"{"a":"other words"}"#, "ignore_value", "$.a"),
        (r#"{"b":1}"#, r#"{"a":2,"b":1}"#, "ignore", "$.a"),
        (r#"{"a":1,"b":1}"#, r#"{"b":1}"#, "expect", "$.a"),
    ] {
        let found = suggested(&one(legacy, new));
        let first = found.first().unwrap_or_else(|| panic!("nothing for {legacy} {new}"));
        assert_eq!(value(first, "do"), format!("\"{action}\""), "{legacy} {new}");
        assert_eq!(value(first, "at"), format!("\"{at}\""), "{legacy} {new}");
        assert_eq!((first.explains, first.of, first.residual), (1, 1, 0));
        assert!(crate::rules_from_toml(&first.rule).is_ok(), "{}", first.rule);
    }
}

#[test]
fn nothing_is_suggested_for_what_a_rule_must_not_hide() {
    for (legacy, new) in [
        (r#"{"l":[1,2,3]}"#, r#"{"l":[1,3]}"#),
        (r#"{"a":{"b":1}}"#, r#"{"a":[1]}"#),
        (r#"{"id":17,"b":"x"}"#, r#"{"id":"seventeen","b":"x"}"#),
    ] {
        assert_eq!(suggested(&one(legacy, new)), [], "{legacy} {new}");
    }
    let money = Protect::new(["$.price"]).unwrap();
    let pair = one(r#"{"price":12.345}"#, r#"{"price":12.3}"#);
    assert!(!suggested(&pair).is_empty() && suggested_with(&pair, &money).is_empty());
}

#[test]
fn the_numbers_say_what_is_explained_left_and_wrongly_hidden() {
    let mut pairs: Vec<(String, String)> = (0..40)
        .map(|n| {
            let legacy = format!(r#"{{"id":{n},"extra":null}}"#);
            (legacy.replace(r#","extra":null"#, ""), legacy.replace("null", "\"x\""))
        })
        .collect();
    // The same member of another type: a rule that ignores the member would hide it.
    pairs.extend(
        (0..3).map(|n| {
            (format!(r#"{{"id":{n},"extra":7}}"#), format!(r#"{{"id":{n},"extra":[{n}]}}"#))
        }),
    );
    let found = suggested(&pairs);
    assert_eq!(value(&found[0], "do"), "\"ignore\"");
    assert_eq!((found[0].explains, found[0].of, found[0].residual), (40, 40, 0));
    assert_eq!(found[0].hides_breaking, 3);
}

#[test]
fn one_rule_for_a_name_covers_several_places() {
    let pair = |n: u32| {
        let time = format!("2014/06/12 10:00:{:02} +0000", n % 60);
        let iso = format!("2014-06-12T10:00:{:02}Z", n % 60);
        let body = |at: &str| format!(r#"{{"id":{n},"at":"{at}","m":[{{"at":"{at}"}}]}}"#);
        (body(&time), body(&iso))
    };
    let found = suggested(&(0..10).map(pair).collect::<Vec<_>>());
    assert_eq!((value(&found[0], "at"), value(&found[0], "do")), ("\"$..at\"", "\"time\""));
    assert_eq!((found.len(), found[0].explains, found[0].causes.len()), (1, 20, 2));
}

#[test]
fn no_value_is_in_a_suggestion() {
    let pairs: Vec<(String, String)> = [
        (r#"{"a":"hunter2 secret"}"#, r#"{"a":"hunter2"}"#),
        (r#"{"hunter2@mail.example":1,"b":"x"}"#, r#"{"b":"x"}"#),
        (r#"{"a":"https://hunter2.example/x"}"#, r#"{"a":"hunter2"}"#),
        (r#"{"a":"https://user:hunter2@a.example/x"}"#, r#"{"a":"https://b.example/x"}"#),
        (r#"{"a":"hunter2"}"#, r#"{"a":"HUNTER2"}"#),
        (r#"{"a":4711471147114711}"#, r#"{"a":null}"#),
    ]
    .map(|(a, b)| (a.to_owned(), b.to_owned()))
    .to_vec();
    let text = format!("{:?}", suggested(&pairs));
    for secret in ["hunter2", "HUNTER2", "4711"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn the_order_of_tallies_does_not_matter() {
    let tally = |shape: &str, rule: &str, explained: u64, seen: u64| Tally {
        cause: Cause { shape: shape.to_owned(), kind: "k".to_owned(), transition: "t".to_owned() },
        rule: format!("[[rule]]\nat = \"{shape}\"\ndo = \"{rule}\"\nreason = \"r\"\n"),
        explained,
        seen,
        hides_breaking: 0,
    };
    let mut tallies = vec![
        tally("$.a", "ignore_value", 100, 100),
        tally("$.a", "case", 95, 100),
        tally("$.b", "trim", 10, 10),
        tally("$.c", "trim", 1, 10),
    ];
    let forth = cover(&tallies);
    tallies.reverse();
    assert_eq!(forth, cover(&tallies));
    let shown: Vec<(&str, u64, u64)> =
        forth.iter().map(|s| (value(s, "do"), s.explains, s.residual)).collect();
    assert_eq!(shown, [("\"case\"", 95, 5), ("\"trim\"", 10, 0)], "narrow first, weak ones never");
}
