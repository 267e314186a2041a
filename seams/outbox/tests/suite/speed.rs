//! How fast the relay is. `cargo test -p banyan-outbox --test suite -- --ignored --nocapture relay_throughput`
#![expect(clippy::cast_precision_loss, reason = "it prints rates for people")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use banyan_domain::{Epoch, Side};
use banyan_events::broker::{Broker, ExchangeKind, QueueOptions, Topology, connect};
use banyan_events::envelope::{CloudEvent, Mode, Stamp};
use banyan_outbox::fence::Order;
use banyan_outbox::{Engine, Relay, RelayConfig, emit};
use banyan_test_servers::{or_skip, rabbitmq};

use crate::relay::Running;
use crate::world::{World, begin_write, context, event};

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
    let (began, cpu) = (Instant::now(), own_cpu());
    let config = RelayConfig { window_per_lane: case.window_per_lane, ..RelayConfig::new("raw") };
    let relay = Running::start(Relay::new(world.outbox.clone(), broker.clone(), config));
    world.until_empty().await;
    let (relayed, cpu) = (began.elapsed(), own_cpu().saturating_sub(cpu));
    relay.stop().await;
    assert_eq!(world.rows_in("sent").await, i64::try_from(rows).unwrap());
    let rate = |elapsed: Duration| rows as f64 / elapsed.as_secs_f64();
    println!(
        "{:20} {:7} window {:2}: emitted {:5.0}/s, relayed {:5.0} rows/s, {:3.0} % of a plain publisher's {:5.0}/s, {:3.0} us of own CPU per row",
        case.name,
        case.order.as_str(),
        case.window_per_lane,
        rate(emitted),
        rate(relayed),
        100.0 * rate(relayed) / rate(plain),
        rate(plain),
        cpu.as_micros() as f64 / rows as f64
    );
    broker.close().await;
}

/// CPU time of this process so far; unlike a rate, it does not depend on what else the machine does.
fn own_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// The limit: as many messages of the same form, published from memory with the same window.
async fn publish_plainly(broker: &Arc<dyn Broker>, rows: usize) -> Duration {
    let message = |number| {
        let stamp = Stamp { context: context("messages"), side: Side::New, epoch: Epoch(1) };
        let id = uuid::Uuid::now_v7();
        let event = CloudEvent::new(id.to_string(), "/messages/new-messages", "message.sent")
            .subject(format!("s{}", number % SUBJECTS))
            .time(chrono::Utc::now())
            .stamp(&stamp)
            .data("application/json", body(number));
        event.to_message(Mode::Binary, "raw", "message.sent").unwrap()
    };
    let messages: Vec<_> = (0..rows).map(message).collect();
    let began = Instant::now();
    for chunk in messages.chunks(1_000) {
        broker.publish_all(chunk.to_vec()).await.unwrap();
    }
    began.elapsed()
}

fn body(number: usize) -> Vec<u8> {
    format!("{{\"id\":{number},\"body\":\"{}\"}}", "x".repeat(200)).into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: -- --ignored --nocapture relay_throughput"]
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
