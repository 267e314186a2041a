//! Two forwarders, real processes: never both publish, the other takes over in time, and a frozen one that wakes up
//! publishes nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use banyan_domain::Side;
use banyan_events::broker::{Consumer, ExchangeKind, QueueOptions, Topology};
use banyan_events::forwarder::{RunState, status};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio_util::sync::CancellationToken;

use crate::replica::{Replica, Setup, tell_owner};
use crate::stage::event;
use crate::world::{Place, number};

/// What is promised.
const FAILOVER_MAX: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn replicas_on_one_virtual_host_fail_over_and_never_both_publish() {
    let Some(place) = Place::rabbitmq().await else { return };
    fail_over(&place, &place.url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_between_two_virtual_hosts_fail_over_and_never_both_publish() {
    let Some(raw) = Place::rabbitmq().await else { return };
    let Some(public) = Place::rabbitmq().await else { return };
    fail_over(&raw, &public.url).await;
}

/// What the consumer of the public exchange saw.
#[derive(Default)]
struct Seen {
    numbers: Vec<usize>,
    distinct: BTreeSet<usize>,
}

impl Seen {
    /// Reads until `until` is there; answers how long it took.
    async fn read_to(&mut self, push: &mut Box<dyn Consumer>, until: usize) -> Duration {
        let began = Instant::now();
        while !self.distinct.contains(&until) {
            let left = Duration::from_secs(40).saturating_sub(began.elapsed());
            let delivery = tokio::time::timeout(left, push.next()).await.expect("it goes on");
            let delivery = delivery.unwrap();
            self.numbers.push(number(&delivery));
            self.distinct.insert(number(&delivery));
            push.ack_through(delivery.tag).await.unwrap();
        }
        began.elapsed()
    }

    fn repeated(&self) -> usize {
        self.numbers.len() - self.distinct.len()
    }
}

async fn fail_over(raw: &Place, public_url: &str) {
    let setup = Setup {
        raw_url: raw.url.clone(),
        public_url: public_url.to_owned(),
        directory: raw.directory.path().to_owned(),
        lease_ms: 6_000,
        classic: true,
    };
    tell_owner(&setup.directory, Side::Legacy, 1);
    let public = banyan_events::broker::connect(public_url).await.unwrap();
    let topology = Topology::new()
        .exchange("semantic-events", ExchangeKind::Topic)
        .queue("push", QueueOptions::default().classic())
        .bind("push", "semantic-events", "#");
    public.declare(&topology).await.unwrap();
    let mut push = public.consume("push", 500).await.unwrap();
    let first = Replica::start(&setup);
    until_running(&setup).await;
    let mut second = Replica::start(&setup);

    // 200 events a second until told to stop; answers how many were published.
    let stop = CancellationToken::new();
    let broker = raw.connect().await;
    let stopping = stop.clone();
    let published = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = published.clone();
    let publisher = tokio::spawn(async move {
        let mut next = 0;
        while !stopping.is_cancelled() {
            broker
                .publish_all((next..next + 4).map(|id| event("raw.legacy", id)).collect())
                .await
                .unwrap();
            next += 4;
            counter.store(next, std::sync::atomic::Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        next
    });
    let now = || published.load(std::sync::atomic::Ordering::SeqCst);
    let mut seen = Seen::default();
    seen.read_to(&mut push, 400).await;

    freeze_between_transactions(&first, &setup).await;
    let frozen_at = now();
    let failover = seen.read_to(&mut push, frozen_at + 40).await;
    println!("frozen leader: the other publishes after {failover:?}");
    assert!(failover < FAILOVER_MAX, "{failover:?}");
    let repeated_at_failover = seen.repeated();
    first.signal("CONT");
    // Three seconds for the woken one to do harm.
    seen.read_to(&mut push, now() + 600).await;
    assert_eq!(seen.repeated(), repeated_at_failover, "the woken leader publishes nothing");

    second.kill();
    let failover = seen.read_to(&mut push, now() + 40).await;
    println!("killed leader: the other publishes after {failover:?}");
    assert!(failover < FAILOVER_MAX, "{failover:?}");
    stop.cancel();
    let total = publisher.await.unwrap();
    seen.read_to(&mut push, total - 1).await;

    assert_eq!(seen.distinct.len(), total, "nothing is lost");
    let mut firsts = BTreeSet::new();
    let order: Vec<_> = seen.numbers.iter().filter(|id| firsts.insert(**id)).collect();
    assert!(order.is_sorted(), "the order of the raw queue");
    println!("{total} events, {} sent twice with the same id at two failovers", seen.repeated());
}

/// Frozen in the middle of a transaction, it would hold the lock of the store's file until it is killed or wakes up, and
/// nobody could take over: that is SQLite's way, and said in the README.
async fn freeze_between_transactions(replica: &Replica, setup: &Setup) {
    let database = setup.directory.join("forwarder.db");
    let options =
        SqliteConnectOptions::new().filename(&database).busy_timeout(Duration::from_millis(1));
    let mut conn = options.connect().await.unwrap();
    loop {
        replica.signal("STOP");
        if let Ok(tx) = conn.begin_with("BEGIN IMMEDIATE").await {
            tx.rollback().await.unwrap();
            return;
        }
        replica.signal("CONT");
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
}

async fn until_running(setup: &Setup) {
    let give_up = Instant::now() + Duration::from_secs(30);
    loop {
        let found = status(&setup.config()).await.unwrap();
        if found.state == RunState::Running {
            return;
        }
        assert!(Instant::now() < give_up, "{found:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
