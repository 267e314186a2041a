//! Makes and removes what a job needs in the two databases, with the exact DDL to show first.
//!
//! On the source: the change table and the triggers. On the target: the checkpoint row and the work list.
//! All of it starts with `by_`; nothing else is touched.
//!
//! What must stay true: whenever a trigger was missing, changes may have been lost, so the job lists and
//! compares all roots again. The mark for that is set before *and* after the triggers are made: before,
//! so that a crash in between cannot leave new triggers with an old checkpoint; after, so that a worker
//! that listed meanwhile does it once more.

use banyan_domain::Side;

use crate::capture::{self, CaptureGap, InstalledTrigger};
use crate::connection::{Connection, as_text};
use crate::drain;
use crate::error::SyncError;
use crate::job::{Job, JobInner};
use crate::plan::PlanCapture;
use crate::verify;

/// Tries of one DDL statement while others hold locks.
const DDL_TRIES: u32 = 5;

/// What `install` made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallReport {
    /// What was made or replaced, with its DDL; empty when everything was there.
    pub made: Vec<PlanCapture>,
}

/// What `uninstall` removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UninstallReport {
    /// The statements that were run, with their side.
    pub statements: Vec<(Side, String)>,
}

/// What a job needs and does not have.
pub(crate) struct Missing {
    /// In the order in which it has to be made.
    pub(crate) steps: Vec<PlanCapture>,
    /// Whether a trigger is among it.
    pub(crate) capture: bool,
}

impl Job {
    /// Makes what is missing. Safe to repeat.
    ///
    /// # Errors
    /// No connection, no right to make triggers, or a table that others keep locked.
    pub async fn install(&self) -> Result<InstallReport, SyncError> {
        let job = &self.inner;
        let mut source = job.connect_source().await?;
        let mut target = job.connect_target().await?;
        let missing = missing(job, &mut source, &mut target).await?;
        let relist = job.state.relist_sql();
        for step in missing.steps.iter().filter(|step| step.side == job.to) {
            make(&mut target, step).await?;
        }
        if missing.capture {
            target.run("reset the checkpoint", &relist).await?;
        }
        for step in missing.steps.iter().filter(|step| step.side != job.to) {
            make(&mut source, step).await?;
        }
        if missing.capture {
            target.run("reset the checkpoint", &relist).await?;
        }
        Ok(InstallReport { made: missing.steps })
    }

    /// Removes the job's triggers, marks and checkpoint.
    ///
    /// # Errors
    /// No connection, or no right to drop triggers.
    pub async fn uninstall(&self) -> Result<UninstallReport, SyncError> {
        let job = &self.inner;
        let mut statements = Vec::new();
        let mut source = job.connect_source().await?;
        let gap = capture::gap(&job.spec.name, Vec::new(), triggers(&mut source).await?);
        for trigger in gap.stale {
            for sql in source.dialect.drop_trigger(&trigger.name, &trigger.table) {
                ddl(&mut source, &sql).await?;
                statements.push((job.from(), sql));
            }
        }
        if exists(&mut source, "by_change").await? {
            drain::forget(&mut source, &job.spec.name).await?;
            let sql = "SELECT COUNT(*) FROM by_change".to_owned();
            let left = source.integer("count changes", sql).await?;
            if left == Some(0) && triggers(&mut source).await?.is_empty() {
                let sql = "DROP TABLE by_change".to_owned();
                ddl(&mut source, &sql).await?;
                statements.push((job.from(), sql));
            }
        }
        let mut target = job.connect_target().await?;
        if exists(&mut target, "by_state").await? {
            for sql in job.state.delete_sql() {
                target.run("forget the checkpoint", &sql).await?;
                statements.push((job.to, sql));
            }
        }
        if exist(&mut target, &verify::clean::TABLES).await? {
            for sql in verify::clean::delete_sql(job) {
                target.run("forget the passes", &sql).await?;
                statements.push((job.to, sql));
            }
        }
        Ok(UninstallReport { statements })
    }
}

