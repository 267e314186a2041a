//! Muted rows published for parity: never unless asked, never unflagged, never in the way of what is ready.

use std::time::Duration;

use banyan_domain::Epoch;
use banyan_events::broker::Message;
use banyan_events::envelope::CloudEvent;
use banyan_events::forwarder::MUTED_HEADER;
use banyan_outbox::fence::{self, Order};
use banyan_outbox::{Emitted, Engine, Origin, RelayConfig, Step};

use crate::crash::{StopAt, expire, paused_with};
use crate::relay::{quick, start};
use crate::rigged::{Fault, Rigged, number};
use crate::world::{World, begin_write, context, event, on_every_engine};

on_every_engine!(
    muted_rows_stay_unless_parity_is_asked_for,
    muted_rows_leave_flagged_and_ready_ones_do_not,
    a_relay_killed_at_any_step_publishes_muted_rows_flagged_under_one_id,
    muted_rows_wait_for_ready_ones_and_hold_none_back,
    a_muted_row_that_cannot_be_sent_is_given_up_and_a_full_queue_is_waited_for,
    published_muted_rows_go_with_their_age,
);

fn with_parity() -> RelayConfig {
    RelayConfig { publish_muted: true, ..quick() }
}

/// Numbers in order of publishing, with whether they were flagged.
fn published(broker: &Rigged) -> Vec<(usize, bool)> {
    let read = |message: &Message| (number(message), message.has_header(MUTED_HEADER));
    broker.accepted().iter().map(read).collect()
}

async fn emit_muted<DB: Engine>(world: &World<DB>, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let event = event(number % 2, number).origin(Origin::Sync);
        assert_eq!(world.emit(&event).await, Emitted::Muted);
    }
}

async fn until_state<DB: Engine>(world: &World<DB>, state: &str, wanted: i64) {
    let sql = format!("SELECT COUNT(*) FROM banyan_outbox WHERE state = '{state}'");
    world.until(state, &sql, |count| count == wanted).await;
}

async fn muted_rows_stay_unless_parity_is_asked_for<DB: Engine>(world: World<DB>) {
    let world = world.owned(Order::Subject).await;
    assert!(!RelayConfig::new("raw").publish_muted, "off by default");
    emit_muted(&world, 0..3).await;
    world.emit(&event(0, 9)).await;
    let broker = Rigged::default();
    let relay = start(&world, &broker, quick());
    until_state(&world, "sent", 1).await;
    tokio::time::sleep(quick().poll * 20).await;
    relay.stop().await;
    assert_eq!(published(&broker), [(9, false)]);
    assert_eq!(world.rows_in("muted").await, 3);
}

async fn muted_rows_leave_flagged_and_ready_ones_do_not<DB: Engine>(world: World<DB>) {
    let world = world.owned(Order::Context).await;
    world.emit(&event(0, 0)).await;
    emit_muted(&world, 1..4).await;
    // The context moves away: a user's own change is muted too.
    let mut tx = world.pool.begin_with(begin_write::<DB>()).await.unwrap();
    let drain = banyan_cutover::Move::Drain(Epoch(2));
    fence::change(&mut tx, &context("messages"), drain).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(world.emit(&event(0, 4)).await, Emitted::Muted);
    let broker = Rigged::default();
    let relay = start(&world, &broker, with_parity());
    until_state(&world, "parity", 4).await;
    relay.stop().await;
    let wanted = [(0, false), (1, true), (2, true), (3, true), (4, true)];
    assert_eq!(published(&broker), wanted, "the ready one first, then in their order");
    assert_eq!((world.rows_in("sent").await, world.rows_in("muted").await), (1, 0));
    let last = &broker.accepted()[4];
    let stamp = CloudEvent::from_message(last).unwrap().unwrap().read_stamp().unwrap().unwrap();
    assert_eq!((stamp.epoch, &*last.exchange), (Epoch(2), "raw"), "else it is as it was emitted");
}

