//! What the sync jobs and other components tell the rest of the installation.
//!
//! Owns watermarks, runs and the status board. It exists because the proxy needs to know how far the other
//! side has caught up, and a person needs to see it. A watermark says: everything that the owner had
//! committed up to that moment is on the other side.

use banyan_domain::{ContextName, Side};
use serde::{Deserialize, Serialize};

/// How far one job has caught up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncWatermark {
    /// The job.
    pub job: String,
    /// The context it belongs to.
    pub context: ContextName,
    /// The side it writes to.
    pub to: Side,
    /// Everything committed until then has arrived, Unix ms.
    pub watermark_ms: u64,
    /// How far that is behind, in ms, when it was reported.
    pub lag_ms: u64,
    /// Aggregates that wait.
    pub pending: u64,
    /// One word, such as `following`, `copying`, `waiting` or `failing`.
    pub state: String,
    /// Why it waits or fails, may be empty.
    pub detail: String,
    /// When it was reported, Unix ms.
    pub at_ms: u64,
}

/// One run of a sync job. Recording the same id again replaces what was known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SyncRun {
    /// Unique name of the run.
    pub id: String,
    /// The job.
    pub job: String,
    /// The context it belongs to.
    pub context: ContextName,
    /// The side it writes to.
    pub to: Side,
    /// What it does: `copy`, `drain`, `follow`, `verify`, ...
    pub mode: String,
    /// When it began, Unix ms.
    pub started_ms: u64,
    /// When it ended, Unix ms; nothing while it runs.
    pub ended_ms: Option<u64>,
    /// `running`, `done`, `stopped` or `failed`.
    pub state: String,
    /// Aggregates it moved or compared.
    pub aggregates: u64,
    /// Rows it wrote.
    pub rows: u64,
    /// Anything else worth keeping, such as counts per table or the error.
    pub detail: serde_json::Value,
}

/// One entry of the status board: what a component says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComponentStatus {
    /// The component, such as `events.forwarder`.
    pub component: String,
    /// What it says.
    pub detail: serde_json::Value,
    /// When, Unix ms by the store's clock.
    pub at_ms: u64,
    /// How long ago, in ms.
    pub age_ms: u64,
}
