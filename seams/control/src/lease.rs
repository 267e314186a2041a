//! Leases: at most one holder of a named duty at a time.
//!
//! Owns what a grant says. It exists so that of many processes one runs a sync job or a forwarder. What must
//! stay true: the epoch grows with every change of holder and is never reused, so that work of a holder that
//! slept through its lease can be told apart and refused where the data is.

use serde::{Deserialize, Serialize};

/// A lease that was granted or renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseGrant {
    /// Number of this holding; the same while it is renewed in time.
    pub epoch: u64,
    /// When it ends, Unix ms by the store's clock.
    pub expires_ms: u64,
}

/// A lease as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Name of the duty.
    pub name: String,
    /// Who holds it, or held it last.
    pub holder: String,
    /// Number of the holding.
    pub epoch: u64,
    /// When it ends, Unix ms; in the past when nobody holds it.
    pub expires_ms: u64,
}

/// Whether a lease may be granted, and under which epoch: a pure function of the row that is there.
pub(crate) fn grant(row: Option<&Lease>, holder: &str, now_ms: u64) -> Option<u64> {
    let Some(row) = row else { return Some(1) };
    let held = row.expires_ms > now_ms;
    match (held, row.holder == holder) {
        (true, true) => Some(row.epoch),
        (true, false) => None,
        // Also for the same holder: it cannot know what happened while its lease was over.
        (false, _) => Some(row.epoch + 1),
    }
}
