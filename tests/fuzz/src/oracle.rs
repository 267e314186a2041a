//! What must hold for any bytes, target by target.
//!
//! Owns the oracles: each function takes an input and panics when a promise is broken. They stand apart from libFuzzer
//! so that `tests/corpus.rs` of the product's workspace runs every input of the corpus through the same functions.
//! Must stay true: an oracle judges by another implementation or by a law (the same is the same, swapping the sides
//! changes no verdict), never by what the code under test says about itself alone.

use banyan_diff::{
    Budget, Comparison, JsonErrorKind, Obs, Rule, RuleSet, check_json, compare, rules_from_toml,
};
use serde::de::IgnoredAny;

type Headers = Vec<(String, Vec<u8>)>;

/// Two bodies from one input: what stands before and after the first `\n--\n`.
fn sides(input: &[u8]) -> (&[u8], &[u8]) {
    const BETWEEN: &[u8] = b"\n--\n";
    let at = input.windows(BETWEEN.len()).position(|window| window == BETWEEN);
    at.map_or((input, input), |at| (&input[..at], &input[at + BETWEEN.len()..]))
}

fn headers(media: &str) -> Headers {
    vec![("content-type".to_owned(), media.as_bytes().to_vec())]
}

fn compared(headers: &Headers, legacy: &[u8], new: &[u8], rules: &RuleSet) -> Comparison {
    let obs = |body| Obs { status: 200, headers, body };
    compare(&obs(legacy), &obs(new), rules, &Budget::default())
}

/// The laws of any comparison of two bodies.
fn laws(headers: &Headers, legacy: &[u8], new: &[u8], rules: &RuleSet) {
    let forth = compared(headers, legacy, new, rules);
    assert_eq!(forth, compared(headers, legacy, new, rules), "not deterministic");
    let back = compared(headers, new, legacy, rules);
    assert_eq!(
        forth.total_differences, back.total_differences,
        "not symmetric: {forth:?} {back:?}"
    );
    assert_eq!(forth.verdict.is_match(), back.verdict.is_match(), "not symmetric");
    assert_eq!(forth.verdict.as_str(), back.verdict.as_str(), "not symmetric");
    assert!(forth.differences.len() <= Budget::default().differences, "over the cap");
    if forth.verdict.is_match() {
        assert_eq!(forth.total_differences, 0, "a match with differences");
    }
    assert!(compared(headers, legacy, legacy, rules).verdict.is_match(), "not the same as itself");
}

/// JSON: accepted exactly when `serde_json` accepts it; the laws; spelling changes nothing.
pub fn json(input: &[u8]) {
    let (legacy, new) = sides(input);
    for text in [legacy, new] {
        accepted_alike(text);
    }
    let media = headers("application/json");
    for rules in [RuleSet::builtin(), RuleSet::empty()] {
        laws(&media, legacy, new, &rules);
    }
    if check_json(legacy).is_ok() {
        let spaced = [b" ", legacy, b"\n"].concat();
        let comparison = compared(&media, legacy, &spaced, &RuleSet::builtin());
        assert!(comparison.verdict.is_match(), "white space around made {comparison:?}");
        let respelt = respelt(legacy);
        let comparison = compared(&media, legacy, &respelt, &RuleSet::builtin());
        let shown = String::from_utf8_lossy(&respelt);
        assert!(comparison.verdict.is_match(), "white space inside made {comparison:?} of {shown}");
    }
}

fn accepted_alike(text: &[u8]) {
    let ours = check_json(text);
    if matches!(ours, Err(error) if error.kind == JsonErrorKind::TooDeep) {
        return;
    }
    // Not being built into a value, the text is judged by the grammar alone: no limit on depth, no lone surrogate.
    let theirs = std::str::from_utf8(text)
        .is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
    assert_eq!(ours.is_ok(), theirs, "{ours:?} {:?}", String::from_utf8_lossy(text));
}

