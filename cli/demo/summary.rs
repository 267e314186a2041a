//! What the demo measured: one object `banyan.demo/1`, and the same as a table.

use super::effect::Effects;
use crate::output::{columns, thousands};
use banyan_events::broker::topic_matches;
use fixture_consumers::App;
use fixture_mothership::Committed;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The summary object.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    schema: &'static str,
    seconds: u64,
    requests: u64,
    reads: u64,
    writes: u64,
    failed: u64,
    flips: u32,
    /// What the shadow found with `--defects`.
    causes: Vec<Cause>,
    /// Comparisons of the service without defects, while writes went on.
    compared: u64,
    /// Confirmed mismatches among them.
    mismatches: u64,
    /// For how long writes were held at each change of the owner, in ms.
    switches: Vec<u64>,
    synced_rows: u64,
    drift: bool,
    events: EventCounts,
    consumers: ConsumerCounts,
    by_endpoint: Value,
}

/// One place that differs.
#[derive(Debug, Serialize)]
pub(crate) struct Cause {
    pub(crate) endpoint: String,
    pub(crate) path: String,
    pub(crate) kind: String,
    pub(crate) count: u64,
}

/// Committed by the owner against public.
#[derive(Debug, Default, Serialize)]
pub(crate) struct EventCounts {
    committed: u64,
    public: u64,
    missing: u64,
    duplicated: u64,
    unknown: u64,
}

/// What the walk knows itself.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) seconds: u64,
    pub(crate) flips: u32,
    pub(crate) causes: Vec<Cause>,
    pub(crate) compared: u64,
    pub(crate) mismatches: u64,
    /// For how long writes were held at each change of the owner, in ms.
    pub(crate) switches: Vec<u64>,
    pub(crate) synced_rows: u64,
    pub(crate) drift: bool,
    pub(crate) events: EventCounts,
    pub(crate) consumers: ConsumerCounts,
}

/// What the consumers made, against what the owner committed.
#[derive(Debug, Default, Serialize)]
pub(crate) struct ConsumerCounts {
    /// Messages sent to somebody else than their sender.
    sent_to_others: u64,
    /// Notifications that push-notifications made.
    notifications: u64,
    /// Messages that were notified of more than once.
    notified_twice: u64,
    /// Events that stats should have counted.
    to_count: u64,
    /// Events that it counted.
    counted: u64,
    /// Days and types whose count is not the monolith's.
    wrong_counts: u64,
    /// Messages that either put aside as unreadable.
    poison: u64,
}

