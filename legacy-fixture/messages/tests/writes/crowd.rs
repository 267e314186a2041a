//! Many writers at once: no deadlock, no lost count, no id twice; and how fast that is.

use crate::world::{Place, World, on_both};
use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::json;
use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

on_both!(
    writers_of_one_conversation_do_not_disturb_each_other,
    a_conversation_is_opened_once_by_two_at_the_same_moment,
    a_conversation_that_the_sync_has_not_brought_yet_is_counted_right,
);

/// Both ends of three conversations write, edit, read and delete at once.
async fn writers_of_one_conversation_do_not_disturb_each_other(place: Place) {
    let world = World::owner(place).await;
    let writer = async |number: i64| {
        let (me, other) = if number % 2 == 0 { (1, 2) } else { (2, 1) };
        let other = if number % 5 == 0 { 3 } else { other };
        let mut events = 0;
        for round in 0..6 {
            let (status, created) = world.create(me, other, "hello").await;
            assert_eq!(status, StatusCode::CREATED, "{created}");
            let id = created["message"]["id"].as_i64().unwrap();
            let path = format!("/messages/{id}");
            let edit = json!({ "message": { "body": format!("edited {round}") } });
            let edited = world.request(Method::PATCH, me, &path).json(&edit).send();
            let read = format!("{path}/read");
            // Two readers of one message: one of them is the first.
            let reads = join_all((0..2).map(|_| world.act(Method::PUT, other, &read)));
            let (edited, reads) = tokio::join!(edited, reads);
            assert_eq!(edited.unwrap().status(), StatusCode::OK);
            assert!(reads.iter().all(|(status, _)| *status == StatusCode::OK), "{reads:?}");
            events += 3;
            if round % 3 == 0 {
                let (status, _) = world.act(Method::DELETE, me, &path).await;
                assert_eq!(status, StatusCode::NO_CONTENT);
                events += 1;
            }
        }
        events
    };
    let events: i64 = join_all((0..12).map(writer)).await.iter().sum();
    assert_eq!(world.place.count("chat_messages").await, 12 * 6);
    assert_eq!(world.place.wrong_conversations().await, [""; 0]);
    assert_eq!(world.place.count("banyan_outbox WHERE state = 'ready'").await, events);
    let reads = world.place.count("banyan_outbox WHERE type = 'message.read'").await;
    assert_eq!(reads, 12 * 6, "a message is read once");
    world.end().await;
}

async fn a_conversation_is_opened_once_by_two_at_the_same_moment(place: Place) {
    let world = World::owner(place).await;
    for partner in 3..10 {
        let writes = [(1, partner), (partner, 1), (1, partner), (partner, 1)];
        let writes = writes.into_iter().map(|(from, to)| world.create(from, to, "first"));
        let answers = join_all(writes).await;
        assert!(answers.iter().all(|(status, _)| *status == StatusCode::CREATED), "{answers:?}");
        let ids: BTreeSet<_> =
            answers.iter().map(|(_, answer)| answer["message"]["id"].as_i64()).collect();
        let threads: BTreeSet<_> =
            answers.iter().map(|(_, answer)| answer["message"]["thread_id"].as_i64()).collect();
        assert_eq!((ids.len(), threads.len()), (4, 4));
    }
    assert_eq!(world.place.wrong_conversations().await, [""; 0]);
    assert_eq!(world.place.count("conversations").await, 7);
    world.end().await;
}

async fn a_conversation_that_the_sync_has_not_brought_yet_is_counted_right(place: Place) {
    let world = World::owner(place).await;
    let row = |id: i64| {
        format!(
            "INSERT INTO chat_messages (id, conversation_id, thread_id, subject, author_id, recipient_id, body, \
             sent_at, changed_at) VALUES ({id}, '1:2', {id}, 's', 1, 2, 'm', '2014-06-12 10:00:0{id}', \
             '2014-06-12 10:00:00');"
        )
    };
    world.place.run(&[row(1), row(2)].concat()).await;
    let raise = if world.place.is_postgres() {
        "SELECT setval(pg_get_serial_sequence('chat_messages', 'id'), 100);
         SELECT setval(pg_get_serial_sequence('chat_threads', 'id'), 200);"
    } else {
        "UPDATE sqlite_sequence SET seq = 100 WHERE name = 'chat_messages';
         INSERT INTO sqlite_sequence (name, seq) VALUES ('chat_threads', 200);"
    };
    world.place.run(raise).await;
    // An act on a message opens it too.
    assert_eq!(world.act(Method::PUT, 2, "/messages/1/read").await.0, StatusCode::OK);
    assert_eq!(world.place.wrong_conversations().await, [""; 0]);
    let (_, created) = world.create(2, 1, "third").await;
    let found = (&created["message"]["id"], &created["message"]["thread_id"]);
    assert_eq!(found, (&json!(101), &json!(201)), "both counters were raised by a cutover");
    assert_eq!(world.place.wrong_conversations().await, [""; 0]);
    world.end().await;
}

/// The goal is 200 writes/s on Postgres in the dev profile:
/// `cargo test -p fixture-messages --test writes -- --ignored --nocapture writes_per_second`.
async fn writes_per_second(place: Place) {
    let world = World::owner(place).await;
    let written = AtomicU64::new(0);
    let started = Instant::now();
    let writer = async |number: i64| {
        let mut slowest = Duration::ZERO;
        while started.elapsed() < Duration::from_secs(5) {
            let begun = Instant::now();
            let (status, answer) = world.create(number % 9 + 1, number % 5 + 1, "fast").await;
            assert_eq!(status, StatusCode::CREATED, "{answer}");
            written.fetch_add(1, Ordering::Relaxed);
            slowest = slowest.max(begun.elapsed());
        }
        slowest
    };
    let slowest = join_all((0..16).map(writer)).await.into_iter().max().unwrap();
    let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap();
    let per_second = written.into_inner() * 1_000 / took_ms.max(1);
    println!("{per_second} writes/s, the slowest took {slowest:?}");
    assert!(per_second >= 200, "{per_second} writes/s");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn writes_per_second_on_postgres() {
    if let Some(place) = Place::postgres().await {
        writes_per_second(place).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn writes_per_second_on_sqlite() {
    writes_per_second(Place::sqlite()).await;
}
