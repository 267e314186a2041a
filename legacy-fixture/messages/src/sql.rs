//! Every statement of the service, with the index that it walks.
//!
//! One text serves SQLite and Postgres: `CAST(time AS TEXT)` gives `2014-06-12 10:00:00` on both, and `= FALSE` lets
//! both use the flag in an index. The changes are in `sql/change.rs`.
//!
//! What must stay true: a message counts in a total exactly when it can be shown, so each statement joins the same
//! `people`; in a message to oneself the caller is the recipient, never counted twice.

pub(crate) mod change;

/// `$1` the id. Primary key.
pub(crate) const PERSON: &str =
    "SELECT id, permalink, username, avatar_url, plan FROM people WHERE id = $1";

/// All columns of a message and of its two people, in the names of the row types.
macro_rules! message_columns {
    () => {
        "m.id, m.thread_id, m.parent_id, m.subject, m.body, \
         CAST(m.sent_at AS TEXT) AS sent_at, CAST(m.read_at AS TEXT) AS read_at, \
         CAST(m.edited_at AS TEXT) AS edited_at, CAST(m.changed_at AS TEXT) AS changed_at, \
         a.id AS author_id, a.permalink AS author_permalink, a.username AS author_username, \
         a.avatar_url AS author_avatar_url, a.plan AS author_plan, \
         r.id AS recipient_id, r.permalink AS recipient_permalink, \
         r.username AS recipient_username, r.avatar_url AS recipient_avatar_url, \
         r.plan AS recipient_plan"
    };
}

/// A message `m` with its author `a` and its recipient `r`.
macro_rules! with_people {
    () => {
        " JOIN people a ON a.id = m.author_id JOIN people r ON r.id = m.recipient_id "
    };
}

/// What the user `$1` received and did not hide.
macro_rules! received {
    () => {
        " m.recipient_id = $1 AND m.hidden_for_recipient = FALSE "
    };
}

/// What the user `$1` may see of a message that he wrote or received.
macro_rules! visible {
    () => {
        " ((m.recipient_id = $1 AND m.hidden_for_recipient = FALSE) \
          OR (m.author_id = $1 AND m.recipient_id <> $1 AND m.hidden_for_author = FALSE)) "
    };
}

/// The user `$1`'s conversations as `partner`: newest visible message, visible and unread counts.
macro_rules! partners {
    () => {
        "WITH seen AS ( \
           SELECT m.conversation_id, m.id, CASE WHEN m.read_at IS NULL THEN 1 ELSE 0 END AS unread \
             FROM chat_messages m \
            WHERE m.recipient_id = $1 AND m.hidden_for_recipient = FALSE \
           UNION ALL \
           SELECT m.conversation_id, m.id, 0 AS unread \
             FROM chat_messages m \
            WHERE m.author_id = $1 AND m.hidden_for_author = FALSE AND m.recipient_id <> $1 \
         ), partner AS ( \
           SELECT conversation_id, MAX(id) AS last_id, COUNT(*) AS messages_count, \
                  CAST(SUM(unread) AS BIGINT) AS unread_count \
             FROM seen GROUP BY conversation_id \
         ) "
    };
}

/// `$1` user. Walks `chat_messages_received` alone.
pub(crate) const INBOX_TOTAL: &str =
    concat!("SELECT COUNT(*) FROM chat_messages m", with_people!(), "WHERE", received!());

/// `$1` user, `$2` limit, `$3` offset. Walks `chat_messages_received` backwards.
pub(crate) const INBOX: &str = concat!(
    "SELECT ",
    message_columns!(),
    " FROM chat_messages m",
    with_people!(),
    "WHERE",
    received!(),
    "ORDER BY m.id DESC LIMIT $2 OFFSET $3"
);

/// `$1` user. Walks `chat_messages_received` alone.
pub(crate) const UNREAD_COUNT: &str = concat!(
    "SELECT COUNT(*) FROM chat_messages m",
    with_people!(),
    "WHERE",
    received!(),
    "AND m.read_at IS NULL"
);

/// `$1` user. Walks `chat_messages_received` and `chat_messages_written`.
pub(crate) const PARTNERS_TOTAL: &str = concat!(
    partners!(),
    "SELECT COUNT(*) FROM partner p JOIN chat_messages m ON m.id = p.last_id",
    with_people!()
);

/// `$1` user, `$2` limit, `$3` offset. Walks `chat_messages_received` and `chat_messages_written`.
pub(crate) const PARTNERS: &str = concat!(
    partners!(),
    "SELECT p.messages_count, p.unread_count, ",
    message_columns!(),
    " FROM partner p JOIN chat_messages m ON m.id = p.last_id",
    with_people!(),
    "ORDER BY p.last_id DESC LIMIT $2 OFFSET $3"
);

/// `$1` user, `$2` conversation. Walks `chat_messages_of_conversation`.
pub(crate) const CONVERSATION_TOTAL: &str = concat!(
    "SELECT COUNT(*) FROM chat_messages m",
    with_people!(),
    "WHERE m.conversation_id = $2 AND",
    visible!()
);

/// `$1` user, `$2` conversation, `$3` limit, `$4` offset. Walks `chat_messages_of_conversation` backwards.
pub(crate) const CONVERSATION: &str = concat!(
    "SELECT ",
    message_columns!(),
    " FROM chat_messages m",
    with_people!(),
    "WHERE m.conversation_id = $2 AND",
    visible!(),
    "ORDER BY m.id DESC LIMIT $3 OFFSET $4"
);

/// `$1` user, `$2` message. Primary key.
pub(crate) const MESSAGE: &str = concat!(
    "SELECT ",
    message_columns!(),
    " FROM chat_messages m",
    with_people!(),
    "WHERE m.id = $2 AND",
    visible!()
);
