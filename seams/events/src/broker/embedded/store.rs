//! The SQL of the embedded broker: tables, and each act on them.
//!
//! What must stay true: a message that is refused has written nothing (all checks come before the first write);
//! `queues.length` equals the number of its entries; a session row is the right to take, acknowledge and
//! publish, and whoever deletes it has put its entries back first.

mod declare;
mod publish;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Row as _, Sqlite, SqliteConnection, Transaction};

use crate::broker::unrouted::Unrouted;
use crate::broker::{
    BrokerError, Delivery, ExchangeKind, Message, PublishId, QueueOptions, topic_matches,
};

/// Longest wait for another process that holds the file.
const BUSY_MAX: Duration = Duration::from_secs(5);
/// Messages per queue when its options say nothing.
const LENGTH_MAX: u32 = 1_000_000;
/// Publish ids remembered per publisher.
const PUBLISH_IDS_MAX: i64 = 1_000_000;
/// How often (in publishes with an id) old ids are forgotten.
const FORGET_EVERY: i64 = 1_024;
/// Format of the file; a file of another format is refused.
const FORMAT: &str = "1";

const SCHEMA: [&str; 8] = [
    "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS exchanges (name TEXT PRIMARY KEY, kind TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS queues (name TEXT PRIMARY KEY, options TEXT NOT NULL,
        single_active INTEGER NOT NULL, length INTEGER NOT NULL DEFAULT 0)",
    "CREATE TABLE IF NOT EXISTS bindings (exchange TEXT NOT NULL, queue TEXT NOT NULL,
        pattern TEXT NOT NULL, PRIMARY KEY (exchange, queue, pattern)) WITHOUT ROWID",
    // `id` is the order of a queue; `session` is who has it, NULL = waiting.
    "CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL,
        session INTEGER, deliveries INTEGER NOT NULL DEFAULT 0, exchange TEXT NOT NULL,
        routing_key TEXT NOT NULL, properties TEXT NOT NULL, body BLOB NOT NULL)",
    "CREATE INDEX IF NOT EXISTS entries_waiting ON entries (queue, id) WHERE session IS NULL",
    "CREATE INDEX IF NOT EXISTS entries_taken ON entries (session) WHERE session IS NOT NULL",
    "CREATE TABLE IF NOT EXISTS published (publisher TEXT NOT NULL, sequence INTEGER NOT NULL,
        PRIMARY KEY (publisher, sequence)) WITHOUT ROWID",
];
const SCHEMA_SESSIONS: &str = "CREATE TABLE IF NOT EXISTS sessions
    (id INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL, until_ms INTEGER NOT NULL)";

const INSERT_ENTRY: &str = "INSERT INTO entries (queue, exchange, routing_key, properties, body)
    VALUES (?1, ?2, ?3, ?4, ?5)";
/// Read-only look before a claim, so that an idle consumer takes no write lock.
const LOOK: &str = "SELECT s.queue, EXISTS (SELECT 1 FROM entries e WHERE e.queue = s.queue
        AND e.session IS NULL) AND (q.single_active = 0
        OR s.id = (SELECT MIN(o.id) FROM sessions o WHERE o.queue = s.queue))
    FROM sessions s JOIN queues q ON q.name = s.queue WHERE s.id = ?1";
/// Takes the oldest waiting entries; checks again what `LOOK` saw, because now it holds the write lock.
const CLAIM: &str = "UPDATE entries SET session = ?1, deliveries = deliveries + 1
    WHERE id IN (SELECT id FROM entries WHERE queue = ?2 AND session IS NULL ORDER BY id LIMIT ?3)
    AND EXISTS (SELECT 1 FROM sessions s JOIN queues q ON q.name = s.queue WHERE s.id = ?1
        AND (q.single_active = 0
            OR s.id = (SELECT MIN(o.id) FROM sessions o WHERE o.queue = s.queue)))
    RETURNING id, deliveries, exchange, routing_key, properties, body";

/// The file, opened.
pub(super) struct Store {
    conn: SqliteConnection,
    path: PathBuf,
    routes: Routes,
    data_version: i64,
}

/// Exchanges and bindings as of `version`, so that a publish reads only its queues' lengths.
#[derive(Default)]
struct Routes {
    version: String,
    exchanges: HashMap<String, Exchange>,
    length_max: HashMap<String, u32>,
    /// Queues that drop their oldest message instead of refusing.
    drops_oldest: HashSet<String>,
}

struct Exchange {
    kind: ExchangeKind,
    /// Pattern and queue.
    bindings: Vec<(String, String)>,
}

/// One transaction on the file.
pub(super) struct Work<'c> {
    tx: Transaction<'c, Sqlite>,
    path: &'c Path,
    routes: &'c mut Routes,
}

