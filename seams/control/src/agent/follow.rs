//! The agent's work: look at the store, take what is newer, say so.
//!
//! Owns the two loops. What must stay true: only [`Core::take`] changes the table in force, under one lock,
//! and only upwards.

use super::contact::Contact;
use super::{AgentOptions, Watermarks, snapshot};
use crate::audit::actor;
use crate::clock::now_ms;
use crate::error::{CommitError, ControlError};
use crate::health::{Health, StoreHealth};
use crate::instance::InstanceReport;
use crate::metric;
use crate::store::ControlStore;
use crate::sync::SyncWatermark;
use arc_swap::ArcSwap;
use banyan_domain::compiled::CompileError;
use banyan_domain::{Catalogue, Change, Compiled, ContextName, Generation, RouteTable, Side};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::time::Duration;
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// The name under which a starting process adopts and restores.
const SERVE: &str = "serve";

/// How often to look for a newer table while a cutover is armed, in ms.
const ARMED_POLL_MS: u64 = 10;
/// How often to look, while a cutover is armed, whether there is something to tell of the writes on their way, in ms.
const ARMED_BEAT_MS: u64 = 15;
/// For how long nothing new need not be told again, in ms: clients wait for others to get the store's one lock. An eighth
/// of the time after which a proxy stops an armed context (2 s), a twelfth of that after which the store takes an instance
/// for dead (3 s), so that several heartbeats can fail before either.
const UNCHANGED_MS: u64 = 250;

/// How long after the last change of the table an armed cutover counts as moving.
const MOVING_FOR: Duration = Duration::from_mins(1);

/// What the agent's tasks and handles share.
pub(super) struct Core {
    pub(super) store: Arc<dyn ControlStore>,
    pub(super) options: AgentOptions,
    pub(super) catalogue: Arc<ArcSwap<Catalogue>>,
    pub(super) table: Arc<ArcSwap<Compiled>>,
    pub(super) raw: Arc<ArcSwap<RouteTable>>,
    pub(super) watermarks: Arc<ArcSwap<Watermarks>>,
    pub(super) health: Arc<ArcSwap<Health>>,
    pub(super) contact: Contact,
    /// The part of a heartbeat that stays.
    itself: InstanceReport,
    /// Held while the table in force changes.
    taking: Mutex<()>,
    /// Whether the store knows what is declared here.
    adopted: AtomicBool,
    /// Whether the fail-static file could be written last time.
    saved: AtomicBool,
    /// Whether the last heartbeat was heard.
    heard: AtomicBool,
    /// The generation that heartbeats acknowledge: in force, and on disk unless the disk refused it.
    acknowledged: AtomicU64,
    /// Wakes the heartbeat to acknowledge at once.
    applied: Notify,
}

/// What one look at the store found.
struct Seen {
    newest: Generation,
    /// The table, when it is newer than the one in force.
    table: Option<RouteTable>,
}

impl Core {
    /// Starts from the fail-static file, else from the declared starting phases.
    pub(super) fn new(
        store: Arc<dyn ControlStore>,
        catalogue: Catalogue,
        options: AgentOptions,
    ) -> Result<Self, Vec<CompileError>> {
        let kept = match snapshot::load(&options.snapshot_path) {
            Ok(kept) => kept,
            Err(error) => {
                tracing::warn!(%error, "ignoring the fail-static file");
                None
            }
        };
        let raw = kept.unwrap_or_default();
        let table = Compiled::new(&catalogue, &raw)?;
        metric::generation(raw.generation.0);
        let acknowledged = AtomicU64::new(raw.generation.0);
        let health = Health {
            store: StoreHealth::Away,
            since_ms: now_ms(),
            last_ok_ms: 0,
            detail: "not reached yet".to_owned(),
        };
        Ok(Self {
            itself: options.report(),
            store,
            options,
            catalogue: Arc::new(ArcSwap::from_pointee(catalogue)),
            table: Arc::new(ArcSwap::from_pointee(table)),
            raw: Arc::new(ArcSwap::from_pointee(raw)),
            watermarks: Arc::new(ArcSwap::from_pointee(Watermarks::new())),
            health: Arc::new(ArcSwap::from_pointee(health)),
            contact: Contact::new(),
            taking: Mutex::new(()),
            adopted: AtomicBool::new(false),
            saved: AtomicBool::new(true),
            heard: AtomicBool::new(true),
            acknowledged,
            applied: Notify::new(),
        })
    }

