//! SQLite -> SQLite with the shipped mapping: install, copy, drain, plan, verify, crashes, leases.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use banyan_sync_jobs::{
    Job, JobState, Pause, PausePoint, Ports, RowDiffKind, RunMode, RunOutcome, Side, SyncError,
    VerifyOptions,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sqlx::SqliteConnection;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use world::{World, assert_equal, eventually, number, recording, run};

const JOBS: [&str; 2] = ["people", "messages"];

async fn once(job: &Job) -> banyan_sync_jobs::RunSummary {
    job.run(RunMode::Once, CancellationToken::new()).await.unwrap()
}

async fn installed(world: &World, name: &str) -> Job {
    let job = world.job(name, Ports::default());
    job.install().await.unwrap();
    job
}

#[tokio::test]
async fn plan_shows_the_exact_ddl_and_writes_nothing() {
    let world = World::seeded(20, 200).await;
    let job = world.job("messages", Ports::default());
    let plan = job.plan().await.unwrap();
    assert_eq!(plan.phase, "list");
    assert!(plan.roots_total > 0);
    assert!(plan.tables.iter().all(|table| table.missing == table.rows && table.rows > 0));
    assert!(plan.rows.iter().all(|row| row.kind == RowDiffKind::Missing));
    let mut legacy = world.connect(Side::Legacy).await;
    assert_eq!(
        number(&mut legacy, "SELECT count(*) FROM sqlite_master WHERE name LIKE 'by_%'").await,
        0
    );

    let made = job.install().await.unwrap().made;
    assert_eq!(made, plan.missing, "install runs what plan showed");
    let triggers = number(&mut legacy, "SELECT count(*) FROM sqlite_master WHERE type = 'trigger'");
    assert_eq!(triggers.await, 7, "three tables, one of them only for updates");
    assert!(job.install().await.unwrap().made.is_empty(), "a second install finds nothing to do");

    once(&job).await;
    let plan = job.plan().await.unwrap();
    assert!(plan.is_empty(), "{plan:?}");
}

#[tokio::test]
async fn threads_become_conversations() {
    let world = World::seeded(30, 900).await;
    for name in JOBS {
        let job = installed(&world, name).await;
        let summary = once(&job).await;
        assert_eq!(summary.outcome, RunOutcome::Done);
        assert!(summary.watermark_ms > 0);
        assert_equal(&job).await;
    }
    let mut new = world.connect(Side::New).await;
    assert_eq!(number(&mut new, "SELECT count(*) FROM people").await, 30);
    assert_eq!(number(&mut new, "SELECT count(*) FROM chat_messages").await, 900);
    let wrong = "SELECT count(*) FROM conversations c WHERE messages_count <> \
        (SELECT count(*) FROM chat_messages m WHERE m.conversation_id = c.id) \
        OR last_message_id <> (SELECT max(id) FROM chat_messages m WHERE m.conversation_id = c.id) \
        OR id <> user_low || ':' || user_high OR user_low > user_high OR updated_at IS NULL";
    assert_eq!(number(&mut new, wrong).await, 0);
    let selfish = "SELECT count(*) FROM chat_messages WHERE author_id = recipient_id \
        AND hidden_for_author <> hidden_for_recipient";
    assert_eq!(
        number(&mut new, selfish).await,
        0,
        "a message to oneself is hidden for both or none"
    );
}

/// Statements that each change another kind of thing.
const CHANGES: [&str; 11] = [
    "UPDATE users SET username = 'Ada', plan = 'pro', avatar_url = NULL WHERE id = 3",
    "UPDATE users SET permalink = 'x' || id WHERE id BETWEEN 5 AND 9",
    "DELETE FROM users WHERE id = 11",
    "INSERT INTO messages (thread_id, sender_id, recipient_id, body, created_at, updated_at) \
     VALUES (1, 7, 7, 'note to self; '' | NULL', '2014-07-01 00:00:00', '2014-07-01 00:00:00')",
    "UPDATE messages SET body = 'edited', edited_at = '2014-07-02 00:00:00' WHERE id = 5",
    "UPDATE message_receipts SET read_at = '2014-07-03 00:00:00' WHERE message_id IN (6, 7)",
    "UPDATE message_receipts SET deleted_at = '2014-07-03 00:00:00' WHERE message_id = 8",
    "UPDATE message_threads SET subject = 'new subject' WHERE id = 2",
    // A row moves between aggregates, and a whole aggregate goes.
    "UPDATE messages SET recipient_id = recipient_id % 20 + 1 WHERE id = 9",
    "DELETE FROM message_receipts WHERE message_id = 12",
    "DELETE FROM messages WHERE min(sender_id, recipient_id) = 4",
];