fn storage(path: &Path, error: &dyn std::error::Error) -> BrokerError {
    BrokerError::Storage { path: path.display().to_string(), reason: error.to_string() }
}

impl Store {
    pub(super) async fn open(path: &Path) -> Result<Self, BrokerError> {
        let give_up = Instant::now() + BUSY_MAX;
        loop {
            match Self::try_open(path).await {
                // Two processes that turn on WAL at the same moment do not wait for each other.
                Err(error) if is_busy(&error) && Instant::now() < give_up => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => return Err(storage(path, &error)),
                Ok(conn) => return Self::checked(conn, path).await,
            }
        }
    }

    async fn try_open(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
        let mut conn = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_MAX)
            .disable_statement_logging()
            .connect()
            .await?;
        let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
        for statement in SCHEMA.into_iter().chain([SCHEMA_SESSIONS]) {
            sqlx::query(statement).execute(&mut *tx).await?;
        }
        sqlx::query(
            "INSERT OR IGNORE INTO meta (key, value) VALUES ('format', ?1), ('topology', '')",
        )
        .bind(FORMAT)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(conn)
    }

    async fn checked(mut conn: SqliteConnection, path: &Path) -> Result<Self, BrokerError> {
        let format: String = sqlx::query_scalar("SELECT value FROM meta WHERE key = 'format'")
            .fetch_one(&mut conn)
            .await
            .map_err(|error| storage(path, &error))?;
        if format != FORMAT {
            let reason = format!("its format is {format}, this program reads {FORMAT}");
            return Err(BrokerError::Storage { path: path.display().to_string(), reason });
        }
        let routes = Routes { version: "never read".to_owned(), ..Routes::default() };
        Ok(Self { conn, path: path.to_owned(), routes, data_version: 0 })
    }

    pub(super) async fn close(self) {
        let path = self.path;
        if let Err(error) = self.conn.close().await {
            tracing::warn!(path = %path.display(), %error, "the broker file did not close cleanly");
        }
    }

    /// Begins a transaction that holds the file's write lock from its start.
    pub(super) async fn begin(&mut self) -> Result<Work<'_>, BrokerError> {
        let path = &self.path;
        let tx =
            self.conn.begin_with("BEGIN IMMEDIATE").await.map_err(|error| storage(path, &error))?;
        Ok(Work { tx, path, routes: &mut self.routes })
    }

    /// Whether another connection has committed since the last call.
    pub(super) async fn changed_elsewhere(&mut self) -> Result<bool, BrokerError> {
        let version: i64 = sqlx::query_scalar("PRAGMA data_version")
            .fetch_one(&mut self.conn)
            .await
            .map_err(|error| storage(&self.path, &error))?;
        let changed = version != self.data_version;
        self.data_version = version;
        Ok(changed)
    }

    /// Takes up to `messages_max` waiting messages for a session, oldest first.
    pub(super) async fn claim(
        &mut self,
        session: i64,
        messages_max: usize,
    ) -> Result<Vec<Delivery>, BrokerError> {
        let failed = |error: sqlx::Error| storage(&self.path, &error);
        let look: Option<(String, bool)> = sqlx::query_as(LOOK)
            .bind(session)
            .fetch_optional(&mut self.conn)
            .await
            .map_err(failed)?;
        let (queue, something) = look.ok_or_else(|| lost(""))?;
        if !something {
            return Ok(Vec::new());
        }
        let rows = sqlx::query(CLAIM)
            .bind(session)
            .bind(queue)
            .bind(i64::try_from(messages_max).unwrap_or(i64::MAX))
            .fetch_all(&mut self.conn)
            .await
            .map_err(failed)?;
        let mut deliveries = rows
            .iter()
            .map(|row| delivery(row).map_err(|error| storage(&self.path, &*error)))
            .collect::<Result<Vec<_>, _>>()?;
        // RETURNING promises no order.
        deliveries.sort_by_key(|delivery| delivery.tag);
        Ok(deliveries)
    }

    /// Prolongs own sessions and ends the expired ones; answers which of the own are still there.
    pub(super) async fn beat(
        &mut self,
        own: &[i64],
        now_ms: i64,
        until_ms: i64,
    ) -> Result<Vec<i64>, BrokerError> {
        let mut work = self.begin().await?;
        let mut alive = Vec::with_capacity(own.len());
        for session in own {
            if work.prolong(*session, until_ms).await? {
                alive.push(*session);
            }
        }
        for session in work.expired(now_ms).await? {
            tracing::info!(session, "a consumer stopped beating; its messages go to the next one");
            work.release(session).await?;
        }
        work.commit().await?;
        Ok(alive)
    }
}

