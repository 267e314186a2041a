//! Operating a job: slots of several schedulers, orders to a running worker, throttling.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use banyan_sync_jobs::{
    Clock, Job, JobState, LagQuery, Missed, Operate, Overlap, Pause, PausePoint, Ports, RunMode,
    RunOutcome, Schedule, ScheduleRules, Scheduler, Side, SideThrottle, SlotEvent, SlotWatch,
    Throttle,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use world::{World, assert_equal, eventually, number, recording, run};

const MINUTE: i64 = 60_000;
/// A moment that is no slot.
const START: i64 = 1_777_000_030_000;

/// A clock that a test moves; waiting is short.
struct Simulated(AtomicI64);

#[async_trait]
impl Clock for Simulated {
    fn now_ms(&self) -> Option<i64> {
        Some(self.0.load(Ordering::SeqCst))
    }

    async fn sleep(&self, _wait: Duration) {
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// What all schedulers did, in order.
#[derive(Default)]
struct Seen(Mutex<Vec<SlotEvent>>);

impl SlotWatch for Seen {
    fn saw(&self, event: SlotEvent) {
        self.0.lock().unwrap().push(event);
    }
}

impl Seen {
    fn events(&self) -> Vec<SlotEvent> {
        self.0.lock().unwrap().clone()
    }

    fn claimed(&self) -> Vec<i64> {
        let events = self.events();
        let claimed = events.iter().filter_map(|event| match event {
            SlotEvent::Claimed { slot_ms, .. } => Some(*slot_ms),
            SlotEvent::TakenUp { .. } | SlotEvent::Passed { .. } | SlotEvent::Ended { .. } => None,
        });
        claimed.collect()
    }

    fn ended(&self) -> Vec<i64> {
        let events = self.events();
        let ended = events.iter().filter_map(|event| match event {
            SlotEvent::Ended { slot_ms, error } => {
                assert_eq!(*error, None);
                Some(*slot_ms)
            }
            SlotEvent::TakenUp { .. } | SlotEvent::Passed { .. } | SlotEvent::Claimed { .. } => {
                None
            }
        });
        ended.collect()
    }

    fn passed(&self) -> usize {
        let events = self.events();
        let passed = events.iter().map(|event| match event {
            SlotEvent::Passed { passed, .. } => passed.count,
            SlotEvent::Claimed { folded, .. } => folded.map_or(0, |folded| folded.count),
            SlotEvent::TakenUp { .. } | SlotEvent::Ended { .. } => 0,
        });
        passed.sum()
    }
}

fn every_minute(missed: Missed, overlap: Overlap) -> Operate {
    let rules = ScheduleRules { missed, overlap, ..ScheduleRules::default() };
    Operate {
        schedule: Some(Schedule::new("people", "* * * * *", "UTC", rules).unwrap()),
        ..Operate::default()
    }
}

/// The job `people`, run by slots only.
fn scheduled(world: &World, operate: Operate, ports: Ports) -> Job {
    let mut spec = world::spec(world::SQLITE, "people");
    spec.follow = false;
    world.job_of(spec, ports).operated_by(operate)
}

struct Started {
    task: JoinHandle<()>,
    cancel: CancellationToken,
}

fn start(job: &Job, clock: &Arc<Simulated>, seen: &Arc<Seen>) -> Started {
    let scheduler = Scheduler::new(job).unwrap();
    let scheduler = scheduler.with_clock(Arc::<Simulated>::clone(clock));
    let scheduler = scheduler.watched_by(Arc::<Seen>::clone(seen));
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    Started { task: tokio::spawn(async move { scheduler.run(stop).await }), cancel }
}

impl Started {
    async fn stop(self) {
        self.cancel.cancel();
        self.task.await.unwrap();
    }
}

fn seed() -> u64 {
    std::env::var("BANYAN_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(2014)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_schedulers_one_runs_each_of_two_hundred_slots_and_none_is_lost() {
    let seed = seed();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let world = World::seeded(5, 10).await;
    let clock = Arc::new(Simulated(AtomicI64::new(START)));
    let seen = Arc::new(Seen::default());
    let job = scheduled(&world, every_minute(Missed::All, Overlap::Queue), Ports::default());
    job.install().await.unwrap();
    let schedulers = [start(&job, &clock, &seen), start(&job, &clock, &seen)];
    let mut new = world.connect(Side::New).await;
    eventually(Duration::from_secs(20), async || {
        number(&mut new, "SELECT count(*) FROM by_slot").await == 1
    })
    .await;
    let mut slots = 0;
    while slots < 200 {
        // Mostly one slot, sometimes several at once: they queue.
        let step: i64 = if random.random_range(0..5) == 0 { random.random_range(2..6) } else { 1 };
        clock.0.fetch_add(step * MINUTE, Ordering::SeqCst);
        slots += step;
        let due = usize::try_from(slots).unwrap();
        eventually(Duration::from_mins(1), async || seen.ended().len() + seen.passed() >= due)
            .await;
    }
    for scheduler in schedulers {
        scheduler.stop().await;
    }
    let first = START - START.rem_euclid(MINUTE) + MINUTE;
    let all: Vec<i64> = (0..slots).map(|n| first + n * MINUTE).collect();
    assert_eq!(seen.claimed(), all, "each slot once, in order (seed {seed})");
    assert_eq!(seen.ended(), all);
    assert_eq!(seen.passed(), 0, "within the policy nothing is dropped");
    assert_eq!(number(&mut new, "SELECT runs FROM by_slot").await, slots);
    assert_equal(&job).await;
}

/// Holds the first run that gets here for ever, as a killed process would.
struct DieOnce(AtomicBool);

#[async_trait]
impl Pause for DieOnce {
    async fn reach(&self, point: PausePoint) {
        if point == PausePoint::BeforeListDone && !self.0.swap(true, Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_of_a_scheduler_that_died_is_taken_up_after_its_claim_and_finished_once() {
    let world = World::seeded(5, 10).await;
    let clock = Arc::new(Simulated(AtomicI64::new(START)));
    let (dead, alive) = (Arc::new(Seen::default()), Arc::new(Seen::default()));
    let pause = Arc::new(DieOnce(AtomicBool::new(false)));
    let ports = Ports { pause, ..Ports::default() };
    let job = scheduled(&world, every_minute(Missed::Skip, Overlap::Forbid), ports);
    job.install().await.unwrap();
    let first = start(&job, &clock, &dead);
    let mut new = world.connect(Side::New).await;
    eventually(Duration::from_secs(20), async || {
        number(&mut new, "SELECT count(*) FROM by_slot").await == 1
    })
    .await;
    clock.0.fetch_add(MINUTE, Ordering::SeqCst);
    eventually(Duration::from_secs(20), async || {
        number(&mut new, "SELECT count(*) FROM by_state WHERE phase = 'list'").await == 1
            && !dead.claimed().is_empty()
            && number(&mut new, "SELECT count(*) FROM by_copy").await > 0
    })
    .await;
    let slot = dead.claimed()[0];
    // The process is gone: nothing is given back.
    first.task.abort();
    let second = start(&job, &clock, &alive);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(alive.events(), [], "the claim and the job's lease are respected");
    clock.0.fetch_add(MINUTE / 2, Ordering::SeqCst);
    eventually(Duration::from_secs(20), async || alive.ended() == [slot]).await;
    assert_eq!(alive.events().first(), Some(&SlotEvent::TakenUp { slot_ms: slot }));
    assert_eq!(number(&mut new, "SELECT runs FROM by_slot").await, 1, "one run, taken up");
    clock.0.fetch_add(MINUTE, Ordering::SeqCst);
    eventually(Duration::from_secs(20), async || alive.ended().len() == 2).await;
    second.stop().await;
    assert_equal(&job).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_does_the_sweep_itself_and_its_watermark_goes_on_meanwhile() {
    let world = World::seeded(60, 10).await;
    let clock = Arc::new(Simulated(AtomicI64::new(START)));
    let seen = Arc::new(Seen::default());
    let (recorder, ports) = recording();
    let mut spec = world::spec(world::SQLITE, "people");
    spec.limits.keys_per_chunk = 5;
    spec.limits.keys_per_chunk_max = 5;
    let job = world.job_of(spec, ports);
    job.install().await.unwrap();
    job.run(RunMode::Once, CancellationToken::new()).await.unwrap();
    recorder.watermarks.lock().unwrap().clear();
    // The sweep of sixty roots takes six seconds.
    let throttle = Throttle { rows_per_second: Some(10), ..Throttle::default() };
    let operate = Operate { throttle, ..every_minute(Missed::One, Overlap::Forbid) };
    let job = job.operated_by(operate);
    // What no trigger saw: only a sweep finds it.
    let mut new = world.connect(Side::New).await;
    run(&mut new, "UPDATE people SET username = 'drifted' WHERE id = 7").await;
    run(&mut new, "INSERT INTO people (id, permalink, username) VALUES (900, 'x', 'ghost')").await;

    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let follower = tokio::spawn({
        let job = job.clone();
        async move { job.run(RunMode::Follow, stop).await }
    });
    let scheduler = start(&job, &clock, &seen);
    eventually(Duration::from_secs(20), async || {
        number(&mut new, "SELECT count(*) FROM by_slot").await == 1
    })
    .await;
    clock.0.fetch_add(MINUTE, Ordering::SeqCst);
    eventually(Duration::from_secs(40), async || seen.ended().len() == 1).await;
    let swept = recorder.events.lock().unwrap().iter().any(|e| e.state == JobState::Copying);
    assert!(swept, "the follower copied");
    let lags: Vec<i64> = recorder.watermarks.lock().unwrap().iter().map(|w| w.lag_ms).collect();
    let known = lags.iter().skip_while(|lag| **lag < 0);
    assert!(known.clone().count() > 5);
    assert!(known.clone().all(|lag| (0..4_000).contains(lag)), "{lags:?}");
    let ghosts = "SELECT count(*) FROM people WHERE username IN ('drifted', 'ghost')";
    assert_eq!(number(&mut new, ghosts).await, 0);
    scheduler.stop().await;
    cancel.cancel();
    assert_eq!(follower.await.unwrap().unwrap().outcome, RunOutcome::Stopped);
    assert_equal(&job).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_holds_the_worker_with_its_reason_and_its_lease_and_survives_a_restart() {
    let world = World::seeded(20, 100).await;
    let (recorder, ports) = recording();
    let job = world.job("people", ports);
    job.install().await.unwrap();
    job.run(RunMode::Once, CancellationToken::new()).await.unwrap();
    job.pause("ada", "peak hour").await.unwrap();
    let cancel = CancellationToken::new();
    let follow = || {
        let (job, cancel) = (job.clone(), cancel.clone());
        tokio::spawn(async move { job.run(RunMode::Follow, cancel).await })
    };
    let follower = follow();
    let mut legacy = world.connect(Side::Legacy).await;
    run(&mut legacy, "UPDATE users SET username = 'late' WHERE id = 3").await;
    let waits = || {
        recorder.last_watermark().is_some_and(|mark| {
            mark.state == JobState::Waiting
                && mark.reason.as_deref() == Some("paused by ada: peak hour")
        })
    };
    eventually(Duration::from_secs(10), async || waits()).await;
    // Longer than the lease: it is renewed, so nobody takes it.
    let mut new = world.connect(Side::New).await;
    let epoch = number(&mut new, "SELECT lease_epoch FROM by_state WHERE job = 'people'").await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let status = job.status().await.unwrap();
    assert!(status.worker.is_some() && status.orders.paused, "{status:?}");
    let sql = "SELECT lease_epoch FROM by_state WHERE job = 'people'";
    assert_eq!(number(&mut new, sql).await, epoch);
    let late = "SELECT count(*) FROM people WHERE username = 'late'";
    assert_eq!(number(&mut new, late).await, 0);
    // A restart changes nothing.
    follower.abort();
    drop(follower.await);
    let follower = follow();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    eventually(Duration::from_secs(10), async || waits()).await;
    assert_eq!(number(&mut new, late).await, 0);

    job.resume("ada", "").await.unwrap();
    eventually(Duration::from_secs(5), async || number(&mut new, late).await == 1).await;
    cancel.cancel();
    follower.await.unwrap().unwrap();
    assert_equal(&job).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_per_second_hold_the_copy_and_not_the_drain_and_an_order_changes_them() {
    let world = World::seeded(400, 10).await;
    let (recorder, ports) = recording();
    let throttle = Throttle { rows_per_second: Some(40), ..Throttle::default() };
    let operate = Operate { throttle, ..Operate::default() };
    let job = world.job("people", ports).operated_by(operate);
    job.install().await.unwrap();
    let started = Instant::now();
    let cancel = CancellationToken::new();
    let runner = tokio::spawn({
        let (job, cancel) = (job.clone(), cancel.clone());
        async move { job.run(RunMode::Once, cancel).await }
    });
    let mut new = world.connect(Side::New).await;
    let copied = "SELECT count(*) FROM people";
    eventually(Duration::from_secs(10), async || number(&mut new, copied).await > 0).await;
    // A change of the root that is copied last arrives long before its turn.
    let mut legacy = world.connect(Side::Legacy).await;
    run(&mut legacy, "UPDATE users SET username = 'early' WHERE id = 99").await;
    let early = "SELECT count(*) FROM people WHERE username = 'early'";
    eventually(Duration::from_secs(3), async || number(&mut new, early).await == 1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let done = number(&mut new, copied).await;
    let allowed = 40.0 * started.elapsed().as_secs_f64() + 15.0;
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let within = (done as f64) < allowed;
    assert!(within && done > 20, "{done} rows, {allowed} allowed");
    let reasons: BTreeMap<String, usize> =
        recorder.events.lock().unwrap().iter().fold(BTreeMap::new(), |mut seen, event| {
            *seen.entry(event.reason.clone().unwrap_or_default()).or_default() += 1;
            seen
        });
    assert!(reasons.contains_key("40 rows/s reached"), "{reasons:?}");

    job.throttle(Some(1_000_000), "ada", "night").await.unwrap();
    eventually(Duration::from_secs(5), async || runner.is_finished()).await;
    assert_eq!(runner.await.unwrap().unwrap().outcome, RunOutcome::Done);
    assert_eq!(job.status().await.unwrap().orders.rows_per_second, Some(1_000_000));
    assert_eq!(job.throttle(None, "ada", "").await.unwrap().rows_per_second, None);
    assert_equal(&job).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replica_lag_and_a_pause_file_hold_the_copy_and_what_cannot_be_measured_too() {
    let world = World::seeded(50, 10).await;
    let mut legacy = world.connect(Side::Legacy).await;
    run(&mut legacy, "CREATE TABLE heartbeat (lag REAL); INSERT INTO heartbeat VALUES (7.5)").await;
    let (recorder, ports) = recording();
    let pause_file = world.dir.path().join("stop");
    let lag = LagQuery {
        query: "SELECT lag FROM heartbeat".to_owned(),
        max: Duration::from_secs(5),
        replica: None,
    };
    let side = SideThrottle { side: Side::Legacy, lag: Some(lag), running_max: None };
    let throttle =
        Throttle { pause_file: Some(pause_file.clone()), sides: vec![side], ..Throttle::default() };
    let job = world.job("people", ports).operated_by(Operate { throttle, ..Operate::default() });
    job.install().await.unwrap();
    let cancel = CancellationToken::new();
    let runner = tokio::spawn({
        let (job, cancel) = (job.clone(), cancel.clone());
        async move { job.run(RunMode::Once, cancel).await }
    });
    let says = async |reason: &str| {
        eventually(Duration::from_secs(10), async || {
            let mark = recorder.last_watermark();
            mark.is_some_and(|mark| {
                mark.state == JobState::Waiting && mark.reason.is_some_and(|r| r.contains(reason))
            })
        })
        .await;
    };
    says("legacy replica lag 7.5 s > 5.0 s").await;
    run(&mut legacy, "UPDATE heartbeat SET lag = NULL").await;
    says("legacy replica lag is unknown: the query gives no number").await;
    std::fs::write(&pause_file, "").unwrap();
    says("pause file").await;
    run(&mut legacy, "UPDATE heartbeat SET lag = 0.1").await;
    let mut new = world.connect(Side::New).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(number(&mut new, "SELECT count(*) FROM people").await, 0);
    std::fs::remove_file(&pause_file).unwrap();
    assert_eq!(runner.await.unwrap().unwrap().outcome, RunOutcome::Done);
    assert_equal(&job).await;
}

#[tokio::test]
async fn install_adds_the_tables_of_a_newer_version_and_compares_nothing_again() {
    let world = World::seeded(5, 10).await;
    let job = world.job("people", Ports::default());
    job.install().await.unwrap();
    job.run(RunMode::Once, CancellationToken::new()).await.unwrap();
    let mut new = world.connect(Side::New).await;
    run(&mut new, "DROP TABLE by_control; DROP TABLE by_slot; DROP TABLE by_cache").await;
    // An older installation goes on; only an order needs the table.
    job.run(RunMode::Once, CancellationToken::new()).await.unwrap();
    let refused = job.pause("ada", "").await.unwrap_err().to_string();
    assert!(refused.contains("table `by_control`"), "{refused}");
    let made = job.install().await.unwrap().made;
    assert_eq!(made.len(), 1, "{made:?}");
    assert_eq!(job.status().await.unwrap().phase, "drain");
    job.pause("ada", "").await.unwrap();
    job.uninstall(true).await.unwrap();
    assert_eq!(number(&mut new, "SELECT count(*) FROM by_control").await, 0);
}
