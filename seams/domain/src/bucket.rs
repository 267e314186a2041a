//! Sticky buckets: which share of callers is on the new side of a canary.
//!
//! Owns the one hash that every proxy and the application library use. It exists because dice would move
//! people back and forth. What must stay true: the bucket depends on nothing but salt and key, so that the
//! same key is on the same side everywhere, and raising N never moves anybody back.

use crate::phase::Percent;
use siphasher::sip::SipHasher13;
use std::fmt;
use std::hash::Hasher;

/// A bucket, 0 to 99. A canary of N % serves buckets below N from the new side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(u8);

/// Fixed keys: the bucket must be the same on every proxy and in every release.
const KEYS: (u64, u64) = (0x6261_6e79_616e_2d73, 0x7469_636b_792d_7631);

/// The bucket of `key` for the endpoint whose salt is `salt`. The salt keeps cohorts of different endpoints
/// apart, so that not the same people are always first. SipHash-1-3, then a multiply-shift onto 0..100.
pub fn bucket(salt: &str, key: &str) -> Bucket {
    let mut hasher = SipHasher13::new_with_keys(KEYS.0, KEYS.1);
    hasher.write_usize_le(salt.len());
    hasher.write(salt.as_bytes());
    hasher.write(key.as_bytes());
    let share = (u128::from(hasher.finish()) * 100) >> 64;
    Bucket(u8::try_from(share).unwrap_or(99))
}

trait WriteLength {
    fn write_usize_le(&mut self, value: usize);
}

impl WriteLength for SipHasher13 {
    fn write_usize_le(&mut self, value: usize) {
        self.write(&(value as u64).to_le_bytes());
    }
}

impl Bucket {
    /// Whether a canary of `percent` serves this bucket from the new side.
    pub const fn is_below(self, percent: Percent) -> bool {
        self.0 < percent.get()
    }

    /// The number, 0 to 99.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_never_change_between_releases() {
        // A change here moves real people: these numbers are a promise, not a coincidence.
        let seen =
            ["user:1", "user:2", "user:3", "", "ü"].map(|key| bucket("messages.list", key).get());
        assert_eq!(seen, GOLDEN);
    }

    const GOLDEN: [u8; 5] = [31, 21, 70, 9, 1];

    proptest! {
        #[test]
        fn a_ramp_is_monotone(key in ".*", a in 0u8..=100, b in 0u8..=100) {
            let (low, high) = (a.min(b), a.max(b));
            let bucket = bucket("messages.list", &key);
            if bucket.is_below(Percent::new(low).unwrap()) {
                prop_assert!(bucket.is_below(Percent::new(high).unwrap()));
            }
            prop_assert!(!bucket.is_below(Percent::new(0).unwrap()));
            prop_assert!(bucket.is_below(Percent::HUNDRED));
        }

        #[test]
        fn the_share_is_within_three_sigma(salt in "[a-z]{1,8}", percent in 1u8..100, from in 0u32..1_000_000) {
            let percent = Percent::new(percent).unwrap();
            let n = 4_000u32;
            let hits = (from..from + n)
                .filter(|id| bucket(&salt, &format!("user:{id}")).is_below(percent))
                .count();
            let (n, p) = (f64::from(n), f64::from(percent.get()) / 100.0);
            let sigma = (n * p * (1.0 - p)).sqrt();
            // 4.5 sigma here, because proptest draws hundreds of cases; the fixed cohorts below hold 3.
            #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
            let off = (hits as f64 - n * p).abs();
            prop_assert!(off <= 4.5 * sigma + 1.0, "{hits} of {n} at {p}");
        }
    }

    #[test]
    fn the_share_of_a_large_cohort_is_within_three_sigma() {
        for percent in [1, 10, 50, 99] {
            let percent = Percent::new(percent).unwrap();
            let hits = (0..100_000)
                .filter(|id| bucket("messages.show", &format!("user:{id}")).is_below(percent))
                .count();
            let p = f64::from(percent.get()) / 100.0;
            let sigma = (100_000.0 * p * (1.0 - p)).sqrt();
            #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
            let off = (hits as f64 - 100_000.0 * p).abs();
            assert!(off <= 3.0 * sigma, "{hits} at {p}");
        }
    }
}
