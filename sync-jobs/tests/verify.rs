//! Verify finds what usual tools miss, repair mends it, and both do so while the sides are written.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says how long it took"
)]

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use banyan_sync_jobs::{
    CaptureEvent, CaptureMode, CaptureSpec, Job, JobSpec, KeyShape, Limits, PartKind, Ports,
    RepairOptions, RepairOutcome, RootsSpec, Rules, RunMode, Side, SideUrls, SyncError, TableSpec,
    VerifyOptions, VerifyReport,
};
use sqlx::{MySqlConnection, PgConnection};
use tokio_util::sync::CancellationToken;
use world::practice::{Servers, my, mysql, pg};
use world::{World, assert_equal, eventually};

/// A fault of the target: what it is, how it comes, how many aggregates differ then.
struct Fault {
    name: &'static str,
    sql: &'static str,
    aggregates: u64,
}

/// Faults in the tables of the service, in SQL that SQLite and Postgres both understand. The rows are
/// prepared on the source by [`PREPARE`].
const FAULTS: [Fault; 11] = [
    Fault {
        name: "the same flag flipped in two rows of one aggregate",
        sql: "UPDATE chat_messages SET hidden_for_author = CASE WHEN hidden_for_author = FALSE THEN TRUE \
              ELSE FALSE END WHERE id IN (101, 102)",
        aggregates: 1,
    },
    Fault {
        name: "the same flag flipped in two aggregates of one chunk",
        sql: "UPDATE chat_messages SET hidden_for_recipient = CASE WHEN hidden_for_recipient = FALSE \
              THEN TRUE ELSE FALSE END WHERE id IN (101, 201)",
        aggregates: 2,
    },
    Fault {
        name: "a separator that moved between two columns",
        sql: "UPDATE chat_messages SET subject = 'a', body = 'b|c' WHERE id = 101",
        aggregates: 1,
    },
    Fault {
        name: "NULL that became the text NULL",
        sql: "UPDATE people SET avatar_url = 'NULL' WHERE id = 3",
        aggregates: 1,
    },
    Fault {
        name: "NULL that became an empty text",
        sql: "UPDATE people SET avatar_url = '' WHERE id = 3",
        aggregates: 1,
    },
    Fault {
        name: "a space at the end",
        sql: "UPDATE people SET username = username || ' ' WHERE id = 4",
        aggregates: 1,
    },
    Fault {
        name: "a time moved by one hour",
        sql: "UPDATE chat_messages SET sent_at = '2014-06-12 11:00:00' WHERE id = 101",
        aggregates: 1,
    },
    Fault {
        name: "values swapped between two rows",
        sql: "UPDATE people SET username = CASE id WHEN 4 THEN replace(username, '4', '5') \
              ELSE replace(username, '5', '4') END WHERE id IN (4, 5)",
        aggregates: 2,
    },
    Fault {
        name: "a row that came back",
        sql: "INSERT INTO people (id, permalink, username, plan) VALUES (9999, 'gone', 'Gone', 'free')",
        aggregates: 1,
    },
    Fault { name: "a lost row", sql: "DELETE FROM chat_messages WHERE id = 101", aggregates: 1 },
    Fault {
        name: "a letter in another case",
        sql: "UPDATE people SET username = upper(username) WHERE id = 4",
        aggregates: 1,
    },
];

/// Rows of the monolith that the faults are about.
const PREPARE: [&str; 4] = [
    "UPDATE messages SET sender_id = 1, recipient_id = 2, thread_id = 1 WHERE id IN (101, 102)",
    "UPDATE messages SET sender_id = 3, recipient_id = 4 WHERE id = 201",
    "UPDATE messages SET body = 'c' WHERE id = 101",
    // A conversation of its own, which the writers leave alone.
    "UPDATE messages SET sender_id = 900001, recipient_id = 900002 WHERE id = 33",
];
const SUBJECT: &str = "UPDATE message_threads SET subject = 'a|b' WHERE id = 1";

