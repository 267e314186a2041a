//! Writes the difference of some aggregates to the target, in one transaction with its checkpoint.
//!
//! Deletes run children first, writes parents first. Rows are found by primary key; a row that moved to
//! another aggregate is one update, because the batch is compared as a whole.
//!
//! What must stay true: lease and fence are checked inside the transaction; only what differs is
//! written; `REPLACE` is never used; the caller drops the connection after any error.

use banyan_engine::{KeyedRows, RootKey, RowChange, TableDiff, Value, diff};

use crate::aggregate::{self, ReadFor, Tables};
use crate::connection::{Connection, TooHeavy};
use crate::dialect::{Existing, STATEMENT_BYTES_MAX};
use crate::error::SyncError;
use crate::pause::{Pause, PausePoint};
use crate::select;
use crate::shape::TableShape;
use crate::state::{Checkpoint, Lease, StateRow, Written};
use crate::verify;

/// One batch: these roots should have these rows.
pub(crate) struct Batch<'a> {
    pub(crate) keys: &'a [RootKey],
    pub(crate) source: &'a Tables,
    pub(crate) checkpoint: &'a Checkpoint,
}

/// Under which right and limits a batch is written.
pub(crate) struct Applier<'a> {
    pub(crate) state: &'a StateRow,
    pub(crate) lease: &'a Lease,
    pub(crate) shapes: &'a [TableShape],
    pub(crate) pause: &'a dyn Pause,
    pub(crate) ttl_ms: u128,
    pub(crate) bytes_max: usize,
}

impl Applier<'_> {
    /// Applies one batch, or says that the target's rows are too heavy for it.
    pub(crate) async fn apply(
        &self,
        target: &mut Connection,
        batch: &Batch<'_>,
    ) -> Result<Result<Written, TooHeavy>, SyncError> {
        target.begin_write().await?;
        self.state.renew(target, self.lease, self.ttl_ms).await?;
        self.state.check_fence(target).await?;
        let read =
            aggregate::read_target(target, self.shapes, batch.keys, ReadFor::Write, self.bytes_max);
        let Ok(have) = read.await? else {
            target.rollback().await?;
            return Ok(Err(TooHeavy));
        };
        let diffs: Vec<TableDiff> =
            have.iter().zip(batch.source).map(|(have, want)| diff(have, want)).collect();
        self.write(target, &diffs).await?;
        let written = count(&diffs);
        verify::clean::record(target, self.state.name(), batch.keys, verify::clean::DIRTY_MAX)
            .await?;
        self.state.save(target, batch.checkpoint, written).await?;
        self.pause.reach(PausePoint::BeforeCommit).await;
        target.commit().await?;
        Ok(Ok(written))
    }

    async fn write(&self, target: &mut Connection, diffs: &[TableDiff]) -> Result<(), SyncError> {
        for (shape, diff) in self.shapes.iter().zip(diffs).rev() {
            delete_rows(target, shape, diff).await?;
        }
        for (shape, diff) in self.shapes.iter().zip(diffs) {
            write_rows(target, shape, diff).await?;
        }
        Ok(())
    }
}

fn count(diffs: &[TableDiff]) -> Written {
    let mut written = Written::default();
    for change in diffs.iter().flat_map(|diff| &diff.changes) {
        match change {
            RowChange::Insert { .. } => written.inserted += 1,
            RowChange::Update { .. } => written.updated += 1,
            RowChange::Delete { .. } => written.deleted += 1,
        }
    }
    written
}

async fn delete_rows(
    target: &mut Connection,
    shape: &TableShape,
    diff: &TableDiff,
) -> Result<(), SyncError> {
    let rows: Vec<&Vec<Value>> = diff
        .changes
        .iter()
        .filter_map(|change| match change {
            RowChange::Delete { row } => Some(row),
            RowChange::Insert { .. } | RowChange::Update { .. } => None,
        })
        .collect();
    let act = format!("delete from table `{}`", shape.spec.name);
    for chunk in rows.chunks(1_000) {
        let sql = format!(
            "DELETE FROM {} WHERE {}",
            target.dialect.name(&shape.spec.name),
            key_condition(target, shape, chunk)?
        );
        target.run(&act, &sql).await?;
    }
    Ok(())
}

