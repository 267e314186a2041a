//! The gate's promises, one test each.

use super::*;

/// Inconclusive because only so many distinct requests would be a proof.
fn open(needed: u64) -> GateVerdict {
    GateVerdict::Inconclusive { needed, why: OpenReason::Evidence }
}

fn evidence(distinct: u64, mismatched: u64) -> Evidence {
    Evidence { distinct, mismatched, ..Evidence::default() }
}

#[test]
fn nothing_compared_never_passes() {
    let gate = Gate::default();
    assert_eq!(gate.decide(Evidence::default()), open(2_995));
    let gate = Gate::from_target(0.000_1, 0.5).unwrap();
    assert!(matches!(gate.decide(Evidence::default()), GateVerdict::Inconclusive { .. }));
}

#[test]
fn default_budget_passes_at_the_exact_sample_size() {
    let gate = Gate::default();
    assert_eq!(gate.decide(evidence(2_994, 0)), open(2_995));
    assert_eq!(gate.decide(evidence(2_995, 0)), GateVerdict::Pass);
    assert_eq!(gate.decide(evidence(4_741, 1)), open(4_742));
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
    assert_eq!(gate.decide(evidence(1_000, 1)), open(4_742));
}

#[test]
fn min_compared_asks_for_more_than_the_proof() {
    let gate = Gate::from_budget(1.0).unwrap().with_min_compared(500);
    assert_eq!(gate.decide(evidence(299, 0)), open(500));
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
        json(open(5)),
        r#"{"verdict":"inconclusive","needed":5,"why":{"reason":"evidence"}}"#
    );
    let fail = GateVerdict::Fail { why: FailReason::Breaking { count: 2 } };
    assert_eq!(json(fail), r#"{"verdict":"fail","why":{"reason":"breaking","count":2}}"#);
}

#[test]
fn verdicts_come_back_from_their_serialized_form() {
    for verdict in [
        GateVerdict::Pass,
        open(u64::MAX),
        GateVerdict::Inconclusive { needed: 9, why: OpenReason::Restless { age_ms: 4 } },
        GateVerdict::Fail { why: FailReason::Lag { p99_ms: 2_100 } },
        GateVerdict::Fail { why: FailReason::NewErrors { count: 7 } },
        GateVerdict::Fail { why: FailReason::OverBudget },
    ] {
        let text = serde_json::to_string(&verdict).unwrap();
        assert_eq!(serde_json::from_str::<GateVerdict>(&text).unwrap(), verdict, "{text}");
    }
    let old = r#"{"verdict":"inconclusive","needed":7}"#;
    assert_eq!(serde_json::from_str::<GateVerdict>(old).unwrap(), open(7));
}

/// What is open besides the number of requests.
fn missing(gate: Gate, evidence: Evidence) -> Option<OpenReason> {
    match gate.decide(evidence) {
        GateVerdict::Inconclusive { why, .. } => Some(why),
        GateVerdict::Pass | GateVerdict::Fail { .. } => None,
    }
}

#[test]
fn a_watched_gate_asks_for_more_and_passes_all_the_same() {
    let gate = Gate { bound: Bound::Watched, ..Gate::default() };
    assert_eq!(gate.decide(evidence(2_995, 0)), open(3_787));
    assert_eq!(gate.decide(evidence(3_787, 0)), GateVerdict::Pass);
    let over = GateVerdict::Fail { why: FailReason::OverBudget };
    assert_eq!(gate.decide(evidence(2_000, 14)), over);
    assert!(gate.proven_percent(0, 3_787) >= 99.9);
    assert!(Gate::default().proven_percent(0, 3_787) > gate.proven_percent(0, 3_787));
}

#[test]
fn a_young_mismatch_and_a_silence_keep_a_quiet_gate_open() {
    let gate = Gate { quiet_for_ms: Some(3_600_000), ..Gate::default() };
    let seen = Evidence { mismatch_age_ms: Some(60_000), ..evidence(9_000, 1) };
    assert_eq!(missing(gate, seen), Some(OpenReason::Restless { age_ms: 60_000 }));
    let seen = Evidence { mismatch_age_ms: Some(3_600_000), ..seen };
    assert_eq!(missing(gate, seen), Some(OpenReason::Silent));
    let seen = Evidence { tried: 9_100, tried_while_quiet: 10, ..seen };
    assert_eq!(gate.decide(seen), GateVerdict::Pass);
}

