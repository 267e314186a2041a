//! Messages in threads: rows, public JSON, and the statements of the context `messages`.
//!
//! Each statement reads in one go what it answers from, so that one answer shows one moment.
//!
//! What must stay true: `MESSAGE` of the contract in its key order; a message without a receipt counts as unread and
//! not deleted; `updated_at` moves at edit, read and delete.

use crate::{
    MothershipError,
    database::{Arg, Cells, Reader, Row, Tx, padded_list},
    user::{User, user_columns},
};
use fixture_passport::{Page, time};
use serde::Serialize;

/// `MESSAGE` of the public contract, and who hid it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Message {
    pub(crate) id: i64,
    pub(crate) thread_id: i64,
    parent_id: Option<i64>,
    pub(crate) subject: String,
    pub(crate) body: String,
    pub(crate) sender: User,
    pub(crate) recipient: User,
    pub(crate) read: bool,
    read_at: Option<String>,
    edited_at: Option<String>,
    pub(crate) created_at: String,
    updated_at: String,
    uri: String,
    #[serde(skip)]
    hidden_for_sender: bool,
    #[serde(skip)]
    hidden_for_recipient: bool,
}

/// One page of messages.
pub(crate) struct Messages {
    pub(crate) rows: Vec<Message>,
    pub(crate) total: i64,
}

/// One partner in the list of a user's conversations.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Conversation {
    id: String,
    pub(crate) with: User,
    pub(crate) last_message: Message,
    pub(crate) messages_count: i64,
    pub(crate) unread_count: i64,
}

/// One page of conversations.
pub(crate) struct Conversations {
    pub(crate) rows: Vec<Conversation>,
    pub(crate) total: i64,
}

/// A message to be stored.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) sender_id: i64,
    pub(crate) recipient_id: i64,
    pub(crate) subject: String,
    pub(crate) body: String,
    /// The message that it answers: its id and its thread.
    pub(crate) parent: Option<(i64, i64)>,
}

/// Columns and joins of a [`Message`], from a source that names `m`.
macro_rules! select_messages {
    ($source:expr, $tail:expr) => {
        concat!(
            "SELECT m.id, m.thread_id, m.parent_id, t.subject, m.body, CAST(rr.read_at AS CHAR), ",
            "CAST(m.edited_at AS CHAR), CAST(m.created_at AS CHAR), CAST(m.updated_at AS CHAR), ",
            "CASE WHEN sr.deleted_at IS NULL THEN 0 ELSE 1 END, ",
            "CASE WHEN rr.deleted_at IS NULL THEN 0 ELSE 1 END, ",
            user_columns!("s"),
            ", ",
            user_columns!("r"),
            " FROM ",
            $source,
            " JOIN message_threads t ON t.id = m.thread_id",
            " JOIN users s ON s.id = m.sender_id JOIN users r ON r.id = m.recipient_id",
            " LEFT JOIN message_receipts sr ON sr.message_id = m.id AND sr.user_id = m.sender_id",
            " LEFT JOIN message_receipts rr ON rr.message_id = m.id AND rr.user_id = m.recipient_id",
            $tail
        )
    };
}

const BY_ID: &str = select_messages!("messages m", " WHERE m.id = ?");

const BY_IDS: &str = select_messages!("messages m", " WHERE m.id IN ");

/// Walks `index_messages_on_recipient_id` backwards and stops at the page's end.
const INBOX: &str = select_messages!(
    "(SELECT i.id FROM messages i \
      LEFT JOIN message_receipts h ON h.message_id = i.id AND h.user_id = i.recipient_id \
      WHERE i.recipient_id = ? AND h.deleted_at IS NULL ORDER BY i.id DESC LIMIT ? OFFSET ?) page \
     JOIN messages m ON m.id = page.id",
    " ORDER BY m.id DESC"
);

/// All received, minus the few deleted of them: both from indexes alone.
const INBOX_TOTAL: &str = "SELECT (SELECT COUNT(*) FROM messages WHERE recipient_id = ?) - \
     (SELECT COUNT(*) FROM message_receipts d JOIN messages m ON m.id = d.message_id \
      WHERE d.user_id = ? AND d.deleted_at IS NOT NULL AND m.recipient_id = ?)";