async fn once(job: &Job) -> banyan_sync_jobs::RunSummary {
    job.run(RunMode::Once, CancellationToken::new()).await.unwrap()
}

async fn verified(job: &Job) -> VerifyReport {
    job.verify(VerifyOptions::default()).await.unwrap()
}

/// Each fault is found by exactly its aggregates, shown by a dry run, and mended by a repair.
async fn faults_are_found_and_mended(jobs: &[Job], mut break_it: impl AsyncFnMut(&str)) {
    for fault in &FAULTS {
        break_it(fault.sql).await;
        let mut found = 0;
        for job in jobs {
            let report = verified(job).await;
            found += report.differing_total;
            assert_eq!(report.checked, report.equal + report.differing_total, "{}", fault.name);
            let shown = job.repair(RepairOptions::default()).await.unwrap();
            assert_eq!(shown.before, report, "{}", fault.name);
            assert_eq!(shown.enqueued, 0);
            assert_eq!(shown.before.pending, 0, "a dry run writes nothing");
            let differs = report.differing_total > 0;
            let outcome = if differs { RepairOutcome::Shown } else { RepairOutcome::NothingToDo };
            assert_eq!(shown.outcome, outcome, "{}", fault.name);
            if differs {
                mend(job, &report).await;
            }
        }
        assert_eq!(found, fault.aggregates, "{}", fault.name);
    }
}

async fn mend(job: &Job, found: &VerifyReport) {
    assert!(found.differing.iter().all(|key| !key.rows.is_empty()));
    let execute = RepairOptions { execute: true, ..RepairOptions::default() };
    let repaired = job.repair(execute).await.unwrap();
    assert_eq!(repaired.outcome, RepairOutcome::Enqueued, "no worker runs");
    assert_eq!(repaired.enqueued, found.differing_total);
    assert!(repaired.origin.unwrap().starts_with("repair:"));
    once(job).await;
    assert_equal(job).await;
}

#[tokio::test]
async fn sqlite_faults_that_usual_tools_miss() {
    let world = World::seeded(40, 600).await;
    let mut legacy = world.connect(Side::Legacy).await;
    for sql in PREPARE {
        world::run(&mut legacy, sql).await;
    }
    world::run(&mut legacy, SUBJECT).await;
    let mut jobs = Vec::new();
    for name in ["people", "messages"] {
        let job = world.job(name, Ports::default());
        job.install().await.unwrap();
        once(&job).await;
        let report = assert_equal(&job).await;
        assert_eq!(report.equal_by_lanes, report.checked);
        assert!(report.hashed_here.iter().all(|here| here.reason == "sqlite has no md5"));
        jobs.push(job);
    }
    let mut new = world.connect(Side::New).await;
    faults_are_found_and_mended(&jobs, async |sql| world::run(&mut new, sql).await).await;
}

#[tokio::test]
async fn mariadb_to_postgres_faults_that_usual_tools_miss() {
    let Some(servers) = Servers::start().await else { return };
    let (mut legacy, mut new, urls) = servers.world(40, 600).await;
    for sql in PREPARE {
        my(&mut legacy, sql).await;
    }
    my(&mut legacy, SUBJECT).await;
    let mut jobs = Vec::new();
    for name in ["people", "messages"] {
        let job = Job::open(world::spec(world::MARIADB, name), urls.clone(), Ports::default());
        let job = job.unwrap();
        job.install().await.unwrap();
        once(&job).await;
        let report = assert_equal(&job).await;
        assert_eq!(report.equal_by_lanes, report.checked);
        assert_eq!(report.hashed_here, [], "both databases sum the shipped mapping themselves");
        jobs.push(job);
    }
    faults_are_found_and_mended(&jobs, async |sql| pg(&mut new, sql).await).await;
    float_rounding_is_found(&urls, &mut legacy, &mut new).await;
}

