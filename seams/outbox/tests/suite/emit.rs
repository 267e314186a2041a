//! Who may emit, and what happens to emitters when the owner changes.

use banyan_cutover::{Fence, FenceState, Move};
use banyan_domain::Epoch;
use banyan_outbox::fence::{self, Order};
use banyan_outbox::{Emitted, Engine, Origin, OutboxError, emit};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::world::{World, begin_write, context, event, on_every_engine, on_servers};

on_every_engine!(
    only_the_owners_own_changes_are_ready,
    a_context_that_is_not_enrolled_is_refused,
    an_owner_change_waits_for_the_emitters_in_flight,
    a_rolled_back_or_refused_event_leaves_nothing_and_no_gap,
);

mod race {
    use super::*;
    on_servers!(no_event_of_the_old_epoch_becomes_ready_after_the_change);
}

async fn only_the_owners_own_changes_are_ready<DB: Engine>(world: World<DB>) {
    let world = world.owned(Order::Subject).await;
    assert_eq!(world.emit(&event(1, 1)).await, Emitted::Ready { sequence: None });
    for origin in [Origin::Sync, Origin::Replay] {
        assert_eq!(world.emit(&event(1, 2).origin(origin)).await, Emitted::Muted);
    }
    for state in FenceState::ALL.into_iter().filter(|state| *state != FenceState::Open) {
        world.run(&format!("UPDATE banyan_owner SET state = '{}'", state.as_str())).await;
        assert_eq!(world.emit(&event(1, 3)).await, Emitted::Muted, "{state:?}");
    }
    assert_eq!((world.rows_in("ready").await, world.rows_in("muted").await), (1, 5));
    let settled = "SELECT COUNT(*) FROM banyan_outbox WHERE settled_at_ms IS NOT NULL";
    assert_eq!(world.count(settled).await, 5, "muted rows age from the start");
}

async fn a_context_that_is_not_enrolled_is_refused<DB: Engine>(world: World<DB>) {
    let mut tx = world.pool.begin().await.unwrap();
    let error = emit(&mut tx, &event(1, 1)).await.unwrap_err();
    assert!(matches!(error, OutboxError::NotEnrolled { .. }), "{error}");
    assert_eq!(error.hint(), Some("enrol it once with the side of this database"));
}

async fn an_owner_change_waits_for_the_emitters_in_flight<DB: Engine>(world: World<DB>) {
    let world = world.owned(Order::Subject).await;
    let mut emitter = world.pool.begin_with(begin_write::<DB>()).await.unwrap();
    DB::run(&mut emitter, "INSERT INTO chat_messages (id) VALUES (1)", &[]).await.unwrap();
    assert_eq!(emit(&mut emitter, &event(1, 1)).await.unwrap(), Emitted::Ready { sequence: None });

    let pool = world.pool.clone();
    let changer = tokio::spawn(async move {
        let mut tx = pool.begin_with(begin_write::<DB>()).await.unwrap();
        let wanted = Move::Drain(Epoch(2));
        let fence = fence::change(&mut tx, &context("messages"), wanted).await.unwrap();
        tx.commit().await.unwrap();
        fence
    });
    world.until_somebody_waits().await;
    assert!(!changer.is_finished(), "the change must wait for the emitter");

    // The emitter may go on emitting; its events belong to the epoch that it began in.
    assert_eq!(emit(&mut emitter, &event(1, 2)).await.unwrap(), Emitted::Ready { sequence: None });
    emitter.commit().await.unwrap();
    let changed = tokio::time::timeout(crate::world::SOON, changer).await.unwrap().unwrap();
    assert_eq!(changed, Fence::new(FenceState::Draining, Epoch(2)));
    assert_eq!(world.emit(&event(1, 3)).await, Emitted::Muted);
    let old = "SELECT COUNT(*) FROM banyan_outbox WHERE state = 'ready' AND epoch = 1";
    assert_eq!((world.count(old).await, world.rows_in("ready").await), (2, 2));
}

async fn no_event_of_the_old_epoch_becomes_ready_after_the_change<DB: Engine>(world: World<DB>) {
    let seed: u64 = rand::random();
    let world = std::sync::Arc::new(world.owned(Order::Subject).await);
    let mut emitters = tokio::task::JoinSet::new();
    let stop = tokio_util::sync::CancellationToken::new();
    for emitter in 0..4_usize {
        let (world, stop) = (world.clone(), stop.clone());
        let mut rng = StdRng::seed_from_u64(seed.wrapping_add(emitter as u64));
        emitters.spawn(async move {
            let mut number = 0;
            while !stop.is_cancelled() {
                let mut tx = world.pool.begin_with(begin_write::<DB>()).await.unwrap();
                for _ in 0..rng.random_range(1..4) {
                    emit(&mut tx, &event(emitter, number)).await.unwrap();
                    number += 1;
                }
                if rng.random_bool(0.1) {
                    tx.rollback().await.unwrap();
                } else {
                    tx.commit().await.unwrap();
                }
            }
        });
    }
    let mut seen = Vec::new();
    for epoch in (2..42).step_by(2) {
        change(&world, Move::Drain(Epoch(epoch))).await;
        // Closed: whatever is ready now is all that ever will be of the epochs so far.
        seen.push((epoch, ready_before(&world, epoch).await));
        change(&world, Move::Open(Epoch(epoch + 1))).await;
        world.until_emitted(epoch + 1).await;
    }
    stop.cancel();
    while let Some(done) = emitters.join_next().await {
        done.unwrap();
    }
    for (epoch, count) in seen {
        assert_eq!(ready_before(&world, epoch).await, count, "epoch {epoch}, seed {seed}");
    }
}

async fn change<DB: Engine>(world: &World<DB>, wanted: Move) {
    let mut tx = world.pool.begin_with(begin_write::<DB>()).await.unwrap();
    fence::change(&mut tx, &context("messages"), wanted).await.unwrap();
    tx.commit().await.unwrap();
}

/// Ready rows of ownerships before `epoch`.
async fn ready_before<DB: Engine>(world: &World<DB>, epoch: u64) -> i64 {
    let ready = "SELECT COUNT(*) FROM banyan_outbox WHERE state = 'ready'";
    world.count(&format!("{ready} AND epoch < {epoch}")).await
}

async fn a_rolled_back_or_refused_event_leaves_nothing_and_no_gap<DB: Engine>(world: World<DB>) {
    let world = world.owned(Order::Context).await;
    assert_eq!(world.emit(&event(1, 1)).await, Emitted::Ready { sequence: Some(1) });
    let mut tx = world.pool.begin_with(begin_write::<DB>()).await.unwrap();
    assert_eq!(emit(&mut tx, &event(2, 2)).await.unwrap(), Emitted::Ready { sequence: Some(2) });
    tx.rollback().await.unwrap();

    let mut tx = world.pool.begin_with(begin_write::<DB>()).await.unwrap();
    let long = emit(&mut tx, &event(1, 3).routing_key("k".repeat(256))).await.unwrap_err();
    assert!(matches!(long, OutboxError::Message { .. }), "{long}");
    let odd = emit(&mut tx, &event(1, 3).traceparent("\u{0}")).await.unwrap_err();
    assert!(matches!(odd, OutboxError::Envelope { .. }), "{odd}");
    tx.commit().await.unwrap();

    world.emit(&event(1, 4).origin(Origin::Sync)).await;
    assert_eq!(world.emit(&event(1, 5)).await, Emitted::Ready { sequence: Some(2) });
    let status = world.outbox.status().await.unwrap();
    assert_eq!((status.contexts[0].ready, status.contexts[0].lost), (2, Some(0)));
}
