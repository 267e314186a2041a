//! Waits until the sync has applied what is there; a living worker does it, without one it is done here.

use super::World;
use super::error::sync_error;
use banyan_cutover::{Drained, PortError};
use banyan_domain::Side;
use banyan_sync_jobs::{Job, JobWatch, RunMode, SyncError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Under constant writes some marks always wait; so few are moved within the hold.
const FEW_MARKS: u64 = 100;
/// More of them are accepted each time that so long has passed, because the worker has shown that it cannot do better beside
/// these writes; up to 16 times as many.
const MORE_EVERY_SECONDS: u64 = 5;

/// Until when the sync is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Few marks wait. Each look counts them all, which must not slow down who applies them.
    Nearly,
    /// None waits: clients do.
    Drained,
}

impl Until {
    const fn look_every(self) -> Duration {
        match self {
            Self::Nearly => Duration::from_millis(100),
            Self::Drained => Duration::from_millis(5),
        }
    }

    /// How many marks may wait, after so long.
    pub(super) fn few(self, waited: Duration) -> u64 {
        match self {
            Self::Nearly => FEW_MARKS << (waited.as_secs() / MORE_EVERY_SECONDS).min(4),
            Self::Drained => 0,
        }
    }
}

impl World<'_> {
    /// Waits for the sync toward a side. A living worker does it; without one it is done here.
    pub(super) async fn settle(
        &self,
        to: Side,
        end: Instant,
        until: Until,
    ) -> Result<Drained, PortError> {
        let mut looks = self.looks.lock().await;
        let drained = self.drain_by(to, end, until, &mut looks).await;
        if drained.is_err() {
            looks.clear();
        }
        drained
    }

    async fn drain_by(
        &self,
        to: Side,
        end: Instant,
        until: Until,
        looks: &mut Vec<JobWatch>,
    ) -> Result<Drained, PortError> {
        let failed = |error: SyncError| sync_error(to, &error);
        let jobs = self.open(to)?;
        if looks.first().is_none_or(|look| look.to() != to) {
            looks.clear();
            for job in &jobs {
                looks.push(job.watch().await.map_err(failed)?);
            }
        }
        let mut drained = Drained::default();
        let mut before = None;
        let begun = Instant::now();
        loop {
            let few = until.few(begun.elapsed());
            let (mut pending, mut rows) = (0, 0);
            drained.conflicts.clear();
            for (job, look) in jobs.iter().zip(looks.iter_mut()) {
                let found = look.look().await.map_err(failed)?;
                if found.conflicts > 0 {
                    drained.conflicts.push(format!(
                        "job `{}` has set {} aside (banyan sync conflicts {} --to {to})",
                        job.name(),
                        found.conflicts,
                        job.name()
                    ));
                }
                rows += found.rows;
                let open = found.pending + if found.copied { 0 } else { few + 1 };
                // Paused, cancelled or overtaken: the next look tells what it did.
                if open > 0 && found.worker.is_none() {
                    run_once(job, end).await.map_err(failed)?;
                }
                pending += open;
            }
            drained.pending = pending;
            drained.rows = rows.saturating_sub(*before.get_or_insert(rows));
            if pending <= few || !drained.conflicts.is_empty() || Instant::now() >= end {
                return Ok(drained);
            }
            tokio::time::sleep(until.look_every()).await;
        }
    }
}

async fn run_once(job: &Job, end: Instant) -> Result<(), SyncError> {
    let stop = CancellationToken::new();
    let guard = stop.clone().drop_guard();
    let timer = stop.clone();
    let timer = tokio::spawn(async move {
        tokio::time::sleep_until(end.into()).await;
        timer.cancel();
    });
    let ran = job.run(RunMode::Once, stop).await;
    timer.abort();
    drop(guard);
    match ran {
        // Somebody else works, or the limit has come: the next look tells.
        Ok(_) | Err(SyncError::LeaseHeld { .. } | SyncError::OtherDirection { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_marks_may_wait_the_longer_it_takes_but_none_while_clients_wait() {
        let after = |seconds| Until::Nearly.few(Duration::from_secs(seconds));
        assert_eq!([0, 4, 5, 10, 60].map(after), [100, 100, 200, 400, 1_600]);
        assert_eq!(Until::Drained.few(Duration::from_mins(1)), 0);
    }
}
