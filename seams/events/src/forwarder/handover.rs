//! The handover of a context's emission: the steps that put the markers, and the row that remembers them.
//!
//! Owns the order open, route, settle, seal, switch. It exists for a context whose events must move although it has no
//! tables of its own; a cutover of a context with tables runs the same steps as its own, with [`put`] and [`acted_on`]
//! (over kept connections: [`super::Remote`]).
//! What must stay true: each step may be done twice, so whoever comes after a crash goes on at the step that the
//! row names; before `route` a handover can be given up, after it only be finished or handed back.

mod error;
mod preflight;
mod row;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use banyan_domain::{ContextName, Epoch, Side};
use serde::Serialize;
use sqlx::Connection as _;

pub use self::error::{HandoverError, RouteError};
pub use self::preflight::{Check, preflight};
pub use self::row::{HandoverStep, HandoverView};
use self::row::{advance, insert, note, unfinished};
use super::config::{Insertion, RawPlace};
use super::marker::{Marker, MarkerKind};
use super::ownership::Ownership;
use super::quarantine::Operator;
use super::store::Store;
use super::{ForwarderConfig, ForwarderError};
use crate::broker::{self, Broker};

/// How often a wait looks again.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a handover needs of the rest of the installation.
#[async_trait]
pub trait RoutePort: Send + Sync {
    /// Makes `target` the owner of the context's writes at `epoch` and waits until every proxy knows. Again is harmless.
    ///
    /// # Errors
    /// [`RouteError::Refused`] when nothing was changed and nothing will be.
    async fn route(
        &self,
        context: &ContextName,
        target: Side,
        epoch: Epoch,
    ) -> Result<(), RouteError>;

    /// Writes that proxies have forwarded and that are not answered yet.
    async fn writes_in_flight(&self) -> Result<u64, RouteError>;

    /// Called when a step is done, before the row says so: a test crashes here.
    async fn done(&self, _step: HandoverStep) {}
}

/// How it was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// Now.
    Fresh,
    /// Before, by anybody; it goes on.
    Resumed,
}

/// How far a run came, with the time of each step done in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// The ownership it led to.
    pub epoch: Epoch,
    /// Steps with their milliseconds.
    pub steps: Vec<(HandoverStep, u64)>,
}

/// Limits of a run.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest wait for writes under way.
    pub drain_max: Duration,
    /// How long what a side publishes after commit may take. Zero for an emergency: stragglers are then quarantined.
    pub settle: Duration,
    /// Longest wait for the forwarder to pass the markers.
    pub switch_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            drain_max: Duration::from_secs(30),
            settle: Duration::from_secs(2),
            switch_max: Duration::from_mins(1),
        }
    }
}

/// Who emits a context's events, as the forwarder acts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The side.
    pub owner: Side,
    /// The ownership.
    pub epoch: Epoch,
    /// Whether the owner's `open` was met: only then do its events go public.
    pub opened: bool,
    /// The last ownership that was given up.
    pub voided: Epoch,
}

/// Who emits a context's events, as the forwarder acts on it; a context it never heard of begins as `told`. To be
/// asked before the owner changes anywhere else.
///
/// # Errors
/// [`ForwarderError::Store`], or [`ForwarderError::OwnerWentBack`].
pub async fn acted_on(
    config: &ForwarderConfig,
    context: &ContextName,
    told: (Side, Epoch),
) -> Result<Standing, ForwarderError> {
    let store = Store::open(&config.database).await?;
    standing(&store, context, told).await
}

pub(super) async fn standing(
    store: &Store,
    context: &ContextName,
    told: (Side, Epoch),
) -> Result<Standing, ForwarderError> {
    let known = match store.already_told(context, told).await? {
        Some(known) => known,
        None => tell(store, context, told).await?,
    };
    Ok(Standing {
        owner: known.owner,
        epoch: known.epoch,
        opened: known.opened,
        voided: known.voided,
    })
}

async fn tell(
    store: &Store,
    context: &ContextName,
    told: (Side, Epoch),
) -> Result<Ownership, ForwarderError> {
    let failed = |error: sqlx::Error| store.failed(&error);
    let mut conn = store.lock().await;
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    let told = std::collections::BTreeMap::from([(context.clone(), told)]);
    let known = store.ownerships(&mut tx, &told).await?.remove(context);
    tx.commit().await.map_err(failed)?;
    known.ok_or_else(|| failed(sqlx::Error::RowNotFound))
}

