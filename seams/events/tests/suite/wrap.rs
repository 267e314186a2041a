//! Wrap and unwrap of a live exchange: no message lost, none doubled, also when the run crashes at any step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use banyan_domain::Side;
use banyan_events::broker::{self, Broker, ExchangeKind, Message, QueueOptions, Topology};
use banyan_events::doctor::{self, Level};
use banyan_events::forwarder::{Forwarder, ForwarderConfig, Insertion, PublicPlace, RawPlace};
use banyan_events::wrap::{self, Known, WrapPause, WrapStep};
use banyan_test_servers::{RabbitMq, or_skip, rabbitmq_with_management};
use tokio::sync::OnceCell;

use crate::stage::{Running, SetOwners, messages};
use crate::world::{SOON, next, number};

static SHARED: OnceCell<Option<RabbitMq>> = OnceCell::const_new();

/// A broker with the management API: its URL, and one of a virtual host.
async fn place() -> Option<(String, String)> {
    let start =
        || async { or_skip(tokio::task::spawn_blocking(rabbitmq_with_management).await.unwrap()) };
    let server = SHARED.get_or_init(start).await.as_ref()?;
    Some((server.management_url().unwrap(), server.fresh_url()))
}

fn config(url: &str, directory: &tempfile::TempDir) -> ForwarderConfig {
    let public = PublicPlace::new(url, "live.public");
    let mut raw = RawPlace::new(url, "live", "banyan.raw");
    raw.queue_options = raw.queue_options.classic();
    let mut config = ForwarderConfig::new("wrap", directory.path().join("forwarder.db"), public)
        .raw(Side::Legacy, raw)
        .context(messages(), &["message.*"]);
    config.insertion = Insertion::Wrap;
    config.lease = Duration::from_secs(2);
    config
}

/// The monolith's exchange with two consumers, one of them bound twice.
async fn live(url: &str) -> Arc<dyn Broker> {
    let broker = broker::connect(url).await.unwrap();
    let topology = Topology::new()
        .exchange("live", ExchangeKind::Topic)
        .queue("push", QueueOptions::shared().classic())
        .queue("stats", QueueOptions::shared().classic())
        .bind("push", "live", "message.*")
        .bind("push", "live", "#.sent")
        .bind("stats", "live", "#");
    broker.declare(&topology).await.unwrap();
    broker
}

/// Publishes without ids, some bodies twice, until told to stop.
struct Monolith {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<usize>,
}

impl Monolith {
    fn start(url: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopping, url) = (stop.clone(), url.to_owned());
        let task = tokio::spawn(async move {
            let broker = broker::connect(&url).await.unwrap();
            let mut count = 0;
            while !stopping.load(Ordering::SeqCst) {
                let batch = (count..count + 5).map(|id| {
                    Message::new("live", "message.sent", id.to_string().into_bytes()).persistent()
                });
                broker.publish_all(batch.collect()).await.unwrap();
                count += 5;
                tokio::time::sleep(Duration::from_millis(4)).await;
            }
            count
        });
        Self { stop, task }
    }

    async fn stop(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.unwrap()
    }
}

/// Dies before one step.
struct DieBefore {
    left: AtomicUsize,
    died: tokio::sync::Notify,
}