#[tokio::test]
async fn one_planted_difference_in_50_000_messages() {
    plant_while_written(10_000, 50_000).await;
}

/// `cargo test -p banyan-sync-jobs --release --test verify -- --ignored --nocapture`
#[tokio::test]
#[ignore = "one million messages: minutes"]
async fn one_planted_difference_in_a_million_messages() {
    plant_while_written(200_000, 1_000_000).await;
}

async fn plant_while_written(users: u32, messages: u32) {
    let Some(servers) = Servers::start().await else { return };
    let (mut legacy, mut new, urls) = servers.world(users, messages).await;
    for sql in PREPARE {
        my(&mut legacy, sql).await;
    }
    let spec = world::spec(world::MARIADB, "messages");
    let job = Job::open(spec, urls.clone(), Ports::default()).unwrap();
    job.install().await.unwrap();
    let started = Instant::now();
    once(&job).await;
    println!("first copy {:?}", started.elapsed());
    let started = Instant::now();
    assert_equal(&job).await;
    println!("verify at rest {:?}", started.elapsed());
    one_planted_difference_is_found_while_written(&job, &urls, &mut new, messages).await;
}

/// 500 writes per second by the owner, a follower, and a verify that has to end.
async fn one_planted_difference_is_found_while_written(
    job: &Job,
    urls: &SideUrls,
    new: &mut PgConnection,
    messages: u32,
) {
    let cancel = CancellationToken::new();
    let follower = tokio::spawn({
        let (job, cancel) = (job.clone(), cancel.clone());
        async move { job.run(RunMode::Follow, cancel).await }
    });
    let written = Arc::new(AtomicU64::new(0));
    let writer = tokio::spawn({
        let (mut legacy, cancel) = (mysql(&urls.legacy).await, cancel.clone());
        let written = Arc::clone(&written);
        async move {
            let started = Instant::now();
            while !cancel.is_cancelled() {
                let n = written.fetch_add(1, Ordering::Relaxed);
                let id = n.wrapping_mul(7_919) % u64::from(messages - 300) + 300;
                let sql = format!("UPDATE messages SET body = 'w{n}' WHERE id = {id}");
                my(&mut legacy, &sql).await;
                let due = started + Duration::from_micros(2_000 * n);
                tokio::time::sleep_until(due.into()).await;
            }
            started.elapsed()
        }
    });
    pg(new, "UPDATE chat_messages SET body = body || ' ' WHERE id = 33").await;
    let (before, started) = (written.load(Ordering::Relaxed), Instant::now());
    let report = verified(job).await;
    let writes = written.load(Ordering::Relaxed) - before;
    println!(
        "verify under {writes} writes in {:?}: {} of {} roots by lanes, {} hot",
        started.elapsed(),
        report.equal_by_lanes,
        report.checked,
        report.hot_total
    );
    assert!(writes > 0);
    assert_eq!(report.differing_total, 1, "{:?}", report.differing);
    assert_eq!(report.checked, report.equal + 1 + report.hot_total);
    assert_eq!(report.differing[0].rows[0].primary_key, "33");
    assert_eq!(report.differing[0].rows[0].columns[0].column, "body");
    let keys = Some(vec![report.differing[0].key.clone()]);
    let execute = RepairOptions { keys, execute: true, ..RepairOptions::default() };
    let repaired = job.repair(execute).await.unwrap();
    assert_eq!(repaired.outcome, RepairOutcome::Applied, "the follower did it");
    assert!(repaired.after.unwrap().is_clean());
    cancel.cancel();
    println!("{} writes in {:?}", written.load(Ordering::Relaxed), writer.await.unwrap());
    follower.await.unwrap().unwrap();
    once(job).await;
}

