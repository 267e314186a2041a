//! Clock changes, outages, overlaps, and the promises as properties.

use super::*;
use chrono::TimeZone;
use proptest::prelude::*;

fn schedule(text: &str, zone: &str, rules: ScheduleRules) -> Schedule {
    Schedule::new("people", text, zone, rules).unwrap()
}

fn plain(text: &str, zone: &str) -> Schedule {
    schedule(text, zone, ScheduleRules::default())
}

fn ms(utc: &str) -> i64 {
    DateTime::parse_from_rfc3339(utc).unwrap().timestamp_millis()
}

/// The next `count` slots after a moment, as RFC 3339 in the schedule's zone.
fn slots(of: &Schedule, after: &str, count: usize) -> Vec<String> {
    let mut at = ms(after);
    (0..count)
        .map(|_| {
            at = of.next_after(at).unwrap();
            of.zone.timestamp_millis_opt(at).unwrap().to_rfc3339()
        })
        .collect()
}

/// The same slots found from the end backwards, as `decide` does.
fn backwards(of: &Schedule, after: i64, until: i64) -> Vec<i64> {
    of.due(after, until).0
}

fn forwards(of: &Schedule, after: i64, until: i64) -> Vec<i64> {
    std::iter::successors(of.next_after(after), |at| of.next_after(*at))
        .take_while(|slot| *slot <= until)
        .collect()
}

#[test]
fn a_time_in_the_spring_gap_runs_once_right_after_the_gap() {
    let of = plain("30 2 * * *", "Europe/Berlin");
    assert_eq!(
        slots(&of, "2026-03-27T12:00:00Z", 3),
        ["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]
    );
    let (from, to) = (ms("2026-03-27T12:00:00Z"), ms("2026-03-31T12:00:00Z"));
    assert_eq!(backwards(&of, from, to), forwards(&of, from, to));
}

#[test]
fn a_time_in_the_repeated_hour_runs_once_and_an_interval_in_both_halves() {
    let of = plain("30 2 * * *", "Europe/Berlin");
    assert_eq!(
        slots(&of, "2026-10-24T12:00:00Z", 2),
        ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]
    );
    let of = plain("*/30 * * * *", "Europe/Berlin");
    assert_eq!(
        slots(&of, "2026-10-24T23:45:00Z", 5),
        [
            "2026-10-25T02:00:00+02:00",
            "2026-10-25T02:30:00+02:00",
            "2026-10-25T02:00:00+01:00",
            "2026-10-25T02:30:00+01:00",
            "2026-10-25T03:00:00+01:00",
        ]
    );
}

#[test]
fn lord_howe_moves_its_clock_by_half_an_hour() {
    // 2026-10-04: 02:00 becomes 02:30. 2026-04-05: 02:00 becomes 01:30.
    let of = plain("15 2 * * *", "Australia/Lord_Howe");
    assert_eq!(
        slots(&of, "2026-10-02T20:00:00Z", 2),
        ["2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"]
    );
    let of = plain("*/15 1 * * *", "Australia/Lord_Howe");
    let found = slots(&of, "2026-04-04T13:50:00Z", 6);
    assert_eq!(
        found,
        [
            "2026-04-05T01:00:00+11:00",
            "2026-04-05T01:15:00+11:00",
            "2026-04-05T01:30:00+11:00",
            "2026-04-05T01:45:00+11:00",
            "2026-04-05T01:30:00+10:30",
            "2026-04-05T01:45:00+10:30",
        ]
    );
}

