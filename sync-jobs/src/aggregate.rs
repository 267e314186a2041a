//! Reads the rows of aggregates from both sides, in canonical form.
//!
//! Apply, plan and verify all read through here, so that they cannot disagree about what is equal.
//!
//! What must stay true: a source read happens inside a snapshot that the caller started; every row is
//! canonical for its target column; a row of a root that was not asked for is an error of the mapping.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use banyan_engine::{
    AggregateHash, AggregateHasher, KeyShape, KeyedRows, RootKey, TableDiff, Value, diff, keep,
};

use crate::connection::{Connection, TooHeavy};
use crate::error::SyncError;
use crate::select;
use crate::shape::TableShape;

/// The rows of some aggregates, one entry per table in the order of the job.
pub(crate) type Tables = Vec<KeyedRows>;

/// Whether rows are read to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadFor {
    /// Only compared.
    Compare,
    /// Locked until the transaction ends.
    Write,
}

/// What the rows of these roots should be, by the source's current snapshot.
pub(crate) async fn read_source(
    source: &mut Connection,
    shapes: &[TableShape],
    key: &KeyShape,
    keys: &[RootKey],
    bytes_max: usize,
) -> Result<Result<Tables, TooHeavy>, SyncError> {
    if keys.is_empty() {
        return Ok(Ok(vec![KeyedRows::default(); shapes.len()]));
    }
    let mut tables = Vec::with_capacity(shapes.len());
    for shape in shapes {
        let sql = select::expand(&shape.spec.select, source.dialect, key, keys)?;
        let act = format!("run the select of table `{}`", shape.spec.name);
        let Ok(rows) = source.rows_within(&act, sql, bytes_max).await? else {
            return Ok(Err(TooHeavy));
        };
        tables.push(keyed(shape, keys, rows, TableShape::source_row)?);
    }
    Ok(Ok(tables))
}

/// What the rows of these roots are on the target.
pub(crate) async fn read_target(
    target: &mut Connection,
    shapes: &[TableShape],
    keys: &[RootKey],
    read: ReadFor,
    bytes_max: usize,
) -> Result<Result<Tables, TooHeavy>, SyncError> {
    let mut tables = Vec::with_capacity(shapes.len());
    for shape in shapes {
        let Some(mut sql) = target_select(target, shape, keys)? else {
            tables.push(KeyedRows::default());
            continue;
        };
        // Not every select can lock what it read: `current` is checked against marks of others after the write.
        if read == ReadFor::Write && shape.spec.current.is_none() {
            sql.push_str(target.dialect.for_update());
        }
        let act = format!("read table `{}`", shape.spec.name);
        let Ok(rows) = target.rows_within(&act, sql, bytes_max).await? else {
            return Ok(Err(TooHeavy));
        };
        tables.push(keyed(shape, keys, rows, TableShape::target_row)?);
    }
    Ok(Ok(tables))
}

/// Rows without those of some roots. A root that would take a row away from one of them is set aside as well.
pub(crate) fn set_aside(
    shapes: &[TableShape],
    have: &Tables,
    want: &Tables,
    aside: &mut BTreeSet<RootKey>,
) -> Result<(Tables, Tables), SyncError> {
    let is_aside = |aside: &BTreeSet<RootKey>, shape: &TableShape, row: &[Value]| {
        root_of(shape, row).is_some_and(|root| aside.contains(&root))
    };
    let key_of = |shape: &TableShape, row: &[Value]| -> Vec<Value> {
        shape.key.iter().filter_map(|at| row.get(*at).cloned()).collect()
    };
    loop {
        let before = aside.len();
        for ((shape, have), want) in shapes.iter().zip(have).zip(want) {
            let held: HashSet<Vec<Value>> = have
                .rows()
                .filter(|row| is_aside(aside, shape, row))
                .map(|row| key_of(shape, row))
                .collect();
            let takers = want.rows().filter(|row| held.contains(&key_of(shape, row)));
            aside.extend(takers.filter_map(|row| root_of(shape, row)));
        }
        if aside.len() == before {
            break;
        }
    }
    let without = |tables: &Tables| -> Result<Tables, SyncError> {
        let mut left = Vec::with_capacity(tables.len());
        for (shape, rows) in shapes.iter().zip(tables) {
            let mut kept = KeyedRows::default();
            for row in rows.rows().filter(|row| !is_aside(aside, shape, row)) {
                kept.insert(&shape.matched, row.clone())
                    .map_err(|source| SyncError::Rows { table: shape.spec.name.clone(), source })?;
            }
            left.push(kept);
        }
        Ok(left)
    };
    Ok((without(have)?, without(want)?))
}

