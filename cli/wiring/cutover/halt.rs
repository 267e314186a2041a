//! A place at which a test stops a cutover, to kill it or something else there.

use banyan_cutover::Step;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Where a test stops this run, to kill it or something else there: `BANYAN_TEST_HALT_AT` is the step at whose end it stops,
/// `BANYAN_TEST_HALT_UNTIL` a file; when that appears it goes on.
pub(super) struct Halt {
    step: String,
    until: Option<PathBuf>,
}

impl Halt {
    pub(super) fn from_env() -> Option<Self> {
        let step = std::env::var("BANYAN_TEST_HALT_AT").ok()?;
        Some(Self { step, until: std::env::var_os("BANYAN_TEST_HALT_UNTIL").map(PathBuf::from) })
    }

    /// Called at the end of each step.
    pub(super) async fn at(&self, step: Step) {
        if self.step != step.as_str() {
            return;
        }
        tracing::warn!(%step, "halted for a test");
        while !self.until.as_deref().is_some_and(Path::exists) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
