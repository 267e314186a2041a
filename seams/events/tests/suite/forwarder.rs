//! What the forwarder promises, on both brokers.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use banyan_domain::{Epoch, Side};
use banyan_events::broker::{BrokerKind, ExchangeKind, Message, QueueOptions, Topology};
use banyan_events::forwarder::{
    self, Dedupe, Forwarder, ForwarderStatus, Operator, Resolution, RunState, Selection, Step,
};
use banyan_test_servers::{or_skip, rabbitmq};

use crate::broker::odd_message;
use crate::stage::{Running, SetOwners, World, config_of, event, messages, stop_at};
use crate::world::{Place, SOON, next, nothing_comes, number, numbered, on_both_brokers, take};

on_both_brokers!(
    the_owners_events_pass_byte_identical_and_the_other_sides_are_recorded,
    events_of_no_context_pass_through_for_legacy_only,
    a_crash_at_any_step_loses_nothing,
    a_crash_at_any_step_loses_no_event_without_an_id,
    after_a_change_of_owner_the_old_owners_events_are_late,
    an_event_sent_twice_is_public_once,
    a_second_forwarder_waits_and_takes_over,
    raw_and_public_may_be_different_brokers,
    nothing_is_forwarded_while_the_owner_is_unknown,
    a_full_public_queue_holds_events_back_and_loses_none,
    the_status_tells_what_happens,
);

async fn the_owners_events_pass_byte_identical_and_the_other_sides_are_recorded(place: Place) {
    let world = World::new(place).await;
    let running = world.run().await;
    let mut push = world.consumer().await;
    let bare = Message::new("raw.legacy", "message.read", Vec::new());
    let sent = vec![odd_message("raw.legacy", Some("tester")), bare];
    world.broker.publish(odd_message("raw.new", None)).await.unwrap();
    world.broker.publish_all(sent.clone()).await.unwrap();
    for mut expected in sent {
        "semantic-events".clone_into(&mut expected.exchange);
        if world.broker.kind() == BrokerKind::RabbitMq
            && let Some(user) = expected.properties.user_id.take()
        {
            expected = expected.header("x-banyan-user-id", user);
        }
        assert_eq!(next(&mut push).await.message, expected);
    }
    let counted = |status: &ForwarderStatus| {
        (status.contexts[0].muted, status.contexts[0].forwarded) == (1, 2)
    };
    world.until("counted", counted).await;
    nothing_comes(&mut push).await;
    running.stop().await;
}

async fn events_of_no_context_pass_through_for_legacy_only(place: Place) {
    let world = World::new(place).await;
    let running = world.run().await;
    let mut push = world.consumer().await;
    world.broker.publish(numbered("raw.new", "track.played", 1)).await.unwrap();
    world.broker.publish(numbered("raw.legacy", "track.played", 2)).await.unwrap();
    assert_eq!(number(&next(&mut push).await), 2);
    nothing_comes(&mut push).await;
    let status = world.until("counted", |status| status.unmigrated == 1).await;
    assert_eq!(status.contexts[0].forwarded, 0);
    running.stop().await;
}

async fn a_crash_at_any_step_loses_nothing(place: Place) {
    crash_at_each_step(place, event).await;
}

async fn a_crash_at_any_step_loses_no_event_without_an_id(place: Place) {
    crash_at_each_step(place, |exchange, id| numbered(exchange, "message.sent", id)).await;
}

