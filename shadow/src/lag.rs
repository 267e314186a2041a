//! How late the other side is, as a histogram.
//!
//! Owns the bounds of the buckets and what is read from them. It exists so that p50, p95 and p99 can be told within a few
//! percent from counts that add up over processes and time. What must stay true: pure; bounds are the same for ever, since
//! they are stored; each is 10 % above the last, so a bucket's middle is within 5 % of everything in it.
//!
//! What is measured: the time from the end of the client's answer until the other side was seen to say what the owner had
//! said. It is what is left of the lag when the client reads, so for a read right after a write it is the lag itself.

use banyan_report::{LagBucket, LagReport};
use std::collections::BTreeMap;

/// The first upper bound, in ms.
const FIRST_MS: f64 = 10.0;
/// Each bound over the last.
const STEP: f64 = 1.1;
/// Number of bounds; the last is above two minutes.
const BOUNDS: i32 = 100;

/// Lags of an endpoint: their number, and times that so many of them did not exceed, in ms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LagTimes {
    /// Reads whose lag was measured.
    pub(crate) count: u64,
    /// The median.
    pub(crate) p50_ms: u64,
    /// 95 % were not longer.
    pub(crate) p95_ms: u64,
    /// 99 % were not longer.
    pub(crate) p99_ms: u64,
    /// The longest.
    pub(crate) max_ms: u64,
}

/// The upper bound of the bucket that a time falls in, in ms; times beyond the last bound are in the last bucket.
pub(crate) fn bound(lag_ms: u64) -> u64 {
    (0..BOUNDS).map(nth).find(|bound| lag_ms <= *bound).unwrap_or_else(|| nth(BOUNDS - 1))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bound is positive and at most a few minutes"
)]
fn nth(step: i32) -> u64 {
    (FIRST_MS * STEP.powi(step)).round() as u64
}

impl LagTimes {
    /// Reads the times from a histogram: upper bounds in ms, and how many.
    pub(crate) fn of(buckets: &BTreeMap<u64, u64>) -> Option<Self> {
        let count: u64 = buckets.values().sum();
        if count == 0 {
            return None;
        }
        let at = |per_mille: u64| {
            let rank = (count.saturating_mul(per_mille)).div_ceil(1_000).max(1);
            let mut seen = 0;
            let found = buckets.iter().find(|(_, number)| {
                seen += **number;
                seen >= rank
            });
            found.map_or(0, |(bound, _)| middle(*bound))
        };
        let (p50_ms, p95_ms, p99_ms, max_ms) = (at(500), at(950), at(990), at(1_000));
        Some(Self { count, p50_ms, p95_ms, p99_ms, max_ms })
    }
}

/// What a report says of a stored histogram: upper bounds in ms, and how many reads; nothing when nothing was measured.
pub(crate) fn lag_report(buckets: &BTreeMap<u64, u64>) -> Option<LagReport> {
    let LagTimes { count, p50_ms, p95_ms, p99_ms, max_ms } = LagTimes::of(buckets)?;
    let buckets = buckets.iter();
    let buckets = buckets.map(|(bound, count)| LagBucket { le_ms: Some(*bound), count: *count });
    Some(LagReport { count, p50_ms, p95_ms, p99_ms, max_ms, buckets: buckets.collect() })
}

/// The middle of a bucket.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bounds are at most a few minutes"
)]
fn middle(bound_ms: u64) -> u64 {
    (bound_ms as f64 / STEP.sqrt()).round() as u64
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "lags are small")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn histogram(lags: &[u64]) -> BTreeMap<u64, u64> {
        let mut buckets = BTreeMap::new();
        for lag in lags {
            *buckets.entry(bound(*lag)).or_insert(0) += 1;
        }
        buckets
    }

    #[test]
    fn quantiles_are_those_of_the_lags_within_six_percent() {
        let lags: Vec<u64> = (100..=5_000).collect();
        let times = LagTimes::of(&histogram(&lags)).unwrap();
        assert_eq!(times.count, 4_901);
        for (told, true_ms) in [
            (times.p50_ms, 2_550.0),
            (times.p95_ms, 4_755.0),
            (times.p99_ms, 4_951.0),
            (times.max_ms, 5_000.0),
        ] {
            let off = (told as f64 / true_ms - 1.0).abs();
            assert!(off < 0.06, "{told} for {true_ms}");
        }
        assert_eq!(LagTimes::of(&BTreeMap::new()), None);
    }

    proptest! {
        #[test]
        fn a_lag_is_within_six_percent_of_the_middle_of_its_bucket(lag_ms in 50u64..100_000) {
            let bound_ms = bound(lag_ms);
            prop_assert!(bound_ms >= lag_ms);
            let off = (middle(bound_ms) as f64 / lag_ms as f64 - 1.0).abs();
            prop_assert!(off < 0.06, "{lag_ms} in {bound_ms}");
        }
    }
}
