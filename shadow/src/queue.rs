//! The queue between the proxy and the workers.
//!
//! Owns the hand-over: bounded by number and by bytes, the newest dropped and counted, never a wait. It exists so that
//! whatever happens here cannot slow an answer. What must stay true: [`ShadowHandle::offer`] takes no lock that a worker
//! holds while it works, and every exchange that was offered leaves as a [`Queued`] or as a counted skip.

use crate::metric;
use crate::undeclared::{self, Collector, Intake, Undeclared};
use crate::{Exchange, SkipReason};
use banyan_domain::EndpointName;
use banyan_template::Pin;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Endpoints whose skips are counted apart; names are declared ones, so this is only a last resort.
const MAX_ENDPOINTS: usize = 10_000;

/// Limits of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimit {
    /// Exchanges that may wait.
    pub exchanges: usize,
    /// Bytes that waiting exchanges and those being worked on may hold.
    pub bytes: usize,
}

impl Default for QueueLimit {
    fn default() -> Self {
        Self { exchanges: 1024, bytes: 64 << 20 }
    }
}

/// Sees answered reads beside the queue, such as a recorder.
pub trait Tap: Send + Sync {
    /// Looks at a read that is handed over. Called on the proxy's way: must not wait.
    fn see(&self, exchange: &Exchange);
}

/// The proxy's end: cheap to clone, callable from any runtime or thread, never waits.
#[derive(Clone)]
pub struct ShadowHandle {
    shared: Arc<Shared>,
    sender: mpsc::Sender<Queued>,
    tap: Option<Arc<dyn Tap>>,
    undeclared: Intake,
}

/// The workers' end.
pub struct ShadowQueue {
    shared: Arc<Shared>,
    receiver: mpsc::Receiver<Queued>,
    undeclared: Option<(Intake, mpsc::Receiver<Undeclared>)>,
}

/// An exchange that waited, with its share of the byte limit; dropping it gives the share back.
pub struct Queued {
    exchange: Exchange,
    bytes: usize,
    shared: Arc<Shared>,
}

struct Shared {
    limit: QueueLimit,
    bytes: AtomicUsize,
    closed: AtomicBool,
    skips: Mutex<BTreeMap<(EndpointName, SkipReason), u64>>,
}

/// A queue with both its ends.
pub fn queue(limit: QueueLimit) -> (ShadowHandle, ShadowQueue) {
    let shared = Arc::new(Shared {
        limit,
        bytes: AtomicUsize::new(0),
        closed: AtomicBool::new(false),
        skips: Mutex::new(BTreeMap::new()),
    });
    let (sender, receiver) = mpsc::channel(limit.exchanges.max(1));
    let (intake, requests) = undeclared::channel();
    let undeclared = Some((intake.clone(), requests));
    let handle = ShadowHandle { shared: shared.clone(), sender, tap: None, undeclared: intake };
    (handle, ShadowQueue { shared, receiver, undeclared })
}

impl ShadowHandle {
    /// The same handle with a tap, which sees each read before the queue may drop it.
    #[must_use]
    pub fn tapped(mut self, tap: Arc<dyn Tap>) -> Self {
        self.tap = Some(tap);
        self
    }

    /// Hands over an answered read. When the queue is full or closed, the read is dropped and counted.
    pub fn offer(&self, exchange: Exchange) {
        let endpoint = exchange.endpoint.clone();
        metric::offered(&endpoint);
        if let Some(tap) = &self.tap {
            tap.see(&exchange);
        }
        if let Err(reason) = self.try_offer(exchange) {
            self.skip(&endpoint, reason);
        }
    }

    fn try_offer(&self, exchange: Exchange) -> Result<(), SkipReason> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(SkipReason::Shutdown);
        }
        let queued = self.shared.reserve(exchange)?;
        self.sender.try_send(queued).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => SkipReason::QueueFull,
            mpsc::error::TrySendError::Closed(_) => SkipReason::Shutdown,
        })?;
        metric::queue_depth(self.sender.max_capacity() - self.sender.capacity());
        Ok(())
    }

    /// Whether a request that no endpoint covers is looked at now; ask before making an [`Undeclared`]. One that is not is
    /// counted.
    pub fn wants_undeclared(&self, now_ms: u64) -> bool {
        self.undeclared.wants(now_ms)
    }

    /// Hands over a request that no endpoint covers; never waits.
    pub fn undeclared(&self, request: Undeclared) {
        self.undeclared.offer(request);
    }

    /// Counts a read that is not offered, with the reason.
    pub fn skip(&self, endpoint: &EndpointName, reason: SkipReason) {
        metric::skipped(endpoint, reason);
        self.shared.skip(endpoint, reason);
    }
}

impl ShadowQueue {
    /// The next exchange in order; nothing when the queue was closed and is empty, or every handle is gone.
    pub async fn next(&mut self) -> Option<Queued> {
        let queued = self.receiver.recv().await;
        metric::queue_depth(self.receiver.len());
        queued
    }

    /// Takes no more exchanges; those that wait can still be taken.
    pub fn close(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.receiver.close();
    }

    /// Takes the skips that were counted since the last call.
    pub fn take_skips(&self) -> Vec<(EndpointName, SkipReason, u64)> {
        self.counter().take()
    }

    /// The collection of undeclared requests, once.
    pub(crate) fn collector(&mut self, pins: Vec<Pin>) -> Option<Collector> {
        self.undeclared.take().map(|(intake, requests)| intake.collector(requests, pins))
    }

    /// A view on the skips alone, for the task that saves them.
    pub(crate) fn counter(&self) -> SkipCounter {
        SkipCounter(self.shared.clone())
    }
}

/// The skips of a queue.
#[derive(Clone)]
pub(crate) struct SkipCounter(Arc<Shared>);

impl SkipCounter {
    pub(crate) fn take(&self) -> Vec<(EndpointName, SkipReason, u64)> {
        let taken = std::mem::take(&mut *self.0.lock());
        taken.into_iter().map(|((endpoint, reason), count)| (endpoint, reason, count)).collect()
    }
}

impl Queued {
    /// The exchange.
    pub fn exchange(&self) -> &Exchange {
        &self.exchange
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.shared.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl Shared {
    fn reserve(self: &Arc<Self>, exchange: Exchange) -> Result<Queued, SkipReason> {
        let bytes = exchange.bytes();
        self.bytes
            .try_update(Ordering::AcqRel, Ordering::Acquire, |used| {
                used.checked_add(bytes).filter(|total| *total <= self.limit.bytes)
            })
            .map_err(|_| SkipReason::QueueFull)?;
        Ok(Queued { exchange, bytes, shared: self.clone() })
    }

    fn skip(&self, endpoint: &EndpointName, reason: SkipReason) {
        let mut skips = self.lock();
        if skips.len() >= MAX_ENDPOINTS * SkipReason::ALL.len() {
            return;
        }
        *skips.entry((endpoint.clone(), reason)).or_insert(0) += 1;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(EndpointName, SkipReason), u64>> {
        // A poisoned map of counters is still a map of counters.
        self.skips.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
