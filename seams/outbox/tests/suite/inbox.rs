//! An effect exactly once per consumer, and none of an ownership that ended.

use std::time::Duration;

use banyan_domain::{Epoch, Side};
use banyan_events::broker::Message;
use banyan_events::envelope::{CloudEvent, Mode, Stamp};
use banyan_outbox::{Admission, Engine, EpochFence, EventKey, Inbox, OutboxError, Seen};

use crate::world::{SOON, World, begin_write, context, on_every_engine, on_servers};

on_every_engine!(
    an_event_is_first_once_per_consumer_source_and_id,
    a_rolled_back_effect_is_not_seen,
    old_marks_are_forgotten,
    an_event_of_an_older_epoch_is_stale_for_its_subject_only,
);

mod concurrent {
    use super::*;
    on_servers!(two_deliveries_at_once_have_one_effect);
}

fn key(source: &str, id: &str) -> EventKey {
    EventKey { source: source.to_owned(), id: id.to_owned() }
}

async fn once<DB: Engine>(world: &World<DB>, consumer: &str, key: &EventKey) -> Seen {
    let mut tx = world.pool.begin_with(begin_write::<DB>()).await.unwrap();
    let seen = Inbox::new(consumer).unwrap().once(&mut tx, key).await.unwrap();
    tx.commit().await.unwrap();
    seen
}

async fn an_event_is_first_once_per_consumer_source_and_id<DB: Engine>(world: World<DB>) {
    // Texts that a careless collation holds equal are different events.
    let different = [
        ("push", key("/m/new-chat", "1")),
        ("stats", key("/m/new-chat", "1")),
        ("push", key("/m/legacy-chat", "1")),
        ("push", key("/m/new-chat", "1 ")),
        ("push", key("/m/new-Chat", "1")),
        ("push", key("", "1")),
        ("push", key("/m/new-chat", "é")),
        ("push", key("/m/new-chat", "e")),
    ];
    for (consumer, key) in &different {
        assert_eq!(once(&world, consumer, key).await, Seen::First, "{consumer} {key:?}");
    }
    for (consumer, key) in &different {
        assert_eq!(once(&world, consumer, key).await, Seen::Again, "{consumer} {key:?}");
    }
    let mut tx = world.pool.begin().await.unwrap();
    let long = Inbox::new("push").unwrap().once(&mut tx, &key("/m", &"i".repeat(256))).await;
    let long = long.unwrap_err();
    assert_eq!(long.to_string(), "the event's id has 256 bytes, the limit is 255");
    let error = Inbox::new("c".repeat(65)).unwrap_err();
    assert!(matches!(error, OutboxError::TooLong { what: "the consumer's name", .. }), "{error}");
}

async fn a_rolled_back_effect_is_not_seen<DB: Engine>(world: World<DB>) {
    let inbox = Inbox::new("push").unwrap();
    let mut tx = world.pool.begin_with(begin_write::<DB>()).await.unwrap();
    assert_eq!(inbox.once(&mut tx, &key("/m", "1")).await.unwrap(), Seen::First);
    DB::run(&mut tx, "INSERT INTO chat_messages (id) VALUES (1)", &[]).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(once(&world, "push", &key("/m", "1")).await, Seen::First);
    assert_eq!(world.count("SELECT COUNT(*) FROM chat_messages").await, 0);
}

async fn two_deliveries_at_once_have_one_effect<DB: Engine>(world: World<DB>) {
    for (commits, wanted) in [(true, Seen::Again), (false, Seen::First)] {
        let key = key("/m", if commits { "1" } else { "2" });
        let inbox = Inbox::new("push").unwrap();
        let mut first = world.pool.begin().await.unwrap();
        assert_eq!(inbox.once(&mut first, &key).await.unwrap(), Seen::First);
        let pool = world.pool.clone();
        let second = tokio::spawn(async move {
            let mut tx = pool.begin().await.unwrap();
            let seen = inbox.once(&mut tx, &key).await.unwrap();
            tx.commit().await.unwrap();
            seen
        });
        world.until_somebody_waits().await;
        if commits {
            first.commit().await.unwrap();
        } else {
            first.rollback().await.unwrap();
        }
        let seen = tokio::time::timeout(SOON, second).await.unwrap().unwrap();
        assert_eq!(seen, wanted);
    }
}

async fn old_marks_are_forgotten<DB: Engine>(world: World<DB>) {
    for id in ["1", "2", "3"] {
        once(&world, "push", &key("/m", id)).await;
    }
    world.run("UPDATE banyan_inbox SET seen_at_ms = 0 WHERE event_id <> '3'").await;
    let keep = Duration::from_hours(1);
    assert!(!Inbox::forget(&world.pool, keep).await.unwrap());
    assert_eq!(once(&world, "push", &key("/m", "3")).await, Seen::Again);
    assert_eq!(once(&world, "push", &key("/m", "1")).await, Seen::First);
}

async fn an_event_of_an_older_epoch_is_stale_for_its_subject_only<DB: Engine>(world: World<DB>) {
    let fence = EpochFence::new("push").unwrap();
    let admit = async |subject: &'static str, side: Side, epoch: u64| {
        let stamp = Stamp { context: context("messages"), side, epoch: Epoch(epoch) };
        let mut tx = world.pool.begin_with(begin_write::<DB>()).await.unwrap();
        let admission = fence.admit(&mut tx, &stamp, subject).await.unwrap();
        tx.commit().await.unwrap();
        admission
    };
    assert_eq!(admit("1", Side::Legacy, 3).await, Admission::Current);
    assert_eq!(admit("1", Side::Legacy, 3).await, Admission::Current);
    assert_eq!(admit("1", Side::New, 4).await, Admission::Current);
    assert_eq!(admit("1", Side::Legacy, 3).await, Admission::Stale { newest: 4 });
    assert_eq!(admit("2", Side::Legacy, 3).await, Admission::Current);
    assert_eq!(admit("1", Side::New, 4).await, Admission::Current);
}

#[test]
fn every_form_of_event_has_a_key_if_its_emitter_gave_it_an_id() {
    let event = CloudEvent::new("7", "/m/new-chat", "message.sent");
    for mode in [Mode::Binary, Mode::BinaryCe, Mode::Structured] {
        let message = event.to_message(mode, "x", "k").unwrap();
        assert_eq!(EventKey::of(&message).unwrap(), Some(key("/m/new-chat", "7")));
    }
    let mut legacy = Message::new("x", "k", Vec::new());
    assert_eq!(EventKey::of(&legacy).unwrap(), None);
    legacy = legacy.message_id("m-1");
    legacy.properties.app_id = Some("mothership".to_owned());
    assert_eq!(EventKey::of(&legacy).unwrap(), Some(key("mothership", "m-1")));
    assert!(EventKey::of(&legacy.header("ce-id", "1")).is_err(), "half a CloudEvent");
}
