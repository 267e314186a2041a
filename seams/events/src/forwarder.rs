//! The forwarder: the only writer of the public exchange.
//!
//! Owns the supervisor that takes the lease, connects, consumes both sides' raw queues and starts over after
//! any error. It passes the owner's events on byte-identical and records the other side's, so that each
//! context has one emitter while two systems run.
//!
//! What must stay true: an event is published only after its decision was stored; a stored decision is never
//! made again; an event is acknowledged only after it was published and marked; without the lease nothing
//! is decided and therefore nothing is published.

mod batch;
mod config;
mod decide;
mod handover;
mod lease;
mod log;
mod marker;
mod matcher;
mod owner;
mod ownership;
mod quarantine;
mod read;
mod remote;
mod side;
mod status;
mod store;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use banyan_domain::{ContextName, Epoch, Side};
use futures_util::future::try_join_all;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

pub use config::{Dedupe, ForwarderConfig, Insertion, PublicPlace, RawPlace, Retention};
pub(crate) use decide::content_hash;
pub use decide::{Decision, MUTED_HEADER, ORIGIN_HEADER};
pub use handover::{
    Begun, Check, Handover, HandoverError, HandoverStep, HandoverView, Limits, Progress,
    RouteError, RoutePort, Standing, acted_on, give_up, preflight, put,
};
pub use marker::{Marker, MarkerKind};
pub use matcher::{ContextMatcher, Expected};
pub use quarantine::{
    AuditRow, LateEvent, Operator, QuarantineError, Resolution, Selection, resolve,
};
pub use read::{Coverage, LogReader, LoggedEvent, Payload};
pub use remote::Remote;
pub use status::{
    ContextStatus, ForwarderStatus, HeldAt, RunState, SideStatus, routed_copies, status,
};

use self::lease::{Lease, Taken};
use self::side::SideLoop;
use self::store::Store;
use crate::backoff::Backoff;
use crate::broker::{self, Broker, BrokerError, Topology};
use crate::metrics;

/// First and longest wait after an error.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How often the log is trimmed.
const TRIM_EVERY: Duration = Duration::from_mins(1);

/// Who owns a context right now; the control store answers in production.
#[async_trait]
pub trait Owners: Send + Sync {
    /// The owner and the number of its ownership.
    async fn owner(&self, context: &ContextName) -> Result<(Side, Epoch), OwnersError>;
}

/// The owner of a context could not be found out; nothing is decided meanwhile.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot find out the owner of `{context}`: {reason}")]
pub struct OwnersError {
    /// The context asked for.
    pub context: ContextName,
    /// What went wrong.
    pub reason: String,
}

/// The steps of a batch, in order; a test stops the forwarder at each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Events were received, nothing is stored.
    Received,
    /// Decisions are stored, nothing is published.
    Decided,
    /// Everything to be published is confirmed, not yet marked.
    Published,
    /// Marked as forwarded, not yet acknowledged.
    Marked,
    /// Acknowledged.
    Acked,
    /// A marker was acted on, not yet acknowledged.
    Met,
    /// Released late events are confirmed, not yet marked.
    Released,
}

impl Step {
    /// The steps of every batch, in order.
    pub const ALL: [Self; 5] =
        [Self::Received, Self::Decided, Self::Published, Self::Marked, Self::Acked];
}

/// A port called at each [`Step`], so that tests can stop the forwarder there.
#[async_trait]
pub trait Pause: Send + Sync {
    /// The forwarder goes on when this returns.
    async fn at(&self, side: Side, step: Step);
}

struct NoPause;

#[async_trait]
impl Pause for NoPause {
    async fn at(&self, _side: Side, _step: Step) {}
}

