use super::*;
use crate::account::Books;
use crate::fixture::{exchange, json};
use crate::ledger::LedgerLimit;
use crate::sample::Case;
use crate::{Answer, MirrorRequest};
use banyan_diff::{Budget, RuleSet, compare};
use banyan_domain::Side;
use proptest::prelude::*;
use std::sync::Arc;

fn redaction(ids: NumericIds) -> Redaction {
    Redaction::new(RedactionKey::derive(b"test"), ids)
}

#[test]
fn equal_values_have_equal_tokens_under_one_key_and_others_under_another() {
    let one = redaction(NumericIds::Shown);
    assert_eq!(one.token("string", b"ada"), one.token("string", b"ada"));
    assert_ne!(one.token("string", b"ada"), one.token("string", b"bob"));
    let other = Redaction::new(RedactionKey::derive(b"other"), NumericIds::Shown);
    assert_ne!(one.token("string", b"ada"), other.token("string", b"ada"));
    assert!(!format!("{one:?}").contains("116"), "the key is not printed");
}

#[test]
fn a_target_keeps_literals_short_ids_and_query_keys() {
    let template = PathTemplate::new("/users/{name}/messages").unwrap();
    let show = |ids, target: &str| redaction(ids).target(target, Some(&template));
    let shown = show(NumericIds::Shown, "/users/17/messages?page=2&q=my+secret&a%40b=1");
    assert!(shown.starts_with("/users/17/messages?page=2&q=tok:string:"), "{shown}");
    assert!(!shown.contains("secret") && !shown.contains("a%40b"), "{shown}");
    let hidden = show(NumericIds::Hidden, "/users/17/messages");
    assert!(hidden.starts_with("/users/tok:int:") && hidden.ends_with("/messages"), "{hidden}");
    assert!(!show(NumericIds::Shown, "/users/ada-3/messages").contains("ada"));
    assert!(!show(NumericIds::Shown, "/users/4915123456789/messages").contains("4915"));
    let unknown = redaction(NumericIds::Shown).target("/users/17", None);
    assert!(unknown.starts_with("/tok:string:") && unknown.ends_with("/17"), "{unknown}");
}

#[test]
fn shapes_keep_field_names_and_lose_keys_that_may_be_data() {
    let same = [
        "$",
        "$.messages[*].sender.badge",
        "$['x-y'].a",
        "header:x-runtime",
        "cookie:_session",
        "status",
        "body",
        "$.*.a",
        "$[*]",
    ];
    for text in same {
        assert_eq!(shape(text), text);
    }
    assert_eq!(shape("$['ada@example.com'].a"), "$.*.a");
    assert_eq!(shape(r"$['it\'s]'].a[*]"), "$.*.a[*]");
    assert_eq!(shape("$.eyJhbGciOiJIUzI1NiJ9.a"), "$.*.a");
    assert_eq!(shape("$.a123456"), "$.*");
    assert_eq!(shape("cookie:ada@example.com"), "cookie:*");
    assert_eq!(shape("some words"), "body");
    for place in
        ["html:body > ul#inbox > li > a@href", "html:html", "html:!doctype", "html:svg > a@*"]
    {
        assert_eq!(shape(place), place);
    }
    assert_eq!(
        shape("html:body > ul#u123456789 > x.ada > a@data-1234567"),
        "html:body > ul > * > a@*"
    );
    assert_eq!(shape("html:ada lovelace > p"), "html:* > p");
}

#[test]
fn a_shown_place_shows_its_values_but_no_secret_and_no_credential() {
    let shown = ["$.status", "header:x-note", "header:set-cookie", "cookie:a"].map(str::to_owned);
    let redaction = redaction(NumericIds::Shown).with_shown(shown);
    let body = |shape: &str| banyan_diff::Location {
        part: banyan_diff::Part::Body,
        pointer: String::new(),
        path: shape.into(),
        shape: shape.into(),
    };
    let show = |location: &banyan_diff::Location, text: &str| {
        redaction.fragment(location, &Fragment::of_text(text.as_bytes()))
    };
    assert_eq!(show(&body("$.status"), "active"), "\"active\"");
    assert!(show(&body("$.name"), "active").starts_with("tok:"));
    for secret in ["ada@example.com", "call +4915112345678", "4111 1111 1111 1111", "10.0.0.1"] {
        assert!(show(&body("$.status"), secret).starts_with("tok:"), "{secret}");
    }
    let header = |name: &str| banyan_diff::Location {
        part: banyan_diff::Part::Header(name.into()),
        ..body(&format!("header:{name}"))
    };
    assert_eq!(show(&header("x-note"), "seven"), "\"seven\"");
    assert!(show(&header("set-cookie"), "seven").starts_with("tok:"));
    let cookie =
        banyan_diff::Location { part: banyan_diff::Part::Cookie("a".into()), ..body("cookie:a") };
    assert!(show(&cookie, "seven").starts_with("tok:"));
}

