//! Seeded writes of the monolith and of the service, as their code would make them.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::db::Client;

/// Ids that the writers of both sides hand on to each other, as the cutover moves sequences.
#[derive(Debug)]
pub(crate) struct Ids {
    pub(crate) message: i64,
    pub(crate) thread: i64,
    pub(crate) users: i64,
    rng: StdRng,
}

impl Ids {
    pub(crate) fn new(seed: u64, messages: i64, users: i64) -> Self {
        let (message, thread) = (messages, messages.div_euclid(4));
        Self { message, thread, users, rng: StdRng::seed_from_u64(seed) }
    }

    fn time(&mut self) -> String {
        let (day, second) = (self.rng.random_range(1..28), self.rng.random_range(10..60));
        format!("2014-07-{day:02} 12:00:{second}")
    }

    fn any_message(&mut self) -> i64 {
        self.rng.random_range(1..=self.message)
    }

    fn pair(&mut self) -> (i64, i64) {
        (self.rng.random_range(1..=self.users), self.rng.random_range(1..=self.users))
    }
}

/// One write of the monolith.
pub(crate) async fn legacy(on: &mut Client, ids: &mut Ids) {
    let (time, id) = (ids.time(), ids.any_message());
    let statements = match ids.rng.random_range(0..10) {
        0..=2 => {
            let (from, to) = ids.pair();
            ids.message += 1;
            let message = ids.message;
            let mut statements = Vec::new();
            let is_new_thread = ids.rng.random_bool(0.5);
            if is_new_thread {
                ids.thread += 1;
                statements.push(format!(
                    "INSERT INTO message_threads (id, subject, creator_id, created_at, updated_at) \
                     VALUES ({}, 'Subject', {from}, '{time}', '{time}')",
                    ids.thread
                ));
            }
            statements.push(format!(
                "INSERT INTO messages (id, thread_id, sender_id, recipient_id, body, created_at, updated_at) \
                 VALUES ({message}, (SELECT MAX(id) FROM message_threads), {from}, {to}, \
                 'n{message}', '{time}', '{time}')"
            ));
            for user in if from == to { vec![from] } else { vec![from, to] } {
                statements.push(format!(
                    "INSERT INTO message_receipts (message_id, user_id) VALUES ({message}, {user})"
                ));
            }
            statements
        }
        3..=4 => vec![format!(
            "UPDATE messages SET body = 'e{time}', edited_at = '{time}', updated_at = '{time}' WHERE id = {id}"
        )],
        5..=6 => vec![
            format!(
                "UPDATE message_receipts SET read_at = '{time}' WHERE message_id = {id} AND user_id = \
                 (SELECT recipient_id FROM messages WHERE id = {id})"
            ),
            format!("UPDATE messages SET updated_at = '{time}' WHERE id = {id}"),
        ],
        7 => vec![
            format!("UPDATE message_receipts SET deleted_at = '{time}' WHERE message_id = {id}"),
            format!("UPDATE messages SET updated_at = '{time}' WHERE id = {id}"),
        ],
        8 => vec![
            format!("DELETE FROM message_receipts WHERE message_id = {id}"),
            format!("DELETE FROM messages WHERE id = {id}"),
        ],
        _ => vec![format!(
            "UPDATE message_threads SET subject = 's{time}' WHERE id = \
             (SELECT thread_id FROM messages WHERE id = {id})"
        )],
    };
    on.transaction(&statements).await;
}

/// One write of the service. It keeps its conversations right itself.
pub(crate) async fn new(on: &mut Client, ids: &mut Ids) {
    let (time, id) = (ids.time(), ids.any_message());
    let set = |what: String| {
        vec![format!("UPDATE chat_messages SET {what}, changed_at = '{time}' WHERE id = {id}")]
    };
    let statements = match ids.rng.random_range(0..10) {
        0..=2 => {
            let (from, to) = ids.pair();
            ids.message += 1;
            ids.thread += 1;
            let (message, thread) = (ids.message, ids.thread);
            let key = format!("{}:{}", from.min(to), from.max(to));
            let mut statements = vec![format!(
                "INSERT INTO chat_messages (id, conversation_id, thread_id, subject, author_id, \
                 recipient_id, body, sent_at, changed_at) VALUES ({message}, '{key}', {thread}, \
                 'Chat', {from}, {to}, 'c{message}', '{time}', '{time}')"
            )];
            statements.extend(recount(&format!("'{key}'")));
            statements
        }
        3..=4 => set(format!("body = 'e{time}', edited_at = '{time}'")),
        5..=6 => set(format!("read_at = '{time}'")),
        7 => vec![format!(
            "UPDATE chat_messages SET hidden_for_recipient = TRUE, changed_at = '{time}', \
             hidden_for_author = CASE WHEN author_id = recipient_id THEN TRUE ELSE hidden_for_author END \
             WHERE id = {id}"
        )],
        8 => {
            let key = conversation_of(on, id).await;
            let Some(key) = key else { return };
            let mut statements = vec![format!("DELETE FROM chat_messages WHERE id = {id}")];
            statements.extend(recount(&format!("'{key}'")));
            statements
        }
        _ => {
            let thread = on
                .number(&format!(
                    "SELECT COALESCE(MAX(thread_id), 0) FROM chat_messages WHERE id = {id}"
                ))
                .await;
            vec![format!("UPDATE chat_messages SET subject = 's{time}' WHERE thread_id = {thread}")]
        }
    };
    on.transaction(&statements).await;
}

async fn conversation_of(on: &mut Client, id: i64) -> Option<String> {
    let of = |column: &str| {
        format!("SELECT COALESCE(MAX({column}), 0) FROM chat_messages WHERE id = {id}")
    };
    let (from, to) = (on.number(&of("author_id")).await, on.number(&of("recipient_id")).await);
    (from > 0).then(|| format!("{}:{}", from.min(to), from.max(to)))
}

/// The conversation's row, made anew from its messages.
fn recount(key: &str) -> [String; 2] {
    [
        format!("DELETE FROM conversations WHERE id = {key}"),
        format!(
            "INSERT INTO conversations (id, user_low, user_high, last_message_id, messages_count, updated_at) \
             SELECT m.conversation_id, MIN(CASE WHEN m.author_id < m.recipient_id THEN m.author_id ELSE m.recipient_id END), \
             MAX(CASE WHEN m.author_id > m.recipient_id THEN m.author_id ELSE m.recipient_id END), MAX(m.id), COUNT(*), \
             (SELECT l.sent_at FROM chat_messages l WHERE l.conversation_id = {key} ORDER BY l.id DESC LIMIT 1) \
             FROM chat_messages m WHERE m.conversation_id = {key} GROUP BY m.conversation_id"
        ),
    ]
}
