//! The streams of both sides, read once, in bounded memory.
//!
//! Owns the open events and when they are settled: a subject is closed when nothing came for twice the window. It exists so
//! that a log of any length is compared in one pass. What must stay true: every event is counted exactly once; a
//! limit that is met makes events unknown, never missing and never equal.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::cluster::{Settled, settle};
use crate::judge::Judge;
use crate::tally::Tally;
use crate::{Event, Outcome, Show};

/// Subjects of which events were given up that are remembered one by one.
const CROWDED_MAX: usize = 10_000;

/// The time that is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// Events before it belong to an earlier look; they only are partners of later ones.
    pub from_ms: i64,
    /// The first moment from which both sides are known in full: the log begins there.
    pub known_from_ms: i64,
    /// Both sides' queues are known to have been read up to here.
    pub watermark_ms: i64,
    /// How far apart the two events of a pair may be.
    pub window_ms: i64,
    /// A pair that is further apart than this is late.
    pub late_max_ms: u64,
}

impl Period {
    /// Whether a partner of an event at this time may not have been seen.
    pub(crate) fn is_open_at(&self, at_ms: i64) -> bool {
        at_ms.saturating_add(self.window_ms) > self.watermark_ms
            || at_ms.saturating_sub(self.window_ms) < self.known_from_ms
    }
}

/// Limits of what is held at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Events of all subjects.
    pub events: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Events of one subject.
    pub subject_events: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { events: 200_000, bytes: 256 << 20, subject_events: 2_048 }
    }
}

/// A comparison of two streams under way.
pub struct Parity<'a> {
    period: Period,
    limits: Limits,
    judge: Judge,
    tally: Tally<'a>,
    open: HashMap<Arc<str>, Subject>,
    /// By the time of their last event.
    quiet: BTreeSet<(i64, Arc<str>)>,
    crowded: Crowded,
    clock_ms: i64,
    held: usize,
    held_bytes: usize,
}

#[derive(Default)]
struct Subject {
    events: Vec<Event>,
    last_ms: i64,
}

impl<'a> Parity<'a> {
    /// Nothing seen yet. `show` makes values fit for a report.
    pub fn new(period: Period, limits: Limits, judge: Judge, show: &'a dyn Show) -> Self {
        Self {
            tally: Tally::new(period, show),
            period,
            limits,
            judge,
            open: HashMap::new(),
            quiet: BTreeSet::new(),
            crowded: Crowded::default(),
            clock_ms: i64::MIN,
            held: 0,
            held_bytes: 0,
        }
    }

    /// Takes the next event. Both sides may be interleaved in any way, as long as no event comes a window too late.
    pub fn push(&mut self, event: Event) {
        self.tally.saw(&event);
        self.clock_ms = self.clock_ms.max(event.at_ms);
        let Some(key) = &event.key else {
            let name = self.judge.name(&event.kind);
            self.tally.unknown(&name, &event, "no_key");
            return;
        };
        let subject: Arc<str> = key.subject.as_str().into();
        self.hold(subject.clone(), event);
        if self.open.get(&subject).is_some_and(|of| of.events.len() >= self.limits.subject_events) {
            self.relieve(&subject);
        }
        self.close_quiet();
        while self.held > self.limits.events || self.held_bytes > self.limits.bytes {
            let Some((_, subject)) = self.quiet.first().cloned() else { break };
            self.relieve_all(&subject);
        }
    }

    /// The end of both streams.
    pub fn finish(mut self) -> Outcome {
        while let Some((_, subject)) = self.quiet.first().cloned() {
            let events = self.take(&subject);
            let settled = settle(events, &self.period, &mut self.judge);
            self.count(settled);
        }
        self.tally.finish()
    }

    fn hold(&mut self, subject: Arc<str>, event: Event) {
        self.held += 1;
        self.held_bytes += event.weight();
        let of = self.open.entry(subject.clone()).or_default();
        if !of.events.is_empty() {
            self.quiet.remove(&(of.last_ms, subject.clone()));
        }
        of.last_ms = if of.events.is_empty() { event.at_ms } else { of.last_ms.max(event.at_ms) };
        of.events.push(event);
        self.quiet.insert((of.last_ms, subject));
    }

    fn take(&mut self, subject: &Arc<str>) -> Vec<Event> {
        let Some(of) = self.open.remove(subject) else { return Vec::new() };
        self.quiet.remove(&(of.last_ms, subject.clone()));
        self.held -= of.events.len();
        self.held_bytes -= of.events.iter().map(Event::weight).sum::<usize>();
        of.events
    }

