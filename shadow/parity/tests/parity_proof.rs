//! Planted faults are found, each once, and nothing else, in 50,000 pairs with noise.
//!
//! `BANYAN_PAIRS=50000 BANYAN_SEED=7 cargo test -p banyan-parity --test parity_proof -- --nocapture`; without the variables
//! 50,000 pairs and a fixed seed.
#![expect(clippy::unwrap_used, reason = "a test may panic, and says its seed and what it found")]

#[expect(dead_code, reason = "each test binary uses a part of it")]
mod world;

use std::collections::BTreeMap;

use banyan_diff::{RuleSet, rules_from_toml};
use banyan_domain::Side;
use banyan_parity::{Asked, Event, Finding, Judge, Limits, Outcome, Period};
use banyan_report::{Gate, GateVerdict, OpenReason, Report};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use world::{compare_with, key};

const SUBJECTS: u64 = 900;
/// Between two events of the stream.
const STEP_MS: i64 = 40;
const WINDOW_MS: i64 = 60_000;
const LATE_MAX_MS: u64 = 10_000;
/// What the sides say differently and may: their own ids, times in other forms and off by some ms, a list without order.
const RULES: &str = r#"
[[rule]]
at = "$.emission_id"
do = "ignore_value"
reason = "each side mints its own"

[[rule]]
at = "$.occurred_at"
do = "time"
slack = "3s"
reason = "each side stamps its own publication"

[[rule]]
at = "$.tags"
do = "multiset"
reason = "a set in legacy's database"
"#;

/// One fault at a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Missing,
    Extra,
    DuplicatedByNew,
    DuplicatedByLegacy,
    Reordered,
    Late,
    ChangedValue,
    ChangedClass,
    LostField,
}

impl Fault {
    const ALL: [Self; 9] = [
        Self::Missing,
        Self::Extra,
        Self::DuplicatedByNew,
        Self::DuplicatedByLegacy,
        Self::Reordered,
        Self::Late,
        Self::ChangedValue,
        Self::ChangedClass,
        Self::LostField,
    ];

    fn finding(self) -> Finding {
        match self {
            Self::Missing => Finding::OnlyLegacy,
            Self::Extra => Finding::OnlyNew,
            Self::DuplicatedByNew | Self::DuplicatedByLegacy => Finding::Duplicated,
            Self::Reordered => Finding::Reordered,
            Self::Late => Finding::Late,
            Self::ChangedValue | Self::ChangedClass | Self::LostField => Finding::Differ,
        }
    }
}

struct World {
    rng: StdRng,
    events: Vec<Event>,
    planted: BTreeMap<Finding, u64>,
    legacy_ms: i64,
    subjects: u64,
    /// Between two events of the stream, on the average.
    step_ms: i64,
}

const KINDS: [&str; 3] = ["message.sent", "message.edited", "message.read"];

