//! The first copy: bulk writes that find rows where none should be, and rows that move while the next chunk is read ahead.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use banyan_sync_jobs::{
    CaptureEvent, CaptureMode, CaptureSpec, Job, JobSpec, KeyShape, Limits, PartKind, Pause,
    PausePoint, Ports, RootsSpec, Rules, RunMode, Side, TableSpec, VerifyOptions,
};
use tokio_util::sync::CancellationToken;

use crate::db::{Client, Db, Sides};

on_each!(
    rows_under_another_root_are_moved_and_every_text_arrives_on_sqlite: moved(Sqlite),
    rows_under_another_root_are_moved_and_every_text_arrives_on_mariadb: moved(Maria),
    rows_under_another_root_are_moved_and_every_text_arrives_on_postgres: moved(Postgres),
    rows_that_move_while_chunks_are_read_ahead_are_not_lost_on_sqlite: read_ahead(Sqlite),
    rows_that_move_while_chunks_are_read_ahead_are_not_lost_on_mariadb: read_ahead(Maria),
    rows_that_move_while_chunks_are_read_ahead_are_not_lost_on_postgres: read_ahead(Postgres),
);

/// Texts that a bulk write could take for something else.
const TEXTS: [&str; 12] =
    ["\\N", "\\.", "NULL", "", "a\tb", "a\nb\r", "\\", "\\\\t", "it''s", "é😀", "$1 {x}", "~;|"];

fn spec(keys_per_chunk: usize) -> JobSpec {
    let mut limits = Limits { keys_per_chunk, ..Limits::default() };
    limits.keys_per_chunk_max = keys_per_chunk;
    JobSpec {
        name: "items".to_owned(),
        context: "items".to_owned(),
        root: "owner".to_owned(),
        follow: false,
        mode: CaptureMode::Trigger,
        key: KeyShape::new("", vec![PartKind::Integer]),
        roots: vec![RootsSpec {
            side: Side::Legacy,
            select: "SELECT DISTINCT owner_id AS k FROM items".to_owned(),
        }],
        captures: vec![CaptureSpec {
            side: Side::Legacy,
            table: "items".to_owned(),
            key: "{row}.owner_id".to_owned(),
            events: CaptureEvent::ALL.to_vec(),
            cursor: None,
        }],
        tables: vec![TableSpec {
            to: Side::New,
            name: "items".to_owned(),
            key: vec!["id".to_owned()],
            root_column: "owner_id".to_owned(),
            select: "SELECT id, owner_id, body FROM items WHERE owner_id IN ({keys.1})".to_owned(),
            current: None,
            keep: vec![],
            shared: false,
        }],
        limits,
        rules: Rules::default(),
    }
}

async fn make(on: &mut Client) {
    let text = if matches!(on, Client::Maria(_)) { "LONGTEXT" } else { "TEXT" };
    run_all(
        on,
        &[format!(
            "CREATE TABLE items (id BIGINT NOT NULL PRIMARY KEY, owner_id BIGINT NOT NULL, body {text})"
        )],
    )
    .await;
}

async fn run_all(on: &mut Client, statements: &[String]) {
    for sql in statements {
        on.run(sql).await;
    }
}

async fn copied_and_equal(job: &Job) {
    job.install().await.unwrap();
    job.run(RunMode::Once, CancellationToken::new()).await.unwrap();
    let report = job.verify(VerifyOptions::default()).await.unwrap();
    assert!(report.is_clean() && report.checked > 0, "{report:#?}");
}

/// From each engine to the next one.
const fn next(db: Db) -> Db {
    match db {
        Db::Sqlite => Db::Maria,
        Db::Maria => Db::Postgres,
        Db::Postgres => Db::Sqlite,
    }
}

/// The target has rows already, under roots that are copied later or that the source does not have.
async fn moved(new: Db) {
    let Some(sides) = Sides::make(next(new), new).await else { return };
    let (mut legacy, mut service) = (sides.on_legacy().await, sides.on_new().await);
    make(&mut legacy).await;
    make(&mut service).await;
    for (at, text) in TEXTS.iter().cycle().take(60).enumerate() {
        let escapes = matches!(legacy, Client::Maria(_));
        let text = if escapes { text.replace('\\', "\\\\") } else { (*text).to_owned() };
        let (id, owner) = (at + 1, at % 10);
        legacy.run(&format!("INSERT INTO items VALUES ({id}, {owner}, '{text}')")).await;
        if at % 5 == 0 {
            let owner = if at % 2 == 0 { 9 } else { 77 };
            service.run(&format!("INSERT INTO items VALUES ({id}, {owner}, 'old')")).await;
        }
    }
    legacy.run("INSERT INTO items VALUES (100, 3, NULL)").await;
    service.run("INSERT INTO items VALUES (101, 78, 'extra')").await;
    copied_and_equal(&Job::open(spec(2), sides.urls.clone(), Ports::default()).unwrap()).await;
    let left = "SELECT COUNT(*) FROM items WHERE body = 'old' OR body = 'extra'";
    assert_eq!(service.number(left).await, 0);
    assert_eq!(service.number("SELECT COUNT(*) FROM items").await, 61);
}

/// Moves rows between roots at each point of the run, while the next chunk may have been read already.
struct Mover {
    db: Db,
    url: String,
    count: AtomicU32,
}

/// Moves at most; then the run comes to its end.
const MOVES: u32 = 160;

#[async_trait]
impl Pause for Mover {
    async fn reach(&self, point: PausePoint) {
        // A listing reads the source by a scan that is open here.
        if matches!(point, PausePoint::BeforeListWrite | PausePoint::BeforeListDone) {
            return;
        }
        let n = self.count.fetch_add(1, Ordering::Relaxed);
        if n >= MOVES {
            return;
        }
        let (from, step) = (n % 7, n % 23 + 1);
        let sql = format!(
            "UPDATE items SET owner_id = (owner_id + {step}) % 40, body = 'moved {n}' \
             WHERE id % 7 = {from}"
        );
        Client::open(self.db, &self.url).await.transaction(&[sql]).await;
    }
}

async fn read_ahead(legacy: Db) {
    let Some(sides) = Sides::make(legacy, next(legacy)).await else { return };
    let (mut monolith, mut service) = (sides.on_legacy().await, sides.on_new().await);
    make(&mut monolith).await;
    make(&mut service).await;
    let rows: Vec<String> = (1..=400).map(|id| format!("({id}, {}, 'first')", id % 40)).collect();
    monolith.run(&format!("INSERT INTO items VALUES {}", rows.join(", "))).await;
    let url = sides.urls.legacy.clone();
    let mover = Arc::new(Mover { db: legacy, url, count: AtomicU32::new(0) });
    let ports = Ports { pause: Arc::<Mover>::clone(&mover), ..Ports::default() };
    copied_and_equal(&Job::open(spec(2), sides.urls.clone(), ports).unwrap()).await;
    assert!(mover.count.load(Ordering::Relaxed) > 60, "the copy was interrupted often");
    assert_eq!(service.number("SELECT COUNT(*) FROM items").await, 400);
    assert_eq!(monolith.number("SELECT COUNT(*) FROM by_change").await, 0);
}
