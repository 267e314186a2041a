use super::*;
use serde_json::json;

fn name(text: &str) -> EndpointName {
    EndpointName::new(text).unwrap()
}

fn declared(endpoint: &str, phase: Phase) -> Declared {
    Declared { endpoint: name(endpoint), kind: EndpointKind::Read, phase }
}

fn counts(list: &[(&str, &str, u64)]) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut outcomes: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for (outcome, reason, count) in list {
        outcomes.entry((*outcome).into()).or_default().insert((*reason).into(), *count);
    }
    outcomes
}

fn report(phase: Phase, evidence: EndpointSummary) -> Report {
    let endpoints = BTreeMap::from([(name("messages.show"), evidence)]);
    let period = Period { generated_ms: 9, since_ms: None };
    assemble(
        &Summary { endpoints, ..Summary::default() },
        Gate::default(),
        &[declared("messages.show", phase)],
        period,
    )
}

fn verdict(phase: Phase, outcomes: &[(&str, &str, u64)], distinct: u64, bad: u64) -> &'static str {
    let evidence = EndpointSummary {
        outcomes: counts(outcomes),
        distinct,
        distinct_mismatched: bad,
        ..EndpointSummary::default()
    };
    report(phase, evidence).verdict().word()
}

#[test]
fn enough_agreement_passes_and_only_in_a_phase_that_compares() {
    let good = [("match", "", 4_000), ("match_normalised", "", 1_000), ("lag", "le_1s", 20)];
    assert_eq!(verdict(Phase::Shadow, &good, 5_000, 0), "PASS");
    assert_eq!(verdict(Phase::New, &good, 5_000, 0), "PASS");
    assert_eq!(verdict(Phase::Legacy, &good, 5_000, 0), "INCONCLUSIVE");
    assert_eq!(verdict(Phase::Shadow, &good, 37, 0), "INCONCLUSIVE");
}

#[test]
fn nothing_seen_or_only_skips_never_pass() {
    assert_eq!(verdict(Phase::Shadow, &[], 0, 0), "INCONCLUSIVE");
    assert_eq!(verdict(Phase::Shadow, &[("skipped", "side_down", 9_000)], 0, 0), "INCONCLUSIVE");
    let period = Period { generated_ms: 9, since_ms: None };
    let report = assemble(&Summary::default(), Gate::default(), &[], period);
    assert_eq!(report.verdict().word(), "INCONCLUSIVE");
}

#[test]
fn breaking_mismatches_and_errors_fail_and_too_much_undecided_is_inconclusive() {
    let matches = ("match", "", 9_000);
    let breaking = [matches, ("mismatch", "breaking", 1)];
    assert_eq!(verdict(Phase::Shadow, &breaking, 9_000, 1), "FAIL");
    assert_eq!(verdict(Phase::Shadow, &[matches, ("new_error", "", 1)], 9_000, 1), "FAIL");
    let undecided = [matches, ("inconclusive", "no_budget", 600)];
    assert_eq!(verdict(Phase::Shadow, &undecided, 9_000, 0), "INCONCLUSIVE");
    let few = [matches, ("inconclusive", "still_moving", 30)];
    assert_eq!(verdict(Phase::Shadow, &few, 9_000, 0), "PASS");
}

#[test]
fn writes_and_quiet_retired_endpoints_are_left_out_silent_reads_are_not() {
    let write = Declared { kind: EndpointKind::Write, ..declared("messages.create", Phase::New) };
    let all = [write, declared("messages.list", Phase::Shadow), declared("a.b", Phase::Retired)];
    let period = Period { generated_ms: 9, since_ms: Some(1) };
    let report = assemble(&Summary::default(), Gate::default(), &all, period);
    let names: Vec<_> = report.endpoints.iter().map(|e| e.endpoint.as_str()).collect();
    assert_eq!(names, ["messages.list"]);
}

#[test]
fn groups_gather_transitions_and_find_their_examples_in_any_sample() {
    let total = |transition: &str, count, first_ms, last_ms| DifferenceTotal {
        shape: "$.a".into(),
        kind: "value_changed:time_format".into(),
        severity: "value".into(),
        transition: transition.into(),
        count,
        first_ms,
        last_ms,
    };
    let other = json!({"shape": "$.b", "kind": "key_missing", "legacy": "tok:int:1", "new": null});
    let wanted = json!({"shape": "$.a", "kind": "value_changed:time_format",
        "legacy": "tok:rails-time:1", "new": "tok:iso8601:2"});
    let body = json!({"method": "GET", "target": "/messages/91", "differences": [other, wanted]});
    let sample = Sample {
        at_ms: 5,
        endpoint: name("messages.show"),
        shape: "$.b".into(),
        kind: "key_missing".into(),
        body,
    };
    let evidence = EndpointSummary {
        differences: vec![
            total("string -> iso8601", 2, 5, 9),
            total("rails-time -> iso8601", 40, 3, 7),
        ],
        samples: vec![sample],
        hidden: vec![HiddenTotal { rule: "x-runtime".into(), count: 3, first_ms: 4, last_ms: 8 }],
        ..EndpointSummary::default()
    };
    let report = report(Phase::Shadow, evidence);
    let group = &report.endpoints[0].groups[0];
    assert_eq!((group.count, group.first_seen_ms, group.last_seen_ms), (42, 3, 9));
    assert_eq!(group.causes[0].text, "rails-time -> iso8601");
    assert_eq!(group.examples[0].request, "GET /messages/91");
    assert_eq!(group.examples[0].new.as_deref(), Some("tok:iso8601:2"));
    let hidden = &report.endpoints[0].hidden[0];
    assert_eq!((hidden.count, hidden.first_ms, hidden.last_ms), (3, Some(4), Some(8)));
    assert_eq!(report.endpoints[0].last_mismatch_ms, Some(9));
}

