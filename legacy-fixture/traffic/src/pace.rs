//! When a session may send its next request, and when it must stop.
//!
//! What must stay true: a session that fell behind does not catch up by a burst; nobody waits after the stop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// One session's clock.
#[derive(Debug)]
pub(crate) struct Pace {
    interval: Option<Duration>,
    next: Instant,
    limit: Limit,
}

/// When all sessions end.
#[derive(Debug, Clone)]
pub(crate) struct Limit {
    stop: CancellationToken,
    requests_left: Option<Arc<AtomicU64>>,
}

/// The traffic is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stopped;

impl Pace {
    /// The pace of session `number` of `sessions`, of which all together send `rate` requests per second.
    pub(crate) fn new(rate: Option<u32>, number: u32, sessions: u32, limit: Limit) -> Self {
        let interval = rate.map(|rate| Duration::from_secs(1) * sessions / rate);
        let offset = interval.unwrap_or_default() * number / sessions;
        Self { interval, next: Instant::now() + offset, limit }
    }

    /// Waits until the next request may go.
    pub(crate) async fn turn(&mut self) -> Result<(), Stopped> {
        if let Some(interval) = self.interval {
            self.limit.unless_stopped(sleep_until(self.next)).await?;
            self.next = Instant::now().max(self.next + interval);
        }
        self.limit.take()
    }

    /// Waits, but not beyond the stop.
    pub(crate) async fn rest(&self, time: Duration) -> Result<(), Stopped> {
        self.limit.unless_stopped(sleep(time)).await
    }
}

impl Limit {
    pub(crate) fn new(stop: CancellationToken, requests: Option<u64>) -> Self {
        Self { stop, requests_left: requests.map(|number| Arc::new(AtomicU64::new(number))) }
    }

    fn take(&self) -> Result<(), Stopped> {
        if self.stop.is_cancelled() {
            return Err(Stopped);
        }
        let Some(left) = &self.requests_left else { return Ok(()) };
        let one_less = |left: u64| left.checked_sub(1);
        let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        taken.map(drop).map_err(|_| Stopped)
    }

    async fn unless_stopped(&self, wait: impl Future<Output = ()>) -> Result<(), Stopped> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Stopped),
            () = wait => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_sessions_share_the_number_of_requests() {
        let limit = Limit::new(CancellationToken::new(), Some(3));
        let mut one = Pace::new(None, 0, 2, limit.clone());
        let mut two = Pace::new(None, 1, 2, limit);
        assert!(one.turn().await.is_ok() && two.turn().await.is_ok() && one.turn().await.is_ok());
        assert_eq!((one.turn().await, two.turn().await), (Err(Stopped), Err(Stopped)));
    }

    #[tokio::test]
    async fn a_stop_ends_every_wait() {
        let stop = CancellationToken::new();
        let mut slow = Pace::new(Some(1), 1, 2, Limit::new(stop.clone(), None));
        stop.cancel();
        assert_eq!(slow.turn().await, Err(Stopped));
        assert_eq!(slow.rest(Duration::from_hours(1)).await, Err(Stopped));
    }

    #[tokio::test]
    async fn the_rate_is_shared_by_all_sessions() {
        let limit = Limit::new(CancellationToken::new(), None);
        let started = Instant::now();
        let mut pace = Pace::new(Some(1_000), 3, 4, limit);
        for _ in 0..5 {
            pace.turn().await.unwrap();
        }
        // The first after 3 ms, then one each 4 ms.
        assert!(started.elapsed() >= Duration::from_millis(19));
    }
}
