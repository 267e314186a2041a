//! Semantic events: one per committed change, in audit order, whatever the broker does.

use crate::world::{World, on_both};
use banyan_seams::events::broker::{
    Broker, Consumer, Delivery, ExchangeKind, QueueOptions, Topology, connect,
};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, MySqlConnection, SqliteConnection};
use std::{sync::Arc, time::Duration};

on_both! { |args| args.broker = Some("embedded:{dir}/broker.db".to_owned());
    each_change_is_one_event,
    events_of_a_process_that_was_killed_are_published_by_the_next,
    audits_of_an_earlier_version_count_as_published,
    concurrent_changes_are_published_in_audit_order,
    what_another_process_committed_is_published_by_an_idle_one,
}

const PATIENCE: Duration = Duration::from_secs(20);

struct Listener {
    _broker: Arc<dyn Broker>,
    consumer: Box<dyn Consumer>,
}

impl Listener {
    async fn on(world: &World) -> Self {
        let broker = connect(world.args.broker.as_deref().unwrap()).await.unwrap();
        let topology = Topology::new()
            .exchange("semantic-events", ExchangeKind::Topic)
            .queue("all", QueueOptions::shared())
            .bind("all", "semantic-events", "#");
        broker.declare(&topology).await.unwrap();
        let consumer = broker.consume("all", 1_000).await.unwrap();
        Self { _broker: broker, consumer }
    }

    async fn next(&mut self) -> (Delivery, Value) {
        let delivery = tokio::time::timeout(PATIENCE, self.consumer.next()).await.unwrap().unwrap();
        let body = serde_json::from_slice(&delivery.message.body).unwrap();
        (delivery, body)
    }
}

async fn each_change_is_one_event(mut world: World) {
    let mut listener = Listener::on(&world).await;
    world.send(3, 17, "a").await;
    let edit = json!({ "message": { "body": "b" } });
    world.api(Method::PATCH, 3, "/messages/1").json(&edit).send().await.unwrap();
    world.act(Method::PUT, 17, "/messages/1/read").await;
    world.act(Method::PUT, 17, "/messages/1/read").await;
    world.act(Method::DELETE, 17, "/messages/1").await;
    let refused = json!({ "message": { "recipient_id": 17, "body": "" } });
    world.api(Method::POST, 3, "/messages").json(&refused).send().await.unwrap();
    let track = json!({ "track": { "title": "Demo" } });
    let request = world.api(Method::POST, 4, "/tracks").header("x-request-id", "req-1");
    let track: Value = request.json(&track).send().await.unwrap().json().await.unwrap();
    let uri = track["track"]["uri"].as_str().unwrap().to_owned();
    world.act(Method::POST, 5, &format!("{uri}/plays")).await;
    let comment = json!({ "comment": { "body": "c" } });
    world.api(Method::POST, 5, &format!("{uri}/comments")).json(&comment).send().await.unwrap();
    world.stop().await;

    let expected = [
        ("message.sent", "Message", 3),
        ("message.edited", "Message", 3),
        ("message.read", "Message", 17),
        ("message.deleted", "Message", 17),
        ("track.created", "Track", 4),
        ("track.played", "Track", 5),
        ("comment.created", "Comment", 5),
    ];
    for (index, (event_type, subject, actor)) in expected.into_iter().enumerate() {
        let (delivery, body) = listener.next().await;
        let message = &delivery.message;
        assert_eq!(body["type"], event_type);
        assert_eq!(message.routing_key, event_type);
        assert_eq!(message.exchange, "semantic-events");
        assert_eq!(body["audit_id"], index + 1);
        let id = format!("mothership-{}", index + 1);
        assert_eq!(message.properties.message_id.as_deref(), Some(id.as_str()));
        assert_eq!(message.properties.content_type.as_deref(), Some("application/json"));
        assert_eq!((&body["subject"]["type"], &body["actor_id"]), (&json!(subject), &json!(actor)));
        let keys: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            ["type", "audit_id", "occurred_at", "request_id", "subject", "actor_id", "data"]
        );
        if event_type == "track.created" {
            assert_eq!(body["request_id"], "req-1");
        }
    }
    let more = tokio::time::timeout(Duration::from_millis(200), listener.consumer.next()).await;
    assert!(more.is_err(), "one event per change: {more:?}");
}

