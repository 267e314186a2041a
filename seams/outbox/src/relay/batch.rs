//! What of a batch may be under way together, and whose fault an error is. Pure.

use std::collections::HashMap;

use banyan_events::broker::{BrokerError, BrokerState};

use crate::row::Row;

/// Whose fault a failed publish is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// The broker's: no row is held or counted, everything waits.
    Broker,
    /// A full queue's, or that of a queue which is not bound: the row waits with its lane for as long as it takes.
    Busy,
    /// The row's or its exchange's: it waits with its lane, and is dead after too many tries.
    Row,
}

/// Splits rows into waves of which each has at most `per_lane` rows of a lane, keeping their order: what a broker
/// refuses in the middle of a wave was overtaken by nothing of its lane.
pub(super) fn waves(rows: Vec<Row>, per_lane: u16) -> Vec<Vec<Row>> {
    let per_lane = usize::from(per_lane.max(1));
    let mut waves: Vec<Vec<Row>> = Vec::new();
    let mut counts: HashMap<Vec<u8>, usize> = HashMap::new();
    for row in rows {
        let count = counts.entry(row.lane.clone()).or_default();
        let wave = *count / per_lane;
        *count += 1;
        // A lane enters its waves one after the other, so at most one wave is missing.
        if wave == waves.len() {
            waves.push(Vec::new());
        }
        waves[wave].push(row);
    }
    waves
}

/// Whose fault it is that a publish failed, given what is known of the connection afterwards.
pub(super) fn blame(error: &BrokerError, state: &BrokerState) -> Blame {
    let is_up = *state == BrokerState::Connected;
    match error {
        // As a full queue: once somebody binds one, the row goes.
        BrokerError::QueueFull { .. }
        | BrokerError::Refused { .. }
        | BrokerError::Unroutable { .. } => Blame::Busy,
        // On a connection that stands, a confirm stays away when the channel was closed over this very message, as
        // over a missing permission.
        BrokerError::Unconfirmed { .. } if is_up => Blame::Row,
        BrokerError::NoExchange { .. }
        | BrokerError::NoQueue { .. }
        | BrokerError::TopologyConflict { .. }
        | BrokerError::InvalidMessage { .. } => Blame::Row,
        BrokerError::Url { .. }
        | BrokerError::Unreachable { .. }
        | BrokerError::Blocked { .. }
        | BrokerError::Unconfirmed { .. }
        | BrokerError::ConsumerLost { .. }
        | BrokerError::Storage { .. }
        | BrokerError::Closed
        | _ => Blame::Broker,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn waves_keep_every_row_and_the_order_of_each_lane(
            lanes in vec(0..4_u8, 0..60), per_lane in 1..5_u16,
        ) {
            let rows: Vec<Row> = (0..).zip(&lanes).map(|(id, lane)| Row::of_lane(id, *lane)).collect();
            let waves = waves(rows.clone(), per_lane);
            let mut flat: Vec<Row> = waves.iter().flatten().cloned().collect();
            for lane in 0..4 {
                let of_lane = |rows: &[Row]| -> Vec<i64> {
                    rows.iter().filter(|row| row.lane == [lane]).map(|row| row.id).collect()
                };
                prop_assert_eq!(of_lane(&flat), of_lane(&rows));
                for wave in &waves {
                    prop_assert!(of_lane(wave).len() <= usize::from(per_lane));
                }
            }
            prop_assert!(waves.iter().all(|wave| !wave.is_empty()));
            flat.sort_by_key(|row| row.id);
            prop_assert_eq!(flat, rows);
        }
    }

    #[test]
    fn an_outage_is_no_fault_of_a_row_and_a_full_queue_kills_none() {
        let down = BrokerState::Disconnected { reason: String::new() };
        let blocked = BrokerState::Blocked { reason: String::new() };
        let unconfirmed = BrokerError::Unconfirmed { reason: String::new() };
        let full = BrokerError::QueueFull { queue: "q".to_owned(), length_max: 1 };
        let absent = BrokerError::NoExchange { exchange: "x".to_owned() };
        assert_eq!(blame(&unconfirmed, &down), Blame::Broker);
        assert_eq!(blame(&unconfirmed, &blocked), Blame::Broker);
        assert_eq!(blame(&unconfirmed, &BrokerState::Connected), Blame::Row);
        assert_eq!(blame(&BrokerError::Closed, &BrokerState::Connected), Blame::Broker);
        assert_eq!(blame(&full, &BrokerState::Connected), Blame::Busy);
        assert_eq!(blame(&absent, &BrokerState::Connected), Blame::Row);
    }
}
