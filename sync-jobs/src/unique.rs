//! Unique keys beside the primary key: values that swap between rows, and values that another aggregate still holds.
//!
//! Databases check each row of a statement at once, so `a -> b, b -> a` is refused although its end is right. Rows whose
//! unique values change are *parked* first: NULL where the column allows it, else a value that nobody uses. A value that a row
//! outside of the batch holds cannot be parked away; its aggregate joins the batch, for it has changed as well.
//!
//! What must stay true: parking and writing are one transaction; a row is never deleted to make room (that would delete
//! its children); without unique keys nothing is asked of the database.

use std::collections::BTreeSet;

use banyan_engine::{ColumnKind, KeyedRows, RootKey, RowChange, TableDiff, Value};

use crate::aggregate::Tables;
use crate::connection::{Connection, as_integer, as_text};
use crate::error::SyncError;
use crate::select;
use crate::shape::TableShape;

/// Rows looked up in one statement.
const ROWS_PER_LOOKUP: usize = 500;

/// A unique key whose columns the mapping writes.
#[derive(Debug, Clone)]
pub(crate) struct UniqueKey {
    /// Positions of its columns.
    pub(crate) columns: Vec<usize>,
    /// Which of them may be NULL.
    nullable: Vec<usize>,
}

/// Reads the unique keys of a table; those with a column that the mapping does not write do not matter.
pub(crate) async fn keys_of(
    target: &mut Connection,
    table: &str,
    position: impl Fn(&str) -> Option<usize>,
) -> Result<Vec<UniqueKey>, SyncError> {
    let sql = target.dialect.list_unique(table);
    let rows = target.rows("read the unique keys", sql).await?;
    let mut keys: Vec<(String, Option<UniqueKey>)> = Vec::new();
    for row in &rows {
        let [name, column, nullable] = row.as_slice() else { continue };
        let (Some(name), Some(column)) = (as_text(name), as_text(column)) else { continue };
        if keys.last().is_none_or(|(last, _)| *last != name) {
            keys.push((name, Some(UniqueKey { columns: Vec::new(), nullable: Vec::new() })));
        }
        let Some((_, place)) = keys.last_mut() else { continue };
        match (position(&column), place.as_mut()) {
            (Some(at), Some(key)) => {
                key.columns.push(at);
                if as_integer(nullable) == Some(1) {
                    key.nullable.push(at);
                }
            }
            (None, _) => *place = None,
            (Some(_), None) => {}
        }
    }
    Ok(keys.into_iter().filter_map(|(_, key)| key).collect())
}

/// Parks the rows whose unique values change, so that no order of writing them can collide.
pub(crate) async fn park(
    target: &mut Connection,
    shape: &TableShape,
    diff: &TableDiff,
) -> Result<(), SyncError> {
    for key in &shape.unique {
        let mut number = 0_i128;
        for change in &diff.changes {
            let RowChange::Update { before, after } = change else { continue };
            if !changes_key(key, before, after) {
                continue;
            }
            number += 1;
            let Some(sql) = park_sql(target, shape, key, before, number)? else { continue };
            target.run(&format!("park a row of table `{}`", shape.spec.name), &sql).await?;
        }
    }
    Ok(())
}

/// Whether the row gives up a value of the key. A NULL holds nothing.
fn changes_key(key: &UniqueKey, before: &[Value], after: &[Value]) -> bool {
    let differs = key.columns.iter().any(|at| before.get(*at) != after.get(*at));
    differs && key.columns.iter().all(|at| before.get(*at) != Some(&Value::Null))
}

