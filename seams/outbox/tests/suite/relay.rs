//! What the relay publishes, in which order, and what holds what back.

use std::sync::Arc;
use std::time::Duration;

use banyan_domain::Side;
use banyan_events::envelope::CloudEvent;
use banyan_outbox::fence::Order;
use banyan_outbox::{Engine, Operate as _, Origin, Relay, RelayConfig, RelayState, Which, emit};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::rigged::{Fault, Rigged};
use crate::world::{World, begin_write, event, on_every_engine, on_servers};

on_every_engine!(
    ready_rows_are_published_as_cloud_events_and_muted_ones_are_not,
    a_failing_row_holds_back_its_subject_and_nothing_else,
    in_context_order_a_failing_row_holds_back_its_context,
    a_row_is_dead_after_too_many_tries_and_comes_back_by_a_retry,
    a_dropped_row_lets_what_waits_behind_it_pass,
    a_full_queue_kills_no_row_and_recovers_without_help,
    too_many_failing_rows_stop_fresh_ones,
    an_outage_is_waited_out_and_counted_against_no_row,
    a_round_is_limited_in_bytes,
    old_rows_go_and_a_vanished_row_is_noticed,
);

mod concurrent {
    use super::*;
    on_servers!(a_lower_id_that_commits_later_is_not_lost);
}

/// A relay under test; ends when dropped.
pub(crate) struct Running {
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start<DB: Engine>(relay: Relay<DB>) -> Self {
        let cancel = CancellationToken::new();
        let token = cancel.clone();
        Self { cancel, task: tokio::spawn(async move { relay.run(token).await }) }
    }

    /// As SIGKILL: whatever it does is not finished.
    pub(crate) async fn kill(mut self) {
        self.task.abort();
        assert!((&mut self.task).await.unwrap_err().is_cancelled());
    }

