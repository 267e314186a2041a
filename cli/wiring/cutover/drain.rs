//! Waits until the sync has applied what is there; a living worker does it, without one it is done here.

use super::World;
use super::error::sync_error;
use banyan_cutover::{Drained, PortError};
use banyan_domain::Side;
use banyan_sync_jobs::{Job, JobWatch, RunMode, SyncError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often a wait for the sync looks again.
const LOOK_EVERY: Duration = Duration::from_millis(5);

impl World<'_> {
    /// Waits until at most so many marks are pending toward a side. A living worker does it; without one it is done here.
    pub(super) async fn settle(
        &self,
        to: Side,
        end: Instant,
        few: u64,
    ) -> Result<Drained, PortError> {
        let mut looks = self.looks.lock().await;
        let drained = self.drain_by(to, end, few, &mut looks).await;
        if drained.is_err() {
            looks.clear();
        }
        drained
    }

    async fn drain_by(
        &self,
        to: Side,
        end: Instant,
        few: u64,
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
        loop {
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
            tokio::time::sleep(LOOK_EVERY).await;
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
