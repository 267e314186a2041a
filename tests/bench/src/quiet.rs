//! Whether the machine is quiet enough to measure.
//!
//! Owns the look at `/proc/stat`. It exists because a compiler on the next core halves every throughput. What must stay
//! true: the wait is bounded, and a case that began on a busy machine is counted and shown.

use std::time::{Duration, Instant};

/// How long one look takes.
const LOOK: Duration = Duration::from_millis(300);

/// Waits until nine tenths of the CPU are idle, at most `seconds`. Says whether it came to that.
pub(crate) fn wait(seconds: u64) -> bool {
    let until = Instant::now() + Duration::from_secs(seconds);
    loop {
        let before = read();
        std::thread::sleep(LOOK);
        let (Some((idle, all)), Some(before)) = (read(), before) else { return false };
        let (idle, all) = (idle - before.0, all - before.1);
        if all > 0.0 && idle / all >= 0.9 {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
    }
}

/// Idle and all ticks since boot.
fn read() -> Option<(f64, f64)> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let ticks = text.lines().next()?.split_whitespace().skip(1);
    let ticks: Vec<f64> = ticks.filter_map(|tick| tick.parse().ok()).collect();
    // The first eight are disjoint; guest time is contained in user time.
    Some((ticks.get(3)? + ticks.get(4)?, ticks.iter().take(8).sum()))
}
