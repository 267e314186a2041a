//! What must hold for any two streams.

mod world;

use banyan_domain::Side;
use banyan_parity::{Counts, Event, Finding, Limits, Outcome};
use proptest::prelude::*;
use world::{PERIOD, compare_with, event, judge};

/// Many more on request: `BANYAN_CASES=50000`.
fn cases() -> u32 {
    std::env::var("BANYAN_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(600)
}

/// Side, time, subject, type and payload from small sets, so that they meet often.
fn streams() -> impl Strategy<Value = Vec<Event>> {
    let one = (any::<bool>(), 0..400_i64, 0..4_u8, 0..3_u8, 0..3_u8, 0..20_u8);
    prop::collection::vec(one, 0..60).prop_map(|all| {
        let mut events: Vec<Event> = all
            .into_iter()
            .map(|(legacy, at, subject, kind, payload, broken)| {
                let side = if legacy { Side::Legacy } else { Side::New };
                // From long before the period to long after the watermark.
                let at_ms = -20_000 + at * 300;
                let mut event = event(
                    side,
                    at_ms,
                    &format!("kind{kind}"),
                    u64::from(subject),
                    u64::from(payload),
                );
                match broken {
                    0 => event.key = None,
                    1 => event.body = None,
                    _ => {}
                }
                event
            })
            .collect();
        number(&mut events);
        events
    })
}

/// Rows in the order of times, as a log has them.
fn number(events: &mut [Event]) {
    events.sort_by_key(|event| event.at_ms);
    for (row, event) in (1..).zip(events.iter_mut()) {
        event.row = row;
    }
}

fn compare(events: Vec<Event>) -> Outcome {
    compare_with(PERIOD, Limits::default(), judge(), events)
}

fn swapped(mut events: Vec<Event>) -> Vec<Event> {
    for event in &mut events {
        event.side = event.side.other();
    }
    events
}

/// The same counts, seen from the other side.
fn mirrored(counts: &Counts) -> Counts {
    let mut other = counts.clone();
    std::mem::swap(&mut other.legacy, &mut other.new);
    other.findings = counts
        .findings
        .iter()
        .map(|(finding, count)| {
            let finding = match finding {
                Finding::OnlyLegacy => Finding::OnlyNew,
                Finding::OnlyNew => Finding::OnlyLegacy,
                Finding::Differ | Finding::Duplicated | Finding::Reordered | Finding::Late => {
                    *finding
                }
            };
            (finding, *count)
        })
        .collect();
    other
}

fn singles(outcome: &Outcome) -> u64 {
    let kinds = [Finding::OnlyLegacy, Finding::OnlyNew, Finding::Duplicated];
    kinds.into_iter().map(|kind| outcome.found(kind)).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn the_same_is_found_when_the_sides_are_swapped(events in streams()) {
        let one = compare(events.clone()).counts;
        prop_assert_eq!(mirrored(&one), compare(swapped(events)).counts);
    }

    #[test]
    fn every_event_is_counted_exactly_once(events in streams()) {
        // Without a beginning, so that no event is only a partner.
        let period = banyan_parity::Period { from_ms: i64::MIN / 4, ..PERIOD };
        let undecided = events.iter().filter(|event| event.key.is_none()).count() as u64;
        let all = events.len() as u64;
        let outcome = compare_with(period, Limits::default(), judge(), events);
        let counts = &outcome.counts;
        prop_assert_eq!(counts.legacy + counts.new, all);
        prop_assert_eq!(2 * counts.pairs + singles(&outcome) + counts.pending + undecided, all);
        prop_assert_eq!(counts.decided + counts.unknown, counts.pairs + singles(&outcome) + undecided);
        prop_assert!(counts.mismatched <= counts.decided);
    }

    #[test]
    fn the_order_in_which_the_sides_are_read_does_not_matter(
        events in streams(),
        late in prop::collection::vec(0..PERIOD.window_ms, 60),
    ) {
        let mut arriving: Vec<(i64, Event)> = events
            .iter()
            .zip(late)
            .map(|(event, late)| (event.at_ms + late, event.clone()))
            .collect();
        arriving.sort_by_key(|(at, _)| *at);
        let arriving = arriving.into_iter().map(|(_, event)| event).collect();
        prop_assert_eq!(compare(events).counts, compare(arriving).counts);
    }

    #[test]
    fn equal_streams_have_no_finding_however_they_are_interleaved(
        events in streams(),
        apart in 0..2_000_i64,
    ) {
        let mut both: Vec<Event> = Vec::new();
        for event in events.iter().filter(|event| event.key.is_some() && event.body.is_some()) {
            for (side, at_ms) in [(Side::Legacy, event.at_ms), (Side::New, event.at_ms + apart)] {
                both.push(Event { side, at_ms, ..event.clone() });
            }
        }
        number(&mut both);
        let outcome = compare(both);
        prop_assert_eq!(outcome.counts.mismatched, 0, "{:?}", outcome.counts);
        prop_assert!(outcome.counts.findings.is_empty());
    }

    #[test]
    fn a_limit_makes_events_unknown_and_never_missing(events in streams(), most in 1..12_usize) {
        let mut both: Vec<Event> = Vec::new();
        for event in events.iter().filter(|event| event.key.is_some() && event.body.is_some()) {
            for (side, at_ms) in [(Side::Legacy, event.at_ms), (Side::New, event.at_ms + 40)] {
                both.push(Event { side, at_ms, ..event.clone() });
            }
        }
        number(&mut both);
        let limits = Limits { events: most, subject_events: most.max(2), ..Limits::default() };
        let outcome = compare_with(PERIOD, limits, judge(), both);
        prop_assert!(outcome.counts.findings.is_empty(), "{:?}", outcome.counts);
    }
}
