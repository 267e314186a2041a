//! Ctrl-C and SIGTERM as a cancellation, and which of them it was.

use crate::exit::Exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by the first signal.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    pub(crate) token: CancellationToken,
    by: Arc<AtomicU8>,
}

impl Stop {
    /// Listens for Ctrl-C and SIGTERM from now on.
    pub(crate) fn listen() -> Self {
        let stop = Self { token: CancellationToken::new(), by: Arc::default() };
        for (kind, exit) in [
            (SignalKind::interrupt(), Exit::Interrupted),
            (SignalKind::terminate(), Exit::Terminated),
        ] {
            let Ok(mut stream) = signal(kind) else { continue };
            let stop = stop.clone();
            tokio::spawn(async move {
                stream.recv().await;
                stop.by.store(exit.number(), Ordering::SeqCst);
                stop.token.cancel();
            });
        }
        stop
    }

    /// The exit code of the signal that came, if one came.
    pub(crate) fn exit(&self) -> Option<Exit> {
        let number = self.by.load(Ordering::SeqCst);
        Exit::ALL.into_iter().find(|exit| exit.number() == number && number != 0)
    }
}
