//! A worker that was frozen while another took over: when it wakes up, it writes nothing.

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use banyan_sync_jobs::{Job, Pause, PausePoint, Ports, RunMode, Side, SideUrls, VerifyOptions};
use tokio_util::sync::CancellationToken;

use crate::child;
use crate::db::{Db, Sides};
use crate::tables;

const FILE: &str = "BANYAN_ZOMBIE_FILE";

/// The worker that gets frozen: stops itself between reading the source and writing the target.
#[tokio::test]
#[ignore = "runs only as a child process of another test"]
async fn child_follows() {
    let Some((db, urls, to)) = child::work() else { return };
    let file = PathBuf::from(std::env::var(FILE).unwrap());
    let ports = Ports { pause: Arc::new(Freeze { file }), ..Ports::default() };
    let mut spec = tables::spec(db);
    spec.limits.lease_ttl = Duration::from_secs(1);
    let job = Job::open_toward(spec, urls, ports, to).unwrap();
    drop(job.run(RunMode::Follow, CancellationToken::new()).await);
}

/// Freezes the process at the first batch after the file says so; the woken one says it went on.
struct Freeze {
    file: PathBuf,
}

#[async_trait]
impl Pause for Freeze {
    async fn reach(&self, point: PausePoint) {
        let asked = self.file.with_extension("freeze");
        if point == PausePoint::AfterSourceRead && std::fs::rename(&asked, &self.file).is_ok() {
            let me = std::process::id().to_string();
            Command::new("kill").args(["-STOP", &me]).status().unwrap();
            // A stop takes hold of one thread after the other: until then this one must not go on into a transaction.
            std::thread::sleep(Duration::from_millis(300));
            std::fs::write(self.file.with_extension("woken"), "").unwrap();
        }
    }
}

#[tokio::test]
async fn a_woken_worker_writes_nothing_on_mariadb_and_postgres() {
    for (legacy, new) in [(Db::Maria, Db::Postgres), (Db::Postgres, Db::Maria)] {
        frozen(legacy, new).await;
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

async fn frozen(legacy: Db, new: Db) {
    let Some(sides) = Sides::make(legacy, new).await else { return };
    let mut monolith = sides.on_legacy().await;
    monolith.run(&tables::legacy(legacy)).await;
    for sql in tables::seed(legacy, 12, 80) {
        monolith.run(&sql).await;
    }
    let mut service = sides.on_new().await;
    service.run(&tables::new(new)).await;
    let job = Job::open(tables::spec(legacy), sides.urls.clone(), Ports::default()).unwrap();
    job.install().await.unwrap();
    job.run(RunMode::Once, CancellationToken::new()).await.unwrap();

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("state");
    std::fs::write(file.with_extension("freeze"), "").unwrap();
    let mut zombie = Killed(start(&sides.urls, &file));
    monolith.run("UPDATE messages SET body = 'old' WHERE id = 5").await;
    until("it is frozen", || file.exists()).await;
    // It read `old`; the truth moves on and another worker takes over.
    monolith.run("UPDATE messages SET body = 'true' WHERE id = 5").await;
    let summary = job.run(RunMode::Once, CancellationToken::new()).await.unwrap();
    assert_eq!(summary.counters.rows(), 1);
    let says = |body: &str| format!("SELECT COUNT(*) FROM chat_messages WHERE body = '{body}'");
    assert_eq!(service.number(&says("true")).await, 1);
    let epoch = "SELECT lease_epoch FROM by_state WHERE direction = 'new'";
    let taken = service.number(epoch).await;

    let pid = zombie.0.id().to_string();
    Command::new("kill").args(["-CONT", &pid]).status().unwrap();
    until("it wakes up", || file.with_extension("woken").exists()).await;
    // It lost its lease, begins anew as the next holder, and only then follows again.
    let started = Instant::now();
    while service.number(epoch).await == taken {
        assert_eq!(
            service.number(&says("old")).await,
            0,
            "the woken worker wrote what it had read"
        );
        assert!(started.elapsed() < Duration::from_secs(30), "it did not start over");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    monolith.run("UPDATE messages SET body = 'later' WHERE id = 5").await;
    let started = Instant::now();
    while service.number(&says("later")).await == 0 {
        assert!(started.elapsed() < Duration::from_secs(30), "it does not follow");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(service.number(&says("old")).await, 0);
    zombie.0.kill().unwrap();
    assert_eq!(zombie.0.wait().unwrap().signal(), Some(9), "it ran until it was killed");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    job.run(RunMode::Once, CancellationToken::new()).await.unwrap();
    let back = VerifyOptions::default();
    assert!(job.verify(back).await.unwrap().is_clean());
    assert_eq!(job.to(), Side::New);
}

fn start(urls: &SideUrls, file: &std::path::Path) -> Child {
    child::command("zombie", urls, Side::New).env(FILE, file).spawn().unwrap()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_mins(1), "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The switch does the work itself only where nobody else does, and must not wait for somebody else's lease meanwhile.
#[tokio::test]
async fn once_if_free_ends_at_once_beside_another_worker() {
    let Some(sides) = Sides::make(Db::Sqlite, Db::Sqlite).await else { return };
    let mut monolith = sides.on_legacy().await;
    monolith.run(&tables::legacy(Db::Sqlite)).await;
    for sql in tables::seed(Db::Sqlite, 12, 80) {
        monolith.run(&sql).await;
    }
    let mut service = sides.on_new().await;
    service.run(&tables::new(Db::Sqlite)).await;
    let open = |to| {
        let (urls, ports) = (sides.urls.clone(), Ports::default());
        Job::open_toward(tables::spec(Db::Sqlite), urls, ports, to).unwrap()
    };
    let (job, back) = (open(Side::New), open(Side::Legacy));
    for job in [&job, &back] {
        job.install().await.unwrap();
    }
    job.run(RunMode::OnceIfFree, CancellationToken::new()).await.unwrap();
    assert_eq!(service.number("SELECT COUNT(*) FROM chat_messages").await, 80);
    monolith.run("UPDATE messages SET body = 'new' WHERE id = 5").await;
    let stop = CancellationToken::new();
    let other = tokio::spawn({
        let (job, stop) = (job.clone(), stop.clone());
        async move { job.run(RunMode::Follow, stop).await }
    });
    let says = "SELECT COUNT(*) FROM chat_messages WHERE body = 'new'";
    let started = Instant::now();
    while service.number(says).await == 0 {
        assert!(started.elapsed() < Duration::from_secs(30), "it does not follow");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut watch = job.watch().await.unwrap();
    let first = watch.look().await.unwrap().worker.unwrap();
    for job in [&job, &back] {
        let started = Instant::now();
        let ended = job.run(RunMode::OnceIfFree, CancellationToken::new()).await;
        assert!(ended.unwrap_err().is_of_another_worker());
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    }
    let seen_by_back = back.watch().await.unwrap().look().await.unwrap();
    assert_eq!(seen_by_back.opposite.as_deref(), Some(first.name.as_str()));
    // An idle worker renews its lease long before that ends, so that others see it live.
    let started = Instant::now();
    while !watch.look().await.unwrap().worker.unwrap().lives_since(&first) {
        assert!(started.elapsed() < Duration::from_secs(4), "it shows no life");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.cancel();
    other.await.unwrap().unwrap();
    assert_eq!(watch.look().await.unwrap().worker, None);
}
