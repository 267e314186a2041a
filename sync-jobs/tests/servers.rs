//! MariaDB -> Postgres with the shipped mapping, and the other pairs that the dialects give.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use std::time::{Duration, Instant};

use banyan_sync_jobs::{
    CaptureEvent, CaptureMode, CaptureSpec, Job, JobSpec, KeyShape, Limits, PartKind, Ports,
    RootsSpec, RunMode, Side, SideUrls, TableSpec, VerifyOptions,
};
use banyan_test_servers::{Server, or_skip};
use sqlx::mysql::MySqlConnectOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, MySqlConnection, PgConnection};
use tokio_util::sync::CancellationToken;
use world::{World, assert_equal, eventually};

const MARIADB_TABLES: &str = "
CREATE TABLE users (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, permalink VARCHAR(255) NOT NULL,
  username VARCHAR(255) NOT NULL, plan VARCHAR(16) NOT NULL DEFAULT 'free',
  avatar_url VARCHAR(255)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;
CREATE TABLE message_threads (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  subject VARCHAR(255) NOT NULL DEFAULT '', creator_id BIGINT NOT NULL,
  created_at DATETIME NOT NULL, updated_at DATETIME NOT NULL)
  ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;
CREATE TABLE messages (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, thread_id BIGINT NOT NULL,
  parent_id BIGINT, sender_id BIGINT NOT NULL, recipient_id BIGINT NOT NULL,
  body MEDIUMTEXT NOT NULL, edited_at DATETIME, created_at DATETIME NOT NULL,
  updated_at DATETIME NOT NULL, KEY (thread_id), KEY (sender_id, recipient_id), KEY (recipient_id))
  ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;
CREATE TABLE message_receipts (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  message_id BIGINT NOT NULL, user_id BIGINT NOT NULL, read_at DATETIME, deleted_at DATETIME,
  UNIQUE KEY (message_id, user_id)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
";

const POSTGRES_TABLES: &str = "
CREATE TABLE people (id BIGINT PRIMARY KEY, permalink TEXT NOT NULL, username TEXT NOT NULL,
  avatar_url TEXT, plan TEXT NOT NULL DEFAULT 'free');
CREATE TABLE conversations (id TEXT PRIMARY KEY, user_low BIGINT NOT NULL, user_high BIGINT NOT NULL,
  last_message_id BIGINT, messages_count BIGINT NOT NULL DEFAULT 0, updated_at TIMESTAMP);
CREATE TABLE chat_messages (id BIGINT PRIMARY KEY, conversation_id TEXT NOT NULL,
  thread_id BIGINT NOT NULL, parent_id BIGINT, subject TEXT, author_id BIGINT NOT NULL,
  recipient_id BIGINT NOT NULL, body TEXT NOT NULL, sent_at TIMESTAMP NOT NULL,
  edited_at TIMESTAMP, read_at TIMESTAMP, changed_at TIMESTAMP NOT NULL,
  hidden_for_author BOOLEAN NOT NULL DEFAULT FALSE,
  hidden_for_recipient BOOLEAN NOT NULL DEFAULT FALSE);
CREATE INDEX chat_messages_of_conversation ON chat_messages (conversation_id, id);
";

fn seed(users: u32, messages: u32) -> String {
    format!(
        "INSERT INTO users (id, permalink, username, plan, avatar_url)
 SELECT seq, CONCAT('user-', seq), CONCAT('User ', seq, ' é😀'), IF(seq % 7, 'free', 'pro'),
        IF(seq % 3, CONCAT('a/', seq), NULL) FROM seq_1_to_{users};
INSERT INTO message_threads (id, subject, creator_id, created_at, updated_at)
 SELECT seq, CONCAT('Subject ', seq), 1, '2014-06-12 10:00:00', '2014-06-12 10:00:00' FROM seq_1_to_{messages} WHERE seq <= {messages} / 4 + 1;
INSERT INTO messages (id, thread_id, parent_id, sender_id, recipient_id, body, edited_at,
                      created_at, updated_at)
 SELECT seq, seq DIV 4 + 1, NULLIF(seq % 4, 0), (seq DIV 4 * 7919) % {users} + 1,
        (seq DIV 4 * 104729 + seq % 2) % {users} + 1,
        CONCAT('Body ''', seq, ''' \\\\ | NULL cafÃ©'),
        IF(seq % 9, NULL, '2014-06-13 10:00:00'), '2014-06-12 10:00:00', '2014-06-12 10:00:00'
   FROM seq_1_to_{messages};
INSERT INTO message_receipts (message_id, user_id, read_at, deleted_at)
 SELECT id, recipient_id, IF(id % 3, NULL, '2014-06-14 10:00:00'),
        IF(id % 11, NULL, '2014-06-15 10:00:00') FROM messages;
INSERT INTO message_receipts (message_id, user_id, deleted_at)
 SELECT id, sender_id, IF(id % 13, NULL, '2014-06-15 10:00:00') FROM messages
  WHERE sender_id <> recipient_id;"
    )
}

/// Both servers, each with a database of its own for the test.
struct Servers {
    mariadb: Server,
    postgres: Server,
}

impl Servers {
    async fn start() -> Option<Self> {
        let booted = tokio::task::spawn_blocking(|| {
            (banyan_test_servers::mariadb(), banyan_test_servers::postgres())
        })
        .await;
        let (mariadb, postgres) = booted.unwrap();
        let servers = Self { mariadb: or_skip(mariadb)?, postgres: or_skip(postgres)? };
        let mut admin = mysql(&servers.mariadb_url("mysql")).await;
        my(&mut admin, "CREATE DATABASE m CHARACTER SET utf8mb4").await;
        let mut admin = pg(&servers.postgres_url("postgres")).await;
        admin.execute("CREATE DATABASE s").await.unwrap();
        Some(servers)
    }

    fn mariadb_url(&self, database: &str) -> String {
        format!("mysql://root@127.0.0.1:{}/{database}", self.mariadb.port())
    }

    fn postgres_url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.postgres.port())
    }
}

async fn mysql(url: &str) -> MySqlConnection {
    let options: MySqlConnectOptions = url.parse().unwrap();
    patiently(async || options.connect().await).await
}

async fn pg(url: &str) -> PgConnection {
    let options: PgConnectOptions = url.parse().unwrap();
    patiently(async || options.connect().await).await
}

/// A server that listens may not be ready yet.
async fn patiently<T>(mut connect: impl AsyncFnMut() -> Result<T, sqlx::Error>) -> T {
    let started = Instant::now();
    loop {
        match connect().await {
            Ok(connection) => return connection,
            Err(error) => assert!(started.elapsed() < Duration::from_secs(30), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn my(on: &mut MySqlConnection, sql: &str) {
    on.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
}

async fn pg_run(on: &mut PgConnection, sql: &str) {
    on.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
}

async fn my_number(on: &mut MySqlConnection, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(on).await.unwrap()
}

async fn pg_number(on: &mut PgConnection, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(on).await.unwrap()
}

async fn once(job: &Job) -> banyan_sync_jobs::RunSummary {
    job.run(RunMode::Once, CancellationToken::new()).await.unwrap()
}

/// The same changes as the SQLite test, in the monolith's engine.
const CHANGES: [&str; 10] = [
    "UPDATE users SET username = 'Ada', plan = 'pro', avatar_url = NULL WHERE id = 3",
    "DELETE FROM users WHERE id = 11",
    "INSERT INTO messages (thread_id, sender_id, recipient_id, body, created_at, updated_at) \
     VALUES (1, 7, 7, 'note to self; '' \\\\ | NULL 😀', '2014-07-01', '2014-07-01')",
    "UPDATE messages SET body = 'edited', edited_at = '2014-07-02' WHERE id = 5",
    "UPDATE message_receipts SET read_at = '2014-07-03' WHERE message_id IN (7, 8)",
    "UPDATE message_receipts SET deleted_at = '2014-07-03' WHERE message_id = 8",
    "UPDATE message_threads SET subject = 'new subject' WHERE id = 2",
    "UPDATE messages SET recipient_id = recipient_id % 20 + 1 WHERE id = 9",
    "DELETE FROM message_receipts WHERE message_id = 12",
    "DELETE FROM messages WHERE LEAST(sender_id, recipient_id) = 4",
];

#[tokio::test]
async fn mariadb_threads_become_postgres_conversations_and_stay_so() {
    let Some(servers) = Servers::start().await else { return };
    let urls = SideUrls { legacy: servers.mariadb_url("m"), new: servers.postgres_url("s") };
    let mut legacy = mysql(&urls.legacy).await;
    let mut new = pg(&urls.new).await;
    my(&mut legacy, MARIADB_TABLES).await;
    my(&mut legacy, &seed(20, 3_000)).await;
    pg_run(&mut new, POSTGRES_TABLES).await;
    let mut jobs = Vec::new();
    for name in ["people", "messages"] {
        let spec = world::spec(world::MARIADB, name);
        let job = Job::open(spec, urls.clone(), Ports::default()).unwrap();
        let plan = job.plan().await.unwrap();
        assert_eq!(job.install().await.unwrap().made, plan.missing);
        assert!(job.install().await.unwrap().made.is_empty());
        once(&job).await;
        assert_equal(&job).await;
        assert!(job.plan().await.unwrap().is_empty());
        jobs.push(job);
    }
    assert_eq!(pg_number(&mut new, "SELECT count(*) FROM chat_messages").await, 3_000);
    for change in CHANGES {
        my(&mut legacy, change).await;
        let mut rows = 0;
        for job in &jobs {
            rows += once(job).await.counters.rows();
            assert_equal(job).await;
        }
        assert!(rows > 0, "{change}");
    }
    assert_eq!(my_number(&mut legacy, "SELECT COUNT(*) FROM by_change").await, 0);
    late_commit(&urls, &mut legacy, &jobs[0]).await;
    follow_and_verify(&urls, &jobs[1]).await;
    planted(&mut new, &jobs[1]).await;
}

/// A transaction that got its ids first and commits last must not be lost.
async fn late_commit(urls: &SideUrls, legacy: &mut MySqlConnection, job: &Job) {
    let mut slow = mysql(&urls.legacy).await;
    my(&mut slow, "START TRANSACTION; UPDATE users SET username = 'late' WHERE id = 1").await;
    my(legacy, "UPDATE users SET username = 'quick' WHERE id = 2").await;
    assert_eq!(once(job).await.counters.rows_updated, 1);
    my(&mut slow, "COMMIT").await;
    assert_eq!(once(job).await.counters.rows_updated, 1);
    assert_equal(job).await;
}

/// A writer, a follower and a verify at once.
async fn follow_and_verify(urls: &SideUrls, job: &Job) {
    let cancel = CancellationToken::new();
    let follower = tokio::spawn({
        let (job, cancel) = (job.clone(), cancel.clone());
        async move { job.run(RunMode::Follow, cancel).await }
    });
    let writer = tokio::spawn({
        let (mut legacy, cancel) = (mysql(&urls.legacy).await, cancel.clone());
        async move {
            let mut n = 0_u32;
            while !cancel.is_cancelled() {
                n += 1;
                let id = n * 7_919 % 3_000 + 1;
                my(&mut legacy, &format!("UPDATE messages SET body = 'w{n}' WHERE id = {id}"))
                    .await;
            }
            n
        }
    });
    for _ in 0..3 {
        let report = job.verify(VerifyOptions::default()).await.unwrap();
        assert_eq!(report.differing_total, 0, "{report:?}");
    }
    cancel.cancel();
    assert!(writer.await.unwrap() > 100);
    follower.await.unwrap().unwrap();
    once(job).await;
    assert_equal(job).await;
}

async fn planted(new: &mut PgConnection, job: &Job) {
    pg_run(new, "UPDATE chat_messages SET read_at = read_at + interval '1 hour' WHERE id = 33")
        .await;
    let report = job.verify(VerifyOptions::default()).await.unwrap();
    assert_eq!(report.differing_total, 1);
    assert_eq!(report.differing[0].rows[0].columns[0].column, "read_at");
}

/// One table copied as it is: enough to run each dialect as source and as target.
fn notes(from: Side) -> JobSpec {
    JobSpec {
        name: "notes".to_owned(),
        context: "notes".to_owned(),
        root: "author".to_owned(),
        follow: false,
        mode: CaptureMode::Trigger,
        key: KeyShape::new("", vec![PartKind::Integer]),
        roots: vec![RootsSpec {
            side: from,
            select: "SELECT author_id AS k FROM notes".to_owned(),
        }],
        captures: vec![CaptureSpec {
            side: from,
            table: "notes".to_owned(),
            key: "{row}.author_id".to_owned(),
            events: CaptureEvent::ALL.to_vec(),
            cursor: None,
        }],
        tables: vec![TableSpec {
            to: from.other(),
            name: "copies".to_owned(),
            key: vec!["author_id".to_owned(), "number".to_owned()],
            root_column: "author_id".to_owned(),
            select: "SELECT n.author_id, n.number, n.body, n.flag, n.made_at, n.amount, n.ratio \
                 FROM {key_rows} AS root JOIN notes n ON n.author_id = root.k1"
                .to_owned(),
            current: None,
            keep: vec![],
            shared: false,
        }],
        limits: Limits { lease_ttl: Duration::from_millis(1_500), ..Limits::default() },
        rules: banyan_sync_jobs::Rules::default(),
    }
}

fn notes_table(name: &str, flag: &str, time: &str, float: &str) -> String {
    format!(
        "CREATE TABLE {name} (author_id BIGINT NOT NULL, number INT NOT NULL, body TEXT, \
         flag {flag} NOT NULL, made_at {time}, amount DECIMAL(12,4), ratio {float}, \
         PRIMARY KEY (author_id, number))"
    )
}

/// Statements that all three engines understand.
const NOTES: [&str; 8] = [
    "INSERT INTO notes VALUES (1, 1, 'one', TRUE, '2014-06-12 10:00:00', 1.5, 0.1), \
     (1, 2, NULL, FALSE, NULL, NULL, NULL), (2, 1, '', TRUE, '2014-06-12 10:00:01', -0.25, 1e20), \
     (3, 1, 'it''s | NULL é😀', FALSE, '1999-12-31 23:59:59', 1000000, -2.5)",
    "UPDATE notes SET body = 'changed', flag = TRUE WHERE author_id = 3",
    "UPDATE notes SET author_id = 4 WHERE author_id = 1 AND number = 2",
    "UPDATE notes SET author_id = 2, number = 7 WHERE author_id = 3",
    "DELETE FROM notes WHERE author_id = 4",
    "UPDATE notes SET ratio = 0.30000000000000004, amount = 0.1 WHERE author_id = 2",
    "INSERT INTO notes VALUES (-5, 1, '\\\\', TRUE, NULL, 0, 0)",
    "DELETE FROM notes",
];

enum Database {
    Sqlite(sqlx::SqliteConnection),
    Postgres(PgConnection),
    MariaDb(MySqlConnection),
}

impl Database {
    async fn run(&mut self, sql: &str) {
        match self {
            Self::Sqlite(on) => world::run(on, sql).await,
            Self::Postgres(on) => pg_run(on, sql).await,
            Self::MariaDb(on) => my(on, sql).await,
        }
    }
}

#[tokio::test]
async fn every_engine_is_a_source_and_a_target() {
    let Some(servers) = Servers::start().await else { return };
    let world = World::seeded(1, 4).await;
    for from in [Side::Legacy, Side::New] {
        for source in 0..3 {
            for target in 0..3 {
                let name = format!("p{}{source}{target}", from.as_str());
                pair(&servers, &world, &name, from, [source, target]).await;
            }
        }
    }
}

/// One pair of engines: copy, changes, truncate where there is one.
async fn pair(servers: &Servers, world: &World, name: &str, from: Side, engines: [usize; 2]) {
    let (source_url, mut source) = database(servers, world, &format!("{name}a"), engines[0]).await;
    let (target_url, mut target) = database(servers, world, &format!("{name}b"), engines[1]).await;
    let [notes_ddl, copies_ddl] = [("notes", engines[0]), ("copies", engines[1])].map(|(n, e)| {
        let (flag, time, float) = match e {
            0 => ("BOOLEAN", "DATETIME", "REAL"),
            1 => ("BOOLEAN", "TIMESTAMP", "DOUBLE PRECISION"),
            _ => ("TINYINT(1)", "DATETIME(6)", "DOUBLE"),
        };
        notes_table(n, flag, time, float)
    });
    source.run(&notes_ddl).await;
    target.run(&copies_ddl).await;
    let urls = match from {
        Side::Legacy => SideUrls { legacy: source_url, new: target_url },
        Side::New => SideUrls { legacy: target_url, new: source_url },
    };
    let job = Job::open_toward(notes(from), urls, Ports::default(), from.other()).unwrap();
    source.run(NOTES[0]).await;
    job.install().await.unwrap();
    for change in NOTES.iter().skip(1) {
        once(&job).await;
        assert_equal(&job).await;
        source.run(change).await;
        if matches!(source, Database::Postgres(_)) && *change == "DELETE FROM notes" {
            source.run("INSERT INTO notes VALUES (8, 8, '', TRUE, NULL, 0, 0)").await;
            once(&job).await;
            source.run("TRUNCATE notes").await;
        }
    }
    assert!(once(&job).await.counters.rows_deleted > 0, "{name}");
    let report = assert_equal(&job).await;
    assert_eq!(report.pending, 0);
    job.uninstall(true).await.unwrap();
}

async fn database(
    servers: &Servers,
    world: &World,
    name: &str,
    engine: usize,
) -> (String, Database) {
    match engine {
        0 => {
            let file = world.dir.path().join(name);
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file);
            let on = options.create_if_missing(true).connect().await.unwrap();
            (format!("sqlite:{}", file.display()), Database::Sqlite(on))
        }
        1 => {
            let mut admin = pg(&servers.postgres_url("postgres")).await;
            pg_run(&mut admin, &format!("CREATE DATABASE {name}")).await;
            let url = servers.postgres_url(name);
            (url.clone(), Database::Postgres(pg(&url).await))
        }
        _ => {
            let mut admin = mysql(&servers.mariadb_url("mysql")).await;
            my(&mut admin, &format!("CREATE DATABASE {name} CHARACTER SET utf8mb4")).await;
            let url = servers.mariadb_url(name);
            (url.clone(), Database::MariaDb(mysql(&url).await))
        }
    }
}

#[tokio::test]
async fn a_killed_and_restarted_server_is_waited_for() {
    // Kept small: the connection of a follower is cut, as by a restart, and it goes on by itself.
    let Some(servers) = Servers::start().await else { return };
    let urls = SideUrls { legacy: servers.mariadb_url("m"), new: servers.postgres_url("s") };
    let mut legacy = mysql(&urls.legacy).await;
    let mut new = pg(&urls.new).await;
    my(&mut legacy, MARIADB_TABLES).await;
    my(&mut legacy, &seed(20, 40)).await;
    pg_run(&mut new, POSTGRES_TABLES).await;
    let (recorder, ports) = world::recording();
    let job = Job::open(world::spec(world::MARIADB, "people"), urls, ports).unwrap();
    job.install().await.unwrap();
    let cancel = CancellationToken::new();
    let follower = tokio::spawn({
        let (job, cancel) = (job.clone(), cancel.clone());
        async move { job.run(RunMode::Follow, cancel).await }
    });
    let people = "SELECT count(*) FROM people WHERE username = 'after'";
    for cut in 0..2 {
        let followed = recorder.last_watermark().map_or(0, |w| w.watermark_ms);
        eventually(Duration::from_secs(20), async || {
            recorder.last_watermark().is_some_and(|w| w.watermark_ms > followed)
        })
        .await;
        let own = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
            WHERE application_name = 'banyan-sync'";
        pg_run(&mut new, own).await;
        my(&mut legacy, &format!("UPDATE users SET username = 'after' WHERE id = {}", cut + 1))
            .await;
        eventually(Duration::from_secs(20), async || pg_number(&mut new, people).await == cut + 1)
            .await;
    }
    cancel.cancel();
    follower.await.unwrap().unwrap();
    assert_equal(&job).await;
}
