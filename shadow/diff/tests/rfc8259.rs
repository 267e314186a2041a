//! What RFC 8259 accepts and refuses, section by section, written from its text.
//!
//! Two decisions that the RFC leaves to a parser: a byte order mark is not part of a JSON text (8.1 lets a parser ignore
//! or refuse it: [`check_json`] refuses it, bodies of answers are compared without it), and nesting ends at 512 (9).
#![expect(clippy::expect_used, reason = "test helpers fail by panicking")]

use banyan_diff::{Budget, JsonErrorKind, Obs, RuleSet, Verdict, check_json, compare};

fn judge(section: &str, accepted: &[&[u8]], refused: &[&[u8]]) -> usize {
    for text in accepted {
        let shown = String::from_utf8_lossy(text);
        assert_eq!(check_json(text), Ok(()), "section {section} accepts {shown:?}");
    }
    for text in refused {
        let shown = String::from_utf8_lossy(text);
        let error = check_json(text).expect_err(&format!("section {section} refuses {shown:?}"));
        assert!(error.at <= text.len(), "{shown:?} {error}");
        assert!(!error.kind.is_limit(), "{shown:?} {error}");
    }
    accepted.len() + refused.len()
}

/// Section 2: JSON-text = ws value ws; the six structural characters; the four white space characters.
fn grammar() -> usize {
    let accepted: &[&[u8]] = &[
        b"0",
        b" 0",
        b"0 ",
        b"\t0\t",
        b"\n0\n",
        b"\r0\r",
        b"\r\n\t 0 \t\n\r",
        b"[ ]",
        b"[\n]",
        b"{ }",
        b"{\r\n}",
        b" [ 1 , 2 ] ",
        b"\t{\t\"a\"\t:\t1\t,\t\"b\"\t:\t2\t}\t",
        b"[\n1\n,\n2\n]",
        b"[1,2 ]",
        b"{\"a\" :1}",
        b"{\"a\": 1}",
    ];
    let refused: &[&[u8]] = &[
        b"",
        b" ",
        b"\n\r\t ",
        b"\x0b0",
        b"0\x0b",
        b"\x0c0",
        b"0\x0c",
        b"\x000",
        b"0\x00",
        b"\xc2\xa00",
        b"\xe2\x80\xa80",
        b"\xe2\x80\xa9[]",
        b"\xe3\x80\x800",
        b"\xe1\x9a\x800",
        b"\xc2\x850",
        b"0 0",
        b"1,",
        b",1",
        b"[] []",
        b"{}{}",
        b"[]]",
        b"{}}",
        b"]",
        b"}",
        b":",
        b",",
        b"[",
        b"{",
        b"[[]",
        b"{\"a\":{}",
        b"//0",
        b"0 // a",
        b"/**/0",
        b"0/**/",
        b"#\n0",
        b"(1)",
        b"<1>",
        b"[1;2]",
        b"\x1b[]",
        b"\x7f",
        b"\\n0",
        b"[\\u0020]",
        b"\xe2\x81\xa00",
    ];
    judge("2", accepted, refused)
}

/// Section 3: objects, arrays, numbers, strings, and three literal names in lower case.
fn values() -> usize {
    let accepted: &[&[u8]] = &[
        b"false",
        b"null",
        b"true",
        b"[false]",
        b"[null]",
        b"[true]",
        b"{\"a\":true}",
        b"\"\"",
        b"0",
        b"[]",
        b"{}",
        b"[true,false,null]",
        b"\"true\"",
        b" true ",
    ];
    let refused: &[&[u8]] = &[
        b"False",
        b"NULL",
        b"True",
        b"TRUE",
        b"nul",
        b"tru",
        b"fals",
        b"nulll",
        b"truee",
        b"falsee",
        b"n",
        b"t",
        b"f",
        b"nu ll",
        b"undefined",
        b"NaN",
        b"nan",
        b"Infinity",
        b"-Infinity",
        b"inf",
        b"yes",
        b"None",
        b"nil",
        b"a",
        b"[nul]",
        b"[true false]",
        b"truefalse",
        b"null0",
        b"\xef\xbd\x8eull",
        b"t\xc2\xadrue",
    ];
    judge("3", accepted, refused)
}

