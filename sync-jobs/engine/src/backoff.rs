//! How long to wait after failures.
//!
//! What must stay true: the wait is bounded, and one success forgets all failures.

use std::time::Duration;

/// A doubling wait with a ceiling.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    ceiling: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits `first`, then twice as long each time, at most `ceiling`.
    pub fn new(first: Duration, ceiling: Duration) -> Self {
        Self { first, ceiling, failures: 0 }
    }

    /// Failures in a row so far.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Counts one failure and says how long to wait.
    pub fn fail(&mut self) -> Duration {
        let factor = 2_u32.saturating_pow(self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.first.saturating_mul(factor).min(self.ceiling)
    }

    /// Forgets the failures.
    pub fn succeed(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_ceiling_and_success_forgets() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        let waits: Vec<u128> = (0..4).map(|_| backoff.fail().as_millis()).collect();
        assert_eq!(waits, [100, 200, 350, 350]);
        assert_eq!(backoff.failures(), 4);
        backoff.succeed();
        assert_eq!(backoff.fail(), Duration::from_millis(100));
    }
}