    /// One look at the store, bounded in time: takes what is newer and notes how the store does.
    pub(super) async fn look(&self) {
        let bound = Duration::from_millis(self.options.store_timeout_ms);
        let asked = self.contact.asking();
        // Only the store is bounded: a table that was fetched is put in force whole.
        let looked = match timeout(bound, self.fetch()).await {
            Ok(Ok(Seen { newest, table: None })) => Ok(Ok(newest)),
            Ok(Ok(Seen { newest, table: Some(table) })) => {
                self.take(table).await;
                Ok(Ok(newest))
            }
            Ok(Err(error)) => Ok(Err(error)),
            Err(elapsed) => Err(elapsed),
        };
        match looked {
            Ok(Ok(newest)) if newest < self.generation() => {
                let detail = format!(
                    "it is at generation {newest}, this process at {}; to accept the older table, stop, delete `{}` and start",
                    self.generation(),
                    self.options.snapshot_path.display()
                );
                self.note(StoreHealth::Behind, detail);
            }
            Ok(Ok(newest)) => {
                // A table that could not be compiled is not in force.
                if newest == self.generation() {
                    self.contact.looked(asked);
                }
                self.note(StoreHealth::Ok, String::new());
            }
            Ok(Err(error)) => self.note(StoreHealth::Away, chain(&error)),
            Err(_) => {
                let error = ControlError::TimedOut { after_ms: self.options.store_timeout_ms };
                self.note(StoreHealth::Away, error.to_string());
            }
        }
    }

    /// What is in the store that this process must know.
    async fn fetch(&self) -> Result<Seen, ControlError> {
        let mut newest = self.store.generation().await?;
        let lost = newest == Generation(0) && self.generation() > Generation(0);
        if lost || !self.adopted.load(Ordering::Acquire) {
            newest = self.introduce(lost).await?;
        }
        let mut table = None;
        if newest > self.generation() {
            let fetched = self.store.table().await?;
            newest = fetched.generation;
            table = Some(fetched);
        }
        let marks = self.store.watermarks().await?;
        let owners = table.as_ref().map_or_else(|| self.raw.load_full(), |t| Arc::new(t.clone()));
        self.watermarks.store(Arc::new(lowest(&marks, &owners)));
        Ok(Seen { newest, table })
    }

    /// Makes the store know what this process knows: the table of a store that lost its own, and what is
    /// declared and new.
    async fn introduce(&self, lost: bool) -> Result<Generation, ControlError> {
        if lost {
            let kept = self.raw.load_full();
            let by = actor(SERVE, "the control store was empty", now_ms());
            if self.store.restore(&kept, &by).await? {
                tracing::warn!(
                    generation = kept.generation.0,
                    "gave the control store its table back"
                );
            }
        }
        let catalogue = self.catalogue.load_full();
        let by = actor(SERVE, "declared", now_ms());
        match self.store.commit(&catalogue, &Change::Adopt, None, &by).await {
            Ok(committed) => {
                self.adopted.store(true, Ordering::Release);
                Ok(committed.table.generation)
            }
            Err(CommitError::Store(error)) => Err(error),
            Err(error @ (CommitError::Stale { .. } | CommitError::Refused(_))) => {
                tracing::warn!(%error, "the store did not adopt what is declared");
                self.adopted.store(true, Ordering::Release);
                self.store.generation().await
            }
        }
    }

    /// Puts a newer table in force, keeps it on disk and wakes the acknowledgement.
    async fn take(&self, table: RouteTable) {
        let _taking = self.taking.lock().await;
        if table.generation <= self.generation() {
            return;
        }
        let compiled = match Compiled::new(&self.catalogue.load(), &table) {
            Ok(compiled) => compiled,
            Err(errors) => {
                let errors = super::text_of(&errors);
                tracing::error!(errors, "a route table cannot be compiled; the old one stays");
                return;
            }
        };
        let table = Arc::new(table);
        self.table.store(Arc::new(compiled));
        self.raw.store(table.clone());
        self.contact.took();
        metric::generation(table.generation.0);
        let generation = table.generation.0;
        tracing::info!(generation, "route table applied");
        self.save(table).await;
        self.acknowledged.store(generation, Ordering::SeqCst);
        self.applied.notify_one();
    }

    async fn save(&self, table: Arc<RouteTable>) {
        let path = self.options.snapshot_path.clone();
        let saved = tokio::task::spawn_blocking(move || snapshot::save(&path, &table)).await;
        let failure = match saved {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(chain(&error)),
            Err(error) => Some(error.to_string()),
        };
        let was_saved = self.saved.swap(failure.is_none(), Ordering::Relaxed);
        match failure {
            Some(error) if was_saved => {
                tracing::warn!(error, "this process could not start without the control store now");
            }
            None if !was_saved => tracing::info!("the fail-static file is written again"),
            Some(_) | None => {}
        }
    }

    pub(super) async fn redeclare(&self, catalogue: Catalogue) -> Result<(), Vec<CompileError>> {
        let _taking = self.taking.lock().await;
        let compiled = Compiled::new(&catalogue, &self.raw.load())?;
        self.catalogue.store(Arc::new(catalogue));
        self.table.store(Arc::new(compiled));
        self.adopted.store(false, Ordering::Release);
        Ok(())
    }

    fn generation(&self) -> Generation {
        self.raw.load().generation
    }

