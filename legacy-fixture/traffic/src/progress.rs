//! The progress file: the counters so far, for whoever watches from outside.
//!
//! What must stay true: a reader sees a whole object or the one before, never half; a full disk does not stop the
//! traffic.

use crate::{error::TrafficError, summary::TrafficSummary, tally::Tally};
use std::{fs, io, path::Path, time::Duration};
use tokio::time::{MissedTickBehavior, interval};

const INTERVAL: Duration = Duration::from_millis(250);

/// Writes the file once; an error here is the user's to fix.
pub(crate) fn write_first(path: &Path, tally: &Tally) -> Result<(), TrafficError> {
    write(path, &tally.summary())
        .map_err(|source| TrafficError::ProgressFile { path: path.to_owned(), source })
}

/// Rewrites the file for ever.
pub(crate) async fn keep_writing(path: &Path, tally: &Tally) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        write_or_warn(path, tally);
    }
}

/// Writes the file once more; later problems are only logged.
pub(crate) fn write_or_warn(path: &Path, tally: &Tally) {
    if let Err(error) = write(path, &tally.summary()) {
        tracing::warn!(%error, path = %path.display(), "cannot write the progress file");
    }
}

fn write(path: &Path, summary: &TrafficSummary) -> io::Result<()> {
    let text = serde_json::to_string(summary).map_err(io::Error::other)?;
    let partial = path.with_extension("partial");
    fs::write(&partial, text)?;
    fs::rename(partial, path)
}
