use super::*;
use crate::Version;
use crate::fixture::json;
use crate::judge::EndpointJudge;
use banyan_diff::{Budget, RuleSet};
use banyan_domain::Side;

fn judge() -> EndpointJudge {
    let version = Version::parse("header:x-version").ok();
    EndpointJudge {
        rules: RuleSet::builtin(),
        budget: Budget::default(),
        owner: Side::Legacy,
        renaming: None,
        version,
    }
}

/// A first comparison in which the owner said this, and the other side something that it never says again.
fn first(owner: Answer) -> Pair {
    Pair { owner, other: json(200, r#"{"other":"first"}"#) }
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
    let mut settle = Settle::new(suspect, 0, first(number(rounds[0].0)));
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
        let word = match settle.step(&config, &judge(), &reads) {
            Settled::Again(next_ms) => {
                at_ms = next_ms;
                continue;
            }
            Settled::Lag(_) => "lag".to_owned(),
            Settled::Raced => "raced".to_owned(),
            Settled::Watch => "watch".to_owned(),
            Settled::Mismatch(_) => panic!("a round alone confirms nothing"),
            Settled::NewError(_) => "new_error".to_owned(),
            Settled::NotComparable => "not_comparable".to_owned(),
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
    assert_eq!(play(&[(5, 5, 6, None)]), ("raced".into(), 1), "legacy moved while it was read");
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
fn a_place_that_moved_once_cannot_be_proven_in_this_recheck() {
    let watermark = Some(u64::MAX);
    let rounds = [(4, 9, 4, watermark), (5, 9, 5, watermark), (5, 9, 5, watermark)];
    assert_eq!(play(&rounds), ("again".into(), 3));
    let to_the_end = [rounds[0], rounds[1], rounds[2], rounds[2], rounds[2]];
    assert_eq!(play(&to_the_end), ("still_moving".into(), 5));
}

#[test]
fn silence_of_the_new_side_is_its_error_only_if_it_never_answers() {
    let config = SettleConfig::default();
    let settle =
        |suspect| Settle::new(suspect, 0, Pair { owner: number(4), other: Answer::none() });
    let word = |settled| match settled {
        Settled::Again(_) => "again",
        Settled::NewError(comparison) => {
            assert_eq!(comparison.differences[0].kind.label(), "outcome_changed:timeout");
            "new_error"
        }
        Settled::Inconclusive(why) => why,
        Settled::Lag(_)
        | Settled::Raced
        | Settled::Watch
        | Settled::Mismatch(_)
        | Settled::NotComparable => panic!("not a word of silence"),
    };
    let silence = || judge().silence(&number(4));
    let reads = |n| Reads {
        before: number(4),
        other: number(n),
        after: number(4),
        ended_ms: 1_000,
        watermark_ms: None,
        quiet_ms: 0,
    };
    let mut hanging = settle(Suspect::Silence);
    assert_eq!(word(hanging.silent(&config, silence())), "again");
    assert_eq!(word(hanging.failed(&config, "side_down")), "again", "left alone for a moment");
    assert_eq!(word(hanging.silent(&config, silence())), "new_error");

    let mut recovered = settle(Suspect::Silence);
    assert_eq!(word(recovered.silent(&config, silence())), "again");
    assert_eq!(word(recovered.step(&config, &judge(), &reads(4))), "timeout");

    let mut sometimes = settle(Suspect::Silence);
    sometimes.step(&config, &judge(), &reads(9));
    for _ in 0..3 {
        assert_eq!(word(sometimes.silent(&config, silence())), "again");
    }
    assert_eq!(word(sometimes.silent(&config, silence())), "timeout", "it answered once");

    let mut both = settle(Suspect::Silence);
    for _ in 0..4 {
        assert_eq!(word(both.silent(&config, judge().silence(&number(-1)))), "again");
    }
    assert_eq!(word(both.silent(&config, judge().silence(&number(-1)))), "timeout");
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
fn without_a_watermark_a_sync_that_was_later_than_a_watch_can_be_proves_nothing() {
    let config = SettleConfig::default();
    let play = |quiet_ms: u64| {
        let mut settle = Settle::new(Suspect::Difference, 0, first(number(4)));
        let mut due = settle.first_due(&config);
        while let Some(ended_ms) = due {
            let (before, other, after) = (number(4), number(5), number(4));
            let reads = Reads { before, other, after, ended_ms, watermark_ms: None, quiet_ms };
            match settle.step(&config, &judge(), &reads) {
                Settled::Again(next_ms) => due = Some(next_ms),
                Settled::Watch => return "watch",
                Settled::Inconclusive(why) => return why,
                Settled::Lag(_)
                | Settled::Raced
                | Settled::Mismatch(_)
                | Settled::NewError(_)
                | Settled::NotComparable => return "other",
            }
        }
        "no round"
    };
    assert_eq!(play(config.max_wait_ms), "watch");
    assert_eq!(play(config.max_wait_ms + 1), "sync_behind");
}

#[test]
fn failed_rounds_end_inconclusive() {
    let config = SettleConfig::default();
    let mut settle = Settle::new(Suspect::Difference, 0, first(number(4)));
    for _ in 0..4 {
        assert!(matches!(settle.failed(&config, "side_down"), Settled::Again(_)));
    }
    assert!(matches!(settle.failed(&config, "side_down"), Settled::Inconclusive("side_down")));
}

/// Plays a recheck of bodies: what the client saw, rounds of (before, other, after), looks of a watch, and its last
/// (owner, other). How it ended; for a mismatch the places that are reported.
fn bodies(
    served: &str,
    rounds: &[(&str, &str, &str)],
    looks: &[&str],
    last: (&str, &str),
) -> String {
    let (config, judge) = (SettleConfig::default(), judge());
    let body = |text: &str| json(200, text);
    let mut settle = Settle::new(Suspect::Difference, 0, first(body(served)));
    let mut ended = Settled::Inconclusive("no round");
    for (at, (before, other, after)) in (0..).zip(rounds) {
        let reads = Reads {
            before: body(before),
            other: body(other),
            after: body(after),
            ended_ms: at * 1_000,
            watermark_ms: Some(u64::MAX),
            quiet_ms: 0,
        };
        ended = settle.step(&config, &judge, &reads);
        if !matches!(ended, Settled::Again(_)) {
            break;
        }
    }
    if matches!(ended, Settled::Watch) {
        let still = looks.iter().all(|look| settle.look(&judge, body(look)));
        let pair = Pair { owner: body(last.0), other: body(last.1) };
        let watched = if still && settle.look(&judge, body(last.0)) {
            Watched::Unmoved(pair)
        } else {
            Watched::Moved
        };
        ended = settle.watched(&config, &judge, watched);
    }
    match ended {
        Settled::Mismatch(proof) => {
            let list = proof.comparison.differences.iter();
            list.map(|difference| difference.location.path.as_str()).collect::<Vec<_>>().join(" ")
        }
        Settled::Lag(_) => "lag".into(),
        Settled::Raced => "raced".into(),
        Settled::Again(_) => "again".into(),
        Settled::NotComparable => "not_comparable".into(),
        Settled::Inconclusive(why) => why.into(),
        Settled::Watch | Settled::NewError(_) => "other".into(),
    }
}

#[test]
fn rule_1_other_versions_are_not_compared_until_they_are_the_same() {
    let config = SettleConfig::default();
    let answer = |version: &str, total: u64| {
        let mut answer = json(200, format!("{{\"total\":{total}}}"));
        answer.headers.push(("x-version".into(), version.as_bytes().to_vec()));
        answer
    };
    let round = |settle: &mut Settle, other: &Answer| {
        let owner = answer("7", 4);
        let (before, after, other) = (owner.clone(), owner, other.clone());
        let (watermark_ms, quiet_ms, ended_ms) = (Some(u64::MAX), 0, 0);
        settle.step(
            &config,
            &judge(),
            &Reads { before, other, after, ended_ms, watermark_ms, quiet_ms },
        )
    };
    let start = || Settle::new(Suspect::Difference, 0, first(answer("7", 4)));
    let mut never = start();
    for _ in 0..4 {
        assert!(matches!(round(&mut never, &answer("6", 3)), Settled::Again(_)));
    }
    assert!(matches!(round(&mut never, &answer("6", 3)), Settled::NotComparable));
    let mut later = start();
    assert!(matches!(round(&mut later, &answer("6", 3)), Settled::Again(_)));
    assert!(matches!(round(&mut later, &answer("7", 3)), Settled::Again(_)));
    assert!(
        matches!(round(&mut later, &answer("7", 3)), Settled::Watch),
        "the same version differs"
    );
    let mut caught_up = start();
    assert!(matches!(round(&mut caught_up, &answer("7", 4)), Settled::Lag(None)));
}

#[test]
fn rule_2_new_shows_what_legacy_showed_at_each_place_and_legacy_moved() {
    let (old, now) = (r#"{"a":1,"b":1}"#, r#"{"a":2,"b":2}"#);
    assert_eq!(bodies(old, &[(old, old, now)], &[], ("", "")), "raced");
    let torn = r#"{"a":1,"b":2}"#;
    assert_eq!(bodies(old, &[(old, torn, now)], &[], ("", "")), "raced", "per place");
    assert_eq!(bodies(old, &[(now, old, now)], &[], ("", "")), "raced", "as the client saw it");
    assert_eq!(bodies(old, &[(now, now, now)], &[], ("", "")), "raced", "and agrees by now");
    assert_eq!(bodies(old, &[(old, r#"{"a":1,"b":9}"#, now)], &[], ("", "")), "again");
    // Elements known by index only: the places cannot be told apart, so nothing is excused.
    let (old, now) = (r#"["a","b"]"#, r#"["c","a","b"]"#);
    assert_eq!(bodies(old, &[(old, r#"["a","x"]"#, now)], &[], ("", "")), "again");
}

#[test]
fn rule_3_new_agrees_with_a_legacy_that_did_not_move() {
    let (late, now) = (r#"{"a":1}"#, r#"{"a":2}"#);
    assert_eq!(bodies(now, &[(now, late, now), (now, now, now)], &[], ("", "")), "lag");
}

#[test]
fn rule_4_what_neither_moved_nor_agrees_is_confirmed() {
    let (legacy, new) = (r#"{"a":1,"b":1}"#, r#"{"a":2,"b":1}"#);
    let rounds = [(legacy, new, legacy); 2];
    assert_eq!(bodies(legacy, &rounds, &[legacy], (legacy, new)), "$.a");
    assert_eq!(bodies(legacy, &rounds, &[legacy], (legacy, legacy)), "lag");
    let moved = r#"{"a":3,"b":1}"#;
    assert_eq!(bodies(legacy, &rounds, &[moved], (legacy, new)), "again", "moved in the watch");
    assert_eq!(bodies(moved, &[(legacy, new, legacy); 5], &[], ("", "")), "still_moving");
}

#[test]
fn rule_5_a_place_that_moves_by_itself_is_no_mismatch_and_hides_no_other() {
    let legacy = |n: u64| format!("{{\"n\":{n},\"a\":1}}");
    let texts: Vec<String> = (0..12).map(legacy).collect();
    let rounds: Vec<(&str, String, &str)> = (0..5)
        .map(|at| {
            (
                texts[2 * at].as_str(),
                format!("{{\"n\":{},\"a\":1}}", 90 + at),
                texts[2 * at + 1].as_str(),
            )
        })
        .collect();
    let rounds: Vec<_> = rounds.iter().map(|(a, b, c)| (*a, b.as_str(), *c)).collect();
    assert_eq!(bodies(&texts[11], &rounds, &[], ("", "")), "still_moving");
    let wrong = r#"{"n":50,"a":2}"#;
    let rounds = [(texts[0].as_str(), wrong, texts[1].as_str()), (&texts[2], wrong, &texts[3])];
    let looks = [texts[4].as_str(), &texts[5]];
    assert_eq!(bodies(&texts[11], &rounds, &looks, (&texts[6], wrong)), "$.a");
    let null = r#"{"n":null,"a":1}"#;
    let rounds = [(texts[0].as_str(), null, texts[1].as_str()), (&texts[2], null, &texts[3])];
    assert_eq!(bodies(&texts[11], &rounds, &looks, (&texts[6], null)), "$.n", "its type is wrong");
}

#[test]
fn rule_6_a_new_side_that_still_moves_is_inconclusive() {
    let new: Vec<String> = (0..5).map(|n| format!("{{\"a\":{n}}}")).collect();
    let legacy = r#"{"a":50}"#;
    let rounds: Vec<_> = new.iter().map(|new| (legacy, new.as_str(), legacy)).collect();
    assert_eq!(bodies(legacy, &rounds, &[], ("", "")), "still_moving");
}

#[test]
fn a_watch_that_the_sync_did_not_pass_proves_nothing() {
    let config = SettleConfig::default();
    let mut settle = Settle::new(Suspect::Difference, 0, first(number(4)));
    assert!(matches!(settle.watched(&config, &judge(), Watched::Behind), Settled::Again(250)));
    assert!(matches!(settle.watched(&config, &judge(), Watched::Moved), Settled::Again(250)));
    let pair = Pair { owner: number(4), other: number(-1) };
    assert!(matches!(
        settle.watched(&config, &judge(), Watched::Unmoved(pair)),
        Settled::Again(250)
    ));
}
