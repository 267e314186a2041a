//! The events of one subject that are near each other in time, settled together.
//!
//! Owns what becomes of each event: paired, missing on the other side, one too many, moved. It exists as one step over a closed
//! cluster because a decision at arrival would depend on which side was read first. What must stay true: every event that
//! goes in comes out exactly once; an event whose partner may still come, or came before the period, is never called missing.

use std::collections::BTreeMap;

use banyan_domain::Side;

use crate::assign::assign;
use crate::judge::{Judge, Same};
use crate::order::moved;
use crate::{Event, Period};

/// What became of events.
#[derive(Debug)]
pub(crate) enum Settled {
    /// One of each side.
    Pair(Box<Pair>),
    /// The other side has no event of this key.
    Alone(Event),
    /// The other side has the key, and this side said the same once more.
    Duplicate(Event),
    /// Its partner may still come, or came before the period.
    Pending(Event),
}

/// A pair and what is to be said of it.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) legacy: Event,
    pub(crate) new: Event,
    pub(crate) same: Same,
    pub(crate) moved: bool,
}

impl Pair {
    /// Whether it is beyond doubt that both belong together.
    pub(crate) fn agrees(&self, period: &Period) -> bool {
        let equal = matches!(self.same, Same::Yes(_)) && self.legacy.kind == self.new.kind;
        equal && !self.moved && self.delay_ms() <= period.late_max_ms
    }

    pub(crate) fn delay_ms(&self) -> u64 {
        self.legacy.at_ms.abs_diff(self.new.at_ms)
    }
}

/// Settles events of one subject. Events further apart than the window cannot have to do with each other.
pub(crate) fn settle(mut events: Vec<Event>, period: &Period, judge: &mut Judge) -> Vec<Settled> {
    events.sort_by_key(Event::place);
    let mut settled = Vec::with_capacity(events.len());
    let mut near: Vec<Event> = Vec::new();
    for event in events {
        let apart = |last: &Event| event.at_ms - last.at_ms > period.window_ms;
        if near.last().is_some_and(apart) {
            settle_near(std::mem::take(&mut near), period, judge, &mut settled);
        }
        near.push(event);
    }
    settle_near(near, period, judge, &mut settled);
    settled
}

#[derive(Default)]
struct OfKey {
    legacy: Vec<Event>,
    new: Vec<Event>,
}

fn settle_near(events: Vec<Event>, period: &Period, judge: &mut Judge, settled: &mut Vec<Settled>) {
    let mut keys: BTreeMap<String, OfKey> = BTreeMap::new();
    for event in events {
        let key = event.key.as_ref().map_or_else(String::new, |key| key.text.clone());
        let of_key = keys.entry(key).or_default();
        match event.side {
            Side::Legacy => of_key.legacy.push(event),
            Side::New => of_key.new.push(event),
        }
    }
    let mut pairs = Vec::new();
    for of_key in keys.into_values() {
        of_key.settle(period, judge, &mut pairs, settled);
    }
    mark_moved(&mut pairs);
    // Renamings are learned in the order of legacy's events, whatever their keys are.
    for mut pair in pairs {
        pair.same = judge.pair(&pair.legacy, &pair.new);
        settled.push(Settled::Pair(Box::new(pair)));
    }
}

impl OfKey {
    fn settle(
        self,
        period: &Period,
        judge: &mut Judge,
        pairs: &mut Vec<Pair>,
        settled: &mut Vec<Settled>,
    ) {
        let times = |events: &[Event]| events.iter().map(|event| event.at_ms).collect::<Vec<_>>();
        let chosen = assign(
            &times(&self.legacy),
            &times(&self.new),
            period.window_ms,
            &mut |legacy, new| judge.alike(&self.legacy[legacy], &self.new[new]),
        );
        let both = !self.legacy.is_empty() && !self.new.is_empty();
        let (mut legacy, mut new) = (Vec::new(), Vec::new());
        for (events, of_legacy, lonely) in
            [(&self.legacy, true, &mut legacy), (&self.new, false, &mut new)]
        {
            let taken =
                |at: usize| chosen.iter().any(|(a, b)| at == if of_legacy { *a } else { *b });
            for (at, event) in events.iter().enumerate().filter(|(at, _)| !taken(*at)) {
                lonely.push((at, alone(event, at, events, both, period, judge)));
            }
        }
        let (mut legacy_left, mut new_left) = (slots(self.legacy), slots(self.new));
        for (a, b) in chosen {
            if let (Some(legacy), Some(new)) = (legacy_left[a].take(), new_left[b].take()) {
                let same = Same::Unknown("undecided");
                pairs.push(Pair { legacy, new, same, moved: false });
            }
        }
        for (left, lonely) in [(&mut legacy_left, legacy), (&mut new_left, new)] {
            for (at, what) in lonely {
                let Some(event) = left[at].take() else { continue };
                settled.push(match what {
                    Lonely::Alone => Settled::Alone(event),
                    Lonely::Duplicate => Settled::Duplicate(event),
                    Lonely::Pending => Settled::Pending(event),
                });
            }
        }
    }
}

fn slots(events: Vec<Event>) -> Vec<Option<Event>> {
    events.into_iter().map(Some).collect()
}

#[derive(Clone, Copy)]
enum Lonely {
    Alone,
    Duplicate,
    Pending,
}

/// What an event without a partner is. It says something twice if its own side says the same near it.
fn alone(
    event: &Event,
    at: usize,
    own: &[Event],
    both: bool,
    period: &Period,
    judge: &mut Judge,
) -> Lonely {
    if period.is_open_at(event.at_ms) {
        return Lonely::Pending;
    }
    let mut others = own.iter().enumerate().filter(|(other, _)| *other != at);
    let mut twin = |(_, other): (usize, &Event)| {
        other.at_ms.abs_diff(event.at_ms) <= period.window_ms.unsigned_abs()
            && judge.alike(event, other)
    };
    if both && others.any(&mut twin) { Lonely::Duplicate } else { Lonely::Alone }
}

/// Marks the fewest pairs whose removal leaves both sides in one order; leaves the pairs in legacy's order.
fn mark_moved(pairs: &mut [Pair]) {
    // Of two that crossed either could be blamed: the side whose event came first decides, whatever it is called.
    let first = |place: fn(&Pair) -> (i64, i64)| pairs.iter().map(place).min();
    let legacy = |pair: &Pair| pair.legacy.place();
    let new = |pair: &Pair| pair.new.place();
    let (one, other): (Place, Place) =
        if first(legacy) <= first(new) { (legacy, new) } else { (new, legacy) };
    pairs.sort_by_key(one);
    let mut by_other: Vec<usize> = (0..pairs.len()).collect();
    by_other.sort_by_key(|at| other(&pairs[*at]));
    let mut ranks = vec![0; pairs.len()];
    for (rank, at) in by_other.into_iter().enumerate() {
        ranks[at] = rank;
    }
    for at in moved(&ranks) {
        pairs[at].moved = true;
    }
    pairs.sort_by_key(legacy);
}

/// The place of one of a pair's events in its stream.
type Place = fn(&Pair) -> (i64, i64);
