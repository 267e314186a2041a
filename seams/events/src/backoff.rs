//! How long to wait before the next try after a failure.
//!
//! Exponential with full jitter, so that many clients of a restarted broker do not return at the same moment.
//! What must stay true: the wait is never longer than the ceiling and never zero.

use std::time::Duration;

/// Waits that double from `first` to `ceiling`, each jittered between half and the whole.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    ceiling: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts at `first`, never waits longer than `ceiling`.
    pub fn new(first: Duration, ceiling: Duration) -> Self {
        Self { first, ceiling, next: first }
    }

    /// The wait before the next try.
    pub fn wait(&mut self) -> Duration {
        let whole = self.next.min(self.ceiling);
        self.next = (whole * 2).min(self.ceiling);
        whole.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// Says that a try succeeded: the next failure waits shortly again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_ceiling_and_start_over_after_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(400));
        for whole in [100, 200, 400, 400] {
            let wait = backoff.wait().as_millis();
            assert!((whole / 2..=whole).contains(&wait), "{wait} of {whole}");
        }
        backoff.reset();
        assert!(backoff.wait() <= Duration::from_millis(100));
    }
}