#[test]
fn years_end_and_leap_days_come() {
    let of = plain("59 23 31 12 *", "UTC");
    assert_eq!(
        slots(&of, "2026-12-31T23:59:00Z", 1),
        ["2027-12-31T23:59:00+00:00"],
        "a slot is never its own next slot"
    );
    let of = plain("0 0 1 1 *", "Pacific/Auckland");
    assert_eq!(slots(&of, "2026-12-30T00:00:00Z", 1), ["2027-01-01T00:00:00+13:00"]);
    let of = plain("0 12 29 2 *", "UTC");
    assert_eq!(slots(&of, "2026-01-01T00:00:00Z", 1), ["2028-02-29T12:00:00+00:00"]);
    let of = plain("0 0 L * *", "UTC");
    assert_eq!(slots(&of, "2026-02-01T00:00:00Z", 1), ["2026-02-28T00:00:00+00:00"]);
}

#[test]
fn what_cannot_be_a_schedule_is_refused_with_its_reason() {
    let refused = |text: &str, zone: &str| {
        Schedule::new("j", text, zone, ScheduleRules::default()).unwrap_err().to_string()
    };
    for text in ["", "* * * *", "61 * * * *", "0 0 * * * *", "0 0 0 1 1 * 2030", "every day"] {
        assert!(refused(text, "UTC").contains("five fields"), "{}", refused(text, "UTC"));
    }
    assert!(refused("0 0 30 2 *", "UTC").contains("never comes"));
    assert!(refused("0 0 * * *", "Berlin").contains("no time zone"));
    let rules = ScheduleRules { missed: Missed::All, ..ScheduleRules::default() };
    let refused = Schedule::new("j", "0 0 * * *", "UTC", rules).unwrap_err();
    assert_eq!(refused, ScheduleError::AllNeedsQueue);
    let rules = ScheduleRules { deadline: Duration::from_hours(25), ..ScheduleRules::default() };
    let refused = Schedule::new("j", "0 0 * * *", "UTC", rules).unwrap_err();
    assert_eq!(refused, ScheduleError::TooLong { key: "deadline" });
}

fn rules(missed: Missed, overlap: Overlap) -> ScheduleRules {
    ScheduleRules { missed, overlap, deadline: Duration::from_mins(1), ..ScheduleRules::default() }
}

#[test]
fn missed_slots_are_skipped_folded_or_made_up_for() {
    let (last, now) = (ms("2026-05-01T10:00:00Z"), ms("2026-05-01T10:17:30Z"));
    let minutes = |m: i64| ms("2026-05-01T10:00:00Z") + m * 60_000;
    let late = Passed { first_ms: minutes(5), last_ms: minutes(15), count: 3, more: false };
    let of = |missed, overlap| schedule("*/5 * * * *", "UTC", rules(missed, overlap));

    let skip = of(Missed::Skip, Overlap::Forbid);
    assert_eq!(
        skip.decide(last, now, false),
        Decision::Pass { passed: late, why: PassReason::Missed }
    );
    assert_eq!(
        skip.decide(minutes(15), now, false),
        Decision::Wait { until_ms: Some(minutes(20)) }
    );

    let one = of(Missed::One, Overlap::Forbid);
    let folded = Passed { last_ms: minutes(10), count: 2, ..late };
    assert_eq!(
        one.decide(last, now, false),
        Decision::Run { slot_ms: minutes(15), folded: Some(folded) }
    );

    let all = of(Missed::All, Overlap::Queue);
    assert_eq!(all.decide(last, now, false), Decision::Run { slot_ms: minutes(5), folded: None });
    assert_eq!(all.decide(last, now, true), Decision::WaitForRun { slot_ms: minutes(5) });
}

#[test]
fn a_slot_during_a_run_is_passed_over_or_waits() {
    let now = ms("2026-05-01T10:05:10Z");
    let last = ms("2026-05-01T10:00:00Z");
    let slot_ms = ms("2026-05-01T10:05:00Z");
    let forbid = schedule("*/5 * * * *", "UTC", rules(Missed::Skip, Overlap::Forbid));
    let passed = Passed { first_ms: slot_ms, last_ms: slot_ms, count: 1, more: false };
    assert_eq!(forbid.decide(last, now, true), Decision::Pass { passed, why: PassReason::Overlap });
    let queue = schedule("*/5 * * * *", "UTC", rules(Missed::Skip, Overlap::Queue));
    assert_eq!(queue.decide(last, now, true), Decision::WaitForRun { slot_ms });
    assert_eq!(queue.decide(last, now, false), Decision::Run { slot_ms, folded: None });
}

