//! The change table: reading a batch of marks, and deleting exactly those that were applied.
//!
//! What must stay true: marks are deleted by their exact ids, never by a range, because a transaction
//! with a smaller id may commit later; the ids were read in the snapshot that the roots were applied from.

use std::collections::BTreeSet;

use banyan_engine::RootKey;

use crate::connection::{Connection, as_integer, as_keys, as_text};
use crate::dialect::{FOREIGN, ORIGIN};
use crate::error::SyncError;
use crate::install;
use crate::job::JobInner;
use crate::select;
use crate::state::text;

/// Keys per statement.
const KEYS_PER_INSERT: usize = 1_000;
/// Ids per delete statement.
const IDS_PER_DELETE: usize = 500;

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
        "SELECT seq, k, op, {}, origin FROM by_change WHERE job = '{job}' ORDER BY seq LIMIT {limit}",
        source.dialect.changed_at_ms()
    );
    let rows = source.rows("read the change table", sql).await?;
    let mut changes = Changes { complete: rows.len() < limit, ..Changes::default() };
    let mut keys = BTreeSet::new();
    for row in &rows {
        let [seq, k, op, at, origin] = row.as_slice() else { continue };
        changes.ids.extend(as_integer(seq));
        if as_text(origin).as_deref() == Some(ORIGIN) {
            // The sync itself wrote it, in the other direction: there is nothing to carry back.
            continue;
        }
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

/// Which of these roots have marks on the job's source, in the caller's snapshot; none where nothing is marked.
pub(crate) async fn pending_on_source(
    job: &JobInner,
    source: &mut Connection,
    keys: &[RootKey],
) -> Result<BTreeSet<RootKey>, SyncError> {
    if !install::has_marks(job) {
        return Ok(BTreeSet::new());
    }
    pending_of(source, &job.spec.name, keys).await
}

/// Which of these roots have marks, in the caller's snapshot.
pub(crate) async fn pending_of(
    source: &mut Connection,
    job: &str,
    keys: &[RootKey],
) -> Result<BTreeSet<RootKey>, SyncError> {
    if keys.is_empty() {
        return Ok(BTreeSet::new());
    }
    let list = key_list(source, keys)?;
    let sql = format!(
        "SELECT DISTINCT k FROM by_change WHERE job = '{job}' AND {FOREIGN} AND k IN ({list})"
    );
    let rows = source.rows("look for pending changes", sql).await?;
    Ok(roots(&rows))
}

/// Roots that an application changed on this side, at most `limit`.
pub(crate) async fn foreign(
    side: &mut Connection,
    job: &str,
    limit: usize,
) -> Result<BTreeSet<RootKey>, SyncError> {
    let sql = format!(
        "SELECT DISTINCT k FROM by_change WHERE job = '{job}' AND {FOREIGN} AND op <> 'T' LIMIT {limit}"
    );
    Ok(roots(&side.rows("look for writes on the other side", sql).await?))
}

/// Deletes the marks of the sync's own writes, in their own transaction: nobody ever sees them.
pub(crate) async fn forget_echo(target: &mut Connection, job: &str) -> Result<(), SyncError> {
    let sql = format!("DELETE FROM by_change WHERE job = '{job}' AND origin = '{ORIGIN}'");
    target.run("delete own marks", &sql).await.map(drop)
}

/// Marks roots, so that the next drain compares them.
pub(crate) async fn enqueue(
    source: &mut Connection,
    job: &str,
    keys: &[RootKey],
    origin: &str,
) -> Result<(), SyncError> {
    for chunk in keys.chunks(KEYS_PER_INSERT) {
        let origin = text(source.dialect, origin)?;
        let mut rows = Vec::with_capacity(chunk.len());
        for key in chunk {
            let key = text(source.dialect, key.as_str())?;
            rows.push(format!("('{job}', {key}, 'R', {origin})"));
        }
        let sql = format!("INSERT INTO by_change (job, k, op, origin) VALUES {}", rows.join(", "));
        source.run("mark roots", &sql).await?;
    }
    Ok(())
}

/// Deletes an application's marks of these roots.
pub(crate) async fn overrule(
    side: &mut Connection,
    job: &str,
    keys: &[RootKey],
) -> Result<(), SyncError> {
    for chunk in keys.chunks(KEYS_PER_INSERT) {
        let list = key_list(side, chunk)?;
        let sql =
            format!("DELETE FROM by_change WHERE job = '{job}' AND {FOREIGN} AND k IN ({list})");
        side.run("delete overruled marks", &sql).await?;
    }
    Ok(())
}

/// Keys as a list of literals.
pub(crate) fn key_list(at: &Connection, keys: &[RootKey]) -> Result<String, SyncError> {
    let texts = keys.iter().map(|key| banyan_engine::Value::Text(key.as_str().to_owned()));
    select::literals(at.dialect, texts)
}

fn roots(rows: &[Vec<banyan_engine::Value>]) -> BTreeSet<RootKey> {
    as_keys(rows).collect()
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
pub(crate) async fn pending(source: &mut Connection, job: &JobInner) -> Result<i64, SyncError> {
    if !install::has_marks(job) {
        return Ok(0);
    }
    let sql = format!("SELECT COUNT(*) FROM by_change WHERE job = '{}'", job.spec.name);
    Ok(source.integer("count the pending changes", sql).await?.unwrap_or(0))
}

/// Deletes exactly these marks.
pub(crate) async fn delete(source: &mut Connection, ids: &[i64]) -> Result<(), SyncError> {
    for chunk in ids.chunks(IDS_PER_DELETE) {
        let sql = source.dialect.delete_marks(chunk);
        // Its transaction locks these rows and no gap between them on MariaDB: applications insert marks there all the time.
        source.begin_write().await?;
        source.run("delete applied changes", &sql).await?;
        source.commit().await?;
    }
    Ok(())
}

/// Deletes all marks of the job, for uninstalling.
pub(crate) async fn forget(source: &mut Connection, job: &str) -> Result<(), SyncError> {
    let sql = forget_sql(source, job)?;
    source.run("delete the job's changes", &sql).await.map(drop)
}

/// What deletes all marks of the job.
pub(crate) fn forget_sql(source: &Connection, job: &str) -> Result<String, SyncError> {
    Ok(format!("DELETE FROM by_change WHERE job = {}", text(source.dialect, job)?))
}
