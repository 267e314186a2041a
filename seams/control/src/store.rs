//! The control store as a trait, and how to open one.
//!
//! Owns the contract every backend keeps. It exists so that SQLite (default), Postgres and MySQL are one
//! thing to the rest. What must stay true for every backend: `commit` loads, compares, applies and writes in
//! one transaction; the audit also gets the tries that came to nothing; generations are contiguous and
//! never reused; nothing here panics or blocks the runtime on the store's behalf.

use crate::advice::Advice;
use crate::audit::{AuditEntry, AuditOutcome, Committed, GenerationRecord};
use crate::clock::{Clock, system_clock};
use crate::error::{CommitError, ControlError};
use crate::instance::{self, Applied, Instance, InstanceReport};
use crate::lease::{Lease, LeaseGrant};
use crate::shadow::{Outcomes, ShadowBatch, ShadowLimits, ShadowSummary};
use crate::sqlite::SqliteStore;
use crate::sync::{ComponentStatus, SyncRun, SyncWatermark};
use async_trait::async_trait;
use banyan_domain::{Actor, Catalogue, Change, EndpointName, Generation, RouteTable};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What all processes of one installation share.
#[async_trait]
pub trait ControlStore: Send + Sync + 'static {
    /// Where it is, for messages: no passwords.
    fn location(&self) -> String;

    /// The newest route table; the empty one at generation 0 when there is none yet.
    async fn table(&self) -> Result<RouteTable, ControlError>;

    /// The newest generation: cheaper than [`ControlStore::table`], made for polling.
    async fn generation(&self) -> Result<Generation, ControlError>;

    /// Changes the route table if it is still at `expected` (or whatever it is at, with `None`) and no
    /// safety rule says no. The try is audited however it ends.
    async fn commit(
        &self,
        catalogue: &Catalogue,
        change: &Change,
        expected: Option<Generation>,
        actor: &Actor,
    ) -> Result<Committed, CommitError>;

    /// Puts a table that a process kept into a store that lost its own. It is taken only while the store
    /// holds nothing but older restored tables; the answer says whether it was.
    async fn restore(&self, table: &RouteTable, actor: &Actor) -> Result<bool, ControlError>;

    /// The newest generations, newest first.
    async fn generations(&self, limit: u32) -> Result<Vec<GenerationRecord>, ControlError>;

    /// The newest tries, newest first, of those at or after `since_ms`.
    async fn audit(
        &self,
        limit: u32,
        since_ms: Option<u64>,
    ) -> Result<Vec<AuditEntry>, ControlError>;

    /// Adds a line to the audit that changes no route: a step of a cutover.
    async fn note(
        &self,
        action: &str,
        target: &str,
        outcome: AuditOutcome,
        detail: &str,
        actor: &Actor,
    ) -> Result<(), ControlError>;

    /// Tells that an instance lives and which generation it applied. Instances that have been silent for an
    /// hour are forgotten.
    async fn heartbeat(&self, report: &InstanceReport) -> Result<(), ControlError>;

    /// Tells that an instance stops in good order, so that nobody waits for it.
    async fn leave(&self, instance: &str) -> Result<(), ControlError>;

    /// All known instances, by name.
    async fn instances(&self) -> Result<Vec<Instance>, ControlError>;

    /// Waits until every living instance applied `generation`, at most `timeout`; says who did not.
    async fn wait_applied(
        &self,
        generation: Generation,
        timeout: Duration,
    ) -> Result<Applied, ControlError> {
        instance::wait(self, generation, timeout).await
    }

    /// Takes or renews a lease for `ttl_ms`; nothing while somebody else holds it.
    async fn lease(
        &self,
        name: &str,
        holder: &str,
        ttl_ms: u64,
    ) -> Result<Option<LeaseGrant>, ControlError>;

    /// Gives a lease back; says whether it was held by `holder`.
    async fn release(&self, name: &str, holder: &str) -> Result<bool, ControlError>;

    /// All leases, by name.
    async fn leases(&self) -> Result<Vec<Lease>, ControlError>;

    /// A receiver that always has the newest generation seen; it only grows. Changes made through this
    /// object arrive at once, those of other processes within the poll interval (at most 100 ms by default).
    fn watch(&self) -> watch::Receiver<Generation>;

    /// Adds a batch of shadow evidence, in one transaction.
    async fn record_shadow(&self, batch: &ShadowBatch) -> Result<(), ControlError>;

    /// The shadow evidence since `since_ms`. A counting interval (a second within the last hour, a minute
    /// before) counts when it begins at or after `since_ms`.
    async fn shadow_summary(&self, since_ms: Option<u64>) -> Result<ShadowSummary, ControlError>;

    /// Only the outcomes of [`ControlStore::shadow_summary`]: cheap enough for a status line.
    async fn shadow_outcomes(
        &self,
        since_ms: Option<u64>,
    ) -> Result<BTreeMap<EndpointName, Outcomes>, ControlError>;

    /// Forgets the evidence of noise at a place (`shape`) of an endpoint, or at all of its places; says how many rows went.
    async fn forget_noise(
        &self,
        endpoint: &EndpointName,
        shape: Option<&str>,
    ) -> Result<u64, ControlError>;

    /// Templates of undeclared requests and candidate rules that were last seen at or after `since_ms`; their counts are
    /// over all time that is kept.
    async fn shadow_advice(&self, since_ms: Option<u64>) -> Result<Advice, ControlError>;

    /// Forgets all shadow evidence of an endpoint; says how many rows went.
    async fn forget_shadow(&self, endpoint: &EndpointName) -> Result<u64, ControlError>;

    /// Tells how far a sync job has caught up.
    async fn put_watermark(&self, watermark: &SyncWatermark) -> Result<(), ControlError>;

    /// The watermarks of all jobs, by job and side.
    async fn watermarks(&self) -> Result<Vec<SyncWatermark>, ControlError>;

    /// Records a run of a sync job, or what became of it. The newest 1,000 are kept.
    async fn record_run(&self, run: &SyncRun) -> Result<(), ControlError>;

    /// The newest runs, newest first.
    async fn runs(&self, limit: u32) -> Result<Vec<SyncRun>, ControlError>;

    /// Puts a component's word about itself on the status board.
    async fn put_status(
        &self,
        component: &str,
        detail: &serde_json::Value,
    ) -> Result<(), ControlError>;

    /// The status board, by component.
    async fn statuses(&self) -> Result<Vec<ComponentStatus>, ControlError>;

    /// Compacts and deletes what is over its time. Backends also do it by themselves about once a minute.
    async fn maintain(&self) -> Result<(), ControlError>;
}

