//! Waits until the sync has applied what is there; a living worker does it, without one it is done here.

use super::World;
use super::error::{sync_error, timed_out};
use banyan_cutover::{Drained, PortError};
use banyan_domain::Side;
use banyan_sync_jobs::{Job, JobLook, JobWatch, RunMode, SyncError, WorkerLook};
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
    /// Few marks wait, and who is to apply the rest has been seen to live: one that was killed holds its lease for a while,
    /// and clients would wait for nobody. Each look counts all marks, which must not slow down who applies them.
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
    /// Waits for the sync toward a side. A worker does it; without one it is done here.
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
        let mut seen_first = vec![None; jobs.len()];
        let begun = Instant::now();
        loop {
            let few = until.few(begun.elapsed());
            let (mut pending, mut rows, mut rows_before) = (0, 0, 0);
            let mut doubt = None;
            drained.conflicts.clear();
            drained.workers.clear();
            for ((job, look), first) in jobs.iter().zip(looks.iter_mut()).zip(&mut seen_first) {
                let mut found = look.look().await.map_err(failed)?;
                rows_before += found.rows;
                if is_open(&found) && found.worker.is_none() && found.opposite.is_none() {
                    run_once(job, end).await.map_err(failed)?;
                    found = look.look().await.map_err(failed)?;
                }
                if found.conflicts > 0 {
                    drained.conflicts.push(format!(
                        "job `{}` has set {} aside (banyan sync conflicts {} --to {to})",
                        job.name(),
                        found.conflicts,
                        job.name()
                    ));
                }
                rows += found.rows;
                pending += found.pending + if found.copied { 0 } else { few + 1 };
                let who = Who::of(&found, first);
                drained.workers.extend(who.name(job.name()).filter(|_| is_open(&found)));
                if until == Until::Nearly {
                    doubt = doubt.or(who.doubt(job.name()));
                }
            }
            drained.pending = pending;
            drained.rows = rows.saturating_sub(*before.get_or_insert(rows_before));
            if (pending <= few && doubt.is_none()) || !drained.conflicts.is_empty() {
                return Ok(drained);
            }
            if Instant::now() >= end {
                let Some(doubt) = doubt else { return Ok(drained) };
                let waiting_for = format!("{doubt} (banyan sync list)");
                return Err(timed_out("catching up".to_owned(), begun.elapsed(), &waiting_for));
            }
            tokio::time::sleep(until.look_every()).await;
        }
    }
}

/// Whether rows have to be moved.
fn is_open(found: &JobLook) -> bool {
    found.pending > 0 || !found.copied
}

/// Who moves what is left.
#[derive(Debug, PartialEq, Eq)]
enum Who {
    /// Nobody works, so the switch does.
    Switch,
    /// A worker that has done something since it was seen first.
    Worker(String),
    /// A worker that holds the lease.
    Silent(String),
    /// Nobody can, because this one works in the other direction.
    Opposite(String),
}

impl Who {
    /// As a look shows it; `first` is the first look at the same worker.
    fn of(found: &JobLook, first: &mut Option<WorkerLook>) -> Self {
        let Some(now) = &found.worker else {
            return found.opposite.clone().map_or(Self::Switch, Self::Opposite);
        };
        let seen = match first {
            Some(first) if first.name == now.name => first,
            Some(_) | None => first.insert(now.clone()),
        };
        if now.lives_since(seen) {
            Self::Worker(now.name.clone())
        } else {
            Self::Silent(now.name.clone())
        }
    }

    /// What to wait for before clients do, because they might wait for nobody.
    fn doubt(&self, job: &str) -> Option<String> {
        match self {
            Self::Switch | Self::Worker(_) => None,
            Self::Silent(_) => self.name(job).map(|name| format!("a sign of life of {name}")),
            Self::Opposite(_) => self.name(job),
        }
    }

    fn name(&self, job: &str) -> Option<String> {
        match self {
            Self::Switch => None,
            Self::Worker(name) | Self::Silent(name) => {
                Some(format!("worker {name} of job `{job}`"))
            }
            Self::Opposite(name) => {
                Some(format!("worker {name}, which runs job `{job}` in the other direction"))
            }
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
    let ran = job.run(RunMode::OnceIfFree, stop).await;
    timer.abort();
    drop(guard);
    match ran {
        // Paused, cancelled or overtaken: the next look tells what it did.
        Ok(_) => Ok(()),
        Err(error) if error.is_of_another_worker() => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_wait_for_nobody_who_was_not_seen_to_work() {
        let look = |name: &str, lease_ends_ms| JobLook {
            worker: Some(WorkerLook { name: name.to_owned(), lease_ends_ms }),
            opposite: Some("back".to_owned()),
            ..JobLook::default()
        };
        let mut first = None;
        let mut who = |found: &JobLook| Who::of(found, &mut first);
        let silent = |name: &str| Who::Silent(name.to_owned());
        assert_eq!(who(&look("killed", 5_000)), silent("killed"));
        assert_eq!(who(&look("killed", 5_000)), silent("killed"));
        assert_eq!(who(&look("next", 9_000)), silent("next"), "it may not have begun");
        assert_eq!(who(&look("next", 9_100)), Who::Worker("next".to_owned()));
        assert_eq!(who(&look("next", 9_100)), Who::Worker("next".to_owned()), "once is enough");
        let nobody = JobLook { worker: None, ..look("", 0) };
        assert_eq!(who(&nobody), Who::Opposite("back".to_owned()));
        assert_eq!(who(&JobLook::default()), Who::Switch);
        assert_eq!(
            silent("w").doubt("j").as_deref(),
            Some("a sign of life of worker w of job `j`")
        );
        assert_eq!(silent("w").name("j").as_deref(), Some("worker w of job `j`"));
        assert_eq!(Who::Worker("w".to_owned()).doubt("j"), None);
    }

    #[test]
    fn more_marks_may_wait_the_longer_it_takes_but_none_while_clients_wait() {
        let after = |seconds| Until::Nearly.few(Duration::from_secs(seconds));
        assert_eq!([0, 4, 5, 10, 60].map(after), [100, 100, 200, 400, 1_600]);
        assert_eq!(Until::Drained.few(Duration::from_mins(1)), 0);
    }
}
