//! What a session looks after beside its work: the triggers of both sides, writes of others, the other direction.
//!
//! What must stay true: triggers that were away make everything be compared again; a write of an application on the target is
//! remembered as a conflict before anything of its aggregate is applied.

use super::{FOREIGN_MAX, Session};
use crate::connection::Connection;
use crate::drain;
use crate::error::SyncError;
use crate::install;
use crate::job::JobInner;
use crate::metric;

impl Session<'_> {
    /// Whether the triggers are the ones that the target was filled by. Others have missed changes: then everything is
    /// compared again.
    pub(super) async fn is_captured(&mut self, identity: String) -> Result<bool, SyncError> {
        if self.captured_by.as_deref() == Some(identity.as_str()) {
            return Ok(true);
        }
        let known = self.captured_by.replace(identity.clone());
        if known.is_some() {
            tracing::warn!(
                job = %self.job.spec.name,
                "the triggers were replaced and may have missed changes: everything is compared again"
            );
            metric::capture_lost(&self.job.spec.name);
            self.keep_lease().await?;
            self.target.run("ask for a new listing", &self.job.state.relist_sql()).await?;
        }
        // Last, so that a crash before it asks for the listing once more.
        self.job.state.save_capture(&mut self.target, &identity).await?;
        self.reload().await?;
        Ok(known.is_none())
    }

    /// Looks for writes of applications on the target, which does not own the data: they are conflicts.
    pub(super) async fn watch(&mut self) -> Result<(), SyncError> {
        if !self.is_watched {
            return Ok(());
        }
        let job = &self.job.spec.name;
        if !drain::foreign(&mut self.target, job, FOREIGN_MAX).await?.is_empty() {
            self.target.begin_write().await?;
            self.job.state.renew(&mut self.target, &self.lease, self.job.ttl_ms()).await?;
            // A side that has just been opened owns its writes: they are no conflict, this direction is over.
            self.job.state.check_fence(&mut self.target, self.state.fence).await?;
            let foreign = drain::foreign(&mut self.target, job, FOREIGN_MAX).await?;
            self.job.state.add_conflicts(&mut self.target, &foreign).await?;
            self.target.commit().await?;
        }
        self.count_conflicts().await
    }

    pub(super) async fn count_conflicts(&mut self) -> Result<(), SyncError> {
        self.conflicts = self.job.state.count_conflicts(&mut self.target).await?;
        self.publisher.conflicts(self.conflicts);
        Ok(())
    }
}

/// Two directions at once would carry each other's writes back and forth.
pub(super) async fn refuse_opposite(
    job: &JobInner,
    source: &mut Connection,
) -> Result<(), SyncError> {
    if !job.spec.is_two_way() || !install::exists(source, "by_state").await? {
        return Ok(());
    }
    match job.state.opposite_holder(source).await? {
        None => Ok(()),
        Some(holder) => Err(SyncError::OtherDirection {
            job: job.spec.name.clone(),
            holder,
            toward: job.from(),
        }),
    }
}
