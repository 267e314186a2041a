//! Starting and stopping shadow reads.
//!
//! Owns the tasks: one that hands out the queue, one that saves the tally. What must stay true: at shutdown the queue
//! drains within a bound, what is left is counted as lost, and the last tally is saved.

use crate::config::{Ports, ShadowConfig, StartError};
use crate::http::HttpAsk;
use crate::queue::{ShadowHandle, ShadowQueue, SkipCounter, queue};
use crate::tally::TallyStore;
use crate::worker::{Core, mirror};
use crate::{Ask, event};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// Bound on saving the last tally, in ms.
const LAST_SAVE_MS: u64 = 2_000;

/// Running shadow reads. Dropping it does not stop them; cancel the token, or call [`Shadow::stop`].
#[derive(Debug)]
pub struct Shadow {
    task: JoinHandle<Drained>,
    cancel: CancellationToken,
}

/// How shadow reads ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Reads that were waiting or being worked on and were given up.
    pub lost: u64,
    /// Whether the last tally was saved.
    pub saved: bool,
}

impl Shadow {
    /// Starts workers on the present tokio runtime. The handle is for the proxy.
    ///
    /// # Errors
    /// When a side's address is none or the HTTP client cannot be set up.
    pub fn start(
        config: ShadowConfig,
        ports: &Ports,
        cancel: CancellationToken,
    ) -> Result<(ShadowHandle, Self), StartError> {
        let ask = Arc::new(HttpAsk::new(&config.http)?);
        Ok(Self::start_with(config, ask, ports, cancel))
    }

    /// Starts workers that ask the sides in another way, such as recorded or simulated ones.
    pub fn start_with(
        config: ShadowConfig,
        ask: Arc<dyn Ask>,
        ports: &Ports,
        cancel: CancellationToken,
    ) -> (ShadowHandle, Self) {
        let (handle, _, shadow) = Self::start_core(config, ask, ports, cancel);
        (handle, shadow)
    }

    /// The same, with what the tasks share.
    pub(crate) fn start_core(
        config: ShadowConfig,
        ask: Arc<dyn Ask>,
        ports: &Ports,
        cancel: CancellationToken,
    ) -> (ShadowHandle, Arc<Core>, Self) {
        let (handle, queue) = queue(config.queue);
        let core = Arc::new(Core::new(config, ask, ports));
        let task = tokio::spawn(run(core.clone(), queue, ports.store.clone(), cancel.clone()));
        (handle, core, Self { task, cancel })
    }

    /// Waits until the token is cancelled and everything is drained.
    pub async fn drained(self) -> Drained {
        self.task.await.unwrap_or(Drained { lost: 0, saved: false })
    }

    /// Stops: drains the queue within the configured bound and saves the last tally.
    pub async fn stop(self) -> Drained {
        self.cancel.cancel();
        self.drained().await
    }
}

async fn run(
    core: Arc<Core>,
    mut queue: ShadowQueue,
    store: Arc<dyn TallyStore>,
    cancel: CancellationToken,
) -> Drained {
    let skips = queue.counter();
    *core.collector.lock().unwrap_or_else(PoisonError::into_inner) =
        queue.collector(core.config.pins.clone());
    let saved = CancellationToken::new();
    let saver = tokio::spawn(save_often(core.clone(), skips.clone(), store.clone(), saved.clone()));
    let mut workers = Workers::new(core.config.workers);

    tokio::select! {
        () = cancel.cancelled() => {}
        () = workers.run(&core, &mut queue) => {}
    }
    core.closing.store(true, Ordering::Release);
    queue.close();
    let drained = async {
        workers.run(&core, &mut queue).await;
        workers.finish().await;
    };
    let in_time = tokio::select! {
        () = drained => true,
        () = core.clock.sleep(core.config.drain_ms) => false,
    };
    if !in_time {
        while let Some(queued) = queue.next().await {
            let exchange = queued.exchange();
            drop(core.books.open(&exchange.endpoint, exchange.at_ms));
        }
    }
    workers.stop().await;
    core.rechecks.stop().await;
    core.looks.stop().await;

    saved.cancel();
    let last = async {
        // A save on its way is waited for: broken off, nobody would know whether it counts.
        saver.await.is_ok() && save(&core, &skips, store.as_ref()).await
    };
    let saved = tokio::select! {
        saved = last => saved,
        () = core.clock.sleep(LAST_SAVE_MS) => false,
    };
    let drained = Drained { lost: core.books.lost(), saved };
    event::stopped(drained.lost, drained.saved);
    drained
}

/// Tasks that mirror reads, a bounded number at once.
struct Workers {
    places: Arc<Semaphore>,
    tasks: JoinSet<()>,
}

impl Workers {
    fn new(count: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(count.max(1))), tasks: JoinSet::new() }
    }

    /// Hands out the queue until it is closed and empty. A read is only taken once a worker is free for it, so that
    /// stopping in between loses nothing.
    async fn run(&mut self, core: &Arc<Core>, queue: &mut ShadowQueue) {
        while let Ok(place) = self.places.clone().acquire_owned().await {
            let Some(queued) = queue.next().await else { return };
            let core = core.clone();
            while self.tasks.try_join_next().is_some() {}
            self.tasks.spawn(async move {
                mirror(core, queued).await;
                drop(place);
            });
        }
    }

    async fn finish(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }
}

/// Saves the tally every so often until told to stop.
async fn save_often(
    core: Arc<Core>,
    skips: SkipCounter,
    store: Arc<dyn TallyStore>,
    stop: CancellationToken,
) {
    let mut failing = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = core.clock.sleep(core.config.flush_ms.max(1)) => {}
        }
        let saved = save(&core, &skips, store.as_ref()).await;
        if saved && failing {
            event::tally_saved_again();
        }
        failing = !saved;
    }
}

/// Saves what was counted since the last time; what cannot be saved is kept. True unless the store refused.
async fn save(core: &Core, skips: &SkipCounter, store: &dyn TallyStore) -> bool {
    core.books.enter_skips(skips, core.clock.now_ms());
    if let Some(collector) = &mut *core.collector.lock().unwrap_or_else(PoisonError::into_inner) {
        core.books.enter_undeclared(collector, core.clock.now_ms(), core.is_closing());
    }
    let Some((ledger, batch)) = core.books.take() else { return true };
    match store.save(batch).await {
        Ok(()) => true,
        Err(error) => {
            let waiting = core.books.take_back(ledger);
            event::tally_not_saved(&error, waiting);
            false
        }
    }
}

#[cfg(test)]
mod tests;
