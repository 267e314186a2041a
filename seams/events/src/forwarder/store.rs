//! The forwarder's own database: tables and opening. What is done with them is in `log`, `lease`, `status`.
//!
//! SQLite now; everything that knows it is behind [`Store`], so another database changes no caller.
//!
//! What must stay true: there is one row per event and key (UNIQUE), so a decision can be made only once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use banyan_domain::Side;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tokio::sync::{Mutex, MutexGuard};

use super::ForwarderError;

/// Longest wait for another process that holds the file.
const BUSY_MAX: Duration = Duration::from_secs(5);
/// Format of the file; a file of a newer format is refused, one of format 1 is brought up.
const FORMAT: &str = "2";

/// What format 1 lacks. It knew no markers, so whoever owned was open, and the side before was sealed.
const FROM_FORMAT_1: [&str; 11] = [
    "ALTER TABLE forwarder_owner ADD COLUMN opened INTEGER NOT NULL DEFAULT 1",
    "ALTER TABLE forwarder_owner ADD COLUMN sealed_legacy INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE forwarder_owner ADD COLUMN sealed_new INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE forwarder_owner ADD COLUMN voided INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE forwarder_owner ADD COLUMN told_epoch INTEGER NOT NULL DEFAULT 0",
    "UPDATE forwarder_owner SET sealed_legacy = (previous IS 'legacy'), sealed_new = (previous IS 'new'),
        told_epoch = epoch",
    "ALTER TABLE forwarder_owner DROP COLUMN previous",
    "ALTER TABLE forwarder_log ADD COLUMN resolution TEXT",
    "ALTER TABLE forwarder_log ADD COLUMN resolved_ms INTEGER",
    "DROP INDEX forwarder_log_late",
    "UPDATE forwarder_meta SET value = '2' WHERE key = 'format'",
];

const SCHEMA: [&str; 13] = [
    "CREATE TABLE IF NOT EXISTS forwarder_owner (context TEXT PRIMARY KEY, owner TEXT NOT NULL,
        epoch INTEGER NOT NULL, opened INTEGER NOT NULL, sealed_legacy INTEGER NOT NULL,
        sealed_new INTEGER NOT NULL, voided INTEGER NOT NULL, told_epoch INTEGER NOT NULL,
        since_ms INTEGER NOT NULL)",
    // A queue that may not be read past a marker: one row per side while it waits.
    "CREATE TABLE IF NOT EXISTS forwarder_hold (side TEXT PRIMARY KEY, context TEXT NOT NULL,
        marker TEXT NOT NULL, epoch INTEGER NOT NULL, since_ms INTEGER NOT NULL)",
    // `context` is '' for unmigrated events. `pair_id` is for the parity of event streams.
    "CREATE TABLE IF NOT EXISTS forwarder_log (id INTEGER PRIMARY KEY AUTOINCREMENT,
        context TEXT NOT NULL, side TEXT NOT NULL, epoch INTEGER NOT NULL, dedup_key TEXT NOT NULL,
        message_id TEXT, type TEXT, exchange TEXT NOT NULL, routing_key TEXT NOT NULL,
        properties TEXT, body_hash TEXT NOT NULL, body BLOB, decision TEXT NOT NULL,
        decided_ms INTEGER NOT NULL, forwarded_ms INTEGER, pair_id INTEGER,
        resolution TEXT, resolved_ms INTEGER, UNIQUE (context, side, dedup_key))",
    // The quarantine. `resolution` is NULL, 'release' (wanted, not yet public), 'released' or 'dropped'.
    "CREATE INDEX IF NOT EXISTS forwarder_log_quarantine ON forwarder_log (context, id)
        WHERE decision = 'late' AND (resolution IS NULL OR resolution = 'release')",
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
    // When a side's raw queue was last seen empty: nothing in it is older.
    "CREATE TABLE IF NOT EXISTS forwarder_drained (side TEXT PRIMARY KEY, at_ms INTEGER NOT NULL)",
    // Handovers, one row per ownership they lead to.
    "CREATE TABLE IF NOT EXISTS forwarder_handover (context TEXT NOT NULL, epoch INTEGER NOT NULL,
        target TEXT NOT NULL, step TEXT NOT NULL, by TEXT NOT NULL, reason TEXT NOT NULL,
        began_ms INTEGER NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (context, epoch))",
    "CREATE TABLE IF NOT EXISTS forwarder_audit (id INTEGER PRIMARY KEY AUTOINCREMENT,
        at_ms INTEGER NOT NULL, by TEXT NOT NULL, reason TEXT NOT NULL, action TEXT NOT NULL,
        context TEXT NOT NULL, events INTEGER NOT NULL, detail TEXT NOT NULL)",
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

