use super::*;
use crate::fixture::{exchange, json as answer, redaction};
use banyan_diff::{Budget, RuleSet, compare};

fn compared(legacy: &str, new: &str) -> Comparison {
    let (legacy, new) = (answer(200, legacy), answer(200, new));
    compare(&legacy.obs(), &new.obs(), &RuleSet::builtin(), &Budget::default())
}

fn found(legacy: &str, new: &str) -> Vec<(String, String, String)> {
    let groups = groups(&compared(legacy, new));
    groups.into_iter().map(|group| (group.shape, group.kind, group.transition)).collect()
}

fn one(legacy: &str, new: &str) -> (String, String) {
    let groups = found(legacy, new);
    assert_eq!(groups.len(), 1, "{groups:?}");
    (groups[0].0.clone(), groups[0].2.clone())
}

#[test]
fn transitions_name_the_classes_and_the_step_of_neighbours() {
    let rails = r#"{"created_at":"2014/06/12 10:00:00 +0000"}"#;
    let iso = r#"{"created_at":"2014-06-12T10:00:00Z"}"#;
    assert_eq!(one(rails, iso), ("$.created_at".into(), "rails-time -> iso8601".into()));
    let step = one(r#"{"n":4}"#, r#"{"n":5}"#);
    assert_eq!(step, ("$.n".into(), "int -> int+1".into()));
    assert_eq!(one(r#"{"n":4}"#, r#"{"n":40}"#).1, "int -> int");
    let badge = one(r#"{"a":1,"badge":"pro"}"#, r#"{"a":1}"#);
    assert_eq!(badge, ("$.badge".into(), "string -> absent".into()));
}

#[test]
fn a_read_counts_once_per_group_however_many_elements_show_it() {
    let list = |badge: &str| {
        let items: Vec<String> =
            (1..=50).map(|id| format!("{{\"id\":{id},\"sender\":{{\"id\":7{badge}}}}}")).collect();
        format!("{{\"messages\":[{}]}}", items.join(","))
    };
    let groups = found(&list(",\"badge\":\"pro\""), &list(""));
    assert_eq!(groups.len(), 1, "{groups:?}");
    assert_eq!(groups[0].0, "$.messages[*].sender.badge");
}

#[test]
fn a_sample_shows_classes_and_tokens_and_the_status() {
    let case_of = |request| Case {
        endpoint: Box::leak(Box::new(EndpointName::new("messages.show").unwrap())),
        template: None,
        request,
        served_by: Side::Legacy,
        generation: Generation(3),
        at_ms: 9,
    };
    let request = MirrorRequest::of(&exchange("messages.show", "/messages/91?q=private")).unwrap();
    let comparison = compared(r#"{"a":"my text","b":1}"#, r#"{"a":"my other text","b":true}"#);
    let sample = sample(&redaction(), &case_of(&request), &comparison);
    let text = sample.body.to_string();
    assert!(!text.contains("my text") && !text.contains("private"), "{text}");
    assert!(text.contains("\"generation\":3") && text.contains("tok:string"), "{text}");
    let (legacy, new) = (answer(404, "{}"), answer(200, "{}"));
    let comparison = compare(&legacy.obs(), &new.obs(), &RuleSet::builtin(), &Budget::default());
    let sample = super::sample(&redaction(), &case_of(&request), &comparison);
    assert_eq!((sample.shape.as_str(), sample.kind.as_str()), ("status", "status_changed"));
    assert_eq!(sample.body["differences"][0]["legacy"], "404");
    assert_eq!(sample.body["differences"][0]["transition"], "404 -> 200");
}

#[test]
fn distinct_requests_differ_in_target_and_kind_of_credentials_not_in_the_credentials() {
    let print = |target: &str, headers: &[(&str, &str)]| {
        let mut exchange = exchange("messages.show", target);
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec()));
        exchange.request_headers = headers.collect();
        let request = MirrorRequest::of(&exchange).unwrap();
        fingerprint(&redaction(), &exchange.endpoint, &request)
    };
    assert_eq!(print("/m/1", &[("cookie", "a")]), print("/m/1", &[("cookie", "b")]));
    assert_ne!(print("/m/1", &[("cookie", "a")]), print("/m/1", &[("authorization", "a")]));
    assert_ne!(print("/m/1", &[]), print("/m/2", &[]));
    assert_ne!(print("/m/1", &[]), print("/m/1?page=2", &[]));
}
