//! Threads become conversations and back, in each pair of engines, while applications write and workers are killed.
//!
//! `BANYAN_MESSAGES=200000 BANYAN_KILLS=200 cargo test -p banyan-sync-jobs --test two_way pairs -- --nocapture
//! --test-threads 1` is the long form; `BANYAN_TEST_SEED` repeats a run.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use banyan_sync_jobs::{Job, Pause, PausePoint, Ports, RunMode, Side, VerifyOptions};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::child;
use crate::db::{Client, Db, Sides};
use crate::tables;
use crate::writers::{self, Ids};

macro_rules! pairs {
    ($($name:ident: $legacy:ident -> $new:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                there_and_back(Db::$legacy, Db::$new).await;
            }
        )*
    };
}

pairs!(
    sqlite_sqlite: Sqlite -> Sqlite,
    sqlite_mariadb: Sqlite -> Maria,
    sqlite_postgres: Sqlite -> Postgres,
    mariadb_sqlite: Maria -> Sqlite,
    mariadb_mariadb: Maria -> Maria,
    mariadb_postgres: Maria -> Postgres,
    postgres_sqlite: Postgres -> Sqlite,
    postgres_mariadb: Postgres -> Maria,
    postgres_postgres: Postgres -> Postgres,
);

/// Milliseconds that a worker lives at most, and how many more per thousand messages, so that it comes to copy before it dies.
const LIFE_MS: u64 = 1_500;
const LIFE_MS_PER_1000: u64 = 25;
/// Longest time that an owner keeps the context.
const TURN_MAX: Duration = Duration::from_mins(15);

fn from_env<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn there_and_back(legacy: Db, new: Db) {
    let Some(sides) = Sides::make(legacy, new).await else { return };
    let seed = from_env("BANYAN_TEST_SEED", rand::random());
    let messages: u32 = from_env("BANYAN_MESSAGES", 400);
    let kills: usize = from_env("BANYAN_KILLS", 12);
    println!("{legacy:?} -> {new:?}: {messages} messages, {kills} kills, seed {seed}");
    let users = (messages / 20).clamp(12, 3_000);
    let mut client = sides.on_legacy().await;
    client.run(&tables::legacy(legacy)).await;
    for sql in tables::seed(legacy, users, messages) {
        client.run(&sql).await;
    }
    sides.on_new().await.run(&tables::new(new)).await;
    for to in [Side::New, Side::Legacy] {
        job(&sides, to, Ports::default()).install().await.unwrap();
    }
    let mut ids = Ids::new(seed, i64::from(messages), i64::from(users));
    // Twice each: the second turn finds what the way back made.
    for (turn, owner) in [Side::Legacy, Side::New, Side::Legacy, Side::New].into_iter().enumerate()
    {
        let of_turn = kills.div_ceil(4);
        let seed = seed ^ (turn as u64) << 8;
        // A turn ends.
        let life_ms = LIFE_MS + u64::from(messages) * LIFE_MS_PER_1000 / 1_000;
        let turn = own(&sides, owner, ids, (of_turn, life_ms), seed);
        ids = tokio::time::timeout(TURN_MAX, turn).await.unwrap();
        both_sides_agree(&sides, owner, seed).await;
    }
}

/// One side owns the context and writes, workers carry it over and are killed, until all is carried.
async fn own(
    sides: &Sides,
    owner: Side,
    ids: Ids,
    (kills, life_ms): (usize, u64),
    seed: u64,
) -> Ids {
    let stop = CancellationToken::new();
    let client = match owner {
        Side::Legacy => sides.on_legacy().await,
        Side::New => sides.on_new().await,
    };
    let writer = tokio::spawn(write(client, owner, ids, stop.clone()));
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut killed, mut phases) = (0, [0; 3]);
    for _ in 0..kills {
        let points = rng.random_range(1..40);
        let longest = Duration::from_millis(rng.random_range(20..life_ms));
        killed += usize::from(dies(sides, owner.other(), points, longest).await);
        let phase = end_lease(sides, owner.other()).await;
        phases[phase.min(2)] += 1;
    }
    stop.cancel();
    let ids = writer.await.unwrap();
    let job = job(sides, owner.other(), Ports::default());
    job.run(RunMode::Once, CancellationToken::new()).await.unwrap();
    println!(
        "  {owner:?} wrote up to message {}, {killed} of {kills} killed at a point; while listing, copying, following: {phases:?}",
        ids.message
    );
    ids
}

