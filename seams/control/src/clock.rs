//! The clock that control state is stamped with.
//!
//! Owns the one place that asks the machine for the time. It exists so that leases, retention and liveness
//! can be tested without waiting. Times are Unix milliseconds everywhere.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Gives the Unix time in ms.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The machine's clock.
pub fn system_clock() -> Clock {
    Arc::new(now_ms)
}

/// The machine's time as Unix ms; 0 for a clock before 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
