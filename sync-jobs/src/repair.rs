//! Repair: marks differing aggregates as changed, so that the normal drain makes them right.
//!
//! It writes no row of the target itself: reading what is true, the lease, the fence and the checkpoint are
//! the drain's, so a repair cannot do what a drain may not do.
//!
//! What must stay true: without `execute` nothing is written; a mark says who made it (`repair:<run>`); what
//! was not seen to be equal afterwards is not called repaired.

use std::time::{Duration, Instant};

use banyan_engine::RootKey;
use tokio::time::sleep;

use crate::connection::{Connection, as_text};
use crate::drain;
use crate::error::SyncError;
use crate::install;
use crate::job::{Job, JobInner};
use crate::run::unix_ms;
use crate::verify::{self, VerifyOptions, VerifyReport};

/// How long after the end of its lease a worker may still come back.
const LEASE_GRACE_MS: i64 = 10_000;
/// Keys per look for pending marks.
const KEYS_PER_LOOK: usize = 1_000;

/// How to repair.
#[derive(Debug, Clone)]
pub struct RepairOptions {
    /// Only these roots, each marked whether it differs or not; else those that a full verify finds.
    pub keys: Option<Vec<String>>,
    /// Enqueue; otherwise only show what differs.
    pub execute: bool,
    /// How long to wait for a running worker to apply the marks.
    pub wait: Duration,
    /// How to look, before and after.
    pub verify: VerifyOptions,
}

impl Default for RepairOptions {
    fn default() -> Self {
        Self {
            keys: None,
            execute: false,
            wait: Duration::from_secs(30),
            verify: VerifyOptions::default(),
        }
    }
}

/// How a repair ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RepairOutcome {
    /// Nothing differs.
    NothingToDo,
    /// Something differs and nothing was changed, as asked.
    Shown,
    /// The marks are there; no worker runs that would apply them.
    Enqueued,
    /// A worker runs and had not applied all of them when the wait was over.
    Waiting,
    /// A worker applied them; `after` says whether both sides are equal now.
    Applied,
}

/// What a repair found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairReport {
    /// How it ended.
    pub outcome: RepairOutcome,
    /// What verify said first, with the exact rows.
    pub before: VerifyReport,
    /// Roots that were marked.
    pub enqueued: u64,
    /// The origin of the marks, `repair:<run>`; `None` when there are none.
    pub origin: Option<String>,
    /// What verify says about these roots after a worker applied the marks.
    pub after: Option<VerifyReport>,
}

impl RepairOutcome {
    /// The outcome as a word of the output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NothingToDo => "nothing-to-do",
            Self::Shown => "shown",
            Self::Enqueued => "enqueued",
            Self::Waiting => "waiting",
            Self::Applied => "applied",
        }
    }
}

impl Job {
    /// Shows what differs, and with `execute` enqueues it for the drain. Safe beside a running worker.
    ///
    /// # Errors
    /// No connection, a job that is not installed, or a mapping that does not fit.
    pub async fn repair(&self, options: RepairOptions) -> Result<RepairReport, SyncError> {
        let job = &self.inner;
        let look = VerifyOptions { keys: options.keys.clone(), ..options.verify.clone() };
        let (before, differing) = Box::pin(verify::verify(job, look)).await?;
        let keys = match &options.keys {
            Some(keys) => named(job, keys)?,
            None => differing,
        };
        let outcome = match (before.differing_total, options.execute) {
            (0, _) if options.keys.is_none() || !options.execute => RepairOutcome::NothingToDo,
            (_, false) => RepairOutcome::Shown,
            (_, true) => RepairOutcome::Enqueued,
        };
        let mut report = RepairReport { outcome, before, enqueued: 0, origin: None, after: None };
        if report.outcome != RepairOutcome::Enqueued {
            return Ok(report);
        }
        report.enqueued = u64::try_from(keys.len()).unwrap_or(u64::MAX);
        if !install::has_marks(job) {
            // Nothing can be marked: the next run compares everything anyhow.
            let mut target = job.connect_target().await?;
            target.run("ask for a new listing", &job.state.relist_sql()).await?;
            return Ok(report);
        }
        let origin = format!("repair:{:x}", unix_ms());
        let mut source = job.connect_source().await?;
        enqueue(job, &mut source, &origin, &keys).await?;
        report.origin = Some(origin);
        report.outcome = wait(job, &mut source, &keys, options.wait).await?;
        if report.outcome == RepairOutcome::Applied {
            let keys = keys.iter().map(ToString::to_string).collect();
            let look = VerifyOptions { keys: Some(keys), ..options.verify };
            report.after = Some(Box::pin(verify::verify(job, look)).await?.0);
        }
        Ok(report)
    }
}

/// Named keys, each with the declared shape and once.
fn named(job: &JobInner, keys: &[String]) -> Result<Vec<RootKey>, SyncError> {
    let mut named: Vec<RootKey> = keys.iter().map(RootKey::new).collect();
    for key in &named {
        job.spec.key.split(key).map_err(|source| SyncError::Key { source })?;
    }
    named.sort();
    named.dedup();
    Ok(named)
}

/// Marks the roots, all or none.
async fn enqueue(
    job: &JobInner,
    source: &mut Connection,
    origin: &str,
    keys: &[RootKey],
) -> Result<(), SyncError> {
    source.begin_write().await?;
    drain::enqueue(source, &job.spec.name, keys, origin).await?;
    source.commit().await
}

/// Waits, within a limit, until a running worker applied the marks.
async fn wait(
    job: &JobInner,
    source: &mut Connection,
    keys: &[RootKey],
    limit: Duration,
) -> Result<RepairOutcome, SyncError> {
    let mut target = job.connect_target().await?;
    let started = Instant::now();
    loop {
        if !is_pending(job, source, keys).await? {
            return Ok(RepairOutcome::Applied);
        }
        if !is_followed(job, &mut target).await? {
            return Ok(RepairOutcome::Enqueued);
        }
        if started.elapsed() > limit {
            return Ok(RepairOutcome::Waiting);
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn is_pending(
    job: &JobInner,
    source: &mut Connection,
    keys: &[RootKey],
) -> Result<bool, SyncError> {
    for chunk in keys.chunks(KEYS_PER_LOOK) {
        if !drain::pending_on_source(job, source, chunk).await?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a worker holds the lease, or held it until a moment ago: one long batch outlives a short lease,
/// and a lease that was given back has no end.
async fn is_followed(job: &JobInner, target: &mut Connection) -> Result<bool, SyncError> {
    let (name, direction) = job.state.name();
    let sql = format!(
        "SELECT lease_holder FROM by_state WHERE job = '{name}' AND direction = '{direction}' \
         AND lease_expires_ms + {LEASE_GRACE_MS} > {}",
        target.dialect.clock_ms()
    );
    let rows = target.rows("look for a worker", sql).await?;
    Ok(rows.first().and_then(|row| row.first()).and_then(as_text).is_some())
}
