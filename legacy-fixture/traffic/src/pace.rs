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

/// The longest rest of a session after one slow answer.
const REST_MAX: Duration = Duration::from_secs(2);

/// One session's clock.
#[derive(Debug)]
pub(crate) struct Pace {
    interval: Option<Duration>,
    ease_above: Option<Duration>,
    next: Instant,
    /// When the request under way was let go.
    let_go: Option<Instant>,
    limit: Limit,
}

/// How fast all sessions together may be.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Speed {
    /// Requests per second.
    pub(crate) rate: Option<u32>,
    /// The time of an answer above which its session rests.
    pub(crate) ease_above: Option<Duration>,
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
    /// The pace of session `number` of `sessions`, which all together have this speed.
    pub(crate) fn new(speed: Speed, number: u32, sessions: u32, limit: Limit) -> Self {
        let Speed { rate, ease_above } = speed;
        let interval = rate.map(|rate| Duration::from_secs(1) * sessions / rate);
        let offset = interval.unwrap_or_default() * number / sessions;
        Self { interval, ease_above, next: Instant::now() + offset, let_go: None, limit }
    }

    /// Waits until the next request may go.
    pub(crate) async fn turn(&mut self) -> Result<(), Stopped> {
        if let (Some(bound), Some(let_go)) = (self.ease_above, self.let_go) {
            self.limit.unless_stopped(sleep(ease(let_go.elapsed(), bound))).await?;
        }
        if let Some(interval) = self.interval {
            self.limit.unless_stopped(sleep_until(self.next)).await?;
            self.next = Instant::now().max(self.next + interval);
        }
        self.let_go = Some(Instant::now());
        self.limit.take()
    }

    /// Waits, but not beyond the stop; such a wait is no slow answer.
    pub(crate) async fn rest(&mut self, time: Duration) -> Result<(), Stopped> {
        self.let_go = None;
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

/// How long a session rests after an answer that took so long: more than in proportion, so that the queue of a saturated
/// server shrinks although each of many sessions waits for its own answer only.
fn ease(took: Duration, bound: Duration) -> Duration {
    if took <= bound {
        return Duration::ZERO;
    }
    took.mul_f64(took.as_secs_f64() / bound.as_secs_f64()).min(REST_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(rate: u32) -> Speed {
        Speed { rate: Some(rate), ease_above: None }
    }

    #[test]
    fn a_session_rests_after_a_slow_answer_only_and_not_for_ever() {
        let rest = |ms| ease(Duration::from_millis(ms), Duration::from_millis(100)).as_millis();
        assert_eq!([0, 100, 200, 400, 60_000].map(rest), [0, 0, 400, 1_600, 2_000]);
    }

    #[tokio::test]
    async fn the_rest_follows_the_answer() {
        let limit = Limit::new(CancellationToken::new(), None);
        let ease_above = Some(Duration::from_millis(10));
        let mut pace = Pace::new(Speed { rate: None, ease_above }, 0, 1, limit);
        pace.turn().await.unwrap();
        sleep(Duration::from_millis(30)).await;
        let answered = Instant::now();
        pace.turn().await.unwrap();
        assert!(answered.elapsed() >= Duration::from_millis(90));
    }

    #[tokio::test]
    async fn a_rest_is_no_slow_answer() {
        let limit = Limit::new(CancellationToken::new(), None);
        let ease_above = Some(Duration::from_millis(10));
        let mut pace = Pace::new(Speed { rate: None, ease_above }, 0, 1, limit);
        pace.turn().await.unwrap();
        // As an answer it would be followed by 2 s.
        pace.rest(Duration::from_millis(200)).await.unwrap();
        let rested = Instant::now();
        pace.turn().await.unwrap();
        assert!(rested.elapsed() < Duration::from_secs(1));
    }

    #[tokio::test]
    async fn all_sessions_share_the_number_of_requests() {
        let limit = Limit::new(CancellationToken::new(), Some(3));
        let mut one = Pace::new(Speed::default(), 0, 2, limit.clone());
        let mut two = Pace::new(Speed::default(), 1, 2, limit);
        assert!(one.turn().await.is_ok() && two.turn().await.is_ok() && one.turn().await.is_ok());
        assert_eq!((one.turn().await, two.turn().await), (Err(Stopped), Err(Stopped)));
    }

    #[tokio::test]
    async fn a_stop_ends_every_wait() {
        let stop = CancellationToken::new();
        let mut slow = Pace::new(at(1), 1, 2, Limit::new(stop.clone(), None));
        stop.cancel();
        assert_eq!(slow.turn().await, Err(Stopped));
        assert_eq!(slow.rest(Duration::from_hours(1)).await, Err(Stopped));
    }

    #[tokio::test]
    async fn the_rate_is_shared_by_all_sessions() {
        let limit = Limit::new(CancellationToken::new(), None);
        let started = Instant::now();
        let mut pace = Pace::new(at(1_000), 3, 4, limit);
        for _ in 0..5 {
            pace.turn().await.unwrap();
        }
        // The first after 3 ms, then one each 4 ms.
        assert!(started.elapsed() >= Duration::from_millis(19));
    }
}