    /// Notes how the store looks; logs only when that changes.
    fn note(&self, store: StoreHealth, detail: String) {
        let now = now_ms();
        let before = self.health.load_full();
        let first = before.last_ok_ms == 0 && store == StoreHealth::Ok;
        if before.store != store || first {
            match store {
                StoreHealth::Ok => {
                    tracing::info!(store = self.store.location(), "control store ok");
                }
                StoreHealth::Away => tracing::warn!(
                    store = self.store.location(), %detail, "control store away: the last table stays in force"
                ),
                StoreHealth::Behind => tracing::error!(
                    store = self.store.location(), %detail, "control store behind: the newer table stays in force"
                ),
            }
        }
        metric::store_up(store == StoreHealth::Ok);
        let since_ms = if before.store == store { before.since_ms } else { now };
        let last_ok_ms = if store == StoreHealth::Ok { now } else { before.last_ok_ms };
        self.health.store(Arc::new(Health { store, since_ms, last_ok_ms, detail }));
    }

    /// The first heartbeat, bounded in time.
    pub(super) async fn sign_on(&self) {
        let bound = Duration::from_millis(self.options.store_timeout_ms);
        if timeout(bound, self.say_alive()).await.is_err() {
            tracing::info!("the first heartbeat is late; later ones follow");
        }
    }

    /// What this process says about itself now.
    fn report(&self) -> InstanceReport {
        // In this order: a write that was decided by an older table than `applied` is counted already.
        let applied = Generation(self.acknowledged.load(Ordering::SeqCst));
        fence(Ordering::SeqCst);
        let in_flight = (self.options.in_flight)();
        let detail = self.health.load().detail.clone();
        let in_flight_writes = in_flight.values().sum();
        InstanceReport { applied, in_flight_writes, in_flight, detail, ..self.itself.clone() }
    }

    /// How long until the next look: short while a cutover moves, because clients wait for it.
    fn poll_every(&self) -> Duration {
        let usual = self.options.poll_ms.max(1);
        Duration::from_millis(if self.is_moving() { usual.min(ARMED_POLL_MS) } else { usual })
    }

    /// How long until the next heartbeat.
    fn beat_every(&self) -> Duration {
        let usual = self.options.heartbeat_ms.max(1);
        Duration::from_millis(if self.is_moving() { usual.min(ARMED_BEAT_MS) } else { usual })
    }

    /// Whether a cutover is armed and its last step is not long ago; one that was left lying must not keep the store busy.
    fn is_moving(&self) -> bool {
        self.contact.table_age() < MOVING_FOR
            && self.raw.load().contexts.values().any(|state| state.armed.is_some())
    }

    /// Whether the store knows this already and needs no sign of life yet.
    fn is_told(&self, report: &InstanceReport) -> bool {
        let table = self.raw.load();
        let armed = |context: &ContextName| {
            table.contexts.get(context).is_some_and(|state| state.armed.is_some())
        };
        let fresh_for = Duration::from_millis(self.options.heartbeat_ms.min(UNCHANGED_MS));
        self.contact.has_told(report, armed, fresh_for)
    }

    async fn say_alive(&self) {
        let report = self.report();
        if self.is_told(&report) {
            return;
        }
        let asked = self.contact.telling();
        let heard = self.store.heartbeat(&report).await;
        if heard.is_ok() {
            self.contact.heard(asked, report);
        }
        let was_heard = self.heard.swap(heard.is_ok(), Ordering::Relaxed);
        match heard {
            Err(error) if was_heard => {
                tracing::warn!(error = chain(&error), hint = error.hint(), "heartbeat not heard");
            }
            Ok(()) if !was_heard => tracing::info!("heartbeat heard again"),
            Ok(()) | Err(_) => {}
        }
    }
}

/// By context, the lowest watermark of the jobs that write away from the owner. Jobs that write to the owner
/// (left over from before a cutover) say nothing about what readers of the other side miss.
pub(super) fn lowest(marks: &[SyncWatermark], table: &RouteTable) -> Watermarks {
    let mut lowest = Watermarks::new();
    for mark in marks {
        let owner = table.contexts.get(&mark.context).map_or(Side::Legacy, |state| state.owner);
        if mark.to == owner {
            continue;
        }
        let slot = lowest.entry(mark.context.clone()).or_insert(mark.watermark_ms);
        *slot = (*slot).min(mark.watermark_ms);
    }
    lowest
}

/// Looks at the store again and again, and at once when this process changed the table itself.
pub(super) async fn follow(core: Arc<Core>, stop: CancellationToken) {
    let mut newest = core.store.watch();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(core.poll_every()) => {}
            () = grown(&mut newest) => {}
        }
        core.look().await;
    }
}

/// Ends when the watched generation grows; never when there is nobody left to tell.
async fn grown(newest: &mut watch::Receiver<Generation>) {
    if newest.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Says again and again that the process lives, and at once when a new table is in force.
pub(super) async fn beat(core: Arc<Core>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(core.beat_every()) => {}
            () = core.applied.notified() => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = core.say_alive() => {}
        }
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}
