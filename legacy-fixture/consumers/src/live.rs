//! What a running consumer says of itself: whether it consumes, and if not, why.

use tokio::sync::watch;

/// Whether messages are taken right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// Never consumed yet.
    Starting,
    /// The queue is bound and consumed.
    Consuming,
    /// Something is tried again; messages wait in the queue.
    Waiting {
        /// Why.
        reason: String,
    },
}

/// The state of one consumer, for whoever asks or waits.
#[derive(Debug)]
pub(crate) struct Live(watch::Sender<State>);

impl Live {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(State::Starting))
    }

    pub(crate) fn set(&self, state: State) {
        self.0.send_replace(state);
    }

    pub(crate) fn get(&self) -> State {
        self.0.borrow().clone()
    }

    /// Waits until messages are taken.
    pub(crate) async fn until_consuming(&self) {
        let mut states = self.0.subscribe();
        // The sender is `self`, so it cannot be gone.
        states.wait_for(|state| *state == State::Consuming).await.map(drop).ok();
    }
}

impl State {
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Consuming => "consuming",
            Self::Waiting { .. } => "waiting",
        }
    }

    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Starting | Self::Consuming => "",
            Self::Waiting { reason } => reason,
        }
    }
}
