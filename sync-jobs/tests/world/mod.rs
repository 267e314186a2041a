//! The world of the integration tests: the shipped mappings, a monolith's and a service's tables.
#![expect(
    dead_code,
    clippy::expect_used,
    reason = "each test file uses a part; a test may panic and says loudly what it skips"
)]

pub(crate) mod practice;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use banyan_sync_jobs::{
    CaptureEvent, CaptureMode, CaptureSpec, Job, JobSpec, KeepSpec, KeyShape, Limits, PartKind,
    Ports, Progress, ProgressEvent, ProgressStore, ProgressStoreError, RootsSpec, RunRecord, Side,
    SideUrls, TableSpec, VerifyOptions, VerifyReport, Watermark,
};
use serde::Deserialize;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _, Executor, SqliteConnection};
use tempfile::TempDir;

pub(crate) const SQLITE: &str = include_str!("../../mappings/sqlite-to-sqlite.toml");
pub(crate) const MARIADB: &str = include_str!("../../mappings/mariadb-to-postgres.toml");

#[derive(Deserialize)]
struct File {
    sync: Vec<Sync>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Sync {
    job: String,
    context: String,
    root: String,
    key: Vec<String>,
    #[serde(default)]
    separator: String,
    follow: bool,
    roots: Vec<Roots>,
    capture: Vec<Capture>,
    table: Vec<Table>,
}

#[derive(Deserialize)]
struct Roots {
    side: Side,
    select: String,
}

#[derive(Deserialize)]
struct Capture {
    side: Side,
    table: String,
    key: String,
    events: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Table {
    to: Side,
    name: String,
    key: Vec<String>,
    root_column: String,
    select: String,
    current: Option<String>,
    #[serde(default)]
    keep: Vec<Keep>,
    #[serde(default)]
    shared: bool,
}

#[derive(Deserialize)]
struct Keep {
    column: String,
    unless: Option<String>,
}

/// The job of a shipped mapping.
pub(crate) fn spec(mapping: &str, job: &str) -> JobSpec {
    let file: File = toml::from_str(mapping).expect("the mapping parses");
    let sync = file.sync.into_iter().find(|sync| sync.job == job).expect("the job is there");
    let parts = sync.key.iter().map(|part| match part.as_str() {
        "integer" => PartKind::Integer,
        _ => PartKind::Text,
    });
    let event = |event: String| match event.as_str() {
        "insert" => CaptureEvent::Insert,
        "update" => CaptureEvent::Update,
        _ => CaptureEvent::Delete,
    };
    JobSpec {
        name: sync.job,
        context: sync.context,
        root: sync.root,
        follow: sync.follow,
        mode: CaptureMode::Trigger,
        key: KeyShape::new(sync.separator.clone(), parts.collect()),
        roots: sync
            .roots
            .into_iter()
            .map(|r| RootsSpec { side: r.side, select: r.select })
            .collect(),
        captures: sync
            .capture
            .into_iter()
            .map(|c| CaptureSpec {
                side: c.side,
                table: c.table,
                key: c.key.trim().to_owned(),
                events: match c.events {
                    Some(events) => events.into_iter().map(event).collect(),
                    None => CaptureEvent::ALL.to_vec(),
                },
                cursor: None,
            })
            .collect(),
        tables: sync
            .table
            .into_iter()
            .map(|t| TableSpec {
                to: t.to,
                name: t.name,
                key: t.key,
                root_column: t.root_column,
                select: t.select,
                current: t.current,
                keep: t
                    .keep
                    .into_iter()
                    .map(|k| KeepSpec { column: k.column, unless: k.unless })
                    .collect(),
                shared: t.shared,
            })
            .collect(),
        limits: Limits { lease_ttl: Duration::from_millis(1_500), ..Limits::default() },
        rules: banyan_sync_jobs::Rules::default(),
    }
}

/// Tables of the monolith, as `legacy-fixture/mothership` makes them, on SQLite.
pub(crate) const LEGACY_TABLES: &str = "
CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, permalink VARCHAR(255) NOT NULL,
  username VARCHAR(255) NOT NULL, plan VARCHAR(16) NOT NULL DEFAULT 'free', avatar_url VARCHAR(255));
CREATE TABLE message_threads (id INTEGER PRIMARY KEY AUTOINCREMENT,
  subject VARCHAR(255) NOT NULL DEFAULT '', creator_id BIGINT NOT NULL,
  created_at DATETIME NOT NULL, updated_at DATETIME NOT NULL);
CREATE TABLE messages (id INTEGER PRIMARY KEY AUTOINCREMENT, thread_id BIGINT NOT NULL,
  parent_id BIGINT, sender_id BIGINT NOT NULL, recipient_id BIGINT NOT NULL, body TEXT NOT NULL,
  edited_at DATETIME, created_at DATETIME NOT NULL, updated_at DATETIME NOT NULL);
CREATE TABLE message_receipts (id INTEGER PRIMARY KEY AUTOINCREMENT,
  message_id BIGINT NOT NULL REFERENCES messages(id) ON DELETE CASCADE, user_id BIGINT NOT NULL,
  read_at DATETIME, deleted_at DATETIME);
CREATE INDEX i1 ON messages (thread_id);
CREATE INDEX i2 ON messages (sender_id, recipient_id);
CREATE UNIQUE INDEX i3 ON message_receipts (message_id, user_id);
";

/// Tables of the service, as `legacy-fixture/messages` makes them, on SQLite.
pub(crate) const NEW_TABLES: &str = "
CREATE TABLE people (id INTEGER PRIMARY KEY, permalink TEXT NOT NULL, username TEXT NOT NULL,
  avatar_url TEXT, plan TEXT NOT NULL DEFAULT 'free');
CREATE TABLE conversations (id TEXT PRIMARY KEY NOT NULL, user_low INTEGER NOT NULL,
  user_high INTEGER NOT NULL, last_message_id INTEGER, messages_count INTEGER NOT NULL DEFAULT 0,
  updated_at TEXT);
CREATE TABLE chat_messages (id INTEGER PRIMARY KEY, conversation_id TEXT NOT NULL,
  thread_id INTEGER NOT NULL, parent_id INTEGER, subject TEXT, author_id INTEGER NOT NULL,
  recipient_id INTEGER NOT NULL, body TEXT NOT NULL, sent_at TEXT NOT NULL, edited_at TEXT,
  read_at TEXT, changed_at TEXT NOT NULL, hidden_for_author INTEGER NOT NULL DEFAULT 0,
  hidden_for_recipient INTEGER NOT NULL DEFAULT 0);
CREATE INDEX chat_messages_received
  ON chat_messages (recipient_id, hidden_for_recipient, id, author_id, conversation_id, read_at);
CREATE INDEX chat_messages_written
  ON chat_messages (author_id, hidden_for_author, id, recipient_id, conversation_id);
CREATE INDEX chat_messages_of_conversation ON chat_messages (conversation_id, id);
";

/// Statements that seed `users` users and `messages` messages (SQLite), a tenth read or deleted.
pub(crate) fn seed_sql(users: u32, messages: u32) -> String {
    format!(
        "BEGIN;
INSERT INTO users (id, permalink, username, plan, avatar_url)
 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {users})
 SELECT i, 'user-' || i, 'User ' || i || ' é', CASE i % 7 WHEN 0 THEN 'pro' ELSE 'free' END,
        CASE i % 3 WHEN 0 THEN NULL ELSE 'a/' || i END FROM n;
INSERT INTO message_threads (id, subject, creator_id, created_at, updated_at)
 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {messages} / 4 + 1)
 SELECT i, 'Subject ' || i, 1, '2014-06-12 10:00:00', '2014-06-12 10:00:00' FROM n;
INSERT INTO messages (id, thread_id, parent_id, sender_id, recipient_id, body, edited_at,
                      created_at, updated_at)
 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {messages})
 SELECT i, i / 4 + 1, NULLIF(i % 4, 0), (i / 4 * 7919) % {users} + 1,
        (i / 4 * 104729 + i % 2) % {users} + 1, 'Body ''' || i || ''' | NULL é',
        CASE i % 9 WHEN 0 THEN '2014-06-13 10:00:00' END, '2014-06-12 10:00:00',
        '2014-06-12 10:00:00' FROM n;
INSERT INTO message_receipts (message_id, user_id, read_at, deleted_at)
 SELECT id, recipient_id, CASE id % 3 WHEN 0 THEN '2014-06-14 10:00:00' END,
        CASE id % 11 WHEN 0 THEN '2014-06-15 10:00:00' END FROM messages;
INSERT INTO message_receipts (message_id, user_id, deleted_at)
 SELECT id, sender_id, CASE id % 13 WHEN 0 THEN '2014-06-15 10:00:00' END FROM messages
  WHERE sender_id <> recipient_id;
COMMIT;"
    )
}

/// Two SQLite databases in a directory of their own.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) urls: SideUrls,
}

impl World {
    /// Makes both databases with their tables and seeded rows.
    pub(crate) async fn seeded(users: u32, messages: u32) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let url = |name: &str| format!("sqlite:{}", dir.path().join(name).display());
        let urls = SideUrls { legacy: url("legacy.db"), new: url("new.db") };
        let world = Self { dir, urls };
        let mut legacy = world.create("legacy.db").await;
        run(&mut legacy, LEGACY_TABLES).await;
        run(&mut legacy, &seed_sql(users, messages)).await;
        let mut new = world.create("new.db").await;
        run(&mut new, NEW_TABLES).await;
        legacy.close().await.expect("closes");
        new.close().await.expect("closes");
        world
    }

    async fn create(&self, name: &str) -> SqliteConnection {
        SqliteConnectOptions::new()
            .filename(self.dir.path().join(name))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .connect()
            .await
            .expect("creates the database")
    }

    /// A connection as an application would have.
    pub(crate) async fn connect(&self, side: Side) -> SqliteConnection {
        let name = match side {
            Side::Legacy => "legacy.db",
            Side::New => "new.db",
        };
        SqliteConnectOptions::new()
            .filename(self.dir.path().join(name))
            .busy_timeout(Duration::from_secs(20))
            .connect()
            .await
            .expect("connects")
    }

    /// A job of the shipped mapping.
    pub(crate) fn job(&self, name: &str, ports: Ports) -> Job {
        self.job_of(spec(SQLITE, name), ports)
    }

    /// A job of this spec.
    pub(crate) fn job_of(&self, spec: JobSpec, ports: Ports) -> Job {
        Job::open(spec, self.urls.clone(), ports).expect("the job opens")
    }
}

/// Runs statements.
pub(crate) async fn run(on: &mut SqliteConnection, sql: &str) {
    on.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.expect("runs");
}

/// One number.
pub(crate) async fn number(on: &mut SqliteConnection, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(on).await.expect("gives a number")
}

/// Verifies all roots and panics with the differences unless both sides are equal.
pub(crate) async fn assert_equal(job: &Job) -> VerifyReport {
    let report = job.verify(VerifyOptions::default()).await.expect("verifies");
    assert!(report.is_clean(), "{report:#?}");
    assert!(report.copied);
    report
}

/// Keeps all that a run publishes.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) events: Mutex<Vec<ProgressEvent>>,
    pub(crate) watermarks: Mutex<Vec<Watermark>>,
    pub(crate) runs: Mutex<Vec<RunRecord>>,
}

impl Recorder {
    pub(crate) fn last_watermark(&self) -> Option<Watermark> {
        self.watermarks.lock().expect("no panic").last().cloned()
    }
}

impl Progress for Recorder {
    fn observe(&self, event: ProgressEvent) {
        self.events.lock().expect("no panic").push(event);
    }
}

#[async_trait]
impl ProgressStore for Recorder {
    async fn save_watermark(&self, watermark: &Watermark) -> Result<(), ProgressStoreError> {
        self.watermarks.lock().expect("no panic").push(watermark.clone());
        Ok(())
    }

    async fn save_run(&self, run: &RunRecord) -> Result<(), ProgressStoreError> {
        self.runs.lock().expect("no panic").push(run.clone());
        Ok(())
    }
}

/// Ports that record.
pub(crate) fn recording() -> (Arc<Recorder>, Ports) {
    let recorder = Arc::new(Recorder::default());
    let ports = Ports {
        progress: Arc::<Recorder>::clone(&recorder),
        store: Arc::<Recorder>::clone(&recorder),
        ..Ports::default()
    };
    (recorder, ports)
}

/// Waits until `holds`, at most `limit`.
pub(crate) async fn eventually(limit: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let started = std::time::Instant::now();
    while !holds().await {
        assert!(started.elapsed() < limit, "did not happen within {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
