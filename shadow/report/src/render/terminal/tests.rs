//! The report as people see it, by snapshot.

use super::*;
use crate::sample::{endpoint, full, group, huge, report};
use crate::{Gate, Severity};

#[test]
fn report_starts_with_the_verdict_and_groups_by_endpoint_path_and_cause() {
    insta::assert_snapshot!(render_terminal(&report(), Style::plain()));
}

#[test]
fn gate_prints_one_line_per_endpoint() {
    insta::assert_snapshot!(render_gate(&report(), Style::plain()));
}

#[test]
fn gate_says_what_noise_hid_and_which_of_it_is_real() {
    let mut report = full();
    let quiet =
        NoiseReport { accepted: false, hidden: 0, is_real: false, ..report.noise[0].clone() };
    let calm = NoiseReport {
        path: "$.seen".to_owned(),
        kind: String::new(),
        is_real: false,
        ..report.noise[0].clone()
    };
    report.noise.extend([quiet, calm.clone()]);
    insta::assert_snapshot!(render_gate(&report, Style::plain()));
    report.noise.extend(vec![calm; 7]);
    let text = render_gate(&report, Style::plain());
    assert!(text.contains("and 4 more places of noise"), "{text}");
}

#[test]
fn lag_alone_is_a_detail() {
    let mut report = full();
    let lag = report.endpoints[0].lag_time.take();
    report.endpoints[2].lag_time = lag;
    let text = render_terminal(&report, Style::plain());
    assert!(text.contains("\nmessages.list\n  212 late: p50 310 ms"), "{text}");
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

#[test]
fn report_with_everything_shows_each_part() {
    insta::assert_snapshot!(render_terminal(&full(), Style::plain()));
}

#[test]
fn fifty_thousand_mismatches_print_quickly_and_say_what_was_cut() {
    let report = huge(50_000);
    let started = std::time::Instant::now();
    let text = render_terminal(&report, Style::plain());
    assert!(started.elapsed().as_secs_f64() < 1.0, "{:?}", started.elapsed());
    assert!(text.len() < 1_000_000, "{}", text.len());
    assert!(text.contains("cut after 200 of 10,000 groups"));
}