/// Why the forwarder cannot work right now. It waits and starts over; the text is in the status.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ForwarderError {
    /// The configuration contradicts itself.
    #[error("the forwarder's configuration is wrong: {reason}")]
    Config {
        /// The rule that it breaks.
        reason: String,
    },
    /// Its own database failed.
    #[error("cannot use the forwarder's store `{path}`: {reason}")]
    Store {
        /// The file.
        path: String,
        /// SQLite's words.
        reason: String,
    },
    /// A broker failed.
    #[error("{error} ({place})")]
    Broker {
        /// Which place: `raw legacy`, `raw new` or `public`.
        place: String,
        /// The broker's error.
        error: BrokerError,
    },
    /// The owner is not known.
    #[error(transparent)]
    Owners(#[from] OwnersError),
    /// The control store says an older epoch than was already acted on, or another owner of the same one.
    #[error("owner of `{context}` went back: epoch {known} was acted on, now told {told}")]
    OwnerWentBack {
        /// The context.
        context: ContextName,
        /// The epoch acted on.
        known: Epoch,
        /// The epoch told now.
        told: Epoch,
    },
    /// Another forwarder of this name has taken over.
    #[error("another forwarder has taken over `{name}`")]
    LeaseLost {
        /// The forwarder's name.
        name: String,
    },
    /// Too many late events wait for a decision of an operator.
    #[error("the quarantine is full: {late} late events, the limit is {late_max}")]
    QuarantineFull {
        /// Late events there are.
        late: u64,
        /// How many there may be.
        late_max: u64,
    },
}

impl ForwarderError {
    /// What a user can do about it, if anything.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Config { .. } => Some("correct the `[events]` section"),
            Self::Store { .. } => Some("check that its directory exists, is writable and not full"),
            Self::Broker { error, .. } => error.hint(),
            Self::QuarantineFull { .. } => Some("look at the late events and release or drop them"),
            Self::OwnerWentBack { .. } => {
                Some("the control store looks restored from a backup; compare it with the audit")
            }
            Self::Owners(_) | Self::LeaseLost { .. } => None,
        }
    }

    fn broker(place: impl Into<String>) -> impl FnOnce(BrokerError) -> Self {
        let place = place.into();
        move |error| Self::Broker { place, error }
    }
}

/// A forwarder, ready to run.
pub struct Forwarder {
    config: ForwarderConfig,
    store: Store,
    owners: Arc<dyn Owners>,
    pause: Arc<dyn Pause>,
    /// Told when a marker was acted on, for the other side's queue that may wait for it.
    moved: Notify,
    /// Whether every queue is there: this one has declared them, or another forwarder leads.
    settled: watch::Sender<bool>,
    /// Whether exchanges, queues and bindings are left as they are.
    is_detached: bool,
}

impl Forwarder {
    /// Checks the configuration and opens the store; brokers are connected by [`Forwarder::run`].
    ///
    /// # Errors
    /// [`ForwarderError::Config`] or [`ForwarderError::Store`].
    pub async fn open(
        config: ForwarderConfig,
        owners: Arc<dyn Owners>,
    ) -> Result<Self, ForwarderError> {
        config.check()?;
        let store = Store::open(&config.database).await?;
        Ok(Self {
            config,
            store,
            owners,
            pause: Arc::new(NoPause),
            moved: Notify::new(),
            settled: watch::Sender::new(false),
            is_detached: false,
        })
    }

    /// Sets the port that is called at each step.
    #[must_use]
    pub fn with_pause(mut self, pause: Arc<dyn Pause>) -> Self {
        self.pause = pause;
        self
    }

    /// Declares nothing: its raw queue may hang on nothing any more.
    pub(crate) fn detached(mut self) -> Self {
        self.is_detached = true;
        self
    }

    /// Forwards until cancelled; a batch under way is finished first. Errors are waited out, not returned:
    /// they are in the status and in the log.
    pub async fn run(&self, cancel: CancellationToken) {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        let mut lease = Lease::new(&self.config);
        while !cancel.is_cancelled() {
            let began = Instant::now();
            let outcome = self.lead(&mut lease, &cancel).await;
            if began.elapsed() > RETRY.1 {
                backoff.reset();
            }
            if let Err(error) = outcome {
                self.report(RunState::Waiting, &lease, &error.to_string()).await;
                tracing::warn!(forwarder = %self.config.name, %error, "forwarder starts over");
                metrics::forwarder_restarted();
                tokio::select! {
                    () = cancel.cancelled() => {}
                    () = tokio::time::sleep(backoff.wait()) => {}
                }
            }
        }
        if let Err(error) = lease.release(&self.store).await {
            tracing::warn!(%error, "the forwarder's lease ends by itself");
        }
        self.report(RunState::Stopped, &lease, "stopped").await;
    }

