//! The gate's promises, one test each.

use super::*;

fn evidence(distinct: u64, mismatched: u64) -> Evidence {
    Evidence { distinct, mismatched, ..Evidence::default() }
}

#[test]
fn nothing_compared_never_passes() {
    let gate = Gate::default();
    assert_eq!(gate.decide(Evidence::default()), GateVerdict::Inconclusive { needed: 2_995 });
    let gate = Gate::from_target(0.000_1, 0.5).unwrap();
    assert!(matches!(gate.decide(Evidence::default()), GateVerdict::Inconclusive { .. }));
}

#[test]
fn default_budget_passes_at_the_exact_sample_size() {
    let gate = Gate::default();
    assert_eq!(gate.decide(evidence(2_994, 0)), GateVerdict::Inconclusive { needed: 2_995 });
    assert_eq!(gate.decide(evidence(2_995, 0)), GateVerdict::Pass);
    assert_eq!(gate.decide(evidence(4_741, 1)), GateVerdict::Inconclusive { needed: 4_742 });
    assert_eq!(gate.decide(evidence(48_112, 9)), GateVerdict::Pass);
}

#[test]
fn one_breaking_difference_fails_at_once() {
    let seen = Evidence { breaking: 1, ..evidence(1_000_000, 1) };
    let why = FailReason::Breaking { count: 1 };
    assert_eq!(Gate::default().decide(seen), GateVerdict::Fail { why });
}

#[test]
fn one_new_error_fails_at_once() {
    let seen = Evidence { new_errors: 2, ..evidence(1_000_000, 0) };
    let why = FailReason::NewErrors { count: 2 };
    assert_eq!(Gate::default().decide(seen), GateVerdict::Fail { why });
}

#[test]
fn more_mismatches_than_the_budget_explains_fail_early() {
    let gate = Gate::default();
    let over = GateVerdict::Fail { why: FailReason::OverBudget };
    assert_eq!(gate.decide(evidence(2_000, 14)), over);
    assert_eq!(gate.decide(evidence(37, 1)), over);
    assert_eq!(gate.decide(evidence(1_000, 1)), GateVerdict::Inconclusive { needed: 4_742 });
}

#[test]
fn min_compared_asks_for_more_than_the_proof() {
    let gate = Gate::from_budget(1.0).unwrap().with_min_compared(500);
    assert_eq!(gate.decide(evidence(299, 0)), GateVerdict::Inconclusive { needed: 500 });
    assert_eq!(gate.decide(evidence(500, 0)), GateVerdict::Pass);
}

#[test]
fn more_mismatches_than_requests_is_still_decided() {
    let over = GateVerdict::Fail { why: FailReason::OverBudget };
    assert_eq!(Gate::default().decide(evidence(0, 5)), over);
}

#[test]
fn budgets_that_cannot_be_proven_are_refused() {
    assert_eq!(Gate::from_budget(0.0), Err(GateError::Budget(0.0)));
    assert!(Gate::from_budget(f64::NAN).is_err());
    assert_eq!(Gate::from_target(100.0, 0.95), Err(GateError::Target(100.0)));
    assert_eq!(Gate::from_target(99.0, 1.0), Err(GateError::Confidence(1.0)));
}

#[test]
fn verdicts_keep_their_serialized_form() {
    let json = |verdict: GateVerdict| serde_json::to_string(&verdict).unwrap();
    assert_eq!(json(GateVerdict::Pass), r#"{"verdict":"pass"}"#);
    assert_eq!(
        json(GateVerdict::Inconclusive { needed: 5 }),
        r#"{"verdict":"inconclusive","needed":5}"#
    );
    let fail = GateVerdict::Fail { why: FailReason::Breaking { count: 2 } };
    assert_eq!(json(fail), r#"{"verdict":"fail","why":{"reason":"breaking","count":2}}"#);
}

#[test]
fn verdicts_come_back_from_their_serialized_form() {
    for verdict in [
        GateVerdict::Pass,
        GateVerdict::Inconclusive { needed: u64::MAX },
        GateVerdict::Fail { why: FailReason::NewErrors { count: 7 } },
        GateVerdict::Fail { why: FailReason::OverBudget },
    ] {
        let text = serde_json::to_string(&verdict).unwrap();
        assert_eq!(serde_json::from_str::<GateVerdict>(&text).unwrap(), verdict, "{text}");
    }
}