/// How a store behaves. The defaults are the documented ones; tests change them.
#[derive(Clone)]
pub struct StoreOptions {
    /// How long to wait for a lock, in ms.
    pub busy_timeout_ms: u64,
    /// How often to look for changes by other processes, in ms.
    pub poll_ms: u64,
    /// An instance whose heartbeat is older does not live, in ms.
    pub instance_lease_ms: u64,
    /// An instance that has been silent for this long is forgotten, in ms.
    pub instance_memory_ms: u64,
    /// How much shadow evidence is kept.
    pub shadow: ShadowLimits,
    /// Whether a store that does not exist is made.
    pub missing: IfMissing,
    /// The clock that rows are stamped with.
    pub clock: Clock,
}

/// What to do when there is no store yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfMissing {
    /// Make it, folders included.
    Create,
    /// Say so.
    Fail,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            busy_timeout_ms: 5_000,
            poll_ms: 100,
            instance_lease_ms: 3_000,
            instance_memory_ms: 3_600_000,
            shadow: ShadowLimits::default(),
            missing: IfMissing::Create,
            clock: system_clock(),
        }
    }
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions")
            .field("busy_timeout_ms", &self.busy_timeout_ms)
            .field("missing", &self.missing)
            .finish_non_exhaustive()
    }
}

/// Opens the store a URL names and makes it when it does not exist; for `serve`.
///
/// # Errors
/// [`ControlError::Unsupported`] for an unknown kind of URL, else why it cannot be opened.
pub async fn open(url: &str) -> Result<Arc<dyn ControlStore>, ControlError> {
    let store = SqliteStore::open_with(url, StoreOptions::default()).await?;
    Ok(Arc::new(store))
}

/// Opens the store a URL names, which must exist; for commands that look or change.
///
/// # Errors
/// [`ControlError::Missing`] when it does not exist, else as [`open`].
pub async fn open_existing(url: &str) -> Result<Arc<dyn ControlStore>, ControlError> {
    let options = StoreOptions { missing: IfMissing::Fail, ..StoreOptions::default() };
    Ok(Arc::new(SqliteStore::open_with(url, options).await?))
}

/// Names a store without opening it: every call tries again until it can be reached. For processes that
/// must start while the store is away.
///
/// # Errors
/// [`ControlError::Unsupported`] for an unknown kind of URL.
pub fn attach(url: &str, options: StoreOptions) -> Result<Arc<dyn ControlStore>, ControlError> {
    Ok(Arc::new(SqliteStore::attach(url, options)?))
}