#[test]
fn undecided_comparisons_and_a_dormant_endpoint_keep_the_gate_open() {
    let gate = Gate::default();
    let seen = Evidence { tried: 9_600, undecided: 600, ..evidence(9_000, 0) };
    let why = OpenReason::Undecided { count: 600 };
    assert_eq!(gate.decide(seen), GateVerdict::Inconclusive { needed: 9_600, why });
    assert_eq!(gate.decide(Evidence { undecided: 30, ..seen }), GateVerdict::Pass);
    let dormant = Evidence { dormant: true, ..evidence(9_000, 0) };
    assert_eq!(missing(gate, dormant), Some(OpenReason::Dormant));
}

#[test]
fn a_side_that_is_too_late_fails_when_that_was_asked() {
    let seen = Evidence { lag_p99_ms: Some(2_100), ..evidence(9_000, 0) };
    assert_eq!(Gate::default().decide(seen), GateVerdict::Pass);
    let gate = Gate { max_lag_p99_ms: Some(2_000), ..Gate::default() };
    assert_eq!(gate.decide(seen), GateVerdict::Fail { why: FailReason::Lag { p99_ms: 2_100 } });
    let gate = Gate { max_lag_p99_ms: Some(2_100), ..gate };
    assert_eq!(gate.decide(seen), GateVerdict::Pass);
}

mod property {
    use super::*;
    use proptest::prelude::*;

    fn gates() -> impl Strategy<Value = Gate> {
        let bound = prop_oneof![Just(Bound::Once), Just(Bound::Watched)];
        let quiet = prop_oneof![Just(None), (1_u64..9_999).prop_map(Some)];
        (0.001_f64..99.0, 0.5_f64..0.999, 0_u64..4_000, bound, quiet).prop_map(
            |(budget, confidence, least, bound, quiet_for_ms)| {
                let gate = Gate::from_target(100.0 - budget, confidence).unwrap();
                let max_lag_p99_ms = quiet_for_ms.map(|quiet| quiet / 2);
                Gate { bound, quiet_for_ms, max_lag_p99_ms, ..gate.with_min_compared(least) }
            },
        )
    }

    fn seen() -> impl Strategy<Value = Evidence> {
        let few = || prop_oneof![9 => Just(0_u64), 1 => 0_u64..5];
        let counts = (0_u64..200_000, 0_u64..40, few(), few(), 0_u64..9_000);
        (counts, any::<bool>(), proptest::option::of(0_u64..20_000), 0_u64..3).prop_map(
            |((distinct, mismatched, breaking, new_errors, undecided), dormant, age, quiet)| {
                Evidence {
                    distinct,
                    mismatched,
                    breaking,
                    new_errors,
                    tried: distinct + undecided,
                    undecided,
                    dormant,
                    mismatch_age_ms: age.filter(|_| mismatched > 0),
                    tried_while_quiet: quiet,
                    lag_p99_ms: age,
                    real_under_noise: 0,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn more_agreement_never_turns_a_pass_into_anything_else(gate in gates(), seen in seen(), more in 1_u64..90_000) {
            let better = Evidence { distinct: seen.distinct + more, tried: seen.tried + more, ..seen };
            match gate.decide(seen) {
                GateVerdict::Pass => prop_assert_eq!(gate.decide(better), GateVerdict::Pass),
                GateVerdict::Inconclusive { .. } => {
                    let fails = matches!(gate.decide(better), GateVerdict::Fail { .. });
                    prop_assert!(!fails);
                }
                GateVerdict::Fail { .. } => {}
            }
        }

        #[test]
        fn more_mismatches_never_turn_a_failure_into_anything_else(gate in gates(), seen in seen(), more in 1_u64..50, on_old in any::<bool>()) {
            let new = if on_old { 0 } else { more };
            let worse = Evidence {
                distinct: seen.distinct + new,
                tried: seen.tried + more,
                mismatched: seen.mismatched + more,
                mismatch_age_ms: Some(0),
                ..seen
            };
            match gate.decide(seen) {
                GateVerdict::Fail { .. } => {
                    let fails = matches!(gate.decide(worse), GateVerdict::Fail { .. });
                    prop_assert!(fails);
                }
                GateVerdict::Inconclusive { .. } => prop_assert_ne!(gate.decide(worse), GateVerdict::Pass),
                GateVerdict::Pass => {}
            }
        }

        #[test]
        fn nothing_distinct_never_passes_and_any_evidence_has_an_answer(gate in gates(), seen in seen(), huge in any::<u64>()) {
            prop_assert_ne!(gate.decide(Evidence { distinct: 0, mismatched: 0, ..seen }), GateVerdict::Pass);
            let absurd = Evidence { distinct: huge >> 20, undecided: huge, tried: huge, ..seen };
            prop_assert!(!gate.decide(absurd).word().is_empty());
        }
    }
}
