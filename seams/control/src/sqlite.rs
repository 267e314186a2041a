//! The control store in one SQLite file.
//!
//! Owns opening, reopening and the way statements are run; the statements live in the modules below, one per
//! subject. It exists so that an installation on one machine needs no server. What must stay true: one
//! writer connection per process (so our own tasks queue fairly instead of fighting for the lock) and every
//! write in `BEGIN IMMEDIATE` (so that nobody reads, decides and then finds the row changed); a file that
//! was removed or replaced under us is noticed and never written to.

mod advice;
mod instance;
mod lease;
mod noise;
mod number;
mod route;
mod schema;
mod shadow;
mod sync;

#[cfg(test)]
pub(crate) mod tests;

use crate::advice::Advice;
use crate::audit::{AuditEntry, AuditOutcome, Committed, GenerationRecord};
use crate::error::{CommitError, ControlError};
use crate::instance::{Instance, InstanceReport};
use crate::lease::{Lease, LeaseGrant};
use crate::shadow::{Outcomes, ShadowBatch, ShadowSummary};
use crate::store::{ControlStore, IfMissing, StoreOptions};
use crate::sync::{ComponentStatus, SyncRun, SyncWatermark};
use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use banyan_domain::{Actor, Catalogue, Change, EndpointName, Generation, RouteTable};
use sqlx::sqlite::SqliteSynchronous;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions};
use sqlx::{ConnectOptions, Sqlite, Transaction};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio_util::task::AbortOnDropHandle;

/// Connections that read at the same time; more wait for one of them.
const READERS: u32 = 4;
/// How long to wait for one of our own connections beyond the busy timeout, in ms.
const QUEUE_MS: u64 = 5_000;
/// How often retention and compaction run by themselves, in ms.
const MAINTAIN_EVERY_MS: u64 = 60_000;

/// A control store in a SQLite file.
pub struct SqliteStore {
    file: Arc<File>,
    /// Looks for changes by other processes; started by the first `watch`.
    follower: OnceLock<AbortOnDropHandle<()>>,
}

/// The file, open or not yet.
struct File {
    path: PathBuf,
    options: StoreOptions,
    pools: ArcSwapOption<Pools>,
    opening: Mutex<()>,
    was_open: AtomicBool,
    maintained_ms: AtomicU64,
    newest: watch::Sender<Generation>,
}

/// The connections to one incarnation of the file.
struct Pools {
    read: SqlitePool,
    write: SqlitePool,
    identity: Identity,
}

/// What tells two files at the same path apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

type Tx = Transaction<'static, Sqlite>;

impl SqliteStore {
    /// Opens `target`, a path or a `sqlite:` URL, and makes the file when it does not exist.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub async fn open(target: &str) -> Result<Self, ControlError> {
        Self::open_with(target, StoreOptions::default()).await
    }

    /// As [`SqliteStore::open`], with options.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub async fn open_with(target: &str, options: StoreOptions) -> Result<Self, ControlError> {
        let store = Self::attach(target, options)?;
        store.file.pools().await?;
        Ok(store)
    }

    /// Names the file without opening it: each call opens it when it can.
    ///
    /// # Errors
    /// [`ControlError::Unsupported`] when `target` is no path and no `sqlite:` URL.
    pub fn attach(target: &str, options: StoreOptions) -> Result<Self, ControlError> {
        let file = File {
            path: path_of(target)?,
            options,
            pools: ArcSwapOption::empty(),
            opening: Mutex::new(()),
            was_open: AtomicBool::new(false),
            maintained_ms: AtomicU64::new(0),
            newest: watch::Sender::new(Generation(0)),
        };
        Ok(Self { file: Arc::new(file), follower: OnceLock::new() })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.file.path
    }
}

/// The path in `sqlite:PATH`, `sqlite://PATH` or a plain path.
fn path_of(target: &str) -> Result<PathBuf, ControlError> {
    let unsupported = || ControlError::Unsupported { url: without_password(target) };
    let path = match target.split_once(':') {
        None => target,
        Some(("sqlite", rest)) => rest.strip_prefix("//").unwrap_or(rest),
        // A path may hold a colon behind its first slash; a scheme may not.
        Some((before, _)) if before.contains('/') => target,
        Some(_) => return Err(unsupported()),
    };
    let path = path.split('?').next().unwrap_or_default();
    if path.is_empty() || path == ":memory:" {
        return Err(unsupported());
    }
    Ok(PathBuf::from(path))
}

fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://...@{host}"),
        _ => url.to_owned(),
    }
}

impl Identity {
    fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let data = std::fs::metadata(path).ok()?;
        Some(Self { device: data.dev(), inode: data.ino() })
    }
}

