//! Faults at random in the whole chain while the emission moves to and fro: a legacy that publishes, a service with an
//! outbox on MariaDB, two relays, two forwarders, RabbitMQ, and two consumers with an inbox on Postgres.
//!
//! Nothing is lost, nothing comes of the side that does not own, the order of each aggregate is kept, and every event has
//! its effect once in each consumer. The small run is always done. The whole one, about eight minutes:
//! `cargo test -p banyan-outbox --test suite chaos::a_hundred_thousand -- --ignored --nocapture`.
//! `BANYAN_TEST_SEED=N` repeats the choices of a run.

mod actor;
mod script;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use banyan_cutover::{Fence, FenceState};
use banyan_domain::{Epoch, Side};
use banyan_events::broker::{self, ExchangeKind, QueueOptions, Topology};
use banyan_events::forwarder::{self, status};
use banyan_outbox::fence::{self, Order, OwnerRow};
use banyan_test_servers::{RabbitMq, or_skip, rabbitmq};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::{MySql, Postgres};

use self::actor::{ConsumerSetup, RelaySetup};
use self::script::{Expected, Script};
use self::wire::Wire;
use crate::replica::{Replica, Setup, tell_owner};
use crate::world::{World, context};

const CONSUMERS: [&str; 2] = ["push-notifications", "stats"];

/// How much of everything.
pub(super) struct Plan {
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
        events: 400,
        ownerships: 3,
        rate: 250,
        faults: 8,
        broker_kill_every: 6,
        pause_ms: 900,
    };
    run(plan).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: cargo test -p banyan-outbox --test suite chaos::a_hundred -- --ignored --nocapture"]
async fn a_hundred_thousand_events_survive_a_hundred_faults() {
    let plan = Plan {
        events: 20_000,
        ownerships: 5,
        rate: 500,
        faults: 150,
        broker_kill_every: 20,
        pause_ms: 1_500,
    };
    run(plan).await;
}