/// Puts a marker straight into a side's raw queue; returns when the broker has it. Putting it again is harmless.
///
/// # Errors
/// [`ForwarderError::Config`] for a side without a raw place, [`ForwarderError::Broker`].
pub async fn put(
    config: &ForwarderConfig,
    side: Side,
    marker: &Marker,
) -> Result<(), ForwarderError> {
    let broker = connect(config, side).await?;
    let put = put_on(&*broker, config, side, marker).await;
    broker.close().await;
    put
}

/// Connects to the broker of a side's raw queue, which is made if it is not there: a broker drops what the default
/// exchange cannot deliver.
pub(super) async fn connect(
    config: &ForwarderConfig,
    side: Side,
) -> Result<Arc<dyn Broker>, ForwarderError> {
    let raw = raw_place(config, side)?;
    let failed = || ForwarderError::broker(format!("raw {side}"));
    let broker = broker::connect(&raw.broker).await.map_err(failed())?;
    if let Err(error) = broker.declare(&raw.topology(config.insertion)).await {
        broker.close().await;
        return Err(failed()(error));
    }
    Ok(broker)
}

pub(super) async fn put_on(
    broker: &dyn Broker,
    config: &ForwarderConfig,
    side: Side,
    marker: &Marker,
) -> Result<(), ForwarderError> {
    let raw = raw_place(config, side)?;
    let put = broker.publish(marker.message(&raw.queue)).await;
    put.map_err(ForwarderError::broker(format!("raw {side}")))?;
    tracing::info!(%side, %marker, "a marker was put into a raw queue");
    Ok(())
}

fn raw_place(config: &ForwarderConfig, side: Side) -> Result<&RawPlace, ForwarderError> {
    config.raw.get(&side).ok_or_else(|| ForwarderError::Config {
        reason: format!("the raw place of `{side}` is missing"),
    })
}

/// A handover under way.
pub struct Handover {
    config: ForwarderConfig,
    store: Store,
    context: ContextName,
    row: HandoverView,
}

impl Handover {
    /// Begins a handover, or takes up an unfinished one to the same side. `told` is what the control store says.
    ///
    /// # Errors
    /// [`HandoverError`] when there is nothing to do, or another one is under way.
    pub async fn begin(
        config: &ForwarderConfig,
        context: &ContextName,
        target: Side,
        told: (Side, Epoch),
        operator: &Operator,
    ) -> Result<(Self, Begun), HandoverError> {
        check_configured(config, context, target)?;
        let store = Store::open(&config.database).await?;
        if let Some(row) = unfinished(&store, context).await? {
            if row.target != target || row.step == HandoverStep::GiveUp {
                let (target, epoch, step) = (row.target, row.epoch, row.step);
                let context = context.clone();
                return Err(HandoverError::Unfinished { context, target, epoch, step });
            }
            let handover = Self { config: config.clone(), store, context: context.clone(), row };
            return Ok((handover, Begun::Resumed));
        }
        let now = standing(&store, context, told).await?;
        if now.owner == target {
            let (context, epoch) = (context.clone(), now.epoch);
            return Err(HandoverError::AlreadyThere { context, side: target, epoch });
        }
        let known = now.epoch.max(now.voided).max(told.1);
        let row = insert(&store, context, target, known, operator).await?;
        let handover = Self { config: config.clone(), store, context: context.clone(), row };
        Ok((handover, Begun::Fresh))
    }

    /// What its row says.
    pub fn view(&self) -> &HandoverView {
        &self.row
    }