impl File {
    /// The connections to the file that is at the path now.
    async fn pools(&self) -> Result<Arc<Pools>, ControlError> {
        if let Some(pools) = self.current()? {
            return Ok(pools);
        }
        let _opening = self.opening.lock().await;
        if let Some(pools) = self.current()? {
            return Ok(pools);
        }
        let pools = Arc::new(self.connect().await?);
        self.was_open.store(true, Ordering::Relaxed);
        self.pools.store(Some(pools.clone()));
        Ok(pools)
    }

    /// The open connections, unless the file was replaced since.
    fn current(&self) -> Result<Option<Arc<Pools>>, ControlError> {
        let there = Identity::of(&self.path);
        let open = self.pools.load_full();
        let creates = self.options.missing == IfMissing::Create;
        match (there, open) {
            (Some(there), Some(open)) if open.identity == there => Ok(Some(open)),
            (Some(_), _) => Ok(None),
            // A file that vanished while in use is not made anew: the operator may be moving a backup
            // into its place.
            (None, _) if creates && !self.was_open.load(Ordering::Relaxed) => Ok(None),
            (None, _) => Err(ControlError::Missing { path: self.path.clone() }),
        }
    }

    async fn connect(&self) -> Result<Pools, ControlError> {
        let creates = self.options.missing == IfMissing::Create;
        if creates && let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| ControlError::NotWritable {
                path: self.path.clone(),
                source: Box::new(error),
            })?;
        }
        let options = self.connect_options();
        let write =
            self.pool_options(1).connect_lazy_with(options.clone().create_if_missing(creates));
        schema::ensure(&write, &self.path, self.now_ms()).await?;
        let identity = Identity::of(&self.path)
            .ok_or_else(|| ControlError::Missing { path: self.path.clone() })?;
        let read = self.pool_options(READERS).connect_lazy_with(options);
        Ok(Pools { read, write, identity })
    }

    fn connect_options(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(&self.path)
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            // A flip that was reported as done must survive a power cut.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_millis(self.options.busy_timeout_ms))
            .disable_statement_logging()
    }

    fn pool_options(&self, connections: u32) -> SqlitePoolOptions {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_millis(self.options.busy_timeout_ms + QUEUE_MS))
            .max_lifetime(None)
            .idle_timeout(None)
            .test_before_acquire(false)
    }

    async fn read(&self) -> Result<SqlitePool, ControlError> {
        Ok(self.pools().await?.read.clone())
    }

    /// Begins a transaction that holds the write lock from the start.
    async fn begin(&self) -> Result<Tx, ControlError> {
        let pools = self.pools().await?;
        pools.write.begin_with("BEGIN IMMEDIATE").await.map_err(|error| self.fail(error))
    }

    async fn end(&self, tx: Tx) -> Result<(), ControlError> {
        tx.commit().await.map_err(|error| self.fail(error))
    }

    fn fail(&self, error: sqlx::Error) -> ControlError {
        classify(&self.path, error)
    }

    fn now_ms(&self) -> u64 {
        (self.options.clock)()
    }

    /// Tells the watchers about a generation; they only see it grow.
    fn announce(&self, generation: Generation) {
        self.newest.send_if_modified(|newest| {
            let grown = generation > *newest;
            *newest = generation.max(*newest);
            grown
        });
    }

    /// Whether maintenance is due; says so to one caller only.
    fn is_maintenance_due(&self) -> bool {
        let now = self.now_ms();
        let last = self.maintained_ms.load(Ordering::Relaxed);
        now.saturating_sub(last) >= MAINTAIN_EVERY_MS
            && self
                .maintained_ms
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    async fn maintain(&self) -> Result<(), ControlError> {
        shadow::maintain(self).await?;
        sync::forget_old(self).await
    }

    async fn follow(self: Arc<Self>) {
        let mut tick = tokio::time::interval(Duration::from_millis(self.options.poll_ms.max(1)));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            // Losing the store is the agent's to report; a watcher just hears nothing new.
            if let Ok(generation) = route::generation(&self).await {
                self.announce(generation);
            }
        }
    }
}

/// What a driver error means for the operator.
fn classify(path: &Path, error: sqlx::Error) -> ControlError {
    let path = path.to_owned();
    let code = error.as_database_error().and_then(|db| db.code()?.parse::<u32>().ok());
    let pool_is_busy = matches!(error, sqlx::Error::PoolTimedOut);
    let source = Box::new(error);
    // Primary result codes of SQLite; extended ones carry more in the upper bits.
    match code.map(|code| code & 0xff) {
        Some(5 | 6) => ControlError::Locked { path, source },
        Some(3 | 8 | 13 | 14) => ControlError::NotWritable { path, source },
        Some(11 | 26) => ControlError::Corrupt { path, source },
        None if pool_is_busy => ControlError::Locked { path, source },
        Some(_) | None => ControlError::Unreachable { path, source },
    }
}

#[async_trait]
impl ControlStore for SqliteStore {
    fn location(&self) -> String {
        format!("sqlite:{}", self.file.path.display())
    }

