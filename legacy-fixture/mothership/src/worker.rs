//! The worker pool: how many requests are inside handlers at a time.
//!
//! A 2014 monolith on MRI has few workers per machine; load beyond them waits in the listen queue. Here the wait is
//! visible and bounded.
//!
//! What must stay true: at most `workers` requests are inside; at most `LINE_PER_WORKER` times as many wait, each no
//! longer than `WAIT_MAX`; who finds no place or waits too long is told 503 at once.

use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

const LINE_PER_WORKER: usize = 32;
const WAIT_MAX: Duration = Duration::from_secs(15);

/// The pool and the line before it.
#[derive(Debug)]
pub(crate) struct WorkerPool {
    workers: Semaphore,
    places: Semaphore,
    places_total: usize,
    wait_max: Duration,
}

/// A place inside; dropping it lets the next one in.
pub(crate) struct Inside<'p> {
    _place: SemaphorePermit<'p>,
    _worker: SemaphorePermit<'p>,
}

impl WorkerPool {
    pub(crate) fn new(workers: u16) -> Self {
        Self::patient(workers, WAIT_MAX)
    }

    fn patient(workers: u16, wait_max: Duration) -> Self {
        let workers = usize::from(workers);
        let places_total = workers * (1 + LINE_PER_WORKER);
        Self {
            workers: Semaphore::new(workers),
            places: Semaphore::new(places_total),
            places_total,
            wait_max,
        }
    }

    /// Waits for a worker; `None` when the line is full or the wait too long.
    pub(crate) async fn enter(&self) -> Option<Inside<'_>> {
        let place = self.places.try_acquire().ok()?;
        let worker =
            tokio::time::timeout(self.wait_max, self.workers.acquire()).await.ok()?.ok()?;
        Some(Inside { _place: place, _worker: worker })
    }

    /// Requests inside or waiting right now.
    pub(crate) fn occupied(&self) -> usize {
        self.places_total.saturating_sub(self.places.available_permits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_line_is_bounded_in_number_and_time() {
        let pool = WorkerPool::patient(1, Duration::from_millis(50));
        let inside = pool.enter().await.unwrap();
        let line = futures_util::future::join_all((0..LINE_PER_WORKER).map(|_| pool.enter()));
        let late = async {
            // The line is polled first, so it is full by now.
            pool.enter().await.is_none()
        };
        let (answers, refused) = futures_util::future::join(line, late).await;
        assert!(refused, "a full line refuses at once");
        assert!(answers.iter().all(Option::is_none), "a long wait ends");
        drop(inside);
        assert!(pool.enter().await.is_some());
        assert_eq!(pool.occupied(), 0);
    }
}
