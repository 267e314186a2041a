//! How a mapping meets the target's real tables: which column is what.
//!
//! The select is prepared on the source (its column names), the table is read on the target (its types).
//! Whatever does not fit is refused here, by name, before anything is written.
//!
//! A table without a root column is read by a select of its own (`current`). Columns that only this select and the source's
//! have are *virtual*: compared, never written. *Kept* columns are the opposite: written, never compared.
//!
//! What must stay true: each column of a select is a column of the target table with a supported type, or virtual;
//! primary key and root column are among them; both selects have the same columns.

use banyan_domain::Side;
use banyan_engine::{ColumnKind, Keep, KeyShape, RootKey, Value};

use crate::capture::is_select;
use crate::connection::{Connection, as_text};
use crate::dialect::WriteTarget;
use crate::error::SyncError;
use crate::select;
use crate::spec::{JobSpec, TableSpec};
use crate::unique::{self, UniqueKey};

/// One target table with its columns resolved.
#[derive(Debug, Clone)]
pub(crate) struct TableShape {
    pub(crate) spec: TableSpec,
    /// The select's columns, in its order.
    pub(crate) columns: Vec<ColumnShape>,
    /// Positions of the primary key's columns.
    pub(crate) key: Vec<usize>,
    /// Positions by which rows of both sides are matched: the key, and for shared rows the root before it.
    pub(crate) matched: Vec<usize>,
    /// Position of the root column.
    pub(crate) root: usize,
    /// What stays as the target has it.
    pub(crate) keep: Vec<Keep>,
    /// Unique keys beside the primary one.
    pub(crate) unique: Vec<UniqueKey>,
    /// The root key of a row as the capture of the table computes it, if that is an expression.
    pub(crate) captured_key: Option<String>,
    /// The parts of a root key.
    pub(crate) key_shape: KeyShape,
}

/// One column.
#[derive(Debug, Clone)]
pub(crate) struct ColumnShape {
    pub(crate) name: String,
    pub(crate) kind: ColumnKind,
    /// Whether the table does not have it: it is compared and not written.
    pub(crate) is_virtual: bool,
}

impl TableShape {
    /// The values of a row that are stored, with their columns.
    pub(crate) fn stored<'a>(
        &'a self,
        row: &'a [Value],
    ) -> impl Iterator<Item = (&'a ColumnShape, &'a Value)> {
        self.columns.iter().zip(row).filter(|(column, _)| !column.is_virtual)
    }

    /// The values of a row that must be the same on both sides, without the root.
    pub(crate) fn compared<'a>(&'a self, row: &'a [Value]) -> impl Iterator<Item = &'a Value> {
        let is_compared =
            |at: &usize| *at != self.root && self.keep.iter().all(|kept| kept.column != *at);
        row.iter().enumerate().filter(move |(at, _)| is_compared(at)).map(|(_, value)| value)
    }

    /// Whether the rows are read as they are stored, so that a database can hash them where they lie.
    #[expect(dead_code, reason = "asked by the lanes of verify")]
    pub(crate) fn is_plain(&self) -> bool {
        self.spec.current.is_none() && self.keep.is_empty() && !self.spec.shared
    }

    /// The table as a target of writes.
    pub(crate) fn write_target(&self) -> WriteTarget<'_> {
        WriteTarget {
            table: &self.spec.name,
            columns: self
                .columns
                .iter()
                .filter(|column| !column.is_virtual)
                .map(|column| column.name.as_str())
                .collect(),
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
        if let Some(current) = &table.current {
            let sql = select::expand(current, target.dialect, &spec.key, &sample)?;
            let act = format!("prepare `current` of table `{}`", table.name);
            check_current(table, &names, &target.columns(&act, &sql).await?)?;
        }
        let declared = declared_columns(target, &table.name).await?;
        let mut shape = resolve_table(table, names, &declared, target, &spec.key)?;
        let position = |name: &str| shape.columns.iter().position(|column| column.name == name);
        let unique = unique::keys_of(target, &table.name, position).await?;
        shape.unique = unique;
        shape.captured_key = spec
            .captures_on(to)
            .find(|(_, capture)| capture.table == table.name && !is_select(&capture.key))
            .map(|(_, capture)| capture.key.clone());
        shapes.push(shape);
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

/// Both selects must say the same in the same order, for rows are compared by position.
fn check_current(table: &TableSpec, names: &[String], current: &[String]) -> Result<(), SyncError> {
    if names == current {
        return Ok(());
    }
    let problem = format!(
        "`select` gives the columns {}, `current` gives {}; they must be the same in the same order",
        names.join(", "),
        current.join(", ")
    );
    Err(SyncError::Shape { table: table.name.clone(), problem })
}

fn resolve_table(
    table: &TableSpec,
    names: Vec<String>,
    declared: &[(String, String)],
    target: &Connection,
    key_shape: &KeyShape,
) -> Result<TableShape, SyncError> {
    let refuse = |problem: String| SyncError::Shape { table: table.name.clone(), problem };
    let mut columns: Vec<ColumnShape> = Vec::with_capacity(names.len());
    for name in names {
        if columns.iter().any(|column| column.name == name) {
            return Err(refuse(format!("the select gives column `{name}` twice")));
        }
        let Some((_, text)) = declared.iter().find(|(column, _)| *column == name) else {
            if table.current.is_none() {
                return Err(refuse(format!(
                    "the select gives column `{name}`, which the table does not have"
                )));
            }
            columns.push(ColumnShape { name, kind: ColumnKind::Text, is_virtual: true });
            continue;
        };
        let kind = target.dialect.column_kind(text).ok_or_else(|| {
            refuse(format!("type `{text}` of column `{name}` is not supported yet"))
        })?;
        columns.push(ColumnShape { name, kind, is_virtual: false });
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
    let mut keep = Vec::with_capacity(table.keep.len());
    for kept in &table.keep {
        let unless = kept.unless.as_deref().map(|name| position(name, "column")).transpose()?;
        keep.push(Keep { column: position(&kept.column, "kept column")?, unless });
    }
    let mut matched = key.clone();
    if table.shared {
        matched.insert(0, root);
    }
    let (spec, key_shape) = (table.clone(), key_shape.clone());
    let (unique, captured_key) = (Vec::new(), None);
    Ok(TableShape { spec, columns, key, matched, root, keep, unique, captured_key, key_shape })
}