#[async_trait]
impl WrapPause for DieBefore {
    async fn before(&self, _step: &WrapStep) {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 0 {
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

struct NoPause;

#[async_trait]
impl WrapPause for NoPause {
    async fn before(&self, _step: &WrapStep) {}
}

type Planner = fn(&ForwarderConfig, &Known) -> Result<Vec<WrapStep>, wrap::WrapError>;

/// Does a plan; once it is started and dies before each of its steps in turn.
async fn with_crashes(config: &ForwarderConfig, management: &str, plan: Planner) {
    let owners = SetOwners::new(Side::Legacy);
    let known = wrap::look(config, management).await.unwrap();
    let steps = plan(config, &known).unwrap();
    assert!(steps.len() > 5, "{steps:?}");
    for victim in 1..steps.len() {
        let known = wrap::look(config, management).await.unwrap();
        let steps = plan(config, &known).unwrap();
        if victim >= steps.len() {
            break;
        }
        let dying = DieBefore { left: AtomicUsize::new(victim), died: tokio::sync::Notify::new() };
        tokio::select! {
            done = wrap::run(config, &steps, owners.clone(), &dying) => panic!("{victim}: {done:?}"),
            () = dying.died.notified() => {}
        }
    }
    let known = wrap::look(config, management).await.unwrap();
    let steps = plan(config, &known).unwrap();
    wrap::run(config, &steps, owners, &NoPause).await.unwrap();
    let known = wrap::look(config, management).await.unwrap();
    assert_eq!(plan(config, &known).unwrap(), [], "nothing is left to do");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_exchange_is_wrapped_and_unwrapped_without_loss_or_doubles() {
    let Some((management, url)) = place().await else { return };
    let directory = tempfile::tempdir().unwrap();
    let broker = live(&url).await;
    let config = config(&url, &directory);
    let monolith = Monolith::start(&url);

    let known = wrap::look(&config, &management).await.unwrap();
    let steps = wrap::wrap_plan(&config, &known).unwrap();
    let owners = SetOwners::new(Side::Legacy);
    wrap::run(&config, &steps, owners.clone(), &NoPause).await.unwrap();
    let known = wrap::look(&config, &management).await.unwrap();
    assert_eq!(wrap::wrap_plan(&config, &known).unwrap(), [], "wrapped");
    let forwarder = Forwarder::open(config.clone(), owners.clone()).await.unwrap();
    let running = Running::start(forwarder);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let findings = doctor::examine(&config, Some(&management)).await.unwrap();
    assert!(findings.iter().all(|found| found.level == Level::Ok), "{findings:#?}");

    let refused = wrap::run(&config, &[], owners.clone(), &NoPause).await.unwrap_err();
    assert!(refused.to_string().contains("a forwarder is running"), "{refused}");
    running.stop().await;
    let steps = wrap::unwrap_plan(&config, &known).unwrap();
    wrap::run(&config, &steps, owners, &NoPause).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let total = monolith.stop().await;
    each_once(&broker, total).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrap_that_dies_at_any_step_loses_and_doubles_nothing() {
    let Some((management, url)) = place().await else { return };
    let directory = tempfile::tempdir().unwrap();
    let broker = live(&url).await;
    let config = config(&url, &directory);
    let monolith = Monolith::start(&url);
    with_crashes(&config, &management, wrap::wrap_plan).await;
    let owners = SetOwners::new(Side::Legacy);
    let running = Running::start(Forwarder::open(config.clone(), owners).await.unwrap());
    tokio::time::sleep(Duration::from_secs(1)).await;
    running.stop().await;
    with_crashes(&config, &management, wrap::unwrap_plan).await;
    let total = monolith.stop().await;
    each_once(&broker, total).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_a_consumer_that_went_round_the_forwarder() {
    let Some((management, url)) = place().await else { return };
    let directory = tempfile::tempdir().unwrap();
    live(&url).await;
    let config = config(&url, &directory);
    let findings = doctor::examine(&config, Some(&management)).await.unwrap();
    let of = |check: &str, level: Level| {
        findings.iter().filter(|found| found.check == check && found.level == level).count()
    };
    assert_eq!(of("bypass", Level::Fail), 3, "{findings:#?}");
    assert_eq!(of("queue", Level::Fail), 1, "the raw queue is not there yet");
    assert!(findings.iter().any(|f| f.found.contains("`stats` hangs on `live`")), "{findings:#?}");
    let blind = doctor::examine(&config, None).await.unwrap();
    assert_eq!(blind.iter().filter(|found| found.level == Level::Unknown).count(), 2);
}

/// Both consumers have every message exactly once.
async fn each_once(broker: &Arc<dyn Broker>, total: usize) {
    assert!(total > 200, "{total}");
    for queue in ["push", "stats"] {
        let mut consumer = broker.consume(queue, 1_000).await.unwrap();
        let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
        let give_up = std::time::Instant::now() + SOON;
        while seen.len() < total && std::time::Instant::now() < give_up {
            let delivery = next(&mut consumer).await;
            *seen.entry(number(&delivery)).or_default() += 1;
            consumer.ack_through(delivery.tag).await.unwrap();
        }
        while let Ok(delivery) =
            tokio::time::timeout(Duration::from_millis(500), consumer.next()).await
        {
            *seen.entry(number(&delivery.unwrap())).or_default() += 1;
        }
        let doubled: Vec<_> = seen.iter().filter(|(_, times)| **times > 1).take(5).collect();
        assert!(doubled.is_empty(), "{queue}: {doubled:?}");
        assert_eq!(seen.len(), total, "{queue}: all of them");
        println!("{queue}: {total} messages, each once");
    }
}
