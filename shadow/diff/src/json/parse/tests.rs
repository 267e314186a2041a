//! Acceptance as RFC 8259 has it, and the limits.

use proptest::prelude::*;

use super::*;
use crate::json::check_json;

#[test]
fn json_texts_of_the_grammar_are_accepted() {
    for text in [
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1",
        "-1",
        "10",
        "1.5",
        "1e5",
        "1E+5",
        "1e-5",
        "0.0",
        "0e0",
        "\"\"",
        "\"a\"",
        r#""\"\\\/\b\f\n\r\t\u0041""#,
        r#""\ud83d\ude00""#,
        r#""\ud83d""#,
        r#""\udc00\ud800""#,
        "[]",
        "{}",
        " [ ] ",
        "\t{\r\n}",
        "[1,2]",
        "[[],[[]]]",
        r#"{"a":1}"#,
        r#"{"":{}}"#,
        r#"{"a":1,"a":2}"#,
        r#" { "a" : [ 1 , { "b" : null } ] } "#,
        "\"\u{7f}\"",
        "\"ü\u{2028}\"",
        "123456789012345678901234567890",
        "1e999999999999999999999",
    ] {
        assert_eq!(check_json(text.as_bytes()), Ok(()), "{text}");
    }
}

#[test]
fn other_texts_are_refused_with_their_place() {
    use JsonErrorKind::{BadEscape, BadNumber, Control, End, Unexpected, Utf8};
    for (text, at, kind) in [
        (&b""[..], 0, End),
        (b" ", 1, End),
        (b"nul", 0, Unexpected),
        (b"nulll", 4, Unexpected),
        (b"01", 0, BadNumber),
        (b"-", 0, BadNumber),
        (b"1.", 0, BadNumber),
        (b"1e", 0, BadNumber),
        (b"1e+", 0, BadNumber),
        (b"+1", 0, Unexpected),
        (b".5", 0, Unexpected),
        (b"NaN", 0, Unexpected),
        (b"[1,]", 3, Unexpected),
        (b"[,1]", 1, Unexpected),
        (b"[1 2]", 3, Unexpected),
        (b"[1", 2, End),
        (b"[1}", 2, Unexpected),
        (b"{\"a\"}", 4, Unexpected),
        (b"{\"a\":1,}", 7, Unexpected),
        (b"{a:1}", 1, Unexpected),
        (b"{\"a\":}", 5, Unexpected),
        (b"{\"a\" 1}", 5, Unexpected),
        (b"{\"a\"", 4, End),
        (b"[]]", 2, Unexpected),
        (b"'a'", 0, Unexpected),
        (b"\"a", 2, End),
        (b"\"\\x\"", 1, BadEscape),
        (b"\"\\u12g4\"", 1, BadEscape),
        (b"\"\\u123", 1, BadEscape),
        (b"\"\\ud800\\u12\"", 1, BadEscape),
        (b"\"a\nb\"", 2, Control),
        (b"\"\x00\"", 1, Control),
        (b"\"\xff\"", 1, Utf8),
        (b"\"\xed\xa0\x80\"", 1, Utf8),
        (b"\xEF\xBB\xBF1", 0, Unexpected),
        (b"// c\n1", 0, Unexpected),
        (b"\x0b1", 0, Unexpected),
    ] {
        let shown = String::from_utf8_lossy(text);
        assert_eq!(check_json(text), Err(JsonError { at, kind }), "{shown}");
    }
}

#[test]
fn nesting_beyond_the_limit_is_refused_without_recursion() {
    let nested = |depth| ["[".repeat(depth), "]".repeat(depth)].concat();
    assert_eq!(check_json(nested(DEPTH_MAX).as_bytes()), Ok(()));
    let error = check_json(nested(DEPTH_MAX + 1).as_bytes()).unwrap_err();
    assert_eq!(error.kind, JsonErrorKind::TooDeep);
    let error = check_json("{\"a\":".repeat(1_000_000).as_bytes()).unwrap_err();
    assert_eq!(error.kind, JsonErrorKind::TooDeep);
}

#[test]
fn too_many_nodes_are_refused() {
    let limits = Limits { nodes: 3 };
    assert!(parse(b"[1,2]", limits).is_ok());
    assert_eq!(parse(b"[1,2,3]", limits).unwrap_err().kind, JsonErrorKind::TooLarge);
}

#[test]
fn hashes_ignore_member_order_escapes_and_number_spelling_only() {
    let hash = |text: &str| parse(text.as_bytes(), Limits { nodes: 100 }).unwrap().hash(Doc::ROOT);
    assert_eq!(hash(r#"{"a":1,"b":[2,"<"]}"#), hash(r#"{ "b":[2.0,"\u003C"], "a":1e0 }"#));
    assert_eq!(hash(r#""\ud83d\ude00""#), hash("\"😀\""));
    for (a, b) in [
        ("[1,2]", "[2,1]"),
        ("[]", "{}"),
        ("[]", "[[]]"),
        ("[[],[]]", "[[[]]]"),
        ("\"1\"", "1"),
        ("null", "false"),
        ("true", "null"),
        (r#"{"a":1,"b":2}"#, r#"{"a":2,"b":1}"#),
        (r#""\ud83d""#, r#""\ud83e""#),
        (r#"{"a":{"b":1}}"#, r#"{"b":{"a":1}}"#),
        ("\"\"", "\"\\u0000\""),
        ("[null]", "[null,null]"),
    ] {
        assert_ne!(hash(a), hash(b), "{a} {b}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(error) = check_json(&bytes) {
            prop_assert!(error.at <= bytes.len());
        }
    }

    #[test]
    fn any_json_like_text_is_judged_as_serde_json_does(text in r#"[\[\]{},:"\\a0-9.eE+\-u \n]{0,24}"#) {
        let ours = check_json(text.as_bytes()).is_ok();
        let theirs = serde_json::from_str::<serde_json::Value>(&text).is_ok();
        // Lone surrogates are JSON by the grammar; serde_json cannot hold them.
        prop_assert!(ours == theirs || (ours && text.contains("\\u")), "{}", text);
    }

    #[test]
    fn strings_survive_with_their_escapes(text in any::<String>()) {
        let json = serde_json::to_string(&text).unwrap();
        let doc = parse(json.as_bytes(), Limits { nodes: 1 }).unwrap();
        prop_assert_eq!(doc.bytes(Doc::ROOT), text.as_bytes());
    }
}