/// One table with a float, which no database encodes as Rust does.
fn notes() -> JobSpec {
    JobSpec {
        name: "notes".to_owned(),
        context: "notes".to_owned(),
        root: "note".to_owned(),
        follow: false,
        mode: CaptureMode::Trigger,
        key: KeyShape::new("", vec![PartKind::Integer]),
        roots: vec![RootsSpec {
            side: Side::Legacy,
            select: "SELECT id AS k FROM notes".to_owned(),
        }],
        captures: vec![CaptureSpec {
            side: Side::Legacy,
            table: "notes".to_owned(),
            key: "{row}.id".to_owned(),
            events: CaptureEvent::ALL.to_vec(),
            cursor: None,
        }],
        tables: vec![TableSpec {
            to: Side::New,
            name: "copies".to_owned(),
            key: vec!["id".to_owned()],
            root_column: "id".to_owned(),
            select: "SELECT id, ratio, amount FROM notes WHERE id IN ({keys.1})".to_owned(),
            current: None,
            keep: vec![],
            shared: false,
        }],
        limits: Limits::default(),
        rules: Rules::default(),
    }
}

async fn float_rounding_is_found(
    urls: &SideUrls,
    legacy: &mut MySqlConnection,
    new: &mut PgConnection,
) {
    let table = "(id BIGINT PRIMARY KEY, ratio DOUBLE PRECISION, amount DECIMAL(12,4))";
    my(legacy, &format!("CREATE TABLE notes {table}")).await;
    my(legacy, "INSERT INTO notes VALUES (1, 0.30000000000000004, 1.5), (2, 1e20, -0.25)").await;
    pg(new, &format!("CREATE TABLE copies {table}")).await;
    let job = Job::open(notes(), urls.clone(), Ports::default()).unwrap();
    job.install().await.unwrap();
    once(&job).await;
    let report = assert_equal(&job).await;
    let here: Vec<Side> = report.hashed_here.iter().map(|here| here.side).collect();
    assert_eq!(here, [Side::Legacy, Side::New]);
    assert!(report.hashed_here[0].reason.contains("`ratio`"), "{:?}", report.hashed_here);
    pg(new, "UPDATE copies SET ratio = 0.3 WHERE id = 1").await;
    let found = verified(&job).await;
    assert_eq!((found.differing_total, found.differing[0].key.as_str()), (1, "1"));
    mend(&job, &found).await;
    pg(new, "UPDATE copies SET amount = amount + 0.0001 WHERE id = 2").await;
    let found = verified(&job).await;
    assert_eq!((found.differing_total, found.differing[0].key.as_str()), (1, "2"));
}

async fn since_clean(job: &Job) -> VerifyReport {
    job.verify(VerifyOptions { since_clean: true, ..VerifyOptions::default() }).await.unwrap()
}