/// The same text with white space around each comma, colon and bracket outside of strings.
fn respelt(text: &[u8]) -> Vec<u8> {
    let (mut out, mut inside, mut escaped) = (Vec::new(), false, false);
    for byte in text {
        let structural = !inside && matches!(byte, b',' | b':' | b'[' | b']' | b'{' | b'}');
        if structural {
            out.extend([b'\t', *byte, b' ']);
        } else {
            out.push(*byte);
        }
        match (inside, escaped, byte) {
            (true, true, _) => escaped = false,
            (true, false, b'\\') => escaped = true,
            (_, _, b'"') => inside = !inside,
            _ => {}
        }
    }
    out
}

/// HTML: the laws.
pub fn html(input: &[u8]) {
    let (legacy, new) = sides(input);
    for media in ["text/html; charset=utf-8", "text/html"] {
        laws(&headers(media), legacy, new, &RuleSet::builtin());
    }
}

/// Bodies of any type behind any chain of encodings, named by the first line.
pub fn decode(input: &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (first, rest) = (&input[..end], input.get(end + 1..).unwrap_or_default());
    let (media, encoding) = match first.iter().position(|byte| *byte == b'|') {
        Some(at) => (&first[..at], &first[at + 1..]),
        None => (first, &b""[..]),
    };
    let (legacy, new) = sides(rest);
    let headers = vec![
        ("content-type".to_owned(), media.to_vec()),
        ("content-encoding".to_owned(), encoding.to_vec()),
    ];
    laws_of_bytes(&headers, legacy, new);
}

/// The laws without "the same as itself decodes": equal bytes are the same before they are decoded.
fn laws_of_bytes(headers: &Headers, legacy: &[u8], new: &[u8]) {
    laws(headers, legacy, new, &RuleSet::builtin());
}

/// Selectors: read or refused with a place inside of them; a rule only takes differences away.
pub fn selectors(input: &[u8]) {
    const LEGACY: &[u8] = br#"{"a":[{"id":1,"b":2},{"id":3,"b":4}],"c":{"d":"x"},"e":null,"0":1}"#;
    const NEW: &[u8] = br#"{"a":[{"id":3,"b":5},{"id":1,"b":2}],"c":{"d":"y"},"f":0,"0":[]}"#;
    let Ok(text) = std::str::from_utf8(input) else { return };
    let rule = match Rule::ignore(text, "fuzzed") {
        Ok(rule) => rule,
        Err(error) => {
            assert!(error.at + error.len <= text.len(), "{error:?} points outside of {text:?}");
            assert!(text.is_char_boundary(error.at), "{error:?} points into a character");
            assert!(!error.hint().is_empty() && !error.to_string().is_empty());
            return;
        }
    };
    let media = headers("application/json");
    let without = compared(&media, LEGACY, NEW, &RuleSet::builtin());
    let with = compared(&media, LEGACY, NEW, &RuleSet::builtin().with([rule.clone()]));
    assert!(with.total_differences <= without.total_differences, "{text} adds differences");
    laws(&media, LEGACY, NEW, &RuleSet::builtin().with([rule]));
}

/// A rules file: rules that read back as they are written and keep the laws, or problems inside the text.
pub fn rules(input: &[u8]) {
    const LEGACY: &[u8] =
        br#"{"a":[{"id":1,"b":"2.50"},{"id":3,"b":4}],"c":"X ","e":null,"t":"2014/06/12 10:00:00 +0000"}"#;
    const NEW: &[u8] =
        br#"{"a":[{"id":3,"b":5},{"id":1,"b":2.5}],"c":"x","f":[],"t":"2014-06-12T10:00:00Z"}"#;
    let Ok(text) = std::str::from_utf8(input) else { return };
    let rules = match rules_from_toml(text) {
        Ok(rules) => rules,
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a problem");
            for problem in problems {
                assert!(text.get(problem.span.clone()).is_some(), "{problem:?} points outside");
                assert!(problem.line > 0 && problem.column > 0, "{problem:?}");
            }
            return;
        }
    };
    let written: String = rules.iter().map(Rule::to_toml).collect();
    assert_eq!(rules_from_toml(&written).as_ref(), Ok(&rules), "reads back as something else");
    let media = headers("application/json");
    let compare = |rules: RuleSet| compared(&media, LEGACY, NEW, &rules);
    let with = compare(RuleSet::builtin().with(rules));
    assert!(!with.verdict.is_match() || with.total_differences == 0, "a match with differences");
}
