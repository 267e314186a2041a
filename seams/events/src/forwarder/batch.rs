//! What becomes of a batch: a pure function of the rows that are known and of who owns what.
//!
//! It exists so that the rules about duplicates and redeliveries can be read, and tested, without a database.
//!
//! What must stay true: an event with a row gets the row's decision again or is a duplicate; it is published again only
//! when its row says that it was not, and never while it is being published already; rows are numbered in order.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use banyan_domain::{ContextName, Side};

use super::decide::{Decision, decide};
use super::ownership::Ownership;
use crate::broker::Message;

/// Prefix of the keys of events that their emitter did not name.
const ANONYMOUS: &str = "anon:";

/// An event as it came in.
pub(super) struct Arrival<'a> {
    pub(super) context: Option<&'a ContextName>,
    /// The emitter's name of it; `None` = anonymous.
    pub(super) key: Option<String>,
    /// The AMQP properties as JSON.
    pub(super) properties: String,
    pub(super) content_hash: String,
    pub(super) redelivered: bool,
    pub(super) message: &'a Message,
}

impl Arrival<'_> {
    /// The context's column: empty for an unmigrated event.
    pub(super) fn context_word(&self) -> &str {
        self.context.map_or("", ContextName::as_str)
    }
}

/// What is to be done with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decided {
    pub(super) row: i64,
    pub(super) decision: Decision,
    /// Not published before, as far as the log knows.
    pub(super) publish: bool,
    /// Decided now, not found in the log.
    pub(super) fresh: bool,
}

impl Decided {
    /// Recorded only, as a tap does.
    pub(super) fn unpublished(self) -> Self {
        Self { publish: false, ..self }
    }
}

/// A row of the log.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) id: i64,
    pub(super) decision: Decision,
    pub(super) is_forwarded: bool,
    pub(super) content_hash: String,
}

/// Rows by context and key.
#[derive(Debug, Default)]
pub(super) struct KnownRows(HashMap<String, HashMap<String, Known>>);

impl KnownRows {
    pub(super) fn put(&mut self, context: &str, key: String, row: Known) {
        self.0.entry(context.to_owned()).or_default().insert(key, row);
    }

    fn get(&self, context: &str, key: &str) -> Option<&Known> {
        self.0.get(context)?.get(key)
    }
}

/// A row to be written.
pub(super) struct NewRow<'a> {
    pub(super) id: i64,
    pub(super) key: Cow<'a, str>,
    pub(super) decision: Decision,
    pub(super) arrival: &'a Arrival<'a>,
}

/// The decisions of a batch, and the rows that store them.
pub(super) struct Plan<'a> {
    /// One per arrival, in order.
    pub(super) decided: Vec<Decided>,
    pub(super) rows: Vec<NewRow<'a>>,
    side: Side,
    ownerships: &'a BTreeMap<ContextName, Ownership>,
    known: KnownRows,
    /// Rows met in this batch or still in flight: another meeting is a duplicate whatever the broker says of it.
    seen: BTreeSet<i64>,
    last_id: i64,
}

impl<'a> Plan<'a> {
    /// Decides `arrivals`. `known` has the rows of their keys; `unacked` the anonymous rows whose acknowledgement is not
    /// certain, oldest first; `flying` the rows that are being published or acknowledged right now.
    pub(super) fn make(
        side: Side,
        ownerships: &'a BTreeMap<ContextName, Ownership>,
        known: KnownRows,
        unacked: &mut VecDeque<Known>,
        flying: BTreeSet<i64>,
        last_id: i64,
        arrivals: &'a [Arrival<'a>],
    ) -> Self {
        let (decided, rows) = (Vec::with_capacity(arrivals.len()), Vec::new());
        let mut plan = Self { decided, rows, side, ownerships, known, seen: flying, last_id };
        for arrival in arrivals {
            let decided = plan.decide_one(arrival, unacked);
            plan.decided.push(decided);
        }
        plan
    }

    fn decide_one(&mut self, arrival: &'a Arrival<'a>, unacked: &mut VecDeque<Known>) -> Decided {
        let Some(key) = &arrival.key else {
            return match redelivered_row(arrival, unacked) {
                Some(row) => self.again(&row),
                None => self.first_time(arrival, anonymous_key().into()),
            };
        };
        let Some(row) = self.known.get(arrival.context_word(), key).cloned() else {
            let decided = self.first_time(arrival, key.into());
            let row = Known {
                id: decided.row,
                decision: decided.decision,
                is_forwarded: false,
                content_hash: arrival.content_hash.clone(),
            };
            self.known.put(arrival.context_word(), key.clone(), row);
            return decided;
        };
        if row.content_hash != arrival.content_hash {
            tracing::warn!(side = %self.side, key, "two different events have the same id");
        }
        let is_interrupted = row.decision.publishes() && !row.is_forwarded;
        if !self.seen.contains(&row.id) && (arrival.redelivered || is_interrupted) {
            return self.again(&row);
        }
        self.write(arrival, format!("dup:{}:{}", row.id, anonymous_key()).into(), Decision::Dup)
    }

    /// Decided before: the same decision, published only if it was not marked.
    fn again(&mut self, row: &Known) -> Decided {
        self.seen.insert(row.id);
        let publish = row.decision.publishes() && !row.is_forwarded;
        Decided { row: row.id, decision: row.decision, publish, fresh: false }
    }

    fn first_time(&mut self, arrival: &'a Arrival<'a>, key: Cow<'a, str>) -> Decided {
        let ownership = arrival.context.and_then(|context| self.ownerships.get(context)).copied();
        self.write(arrival, key, decide(self.side, ownership, arrival.message))
    }

    fn write(
        &mut self,
        arrival: &'a Arrival<'a>,
        key: Cow<'a, str>,
        decision: Decision,
    ) -> Decided {
        self.last_id += 1;
        let id = self.last_id;
        self.seen.insert(id);
        self.rows.push(NewRow { id, key, decision, arrival });
        Decided { row: id, decision, publish: decision.publishes(), fresh: true }
    }
}