/// A secret in the forms that redaction must recognise as values or as keys that are data.
fn secret() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{8,12}@[a-z]{5,9}\\.example",
        "\\+49[0-9]{10,12}",
        "4[0-9]{15}",
        "eyJ[A-Za-z0-9]{8}[A-Z][a-z][0-9]{5}\\.[A-Za-z0-9]{12}\\.[A-Za-z0-9]{12}",
        "[0-9a-f]{32}",
        "[A-Z][a-z]{6,9} [a-z]{4,9} [0-9]{2} [a-z]{5,9}!",
    ]
}

/// Everything that would be saved for a confirmed mismatch, as text.
fn saved(legacy: &Answer, new: &Answer, target: &str, headers: &[(String, Vec<u8>)]) -> String {
    let mut exchange = exchange("messages.show", target);
    exchange.request_headers = headers.to_vec();
    let request = MirrorRequest::of(&exchange).unwrap();
    let comparison = compare(&legacy.obs(), &new.obs(), &RuleSet::builtin(), &Budget::default());
    let books = Books::new(LedgerLimit::default(), redaction(NumericIds::Shown), 10);
    let books = Arc::new(books);
    let template = PathTemplate::new("/messages/{id}").unwrap();
    let case = Case {
        endpoint: &exchange.endpoint,
        template: Some(&template),
        request: &request,
        served_by: Side::Legacy,
        generation: exchange.generation,
        at_ms: 1,
    };
    books.open(&exchange.endpoint, 1).mismatch(&case, &comparison);
    let (ledger, batch) = books.take().unwrap();
    assert!(!batch.samples.is_empty() && !batch.outcomes.is_empty());
    format!("{ledger:?} {batch:?}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_planted_secret_is_in_anything_that_is_saved(
        secrets in prop::collection::vec(secret(), 8),
        extra in any::<bool>(),
    ) {
        let value = |at: usize| serde_json::Value::from(secrets[at].clone());
        let with = |status: u16, body: &serde_json::Value, at: usize| {
            let mut answer: Answer = json(status, body.to_string());
            let cookie = format!("session={}; path=/", secrets[at]).into_bytes();
            answer.headers.push(("set-cookie".into(), cookie));
            answer.headers.push(("x-note".into(), secrets[at + 1].clone().into_bytes()));
            answer.headers.push(("location".into(), format!("/a/{}", secrets[at]).into_bytes()));
            answer
        };
        let mut keyed = serde_json::Map::new();
        keyed.insert(secrets[0].clone(), value(1));
        let legacy = serde_json::json!({ "text": value(0), "list": [value(1), value(2)], "map": keyed,
            "number": "1", "only_legacy": value(3) });
        let mut new = serde_json::json!({ "text": value(4), "list": [value(5)], "map": {},
            "number": 1 });
        if extra {
            new["extra"] = value(6);
        }
        let target = format!("/messages/{}?q={}", secrets[6].replace([' ', '?'], "%20"),
            secrets[7].replace([' ', '&', '='], "+"));
        let headers = vec![
            ("authorization".to_owned(), secrets[2].clone().into_bytes()),
            ("cookie".to_owned(), secrets[3].clone().into_bytes()),
        ];
        let text = saved(&with(200, &legacy, 0), &with(200, &new, 5), &target, &headers);
        for secret in &secrets {
            prop_assert!(!text.contains(secret.as_str()), "{secret} is in {text}");
            // Also no large part of one.
            let part = secret.get(..8).unwrap_or(secret);
            prop_assert!(!text.contains(part), "{part} is in {text}");
        }
    }
}
