//! The emission of a context moves by markers: all of one side's events, then all of the other's.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use banyan_domain::{ContextName, Epoch, Side};
use banyan_events::broker::{Consumer, Message};
use banyan_events::forwarder::{
    self, Begun, Handover, HandoverError, HandoverStep, Limits, MarkerKind, Operator, RouteError,
    RoutePort, Step,
};
use tokio::sync::Notify;

use crate::stage::{Running, SetOwners, World, event, messages, stop_at};
use crate::world::{
    NEVER, Place, SOON, next, nothing_comes, number, numbered, on_both_brokers, take,
};

on_both_brokers!(
    all_of_one_sides_events_come_before_all_of_the_others,
    the_next_owners_queue_is_not_read_before_the_seal,
    a_seal_before_the_open_was_read_mutes_what_lies_before_the_open,
    a_change_that_was_given_up_leaves_the_owner_emitting,
    the_new_owner_hands_back_and_its_stragglers_are_late,
    markers_put_twice_have_the_effect_of_one,
    a_crash_at_a_marker_moves_the_emission_once,
    a_copied_write_stays_muted_after_the_handover,
    an_event_flagged_as_muted_is_never_forwarded_whoever_owns_and_whatever_marker_came,
    a_handover_goes_on_after_a_crash_at_each_step,
    a_handover_is_given_up_only_before_the_writes_move,
    writes_under_way_hold_the_seal_back,
    a_live_context_moves_there_and_back_under_500_events_a_second,
);

fn ids(exchange: &str, ids: std::ops::Range<usize>) -> Vec<Message> {
    ids.map(|id| event(exchange, id)).collect()
}

async fn numbers(push: &mut Box<dyn Consumer>, count: usize) -> Vec<usize> {
    take(push, count).await.iter().map(number).collect()
}

async fn all_of_one_sides_events_come_before_all_of_the_others(place: Place) {
    let world = World::new(place).await;
    let mut push = world.consumer().await;
    // Everything waits before the forwarder starts, so both queues are read at once.
    world.broker.publish_all(ids("raw.new", 500..600)).await.unwrap();
    world.put(Side::New, MarkerKind::Open, 2).await;
    world.broker.publish_all(ids("raw.new", 200..400)).await.unwrap();
    world.broker.publish_all(ids("raw.legacy", 0..200)).await.unwrap();
    world.put(Side::Legacy, MarkerKind::Seal, 2).await;
    world.broker.publish_all(ids("raw.legacy", 600..603)).await.unwrap();
    let running = world.run().await;
    assert_eq!(numbers(&mut push, 400).await, (0..400).collect::<Vec<_>>());
    let status = world.until("late", |status| status.contexts[0].late == 3).await;
    assert_eq!(status.contexts[0].muted, 100, "before its open, new's events are its own affair");
    assert!(status.held.is_empty(), "{:?}", status.held);
    nothing_comes(&mut push).await;
    running.stop().await;
}

async fn the_next_owners_queue_is_not_read_before_the_seal(place: Place) {
    let world = World::new(place).await;
    let running = world.run().await;
    let mut push = world.consumer().await;
    world.put(Side::New, MarkerKind::Open, 2).await;
    world.broker.publish_all(ids("raw.new", 100..120)).await.unwrap();
    let held = world.until("held", |status| !status.held.is_empty()).await;
    assert_eq!(
        (held.held[0].side, &*held.held[0].marker, held.held[0].epoch),
        (Side::New, "open", 2)
    );
    world.broker.publish_all(ids("raw.legacy", 0..50)).await.unwrap();
    assert_eq!(numbers(&mut push, 50).await, (0..50).collect::<Vec<_>>());
    nothing_comes(&mut push).await;
    // The marker and the 20 events behind it wait on the broker, none of them is out unacknowledged.
    assert_eq!(world.broker.depth("f.new").await.unwrap(), 21);
    world.put(Side::Legacy, MarkerKind::Seal, 2).await;
    assert_eq!(numbers(&mut push, 20).await, (100..120).collect::<Vec<_>>());
    running.stop().await;
}