    /// Does the steps that are left.
    ///
    /// # Errors
    /// [`HandoverError`]; running it again goes on at the step that failed.
    pub async fn run(
        &mut self,
        port: &dyn RoutePort,
        limits: Limits,
    ) -> Result<Progress, HandoverError> {
        let mut steps = Vec::new();
        while self.row.step != HandoverStep::Done {
            let (step, started) = (self.row.step, Instant::now());
            self.step(port, limits).await?;
            port.done(step).await;
            self.advance(step.next()).await?;
            steps.push((step, u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)));
        }
        Ok(Progress { epoch: self.row.epoch, steps })
    }

    async fn step(&mut self, port: &dyn RoutePort, limits: Limits) -> Result<(), HandoverError> {
        let target = self.row.target;
        match self.row.step {
            HandoverStep::Open => Ok(self.put(target, MarkerKind::Open).await?),
            HandoverStep::Route => self.route(port).await,
            HandoverStep::Settle => settle(port, limits).await,
            HandoverStep::Seal => Ok(self.put(target.other(), MarkerKind::Seal).await?),
            HandoverStep::Switch => self.switched(limits.switch_max).await,
            HandoverStep::Done | HandoverStep::GivenUp => Ok(()),
            HandoverStep::GiveUp => Err(HandoverError::Unfinished {
                context: self.context.clone(),
                target,
                epoch: self.row.epoch,
                step: self.row.step,
            }),
        }
    }

    async fn put(&self, side: Side, kind: MarkerKind) -> Result<(), ForwarderError> {
        let marker = Marker { kind, context: self.context.clone(), epoch: self.row.epoch };
        put(&self.config, side, &marker).await
    }

    /// A refusal changed nothing, so the handover can be given up again.
    async fn route(&mut self, port: &dyn RoutePort) -> Result<(), HandoverError> {
        let routed = port.route(&self.context, self.row.target, self.row.epoch).await;
        if matches!(routed, Err(RouteError::Refused(_))) {
            self.advance(HandoverStep::Open).await?;
        }
        Ok(routed?)
    }

    async fn switched(&self, switch_max: Duration) -> Result<(), HandoverError> {
        let give_up = Instant::now() + switch_max;
        loop {
            let now = self.store.acted_on(&self.context).await?;
            let reason = match now {
                Some(now) if now.epoch >= self.row.epoch && now.opened => return Ok(()),
                Some(now) if now.epoch >= self.row.epoch => {
                    format!("`open({})` is still before it", self.row.epoch)
                }
                Some(_) | None => format!("`seal({})` is still before it", self.row.epoch),
            };
            if Instant::now() >= give_up {
                return Err(HandoverError::NotSwitched { reason });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn advance(&mut self, to: HandoverStep) -> Result<(), ForwarderError> {
        let failed = |error: sqlx::Error| self.store.failed(&error);
        let mut conn = self.store.lock().await;
        let mut tx = conn.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        advance(&mut tx, &self.row, to).await.map_err(failed)?;
        if matches!(to, HandoverStep::Done | HandoverStep::GivenUp) {
            let operator = Operator { name: self.row.by.clone(), reason: self.row.reason.clone() };
            note(&mut tx, &self.row, &operator, to.as_str()).await.map_err(failed)?;
        }
        tx.commit().await.map_err(failed)?;
        self.row.step = to;
        Ok(())
    }
}

/// Gives up a handover whose writes have not moved: the owner stays, the epoch is burnt.
///
/// # Errors
/// [`HandoverError::NothingToGiveUp`], or [`HandoverError::TooLate`] when the writes may have moved.
pub async fn give_up(
    config: &ForwarderConfig,
    context: &ContextName,
    operator: &Operator,
) -> Result<HandoverView, HandoverError> {
    let store = Store::open(&config.database).await?;
    let Some(row) = unfinished(&store, context).await? else {
        return Err(HandoverError::NothingToGiveUp { context: context.clone() });
    };
    if !matches!(row.step, HandoverStep::Open | HandoverStep::GiveUp) {
        return Err(HandoverError::TooLate { context: context.clone(), step: row.step });
    }
    let mut handover = Handover { config: config.clone(), store, context: context.clone(), row };
    if handover.row.step == HandoverStep::Open {
        handover.advance(HandoverStep::GiveUp).await?;
    }
    handover.put(handover.row.target.other(), MarkerKind::Void).await?;
    handover.row.by.clone_from(&operator.name);
    handover.row.reason.clone_from(&operator.reason);
    handover.advance(HandoverStep::GivenUp).await?;
    Ok(handover.row)
}

fn check_configured(
    config: &ForwarderConfig,
    context: &ContextName,
    target: Side,
) -> Result<(), HandoverError> {
    if config.insertion == Insertion::Tap {
        return Err(HandoverError::OnlyTap);
    }
    if !config.contexts.iter().any(|known| known.context == *context) {
        return Err(HandoverError::NotConfigured { what: context.to_string() });
    }
    for side in [target, target.other()] {
        if !config.raw.contains_key(&side) {
            return Err(HandoverError::NotConfigured { what: side.to_string() });
        }
    }
    Ok(())
}

async fn settle(port: &dyn RoutePort, limits: Limits) -> Result<(), HandoverError> {
    let give_up = Instant::now() + limits.drain_max;
    loop {
        let writes = port.writes_in_flight().await?;
        if writes == 0 || limits.settle.is_zero() {
            break;
        }
        if Instant::now() >= give_up {
            return Err(HandoverError::InFlight { writes });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    tokio::time::sleep(limits.settle).await;
    Ok(())
}
