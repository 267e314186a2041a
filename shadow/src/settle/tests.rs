use super::*;
use crate::fixture::json;
use crate::judge::EndpointJudge;
use banyan_diff::{Budget, RuleSet};
use banyan_domain::Side;

fn judge() -> EndpointJudge {
    EndpointJudge {
        rules: RuleSet::builtin(),
        budget: Budget::default(),
        owner: Side::Legacy,
        renaming: None,
    }
}

fn number(n: i64) -> Answer {
    match n {
        0.. => json(200, format!("{{\"unread_count\":{n}}}")),
        _ => json(503, "{}"),
    }
}

/// Plays rounds of (before, other, after, watermark), one at each due time, and says how it ended and after how many.
fn play(rounds: &[(i64, i64, i64, Option<u64>)]) -> (String, usize) {
    play_from(Suspect::Difference, rounds)
}

fn play_from(suspect: Suspect, rounds: &[(i64, i64, i64, Option<u64>)]) -> (String, usize) {
    let config = SettleConfig::default();
    let mut settle = Settle::new(suspect, 0);
    let mut at_ms = settle.first_due(&config).unwrap();
    for (at, (before, other, after, watermark_ms)) in rounds.iter().enumerate() {
        let reads = Reads {
            before: number(*before),
            other: number(*other),
            after: number(*after),
            ended_ms: at_ms,
            watermark_ms: *watermark_ms,
            quiet_ms: 0,
        };
        let word = match settle.step(&config, &judge(), reads) {
            Settled::Again(next_ms) => {
                at_ms = next_ms;
                continue;
            }
            Settled::Lag => "lag".to_owned(),
            Settled::Watch => "watch".to_owned(),
            Settled::Mismatch(_) => panic!("a round alone confirms nothing"),
            Settled::NewError(_) => "new_error".to_owned(),
            Settled::Inconclusive(why) => why.to_owned(),
        };
        return (word, at + 1);
    }
    ("again".to_owned(), rounds.len())
}

#[test]
fn sides_that_agree_at_a_re_read_were_only_late() {
    assert_eq!(play(&[(5, 5, 5, None)]), ("lag".into(), 1));
    assert_eq!(play(&[(5, 4, 5, None), (5, 5, 5, None)]), ("lag".into(), 2));
    assert_eq!(play(&[(5, 5, 6, None)]), ("lag".into(), 1), "legacy moved while it was read");
}

#[test]
fn without_a_watermark_a_mismatch_is_watched_only_after_all_delays() {
    let round = (4, 5, 4, None);
    assert_eq!(play(&[round, round]), ("again".into(), 2));
    assert_eq!(play(&[round, round, round]), ("watch".into(), 3));
}

#[test]
fn with_a_watermark_a_mismatch_is_watched_once_the_sync_has_passed_the_owners_answer() {
    // The owner's answer is first in hand at 250 ms; the margin is 1,000 ms.
    let at = |watermark| (4, 5, 4, Some(watermark));
    assert_eq!(play(&[at(9_999), at(1_250)]), ("watch".into(), 2));
    assert_eq!(play(&[at(200), at(1_249), at(1_250)]), ("watch".into(), 3));
    let behind = [at(200), at(300), at(400), at(500), at(600)];
    assert_eq!(play(&behind), ("sync_behind".into(), 5), "a sync that stands proves nothing");
}

#[test]
fn an_owner_that_keeps_moving_is_never_a_mismatch() {
    let moving: Vec<_> = (0..5).map(|n| (10 + n, 1, 10 + n, Some(u64::MAX))).collect();
    assert_eq!(play(&moving), ("still_moving".into(), 5));
    let within: Vec<_> = (0..5).map(|n| (10 + n, 1, 20 + n, Some(u64::MAX))).collect();
    assert_eq!(play(&within), ("still_moving".into(), 5));
}

#[test]
fn an_other_side_that_still_moves_is_never_a_mismatch() {
    let moving: Vec<_> = (0..5).map(|n| (50, n, 50, None)).collect();
    assert_eq!(play(&moving), ("still_moving".into(), 5));
}

#[test]
fn a_move_in_between_starts_the_proof_anew() {
    let watermark = Some(1_500);
    let rounds = [(4, 9, 4, watermark), (5, 9, 5, watermark), (5, 9, 5, watermark)];
    assert_eq!(play(&rounds), ("again".into(), 3), "5 was first seen at 1,000: 2,000 is needed");
    let later = [rounds[0], rounds[1], (5, 9, 5, Some(2_000))];
    assert_eq!(play(&later), ("watch".into(), 3));
}

#[test]
fn an_error_of_the_new_side_is_confirmed_only_if_it_stays() {
    let round = (4, -1, 4, None);
    assert_eq!(play_from(Suspect::NewError, &[round, round]), ("again".into(), 2));
    assert_eq!(play_from(Suspect::NewError, &[round; 3]), ("new_error".into(), 3));
    let restarted = [round, (4, 4, 4, None)];
    assert_eq!(play_from(Suspect::NewError, &restarted), ("transient_error".into(), 2));
    assert_eq!(play(&[(-1, 4, -1, None); 5]), ("server_error".into(), 5));
}

#[test]
fn a_lag_that_was_seen_prolongs_the_proof_without_a_watermark() {
    let config = SettleConfig::default();
    let mut settle = Settle::new(Suspect::Difference, 0);
    let mut due = settle.first_due(&config);
    let mut rounds = 0;
    while let Some(ended_ms) = due {
        rounds += 1;
        let (before, other, after) = (number(4), number(5), number(4));
        let reads = Reads { before, other, after, ended_ms, watermark_ms: None, quiet_ms: 6_000 };
        match settle.step(&config, &judge(), reads) {
            Settled::Again(next_ms) => due = Some(next_ms),
            Settled::Watch => break,
            Settled::Lag
            | Settled::Mismatch(_)
            | Settled::NewError(_)
            | Settled::Inconclusive(_) => panic!("not to be watched"),
        }
    }
    assert_eq!((rounds, due), (4, Some(8_000)));
}

#[test]
fn failed_rounds_end_inconclusive() {
    let config = SettleConfig::default();
    let mut settle = Settle::new(Suspect::Difference, 0);
    for _ in 0..4 {
        assert!(matches!(settle.failed(&config), Settled::Again(_)));
    }
    assert!(matches!(settle.failed(&config), Settled::Inconclusive("side_down")));
}

/// What a watch means after one round, and for a mismatch its place.
fn watched(watched: &Watched) -> String {
    let config = SettleConfig::default();
    let mut settle = Settle { rounds: 1, ..Settle::new(Suspect::Difference, 0) };
    match settle.watched(&config, &judge(), watched) {
        Settled::Mismatch(comparison) => comparison.differences[0].location.path.clone(),
        Settled::Lag => "lag".into(),
        Settled::Again(at_ms) => format!("again at {at_ms}"),
        Settled::Watch | Settled::NewError(_) | Settled::Inconclusive(_) => "other".into(),
    }
}

#[test]
fn only_a_watch_in_which_the_owner_did_not_move_confirms_a_mismatch() {
    let saw = |owner, other| Watched::Unmoved { owner: number(owner), other: number(other) };
    assert_eq!(watched(&saw(4, 5)), "$.unread_count");
    assert_eq!(watched(&saw(4, 4)), "lag");
    assert_eq!(watched(&saw(4, -1)), "again at 1000");
    assert_eq!(watched(&Watched::Moved), "again at 1000");
    assert_eq!(watched(&Watched::Behind), "again at 1000");
}
