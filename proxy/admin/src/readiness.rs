//! Whether this process wants traffic.
//!
//! Owns the one flag behind `/ready`. It exists so that a load balancer stops sending before the listener
//! closes. A process starts not ready; once it is stopping it never becomes ready again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const STARTING: u8 = 0;
const READY: u8 = 1;
const STOPPING: u8 = 2;

/// A shared flag; clones are the same flag.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicU8>);

impl Readiness {
    /// A process that is starting.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on it wants traffic, unless it is already stopping.
    pub fn set_ready(&self) {
        let from_starting = |state| (state == STARTING).then_some(READY);
        // It fails when the process is ready already or stopping: both stay.
        let set = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, from_starting);
        tracing::debug!(now = set.is_ok(), "ready");
    }

    /// From now on it wants no new traffic.
    pub fn set_stopping(&self) {
        self.0.store(STOPPING, Ordering::Release);
    }

    /// Whether it wants traffic.
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire) == READY
    }

    /// `starting`, `ready` or `stopping`.
    pub fn as_str(&self) -> &'static str {
        match self.0.load(Ordering::Acquire) {
            STARTING => "starting",
            READY => "ready",
            _ => "stopping",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopping_process_never_becomes_ready_again() {
        let readiness = Readiness::new();
        assert_eq!(readiness.as_str(), "starting");
        readiness.set_ready();
        assert!(readiness.clone().is_ready());
        readiness.set_stopping();
        readiness.set_ready();
        assert_eq!(readiness.as_str(), "stopping");
    }
}
