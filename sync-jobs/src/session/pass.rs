//! Following cursors: the drain of a job without triggers.
//!
//! What must stay true: the horizon of a pass is read before its first snapshot; a position is saved after everything before
//! it was applied.

use banyan_engine::RootKey;

use super::{Session, Step, Tried};
use crate::cursor;
use crate::error::SyncError;
use crate::pause::PausePoint;
use crate::progress::JobState;
use crate::state::{Checkpoint, Written};

impl Session<'_> {
    /// One pass over each captured table, from its position on.
    pub(super) async fn follow_cursors(&mut self) -> Result<Step, SyncError> {
        let clock_ms = self.source.clock_ms().await?;
        self.publisher.seen(clock_ms, 0);
        let mut step = Step::Idle;
        for mut pass in cursor::passes(&self.job, &mut self.source, &mut self.target).await? {
            let mut is_full = true;
            while is_full {
                self.keep().await?;
                self.reach(PausePoint::BeforeSnapshot).await;
                self.source.begin_snapshot().await?;
                let page = pass.page(&mut self.source, self.changes_limit).await?;
                is_full = page.is_full;
                if page.keys.is_empty() {
                    self.source.commit().await?;
                    continue;
                }
                let checkpoint = Checkpoint::Drain { token: format!("cursor-{}", pass.number) };
                let written = self.apply_page(&page.keys, &checkpoint).await?;
                if written.inserted + written.updated + written.deleted > 0 {
                    step = Step::Worked;
                }
            }
            self.reach(PausePoint::BeforeDelete).await;
            let position = pass.next_position(&mut self.source).await?;
            if let Some(position) = position.filter(|position| *position > pass.from) {
                self.job.state.save_cursor(&mut self.target, pass.number, &position).await?;
            }
        }
        self.publisher.state(JobState::Following, None);
        Ok(step)
    }

    /// Applies the roots of a page, fewer at a time if they are too heavy; the snapshot of the caller serves the first.
    async fn apply_page(
        &mut self,
        keys: &[RootKey],
        checkpoint: &Checkpoint,
    ) -> Result<Written, SyncError> {
        let mut total = Written::default();
        let mut work = vec![keys.to_vec()];
        let mut is_open = true;
        while let Some(keys) = work.pop() {
            if !is_open {
                self.source.begin_snapshot().await?;
            }
            is_open = false;
            match self.read_and_apply(&keys, checkpoint).await? {
                Tried::Applied(written) => {
                    self.publisher.wrote(written, keys.len());
                    total.inserted += written.inserted;
                    total.updated += written.updated;
                    total.deleted += written.deleted;
                }
                Tried::TooHeavy => {
                    let [first, _, ..] = keys.as_slice() else {
                        let key = keys.first().cloned().unwrap_or_else(|| RootKey::new(""));
                        return Err(self.too_large(&key));
                    };
                    tracing::debug!(%first, "the page is too heavy, it is halved");
                    let (left, right) = keys.split_at(keys.len() / 2);
                    work.extend([right.to_vec(), left.to_vec()]);
                }
            }
        }
        Ok(total)
    }
}
