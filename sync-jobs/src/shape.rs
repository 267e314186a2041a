//! How a mapping meets the target's real tables: which column is what.
//!
//! The select is prepared on the source (its column names), the table is read on the target (its types).
//! Whatever does not fit is refused here, by name, before anything is written.
//!
//! A table without a root column is read by a select of its own (`current`). Columns that only this select and the source's
//! have are *virtual*: compared, never written. *Kept* columns are the opposite: written, never compared.
//!
//! What must stay true: each column of a select is a column of the target table with a supported type, or virtual;
//! primary key and root column are among them; both selects have the same columns; all types that do not fit are named at once.

use banyan_domain::Side;
use banyan_engine::{ColumnKind, Keep, KeyShape, RootKey, Value, ValueError, ZeroDate};

use crate::capture::is_select;
use crate::connection::{Connection, Described, as_text};
use crate::dialect::WriteTarget;
use crate::error::SyncError;
use crate::select;
use crate::source_type::{self, SourceType};
use crate::spec::{JobSpec, Rules, TableSpec};
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
    /// What zero dates of the source become.
    pub(crate) zero_date: ZeroDate,
}

/// One column.
#[derive(Debug, Clone)]
pub(crate) struct ColumnShape {
    pub(crate) name: String,
    pub(crate) kind: ColumnKind,
    /// Whether the table does not have it: it is compared and not written.
    pub(crate) is_virtual: bool,
    /// The target's expression that shows the column exactly.
    pub(crate) exact: String,
    /// Whether the mapping lets values be rounded to what the column stores.
    pub(crate) round: bool,
}

impl ColumnShape {
    /// A column that the target's table does not have.
    fn only_compared(name: String) -> Self {
        let exact = "NULL".to_owned();
        Self { name, kind: ColumnKind::TEXT, exact, round: false, is_virtual: true }
    }
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

    /// Takes kept columns out of the comparison.
    pub(crate) fn blank_kept(&self, row: &mut [Value]) {
        for kept in &self.keep {
            if let Some(value) = row.get_mut(kept.column) {
                *value = Value::Null;
            }
        }
    }

    /// Whether the rows are read as they are stored, so that a database can hash them where they lie.
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

    /// A row of the source in the canonical form of the target's columns.
    ///
    /// # Errors
    /// A value that its column cannot store, with its place.
    pub(crate) fn source_row(&self, row: Vec<Value>) -> Result<Vec<Value>, SyncError> {
        self.row(row, |column, value| {
            let value = self.zero_date.replace(value, column.kind)?;
            let value = if column.round { value.rounded(column.kind) } else { value };
            value.into_canonical(column.kind)
        })
    }

    /// A row of the target in canonical form. What somebody else wrote there and has none, such as a zero
    /// date, is kept as a mark that no canonical value equals, so it is seen as a difference and replaced.
    ///
    /// # Errors
    /// A key column without canonical form: the row could not be matched.
    pub(crate) fn target_row(&self, row: Vec<Value>) -> Result<Vec<Value>, SyncError> {
        let is_key = |column: &ColumnShape| {
            let mut keys = self.key.iter().filter_map(|at| self.columns.get(*at));
            keys.any(|key| key.name == column.name)
        };
        self.row(row, |column, value| match value.into_canonical(column.kind) {
            Err(error) if is_key(column) => Err(error),
            Err(_) => Ok(Value::Text(format!("\u{fffd} no {} \u{fffd}", column.kind))),
            Ok(value) => Ok(value),
        })
    }

    fn row(
        &self,
        mut row: Vec<Value>,
        form: impl Fn(&ColumnShape, Value) -> Result<Value, ValueError>,
    ) -> Result<Vec<Value>, SyncError> {
        for (at, column) in self.columns.iter().enumerate() {
            let Some(place) = row.get_mut(at) else { break };
            match form(column, std::mem::replace(place, Value::Null)) {
                Ok(value) => *place = value,
                Err(source) => return Err(self.refused(&row, column, source)),
            }
        }
        Ok(row)
    }