fn park_sql(
    target: &Connection,
    shape: &TableShape,
    key: &UniqueKey,
    row: &[Value],
    number: i128,
) -> Result<Option<String>, SyncError> {
    let is_primary = |at: &&usize| shape.key.contains(at);
    let column = key.nullable.first().or_else(|| key.columns.iter().find(|at| !is_primary(at)));
    let Some(at) = column.copied() else { return Ok(None) };
    let Some(column) = shape.columns.get(at) else { return Ok(None) };
    let value = match (key.nullable.contains(&at), column.kind) {
        (true, _) => Value::Null,
        (false, ColumnKind::Integer { unsigned: false, .. }) => Value::Int(-number),
        (false, ColumnKind::Integer { bits, unsigned: true }) => {
            Value::Int((1_i128 << bits.min(64)) - number)
        }
        (false, _) => Value::Text(format!("~by{number}")),
    };
    let mut sql = format!(
        "UPDATE {} SET {} = ",
        target.dialect.name(&shape.spec.name),
        target.dialect.name(&column.name)
    );
    let place = |source| SyncError::KeyValue { source };
    target.dialect.push_literal(&value, &mut sql).map_err(place)?;
    for (n, (name, at)) in shape.spec.key.iter().zip(&shape.key).enumerate() {
        sql.push_str(if n == 0 { " WHERE " } else { " AND " });
        sql.push_str(&target.dialect.name(name));
        sql.push_str(" = ");
        let value = row.get(*at).unwrap_or(&Value::Null);
        target.dialect.push_literal(value, &mut sql).map_err(place)?;
    }
    Ok(Some(sql))
}

/// The aggregates outside of `keys` whose rows hold unique values that the wanted rows need.
pub(crate) async fn holders(
    target: &mut Connection,
    shapes: &[TableShape],
    wanted: &Tables,
    keys: &[RootKey],
) -> Result<Vec<RootKey>, SyncError> {
    let mut found = BTreeSet::new();
    for (shape, rows) in shapes.iter().zip(wanted) {
        let Some(root) = root_sql(target, shape) else { continue };
        for key in &shape.unique {
            for sql in lookups(target, shape, key, rows, &root)? {
                let rows = target.rows("look for holders of unique values", sql).await?;
                found.extend(rows.iter().filter_map(|row| row.first()).filter_map(as_text));
            }
        }
    }
    let inside: BTreeSet<&str> = keys.iter().map(RootKey::as_str).collect();
    Ok(found.into_iter().filter(|key| !inside.contains(key.as_str())).map(RootKey::new).collect())
}

/// The root key of a row of the target, as an expression over the table named `by_t`.
fn root_sql(target: &Connection, shape: &TableShape) -> Option<String> {
    if shape.spec.current.is_none() {
        let column = format!("by_t.{}", target.dialect.name(&shape.spec.root_column));
        return Some(target.dialect.as_key(&column));
    }
    shape.captured_key.as_ref().map(|key| crate::capture::key_of(key, "by_t"))
}

fn lookups(
    target: &Connection,
    shape: &TableShape,
    key: &UniqueKey,
    rows: &KeyedRows,
    root: &str,
) -> Result<Vec<String>, SyncError> {
    let names: Vec<String> = key
        .columns
        .iter()
        .filter_map(|at| shape.columns.get(*at))
        .map(|column| target.dialect.name(&column.name))
        .collect();
    let mut lists = Vec::with_capacity(rows.len());
    for row in rows.rows() {
        let values: Vec<Value> =
            key.columns.iter().filter_map(|at| row.get(*at).cloned()).collect();
        if !values.contains(&Value::Null) {
            lists.push(select::literals(target.dialect, values.into_iter())?);
        }
    }
    let table = target.dialect.name(&shape.spec.name);
    let condition = |lists: &[String]| match names.as_slice() {
        [name] => format!("{name} IN ({})", lists.join(",")),
        _ => format!("({}) IN ({})", names.join(", "), target.dialect.row_list(lists)),
    };
    Ok(lists
        .chunks(ROWS_PER_LOOKUP)
        .map(|lists| format!("SELECT DISTINCT {root} FROM {table} by_t WHERE {}", condition(lists)))
        .collect())
}