/// Self-messages are in the first half only.
const CONVERSATION_IDS: &str = "SELECT m.id FROM messages m \
     LEFT JOIN message_receipts h ON h.message_id = m.id AND h.user_id = m.sender_id \
     WHERE m.sender_id = ? AND m.recipient_id = ? AND h.deleted_at IS NULL \
     UNION ALL SELECT m.id FROM messages m \
     LEFT JOIN message_receipts h ON h.message_id = m.id AND h.user_id = m.recipient_id \
     WHERE m.sender_id = ? AND m.recipient_id = ? AND m.sender_id <> m.recipient_id \
     AND h.deleted_at IS NULL";

const UNREAD: &str = "SELECT COUNT(*) FROM message_receipts h JOIN messages m ON m.id = h.message_id \
     WHERE h.user_id = ? AND h.deleted_at IS NULL AND h.read_at IS NULL AND m.recipient_id = ?";

/// Partners with their newest visible message; a user has at most some hundreds, so the page is cut in memory.
const PARTNERS: &str = "SELECT CASE WHEN m.sender_id = ? THEN m.recipient_id ELSE m.sender_id END AS partner, \
     MAX(m.id) AS last_id, COUNT(*), \
     COUNT(CASE WHEN m.recipient_id = ? AND h.read_at IS NULL THEN 1 END) \
     FROM message_receipts h JOIN messages m ON m.id = h.message_id \
     WHERE h.user_id = ? AND h.deleted_at IS NULL GROUP BY partner ORDER BY last_id DESC";

const OPEN_THREAD: &str = "INSERT INTO message_threads (subject, creator_id, created_at, updated_at) \
     VALUES (?, ?, ?, ?)";

const TOUCH_THREAD: &str = "UPDATE message_threads SET updated_at = ? WHERE id = ?";

const INSERT: &str = "INSERT INTO messages \
     (thread_id, parent_id, sender_id, recipient_id, body, created_at, updated_at) \
     VALUES (?, ?, ?, ?, ?, ?, ?)";

const INSERT_RECEIPT: &str =
    "INSERT INTO message_receipts (message_id, user_id, read_at) VALUES (?, ?, ?)";

const EDIT: &str = "UPDATE messages SET body = ?, edited_at = ?, updated_at = ? WHERE id = ?";

const MARK_READ: &str = "UPDATE message_receipts SET read_at = ? \
     WHERE message_id = ? AND user_id = ? AND read_at IS NULL";

const HIDE: &str = "UPDATE message_receipts SET deleted_at = ? \
     WHERE message_id = ? AND user_id = ? AND deleted_at IS NULL";

const TOUCH: &str = "UPDATE messages SET updated_at = ? WHERE id = ?";

impl Message {
    fn read(row: &Row) -> Result<Self, MothershipError> {
        let mut cells = row.cells();
        let id = cells.int()?;
        let thread_id = cells.int()?;
        let parent_id = cells.maybe_int()?;
        let subject = cells.text()?;
        let body = cells.text()?;
        let read_at = rails_time(&mut cells)?;
        let edited_at = rails_time(&mut cells)?;
        let created_at = time::rails(&cells.text()?);
        let updated_at = time::rails(&cells.text()?);
        let hidden_for_sender = cells.int()? != 0;
        let hidden_for_recipient = cells.int()? != 0;
        let sender = User::read(&mut cells)?;
        let recipient = User::read(&mut cells)?;
        Ok(Self {
            id,
            thread_id,
            parent_id,
            subject,
            body,
            sender,
            recipient,
            read: read_at.is_some(),
            read_at,
            edited_at,
            created_at,
            updated_at,
            uri: format!("/messages/{id}"),
            hidden_for_sender,
            hidden_for_recipient,
        })
    }

    pub(crate) fn uri(&self) -> &str {
        &self.uri
    }

