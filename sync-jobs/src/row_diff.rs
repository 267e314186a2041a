//! Row differences for people: plan and verify show them.
//!
//! What must stay true: these hold row data, so only commands that promise exact rows print them; they
//! are never logged.

use banyan_engine::{RowChange, TableDiff, Value};

use crate::shape::TableShape;

/// How a row differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowDiffKind {
    /// The target misses it.
    Missing,
    /// The target has other values.
    Different,
    /// The source does not have it.
    Extra,
}

/// One row that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowDiff {
    /// The target table.
    pub table: String,
    /// How it differs.
    pub kind: RowDiffKind,
    /// Its primary key, parts joined by `, `.
    pub primary_key: String,
    /// The columns that differ; all of them for a missing or extra row.
    pub columns: Vec<ColumnDiff>,
}

/// One column that differs, as canonical text; `None` is NULL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnDiff {
    /// The column.
    pub column: String,
    /// What the source says it should be; `None` also for an extra row.
    pub wanted: Option<String>,
    /// What the target has; `None` also for a missing row.
    pub found: Option<String>,
}

impl RowDiffKind {
    /// The kind as a word of the output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Different => "different",
            Self::Extra => "extra",
        }
    }
}

/// The first `limit` differences of a table.
pub(crate) fn row_diffs(shape: &TableShape, diff: &TableDiff, limit: usize) -> Vec<RowDiff> {
    diff.changes.iter().take(limit).map(|change| row_diff(shape, change)).collect()
}

fn row_diff(shape: &TableShape, change: &RowChange) -> RowDiff {
    let (kind, wanted, found) = match change {
        RowChange::Insert { row } => (RowDiffKind::Missing, Some(row), None),
        RowChange::Update { before, after } => (RowDiffKind::Different, Some(after), Some(before)),
        RowChange::Delete { row } => (RowDiffKind::Extra, None, Some(row)),
    };
    let row = wanted.or(found);
    let key: Vec<String> =
        shape.key.iter().map(|at| text(row, *at).unwrap_or_else(|| "NULL".to_owned())).collect();
    let columns = shape
        .columns
        .iter()
        .enumerate()
        .map(|(at, column)| ColumnDiff {
            column: column.name.clone(),
            wanted: text(wanted, at),
            found: text(found, at),
        })
        .filter(|column| kind != RowDiffKind::Different || column.wanted != column.found)
        .collect();
    RowDiff { table: shape.spec.name.clone(), kind, primary_key: key.join(", "), columns }
}

fn text(row: Option<&Vec<Value>>, at: usize) -> Option<String> {
    row.and_then(|row| row.get(at))
        .and_then(Value::canonical_text)
        .map(std::borrow::Cow::into_owned)
}
