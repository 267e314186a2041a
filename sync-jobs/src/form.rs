//! The declared form of a job's tables: read, kept in `by_shape` on the target, compared.
//!
//! `install` accepts the forms as they are; from then on a job that finds them changed asks its policy
//! (`banyan_engine::DriftPolicy`) whether it may go on.
//!
//! What must stay true: what `install` accepts is what `plan` showed; accepting a change that stopped the
//! job makes it compare everything again, because an ALTER fires no trigger.

use std::collections::BTreeMap;

use banyan_domain::Side;
use banyan_engine::{ColumnForm, Drift, DriftVerdict, TableForm, drift};
use serde::{Deserialize, Serialize};

use crate::connection::{Connection, as_integer, as_text};
use crate::error::SyncError;
use crate::install;
use crate::job::JobInner;
use crate::plan::PlanCapture;
use crate::state::text;

/// The version of what is kept; a newer one is not read.
const VERSION: u32 = 1;

/// Forms by side and table.
type Forms = BTreeMap<(Side, String), TableForm>;

/// What is kept in `by_shape.form`.
#[derive(Serialize, Deserialize)]
struct Kept {
    version: u32,
    form: TableForm,
}

/// What changed, judged by the job's policy; everything is new while `by_shape` is not there.
pub(crate) async fn changes(
    job: &JobInner,
    source: &mut Connection,
    target: &mut Connection,
) -> Result<DriftVerdict, SyncError> {
    let found = found(job, source, target).await?;
    let accepted = accepted(job, target).await?;
    let mut changes: Vec<Drift> = Vec::new();
    for (side, table) in tables(job) {
        let place = (side, table);
        changes.extend(drift(&place.1, accepted.get(&place), found.get(&place)));
    }
    Ok(job.spec.rules.drift.judge(changes))
}

/// Stops a job whose tables changed, says what it goes on with.
pub(crate) async fn check(
    job: &JobInner,
    source: &mut Connection,
    target: &mut Connection,
) -> Result<Vec<Drift>, SyncError> {
    if !install::exists(target, "by_shape").await? {
        return Err(SyncError::NotInstalled {
            job: job.spec.name.clone(),
            side: job.to,
            what: "table `by_shape`".to_owned(),
        });
    }
    let verdict = changes(job, source, target).await?;
    if verdict.stops.is_empty() {
        return Ok(verdict.notes);
    }
    let changes = verdict.stops.iter().map(ToString::to_string).collect();
    Err(SyncError::Drift { job: job.spec.name.clone(), changes })
}

/// The step that accepts the tables as they are, if there is something to accept.
pub(crate) async fn step(
    job: &JobInner,
    source: &mut Connection,
    target: &mut Connection,
) -> Result<Option<PlanCapture>, SyncError> {
    let verdict = changes(job, source, target).await?;
    if verdict.stops.is_empty() {
        return Ok(None);
    }
    let changes: Vec<String> = verdict.stops.iter().map(ToString::to_string).collect();
    let statements = accept(job, source, target).await?;
    let object = format!("rows of by_shape, accepting that {}", changes.join(", "));
    Ok(Some(PlanCapture { side: job.to, object, statements }))
}

/// Forgets what was accepted for the job.
pub(crate) fn forget_sql(job: &JobInner) -> String {
    format!("DELETE FROM by_shape WHERE {}", is_ours(job))
}

async fn accept(
    job: &JobInner,
    source: &mut Connection,
    target: &mut Connection,
) -> Result<Vec<String>, SyncError> {
    let mut statements = vec![forget_sql(job)];
    for ((side, table), form) in found(job, source, target).await? {
        let kept = Kept { version: VERSION, form };
        // A form is names and numbers: there is nothing that JSON could refuse.
        let kept = serde_json::to_string(&kept).unwrap_or_default();
        statements.push(format!(
            "INSERT INTO by_shape (job, direction, side, table_name, form) \
             VALUES ({}, {}, {}, {}, {})",
            text(target.dialect, &job.spec.name)?,
            text(target.dialect, job.to.as_str())?,
            text(target.dialect, side.as_str())?,
            text(target.dialect, &table)?,
            text(target.dialect, &kept)?,
        ));
    }
    Ok(statements)
}

/// The tables that a job depends on.
fn tables(job: &JobInner) -> Vec<(Side, String)> {
    let captured = job.spec.captures_on(job.from()).map(|(_, c)| (job.from(), c.table.clone()));
    let written = job.spec.tables_to(job.to).map(|table| (job.to, table.name.clone()));
    let mut tables: Vec<(Side, String)> = captured.chain(written).collect();
    tables.sort();
    tables.dedup();
    tables
}

async fn found(
    job: &JobInner,
    source: &mut Connection,
    target: &mut Connection,
) -> Result<Forms, SyncError> {
    let mut forms = Forms::new();
    for (side, table) in tables(job) {
        let at = if side == job.to { &mut *target } else { &mut *source };
        let sql = at.dialect.table_form(&table);
        let rows = at.rows("read the form of a table", sql).await?;
        let columns: Vec<ColumnForm> = rows
            .iter()
            .filter_map(|row| match row.as_slice() {
                [name, declared, collation, key] => Some(ColumnForm {
                    name: as_text(name)?,
                    declared: as_text(declared).unwrap_or_default(),
                    collation: as_text(collation).unwrap_or_default(),
                    key: as_integer(key).and_then(|n| u16::try_from(n).ok()).unwrap_or(0),
                }),
                _ => None,
            })
            .collect();
        if !columns.is_empty() {
            forms.insert((side, table), TableForm { columns });
        }
    }
    Ok(forms)
}

async fn accepted(job: &JobInner, target: &mut Connection) -> Result<Forms, SyncError> {
    if !install::exists(target, "by_shape").await? {
        return Ok(Forms::new());
    }
    let sql = format!("SELECT side, table_name, form FROM by_shape WHERE {}", is_ours(job));
    let rows = target.rows("read the accepted tables", sql).await?;
    Ok(rows
        .iter()
        .filter_map(|row| {
            let [side, table, form] = row.as_slice() else { return None };
            let side = Side::from_word(&as_text(side)?)?;
            // What cannot be read was never accepted: the job stops and says so.
            let kept: Kept = serde_json::from_str(&as_text(form)?).ok()?;
            (kept.version == VERSION).then_some(((side, as_text(table)?), kept.form))
        })
        .collect())
}

/// The job's name holds no quote, `JobSpec::check` sees to it.
fn is_ours(job: &JobInner) -> String {
    format!("job = '{}' AND direction = '{}'", job.spec.name, job.to.as_str())
}