#[tokio::test]
async fn every_kind_of_change_reaches_the_target_and_the_change_table_gets_empty() {
    let world = World::seeded(20, 300).await;
    let jobs = [installed(&world, "people").await, installed(&world, "messages").await];
    for job in &jobs {
        once(job).await;
    }
    let mut legacy = world.connect(Side::Legacy).await;
    for change in CHANGES {
        run(&mut legacy, change).await;
        let mut rows = 0;
        for job in &jobs {
            rows += once(job).await.counters.rows();
            assert_equal(job).await;
        }
        assert!(rows > 0, "{change}");
        assert_eq!(number(&mut legacy, "SELECT count(*) FROM by_change").await, 0);
    }
    for job in &jobs {
        assert_eq!(once(job).await.counters.rows(), 0, "nothing is left to write");
    }
}

#[tokio::test]
async fn a_change_during_the_first_copy_is_not_lost_nor_overwritten() {
    let world = World::seeded(40, 1_200).await;
    let mut spec = world::spec(world::SQLITE, "messages");
    spec.limits.keys_per_chunk = 20;
    spec.limits.keys_per_chunk_max = 20;
    let pause = Arc::new(WriteAt { dir: world.dir.path().to_owned(), count: AtomicU32::new(0) });
    let job =
        world.job_of(spec, Ports { pause: Arc::<WriteAt>::clone(&pause), ..Ports::default() });
    job.install().await.unwrap();
    once(&job).await;
    assert!(pause.count.load(Ordering::Relaxed) > 20, "many chunks were interrupted");
    assert_equal(&job).await;
}

/// Edits messages between the snapshot of a chunk and its write.
struct WriteAt {
    dir: std::path::PathBuf,
    count: AtomicU32,
}

#[async_trait]
impl Pause for WriteAt {
    async fn reach(&self, point: PausePoint) {
        let n = self.count.fetch_add(1, Ordering::Relaxed);
        if point != PausePoint::AfterSourceRead || n > 300 {
            return;
        }
        let options =
            sqlx::sqlite::SqliteConnectOptions::new().filename(self.dir.join("legacy.db"));
        let mut legacy = sqlx::ConnectOptions::connect(&options).await.unwrap();
        run(&mut legacy, &format!("UPDATE messages SET body = 'at {n}' WHERE id % 40 = {n} % 40; \
            INSERT INTO messages (thread_id, sender_id, recipient_id, body, created_at, updated_at) \
            VALUES (1, {n}, 1, 'x', '2014-07-01 00:00:00', '2014-07-01 00:00:00')")).await;
    }
}

#[tokio::test]
async fn a_transaction_that_commits_late_with_a_smaller_id_is_found() {
    // SQLite has one writer, so the late commit is played by a mark that appears below the ones that
    // were already applied and deleted.
    let world = World::seeded(10, 50).await;
    let job = installed(&world, "people").await;
    once(&job).await;
    let mut legacy = world.connect(Side::Legacy).await;
    run(&mut legacy, "UPDATE users SET username = 'first' WHERE id = 1").await;
    once(&job).await;
    run(&mut legacy, "DROP TRIGGER by_people_1_au").await;
    run(&mut legacy, "UPDATE users SET username = 'late' WHERE id = 2").await;
    run(&mut legacy, "INSERT INTO by_change (seq, job, k, op) VALUES (-5, 'people', '2', 'U')")
        .await;
    job.install().await.unwrap();
    run(&mut world.connect(Side::New).await, "UPDATE by_state SET phase = 'drain'").await;
    once(&job).await;
    assert_equal(&job).await;
}

