//! The lines of the audit, written beside the cutover: clients wait during a hold.

use banyan_control::{AuditOutcome, ControlStore};
use banyan_domain::{Actor, ContextName};
use std::sync::Arc;
use tokio::sync::mpsc;

/// A line of the audit.
pub(super) struct Line {
    pub(super) outcome: AuditOutcome,
    pub(super) detail: String,
    pub(super) actor: Actor,
}

/// Writes lines as they come; answers how many could not be written.
pub(super) async fn write(
    store: Arc<dyn ControlStore>,
    context: ContextName,
    mut lines: mpsc::UnboundedReceiver<Line>,
) -> u32 {
    let mut lost = 0;
    while let Some(Line { outcome, detail, actor }) = lines.recv().await {
        let noted = store.note("cutover", context.as_str(), outcome, &detail, &actor).await;
        if let Err(error) = noted {
            tracing::warn!(%error, detail, "a step of a cutover is not in the audit");
            lost += 1;
        }
    }
    lost
}