impl Store {
    /// Notes how many events wait in a side's raw queue; answers how old the oldest is at most, in milliseconds.
    pub(super) async fn note_depth(&self, side: Side, depth: u64) -> Result<i64, ForwarderError> {
        let keep = "INSERT INTO forwarder_drained (side, at_ms) VALUES (?1, ?2)
            ON CONFLICT (side) DO UPDATE SET at_ms = CASE WHEN ?3 THEN excluded.at_ms ELSE at_ms END
            RETURNING at_ms";
        let now = now_ms();
        let drained: i64 = sqlx::query_scalar(keep)
            .bind(side.as_str())
            .bind(now)
            .bind(depth == 0)
            .fetch_one(&mut *self.lock().await)
            .await
            .map_err(|error| self.failed(&error))?;
        Ok(if depth == 0 { 0 } else { now.saturating_sub(drained) })
    }
}

async fn prepare(conn: &mut SqliteConnection) -> Result<String, sqlx::Error> {
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
    let meta =
        "CREATE TABLE IF NOT EXISTS forwarder_meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)";
    sqlx::query(meta).execute(&mut *tx).await?;
    let insert =
        "INSERT OR IGNORE INTO forwarder_meta (key, value) VALUES ('format', ?1), ('instance', ?2)";
    sqlx::query(insert)
        .bind(FORMAT)
        .bind(uuid::Uuid::new_v4().to_string())
        .execute(&mut *tx)
        .await?;
    let ask = "SELECT value FROM forwarder_meta WHERE key = 'format'";
    let mut format: String = sqlx::query_scalar(ask).fetch_one(&mut *tx).await?;
    if format == "1" {
        for statement in FROM_FORMAT_1 {
            sqlx::query(statement).execute(&mut *tx).await?;
        }
        FORMAT.clone_into(&mut format);
    }
    if format == FORMAT {
        for statement in SCHEMA {
            sqlx::query(statement).execute(&mut *tx).await?;
        }
    }
    tx.commit().await?;
    Ok(format)
}

fn failed(path: &Path, error: &sqlx::Error) -> ForwarderError {
    ForwarderError::Store { path: path.display().to_string(), reason: error.to_string() }
}

pub(super) fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tables of format 1 that changed, as it made them.
    const FORMAT_1: [&str; 5] = [
        "CREATE TABLE forwarder_meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
        "INSERT INTO forwarder_meta VALUES ('format', '1'), ('instance', 'i')",
        "CREATE TABLE forwarder_owner (context TEXT PRIMARY KEY, owner TEXT NOT NULL,
            epoch INTEGER NOT NULL, previous TEXT, since_ms INTEGER NOT NULL)",
        "INSERT INTO forwarder_owner VALUES ('messages', 'new', 2, 'legacy', 0), ('tracks', 'legacy', 1, NULL, 0)",
        "CREATE TABLE forwarder_log (id INTEGER PRIMARY KEY AUTOINCREMENT,
            context TEXT NOT NULL, side TEXT NOT NULL, epoch INTEGER NOT NULL, dedup_key TEXT NOT NULL,
            message_id TEXT, type TEXT, exchange TEXT NOT NULL, routing_key TEXT NOT NULL,
            properties TEXT, body_hash TEXT NOT NULL, body BLOB, decision TEXT NOT NULL,
            decided_ms INTEGER NOT NULL, forwarded_ms INTEGER, pair_id INTEGER,
            UNIQUE (context, side, dedup_key))",
    ];

    async fn raw(path: &Path) -> SqliteConnection {
        SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap()
    }

    #[tokio::test]
    async fn a_file_of_format_1_is_brought_up_and_a_newer_one_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f.db");
        let mut conn = raw(&path).await;
        for statement in FORMAT_1 {
            sqlx::query(statement).execute(&mut conn).await.unwrap();
        }
        let index = "CREATE INDEX forwarder_log_late ON forwarder_log (context, id) WHERE decision = 'late'";
        sqlx::query(index).execute(&mut conn).await.unwrap();
        let store = Store::open(&path).await.unwrap();
        let rows: Vec<(String, bool, bool, i64)> = sqlx::query_as(
            "SELECT context, opened, sealed_legacy, told_epoch FROM forwarder_owner ORDER BY context",
        )
        .fetch_all(&mut *store.lock().await)
        .await
        .unwrap();
        assert_eq!(
            rows,
            [("messages".to_owned(), true, true, 2), ("tracks".to_owned(), true, false, 1)]
        );
        drop(Store::open(&path).await.unwrap());
        let newer = "UPDATE forwarder_meta SET value = '3' WHERE key = 'format'";
        sqlx::query(newer).execute(&mut conn).await.unwrap();
        let Err(error) = Store::open(&path).await else { panic!("format 3 was opened") };
        assert!(error.to_string().contains("its format is 3"), "{error}");
    }
}
