//! The named steps of a batch, and the port by which a test stops a consumer at one of them.

/// The steps of a batch, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Messages were received, nothing is done.
    Received,
    /// The effect of one message and its mark are written, nothing is committed.
    EffectMade,
    /// They are committed, nothing is acknowledged.
    Committed,
    /// The batch is acknowledged.
    Acknowledged,
}

impl Step {
    /// All steps in order.
    pub const ALL: [Self; 4] =
        [Self::Received, Self::EffectMade, Self::Committed, Self::Acknowledged];
}

/// A port called at each [`Step`].
#[async_trait::async_trait]
pub trait Pause: Send + Sync {
    /// The consumer goes on when this returns.
    async fn at(&self, step: Step);
}

/// Never stops.
pub(crate) struct NoPause;

#[async_trait::async_trait]
impl Pause for NoPause {
    async fn at(&self, _step: Step) {}
}
