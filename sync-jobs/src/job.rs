//! The handle of one job: what the command line and `serve` hold.
//!
//! What must stay true: opening checks the job's text and touches no database; each act opens its own
//! connections and closes them.

use std::sync::Arc;

use banyan_domain::Side;

use crate::connection::Connection;
use crate::dialect::Engine;
use crate::error::SyncError;
use crate::operate::Operate;
use crate::pause::{NoPause, Pause};
use crate::progress::{NoProgress, NoProgressStore, Progress, ProgressStore};
use crate::spec::JobSpec;
use crate::state::StateRow;
use crate::url::SideUrls;

/// What a job needs from its surroundings.
#[derive(Clone)]
pub struct Ports {
    /// Shows progress.
    pub progress: Arc<dyn Progress>,
    /// Keeps watermarks and records.
    pub store: Arc<dyn ProgressStore>,
    /// Holds the run at named points, for tests.
    pub pause: Arc<dyn Pause>,
}

impl Default for Ports {
    /// Shows nothing, keeps nothing, never holds.
    fn default() -> Self {
        Self {
            progress: Arc::new(NoProgress),
            store: Arc::new(NoProgressStore),
            pause: Arc::new(NoPause),
        }
    }
}

/// One job in one direction.
#[derive(Clone)]
pub struct Job {
    pub(crate) inner: Arc<JobInner>,
}

#[derive(Clone)]
pub(crate) struct JobInner {
    pub(crate) spec: JobSpec,
    pub(crate) urls: SideUrls,
    pub(crate) to: Side,
    pub(crate) source: Engine,
    pub(crate) target: Engine,
    pub(crate) state: StateRow,
    pub(crate) ports: Ports,
    pub(crate) operate: Operate,
}

impl Job {
    /// Opens the job from legacy to new.
    ///
    /// # Errors
    /// All problems of the job's text, or an address of an unknown engine.
    pub fn open(spec: JobSpec, urls: SideUrls, ports: Ports) -> Result<Self, SyncError> {
        Self::open_toward(spec, urls, ports, Side::New)
    }

    /// Opens the job toward a side; the other one is the source.
    ///
    /// # Errors
    /// All problems of the job's text, or an address of an unknown engine.
    pub fn open_toward(
        spec: JobSpec,
        urls: SideUrls,
        ports: Ports,
        to: Side,
    ) -> Result<Self, SyncError> {
        spec.check(to).map_err(|source| SyncError::Spec { source })?;
        let (source, target) = (urls.engine(to.other())?, urls.engine(to)?);
        let state = StateRow::new(&spec, to);
        let operate = Operate::default();
        let inner = JobInner { spec, urls, to, source, target, state, ports, operate };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The job with this schedule, throttle and these caches.
    #[must_use]
    pub fn operated_by(self, operate: Operate) -> Self {
        let mut inner = Arc::unwrap_or_clone(self.inner);
        inner.operate = operate;
        Self { inner: Arc::new(inner) }
    }

    /// The job's name.
    pub fn name(&self) -> &str {
        &self.inner.spec.name
    }

    /// What the job is.
    pub fn spec(&self) -> &JobSpec {
        &self.inner.spec
    }

    /// The configured limit of rows per second.
    pub fn rows_per_second(&self) -> Option<u64> {
        self.inner.operate.throttle.rows_per_second
    }

    /// The target side.
    pub fn to(&self) -> Side {
        self.inner.to
    }

    /// The engines of source and target.
    pub fn engines(&self) -> (Engine, Engine) {
        (self.inner.source, self.inner.target)
    }
}

impl JobInner {
    /// The source side.
    pub(crate) fn from(&self) -> Side {
        self.to.other()
    }

    /// Connects to the source.
    pub(crate) async fn connect_source(&self) -> Result<Connection, SyncError> {
        Connection::open(&self.urls, self.from()).await
    }

    /// Connects to the target.
    pub(crate) async fn connect_target(&self) -> Result<Connection, SyncError> {
        Connection::open(&self.urls, self.to).await
    }

    /// Bytes of rows that so many roots may have in memory.
    pub(crate) fn bytes_max(&self, keys: usize) -> usize {
        let limits = &self.spec.limits;
        if keys <= 1 { limits.bytes_per_aggregate } else { limits.bytes_per_chunk }
    }

    /// How long a lease lives, in milliseconds.
    pub(crate) fn ttl_ms(&self) -> u128 {
        self.spec.limits.lease_ttl.as_millis()
    }
}
