//! The events of the service: one per committed write, around the monolith's body, understood by the consumers.

use crate::world::{Place, World, on_both};
use banyan_seams::events::{
    broker::{Consumer, ExchangeKind, QueueOptions, Topology, connect},
    envelope::CloudEvent,
};
use fixture_consumers::{App, ConsumerArgs};
use fixture_mothership::{Mothership, MothershipArgs};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

on_both!(
    events_have_the_monoliths_body_and_the_consumers_understand_them,
    what_an_operator_dropped_was_never_announced,
);

const PATIENCE: Duration = Duration::from_secs(20);

/// A queue on everything that goes to `exchange`.
async fn listen(broker: &str, exchange: &str) -> Box<dyn Consumer> {
    let broker = connect(broker).await.unwrap();
    let queue = format!("all-{exchange}");
    let topology = Topology::new()
        .exchange(exchange, ExchangeKind::Topic)
        .queue(&queue, QueueOptions::shared())
        .bind(&queue, exchange, "#");
    broker.declare(&topology).await.unwrap();
    broker.consume(&queue, 1_000).await.unwrap()
}

/// The same five changes; the second reading changes nothing.
async fn change(world: &World, site: &str) {
    let send = |method: Method, user: i64, path: &str| {
        let token = format!("OAuth {}", world.passport.token(user));
        let request = world.client.request(method, format!("{site}{path}"));
        request.header("authorization", token).header("x-request-id", "req-1")
    };
    let create = json!({ "message": { "recipient_id": 2, "subject": "Hi", "body": "a" } });
    let reply = json!({ "message": { "recipient_id": 1, "body": "b", "parent_id": 1 } });
    let edit = json!({ "message": { "body": "c" } });
    let blank = json!({ "message": { "recipient_id": 2, "body": "" } });
    let requests = [
        (send(Method::POST, 1, "/messages").json(&create), 201),
        (send(Method::POST, 2, "/messages").json(&reply), 201),
        (send(Method::POST, 1, "/messages").json(&blank), 422),
        (send(Method::PATCH, 1, "/messages/1").json(&edit), 200),
        (send(Method::PUT, 2, "/messages/1/read"), 200),
        (send(Method::PUT, 2, "/messages/1/read"), 200),
        (send(Method::DELETE, 2, "/messages/1"), 204),
        (send(Method::DELETE, 2, "/messages/1"), 404),
    ];
    for (request, status) in requests {
        assert_eq!(request.send().await.unwrap().status().as_u16(), status);
    }
}

async fn next(consumer: &mut Box<dyn Consumer>) -> banyan_seams::events::broker::Message {
    tokio::time::timeout(PATIENCE, consumer.next()).await.unwrap().unwrap().message
}

async fn events_have_the_monoliths_body_and_the_consumers_understand_them(place: Place) {
    let broker = format!("embedded:{}", place.folder.path().join("broker.db").display());
    let mut of_legacy = listen(&broker, "semantic-events").await;
    let mut of_service = listen(&broker, "semantic-events-new").await;
    let (push, stats) = (
        consumer(&place, &broker, App::PushNotifications).await,
        consumer(&place, &broker, App::Stats).await,
    );
    let world = World::start(place, Some(broker.clone())).await;
    world.place.enrol("open").await;
    legacy(&world, &broker).await;
    change(&world, &world.url).await;

    let mut ids = BTreeSet::new();
    for kind in
        ["message.sent", "message.sent", "message.edited", "message.read", "message.deleted"]
    {
        let theirs = next(&mut of_legacy).await;
        let ours = next(&mut of_service).await;
        assert_eq!((theirs.routing_key.as_str(), ours.routing_key.as_str()), (kind, kind));
        let event = CloudEvent::from_message(&ours).unwrap().unwrap();
        assert_eq!((event.kind.as_str(), event.source.as_str()), (kind, "/messages/new-messages"));
        let their_body: Value = serde_json::from_slice(&theirs.body).unwrap();
        let mut expected = their_body.clone();
        let mut found: Value = serde_json::from_slice(&event.data).unwrap();
        assert_eq!(event.subject.as_deref(), Some(found["subject"]["id"].to_string().as_str()));
        // The service has no audits; a second may have passed between the two.
        assert_eq!(found["audit_id"], Value::Null);
        expected["audit_id"] = Value::Null;
        assert!(found["occurred_at"].as_str().unwrap().ends_with(" +0000"));
        found["occurred_at"] = expected["occurred_at"].clone();
        assert_eq!(found.to_string(), expected.to_string(), "key order included");
        assert!(ids.insert((event.source.clone(), event.id.clone())), "ids are unique");
        assert_eq!(ours.properties.message_id.as_deref(), Some(event.id.as_str()));
    }
    let more = tokio::time::timeout(Duration::from_millis(300), of_service.next()).await;
    assert!(more.is_err(), "one event per committed write: {more:?}");
    // Both sides' five events have the same effect, twice.
    let notified = until(&push, |status| status["consumed"] == 10).await;
    assert_eq!((&notified["effects"], &notified["poison"]), (&json!(4), &json!(0)), "{notified}");
    let counted = until(&stats, |status| status["consumed"] == 10).await;
    assert_eq!((&counted["effects"], &counted["poison"]), (&json!(10), &json!(0)), "{counted}");
    world.end().await;
}

