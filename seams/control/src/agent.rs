//! The agent: keeps one process on the newest route table it can know of, and never without one.
//!
//! Owns the table in memory and on disk, the acknowledgements, and the process's view of the store. It exists
//! so that the data plane only ever reads an `ArcSwap`. What must stay true: the generation in force never
//! shrinks; losing the store in any way changes nothing but the health; an acknowledged generation is on
//! this process's disk, unless the disk refused it.
//!
//! Where the first table comes from: the store if it answers in time, else the fail-static file, else the
//! declared starting phases.

mod contact;
mod follow;
pub(crate) mod snapshot;

#[cfg(test)]
mod tests;

use crate::clock::now_ms;
use crate::error::ControlError;
use crate::health::Health;
use crate::instance::InstanceReport;
use crate::store::{ControlStore, StoreOptions, attach};
use arc_swap::ArcSwap;
use banyan_domain::compiled::CompileError;
use banyan_domain::{Catalogue, Compiled, ContextName, Generation, RouteTable};
use follow::Core;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use snapshot::SnapshotError;

/// How long a stopping agent waits for its last word to the store, in ms.
const LEAVE_MS: u64 = 1_000;

/// How many writes of each context this process has forwarded and not yet answered; contexts without any may be
/// left out. It must count a write before it looks at the table that the write goes by.
pub type InFlight = Arc<dyn Fn() -> BTreeMap<ContextName, u64> + Send + Sync>;

/// For how long the control store has not been reached from here; see [`Agent::silence`].
pub type Silence = Arc<dyn Fn() -> Duration + Send + Sync>;

/// By context, the time up to which all its sync jobs have brought over the owner's commits, Unix ms.
pub type Watermarks = HashMap<ContextName, u64>;

/// What an agent needs to know about its process.
#[derive(Clone)]
pub struct AgentOptions {
    /// Name, unique among the living processes of the installation.
    pub instance: String,
    /// What the process does, such as `proxy` or `serve`.
    pub role: String,
    /// Where it takes traffic, may be empty.
    pub address: String,
    /// Where its admin API listens, may be empty.
    pub admin_address: String,
    /// The fail-static file; no two processes may share one.
    pub snapshot_path: PathBuf,
    /// How often to look for a newer table, in ms.
    pub poll_ms: u64,
    /// How often to say that the process lives, in ms.
    pub heartbeat_ms: u64,
    /// How long one look at the store may take before it counts as away, in ms.
    pub store_timeout_ms: u64,
    /// How many writes are in flight.
    pub in_flight: InFlight,
}

impl AgentOptions {
    /// The defaults for a process of this name and role.
    pub fn new(instance: &str, role: &str, snapshot_path: PathBuf) -> Self {
        Self {
            instance: instance.to_owned(),
            role: role.to_owned(),
            address: String::new(),
            admin_address: String::new(),
            snapshot_path,
            poll_ms: 100,
            heartbeat_ms: 500,
            store_timeout_ms: 1_000,
            in_flight: Arc::new(BTreeMap::new),
        }
    }

    fn report(&self) -> InstanceReport {
        InstanceReport {
            instance: self.instance.clone(),
            role: self.role.clone(),
            address: self.address.clone(),
            admin_address: self.admin_address.clone(),
            pid: std::process::id(),
            started_ms: now_ms(),
            state: "ok".to_owned(),
            ..InstanceReport::default()
        }
    }
}

/// Why an agent cannot start or take a new catalogue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The declarations contradict each other.
    #[error("the declared endpoints contradict each other: {}", text_of(.0))]
    Catalogue(Vec<CompileError>),
    /// The URL names no store this build knows.
    #[error(transparent)]
    Store(ControlError),
}

fn text_of(errors: &[CompileError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Keeps a process on the newest route table. Owns its tasks: dropping it ends them, [`Agent::stop`] ends
/// them in good order.
pub struct Agent {
    core: Arc<Core>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Agent {
    /// Names the store by `url` and starts, whether or not the store can be reached.
    ///
    /// # Errors
    /// When the URL is of an unknown kind or the declarations contradict each other.
    pub async fn attach(
        url: &str,
        catalogue: Catalogue,
        options: AgentOptions,
    ) -> Result<Self, AgentError> {
        let store = attach(url, StoreOptions::default()).map_err(AgentError::Store)?;
        Self::start(store, catalogue, options).await
    }

    /// Starts on a store: adopts what is declared, finds the first table, gets on the roll of
    /// instances and begins to follow. Takes at most twice the store timeout (plus the disk) when the store
    /// is away.
    ///
    /// # Errors
    /// When the declarations contradict each other.
    pub async fn start(
        store: Arc<dyn ControlStore>,
        catalogue: Catalogue,
        options: AgentOptions,
    ) -> Result<Self, AgentError> {
        let core = Arc::new(Core::new(store, catalogue, options).map_err(AgentError::Catalogue)?);
        core.look().await;
        // Before anybody is told that this process runs: a flip must already wait for it.
        core.sign_on().await;
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(follow::follow(core.clone(), stop.clone()));
        tasks.spawn(follow::beat(core.clone(), stop.clone()));
        Ok(Self { core, tasks, stop })
    }

    /// The table that requests are decided by.
    pub fn table(&self) -> Arc<ArcSwap<Compiled>> {
        self.core.table.clone()
    }

    /// The same table as data.
    pub fn raw_table(&self) -> Arc<ArcSwap<RouteTable>> {
        self.core.raw.clone()
    }

    /// What is declared.
    pub fn catalogue(&self) -> Arc<ArcSwap<Catalogue>> {
        self.core.catalogue.clone()
    }

    /// How far the syncs have caught up.
    pub fn watermarks(&self) -> Arc<ArcSwap<Watermarks>> {
        self.core.watermarks.clone()
    }

    /// How the store looks from here.
    pub fn health(&self) -> Arc<ArcSwap<Health>> {
        self.core.health.clone()
    }

    /// For how long this process has been cut off: since it last both said that it lives and saw the newest table.
    /// Longer than anything before the first time, also when a table was found in the fail-static file.
    ///
    /// By the monotonic clock of this process, from before the store was asked: the store never sees a younger
    /// heartbeat than this says.
    pub fn silence(&self) -> Silence {
        let core = self.core.clone();
        Arc::new(move || core.contact.silence())
    }

    /// The store.
    pub fn store(&self) -> Arc<dyn ControlStore> {
        self.core.store.clone()
    }

    /// The generation in force.
    pub fn generation(&self) -> Generation {
        self.core.raw.load().generation
    }

    /// Takes new declarations (a reloaded file); what they add is adopted at the next look at the store.
    ///
    /// # Errors
    /// When they contradict each other: the old ones stay in force.
    pub async fn redeclare(&self, catalogue: Catalogue) -> Result<(), AgentError> {
        self.core.redeclare(catalogue).await.map_err(AgentError::Catalogue)
    }

    /// Ends the tasks and tells the store that nobody needs to wait for this process any more.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
        let leave = self.core.store.leave(&self.core.options.instance);
        match tokio::time::timeout(Duration::from_millis(LEAVE_MS), leave).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::info!(%error, "left without telling the control store");
            }
            Err(_) => tracing::info!("left without telling the control store: it does not answer"),
        }
    }
}