/// The row of a redelivered event without an id: redeliveries come in the old order, so the first unacknowledged
/// row with the same content is it, and rows before that one were acknowledged after all.
fn redelivered_row(arrival: &Arrival<'_>, unacked: &mut VecDeque<Known>) -> Option<Known> {
    if !arrival.redelivered {
        return None;
    }
    let position = unacked.iter().position(|row| row.content_hash == arrival.content_hash)?;
    unacked.drain(..=position).next_back()
}

fn anonymous_key() -> String {
    format!("{ANONYMOUS}{}", uuid::Uuid::now_v7())
}

#[cfg(test)]
mod tests {
    use banyan_domain::Epoch;

    use super::*;

    struct World {
        context: ContextName,
        ownerships: BTreeMap<ContextName, Ownership>,
        message: Message,
    }

    impl World {
        fn new() -> Self {
            let context = ContextName::new("messages").unwrap();
            let ownership = Ownership::first(Side::Legacy, Epoch(1));
            let ownerships = BTreeMap::from([(context.clone(), ownership)]);
            Self { context, ownerships, message: Message::new("raw", "message.sent", Vec::new()) }
        }

        fn arrival(&self, key: Option<&str>, redelivered: bool) -> Arrival<'_> {
            Arrival {
                context: Some(&self.context),
                key: key.map(str::to_owned),
                properties: "{}".to_owned(),
                content_hash: "h".to_owned(),
                redelivered,
                message: &self.message,
            }
        }

        /// Whether each is fresh, its row, its decision, whether it is published.
        fn plan(
            &self,
            known: KnownRows,
            unacked: &mut VecDeque<Known>,
            flying: &[i64],
            arrivals: &[Arrival<'_>],
        ) -> Vec<(i64, Decision, bool)> {
            let flying = flying.iter().copied().collect();
            let plan =
                Plan::make(Side::Legacy, &self.ownerships, known, unacked, flying, 10, arrivals);
            let fresh: Vec<i64> =
                plan.decided.iter().filter(|one| one.fresh).map(|one| one.row).collect();
            assert_eq!(plan.rows.iter().map(|row| row.id).collect::<Vec<_>>(), fresh);
            plan.decided.iter().map(|one| (one.row, one.decision, one.publish)).collect()
        }
    }

    fn row(id: i64, is_forwarded: bool) -> Known {
        let content_hash = "h".to_owned();
        Known { id, decision: Decision::Forward, is_forwarded, content_hash }
    }

    fn knows(id: i64, is_forwarded: bool) -> KnownRows {
        let mut known = KnownRows::default();
        known.put("messages", "id:a".to_owned(), row(id, is_forwarded));
        known
    }

    use Decision::{Dup, Forward};

    #[test]
    fn the_second_of_one_id_in_a_batch_is_a_duplicate() {
        let world = World::new();
        let twice = [world.arrival(Some("id:a"), false), world.arrival(Some("id:a"), false)];
        let plan = world.plan(KnownRows::default(), &mut VecDeque::new(), &[], &twice);
        assert_eq!(plan, [(11, Forward, true), (12, Dup, false)]);
    }

    #[test]
    fn a_redelivery_gets_its_row_again_and_an_interrupted_row_is_published() {
        let world = World::new();
        for (is_forwarded, redelivered) in [(false, true), (true, true), (false, false)] {
            let plan = world.plan(
                knows(3, is_forwarded),
                &mut VecDeque::new(),
                &[],
                &[world.arrival(Some("id:a"), redelivered)],
            );
            assert_eq!(plan, [(3, Forward, !is_forwarded)]);
        }
        let sent_again = [world.arrival(Some("id:a"), false)];
        let plan = world.plan(knows(3, true), &mut VecDeque::new(), &[], &sent_again);
        assert_eq!(plan, [(11, Dup, false)]);
    }

    #[test]
    fn an_event_sent_again_while_the_first_is_in_flight_is_a_duplicate() {
        let world = World::new();
        for redelivered in [false, true] {
            let arrival = [world.arrival(Some("id:a"), redelivered)];
            let plan = world.plan(knows(3, false), &mut VecDeque::new(), &[3], &arrival);
            assert_eq!(plan, [(11, Dup, false)], "the row looks interrupted, and is not");
        }
    }

    #[test]
    fn redelivered_events_without_an_id_get_their_rows_in_order() {
        let world = World::new();
        let mut unacked = VecDeque::from([row(4, true), row(5, false)]);
        let arrivals =
            [world.arrival(None, true), world.arrival(None, true), world.arrival(None, true)];
        let plan = world.plan(KnownRows::default(), &mut unacked, &[], &arrivals);
        assert_eq!(plan, [(4, Forward, false), (5, Forward, true), (11, Forward, true)]);
        assert!(unacked.is_empty());
    }
}
