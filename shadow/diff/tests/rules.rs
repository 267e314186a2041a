//! What each action allows and what it does not.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use banyan_diff::{
    Action, BijectionRule, Bijections, Budget, Comparison, Expected, HostPair, KeyRule, Normaliser,
    Obs, Order, Pack, Replacement, Rule, RuleSet, Scope, TimeFormat, TimeRule, Tolerance, Types,
    Verdict, compare, compare_with,
};

type Headers = Vec<(String, Vec<u8>)>;

fn headers(lines: &[(&str, &str)]) -> Headers {
    lines.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
}

fn rule(at: &str, action: Action) -> Rule {
    Rule::new(at, action, "test").unwrap()
}

fn json(legacy: &str, new: &str, rules: &RuleSet) -> Comparison {
    let headers = headers(&[("content-type", "application/json")]);
    let legacy = Obs { status: 200, headers: &headers, body: legacy.as_bytes() };
    let new = Obs { status: 200, headers: &headers, body: new.as_bytes() };
    compare(&legacy, &new, rules, &Budget::default())
}

/// Each difference as `kind path`, or `hidden`.
fn outcome(comparison: &Comparison) -> String {
    let line = |d: &banyan_diff::Difference| format!("{} {}", d.kind.label(), d.location.path);
    let lines: Vec<String> = comparison.differences.iter().map(line).collect();
    match (lines.is_empty(), comparison.hidden.iter().any(|hidden| hidden.rule == "mine")) {
        (true, true) => "hidden".to_owned(),
        (true, false) => "match".to_owned(),
        (false, _) => lines.join(", "),
    }
}

fn with(at: &str, action: Action, legacy: &str, new: &str) -> String {
    let rules = RuleSet::builtin().with([rule(at, action).named("mine")]);
    outcome(&json(legacy, new, &rules))
}