    async fn table(&self) -> Result<RouteTable, ControlError> {
        let table = route::table(&self.file).await?;
        self.file.announce(table.generation);
        Ok(table)
    }

    async fn generation(&self) -> Result<Generation, ControlError> {
        let generation = route::generation(&self.file).await?;
        self.file.announce(generation);
        Ok(generation)
    }

    async fn commit(
        &self,
        catalogue: &Catalogue,
        change: &Change,
        expected: Option<Generation>,
        actor: &Actor,
    ) -> Result<Committed, CommitError> {
        let committed = route::commit(&self.file, catalogue, change, expected, actor).await?;
        self.file.announce(committed.table.generation);
        Ok(committed)
    }

    async fn restore(&self, table: &RouteTable, actor: &Actor) -> Result<bool, ControlError> {
        route::restore(&self.file, table, actor).await
    }

    async fn generations(&self, limit: u32) -> Result<Vec<GenerationRecord>, ControlError> {
        route::generations(&self.file, limit).await
    }

    async fn audit(
        &self,
        limit: u32,
        since_ms: Option<u64>,
    ) -> Result<Vec<AuditEntry>, ControlError> {
        route::audit(&self.file, limit, since_ms).await
    }

    async fn heartbeat(&self, report: &InstanceReport) -> Result<(), ControlError> {
        instance::heartbeat(&self.file, report).await
    }

    async fn leave(&self, instance: &str) -> Result<(), ControlError> {
        instance::leave(&self.file, instance).await
    }

    async fn instances(&self) -> Result<Vec<Instance>, ControlError> {
        instance::list(&self.file).await
    }

    async fn lease(
        &self,
        name: &str,
        holder: &str,
        ttl_ms: u64,
    ) -> Result<Option<LeaseGrant>, ControlError> {
        lease::take(&self.file, name, holder, ttl_ms).await
    }

    async fn release(&self, name: &str, holder: &str) -> Result<bool, ControlError> {
        lease::release(&self.file, name, holder).await
    }

    async fn leases(&self) -> Result<Vec<Lease>, ControlError> {
        lease::list(&self.file).await
    }

    fn watch(&self) -> watch::Receiver<Generation> {
        let begin = || AbortOnDropHandle::new(tokio::spawn(self.file.clone().follow()));
        self.follower.get_or_init(begin);
        self.file.newest.subscribe()
    }

    async fn record_shadow(&self, batch: &ShadowBatch) -> Result<(), ControlError> {
        shadow::record(&self.file, batch).await?;
        if self.file.is_maintenance_due() {
            self.file.maintain().await?;
        }
        Ok(())
    }

    async fn shadow_summary(&self, since_ms: Option<u64>) -> Result<ShadowSummary, ControlError> {
        shadow::summary(&self.file, since_ms).await
    }

    async fn shadow_outcomes(
        &self,
        since_ms: Option<u64>,
    ) -> Result<BTreeMap<EndpointName, Outcomes>, ControlError> {
        shadow::outcomes(&self.file, since_ms).await
    }

    async fn forget_noise(
        &self,
        endpoint: &EndpointName,
        shape: Option<&str>,
    ) -> Result<u64, ControlError> {
        shadow::forget_noise(&self.file, endpoint, shape).await
    }

    async fn shadow_advice(&self, since_ms: Option<u64>) -> Result<Advice, ControlError> {
        advice::all(&self.file, since_ms.unwrap_or(0)).await
    }

    async fn forget_shadow(&self, endpoint: &EndpointName) -> Result<u64, ControlError> {
        shadow::forget(&self.file, endpoint).await
    }

    async fn put_watermark(&self, watermark: &SyncWatermark) -> Result<(), ControlError> {
        sync::put_watermark(&self.file, watermark).await
    }

    async fn watermarks(&self) -> Result<Vec<SyncWatermark>, ControlError> {
        sync::watermarks(&self.file).await
    }

    async fn record_run(&self, run: &SyncRun) -> Result<(), ControlError> {
        sync::record_run(&self.file, run).await
    }

    async fn runs(&self, limit: u32) -> Result<Vec<SyncRun>, ControlError> {
        sync::runs(&self.file, limit).await
    }

    async fn note(
        &self,
        action: &str,
        target: &str,
        outcome: AuditOutcome,
        detail: &str,
        actor: &Actor,
    ) -> Result<(), ControlError> {
        let row = route::AuditRow { action, target, outcome, detail };
        route::note(&self.file, &row, actor).await
    }

    async fn put_status(
        &self,
        component: &str,
        detail: &serde_json::Value,
    ) -> Result<(), ControlError> {
        sync::put_status(&self.file, component, detail).await
    }

    async fn statuses(&self) -> Result<Vec<ComponentStatus>, ControlError> {
        sync::statuses(&self.file).await
    }

    async fn maintain(&self) -> Result<(), ControlError> {
        self.file.maintain().await
    }
}
