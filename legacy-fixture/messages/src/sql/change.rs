//! The statements of changes, where needed in two texts: Postgres wants to be told that a text is a time, and has row
//! locks, which SQLite's one writer does not need.
//!
//! What must stay true: a conversation's row is locked before any of its messages is written or read to be changed, and
//! before an id is drawn, so that ids of a conversation are in the order of their commits and two writers never wait for
//! each other crosswise (people and the parent of a new message are read before it: no writer changes what is taken from
//! them); a conversation's row says what the sync's mapping would compute from its messages.

use crate::database::Sql;

/// Makes both texts of a statement that takes how a given text becomes a time.
macro_rules! by_engine {
    ($statement:ident) => {
        Sql { sqlite: $statement!(""), postgres: $statement!("::timestamp") }
    };
}

/// `$1` conversation. Primary key.
pub(crate) const LOCK_CONVERSATION: Sql = Sql {
    sqlite: "SELECT id FROM conversations WHERE id = $1",
    postgres: "SELECT id FROM conversations WHERE id = $1 FOR UPDATE",
};

/// `$1` message: locks its conversation. Primary keys.
pub(crate) const LOCK_CONVERSATION_OF: Sql = Sql {
    sqlite: "SELECT c.id FROM chat_messages m JOIN conversations c ON c.id = m.conversation_id WHERE m.id = $1",
    postgres: "SELECT c.id FROM chat_messages m JOIN conversations c ON c.id = m.conversation_id \
               WHERE m.id = $1 FOR UPDATE OF c",
};

/// `$1` message: its conversation and the conversation's people. Primary key.
pub(crate) const CONVERSATION_OF: Sql =
    Sql::same("SELECT author_id, recipient_id FROM chat_messages WHERE id = $1");

/// `$1` conversation, `$2` its lower and `$3` its higher user. Waits for another that opens the same conversation.
/// Counts, because the sync may bring messages before their conversation. Walks `chat_messages_of_conversation`.
pub(crate) const OPEN_CONVERSATION: Sql = Sql::same(
    "INSERT INTO conversations (id, user_low, user_high, last_message_id, messages_count, updated_at) \
     SELECT $1, $2, $3, MAX(m.id), COUNT(m.id), \
            (SELECT l.sent_at FROM chat_messages l WHERE l.conversation_id = $1 ORDER BY l.id DESC LIMIT 1) \
       FROM chat_messages m WHERE m.conversation_id = $1 ON CONFLICT (id) DO NOTHING",
);

macro_rules! message_added {
    ($time:literal) => {
        concat!(
            "UPDATE conversations SET last_message_id = $2, messages_count = messages_count + 1, updated_at = $3",
            $time,
            " WHERE id = $1"
        )
    };
}
/// `$1` conversation, `$2` message, `$3` when. Primary key.
pub(crate) const MESSAGE_ADDED: Sql = by_engine!(message_added);

/// The next thread id: of the column `chat_threads.id`, which the cutover raises above the monolith's threads.
pub(crate) const NEW_THREAD: Sql = Sql {
    sqlite: "INSERT INTO chat_threads DEFAULT VALUES RETURNING id",
    // Only the sequence counts; SQLite has none and needs the row.
    postgres: "SELECT nextval(pg_get_serial_sequence('chat_threads', 'id'))",
};

macro_rules! new_message {
    ($time:literal) => {
        concat!(
            "INSERT INTO chat_messages (conversation_id, thread_id, parent_id, subject, author_id, recipient_id, \
                                        body, sent_at, changed_at, hidden_for_author, hidden_for_recipient) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8",
            $time,
            ", $8",
            $time,
            ", FALSE, FALSE) RETURNING id"
        )
    };
}
/// Gives the id: of the column `chat_messages.id`, which the cutover raises above the monolith's messages.
pub(crate) const NEW_MESSAGE: Sql = by_engine!(new_message);

/// `$1` message, `$2` who answers it and must know it. Primary key.
pub(crate) const PARENT: Sql = Sql::same(
    "SELECT thread_id, subject FROM chat_messages WHERE id = $1 AND (author_id = $2 OR recipient_id = $2)",
);

macro_rules! edit {
    ($time:literal) => {
        concat!(
            "UPDATE chat_messages SET body = $2, edited_at = $3",
            $time,
            ", changed_at = $3",
            $time,
            " WHERE id = $1"
        )
    };
}
/// `$1` message, `$2` body, `$3` when. Primary key.
pub(crate) const EDIT: Sql = by_engine!(edit);

macro_rules! mark_read {
    ($time:literal) => {
        concat!(
            "UPDATE chat_messages SET read_at = $2",
            $time,
            ", changed_at = $2",
            $time,
            " WHERE id = $1 AND read_at IS NULL"
        )
    };
}
/// `$1` message, `$2` when. Primary key.
pub(crate) const MARK_READ: Sql = by_engine!(mark_read);

macro_rules! hide {
    ($time:literal) => {
        concat!(
            "UPDATE chat_messages SET changed_at = $3",
            $time,
            ", hidden_for_author = (hidden_for_author OR author_id = $2), \
               hidden_for_recipient = (hidden_for_recipient OR recipient_id = $2) WHERE id = $1"
        )
    };
}
/// `$1` message, `$2` for whom, `$3` when; a message to oneself is hidden on both ends. Primary key.
pub(crate) const HIDE: Sql = by_engine!(hide);
