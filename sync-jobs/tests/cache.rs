//! Cache keys on a real memcached, and the tables of operating on real MariaDB and Postgres.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use banyan_sync_jobs::{
    CacheHook, CacheKey, CaptureEvent, CaptureMode, CaptureSpec, Clock, Engine, Job, JobSpec,
    JobState, KeyShape, Limits, Missed, Operate, Overlap, PartKind, Ports, RootsSpec, Rules,
    RunMode, RunOutcome, Schedule, ScheduleRules, Scheduler, Side, SideThrottle, SideUrls,
    TableSpec, Throttle,
};
use banyan_test_servers::{Server, or_skip};
use sqlx::mysql::MySqlConnectOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection as _, Executor, SqliteConnection};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use world::{Recorder, eventually, recording, run};

/// Notes of users go from the service back to the monolith; the root is the user.
fn notes() -> JobSpec {
    JobSpec {
        name: "notes".to_owned(),
        context: "messages".to_owned(),
        root: "user".to_owned(),
        follow: false,
        mode: CaptureMode::Trigger,
        key: KeyShape::new(":", vec![PartKind::Integer]),
        roots: vec![RootsSpec {
            side: Side::New,
            select: "SELECT DISTINCT user_id AS k FROM notes".to_owned(),
        }],
        captures: vec![CaptureSpec {
            side: Side::New,
            table: "notes".to_owned(),
            key: "{row}.user_id".to_owned(),
            events: CaptureEvent::ALL.to_vec(),
            cursor: None,
        }],
        tables: vec![TableSpec {
            to: Side::Legacy,
            name: "old_notes".to_owned(),
            key: vec!["id".to_owned()],
            root_column: "user_id".to_owned(),
            select: "SELECT id, user_id, body FROM notes WHERE user_id IN ({keys.1})".to_owned(),
            current: None,
            keep: vec![],
            shared: false,
        }],
        limits: Limits { lease_ttl: Duration::from_millis(1_500), ..Limits::default() },
        rules: Rules::default(),
    }
}

/// A service on SQLite and a monolith on one engine.
struct Back {
    dir: TempDir,
    urls: SideUrls,
}

impl Back {
    async fn new(legacy: String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("new.db");
        let new = format!("sqlite:{}", file.display());
        let legacy = match legacy.as_str() {
            "sqlite" => format!("sqlite:{}", dir.path().join("legacy.db").display()),
            _ => legacy,
        };
        let back = Self { dir, urls: SideUrls { legacy, new } };
        let mut new = back.service().await;
        run(&mut new, "CREATE TABLE notes (id INTEGER PRIMARY KEY, user_id BIGINT NOT NULL, body TEXT NOT NULL);
            INSERT INTO notes VALUES (1, 3, 'a'), (2, 3, 'b'), (3, 4, 'c')").await;
        back.legacy("CREATE TABLE old_notes (id BIGINT PRIMARY KEY, user_id BIGINT NOT NULL, body VARCHAR(200) NOT NULL)")
            .await;
        back
    }

    async fn service(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.dir.path().join("new.db"));
        options
            .create_if_missing(true)
            .busy_timeout(Duration::from_secs(20))
            .connect()
            .await
            .unwrap()
    }

    /// Runs a statement on the monolith.
    async fn legacy(&self, sql: &'static str) {
        let url = &self.urls.legacy;
        match self.urls.engine(Side::Legacy).unwrap() {
            Engine::Sqlite => {
                let options: SqliteConnectOptions = url.parse().unwrap();
                let mut c = options.create_if_missing(true).connect().await.unwrap();
                c.execute(sql).await.unwrap();
                c.close().await.unwrap();
            }
            Engine::Postgres => {
                let options: PgConnectOptions = url.parse().unwrap();
                options.connect().await.unwrap().execute(sql).await.unwrap();
            }
            Engine::MySql => {
                let options: MySqlConnectOptions = url.parse().unwrap();
                options.connect().await.unwrap().execute(sql).await.unwrap();
            }
        }
    }

    fn job(&self, ports: Ports, operate: Operate) -> Job {
        let job = Job::open_toward(notes(), self.urls.clone(), ports, Side::Legacy).unwrap();
        job.operated_by(operate)
    }
}

fn caches(memcached: &Server) -> Operate {
    let shape = notes().key;
    let keys = ["user/{key.1}/inbox", "notes/{key}"];
    let keys = keys.iter().map(|key| CacheKey::parse(key, &shape).unwrap()).collect();
    let server = format!("127.0.0.1:{}", memcached.port());
    Operate { caches: vec![CacheHook { side: Side::Legacy, server, keys }], ..Operate::default() }
}

/// Talks to memcached as an application does.
struct Cache(BufReader<TcpStream>);

