//! A relay and a consumer in processes of their own.

use std::time::Duration;

use banyan_events::broker;
use banyan_outbox::{EventKey, Inbox, Outbox, Relay, RelayConfig, Seen};
use serde::{Deserialize, Serialize};
use sqlx::{MySql, Pool, Postgres};
use tokio_util::sync::CancellationToken;

use crate::replica::Replica;

const RELAY: &str = "BANYAN_TEST_RELAY";
const CONSUMER: &str = "BANYAN_TEST_CONSUMER";
/// Events in one transaction of a consumer.
const BATCH_MAX: usize = 50;

/// What a relay is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RelaySetup {
    pub(super) database: String,
    pub(super) broker: String,
}

/// What a consumer is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ConsumerSetup {
    /// Its name in the inbox, and its queue.
    pub(super) name: String,
    pub(super) database: String,
    pub(super) broker: String,
}

impl RelaySetup {
    pub(super) fn start(&self) -> Replica {
        let setup = serde_json::to_string(self).unwrap();
        Replica::of("chaos::actor::child_relays", RELAY, &setup)
    }
}

impl ConsumerSetup {
    pub(super) fn start(&self) -> Replica {
        let setup = serde_json::to_string(self).unwrap();
        Replica::of("chaos::actor::child_consumes", CONSUMER, &setup)
    }
}

/// Not a test: what a relay's process does.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs only as a child process of another test"]
async fn child_relays() {
    let Ok(setup) = std::env::var(RELAY) else { return };
    let setup: RelaySetup = serde_json::from_str(&setup).unwrap();
    let pool = Pool::<MySql>::connect_lazy(&setup.database).unwrap();
    let broker = loop {
        match broker::connect(&setup.broker).await {
            Ok(broker) => break broker,
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    let config = RelayConfig {
        lease: Duration::from_secs(1),
        poll: Duration::from_millis(20),
        ..RelayConfig::new("raw.new")
    };
    Relay::new(Outbox::new(pool), broker, config).run(CancellationToken::new()).await;
}

/// Not a test: what a consumer's process does. Any error starts it over; nothing is acknowledged before its commit.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs only as a child process of another test"]
async fn child_consumes() {
    let Ok(setup) = std::env::var(CONSUMER) else { return };
    let setup: ConsumerSetup = serde_json::from_str(&setup).unwrap();
    let pool = Pool::<Postgres>::connect_lazy(&setup.database).unwrap();
    loop {
        drop(consume(&setup, &pool).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn consume(
    setup: &ConsumerSetup,
    pool: &Pool<Postgres>,
) -> Result<(), Box<dyn std::error::Error>> {
    let broker = broker::connect(&setup.broker).await?;
    let inbox = Inbox::new(&setup.name)?;
    let mut consumer = broker.consume(&setup.name, 200).await?;
    loop {
        let batch = consumer.next_batch(BATCH_MAX).await?;
        let mut tx = pool.begin().await?;
        for delivery in &batch {
            let key = EventKey::of(&delivery.message)?.ok_or("an event without an id")?;
            let table = match inbox.once(&mut tx, &key).await? {
                Seen::First => "INSERT INTO effects (consumer, event_id, body) VALUES ($1, $2, $3)",
                Seen::Again => "INSERT INTO repeats (consumer, event_id, body) VALUES ($1, $2, $3)",
            };
            sqlx::query(table)
                .bind(&setup.name)
                .bind(&key.id)
                .bind(&delivery.message.body)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        if let Some(last) = batch.last() {
            consumer.ack_through(last.tag).await?;
        }
    }
}