#[tokio::test]
async fn follow_keeps_up_with_a_writer_and_publishes_a_conservative_watermark() {
    let world = World::seeded(20, 200).await;
    let (recorder, ports) = recording();
    let job = world.job("messages", ports);
    job.install().await.unwrap();
    let cancel = CancellationToken::new();
    let follower = tokio::spawn({
        let (job, cancel) = (job.clone(), cancel.clone());
        async move { job.run(RunMode::Follow, cancel).await }
    });
    let mut legacy = world.connect(Side::Legacy).await;
    let mut new = world.connect(Side::New).await;
    for i in 0..40 {
        run(&mut legacy, &format!("UPDATE messages SET body = 'v{i}' WHERE id = {}", i % 7 + 1))
            .await;
    }
    let written =
        number(&mut legacy, "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)");
    let written = written.await;
    eventually(Duration::from_secs(10), async || {
        recorder.last_watermark().is_some_and(|w| w.watermark_ms > written)
    })
    .await;
    let newest = "SELECT count(*) FROM chat_messages WHERE body IN ('v35','v36','v37','v38','v39')";
    assert_eq!(number(&mut new, newest).await, 5, "the watermark says that it is there");
    let before = recorder.watermarks.lock().unwrap().len();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let saved = recorder.watermarks.lock().unwrap().len() - before;
    assert!(saved >= 4, "at least 4 per second, saved {saved}");
    cancel.cancel();
    let summary = follower.await.unwrap().unwrap();
    assert_eq!(summary.outcome, RunOutcome::Stopped);
    assert_eq!(recorder.runs.lock().unwrap().len(), 1);
    assert_equal(&job).await;
}

