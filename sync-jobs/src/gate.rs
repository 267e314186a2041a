//! What the worker asks before each step: may it go on, and how much at once.
//!
//! Orders, pause file and measurements become readings, the engine decides over them. Measuring happens in a
//! task of its own with its own connections, so that a replica that does not answer holds the copy, never the
//! drain.
//!
//! What must stay true: orders are read at most [`ORDERS_EVERY`] before they are obeyed; what was not measured
//! lately counts as unknown; measuring stops when nobody asks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use banyan_engine::{Go, KeyedRows, Readings, RowBudget, WaitReason, decide_throttle};

use crate::cache;
use crate::connection::Connection;
use crate::control::{self, Orders};
use crate::error::SyncError;
use crate::install;
use crate::job::JobInner;
use crate::probe::Prober;
use crate::slot;
use crate::state::Checkpoint;
use crate::tables;

/// How old orders and pause file may be.
const ORDERS_EVERY: Duration = Duration::from_millis(400);

/// A reason to wait.
pub(crate) struct Hold {
    pub(crate) pause: Duration,
    pub(crate) because: WaitReason,
}

/// The gate of one session.
pub(crate) struct Gate {
    job: Arc<JobInner>,
    started: Instant,
    read: Option<Instant>,
    has_control: bool,
    has_slot: bool,
    orders: Orders,
    pause_file: Option<String>,
    /// The listing number that is a scheduled sweep, not a first copy.
    sweep_relists: Option<i64>,
    budget: RowBudget,
    prober: Option<Prober>,
}

impl Gate {
    /// The gate of a session. Tables that an older version did not make count as empty.
    pub(crate) async fn open(
        job: &Arc<JobInner>,
        target: &mut Connection,
    ) -> Result<Self, SyncError> {
        let has_control = install::exists(target, "by_control").await?;
        let has_slot = install::exists(target, "by_slot").await?;
        if cache::hooks(job) && !install::exists(target, "by_cache").await? {
            return Err(tables::absent(job, "by_cache"));
        }
        let sides = &job.operate.throttle.sides;
        let prober = (!sides.is_empty()).then(|| Prober::start(Arc::clone(job)));
        let mut gate = Self {
            job: Arc::clone(job),
            started: Instant::now(),
            read: None,
            has_control,
            has_slot,
            orders: Orders::default(),
            pause_file: None,
            sweep_relists: None,
            budget: RowBudget::default(),
            prober,
        };
        gate.refresh(target).await?;
        Ok(gate)
    }

    /// Whether to wait. `copying`: the next step would copy, not only drain.
    pub(crate) async fn ask(
        &mut self,
        target: &mut Connection,
        copying: bool,
    ) -> Result<Option<Hold>, SyncError> {
        self.refresh(target).await?;
        let mut readings = Readings {
            paused: self.orders.paused.then(|| (self.orders.by.clone(), self.orders.why.clone())),
            pause_file: self.pause_file.clone(),
            ..Readings::default()
        };
        if copying {
            readings.sides = self.prober.as_ref().map(Prober::readings).unwrap_or_default();
            let rest = self.budget.rest(self.started.elapsed());
            readings.rest = self.limit().map(|limit| (rest, limit));
        }
        Ok(match decide_throttle(&readings) {
            Go::On => None,
            Go::Wait { pause, because } => Some(Hold { pause, because }),
        })
    }

    /// How many keys the next chunk may have.
    pub(crate) fn keys(&self, wished: usize) -> usize {
        self.budget.keys(wished, self.limit())
    }

    /// Whether the rows per second are limited.
    pub(crate) fn is_limited(&self) -> bool {
        self.limit().is_some()
    }

    /// These rows were read for a batch; those of a copy count.
    pub(crate) fn spend(&mut self, keys: usize, rows: &[KeyedRows], checkpoint: &Checkpoint) {
        if matches!(checkpoint, Checkpoint::Copy { .. }) {
            let rows = rows.iter().map(KeyedRows::len).sum();
            self.budget.spend(self.started.elapsed(), keys, rows, self.limit());
        }
    }

    /// Whether listing number `relists` is a sweep of a target that was complete before it.
    pub(crate) fn is_sweep(&self, relists: i64) -> bool {
        self.sweep_relists == Some(relists)
    }

    fn limit(&self) -> Option<u64> {
        self.orders.rows_per_second.or(self.job.operate.throttle.rows_per_second)
    }

    async fn refresh(&mut self, target: &mut Connection) -> Result<(), SyncError> {
        if self.read.is_some_and(|read| read.elapsed() < ORDERS_EVERY) {
            return Ok(());
        }
        if self.has_control {
            self.orders = control::read(&self.job, target).await?;
        }
        if self.has_slot {
            self.sweep_relists = slot::sweep_relists(&self.job, target).await?;
        }
        if let Some(path) = &self.job.operate.throttle.pause_file {
            // A file that cannot be looked for may be there.
            let there = tokio::fs::try_exists(path).await.unwrap_or(true);
            self.pause_file = there.then(|| path.display().to_string());
        }
        self.read = Some(Instant::now());
        Ok(())
    }
}
