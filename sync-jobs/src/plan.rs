//! What a job would do, from real data, without doing it.
//!
//! What must stay true: nothing is written anywhere; the DDL shown is the DDL that `install` runs; row
//! differences are computed by the same functions that apply them.

use banyan_domain::Side;
use banyan_engine::{KeyedRows, RootKey, RowChange, TableDiff};

use crate::aggregate::{self, ReadFor};
use crate::connection::{Connection, as_keys};
use crate::dialect::Engine;
use crate::drain;
use crate::error::SyncError;
use crate::install;
use crate::job::{Job, JobInner};
use crate::row_diff::{RowDiff, row_diffs};
use crate::shape::{self, TableShape};
use crate::state::Phase;

/// Root keys that are compared for the plan.
const SAMPLE_KEYS: usize = 200;
/// Row differences that are shown.
const SAMPLE_ROWS: usize = 20;

/// What a job would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The job.
    pub job: String,
    /// Its context.
    pub context: String,
    /// The target side.
    pub to: Side,
    /// The source's engine.
    pub source: Engine,
    /// The target's engine.
    pub target: Engine,
    /// What is missing, with the exact DDL, in the order in which it would be made.
    pub missing: Vec<PlanCapture>,
    /// `list`, `copy` or `drain`: what the next run starts with.
    pub phase: &'static str,
    /// Root keys on the source.
    pub roots_total: i64,
    /// Changes that wait to be applied.
    pub pending: i64,
    /// Root keys that were compared for this plan.
    pub roots_sampled: usize,
    /// What the comparison found, per table.
    pub tables: Vec<PlanTable>,
    /// The first differences, as exact rows.
    pub rows: Vec<RowDiff>,
}

/// Something that is missing in a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanCapture {
    /// The side it belongs to.
    pub side: Side,
    /// What it is.
    pub object: String,
    /// The statements that make (or, for a stale trigger, drop) it.
    pub statements: Vec<String>,
}

/// What the sample says about one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanTable {
    /// The target table.
    pub name: String,
    /// Rows that the sampled roots should have.
    pub rows: usize,
    /// Rows that would be inserted.
    pub missing: usize,
    /// Rows that would be updated.
    pub different: usize,
    /// Rows that would be deleted.
    pub extra: usize,
}

impl Plan {
    /// Whether a run would find everything as it should be, as far as the sample says.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty()
            && self.pending == 0
            && self.phase == "drain"
            && self.tables.iter().all(|t| t.missing + t.different + t.extra == 0)
    }
}

impl Job {
    /// What a run would do.
    ///
    /// # Errors
    /// No connection, or a mapping that does not fit the tables.
    pub async fn plan(&self) -> Result<Plan, SyncError> {
        let job = &self.inner;
        let mut source = job.connect_source().await?;
        let mut target = job.connect_target().await?;
        let shapes = shape::resolve(&job.spec, job.to, &mut source, &mut target).await?;
        let missing = install::missing(job, &mut source, &mut target).await?;
        let captured = install::exists(&mut source, "by_change").await?;
        let pending = if captured { drain::pending(&mut source, job).await? } else { 0 };
        let phase = phase(job, &mut target, missing.capture).await?;
        let roots_total = count_roots(job, &mut source).await?;
        let keys = sample(job, &mut source, &mut target, &shapes).await?;
        let diffs = compare(job, &mut source, &mut target, &shapes, &keys).await?;
        Ok(Plan {
            job: job.spec.name.clone(),
            context: job.spec.context.clone(),
            to: job.to,
            source: job.source,
            target: job.target,
            missing: missing.steps,
            phase,
            roots_total,
            pending,
            roots_sampled: keys.len(),
            tables: shapes.iter().zip(&diffs).map(|(s, (rows, d))| table(s, *rows, d)).collect(),
            rows: shapes
                .iter()
                .zip(&diffs)
                .flat_map(|(shape, (_, diff))| row_diffs(shape, diff, SAMPLE_ROWS))
                .take(SAMPLE_ROWS)
                .collect(),
        })
    }
}

async fn phase(
    job: &JobInner,
    target: &mut Connection,
    capture_missing: bool,
) -> Result<&'static str, SyncError> {
    if capture_missing || !install::exists(target, "by_state").await? {
        return Ok("list");
    }
    Ok(match job.state.load(target).await?.map(|state| state.phase) {
        None | Some(Phase::List) => "list",
        Some(Phase::Copy) => "copy",
        Some(Phase::Drain) => "drain",
    })
}

async fn count_roots(job: &JobInner, source: &mut Connection) -> Result<i64, SyncError> {
    let roots = job.spec.roots_of(job.from()).unwrap_or_default();
    let sql = format!("SELECT COUNT(DISTINCT q.k) FROM ({roots}) AS q");
    Ok(source.integer("count the root keys", sql).await?.unwrap_or(0))
}

/// Some root keys of both sides, each once.
async fn sample(
    job: &JobInner,
    source: &mut Connection,
    target: &mut Connection,
    shapes: &[TableShape],
) -> Result<Vec<RootKey>, SyncError> {
    let roots = job.spec.roots_of(job.from()).unwrap_or_default();
    let sql = format!("SELECT q.k FROM ({roots}) AS q LIMIT {SAMPLE_KEYS}");
    let mut rows = source.rows("sample the root keys", sql).await?;
    for shape in shapes.iter().filter(|shape| shape.spec.current.is_none()) {
        let sql = format!(
            "SELECT {} FROM {} LIMIT {SAMPLE_KEYS}",
            target.dialect.name(&shape.spec.root_column),
            target.dialect.name(&shape.spec.name),
        );
        rows.extend(target.rows("sample the target's root keys", sql).await?);
    }
    let mut keys: Vec<RootKey> = as_keys(&rows).collect();
    keys.sort();
    keys.dedup();
    Ok(keys)
}

async fn compare(
    job: &JobInner,
    source: &mut Connection,
    target: &mut Connection,
    shapes: &[TableShape],
    keys: &[RootKey],
) -> Result<Vec<(usize, TableDiff)>, SyncError> {
    if keys.is_empty() {
        return Ok(shapes.iter().map(|_| (0, TableDiff::default())).collect());
    }
    let limits = &job.spec.limits;
    let too_large = |_| SyncError::AggregateTooLarge {
        key: keys.first().map(ToString::to_string).unwrap_or_default(),
        limit_bytes: limits.bytes_per_aggregate,
    };
    let bytes = limits.bytes_per_aggregate;
    source.begin_snapshot().await?;
    let want = aggregate::read_source(source, shapes, &job.spec.key, keys, bytes)
        .await?
        .map_err(too_large)?;
    source.commit().await?;
    let have = aggregate::read_target(target, shapes, keys, ReadFor::Compare, bytes)
        .await?
        .map_err(too_large)?;
    let found = aggregate::differences(shapes, &have, &want);
    Ok(want.iter().map(KeyedRows::len).zip(found).collect())
}

fn table(shape: &TableShape, rows: usize, diff: &TableDiff) -> PlanTable {
    let mut table =
        PlanTable { name: shape.spec.name.clone(), rows, missing: 0, different: 0, extra: 0 };
    for change in &diff.changes {
        match change {
            RowChange::Insert { .. } => table.missing += 1,
            RowChange::Update { .. } => table.different += 1,
            RowChange::Delete { .. } => table.extra += 1,
        }
    }
    table
}
