//! Looking for the moment at which the other side agrees.
//!
//! Owns the times of the looks at the late side between the rounds of a recheck, and what they say about the lag. It exists
//! because the rounds are far apart: they tell that it was lag, but not how much. What must stay true: only a bounded
//! number of mismatches per context is looked at so closely, chosen without regard to how late they are, so that what is
//! measured stands for all; each look is at most a fifth later than the last, so the middle of the span in which the sides
//! came to agree is within a tenth of the lag.

/// Each look is that much later than the last, counted from the client's answer.
const STEP: f64 = 1.2;
/// Looks are at least so far apart, in ms.
const APART_MS: u64 = 10;

/// The looks at one mismatch.
#[expect(clippy::struct_field_names, reason = "each is a time, and times carry their unit")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Looks {
    /// When the client was answered, in ms.
    answered_ms: u64,
    /// When the last look began that still saw a difference, in ms after the answer.
    differed_ms: u64,
    /// When the next look is due, in ms after the answer.
    next_ms: u64,
}

impl Looks {
    /// The first look, the mirrored read itself, was asked at `asked_ms` and saw a difference.
    pub(crate) fn new(answered_ms: u64, asked_ms: u64) -> Self {
        let differed_ms = asked_ms.saturating_sub(answered_ms);
        Self { answered_ms, differed_ms, next_ms: next(differed_ms) }
    }

    /// When the next look is due, in ms.
    pub(crate) const fn due_ms(&self) -> u64 {
        self.answered_ms.saturating_add(self.next_ms)
    }

    /// A look that was asked at `asked_ms` saw a difference.
    pub(crate) fn differed(&mut self, asked_ms: u64) {
        self.differed_ms = asked_ms.saturating_sub(self.answered_ms);
        self.next_ms = next(self.differed_ms);
    }

    /// A look that was answered at `answered_ms` saw agreement: the lag, in ms; nothing if the look came too late.
    pub(crate) fn agreed(&self, answered_ms: u64) -> Option<u64> {
        let until_ms = answered_ms.saturating_sub(self.answered_ms);
        let latest_ms = next(next(self.differed_ms)).saturating_add(5 * APART_MS);
        (until_ms <= latest_ms).then(|| self.differed_ms.midpoint(until_ms))
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a recheck takes seconds"
)]
fn next(last_ms: u64) -> u64 {
    ((last_ms as f64 * STEP) as u64).max(last_ms.saturating_add(APART_MS))
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "lags are small")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Looks until the sides agree `lag_ms` after the answer; each takes `trip_ms`. The lag told, and the looks.
    fn look(lag_ms: u64, trip_ms: u64) -> (u64, usize) {
        let mut looks = Looks::new(1_000, 1_002);
        let mut number = 0;
        loop {
            number += 1;
            let asked_ms = looks.due_ms();
            // The other side looks at its state half-way.
            if asked_ms + trip_ms / 2 >= 1_000 + lag_ms {
                return (looks.agreed(asked_ms + trip_ms).unwrap(), number);
            }
            looks.differed(asked_ms);
        }
    }

    #[test]
    fn sixteen_seconds_take_fewer_than_forty_looks() {
        assert!(look(16_000, 4).1 < 40, "{:?}", look(16_000, 4));
    }

    #[test]
    fn a_look_that_came_too_late_tells_nothing() {
        let mut looks = Looks::new(0, 2);
        looks.differed(4_000);
        assert_eq!(looks.due_ms(), 4_800);
        assert!(looks.agreed(5_000).is_some());
        assert_eq!(looks.agreed(9_000), None);
    }

    proptest! {
        #[test]
        fn the_lag_told_is_within_a_tenth(lag_ms in 100u64..16_000, trip_ms in 0u64..6) {
            let (told, _) = look(lag_ms, trip_ms);
            let off = (told as f64 / lag_ms as f64 - 1.0).abs();
            prop_assert!(off < 0.12, "{told} for {lag_ms}");
        }
    }
}
