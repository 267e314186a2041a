//! Mirror queue, recheck, tally and gate.

mod exchange;
mod metric;
mod queue;
mod skip;

pub use exchange::{Exchange, Served};
pub use queue::{QueueLimit, Queued, ShadowHandle, ShadowQueue, queue};
pub use skip::SkipReason;