    /// True when `user_id` wrote or received it.
    pub(crate) fn involves(&self, user_id: i64) -> bool {
        self.sender.id == user_id || self.recipient.id == user_id
    }

    /// True when `user_id` wrote or received it and has not deleted it.
    pub(crate) fn visible_to(&self, user_id: i64) -> bool {
        let sent = self.sender.id == user_id && !self.hidden_for_sender;
        let received = self.recipient.id == user_id && !self.hidden_for_recipient;
        sent || received
    }
}

/// The message with this id, whoever may see it.
pub(crate) async fn find(
    from: &mut impl Reader,
    id: i64,
) -> Result<Option<Message>, MothershipError> {
    from.rows(BY_ID.into(), &[id.into()]).await?.first().map(Message::read).transpose()
}

/// Received and not deleted by the user, newest first.
pub(crate) async fn inbox(
    from: &mut impl Reader,
    user_id: i64,
    page: Page,
) -> Result<Messages, MothershipError> {
    let args: [Arg; 3] = [user_id.into(), page.per_page.into(), page.offset().into()];
    let rows = from.rows(INBOX.into(), &args).await?;
    let total = number(from, INBOX_TOTAL.into(), &[user_id, user_id, user_id]).await?;
    Ok(Messages { rows: rows.iter().map(Message::read).collect::<Result<_, _>>()?, total })
}

/// What the user sees of his messages with another, newest first.
pub(crate) async fn conversation(
    from: &mut impl Reader,
    user_id: i64,
    other_id: i64,
    page: Page,
) -> Result<Messages, MothershipError> {
    let pair = [user_id, other_id, other_id, user_id];
    let total =
        number(from, format!("SELECT COUNT(*) FROM ({CONVERSATION_IDS}) ids").into(), &pair)
            .await?;
    let sql = format!("{CONVERSATION_IDS} ORDER BY 1 DESC LIMIT ? OFFSET ?");
    let args: Vec<Arg> =
        pair.into_iter().chain([page.per_page, page.offset()]).map(Arg::Int).collect();
    let rows = from.rows(sql.into(), &args).await?;
    let ids: Vec<i64> = rows.iter().map(|row| row.cells().int()).collect::<Result<_, _>>()?;
    Ok(Messages { rows: find_all(from, &ids).await?, total })
}

/// The user's partners, newest message first.
pub(crate) async fn conversations(
    from: &mut impl Reader,
    user_id: i64,
    page: Page,
) -> Result<Conversations, MothershipError> {
    let partners =
        from.rows(PARTNERS.into(), &[user_id.into(), user_id.into(), user_id.into()]).await?;
    let total = i64::try_from(partners.len()).unwrap_or(i64::MAX);
    let skip = usize::try_from(page.offset()).unwrap_or(usize::MAX);
    let take = usize::try_from(page.per_page).unwrap_or_default();
    let mut counts = Vec::with_capacity(take);
    for row in partners.iter().skip(skip).take(take) {
        let mut cells = row.cells();
        cells.int()?;
        counts.push((cells.int()?, cells.int()?, cells.int()?));
    }
    let ids: Vec<i64> = counts.iter().map(|(last_id, ..)| *last_id).collect();
    let last_messages = find_all(from, &ids).await?;
    let rows = last_messages.into_iter().filter_map(|last_message| {
        let counted = counts.iter().find(|(last_id, ..)| *last_id == last_message.id);
        counted.map(|(_, messages_count, unread_count)| {
            let mine = last_message.sender.id == user_id;
            let with = if mine { &last_message.recipient } else { &last_message.sender }.clone();
            let id = conversation_id(user_id, with.id);
            let (messages_count, unread_count) = (*messages_count, *unread_count);
            Conversation { id, with, last_message, messages_count, unread_count }
        })
    });
    Ok(Conversations { rows: rows.collect(), total })
}

/// Received, not deleted and not read by the user.
pub(crate) async fn unread_count(
    from: &mut impl Reader,
    user_id: i64,
) -> Result<i64, MothershipError> {
    number(from, UNREAD.into(), &[user_id, user_id]).await
}