async fn crash_at_each_step(place: Place, event: fn(&str, usize) -> Message) {
    let world = World::new(place).await;
    let mut push = world.consumer().await;
    for (round, step) in Step::ALL.into_iter().enumerate() {
        let numbers: Vec<usize> = (round * 10..round * 10 + 10).collect();
        let events = numbers.iter().map(|id| event("raw.legacy", *id)).collect();
        world.broker.publish_all(events).await.unwrap();
        let stop = stop_at(step);
        let crashed = Running::start(world.forwarder().await.with_pause(stop.clone()));
        tokio::time::timeout(SOON, stop.stopped.notified()).await.expect("the step is reached");
        crashed.crash().await;
        let running = world.run().await;
        let mut seen = Vec::new();
        while seen.last() != numbers.last() {
            seen.push(number(&next(&mut push).await));
        }
        world
            .until("all forwarded", |status| {
                status.contexts[0].forwarded == (round as u64 + 1) * 10
                    && status.contexts[0].lag_events == Some(0)
            })
            .await;
        if step == Step::Published && world.broker.kind() == BrokerKind::RabbitMq {
            // Sent, not marked: RabbitMQ cannot know, so the same events with the same ids come again.
            while let Ok(again) =
                tokio::time::timeout(Duration::from_millis(300), push.next()).await
            {
                seen.push(number(&again.unwrap()));
            }
            assert_eq!(seen[seen.len() - 10..], numbers[..], "the repetition is in order");
            seen.sort_unstable();
            seen.dedup();
        } else {
            nothing_comes(&mut push).await;
        }
        assert_eq!(seen, numbers, "crash at {step:?}");
        running.stop().await;
    }
}

async fn after_a_change_of_owner_the_old_owners_events_are_late(place: Place) {
    let world = World::new(place).await;
    let running = world.run().await;
    let mut push = world.consumer().await;
    world.broker.publish(event("raw.legacy", 1)).await.unwrap();
    world.broker.publish(event("raw.new", 2)).await.unwrap();
    assert_eq!(number(&next(&mut push).await), 1);
    world.until("muted", |status| status.contexts[0].muted == 1).await;
    world.hand_over(Side::New, 2).await;
    world.broker.publish(event("raw.new", 3)).await.unwrap();
    assert_eq!(number(&next(&mut push).await), 3);
    world.broker.publish(event("raw.legacy", 4)).await.unwrap();
    let status = world.until("late", |status| status.contexts[0].late == 1).await;
    assert_eq!(status.contexts[0].owner, Some(Side::New));
    assert_eq!(status.contexts[0].epoch, Some(Epoch(2)));
    // A control store that went back in time stops the forwarder instead of deciding wrongly.
    world.owners.set(Some((Side::Legacy, Epoch(1))));
    world.broker.publish(event("raw.legacy", 5)).await.unwrap();
    world.until("went back", |status| status.reason.contains("went back")).await;
    nothing_comes(&mut push).await;
    running.stop().await;
}

async fn an_event_sent_twice_is_public_once(place: Place) {
    let world = World::new(place).await;
    let running = world.run().await;
    let mut push = world.consumer().await;
    world.broker.publish_all(vec![event("raw.legacy", 1), event("raw.legacy", 1)]).await.unwrap();
    assert_eq!(number(&next(&mut push).await), 1);
    world.until("dup in a batch", |status| status.contexts[0].dup == 1).await;
    world.broker.publish_all(vec![event("raw.legacy", 1), event("raw.legacy", 2)]).await.unwrap();
    assert_eq!(number(&next(&mut push).await), 2);
    world.until("dup later", |status| status.contexts[0].dup == 2).await;
    nothing_comes(&mut push).await;
    running.stop().await;
}

async fn a_second_forwarder_waits_and_takes_over(place: Place) {
    let world = World::new(place).await;
    let mut push = world.consumer().await;
    let first = world.run().await;
    world.broker.publish(event("raw.legacy", 0)).await.unwrap();
    assert_eq!(number(&next(&mut push).await), 0);
    world.until("marked", |status| status.contexts[0].forwarded == 1).await;
    let second = world.run().await;
    world.broker.publish_all((1..20).map(|id| event("raw.legacy", id)).collect()).await.unwrap();
    let seen: Vec<_> = take(&mut push, 19).await.iter().map(number).collect();
    assert_eq!(seen, (1..20).collect::<Vec<_>>());
    world.until("marked", |status| status.contexts[0].forwarded == 20).await;
    first.crash().await;
    world.broker.publish_all((20..40).map(|id| event("raw.legacy", id)).collect()).await.unwrap();
    let seen: Vec<_> = take(&mut push, 20).await.iter().map(number).collect();
    assert_eq!(seen, (20..40).collect::<Vec<_>>());
    nothing_comes(&mut push).await;
    second.stop().await;
}

