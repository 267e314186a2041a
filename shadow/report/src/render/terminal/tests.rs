//! The report as people see it, by snapshot.

use std::collections::BTreeMap;

use super::*;
use crate::{Evidence, Gate, HiddenCount, OpenReason, Severity, Transition};

fn endpoint(name: &str, distinct: u64, mismatched: u64) -> EndpointReport {
    let gate = Gate::default();
    EndpointReport {
        endpoint: name.to_owned(),
        compared: distinct + 3,
        matched: distinct - mismatched,
        normalised: 0,
        noise: 0,
        mismatched,
        lag: 2,
        inconclusive: 1,
        errors: 0,
        skipped: BTreeMap::new(),
        distinct_requests: distinct,
        gate: gate.decide(Evidence { distinct, mismatched, ..Evidence::default() }),
        groups: Vec::new(),
        hidden: Vec::new(),
        phase: "shadow".to_owned(),
        last_mismatch_ms: None,
        proven_percent: gate.proven_percent(mismatched, distinct),
        distinct_per_hour: Some(900.0),
        lag_time: None,
    }
}

fn hidden(rule: &str, count: u64) -> HiddenCount {
    HiddenCount { rule: rule.to_owned(), count, first_ms: None, last_ms: None }
}

fn group(path: &str, kind: &str, severity: Severity, count: u64) -> Group {
    Group {
        path: path.to_owned(),
        kind: kind.to_owned(),
        severity,
        count,
        first_seen_ms: 1_402_567_200_000,
        last_seen_ms: 1_402_570_800_000,
        causes: vec![Transition { text: "rails-time -> iso8601".to_owned(), count }],
        examples: vec![Example {
            request: "GET /messages/91".to_owned(),
            location: path.replace("[*]", "[0]"),
            legacy: Some("\"2014/06/12 10:00:00 +0000\"".to_owned()),
            new: None,
            replay: "banyan shadow diff http://legacy/messages/91 http://new/messages/91"
                .to_owned(),
        }],
    }
}

fn report() -> Report {
    let mut show = endpoint("messages.show", 2_000, 14);
    show.groups = vec![
        group("$.message.sender.badge", "key_extra", Severity::Additive, 1),
        group("$.message.created_at", "value_changed:time_format", Severity::Value, 14),
        group("$.message.created_at", "type_changed", Severity::Breaking, 2),
    ];
    show.hidden = vec![hidden("builtin/x-runtime", 1_986), hidden("builtin/x-request-id", 2_000)];
    show.skipped = BTreeMap::from([("queue_full".to_owned(), 3), ("sampled".to_owned(), 12)]);
    let list = endpoint("messages.list", 48_112, 9);
    let count = endpoint("messages.unread_count", 37, 0);
    Report::new(
        1_402_570_800_000,
        Some(1_402_567_200_000),
        Gate::default(),
        vec![list, count, show],
    )
}

#[test]
fn report_starts_with_the_verdict_and_groups_by_endpoint_path_and_cause() {
    insta::assert_snapshot!(render_terminal(&report(), Style::plain()));
}

#[test]
fn gate_prints_one_line_per_endpoint() {
    insta::assert_snapshot!(render_gate(&report(), Style::plain()));
}

#[test]
fn report_of_nothing_is_inconclusive_and_says_what_to_do() {
    let report = Report::new(1, None, Gate::default(), Vec::new());
    insta::assert_snapshot!(render_terminal(&report, Style::plain()));
    let why = OpenReason::Evidence;
    assert_eq!(report.verdict(), GateVerdict::Inconclusive { needed: 2_995, why });
}

#[test]
fn groups_of_one_path_stay_together_behind_the_worst() {
    let mut show = endpoint("messages.show", 10, 3);
    show.groups = vec![
        group("$.b", "value_changed:string", Severity::Value, 9),
        group("$.a", "value_changed:string", Severity::Value, 1),
        group("$.a", "type_changed", Severity::Breaking, 1),
    ];
    let report = Report::new(1, None, Gate::default(), vec![show]);
    let order: Vec<_> =
        report.endpoints[0].groups.iter().map(|g| (g.path.as_str(), g.severity)).collect();
    assert_eq!(
        order,
        [("$.a", Severity::Breaking), ("$.a", Severity::Value), ("$.b", Severity::Value)]
    );
}

#[test]
fn colour_only_wraps_the_word() {
    let text = render_gate(&report(), Style::coloured());
    assert!(text.starts_with("\u{1b}[1;31mFAIL\u{1b}[0m          messages.show"), "{text}");
}

#[test]
fn control_characters_of_answers_do_not_reach_the_terminal() {
    let mut evil = endpoint("messages.show", 10, 0);
    evil.groups = vec![group("$['\u{1b}[2J']", "type_changed", Severity::Breaking, 1)];
    let report = Report::new(1, None, Gate::default(), vec![evil]);
    assert!(!render_terminal(&report, Style::plain()).contains('\u{1b}'));
}

#[test]
fn model_survives_its_serialized_form() {
    let text = serde_json::to_string(&report()).unwrap();
    assert!(
        text.starts_with(r#"{"schema":"banyan.shadow.report/1","generated_ms":1402570800000,"#)
    );
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report());
}