fn is_busy(error: &sqlx::Error) -> bool {
    let text = error.to_string();
    text.contains("locked") || text.contains("busy")
}

fn lost(queue: &str) -> BrokerError {
    BrokerError::ConsumerLost {
        queue: queue.to_owned(),
        reason: "its lease ended and another consumer may have the queue".to_owned(),
    }
}

fn delivery(row: &SqliteRow) -> Result<Delivery, Box<dyn std::error::Error>> {
    let properties: String = row.try_get(4)?;
    Ok(Delivery {
        tag: u64::try_from(row.try_get::<i64, _>(0)?)?,
        redelivered: row.try_get::<i64, _>(1)? > 1,
        message: Message {
            exchange: row.try_get(2)?,
            routing_key: row.try_get(3)?,
            properties: serde_json::from_str(&properties)?,
            body: row.try_get(5)?,
            publish_id: None,
            is_mandatory: false,
        },
    })
}

impl Work<'_> {
    pub(super) async fn commit(self) -> Result<(), BrokerError> {
        let path = self.path;
        self.tx.commit().await.map_err(|error| storage(path, &error))
    }

    fn failed(&self, error: &dyn std::error::Error) -> BrokerError {
        storage(self.path, error)
    }

    pub(super) async fn open_session(
        &mut self,
        queue: &str,
        until_ms: i64,
    ) -> Result<i64, BrokerError> {
        if self.value_of("SELECT options FROM queues WHERE name = ?1", queue).await?.is_none() {
            return Err(BrokerError::NoQueue { queue: queue.to_owned() });
        }
        let path = self.path;
        let inserted = sqlx::query("INSERT INTO sessions (queue, until_ms) VALUES (?1, ?2)")
            .bind(queue)
            .bind(until_ms)
            .execute(&mut *self.tx)
            .await
            .map_err(|error| storage(path, &error))?;
        Ok(inserted.last_insert_rowid())
    }

    pub(super) async fn ack(
        &mut self,
        session: i64,
        queue: &str,
        tags: &[u64],
    ) -> Result<(), BrokerError> {
        self.check_session(session, queue).await?;
        let path = self.path;
        let tags = serde_json::to_string(tags).map_err(|error| storage(path, &error))?;
        let delete =
            "DELETE FROM entries WHERE session = ?1 AND id IN (SELECT value FROM json_each(?2))";
        let deleted = sqlx::query(delete)
            .bind(session)
            .bind(tags)
            .execute(&mut *self.tx)
            .await
            .map_err(|error| storage(path, &error))?
            .rows_affected();
        sqlx::query("UPDATE queues SET length = length - ?2 WHERE name = ?1")
            .bind(queue)
            .bind(i64::try_from(deleted).unwrap_or(i64::MAX))
            .execute(&mut *self.tx)
            .await
            .map_err(|error| storage(path, &error))?;
        Ok(())
    }

    /// Puts back what a session has taken, in its old places, and ends it.
    pub(super) async fn release(&mut self, session: i64) -> Result<(), BrokerError> {
        let path = self.path;
        for statement in [
            "UPDATE entries SET session = NULL WHERE session = ?1",
            "DELETE FROM sessions WHERE id = ?1",
        ] {
            sqlx::query(statement)
                .bind(session)
                .execute(&mut *self.tx)
                .await
                .map_err(|error| storage(path, &error))?;
        }
        Ok(())
    }

    async fn prolong(&mut self, session: i64, until_ms: i64) -> Result<bool, BrokerError> {
        let path = self.path;
        let updated = sqlx::query("UPDATE sessions SET until_ms = ?2 WHERE id = ?1")
            .bind(session)
            .bind(until_ms)
            .execute(&mut *self.tx)
            .await
            .map_err(|error| storage(path, &error))?;
        Ok(updated.rows_affected() == 1)
    }

    async fn expired(&mut self, now_ms: i64) -> Result<Vec<i64>, BrokerError> {
        let path = self.path;
        sqlx::query_scalar("SELECT id FROM sessions WHERE until_ms < ?1")
            .bind(now_ms)
            .fetch_all(&mut *self.tx)
            .await
            .map_err(|error| storage(path, &error))
    }

    pub(super) async fn depth(&mut self, queue: &str) -> Result<u64, BrokerError> {
        if self.value_of("SELECT options FROM queues WHERE name = ?1", queue).await?.is_none() {
            return Err(BrokerError::NoQueue { queue: queue.to_owned() });
        }
        let path = self.path;
        let waiting: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM entries WHERE queue = ?1 AND session IS NULL")
                .bind(queue)
                .fetch_one(&mut *self.tx)
                .await
                .map_err(|error| storage(path, &error))?;
        Ok(u64::try_from(waiting).unwrap_or(0))
    }
}
