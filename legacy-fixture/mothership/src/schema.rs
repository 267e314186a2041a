//! The monolith's tables and indexes, in ActiveRecord's manners, for both dialects.
//!
//! Indexes are made after seeding: sorted at once they take a fraction of the time.
//!
//! What must stay true: the columns of `legacy-fixture/README.md`; ids are never given twice (AUTOINCREMENT); each
//! list of the public contract has an index that it can walk in its order.

use crate::{
    MothershipError,
    database::{Database, Reader},
};

/// Foreign keys only where the application itself can never go wrong: `parent_id` and `audits` have none, as in 2014.
const TABLES: [&str; 10] = [
    "CREATE TABLE IF NOT EXISTS users (
        id {key}, permalink VARCHAR(255) NOT NULL, username VARCHAR(255) NOT NULL,
        email VARCHAR(255) NOT NULL, plan VARCHAR(16) NOT NULL DEFAULT 'free', avatar_url VARCHAR(255),
        password_digest VARCHAR(255) NOT NULL, created_at DATETIME NOT NULL, updated_at DATETIME NOT NULL){options}",
    "CREATE TABLE IF NOT EXISTS tracks (
        id {key}, user_id BIGINT NOT NULL REFERENCES users(id), title VARCHAR(255) NOT NULL,
        sharing VARCHAR(16) NOT NULL DEFAULT 'public', duration_ms BIGINT NOT NULL,
        playback_count BIGINT NOT NULL DEFAULT 0, created_at DATETIME NOT NULL, updated_at DATETIME NOT NULL){options}",
    "CREATE TABLE IF NOT EXISTS comments (
        id {key}, track_id BIGINT NOT NULL REFERENCES tracks(id), user_id BIGINT NOT NULL REFERENCES users(id),
        body {text} NOT NULL, timestamp_ms BIGINT, created_at DATETIME NOT NULL, updated_at DATETIME NOT NULL){options}",
    "CREATE TABLE IF NOT EXISTS followings (
        id {key}, follower_id BIGINT NOT NULL REFERENCES users(id),
        followee_id BIGINT NOT NULL REFERENCES users(id), created_at DATETIME NOT NULL){options}",
    "CREATE TABLE IF NOT EXISTS plays (
        id {key}, track_id BIGINT NOT NULL REFERENCES tracks(id), user_id BIGINT NOT NULL REFERENCES users(id),
        created_at DATETIME NOT NULL){options}",
    "CREATE TABLE IF NOT EXISTS message_threads (
        id {key}, subject VARCHAR(255) NOT NULL DEFAULT '', creator_id BIGINT NOT NULL REFERENCES users(id),
        created_at DATETIME NOT NULL, updated_at DATETIME NOT NULL){options}",
    "CREATE TABLE IF NOT EXISTS messages (
        id {key}, thread_id BIGINT NOT NULL REFERENCES message_threads(id), parent_id BIGINT,
        sender_id BIGINT NOT NULL REFERENCES users(id), recipient_id BIGINT NOT NULL REFERENCES users(id),
        body {text} NOT NULL, edited_at DATETIME, created_at DATETIME NOT NULL, updated_at DATETIME NOT NULL){options}",
    "CREATE TABLE IF NOT EXISTS message_receipts (
        id {key}, message_id BIGINT NOT NULL REFERENCES messages(id), user_id BIGINT NOT NULL REFERENCES users(id),
        read_at DATETIME, deleted_at DATETIME){options}",
    "CREATE TABLE IF NOT EXISTS audits (
        id {key}, event_type VARCHAR(64) NOT NULL, subject_type VARCHAR(64) NOT NULL, subject_id BIGINT NOT NULL,
        user_id BIGINT, request_id VARCHAR(255), created_at DATETIME NOT NULL,
        data {text}, published INT NOT NULL DEFAULT 1){options}",
    "CREATE TABLE IF NOT EXISTS ar_internal_metadata (
        name VARCHAR(64) NOT NULL PRIMARY KEY, value VARCHAR(255) NOT NULL){options}",
];

