//! One example per kind, then the rules, the limits and the verdicts.

use super::*;
use crate::{Rule, Severity};

type Headers = Vec<(String, Vec<u8>)>;

fn headers(lines: &[(&str, &str)]) -> Headers {
    lines.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
}

fn answer<'a>(status: u16, headers: &'a Headers, body: &'a [u8]) -> Obs<'a> {
    Obs { status, headers, body }
}

fn json(legacy: &str, new: &str) -> Comparison {
    json_with(legacy, new, &RuleSet::builtin())
}

fn json_with(legacy: &str, new: &str, rules: &RuleSet) -> Comparison {
    let headers = headers(&[("content-type", "application/json")]);
    compare(
        &answer(200, &headers, legacy.as_bytes()),
        &answer(200, &headers, new.as_bytes()),
        rules,
        &Budget::default(),
    )
}

fn with_headers(legacy: &[(&str, &str)], new: &[(&str, &str)]) -> Comparison {
    let (a, b) = (headers(legacy), headers(new));
    compare(&answer(200, &a, b"x"), &answer(200, &b, b"x"), &RuleSet::builtin(), &Budget::default())
}

/// Each difference as `kind path`.
fn found(comparison: &Comparison) -> Vec<String> {
    let line = |d: &Difference| format!("{} {}", d.kind.label(), d.location.path);
    comparison.differences.iter().map(line).collect()
}

