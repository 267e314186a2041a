//! How far apart the events of pairs are.
//!
//! Owns a histogram whose buckets are at most about 3 % wide, so that percentiles of any number of pairs take little memory. What
//! must stay true: a percentile is never smaller than the true one; the maximum is exact.

use std::collections::BTreeMap;

use banyan_report::{LagBucket, LagReport};

/// Bits of a delay that are kept; the rest is rounded up.
const BITS: u32 = 6;
/// Upper bounds of the buckets that a report shows, in ms.
const SHOWN_MS: [u64; 12] =
    [10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 60_000, 120_000, 300_000, 900_000];

/// Delays, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Delays {
    counts: BTreeMap<u64, u64>,
    total: u64,
    max_ms: u64,
}

impl Delays {
    pub(crate) fn add(&mut self, delay_ms: u64) {
        *self.counts.entry(rounded_up(delay_ms)).or_default() += 1;
        self.total += 1;
        self.max_ms = self.max_ms.max(delay_ms);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (bound, count) in &other.counts {
            *self.counts.entry(*bound).or_default() += count;
        }
        self.total += other.total;
        self.max_ms = self.max_ms.max(other.max_ms);
    }

    pub(crate) fn report(&self) -> Option<LagReport> {
        if self.total == 0 {
            return None;
        }
        let mut buckets = Vec::new();
        let mut below = 0;
        for bound in SHOWN_MS {
            let count = self.counts.range(below..=bound).map(|(_, count)| count).sum();
            buckets.push(LagBucket { le_ms: Some(bound), count });
            below = bound + 1;
        }
        let count = self.counts.range(below..).map(|(_, count)| count).sum();
        buckets.push(LagBucket { le_ms: None, count });
        buckets.retain(|bucket| bucket.count > 0);
        Some(LagReport {
            count: self.total,
            p50_ms: self.percentile(50),
            p95_ms: self.percentile(95),
            p99_ms: self.percentile(99),
            max_ms: self.max_ms,
            buckets,
        })
    }

    fn percentile(&self, percent: u64) -> u64 {
        let wanted = self.total.saturating_mul(percent).div_ceil(100);
        let mut seen = 0;
        for (bound, count) in &self.counts {
            seen += count;
            if seen >= wanted {
                return (*bound).min(self.max_ms);
            }
        }
        self.max_ms
    }
}

fn rounded_up(delay_ms: u64) -> u64 {
    let bits = u64::BITS - delay_ms.leading_zeros();
    let Some(cut @ 1..) = bits.checked_sub(BITS) else { return delay_ms };
    (delay_ms >> cut).saturating_add(u64::from(delay_ms.trailing_zeros() < cut)) << cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_close_and_never_too_small() {
        let mut delays = Delays::default();
        for delay in 1..=10_000 {
            delays.add(delay);
        }
        let report = delays.report().unwrap();
        assert_eq!((report.count, report.max_ms), (10_000, 10_000));
        for (found, truth) in
            [(report.p50_ms, 5_000), (report.p95_ms, 9_500), (report.p99_ms, 9_900)]
        {
            assert!(found >= truth && found <= truth * 104 / 100, "{found} for {truth}");
        }
        assert_eq!(report.buckets.iter().map(|bucket| bucket.count).sum::<u64>(), 10_000);
        assert_eq!(Delays::default().report(), None);
    }

    #[test]
    fn halves_add_up() {
        let (mut whole, mut half, mut rest) =
            (Delays::default(), Delays::default(), Delays::default());
        for delay in [0, 1, 63, 64, 65, 1_000_003] {
            whole.add(delay);
            if delay % 2 == 0 { half.add(delay) } else { rest.add(delay) }
        }
        half.merge(&rest);
        assert_eq!(half, whole);
    }
}
