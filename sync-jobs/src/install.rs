//! Makes and removes what a job needs in the two databases, with the exact DDL to show first.
//!
//! On the source: the change table and the triggers. On the target: the checkpoint row and the work list.
//! All of it starts with `by_`; nothing else is touched.
//!
//! What must stay true: whenever a trigger was missing, changes may have been lost, so the job lists and
//! compares all roots again. The mark for that is set before *and* after the triggers are made: before,
//! so that a crash in between cannot leave new triggers with an old checkpoint; after, so that a worker
//! that listed meanwhile does it once more.

use banyan_cutover::sql;
use banyan_domain::Side;

use crate::capture::{self, CaptureGap, CaptureObject, InstalledTrigger};
use crate::connection::{Connection, as_text};
use crate::dialect::Engine;
use crate::drain;
use crate::error::SyncError;
use crate::fence;
use crate::form;
use crate::job::{Job, JobInner};
use crate::plan::PlanCapture;
use crate::spec::CaptureMode;
use crate::tables;
use crate::verify;

/// What a job needs on its target.
pub(crate) const STATE_TABLES: [&str; 6] =
    ["by_state", "by_copy", "by_conflict", "by_capture", "by_cursor", "by_shape"];
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
    /// Whether a trigger is among it, or a change of tables to accept: everything is to be compared.
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
            let identity = capture::identity(&job.spec.name, &triggers(&mut source).await?);
            job.state.save_capture(&mut target, &identity).await?;
            target.run("reset the checkpoint", &relist).await?;
        }
        Ok(InstallReport { made: missing.steps })
    }

    /// What `install` would make, with its DDL.
    ///
    /// # Errors
    /// No connection.
    pub async fn missing(&self) -> Result<Vec<PlanCapture>, SyncError> {
        let mut source = self.inner.connect_source().await?;
        let mut target = self.inner.connect_target().await?;
        Ok(missing(&self.inner, &mut source, &mut target).await?.steps)
    }

    /// Removes the job's triggers, marks and checkpoint, or only says what it would remove.
    ///
    /// # Errors
    /// No connection, or no right to drop triggers.
    pub async fn uninstall(&self, execute: bool) -> Result<UninstallReport, SyncError> {
        let job = &self.inner;
        let mut statements = Vec::new();
        let mut source = job.connect_source().await?;
        let gap = capture::gap(&job.spec.name, Vec::new(), triggers(&mut source).await?);
        for trigger in gap.stale {
            for sql in source.dialect.drop_trigger(&trigger.name, &trigger.table) {
                statements.push((job.from(), sql));
            }
        }
        if execute {
            for (_, sql) in &statements {
                ddl(&mut source, sql).await?;
            }
        }
        statements.extend(remove_marks(job, &mut source, execute).await?);
        let mut target = job.connect_target().await?;
        if all_exist(&mut target, &STATE_TABLES).await?
            && job.state.load(&mut target).await?.is_some()
        {
            let mut orders = tables::forget(job, &mut target).await?;
            if all_exist(&mut target, &verify::clean::TABLES).await? {
                orders.extend(verify::clean::delete_sql(job));
            }
            let state = job.state.delete_sql().into_iter().chain([form::forget_sql(job)]);
            for sql in orders.into_iter().chain(state) {
                if execute {
                    target.run("forget the checkpoint", &sql).await?;
                }
                statements.push((job.to, sql));
            }
        }
        Ok(UninstallReport { statements })
    }
}

/// Removes the job's marks, and the tables when no other job uses them.
async fn remove_marks(
    job: &JobInner,
    source: &mut Connection,
    execute: bool,
) -> Result<Vec<(Side, String)>, SyncError> {
    if !exists(source, "by_change").await? {
        return Ok(Vec::new());
    }
    if !execute {
        return match drain::pending(source, job).await? {
            0 => Ok(Vec::new()),
            _ => Ok(vec![(job.from(), drain::forget_sql(source, &job.spec.name)?)]),
        };
    }
    drain::forget(source, &job.spec.name).await?;
    let left = source.integer("count changes", "SELECT COUNT(*) FROM by_change".to_owned()).await?;
    if left != Some(0) || !triggers(source).await?.is_empty() {
        return Ok(Vec::new());
    }
    let mut statements = Vec::new();
    for table in source.dialect.change_tables() {
        if exists(source, table).await? {
            let sql = format!("DROP TABLE {table}");
            ddl(source, &sql).await?;
            statements.push((job.from(), sql));
        }
    }
    Ok(statements)
}

