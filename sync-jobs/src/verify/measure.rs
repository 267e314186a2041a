//! The lanes of one side: in the database where an expression is known, else from streamed rows.
//!
//! What must stay true: both ways give the same numbers for the same rows, so that one side may be measured
//! in its database and the other one here; a hash that the database could not compute is noticed and the
//! rows are hashed here; rows are never held.

use std::collections::BTreeMap;

use banyan_engine::{ColumnKind, LaneAdder, Lanes, RootKey, Value};
use futures_util::StreamExt;

use super::HashedHere;
use crate::aggregate;
use crate::connection::{Connection, STATEMENT_SECONDS, as_integer, as_text, failed, within};
use crate::dialect::Engine;
use crate::encode::{self, Encoded};
use crate::error::SyncError;
use crate::job::JobInner;
use crate::select;
use crate::shape::{ColumnShape, TableShape};

/// The lanes of some roots, one per table in the order of the job.
pub(super) type TableLanes = Vec<Lanes>;

/// Makes a row of one side canonical.
type Canonical = fn(&TableShape, Vec<Value>) -> Result<Vec<Value>, SyncError>;

/// How one side's tables are measured.
pub(super) struct Measure {
    engine: Engine,
    canonical: Canonical,
    ways: Vec<Way>,
}

/// How one table is measured.
struct Way {
    /// The hash of a row; `None`: rows are hashed here.
    hash: Option<String>,
    /// The root key's octets, for lanes per root.
    root: Option<String>,
}

impl Measure {
    /// How the source is measured; also names what has to be hashed here.
    pub(super) async fn of_source(
        job: &JobInner,
        source: &mut Connection,
        shapes: &[TableShape],
        here: &mut Vec<HashedHere>,
    ) -> Result<Self, SyncError> {
        let sample = [RootKey::new(job.spec.key.sample())];
        let mut selects = Vec::with_capacity(shapes.len());
        for shape in shapes {
            let select = &shape.spec.select;
            selects.push(select::expand(select, source.dialect, &job.spec.key, &sample)?);
        }
        let side = (job.source, TableShape::source_row as Canonical);
        Self::of(side, source, shapes, selects, here).await
    }

    /// How the target is measured; also names what has to be hashed here.
    pub(super) async fn of_target(
        job: &JobInner,
        target: &mut Connection,
        shapes: &[TableShape],
        here: &mut Vec<HashedHere>,
    ) -> Result<Self, SyncError> {
        let selects = shapes.iter().map(|shape| aggregate::rows_of(target, shape)).collect();
        let side = (job.target, TableShape::target_row as Canonical);
        Self::of(side, target, shapes, selects, here).await
    }

    async fn of(
        (engine, canonical): (Engine, Canonical),
        at: &mut Connection,
        shapes: &[TableShape],
        selects: Vec<String>,
        here: &mut Vec<HashedHere>,
    ) -> Result<Self, SyncError> {
        let mut ways = Vec::with_capacity(shapes.len());
        for (shape, select) in shapes.iter().zip(selects) {
            let found = if encode::has_lanes(engine) {
                if shape.is_plain() {
                    let given = at.described("look at result types", &select).await?;
                    let utf8mb4 = utf8mb4(engine, at, shape, &select).await?;
                    let given: Vec<Given> = given
                        .into_iter()
                        .enumerate()
                        .map(|(n, column)| Given {
                            wire: column.wire,
                            is_utf8mb4: utf8mb4.get(n).copied().unwrap_or(false),
                        })
                        .collect();
                    way(engine, at, shape, &given)
                } else {
                    Err("its rows are not compared as they are stored".to_owned())
                }
            } else {
                Err(format!("{} has no md5", engine.as_str()))
            };
            ways.push(found.unwrap_or_else(|reason| {
                let table = shape.spec.name.clone();
                here.push(HashedHere { side: at.side, table, reason });
                Way { hash: None, root: None }
            }));
        }
        Ok(Self { engine, canonical, ways })
    }

    /// The lanes of each table over all rows of its select; `None` stands for no row at all.
    pub(super) async fn total(
        &self,
        at: &mut Connection,
        shapes: &[TableShape],
        selects: &[Option<String>],
    ) -> Result<TableLanes, SyncError> {
        let mut lanes = Vec::with_capacity(shapes.len());
        for ((shape, way), select) in shapes.iter().zip(&self.ways).zip(selects) {
            lanes.push(match select {
                None => Lanes::default(),
                Some(select) => self.total_of(at, shape, way, select).await?,
            });
        }
        Ok(lanes)
    }

    async fn total_of(
        &self,
        at: &mut Connection,
        shape: &TableShape,
        way: &Way,
        select: &str,
    ) -> Result<Lanes, SyncError> {
        if let Some(hash) = &way.hash {
            let sql = format!(
                "SELECT {} FROM (SELECT {hash} AS h FROM ({select}) AS q{}) AS r",
                encode::sums(self.engine),
                encode::once(self.engine)
            );
            let rows = at.rows(&act(shape), sql).await?;
            if let Some(lanes) = rows.first().and_then(|row| lanes_of(row)) {
                return Ok(lanes);
            }
        }
        let mut sum = Lanes::default();
        stream(at, (shape, self.canonical), select, |_, lanes| sum.merge(lanes)).await?;
        Ok(sum)
    }