    /// From taking the lease to the first error or the end.
    async fn lead(
        &self,
        lease: &mut Lease,
        cancel: &CancellationToken,
    ) -> Result<(), ForwarderError> {
        let Some(taken) = self.wait_for_lease(lease, cancel).await? else { return Ok(()) };
        let brokers = tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            brokers = Brokers::ready(&self.config, self.is_detached) => brokers?,
        };
        if !self.outwait(taken, lease, &brokers, cancel).await? {
            return Ok(());
        }
        self.learn_owners().await?;
        let mut sides = Vec::with_capacity(self.config.raw.len());
        for side in self.config.raw.keys() {
            let parts = SideParts { forwarder: self, lease, brokers: &brokers };
            sides.push(SideLoop::new(&parts, *side)?);
        }
        self.report(RunState::Running, lease, "forwarding").await;
        // Both kinds of loop run until cancelled; the first error ends all of them.
        let sides = try_join_all(sides.into_iter().map(|side| side.run(cancel.clone())));
        let ended = tokio::try_join!(sides, self.keep(lease, &brokers, cancel));
        ended.map(drop).map_err(|error| brokers.or_blocked(error))
    }

    /// Takes in who owns each context while it is quiet: an ownership that changes before the first event would be taken
    /// for the first one. A context that cannot be asked for is learnt at its first event.
    async fn learn_owners(&self) -> Result<(), ForwarderError> {
        for matcher in &self.config.contexts {
            match self.owners.owner(&matcher.context).await {
                Ok(told) => drop(handover::standing(&self.store, &matcher.context, told).await?),
                Err(error) => tracing::warn!(%error, "an owner is not known yet"),
            }
        }
        Ok(())
    }

    /// `None` when cancelled.
    async fn wait_for_lease(
        &self,
        lease: &mut Lease,
        cancel: &CancellationToken,
    ) -> Result<Option<Taken>, ForwarderError> {
        loop {
            match lease.take(&self.store).await? {
                Taken::No => {}
                taken @ (Taken::Freely | Taken::FromSilent(_)) => return Ok(Some(taken)),
            }
            self.report(RunState::Standby, lease, "another forwarder holds the lease").await;
            tokio::select! {
                () = cancel.cancelled() => return Ok(None),
                () = tokio::time::sleep(lease.renew_every()) => {}
            }
        }
    }

    /// When events are not published on the channel they come from, a silent leader's connection to the public place
    /// may outlive its raw queue. Then the broker must have dropped it before anybody else publishes. `false` when
    /// cancelled.
    async fn outwait(
        &self,
        taken: Taken,
        lease: &Lease,
        brokers: &Brokers,
        cancel: &CancellationToken,
    ) -> Result<bool, ForwarderError> {
        let Taken::FromSilent(silence) = taken else { return Ok(true) };
        let public = &self.config.public.broker;
        if self.config.raw.values().all(|raw| raw.broker == *public) {
            return Ok(true);
        }
        let silence_max = brokers.get("public", public)?.kind().silence_max();
        let until = Instant::now() + silence_max.saturating_sub(silence);
        while Instant::now() < until {
            let reason = "waits until the broker has dropped the silent leader's connections";
            self.report(RunState::Waiting, lease, reason).await;
            let left = until.saturating_duration_since(Instant::now());
            tokio::select! {
                () = cancel.cancelled() => return Ok(false),
                () = tokio::time::sleep(left.min(lease.renew_every())) => {}
            }
            lease.renew(&self.store).await?;
        }
        Ok(true)
    }

    /// Renews the lease, trims the log and reports, until cancelled.
    async fn keep(
        &self,
        lease: &Lease,
        brokers: &Brokers,
        cancel: &CancellationToken,
    ) -> Result<(), ForwarderError> {
        let mut trimmed = Instant::now();
        loop {
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                () = tokio::time::sleep(lease.renew_every()) => {}
            }
            lease.renew(&self.store).await?;
            self.report(RunState::Running, lease, &brokers.reason()).await;
            self.measure(brokers).await?;
            if trimmed.elapsed() > TRIM_EVERY {
                trimmed = Instant::now();
                self.store.trim(&self.config.retention).await?;
            }
        }
    }

    /// Depth and age of the raw queues, depth of the quarantine.
    async fn measure(&self, brokers: &Brokers) -> Result<(), ForwarderError> {
        for (side, raw) in &self.config.raw {
            if let Some(broker) = brokers.by_url.get(&raw.broker)
                && let Ok(depth) = broker.depth(&raw.queue).await
            {
                metrics::raw_depth(*side, depth);
                let age_ms = self.store.note_depth(*side, depth).await?;
                metrics::raw_age(*side, age_ms / 1_000);
            }
        }
        metrics::quarantine_depth(self.store.late_waiting().await?);
        Ok(())
    }

    /// Waits until events have a queue to go to: what is published to an exchange before is lost. Does not end while a broker is
    /// away.
    pub async fn settled(&self) {
        // It cannot fail: the sender lives in here.
        drop(self.settled.subscribe().wait_for(|settled| *settled).await);
    }

    async fn report(&self, state: RunState, lease: &Lease, reason: &str) {
        if matches!(state, RunState::Running | RunState::Standby) {
            self.settled.send_replace(true);
        }
        metrics::forwarder_state(state == RunState::Running);
        let report = lease::Report { state, reason };
        if let Err(error) = lease.report(&self.store, &report).await {
            tracing::warn!(%error, "the forwarder's status is not stored");
        }
    }
}

