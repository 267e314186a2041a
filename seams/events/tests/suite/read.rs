//! Reading the log again: all events of a context in order, and what of a period the log still covers.

use banyan_domain::Side;
use banyan_events::broker::Message;
use banyan_events::envelope::{CloudEvent, Mode};
use banyan_events::forwarder::{Decision, ForwarderConfig, LogReader, LoggedEvent};
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;

use crate::stage::{World, event, messages};
use crate::world::{Place, numbered};

/// More than one page holds.
const MANY: usize = 2_300;

async fn all(reader: &mut LogReader) -> Vec<LoggedEvent> {
    let mut all = Vec::new();
    while let Some(page) = reader.page().await.unwrap() {
        all.extend(page);
    }
    all
}

async fn execute(config: &ForwarderConfig, statement: &'static str) {
    let options = SqliteConnectOptions::new().filename(&config.database);
    let mut log = options.connect().await.unwrap();
    sqlx::query(statement).execute(&mut log).await.unwrap();
}

fn structured(id: &str) -> Message {
    CloudEvent::new(id, "/messages/new", "message.read")
        .subject("91")
        .data("application/json", br#"{"read":true}"#.to_vec())
        .to_message(Mode::Structured, "raw.new", "message.read")
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_of_both_sides_is_read_once_in_order_without_its_envelope() {
    let world = World::new(Place::embedded()).await;
    let running = world.run().await;
    let legacy: Vec<Message> = (0..MANY).map(|id| event("raw.legacy", id)).collect();
    world.broker.publish_all(legacy).await.unwrap();
    // Of no context, said twice under one id, and one whose payload lies in an envelope.
    world.broker.publish(numbered("raw.legacy", "track.played", 1)).await.unwrap();
    world.broker.publish(event("raw.legacy", 7)).await.unwrap();
    world.broker.publish(structured("n-1")).await.unwrap();
    world
        .until("all are decided", |status| {
            let of = &status.contexts[0];
            of.forwarded == MANY as u64 && of.muted == 1 && of.dup == 1 && status.unmigrated == 1
        })
        .await;
    running.stop().await;

    let mut reader = LogReader::open(&world.config, &messages()).await.unwrap();
    reader.seek(0).await.unwrap();
    let read = all(&mut reader).await;
    assert_eq!(read.len(), MANY + 1);
    assert!(read.windows(2).all(|two| two[0].row < two[1].row));
    let legacy: Vec<_> = read.iter().filter(|event| event.side == Side::Legacy).collect();
    let ids = legacy.iter().map(|event| event.message.properties.message_id.clone().unwrap());
    assert_eq!(ids.collect::<Vec<_>>(), (0..MANY).map(|id| format!("m-{id}")).collect::<Vec<_>>());
    assert_eq!((legacy[0].kind.as_str(), legacy[0].decision), ("message.sent", Decision::Forward));
    let new = read.iter().find(|event| event.side == Side::New).unwrap();
    assert_eq!((new.kind.as_str(), new.subject.as_deref()), ("message.read", Some("91")));
    assert_eq!(new.payload.as_ref().unwrap().data, br#"{"read":true}"#);

    // A later beginning, and only the newest rows.
    execute(&world.config, "UPDATE forwarder_log SET decided_ms = 1000 + id").await;
    let from = 1_000 + read[1_000].row;
    reader.seek(from).await.unwrap();
    assert_eq!(all(&mut reader).await.first().unwrap().row, read[1_000].row);
    reader.seek(0).await.unwrap();
    let rows = i64::try_from(MANY).unwrap() + 3;
    assert_eq!(reader.at_most_rows(10).await.unwrap(), Some(1_000 + rows - 9));
    assert!(all(&mut reader).await.len() <= 10);
    reader.seek(0).await.unwrap();
    assert_eq!(reader.at_most_rows(1_000_000).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_says_from_when_on_it_is_complete_and_up_to_when_the_queues_were_read() {
    let world = World::new(Place::embedded()).await;
    let missing = LogReader::open(&world.config, &messages()).await.err().unwrap();
    assert!(missing.to_string().contains("no forwarder ran"), "{missing}");
    let running = world.run().await;
    world.broker.publish_all((0..30).map(|id| event("raw.legacy", id)).collect()).await.unwrap();
    world.until("all are public", |status| status.contexts[0].forwarded == 30).await;
    let reader = LogReader::open(&world.config, &messages()).await.unwrap();
    let drained = || async { reader.coverage().await.unwrap().read_until_ms };
    while drained().await.is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    running.stop().await;

    execute(&world.config, "UPDATE forwarder_log SET decided_ms = 1000 + id").await;
    let coverage = reader.coverage().await.unwrap();
    assert_eq!((coverage.from_ms, coverage.trimmed), (Some(1_001), false));
    assert!(coverage.read_until_ms.unwrap() <= coverage.now_ms);
    // What is still to be published is never trimmed; the log is complete behind it.
    execute(&world.config, "UPDATE forwarder_log SET forwarded_ms = NULL WHERE id = 2").await;
    execute(&world.config, "DELETE FROM forwarder_log WHERE id IN (1, 3, 4)").await;
    let coverage = reader.coverage().await.unwrap();
    assert_eq!((coverage.from_ms, coverage.trimmed), (Some(1_005), true));
    execute(&world.config, "DELETE FROM forwarder_log").await;
    let coverage = reader.coverage().await.unwrap();
    assert_eq!(coverage.from_ms, None);
}