/// Section 4: objects; names are strings; repeated and empty names are within the grammar.
fn objects() -> usize {
    let accepted: &[&[u8]] = &[
        b"{}",
        b"{\"a\":1}",
        b"{\"a\":1,\"b\":2}",
        b"{\"\":0}",
        b"{\"a\":1,\"a\":1}",
        b"{\"a\":1,\"a\":2}",
        b"{\"a\":{\"a\":{}}}",
        b"{\"a\":[]}",
        b"{\"\\u0061\":1}",
        b"{\"a b\":1}",
        b"{\"\\\"\":1}",
        b"{\"0\":0}",
        b"{\"\xc3\xbc\":1}",
        b"{\"\\ud800\":1}",
        b"{\"a\":\"a\",\"b\":\"b\",\"c\":{\"d\":null}}",
    ];
    let refused: &[&[u8]] = &[
        b"{\"a\"}",
        b"{\"a\":}",
        b"{:1}",
        b"{\"a\":1,}",
        b"{,}",
        b"{,\"a\":1}",
        b"{\"a\":1,,\"b\":2}",
        b"{\"a\":1 \"b\":2}",
        b"{\"a\" 1}",
        b"{\"a\"=1}",
        b"{\"a\"::1}",
        b"{\"a\":1:2}",
        b"{\"a\",1}",
        b"{a:1}",
        b"{'a':1}",
        b"{1:1}",
        b"{null:1}",
        b"{[]:1}",
        b"{{}:1}",
        b"{\"a\":1",
        b"{\"a\":",
        b"{\"a\"",
        b"{\"a",
        b"{\"",
        b"{\"a\":1]",
        b"{\"a\":1;}",
        b"{\"a\":1}}",
        b"{\"a\":1}#",
        b"{\"a\":1},",
        b"{...}",
        b"{\"a\":1 , }",
        b"{\"a\":\"b\" \"c\"}",
    ];
    judge("4", accepted, refused)
}

/// Section 5: arrays of values of any types.
fn arrays() -> usize {
    let accepted: &[&[u8]] = &[
        b"[]",
        b"[0]",
        b"[0,0]",
        b"[[]]",
        b"[[],[]]",
        b"[[[[]]]]",
        b"[1,\"a\",null,true,{},[]]",
        b"[{}]",
        b"[ [ ] , [ ] ]",
        b"[\"\"]",
        b"[-0]",
    ];
    let refused: &[&[u8]] = &[
        b"[,]",
        b"[1,]",
        b"[,1]",
        b"[1,,2]",
        b"[1 2]",
        b"[1:2]",
        b"[1}",
        b"[1",
        b"[1,",
        b"[\"a\"",
        b"[\"a",
        b"[[1]",
        b"[1]]",
        b"[1],",
        b"[\"a\":1]",
        b"[*]",
        b"[...]",
        b"[1,\n",
        b"[\"\",]",
        b"[a]",
        b"[1a]",
        b"[][]",
        b"[null,nulll]",
    ];
    judge("5", accepted, refused)
}

