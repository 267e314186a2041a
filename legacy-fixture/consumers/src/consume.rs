//! The loop: connect, declare, consume, take, acknowledge; on any error drop everything, wait, start over.
//!
//! What must stay true: a message is acknowledged only after its commit; nothing is ever given back by a negative
//! acknowledgement, which would reorder the queue; at most `prefetch` messages are in hand; a batch under way is
//! finished before the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use banyan_seams::events::backoff::Backoff;
use banyan_seams::events::broker::{
    BrokerError, Consumer, Delivery, ExchangeKind, QueueOptions, Topology, connect,
};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::args::{ConsumerArgs, QueueType};
use crate::error::ConsumerError;
use crate::live::{Live, State};
use crate::pause::{Pause, Step};
use crate::store::{Store, Taken};

/// First and longest wait after an error.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Between two cleanups of the inbox.
const CLEAN_UP_EVERY: Duration = Duration::from_hours(1);

/// What consumes.
pub(crate) struct Worker {
    pub(crate) app: App,
    pub(crate) store: Store,
    pub(crate) args: ConsumerArgs,
    pub(crate) live: Arc<Live>,
    pub(crate) pause: Arc<dyn Pause>,
}

impl Worker {
    /// Consumes until cancelled. Errors are waited out: they are in the status and in the log.
    pub(crate) async fn run(&self, cancel: &CancellationToken) {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        while !cancel.is_cancelled() {
            let mut worked = false;
            let Err(error) = self.session(cancel, &mut worked).await else { return };
            if worked {
                backoff.reset();
            }
            let reason = error.line();
            tracing::warn!(consumer = self.app.as_str(), reason, "consumer starts over");
            self.live.set(State::Waiting { reason });
            tokio::select! {
                () = cancel.cancelled() => {}
                () = tokio::time::sleep(backoff.wait()) => {}
            }
        }
    }

    /// From connecting to the first error or the end.
    async fn session(
        &self,
        cancel: &CancellationToken,
        worked: &mut bool,
    ) -> Result<(), ConsumerError> {
        let connecting = connect(&self.args.broker);
        let broker = tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            connected = connecting => connected.map_err(|source| self.broken(source))?,
        };
        let outcome = async {
            broker.declare(&self.topology()).await.map_err(|source| self.broken(source))?;
            let consuming = broker.consume(self.queue(), self.args.prefetch).await;
            let consumer = consuming.map_err(|source| self.broken(source))?;
            self.live.set(State::Consuming);
            tracing::info!(consumer = self.app.as_str(), queue = self.queue(), "consuming");
            self.consume(consumer, cancel, worked).await
        };
        let outcome = outcome.await;
        broker.close().await;
        outcome
    }

    /// Batch after batch. Leaving drops the consumer, which gives back what is not acknowledged, in its old place.
    async fn consume(
        &self,
        mut consumer: Box<dyn Consumer>,
        cancel: &CancellationToken,
        worked: &mut bool,
    ) -> Result<(), ConsumerError> {
        let mut cleaned: Option<Instant> = None;
        loop {
            if cleaned.is_none_or(|at| at.elapsed() > CLEAN_UP_EVERY) {
                self.store.clean_up().await?;
                cleaned = Some(Instant::now());
            }
            let batch = tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(()),
                batch = consumer.next_batch(usize::from(self.args.prefetch)) => batch,
            };
            let batch = batch.map_err(|source| self.broken(source))?;
            self.take_all(&batch).await?;
            let Some(last) = batch.last() else { continue };
            let acked = consumer.ack_through(last.tag).await;
            acked.map_err(|source| self.broken(source))?;
            *worked = true;
            self.pause.at(Step::Acknowledged).await;
        }
    }

    async fn take_all(&self, batch: &[Delivery]) -> Result<(), ConsumerError> {
        self.pause.at(Step::Received).await;
        for delivery in batch {
            let taken = self.store.take(&delivery.message, self.pause.as_ref()).await?;
            if taken == Taken::Again {
                tracing::debug!(consumer = self.app.as_str(), "message was taken before");
            }
            self.pause.at(Step::Committed).await;
        }
        Ok(())
    }

    fn topology(&self) -> Topology {
        let options = QueueOptions::default();
        let options = match self.args.queue_type {
            QueueType::Quorum => options,
            QueueType::Classic => options.classic(),
        };
        let base = Topology::new()
            .exchange(&self.args.exchange, ExchangeKind::Topic)
            .queue(self.queue(), options);
        let bind = |topology: Topology, pattern: &&str| {
            topology.bind(self.queue(), &self.args.exchange, *pattern)
        };
        self.app.patterns().iter().fold(base, bind)
    }

    fn queue(&self) -> &str {
        self.args.queue.as_deref().unwrap_or(self.app.as_str())
    }

    fn broken(&self, source: BrokerError) -> ConsumerError {
        ConsumerError::Broker { queue: self.queue().to_owned(), source }
    }
}