impl World {
    fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            events: Vec::new(),
            planted: BTreeMap::new(),
            legacy_ms: 0,
            subjects: SUBJECTS,
            step_ms: STEP_MS,
        }
    }

    fn emit(&mut self, side: Side, at_ms: i64, kind: &str, subject: u64, body: String) {
        self.events.push(Event {
            row: 0,
            side,
            at_ms,
            kind: kind.to_owned(),
            key: Some(key(kind, &subject.to_string())),
            content_type: Some("application/json; charset=utf-8".to_owned()),
            body: Some(body.into_bytes()),
        });
    }

    /// The payload as a side writes it; `text` is what the change is about.
    fn body(
        &mut self,
        side: Side,
        at_ms: i64,
        subject: u64,
        text: &str,
        fault: Option<Fault>,
    ) -> String {
        let id = format!(
            "{:08x}-27f3-4cc1-ae3f-{:012x}",
            self.rng.random::<u32>(),
            self.rng.random::<u32>()
        );
        let mut tags = ["a", "b", "c", "d"];
        let second = 1_402_567_200 + at_ms / 1_000;
        let time = match side {
            Side::Legacy => civil(second, "/", " ", " +0000"),
            Side::New => {
                let turn = self.rng.random_range(0..4);
                tags.rotate_left(turn);
                let millis = format!(".{:03}Z", at_ms.rem_euclid(1_000));
                civil(second, "-", "T", &millis)
            }
        };
        let text = match fault {
            Some(Fault::ChangedValue) => format!("\"{text}!\""),
            Some(Fault::ChangedClass) => "null".to_owned(),
            _ => format!("\"{text}\""),
        };
        let field = if fault == Some(Fault::LostField) { "" } else { "\"actor\":{\"id\":3}," };
        format!(
            "{{\"emission_id\":\"{id}\",\"occurred_at\":\"{time}\",{field}\"subject\":{subject},\"text\":{text},\"tags\":{tags:?}}}"
        )
    }

    /// One change, announced by both sides; with a fault, one that is not announced as it should be.
    fn change(&mut self, number: u64, fault: Option<Fault>) {
        let subject = self.rng.random_range(0..self.subjects);
        let kind = KINDS[self.rng.random_range(0..KINDS.len())];
        self.legacy_ms += self.rng.random_range(1..2 * self.step_ms);
        // New follows; its delay is drawn anew for each event, but keeps the order within a subject: see `run`.
        let delay = self.rng.random_range(0..1_500);
        let (legacy_ms, new_ms) = (self.legacy_ms, self.legacy_ms + delay);
        let text = format!("text {number}");
        if let Some(fault) = fault {
            *self.planted.entry(fault.finding()).or_default() += 1;
        }
        let legacy = self.body(Side::Legacy, legacy_ms, subject, &text, None);
        let new = self.body(Side::New, new_ms, subject, &text, fault);
        if fault != Some(Fault::Extra) {
            self.emit(Side::Legacy, legacy_ms, kind, subject, legacy);
        }
        if fault != Some(Fault::Missing) {
            self.emit(Side::New, new_ms, kind, subject, new);
        }
        let (side, at_ms) = match fault {
            Some(Fault::DuplicatedByNew) => (Side::New, new_ms + 3),
            Some(Fault::DuplicatedByLegacy) => (Side::Legacy, legacy_ms + 3),
            _ => return,
        };
        let again = self.body(side, at_ms, subject, &text, None);
        self.emit(side, at_ms, kind, subject, again);
    }

    /// A fault of time has a subject of its own, so that it moves no other event.
    fn timed(&mut self, number: u64, fault: Fault) {
        *self.planted.entry(fault.finding()).or_default() += 1;
        let subject = SUBJECTS + number;
        let at = self.legacy_ms;
        let order = if fault == Fault::Reordered {
            // Of three events the first comes last.
            vec![(0, 900), (100, 300), (200, 400)]
        } else {
            vec![(0, 20), (100, 100 + LATE_MAX_MS.cast_signed() + 500)]
        };
        for (nth, (legacy, new)) in order.into_iter().enumerate() {
            let (kind, text) = (KINDS[nth], format!("timed {number}.{nth}"));
            let body = self.body(Side::Legacy, at + legacy, subject, &text, None);
            self.emit(Side::Legacy, at + legacy, kind, subject, body);
            // Times of occurrence are near each other; it is the publication that is late.
            let body = self.body(Side::New, at + legacy, subject, &text, None);
            self.emit(Side::New, at + new, kind, subject, body);
        }
    }

    fn run(
        mut self,
        pairs: u64,
        faults: &BTreeMap<u64, Fault>,
    ) -> (Outcome, BTreeMap<Finding, u64>) {
        for number in 0..pairs {
            match faults.get(&number).copied() {
                Some(fault @ (Fault::Reordered | Fault::Late)) => self.timed(number, fault),
                fault => self.change(number, fault),
            }
        }
        // A side publishes the events of one subject in order.
        let mut last: BTreeMap<u64, i64> = BTreeMap::new();
        for event in self.events.iter_mut().filter(|event| event.side == Side::New) {
            let subject: u64 = event.key.as_ref().unwrap().subject.parse().unwrap();
            if subject < SUBJECTS {
                let at = last.entry(subject).or_insert(i64::MIN);
                event.at_ms = event.at_ms.max(at.saturating_add(1));
                *at = event.at_ms;
            }
        }
        self.events.sort_by_key(|event| event.at_ms);
        for (row, event) in (1..).zip(self.events.iter_mut()) {
            event.row = row;
        }
        let period = Period {
            from_ms: 0,
            known_from_ms: -WINDOW_MS,
            watermark_ms: self.legacy_ms + 3 * WINDOW_MS,
            window_ms: WINDOW_MS,
            late_max_ms: LATE_MAX_MS,
        };
        let rules = RuleSet::empty().with(rules_from_toml(RULES).unwrap());
        let judge = Judge::new("messages", rules, [7; 32]);
        (compare_with(period, Limits::default(), judge, self.events), self.planted)
    }
}