/// What the job needs and does not have, with the DDL that makes it.
pub(crate) async fn missing(
    job: &JobInner,
    source: &mut Connection,
    target: &mut Connection,
) -> Result<Missing, SyncError> {
    let mut steps = Vec::new();
    let has_tables = exists(target, "by_state").await? && exists(target, "by_copy").await?;
    if !has_tables {
        let statements = owned(target.dialect.state_ddl());
        steps.push(PlanCapture {
            side: job.to,
            object: "tables by_state, by_copy".into(),
            statements,
        });
    }
    if !exist(target, &verify::clean::TABLES).await? {
        let statements = owned(&verify::clean::ddl(job.target));
        let object = format!("tables {}", verify::clean::TABLES.join(", "));
        steps.push(PlanCapture { side: job.to, object, statements });
    }
    if !has_tables || job.state.load(target).await?.is_none() {
        let statements = vec![job.state.create_sql(target.dialect)];
        steps.push(PlanCapture { side: job.to, object: "row of by_state".into(), statements });
    }
    if !exists(source, "by_change").await? {
        let statements = owned(source.dialect.change_ddl());
        steps.push(PlanCapture { side: job.from(), object: "table by_change".into(), statements });
    }
    let gap = gap(job, source).await?;
    let capture = !gap.is_empty();
    steps.extend(gap_steps(job, source, gap));
    Ok(Missing { steps, capture })
}

/// What differs between the needed and the installed triggers.
pub(crate) async fn gap(job: &JobInner, source: &mut Connection) -> Result<CaptureGap, SyncError> {
    let needed = capture::needed(&job.spec, job.from(), source.dialect);
    Ok(capture::gap(&job.spec.name, needed, triggers(source).await?))
}

fn gap_steps(job: &JobInner, source: &Connection, gap: CaptureGap) -> Vec<PlanCapture> {
    let drops = gap.stale.into_iter().map(|trigger| PlanCapture {
        side: job.from(),
        object: format!("stale trigger {} on {}", trigger.name, trigger.table),
        statements: source.dialect.drop_trigger(&trigger.name, &trigger.table),
    });
    let creates = gap.missing.into_iter().map(|object| PlanCapture {
        side: job.from(),
        object: format!("trigger {} on {}", object.name, object.table),
        statements: object.create,
    });
    drops.chain(creates).collect()
}

/// Whether a table is there.
pub(crate) async fn exists(at: &mut Connection, table: &str) -> Result<bool, SyncError> {
    let sql = at.dialect.find_table(table);
    Ok(!at.rows("look for a table", sql).await?.is_empty())
}

/// Whether all of these tables are there.
pub(crate) async fn exist(at: &mut Connection, tables: &[&str]) -> Result<bool, SyncError> {
    for table in tables {
        if !exists(at, table).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn triggers(source: &mut Connection) -> Result<Vec<InstalledTrigger>, SyncError> {
    let sql = source.dialect.list_triggers().to_owned();
    let rows = source.rows("list the triggers", sql).await?;
    Ok(rows
        .iter()
        .filter_map(|row| match row.as_slice() {
            [name, table, text] => Some(InstalledTrigger {
                name: as_text(name)?,
                table: as_text(table)?,
                text: as_text(text).unwrap_or_default(),
            }),
            _ => None,
        })
        .collect())
}

async fn make(at: &mut Connection, step: &PlanCapture) -> Result<(), SyncError> {
    for sql in &step.statements {
        ddl(at, sql).await?;
    }
    Ok(())
}

/// Runs DDL; a lock time-out is tried again, because a busy table is not free at the first try.
async fn ddl(at: &mut Connection, sql: &str) -> Result<(), SyncError> {
    let mut tries = 1;
    loop {
        match at.run("change the schema", sql).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_transient() && tries < DDL_TRIES => {
                tracing::warn!(side = at.side.as_str(), tries, "table is busy, trying DDL again");
                tries += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

fn owned(statements: &[&str]) -> Vec<String> {
    statements.iter().map(|sql| (*sql).to_owned()).collect()
}
