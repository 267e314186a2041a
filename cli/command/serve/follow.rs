//! A sync job that follows the owner of its context: from the owner's side to the other one, and round after a cutover.
//!
//! What must stay true: one direction at a time; a stale direction is harmless, because an open fence refuses its writes.

use banyan_control::ControlStore;
use banyan_domain::{ContextName, Side};
use banyan_sync_jobs::{Job, RunMode, Scheduler};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often the owner is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A job with its way back, if the mapping describes one.
pub(super) struct Follower {
    pub(super) job: Job,
    pub(super) back: Option<Job>,
    /// Whether it drains continuously, or only runs on its schedule.
    pub(super) follows: bool,
}

impl Follower {
    /// Runs until `quiet`. Without the control store the direction stays what it is.
    pub(super) async fn run(self, store: Arc<dyn ControlStore>, quiet: CancellationToken) {
        let context = ContextName::new(&self.job.spec().context).ok();
        let mut to = Side::New;
        while !quiet.is_cancelled() {
            let owner = owner(&store, context.as_ref()).await;
            to = match (owner, &self.back) {
                (Some(owner), Some(_)) => owner.other(),
                // What only legacy owns always goes to new.
                (_, None) => Side::New,
                (None, Some(_)) => to,
            };
            let stop = quiet.child_token();
            let work = self.work(to, stop.clone());
            let moved = self.wait_for_another(&store, context.as_ref(), to, &stop);
            let ((), ()) = tokio::join!(work, moved);
        }
    }

    /// One direction, until it is stopped.
    async fn work(&self, to: Side, stop: CancellationToken) {
        let job = match (to, &self.back) {
            (Side::Legacy, Some(back)) => back,
            (Side::Legacy | Side::New, _) => &self.job,
        };
        let mut tasks = JoinSet::new();
        if let Some(scheduler) = Scheduler::new(job) {
            let stop = stop.clone();
            tasks.spawn(async move { scheduler.run(stop).await });
        }
        if self.follows {
            let (job, stop) = (job.clone(), stop.clone());
            tasks.spawn(async move {
                tracing::info!(job = job.name(), %to, "sync job follows");
                match job.run(RunMode::Follow, stop).await {
                    Ok(_) => tracing::info!(job = job.name(), %to, "sync job stopped"),
                    Err(error) => {
                        tracing::error!(job = job.name(), %to, error = error.chain(), "sync job ended");
                    }
                }
            });
        }
        while tasks.join_next().await.is_some() {}
        stop.cancelled().await;
    }

    /// Stops the direction when the owner has changed.
    async fn wait_for_another(
        &self,
        store: &Arc<dyn ControlStore>,
        context: Option<&ContextName>,
        to: Side,
        stop: &CancellationToken,
    ) {
        if self.back.is_none() {
            return stop.cancelled().await;
        }
        let mut seen = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let Ok(generation) = store.generation().await else { continue };
            if seen == Some(generation) {
                continue;
            }
            if let Some(owner) = owner(store, context).await {
                seen = Some(generation);
                if owner.other() != to {
                    stop.cancel();
                }
            }
        }
    }
}

async fn owner(store: &Arc<dyn ControlStore>, context: Option<&ContextName>) -> Option<Side> {
    let table = store.table().await.ok()?;
    Some(table.contexts.get(context?)?.owner)
}