/// Section 6: numbers: an optional minus, digits without a leading zero, an optional fraction, an optional exponent.
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn numbers() -> usize {
    let accepted: &[&[u8]] = &[
        b"0",
        b"-0",
        b"1",
        b"-1",
        b"10",
        b"-10",
        b"1234567890",
        b"0.0",
        b"-0.0",
        b"0.1",
        b"1.0",
        b"1.01",
        b"123.456e7",
        b"1e1",
        b"1E1",
        b"1e+1",
        b"1e-1",
        b"1E+1",
        b"1E-1",
        b"0e0",
        b"0E+0",
        b"-0e-0",
        b"0e00",
        b"1e01",
        b"1e0010",
        b"1.5e+10",
        b"9007199254740993",
        b"123456789012345678901234567890",
        b"1e400",
        b"-1e400",
        b"1e-400",
        b"0e999999999999",
        b"1e99999999999999999999",
        b"1e-99999999999999999999",
        b"0.0000000000000000000000000000000000000000001",
        b"1.7976931348623157e308",
        b"100000000000000000000000000000000e-32",
    ];
    let refused: &[&[u8]] = &[
        b"-",
        b"+1",
        b"+",
        b"--1",
        b"- 1",
        b"00",
        b"01",
        b"-01",
        b"-00",
        b"012",
        b"1.",
        b"-1.",
        b".1",
        b"-.1",
        b".",
        b"1..0",
        b"1.0.0",
        b"1.e1",
        b"1e",
        b"1e+",
        b"1e-",
        b"1E",
        b"1ee1",
        b"1e1.0",
        b"1e+-1",
        b"1 e1",
        b"1e 1",
        b"e1",
        b"0x1",
        b"0X1F",
        b"0b1",
        b"0o7",
        b"1_000",
        b"1,000",
        b"1'000",
        b"1f",
        b"1L",
        b"1n",
        b"1.0f",
        b"\xef\xbc\x91",
        b"\xd9\xa1",
        b"1\xcc\x81",
        b"\xe2\x88\x921",
        b"0.1.2",
        b"1/2",
        b"1%",
        b"$1",
        b"1e1e1",
        b"-a",
        b"-\x00",
        b"2.e3",
        b"0e",
        b"0e+",
        b"0.e1",
        b"-Infinity",
        b"1.0e",
        b"1.0e-",
    ];
    judge("6", accepted, refused)
}

/// Section 7: strings: quotation marks, escapes, and no raw control characters.
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn strings() -> usize {
    let accepted: &[&[u8]] = &[
        br#""""#,
        br#""a""#,
        br#""\"""#,
        br#""\\""#,
        br#""\/""#,
        br#""/""#,
        br#""\b""#,
        br#""\f""#,
        br#""\n""#,
        br#""\r""#,
        br#""\t""#,
        br#""\u0000""#,
        br#""\u001f""#,
        br#""\u0022""#,
        br#""\u005C""#,
        br#""\u005c""#,
        br#""\uABCD""#,
        br#""\uabcd""#,
        br#""\uAbCd""#,
        br#""\u00e4\u00F6""#,
        br#""\\u0000""#,
        br#""\\\"""#,
        br#""'""#,
        b"\"\x7f\"",
        b"\"\xc2\x80\"",
        b"\"\xc3\xa9\"",
        b"\"\xe2\x80\xa8\xe2\x80\xa9\"",
        b"\"\xef\xbf\xbf\"",
        b"\"\xf4\x8f\xbf\xbf\"",
        b"\"\xf0\x9f\x98\x80\"",
        br#""\u2028""#,
        br#""\uFFFF""#,
        br#""\ufeff""#,
        b"\"\xef\xbb\xbf\"",
        br#""a\u0062c""#,
        b"\"/* not a comment */\"",
        b"\"<!-- -->\"",
    ];
    let refused: &[&[u8]] = &[
        br#"""#,
        br#""a"#,
        br#"a""#,
        br"'a'",
        br#""\"#,
        br#""\""#,
        br#""\a""#,
        br#""\v""#,
        br#""\0""#,
        br#""\x41""#,
        br#""\'""#,
        br#""\ ""#,
        br#""\U0041""#,
        br#""\u""#,
        br#""\u0""#,
        br#""\u00""#,
        br#""\u004""#,
        br#""\u004g""#,
        br#""\uG000""#,
        br#""\u+041""#,
        br#""\u 041""#,
        br#""\u{41}""#,
        br#""\u-041""#,
        b"\"\x00\"",
        b"\"\x01\"",
        b"\"\x08\"",
        b"\"\t\"",
        b"\"\n\"",
        b"\"\r\"",
        b"\"\x1b\"",
        b"\"\x1f\"",
        b"\"a\nb\"",
        b"\"\\\n\"",
        b"\"\\\x00\"",
        b"\"\\\xc3\xa9\"",
        br#""a" "b""#,
        br#""a"b"#,
        br"`a`",
        b"\xe2\x80\x9ca\xe2\x80\x9d",
        br#""\u12"#,
        br#""\uD83D\u""#,
        br#""\uD83D\uDE""#,
        br#""\ud83d\x""#,
        br"\u0022a\u0022",
    ];
    judge("7", accepted, refused)
}

