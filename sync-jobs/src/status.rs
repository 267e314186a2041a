//! What an operator sees of a job: read from the two databases, changes nothing.
//!
//! What must stay true: reading takes no lock and no lease; tables that an older version did not make count
//! as empty.

use crate::cache;
use crate::connection::{Connection, as_integer, as_text};
use crate::control::{self, Orders};
use crate::error::SyncError;
use crate::install;
use crate::job::{Job, JobInner};
use crate::slot;
use crate::state::Phase;

/// Where a job is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobStatus {
    /// Whether the job has a checkpoint on its target.
    pub installed: bool,
    /// `list`, `copy` or `drain`; empty when it is not installed.
    pub phase: String,
    /// Whether the listing or copy is a scheduled sweep of a complete target.
    pub sweeping: bool,
    /// Roots of the copy or sweep that are done.
    pub roots_done: u64,
    /// All roots of it.
    pub roots_total: u64,
    /// The worker that holds the lease, if it is valid.
    pub worker: Option<String>,
    /// What operators ordered.
    pub orders: Orders,
    /// The schedule, if the job has one.
    pub slot: Option<SlotStatus>,
    /// Cache keys that wait for their server.
    pub cache_waiting: u64,
}

/// Where a job's schedule is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotStatus {
    /// The last slot that was decided; nothing before the first scheduler came.
    pub last_ms: Option<i64>,
    /// The slot whose run is under way.
    pub running_ms: Option<i64>,
    /// When the next run starts.
    pub next_ms: Option<i64>,
    /// Runs so far.
    pub runs: u64,
    /// Slots so far that were not run.
    pub passed: u64,
    /// What was last worth saying.
    pub note: String,
}

impl Job {
    /// Reads where the job is.
    ///
    /// # Errors
    /// No connection to the target.
    pub async fn status(&self) -> Result<JobStatus, SyncError> {
        let job = &self.inner;
        let mut target = job.connect_target().await?;
        let mut status = JobStatus::default();
        if install::exists(&mut target, "by_state").await? {
            read_state(job, &mut target, &mut status).await?;
        }
        if install::exists(&mut target, "by_control").await? {
            status.orders = control::read(job, &mut target).await?;
        }
        if install::exists(&mut target, "by_slot").await? {
            read_slot(job, &mut target, &mut status).await?;
        }
        if cache::hooks(job) && install::exists(&mut target, "by_cache").await? {
            let waiting = cache::waiting(job, &mut target).await?;
            status.cache_waiting = u64::try_from(waiting).unwrap_or(0);
        }
        Ok(status)
    }
}

async fn read_state(
    job: &JobInner,
    target: &mut Connection,
    status: &mut JobStatus,
) -> Result<(), SyncError> {
    let Some(state) = job.state.load(target).await? else { return Ok(()) };
    status.installed = true;
    let phase = match state.phase {
        Phase::List => "list",
        Phase::Copy => "copy",
        Phase::Drain => "drain",
    };
    phase.clone_into(&mut status.phase);
    status.roots_done = u64::try_from(state.roots_done).unwrap_or(0);
    status.roots_total = u64::try_from(state.roots_total).unwrap_or(0);
    let clock = target.dialect.clock_ms();
    let sql = format!(
        "SELECT lease_holder, lease_expires_ms - {clock} FROM by_state WHERE {}",
        job.state.is_ours()
    );
    let rows = target.rows("read the lease", sql).await?;
    if let Some([holder, left]) = rows.first().map(Vec::as_slice)
        && as_integer(left).is_some_and(|left| left > 0)
    {
        status.worker = as_text(holder);
    }
    if state.phase != Phase::Drain && install::exists(target, "by_slot").await? {
        status.sweeping = slot::sweep_relists(job, target).await? == Some(state.relists);
    }
    Ok(())
}

async fn read_slot(
    job: &JobInner,
    target: &mut Connection,
    status: &mut JobStatus,
) -> Result<(), SyncError> {
    let Some(schedule) = &job.operate.schedule else { return Ok(()) };
    let clock = target.dialect.clock_ms();
    let row = slot::read(job, target, clock).await?;
    let from_ms = match &row {
        Some(row) => row.cursor_ms,
        None => target.clock_ms().await?,
    };
    let next_ms = schedule.next_after(from_ms).map(|slot| schedule.starts_ms(slot));
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    status.slot = Some(match row {
        Some(row) => SlotStatus {
            last_ms: Some(row.cursor_ms),
            running_ms: (row.run_slot_ms != 0).then_some(row.run_slot_ms),
            next_ms,
            runs: count(row.runs),
            passed: count(row.passed),
            note: row.note,
        },
        None => SlotStatus {
            last_ms: None,
            running_ms: None,
            next_ms,
            runs: 0,
            passed: 0,
            note: String::new(),
        },
    });
    Ok(())
}