async fn write(mut client: Client, owner: Side, mut ids: Ids, stop: CancellationToken) -> Ids {
    while !stop.is_cancelled() {
        match owner {
            Side::Legacy => writers::legacy(&mut client, &mut ids).await,
            Side::New => writers::new(&mut client, &mut ids).await,
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    ids
}

/// Nothing is lost, resurrected or echoed: both mappings hold, and no mark is left on either side.
async fn both_sides_agree(sides: &Sides, owner: Side, seed: u64) {
    for to in [owner.other(), owner] {
        let report =
            job(sides, to, Ports::default()).verify(VerifyOptions::default()).await.unwrap();
        assert!(report.is_clean(), "toward {to:?}, owner {owner:?}, seed {seed}: {report:#?}");
    }
    for mut client in [sides.on_legacy().await, sides.on_new().await] {
        let marks = client.number("SELECT COUNT(*) FROM by_change").await;
        assert_eq!(marks, 0, "no echo, owner {owner:?}, seed {seed}");
    }
    let again = job(sides, owner.other(), Ports::default());
    let again = again.run(RunMode::Once, CancellationToken::new()).await.unwrap();
    assert_eq!(again.counters.rows(), 0, "seed {seed}");
    let mut target = match owner {
        Side::Legacy => sides.on_new().await,
        Side::New => sides.on_legacy().await,
    };
    assert_eq!(target.number("SELECT COUNT(*) FROM by_conflict").await, 0, "seed {seed}");
}

fn job(sides: &Sides, to: Side, ports: Ports) -> Job {
    Job::open_toward(tables::spec(sides.legacy), sides.urls.clone(), ports, to).unwrap()
}

/// A killed worker's lease ends by time; the test does not wait for it. Gives how far the job is: 0 list, 1 copy, 2 drain.
async fn end_lease(sides: &Sides, on: Side) -> usize {
    let mut client = match on {
        Side::Legacy => sides.on_legacy().await,
        Side::New => sides.on_new().await,
    };
    client.transaction(&["UPDATE by_state SET lease_expires_ms = 0".to_owned()]).await;
    let sql = format!(
        "SELECT COUNT(CASE WHEN phase <> 'list' THEN 1 END) + COUNT(CASE WHEN phase = 'drain' THEN 1 END) \
         FROM by_state WHERE direction = '{}'",
        on.as_str()
    );
    usize::try_from(client.number(&sql).await).unwrap()
}

const POINTS: &str = "BANYAN_PAIR_POINTS";

/// A worker is a process; SIGKILL ends it at its n-th named point, or at any moment before. Answers whether it was at the point.
async fn dies(sides: &Sides, to: Side, points: usize, longest: Duration) -> bool {
    let mut worker = Command::from(child::command("pairs", &sides.urls, to));
    worker.env(POINTS, points.to_string()).stdout(Stdio::null()).kill_on_drop(true);
    let mut worker = worker.spawn().unwrap();
    let ended = tokio::time::timeout(longest, worker.wait()).await;
    let at_point = ended.is_ok();
    if !at_point {
        worker.start_kill().unwrap();
    }
    let status = worker.wait().await.unwrap();
    assert_eq!(status.signal(), Some(9), "it runs until it is killed");
    at_point
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs only as a child process of another test"]
async fn child_follows() {
    let Some((db, urls, to)) = child::work() else { return };
    let left = std::env::var(POINTS).unwrap().parse::<usize>().unwrap().into();
    let ports = Ports { pause: Arc::new(KillAt { left }), ..Ports::default() };
    let job = Job::open_toward(tables::spec(db), urls, ports, to).unwrap();
    job.run(RunMode::Follow, CancellationToken::new()).await.unwrap();
}

/// Ends the process at the n-th point that the run comes to.
struct KillAt {
    left: AtomicUsize,
}

#[async_trait]
impl Pause for KillAt {
    async fn reach(&self, _point: PausePoint) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            let me = std::process::id().to_string();
            Command::new("kill").args(["-KILL", &me]).status().await.unwrap();
            std::future::pending::<()>().await;
        }
    }
}
