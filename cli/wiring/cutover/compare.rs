//! The comparison before the hold, and the short one during it over the same connections.

use banyan_sync_jobs::{Comparison, Job, SyncError, VerifyOptions, VerifyReport};

/// Comparisons before the hold, so that the one during it is short.
const ROUNDS: usize = 3;
/// So few aggregates are compared within the hold without a further round before it.
const FEW_ROOTS: u64 = 50;

/// Compares what changed since the last time, or everything if there is none; answers what goes on from there.
pub(super) async fn catch_up(job: &Job) -> Result<Comparison, SyncError> {
    let options = VerifyOptions { since_clean: true, windows: 1, ..VerifyOptions::default() };
    let mut comparison = job.comparison(options).await?;
    let mut was_full = false;
    // Each round looks only at what changed during the one before.
    for _ in 0..ROUNDS {
        let report = comparison.run().await?;
        let needs_full = report.full_pass_needed.is_some();
        if needs_full && !was_full {
            was_full = true;
            job.verify(VerifyOptions::default()).await?;
        } else if needs_full || report.checked < FEW_ROOTS {
            break;
        }
    }
    Ok(comparison)
}

/// Compares what changed since then.
pub(super) async fn compare(
    job: &Job,
    kept: Option<Comparison>,
) -> Result<VerifyReport, SyncError> {
    let usual = VerifyOptions::default();
    if let Some(mut kept) = kept {
        kept.set_windows(usual.windows);
        match kept.run().await {
            Ok(report) => return Ok(report),
            // A connection that has ended meanwhile, say: another one will tell.
            Err(error) => tracing::warn!(error = error.chain(), "a comparison begins anew"),
        }
    }
    job.verify(VerifyOptions { since_clean: true, ..usual }).await
}