    pub(crate) async fn stop(mut self) {
        self.cancel.cancel();
        (&mut self.task).await.unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Short waits and a short lease.
pub(crate) fn quick() -> RelayConfig {
    let mut config = RelayConfig::new("raw");
    config.poll = Duration::from_millis(5);
    config.lease = Duration::from_millis(800);
    config.retry = (Duration::from_millis(20), Duration::from_millis(40));
    config.attempts_max = 4;
    config.clean_up_every = Duration::from_millis(20);
    config
}

pub(crate) fn start<DB: Engine>(
    world: &World<DB>,
    broker: &Rigged,
    config: RelayConfig,
) -> Running {
    Running::start(Relay::new(world.outbox.clone(), Arc::new(broker.clone()), config))
}

async fn ready_rows_are_published_as_cloud_events_and_muted_ones_are_not<DB: Engine>(
    world: World<DB>,
) {
    let world = world.owned(Order::Context).await;
    let sent = event(7, 1)
        .app("chat")
        .traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    world.emit(&sent).await;
    world.emit(&event(7, 2).origin(Origin::Sync)).await;
    world.emit(&event(8, 3)).await;
    let broker = Rigged::default();
    let relay = start(&world, &broker, quick());
    world.until_empty().await;
    relay.stop().await;
    let accepted = broker.accepted();
    assert_eq!(broker.effects(), [("s7".to_owned(), 1), ("s8".to_owned(), 3)]);
    assert_eq!((&*accepted[0].exchange, &*accepted[0].routing_key), ("raw", "message.sent"));
    let read = CloudEvent::from_message(&accepted[0]).unwrap().unwrap();
    let stamp = read.read_stamp().unwrap().unwrap();
    assert_eq!((stamp.side, stamp.epoch.0), (Side::New, 1));
    assert_eq!((&*read.source, read.read_sequence()), ("/messages/new-chat", Some(1)));
    assert!(read.text_extension("traceparent").unwrap().starts_with("00-0af7"));
    assert_eq!((world.rows_in("sent").await, world.rows_in("muted").await), (2, 1));
    let relay = &world.outbox.status().await.unwrap().relays[0];
    assert_eq!((relay.state, relay.leads, relay.generation), (RelayState::Stopped, false, 1));
}

async fn a_failing_row_holds_back_its_subject_and_nothing_else<DB: Engine>(world: World<DB>) {
    let world = world.owned(Order::Subject).await;
    let broker = Rigged::default();
    broker.rig(4, Some(Fault::NoExchange));
    world.emit_many(0..12, 3).await;
    let mut config = quick();
    config.attempts_max = u32::MAX;
    let relay = start(&world, &broker, config);
    let sent = "SELECT COUNT(*) FROM banyan_outbox WHERE state = 'sent'";
    world.until("the other subjects must pass", sent, |count| count == 9).await;
    world.emit(&event(1, 13)).await;
    world.emit(&event(2, 14)).await;
    world.until("and so must later events", sent, |count| count == 10).await;
    assert_eq!(broker.of_subject(0), [0, 3, 6, 9]);
    assert_eq!(broker.of_subject(1), [1], "4 fails, so 7, 10 and 13 wait");
    assert_eq!(broker.of_subject(2), [2, 5, 8, 11, 14]);
    let context = world.outbox.status().await.unwrap().contexts.remove(0);
    assert_eq!((context.waiting, context.ready, context.dead), (1, 3, 0));
    broker.rig(4, None);
    world.until_empty().await;
    relay.stop().await;
    assert_eq!(broker.of_subject(1), [1, 4, 7, 10, 13]);
}

async fn in_context_order_a_failing_row_holds_back_its_context<DB: Engine>(world: World<DB>) {
    let world = world.owned(Order::Context).await;
    world.enrol("tracks", Order::Context).await;
    let broker = Rigged::default();
    broker.rig(2, Some(Fault::Full));
    world.emit_many(0..6, 3).await;
    let other = banyan_outbox::NewEvent::new(crate::world::context("tracks"), "track.played", "t1");
    world.emit(&other.data("application/json", b"100".to_vec())).await;
    let relay = start(&world, &broker, quick());
    let sent = "SELECT COUNT(*) FROM banyan_outbox WHERE state = 'sent'";
    world.until("0, 1 and the other context must pass", sent, |count| count == 3).await;
    let numbers = |broker: &Rigged| -> Vec<usize> {
        broker.effects().into_iter().map(|(_, number)| number).filter(|n| *n < 100).collect()
    };
    assert_eq!(numbers(&broker), [0, 1]);
    broker.rig(2, None);
    world.until_empty().await;
    relay.stop().await;
    assert_eq!(numbers(&broker), [0, 1, 2, 3, 4, 5]);
}

async fn a_row_is_dead_after_too_many_tries_and_comes_back_by_a_retry<DB: Engine>(
    world: World<DB>,
) {
    let world = world.owned(Order::Subject).await;
    let broker = Rigged::default();
    broker.rig(0, Some(Fault::NoExchange));
    world.emit_many(0..4, 2).await;
    let relay = start(&world, &broker, quick());
    let dead = "SELECT COUNT(*) FROM banyan_outbox WHERE state = 'dead'";
    world.until("0 must be given up", dead, |count| count == 1).await;
    let rows = world.outbox.dead(10).await.unwrap();
    assert_eq!((&*rows[0].subject, &*rows[0].kind, rows[0].attempts), ("s0", "message.sent", 4));
    assert_eq!(rows[0].error.as_deref(), Some("exchange `raw` does not exist"));
    assert!(!world.outbox.status().await.unwrap().is_well());
    assert!(broker.of_subject(0).is_empty(), "its successor waits");

    broker.rig(0, None);
    let absent = Which::Event("0190b6a3-7f3e-7c2e-8f27-d1e6b1b0a001".to_owned());
    assert_eq!(world.outbox.retry(&absent).await.unwrap(), 0);
    assert_eq!(world.outbox.retry(&Which::Event(rows[0].event_id.clone())).await.unwrap(), 1);
    world.until_empty().await;
    relay.stop().await;
    assert_eq!((broker.of_subject(0), broker.of_subject(1)), (vec![0, 2], vec![1, 3]));
}

async fn a_dropped_row_lets_what_waits_behind_it_pass<DB: Engine>(world: World<DB>) {
    let world = world.owned(Order::Context).await;
    let broker = Rigged::default();
    broker.rig(1, Some(Fault::NoExchange));
    world.emit_many(0..3, 1).await;
    let relay = start(&world, &broker, quick());
    let dead = "SELECT COUNT(*) FROM banyan_outbox WHERE state = 'dead'";
    world.until("1 must be given up", dead, |count| count == 1).await;
    let id = world.outbox.dead(1).await.unwrap().remove(0).event_id;
    assert!(world.outbox.drop_dead(&id).await.unwrap());
    assert!(!world.outbox.drop_dead(&id).await.unwrap(), "it is not dead any more");
    world.until_empty().await;
    relay.stop().await;
    assert_eq!(broker.of_subject(0), [0, 2]);
    assert_eq!(world.outbox.status().await.unwrap().contexts[0].lost, Some(0));
}

async fn a_full_queue_kills_no_row_and_recovers_without_help<DB: Engine>(world: World<DB>) {
    let world = world.owned(Order::Subject).await;
    let broker = Rigged::default();
    for number in 0..8 {
        broker.rig(number, Some(Fault::Full));
    }
    world.emit_many(0..16, 4).await;
    let relay = start(&world, &broker, quick());
    let tries = "SELECT MAX(attempts) FROM banyan_outbox";
    world.until("it must be tried more often than a fault", tries, |count| count > 6).await;
    assert_eq!((world.rows_in("dead").await, broker.accepted().len()), (0, 0));
    (0..8).for_each(|number| broker.rig(number, None));
    world.until_empty().await;
    relay.stop().await;
    for subject in 0..4 {
        assert_eq!(broker.of_subject(subject), [0, 4, 8, 12].map(|n| n + subject));
    }
}

async fn too_many_failing_rows_stop_fresh_ones<DB: Engine>(world: World<DB>) {
    let world = world.owned(Order::Subject).await;
    let broker = Rigged::default();
    for number in 0..3 {
        broker.rig(number, Some(Fault::Full));
    }
    world.emit_many(0..3, 3).await;
    let mut config = quick();
    config.waiting_max = 3;
    let relay = start(&world, &broker, config);
    let waiting = "SELECT COUNT(*) FROM banyan_outbox WHERE state = 'waiting'";
    world.until("all three must fail", waiting, |count| count == 3).await;
    world.emit(&event(9, 9)).await;
    let tries = "SELECT MIN(attempts) FROM banyan_outbox WHERE state = 'waiting'";
    world.until("they must be tried on", tries, |count| count > 5).await;
    assert_eq!(broker.accepted().len(), 0, "9 is not even tried");
    (0..3).for_each(|number| broker.rig(number, None));
    world.until_empty().await;
    relay.stop().await;
    assert_eq!(broker.of_subject(9), [9]);
}

async fn an_outage_is_waited_out_and_counted_against_no_row<DB: Engine>(world: World<DB>) {
    let world = world.owned(Order::Subject).await;
    let broker = Rigged::default();
    broker.set_down(true);
    world.emit_many(0..6, 2).await;
    let relay = start(&world, &broker, quick());
    let says = "SELECT COUNT(*) FROM banyan_relay WHERE state = 'waiting' AND reason LIKE 'cannot publish%'";
    world.until("the status must say why", says, |count| count == 1).await;
    assert_eq!(world.count("SELECT MAX(attempts) FROM banyan_outbox").await, 0);
    broker.set_down(false);
    world.until_empty().await;
    relay.stop().await;
    assert_eq!((broker.of_subject(0), broker.of_subject(1)), (vec![0, 2, 4], vec![1, 3, 5]));
}

async fn a_round_is_limited_in_bytes<DB: Engine>(world: World<DB>) {
    let world = world.owned(Order::Subject).await;
    for number in 0..20_usize {
        let mut body = vec![b' '; 40_000];
        body.extend(number.to_string().into_bytes());
        world.emit(&event(number, number).data("text/plain", body)).await;
    }
    let broker = Rigged::default();
    let mut config = quick();
    config.bytes_max = 100_000;
    let relay = start(&world, &broker, config);
    world.until_empty().await;
    relay.stop().await;
    assert_eq!(broker.effects().len(), 20);
    let most = broker.window_bytes_max();
    assert!((80_000..=160_000).contains(&most), "{most}");
}

async fn old_rows_go_and_a_vanished_row_is_noticed<DB: Engine>(world: World<DB>) {
    let world = world.owned(Order::Context).await;
    world.emit_many(0..10, 2).await;
    world.emit(&event(1, 10).origin(Origin::Sync)).await;
    let broker = Rigged::default();
    let relay = start(&world, &broker, quick());
    world.until_empty().await;
    relay.stop().await;
    world.run("UPDATE banyan_outbox SET settled_at_ms = 0 WHERE seq <= 6 OR state = 'muted'").await;
    world.emit(&event(1, 11)).await;
    let relay = start(&world, &broker, quick());
    let count = "SELECT COUNT(*) FROM banyan_outbox";
    world.until("the old ones must go", count, |count| count == 5).await;
    relay.stop().await;
    let lost = async || world.outbox.status().await.unwrap().contexts[0].lost;
    assert_eq!(lost().await, Some(0), "what was cleaned up is not lost");
    world.run("DELETE FROM banyan_outbox WHERE seq = 8").await;
    assert_eq!(lost().await, Some(1), "what an accident deleted is");
}

async fn a_lower_id_that_commits_later_is_not_lost<DB: Engine>(world: World<DB>) {
    let world = world.owned(Order::Subject).await;
    let broker = Rigged::default();
    let relay = start(&world, &broker, quick());
    let mut slow = world.pool.begin_with(begin_write::<DB>()).await.unwrap();
    emit(&mut slow, &event(0, 0)).await.unwrap();
    // They are marked at once, which must not look at the row that is not committed.
    let mut fast = world.pool.begin_with(begin_write::<DB>()).await.unwrap();
    for number in 1..=20 {
        emit(&mut fast, &event(number, number)).await.unwrap();
    }
    fast.commit().await.unwrap();
    let sent = "SELECT COUNT(*) FROM banyan_outbox WHERE state = 'sent'";
    world.until("the higher ids must pass", sent, |count| count == 20).await;
    slow.commit().await.unwrap();
    world.until("then the lower one", sent, |count| count == 21).await;
    relay.stop().await;
    let subjects: Vec<String> = broker.effects().into_iter().map(|(subject, _)| subject).collect();
    let expected: Vec<String> = (1..=20).chain([0]).map(|number| format!("s{number}")).collect();
    assert_eq!(subjects, expected);
    let ids = world.texts("SELECT subject FROM banyan_outbox ORDER BY id").await;
    assert_eq!((ids.len(), ids[0].as_str()), (21, "s0"), "the lower id did commit later");
}
