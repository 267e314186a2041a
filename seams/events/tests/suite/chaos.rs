//! Faults at random while the emission moves to and fro: nothing lost, nothing of the side that does not own, the order
//! of each aggregate kept, duplicates only with the same id.
//!
//! The small run is always done. The whole one, about four minutes:
//! `cargo test -p banyan-events --test suite chaos::a_hundred_thousand -- --ignored --nocapture`.
//! `BANYAN_TEST_SEED=N` repeats the choices of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use banyan_domain::{Epoch, Side};
use banyan_events::broker::{
    self, Broker, Consumer, ExchangeKind, Message, QueueOptions, Topology,
};
use banyan_events::forwarder::{self, Marker, MarkerKind, status};
use banyan_test_servers::{RabbitMq, or_skip, rabbitmq};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::replica::{Replica, Setup, Wire, tell_owner};
use crate::stage::messages;

const AGGREGATES: usize = 50;

/// How much of everything.
struct Plan {
    /// Public events per ownership.
    events: usize,
    /// Ownerships: legacy, new, legacy, ..
    ownerships: usize,
    /// Events per second of the owner; the other side sends a fifth of it.
    rate: usize,
    /// Least faults.
    faults: usize,
    /// Every so many faults the broker is killed.
    broker_kill_every: usize,
    /// Longest pause between two faults, in ms.
    pause_ms: u64,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_faults_lose_nothing_while_the_emission_moves() {
    let plan = Plan {
        events: 1_000,
        ownerships: 3,
        rate: 250,
        faults: 6,
        broker_kill_every: 5,
        pause_ms: 900,
    };
    run(plan).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: -- --ignored --nocapture chaos::a_hundred"]
async fn a_hundred_thousand_events_survive_a_hundred_faults() {
    let plan = Plan {
        events: 20_000,
        ownerships: 5,
        rate: 500,
        faults: 120,
        broker_kill_every: 20,
        pause_ms: 1_200,
    };
    run(plan).await;
}

async fn run(plan: Plan) {
    let Some(server) = or_skip(tokio::task::spawn_blocking(rabbitmq).await.unwrap()) else {
        return;
    };
    let seed = std::env::var("BANYAN_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    println!("BANYAN_TEST_SEED={seed}");
    let mut world = World::new(server).await;
    let stop = Arc::new(AtomicBool::new(false));
    let script =
        tokio::spawn(script(world.setup.clone(), world.url.clone(), plan.sizes(), stop.clone()));
    let faults = world.torment(&plan, &stop, StdRng::seed_from_u64(seed)).await;
    let expected = script.await.unwrap();
    let found = world.read_public(&expected).await;
    let late = status(&world.setup.config()).await.unwrap();
    println!(
        "{} public events, {} others, {faults:?}, {} sent twice with the same id, {} late, {} dup at the source",
        expected.public.len(),
        expected.others,
        found.len() - expected.public.len(),
        late.contexts[0].late,
        late.contexts[0].dup,
    );
    check(&expected, &found);
}

impl Plan {
    fn sizes(&self) -> (usize, usize, usize) {
        (self.events, self.ownerships, self.rate)
    }
}

/// Broker, two replicas with a wire each.
struct World {
    server: RabbitMq,
    url: String,
    setup: Setup,
    wires: Vec<Wire>,
    setups: Vec<Setup>,
    replicas: Vec<Replica>,
    _directory: tempfile::TempDir,
}

impl World {
    async fn new(mut server: RabbitMq) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = server.fresh_url();
        let port = server.server().port();
        tell_owner(directory.path(), Side::Legacy, 1);
        let setup = Setup {
            raw_url: url.clone(),
            public_url: url.clone(),
            directory: directory.path().to_owned(),
            lease_ms: 1_000,
            classic: true,
        };
        let broker = broker::connect(&url).await.unwrap();
        let topology = Topology::new()
            .exchange("semantic-events", ExchangeKind::Topic)
            .exchange("raw.legacy", ExchangeKind::Topic)
            .exchange("raw.new", ExchangeKind::Topic)
            .queue("f.legacy", QueueOptions::default().classic())
            .queue("f.new", QueueOptions::default().classic())
            .queue("push", QueueOptions::default().classic())
            .bind("f.legacy", "raw.legacy", "#")
            .bind("f.new", "raw.new", "#")
            .bind("push", "semantic-events", "#");
        broker.declare(&topology).await.unwrap();
        forwarder::acted_on(&setup.config(), &messages(), (Side::Legacy, Epoch(1))).await.unwrap();
        let (mut wires, mut setups) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let wire = Wire::to(port).await;
            let through = url.replace(&format!(":{port}/"), &format!(":{}/", wire.port));
            setups.push(Setup { raw_url: through.clone(), public_url: through, ..setup.clone() });
            wires.push(wire);
        }
        let replicas = setups.iter().map(Replica::start).collect();
        Self { server, url, setup, wires, setups, replicas, _directory: directory }
    }

    /// Does faults until the script is over and there were enough of them; leaves everything whole.
    async fn torment(
        &mut self,
        plan: &Plan,
        over: &AtomicBool,
        mut random: StdRng,
    ) -> BTreeMap<&'static str, usize> {
        let mut done: BTreeMap<&str, usize> = BTreeMap::new();
        let mut count = 0;
        while count < plan.faults || !over.load(Ordering::SeqCst) {
            let pause = random.random_range(plan.pause_ms / 4..plan.pause_ms);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            count += 1;
            let victim = random.random_range(0..2_usize);
            let length = Duration::from_millis(random.random_range(50..2_500));
            let kind =
                if count % plan.broker_kill_every == 0 { 4 } else { random.random_range(0..4) };
            let name = match kind {
                0 => {
                    self.replicas[victim].kill();
                    self.replicas[victim] = Replica::start(&self.setups[victim]);
                    "forwarder killed"
                }
                1 => {
                    self.replicas[victim].signal("STOP");
                    tokio::time::sleep(length).await;
                    self.replicas[victim].signal("CONT");
                    "forwarder frozen"
                }
                2 => {
                    self.wires[victim].cut();
                    "connection cut"
                }
                3 => {
                    self.server.server().signal("STOP");
                    tokio::time::sleep(length.min(Duration::from_secs(1))).await;
                    self.server.server().signal("CONT");
                    "broker frozen"
                }
                _ => {
                    self.server.server().kill();
                    self.server.server().start_again().unwrap();
                    "broker killed"
                }
            };
            *done.entry(name).or_default() += 1;
        }
        done
    }

