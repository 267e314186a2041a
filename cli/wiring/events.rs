//! The forwarder wired to the control store: who owns a context is read there.

use crate::config::Config;
use crate::config::events::QueueType;
use crate::exit::Exit;
use crate::failure::Failure;
use async_trait::async_trait;
use banyan_control::{CommitError, ControlError, ControlStore};
use banyan_domain::{Actor, Change, ContextName, ContextState, Epoch, RouteTable, Side};
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
        let unknown = |error: ControlError| RouteError::Unknown(error.to_string());
        let generation = loop {
            let table = self.store.table().await.map_err(unknown)?;
            may_move(&table, context, target, epoch)?;
            let seen = Some(table.generation);
            let catalogue = &self.config.catalogue;
            match self.store.commit(catalogue, &change, seen, &self.actor).await {
                Ok(committed) => break committed.table.generation,
                // Nothing was changed; what was looked at has.
                Err(CommitError::Stale { .. }) => {}
                Err(CommitError::Refused(refusal)) => {
                    return Err(RouteError::Refused(refusal.to_string()));
                }
                Err(CommitError::Store(error)) => return Err(unknown(error)),
            }
        };
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

/// A handover is not armed, so what stops a cutover when it is armed must stop it here. What has moved already is not
/// stopped any more.
fn may_move(
    table: &RouteTable,
    context: &ContextName,
    target: Side,
    epoch: Epoch,
) -> Result<(), RouteError> {
    let state = table.contexts.get(context);
    if state.is_some_and(|state| (state.owner, state.epoch) == (target, epoch)) {
        return Ok(());
    }
    if let Some(way) = state.and_then(ContextState::under_way) {
        let why = format!("a cutover of `{context}` is under way: {way}; finish it or give it up");
        return Err(RouteError::Refused(why));
    }
    match &table.frozen {
        Some(freeze) if target == Side::New => Err(RouteError::Refused(format!(
            "forward changes are frozen by {}; banyan unfreeze ends that",
            freeze.stamp.by
        ))),
        Some(_) | None => Ok(()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use banyan_domain::table::{Freeze, Stamp};

    fn table(frozen: bool, armed: Option<u64>) -> RouteTable {
        let context = ContextName::new("messages").unwrap();
        let state = ContextState {
            armed: armed.map(Epoch),
            ..ContextState::settled(Side::Legacy, Epoch(1), Stamp::default())
        };
        RouteTable {
            frozen: frozen.then(|| Freeze { stamp: Stamp::default() }),
            contexts: [(context, state)].into(),
            ..RouteTable::default()
        }
    }

    #[test]
    fn a_handover_is_stopped_by_a_freeze_and_by_a_cutover_until_it_has_moved() {
        let context = ContextName::new("messages").unwrap();
        let go = |table: &RouteTable, to, epoch| may_move(table, &context, to, Epoch(epoch));
        let refused =
            |result: Result<(), RouteError>| matches!(result, Err(RouteError::Refused(_)));
        assert!(go(&table(false, None), Side::New, 2).is_ok());
        assert!(refused(go(&table(true, None), Side::New, 2)));
        assert!(go(&table(true, None), Side::Legacy, 2).is_ok(), "back is never frozen");
        assert!(refused(go(&table(false, Some(2)), Side::New, 2)));
        assert!(refused(go(&table(false, Some(2)), Side::Legacy, 3)));
        assert!(go(&table(true, Some(2)), Side::Legacy, 1).is_ok(), "it has moved");
    }
}
