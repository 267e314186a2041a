//! How a mapping meets the target's real tables: which column is what.
//!
//! The select is prepared on the source (its column names), the table is read on the target (its types).
//! Whatever does not fit is refused here, by name, before anything is written.
//!
//! What must stay true: each column of a select is a column of the target table with a supported type;
//! primary key and root column are among them.

use banyan_domain::Side;
use banyan_engine::{ColumnKind, RootKey};

use crate::connection::{Connection, as_text};
use crate::dialect::WriteTarget;
use crate::error::SyncError;
use crate::select;
use crate::spec::{JobSpec, TableSpec};

/// One target table with its columns resolved.
#[derive(Debug, Clone)]
pub(crate) struct TableShape {
    pub(crate) spec: TableSpec,
    /// The select's columns, in its order.
    pub(crate) columns: Vec<ColumnShape>,
    /// Positions of the primary key's columns.
    pub(crate) key: Vec<usize>,
    /// Position of the root column.
    pub(crate) root: usize,
}

/// One column.
#[derive(Debug, Clone)]
pub(crate) struct ColumnShape {
    pub(crate) name: String,
    pub(crate) kind: ColumnKind,
}

impl TableShape {
    /// The table as a target of writes.
    pub(crate) fn write_target(&self) -> WriteTarget<'_> {
        WriteTarget {
            table: &self.spec.name,
            columns: self.columns.iter().map(|column| column.name.as_str()).collect(),
            key: self.spec.key.iter().map(String::as_str).collect(),
        }
    }

    /// The kind of the root column.
    pub(crate) fn root_kind(&self) -> ColumnKind {
        self.columns.get(self.root).map_or(ColumnKind::Any, |column| column.kind)
    }
}

/// Resolves all target tables of the job.
pub(crate) async fn resolve(
    spec: &JobSpec,
    to: Side,
    source: &mut Connection,
    target: &mut Connection,
) -> Result<Vec<TableShape>, SyncError> {
    let mut shapes = Vec::new();
    for table in spec.tables_to(to) {
        let sample = [sample_key(spec)];
        let sql = select::expand(&table.select, source.dialect, &spec.key, &sample)?;
        let act = format!("prepare the select of table `{}`", table.name);
        let names = source.columns(&act, &sql).await?;
        let declared = declared_columns(target, &table.name).await?;
        shapes.push(resolve_table(table, names, &declared, target)?);
    }
    Ok(shapes)
}

/// A key of the right shape, to prepare selects with.
fn sample_key(spec: &JobSpec) -> RootKey {
    RootKey::new(spec.key.sample())
}

async fn declared_columns(
    target: &mut Connection,
    table: &str,
) -> Result<Vec<(String, String)>, SyncError> {
    let sql = target.dialect.list_columns(table);
    let rows = target.rows("read the columns", sql).await?;
    let declared: Vec<(String, String)> = rows
        .iter()
        .filter_map(|row| match row.as_slice() {
            [name, kind] => Some((as_text(name)?, as_text(kind).unwrap_or_default())),
            _ => None,
        })
        .collect();
    if declared.is_empty() {
        let problem = format!("side `{}` has no such table", target.side.as_str());
        return Err(SyncError::Shape { table: table.to_owned(), problem });
    }
    Ok(declared)
}

fn resolve_table(
    table: &TableSpec,
    names: Vec<String>,
    declared: &[(String, String)],
    target: &Connection,
) -> Result<TableShape, SyncError> {
    let refuse = |problem: String| SyncError::Shape { table: table.name.clone(), problem };
    let mut columns: Vec<ColumnShape> = Vec::with_capacity(names.len());
    for name in names {
        if columns.iter().any(|column| column.name == name) {
            return Err(refuse(format!("the select gives column `{name}` twice")));
        }
        let (_, text) = declared.iter().find(|(column, _)| *column == name).ok_or_else(|| {
            refuse(format!("the select gives column `{name}`, which the table does not have"))
        })?;
        let kind = target.dialect.column_kind(text).ok_or_else(|| {
            refuse(format!("type `{text}` of column `{name}` is not supported yet"))
        })?;
        columns.push(ColumnShape { name, kind });
    }
    let position = |name: &str, what: &str| {
        columns
            .iter()
            .position(|column| column.name == name)
            .ok_or_else(|| refuse(format!("the select does not give the {what} `{name}`")))
    };
    let key: Result<Vec<usize>, SyncError> =
        table.key.iter().map(|name| position(name, "key column")).collect();
    let (key, root) = (key?, position(&table.root_column, "root column")?);
    Ok(TableShape { spec: table.clone(), columns, key, root })
}