impl Cache {
    fn of(server: &Server) -> Self {
        Self(BufReader::new(TcpStream::connect(("127.0.0.1", server.port())).unwrap()))
    }

    fn set(&mut self, key: &str) {
        let request = format!("set {key} 0 0 1\r\nx\r\n");
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        assert_eq!(self.line(), "STORED");
    }

    fn set_all(&mut self, keys: &[&str]) {
        for key in keys {
            self.set(key);
        }
    }

    fn has(&mut self, key: &str) -> bool {
        self.0.get_mut().write_all(format!("get {key}\r\n").as_bytes()).unwrap();
        let found = self.line() != "END";
        if found {
            assert_eq!((self.line().as_str(), self.line().as_str()), ("x", "END"));
        }
        found
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

async fn once(job: &Job) -> RunOutcome {
    job.run(RunMode::Once, CancellationToken::new()).await.unwrap().outcome
}

fn reason(recorder: &Recorder) -> String {
    recorder.last_watermark().and_then(|mark| mark.reason).unwrap_or_default()
}

async fn boot(start: fn() -> Result<Server, String>) -> Result<Server, String> {
    tokio::task::spawn_blocking(start).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_changed_aggregates_and_no_others_leave_memcached() {
    let Some(mut memcached) = or_skip(boot(banyan_test_servers::memcached).await) else { return };
    let back = Back::new("sqlite".to_owned()).await;
    let (recorder, ports) = recording();
    let job = back.job(ports, caches(&memcached));
    job.install().await.unwrap();
    assert_eq!(once(&job).await, RunOutcome::Done);

    let keys = ["user/3/inbox", "notes/3", "user/4/inbox", "notes/4"];
    let mut cache = Cache::of(&memcached);
    cache.set_all(&keys);
    let mut service = back.service().await;
    run(&mut service, "UPDATE notes SET body = 'edited' WHERE id = 2").await;
    assert_eq!(once(&job).await, RunOutcome::Done);
    assert_eq!(keys.map(|key| cache.has(key)), [false, false, true, true]);
    // A row that moves clears both aggregates.
    cache.set_all(&keys);
    run(&mut service, "UPDATE notes SET user_id = 4 WHERE id = 1").await;
    assert_eq!(once(&job).await, RunOutcome::Done);
    assert_eq!(keys.map(|key| cache.has(key)), [false; 4]);
    // Nothing changed: nothing is cleared.
    cache.set_all(&keys);
    assert_eq!(once(&job).await, RunOutcome::Done);
    assert_eq!(keys.map(|key| cache.has(key)), [true; 4]);

    // The server dies. Rows go on; keys wait, over the end of the process.
    memcached.kill();
    run(&mut service, "UPDATE notes SET body = 'while it is away' WHERE id = 3").await;
    assert_eq!(once(&job).await, RunOutcome::Done);
    assert!(reason(&recorder).contains("cache keys are kept"), "{}", reason(&recorder));
    assert_eq!(job.status().await.unwrap().cache_waiting, 2);

    memcached.start_again().unwrap();
    let mut cache = Cache::of(&memcached);
    cache.set_all(&keys);
    assert_eq!(once(&job).await, RunOutcome::Done);
    assert_eq!(keys.map(|key| cache.has(key)), [true, true, false, false], "after it is back");
    assert_eq!(job.status().await.unwrap().cache_waiting, 0);
    memcached.kill();
    run(&mut service, "UPDATE notes SET body = 'away again' WHERE id = 3").await;
    assert_eq!(once(&job).await, RunOutcome::Done);

    // A follower says so, follows on, and clears when the server is back.
    let cancel = CancellationToken::new();
    let follower = tokio::spawn({
        let (job, cancel) = (job.clone(), cancel.clone());
        async move { job.run(RunMode::Follow, cancel).await }
    });
    eventually(Duration::from_secs(10), async || reason(&recorder).contains("2 cache keys wait"))
        .await;
    let state = recorder.last_watermark().unwrap().state;
    assert_eq!(state, JobState::Following, "it never stops the sync");
    run(&mut service, "UPDATE notes SET body = 'still away' WHERE id = 2").await;
    let waiting = async || job.status().await.unwrap().cache_waiting;
    eventually(Duration::from_secs(10), async || waiting().await == 4).await;
    memcached.start_again().unwrap();
    eventually(Duration::from_secs(15), async || waiting().await == 0).await;
    let mut cache = Cache::of(&memcached);
    cache.set_all(&keys);
    run(&mut service, "UPDATE notes SET body = body || '!'").await;
    eventually(Duration::from_secs(10), async || keys.map(|key| cache.has(key)) == [false; 4])
        .await;
    eventually(Duration::from_secs(5), async || reason(&recorder).is_empty()).await;
    cancel.cancel();
    follower.await.unwrap().unwrap();
}

struct Simulated(AtomicI64);

#[async_trait]
impl Clock for Simulated {
    fn now_ms(&self) -> Option<i64> {
        Some(self.0.load(Ordering::SeqCst))
    }

    async fn sleep(&self, _wait: Duration) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Slots, orders, load, status and caches with the monolith on one engine.
async fn operates_on(legacy: String, memcached: &Server) {
    let back = Back::new(legacy).await;
    let rules =
        ScheduleRules { missed: Missed::One, overlap: Overlap::Forbid, ..ScheduleRules::default() };
    let schedule = Schedule::new("notes", "* * * * *", "Europe/Berlin", rules).unwrap();
    let busy = SideThrottle { side: Side::Legacy, lag: None, running_max: Some(0) };
    let operate = Operate { schedule: Some(schedule), ..caches(memcached) };
    let throttled = Operate {
        throttle: Throttle { sides: vec![busy], ..Throttle::default() },
        ..operate.clone()
    };
    let (recorder, ports) = recording();
    let job = back.job(ports.clone(), throttled);
    job.install().await.unwrap();
    let cancel = CancellationToken::new();
    let held = tokio::spawn({
        let (job, cancel) = (job.clone(), cancel.clone());
        async move { job.run(RunMode::Once, cancel).await }
    });
    // The measuring statement itself runs, so a limit of 0 always holds the copy.
    eventually(Duration::from_secs(20), async || {
        reason(&recorder).starts_with("legacy runs ") && reason(&recorder).ends_with("> 0")
    })
    .await;
    cancel.cancel();
    assert_eq!(held.await.unwrap().unwrap().outcome, RunOutcome::Stopped);

    let job = back.job(ports, operate);
    job.pause("ada", "l'été; DROP").await.unwrap();
    job.throttle(Some(5_000), "bob", "").await.unwrap();
    let orders = job.resume("ada", "l'été; DROP").await.unwrap();
    assert_eq!((orders.paused, orders.rows_per_second), (false, Some(5_000)));
    assert_eq!((orders.by.as_str(), orders.why.as_str()), ("ada", "l'été; DROP"));
    assert!(orders.changed_ms > 1_700_000_000_000);

    let clock = Arc::new(Simulated(AtomicI64::new(1_777_000_030_000)));
    let schedulers: Vec<_> = (0..2)
        .map(|_| {
            let scheduler = Scheduler::new(&job).unwrap();
            let scheduler = scheduler.with_clock(Arc::<Simulated>::clone(&clock));
            let cancel = CancellationToken::new();
            let stop = cancel.clone();
            (tokio::spawn(async move { scheduler.run(stop).await }), cancel)
        })
        .collect();
    let runs = async || job.status().await.unwrap().slot.map_or(0, |slot| slot.runs);
    eventually(Duration::from_secs(20), async || {
        job.status().await.unwrap().slot.is_some_and(|slot| slot.last_ms.is_some())
    })
    .await;
    for slot in 1..=3_u64 {
        clock.0.fetch_add(60_000, Ordering::SeqCst);
        eventually(Duration::from_secs(30), async || {
            let status = job.status().await.unwrap();
            status.slot.is_some_and(|s| s.runs == slot && s.running_ms.is_none())
                && status.phase == "drain"
        })
        .await;
        // A row that no trigger saw is mended by the next sweep.
        back.legacy("UPDATE old_notes SET body = 'drifted' WHERE id = 1").await;
    }
    for (scheduler, cancel) in schedulers {
        cancel.cancel();
        scheduler.await.unwrap();
    }
    assert_eq!(runs().await, 3, "each slot once");
    let mut cache = Cache::of(memcached);
    cache.set("user/3/inbox");
    run(&mut back.service().await, "UPDATE notes SET body = 'é' WHERE id = 2").await;
    assert_eq!(once(&job).await, RunOutcome::Done);
    assert!(!cache.has("user/3/inbox"));
    assert_eq!(job.status().await.unwrap().cache_waiting, 0);
    job.uninstall(true).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_operated_alike_on_mariadb_and_postgres() {
    let servers = (
        boot(banyan_test_servers::memcached).await,
        boot(banyan_test_servers::mariadb).await,
        boot(banyan_test_servers::postgres).await,
    );
    let Some(memcached) = or_skip(servers.0) else { return };
    if let Some(mariadb) = or_skip(servers.1) {
        operates_on(format!("mysql://root@127.0.0.1:{}/mysql", mariadb.port()), &memcached).await;
    }
    if let Some(postgres) = or_skip(servers.2) {
        let url = format!("postgres://postgres@127.0.0.1:{}/postgres", postgres.port());
        let options: PgConnectOptions = url.parse().unwrap();
        eventually(Duration::from_secs(20), async || options.connect().await.is_ok()).await;
        operates_on(url, &memcached).await;
    }
}