/// What a side's loop is built from.
struct SideParts<'a> {
    forwarder: &'a Forwarder,
    lease: &'a Lease,
    brokers: &'a Brokers,
}

/// One connection per distinct URL.
struct Brokers {
    by_url: HashMap<String, Arc<dyn Broker>>,
}

impl Brokers {
    /// Connected, and everything declared unless detached.
    async fn ready(config: &ForwarderConfig, is_detached: bool) -> Result<Self, ForwarderError> {
        let brokers = Self::connect(config).await?;
        if !is_detached {
            brokers.declare(config).await?;
        }
        Ok(brokers)
    }

    async fn connect(config: &ForwarderConfig) -> Result<Self, ForwarderError> {
        let mut by_url = HashMap::new();
        for (place, url) in config.places() {
            if !by_url.contains_key(url) {
                let broker = broker::connect(url).await.map_err(ForwarderError::broker(place))?;
                by_url.insert(url.to_owned(), broker);
            }
        }
        Ok(Self { by_url })
    }

    fn get(&self, place: &str, url: &str) -> Result<&Arc<dyn Broker>, ForwarderError> {
        self.by_url.get(url).ok_or_else(|| ForwarderError::broker(place)(BrokerError::Closed))
    }

    async fn declare(&self, config: &ForwarderConfig) -> Result<(), ForwarderError> {
        let public = &config.public;
        // A tap needs no public place; a wrap has made it in the kind of the exchange that it wraps.
        if matches!(config.insertion, Insertion::Tap | Insertion::Wrap) {
            return self.declare_raw(config).await;
        }
        let exchange = Topology::new().exchange(&public.exchange, public.exchange_kind);
        let broker = self.get("public", &public.broker)?;
        broker.declare(&exchange).await.map_err(ForwarderError::broker("public"))?;
        self.declare_raw(config).await
    }

    async fn declare_raw(&self, config: &ForwarderConfig) -> Result<(), ForwarderError> {
        for (side, raw) in &config.raw {
            let place = format!("raw {side}");
            let broker = self.get(&place, &raw.broker)?;
            let declared = broker.declare(&raw.topology(config.insertion)).await;
            declared.map_err(ForwarderError::broker(place))?;
        }
        Ok(())
    }

    /// Names the alarm of a broker where it is why a confirm stayed away.
    fn or_blocked(&self, error: ForwarderError) -> ForwarderError {
        let ForwarderError::Broker { place, error: BrokerError::Unconfirmed { .. } } = &error
        else {
            return error;
        };
        let blocked = self.by_url.values().find_map(|broker| match broker.state() {
            broker::BrokerState::Blocked { reason } => Some(BrokerError::Blocked { reason }),
            broker::BrokerState::Connected | broker::BrokerState::Disconnected { .. } => None,
        });
        match blocked {
            Some(blocked) => ForwarderError::broker(place.clone())(blocked),
            None => error,
        }
    }

    /// What is wrong with any connection, in one line.
    fn reason(&self) -> String {
        self.by_url
            .values()
            .find_map(|broker| match broker.state() {
                broker::BrokerState::Connected => None,
                broker::BrokerState::Blocked { reason } => Some(format!("blocked: {reason}")),
                broker::BrokerState::Disconnected { reason } => Some(reason),
            })
            .unwrap_or_else(|| "forwarding".to_owned())
    }
}