async fn raw_and_public_may_be_different_brokers(place: Place) {
    let embedded = place.url.starts_with("embedded:");
    let other =
        if embedded { Place::embedded() } else { Place::rabbitmq().await.expect("it is there") };
    let topology = Topology::new()
        .exchange("semantic-events", ExchangeKind::Topic)
        .queue("push", QueueOptions::default())
        .bind("push", "semantic-events", "#");
    let public = other.with(&topology).await;
    let config = config_of(&place, &other.url);
    let owners = SetOwners::new(Side::Legacy);
    let forwarder = Forwarder::open(config.clone(), owners).await.unwrap();
    let raw = place.connect().await;
    let ready = Topology::new()
        .exchange("raw.legacy", ExchangeKind::Topic)
        .queue("f.legacy", QueueOptions::default())
        .bind("f.legacy", "raw.legacy", "#");
    raw.declare(&ready).await.unwrap();
    raw.publish_all((0..5).map(|id| event("raw.legacy", id)).collect()).await.unwrap();
    let running = Running::start(forwarder);
    let mut push = public.consume("push", 10).await.unwrap();
    let seen: Vec<_> = take(&mut push, 5).await.iter().map(number).collect();
    assert_eq!(seen, [0, 1, 2, 3, 4]);
    running.stop().await;
}

async fn nothing_is_forwarded_while_the_owner_is_unknown(place: Place) {
    let world = World::new(place).await;
    world.owners.set(None);
    let running = world.run().await;
    let mut push = world.consumer().await;
    world.broker.publish(event("raw.legacy", 1)).await.unwrap();
    let status = world.until("waiting", |status| status.state == RunState::Waiting).await;
    assert!(status.reason.contains("the control store does not answer"), "{}", status.reason);
    nothing_comes(&mut push).await;
    world.owners.set(Some((Side::Legacy, Epoch(1))));
    assert_eq!(number(&next(&mut push).await), 1);
    running.stop().await;
}

async fn a_full_public_queue_holds_events_back_and_loses_none(place: Place) {
    let world = World::new(place).await;
    let small = Topology::new()
        .queue("small", QueueOptions::default().classic().max_length(10))
        .bind("small", "semantic-events", "#");
    world.broker.declare(&small).await.unwrap();
    world.broker.publish_all((0..30).map(|id| event("raw.legacy", id)).collect()).await.unwrap();
    let running = world.run().await;
    world.until("held back", |status| status.reason.contains("full")).await;
    let mut consumer = world.broker.consume("small", 5).await.unwrap();
    // Not only until the last one comes: a queue that has room again for a moment may take a later event of
    // the window first; those that it refused come with the repeat.
    let mut seen = BTreeSet::new();
    while seen.len() < 30 {
        let delivery = next(&mut consumer).await;
        seen.insert(number(&delivery));
        consumer.ack_through(delivery.tag).await.unwrap();
    }
    assert_eq!(seen, (0..30).collect());
    running.stop().await;
}