/// One value at `$.a` under an action.
fn value(action: Action, legacy: &str, new: &str) -> String {
    let text = |value: &str| format!(r#"{{"a":{value},"b":1}}"#);
    let forth = with("$.a", action, &text(legacy), &text(new));
    if forth == "hidden" { forth } else { forth.replace(" $.a", "") }
}

#[test]
fn ignored_values_in_a_set_are_matched_with_values_of_their_class() {
    let set = |legacy: &str, new: &str| {
        let rules = [rule("$", Action::Set), rule("$[*]", Action::IgnoreValue).named("mine")];
        outcome(&json(legacy, new, &RuleSet::builtin().with(rules)))
    };
    assert_eq!(set(r#"["vinyl",238.26,false]"#, r#"[9.5,true,"sound"]"#), "hidden");
    assert_eq!(
        set(r#"[null,"2014-06-12T10:00:00Z",1]"#, r#"[7,"2015-06-12T10:00:00Z",null]"#),
        "hidden"
    );
    assert_ne!(set(r#"["vinyl",238.26,false]"#, r"[9.5,true,null]"), "hidden");
}

#[test]
fn ignore_value_keeps_presence_type_and_class() {
    let uuid = |n: u8| format!("\"9f2c4f9e-27f3-4cc1-ae3f-0a4a9a9d21b{n}\"");
    let long = format!("\"{}\"", "x".repeat(100));
    let at = |action: Action, legacy: &str, new: &str| value(action, legacy, new);
    for (legacy, new) in [
        (uuid(1).as_str(), uuid(2).as_str()),
        ("1", "2"),
        ("1.5", "2.5"),
        ("1.5", "2.0"),
        ("71", "4321.0"),
        ("71", "43210e-1"),
        ("1402567200", "1402567201.0"),
        ("true", "false"),
        ("\"abc\"", "\"abcdef\""),
        ("1402567200", "1402567201"),
        ("999999999", "1402567201"),
        ("\"2014-06-12T10:00:00Z\"", "\"2015-06-12T10:00:00Z\""),
        ("\"https://a.example/x\"", "\"https://b.example/y/z\""),
        ("\"deadbeef\"", "\"x9dk3f0z\""),
        ("{\"x\":1}", "{\"y\":2}"),
        ("[1,2]", "[3,4]"),
    ] {
        assert_eq!(at(Action::IgnoreValue, legacy, new), "hidden", "{legacy} {new}");
        assert_eq!(at(Action::IgnoreValue, new, legacy), "hidden", "{new} {legacy}");
    }
    for (legacy, new) in [
        (uuid(1).as_str(), "null"),
        (uuid(1).as_str(), "\"\""),
        (uuid(1).as_str(), "\"9f2c4f9e\""),
        ("1", "1.5"),
        ("1", "\"1\""),
        ("1402567200", "0"),
        ("1402567200", "1402567200000"),
        ("\"abc\"", "\"\""),
        ("\"abc\"", long.as_str()),
        ("\"2014-06-12T10:00:00Z\"", "\"2014/06/12 10:00:00 +0000\""),
        ("\"2014-06-12T10:00:00Z\"", "\"yesterday, about ten\""),
        ("\"https://a.example/x\"", "\"/x\""),
        ("[1,2]", "[3]"),
        ("[1,2]", "[]"),
        ("{}", "[]"),
    ] {
        assert_ne!(at(Action::IgnoreValue, legacy, new), "hidden", "{legacy} {new}");
        assert_ne!(at(Action::IgnoreValue, new, legacy), "hidden", "{new} {legacy}");
    }
    assert_eq!(with("$.a", Action::IgnoreValue, r#"{"a":1}"#, "{}"), "key_missing $.a");
    assert_eq!(with("$[*]", Action::IgnoreValue, "[1,2]", "[1]"), "elem_missing $[1]");
    assert_eq!(with("$.a", Action::Ignore, r#"{"a":1}"#, "{}"), "hidden");
}

#[test]
fn numbers_may_be_near_each_other_exactly() {
    let near = |abs: Option<f64>, rel: Option<f64>, decimals: Option<u8>| {
        Action::Tolerance(Tolerance { abs, rel, decimals })
    };
    let shown = "value_changed:number";
    for (action, legacy, new, expected) in [
        (near(Some(0.01), None, None), "12.50", "12.51", "hidden"),
        (near(Some(0.01), None, None), "12.50", "12.5100001", shown),
        (
            near(Some(0.01), None, None),
            "9007199254740993",
            "9007199254740992",
            "value_changed:number_precision",
        ),
        (near(None, Some(0.1), None), "100", "90", "hidden"),
        (near(None, Some(0.1), None), "100", "89", shown),
        (near(None, None, Some(2)), "12.344", "12.3401", "hidden"),
        (near(None, None, Some(2)), "12.344", "12.346", shown),
        (near(Some(1.0), None, None), "1", "\"1\"", "scalar_as_string"),
        (near(Some(1.0), None, None), "1", "null", "type_changed"),
        (near(Some(1e308), None, None), "1e400", "1", shown),
    ] {
        assert_eq!(value(action.clone(), legacy, new), expected, "{action} {legacy} {new}");
        assert_eq!(value(action.clone(), new, legacy), expected, "{action} {new} {legacy}");
    }
}

#[test]
fn times_are_one_instant_in_allowed_forms() {
    use TimeFormat::{EpochMillis, EpochSeconds, Iso8601, Rails};
    let time = |slack_ms, formats: &[TimeFormat]| {
        Action::Time(TimeRule { slack_ms, formats: formats.to_vec() })
    };
    let (iso, rails) = ("\"2014-06-12T10:00:00.000Z\"", "\"2014/06/12 10:00:00 +0000\"");
    for (action, legacy, new, expected) in [
        (time(0, &[]), rails, iso, "hidden"),
        (time(0, &[]), rails, "\"2014-06-12T10:00:00.001Z\"", "value_changed:time_instant"),
        (time(0, &[]), rails, "\"2014-06-12T10:00:00.000000001Z\"", "value_changed:time_instant"),
        (time(999, &[]), rails, "\"2014-06-12T10:00:00.999Z\"", "hidden"),
        (time(999, &[]), rails, "\"2014-06-12T10:00:01Z\"", "value_changed:time_instant"),
        (time(0, &[Iso8601]), rails, iso, "value_changed:time_format"),
        (time(0, &[Iso8601, Rails]), rails, iso, "hidden"),
        (time(0, &[]), "1402567200", iso, "type_changed"),
        (time(0, &[Iso8601, EpochSeconds]), "1402567200", iso, "hidden"),
        (time(0, &[EpochMillis, EpochSeconds]), "1402567200", "1402567200000", "hidden"),
        (time(0, &[]), "1402567200", "1402567299", "value_changed:number"),
        (time(0, &[]), "\"a\"", "\"b\"", "value_changed:string"),
        (time(0, &[]), iso, "null", "type_changed"),
    ] {
        assert_eq!(value(action.clone(), legacy, new), expected, "{action:?} {legacy} {new}");
    }
}

#[test]
fn nulls_numbers_and_texts_are_one_only_as_the_action_says() {
    let exact = Action::NumberEqString { decimals: None };
    let cents = Action::NumberEqString { decimals: Some(2) };
    for (action, legacy, new, expected) in [
        (exact.clone(), "\"12.50\"", "12.5", "hidden"),
        (exact.clone(), "\"12.50\"", "\"12.5\"", "hidden"),
        (exact.clone(), "\"12.50\"", "12.51", "type_changed"),
        (exact.clone(), "12.50", "12.51", "value_changed:number"),
        (exact, "\"x\"", "12.5", "type_changed"),
        (cents.clone(), "\"12.504\"", "12.5", "hidden"),
        (cents, "12.504", "12.506", "value_changed:number"),
        (Action::NullEqEmpty, "null", "\"\"", "hidden"),
        (Action::NullEqEmpty, "[]", "null", "hidden"),
        (Action::NullEqEmpty, "null", "[1]", "type_changed"),
        (Action::NullEqEmpty, "\"\"", "[]", "type_changed"),
        (Action::Case, "\"Ada\"", "\"aDA\"", "hidden"),
        (Action::Case, "\"Ada\"", "\"Bob\"", "value_changed:string"),
        (Action::Trim, "\" a b\\n\"", "\"a b\"", "hidden"),
        (Action::Trim, "\"a b\"", "\"a  b\"", "value_changed:whitespace"),
        (Action::Normaliser(Normaliser::Whitespace), "\"a b\"", "\"a  b\"", "hidden"),
    ] {
        assert_eq!(value(action.clone(), legacy, new), expected, "{action} {legacy} {new}");
    }
    let (null, none) = (r#"{"a":null,"b":[{"c":null}]}"#, r#"{"b":[{}]}"#);
    assert_eq!(with("$..*", Action::NullEqMissing, null, none), "hidden");
    assert_eq!(with("$..*", Action::NullEqMissing, none, null), "hidden");
    assert_eq!(with("$.a", Action::NullEqMissing, r#"{"a":0}"#, "{}"), "key_missing $.a");
    assert_eq!(
        with("$.a", Action::NullEqMissing, r#"{"a":0}"#, r#"{"a":null}"#),
        "type_changed $.a"
    );
}

#[test]
fn urls_and_patterns_are_one_way_or_mapped() {
    let pair = HostPair {
        legacy: "http://api.old.example:3000".to_owned(),
        new: "https://api.new.example".to_owned(),
    };
    let hosts = Action::UrlHostMap(vec![pair]);
    let (old, new) = ("\"http://API.old.example:3000/x?y#z\"", "\"https://api.new.example/x?y#z\"");
    assert_eq!(value(hosts.clone(), old, new), "hidden");
    assert_eq!(value(hosts.clone(), new, old), "value_changed:url_host");
    assert_eq!(
        value(hosts.clone(), "\"http://api.old.example:3000\"", "\"https://api.new.example/\""),
        "hidden"
    );
    assert_eq!(
        value(hosts.clone(), old, "\"https://api.new.example/x?y#q\""),
        "value_changed:string"
    );
    assert_eq!(
        value(hosts.clone(), old, "\"https://api.new.example.evil.example/x?y#z\""),
        "value_changed:url_host"
    );
    let list = |host: &str| format!(r#"[{{"uri":"{host}/1","n":1}},{{"uri":"{host}/2","n":2}}]"#);
    let (a, b) = (list("http://api.old.example:3000"), list("https://api.new.example"));
    let b = b.replace("\"n\":2", "\"n\":3");
    let found = with("$[*].uri", hosts, &a, &b);
    assert_eq!(found, "value_changed:number $[?@.uri=='http://api.old.example:3000/2'].n");

    let regex =
        |pattern: &str, with: &str| Action::RegexReplace(Replacement::new(pattern, with).unwrap());
    assert_eq!(value(regex(r"\?v=\d+$", ""), "\"/a?v=1\"", "\"/a?v=22\""), "hidden");
    assert_eq!(
        value(regex("([a-z]+)-[0-9]+", "$1"), "\"ab-1\"", "\"ac-1\""),
        "value_changed:string"
    );
    assert!(Replacement::new("(", "").is_err());
    assert!(Replacement::new(r"\w{1000}{1000}", "").unwrap_err().contains("too big"));
}

#[test]
fn arrays_are_aligned_as_the_rule_says() {
    let key = |names: &[&str], order| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Action::Key(KeyRule { names, order })
    };
    for (action, legacy, new, expected) in [
        (Action::Multiset, "[1,2,2,3]", "[3,2,1,2]", "hidden"),
        (Action::Multiset, "[1,2,2]", "[2,1]", "elem_missing $[2]"),
        (Action::Set, "[1,2,2]", "[2,1]", "hidden"),
        (Action::Set, "[1,2]", "[2,2,1,1]", "hidden"),
        (Action::Set, "[1,2]", "[2,3,1]", "elem_extra $[1]"),
        (
            Action::Ordered,
            "[1,2,3]",
            "[2,3,4]",
            "value_changed:number $[0], value_changed:number $[1], value_changed:number $[2]",
        ),
        (
            key(&["code"], Order::Counts),
            r#"[{"code":"x","v":1},{"code":"y","v":2}]"#,
            r#"[{"code":"y","v":2},{"code":"x","v":3}]"#,
            "array_reordered $, value_changed:number $[?@.code=='x'].v",
        ),
        (
            key(&["code"], Order::Free),
            r#"[{"code":"x","v":1},{"code":"y","v":2}]"#,
            r#"[{"code":"y","v":2},{"code":"x","v":1}]"#,
            "hidden",
        ),
        (
            key(&["a", "b"], Order::Free),
            r#"[{"a":1,"b":1,"v":1},{"a":1,"b":2,"v":2}]"#,
            r#"[{"a":1,"b":2,"v":2},{"a":1,"b":1,"v":9}]"#,
            "value_changed:number $[0].v",
        ),
        (key(&["a"], Order::Free), r#"[{"a":1},{"a":1}]"#, r#"[{"a":1}]"#, "elem_missing $[1]"),
    ] {
        let found = with("$", action.clone(), legacy, new);
        assert_eq!(found, expected, "{action} {legacy} {new}");
    }
}

#[test]
fn expected_value_of_new_explains_a_defect_of_legacy_and_nothing_else() {
    let expect = |expected: Expected| Action::Expect(expected);
    let text = |text: &str| expect(Expected::Text(text.to_owned()));
    for (action, legacy, new, expected) in [
        (text("open"), "\"opne\"", "\"open\"", "hidden"),
        (text("open"), "\"opne\"", "\"closed\"", "value_changed:string"),
        (expect(Expected::Number("1".to_owned())), "0", "1.0", "hidden"),
        (expect(Expected::Null), "0", "null", "hidden"),
        (expect(Expected::Bool(true)), "0", "true", "hidden"),
        (expect(Expected::Bool(true)), "0", "false", "type_changed"),
        (expect(Expected::Rails3Emoji), "\"hi \u{f600}\"", "\"hi \u{1f600}\"", "hidden"),
        (expect(Expected::Rails3Emoji), r#""\ud83d""#, "\"\u{1d83d}\"", "hidden"),
        (
            expect(Expected::Rails3Emoji),
            "\"hi \u{f601}\"",
            "\"hi \u{1f600}\"",
            "value_changed:string",
        ),
        (
            expect(Expected::Rails3Emoji),
            "\"hi \u{1f600}\"",
            "\"hi \u{f600}\"",
            "value_changed:string",
        ),
        (expect(Expected::Rails3Emoji), "\"hi ?\"", "\"hi\"", "value_changed:string"),
    ] {
        assert_eq!(value(action.clone(), legacy, new), expected, "{action} {legacy} {new}");
    }
    let absent = expect(Expected::Absent);
    assert_eq!(with("$.a", absent.clone(), r#"{"a":1}"#, "{}"), "hidden");
    assert_eq!(with("$.a", absent.clone(), "{}", r#"{"a":1}"#), "key_extra $.a");
    assert_eq!(with("$.a", absent, r#"{"a":1}"#, r#"{"a":2}"#), "value_changed:number $.a");
    assert_eq!(with("$.a", text("x"), "{}", r#"{"a":"x"}"#), "hidden");
}

fn renaming(at: &str, domain: &str, types: Types) -> Rule {
    rule(at, Action::Bijection(BijectionRule { domain: domain.to_owned(), types })).named("mine")
}

#[test]
fn ids_may_be_renamed_consistently_within_an_answer() {
    let rules = RuleSet::builtin().with([
        renaming("$[*].user", "user", Types::Same),
        renaming("$[*].author", "user", Types::Same),
        renaming("$[*].track", "track", Types::Any),
    ]);
    let found = |legacy: &str, new: &str| outcome(&json(legacy, new, &rules));
    let legacy = r#"[{"user":1,"author":2},{"user":2,"author":1}]"#;
    assert_eq!(found(legacy, r#"[{"user":7,"author":8},{"user":8,"author":7}]"#), "hidden");
    let contradiction = found(legacy, r#"[{"user":7,"author":8},{"user":8,"author":9}]"#);
    assert_eq!(contradiction, "value_changed:number $[1].author");
    let merged =
        found(r#"[{"user":1,"n":1},{"user":2,"n":2}]"#, r#"[{"user":5,"n":1},{"user":5,"n":2}]"#);
    assert_eq!(merged, "value_changed:number $[1].user", "two of legacy became one");
    let kept =
        found(r#"[{"user":2,"n":1},{"user":1,"n":2}]"#, r#"[{"user":2,"n":1},{"user":2,"n":2}]"#);
    assert_eq!(kept, "value_changed:number $[1].user", "2 is still itself");
    assert_eq!(found(r#"[{"user":1}]"#, r#"[{"user":"a"}]"#), "type_changed $[0].user");
    assert_eq!(found(r#"[{"track":1}]"#, r#"[{"track":"a"}]"#), "hidden");
    assert_eq!(found(r#"[{"user":1}]"#, r#"[{"user":null}]"#), "type_changed $[0].user");
}

#[test]
fn renamings_hold_over_many_answers_that_agree() {
    let rules = RuleSet::builtin().with([renaming("$.user", "user", Types::Same)]);
    let headers = headers(&[("content-type", "application/json")]);
    let mut known = Bijections::new([9; 32], 1 << 20);
    let mut found = |legacy: &str, new: &str| {
        let legacy = Obs { status: 200, headers: &headers, body: legacy.as_bytes() };
        let new = Obs { status: 200, headers: &headers, body: new.as_bytes() };
        outcome(&compare_with(&legacy, &new, &rules, &Budget::default(), &mut known))
    };
    assert_eq!(found(r#"{"user":1,"n":1}"#, r#"{"user":9,"n":2}"#), "value_changed:number $.n");
    assert_eq!(found(r#"{"user":1}"#, r#"{"user":7}"#), "hidden", "the first was not kept");
    assert_eq!(found(r#"{"user":1}"#, r#"{"user":8}"#), "value_changed:number $.user");
    assert_eq!(found(r#"{"user":2}"#, r#"{"user":7}"#), "value_changed:number $.user");
    assert_eq!(found(r#"{"user":1}"#, r#"{"user":7}"#), "hidden");
    assert_eq!(known.len(), 1);
}

#[test]
fn the_first_rule_that_is_about_such_values_decides() {
    let rules = RuleSet::builtin().with([
        rule("$..*", Action::Ignore).named("all"),
        rule("$.a", Action::Tolerance(Tolerance { abs: Some(1.0), ..Tolerance::default() }))
            .named("mine"),
    ]);
    let found = |legacy: &str, new: &str| outcome(&json(legacy, new, &rules));
    assert_eq!(found(r#"{"a":1}"#, r#"{"a":2}"#), "hidden");
    assert_eq!(
        found(r#"{"a":1}"#, r#"{"a":9}"#),
        "value_changed:number $.a",
        "more exact: decides"
    );
    assert_eq!(found(r#"{"a":1}"#, r#"{"a":null}"#), "match", "not about null: the next one hides");
}

#[test]
fn headers_and_cookies_take_actions_too() {
    let found = |at: &str, action: Action, name: &str, legacy: &str, new: &str| {
        let rules = RuleSet::builtin().with([rule(at, action).named("mine")]);
        let (a, b) = (headers(&[(name, legacy)]), headers(&[(name, new)]));
        let legacy = Obs { status: 302, headers: &a, body: b"x" };
        let new = Obs { status: 302, headers: &b, body: b"x" };
        outcome(&compare(&legacy, &new, &rules, &Budget::default()))
    };
    let pair = HostPair { legacy: "http://a".to_owned(), new: "https://b".to_owned() };
    let hosts = Action::UrlHostMap(vec![pair]);
    assert_eq!(
        found("header:location", hosts.clone(), "location", "http://a/x", "https://b/x"),
        "hidden"
    );
    assert_eq!(
        found("header:location", hosts, "location", "http://a/x", "https://b/y"),
        "redirect_target_changed header:location"
    );
    let near = Action::Tolerance(Tolerance { abs: Some(5.0), ..Tolerance::default() });
    assert_eq!(found("header:x-left", near, "x-left", "100", "98"), "hidden");
    assert_eq!(found("header:allow", Action::Set, "allow", "GET, HEAD", "head,get"), "hidden");
    assert_eq!(found("header:x-*", Action::IgnoreValue, "x-a", "abc", "abd"), "hidden");
    assert_eq!(
        found("header:x-*", Action::IgnoreValue, "x-a", "abc", ""),
        "header_changed header:x-a"
    );
    let cookie = |action: Action, legacy: &str, new: &str| {
        found("cookie:s", action, "set-cookie", legacy, new)
    };
    assert_eq!(cookie(Action::CookieAttrsOnly, "s=1; Path=/", "s=; path=/"), "hidden");
    assert_eq!(
        cookie(Action::CookieAttrsOnly, "s=1; HttpOnly", "s=2"),
        "cookie_attr_changed cookie:s"
    );
    assert_eq!(cookie(Action::Case, "s=A", "s=a"), "hidden");
    assert_eq!(cookie(Action::Case, "s=A", "s=b"), "value_changed:string cookie:s");
    assert_eq!(cookie(Action::Ignore, "s=A; HttpOnly", "s=b"), "hidden");
    assert_eq!(cookie(Action::Ignore, "s=A", "t=A"), "cookie_extra cookie:t");
}

#[test]
fn pages_of_rails_are_compared_without_tokens_digests_and_nonces() {
    let page = |token: &str, digest: &str, nonce: &str, title: &str| {
        format!(
            "<meta content=\"{token}\" name=\"csrf-token\" />\n<link href=\"/assets/app-{digest}.css\">\n\
             <script nonce=\"{nonce}\"></script>\n<h1>{title}</h1>\n"
        )
    };
    let (masked, other) = (format!("{}==", "A".repeat(86)), format!("{}g==", "b".repeat(85)));
    let digest = |c: &str| c.repeat(64);
    let headers = headers(&[("content-type", "text/html")]);
    let rules = |set: RuleSet, legacy: &str, new: &str| {
        let legacy = Obs { status: 200, headers: &headers, body: legacy.as_bytes() };
        let new = Obs { status: 200, headers: &headers, body: new.as_bytes() };
        compare(&legacy, &new, &set, &Budget::default())
    };
    let legacy = page(&masked, &digest("a"), "one", "Hi");
    let same = rules(RuleSet::builtin(), &legacy, &page(&other, &digest("b"), "two", "Hi"));
    assert_eq!(same.verdict, Verdict::MatchNormalised, "{same:?}");
    let hidden: Vec<&str> = same.hidden.iter().map(|hidden| hidden.rule.as_str()).collect();
    assert_eq!(hidden, ["builtin/asset-digest", "builtin/csrf-token", "builtin/nonce"]);
    let title = rules(RuleSet::builtin(), &legacy, &page(&other, &digest("b"), "two", "Ho"));
    assert!(!title.verdict.is_match() && title.total_differences == 1, "{title:?}");
    let short = rules(RuleSet::builtin(), &legacy, &page("", &digest("a"), "one", "Hi"));
    assert!(!short.verdict.is_match(), "a page without its token does not work");
    let off = RuleSet::builtin().without(["builtin/nonce"]).unwrap();
    assert!(!rules(off, &legacy, &page(&masked, &digest("a"), "two", "Hi")).verdict.is_match());
}

#[test]
fn what_means_something_else_for_some_clients_must_be_asked_for() {
    let (legacy, new) = (
        r#"{"at":"2014-06-12T10:00:00Z","price":"12.50","nick":null,"say":"\uf600","id":1}"#,
        "{\"at\":\"2014-06-12T10:00:00.000Z\",\"price\":12.5,\"say\":\"\u{1f600}\",\"id\":1}",
    );
    let rails = json(legacy, new, &RuleSet::builtin());
    assert_eq!(rails.total_differences, 4, "{rails:?}");
    let lenient = RuleSet::builtin().with_pack(Pack::RailsJson);
    let comparison = json(legacy, new, &lenient);
    assert_eq!(comparison.verdict, Verdict::MatchNormalised, "{comparison:?}");
    let hidden: Vec<&str> = comparison.hidden.iter().map(|hidden| hidden.rule.as_str()).collect();
    assert_eq!(
        hidden,
        [
            "builtin/null-vs-absent",
            "builtin/number-as-string",
            "builtin/rails3-emoji",
            "builtin/time-format"
        ]
    );
    for (from, to) in [("12.5", "12.6"), ("10:00:00.000", "10:00:00.001"), ("1f600", "1f601")] {
        let to = new
            .replace(from, to)
            .replace('\u{1f600}', if from == "1f600" { "\u{1f601}" } else { "\u{1f600}" });
        assert!(!json(legacy, &to, &lenient).verdict.is_match(), "{to}");
    }
    let off = lenient.without(["builtin/time-format"]).unwrap();
    assert_eq!(outcome(&json(legacy, new, &off)), "value_changed:time_format $.at");
}

#[test]
fn lists_with_ids_stay_aligned_under_a_pack_for_every_place() {
    let lenient = RuleSet::builtin().with_pack(Pack::RailsJson);
    let found = json(
        r#"[{"id":1,"p":"1.0"},{"id":2,"p":"2.0"},{"id":3,"p":"3.0"}]"#,
        r#"[{"id":2,"p":2},{"id":3,"p":4}]"#,
        &lenient,
    );
    assert_eq!(outcome(&found), "elem_missing $[?@.id==1], type_changed $[?@.id==3].p");
}

#[test]
fn a_rule_for_a_status_is_asked_for_answers_with_that_status() {
    let scope = Scope { status: "404".parse().ok(), ..Scope::default() };
    let rules = RuleSet::builtin().with([rule("$.a", Action::Ignore).within(scope)]);
    let headers = headers(&[("content-type", "application/json")]);
    let verdict = |status: u16| {
        let legacy = Obs { status, headers: &headers, body: br#"{"a":1}"# };
        let new = Obs { status, headers: &headers, body: br#"{"a":2}"# };
        compare(&legacy, &new, &rules, &Budget::default()).verdict
    };
    assert!(verdict(404).is_match() && !verdict(200).is_match());
}