    /// The error of one value, with the row's primary key.
    pub(crate) fn refused(
        &self,
        row: &[Value],
        column: &ColumnShape,
        source: ValueError,
    ) -> SyncError {
        let key = self.key.iter().map(|at| {
            let text = row.get(*at).and_then(Value::canonical_text);
            text.map_or_else(|| "?".to_owned(), std::borrow::Cow::into_owned)
        });
        SyncError::Value {
            table: self.spec.name.clone(),
            column: column.name.clone(),
            row: key.collect::<Vec<_>>().join(", "),
            source,
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
    let mut problems = Vec::new();
    for table in spec.tables_to(to) {
        let sample = [sample_key(spec)];
        let sql = select::expand(&table.select, source.dialect, &spec.key, &sample)?;
        let act = format!("prepare the select of table `{}`", table.name);
        let given = source.described(&act, &sql).await?;
        if let Some(current) = &table.current {
            let sql = select::expand(current, target.dialect, &spec.key, &sample)?;
            let act = format!("prepare `current` of table `{}`", table.name);
            check_current(table, &given, &target.described(&act, &sql).await?)?;
        }
        let declared = declared_columns(target, &table.name).await?;
        let sides = Sides { source, target, rules: &spec.rules };
        let mut shape = resolve_table(table, given, &declared, &sides, (&spec.key, &mut problems))?;
        let position = |name: &str| shape.columns.iter().position(|column| column.name == name);
        let unique = unique::keys_of(target, &table.name, position).await?;
        shape.unique = unique;
        shape.captured_key = spec
            .captures_on(to)
            .find(|(_, capture)| capture.table == table.name && !is_select(&capture.key))
            .map(|(_, capture)| capture.key.clone());
        shapes.push(shape);
    }
    if problems.is_empty() { Ok(shapes) } else { Err(SyncError::Types { problems }) }
}

/// What a table's columns are resolved by.
struct Sides<'a> {
    source: &'a Connection,
    target: &'a Connection,
    rules: &'a Rules,
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
fn check_current(
    table: &TableSpec,
    given: &[Described],
    current: &[Described],
) -> Result<(), SyncError> {
    let names =
        |of: &[Described]| -> Vec<String> { of.iter().map(|column| column.name.clone()).collect() };
    let (names, current) = (names(given), names(current));
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
    given: Vec<Described>,
    declared: &[(String, String)],
    sides: &Sides<'_>,
    (key_shape, problems): (&KeyShape, &mut Vec<String>),
) -> Result<TableShape, SyncError> {
    let refuse = |problem: String| SyncError::Shape { table: table.name.clone(), problem };
    let mut columns: Vec<ColumnShape> = Vec::with_capacity(given.len());
    let mut judged = Vec::with_capacity(given.len());
    for described in given {
        let name = described.name.clone();
        if columns.iter().any(|column| column.name == name) {
            return Err(refuse(format!("the select gives column `{name}` twice")));
        }
        let Some((_, text)) = declared.iter().find(|(column, _)| *column == name) else {
            if table.current.is_none() {
                return Err(refuse(format!(
                    "the select gives column `{name}`, which the table does not have"
                )));
            }
            columns.push(ColumnShape::only_compared(name));
            judged.push((described, SourceType::Exact));
            continue;
        };
        let place = format!("`{}.{name}`", table.name);
        let kind = sides.target.dialect.column_kind(text).unwrap_or_else(|| {
            problems.push(format!("{place} has type `{text}`, which is not supported"));
            ColumnKind::Any
        });
        let fits = source_type::judge(sides.source.engine(), &described, kind);
        if fits == SourceType::Refused {
            let wire = described.wire.to_lowercase();
            problems.push(format!("the select gives type `{wire}` for {place}, cast it"));
        }
        let exact = sides.target.dialect.exact(&name, kind);
        let round = sides.rules.rounds(&table.name, &name);
        columns.push(ColumnShape { name, kind, exact, round, is_virtual: false });
        judged.push((described, fits));
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
    for name in sides.rules.rounded_of(&table.name) {
        position(name, "column of `round`")?;
    }
    let mut keep = Vec::with_capacity(table.keep.len());
    for kept in &table.keep {
        let unless = kept.unless.as_deref().map(|name| position(name, "column")).transpose()?;
        keep.push(Keep { column: position(&kept.column, "kept column")?, unless });
    }
    let mut matched = key.clone();
    if table.shared {
        matched.insert(0, root);
    }
    let mut spec = table.clone();
    spec.select = source_type::widened(sides.source.engine(), &spec.select, &judged);
    Ok(TableShape {
        spec,
        columns,
        key,
        matched,
        root,
        keep,
        unique: Vec::new(),
        captured_key: None,
        key_shape: key_shape.clone(),
        zero_date: sides.rules.zero_date.clone(),
    })
}
