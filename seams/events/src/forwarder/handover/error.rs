//! Why a handover did not come to its end.

use banyan_domain::{ContextName, Epoch, Side};

use super::HandoverStep;
use crate::forwarder::ForwarderError;

/// Why the route of the writes did not change.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// A rule says no; nothing changed.
    #[error("{0}")]
    Refused(String),
    /// Not known whether it changed; doing it again is safe.
    #[error("{0}")]
    Unknown(String),
}

/// Why a handover did not come to its end. Its row says at which step; running it again goes on there.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum HandoverError {
    /// Nothing to do.
    #[error("`{side}` emits the events of `{context}` already, since epoch {epoch}")]
    AlreadyThere {
        /// The context.
        context: ContextName,
        /// Its owner.
        side: Side,
        /// Its epoch.
        epoch: Epoch,
    },
    /// Another handover of the context is not over.
    #[error("the handover of `{context}` to `{target}` (epoch {epoch}) is at step `{}`", .step.as_str())]
    Unfinished {
        /// The context.
        context: ContextName,
        /// Where that one leads.
        target: Side,
        /// Its epoch.
        epoch: Epoch,
        /// Its step.
        step: HandoverStep,
    },
    /// No events of the side, or of the context, are configured.
    #[error("`{what}` is not configured for events")]
    NotConfigured {
        /// Side or context.
        what: String,
    },
    /// A tap publishes nothing, so nothing can be handed over.
    #[error("the forwarder is only a tap, it emits nothing that could be handed over")]
    OnlyTap,
    /// Nothing can be given up.
    #[error("no handover of `{context}` is under way")]
    NothingToGiveUp {
        /// The context.
        context: ContextName,
    },
    /// Writes may have reached the next owner already.
    #[error("the handover of `{context}` is at step `{}`, its writes may have moved", .step.as_str())]
    TooLate {
        /// The context.
        context: ContextName,
        /// Its step.
        step: HandoverStep,
    },
    /// The writes could not be moved.
    #[error("cannot move the writes: {0}")]
    Route(#[from] RouteError),
    /// The last owner still works on writes.
    #[error("{writes} writes of the last owner are still under way")]
    InFlight {
        /// How many.
        writes: u64,
    },
    /// The forwarder did not meet the markers in time.
    #[error("the forwarder has not passed both markers: {reason}")]
    NotSwitched {
        /// What it waits for.
        reason: String,
    },
    /// The forwarder's store or a broker failed.
    #[error(transparent)]
    Forwarder(#[from] ForwarderError),
}