fn list(numbers: &[u64]) -> String {
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

impl EventCounts {
    /// Compares message ids: each committed one must be public exactly once.
    pub(crate) fn compare(committed: &[String], public: &BTreeMap<String, u64>) -> Self {
        let known: BTreeSet<&str> = committed.iter().map(String::as_str).collect();
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Self {
            committed: count(committed.len()),
            public: public.values().sum(),
            missing: count(known.iter().filter(|id| !public.contains_key(**id)).count()),
            duplicated: count(public.values().filter(|times| **times > 1).count()),
            unknown: count(public.keys().filter(|id| !known.contains(id.as_str())).count()),
        }
    }

    fn is_exact(&self) -> bool {
        self.missing == 0 && self.duplicated == 0 && self.unknown == 0 && self.committed > 0
    }
}

impl ConsumerCounts {
    pub(crate) fn compare(committed: &Committed, effects: &Effects) -> Self {
        let is_counted =
            |kind: &str| App::Stats.patterns().iter().any(|pattern| topic_matches(pattern, kind));
        let wanted: BTreeMap<&(String, String), u64> = committed
            .by_day
            .iter()
            .filter(|((_, kind), _)| is_counted(kind))
            .map(|(of, count)| (of, *count))
            .collect();
        let counted = &effects.by_day;
        let keys: BTreeSet<&(String, String)> =
            wanted.keys().copied().chain(counted.keys()).collect();
        let is_wrong = |of: &&&(String, String)| wanted.get(**of) != counted.get(**of);
        Self {
            sent_to_others: committed.sent_to_others,
            notifications: effects.notifications,
            notified_twice: effects.notifications.saturating_sub(effects.notified_messages),
            to_count: wanted.values().sum(),
            counted: counted.values().sum(),
            wrong_counts: u64::try_from(keys.iter().filter(is_wrong).count()).unwrap_or(u64::MAX),
            poison: effects.poison,
        }
    }

    pub(crate) fn is_exact(&self) -> bool {
        self.notifications == self.sent_to_others
            && self.notified_twice == 0
            && self.wrong_counts == 0
            && self.poison == 0
            && self.to_count > 0
    }
}

impl Summary {
    pub(crate) fn new(traffic: &Value, walked: Walked) -> Self {
        let number = |key: &str| traffic.get(key).and_then(Value::as_u64).unwrap_or(0);
        Self {
            schema: "banyan.demo/1",
            seconds: walked.seconds,
            requests: number("requests"),
            reads: number("reads"),
            writes: number("writes"),
            failed: number("failed"),
            flips: walked.flips,
            causes: walked.causes,
            compared: walked.compared,
            mismatches: walked.mismatches,
            switches: walked.switches,
            synced_rows: walked.synced_rows,
            drift: walked.drift,
            events: walked.events,
            consumers: walked.consumers,
            by_endpoint: traffic.get("by_endpoint").cloned().unwrap_or(Value::Null),
        }
    }

    /// Whether everything held.
    pub(crate) fn is_good(&self) -> bool {
        self.failed == 0
            && self.requests > 0
            && self.causes.len() == 4
            && self.mismatches == 0
            && self.switches.len() == 3
            && !self.drift
            && self.events.is_exact()
            && self.consumers.is_exact()
    }

    fn counted_remark(&self) -> String {
        let ConsumerCounts { to_count, wrong_counts, .. } = self.consumers;
        match wrong_counts {
            0 => "by stats, each day and type equal to what the owner committed".to_owned(),
            wrong => format!(
                "by stats, of {} committed; {} days and types differ",
                thousands(to_count),
                thousands(wrong)
            ),
        }
    }

    /// The table for people.
    pub(crate) fn lines(&self) -> Vec<String> {
        let row = |name: &str, value: String, remark: &str| {
            vec![format!("   {name}"), value, remark.to_owned()]
        };
        let n = thousands;
        columns(&[
            row(
                "requests",
                n(self.requests),
                &format!(
                    "{} reads, {} writes, over {} flips in {} s",
                    n(self.reads),
                    n(self.writes),
                    self.flips,
                    self.seconds
                ),
            ),
            row("failed", n(self.failed), "of them, rollback included"),
            row("defects found", n(self.causes.len() as u64), "of the 4 that were planted"),
            row("compared", n(self.compared), "without defects, while writes went on"),
            row("mismatches", n(self.mismatches), "confirmed among those"),
            row(
                "switches",
                n(self.switches.len() as u64),
                &format!("of all writes; held for {} ms, none refused", list(&self.switches)),
            ),
            row("synced", n(self.synced_rows), "rows copied before traffic"),
            row(
                "drift",
                if self.drift { "YES".to_owned() } else { "0".to_owned() },
                "aggregates that differ although nothing is pending",
            ),
            row(
                "events",
                n(self.events.committed),
                &format!(
                    "committed by the owner; public: {} ({} missing, {} duplicated)",
                    n(self.events.public),
                    n(self.events.missing),
                    n(self.events.duplicated)
                ),
            ),
            row(
                "notified",
                n(self.consumers.notifications),
                &format!(
                    "by push-notifications, for {} messages sent to others, {} of them twice",
                    n(self.consumers.sent_to_others),
                    n(self.consumers.notified_twice)
                ),
            ),
            row("counted", n(self.consumers.counted), &self.counted_remark()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_must_be_public_exactly_once() {
        let committed = ["a", "b", "c"].map(str::to_owned);
        let public =
            BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 2), ("x".to_owned(), 1)]);
        let counts = EventCounts::compare(&committed, &public);
        assert_eq!((counts.missing, counts.duplicated, counts.unknown), (1, 1, 1));
        assert!(!counts.is_exact());
    }

    #[test]
    fn consumers_must_have_made_what_was_committed_and_no_more() {
        let day = |kind: &str| ("2014-06-12".to_owned(), kind.to_owned());
        let committed = Committed {
            by_day: BTreeMap::from([
                (day("message.sent"), 5),
                (day("track.played"), 2),
                (day("track.created"), 7),
            ]),
            sent_to_others: 4,
        };
        let exact = Effects {
            notifications: 4,
            notified_messages: 4,
            by_day: BTreeMap::from([(day("message.sent"), 5), (day("track.played"), 2)]),
            poison: 0,
        };
        let counts = ConsumerCounts::compare(&committed, &exact);
        assert_eq!((counts.to_count, counts.counted, counts.wrong_counts), (7, 7, 0));
        assert!(counts.is_exact(), "nobody counts track.created");
        let twice = Effects { notifications: 5, ..exact.clone() };
        assert_eq!(ConsumerCounts::compare(&committed, &twice).notified_twice, 1);
        let mut wrong = exact.clone();
        wrong.by_day.insert(day("message.sent"), 6);
        wrong.by_day.insert(day("message.read"), 1);
        wrong.by_day.remove(&day("track.played"));
        assert_eq!(ConsumerCounts::compare(&committed, &wrong).wrong_counts, 3);
        let poisoned = Effects { poison: 1, ..exact };
        for effects in [twice, wrong, poisoned] {
            assert!(!ConsumerCounts::compare(&committed, &effects).is_exact());
        }
    }
}