#[test]
fn each_json_kind_is_found_at_its_place_with_its_severity() {
    use Severity::{Additive, Breaking, Cosmetic, Order, Value};
    for (legacy, new, expected, severity) in [
        (r#"{"a":{"b":1}}"#, r#"{"a":{"b":2}}"#, "value_changed:number $.a.b", Value),
        (
            r#"{"a":1e9}"#,
            r#"{"a":1000000000.0000001}"#,
            "value_changed:number_precision $.a",
            Value,
        ),
        (r#"{"a":true}"#, r#"{"a":false}"#, "value_changed:bool $.a", Value),
        (r#"{"a":"x"}"#, r#"{"a":"y"}"#, "value_changed:string $.a", Value),
        (r#"{"a":"x"}"#, r#"{"a":"X"}"#, "value_changed:case $.a", Value),
        (r#"{"a":"x y"}"#, r#"{"a":" x  y"}"#, "value_changed:whitespace $.a", Cosmetic),
        (
            r#"{"at":"2014/06/12 10:00:00 +0000"}"#,
            r#"{"at":"2014-06-12T10:00:00Z"}"#,
            "value_changed:time_format $.at",
            Value,
        ),
        (
            r#"{"at":"2014/06/12 10:00:00 +0000"}"#,
            r#"{"at":"2014/06/12 10:00:01 +0000"}"#,
            "value_changed:time_instant $.at",
            Value,
        ),
        (r#"{"a":"http://x/p"}"#, r#"{"a":"https://y/p"}"#, "value_changed:url_host $.a", Value),
        (r#"{"a":"café"}"#, r#"{"a":"cafÃ©"}"#, "value_changed:encoding $.a", Value),
        (r#"{"a":1}"#, r#"{"a":[1]}"#, "type_changed $.a", Breaking),
        (r#"{"a":"x"}"#, r#"{"a":null}"#, "type_changed $.a", Breaking),
        (r#"{"a":12.5}"#, r#"{"a":"12.50"}"#, "scalar_as_string $.a", Breaking),
        (r#"{"a":null}"#, r#"{"a":[]}"#, "null_vs_empty $.a", Value),
        (r#"{"a":null}"#, "{}", "null_vs_missing $.a", Value),
        ("{}", r#"{"a":null}"#, "null_vs_missing $.a", Value),
        (r#"{"a":1,"b":2}"#, r#"{"b":2}"#, "key_missing $.a", Breaking),
        (r#"{"b":2}"#, r#"{"a b":1,"b":2}"#, "key_extra $['a b']", Additive),
        (r#"{"a":1,"a":2}"#, r#"{"a":2}"#, "dup_key $.a", Cosmetic),
        ("[1,2,3]", "[1,3]", "elem_missing $[1]", Breaking),
        ("[1,3]", "[1,2,3]", "elem_extra $[1]", Value),
        ("[1,2,3]", "[1,9,3]", "value_changed:number $[1]", Value),
        ("[1,2,3,4]", "[2,3,4,1]", "array_reordered $", Order),
        (
            r#"{"m":[{"id":42,"s":"a"},{"id":43,"s":"b"}]}"#,
            r#"{"m":[{"id":42,"s":"a"},{"id":43,"s":"c"}]}"#,
            "value_changed:string $.m[?@.id==43].s",
            Value,
        ),
        (
            r#"{"m":[{"id":"x'y"},{"id":"b"}]}"#,
            r#"{"m":[{"id":"b"}]}"#,
            r"elem_missing $.m[?@.id=='x\'y']",
            Breaking,
        ),
        (
            r#"[{"a":1,"b":2,"c":3},{"a":4,"b":5,"c":6}]"#,
            r#"[{"a":4,"b":5,"c":7}]"#,
            "elem_missing $[0]",
            Breaking,
        ),
    ] {
        let comparison = json(legacy, new);
        assert_eq!(
            found(&comparison).first().map(String::as_str),
            Some(expected),
            "{legacy} {new}"
        );
        assert_eq!(comparison.differences[0].severity, severity, "{legacy} {new}");
        assert_eq!(comparison.verdict, Verdict::Mismatch(severity), "{legacy} {new}");
    }
}

#[test]
fn locations_have_three_spellings() {
    let comparison = json(
        r#"{"messages":[{"id":1},{"id":42,"sender":{"a/b":"x"}}],"by_id":{"17":{"n":1}}}"#,
        r#"{"messages":[{"id":1},{"id":42,"sender":{"a/b":"y"}}],"by_id":{"17":{"n":2}}}"#,
    );
    let location = &comparison.differences[0].location;
    assert_eq!(location.pointer, "/messages/1/sender/a~1b");
    assert_eq!(location.path, "$.messages[?@.id==42].sender['a/b']");
    assert_eq!(location.shape, "$.messages[*].sender['a/b']");
    assert_eq!(comparison.differences[1].location.shape, "$.by_id.*.n");
}

#[test]
fn json_that_means_the_same_is_normalised_and_says_so() {
    for (legacy, new) in [
        (r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#),
        (r#"{"a":"<"}"#, r#"{"a":"\u003C"}"#),
        ("[1, 100]", "[1.0,1e2]"),
        ("{}", " {}\n"),
        (r#"{"a":1,"a":2}"#, r#"{"a":3,"a":2}"#),
    ] {
        let comparison = json(legacy, new);
        assert_eq!(comparison.verdict, Verdict::MatchNormalised, "{legacy} {new} {comparison:?}");
        assert_eq!(comparison.hidden[0].rule, "builtin/json-text");
    }
}

#[test]
fn repeated_names_in_another_order_are_not_equal() {
    let comparison = json(r#"{"a":1,"a":2}"#, r#"{"a":2,"a":1}"#);
    assert_eq!(found(&comparison), ["value_changed:number $.a"]);
}

#[test]
fn page_that_is_off_by_one_is_one_extra_and_one_missing() {
    let page = |from: u32| {
        let messages: Vec<_> =
            (from..from + 20).map(|id| format!(r#"{{"id":{id},"body":"m{id}"}}"#)).collect();
        format!(r#"{{"messages":[{}]}}"#, messages.join(","))
    };
    let comparison = json(&page(101), &page(100));
    assert_eq!(
        found(&comparison),
        ["elem_missing $.messages[?@.id==120]", "elem_extra $.messages[?@.id==100]"]
    );
}

#[test]
fn what_was_renamed_or_moved_is_one_difference_with_a_hint() {
    let renamed =
        json(r#"{"m":[{"id":1,"subject":"hello"}]}"#, r#"{"m":[{"id":1,"title":"hello"}]}"#);
    assert_eq!((renamed.differences.len(), renamed.total_differences), (1, 1));
    assert_eq!(renamed.differences[0].hint.as_deref(), Some("$.m[*].title"));
    assert_eq!(renamed.differences[0].new.as_ref().unwrap().text, "\"hello\"");
    for (legacy, new, expected) in [
        (r#"{"created_at":1}"#, r#"{"createdAt":1}"#, "key_renamed $.created_at"),
        (r#"{"a":[1],"b":2}"#, r#"{"c":[1],"b":2}"#, "key_renamed $.a"),
        (r#"{"a":true,"b":2}"#, r#"{"c":true,"b":2}"#, "key_missing $.a"),
        (
            r#"{"in":[{"id":1,"s":"a"},{"id":2,"s":"b"}],"old":[{"id":3,"s":"c"}]}"#,
            r#"{"in":[{"id":1,"s":"a"}],"old":[{"id":3,"s":"c"},{"id":2,"s":"b"}]}"#,
            "elem_moved $.in[?@.id==2]",
        ),
    ] {
        let comparison = json(legacy, new);
        assert_eq!(
            found(&comparison).first().map(String::as_str),
            Some(expected),
            "{legacy} {new}"
        );
        assert_eq!(comparison.verdict, Verdict::Mismatch(Severity::Breaking), "{legacy} {new}");
    }
    // Two names may have it: no guess.
    let unclear = json(r#"{"a":"hello"}"#, r#"{"b":"hello","c":"hello"}"#);
    assert_eq!(found(&unclear), ["key_missing $.a", "key_extra $.b", "key_extra $.c"]);
}

#[test]
fn rows_that_join_two_things_are_identified_by_both() {
    let row = |user: u32, thread: u32, read: bool| {
        format!(r#"{{"user_id":{user},"thread_id":{thread},"read":{read}}}"#)
    };
    let legacy = [row(1, 1, true), row(1, 2, true), row(2, 1, true)].join(",");
    let new = [row(2, 1, false), row(1, 1, true), row(1, 2, false)].join(",");
    let comparison = json(&format!("[{legacy}]"), &format!("[{new}]"));
    let expected =
        ["array_reordered $", "value_changed:bool $[1].read", "value_changed:bool $[2].read"];
    assert_eq!(found(&comparison), expected);
}

#[test]
fn shuffles_are_one_difference() {
    let keyed = json(
        r#"[{"id":1},{"id":2},{"id":3},{"id":4}]"#,
        r#"[{"id":4},{"id":2},{"id":1},{"id":3}]"#,
    );
    assert_eq!(keyed.differences.len(), 1);
    assert_eq!(keyed.differences[0].kind, Kind::ArrayReordered { moved: 2 });
    let plain = json(r#"["a","b","c","c"]"#, r#"["c","a","c","b"]"#);
    assert_eq!(found(&plain), ["array_reordered $"]);
}

#[test]
fn each_header_kind_is_found() {
    use Severity::{Additive, Breaking, Cosmetic, Value};
    let json = ("content-type", "application/json; charset=utf-8");
    for (legacy, new, expected, severity) in [
        (&[("x-a", "1")][..], &[][..], "header_missing header:x-a", Additive),
        (&[("link", "<a>")], &[], "header_missing header:link", Value),
        (&[], &[("x-a", "1")], "header_extra header:x-a", Additive),
        (&[("x-a", "1")], &[("x-a", "2")], "header_changed header:x-a", Value),
        (
            &[json],
            &[("content-type", "text/html")],
            "content_type_changed header:content-type",
            Breaking,
        ),
        (
            &[json],
            &[("content-type", "application/json")],
            "charset_changed header:content-type",
            Cosmetic,
        ),
        (
            &[json],
            &[("content-type", "application/json; charset=latin1")],
            "charset_changed header:content-type",
            Value,
        ),
        (&[("set-cookie", "a=1")], &[], "cookie_missing cookie:a", Value),
        (&[], &[("set-cookie", "a=1")], "cookie_extra cookie:a", Additive),
        (
            &[("set-cookie", "a=1; Path=/; HttpOnly")],
            &[("set-cookie", "a=2; path=/")],
            "cookie_attr_changed cookie:a",
            Breaking,
        ),
        (&[("set-cookie", "a=1")], &[("set-cookie", "a=")], "value_changed:string cookie:a", Value),
        (&[("etag", "\"1\"")], &[("etag", "W/\"2\"")], "header_changed header:etag", Value),
    ] {
        let comparison = with_headers(legacy, new);
        assert_eq!(
            found(&comparison).first().map(String::as_str),
            Some(expected),
            "{legacy:?} {new:?}"
        );
        assert_eq!(comparison.verdict, Verdict::Mismatch(severity), "{legacy:?} {new:?}");
    }
}

#[test]
fn redirects_elsewhere_are_breaking() {
    let (a, b) = (headers(&[("location", "/a")]), headers(&[("location", "/b")]));
    let comparison = compare(
        &answer(302, &a, b""),
        &answer(302, &b, b""),
        &RuleSet::builtin(),
        &Budget::default(),
    );
    assert_eq!(found(&comparison), ["redirect_target_changed header:location"]);
    assert_eq!(comparison.verdict, Verdict::Mismatch(Severity::Breaking));
}

#[test]
fn harmless_rails_differences_are_hidden_and_counted() {
    for (legacy, new, rule) in [
        (&[("x-runtime", "0.01")][..], &[("x-runtime", "0.02")][..], "builtin/x-runtime"),
        (&[("server", "thin")], &[], "builtin/server"),
        (&[], &[("x-served-by", "messages")], "builtin/x-served-by"),
        (&[("vary", "Accept, Cookie")], &[("vary", "cookie,accept")], "builtin/vary-order"),
        (
            &[("cache-control", "max-age=0, private, must-revalidate")],
            &[("cache-control", "private, max-age=0, must-revalidate")],
            "builtin/cache-control-order",
        ),
        (
            &[("set-cookie", "_s=abc; path=/")],
            &[("set-cookie", "_s=def; Path=/")],
            "builtin/cookie-value",
        ),
        (&[("etag", "\"1\"")], &[("etag", "W/\"1\"")], "builtin/etag"),
    ] {
        let comparison = with_headers(legacy, new);
        assert_eq!(comparison.verdict, Verdict::MatchNormalised, "{legacy:?} {comparison:?}");
        assert_eq!(comparison.hidden[0].rule, rule);
        let without = compare(
            &answer(200, &headers(legacy), b"x"),
            &answer(200, &headers(new), b"x"),
            &RuleSet::empty(),
            &Budget::default(),
        );
        assert!(!without.verdict.is_match(), "{legacy:?}");
    }
    let same_in_two_lines = with_headers(&[("x-a", "1"), ("x-a", "2")], &[("x-a", "1, 2")]);
    assert_eq!(same_in_two_lines.verdict, Verdict::Match);
}

#[test]
fn etags_do_not_matter_when_bodies_differ_or_are_absent() {
    for (a, b) in [("{\"a\":1}", "{\"a\": 1}"), ("", "")] {
        let (first, second) = (headers(&[("etag", "\"1\"")]), headers(&[("etag", "\"2\"")]));
        let comparison = compare(
            &answer(200, &first, a.as_bytes()),
            &answer(200, &second, b.as_bytes()),
            &RuleSet::builtin(),
            &Budget::default(),
        );
        assert_eq!(comparison.verdict, Verdict::MatchNormalised, "{comparison:?}");
    }
}

#[test]
fn rules_hide_what_they_select_and_nothing_else() {
    let rule =
        |at: &str| RuleSet::builtin().with([Rule::ignore(at, "test").unwrap().named("mine")]);
    let (legacy, new) = (r#"{"a":[{"b":1,"c":1}],"bc":1}"#, r#"{"a":[{"b":2,"c":1}],"bc":1}"#);
    for at in ["$.a[*].b", "$..b", "$.a", "/a/0/b", "$"] {
        let comparison = json_with(legacy, new, &rule(at));
        assert_eq!(comparison.verdict, Verdict::MatchNormalised, "{at} {comparison:?}");
        assert_eq!(
            (comparison.hidden[0].rule.as_str(), comparison.hidden[0].count),
            ("mine", 1),
            "{at}"
        );
    }
    for at in ["$.a[*].c", "$.b", "/a/1/b", "$..bc", "header:b"] {
        assert!(!json_with(legacy, new, &rule(at)).verdict.is_match(), "{at}");
    }
    let one_sided = json_with(r#"{"a":1,"b":[1]}"#, r#"{"b":[1,2]}"#, &rule("$.*"));
    assert_eq!(one_sided.verdict, Verdict::MatchNormalised);
    assert_eq!(one_sided.hidden.len(), 2);
}

#[test]
fn lists_are_aligned_by_what_rules_leave() {
    let rules = RuleSet::builtin().with([Rule::ignore("$[*].seen", "clock").unwrap()]);
    let comparison = json_with(
        r#"[{"t":"a","seen":1},{"t":"b","seen":2},{"t":"c","seen":3}]"#,
        r#"[{"t":"b","seen":7},{"t":"c","seen":8}]"#,
        &rules,
    );
    assert_eq!(found(&comparison), ["elem_missing $[0]"]);
    assert_eq!(comparison.hidden[0].count, 2);
}

#[test]
fn text_and_binary_bodies_are_compared_in_their_form() {
    let kinds = |media: &str, legacy: &[u8], new: &[u8]| {
        let headers = headers(&[("content-type", media)]);
        let rules = RuleSet::builtin();
        let comparison = compare(
            &answer(200, &headers, legacy),
            &answer(200, &headers, new),
            &rules,
            &Budget::default(),
        );
        found(&comparison)
    };
    assert_eq!(kinds("text/css", b"a\nb\nc\n", b"a\nB\nc\n"), ["text_hunk body:line 2"]);
    assert_eq!(
        kinds("text/plain", b"a\nb\nc\nd", b"b\nc\nx\nd"),
        ["text_hunk body:line 1", "text_hunk body:line 4"]
    );
    assert_eq!(kinds("text/plain", b"a", b"a\n"), Vec::<String>::new());
    assert_eq!(kinds("image/png", b"\x89PNG1", b"\x89PNG2"), ["binary_changed body"]);
    assert_eq!(kinds("application/json", b"{\"a\":1}", b"<html>"), ["type_changed body"]);
    assert_eq!(kinds("application/json", b"{\"a\":1}", b""), ["type_changed body"]);
    assert_eq!(kinds("application/json", b"{oops", b"{oops2"), ["text_hunk body:line 1"]);
    assert_eq!(kinds("text/plain", b"{\"a\":1}", b"{\"a\":2}"), ["value_changed:number $.a"]);
    assert_eq!(kinds("application/x-thing", b"\x00\x01", b"\x00\x02"), ["binary_changed body"]);
}

#[test]
fn pages_forms_and_sequences_are_compared_in_their_form() {
    let kinds = |media: &str, legacy: &[u8], new: &[u8]| {
        let headers = headers(&[("content-type", media)]);
        let rules = RuleSet::builtin();
        let comparison = compare(
            &answer(200, &headers, legacy),
            &answer(200, &headers, new),
            &rules,
            &Budget::default(),
        );
        found(&comparison)
    };
    assert_eq!(kinds("text/html", b"<p>a", b"<p>b"), ["html_text:string html:p"]);
    assert_eq!(
        kinds("application/x-www-form-urlencoded", b"a=1&b=2&c=3", b"c=3&a=1&b=x"),
        ["array_reordered $", "value_changed:string $.b"]
    );
    assert_eq!(
        kinds("application/x-www-form-urlencoded", b"a=%41&b=+", b"a=A&b=%20"),
        Vec::<String>::new()
    );
    let ndjson = "application/x-ndjson";
    assert_eq!(
        kinds(ndjson, b"{\"id\":1}\n{\"id\":2,\"a\":1}\n", b"{\"id\":2,\"a\":2}\n"),
        ["elem_missing $[?@.id==1]", "value_changed:number $[?@.id==2].a"]
    );
    assert_eq!(kinds(ndjson, b"{\"id\":1}\n{\n", b"{\"id\":2}\n{\n"), ["text_hunk body:line 1"]);
    assert_eq!(
        kinds(
            "text/event-stream",
            b"id: 1\ndata: {\"a\":1}\n\n",
            b":ping\nid: 1\ndata: {\"a\":2}\n\n"
        ),
        ["value_changed:number $[?@.id=='1'].data.a"]
    );
    assert_eq!(kinds("text/plain; charset=latin1", b"a\xe9", b"a\xe8"), ["text_hunk body:line 1"]);
}

#[test]
fn statuses_decide_first() {
    let none = Headers::new();
    let verdict = |a: u16, b: u16| {
        let (a, b) = (answer(a, &none, b"1"), answer(b, &none, b"2"));
        let comparison = compare(&a, &b, &RuleSet::builtin(), &Budget::default());
        (comparison.verdict, found(&comparison))
    };
    let status = || vec!["status_changed status".to_owned()];
    assert_eq!(verdict(200, 404), (Verdict::Mismatch(Severity::Breaking), status()));
    assert_eq!(verdict(200, 500), (Verdict::NewError, status()));
    assert_eq!(verdict(503, 200), (Verdict::LegacyError, status()));
    assert_eq!(verdict(500, 500), (Verdict::BothError, Vec::new()));
    assert_eq!(verdict(200, 304).0, Verdict::Inconclusive(Why::NotModified));
    assert_eq!(verdict(200, 201).1.len(), 2);
}

#[test]
fn encodings_are_undone_or_inconclusive() {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(br#"{"a":1}"#).unwrap();
    let packed = encoder.finish().unwrap();
    let plain = headers(&[("content-type", "application/json")]);
    let verdict = |coding: &str, body: &[u8], budget: &Budget| {
        let coded = headers(&[("content-type", "application/json"), ("content-encoding", coding)]);
        let (legacy, new) = (answer(200, &plain, br#"{"a":1}"#), answer(200, &coded, body));
        compare(&legacy, &new, &RuleSet::builtin(), budget).verdict
    };
    let budget = Budget::default();
    assert_eq!(verdict("gzip", &packed, &budget), Verdict::MatchNormalised);
    assert_eq!(verdict("GZIP, identity", &packed, &budget), Verdict::MatchNormalised);
    assert_eq!(verdict("br", &packed, &budget), Verdict::Inconclusive(Why::Undecodable));
    assert_eq!(
        verdict("gzip", &packed[..packed.len() / 2], &budget),
        Verdict::Inconclusive(Why::Undecodable)
    );
    let bomb = Budget { body_bytes: packed.len().max(6) - 1, ..budget };
    assert_eq!(verdict("gzip", &packed, &bomb), Verdict::Inconclusive(Why::OverBudget));
}

#[test]
fn over_budget_is_inconclusive_and_never_a_match() {
    let headers = headers(&[("content-type", "application/json")]);
    let verdict = |legacy: &str, new: &str, budget: Budget| {
        let (a, b) =
            (answer(200, &headers, legacy.as_bytes()), answer(200, &headers, new.as_bytes()));
        compare(&a, &b, &RuleSet::builtin(), &budget).verdict
    };
    let (long, other) = (format!("[{}0]", "0,".repeat(999)), format!("[{}1]", "0,".repeat(999)));
    let over = Verdict::Inconclusive(Why::OverBudget);
    assert_eq!(verdict(&long, &other, Budget { nodes: 100, ..Budget::default() }), over);
    assert_eq!(verdict(&long, &other, Budget { steps: 100, ..Budget::default() }), over);
    assert_eq!(verdict(&long, &other, Budget { body_bytes: 100, ..Budget::default() }), over);
    let deep = |end: &str| [&"[".repeat(600), end, &"]".repeat(600)].concat();
    assert_eq!(
        verdict(&deep("1"), &deep("2"), Budget::default()),
        Verdict::Inconclusive(Why::TooDeep)
    );
    assert_eq!(verdict(&deep("1"), &deep("1"), Budget::default()), Verdict::Match);
}

#[test]
fn differences_beyond_the_cap_are_counted() {
    let list = |n: u32| {
        format!("{{{}}}", (0..5_000).map(|k| format!("\"k{k}\":{n}")).collect::<Vec<_>>().join(","))
    };
    let comparison = json(&list(1), &list(2));
    assert_eq!((comparison.differences.len(), comparison.total_differences), (1_000, 5_000));
    assert_eq!(comparison.verdict, Verdict::Mismatch(Severity::Value));
}

#[test]
fn crafted_hash_collisions_cannot_hide_a_difference() {
    // Members that repeat names have the same commutative hash in any order.
    let comparison = json(r#"{"x":{"a":1,"a":2}}"#, r#"{"x":{"a":2,"a":1}}"#);
    assert!(!comparison.verdict.is_match());
}

#[test]
fn certain_differences_outside_the_body_win_over_an_undecided_body() {
    let (a, b) = (
        headers(&[("link", "<a>"), ("content-encoding", "br")]),
        headers(&[("link", "<b>"), ("content-encoding", "br")]),
    );
    let comparison = compare(
        &answer(200, &a, b"1"),
        &answer(200, &b, b"2"),
        &RuleSet::builtin(),
        &Budget::default(),
    );
    assert_eq!(comparison.verdict, Verdict::Mismatch(Severity::Value));
}
