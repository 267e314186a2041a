//! Keeps the state of a replay: in memory, and on disk every so often.
//!
//! Must stay true: the engine's batches are the only thing that changes the state, so that position and totals agree at
//! every moment; a disk that fails is told once and never stops the replay.

use crate::side::{OpenExchanges, lock};
use crate::state::State;
use async_trait::async_trait;
use banyan_shadow::{Outcome, Summary, TallyBatch, TallyError, TallyStore};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Least time between two writes of the state; a large state is written less often.
const STORE_EVERY: Duration = Duration::from_secs(1);

pub(crate) struct Keeper {
    state: Mutex<State>,
    path: Option<PathBuf>,
    open: OpenExchanges,
    stored: Mutex<Stored>,
}

struct Stored {
    at: Instant,
    took: Duration,
    warning: Option<String>,
}

impl Keeper {
    pub(crate) fn new(state: State, path: Option<PathBuf>, open: OpenExchanges) -> Arc<Self> {
        let stored = Stored { at: Instant::now(), took: Duration::ZERO, warning: None };
        Arc::new(Self { state: Mutex::new(state), path, open, stored: Mutex::new(stored) })
    }

    pub(crate) fn is_done(&self, number: u64) -> bool {
        lock(&self.state).is_done(number)
    }

    pub(crate) fn done(&self) -> u64 {
        lock(&self.state).done()
    }

    pub(crate) fn count(&self, outcome: Outcome) -> u64 {
        lock(&self.state).count(outcome)
    }

    pub(crate) fn summary(&self) -> Summary {
        lock(&self.state).summary()
    }

    pub(crate) fn warning(&self) -> Option<String> {
        lock(&self.stored).warning.clone()
    }

    /// Writes the state now.
    pub(crate) async fn store(&self) {
        let Some(path) = self.path.clone() else { return };
        let bytes = lock(&self.state).bytes();
        let began = Instant::now();
        let written = tokio::task::spawn_blocking(move || {
            State::store(&path, &bytes)
                .map_err(|error| format!("the state `{}` cannot be kept: {error}", path.display()))
        });
        let failed = written.await.unwrap_or_else(|error| Err(error.to_string())).err();
        let mut stored = lock(&self.stored);
        stored.at = Instant::now();
        stored.took = began.elapsed();
        if let (Some(why), None) = (&failed, &stored.warning) {
            tracing::warn!(why, "the state of the replay cannot be kept");
        }
        stored.warning = failed;
    }

    fn is_due(&self) -> bool {
        let stored = lock(&self.stored);
        stored.at.elapsed() >= STORE_EVERY.max(stored.took * 20)
    }
}

#[async_trait]
impl TallyStore for Keeper {
    async fn save(&self, batch: TallyBatch) -> Result<(), TallyError> {
        let done = batch.done.clone();
        {
            let open = lock(&self.open);
            lock(&self.state).fold(batch, |number| open.get(&number).map(|open| open.name.clone()));
        }
        {
            let mut open = lock(&self.open);
            for number in done {
                open.remove(&number);
            }
        }
        if self.is_due() {
            self.store().await;
        }
        Ok(())
    }
}