#[test]
fn ten_years_of_minutes_are_decided_in_bounded_work() {
    let all = schedule("* * * * *", "UTC", rules(Missed::All, Overlap::Queue));
    let (last, now) = (ms("2016-01-01T00:00:00Z"), ms("2026-01-01T00:00:30Z"));
    let Decision::Pass { passed, why: PassReason::Dropped } = all.decide(last, now, false) else {
        panic!("drops what is too old");
    };
    assert!(passed.more, "it says that it did not count them all");
    let mut at = passed.last_ms;
    let mut runs = 0;
    while let Decision::Run { slot_ms, .. } = all.decide(at, now, false) {
        assert_eq!(slot_ms, at + 60_000);
        (at, runs) = (slot_ms, runs + 1);
    }
    assert_eq!(runs, CATCH_UP_MAX + 1, "the missed ones and the one in time");
}

#[test]
fn jitter_is_the_same_for_the_same_job_and_slot_and_within_its_limit() {
    let jittered = |job: &str| {
        let rules = ScheduleRules { jitter: Duration::from_secs(30), ..ScheduleRules::default() };
        Schedule::new(job, "* * * * *", "UTC", rules).unwrap()
    };
    let (one, same, other) = (jittered("a"), jittered("a"), jittered("b"));
    let late: Vec<i64> = (0..200).map(|n| one.starts_ms(n * 60_000) - n * 60_000).collect();
    assert!(late.iter().all(|late| (0..=30_000).contains(late)));
    assert!(late.iter().max() > late.iter().min(), "slots differ");
    assert!((0..200).all(|n| one.starts_ms(n * 60_000) == same.starts_ms(n * 60_000)));
    assert!((0..200).any(|n| one.starts_ms(n * 60_000) != other.starts_ms(n * 60_000)));
}

const TEXTS: [&str; 9] = [
    "*/5 * * * *",
    "30 2 * * *",
    "0,15,45 1-3 * * *",
    "*/30 * * * *",
    "0 0 1 * *",
    "7 */6 * * MON-FRI",
    "0 3 L * *",
    "59 23 31 12 *",
    "*/17 2 * 3,4,10,11 SUN",
];
const ZONES: [&str; 6] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/St_Johns",
];

/// How a simulated scheduler lives: it sleeps, is away, and its runs take time.
fn life() -> impl Strategy<Value = Vec<(i64, bool)>> {
    // Mostly short steps, sometimes an outage of days.
    let step = prop_oneof![8 => 1_000..200_000_i64, 1 => 3_600_000..300_000_000_i64];
    prop::collection::vec((step, any::<bool>()), 1..80)
}

/// What a simulation did.
#[derive(Default)]
struct Lived {
    ran: Vec<i64>,
    passed: usize,
    folded: usize,
    end: i64,
}

/// Lives and then catches up until the schedule has nothing more to do.
fn live(of: &Schedule, start: i64, life: &[(i64, bool)]) -> Lived {
    let mut lived = Lived::default();
    let (mut last, mut now) = (start, start);
    let steps = life.iter().copied().chain([(1_000, false)]);
    for (step, running) in steps {
        now += step;
        for _ in 0..10_000 {
            match of.decide(last, now, running) {
                Decision::Wait { until_ms } => {
                    assert!(until_ms.is_none_or(|until| until > now), "would spin");
                    break;
                }
                Decision::WaitForRun { slot_ms } => {
                    assert!(running && slot_ms > last);
                    break;
                }
                Decision::Pass { passed, .. } => {
                    assert!(passed.first_ms > last && passed.last_ms >= passed.first_ms);
                    (last, lived.passed) = (passed.last_ms, lived.passed + passed.count);
                }
                Decision::Run { slot_ms, folded } => {
                    assert!(!running && slot_ms > last, "runs forward only");
                    assert!(of.starts_ms(slot_ms) <= now, "never before its start");
                    lived.folded += folded.map_or(0, |folded| folded.count);
                    lived.ran.push(slot_ms);
                    last = slot_ms;
                }
            }
        }
    }
    lived.end = last;
    lived
}

