//! The change table: reading a batch of marks, and deleting exactly those that were applied.
//!
//! What must stay true: marks are deleted by their exact ids, never by a range, because a transaction
//! with a smaller id may commit later; the ids were read in the snapshot that the roots were applied from.

use std::collections::BTreeSet;

use banyan_engine::RootKey;

use crate::connection::{Connection, as_integer, as_text};
use crate::error::SyncError;
use crate::select;
use crate::state::text;

/// Ids per delete statement.
const IDS_PER_DELETE: usize = 2_000;

/// Marks that one snapshot showed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Changes {
    /// Exact ids of the marks.
    pub(crate) ids: Vec<i64>,
    /// The marked roots, each once.
    pub(crate) keys: Vec<RootKey>,
    /// Whether a captured table was truncated, so that no mark names the roots.
    pub(crate) truncated: bool,
    /// Whether the snapshot had no more marks than these.
    pub(crate) complete: bool,
    /// When the oldest of them was made, Unix milliseconds of the source.
    pub(crate) oldest_ms: Option<i64>,
}

impl Changes {
    /// A text that names the batch: the same marks give the same token.
    pub(crate) fn token(&self) -> String {
        let first = self.ids.first().copied().unwrap_or(0);
        let last = self.ids.last().copied().unwrap_or(0);
        format!("{first}-{last}-{}", self.ids.len())
    }
}

/// Reads at most `limit` marks of the job, oldest id first, in the caller's snapshot.
pub(crate) async fn read(
    source: &mut Connection,
    job: &str,
    limit: usize,
) -> Result<Changes, SyncError> {
    let sql = format!(
        "SELECT seq, k, op, {} FROM by_change WHERE job = '{job}' ORDER BY seq LIMIT {limit}",
        source.dialect.changed_at_ms()
    );
    let rows = source.rows("read the change table", sql).await?;
    let mut changes = Changes { complete: rows.len() < limit, ..Changes::default() };
    let mut keys = BTreeSet::new();
    for row in &rows {
        let [seq, k, op, at] = row.as_slice() else { continue };
        changes.ids.extend(as_integer(seq));
        changes.oldest_ms = changes.oldest_ms.into_iter().chain(as_integer(at)).min();
        if as_text(op).as_deref() == Some("T") {
            changes.truncated = true;
        } else {
            keys.extend(as_text(k).map(RootKey::new));
        }
    }
    changes.keys = keys.into_iter().collect();
    Ok(changes)
}

/// Which of these roots have marks, in the caller's snapshot.
pub(crate) async fn pending_of(
    source: &mut Connection,
    job: &str,
    keys: &[RootKey],
) -> Result<BTreeSet<RootKey>, SyncError> {
    let texts = keys.iter().map(|key| banyan_engine::Value::Text(key.as_str().to_owned()));
    let list = select::literals(source.dialect, texts)?;
    let sql = format!("SELECT DISTINCT k FROM by_change WHERE job = '{job}' AND k IN ({list})");
    let rows = source.rows("look for pending changes", sql).await?;
    Ok(rows.iter().filter_map(|row| row.first()).filter_map(as_text).map(RootKey::new).collect())
}

/// The select of the roots that have marks.
pub(crate) fn pending_keys(job: &str) -> String {
    format!("SELECT DISTINCT k FROM by_change WHERE job = '{job}' AND op <> 'T'")
}

/// Whether a captured table was truncated and the job has not seen it yet.
pub(crate) async fn is_truncated(source: &mut Connection, job: &str) -> Result<bool, SyncError> {
    let sql = format!("SELECT COUNT(*) FROM by_change WHERE job = '{job}' AND op = 'T'");
    Ok(source.integer("look for truncations", sql).await?.unwrap_or(0) > 0)
}

/// How many marks the job has.
pub(crate) async fn pending(source: &mut Connection, job: &str) -> Result<i64, SyncError> {
    let sql = format!("SELECT COUNT(*) FROM by_change WHERE job = '{job}'");
    Ok(source.integer("count the pending changes", sql).await?.unwrap_or(0))
}

/// Deletes exactly these marks.
pub(crate) async fn delete(source: &mut Connection, ids: &[i64]) -> Result<(), SyncError> {
    for chunk in ids.chunks(IDS_PER_DELETE) {
        let ids: Vec<String> = chunk.iter().map(i64::to_string).collect();
        let sql = format!("DELETE FROM by_change WHERE seq IN ({})", ids.join(","));
        source.run("delete applied changes", &sql).await?;
    }
    Ok(())
}

/// Deletes all marks of the job, for uninstalling.
pub(crate) async fn forget(source: &mut Connection, job: &str) -> Result<(), SyncError> {
    let sql = format!("DELETE FROM by_change WHERE job = {}", text(source.dialect, job)?);
    source.run("delete the job's changes", &sql).await.map(drop)
}
