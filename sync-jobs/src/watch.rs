//! A quick look at a job while clients wait: what is pending, who works, what is set aside.
//!
//! What must stay true: a look takes no lock and no lease; both connections are kept, and dropped after any error.

use banyan_domain::Side;

use crate::connection::{Connection, as_integer, as_text};
use crate::drain;
use crate::error::SyncError;
use crate::install;
use crate::job::Job;
use crate::state::Phase;
use crate::verify::clean;

/// For how long the holder of a lease that ran out counts as working; one that stopped by itself gave it back.
const LATE_MS: i64 = 10_000;

/// Keeps both connections of a job for repeated looks.
pub struct JobWatch {
    job: Job,
    source: Connection,
    target: Connection,
    /// Whether another worker may run the job in the other direction.
    has_opposite: bool,
}

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobLook {
    /// Marks that are not applied yet.
    pub pending: u64,
    /// Roots that are set aside, because both sides wrote them.
    pub conflicts: u64,
    /// The worker that holds the lease, also for a while after that ran out: on a busy machine a step can take longer, and
    /// whoever took the lease then would undo it.
    pub worker: Option<WorkerLook>,
    /// Who works in the other direction: this one waits for it.
    pub opposite: Option<String>,
    /// Whether everything was copied once.
    pub copied: bool,
    /// Rows that the job ever wrote.
    pub rows: u64,
}

/// A worker, as its lease shows it. One that was killed looks like this too, until its lease has run out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerLook {
    /// Its name.
    pub name: String,
    /// When its lease ends, Unix milliseconds of the target. It is renewed every second and with each batch.
    pub lease_ends_ms: i64,
}

impl WorkerLook {
    /// Whether the worker has done something since this look.
    pub fn lives_since(&self, earlier: &Self) -> bool {
        self.name == earlier.name && self.lease_ends_ms > earlier.lease_ends_ms
    }
}

impl Job {
    /// Opens both connections for looks.
    ///
    /// # Errors
    /// No connection.
    pub async fn watch(&self) -> Result<JobWatch, SyncError> {
        let mut source = self.inner.connect_source().await?;
        let target = self.inner.connect_target().await?;
        let has_opposite =
            self.inner.spec.is_two_way() && install::exists(&mut source, "by_state").await?;
        Ok(JobWatch { job: self.clone(), source, target, has_opposite })
    }

    /// What is needed to say later that this direction need not copy; `None` when it has run before. It connects now, because
    /// clients may wait when it is said.
    ///
    /// # Errors
    /// No connection, or a job that is not installed.
    pub async fn first_way(&self) -> Result<Option<FirstWay>, SyncError> {
        let job = &self.inner;
        let mut target = job.connect_target().await?;
        let state = job.state.load(&mut target).await?.ok_or_else(|| job.state.missing())?;
        let is_first = state.phase == Phase::List && state.roots_done == 0;
        let job = self.clone();
        Ok(is_first.then_some(FirstWay { job, target, relists: state.relists }))
    }
}

/// A direction that never ran, toward a side that may be proved equal to its source before it does.
pub struct FirstWay {
    job: Job,
    target: Connection,
    /// How often a listing had been asked for, also by whoever replaced triggers that may have missed changes.
    relists: i64,
}

impl FirstWay {
    /// The job.
    pub fn name(&self) -> &str {
        self.job.name()
    }

    /// Says that the target equals the source now, so that the first run of this direction need not copy, nor the first verify
    /// compare, everything. Right only where a verify of the other direction has just proved it, begun after
    /// [`Job::first_way`], and the source's triggers mark every change since: what the new owner never touched is then what the
    /// target itself had. Answers whether it was still the first run; a listing that was asked for since is not skipped.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn take_as_copied(mut self) -> Result<bool, SyncError> {
        let (job, target) = (&self.job.inner, &mut self.target);
        // From here on every apply is remembered; one that came before makes the update below find nothing.
        let pass = clean::begin(job, target).await?;
        let (ours, relists) = (job.state.is_ours(), self.relists);
        // Counted as a listing, so that one that has just begun does not put its end over this.
        let sql = format!(
            "UPDATE by_state SET phase = 'drain', cursor_key = NULL, relists = relists + 1 WHERE {ours} \
             AND phase = 'list' AND roots_done = 0 AND batches = 0 AND relists = {relists}"
        );
        let is_first = target.run("take the target as copied", &sql).await? == 1;
        if is_first {
            clean::end(job, target, pass, &[]).await?;
        } else {
            clean::end_unclean(job, target, pass).await?;
        }
        Ok(is_first)
    }
}

impl JobWatch {
    /// The side that is written.
    pub fn to(&self) -> Side {
        self.job.inner.to
    }

    /// Looks.
    ///
    /// # Errors
    /// A statement fails; the watch is of no use then.
    pub async fn look(&mut self) -> Result<JobLook, SyncError> {
        let job = &self.job.inner;
        let pending = drain::pending(&mut self.source, job).await?;
        let state = job.state.load(&mut self.target).await?.ok_or_else(|| job.state.missing())?;
        let conflicts = job.state.count_conflicts(&mut self.target).await?;
        let opposite = if self.has_opposite {
            job.state.opposite_holder(&mut self.source).await?
        } else {
            None
        };
        let clock = self.target.dialect.clock_ms();
        let sql = format!(
            "SELECT lease_holder, lease_expires_ms + {LATE_MS} - {clock}, rows_inserted + rows_updated + rows_deleted, \
             lease_expires_ms FROM by_state WHERE {}",
            job.state.is_ours()
        );
        let rows = self.target.rows("read the lease", sql).await?;
        let row = rows.first().map(Vec::as_slice);
        let number = |at: usize| row.and_then(|row| row.get(at)).and_then(as_integer).unwrap_or(0);
        let worker = row.and_then(|row| row.first()).and_then(as_text);
        let worker = worker.map(|name| WorkerLook { name, lease_ends_ms: number(3) });
        let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
        Ok(JobLook {
            pending: unsigned(pending),
            conflicts: unsigned(conflicts),
            worker: worker.filter(|_| number(1) > 0),
            opposite,
            copied: state.phase == Phase::Drain,
            rows: unsigned(number(2)),
        })
    }
}
