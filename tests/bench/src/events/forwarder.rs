//! Banyan's forwarder: decides, stores the decision, publishes with confirms, marks, acknowledges.

use super::Shot;
use super::world::{Clock, PREFETCH, PUBLIC, PUSH, RAW, RAW_QUEUE, World};
use crate::{BenchError, failed};
use async_trait::async_trait;
use banyan_domain::{ContextName, Epoch, Side};
use banyan_events::forwarder::{
    Forwarder, ForwarderConfig, Owners, OwnersError, PublicPlace, RawPlace,
};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

struct Legacy;

#[async_trait]
impl Owners for Legacy {
    async fn owner(&self, _context: &ContextName) -> Result<(Side, Epoch), OwnersError> {
        Ok((Side::Legacy, Epoch(1)))
    }
}

pub(super) async fn forward(world: &World) -> Result<Shot, BenchError> {
    let database = world.directory.path().join("forwarder.db");
    let mut raw = RawPlace::new(&world.url, RAW, RAW_QUEUE);
    raw.queue_options = world.options;
    let context = ContextName::new("messages").map_err(failed("name a context"))?;
    let mut config = ForwarderConfig::new("bench", database, PublicPlace::new(&world.url, PUBLIC))
        .raw(Side::Legacy, raw)
        .context(context, &["message.*"]);
    config.prefetch = PREFETCH;
    let clock = Clock::start();
    let forwarder =
        Forwarder::open(config, Arc::new(Legacy)).await.map_err(failed("open the forwarder"))?;
    let cancel = CancellationToken::new();
    let token = cancel.clone();
    let running = tokio::spawn(async move { forwarder.run(token).await });
    let per_second = world.until(&clock, PUSH, world.events).await?;
    let shot = clock.shot(per_second, world.events);
    cancel.cancel();
    running.await.map_err(failed("stop the forwarder"))?;
    Ok(shot)
}
