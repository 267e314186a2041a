//! The service's tables: the chat model.
//!
//! The indexes make each list, count and conversation a walk over one user's or one pair's rows; all columns that
//! decide about a row are in them, so counting never touches the bodies.
//!
//! What must stay true: the columns are the contract with the sync job; no foreign keys, because the sync moves
//! conversations and people in any order and the reads leave out what is not complete yet.

use crate::{
    database::{Database, Dialect},
    error::MessagesError,
};

const SQLITE: &str = "
CREATE TABLE IF NOT EXISTS people (
    id INTEGER PRIMARY KEY,
    permalink TEXT NOT NULL,
    username TEXT NOT NULL,
    avatar_url TEXT,
    plan TEXT NOT NULL DEFAULT 'free'
);
CREATE TABLE IF NOT EXISTS conversations (
    id TEXT PRIMARY KEY NOT NULL,
    user_low INTEGER NOT NULL,
    user_high INTEGER NOT NULL,
    last_message_id INTEGER,
    messages_count INTEGER NOT NULL DEFAULT 0,
    updated_at TEXT
);
CREATE TABLE IF NOT EXISTS chat_messages (
    id INTEGER PRIMARY KEY,
    conversation_id TEXT NOT NULL,
    thread_id INTEGER NOT NULL,
    parent_id INTEGER,
    subject TEXT,
    author_id INTEGER NOT NULL,
    recipient_id INTEGER NOT NULL,
    body TEXT NOT NULL,
    sent_at TEXT NOT NULL,
    edited_at TEXT,
    read_at TEXT,
    changed_at TEXT NOT NULL,
    hidden_for_author INTEGER NOT NULL DEFAULT 0,
    hidden_for_recipient INTEGER NOT NULL DEFAULT 0
);
";

const POSTGRES: &str = "
CREATE TABLE IF NOT EXISTS people (
    id BIGINT PRIMARY KEY,
    permalink TEXT NOT NULL,
    username TEXT NOT NULL,
    avatar_url TEXT,
    plan TEXT NOT NULL DEFAULT 'free'
);
CREATE TABLE IF NOT EXISTS conversations (
    id TEXT PRIMARY KEY,
    user_low BIGINT NOT NULL,
    user_high BIGINT NOT NULL,
    last_message_id BIGINT,
    messages_count BIGINT NOT NULL DEFAULT 0,
    updated_at TIMESTAMP
);
CREATE TABLE IF NOT EXISTS chat_messages (
    id BIGINT PRIMARY KEY,
    conversation_id TEXT NOT NULL,
    thread_id BIGINT NOT NULL,
    parent_id BIGINT,
    subject TEXT,
    author_id BIGINT NOT NULL,
    recipient_id BIGINT NOT NULL,
    body TEXT NOT NULL,
    sent_at TIMESTAMP NOT NULL,
    edited_at TIMESTAMP,
    read_at TIMESTAMP,
    changed_at TIMESTAMP NOT NULL,
    hidden_for_author BOOLEAN NOT NULL DEFAULT FALSE,
    hidden_for_recipient BOOLEAN NOT NULL DEFAULT FALSE
);
";

const INDEXES: &str = "
CREATE INDEX IF NOT EXISTS chat_messages_received
    ON chat_messages (recipient_id, hidden_for_recipient, id, author_id, conversation_id, read_at);
CREATE INDEX IF NOT EXISTS chat_messages_written
    ON chat_messages (author_id, hidden_for_author, id, recipient_id, conversation_id);
CREATE INDEX IF NOT EXISTS chat_messages_of_conversation
    ON chat_messages (conversation_id, id);
";

/// Makes the service's tables and indexes in the database at `url`, where they are missing.
///
/// # Errors
/// When the database cannot be opened, or refuses.
pub async fn create_schema(url: &str) -> Result<(), MessagesError> {
    let database = Database::open(url).await?;
    let made = ensure(&database).await;
    database.close().await;
    made
}

/// The same on an open database.
pub(crate) async fn ensure(database: &Database) -> Result<(), MessagesError> {
    let tables = match database.dialect() {
        Dialect::Sqlite => SQLITE,
        Dialect::Postgres => POSTGRES,
    };
    for script in [tables, INDEXES] {
        database
            .execute_script(script)
            .await
            .map_err(|source| MessagesError::Database { act: "create the schema", source })?;
    }
    Ok(())
}
