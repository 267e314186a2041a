//! The work list: all root keys of both sides, enumerated once, kept on the target.
//!
//! A computed root key has no index to page through, so `WHERE k > last ORDER BY k LIMIT n` would scan
//! the source once per chunk. Instead one scan fills `by_copy`, whose primary key then gives the chunks in
//! order; and the copy can go on after a crash. The target's own roots are listed as well, so that
//! aggregates which are gone from the source are removed.
//!
//! What must stay true: a key that appears after the listing is in the change table, because the triggers
//! were there before; memory holds one batch of keys.

use banyan_engine::{ColumnKind, RootKey};
use futures_util::StreamExt;

use crate::connection::{Connection, as_keys, as_text, failed};
use crate::dialect::Dialect;
use crate::error::SyncError;
use crate::job::JobInner;
use crate::pause::{Pause, PausePoint};
use crate::shape::TableShape;
use crate::state::text;

/// Keys per insert.
const KEYS_PER_INSERT: usize = 1_500;

/// A named list in `by_copy`.
pub(crate) struct WorkList {
    name: String,
}

impl WorkList {
    /// The list of this name.
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// Empties the list.
    pub(crate) async fn clear(&self, target: &mut Connection) -> Result<(), SyncError> {
        let sql =
            format!("DELETE FROM by_copy WHERE list_name = {}", text(target.dialect, &self.name)?);
        target.run("clear the work list", &sql).await.map(drop)
    }

    /// Adds all keys that `select` gives on `source`.
    pub(crate) async fn fill(
        &self,
        source: &mut Connection,
        select: String,
        target: &mut Connection,
        pause: &dyn Pause,
    ) -> Result<(), SyncError> {
        let side = source.side;
        let act = "list the root keys";
        let mut rows = source.stream(select).chunks(KEYS_PER_INSERT);
        while let Some(chunk) = rows.next().await {
            let mut keys = Vec::with_capacity(chunk.len());
            for row in chunk {
                let row = row.map_err(|source| failed(side, act, source))?;
                keys.extend(row.first().and_then(as_text));
            }
            pause.reach(PausePoint::BeforeListWrite).await;
            self.add(target, &keys).await?;
        }
        Ok(())
    }

    /// Adds the roots that the target's own tables have.
    pub(crate) async fn fill_from_target(
        &self,
        target: &mut Connection,
        shapes: &[TableShape],
        job: &JobInner,
    ) -> Result<(), SyncError> {
        let (insert, end) = target.dialect.insert_ignore();
        let (name, key) = (text(target.dialect, &self.name)?, target.dialect.as_key("q.k"));
        for select in target_roots(target.dialect, shapes, job) {
            let sql = format!(
                "{insert} by_copy (list_name, k) SELECT {name}, {key} FROM ({select}) AS q \
                 WHERE q.k IS NOT NULL{end}"
            );
            target.run("list the target's root keys", &sql).await?;
        }
        Ok(())
    }

    /// How many keys the list has.
    pub(crate) async fn count(&self, target: &mut Connection) -> Result<i64, SyncError> {
        let sql = format!(
            "SELECT COUNT(*) FROM by_copy WHERE list_name = {}",
            text(target.dialect, &self.name)?
        );
        Ok(target.integer("count the work list", sql).await?.unwrap_or(0))
    }

    /// The next keys in order, behind `cursor`.
    pub(crate) async fn next(
        &self,
        target: &mut Connection,
        cursor: Option<&RootKey>,
        limit: usize,
    ) -> Result<Vec<RootKey>, SyncError> {
        let behind = match cursor {
            Some(key) => format!(" AND k > {}", text(target.dialect, key.as_str())?),
            None => String::new(),
        };
        let sql = format!(
            "SELECT k FROM by_copy WHERE list_name = {}{behind} ORDER BY k LIMIT {limit}",
            text(target.dialect, &self.name)?
        );
        let rows = target.rows("read the work list", sql).await?;
        Ok(as_keys(&rows).collect())
    }

    async fn add(&self, target: &mut Connection, keys: &[String]) -> Result<(), SyncError> {
        if keys.is_empty() {
            return Ok(());
        }
        let (insert, end) = target.dialect.insert_ignore();
        let name = text(target.dialect, &self.name)?;
        let mut sql = format!("{insert} by_copy (list_name, k) VALUES ");
        for (at, key) in keys.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let key = text(target.dialect, key)?;
            for piece in [comma, "(", &name, ",", &key, ")"] {
                sql.push_str(piece);
            }
        }
        sql.push_str(end);
        target.run("write the work list", &sql).await.map(drop)
    }
}

/// The selects that give the roots which the target's own tables have, as `k`: text, or integers.
pub(crate) fn target_roots(
    dialect: &dyn Dialect,
    shapes: &[TableShape],
    job: &JobInner,
) -> Vec<String> {
    let mut selects = Vec::new();
    if shapes.iter().any(|shape| shape.spec.current.is_some()) {
        let roots = job.spec.roots_of(job.to).unwrap_or_default();
        let key = dialect.as_key("q.k");
        selects
            .push(format!("SELECT DISTINCT {key} AS k FROM ({roots}) AS q WHERE q.k IS NOT NULL"));
    }
    for shape in shapes.iter().filter(|shape| shape.spec.current.is_none()) {
        let root = dialect.name(&shape.spec.root_column);
        let key = if matches!(shape.root_kind(), ColumnKind::Integer { .. }) {
            // As they are, an index gives them once each; as text, MariaDB puts all rows into a table of its own first.
            root.clone()
        } else {
            dialect.as_key(&root)
        };
        let table = dialect.name(&shape.spec.name);
        selects.push(format!("SELECT DISTINCT {key} AS k FROM {table} WHERE {root} IS NOT NULL"));
    }
    selects
}
