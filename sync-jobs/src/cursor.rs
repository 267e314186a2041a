//! Capture by cursor: rows whose time of change is behind a position, for databases where no trigger may be made.
//!
//! A pass reads the rows of each captured table from its position on, in the order of `(cursor, id)`, and applies their
//! aggregates like any marked ones. What a cursor cannot see (deletes, updates that leave the column alone) is found by sweeps.
//!
//! What must stay true: a position never passes the start of the oldest open transaction, less the allowed skew, because a row
//! may be committed long after it was stamped; a position is saved only after everything before it was applied.

use banyan_engine::RootKey;

use crate::capture;
use crate::connection::{Connection, as_keys, as_text};
use crate::error::SyncError;
use crate::job::JobInner;
use crate::spec::{CaptureSpec, CursorSpec};
use crate::state::text;

/// Where a pass over one table is.
#[derive(Debug, Clone)]
pub(crate) struct Pass {
    /// The capture's number.
    pub(crate) number: usize,
    capture: CaptureSpec,
    cursor: CursorSpec,
    /// Where this pass began; what a crash goes back to.
    pub(crate) from: String,
    /// The last row that was read: its time and its id.
    last: Option<(String, String)>,
    /// Behind what may not have been committed when the pass began: what commits later was not in its snapshots.
    horizon: String,
}

/// Some rows of a pass.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// Their root keys, each once.
    pub(crate) keys: Vec<RootKey>,
    /// Whether there may be more.
    pub(crate) is_full: bool,
}

/// The captures that have a cursor, each at its saved position. To be called before the first snapshot of the passes.
pub(crate) async fn passes(
    job: &JobInner,
    source: &mut Connection,
    target: &mut Connection,
) -> Result<Vec<Pass>, SyncError> {
    let mut passes = Vec::new();
    for (number, capture) in job.spec.captures_on(job.from()) {
        let Some(cursor) = capture.cursor.clone() else { continue };
        let from = job.state.cursor(target, number).await?.unwrap_or_default();
        let now = source.dialect.now_text();
        let horizon = floor(source, now, cursor.skew_seconds).await?.unwrap_or_default();
        let capture = capture.clone();
        passes.push(Pass { number, capture, cursor, from, last: None, horizon });
    }
    Ok(passes)
}

impl Pass {
    /// The next rows in the caller's snapshot.
    pub(crate) async fn page(
        &mut self,
        source: &mut Connection,
        limit: usize,
    ) -> Result<Page, SyncError> {
        let sql = self.sql(source, limit)?;
        let act = format!("read the changes of table `{}`", self.capture.table);
        let rows = source.rows(&act, sql).await?;
        let mut keys: Vec<RootKey> = as_keys(&rows).collect();
        keys.sort();
        keys.dedup();
        if let Some([_, at, id]) = rows.last().map(Vec::as_slice) {
            self.last = as_text(at).zip(as_text(id));
        }
        Ok(Page { keys, is_full: rows.len() >= limit })
    }

    fn sql(&self, source: &Connection, limit: usize) -> Result<String, SyncError> {
        let dialect = source.dialect;
        // With the table's name: Postgres would sort by the text of the same name that is selected.
        let name = |column: &str| format!("by_row.{}", dialect.name(column));
        let (at, id) = (name(&self.cursor.column), name(&self.cursor.id));
        let condition = match &self.last {
            None => format!("{at} >= {}", text(dialect, &self.from)?),
            Some((last, row)) => {
                let (last, row) = (text(dialect, last)?, text(dialect, row)?);
                format!("{at} >= {last} AND ({at} > {last} OR ({at} = {last} AND {id} > {row}))")
            }
        };
        let table = dialect.name(&self.capture.table);
        let key = dialect.as_key(&format!("({})", capture::key_of(&self.capture.key, "by_row")));
        let (time, id_text) = (dialect.as_key(&at), dialect.as_key(&id));
        Ok(format!(
            "SELECT {key}, {time}, {id_text} FROM {table} by_row WHERE {condition} \
             ORDER BY {at}, {id} LIMIT {limit}"
        ))
    }

    /// Where the next pass may begin: behind nothing that may still be committed.
    pub(crate) async fn next_position(
        &self,
        source: &mut Connection,
    ) -> Result<Option<String>, SyncError> {
        let Some((last, _)) = &self.last else { return Ok(None) };
        let read = floor(source, &text(source.dialect, last)?, self.cursor.skew_seconds).await?;
        // Both are written by the same expression, so their texts compare like their times.
        Ok(read.map(|read| read.min(self.horizon.clone())))
    }
}

/// Where cursors begin when everything is listed now.
pub(crate) async fn start(
    job: &JobInner,
    source: &mut Connection,
    target: &mut Connection,
) -> Result<(), SyncError> {
    for (number, capture) in job.spec.captures_on(job.from()) {
        let Some(cursor) = &capture.cursor else { continue };
        let now = source.dialect.now_text();
        if let Some(position) = floor(source, now, cursor.skew_seconds).await? {
            job.state.save_cursor(target, number, &position).await?;
        }
    }
    Ok(())
}

async fn floor(
    source: &mut Connection,
    time: &str,
    skew_seconds: u64,
) -> Result<Option<String>, SyncError> {
    // A column of whole seconds is stamped up to a second early.
    let sql = source.dialect.cursor_floor(time, skew_seconds.max(1));
    let rows = source.rows("look for the oldest open transaction", sql).await?;
    Ok(rows.first().and_then(|row| row.first()).and_then(as_text))
}