    /// The same per root.
    pub(super) async fn by_root(
        &self,
        at: &mut Connection,
        shapes: &[TableShape],
        selects: &[Option<String>],
    ) -> Result<BTreeMap<RootKey, TableLanes>, SyncError> {
        let mut found: BTreeMap<RootKey, TableLanes> = BTreeMap::new();
        for (number, ((shape, way), select)) in
            shapes.iter().zip(&self.ways).zip(selects).enumerate()
        {
            let Some(select) = select else { continue };
            let mut add = |root: RootKey, lanes: Lanes| {
                let tables =
                    found.entry(root).or_insert_with(|| vec![Lanes::default(); shapes.len()]);
                if let Some(table) = tables.get_mut(number) {
                    table.merge(lanes);
                }
            };
            match self.grouped(at, shape, way, select).await? {
                Some(groups) => groups.into_iter().for_each(|(root, lanes)| add(root, lanes)),
                None => stream(at, (shape, self.canonical), select, add).await?,
            }
        }
        Ok(found)
    }

    /// Lanes per root by the database; `None` when it cannot.
    async fn grouped(
        &self,
        at: &mut Connection,
        shape: &TableShape,
        way: &Way,
        select: &str,
    ) -> Result<Option<Vec<(RootKey, Lanes)>>, SyncError> {
        let (Some(hash), Some(root)) = (&way.hash, &way.root) else { return Ok(None) };
        let sql = format!(
            "SELECT by_root, {} FROM (SELECT {root} AS by_root, {hash} AS h FROM ({select}) AS q{}) \
             AS r GROUP BY by_root",
            encode::sums(self.engine),
            encode::once(self.engine)
        );
        let rows = at.rows(&act(shape), sql).await?;
        Ok(rows
            .iter()
            .map(|row| {
                let (root, sums) = row.split_first()?;
                Some((RootKey::new(as_text(root)?), lanes_of(sums)?))
            })
            .collect())
    }
}

fn act(shape: &TableShape) -> String {
    format!("sum the row hashes of table `{}`", shape.spec.name)
}

/// What a column of a select is.
struct Given {
    /// The type that the driver reports.
    wire: String,
    is_utf8mb4: bool,
}

/// Which columns of a select MariaDB/MySQL holds in utf8mb4; the other engines have one character set.
async fn utf8mb4(
    engine: Engine,
    at: &mut Connection,
    shape: &TableShape,
    select: &str,
) -> Result<Vec<bool>, SyncError> {
    if engine != Engine::MySql {
        return Ok(Vec::new());
    }
    // The other kinds have no characters, or are hashed here: they may not even have a name in the select.
    let charset = |column: &ColumnShape| {
        if matches!(column.kind, ColumnKind::Text { .. } | ColumnKind::Uuid) {
            format!("CHARSET(MAX(q.{}))", at.dialect.name(&column.name))
        } else {
            "''".to_owned()
        }
    };
    let names: Vec<String> = shape.columns.iter().map(charset).collect();
    // An aggregate of no row has a type all the same, and reads none.
    let sql = format!("SELECT {} FROM ({select}) AS q WHERE FALSE", names.join(", "));
    let rows = at.rows("look at character sets", sql).await?;
    let is_utf8mb4 = |value: &Value| as_text(value).as_deref() == Some("utf8mb4");
    Ok(rows.first().map(|row| row.iter().map(is_utf8mb4).collect()).unwrap_or_default())
}

/// How the database measures a table, or why it cannot.
fn way(
    engine: Engine,
    at: &Connection,
    shape: &TableShape,
    given: &[Given],
) -> Result<Way, String> {
    let columns: Vec<Encoded<'_>> = shape
        .columns
        .iter()
        .zip(given)
        .map(|(column, given)| Encoded {
            column: format!("q.{}", at.dialect.name(&column.name)),
            reported: &given.wire,
            kind: column.kind,
            round: column.round,
            is_utf8mb4: given.is_utf8mb4,
        })
        .collect();
    let root = columns.get(shape.root).and_then(|column| encode::root(engine, column));
    match encode::row_hash(engine, &columns) {
        Ok(hash) => Ok(Way { hash: Some(hash), root }),
        Err(position) => {
            let name = shape.columns.get(position).map_or("", |column| column.name.as_str());
            let reported = given.get(position).map_or("", |given| given.wire.as_str());
            let kind = shape.columns.get(position).map_or("", |column| column.kind.as_str());
            Err(format!("column `{name}` ({reported} for {kind}) has no encoding in its SQL"))
        }
    }
}

/// Count, hashes, sums; `None` when a hash is missing, because then a sum would hide a row.
fn lanes_of(row: &[Value]) -> Option<Lanes> {
    let [rows, hashes, first, second] = row else { return None };
    let (rows, hashes) = (as_integer(rows)?, as_integer(hashes)?);
    if rows != hashes {
        return None;
    }
    // The sum of no rows is NULL.
    let sum = |value| as_text(value).map_or(Some(0), |text| text.parse::<u128>().ok());
    Some(Lanes { rows: u64::try_from(rows).ok()?, sums: [sum(first)?, sum(second)?] })
}

/// Hashes the rows here, one by one.
async fn stream(
    at: &mut Connection,
    (shape, canonical): (&TableShape, Canonical),
    select: &str,
    mut add: impl FnMut(RootKey, Lanes),
) -> Result<(), SyncError> {
    let (side, act) = (at.side, act(shape));
    let mut adder = LaneAdder::default();
    let mut rows = at.stream(select.to_owned());
    while let Some(row) = within(side, &act, STATEMENT_SECONDS, rows.next()).await? {
        let row = row.map_err(|source| failed(side, &act, source))?;
        let mut row = canonical(shape, row)?;
        shape.blank_kept(&mut row);
        let lanes = adder.row(row.iter().zip(shape.columns.iter().map(|column| column.kind)));
        let root = aggregate::root_of(shape, &row).unwrap_or_else(|| RootKey::new("NULL"));
        add(root, lanes);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
