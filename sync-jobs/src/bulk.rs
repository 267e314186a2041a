//! Writes of many rows: statements of many rows each, and Postgres' COPY for rows that are new.
//!
//! A first copy spends its time here. So the next statement is written while the server works on the one before,
//! and rows that are taken for new go the shortest way there is.
//!
//! What must stay true: a row that is there already refuses the bulk write of new rows, it is never overwritten
//! by it; a statement is bounded, so memory is.

use banyan_engine::{RowChange, TableDiff, Value};

use crate::connection::Connection;
use crate::dialect::{Dialect, Existing, STATEMENT_BYTES_MAX};
use crate::error::SyncError;
use crate::shape::TableShape;

/// Whether the engine can write new rows in bulk and refuses those that are there.
pub(crate) fn has(target: &Connection, shape: &TableShape) -> bool {
    // Where an upsert names its key, even a plain insert is one.
    !target.dialect.upsert_names_key() || target.dialect.copy_into(&shape.write_target()).is_some()
}

/// Writes a difference whose inserts are taken for rows that are not there by primary key.
pub(crate) async fn write_new(
    target: &mut Connection,
    shape: &TableShape,
    diff: &TableDiff,
) -> Result<(), SyncError> {
    let inserts = || {
        diff.changes.iter().filter_map(|change| match change {
            RowChange::Insert { row } => Some(row),
            RowChange::Update { .. } | RowChange::Delete { .. } => None,
        })
    };
    let updates = diff.changes.iter().filter_map(|change| match change {
        RowChange::Update { after, .. } => Some(after),
        RowChange::Insert { .. } | RowChange::Delete { .. } => None,
    });
    match target.dialect.copy_into(&shape.write_target()) {
        Some(copy) if inserts().next().is_some() => {
            copy_all(target, shape, &copy, inserts()).await?;
        }
        Some(_) | None => write_all(target, shape, inserts(), Existing::No).await?,
    }
    write_all(target, shape, updates, Existing::Maybe).await
}

/// Writes rows by statements of many rows.
pub(crate) async fn write_all<'r>(
    target: &mut Connection,
    shape: &TableShape,
    mut rows: impl Iterator<Item = &'r Vec<Value>>,
    existing: Existing,
) -> Result<(), SyncError> {
    let dialect = target.dialect;
    let frame = dialect.write_frame(&shape.write_target(), existing);
    let act = format!("write table `{}`", shape.spec.name);
    let mut next = statement(dialect, shape, &frame, &mut rows)?;
    while let Some(sql) = next {
        let run = target.run(&act, &sql);
        // The first poll sends; the next statement is made while the server works.
        let (done, made) =
            tokio::join!(run, async { statement(dialect, shape, &frame, &mut rows) });
        done?;
        next = made?;
    }
    Ok(())
}

/// The next statement, as long as there are rows.
fn statement<'r>(
    dialect: &dyn Dialect,
    shape: &TableShape,
    (start, end): &(String, String),
    rows: &mut impl Iterator<Item = &'r Vec<Value>>,
) -> Result<Option<String>, SyncError> {
    let mut sql = String::new();
    for row in rows {
        sql.push_str(if sql.is_empty() { start } else { "," });
        for (at, (column, value)) in shape.stored(row).enumerate() {
            sql.push(if at == 0 { '(' } else { ',' });
            let pushed = dialect.push_literal(value, &mut sql);
            pushed.map_err(|source| shape.refused(row, column, source))?;
        }
        sql.push(')');
        if sql.len() > STATEMENT_BYTES_MAX {
            break;
        }
    }
    if sql.is_empty() {
        return Ok(None);
    }
    sql.push_str(end);
    Ok(Some(sql))
}

async fn copy_all<'r>(
    target: &mut Connection,
    shape: &TableShape,
    copy: &str,
    mut rows: impl Iterator<Item = &'r Vec<Value>>,
) -> Result<(), SyncError> {
    let dialect = target.dialect;
    let act = format!("copy into table `{}`", shape.spec.name);
    let next = |text: &mut String| -> Result<(), SyncError> {
        for row in rows.by_ref() {
            for (at, (column, value)) in shape.stored(row).enumerate() {
                if at > 0 {
                    text.push('\t');
                }
                let pushed = dialect.push_copied(value, text);
                pushed.map_err(|source| shape.refused(row, column, source))?;
            }
            text.push('\n');
            if text.len() > STATEMENT_BYTES_MAX {
                break;
            }
        }
        Ok(())
    };
    target.copy_in(&act, copy, next).await.map(drop)
}
