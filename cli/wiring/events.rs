//! The forwarder wired to the control store: who owns a context is read there.

use crate::config::Config;
use crate::config::section::QueueType;
use crate::exit::Exit;
use crate::failure::Failure;
use async_trait::async_trait;
use banyan_control::ControlStore;
use banyan_domain::{ContextName, Epoch, Side};
use banyan_events::forwarder::{
    ForwarderConfig, ForwarderError, Owners, OwnersError, PublicPlace, RawPlace,
};
use std::sync::Arc;

/// The forwarder's settings, if the file has an `[events]` section.
pub(crate) fn settings(config: &Config) -> Option<ForwarderConfig> {
    let events = config.events.as_ref()?;
    let path = events.database.trim_start_matches("sqlite:");
    let public = PublicPlace::new(&events.public_broker, &events.public_exchange);
    let mut settings = ForwarderConfig::new("banyan", path, public);
    for (side, place) in &events.raw {
        let mut raw = RawPlace::new(&place.broker, &place.exchange, &place.queue);
        if place.queue_type == QueueType::Classic {
            raw.queue_options = raw.queue_options.classic();
        }
        settings = settings.raw(*side, raw);
    }
    for (context, places) in &config.contexts {
        let keys: Vec<&str> = places.events.iter().map(String::as_str).collect();
        settings = settings.context(context.clone(), &keys);
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
