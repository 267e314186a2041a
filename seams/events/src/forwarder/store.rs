//! The forwarder's own database: tables and opening. What is done with them is in `log`, `lease`, `status`.
//!
//! SQLite now; everything that knows it is behind [`Store`], so another database changes no caller.
//!
//! What must stay true: there is one row per event and key (UNIQUE), so a decision can be made only once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tokio::sync::{Mutex, MutexGuard};

use super::ForwarderError;

/// Longest wait for another process that holds the file.
const BUSY_MAX: Duration = Duration::from_secs(5);
/// Format of the file; a file of another format is refused.
const FORMAT: &str = "1";

const SCHEMA: [&str; 10] = [
    "CREATE TABLE IF NOT EXISTS forwarder_meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS forwarder_owner (context TEXT PRIMARY KEY, owner TEXT NOT NULL,
        epoch INTEGER NOT NULL, previous TEXT, since_ms INTEGER NOT NULL)",
    // `context` is '' for unmigrated events. `pair_id` is for the parity of event streams.
    "CREATE TABLE IF NOT EXISTS forwarder_log (id INTEGER PRIMARY KEY AUTOINCREMENT,
        context TEXT NOT NULL, side TEXT NOT NULL, epoch INTEGER NOT NULL, dedup_key TEXT NOT NULL,
        message_id TEXT, type TEXT, exchange TEXT NOT NULL, routing_key TEXT NOT NULL,
        properties TEXT, body_hash TEXT NOT NULL, body BLOB, decision TEXT NOT NULL,
        decided_ms INTEGER NOT NULL, forwarded_ms INTEGER, pair_id INTEGER,
        UNIQUE (context, side, dedup_key))",
    "CREATE INDEX IF NOT EXISTS forwarder_log_late ON forwarder_log (context, id)
        WHERE decision = 'late'",
    "CREATE INDEX IF NOT EXISTS forwarder_log_undelivered ON forwarder_log (context, id)
        WHERE forwarded_ms IS NULL AND decision IN ('forward', 'unmigrated')",
    // The last row of a side that is known to be acknowledged, for redeliveries without an id.
    "CREATE TABLE IF NOT EXISTS forwarder_cursor (side TEXT PRIMARY KEY, acked_id INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS forwarder_lease (scope TEXT PRIMARY KEY, holder TEXT NOT NULL,
        generation INTEGER NOT NULL, until_ms INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS forwarder_counter (context TEXT NOT NULL, side TEXT NOT NULL,
        decision TEXT NOT NULL, events INTEGER NOT NULL, PRIMARY KEY (context, side, decision))
        WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS forwarder_sent (context TEXT PRIMARY KEY, events INTEGER NOT NULL,
        last_ms INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS forwarder_state (scope TEXT PRIMARY KEY, holder TEXT NOT NULL,
        state TEXT NOT NULL, reason TEXT NOT NULL, at_ms INTEGER NOT NULL)",
];

/// The database, opened. Cheap to clone.
#[derive(Clone)]
pub(super) struct Store {
    conn: Arc<Mutex<SqliteConnection>>,
    path: PathBuf,
    /// Unique to this file, so that a new file never reuses publish ids of an old one.
    pub(super) instance: String,
}

impl Store {
    /// Opens the file, making it when absent.
    pub(super) async fn open(path: &Path) -> Result<Self, ForwarderError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_MAX)
            .disable_statement_logging();
        let failed = |error: sqlx::Error| failed(path, &error);
        let mut conn = options.connect().await.map_err(failed)?;
        let format = prepare(&mut conn).await.map_err(failed)?;
        if format != FORMAT {
            let reason = format!("its format is {format}, this program reads {FORMAT}");
            return Err(ForwarderError::Store { path: path.display().to_string(), reason });
        }
        let instance: String =
            sqlx::query_scalar("SELECT value FROM forwarder_meta WHERE key = 'instance'")
                .fetch_one(&mut conn)
                .await
                .map_err(failed)?;
        Ok(Self { conn: Arc::new(Mutex::new(conn)), path: path.to_owned(), instance })
    }

    pub(super) async fn lock(&self) -> MutexGuard<'_, SqliteConnection> {
        self.conn.lock().await
    }

    pub(super) fn failed(&self, error: &sqlx::Error) -> ForwarderError {
        failed(&self.path, error)
    }
}

async fn prepare(conn: &mut SqliteConnection) -> Result<String, sqlx::Error> {
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
    for statement in SCHEMA {
        sqlx::query(statement).execute(&mut *tx).await?;
    }
    let insert =
        "INSERT OR IGNORE INTO forwarder_meta (key, value) VALUES ('format', ?1), ('instance', ?2)";
    sqlx::query(insert)
        .bind(FORMAT)
        .bind(uuid::Uuid::new_v4().to_string())
        .execute(&mut *tx)
        .await?;
    let format = sqlx::query_scalar("SELECT value FROM forwarder_meta WHERE key = 'format'")
        .fetch_one(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(format)
}

fn failed(path: &Path, error: &sqlx::Error) -> ForwarderError {
    ForwarderError::Store { path: path.display().to_string(), reason: error.to_string() }
}

pub(super) fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}
