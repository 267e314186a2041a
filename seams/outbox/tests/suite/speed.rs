//! How fast the relay is. Run by hand: see the README.
#![expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "it prints rates for people")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use banyan_events::broker::{
    Broker, ExchangeKind, Headers, Message, QueueOptions, Topology, connect,
};
use banyan_outbox::fence::Order;
use banyan_outbox::{Engine, Relay, RelayConfig, emit};
use banyan_test_servers::{or_skip, rabbitmq};

use crate::relay::Running;
use crate::world::{World, begin_write, event};

const ROWS: usize = 20_000;
const SUBJECTS: usize = 5_000;

struct Case {
    name: &'static str,
    order: Order,
    window_per_lane: u16,
}

async fn measure<DB: Engine>(case: &Case, world: World<DB>, broker: Arc<dyn Broker>) {
    let rows =
        if case.window_per_lane == 1 && case.order == Order::Context { ROWS / 10 } else { ROWS };
    let world = world.owned(case.order).await;
    let began = Instant::now();
    for chunk in (0..rows).collect::<Vec<_>>().chunks(1_000) {
        let mut tx = world.pool.begin_with(begin_write::<DB>()).await.unwrap();
        for number in chunk {
            let event = event(number % SUBJECTS, *number).data("application/json", body(*number));
            emit(&mut tx, &event).await.unwrap();
        }
        tx.commit().await.unwrap();
    }
    let emitted = began.elapsed();
    let topology = Topology::new()
        .exchange("raw", ExchangeKind::Topic)
        .queue("q", QueueOptions::default())
        .bind("q", "raw", "#");
    broker.declare(&topology).await.unwrap();
    let plain = publish_plainly(&broker, rows).await;
    let began = Instant::now();
    let config = RelayConfig { window_per_lane: case.window_per_lane, ..RelayConfig::new("raw") };
    let relay = Running::start(Relay::new(world.outbox.clone(), broker.clone(), config));
    world.until_empty().await;
    let relayed = began.elapsed();
    relay.stop().await;
    assert_eq!(world.rows_in("sent").await, i64::try_from(rows).unwrap());
    let rate = |elapsed: Duration| rows as f64 / elapsed.as_secs_f64();
    println!(
        "{:20} {:7} window {:2}: emitted {:5.0}/s, relayed {:5.0} rows/s, {:3.0} % of a plain publisher's {:5.0}/s",
        case.name,
        case.order.as_str(),
        case.window_per_lane,
        rate(emitted),
        rate(relayed),
        100.0 * rate(relayed) / rate(plain),
        rate(plain)
    );
    broker.close().await;
}

/// The limit: as many messages of the same size, published from memory.
async fn publish_plainly(broker: &Arc<dyn Broker>, rows: usize) -> Duration {
    let owner = r#"{"cloudEvents_id":{"text":"0190b6a3-7f3e-7c2e-8f27-d1e6b1b0a001"}}"#;
    let headers: Headers = serde_json::from_str(owner).unwrap();
    let message = |number| {
        let mut message = Message::new("raw", "plain", body(number)).persistent();
        message.properties.headers = Some(headers.clone());
        message
    };
    let began = Instant::now();
    for chunk in (0..rows).collect::<Vec<_>>().chunks(1_000) {
        broker.publish_all(chunk.iter().map(|number| message(*number)).collect()).await.unwrap();
    }
    began.elapsed()
}

fn body(number: usize) -> Vec<u8> {
    format!("{{\"id\":{number},\"body\":\"{}\"}}", "x".repeat(200)).into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn relay_throughput() {
    let node = or_skip(tokio::task::spawn_blocking(rabbitmq).await.unwrap()).unwrap();
    for (order, window_per_lane) in [(Order::Subject, 1), (Order::Context, 1), (Order::Context, 64)]
    {
        let case = |name| Case { name, order, window_per_lane };
        let amqp = async || connect(&node.fresh_url()).await.unwrap();
        let world = World::mariadb().await.unwrap();
        measure(&case("MariaDB to RabbitMQ"), world, amqp().await).await;
        let world = World::postgres().await.unwrap();
        measure(&case("Postgres to RabbitMQ"), world, amqp().await).await;
        let world = World::sqlite().await.unwrap();
        let url = format!("embedded:{}", world.directory.path().join("broker.db").display());
        measure(&case("SQLite to embedded"), world, connect(&url).await.unwrap()).await;
    }
}