/// A time of day on the first day, in any of the usual forms.
fn civil(second: i64, dash: &str, middle: &str, end: &str) -> String {
    let (day, rest) = (second / 86_400 - 16_233, second % 86_400);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("2014{dash}06{dash}{:02}{middle}{hour:02}:{minute:02}:{second:02}{end}", 12 + day)
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn report(outcome: &Outcome, gate: Gate) -> Report {
    outcome.report(&Asked { context: "messages".to_owned(), generated_ms: 1, gate, trimmed: false })
}

#[test]
fn each_planted_fault_is_found_and_nothing_else() {
    let (pairs, seed) = (number("BANYAN_PAIRS", 50_000), number("BANYAN_SEED", 7));
    println!("seed {seed}, {pairs} pairs");
    let mut rng = StdRng::seed_from_u64(seed ^ 0xfa17);
    let mut faults = BTreeMap::new();
    for fault in Fault::ALL {
        for _ in 0..7 {
            // Far enough from each other that one fault's event is not the other's twin.
            let at = loop {
                let at = rng.random_range(100..pairs - 100);
                if faults.range(at - 40..at + 40).next().is_none() {
                    break at;
                }
            };
            faults.insert(at, fault);
        }
    }
    let started = std::time::Instant::now();
    let (outcome, planted) = World::new(seed).run(pairs, &faults);
    println!("{:?} in {:?}", outcome.counts, started.elapsed());
    assert_eq!(outcome.counts.findings, planted, "seed {seed}");
    assert_eq!(outcome.counts.mismatched, faults.len() as u64, "one finding each, seed {seed}");
    assert_eq!((outcome.counts.pending, outcome.counts.unknown), (0, 0), "seed {seed}");
    let report = report(&outcome, Gate::default());
    assert_eq!(report.verdict().word(), "FAIL");
    let paths: Vec<&str> = report
        .endpoints
        .iter()
        .flat_map(|endpoint| &endpoint.groups)
        .map(|group| group.path.as_str())
        .collect();
    for path in ["$.text", "$.actor", "event"] {
        assert!(paths.contains(&path), "{path} in {paths:?}");
    }
    assert!(paths.iter().all(|path| ["$.text", "$.actor", "event"].contains(path)), "{paths:?}");
}

#[test]
fn noise_alone_is_parity_and_too_little_of_it_is_no_verdict() {
    let seed = number("BANYAN_SEED", 11);
    println!("seed {seed}");
    let (outcome, _) = World::new(seed).run(12_000, &BTreeMap::new());
    assert_eq!(outcome.counts.mismatched, 0, "seed {seed}: {:?}", outcome.counts);
    let found = report(&outcome, Gate::default());
    assert_eq!(found.verdict(), GateVerdict::Pass);
    assert!(found.endpoints.iter().all(|of| of.hidden_total() > 0), "what rules hid is counted");
    let delay = found.lag.unwrap();
    assert!(
        delay.count == 12_000 && delay.p50_ms < 1_500 && delay.max_ms < LATE_MAX_MS,
        "{delay:?}"
    );
    let (few, _) = World::new(seed).run(300, &BTreeMap::new());
    assert_eq!(report(&few, Gate::default()).verdict().word(), "INCONCLUSIVE");
    let none = World::new(seed).run(0, &BTreeMap::new()).0;
    assert_eq!(report(&none, Gate::default()).verdict().word(), "INCONCLUSIVE");
}

#[test]
fn one_that_is_missing_among_thousands_of_one_subject_is_one_finding() {
    let seed = number("BANYAN_SEED", 13);
    println!("seed {seed}");
    let mut world = World::new(seed);
    (world.subjects, world.step_ms) = (1, 100);
    let faults = BTreeMap::from([(900, Fault::Missing), (2_000, Fault::ChangedValue)]);
    let (outcome, planted) = world.run(3_000, &faults);
    assert_eq!(outcome.counts.findings, planted, "seed {seed}: {:?}", outcome.counts);
    // Ten times as many are more than one subject may have at once: undecided, not missing.
    let mut world = World::new(seed);
    (world.subjects, world.step_ms) = (1, 10);
    let (outcome, _) = world.run(6_000, &BTreeMap::new());
    assert!(outcome.counts.findings.is_empty(), "seed {seed}: {:?}", outcome.counts);
    assert!(outcome.counts.unknown > 0, "seed {seed}");
}

#[test]
fn a_trimmed_log_and_a_silent_side_are_no_verdict() {
    let (outcome, _) = World::new(3).run(12_000, &BTreeMap::new());
    let asked = Asked {
        context: "messages".to_owned(),
        generated_ms: 1,
        gate: Gate::default(),
        trimmed: true,
    };
    let why = |report: &Report| match report.verdict() {
        GateVerdict::Inconclusive { why, .. } => Some(why),
        GateVerdict::Pass | GateVerdict::Fail { .. } => None,
    };
    assert_eq!(why(&outcome.report(&asked)), Some(OpenReason::Trimmed));
    let mut world = World::new(3);
    for number in 0..50 {
        world.change(number, Some(Fault::Missing));
    }
    let (outcome, _) = world.run(0, &BTreeMap::new());
    assert_eq!(outcome.found(Finding::OnlyLegacy), 50);
    assert_eq!(why(&report(&outcome, Gate::default())), Some(OpenReason::OneSided));
}

#[test]
fn differences_that_each_side_mints_itself_are_told_with_a_rule_that_would_explain_them() {
    let mut world = World::new(5);
    for number in 0..40 {
        world.change(number, None);
    }
    let period = Period {
        from_ms: 0,
        known_from_ms: -WINDOW_MS,
        watermark_ms: world.legacy_ms + 3 * WINDOW_MS,
        window_ms: WINDOW_MS,
        late_max_ms: LATE_MAX_MS,
    };
    world.events.sort_by_key(|event| event.at_ms);
    let judge = Judge::new("messages", RuleSet::empty(), [7; 32]);
    let outcome = compare_with(period, Limits::default(), judge, world.events);
    let found = report(&outcome, Gate::default());
    assert_eq!(found.verdict().word(), "FAIL", "nothing is hidden that nobody allowed");
    let rules: String = found.suggestions.iter().map(|one| one.rule.as_str()).collect();
    assert!(rules.contains("$.emission_id") && rules.contains("$.tags"), "{rules}");
    assert!(rules.contains("messages.message.sent"), "{rules}");
}
