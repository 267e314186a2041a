//! What the service announced as the owner, for programs that hold events against it.

use crate::{database::Database, error::MessagesError};
use serde_json::Value;

/// Rows that this side could never announce, or that an operator gave up, are not among them.
const ANNOUNCED: &str = "SELECT event_id, type, body FROM banyan_outbox
    WHERE state NOT IN ('muted', 'parity', 'silent', 'dropped') ORDER BY id";

/// One event that was committed while the service owned the context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// Its message id, the same on every delivery.
    pub id: String,
    /// Its type and routing key.
    pub kind: String,
    /// Its day (`2014-06-12`, UTC).
    pub day: String,
    /// Whether it is a message to somebody else than its sender.
    pub is_sent_to_other: bool,
}

/// All events that the service announced, or is going to, in the order of their ids: as long as their rows are there. The
/// relay deletes sent rows after 7 days.
///
/// # Errors
/// When the database cannot be opened or read.
pub async fn committed(url: &str) -> Result<Vec<Announced>, MessagesError> {
    let database = Database::open(url).await?;
    let read = read(&database).await;
    database.close().await;
    read.map_err(|source| MessagesError::Database { act: "read the outbox", source })
}

async fn read(database: &Database) -> Result<Vec<Announced>, sqlx::Error> {
    let mut tx = database.snapshot().await?;
    let rows: Vec<(String, String, Vec<u8>)> = tx.all(ANNOUNCED, &[]).await?;
    tx.end().await?;
    Ok(rows.into_iter().map(announced).collect())
}

fn announced((id, kind, body): (String, String, Vec<u8>)) -> Announced {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let at = body["occurred_at"].as_str().unwrap_or_default();
    let day = at.chars().take("2014/06/12".len()).collect::<String>().replace('/', "-");
    let data = &body["data"];
    let is_sent_to_other = kind == "message.sent" && data["sender_id"] != data["recipient_id"];
    Announced { id, kind, day, is_sent_to_other }
}