/// Section 8.1: UTF-8, and no byte order mark. Section 8.2: unpaired surrogates are within the grammar.
fn encoding() -> usize {
    let accepted: &[&[u8]] = &[
        b"\"\xdf\xbf\"",
        b"\"\xe0\xa0\x80\"",
        b"\"\xed\x9f\xbf\"",
        b"\"\xee\x80\x80\"",
        b"\"\xf0\x90\x80\x80\"",
        br#""\ud800""#,
        br#""\uDFFF""#,
        br#""\udc00\ud800""#,
        br#""\ud800\ud800\udc00""#,
        br#""\ud83d\ude00""#,
        br#""\ud800a""#,
        br#""\ud800\n""#,
        br#"{"\udead":"\udbff"}"#,
    ];
    let refused: &[&[u8]] = &[
        b"\xef\xbb\xbf0",
        b"\xef\xbb\xbf{}",
        b"\xff\xfe0\x00",
        b"\xfe\xff\x000",
        b"0\x00",
        b"\xef\xbb\xbf",
        b"\"\x80\"",
        b"\"\xbf\"",
        b"\"\xc0\xaf\"",
        b"\"\xc1\xbf\"",
        b"\"\xc3\"",
        b"\"\xc3(\"",
        b"\"\xe0\x80\xaf\"",
        b"\"\xe2\x82\"",
        b"\"\xe2(\xa1\"",
        b"\"\xed\xa0\x80\"",
        b"\"\xed\xbf\xbf\"",
        b"\"\xf0\x80\x80\xaf\"",
        b"\"\xf0\x9f\x98\"",
        b"\"\xf4\x90\x80\x80\"",
        b"\"\xf5\x80\x80\x80\"",
        b"\"\xf8\x88\x80\x80\x80\"",
        b"\"\xfe\"",
        b"\"\xff\"",
        b"[\xff]",
        b"\xff",
        b"\"\xe9\"",
        b"{\"\xe9\":0}",
        b"[\"a\",\xc3\xa9]",
    ];
    judge("8", accepted, refused)
}

#[test]
fn each_section_is_accepted_and_refused_as_written() {
    let cases = grammar() + values() + objects() + arrays() + numbers() + strings() + encoding();
    assert!(cases >= 380, "{cases} cases");
}

/// Section 9: a parser may limit size, depth, range of numbers and length of strings; here only depth is limited, and a
/// text beyond it is over a limit, not wrong.
#[test]
fn limits_of_a_parser_are_told_from_errors() {
    let nested = |open: &str, close: &str, depth| {
        [open.repeat(depth), "0".into(), close.repeat(depth)].concat()
    };
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[ ", "\n]")] {
        assert_eq!(check_json(nested(open, close, 512).as_bytes()), Ok(()));
        let error = check_json(nested(open, close, 513).as_bytes()).unwrap_err();
        assert_eq!(error.kind, JsonErrorKind::TooDeep);
        assert!(error.kind.is_limit());
    }
    for long in [
        ["\"", &"a".repeat(1 << 20), "\""].concat(),
        "9".repeat(1 << 20),
        ["1e", &"0".repeat(1 << 20), "1"].concat(),
        ["0.", &"0".repeat(1 << 20)].concat(),
        ["[", &"0,".repeat(1 << 19), "0]"].concat(),
        ["{", &"\"a\":0,".repeat(1 << 17), "\"a\":0}"].concat(),
        " ".repeat(1 << 20) + "0",
    ] {
        assert_eq!(check_json(long.as_bytes()), Ok(()));
    }
}

/// A body with a byte order mark is compared as the JSON after it (8.1: a parser may ignore it).
#[test]
fn mark_before_a_body_is_ignored_by_the_comparison() {
    let headers = [("content-type".to_owned(), b"application/json".to_vec())];
    let answer = |body| Obs { status: 200, headers: &headers, body };
    let verdict = |legacy, new| {
        compare(&answer(legacy), &answer(new), &RuleSet::builtin(), &Budget::default()).verdict
    };
    assert_eq!(verdict(b"\xef\xbb\xbf{\"a\":1}", b"{\"a\":1}"), Verdict::MatchNormalised);
    assert!(!verdict(b"\xef\xbb\xbf{\"a\":1}", b"{\"a\":2}").is_match());
}
