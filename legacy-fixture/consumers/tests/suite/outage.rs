//! A broker or a database that is away is waited for, without help and without loss.

use banyan_test_servers::{or_skip, rabbitmq};
use fixture_consumers::{App, ConsumerArgs, ConsumerError, bind};
use serde_json::json;

use crate::world::{Running, World, legacy, outside};

#[tokio::test(flavor = "multi_thread")]
async fn a_rabbitmq_that_dies_and_comes_back_is_consumed_again_without_help() {
    let Some(mut node) = or_skip(tokio::task::spawn_blocking(rabbitmq).await.unwrap()) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let world = World { broker_url: node.fresh_url(), directory };
    let publisher = world.publisher().await;
    let push = world.run(App::PushNotifications).await;
    let numbers = |range: std::ops::Range<i64>| {
        range.map(|number| legacy("message.sent", number)).collect::<Vec<_>>()
    };
    publisher.publish_all(numbers(0..300)).await.unwrap();
    push.until("some are taken", |status| status["consumed"].as_i64() > Some(50)).await;
    node.server().kill();
    let status = push.until("it says so", |status| status["state"] == "waiting").await;
    assert!(status["reason"].as_str().unwrap().contains("push-notifications"), "{status:#}");
    let node = tokio::task::spawn_blocking(move || {
        node.server().start_again().unwrap();
        node
    });
    let node = node.await.unwrap();
    let give_up = std::time::Instant::now() + crate::world::SOON;
    // The publisher's connection has to come back too.
    while let Err(error) = publisher.publish_all(numbers(300..400)).await {
        assert!(std::time::Instant::now() < give_up, "{error}");
    }
    let status = push.until_consumed(400).await;
    assert_eq!(status["notifications"], 400, "{status:#}");
    assert_eq!(status["notified_messages"], 400);
    push.until("it consumes", |status| status["state"] == "consuming").await;
    push.stop().await;
    publisher.close().await;
    drop(node);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_absent_at_the_start_is_waited_for() {
    let mut world = World::embedded();
    let place = world.directory.path().join("later");
    world.broker_url = format!("embedded:{}", place.join("broker.db").display());
    let mut args = world.args(App::Stats);
    let ready = world.directory.path().join("ready");
    args.ready_file = Some(ready.clone());
    let stats = Running::begin(App::Stats, args, None).await;
    let status = stats.until("it waits", |status| status["state"] == "waiting").await;
    assert!(status["reason"].as_str().unwrap().contains("cannot consume `stats`"), "{status:#}");
    assert!(!ready.exists(), "not ready before the queue is bound");
    std::fs::create_dir(&place).unwrap();
    stats.until("it consumes", |status| status["state"] == "consuming").await;
    world.publisher().await.publish(legacy("message.sent", 1)).await.unwrap();
    stats.until_consumed(1).await;
    let address = std::fs::read_to_string(&ready).unwrap();
    assert_eq!(format!("http://{address}"), stats.url);
    stats.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_refuses_keeps_the_messages_in_the_queue() {
    let world = World::embedded();
    let publisher = world.publisher().await;
    let stats = world.run(App::Stats).await;
    let mut lock = outside(&world.database(App::Stats)).await;
    // As a full disk would: every write is refused.
    let refuse = "CREATE TRIGGER full BEFORE UPDATE ON progress
        BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END";
    sqlx::raw_sql(refuse).execute(&mut lock).await.unwrap();
    let messages = (0..5).map(|number| legacy("message.sent", number)).collect();
    publisher.publish_all(messages).await.unwrap();
    let status = stats.until("it waits", |status| status["state"] == "waiting").await;
    assert!(status["reason"].as_str().unwrap().contains("disk is full"), "{status:#}");
    assert_eq!(stats.get("/stats").await.1["stats"], json!([]), "no effect without its mark");
    sqlx::raw_sql("DROP TRIGGER full").execute(&mut lock).await.unwrap();
    let status = stats.until_consumed(5).await;
    assert_eq!((&status["effects"], &status["duplicates"]), (&json!(5), &json!(0)));
    stats.stop().await;
}

#[tokio::test]
async fn what_can_never_work_is_refused_at_once_with_a_hint() {
    let directory = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", directory.path().join("a.db").display());
    let refused = async |database: &str, broker: &str| {
        let bound = bind(App::Stats, ConsumerArgs::on(database, broker)).await;
        bound.err().expect("it is refused")
    };
    let error = refused("mysql://u:geheim@h/d", "embedded:b.db").await;
    assert!(matches!(error, ConsumerError::DatabaseUrl { .. }), "{error}");
    assert!(!error.to_string().contains("geheim") && error.to_string().contains("hint"), "{error}");
    let error = refused(&database, "kafka://u:geheim@h").await;
    assert!(matches!(error, ConsumerError::BrokerUrl { .. }), "{error}");
    assert!(!format!("{error:?}").contains("geheim") && error.to_string().contains("hint"));
    let error = refused("sqlite:/absent/folder/a.db", "embedded:b.db").await;
    assert!(error.to_string().contains("writable"), "{error}");
}