async fn concurrent_changes_are_published_in_audit_order(mut world: World) {
    let mut listener = Listener::on(&world).await;
    let sends = (0..120_i64).map(|number| world.send(number % 29 + 1, 30, "x"));
    assert_eq!(join_all(sends).await.len(), 120);
    // A graceful end leaves nothing behind.
    world.stop().await;
    for audit_id in 1..=120 {
        assert_eq!(listener.next().await.1["audit_id"], audit_id);
    }
}

/// A kill between commit and publish: the audit stands and is not marked.
async fn events_of_a_process_that_was_killed_are_published_by_the_next(mut world: World) {
    let mut listener = Listener::on(&world).await;
    world.send(3, 17, "a").await;
    world.send(3, 17, "b").await;
    let first = [listener.next().await, listener.next().await];
    world.stop().await;
    // What a killed process leaves: its last change committed, its mark lost, and one event out but not marked.
    run(&world, "UPDATE audits SET published = 0 WHERE id = 2").await;
    run(
        &world,
        "INSERT INTO audits (event_type, subject_type, subject_id, user_id, request_id, created_at, data, published) \
         SELECT event_type, subject_type, subject_id, user_id, request_id, created_at, data, 0 FROM audits WHERE id = 2",
    )
    .await;
    world.restart().await;
    world.send(3, 17, "c").await;
    world.stop().await;
    // The embedded broker knows the repeated one by its publish id; RabbitMQ would bring it again, under its old id.
    let (delivery, left) = listener.next().await;
    assert_eq!(delivery.message.properties.message_id.as_deref(), Some("mothership-3"));
    let mut expected = first[1].1.clone();
    expected["audit_id"] = json!(3);
    assert_eq!(
        left.to_string(),
        expected.to_string(),
        "the same body as its process would have sent"
    );
    assert_eq!(listener.next().await.1["audit_id"], 4, "in the order of the audits");
    let more = tokio::time::timeout(Duration::from_millis(200), listener.consumer.next()).await;
    assert!(more.is_err(), "{more:?}");
}

async fn what_another_process_committed_is_published_by_an_idle_one(world: World) {
    let mut listener = Listener::on(&world).await;
    world.send(3, 17, "a").await;
    assert_eq!(listener.next().await.1["audit_id"], 1);
    until_published(&world).await;
    // By now it waits to be woken, and nothing here wakes it.
    tokio::time::sleep(Duration::from_millis(200)).await;
    run(
        &world,
        "INSERT INTO audits (event_type, subject_type, subject_id, user_id, request_id, created_at, data, published) \
         SELECT event_type, subject_type, subject_id, user_id, request_id, created_at, data, 0 FROM audits WHERE id = 1",
    )
    .await;
    assert_eq!(listener.next().await.1["audit_id"], 2);
    until_published(&world).await;
}

/// Waits until the status counts no event that is still to be published.
async fn until_published(world: &World) {
    let published = async {
        while world.json(3, "/status").await["events_pending"] != 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, published).await.unwrap();
}

async fn audits_of_an_earlier_version_count_as_published(mut world: World) {
    world.send(3, 17, "a").await;
    world.stop().await;
    // SQLite lets no column go that an index has.
    let index = if world.args.database.starts_with("mysql") {
        "DROP INDEX index_audits_on_published ON audits"
    } else {
        "DROP INDEX index_audits_on_published"
    };
    run(&world, index).await;
    run(&world, "ALTER TABLE audits DROP COLUMN published").await;
    run(&world, "ALTER TABLE audits DROP COLUMN data").await;
    let mut listener = Listener::on(&world).await;
    world.restart().await;
    assert_eq!(world.json(3, "/status").await["events_pending"], 0);
    world.send(3, 17, "b").await;
    assert_eq!(listener.next().await.1["audit_id"], 2);
}

async fn run(world: &World, sql: &'static str) {
    if world.args.database.starts_with("mysql") {
        let mut connection = MySqlConnection::connect(&world.args.database).await.unwrap();
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    } else {
        let mut connection = SqliteConnection::connect(&world.args.database).await.unwrap();
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    }
}

