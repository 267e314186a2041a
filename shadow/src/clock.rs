//! Time and chance, passed in.
//!
//! Owns the two ports that make a run repeatable: a clock that tells the time and waits, and seeded dice for jitter. What
//! must stay true: nothing in this crate waits for time but through [`Clock`] (network time-outs excepted), so that
//! tests run minutes in milliseconds, without sleeping.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A wait.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Tells the time and waits.
pub trait Clock: Send + Sync {
    /// Unix time in ms.
    fn now_ms(&self) -> u64;

    /// Ends after so many ms.
    fn sleep(&self, ms: u64) -> Sleep;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn sleep(&self, ms: u64) -> Sleep {
        Box::pin(tokio::time::sleep(Duration::from_millis(ms)))
    }
}

/// Seeded chance, shared by all tasks.
#[derive(Debug)]
pub(crate) struct Dice(Mutex<StdRng>);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }

    /// True in so many percent of cases.
    pub(crate) fn percent(&self, percent: f64) -> bool {
        let mut dice = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        dice.random_bool((percent / 100.0).clamp(0.0, 1.0))
    }

    /// `ms` moved by at most a tenth either way, so that re-reads of one moment do not come in one moment.
    pub(crate) fn jitter(&self, ms: u64) -> u64 {
        let span = ms / 10;
        let mut dice = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        dice.random_range(ms - span..=ms.saturating_add(span))
    }
}