    /// Everything public, in order, once the forwarder has nothing left.
    async fn read_public(&self, expected: &Expected) -> Vec<Seen> {
        let broker = broker::connect(&self.url).await.unwrap();
        let mut push = broker.consume("push", 1_000).await.unwrap();
        let mut found = Vec::new();
        let mut missing: BTreeSet<&str> = expected.public.keys().map(String::as_str).collect();
        let give_up = Instant::now() + Duration::from_mins(2);
        while !missing.is_empty() {
            let left = give_up.saturating_duration_since(Instant::now());
            let Ok(batch) = tokio::time::timeout(left, push.next_batch(500)).await else { break };
            take(&mut push, batch.unwrap(), &mut found, &mut missing).await;
        }
        // And what comes although it should not.
        while let Ok(batch) =
            tokio::time::timeout(Duration::from_secs(3), push.next_batch(500)).await
        {
            take(&mut push, batch.unwrap(), &mut found, &mut missing).await;
        }
        found
    }
}

async fn take(
    push: &mut Box<dyn Consumer>,
    batch: Vec<broker::Delivery>,
    found: &mut Vec<Seen>,
    missing: &mut BTreeSet<&str>,
) {
    push.ack_through(batch.last().unwrap().tag).await.unwrap();
    for delivery in batch {
        let id = delivery.message.properties.message_id.clone().unwrap();
        missing.remove(id.as_str());
        found.push(Seen { id, body: delivery.message.body });
    }
}

struct Seen {
    id: String,
    body: Vec<u8>,
}