async fn the_status_tells_what_happens(place: Place) {
    let world = World::new(place).await;
    let status = world.status().await;
    assert_eq!((status.state, status.connected), (RunState::NeverStarted, true));
    world.broker.publish_all((0..7).map(|id| event("raw.legacy", id)).collect()).await.unwrap();
    assert_eq!(world.status().await.contexts[0].lag_events, Some(7));
    let running = world.run().await;
    let status = world.until("forwarded", |status| status.contexts[0].forwarded == 7).await;
    assert_eq!(status.state, RunState::Running);
    let context = &status.contexts[0];
    assert_eq!((context.owner, context.epoch), (Some(Side::Legacy), Some(Epoch(1))));
    assert_eq!(context.undelivered, 0);
    assert!(context.last_forwarded_ms.is_some());
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!(json["contexts"][0]["context"], "messages");
    assert_eq!(json["state"], "running");
    running.stop().await;
    assert_eq!(world.status().await.state, RunState::Stopped);
    let crashed = world.run().await;
    world.until("running", |status| status.state == RunState::Running).await;
    crashed.crash().await;
    let status = world.until("silent", |status| status.state == RunState::Silent).await;
    assert!(status.reason.contains("no sign of life"), "{}", status.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_and_restarted_rabbitmq_is_survived_without_help() {
    let Some(mut server) = or_skip(rabbitmq()) else { return };
    let place = Place { url: server.fresh_url(), directory: tempfile::tempdir().unwrap() };
    // Classic, because a killed single node of 3.10 can leave a quorum queue without a leader
    // (rabbitmq-server issue 10070): then the forwarder waits, and says so, until an operator helps.
    let world = World::with_raw_queues(place, QueueOptions::default().classic()).await;
    let running = world.run().await;
    world.broker.publish_all((0..20).map(|id| event("raw.legacy", id)).collect()).await.unwrap();
    world.until("first half", |status| status.contexts[0].forwarded == 20).await;
    server.server().kill();
    let error = world.broker.publish(event("raw.legacy", 99)).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    server.server().start_again().unwrap();
    let give_up = Instant::now() + SOON;
    while let Err(error) =
        world.broker.publish_all((20..40).map(|id| event("raw.legacy", id)).collect()).await
    {
        assert!(Instant::now() < give_up, "{error}");
    }
    world.until("second half", |status| status.contexts[0].forwarded >= 40).await;
    let mut push = world.consumer().await;
    let mut seen = Vec::new();
    while seen.iter().filter(|id| **id < 99).count() < 40 {
        let id = number(&next(&mut push).await);
        if !seen.contains(&id) {
            seen.push(id);
        }
    }
    seen.retain(|id| *id < 99);
    assert_eq!(seen, (0..40).collect::<Vec<_>>());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_can_be_ignored_for_emitters_that_reuse_them() {
    let mut world = World::new(Place::embedded()).await;
    world.config.dedupe = Dedupe::Content;
    let running = world.run().await;
    let mut push = world.consumer().await;
    let same_id = |id| numbered("raw.legacy", "message.sent", id).message_id("always-this");
    world.broker.publish_all(vec![same_id(1), same_id(2), same_id(2)]).await.unwrap();
    assert_eq!(take(&mut push, 3).await.iter().map(number).collect::<Vec<_>>(), [1, 2, 2]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_quarantine_stops_the_forwarder_instead_of_dropping() {
    let mut world = World::new(Place::embedded()).await;
    world.config.retention.late_max = 2;
    let running = world.run().await;
    let mut push = world.consumer().await;
    world.broker.publish(event("raw.legacy", 0)).await.unwrap();
    next(&mut push).await;
    world.hand_over(Side::New, 2).await;
    for id in 1..=3 {
        world.broker.publish(event("raw.legacy", id)).await.unwrap();
    }
    let status = world.until("full", |status| status.reason.contains("quarantine is full")).await;
    assert!(status.quarantine_events <= 2, "{status:#?}");
    assert_eq!(status.quarantine_events_max, 2);
    // Releasing what waits makes room, and the forwarder goes on by itself.
    let operator = Operator { name: "ann".to_owned(), reason: "compared by hand".to_owned() };
    let all = Selection::Context { context: messages(), expected: None };
    forwarder::resolve(&world.config, &all, Resolution::Release, &operator).await.unwrap();
    let released = take(&mut push, 2).await;
    assert_eq!(released.iter().map(number).collect::<Vec<_>>(), [1, 2]);
    world.until("third", |status| status.contexts[0].late == 3).await;
    nothing_comes(&mut push).await;
    running.stop().await;
}
