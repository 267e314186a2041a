//! Latencies in a bounded histogram.
//!
//! What must stay true: memory does not grow with the number of requests; a percentile is off by 5 % at most, and
//! never reported too low.

use std::time::Duration;

/// Each bucket ends 5 % above the one before; the last holds everything from about a minute.
const GROWTH: f64 = 1.05;
const FIRST_MS: f64 = 0.05;
const BUCKETS: usize = 288;

/// Counted latencies.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_ms: f64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max_ms: 0.0 }
    }

    pub(crate) fn add(&mut self, latency: Duration) {
        let latency_ms = latency.as_secs_f64() * 1_000.0;
        let bucket = (0..BUCKETS - 1).find(|bucket| latency_ms <= end_ms(*bucket));
        if let Some(count) = self.counts.get_mut(bucket.unwrap_or(BUCKETS - 1)) {
            *count += 1;
        }
        self.total += 1;
        self.max_ms = self.max_ms.max(latency_ms);
    }

    /// The latency in milliseconds that `percent` of requests did not exceed; 0 without requests.
    pub(crate) fn percentile_ms(&self, percent: u64) -> f64 {
        let wanted = (self.total * percent).div_ceil(100).max(1);
        let mut below = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= wanted && bucket < BUCKETS - 1 {
                return round(end_ms(bucket).min(self.max_ms));
            }
        }
        round(self.max_ms)
    }

    pub(crate) fn max_ms(&self) -> f64 {
        round(self.max_ms)
    }
}

fn end_ms(bucket: usize) -> f64 {
    FIRST_MS * GROWTH.powi(i32::try_from(bucket).unwrap_or(i32::MAX))
}

fn round(ms: f64) -> f64 {
    (ms * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_close_and_never_too_low() {
        let mut histogram = Histogram::new();
        for ms in 1..=1_000 {
            histogram.add(Duration::from_millis(ms));
        }
        for (percent, exact) in [(50, 500.0), (99, 990.0), (100, 1_000.0)] {
            let found = histogram.percentile_ms(percent);
            assert!(found >= exact && found <= exact * 1.05, "{percent}: {found}");
        }
        assert!((histogram.max_ms() - 1_000.0).abs() < 0.01);
    }

    #[test]
    fn empty_and_extreme_latencies_are_fine() {
        let mut histogram = Histogram::new();
        assert!(histogram.percentile_ms(99) < 0.001);
        histogram.add(Duration::from_hours(24));
        histogram.add(Duration::ZERO);
        assert!((histogram.percentile_ms(100) - 86_400_000.0).abs() < 1.0);
    }
}
