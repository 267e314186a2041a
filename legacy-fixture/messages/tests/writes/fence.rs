//! Who does not own the context writes nothing and says so; a switch waits for who is writing.

use crate::world::{Place, World, on_both};
use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use std::time::{Duration, Instant};

on_both!(
    no_write_happens_unless_the_fence_is_open,
    a_fence_trigger_refuses_and_everything_is_taken_back,
    what_was_acknowledged_before_the_fence_closed_is_there_and_nothing_after_it,
);

const REFUSAL: &str = "{\"status\":\"503\",\"error\":\"messages does not own this context\"}";

/// All four writes are refused by the fence, with the header that promises that nothing happened.
async fn all_writes_are_refused(world: &World) {
    let create = json!({ "message": { "recipient_id": 2, "body": "x" } });
    let edit = json!({ "message": { "body": "edited" } });
    for (user, method, path, body) in [
        (1, Method::POST, "/messages", create),
        (1, Method::PATCH, "/messages/1", edit),
        (2, Method::PUT, "/messages/1/read", json!({})),
        (1, Method::DELETE, "/messages/1", json!({})),
    ] {
        let request = world.request(method, user, path).json(&body);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(response.headers()["x-banyan-fenced"], "messages");
        assert_eq!(response.text().await.unwrap(), REFUSAL);
    }
}

async fn no_write_happens_unless_the_fence_is_open(place: Place) {
    let world = World::start(place, None).await;
    all_writes_are_refused(&world).await;
    world.place.enrol("shut").await;
    all_writes_are_refused(&world).await;
    world.place.fence("open", 2).await;
    assert_eq!(world.create(1, 2, "first").await.0, StatusCode::CREATED);
    let before = state(&world).await;
    for (state_, epoch) in [("draining", 3), ("barred", 3), ("shut", 4)] {
        world.place.fence(state_, epoch).await;
        all_writes_are_refused(&world).await;
        // Who may not write may still read, and a wrong request is still wrong.
        assert_eq!(world.act(Method::GET, 2, "/messages/1").await.0, StatusCode::OK);
        assert_eq!(world.act(Method::POST, 2, "/nothing").await.0, StatusCode::NOT_FOUND);
    }
    assert_eq!(state(&world).await, before);
    world.place.fence("open", 5).await;
    let (status, created) = world.create(1, 2, "second").await;
    assert_eq!(
        (status, &created["message"]["id"], &created["message"]["thread_id"]),
        (StatusCode::CREATED, &json!(2), &json!(2)),
        "refused writes took no ids"
    );
    let epochs = "SELECT type || ' ' || epoch || ' ' || state FROM banyan_outbox ORDER BY id";
    let events = world.place.texts(epochs).await;
    assert_eq!(events, ["message.sent 2 ready", "message.sent 5 ready"]);
    world.end().await;
}

/// The tables as text.
async fn state(world: &World) -> Vec<String> {
    let mut rows = Vec::new();
    for sql in [
        "SELECT id || ' ' || body || ' ' || changed_at FROM chat_messages ORDER BY id",
        "SELECT id || ' ' || last_message_id || ' ' || messages_count FROM conversations ORDER BY id",
        "SELECT event_id || ' ' || state FROM banyan_outbox ORDER BY id",
    ] {
        rows.extend(world.place.texts(sql).await);
    }
    rows
}

/// As a fence is that the service's own look at the row cannot see: the last line of defence.
const SQLITE_TRIGGERS: &str = "
CREATE TRIGGER f1 BEFORE INSERT ON chat_messages BEGIN
    SELECT RAISE(ABORT, 'banyan fence: context `messages` is draining on new'); END;
CREATE TRIGGER f2 BEFORE UPDATE ON chat_messages BEGIN
    SELECT RAISE(ABORT, 'banyan fence: context `messages` is draining on new'); END;";