/// What has to be written so that the target has what it should, table by table. Plan and verify show the same.
pub(crate) fn differences(shapes: &[TableShape], have: &Tables, want: &Tables) -> Vec<TableDiff> {
    let mut found = Vec::with_capacity(shapes.len());
    for ((shape, have), want) in shapes.iter().zip(have).zip(want) {
        found.push(if shape.keep.is_empty() {
            diff(have, want)
        } else {
            diff(have, &keep(have, want, &shape.keep))
        });
    }
    found
}

/// One hash per root; roots without rows have the hash of empty tables.
pub(crate) fn hashes(
    shapes: &[TableShape],
    tables: &Tables,
    keys: &[RootKey],
) -> BTreeMap<RootKey, AggregateHash> {
    let mut grouped: BTreeMap<&RootKey, Vec<KeyedRows>> =
        keys.iter().map(|key| (key, vec![KeyedRows::default(); shapes.len()])).collect();
    for (at, (shape, rows)) in shapes.iter().zip(tables).enumerate() {
        for row in rows.rows() {
            let Some(root) = root_of(shape, row) else { continue };
            let Some(table) = grouped.get_mut(&root).and_then(|t| t.get_mut(at)) else { continue };
            let mut row = row.clone();
            shape.blank_kept(&mut row);
            // The rows were keyed before, so they cannot collide here.
            drop(table.insert(&shape.matched, row));
        }
    }
    grouped
        .into_iter()
        .map(|(key, tables)| {
            let mut hasher = AggregateHasher::new();
            for table in &tables {
                hasher.table(table);
            }
            (key.clone(), hasher.finish())
        })
        .collect()
}

/// The root key of a row.
pub(crate) fn root_of(shape: &TableShape, row: &[Value]) -> Option<RootKey> {
    row.get(shape.root).and_then(Value::canonical_text).map(RootKey::new)
}

/// The select of the target's rows; `None` when no key can be stored in the root column.
pub(crate) fn target_select(
    target: &Connection,
    shape: &TableShape,
    keys: &[RootKey],
) -> Result<Option<String>, SyncError> {
    if keys.is_empty() {
        return Ok(None);
    }
    if let Some(current) = &shape.spec.current {
        return select::expand(current, target.dialect, &shape.key_shape, keys).map(Some);
    }
    let roots = keys.iter().filter_map(|key| {
        Value::Text(key.as_str().to_owned()).into_canonical(shape.root_kind()).ok()
    });
    let list = select::literals(target.dialect, roots)?;
    if list.is_empty() {
        return Ok(None);
    }
    Ok(Some(format!(
        "{} WHERE {} IN ({list})",
        rows_of(target, shape),
        target.dialect.name(&shape.spec.root_column),
    )))
}

/// The select of all of the target's rows.
pub(crate) fn rows_of(target: &Connection, shape: &TableShape) -> String {
    let columns: Vec<&str> = shape.columns.iter().map(|column| column.exact.as_str()).collect();
    format!("SELECT {} FROM {}", columns.join(", "), target.dialect.name(&shape.spec.name))
}

/// Makes rows canonical and keys them.
fn keyed(
    shape: &TableShape,
    keys: &[RootKey],
    rows: Vec<Vec<Value>>,
    canonical: fn(&TableShape, Vec<Value>) -> Result<Vec<Value>, SyncError>,
) -> Result<KeyedRows, SyncError> {
    let asked: HashSet<&str> = keys.iter().map(RootKey::as_str).collect();
    let mut keyed = KeyedRows::default();
    for row in rows {
        let row = canonical(shape, row)?;
        let root = root_of(shape, &row).unwrap_or_else(|| RootKey::new("NULL"));
        if !asked.contains(root.as_str()) {
            let table = shape.spec.name.clone();
            return Err(SyncError::ForeignRoot { table, key: root.to_string() });
        }
        keyed
            .insert(&shape.matched, row)
            .map_err(|source| SyncError::Rows { table: shape.spec.name.clone(), source })?;
    }
    Ok(keyed)
}
