//! Capture without triggers: by cursor, and by comparing everything. Nothing is made on the source.

use banyan_sync_jobs::{
    CaptureMode, CursorSpec, Job, JobSpec, Ports, RunMode, Side, VerifyOptions,
};
use tokio_util::sync::CancellationToken;

use crate::db::{Client, Db, Sides};
use crate::tables;

on_each!(
    a_sweep_finds_everything_on_sqlite: sweep(Sqlite),
    a_sweep_finds_everything_on_mariadb: sweep(Maria),
    a_sweep_finds_everything_on_postgres: sweep(Postgres),
    a_cursor_follows_on_sqlite: cursor(Sqlite),
    a_cursor_follows_on_mariadb: cursor(Maria),
    a_cursor_follows_on_postgres: cursor(Postgres),
    a_cursor_waits_for_open_transactions_on_mariadb: late(Maria),
    a_cursor_waits_for_open_transactions_on_postgres: late(Postgres),
);

fn spec(legacy: Db, mode: CaptureMode, skew_seconds: u64) -> JobSpec {
    let mut spec = tables::spec(legacy);
    spec.mode = mode;
    for capture in spec.captures.iter_mut().filter(|capture| capture.table == "messages") {
        let (column, id) = ("updated_at".to_owned(), "id".to_owned());
        capture.cursor = Some(CursorSpec { column, id, skew_seconds });
    }
    spec.limits.changes_per_batch = 7;
    spec
}

async fn copied(legacy: Db, spec: JobSpec) -> Option<(Sides, Job, Client)> {
    let sides = Sides::make(legacy, Db::Sqlite).await?;
    let mut client = sides.on_legacy().await;
    client.run(&tables::legacy(legacy)).await;
    for sql in tables::seed(legacy, 12, 120) {
        client.run(&sql).await;
    }
    sides.on_new().await.run(&tables::new(Db::Sqlite)).await;
    let job = Job::open(spec, sides.urls.clone(), Ports::default()).unwrap();
    let made = job.install().await.unwrap().made;
    assert!(made.iter().all(|step| step.side == Side::New), "nothing on the source: {made:?}");
    let summary = once(&job).await;
    assert!(summary.watermark_ms > 0);
    Some((sides, job, client))
}

async fn once(job: &Job) -> banyan_sync_jobs::RunSummary {
    job.run(RunMode::Once, CancellationToken::new()).await.unwrap()
}

async fn clean(job: &Job) {
    let report = job.verify(VerifyOptions::default()).await.unwrap();
    assert!(report.is_clean(), "{report:#?}");
}

async fn sweep(legacy: Db) {
    let spec = spec(legacy, CaptureMode::Sweep, 0);
    let Some((_sides, job, mut client)) = copied(legacy, spec).await else { return };
    for change in [
        "UPDATE messages SET body = 'x' WHERE id = 5",
        "UPDATE message_receipts SET read_at = '2014-07-01 00:00:00' WHERE message_id = 9",
        "DELETE FROM message_receipts WHERE message_id = 11; DELETE FROM messages WHERE id = 11",
    ] {
        client.run(change).await;
        assert!(once(&job).await.counters.rows() > 0, "{change}");
        clean(&job).await;
    }
    assert_eq!(once(&job).await.counters.rows(), 0);
}

/// This moment in the zone of the stamps.
fn now(legacy: Db) -> &'static str {
    match legacy {
        Db::Sqlite => "strftime('%Y-%m-%d %H:%M:%S', 'now')",
        Db::Maria => "UTC_TIMESTAMP()",
        Db::Postgres => "(now() AT TIME ZONE 'UTC')",
    }
}

async fn cursor(legacy: Db) {
    let spec = spec(legacy, CaptureMode::Cursor, 60);
    let Some((sides, job, mut client)) = copied(legacy, spec).await else { return };
    let stop = CancellationToken::new();
    let follower = tokio::spawn({
        let (job, stop) = (job.clone(), stop.clone());
        async move { job.run(RunMode::Follow, stop).await }
    });
    let mut new = sides.on_new().await;
    let now = now(legacy);
    // More rows of one stamp than a page has.
    client.run(&format!("UPDATE messages SET body = 'y', updated_at = {now} WHERE id <= 40")).await;
    until(&mut new, "SELECT COUNT(*) FROM chat_messages WHERE body = 'y'", 40).await;
    client.run(&format!("UPDATE messages SET body = 'z', updated_at = {now} WHERE id = 50")).await;
    until(&mut new, "SELECT COUNT(*) FROM chat_messages WHERE body = 'z'", 1).await;
    // What no cursor sees is found by the next sweep, and never called equal.
    stop.cancel();
    follower.await.unwrap().unwrap();
    client.run("DELETE FROM message_receipts WHERE message_id = 60").await;
    client.run("DELETE FROM messages WHERE id = 60").await;
    assert!(!job.verify(VerifyOptions::default()).await.unwrap().is_clean());
    once(&job).await;
    clean(&job).await;
}

/// A row is stamped, others behind it are carried over, then it is committed: longer than the skew after its stamp.
async fn late(legacy: Db) {
    let spec = spec(legacy, CaptureMode::Cursor, 0);
    let Some((sides, job, mut client)) = copied(legacy, spec).await else { return };
    let now = now(legacy);
    let mut slow = sides.on_legacy().await;
    slow.run("BEGIN").await;
    slow.run(&format!("UPDATE messages SET body = 'late', updated_at = {now} WHERE id = 1")).await;
    let stop = CancellationToken::new();
    let follower = tokio::spawn({
        let (job, stop) = (job.clone(), stop.clone());
        async move { job.run(RunMode::Follow, stop).await }
    });
    let mut new = sides.on_new().await;
    for round in 1..=3 {
        tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
        client
            .run(&format!(
                "UPDATE messages SET body = 'r{round}', updated_at = {now} WHERE id = 70"
            ))
            .await;
        let there = format!("SELECT COUNT(*) FROM chat_messages WHERE body = 'r{round}'");
        until(&mut new, &there, 1).await;
    }
    slow.run("COMMIT").await;
    until(&mut new, "SELECT COUNT(*) FROM chat_messages WHERE body = 'late'", 1).await;
    stop.cancel();
    follower.await.unwrap().unwrap();
    clean(&job).await;
}

async fn until(client: &mut Client, sql: &str, wanted: i64) {
    let started = std::time::Instant::now();
    while client.number(sql).await != wanted {
        assert!(started.elapsed() < std::time::Duration::from_secs(30), "never: {sql}");
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    }
}
