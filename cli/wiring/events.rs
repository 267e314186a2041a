//! The forwarder wired to the control store: who owns a context is read there.

use crate::config::Config;
use crate::config::events::QueueType;
use crate::exit::Exit;
use crate::failure::Failure;
use async_trait::async_trait;
use banyan_control::{CommitError, ControlError, ControlStore};
use banyan_domain::{Actor, Change, ContextName, Epoch, Side};
use banyan_events::forwarder::{
    ContextMatcher, ForwarderConfig, ForwarderError, Owners, OwnersError, PublicPlace, RawPlace,
    RouteError, RoutePort,
};
use std::sync::Arc;
use std::time::Duration;

/// The forwarder's settings, if the file has an `[events]` section.
pub(crate) fn settings(config: &Config) -> Option<ForwarderConfig> {
    let events = config.events.as_ref()?;
    let path = events.database.trim_start_matches("sqlite:");
    let public = PublicPlace::new(&events.public_broker, &events.public_exchange);
    let mut settings = ForwarderConfig::new("banyan", path, public);
    settings.insertion = events.insertion;
    settings.retention.late_max = events.quarantine_max as u64;
    for (side, place) in &events.raw {
        let mut raw = RawPlace::new(&place.broker, &place.exchange, &place.queue);
        if place.queue_type == QueueType::Classic {
            raw.queue_options = raw.queue_options.classic();
        }
        settings = settings.raw(*side, raw);
    }
    for (context, places) in &config.contexts {
        let events = &places.events;
        settings.contexts.push(ContextMatcher {
            context: context.clone(),
            routing_keys: events.routing_keys.clone(),
            kinds: events.kinds.clone(),
            headers: events.headers.clone(),
            pointers: events.pointers.clone(),
        });
    }
    Some(settings)
}

/// A forwarder error as a failure.
pub(crate) fn failure(error: &ForwarderError) -> Failure {
    let is_config = matches!(error, ForwarderError::Config { .. });
    let exit = if is_config { Exit::Config } else { Exit::Unreachable };
    let failure = Failure::of("banyan::events::failed", exit, "cannot use the forwarder", error);
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Moves the owner of a context's writes in the control store, for a handover.
pub(crate) struct StoreRoute<'a> {
    config: &'a Config,
    store: Arc<dyn ControlStore>,
    actor: Actor,
    timeout: Duration,
}

impl<'a> StoreRoute<'a> {
    pub(crate) fn new(
        config: &'a Config,
        store: Arc<dyn ControlStore>,
        actor: Actor,
        timeout: Duration,
    ) -> Self {
        Self { config, store, actor, timeout }
    }
}

#[async_trait]
impl RoutePort for StoreRoute<'_> {
    async fn route(
        &self,
        context: &ContextName,
        target: Side,
        epoch: Epoch,
    ) -> Result<(), RouteError> {
        let change = Change::MoveOwner { context: context.clone(), to: target, epoch };
        let committed = self.store.commit(&self.config.catalogue, &change, None, &self.actor).await;
        let committed = committed.map_err(|error| match error {
            CommitError::Refused(refusal) => RouteError::Refused(refusal.to_string()),
            other @ (CommitError::Store(_) | CommitError::Stale { .. }) => {
                RouteError::Unknown(other.to_string())
            }
        })?;
        let unknown = |error: ControlError| RouteError::Unknown(error.to_string());
        let generation = committed.table.generation;
        let applied = self.store.wait_applied(generation, self.timeout).await.map_err(unknown)?;
        if applied.is_complete() {
            return Ok(());
        }
        let missing = applied.missing.join(", ");
        Err(RouteError::Unknown(format!("no answer from the proxies {missing}")))
    }

    async fn writes_in_flight(&self) -> Result<u64, RouteError> {
        let instances = self.store.instances().await;
        let instances = instances.map_err(|error| RouteError::Unknown(error.to_string()))?;
        let live = instances.iter().filter(|instance| instance.live);
        Ok(live.map(|instance| instance.report.in_flight_writes).sum())
    }
}

/// Owners as the control store has them.
pub(crate) struct StoreOwners(pub(crate) Arc<dyn ControlStore>);

#[async_trait]
impl Owners for StoreOwners {
    async fn owner(&self, context: &ContextName) -> Result<(Side, Epoch), OwnersError> {
        let failed = |reason: String| OwnersError { context: context.clone(), reason };
        let table = self.0.table().await.map_err(|error| failed(error.to_string()))?;
        let state = table.contexts.get(context).ok_or_else(|| {
            failed("the control store does not know it; start `banyan serve` once".to_owned())
        })?;
        Ok((state.owner, state.epoch))
    }
}