#[tokio::test]
async fn verify_beside_a_writer_reports_no_false_difference_and_finds_the_planted_one() {
    let world = World::seeded(30, 600).await;
    let job = installed(&world, "messages").await;
    let cancel = CancellationToken::new();
    let follower = tokio::spawn({
        let (job, cancel) = (job.clone(), cancel.clone());
        async move { job.run(RunMode::Follow, cancel).await }
    });
    let writer = tokio::spawn({
        let (mut legacy, cancel) = (world.connect(Side::Legacy).await, cancel.clone());
        async move {
            let mut n = 0_u32;
            while !cancel.is_cancelled() {
                n += 1;
                run(
                    &mut legacy,
                    &format!("UPDATE messages SET body = 'w{n}' WHERE id = {}", n * 7919 % 600 + 1),
                )
                .await;
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        }
    });
    let mut new = world.connect(Side::New).await;
    eventually(Duration::from_secs(10), async || {
        number(&mut new, "SELECT count(*) FROM by_state WHERE phase = 'drain'").await == 1
    })
    .await;
    for _ in 0..3 {
        let report = job.verify(VerifyOptions::default()).await.unwrap();
        assert_eq!(report.differing_total, 0, "{report:?}");
        assert_eq!(report.checked, report.equal + report.hot_total);
    }
    // One flag of one quiet message: the writer does not touch people.
    cancel.cancel();
    writer.await.unwrap();
    follower.await.unwrap().unwrap();
    once(&job).await;
    run(
        &mut new,
        "UPDATE chat_messages SET hidden_for_author = 1 - hidden_for_author WHERE id = 77",
    )
    .await;
    let report = job.verify(VerifyOptions::default()).await.unwrap();
    assert_eq!(report.differing_total, 1);
    let row = &report.differing[0].rows[0];
    assert_eq!((row.table.as_str(), row.primary_key.as_str()), ("chat_messages", "77"));
    assert_eq!(row.columns[0].column, "hidden_for_author");
    let one =
        VerifyOptions { keys: Some(vec![report.differing[0].key.clone()]), ..Default::default() };
    assert_eq!(job.verify(one).await.unwrap().differing_total, 1);
}

#[tokio::test]
async fn verify_finds_what_other_tools_miss() {
    let world = World::seeded(20, 200).await;
    let job = installed(&world, "messages").await;
    once(&job).await;
    let mut new = world.connect(Side::New).await;
    for plant in [
        // The same flip in an even number of rows cancels in an XOR of checksums.
        "UPDATE chat_messages SET hidden_for_recipient = 1 WHERE id IN \
         (SELECT id FROM chat_messages WHERE hidden_for_recipient = 0 LIMIT 2)",
        "UPDATE chat_messages SET subject = 'NULL' WHERE id = 3",
        "UPDATE chat_messages SET body = body || ' ' WHERE id = 4",
        "DELETE FROM chat_messages WHERE id = 5",
        "INSERT INTO conversations VALUES ('800:900', 800, 900, 1, 1, '2014-06-12 10:00:00')",
        "UPDATE chat_messages SET edited_at = '' WHERE edited_at IS NULL AND id < 9",
    ] {
        run(&mut new, &format!("BEGIN; {plant}; COMMIT")).await;
        let report = job.verify(VerifyOptions::default()).await.unwrap();
        assert!(report.differing_total > 0, "{plant}");
        run(&mut new, "UPDATE by_state SET phase = 'list'").await;
        once(&job).await;
        assert_equal(&job).await;
    }
}

/// Holds for ever at the n-th pause point; the test then drops the run, as `kill -9` would.
struct KillAt {
    left: AtomicU32,
    reached: Notify,
}

#[async_trait]
impl Pause for KillAt {
    async fn reach(&self, _point: PausePoint) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

#[tokio::test]
async fn a_worker_killed_at_any_point_loses_and_doubles_nothing() {
    let world = World::seeded(30, 600).await;
    installed(&world, "messages").await;
    let mut legacy = world.connect(Side::Legacy).await;
    let mut random = StdRng::seed_from_u64(20_140_612);
    let mut killed = 0;
    for round in 0_u32..40 {
        let left = if round < 12 { round + 1 } else { random.random_range(1..14) };
        let kill = Arc::new(KillAt { left: AtomicU32::new(left), reached: Notify::new() });
        let mut spec = world::spec(world::SQLITE, "messages");
        spec.limits.keys_per_chunk = 30;
        spec.limits.keys_per_chunk_max = 30;
        spec.limits.changes_per_batch = 5;
        spec.limits.lease_ttl = Duration::from_millis(60);
        let job =
            world.job_of(spec, Ports { pause: Arc::<KillAt>::clone(&kill), ..Ports::default() });
        write_something(&mut legacy, &mut random).await;
        tokio::select! {
            () = kill.reached.notified() => killed += 1,
            done = job.run(RunMode::Once, CancellationToken::new()) => { done.unwrap(); }
        }
    }
    assert!(killed >= 30, "killed {killed} times");
    let job = world.job("messages", Ports::default());
    once(&job).await;
    assert_equal(&job).await;
    assert_eq!(number(&mut legacy, "SELECT count(*) FROM by_change").await, 0);
}

async fn write_something(legacy: &mut SqliteConnection, random: &mut StdRng) {
    for _ in 0..8 {
        let id = random.random_range(1..600);
        let sql = match random.random_range(0..5) {
            0 => format!("DELETE FROM messages WHERE id = {id}"),
            1 => format!("UPDATE messages SET recipient_id = {} WHERE id = {id}", id % 30 + 1),
            2 => format!("UPDATE message_threads SET subject = 's{id}' WHERE id = {}", id / 4 + 1),
            3 => format!(
                "INSERT INTO messages (thread_id, sender_id, recipient_id, body, created_at, \
                 updated_at) VALUES ({id} / 4 + 1, {id} % 30 + 1, {id} % 7 + 1, 'n', \
                 '2014-07-01 00:00:00', '2014-07-01 00:00:00')"
            ),
            _ => format!("UPDATE messages SET body = body || '!' WHERE id = {id}"),
        };
        run(legacy, &sql).await;
    }
}

#[tokio::test]
async fn a_worker_that_lost_its_lease_never_writes() {
    let world = World::seeded(10, 60).await;
    let mut spec = world::spec(world::SQLITE, "people");
    spec.limits.lease_ttl = Duration::from_millis(100);
    let hold =
        Arc::new(HoldOnce { held: Notify::new(), go: Notify::new(), first: AtomicU32::new(0) });
    let zombie =
        world.job_of(spec, Ports { pause: Arc::<HoldOnce>::clone(&hold), ..Ports::default() });
    zombie.install().await.unwrap();
    let sleeping = tokio::spawn({
        let zombie = zombie.clone();
        async move { zombie.run(RunMode::Once, CancellationToken::new()).await }
    });
    hold.held.notified().await;
    let mut legacy = world.connect(Side::Legacy).await;
    run(&mut legacy, "UPDATE users SET username = 'newer' WHERE id = 1").await;
    let job = world.job("people", Ports::default());
    tokio::time::sleep(Duration::from_millis(150)).await;
    once(&job).await;
    hold.go.notify_one();
    // The zombie has old rows in its hands; it must not write them. It then starts anew or gives up.
    drop(sleeping.await.unwrap());
    assert_equal(&job).await;
    let mut new = world.connect(Side::New).await;
    assert_eq!(number(&mut new, "SELECT count(*) FROM people WHERE username = 'newer'").await, 1);
}

/// Holds the first chunk with its rows read.
struct HoldOnce {
    held: Notify,
    go: Notify,
    first: AtomicU32,
}

#[async_trait]
impl Pause for HoldOnce {
    async fn reach(&self, point: PausePoint) {
        if point == PausePoint::AfterSourceRead && self.first.fetch_add(1, Ordering::Relaxed) == 0 {
            self.held.notify_one();
            self.go.notified().await;
        }
    }
}

#[tokio::test]
async fn a_held_lease_makes_the_second_worker_wait_and_say_so() {
    let world = World::seeded(5, 10).await;
    let (recorder, ports) = recording();
    let job = world.job("people", ports);
    job.install().await.unwrap();
    let mut new = world.connect(Side::New).await;
    let taken = "UPDATE by_state SET lease_holder = 'other', lease_epoch = 7, lease_expires_ms = \
        CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) + 700";
    run(&mut new, taken).await;
    assert_eq!(once(&job).await.outcome, RunOutcome::Done);
    let events = recorder.events.lock().unwrap();
    let waited = events.iter().find(|event| event.state == JobState::Waiting).unwrap();
    assert!(waited.reason.as_deref().unwrap().contains("`other` holds its lease"));
}

#[tokio::test]
async fn a_locked_database_is_waited_for() {
    let world = World::seeded(5, 10).await;
    let job = installed(&world, "people").await;
    let mut new = world.connect(Side::New).await;
    run(&mut new, "BEGIN IMMEDIATE").await;
    let running = tokio::spawn({
        let job = job.clone();
        async move { job.run(RunMode::Once, CancellationToken::new()).await }
    });
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(!running.is_finished());
    run(&mut new, "COMMIT").await;
    assert_eq!(running.await.unwrap().unwrap().outcome, RunOutcome::Done);
    assert_equal(&job).await;
}

#[tokio::test]
async fn a_lost_trigger_is_named_and_install_compares_everything_again() {
    let world = World::seeded(10, 60).await;
    let job = installed(&world, "people").await;
    once(&job).await;
    let mut legacy = world.connect(Side::Legacy).await;
    run(&mut legacy, "DROP TRIGGER by_people_1_au").await;
    run(&mut legacy, "UPDATE users SET username = 'unseen' WHERE id = 4").await;
    let refused = job.run(RunMode::Once, CancellationToken::new()).await.unwrap_err();
    assert!(refused.to_string().contains("trigger `by_people_1_au` on `users`"), "{refused}");
    assert!(refused.hint().is_some());
    assert_eq!(job.plan().await.unwrap().missing.len(), 1);
    job.install().await.unwrap();
    assert_eq!(once(&job).await.counters.rows_updated, 1);
    assert_equal(&job).await;
}

#[tokio::test]
async fn what_was_never_installed_is_an_error_with_a_hint() {
    let world = World::seeded(5, 10).await;
    let job = world.job("people", Ports::default());
    let refused = job.run(RunMode::Once, CancellationToken::new()).await.unwrap_err();
    assert!(matches!(refused, SyncError::NotInstalled { .. }), "{refused}");
    assert!(job.verify(VerifyOptions::default()).await.is_err());
}

#[tokio::test]
async fn uninstall_leaves_nothing_on_the_monolith() {
    let world = World::seeded(5, 10).await;
    for name in JOBS {
        installed(&world, name).await;
    }
    for name in JOBS {
        world.job(name, Ports::default()).uninstall(true).await.unwrap();
    }
    let mut legacy = world.connect(Side::Legacy).await;
    assert_eq!(
        number(&mut legacy, "SELECT count(*) FROM sqlite_master WHERE name LIKE 'by_%'").await,
        0
    );
}

#[tokio::test]
async fn a_mapping_that_does_not_fit_is_refused_by_name() {
    let world = World::seeded(5, 10).await;
    for (select, says) in [
        ("SELECT id, permalink AS nick FROM users WHERE id IN ({keys})", "`nick`"),
        ("SELECT permalink FROM users WHERE id IN ({keys})", "key column `id`"),
        ("SELECT id FROM user WHERE id IN ({keys})", "prepare the select of table `people`"),
    ] {
        let mut spec = world::spec(world::SQLITE, "people");
        select.clone_into(&mut spec.tables[0].select);
        let refused = world.job_of(spec, Ports::default()).plan().await.unwrap_err();
        assert!(refused.to_string().contains(says), "{refused}");
        assert!(!refused.is_transient());
    }
}

#[tokio::test]
async fn memory_follows_the_byte_limit_and_a_too_large_aggregate_is_named() {
    let world = World::seeded(10, 400).await;
    let mut spec = world::spec(world::SQLITE, "messages");
    spec.limits.bytes_per_chunk = 40_000;
    let job = world.job_of(spec.clone(), Ports::default());
    job.install().await.unwrap();
    let summary = once(&job).await;
    assert!(summary.counters.batches > 5, "chunks were halved: {:?}", summary.counters);
    assert_equal(&job).await;
    spec.limits.bytes_per_chunk = 100;
    spec.limits.bytes_per_aggregate = 100;
    run(&mut world.connect(Side::New).await, "UPDATE by_state SET phase = 'list'").await;
    let job = world.job_of(spec, Ports::default());
    let refused = job.run(RunMode::Once, CancellationToken::new()).await.unwrap_err();
    assert!(matches!(refused, SyncError::AggregateTooLarge { .. }), "{refused}");
}

#[tokio::test]
async fn an_unreachable_database_fails_once_and_follow_recovers_when_it_comes_back() {
    let world = World::seeded(5, 10).await;
    let (recorder, ports) = recording();
    let mut spec = world::spec(world::SQLITE, "people");
    spec.limits.once_tries = 2;
    let job = world.job_of(spec, ports);
    job.install().await.unwrap();
    let away = world.dir.path().join("away.db");
    let there = world.dir.path().join("legacy.db");
    std::fs::rename(&there, &away).unwrap();
    let refused = job.run(RunMode::Once, CancellationToken::new()).await.unwrap_err();
    assert!(refused.is_unreachable(), "{refused}");
    let cancel = CancellationToken::new();
    let follower = tokio::spawn({
        let (job, cancel) = (job.clone(), cancel.clone());
        async move { job.run(RunMode::Follow, cancel).await }
    });
    let state = |state: JobState| recorder.last_watermark().is_some_and(|w| w.state == state);
    eventually(Duration::from_secs(5), async || state(JobState::Failing)).await;
    std::fs::rename(&away, &there).unwrap();
    eventually(Duration::from_secs(10), async || state(JobState::Following)).await;
    cancel.cancel();
    follower.await.unwrap().unwrap();
    assert_equal(&job).await;
}
