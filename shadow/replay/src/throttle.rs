//! Sparing a side that suffers.
//!
//! Owns the share of the wanted rate that is used: halved when a side says 429 or 503, does not answer, or has become
//! several times slower than it was; raised again by a tenth per good second. What must stay true: pure; the share never
//! reaches 0, and never changes more than once in a second, so that one bad moment is one step.

/// The least share.
const SHARE_MIN: f64 = 1.0 / 16.0;
/// A share changes at most once in this time, in ms.
const STEP_MS: u64 = 1_000;
/// Slower than this many times its best is suffering ...
const SLOWER: f64 = 4.0;
/// ... if it is slower than this, in ms.
const SLOW_MS: f64 = 500.0;
/// Weight of a new answer in the mean.
const WEIGHT: f64 = 0.1;
/// Answers before the mean says anything.
const WARM: u64 = 20;

/// State of the throttle.
#[derive(Debug)]
pub(crate) struct Throttle {
    share: f64,
    changed_ms: u64,
    mean_ms: f64,
    best_ms: f64,
    seen: u64,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { share: 1.0, changed_ms: 0, mean_ms: 0.0, best_ms: f64::INFINITY, seen: 0 }
    }
}

impl Throttle {
    /// The share of the wanted rate, above 0 and at most 1.
    pub(crate) const fn share(&self) -> f64 {
        self.share
    }

    /// A side answered after `elapsed_ms`.
    pub(crate) fn answered(&mut self, now_ms: u64, elapsed_ms: u64) {
        let elapsed = std::time::Duration::from_millis(elapsed_ms).as_secs_f64() * 1e3;
        self.seen += 1;
        self.mean_ms += (elapsed - self.mean_ms) * if self.seen == 1 { 1.0 } else { WEIGHT };
        if self.seen >= WARM {
            self.best_ms = self.best_ms.min(self.mean_ms);
        }
        if self.mean_ms > SLOW_MS && self.mean_ms > self.best_ms * SLOWER {
            self.suffers(now_ms);
        } else if self.share < 1.0 && now_ms.saturating_sub(self.changed_ms) >= STEP_MS {
            self.share = (self.share * 1.1).min(1.0);
            self.changed_ms = now_ms;
        }
    }

    /// A side refused for want of capacity, or did not answer.
    pub(crate) fn suffers(&mut self, now_ms: u64) {
        if self.share >= 1.0 || now_ms.saturating_sub(self.changed_ms) >= STEP_MS {
            self.share = (self.share / 2.0).max(SHARE_MIN);
            self.changed_ms = now_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_falls_once_per_second_and_comes_back_slowly() {
        let mut throttle = Throttle::default();
        for _ in 0..10 {
            throttle.suffers(5_000);
        }
        assert!((throttle.share() - 0.5).abs() < 1e-9);
        for second in 6..30 {
            throttle.suffers(second * 1_000);
        }
        assert!((throttle.share() - SHARE_MIN).abs() < 1e-9);
        for second in 30..60 {
            throttle.answered(second * 1_000, 10);
        }
        assert!((throttle.share() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_side_that_becomes_slow_is_spared_and_one_that_always_is_slow_is_not() {
        let mut throttle = Throttle::default();
        (0..100).for_each(|at| throttle.answered(at * 100, 20));
        (100..160).for_each(|at| throttle.answered(at * 100, 900));
        assert!(throttle.share() < 0.6);
        let mut slow = Throttle::default();
        (0..200).for_each(|at| slow.answered(at * 100, 900));
        assert!((slow.share() - 1.0).abs() < 1e-9);
    }
}