async fn a_seal_before_the_open_was_read_mutes_what_lies_before_the_open(place: Place) {
    let world = World::new(place).await;
    let mut push = world.consumer().await;
    // Only legacy's queue is read for now.
    let mut only_legacy = world.config.clone();
    only_legacy.raw.remove(&Side::New);
    world.broker.publish_all(ids("raw.new", 500..510)).await.unwrap();
    world.put(Side::New, MarkerKind::Open, 2).await;
    world.broker.publish_all(ids("raw.new", 10..20)).await.unwrap();
    world.broker.publish_all(ids("raw.legacy", 0..10)).await.unwrap();
    world.put(Side::Legacy, MarkerKind::Seal, 2).await;
    let owners = world.owners.clone();
    let half = forwarder::Forwarder::open(only_legacy, owners).await.unwrap();
    let running = Running::start(half);
    let sealed = |status: &forwarder::ForwarderStatus| status.contexts[0].epoch == Some(Epoch(2));
    let status = world.until("sealed", sealed).await;
    assert!(!status.contexts[0].opened);
    running.stop().await;
    let running = world.run().await;
    assert_eq!(numbers(&mut push, 20).await, (0..20).collect::<Vec<_>>());
    assert_eq!(world.until("opened", |s| s.contexts[0].opened).await.contexts[0].muted, 10);
    nothing_comes(&mut push).await;
    running.stop().await;
}

async fn a_change_that_was_given_up_leaves_the_owner_emitting(place: Place) {
    let world = World::new(place).await;
    let running = world.run().await;
    let mut push = world.consumer().await;
    world.put(Side::New, MarkerKind::Open, 2).await;
    world.broker.publish_all(ids("raw.new", 100..110)).await.unwrap();
    world.until("held", |status| !status.held.is_empty()).await;
    world.put(Side::Legacy, MarkerKind::Void, 2).await;
    world.broker.publish_all(ids("raw.legacy", 0..10)).await.unwrap();
    assert_eq!(numbers(&mut push, 10).await, (0..10).collect::<Vec<_>>());
    let status = world.until("muted", |status| status.contexts[0].muted == 10).await;
    assert_eq!((status.contexts[0].epoch, status.held.len()), (Some(Epoch(1)), 0));
    world.hand_over(Side::New, 3).await;
    world.broker.publish(event("raw.new", 20)).await.unwrap();
    assert_eq!(number(&next(&mut push).await), 20);
    running.stop().await;
}

async fn the_new_owner_hands_back_and_its_stragglers_are_late(place: Place) {
    let world = World::new(place).await;
    let running = world.run().await;
    let mut push = world.consumer().await;
    for (round, epoch) in (0..2).zip((2..).step_by(2)) {
        let base = round * 100;
        world.broker.publish_all(ids("raw.legacy", base..base + 10)).await.unwrap();
        world.hand_over(Side::New, epoch).await;
        world.broker.publish_all(ids("raw.new", base + 10..base + 20)).await.unwrap();
        assert_eq!(numbers(&mut push, 20).await, (base..base + 20).collect::<Vec<_>>());
        world.hand_over(Side::Legacy, epoch + 1).await;
        world.broker.publish(event("raw.new", base + 50)).await.unwrap();
    }
    world.broker.publish(event("raw.legacy", 900)).await.unwrap();
    assert_eq!(number(&next(&mut push).await), 900);
    let status = world.until("late", |status| status.quarantine_events == 2).await;
    assert!(status.quarantine.iter().all(|late| late.side == Side::New), "{status:#?}");
    nothing_comes(&mut push).await;
    running.stop().await;
}

async fn markers_put_twice_have_the_effect_of_one(place: Place) {
    let world = World::new(place).await;
    let running = world.run().await;
    let mut push = world.consumer().await;
    world.put(Side::New, MarkerKind::Open, 2).await;
    world.put(Side::New, MarkerKind::Open, 2).await;
    world.broker.publish(event("raw.legacy", 1)).await.unwrap();
    world.put(Side::Legacy, MarkerKind::Seal, 2).await;
    world.put(Side::Legacy, MarkerKind::Seal, 2).await;
    world.broker.publish(event("raw.new", 2)).await.unwrap();
    world.put(Side::New, MarkerKind::Open, 2).await;
    world.put(Side::Legacy, MarkerKind::Void, 2).await;
    world.broker.publish(event("raw.new", 3)).await.unwrap();
    assert_eq!(numbers(&mut push, 3).await, [1, 2, 3]);
    let status =
        world.until("read", |status| status.sides.iter().all(|s| s.lag_events == Some(0))).await;
    assert_eq!((status.contexts[0].owner, status.contexts[0].late), (Some(Side::New), 0));
    running.stop().await;
}

