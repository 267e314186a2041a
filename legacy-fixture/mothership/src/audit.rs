//! What the monolith has committed, read back from its audits.
//!
//! It exists so that a demo or a test can hold the public events against the truth: the audit row is written
//! in the transaction of the change, so it is there exactly when the change is.

use crate::database::{Database, Reader};
use crate::error::MothershipError;

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