#[tokio::test]
async fn after_a_clean_pass_only_what_changed_is_looked_at() {
    let world = World::seeded(30, 300).await;
    let job = world.job("people", Ports::default());
    job.install().await.unwrap();
    let early = since_clean(&job).await;
    assert_eq!(early.full_pass_needed, Some("the first copy is not done"));
    assert!(!early.is_clean());
    once(&job).await;
    let never = since_clean(&job).await;
    assert_eq!(never.full_pass_needed, Some("no full verify of this job ended yet"));
    assert_eq!(never.checked, 0);
    let mut new = world.connect(Side::New).await;
    let dirty = "SELECT count(*) FROM by_dirty";
    assert_eq!(world::number(&mut new, dirty).await, 0, "nothing is recorded for nobody");

    assert_equal(&job).await;
    let idle = since_clean(&job).await;
    assert_eq!((idle.checked, idle.is_clean()), (0, true));
    let mut legacy = world.connect(Side::Legacy).await;
    world::run(&mut legacy, "UPDATE users SET plan = 'x' WHERE id IN (3, 4)").await;
    once(&job).await;
    world::run(&mut legacy, "UPDATE users SET plan = 'y' WHERE id = 5").await;
    // Two were applied, one waits: it is hot until a worker applies it, never equal.
    let quick = VerifyOptions {
        since_clean: true,
        windows: 2,
        window_wait: Duration::from_millis(1),
        ..VerifyOptions::default()
    };
    let waiting = job.verify(quick).await.unwrap();
    assert_eq!((waiting.checked, waiting.equal, waiting.hot_total), (3, 2, 1));
    once(&job).await;
    let left = since_clean(&job).await;
    assert_eq!((left.checked, left.equal, left.is_clean()), (1, 1, true), "two were proved before");
    assert_eq!(since_clean(&job).await.checked, 0, "a clean look is a clean pass");

    // A difference in an applied aggregate is found, and stays dirty until it is mended.
    world::run(&mut legacy, "UPDATE users SET plan = 'z' WHERE id = 6").await;
    once(&job).await;
    world::run(&mut new, "UPDATE people SET plan = 'wrong' WHERE id IN (6, 7)").await;
    for _ in 0..2 {
        let found = since_clean(&job).await;
        assert_eq!((found.checked, found.differing_total), (1, 1), "7 went around the job");
    }
    let full = verified(&job).await;
    assert_eq!((full.checked, full.differing_total), (30, 2), "only a full pass sees it");
    let again = since_clean(&job).await;
    assert_eq!(
        (again.checked, again.differing_total),
        (2, 2),
        "what a full pass found is not forgotten"
    );
    mend(&job, &full).await;
    assert_eq!(since_clean(&job).await.checked, 0);
}

#[tokio::test]
async fn what_is_applied_while_a_pass_runs_is_looked_at_by_the_next() {
    let world = World::seeded(60, 200).await;
    let job = world.job("people", Ports::default());
    job.install().await.unwrap();
    once(&job).await;
    let (cancel, writes) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)));
    let follower = tokio::spawn({
        let (job, cancel) = (job.clone(), cancel.clone());
        async move { job.run(RunMode::Follow, cancel).await }
    });
    let writer = tokio::spawn({
        let (mut legacy, cancel) = (world.connect(Side::Legacy).await, cancel.clone());
        let writes = Arc::clone(&writes);
        async move {
            while !cancel.is_cancelled() {
                let n = writes.fetch_add(1, Ordering::Relaxed);
                let sql = format!("UPDATE users SET plan = 'p{n}' WHERE id = {}", n % 60 + 1);
                world::run(&mut legacy, &sql).await;
                tokio::time::sleep(Duration::from_millis(4)).await;
            }
        }
    });
    let options = VerifyOptions { keys_per_chunk: 7, ..VerifyOptions::default() };
    for _ in 0..8 {
        let report = job.verify(options.clone()).await.unwrap();
        assert_eq!(report.differing_total, 0, "{report:?}");
    }
    cancel.cancel();
    writer.await.unwrap();
    follower.await.unwrap().unwrap();
    once(&job).await;
    // Break exactly what was written since the last pass, or what it could not prove: nothing of it may be overlooked.
    let mut new = world.connect(Side::New).await;
    let dirty = world::number(&mut new, "SELECT count(*) FROM by_dirty").await;
    assert!(dirty > 0, "writes went on during the last pass");
    world::run(&mut new, "UPDATE people SET plan = 'broken' WHERE id IN (SELECT k FROM by_dirty)")
        .await;
    assert_eq!(i64::try_from(since_clean(&job).await.differing_total).unwrap(), dirty);
}

#[tokio::test]
async fn a_verify_writes_no_list_to_either_side() {
    let world = World::seeded(60, 200).await;
    let job = world.job("people", Ports::default());
    job.install().await.unwrap();
    once(&job).await;
    let refuse = "CREATE TRIGGER no_list BEFORE INSERT ON by_copy \
                  BEGIN SELECT RAISE(ABORT, 'a list'); END";
    for side in [Side::Legacy, Side::New] {
        let mut on = world.connect(side).await;
        let made = "CREATE TABLE IF NOT EXISTS by_copy (list_name TEXT, k TEXT)";
        world::run(&mut on, &format!("{made}; DELETE FROM by_copy; {refuse}")).await;
    }
    // Chunks grow from one root on and pass over none.
    let options = VerifyOptions { keys_per_chunk: 1, ..VerifyOptions::default() };
    let report = job.verify(options).await.unwrap();
    assert!(report.is_clean() && report.checked == 60, "{report:?}");
    assert_equal(&job).await;
    assert!(since_clean(&job).await.is_clean());
}