/// What was published by whom.
struct Expected {
    /// Id to ownership, aggregate, and number within the aggregate.
    public: BTreeMap<String, (usize, usize, usize)>,
    others: usize,
}

fn check(expected: &Expected, found: &[Seen]) {
    let seen: BTreeSet<&str> = found.iter().map(|seen| seen.id.as_str()).collect();
    let lost: Vec<_> =
        expected.public.keys().filter(|id| !seen.contains(id.as_str())).take(5).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    let strange: Vec<_> =
        seen.iter().filter(|id| !expected.public.contains_key(**id)).take(5).collect();
    assert!(strange.is_empty(), "of the side that did not own: {strange:?}");
    let mut firsts: BTreeMap<&str, &[u8]> = BTreeMap::new();
    let mut last: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    let mut ownership = 0;
    for event in found {
        if let Some(body) = firsts.insert(&event.id, &event.body) {
            assert_eq!(body, event.body, "the same id, another event: {}", event.id);
            continue;
        }
        let (of, aggregate, number) = expected.public[&event.id];
        assert!(of >= ownership, "{} comes after an event of the next owner", event.id);
        ownership = of;
        let before = last.insert(aggregate, (of, number));
        assert!(before < Some((of, number)), "order of aggregate {aggregate}: {}", event.id);
    }
}

/// Publishes what both sides have to say and moves the emission between them.
async fn script(
    setup: Setup,
    url: String,
    (events, ownerships, rate): (usize, usize, usize),
    over: Arc<AtomicBool>,
) -> Expected {
    let broker = broker::connect(&url).await.unwrap();
    let mut pen = Pen { broker, public: BTreeMap::new(), others: 0, written: 0 };
    let mut owner = Side::Legacy;
    for ownership in 0..ownerships {
        let pause = Duration::from_millis(50);
        let chunk = (rate / 20).max(1);
        for _ in 0..events.div_ceil(chunk) {
            let started = Instant::now();
            pen.write(owner, chunk, Some(ownership)).await;
            pen.write(owner.other(), chunk / 5, None).await;
            tokio::time::sleep(pause.saturating_sub(started.elapsed())).await;
        }
        if ownership + 1 < ownerships {
            let epoch = ownership as u64 + 2;
            put(&setup, owner.other(), MarkerKind::Open, epoch).await;
            tell_owner(&setup.directory, owner.other(), epoch);
            pen.write(owner.other(), 20, Some(ownership + 1)).await;
            pen.write(owner, 20, Some(ownership)).await;
            put(&setup, owner, MarkerKind::Seal, epoch).await;
            owner = owner.other();
        }
    }
    over.store(true, Ordering::SeqCst);
    Expected { public: pen.public, others: pen.others }
}

async fn put(setup: &Setup, side: Side, kind: MarkerKind, epoch: u64) {
    let marker = Marker { kind, context: messages(), epoch: Epoch(epoch) };
    while let Err(error) = forwarder::put(&setup.config(), side, &marker).await {
        println!("{marker} again: {error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Publishes as an emitter with an outbox does: again, with the same ids, until it is confirmed.
struct Pen {
    broker: Arc<dyn Broker>,
    public: BTreeMap<String, (usize, usize, usize)>,
    others: usize,
    written: usize,
}

impl Pen {
    async fn write(&mut self, side: Side, count: usize, ownership: Option<usize>) {
        let mut batch = Vec::with_capacity(count);
        for _ in 0..count {
            self.written += 1;
            let (id, aggregate) = (format!("{side}-{}", self.written), self.written % AGGREGATES);
            let body = format!("{id} of {aggregate}").into_bytes();
            batch.push(
                Message::new(format!("raw.{side}"), "message.sent", body)
                    .persistent()
                    .message_id(&id),
            );
            match ownership {
                Some(ownership) => {
                    self.public.insert(id, (ownership, aggregate, self.written));
                }
                None => self.others += 1,
            }
        }
        let give_up = Instant::now() + Duration::from_mins(2);
        while let Err(error) = self.broker.publish_all(batch.clone()).await {
            assert!(Instant::now() < give_up, "{error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
