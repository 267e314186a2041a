//! The tables, in three dialects.
//!
//! All numbers are 64 bits and all times Unix milliseconds of the database's clock. Texts that identify are compared byte
//! by byte (MySQL: binary collation, and VARBINARY where a trailing space must count).

use sqlx::Pool;

use crate::engine::{Dialect, Engine};
use crate::error::OutboxError;

/// Longest subject, source and event id, in bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 255;
/// Longest consumer name, in bytes.
pub(crate) const CONSUMER_BYTES_MAX: usize = 64;

const MYSQL: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS banyan_owner (
        context VARCHAR(48) NOT NULL PRIMARY KEY, side VARCHAR(6) NOT NULL,
        state VARCHAR(8) NOT NULL, epoch BIGINT NOT NULL, ordering VARCHAR(7) NOT NULL
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
    "CREATE TABLE IF NOT EXISTS banyan_outbox (
        id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, event_id CHAR(36) NOT NULL,
        context VARCHAR(48) NOT NULL, side VARCHAR(6) NOT NULL, epoch BIGINT NOT NULL,
        subject VARCHAR(255) NOT NULL, lane VARBINARY(320) NOT NULL, seq BIGINT,
        type VARCHAR(255) NOT NULL, routing_key VARCHAR(255) NOT NULL,
        properties LONGTEXT NOT NULL, body LONGBLOB NOT NULL,
        origin VARCHAR(6) NOT NULL, state VARCHAR(7) NOT NULL,
        attempts BIGINT NOT NULL DEFAULT 0, next_at_ms BIGINT NOT NULL DEFAULT 0,
        error VARCHAR(500), created_at_ms BIGINT NOT NULL, settled_at_ms BIGINT,
        UNIQUE KEY banyan_outbox_event (event_id), UNIQUE KEY banyan_outbox_seq (context, seq),
        KEY banyan_outbox_state (state, id)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
    "CREATE TABLE IF NOT EXISTS banyan_outbox_counter (
        context VARCHAR(48) NOT NULL, name VARCHAR(8) NOT NULL, value BIGINT NOT NULL,
        PRIMARY KEY (context, name)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
    "CREATE TABLE IF NOT EXISTS banyan_relay (
        name VARCHAR(48) NOT NULL PRIMARY KEY, holder VARCHAR(255) NOT NULL,
        generation BIGINT NOT NULL, until_ms BIGINT NOT NULL,
        state VARCHAR(8) NOT NULL, reason VARCHAR(500) NOT NULL, at_ms BIGINT NOT NULL
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
    "CREATE TABLE IF NOT EXISTS banyan_inbox (
        consumer VARBINARY(64) NOT NULL, source VARBINARY(255) NOT NULL,
        event_id VARBINARY(255) NOT NULL, seen_at_ms BIGINT NOT NULL,
        PRIMARY KEY (consumer, source, event_id), KEY banyan_inbox_seen (seen_at_ms)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
    "CREATE TABLE IF NOT EXISTS banyan_inbox_epoch (
        consumer VARBINARY(64) NOT NULL, context VARBINARY(48) NOT NULL,
        subject VARBINARY(255) NOT NULL, epoch BIGINT NOT NULL,
        PRIMARY KEY (consumer, context, subject)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
];

/// Tables of Postgres and SQLite; only the words for an own id and for bytes differ.
macro_rules! standard {
    ($id:literal, $bytes:literal) => {
        &[
            "CREATE TABLE IF NOT EXISTS banyan_owner (
        context TEXT NOT NULL PRIMARY KEY, side TEXT NOT NULL, state TEXT NOT NULL,
        epoch BIGINT NOT NULL, ordering TEXT NOT NULL)",
            concat!(
                "CREATE TABLE IF NOT EXISTS banyan_outbox (
        id ",
                $id,
                ", event_id TEXT NOT NULL UNIQUE,
        context TEXT NOT NULL, side TEXT NOT NULL, epoch BIGINT NOT NULL,
        subject TEXT NOT NULL, lane ",
                $bytes,
                " NOT NULL, seq BIGINT,
        type TEXT NOT NULL, routing_key TEXT NOT NULL, properties TEXT NOT NULL, body ",
                $bytes,
                " NOT NULL,
        origin TEXT NOT NULL, state TEXT NOT NULL,
        attempts BIGINT NOT NULL DEFAULT 0, next_at_ms BIGINT NOT NULL DEFAULT 0,
        error TEXT, created_at_ms BIGINT NOT NULL, settled_at_ms BIGINT,
        UNIQUE (context, seq))"
            ),
            "CREATE INDEX IF NOT EXISTS banyan_outbox_state ON banyan_outbox (state, id)",
            "CREATE TABLE IF NOT EXISTS banyan_outbox_counter (
        context TEXT NOT NULL, name TEXT NOT NULL, value BIGINT NOT NULL,
        PRIMARY KEY (context, name))",
            "CREATE TABLE IF NOT EXISTS banyan_relay (
        name TEXT NOT NULL PRIMARY KEY, holder TEXT NOT NULL, generation BIGINT NOT NULL,
        until_ms BIGINT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, at_ms BIGINT NOT NULL)",
            "CREATE TABLE IF NOT EXISTS banyan_inbox (
        consumer TEXT NOT NULL, source TEXT NOT NULL, event_id TEXT NOT NULL,
        seen_at_ms BIGINT NOT NULL, PRIMARY KEY (consumer, source, event_id))",
            "CREATE INDEX IF NOT EXISTS banyan_inbox_seen ON banyan_inbox (seen_at_ms)",
            "CREATE TABLE IF NOT EXISTS banyan_inbox_epoch (
        consumer TEXT NOT NULL, context TEXT NOT NULL, subject TEXT NOT NULL,
        epoch BIGINT NOT NULL, PRIMARY KEY (consumer, context, subject))",
        ]
    };
}

const POSTGRES: &[&str] = standard!("BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY", "BYTEA");
const SQLITE: &[&str] = standard!("INTEGER PRIMARY KEY AUTOINCREMENT", "BLOB");

/// The statements that make the tables where they are missing, to be printed or run by hand.
pub const fn ddl(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::MySql => MYSQL,
        Dialect::Postgres => POSTGRES,
        Dialect::Sqlite => SQLITE,
    }
}

/// Runs [`ddl`].
///
/// # Errors
/// [`OutboxError::Database`] when the database refuses.
pub async fn install<DB: Engine>(pool: &Pool<DB>) -> Result<(), OutboxError> {
    let failed = || OutboxError::database("make the outbox tables");
    let mut connection = pool.acquire().await.map_err(failed())?;
    for statement in ddl(DB::DIALECT) {
        DB::run(&mut connection, statement, &[]).await.map_err(failed())?;
    }
    Ok(())
}