/// Unique where the application relies on it. The primary key is the last column of each index in both dialects.
const INDEXES: [&str; 15] = [
    "CREATE UNIQUE INDEX IF NOT EXISTS index_users_on_permalink ON users (permalink)",
    "CREATE UNIQUE INDEX IF NOT EXISTS index_users_on_email ON users (email)",
    "CREATE INDEX IF NOT EXISTS index_tracks_on_user_id ON tracks (user_id, sharing)",
    "CREATE INDEX IF NOT EXISTS index_comments_on_track_id ON comments (track_id)",
    "CREATE UNIQUE INDEX IF NOT EXISTS index_followings_on_follower_id ON followings (follower_id, followee_id)",
    "CREATE INDEX IF NOT EXISTS index_followings_on_followee_id ON followings (followee_id)",
    "CREATE INDEX IF NOT EXISTS index_plays_on_track_id ON plays (track_id)",
    "CREATE INDEX IF NOT EXISTS index_messages_on_thread_id ON messages (thread_id)",
    // The inbox and its count.
    "CREATE INDEX IF NOT EXISTS index_messages_on_recipient_id ON messages (recipient_id)",
    // One direction of a conversation.
    "CREATE INDEX IF NOT EXISTS index_messages_on_sender_and_recipient ON messages (sender_id, recipient_id)",
    "CREATE UNIQUE INDEX IF NOT EXISTS index_receipts_on_message_and_user ON message_receipts (message_id, user_id)",
    // Unread counts, what a user deleted, and the messages behind his conversations, without touching the rows.
    "CREATE INDEX IF NOT EXISTS index_receipts_on_user_id ON message_receipts (user_id, deleted_at, read_at, message_id)",
    "CREATE INDEX IF NOT EXISTS index_audits_on_subject ON audits (subject_type, subject_id)",
    "CREATE INDEX IF NOT EXISTS index_plays_on_user_id ON plays (user_id)",
    // Almost all are published; the others are found at once.
    "CREATE INDEX IF NOT EXISTS index_audits_on_published ON audits (published)",
];

/// What tables of earlier versions lack. Audits from then count as published.
const COLUMNS: [(&str, &str, &str); 2] =
    [("audits", "data", "{text}"), ("audits", "published", "INT NOT NULL DEFAULT 1")];

/// Creates what is missing of the tables.
pub(crate) async fn create_tables(database: &Database) -> Result<(), MothershipError> {
    for table in TABLES {
        database.define(in_dialect(database, table).into()).await?;
    }
    Ok(())
}

/// Adds what is missing of the columns.
pub(crate) async fn add_columns(database: &Database) -> Result<(), MothershipError> {
    let find = match database {
        Database::Sqlite { .. } => "SELECT name FROM pragma_table_info(?) WHERE name = ?",
        Database::Mysql(_) => {
            "SELECT column_name FROM information_schema.columns \
             WHERE table_schema = DATABASE() AND table_name = ? AND column_name = ?"
        }
    };
    for (table, column, kind) in COLUMNS {
        let found = database.clone().rows(find.into(), &[table.into(), column.into()]).await?;
        if found.is_empty() {
            let add = format!("ALTER TABLE {table} ADD COLUMN {column} {kind}");
            database.define(in_dialect(database, &add).into()).await?;
        }
    }
    Ok(())
}

/// Creates what is missing of the indexes.
pub(crate) async fn create_indexes(database: &Database) -> Result<(), MothershipError> {
    for index in INDEXES {
        database.define(index.into()).await?;
    }
    Ok(())
}

/// Moves a freshly seeded SQLite file's log into the file, so that the first readers do not wade through it.
pub(crate) async fn settle(database: &Database) -> Result<(), MothershipError> {
    match database {
        Database::Sqlite { .. } => database.define("PRAGMA wal_checkpoint(TRUNCATE)".into()).await,
        Database::Mysql(_) => Ok(()),
    }
}

fn in_dialect(database: &Database, table: &str) -> String {
    let (key, text, options) = match database {
        Database::Sqlite { .. } => ("INTEGER PRIMARY KEY AUTOINCREMENT", "TEXT", ""),
        Database::Mysql(_) => (
            "BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY",
            "MEDIUMTEXT",
            " ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci",
        ),
    };
    table.replace("{key}", key).replace("{text}", text).replace("{options}", options)
}