async fn a_crash_at_a_marker_moves_the_emission_once(place: Place) {
    let world = World::new(place).await;
    let mut push = world.consumer().await;
    let mut epoch = 1;
    for round in 0..4 {
        let (from, to) =
            if round % 2 == 0 { ("raw.legacy", "raw.new") } else { ("raw.new", "raw.legacy") };
        let base = round * 100;
        epoch += 1;
        world.broker.publish_all(ids(from, base..base + 5)).await.unwrap();
        world.hand_over(if round % 2 == 0 { Side::New } else { Side::Legacy }, epoch).await;
        world.broker.publish_all(ids(to, base + 5..base + 10)).await.unwrap();
        // The first marker that is met stops it: mostly `open`, which holds; after the restart the seal.
        for _ in 0..2 {
            let stop = stop_at(Step::Met);
            let crashed = Running::start(world.forwarder().await.with_pause(stop.clone()));
            tokio::time::timeout(SOON, stop.stopped.notified()).await.expect("a marker is met");
            crashed.crash().await;
        }
        let running = world.run().await;
        // RabbitMQ may have events twice that were sent and not marked at a crash; the first of each counts.
        let mut seen = Vec::new();
        while seen.len() < 10 {
            let id = number(&next(&mut push).await);
            if !seen.contains(&id) {
                seen.push(id);
            }
        }
        assert_eq!(seen, (base..base + 10).collect::<Vec<_>>());
        world
            .until("moved", |s| s.contexts[0].epoch == Some(Epoch(epoch)) && s.contexts[0].opened)
            .await;
        running.stop().await;
        while tokio::time::timeout(NEVER, push.next()).await.is_ok() {}
    }
}

async fn a_copied_write_stays_muted_after_the_handover(place: Place) {
    let world = World::new(place).await;
    let running = world.run().await;
    let mut push = world.consumer().await;
    world.hand_over(Side::New, 2).await;
    let copy = event("raw.new", 1).header(forwarder::ORIGIN_HEADER, "sync");
    world.broker.publish_all(vec![copy, event("raw.new", 2)]).await.unwrap();
    assert_eq!(number(&next(&mut push).await), 2);
    nothing_comes(&mut push).await;
    running.stop().await;
}

async fn an_event_flagged_as_muted_is_never_forwarded_whoever_owns_and_whatever_marker_came(
    place: Place,
) {
    let world = World::new(place).await;
    let running = world.run().await;
    let mut push = world.consumer().await;
    let flagged = |exchange, id| event(exchange, id).header(forwarder::MUTED_HEADER, "1");
    // Even of no context, where legacy's events pass through.
    let other = numbered("raw.legacy", "track.played", 99).message_id("m-99");
    world.broker.publish(other.header(forwarder::MUTED_HEADER, "1")).await.unwrap();
    let both = async |round: usize, owner: &str| {
        let of_both = ["raw.legacy", "raw.new"].map(|exchange| flagged(exchange, 100 + round));
        world.broker.publish_all(of_both.to_vec()).await.unwrap();
        world.broker.publish(event(owner, round)).await.unwrap();
    };
    both(1, "raw.legacy").await;
    assert_eq!(number(&next(&mut push).await), 1);
    world.hand_over(Side::New, 2).await;
    both(2, "raw.new").await;
    assert_eq!(number(&next(&mut push).await), 2);
    world.hand_over(Side::Legacy, 3).await;
    both(3, "raw.legacy").await;
    assert_eq!(number(&next(&mut push).await), 3);
    world.put(Side::New, MarkerKind::Open, 4).await;
    world.put(Side::Legacy, MarkerKind::Void, 4).await;
    both(4, "raw.legacy").await;
    assert_eq!(number(&next(&mut push).await), 4);
    let status = world.until("muted", |status| status.contexts[0].muted == 8).await;
    assert_eq!((status.contexts[0].late, status.quarantine_events, status.unmigrated), (0, 0, 0));
    nothing_comes(&mut push).await;
    running.stop().await;
}

/// The rest of the installation: moves the owner that the forwarder is told, and stops where a test wants.
struct Port {
    owners: std::sync::Arc<SetOwners>,
    refuses: bool,
    writes: Mutex<Vec<u64>>,
    crash_after: Option<HandoverStep>,
    crashed: Notify,
}

