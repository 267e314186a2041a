//! The relay on a real RabbitMQ that dies and comes back.

use std::collections::HashMap;
use std::sync::Arc;

use banyan_events::broker::{
    Broker, BrokerError, ExchangeKind, Message, QueueOptions, Topology, connect,
};
use banyan_outbox::fence::Order;
use banyan_outbox::{Engine, Relay, RelayConfig};
use banyan_test_servers::{or_skip, rabbitmq};

use crate::relay::{Running, quick};
use crate::rigged::effects;
use crate::world::{SOON, World};

const SUBJECTS: usize = 20;

pub(crate) fn topology() -> Topology {
    Topology::new()
        .exchange("raw", ExchangeKind::Topic)
        .queue("q", QueueOptions::default().classic())
        .bind("q", "raw", "#")
}

/// Takes everything that is in the queue, through as many consumers as that needs.
pub(crate) async fn drain(broker: &Arc<dyn Broker>, until: usize) -> Vec<Message> {
    let mut taken = Vec::new();
    let all = async {
        let mut consumer = broker.consume("q", 500).await.unwrap();
        while effects(&taken).len() < until {
            let batch = consumer.next_batch(500).await.unwrap();
            consumer.ack_through(batch.last().unwrap().tag).await.unwrap();
            taken.extend(batch.into_iter().map(|delivery| delivery.message));
        }
    };
    let done = tokio::time::timeout(SOON, all).await;
    assert!(done.is_ok(), "{} of {until} came", effects(&taken).len());
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_dies_while_being_published_to_gets_everything_in_order() {
    let Some(world) = World::mariadb().await else { return };
    let Some(mut node) = or_skip(tokio::task::spawn_blocking(rabbitmq).await.unwrap()) else {
        return;
    };
    let world = world.owned(Order::Subject).await;
    let broker = connect(&node.fresh_url()).await.unwrap();
    broker.declare(&topology()).await.unwrap();
    let relay = relay(&world, &broker);
    world.emit_many(0..300, SUBJECTS).await;
    let sent = "SELECT COUNT(*) FROM banyan_outbox WHERE state = 'sent'";
    world.until("some must pass", sent, |count| count >= 100).await;
    node.server().kill();
    world.emit_many(300..600, SUBJECTS).await;
    let node = tokio::task::spawn_blocking(move || {
        node.server().start_again().unwrap();
        node
    });
    let node = node.await.unwrap();
    world.until_empty().await;
    assert_eq!(world.rows_in("dead").await, 0, "an outage kills no row");
    relay.stop().await;
    let taken = drain(&broker, 600).await;
    let mut next: HashMap<String, usize> = HashMap::new();
    for (subject, number) in effects(&taken) {
        let first = subject.trim_start_matches('s').parse().unwrap();
        let wanted = next.entry(subject).or_insert(first);
        assert_eq!(number, *wanted);
        *wanted += SUBJECTS;
    }
    broker.close().await;
    drop(node);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_that_is_absent_makes_rows_dead_with_the_brokers_words() {
    let Some(world) = World::postgres().await else { return };
    let Some(node) = or_skip(tokio::task::spawn_blocking(rabbitmq).await.unwrap()) else { return };
    let world = world.owned(Order::Subject).await;
    let broker = connect(&node.fresh_url()).await.unwrap();
    world.emit_many(0..4, 2).await;
    let relay = relay(&world, &broker);
    let dead = "SELECT COUNT(*) FROM banyan_outbox WHERE state = 'dead'";
    world.until("the first of each subject must be given up", dead, |count| count == 2).await;
    assert_eq!(world.rows_in("ready").await, 2, "their successors wait");
    let error = world.texts("SELECT error FROM banyan_outbox WHERE state = 'dead'").await;
    let said = BrokerError::NoExchange { exchange: "raw".to_owned() }.to_string();
    assert_eq!(error, [said.clone(), said]);
    broker.declare(&topology()).await.unwrap();
    world
        .run("UPDATE banyan_outbox SET state = 'waiting', next_at_ms = 0 WHERE state = 'dead'")
        .await;
    world.until_empty().await;
    relay.stop().await;
    assert_eq!(effects(&drain(&broker, 4).await).len(), 4);
    broker.close().await;
}

fn relay<DB: Engine>(world: &World<DB>, broker: &Arc<dyn Broker>) -> Running {
    let config = RelayConfig { rows_max: 50, ..quick() };
    Running::start(Relay::new(world.outbox.clone(), broker.clone(), config))
}

mod unroutable {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_raw_exchange_without_a_queue_loses_no_row_on_rabbitmq() {
        let Some(node) = or_skip(tokio::task::spawn_blocking(rabbitmq).await.unwrap()) else {
            return;
        };
        without_a_queue(&node.fresh_url()).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_raw_exchange_without_a_queue_loses_no_row_on_the_embedded_broker() {
        let directory = tempfile::tempdir().unwrap();
        without_a_queue(&format!("embedded:{}", directory.path().join("b.db").display())).await;
    }

    /// The relay may be there before the forwarder was ever started.
    async fn without_a_queue(url: &str) {
        let world = World::sqlite().await.unwrap().owned(Order::Subject).await;
        let broker = connect(url).await.unwrap();
        let bare = Topology::new().exchange("raw", ExchangeKind::Topic);
        broker.declare(&bare).await.unwrap();
        world.emit_many(0..4, 2).await;
        let relay = relay(&world, &broker);
        let waiting = "SELECT COUNT(*) FROM banyan_outbox WHERE state = 'waiting' AND attempts > 3";
        world.until("the first of each subject waits", waiting, |count| count == 2).await;
        let error = world.texts("SELECT error FROM banyan_outbox WHERE state = 'waiting'").await;
        assert!(error[0].contains("no queue of exchange `raw` is bound for"), "{error:?}");
        assert_eq!((world.rows_in("ready").await, world.rows_in("sent").await), (2, 0));
        broker.declare(&topology()).await.unwrap();
        world.until_empty().await;
        relay.stop().await;
        assert_eq!((world.rows_in("sent").await, world.rows_in("dead").await), (4, 0));
        assert_eq!(effects(&drain(&broker, 4).await).len(), 4);
        broker.close().await;
    }
}