/// `<lower user id>:<higher user id>`.
pub(crate) fn conversation_id(one: i64, other: i64) -> String {
    format!("{}:{}", one.min(other), one.max(other))
}

/// Stores a message with its receipts, in its parent's thread or a new one; gives its id and its thread's.
pub(crate) async fn insert(
    tx: &mut Tx,
    draft: &Draft,
    now: &str,
) -> Result<(i64, i64), MothershipError> {
    let sender_id = draft.sender_id;
    let thread_id = if let Some((_, thread_id)) = draft.parent {
        tx.execute(TOUCH_THREAD.into(), &[now.into(), thread_id.into()]).await?;
        thread_id
    } else {
        let subject = draft.subject.as_str().into();
        let args: [Arg; 4] = [subject, sender_id.into(), now.into(), now.into()];
        tx.execute(OPEN_THREAD.into(), &args).await?.id
    };
    let args: [Arg; 7] = [
        thread_id.into(),
        draft.parent.map(|(parent_id, _)| parent_id).into(),
        sender_id.into(),
        draft.recipient_id.into(),
        draft.body.as_str().into(),
        now.into(),
        now.into(),
    ];
    let id = tx.execute(INSERT.into(), &args).await?.id;
    tx.execute(INSERT_RECEIPT.into(), &[id.into(), draft.recipient_id.into(), Arg::Null]).await?;
    if draft.recipient_id != sender_id {
        // The writer has read his own message.
        tx.execute(INSERT_RECEIPT.into(), &[id.into(), sender_id.into(), now.into()]).await?;
    }
    Ok((id, thread_id))
}

/// Replaces the body.
pub(crate) async fn edit(
    tx: &mut Tx,
    id: i64,
    body: &str,
    now: &str,
) -> Result<(), MothershipError> {
    tx.execute(EDIT.into(), &[body.into(), now.into(), now.into(), id.into()]).await.map(|_| ())
}

/// Marks it read by its recipient; false when it already was.
pub(crate) async fn mark_read(
    tx: &mut Tx,
    id: i64,
    user_id: i64,
    now: &str,
) -> Result<bool, MothershipError> {
    touch_receipt(tx, MARK_READ, id, user_id, now).await
}

/// Hides it for one user; false when it already was.
pub(crate) async fn hide(
    tx: &mut Tx,
    id: i64,
    user_id: i64,
    now: &str,
) -> Result<bool, MothershipError> {
    touch_receipt(tx, HIDE, id, user_id, now).await
}

async fn touch_receipt(
    tx: &mut Tx,
    sql: &'static str,
    id: i64,
    user_id: i64,
    now: &str,
) -> Result<bool, MothershipError> {
    let changed = tx.execute(sql.into(), &[now.into(), id.into(), user_id.into()]).await?.rows > 0;
    if changed {
        tx.execute(TOUCH.into(), &[now.into(), id.into()]).await?;
    }
    Ok(changed)
}

async fn find_all(from: &mut impl Reader, ids: &[i64]) -> Result<Vec<Message>, MothershipError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let (places, args) = padded_list(ids);
    let rows = from.rows(format!("{BY_IDS}({places}) ORDER BY m.id DESC").into(), &args).await?;
    rows.iter().map(Message::read).collect()
}

async fn number(
    from: &mut impl Reader,
    sql: crate::database::Sql,
    args: &[i64],
) -> Result<i64, MothershipError> {
    let args: Vec<Arg> = args.iter().copied().map(Arg::Int).collect();
    let rows = from.rows(sql, &args).await?;
    Ok(rows.first().map(|row| row.cells().int()).transpose()?.unwrap_or_default())
}

fn rails_time(cells: &mut Cells<'_>) -> Result<Option<String>, MothershipError> {
    Ok(cells.maybe_text()?.as_deref().map(time::rails))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversation_id_does_not_depend_on_who_asks() {
        assert_eq!(conversation_id(17, 3), "3:17");
        assert_eq!(conversation_id(3, 17), "3:17");
        assert_eq!(conversation_id(3, 3), "3:3");
    }
}