async fn a_relay_killed_at_any_step_publishes_muted_rows_flagged_under_one_id<DB: Engine>(
    world: World<DB>,
) {
    let world = world.owned(Order::Subject).await;
    let broker = Rigged::default();
    let mut shown = 0;
    for (round, step) in Step::ALL.into_iter().enumerate() {
        emit_muted(&world, round * 4..round * 4 + 4).await;
        let pause = StopAt::new(step);
        let relay = paused_with(&world, &broker, &pause, with_parity());
        pause.reached().await;
        relay.kill().await;
        expire(&world).await;
        assert_eq!(world.rows_in("muted").await, if step == Step::Marked { 0 } else { 4 });
        let next = start(&world, &broker, with_parity());
        shown += 4;
        until_state(&world, "parity", shown).await;
        next.stop().await;
    }
    let all = published(&broker);
    assert!(all.iter().all(|(_, flagged)| *flagged), "{all:?}");
    assert_eq!((all.len(), broker.effects().len()), (16, 12), "one kill after publishing: 4 twice");
}

async fn muted_rows_wait_for_ready_ones_and_hold_none_back<DB: Engine>(world: World<DB>) {
    let world = world.owned(Order::Subject).await;
    let broker = Rigged::default();
    // Muted first, of the same subjects; one of them is refused for ever.
    emit_muted(&world, 0..6).await;
    broker.rig(0, Some(Fault::NoExchange));
    world.emit_many(10..40, 2).await;
    let config = RelayConfig { rows_max: 7, attempts_max: u32::MAX, ..with_parity() };
    let relay = start(&world, &broker, config);
    until_state(&world, "sent", 30).await;
    let ready = published(&broker).iter().position(|(_, flagged)| *flagged).unwrap_or(30);
    assert_eq!(ready, 30, "no muted row leaves while one is ready");
    until_state(&world, "parity", 3).await;
    // The rest of its subject waits for the refused one in this batch only; ready rows of the subject pass.
    world.emit(&event(0, 40)).await;
    until_state(&world, "sent", 31).await;
    assert_eq!(world.outbox.status().await.unwrap().contexts[0].waiting, 0);
    until_state(&world, "parity", 5).await;
    relay.stop().await;
    let of_first: Vec<usize> = (0..30).map(|at| at + 10).filter(|at| at % 2 == 0).collect();
    let sent =
        published(&broker).into_iter().filter(|(number, flagged)| !flagged && number % 2 == 0);
    let sent: Vec<usize> = sent.map(|(number, _)| number).filter(|number| *number < 40).collect();
    assert_eq!(sent, of_first);
}

async fn a_muted_row_that_cannot_be_sent_is_given_up_and_a_full_queue_is_waited_for<DB: Engine>(
    world: World<DB>,
) {
    let world = world.owned(Order::Subject).await;
    let broker = Rigged::default();
    emit_muted(&world, 0..4).await;
    broker.rig(0, Some(Fault::NoExchange));
    broker.rig(1, Some(Fault::Full));
    let relay = start(&world, &broker, with_parity());
    until_state(&world, "silent", 1).await;
    until_state(&world, "parity", 1).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(world.rows_in("muted").await, 2, "a full queue gives up nothing");
    let status = world.outbox.status().await.unwrap();
    assert_eq!((status.contexts[0].dead, status.contexts[0].ready), (0, 0));
    broker.rig(1, None);
    until_state(&world, "parity", 3).await;
    relay.stop().await;
}

async fn published_muted_rows_go_with_their_age<DB: Engine>(world: World<DB>) {
    let world = world.owned(Order::Context).await;
    emit_muted(&world, 0..3).await;
    let broker = Rigged::default();
    let relay = start(&world, &broker, with_parity());
    until_state(&world, "parity", 3).await;
    world.run("UPDATE banyan_outbox SET settled_at_ms = 0 WHERE state = 'parity'").await;
    until_state(&world, "parity", 0).await;
    relay.stop().await;
    assert_eq!(world.outbox.status().await.unwrap().contexts[0].lost, Some(0));
}
