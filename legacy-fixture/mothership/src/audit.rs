//! What the monolith has committed, read back from its audits.
//!
//! It exists so that a demo or a test can hold the public events against the truth: the audit row is written
//! in the transaction of the change, so it is there exactly when the change is.

use std::collections::BTreeMap;

use crate::database::{Database, Reader};
use crate::error::MothershipError;

/// Both dialects give the time as text this way.
const EVENTS: &str = "SELECT event_type, CAST(created_at AS CHAR) FROM audits";
const SENT_TO_OTHERS: &str = "SELECT COUNT(*) FROM audits
    JOIN messages ON messages.id = audits.subject_id
    WHERE audits.event_type = 'message.sent' AND messages.sender_id <> messages.recipient_id";

/// The `message_id` of the semantic event of every committed change, in order.
///
/// # Errors
/// When the database cannot be opened or read.
pub async fn committed_events(database_url: &str) -> Result<Vec<String>, MothershipError> {
    let mut database = Database::open(database_url, 1).await?;
    let rows = database.rows("SELECT id FROM audits ORDER BY id".into(), &[]).await?;
    let ids =
        rows.iter().map(|row| row.cells().int().map(|id| format!("mothership-{id}"))).collect();
    database.close().await;
    ids
}

/// What was committed, as consumers of the events would count it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// Events by day (`2014-06-12`, UTC) and type.
    pub by_day: BTreeMap<(String, String), u64>,
    /// Messages sent to somebody else than their sender.
    pub sent_to_others: u64,
}

/// Counts what was committed.
///
/// # Errors
/// When the database cannot be opened or read.
pub async fn committed(database_url: &str) -> Result<Committed, MothershipError> {
    let mut database = Database::open(database_url, 1).await?;
    let counted = count(&mut database).await;
    database.close().await;
    counted
}

async fn count(database: &mut Database) -> Result<Committed, MothershipError> {
    let mut committed = Committed::default();
    for row in database.rows(EVENTS.into(), &[]).await? {
        let mut cells = row.cells();
        let (kind, at) = (cells.text()?, cells.text()?);
        let day: String = at.chars().take("2014-06-12".len()).collect();
        *committed.by_day.entry((day, kind)).or_default() += 1;
    }
    let rows = database.rows(SENT_TO_OTHERS.into(), &[]).await?;
    let sent = rows.first().map(|row| row.cells().int()).transpose()?.unwrap_or(0);
    committed.sent_to_others = u64::try_from(sent).unwrap_or(0);
    Ok(committed)
}