/// What the job needs and does not have, with the DDL that makes it.
pub(crate) async fn missing(
    job: &JobInner,
    source: &mut Connection,
    target: &mut Connection,
) -> Result<Missing, SyncError> {
    let mut steps = Vec::new();
    let has_tables = all_exist(target, &STATE_TABLES).await?;
    if !has_tables {
        let statements = owned(target.dialect.state_ddl());
        steps.push(PlanCapture {
            side: job.to,
            object: format!("tables {}", STATE_TABLES.join(", ")),
            statements,
        });
    }
    if !all_exist(target, &verify::clean::TABLES).await? {
        let statements = owned(&verify::clean::ddl(job.target));
        let object = format!("tables {}", verify::clean::TABLES.join(", "));
        steps.push(PlanCapture { side: job.to, object, statements });
    }
    if !exists(target, "by_state").await? || job.state.load(target).await?.is_none() {
        let statements = vec![job.state.create_sql(target.dialect)];
        steps.push(PlanCapture { side: job.to, object: "row of by_state".into(), statements });
    }
    for (table, ddl) in tables_of_both_ways(job) {
        if !exists(target, table).await? {
            let object = format!("table {table}");
            steps.push(PlanCapture { side: job.to, object, statements: vec![ddl.to_owned()] });
        }
    }
    if tables::missing(target).await? {
        let object = format!("tables {}", tables::NAMES.join(", "));
        let statements = tables::ddl(job.target);
        steps.push(PlanCapture { side: job.to, object, statements });
    }
    if has_marks(job) && !all_exist(source, source.dialect.change_tables()).await? {
        let statements = owned(source.dialect.change_ddl());
        steps.push(PlanCapture { side: job.from(), object: "table by_change".into(), statements });
    }
    let accepts = form::step(job, source, target).await?;
    let gap = gap(job, source).await?;
    // An ALTER fires no trigger: rows may differ although nothing was marked.
    let capture = !gap.is_empty() || accepts.is_some();
    steps.extend(accepts);
    steps.extend(gap_steps(job, source, gap));
    Ok(Missing { steps, capture })
}

/// What a job in both directions needs on its target beside its checkpoint: the fence that it checks, and where SQLite keeps
/// the tag of its transactions.
fn tables_of_both_ways(job: &JobInner) -> Vec<(&'static str, &'static str)> {
    let mut tables = Vec::new();
    if job.spec.is_two_way() {
        tables.push((sql::OWNER_TABLE, fence::owner_ddl(job.target)));
        if job.target == Engine::Sqlite {
            tables.push((fence::TAG_TABLE, fence::TAG_DDL));
        }
    }
    tables
}

/// The first of these tables that is not there.
pub(crate) async fn missing_of_both_ways(
    job: &JobInner,
    target: &mut Connection,
) -> Result<Option<&'static str>, SyncError> {
    for (table, _) in tables_of_both_ways(job) {
        if !exists(target, table).await? {
            return Ok(Some(table));
        }
    }
    Ok(None)
}

/// What differs between the needed and the installed triggers.
pub(crate) async fn gap(job: &JobInner, source: &mut Connection) -> Result<CaptureGap, SyncError> {
    let needed = capture::needed(&job.spec, job.from(), source.dialect);
    Ok(capture::gap(&job.spec.name, needed, triggers(source).await?))
}

/// The identity of the job's triggers.
///
/// # Errors
/// [`SyncError::NotInstalled`] when one is missing or has another text.
pub(crate) async fn check_capture(
    job: &JobInner,
    source: &mut Connection,
) -> Result<String, SyncError> {
    let needed = capture::needed(&job.spec, job.from(), source.dialect);
    let installed = triggers(source).await?;
    let identity = capture::identity(&job.spec.name, &installed);
    let gap = capture::gap(&job.spec.name, needed, installed);
    if gap.missing.is_empty() {
        return Ok(identity);
    }
    let name = |object: &CaptureObject| format!("trigger `{}` on `{}`", object.name, object.table);
    let names: Vec<String> = gap.missing.iter().map(name).collect();
    Err(SyncError::NotInstalled {
        job: job.spec.name.clone(),
        side: job.from(),
        what: names.join(", "),
    })
}

/// Whether the target has all triggers of the other direction, so that an application's write there is noticed.
pub(crate) async fn is_watched(job: &JobInner, target: &mut Connection) -> Result<bool, SyncError> {
    if !job.spec.is_two_way() || !all_exist(target, target.dialect.change_tables()).await? {
        return Ok(false);
    }
    let needed = capture::needed(&job.spec, job.to, target.dialect);
    let gap = capture::gap(&job.spec.name, needed, triggers(target).await?);
    Ok(gap.missing.is_empty())
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

/// Whether changes of the job are marked on its source.
pub(crate) fn has_marks(job: &JobInner) -> bool {
    job.spec.mode == CaptureMode::Trigger
}

/// Whether all these tables are there.
pub(crate) async fn all_exist(at: &mut Connection, tables: &[&str]) -> Result<bool, SyncError> {
    for table in tables {
        if !exists(at, table).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a table is there.
pub(crate) async fn exists(at: &mut Connection, table: &str) -> Result<bool, SyncError> {
    let sql = at.dialect.find_table(table);
    Ok(!at.rows("look for a table", sql).await?.is_empty())
}

pub(crate) async fn triggers(source: &mut Connection) -> Result<Vec<InstalledTrigger>, SyncError> {
    let sql = source.dialect.list_triggers().to_owned();
    let rows = source.rows("list the triggers", sql).await?;
    Ok(rows
        .iter()
        .filter_map(|row| match row.as_slice() {
            [name, table, text, identity] => Some(InstalledTrigger {
                name: as_text(name)?,
                table: as_text(table)?,
                text: as_text(text).unwrap_or_default(),
                identity: as_text(identity).unwrap_or_default(),
            }),
            _ => None,
        })
        .collect())
}

/// Runs one step's statements.
pub(crate) async fn make(at: &mut Connection, step: &PlanCapture) -> Result<(), SyncError> {
    for sql in &step.statements {
        ddl(at, sql).await?;
    }
    Ok(())
}

/// Runs DDL; a lock time-out is tried again, because a busy table is not free at the first try.
pub(crate) async fn ddl(at: &mut Connection, sql: &str) -> Result<(), SyncError> {
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