    fn close_quiet(&mut self) {
        while let Some((last_ms, subject)) = self.quiet.first().cloned() {
            if self.clock_ms.saturating_sub(last_ms) <= self.period.window_ms.saturating_mul(2) {
                return;
            }
            let events = self.take(&subject);
            let settled = settle(events, &self.period, &mut self.judge);
            self.count(settled);
        }
    }

    /// A subject with very many events: pairs are counted now, events whose partner may still come wait on.
    fn relieve(&mut self, subject: &Arc<str>) {
        for event in self.early(subject) {
            self.hold(subject.clone(), event);
        }
        // With so little room left, each further event would settle all of them again.
        let full = self.limits.subject_events - self.limits.subject_events / 8;
        if self.open.get(subject).is_some_and(|of| of.events.len() >= full) {
            for event in self.take(subject) {
                self.crowded(&event);
            }
        }
    }

    /// Room is needed for other subjects: what has no partner yet is given up.
    fn relieve_all(&mut self, subject: &Arc<str>) {
        for event in self.early(subject) {
            self.crowded(&event);
        }
    }

    /// Settles a subject before its time; answers the events that could still find a partner.
    fn early(&mut self, subject: &Arc<str>) -> Vec<Event> {
        let events = self.take(subject);
        let so_far =
            Period { watermark_ms: self.clock_ms.min(self.period.watermark_ms), ..self.period };
        let young_ms = so_far.watermark_ms.saturating_sub(self.period.window_ms);
        let settled = settle(events, &so_far, &mut self.judge);
        let mut waiting = Vec::new();
        let mut done = Vec::new();
        for one in settled {
            match one {
                Settled::Pending(event) => waiting.push(event),
                // What is still to come may fit better.
                Settled::Pair(pair) if pair.legacy.at_ms.max(pair.new.at_ms) > young_ms => {
                    waiting.extend([pair.legacy, pair.new]);
                }
                one @ (Settled::Pair(_) | Settled::Alone(_) | Settled::Duplicate(_)) => {
                    done.push(one);
                }
            }
        }
        self.count(done);
        waiting
    }

    fn crowded(&mut self, event: &Event) {
        self.crowded.note(event);
        if self.period.is_open_at(event.at_ms) {
            self.tally.count(Settled::Pending(event.clone()), &mut self.judge);
            return;
        }
        let name = self.judge.name(&event.kind);
        self.tally.unknown(&name, event, "crowded");
    }

    fn count(&mut self, settled: Vec<Settled>) {
        for one in settled {
            match &one {
                // Its true partner may be one of those that were given up; then so may be its neighbour's.
                Settled::Alone(event) | Settled::Duplicate(event) if self.is_crowded(event) => {
                    self.crowded(event);
                }
                Settled::Pair(pair) if self.is_crowded(&pair.legacy) => {
                    self.crowded.note(&pair.legacy);
                    self.crowded.note(&pair.new);
                    if pair.agrees(&self.period) {
                        self.tally.count(one, &mut self.judge);
                    } else {
                        self.crowded(&pair.legacy);
                    }
                }
                Settled::Pair(_)
                | Settled::Alone(_)
                | Settled::Duplicate(_)
                | Settled::Pending(_) => self.tally.count(one, &mut self.judge),
            }
        }
    }

    fn is_crowded(&self, event: &Event) -> bool {
        self.crowded.is_near(event, self.period.window_ms)
    }
}

/// When events of which subjects were given up for want of room.
#[derive(Default)]
struct Crowded {
    subjects: HashMap<String, (i64, i64)>,
    /// Of any subject, once there are too many of them.
    all: Option<(i64, i64)>,
}

impl Crowded {
    fn note(&mut self, event: &Event) {
        let (at_ms, subject) = (event.at_ms, subject_of(event));
        if self.subjects.len() >= CROWDED_MAX && !self.subjects.contains_key(subject) {
            let (first, last) = self.all.unwrap_or((at_ms, at_ms));
            self.all = Some((first.min(at_ms), last.max(at_ms)));
            return;
        }
        let span = self.subjects.entry(subject.to_owned()).or_insert((at_ms, at_ms));
        *span = (span.0.min(at_ms), span.1.max(at_ms));
    }

    fn is_near(&self, event: &Event, window_ms: i64) -> bool {
        let near = |span: &(i64, i64)| {
            // Its partner, or what its partner was paired with instead.
            let far = window_ms.saturating_mul(2);
            event.at_ms >= span.0.saturating_sub(far) && event.at_ms <= span.1.saturating_add(far)
        };
        self.subjects.get(subject_of(event)).is_some_and(near)
            || self.all.as_ref().is_some_and(near)
    }
}

fn subject_of(event: &Event) -> &str {
    event.key.as_ref().map_or("", |key| key.subject.as_str())
}
