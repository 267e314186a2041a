//! How fast the forwarder is beside the same consumer and publisher without decisions.
//!
//! `cargo test -p banyan-events --test suite speed:: -- --ignored --nocapture`

use std::time::{Duration, Instant};

use banyan_domain::Side;
use banyan_events::broker::{Broker, ExchangeKind, Message, QueueOptions, Topology};
use banyan_events::forwarder::{Forwarder, ForwarderConfig, PublicPlace, RawPlace};

use crate::stage::{Running, SetOwners, messages};
use crate::world::Place;

const EVENTS: usize = 40_000;
const BODY_BYTES: usize = 512;
const ROUNDS: usize = 3;
const PREFETCH: u16 = 500;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: -- --ignored --nocapture speed::"]
async fn the_forwarder_beside_a_plain_consumer_and_publisher() {
    let Some(place) = Place::rabbitmq().await else { return };
    let topology = Topology::new()
        .exchange("raw", ExchangeKind::Topic)
        .exchange("public", ExchangeKind::Topic)
        .queue("f.legacy", QueueOptions::default().classic())
        .queue("push", QueueOptions::default().classic())
        .bind("f.legacy", "raw", "#")
        .bind("push", "public", "#");
    let broker = place.with(&topology).await;
    let (mut plain, mut forwarded) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        fill(&*broker, round * 2).await;
        plain.push(plainly(&*broker).await);
        empty(&*broker).await;
        fill(&*broker, round * 2 + 1).await;
        forwarded.push(through_forwarder(&place, &*broker).await);
        empty(&*broker).await;
    }
    let (plain, forwarded) = (median(plain), median(forwarded));
    let share = forwarded * 100 / plain;
    println!("{EVENTS} events of {BODY_BYTES} bytes, median of {ROUNDS} rounds, with confirms:");
    println!("plain {plain}/s, forwarder {forwarded}/s, {share} %");
    assert!(forwarded > 0);
}

fn median(mut rates: Vec<usize>) -> usize {
    println!("{rates:?}");
    rates.sort_unstable();
    rates[rates.len() / 2]
}

fn rate(began: Instant) -> usize {
    usize::try_from(EVENTS as u128 * 1_000 / began.elapsed().as_millis().max(1)).unwrap()
}

async fn fill(broker: &dyn Broker, round: usize) {
    let event = |id: usize| {
        Message::new("raw", "message.sent", vec![b'x'; BODY_BYTES])
            .persistent()
            .message_id(format!("m-{round}-{id}"))
    };
    broker.publish_all((0..EVENTS).map(event).collect()).await.unwrap();
}

async fn empty(broker: &dyn Broker) {
    let mut push = broker.consume("push", 1_000).await.unwrap();
    let mut left = EVENTS;
    while left > 0 {
        let batch = push.next_batch(1_000).await.unwrap();
        left = left.saturating_sub(batch.len());
        push.ack_through(batch.last().unwrap().tag).await.unwrap();
    }
}

/// Consume, publish with confirms, acknowledge; no store.
async fn plainly(broker: &dyn Broker) -> usize {
    let mut consumer = broker.consume("f.legacy", PREFETCH).await.unwrap();
    let began = Instant::now();
    let mut left = EVENTS;
    while left > 0 {
        let batch = consumer.next_batch(usize::from(PREFETCH)).await.unwrap();
        left -= batch.len();
        let tag = batch.last().unwrap().tag;
        let out = batch.into_iter().map(|delivery| {
            let mut message = delivery.message;
            "public".clone_into(&mut message.exchange);
            message
        });
        consumer.publish_all(out.collect()).await.unwrap();
        consumer.ack_through(tag).await.unwrap();
    }
    rate(began)
}

async fn through_forwarder(place: &Place, broker: &dyn Broker) -> usize {
    let database = place.directory.path().join("forwarder.db");
    let mut raw = RawPlace::new(&place.url, "raw", "f.legacy");
    raw.queue_options = QueueOptions::default().classic();
    let public = PublicPlace::new(&place.url, "public");
    let mut config = ForwarderConfig::new("speed", database, public)
        .raw(Side::Legacy, raw)
        .context(messages(), &["message.*"]);
    config.prefetch = PREFETCH;
    let began = Instant::now();
    let forwarder = Forwarder::open(config, SetOwners::new(Side::Legacy)).await.unwrap();
    let running = Running::start(forwarder);
    while broker.depth("push").await.unwrap() < EVENTS as u64 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let rate = rate(began);
    running.stop().await;
    rate
}
