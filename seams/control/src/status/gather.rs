//! Collecting what a status needs, from the store and from this process.

use super::{StatusInputs, StoreView};
use crate::clock::now_ms;
use crate::error::ControlError;
use crate::health::{Health, StoreHealth};
use crate::store::ControlStore;
use banyan_domain::{Catalogue, RouteTable};
use std::sync::Arc;
use std::time::Duration;

/// How far back the comparison numbers look, in ms.
const SHADOW_WINDOW_MS: u64 = 24 * 3_600_000;
/// How long the store may take before a process shows what it knows by itself, in ms.
const STORE_MS: u64 = 2_000;

/// What this process knows by itself: used when the store does not answer.
#[derive(Debug, Clone)]
pub struct Local {
    /// The table in force here.
    pub table: Arc<RouteTable>,
    /// How the store looks from here.
    pub health: Arc<Health>,
}

/// Collects. With `local` it always succeeds; what the store does not tell is then empty or from here.
///
/// # Errors
/// Why the store did not answer, when there is no `local` to fall back to.
pub async fn gather(
    store: &dyn ControlStore,
    environment: &str,
    catalogue: Arc<Catalogue>,
    local: Option<Local>,
) -> Result<StatusInputs, ControlError> {
    let Some(local) = local else { return from_store(store, environment, catalogue).await };
    let from_store = from_store(store, environment, catalogue.clone());
    let error = match tokio::time::timeout(Duration::from_millis(STORE_MS), from_store).await {
        Ok(Ok(inputs)) => return Ok(with_health(inputs, local)),
        Ok(Err(error)) => error,
        Err(_) => ControlError::TimedOut { after_ms: STORE_MS },
    };
    let now_ms = now_ms();
    let last_ok_ms = local.health.last_ok_ms;
    Ok(StatusInputs {
        environment: environment.to_owned(),
        now_ms,
        store: StoreView {
            location: store.location(),
            health: StoreHealth::Away,
            age_ms: (last_ok_ms > 0).then(|| now_ms.saturating_sub(last_ok_ms)),
            detail: error.to_string(),
        },
        catalogue,
        table: local.table,
        instances: Vec::new(),
        shadow: std::collections::BTreeMap::new(),
        shadow_window_ms: SHADOW_WINDOW_MS,
        watermarks: Vec::new(),
        components: Vec::new(),
    })
}

async fn from_store(
    store: &dyn ControlStore,
    environment: &str,
    catalogue: Arc<Catalogue>,
) -> Result<StatusInputs, ControlError> {
    let since = now_ms().saturating_sub(SHADOW_WINDOW_MS);
    let instances = store.instances().await?;
    let table = Arc::new(store.table().await?);
    let shadow = store.shadow_outcomes(Some(since)).await?;
    let watermarks = store.watermarks().await?;
    let components = store.statuses().await?;
    Ok(StatusInputs {
        environment: environment.to_owned(),
        now_ms: now_ms(),
        store: StoreView {
            location: store.location(),
            health: StoreHealth::Ok,
            age_ms: Some(0),
            detail: String::new(),
        },
        catalogue,
        table,
        instances,
        shadow,
        shadow_window_ms: SHADOW_WINDOW_MS,
        watermarks,
        components,
    })
}

/// A store that answers may still be behind this process.
fn with_health(mut inputs: StatusInputs, local: Local) -> StatusInputs {
    if local.table.generation > inputs.table.generation && local.health.store == StoreHealth::Behind
    {
        inputs.store.health = StoreHealth::Behind;
        inputs.store.detail.clone_from(&local.health.detail);
        inputs.table = local.table;
    }
    inputs
}