impl Port {
    fn new(world: &World) -> Self {
        Self {
            owners: world.owners.clone(),
            refuses: false,
            writes: Mutex::default(),
            crash_after: None,
            crashed: Notify::new(),
        }
    }
}

#[async_trait]
impl RoutePort for Port {
    async fn route(&self, _: &ContextName, target: Side, epoch: Epoch) -> Result<(), RouteError> {
        if self.refuses {
            return Err(RouteError::Refused("frozen".to_owned()));
        }
        self.owners.set(Some((target, epoch)));
        Ok(())
    }

    async fn writes_in_flight(&self) -> Result<u64, RouteError> {
        Ok(self.writes.lock().unwrap().pop().unwrap_or(0))
    }

    async fn done(&self, step: HandoverStep) {
        if self.crash_after == Some(step) {
            self.crashed.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

fn limits() -> Limits {
    Limits { drain_max: SOON, settle: Duration::from_millis(20), switch_max: SOON }
}

fn ann() -> Operator {
    Operator { name: "ann".to_owned(), reason: "week 3".to_owned() }
}

async fn begin(
    world: &World,
    target: Side,
    told: (Side, u64),
) -> Result<(Handover, Begun), HandoverError> {
    let told = (told.0, Epoch(told.1));
    Handover::begin(&world.config, &messages(), target, told, &ann()).await
}

async fn a_handover_goes_on_after_a_crash_at_each_step(place: Place) {
    let world = World::new(place).await;
    let running = world.run().await;
    let mut push = world.consumer().await;
    let mut told = (Side::Legacy, 1);
    let steps = [
        HandoverStep::Open,
        HandoverStep::Route,
        HandoverStep::Settle,
        HandoverStep::Seal,
        HandoverStep::Switch,
    ];
    for (round, step) in steps.into_iter().enumerate() {
        let target = told.0.other();
        let (from, to) = match target {
            Side::New => ("raw.legacy", "raw.new"),
            Side::Legacy => ("raw.new", "raw.legacy"),
        };
        let base = round * 100;
        world.broker.publish_all(ids(from, base..base + 10)).await.unwrap();
        let (mut handover, begun) = begin(&world, target, told).await.unwrap();
        assert_eq!(begun, Begun::Fresh);
        let port = Port { crash_after: Some(step), ..Port::new(&world) };
        tokio::select! {
            done = handover.run(&port, limits()) => panic!("{step:?} is passed: {done:?}"),
            () = port.crashed.notified() => {}
        }
        drop(handover);
        let other = begin(&world, told.0, told).await;
        assert!(matches!(other, Err(HandoverError::Unfinished { .. })), "one at a time");
        let (mut handover, begun) = begin(&world, target, told).await.unwrap();
        assert_eq!((begun, handover.view().step), (Begun::Resumed, step));
        let done = handover.run(&Port::new(&world), limits()).await.unwrap();
        assert_eq!(done.epoch, Epoch(told.1 + 1));
        told = (target, told.1 + 1);
        world.broker.publish_all(ids(to, base + 10..base + 20)).await.unwrap();
        assert_eq!(numbers(&mut push, 20).await, (base..base + 20).collect::<Vec<_>>(), "{step:?}");
    }
    let again = begin(&world, told.0, told).await;
    assert!(matches!(again, Err(HandoverError::AlreadyThere { .. })));
    let status = world.status().await;
    assert_eq!(status.handovers[0].step, HandoverStep::Done);
    assert_eq!(status.acts.iter().filter(|act| act.action == "handover").count(), 10);
    nothing_comes(&mut push).await;
    running.stop().await;
}

async fn a_handover_is_given_up_only_before_the_writes_move(place: Place) {
    let world = World::new(place).await;
    let running = world.run().await;
    let mut push = world.consumer().await;
    let nothing = forwarder::give_up(&world.config, &messages(), &ann()).await;
    assert!(matches!(nothing, Err(HandoverError::NothingToGiveUp { .. })));
    let (mut handover, _) = begin(&world, Side::New, (Side::Legacy, 1)).await.unwrap();
    let port = Port { refuses: true, ..Port::new(&world) };
    let refused = handover.run(&port, limits()).await.unwrap_err();
    assert!(refused.to_string().contains("frozen"), "{refused}");
    world.until("held", |status| !status.held.is_empty()).await;
    forwarder::give_up(&world.config, &messages(), &ann()).await.unwrap();
    world.until("goes on", |status| status.held.is_empty()).await;
    world.broker.publish(event("raw.legacy", 1)).await.unwrap();
    assert_eq!(number(&next(&mut push).await), 1);

    let (mut handover, begun) = begin(&world, Side::New, (Side::Legacy, 1)).await.unwrap();
    assert_eq!((begun, handover.view().epoch), (Begun::Fresh, Epoch(3)), "epoch 2 is burnt");
    let port = Port { crash_after: Some(HandoverStep::Route), ..Port::new(&world) };
    tokio::select! {
        done = handover.run(&port, limits()) => panic!("{done:?}"),
        () = port.crashed.notified() => {}
    }
    let late = forwarder::give_up(&world.config, &messages(), &ann()).await;
    assert!(matches!(late, Err(HandoverError::TooLate { .. })));
    let (mut handover, _) = begin(&world, Side::New, (Side::New, 3)).await.unwrap();
    handover.run(&Port::new(&world), limits()).await.unwrap();
    running.stop().await;
}

async fn writes_under_way_hold_the_seal_back(place: Place) {
    let world = World::new(place).await;
    let running = world.run().await;
    let (mut handover, _) = begin(&world, Side::New, (Side::Legacy, 1)).await.unwrap();
    let busy = Port { writes: Mutex::new(vec![1; 10_000]), ..Port::new(&world) };
    let short = Limits { drain_max: NEVER, ..limits() };
    let error = handover.run(&busy, short).await.unwrap_err();
    assert!(matches!(error, HandoverError::InFlight { writes: 1 }), "{error}");
    assert_eq!(world.status().await.contexts[0].epoch, Some(Epoch(1)), "not sealed");
    // An emergency does not wait: what the last owner still sends is then quarantined.
    let now = Limits { settle: Duration::ZERO, ..limits() };
    handover.run(&busy, now).await.unwrap();
    world.broker.publish(event("raw.legacy", 1)).await.unwrap();
    world.until("late", |status| status.quarantine_events == 1).await;
    running.stop().await;
}

/// One writer, whose events go to whichever side owns, so the public order must be that of writing.
async fn a_live_context_moves_there_and_back_under_500_events_a_second(place: Place) {
    let world = World::new(place).await;
    let running = world.run().await;
    let mut push = world.consumer().await;
    let stop = tokio_util::sync::CancellationToken::new();
    let (stopping, owners, broker) = (stop.clone(), world.owners.clone(), world.broker.clone());
    let writer = tokio::spawn(async move {
        let mut next = 0;
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        while !stopping.is_cancelled() {
            ticks.tick().await;
            let exchange = format!("raw.{}", owners.get().0);
            broker.publish_all(ids(&exchange, next..next + 5)).await.unwrap();
            next += 5;
        }
        next
    });
    let limits = Limits { settle: Duration::from_millis(300), ..limits() };
    let mut told = (Side::Legacy, 1);
    for round in 0..2 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let (mut handover, _) = begin(&world, told.0.other(), told).await.unwrap();
        let done = handover.run(&Port::new(&world), limits).await.unwrap();
        // What the last owner still had to say.
        let late = ids(&format!("raw.{}", told.0), 100_000 + round..100_001 + round);
        world.broker.publish_all(late).await.unwrap();
        told = (told.0.other(), done.epoch.0);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.cancel();
    let total = writer.await.unwrap();
    let mut seen = Vec::with_capacity(total);
    while seen.len() < total {
        let delivery = next(&mut push).await;
        seen.push(number(&delivery));
        push.ack_through(delivery.tag).await.unwrap();
    }
    assert_eq!(seen, (0..total).collect::<Vec<_>>());
    let all = |status: &forwarder::ForwarderStatus| {
        status.quarantine_events == 2 && status.contexts[0].forwarded == total as u64
    };
    let status = world.until("all marked, both stragglers late", all).await;
    let of = |side| status.quarantine.iter().filter(|late| late.side == side).count();
    assert_eq!((of(Side::Legacy), of(Side::New)), (1, 1));
    nothing_comes(&mut push).await;
    running.stop().await;
}
