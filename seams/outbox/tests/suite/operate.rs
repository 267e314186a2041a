//! What operators see and do by the database's address alone.

use banyan_outbox::fence::Order;
use banyan_outbox::{Engine, OutboxError, Which, ddl, open};

use crate::world::{World, context, event, on_every_engine};

on_every_engine!(an_outbox_is_operated_by_the_address_of_its_database);

async fn an_outbox_is_operated_by_the_address_of_its_database<DB: Engine>(world: World<DB>) {
    let world = world.owned(Order::Subject).await;
    world.enrol("tracks", Order::Context).await;
    world.emit(&event(1, 1)).await;
    world.emit(&event(1, 2)).await;
    world.emit(&event(2, 3)).await;
    world.run("UPDATE banyan_outbox SET state = 'dead', attempts = 9 WHERE subject = 's1'").await;
    world
        .run("UPDATE banyan_outbox SET created_at_ms = created_at_ms - 60000 WHERE subject = 's2'")
        .await;
    let outbox = open(&world.url).await.unwrap();
    let status = outbox.status().await.unwrap();
    assert!(status.relays.is_empty() && !status.is_well(), "nobody relays");
    let [messages, tracks] = status.contexts.as_slice() else { panic!("{status:?}") };
    assert_eq!((messages.ready, messages.waiting, messages.dead), (1, 0, 2));
    assert!((60_000..90_000).contains(&messages.lag_ms), "{}", messages.lag_ms);
    assert_eq!((&*messages.side, messages.fence, messages.epoch), ("new", "open", 1));
    assert_eq!((messages.lost, tracks.lost, tracks.lag_ms), (None, Some(0), 0));

    let dead = outbox.dead(1).await.unwrap();
    assert_eq!((dead.len(), dead[0].attempts, dead[0].epoch), (1, 9, 1));
    assert_eq!(outbox.retry(&Which::Context(context("tracks"))).await.unwrap(), 0);
    assert_eq!(outbox.retry(&Which::Context(context("messages"))).await.unwrap(), 2);
    assert_eq!(world.rows_in("waiting").await, 2);
    world.run("DROP TABLE banyan_relay").await;
    assert!(outbox.status().await.unwrap_err().is_absent());
}

#[tokio::test]
async fn an_address_of_another_kind_is_refused_and_an_absent_database_says_so() {
    assert!(matches!(open("oracle:x").await.err(), Some(OutboxError::Url)));
    let error = open("mysql://root:hush@127.0.0.1:1/x").await.err().unwrap();
    assert!(matches!(error, OutboxError::Database { .. }), "{error}");
    assert!(!error.to_string().contains("hush"));
}

#[test]
fn every_dialect_has_every_table() {
    use banyan_outbox::Dialect;
    for dialect in [Dialect::MySql, Dialect::Postgres, Dialect::Sqlite] {
        let text = ddl(dialect).join(";");
        for table in ["owner", "outbox", "outbox_counter", "relay", "inbox", "inbox_epoch"] {
            let create = format!("CREATE TABLE IF NOT EXISTS banyan_{table} (");
            assert!(text.contains(&create), "{table} of {}", dialect.as_str());
        }
    }
}