async fn write_rows(
    target: &mut Connection,
    shape: &TableShape,
    diff: &TableDiff,
) -> Result<(), SyncError> {
    let (mut inserts, mut upserts) = (Vec::new(), Vec::new());
    for change in &diff.changes {
        match change {
            RowChange::Insert { row } => inserts.push(row),
            RowChange::Update { after, .. } => upserts.push(after),
            RowChange::Delete { .. } => {}
        }
    }
    if target.dialect.upsert_names_key() {
        // One statement serves both: the conflict clause names the primary key.
        upserts.append(&mut inserts);
    } else {
        split_moved(target, shape, &mut inserts, &mut upserts).await?;
    }
    write_all(target, shape, &inserts, Existing::No).await?;
    write_all(target, shape, &upserts, Existing::Maybe).await
}

/// Moves rows from `inserts` to `upserts` whose primary key is there under another root.
async fn split_moved<'a>(
    target: &mut Connection,
    shape: &TableShape,
    inserts: &mut Vec<&'a Vec<Value>>,
    upserts: &mut Vec<&'a Vec<Value>>,
) -> Result<(), SyncError> {
    let mut there = KeyedRows::default();
    let columns: Vec<String> =
        shape.columns.iter().map(|column| target.dialect.name(&column.name)).collect();
    for chunk in inserts.chunks(1_000) {
        let sql = format!(
            "SELECT {} FROM {} WHERE {} FOR UPDATE",
            columns.join(", "),
            target.dialect.name(&shape.spec.name),
            key_condition(target, shape, chunk)?
        );
        for row in target.rows("look for moved rows", sql).await? {
            let row = aggregate::canonical(shape, row)?;
            there
                .insert(&shape.key, row)
                .map_err(|source| SyncError::Rows { table: shape.spec.name.clone(), source })?;
        }
    }
    if there.is_empty() {
        return Ok(());
    }
    let key_of = |row: &[Value]| -> Vec<Value> {
        shape.key.iter().filter_map(|at| row.get(*at).cloned()).collect()
    };
    let keys: Vec<Vec<Value>> = there.rows().map(|row| key_of(row)).collect();
    let (moved, fresh) = inserts.iter().partition(|row| keys.contains(&key_of(row)));
    *inserts = fresh;
    upserts.extend::<Vec<&Vec<Value>>>(moved);
    Ok(())
}

async fn write_all(
    target: &mut Connection,
    shape: &TableShape,
    rows: &[&Vec<Value>],
    existing: Existing,
) -> Result<(), SyncError> {
    let (start, end) = target.dialect.write_frame(&shape.write_target(), existing);
    let act = format!("write table `{}`", shape.spec.name);
    let mut sql = String::new();
    for row in rows {
        sql.push_str(if sql.is_empty() { &start } else { "," });
        push_row(target, shape, row, &mut sql)?;
        if sql.len() > STATEMENT_BYTES_MAX {
            sql.push_str(&end);
            target.run(&act, &sql).await?;
            sql.clear();
        }
    }
    if !sql.is_empty() {
        sql.push_str(&end);
        target.run(&act, &sql).await?;
    }
    Ok(())
}

fn push_row(
    target: &Connection,
    shape: &TableShape,
    row: &[Value],
    sql: &mut String,
) -> Result<(), SyncError> {
    for (at, (value, column)) in row.iter().zip(&shape.columns).enumerate() {
        sql.push(if at == 0 { '(' } else { ',' });
        target.dialect.push_literal(value, sql).map_err(|source| SyncError::Value {
            table: shape.spec.name.clone(),
            column: column.name.clone(),
            source,
        })?;
    }
    sql.push(')');
    Ok(())
}

/// `key IN (..)`, or `(a, b) IN (..)` for a key of several columns.
fn key_condition(
    target: &Connection,
    shape: &TableShape,
    rows: &[&Vec<Value>],
) -> Result<String, SyncError> {
    let names: Vec<String> = shape.spec.key.iter().map(|c| target.dialect.name(c)).collect();
    let mut lists = Vec::with_capacity(rows.len());
    for row in rows {
        let values = shape.key.iter().filter_map(|at| row.get(*at).cloned());
        lists.push(select::literals(target.dialect, values)?);
    }
    if names.len() == 1 {
        return Ok(format!("{} IN ({})", names.join(""), lists.join(",")));
    }
    let values = target.dialect.row_list(&lists);
    Ok(format!("({}) IN ({values})", names.join(", ")))
}
