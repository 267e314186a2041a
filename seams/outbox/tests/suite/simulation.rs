//! A seeded run with everything at once: many emitters, a moving fence, a faulty broker, relays that are killed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering};

use async_trait::async_trait;
use banyan_cutover::Move;
use banyan_domain::Epoch;
use banyan_outbox::fence::{self, Order};
use banyan_outbox::{Emitted, Engine, Pause, Relay, Step, emit};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::{Mutex, Notify};

use crate::relay::{Running, quick};
use crate::rigged::Rigged;
use crate::world::{World, begin_write, context, event, on_every_engine};

on_every_engine!(
    nothing_is_lost_or_reordered_in_subject_order,
    nothing_is_lost_or_reordered_in_context_order,
);

const SUBJECTS: usize = 5;
/// Events after the last move of the fence. How many there are before it is the machine's matter.
const EVENTS: isize = 80;
const KILLS: usize = 12;

async fn nothing_is_lost_or_reordered_in_subject_order<DB: Engine>(world: World<DB>) {
    run(world.owned(Order::Subject).await).await;
}

async fn nothing_is_lost_or_reordered_in_context_order<DB: Engine>(world: World<DB>) {
    run(world.owned(Order::Context).await).await;
}

async fn run<DB: Engine>(world: World<DB>) {
    let seed =
        std::env::var("BANYAN_TEST_SEED").map_or_else(|_| rand::random(), |s| s.parse().unwrap());
    let (world, broker) = (Arc::new(world), Rigged::chaotic(seed));
    // A leader that is killed leaves its lease to end by itself, so these are short lives.
    let emitting = tokio::spawn(emit_all(world.clone(), seed));
    let mut rng = StdRng::seed_from_u64(seed ^ 1);
    for _ in 0..KILLS {
        let pause = Arc::new(KillAt::new(rng.random_range(1..12)));
        let relay = Relay::new(world.outbox.clone(), Arc::new(broker.clone()), quick());
        let relay = Running::start(relay.with_pause(pause.clone()));
        let wait = std::time::Duration::from_millis(600);
        drop(tokio::time::timeout(wait, pause.reached.notified()).await);
        relay.kill().await;
        world.run("UPDATE banyan_relay SET until_ms = 0").await;
    }
    let ready = emitting.await.unwrap();
    broker.calm();
    let relay = Running::start(Relay::new(world.outbox.clone(), Arc::new(broker.clone()), quick()));
    world.until_empty().await;
    relay.stop().await;
    for (subject, numbers) in &ready {
        assert_eq!(&broker.of_subject(*subject), numbers, "subject {subject}, seed {seed}");
    }
    let total: usize = ready.values().map(Vec::len).sum();
    assert_eq!(broker.effects().len(), total, "nothing muted or rolled back goes out, seed {seed}");
    assert!(total > EVENTS.unsigned_abs() / 2, "{total} events, seed {seed}");
    let lost = world.outbox.status().await.unwrap().contexts[0].lost;
    assert_eq!(lost.unwrap_or(0), 0, "seed {seed}");
}

/// Emits under one lock per subject, as services do, while the fence moves now and then and for [`EVENTS`] more. Answers
/// what is to be published.
async fn emit_all<DB: Engine>(world: Arc<World<DB>>, seed: u64) -> BTreeMap<usize, Vec<usize>> {
    let ready: Arc<Vec<Mutex<Vec<usize>>>> =
        Arc::new((0..SUBJECTS).map(|_| Mutex::default()).collect());
    let (moved, left) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicIsize::new(EVENTS)));
    let mut tasks = tokio::task::JoinSet::new();
    for subject in 0..SUBJECTS {
        let (world, ready) = (world.clone(), ready.clone());
        let (moved, left) = (moved.clone(), left.clone());
        let mut rng = StdRng::seed_from_u64(seed ^ (10 + subject as u64));
        tasks.spawn(async move {
            for number in (subject..).step_by(SUBJECTS) {
                if moved.load(Ordering::Acquire) && left.fetch_sub(1, Ordering::Relaxed) <= 0 {
                    break;
                }
                let mut numbers = ready[subject].lock().await;
                let mut tx = world.pool.begin_with(begin_write::<DB>()).await.unwrap();
                let emitted = emit(&mut tx, &event(subject, number)).await.unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(rng.random_range(0..8))).await;
                if rng.random_bool(0.1) {
                    tx.rollback().await.unwrap();
                    continue;
                }
                tx.commit().await.unwrap();
                if emitted != Emitted::Muted {
                    numbers.push(number);
                }
            }
        });
    }
    let mut rng = StdRng::seed_from_u64(seed ^ 2);
    for epoch in (2..10).step_by(2) {
        for wanted in [Move::Drain(Epoch(epoch)), Move::Open(Epoch(epoch + 1))] {
            tokio::time::sleep(std::time::Duration::from_millis(rng.random_range(20..120))).await;
            let mut tx = world.pool.begin_with(begin_write::<DB>()).await.unwrap();
            fence::change(&mut tx, &context("messages"), wanted).await.unwrap();
            tx.commit().await.unwrap();
        }
    }
    moved.store(true, Ordering::Release);
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let mut all = BTreeMap::new();
    for (subject, numbers) in ready.iter().enumerate() {
        all.insert(subject, numbers.lock().await.clone());
    }
    all
}

/// Says when the relay has come to its n-th step, and keeps it there.
struct KillAt {
    left: AtomicUsize,
    reached: Notify,
}

impl KillAt {
    fn new(steps: usize) -> Self {
        Self { left: steps.into(), reached: Notify::new() }
    }
}

#[async_trait]
impl Pause for KillAt {
    async fn at(&self, _step: Step) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
    }
}
