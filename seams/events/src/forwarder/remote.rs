//! The forwarder as whoever leads a cutover in another process sees it.
//!
//! Owns kept connections to its store and to raw queues. It exists because a cutover asks and puts its marker while clients
//! wait. What must stay true: a connection that failed is not used again; asking waits for nobody once the answer is known.

use std::collections::BTreeMap;
use std::sync::Arc;

use banyan_domain::{ContextName, Epoch, Side};
use tokio::sync::Mutex;

use super::handover::{self, Standing};
use super::marker::Marker;
use super::store::Store;
use super::{ForwarderConfig, ForwarderError};
use crate::broker::Broker;

/// The forwarder's store and its raw queues, for repeated questions.
pub struct Remote {
    config: ForwarderConfig,
    store: Mutex<Option<Store>>,
    raw: Mutex<BTreeMap<Side, Arc<dyn Broker>>>,
}

impl Remote {
    /// Without touching anything.
    pub fn new(config: ForwarderConfig) -> Self {
        Self { config, store: Mutex::default(), raw: Mutex::default() }
    }

    /// Where it is.
    pub const fn config(&self) -> &ForwarderConfig {
        &self.config
    }

    /// As [`super::acted_on`].
    ///
    /// # Errors
    /// [`ForwarderError::Store`], or [`ForwarderError::OwnerWentBack`].
    pub async fn acted_on(
        &self,
        context: &ContextName,
        told: (Side, Epoch),
    ) -> Result<Standing, ForwarderError> {
        let mut kept = self.store.lock().await;
        let store = match kept.take() {
            Some(store) => store,
            None => Store::open(&self.config.database).await?,
        };
        let found = handover::standing(&store, context, told).await?;
        *kept = Some(store);
        Ok(found)
    }

    /// Connects to a side's raw queue, so that the next marker need not.
    ///
    /// # Errors
    /// As [`super::put`].
    pub async fn connect(&self, side: Side) -> Result<(), ForwarderError> {
        let mut raw = self.raw.lock().await;
        if let std::collections::btree_map::Entry::Vacant(free) = raw.entry(side) {
            free.insert(handover::connect(&self.config, side).await?);
        }
        Ok(())
    }

    /// As [`super::put`], over the kept connection if there is one.
    ///
    /// # Errors
    /// As [`super::put`].
    pub async fn put(&self, side: Side, marker: &Marker) -> Result<(), ForwarderError> {
        let kept = self.raw.lock().await.remove(&side);
        if let Some(broker) = kept
            && handover::put_on(&*broker, &self.config, side, marker).await.is_ok()
        {
            self.raw.lock().await.insert(side, broker);
            return Ok(());
        }
        handover::put(&self.config, side, marker).await
    }

    /// Closes what is kept.
    pub async fn close(&self) {
        self.store.lock().await.take();
        for broker in std::mem::take(&mut *self.raw.lock().await).into_values() {
            broker.close().await;
        }
    }
}