#[tokio::test]
async fn an_older_installation_is_told_to_install_again() {
    let world = World::seeded(10, 20).await;
    let job = world.job("people", Ports::default());
    job.install().await.unwrap();
    let mut new = world.connect(Side::New).await;
    world::run(&mut new, "DROP TABLE by_dirty; DROP TABLE by_verified").await;
    let refused = job.verify(VerifyOptions::default()).await.unwrap_err();
    assert!(matches!(refused, SyncError::NotInstalled { side: Side::New, .. }), "{refused:?}");
    let made = job.install().await.unwrap().made;
    assert_eq!(made.len(), 1, "{made:?}");
    assert_eq!(made[0].object, "tables by_verified, by_dirty");
    once(&job).await;
    assert_equal(&job).await;
    assert_eq!(
        job.uninstall(true)
            .await
            .unwrap()
            .statements
            .iter()
            .filter(|(_, sql)| sql.contains("by_dirty"))
            .count(),
        1
    );
}

#[tokio::test]
async fn repair_of_named_keys_says_who_has_to_apply_them() {
    let world = World::seeded(20, 100).await;
    let job = world.job("people", Ports::default());
    job.install().await.unwrap();
    once(&job).await;
    let mut new = world.connect(Side::New).await;
    world::run(&mut new, "UPDATE people SET plan = 'wrong' WHERE id IN (3, 4, 5)").await;
    let named = |keys: &[&str], execute| RepairOptions {
        keys: Some(keys.iter().map(|key| (*key).to_owned()).collect()),
        execute,
        ..RepairOptions::default()
    };
    let shown = job.repair(named(&["3", "9"], false)).await.unwrap();
    assert_eq!((shown.outcome, shown.before.differing_total), (RepairOutcome::Shown, 1));
    let marked = job.repair(named(&["3", "4", "3"], true)).await.unwrap();
    assert_eq!((marked.outcome, marked.enqueued), (RepairOutcome::Enqueued, 2));
    let mut legacy = world.connect(Side::Legacy).await;
    let marks = "SELECT count(*) FROM by_change WHERE op = 'R' AND origin LIKE 'repair:%'";
    assert_eq!(world::number(&mut legacy, marks).await, 2);
    assert_eq!(once(&job).await.counters.rows_updated, 2);
    assert_eq!(verified(&job).await.differing_total, 1, "5 was not named");
    assert!(job.repair(named(&["no number"], true)).await.is_err());

    // With a worker the repair waits for it and says what is true afterwards.
    let cancel = CancellationToken::new();
    let follower = tokio::spawn({
        let (job, cancel) = (job.clone(), cancel.clone());
        async move { job.run(RunMode::Follow, cancel).await }
    });
    let held =
        "SELECT count(*) FROM by_state WHERE lease_holder IS NOT NULL AND lease_expires_ms > 0";
    eventually(Duration::from_secs(10), async || world::number(&mut new, held).await == 1).await;
    let all = RepairOptions { execute: true, ..RepairOptions::default() };
    let repaired = job.repair(all.clone()).await.unwrap();
    assert_eq!((repaired.outcome, repaired.enqueued), (RepairOutcome::Applied, 1));
    assert!(repaired.after.unwrap().is_clean());
    assert_eq!(job.repair(all).await.unwrap().outcome, RepairOutcome::NothingToDo);
    cancel.cancel();
    follower.await.unwrap().unwrap();
}