/// The monolith, with its two people, makes the same changes.
async fn legacy(world: &World, broker: &str) {
    let file = world.place.folder.path().join("legacy.db");
    let args = MothershipArgs {
        users: 9,
        messages: 0,
        broker: Some(broker.to_owned()),
        ..MothershipArgs::on(format!("sqlite:{}", file.display()))
    };
    let mothership = Mothership::open(&args).await.unwrap();
    let url = format!("http://{}", mothership.address());
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(async move {
        mothership.serve(async { drop(stopped.await) }).await.unwrap();
    });
    change(world, &url).await;
    stop.send(()).unwrap();
    task.await.unwrap();
}

/// A consumer of what both raw exchanges bring: here nobody forwards.
async fn consumer(place: &Place, broker: &str, app: App) -> String {
    let connected = connect(broker).await.unwrap();
    let file = place.folder.path().join(format!("{}.db", app.as_str()));
    let database = format!("sqlite:{}", file.display());
    let args = ConsumerArgs {
        exchange: "semantic-events".to_owned(),
        ..ConsumerArgs::on(database, broker)
    };
    let bound = fixture_consumers::bind(app, args).await.unwrap();
    let url = bound.url().to_owned();
    tokio::spawn(bound.serve(std::future::pending()));
    until(&url, |status| status["state"] == "consuming").await;
    let queue = Topology::new().bind(app.as_str(), "semantic-events-new", "message.*");
    connected.declare(&queue).await.unwrap();
    url
}

async fn until(url: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let give_up = Instant::now() + PATIENCE;
    loop {
        let answer = client.get(format!("{url}/status")).send().await.unwrap();
        let status: Value = answer.json().await.unwrap();
        if holds(&status) {
            return status;
        }
        assert!(Instant::now() < give_up, "{status:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_fails_no_write_and_gets_the_events_later() {
    let place = Place::sqlite();
    let folder = place.folder.path().join("absent");
    let broker = format!("embedded:{}", folder.join("broker.db").display());
    let world = World::start(place, Some(broker.clone())).await;
    world.place.enrol("open").await;
    for _ in 0..3 {
        assert_eq!(world.create(1, 2, "x").await.0, StatusCode::CREATED);
    }
    assert_eq!(world.place.count("banyan_outbox WHERE state = 'ready'").await, 3);
    std::fs::create_dir(&folder).unwrap();
    let mut listener = listen(&broker, "semantic-events-new").await;
    for id in 1..=3 {
        let event = CloudEvent::from_message(&next(&mut listener).await).unwrap().unwrap();
        assert_eq!(event.subject, Some(id.to_string()));
    }
    // A graceful end hands the lease over: the next process publishes at once.
    let place = world.end().await;
    let begun = Instant::now();
    let world = World::serve(place, Some(broker)).await;
    assert_eq!(world.create(1, 2, "x").await.0, StatusCode::CREATED);
    let event = CloudEvent::from_message(&next(&mut listener).await).unwrap().unwrap();
    assert_eq!(event.subject.as_deref(), Some("4"));
    // A lease that nobody handed over would last 10 s.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    world.end().await;
}

async fn what_an_operator_dropped_was_never_announced(place: Place) {
    let world = World::owner(place).await;
    for _ in 0..2 {
        assert_eq!(world.create(1, 2, "x").await.0, StatusCode::CREATED);
    }
    let first = "(SELECT MIN(id) FROM banyan_outbox)";
    let give_up = format!("UPDATE banyan_outbox SET state = 'dropped' WHERE id = {first}");
    world.place.run(&give_up).await;
    let announced = fixture_messages::committed(&world.place.url).await.unwrap();
    let left = world.place.texts("SELECT event_id FROM banyan_outbox WHERE state = 'ready'").await;
    let ids: Vec<String> = announced.into_iter().map(|event| event.id).collect();
    assert_eq!((ids.len(), ids), (1, left));
    world.end().await;
}

#[tokio::test]
async fn a_broker_that_nobody_knows_is_refused_at_the_start() {
    let args = fixture_messages::MessagesArgs {
        broker: Some("kafka://u:geheim@h".to_owned()),
        ..fixture_messages::MessagesArgs::on(Place::sqlite().url)
    };
    let error = fixture_messages::bind(args).await.unwrap_err().to_string();
    assert!(error.contains("kafka") && error.contains("--broker"), "{error}");
    assert!(!error.contains("geheim"), "{error}");
}
