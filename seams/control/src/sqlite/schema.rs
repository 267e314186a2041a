//! The tables of the control store and their version.
//!
//! Owns the migrations. It exists so that a store written by an older release is brought up and one written
//! by a newer release is refused by name. What must stay true: a migration that was released never
//! changes, and the audit cannot be rewritten.

use super::number::{from_db, to_db};
use super::{Tx, classify};
use crate::error::ControlError;
use sqlx::SqlitePool;
use std::path::Path;
use std::time::Duration;

/// One entry per schema version, in order; the last is the newest one known.
const MIGRATIONS: [&[&str]; 3] = [&[VERSION_1], VERSION_2, VERSION_3];

/// How often switching a fresh file to WAL is tried again while another process does the same: SQLite
/// answers BUSY there without waiting.
const TRIES: u32 = 20;
/// Pause between those tries, in ms.
const TRY_EVERY_MS: u64 = 50;

const VERSION_1: &str = "
CREATE TABLE generation (
    generation INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL, actor TEXT NOT NULL, reason TEXT NOT NULL,
    action TEXT NOT NULL, detail TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL, actor TEXT NOT NULL, reason TEXT NOT NULL,
    action TEXT NOT NULL, target TEXT NOT NULL, outcome TEXT NOT NULL,
    before_generation INTEGER NOT NULL, after_generation INTEGER NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX audit_by_time ON audit (at_ms);
CREATE TRIGGER audit_rows_stay BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
CREATE TRIGGER audit_rows_do_not_change BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
CREATE TABLE instance (
    instance TEXT PRIMARY KEY,
    role TEXT NOT NULL, address TEXT NOT NULL, admin_address TEXT NOT NULL,
    pid INTEGER NOT NULL, started_ms INTEGER NOT NULL, seen_ms INTEGER NOT NULL,
    applied INTEGER NOT NULL, in_flight_writes INTEGER NOT NULL,
    state TEXT NOT NULL, detail TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE lease (
    name TEXT PRIMARY KEY, holder TEXT NOT NULL, epoch INTEGER NOT NULL, expires_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE shadow_outcome (
    endpoint TEXT NOT NULL, outcome TEXT NOT NULL, reason TEXT NOT NULL, bucket_ms INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (endpoint, outcome, reason, bucket_ms)
) WITHOUT ROWID;
CREATE INDEX shadow_outcome_by_time ON shadow_outcome (bucket_ms);
CREATE TABLE shadow_difference (
    endpoint TEXT NOT NULL, shape TEXT NOT NULL, kind TEXT NOT NULL, severity TEXT NOT NULL,
    transition TEXT NOT NULL, bucket_ms INTEGER NOT NULL,
    count INTEGER NOT NULL, first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL,
    PRIMARY KEY (endpoint, shape, kind, severity, transition, bucket_ms)
) WITHOUT ROWID;
CREATE INDEX shadow_difference_by_time ON shadow_difference (bucket_ms);
CREATE TABLE shadow_hidden (
    endpoint TEXT NOT NULL, rule TEXT NOT NULL, bucket_ms INTEGER NOT NULL,
    count INTEGER NOT NULL, first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL,
    PRIMARY KEY (endpoint, rule, bucket_ms)
) WITHOUT ROWID;
CREATE INDEX shadow_hidden_by_time ON shadow_hidden (bucket_ms);
CREATE TABLE shadow_sample (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint TEXT NOT NULL, shape TEXT NOT NULL, kind TEXT NOT NULL, at_ms INTEGER NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX shadow_sample_by_shape ON shadow_sample (endpoint, shape, kind, at_ms, id);
CREATE INDEX shadow_sample_by_time ON shadow_sample (endpoint, at_ms, id);
CREATE TABLE shadow_fingerprint (
    endpoint TEXT NOT NULL, fingerprint INTEGER NOT NULL,
    seen_ms INTEGER NOT NULL, mismatched_ms INTEGER,
    PRIMARY KEY (endpoint, fingerprint)
) WITHOUT ROWID;
CREATE INDEX shadow_fingerprint_by_time ON shadow_fingerprint (endpoint, seen_ms);
CREATE TABLE sync_watermark (
    job TEXT NOT NULL, side TEXT NOT NULL, context TEXT NOT NULL,
    watermark_ms INTEGER NOT NULL, lag_ms INTEGER NOT NULL, pending INTEGER NOT NULL,
    state TEXT NOT NULL, detail TEXT NOT NULL, at_ms INTEGER NOT NULL,
    PRIMARY KEY (job, side)
) WITHOUT ROWID;
CREATE TABLE sync_run (
    id TEXT PRIMARY KEY,
    job TEXT NOT NULL, context TEXT NOT NULL, side TEXT NOT NULL, mode TEXT NOT NULL,
    started_ms INTEGER NOT NULL, ended_ms INTEGER,
    state TEXT NOT NULL, aggregates INTEGER NOT NULL, row_count INTEGER NOT NULL, detail TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX sync_run_by_time ON sync_run (started_ms);
CREATE TABLE component_status (
    component TEXT PRIMARY KEY, detail TEXT NOT NULL, at_ms INTEGER NOT NULL
) WITHOUT ROWID;
";

/// What shadow reads keep beside the first tables, a part per file that owns tables.
const VERSION_2: &[&str] =
    &[super::noise::CREATE, super::advice::CREATE, super::shadow::CREATE_LAG];

/// Writes on their way by context: a cutover waits for those of its own.
const VERSION_3: &[&str] = &[super::instance::ADD_IN_FLIGHT];

const CREATE_VERSION: &str = "CREATE TABLE IF NOT EXISTS banyan_schema (version INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL)";
const SELECT_VERSION: &str = "SELECT COALESCE(MAX(version), 0) FROM banyan_schema";
const INSERT_VERSION: &str = "INSERT INTO banyan_schema (version, at_ms) VALUES (?, ?)";

/// Brings the file to the newest schema.
pub(super) async fn ensure(
    write: &SqlitePool,
    path: &Path,
    now_ms: u64,
) -> Result<(), ControlError> {
    let mut tries = 0;
    loop {
        match attempt(write, path, now_ms).await {
            Err(ControlError::Locked { .. }) if tries < TRIES => tries += 1,
            result => return result,
        }
        tokio::time::sleep(Duration::from_millis(TRY_EVERY_MS)).await;
    }
}

async fn attempt(write: &SqlitePool, path: &Path, now_ms: u64) -> Result<(), ControlError> {
    let fail = |error| classify(path, error);
    let mut tx = write.begin_with("BEGIN IMMEDIATE").await.map_err(fail)?;
    sqlx::query(CREATE_VERSION).execute(&mut *tx).await.map_err(fail)?;
    let (found,): (i64,) =
        sqlx::query_as(SELECT_VERSION).fetch_one(&mut *tx).await.map_err(fail)?;
    let (found, supported) = (from_db(found), MIGRATIONS.len() as u64);
    if found > supported {
        return Err(ControlError::NewerSchema { path: path.to_owned(), found, supported });
    }
    migrate(&mut tx, found, now_ms).await.map_err(fail)?;
    tx.commit().await.map_err(fail)
}

async fn migrate(tx: &mut Tx, found: u64, now_ms: u64) -> Result<(), sqlx::Error> {
    for (version, parts) in (1u64..).zip(MIGRATIONS) {
        if version > found {
            for statements in parts.iter().copied() {
                sqlx::raw_sql(statements).execute(&mut **tx).await?;
            }
            let row = sqlx::query(INSERT_VERSION).bind(to_db(version)).bind(to_db(now_ms));
            row.execute(&mut **tx).await?;
        }
    }
    Ok(())
}