#[tokio::test]
async fn broken_broker_fails_no_request_and_gets_its_events_later() {
    let world = World::sqlite(|args| {
        args.broker = Some("embedded:{dir}/absent/broker.db".to_owned());
    })
    .await;
    for number in 0..5 {
        world.send(3, 17, &number.to_string()).await;
    }
    assert!(world.json(3, "/status").await["events_pending"].as_u64().unwrap() >= 4);
    std::fs::create_dir(world.directory.path().join("absent")).unwrap();
    let mut listener = Listener::on(&world).await;
    for audit_id in 1..=5 {
        assert_eq!(listener.next().await.1["audit_id"], audit_id);
    }
}

#[tokio::test]
async fn an_exchange_that_vanished_is_declared_again() {
    let world =
        World::sqlite(|args| args.broker = Some("embedded:{dir}/broker.db".to_owned())).await;
    let mut listener = Listener::on(&world).await;
    world.send(3, 17, "a").await;
    assert_eq!(listener.next().await.1["audit_id"], 1);
    let file = format!("sqlite:{}", world.directory.path().join("broker.db").display());
    let mut broker = SqliteConnection::connect(&file).await.unwrap();
    // The second statement has the broker read its exchanges again.
    let vanish = "DELETE FROM exchanges; UPDATE meta SET value = '' WHERE key = 'topology';";
    sqlx::raw_sql(vanish).execute(&mut broker).await.unwrap();
    world.send(3, 17, "b").await;
    assert_eq!(listener.next().await.1["audit_id"], 2);
}

#[tokio::test]
async fn ids_stay_unique_over_a_restart() {
    let mut world =
        World::sqlite(|args| args.broker = Some("embedded:{dir}/broker.db".to_owned())).await;
    let mut listener = Listener::on(&world).await;
    world.send(3, 17, "a").await;
    world.restart().await;
    world.send(3, 17, "b").await;
    world.stop().await;
    for audit_id in 1..=2 {
        assert_eq!(listener.next().await.1["audit_id"], audit_id);
    }
}

#[tokio::test]
async fn change_of_a_client_who_went_away_is_whole() {
    let world =
        World::sqlite(|args| args.broker = Some("embedded:{dir}/broker.db".to_owned())).await;
    let mut listener = Listener::on(&world).await;
    let lock = Lock::on(&world).await;
    let request = tokio::spawn(post(&world).send());
    until_inside(&world).await;
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    lock.release().await;
    assert_eq!(listener.next().await.1["type"], "message.sent");
    assert_eq!(world.json(17, "/users/17/messages").await["total"], 1);
}

#[tokio::test]
async fn graceful_end_answers_and_publishes_what_has_begun() {
    let mut world =
        World::sqlite(|args| args.broker = Some("embedded:{dir}/broker.db".to_owned())).await;
    let mut listener = Listener::on(&world).await;
    let lock = Lock::on(&world).await;
    let request = tokio::spawn(post(&world).send());
    until_inside(&world).await;
    assert_eq!(world.json(17, "/users/17/messages").await["total"], 0, "readers do not wait");
    let (answer, (), ()) = tokio::join!(request, world.stop(), lock.release());
    assert_eq!(answer.unwrap().unwrap().status(), 201);
    assert_eq!(listener.next().await.1["audit_id"], 1);
}

fn post(world: &World) -> reqwest::RequestBuilder {
    let message = json!({ "message": { "recipient_id": 17, "body": "a" } });
    world.api(Method::POST, 3, "/messages").json(&message)
}

/// Waits until a request other than the asking ones is being answered.
async fn until_inside(world: &World) {
    while world.json(3, "/status").await["requests_inside"] == 0 {
        tokio::task::yield_now().await;
    }
}

/// Holds the write lock of the database's file from outside, as the sync does for a moment.
struct Lock(SqliteConnection);

impl Lock {
    async fn on(world: &World) -> Self {
        let mut connection = SqliteConnection::connect(&world.args.database).await.unwrap();
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
        Self(connection)
    }

    async fn release(mut self) {
        sqlx::raw_sql("ROLLBACK").execute(&mut self.0).await.unwrap();
        self.0.close().await.unwrap();
    }
}
