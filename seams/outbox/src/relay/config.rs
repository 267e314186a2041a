//! What a relay may be told, with its limits.

use std::time::Duration;

/// Settings of a relay. [`RelayConfig::new`] gives good ones; change what you must.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// Name of the relay; of several with one name on one database, one leads.
    pub name: String,
    /// The exchange that this side publishes to: its raw exchange.
    pub exchange: String,
    /// Rows per batch, 1 to 10,000; up to two batches are in memory.
    pub rows_max: u32,
    /// Bytes of rows per batch, after which no more are read (the last one may exceed it).
    pub bytes_max: usize,
    /// Rows of one lane that may be unconfirmed at the same time. With 1, nothing overtakes. With more, a hot lane is
    /// faster, but where a full queue of RabbitMQ refuses one row, a later one of the lane may have passed it.
    pub window_per_lane: u16,
    /// How long a leader that gives no sign of life keeps the lease.
    pub lease: Duration,
    /// How long to wait when nothing is ready.
    pub poll: Duration,
    /// After this many refusals of a row by a healthy broker it is dead. A full queue is not such a refusal.
    pub attempts_max: u32,
    /// First and longest wait before a failed row is tried again; doubled in between.
    pub retry: (Duration, Duration),
    /// With this many rows waiting to be tried again, no fresh ones are taken: the fault is not theirs.
    pub waiting_max: u32,
    /// Publish muted rows too, so that the events of both sides can be compared. Each carries the header
    /// `x-banyan-muted`, by which the forwarder never announces it; ready rows go first. The exchange must be one that
    /// only the forwarder reads.
    pub publish_muted: bool,
    /// How long sent, muted and dropped rows are kept.
    pub keep: Duration,
    /// How often older ones are cleaned up, at most once per sign of life.
    pub clean_up_every: Duration,
}

impl RelayConfig {
    /// Good settings for a relay to `exchange`.
    pub fn new(exchange: impl Into<String>) -> Self {
        Self {
            name: "relay".to_owned(),
            exchange: exchange.into(),
            rows_max: 1_000,
            bytes_max: 16 * 1024 * 1024,
            window_per_lane: 1,
            lease: Duration::from_secs(10),
            poll: Duration::from_millis(100),
            attempts_max: 10,
            retry: (Duration::from_secs(1), Duration::from_mins(5)),
            waiting_max: 1_000,
            publish_muted: false,
            keep: Duration::from_hours(7 * 24),
            clean_up_every: Duration::from_secs(10),
        }
    }

    /// The wait before try number `attempts` + 1.
    pub(super) fn wait(&self, attempts: i64) -> Duration {
        let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(20);
        self.retry.0.saturating_mul(1 << doublings).min(self.retry.1)
    }

    /// Values that would stop the relay or overload the database are moved to the nearest that do not.
    pub(super) fn within_limits(mut self) -> Self {
        self.rows_max = self.rows_max.clamp(1, 10_000);
        self.window_per_lane = self.window_per_lane.max(1);
        self.attempts_max = self.attempts_max.max(1);
        self.waiting_max = self.waiting_max.max(1);
        self.lease = self.lease.max(Duration::from_millis(200));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let config = RelayConfig::new("x");
        let seconds = [1, 2, 3, 9, 10, 99].map(|attempts| config.wait(attempts).as_secs());
        assert_eq!(seconds, [1, 2, 4, 256, 300, 300]);
    }
}