async fn run(plan: Plan) {
    let Some(service) = World::mariadb().await else { return };
    let Some(consumers) = World::postgres().await else { return };
    let node = or_skip(tokio::task::spawn_blocking(rabbitmq).await.unwrap());
    let Some(node) = node else { return };
    let seed = std::env::var("BANYAN_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    println!("BANYAN_TEST_SEED={seed}");
    let mut chain = Chain::new(node, service, consumers).await;
    let stop = Arc::new(AtomicBool::new(false));
    let pool = chain.service.pool.clone();
    let script = Script::new(chain.setup.clone(), &chain.url, pool).await;
    let script = tokio::spawn(script.play(plan.events, plan.ownerships, plan.rate, stop.clone()));
    let faults = chain.torment(&plan, &stop, StdRng::seed_from_u64(seed)).await;
    let expected = script.await.unwrap();
    for consumer in CONSUMERS {
        chain.until_quiet(consumer, expected.public.len()).await;
        let repeats =
            check(&expected, &chain.effects(consumer).await, &chain.repeats(consumer).await);
        println!("{consumer}: each of {} once, {repeats} delivered again", expected.public.len());
    }
    let state = status(&chain.setup.config()).await.unwrap();
    println!(
        "{} public events, {} others, {} late, {} dup at the source; {} faults: {faults:?}",
        expected.public.len(),
        expected.others,
        state.contexts[0].late,
        state.contexts[0].dup,
        faults.values().sum::<usize>(),
    );
}

/// A process with its wires.
struct Actor {
    process: Replica,
    wires: Vec<Wire>,
    start: Box<dyn Fn() -> Replica + Send>,
}

impl Actor {
    fn new(wires: Vec<Wire>, start: impl Fn() -> Replica + Send + 'static) -> Self {
        Self { process: start(), wires, start: Box::new(start) }
    }

    fn kill(&mut self) {
        self.process.kill();
        self.process = (self.start)();
    }

    async fn freeze(&self, length: Duration) {
        self.process.signal("STOP");
        tokio::time::sleep(length).await;
        self.process.signal("CONT");
    }

    fn cut(&self) {
        self.wires.iter().for_each(Wire::cut);
    }
}

struct Chain {
    node: RabbitMq,
    url: String,
    setup: Setup,
    service: World<MySql>,
    consumers: World<Postgres>,
    /// Two forwarders, two relays, two consumers.
    actors: Vec<(&'static str, Actor)>,
    _directory: tempfile::TempDir,
}

impl Chain {
    async fn new(mut node: RabbitMq, service: World<MySql>, consumers: World<Postgres>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = node.fresh_url();
        let port = node.server().port();
        prepare(&service, &consumers).await;
        declare(&url).await;
        tell_owner(directory.path(), Side::Legacy, 1);
        let setup = Setup {
            raw_url: url.clone(),
            public_url: url.clone(),
            directory: directory.path().to_owned(),
            lease_ms: 1_000,
            classic: true,
        };
        let first = (Side::Legacy, Epoch(1));
        forwarder::acted_on(&setup.config(), &context("messages"), first).await.unwrap();
        let mut actors = Vec::new();
        for _ in 0..2 {
            let (wire, through) = wired(&url, port).await;
            let setup = Setup { raw_url: through.clone(), public_url: through, ..setup.clone() };
            actors.push(("forwarder", Actor::new(vec![wire], move || Replica::start(&setup))));
            let (wire, broker) = wired(&url, port).await;
            let (second, database) = wired(&service.url, port_of(&service.url)).await;
            let setup = RelaySetup { database, broker };
            actors.push(("relay", Actor::new(vec![wire, second], move || setup.start())));
        }
        for name in CONSUMERS {
            let (wire, broker) = wired(&url, port).await;
            let (second, database) = wired(&consumers.url, port_of(&consumers.url)).await;
            let setup = ConsumerSetup { name: name.to_owned(), database, broker };
            actors.push(("consumer", Actor::new(vec![wire, second], move || setup.start())));
        }
        Self { node, url, setup, service, consumers, actors, _directory: directory }
    }

    /// Does faults until the script is over and there were enough of them; leaves everything whole.
    async fn torment(
        &mut self,
        plan: &Plan,
        over: &AtomicBool,
        mut random: StdRng,
    ) -> BTreeMap<String, usize> {
        let mut done: BTreeMap<String, usize> = BTreeMap::new();
        let mut count = 0;
        while count < plan.faults || !over.load(Ordering::SeqCst) {
            let pause = random.random_range(plan.pause_ms / 4..plan.pause_ms);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            count += 1;
            let length = Duration::from_millis(random.random_range(50..2_500));
            let victim = random.random_range(0..self.actors.len() + 1);
            let kind = random.random_range(0..3);
            let name = if count % plan.broker_kill_every == 0 {
                self.node.server().kill();
                self.node.server().start_again().unwrap();
                "broker killed".to_owned()
            } else if let Some((name, actor)) = self.actors.get_mut(victim) {
                let what = match kind {
                    0 => {
                        actor.kill();
                        "killed"
                    }
                    1 => {
                        actor.freeze(length).await;
                        "frozen"
                    }
                    _ => {
                        actor.cut();
                        "cut off"
                    }
                };
                format!("{name} {what}")
            } else {
                self.node.server().signal("STOP");
                tokio::time::sleep(length.min(Duration::from_secs(1))).await;
                self.node.server().signal("CONT");
                "broker frozen".to_owned()
            };
            *done.entry(name).or_default() += 1;
        }
        done
    }

    /// Until a consumer had as many effects as there must be, and then no more for a while.
    async fn until_quiet(&self, consumer: &str, wanted: usize) {
        let give_up = Instant::now() + Duration::from_mins(3);
        while self.effects(consumer).await.len() < wanted && Instant::now() < give_up {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }

    /// In the order in which they happened.
    async fn effects(&self, consumer: &str) -> Vec<(String, Vec<u8>)> {
        let sql = "SELECT event_id, body FROM effects WHERE consumer = $1 ORDER BY seq";
        sqlx::query_as(sql).bind(consumer).fetch_all(&self.consumers.pool).await.unwrap()
    }

    async fn repeats(&self, consumer: &str) -> Vec<(String, Vec<u8>)> {
        let sql = "SELECT event_id, body FROM repeats WHERE consumer = $1";
        sqlx::query_as(sql).bind(consumer).fetch_all(&self.consumers.pool).await.unwrap()
    }
}

async fn prepare(service: &World<MySql>, consumers: &World<Postgres>) {
    for table in ["effects", "repeats"] {
        let sql = format!(
            "CREATE TABLE {table} (seq BIGSERIAL PRIMARY KEY, consumer TEXT, event_id TEXT, body BYTEA)"
        );
        consumers.run(&sql).await;
    }
    let fence = Fence::new(FenceState::Shut, Epoch(1));
    let row =
        OwnerRow { context: context("messages"), side: Side::New, fence, order: Order::Subject };
    let mut tx = service.pool.begin().await.unwrap();
    fence::enrol(&mut tx, &row).await.unwrap();
    tx.commit().await.unwrap();
}

async fn declare(url: &str) {
    let classic = QueueOptions::default().classic();
    let mut topology = Topology::new()
        .exchange("semantic-events", ExchangeKind::Topic)
        .exchange("raw.legacy", ExchangeKind::Topic)
        .exchange("raw.new", ExchangeKind::Topic)
        .queue("f.legacy", classic)
        .queue("f.new", classic)
        .bind("f.legacy", "raw.legacy", "#")
        .bind("f.new", "raw.new", "#");
    for consumer in CONSUMERS {
        topology = topology.queue(consumer, classic).bind(consumer, "semantic-events", "#");
    }
    broker::connect(url).await.unwrap().declare(&topology).await.unwrap();
}

/// A wire to a server, and its URL through the wire.
async fn wired(url: &str, port: u16) -> (Wire, String) {
    let wire = Wire::to(port).await;
    let through = url.replace(&format!(":{port}/"), &format!(":{}/", wire.port));
    (wire, through)
}

fn port_of(url: &str) -> u16 {
    let (_, rest) = url.rsplit_once(':').unwrap();
    rest.split('/').next().unwrap().parse().unwrap()
}

/// Answers how many deliveries were repetitions.
fn check(
    expected: &Expected,
    effects: &[(String, Vec<u8>)],
    repeats: &[(String, Vec<u8>)],
) -> usize {
    let seen: BTreeSet<&str> = effects.iter().map(|(id, _)| id.as_str()).collect();
    let lost: Vec<_> =
        expected.public.keys().filter(|id| !seen.contains(id.as_str())).take(5).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    let strange: Vec<_> =
        seen.iter().filter(|id| !expected.public.contains_key(**id)).take(5).collect();
    assert!(strange.is_empty(), "of the side that did not own: {strange:?}");
    assert_eq!(seen.len(), effects.len(), "an event had its effect twice");
    let bodies: BTreeMap<&str, &[u8]> =
        effects.iter().map(|(id, body)| (id.as_str(), body.as_slice())).collect();
    for (id, body) in repeats {
        assert_eq!(bodies.get(id.as_str()), Some(&body.as_slice()), "same id, another event: {id}");
    }
    let mut last: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    let mut ownership = 0;
    for (id, _) in effects {
        let (of, aggregate, number) = expected.public[id];
        assert!(of >= ownership, "{id} comes after an event of the next owner");
        ownership = of;
        let before = last.insert(aggregate, (of, number));
        assert!(before < Some((of, number)), "order of aggregate {aggregate}: {id}");
    }
    repeats.len()
}