fn any_schedule(missed: Missed, overlap: Overlap) -> impl Strategy<Value = Schedule> {
    let jitter = prop_oneof![Just(0_u64), 1..400_u64];
    (0..TEXTS.len(), 0..ZONES.len(), jitter, 1..600_u64).prop_map(
        move |(text, zone, jitter, deadline)| {
            let rules = ScheduleRules {
                jitter: Duration::from_secs(jitter),
                deadline: Duration::from_secs(deadline),
                missed,
                overlap,
            };
            schedule(TEXTS[text], ZONES[zone], rules)
        },
    )
}

/// Moments around 2026 and 2027, with all their clock changes.
fn moment() -> impl Strategy<Value = i64> {
    1_767_225_600_000..1_830_000_000_000_i64
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_next_slot_is_always_later_than_now(
        of in any_schedule(Missed::Skip, Overlap::Forbid), now in moment()
    ) {
        let next = of.next_after(now).unwrap();
        prop_assert!(next > now);
        prop_assert!(of.starts_ms(next) >= next);
        prop_assert_eq!(of.next_after(next - 1), Some(next), "no slot between");
    }

    #[test]
    fn looking_back_finds_the_slots_that_looking_forward_finds(
        of in any_schedule(Missed::Skip, Overlap::Forbid), now in moment(), days in 1..20_i64
    ) {
        let rules = ScheduleRules { jitter: Duration::ZERO, ..of.rules };
        let of = Schedule { rules, ..of };
        let until = now + days * 86_400_000;
        prop_assert_eq!(backwards(&of, now, until), forwards(&of, now, until));
    }

    #[test]
    fn no_slot_is_run_twice_and_each_is_run_or_reported(
        of in any_schedule(Missed::Skip, Overlap::Forbid), start in moment(), life in life()
    ) {
        let lived = live(&of, start, &life);
        prop_assert!(lived.ran.windows(2).all(|pair| pair[0] < pair[1]));
        let all = forwards(&of, start, lived.end);
        prop_assert_eq!(lived.ran.len() + lived.passed, all.len());
        prop_assert!(lived.ran.iter().all(|slot| all.contains(slot)));
    }

    #[test]
    fn one_makes_up_for_an_outage_with_exactly_one_run(
        of in any_schedule(Missed::One, Overlap::Forbid), start in moment(), away in 1..40_i64
    ) {
        let life = [(away * 86_400_000, false)];
        let lived = live(&of, start, &life);
        let due = of.due(start, start + away * 86_400_000).0;
        let late = due.iter().any(|slot| of.is_late(*slot, start + away * 86_400_000));
        prop_assume!(late);
        // The last step of a life may see one more slot come.
        let at_return = lived.ran.iter().filter(|slot| due.contains(slot)).count();
        prop_assert_eq!(at_return, 1);
        prop_assert_eq!(lived.folded, due.len() - 1);
    }

    #[test]
    fn all_runs_each_slot_once_in_order_and_reports_the_rest(
        of in any_schedule(Missed::All, Overlap::Queue), start in moment(), life in life()
    ) {
        let lived = live(&of, start, &life);
        let all = forwards(&of, start, lived.end);
        prop_assert!(lived.ran.windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert_eq!(lived.ran.len() + lived.passed, all.len());
        if lived.passed == 0 {
            prop_assert_eq!(lived.ran, all);
        }
    }
}