const POSTGRES_TRIGGERS: &str = "
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION 'banyan fence: context `messages` is draining on new' USING ERRCODE = 'BY001'; END $$;
CREATE TRIGGER f1 BEFORE INSERT OR UPDATE ON chat_messages FOR EACH ROW EXECUTE FUNCTION refuse();";

async fn a_fence_trigger_refuses_and_everything_is_taken_back(place: Place) {
    let world = World::owner(place).await;
    world.create(1, 2, "first").await;
    let before = state(&world).await;
    let triggers = if world.place.is_postgres() { POSTGRES_TRIGGERS } else { SQLITE_TRIGGERS };
    world.place.run(triggers).await;
    all_writes_are_refused(&world).await;
    assert_eq!(world.create(3, 4, "a new conversation").await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(state(&world).await, before, "no message, no conversation, no event");
    let of = if world.place.is_postgres() { " ON chat_messages" } else { "" };
    let drop_all = if world.place.is_postgres() { "" } else { "DROP TRIGGER f2;" };
    world.place.run(&format!("DROP TRIGGER f1{of}; {drop_all}")).await;
    assert_eq!(world.create(3, 4, "now").await.0, StatusCode::CREATED);
    world.end().await;
}

async fn what_was_acknowledged_before_the_fence_closed_is_there_and_nothing_after_it(place: Place) {
    let world = World::owner(place).await;
    let writer = async |number: i64| {
        let mut acknowledged = Vec::new();
        loop {
            let (status, answer) = world.create(number % 9 + 1, number % 7 + 1, "x").await;
            match status {
                StatusCode::CREATED => acknowledged.push(answer["message"]["id"].as_i64().unwrap()),
                StatusCode::SERVICE_UNAVAILABLE => return acknowledged,
                other => panic!("{other} {answer}"),
            }
        }
    };
    let closing = async {
        while world.place.count("chat_messages").await < 40 {
            tokio::task::yield_now().await;
        }
        world.place.fence("draining", 2).await;
        // From here on nothing may change.
        (state(&world).await, world.place.count("chat_messages").await)
    };
    let (acknowledged, (closed, stored)) = tokio::join!(join_all((0..8).map(writer)), closing);
    let mut acknowledged = acknowledged.concat();
    acknowledged.sort_unstable();
    assert_eq!(state(&world).await, closed);
    assert_eq!(i64::try_from(acknowledged.len()).unwrap(), stored);
    let ids = world
        .place
        .texts("SELECT CAST(id AS TEXT) FROM chat_messages ORDER BY chat_messages.id")
        .await;
    let ids: Vec<i64> = ids.iter().map(|id| id.parse().unwrap()).collect();
    assert_eq!(ids, acknowledged);
    let events = "banyan_outbox WHERE state = 'ready' AND epoch = 1 AND type = 'message.sent'";
    assert_eq!(world.place.count(events).await, stored, "one event for each");
    assert_eq!(world.place.wrong_conversations().await, [""; 0]);
    let answers: Vec<(StatusCode, Value)> = vec![world.create(1, 2, "late").await];
    assert_eq!(answers[0].0, StatusCode::SERVICE_UNAVAILABLE);
    world.end().await;
}

/// A long transaction of somebody else: the wait has a limit, and the answer is no invitation to the other side.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_stays_locked_is_503_without_the_promise_on_postgres() {
    let Some(place) = Place::postgres().await else { return };
    let world = World::owner(place).await;
    assert_eq!(world.create(1, 2, "first").await.0, StatusCode::CREATED);
    let mut holder = PgConnection::connect(&world.place.url).await.unwrap();
    let lock = "BEGIN; SELECT id FROM conversations FOR UPDATE;";
    sqlx::raw_sql(lock).execute(&mut holder).await.unwrap();
    let begun = Instant::now();
    let response = world.request(Method::PUT, 2, "/messages/1/read").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(!response.headers().contains_key("x-banyan-fenced"));
    // The limit of the lock, not the 10 s of a whole request.
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    assert_eq!(world.act(Method::PUT, 2, "/messages/1/read").await.0, StatusCode::OK);
    world.end().await;
}
