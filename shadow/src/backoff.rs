//! Leaving a side alone that does not answer.
//!
//! Owns the decision whether a side may be asked now. It exists so that a dead side costs one try per pause instead of
//! one per read. What must stay true: pure; pauses double up to a bound; after a pause exactly one try goes ahead, and
//! failures of tries that began before the pause do not lengthen it.

/// How long a failing side is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffConfig {
    /// First pause, in ms.
    pub first_ms: u64,
    /// Longest pause, in ms.
    pub max_ms: u64,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self { first_ms: 250, max_ms: 15_000 }
    }
}

/// State of one side.
#[derive(Debug, Clone, Default)]
pub(crate) struct Backoff {
    /// Failures in a row, counted once per pause.
    failures: u32,
    /// Not to be asked before this time, in ms.
    until_ms: u64,
    /// A try after a pause is on its way.
    probing: bool,
    /// Grows at each change of state; a ticket of an older round says nothing new.
    round: u64,
}

/// Permission for one try; give it back with the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

impl Backoff {
    /// Whether the side may be asked at `now_ms`.
    pub(crate) fn admit(&mut self, now_ms: u64) -> Option<Ticket> {
        if self.failures == 0 {
            return Some(Ticket(self.round));
        }
        if now_ms < self.until_ms || self.probing {
            return None;
        }
        self.probing = true;
        Some(Ticket(self.round))
    }

    /// The side answered: it may be asked freely again.
    pub(crate) fn succeeded(&mut self, ticket: Ticket) {
        if ticket.0 == self.round && self.failures > 0 {
            *self = Self { round: self.round + 1, ..Self::default() };
        }
    }

    /// The side did not answer; `pause` turns the plain pause into the one to keep (jitter).
    pub(crate) fn failed(
        &mut self,
        ticket: Ticket,
        now_ms: u64,
        config: &BackoffConfig,
        pause: impl Fn(u64) -> u64,
    ) {
        if ticket.0 != self.round {
            return;
        }
        let plain = config.first_ms.saturating_mul(1 << self.failures.min(20)).min(config.max_ms);
        self.failures = self.failures.saturating_add(1);
        self.until_ms = now_ms.saturating_add(pause(plain));
        self.probing = false;
        self.round += 1;
    }

    /// The try was given up before it said anything.
    pub(crate) fn abandoned(&mut self, ticket: Ticket) {
        if ticket.0 == self.round {
            self.probing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: BackoffConfig = BackoffConfig { first_ms: 100, max_ms: 1_000 };

    #[test]
    fn a_dead_side_is_tried_once_per_doubling_pause() {
        let mut side = Backoff::default();
        let mut tries = Vec::new();
        for now_ms in 0..10_000 {
            if let Some(ticket) = side.admit(now_ms) {
                tries.push(now_ms);
                side.failed(ticket, now_ms, &CONFIG, |ms| ms);
            }
        }
        assert_eq!(tries.get(..6), Some(&[0, 100, 300, 700, 1_500, 2_500][..]));
        assert!(tries.len() < 16, "{tries:?}");
    }

    #[test]
    fn after_a_pause_only_one_try_goes_ahead_and_its_success_opens_the_side() {
        let mut side = Backoff::default();
        let first = side.admit(0).unwrap();
        let second = side.admit(0).unwrap();
        side.failed(first, 0, &CONFIG, |ms| ms);
        side.failed(second, 5, &CONFIG, |ms| ms);
        let probe = side.admit(100).expect("the second failure does not lengthen the pause");
        assert_eq!(side.admit(100), None);
        side.succeeded(second);
        assert_eq!(side.admit(100), None, "an answer from before the pause says nothing");
        side.succeeded(probe);
        assert!(side.admit(100).is_some() && side.admit(100).is_some());
    }

    #[test]
    fn an_abandoned_probe_lets_the_next_one_go() {
        let mut side = Backoff::default();
        let ticket = side.admit(0).unwrap();
        side.failed(ticket, 0, &CONFIG, |ms| ms);
        let probe = side.admit(100).unwrap();
        side.abandoned(probe);
        assert!(side.admit(100).is_some());
    }
}