#[test]
fn the_rate_of_evidence_counts_from_the_first_comparison() {
    let rate = |first_ms, generated_ms| {
        let seen = EndpointSummary { distinct: 30, first_ms, ..EndpointSummary::default() };
        seen.distinct_per_hour(Period { generated_ms, since_ms: None })
    };
    assert_eq!(rate(Some(1_000), 1_801_000), Some(60.0));
    assert_eq!(rate(Some(1_000), 2_000), None);
    assert_eq!(rate(None, 1_801_000), None);
}

#[test]
fn an_unknown_stored_severity_counts_as_the_worst() {
    assert_eq!(severity("value"), Severity::Value);
    assert_eq!(severity("catastrophic"), Severity::Breaking);
}

#[test]
fn a_real_difference_under_noise_fails_the_gate_and_noise_says_what_it_hid() {
    let place = |shape: &str, new_alone| NoiseTotal {
        shape: shape.into(),
        kind: if shape.is_empty() { String::new() } else { "value_changed:string".into() },
        sums: crate::NoiseSums {
            pairs: if shape.is_empty() { 200 } else { 0 },
            noisy: if shape.is_empty() { 0 } else { 50 },
            new_alone,
            ..crate::NoiseSums::default()
        },
        first_ms: 3,
        last_ms: 5,
    };
    let hidden = |rule: &str| HiddenTotal { rule: rule.into(), count: 12, first_ms: 3, last_ms: 5 };
    let judged = |new_alone| {
        let evidence = EndpointSummary {
            outcomes: counts(&[("match", "", 6_000), ("noise", "", 3_000)]),
            distinct: 9_000,
            noise: vec![place("", 0), place("$.a", 0), place("$.b", new_alone)],
            hidden: vec![hidden("noise/$.a"), hidden("builtin/date")],
            ..EndpointSummary::default()
        };
        let show = name("messages.show");
        let accepted = [(show.clone(), "$.a".into(), "value_changed:string".into())].into();
        let summary = Summary { endpoints: [(show, evidence)].into(), accepted };
        let period = Period { generated_ms: 9, since_ms: None };
        assemble(&summary, Gate::default(), &[declared("messages.show", Phase::Shadow)], period)
    };
    let report = judged(3);
    assert_eq!((report.verdict().word(), report.endpoints[0].noise), ("PASS", 3_000));
    let a = &report.noise[0];
    assert_eq!((a.path.as_str(), a.accepted, a.hidden, a.is_real), ("$.a", true, 12, false));
    assert_eq!((a.pairs, a.noisy), (200, 50));
    let report = judged(30);
    assert_eq!(report.verdict().word(), "FAIL");
    let b = &report.noise[0];
    assert_eq!((b.path.as_str(), b.accepted, b.is_real, b.new_alone), ("$.b", false, true, 30));
}

#[test]
fn lags_are_told_per_endpoint_and_over_all_and_the_gate_asks_for_their_p99() {
    let evidence = |lags: &[(u64, u64)]| EndpointSummary {
        outcomes: counts(&[("match", "", 5_000)]),
        distinct: 5_000,
        lags: lags.iter().copied().collect(),
        ..EndpointSummary::default()
    };
    let endpoints = BTreeMap::from([
        (name("messages.show"), evidence(&[(110, 99), (1_100, 1)])),
        (name("messages.list"), evidence(&[(110, 1), (11_000, 99)])),
        (name("messages.other"), evidence(&[(110_000, 1)])),
    ]);
    let gate = Gate { max_lag_p99_ms: Some(1_000), ..Gate::default() };
    let wanted = ["messages.list", "messages.show", "messages.count"];
    let report = assemble(
        &Summary { endpoints, ..Summary::default() },
        gate,
        &wanted.map(|endpoint| declared(endpoint, Phase::Shadow)),
        Period { generated_ms: 9, since_ms: None },
    );
    let told = |endpoint: &str| report.endpoints.iter().find(|e| e.endpoint == endpoint).unwrap();
    let times = |lag: &banyan_report::LagReport| [lag.p50_ms, lag.p95_ms, lag.p99_ms, lag.max_ms];
    let show = told("messages.show").lag_time.as_ref().unwrap();
    assert_eq!((show.count, times(show)), (100, [105, 105, 105, 1_049]));
    assert_eq!(
        (told("messages.show").gate.word(), told("messages.list").gate.word()),
        ("PASS", "FAIL")
    );
    assert_eq!(told("messages.count").lag_time, None);
    let all = report.lag.as_ref().unwrap();
    assert_eq!(all.count, 200, "not of endpoints that the report is not about");
    assert_eq!(all.buckets.iter().map(|bucket| bucket.count).collect::<Vec<_>>(), [100, 1, 99]);
    assert_eq!(times(all), [105, 10_488, 10_488, 10_488]);
}
