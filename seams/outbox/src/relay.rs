//! The relay: publishes what is `ready`, in order, and marks it `sent`.
//!
//! Owns the loop of one leader per database. It exists because a row can be published only after its transaction
//! committed, by somebody who outlives the process that emitted it.
//!
//! What must stay true: rows are found by their state and never by a cursor, so a lower id that commits later is found;
//! a row is marked only after the broker confirmed it; a failing row holds back its lane and nothing else; a batch,
//! its bytes and every wait have a limit; every mark checks the lease.

mod batch;
mod config;
mod lease;
mod parity;
mod store;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use banyan_events::backoff::Backoff;
use banyan_events::broker::{Broker, BrokerError, BrokerKind, BrokerState, Message};
use tokio_util::sync::CancellationToken;

pub use config::RelayConfig;

use self::batch::{Blame, blame, waves};
use self::lease::{Lease, Report};
use self::parity::Parity;
use self::store::{Batch, Outcome};
use crate::Outbox;
use crate::engine::Engine;
use crate::error::OutboxError;
use crate::metrics;
use crate::row::Row;
use crate::status::RelayState;

/// First and longest wait after an error of the broker or the database.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How often the backlog is counted for the metrics, at most once per sign of life.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

/// The steps of a batch, in order; a test stops the relay at each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Rows were read, nothing is published.
    Read,
    /// Everything of the batch that can be published is confirmed, nothing is marked.
    Published,
    /// Marked.
    Marked,
}

impl Step {
    /// All steps in order.
    pub const ALL: [Self; 3] = [Self::Read, Self::Published, Self::Marked];
}

/// A port called at each [`Step`], so that tests can stop the relay there.
#[async_trait]
pub trait Pause: Send + Sync {
    /// The relay goes on when this returns.
    async fn at(&self, step: Step);
}

struct NoPause;

#[async_trait]
impl Pause for NoPause {
    async fn at(&self, _step: Step) {}
}

/// A relay, ready to run.
pub struct Relay<DB: Engine> {
    outbox: Outbox<DB>,
    broker: Arc<dyn Broker>,
    config: RelayConfig,
    pause: Arc<dyn Pause>,
}

impl<DB: Engine> Relay<DB> {
    /// A relay from `outbox` to the exchange that `config` names on `broker`. The exchange must be declared already.
    pub fn new(outbox: Outbox<DB>, broker: Arc<dyn Broker>, config: RelayConfig) -> Self {
        Self { outbox, broker, config: config.within_limits(), pause: Arc::new(NoPause) }
    }

    /// Sets the port that is called at each step.
    #[must_use]
    pub fn with_pause(mut self, pause: Arc<dyn Pause>) -> Self {
        self.pause = pause;
        self
    }

    /// Publishes until cancelled; a round under way is finished first. Errors are waited out, not returned: they are
    /// in the status and in the log.
    pub async fn run(&self, cancel: CancellationToken) {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        let lease = Lease::new(&self.config);
        while !cancel.is_cancelled() {
            let outcome = Box::pin(self.lead(&lease, &cancel)).await;
            if lease.did_work() {
                backoff.reset();
            }
            if let Err(error) = outcome {
                tracing::warn!(relay = %self.config.name, error = &error as &dyn std::error::Error, "relay starts over");
                metrics::restarted(&self.config.name);
                let reason = reason_of(&error);
                self.report(&lease, &Report { state: RelayState::Waiting, reason: &reason }).await;
                tokio::select! {
                    () = cancel.cancelled() => {}
                    () = tokio::time::sleep(backoff.wait()) => {}
                }
            }
        }
        if let Err(error) = lease.release(&self.outbox.pool).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the relay's lease ends by itself"
            );
        }
    }

    /// From taking the lease to the first error or the end.
    async fn lead(&self, lease: &Lease, cancel: &CancellationToken) -> Result<(), OutboxError> {
        while !lease.take(&self.outbox.pool).await? {
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                () = tokio::time::sleep(lease.renew_every()) => {}
            }
        }
        tracing::info!(relay = %self.config.name, generation = lease.generation(), "relay leads");
        let leading = metrics::Leading::begin(&self.config.name, lease.generation());
        let led = tokio::try_join!(self.work(lease, cancel), self.keep(lease, cancel, &leading));
        drop(leading);
        tracing::info!(relay = %self.config.name, "relay leads no more");
        led.map(drop)
    }

    /// Batch after batch: while one is published, the one before it is marked and the next one is read. Waits only when
    /// there is nothing to do.
    async fn work(&self, lease: &Lease, cancel: &CancellationToken) -> Result<(), OutboxError> {
        let mut before = Outcome::default();
        let mut batch = Batch::default();
        let mut parity = Parity::new(&self.config);
        while !cancel.is_cancelled() {
            if batch.is_empty() && before.is_empty() {
                batch = store::read(&self.outbox.pool, &self.config, &[]).await?;
                if batch.is_empty() {
                    self.nothing_to_announce(lease, &mut parity, cancel).await?;
                    continue;
                }
            }
            let in_hand: Vec<i64> = before.ids().chain(batch.ids()).collect();
            let (marked, (outcome, broken), next) = tokio::join!(
                self.mark(lease, &before),
                self.publish(lease, batch, &before),
                store::read(&self.outbox.pool, &self.config, &in_hand),
            );
            marked?;
            lease.worked();
            before = outcome;
            let read_on = broken.and(next);
            if read_on.is_err() {
                self.mark(lease, &before).await?;
            }
            batch = read_on?;
        }
        self.mark(lease, &before).await
    }

    /// Publishes some muted rows, or waits.
    async fn nothing_to_announce(
        &self,
        lease: &Lease,
        parity: &mut Parity,
        cancel: &CancellationToken,
    ) -> Result<(), OutboxError> {
        if self.publish_muted(lease, parity).await? {
            lease.worked();
            return Ok(());
        }
        tokio::select! {
            () = cancel.cancelled() => {}
            () = tokio::time::sleep(self.config.poll) => {}
        }
        Ok(())
    }

    async fn mark(&self, lease: &Lease, outcome: &Outcome) -> Result<(), OutboxError> {
        if outcome.is_empty() {
            return Ok(());
        }
        store::settle(&self.outbox.pool, lease, outcome, &self.config).await?;
        self.pause.at(Step::Marked).await;
        Ok(())
    }

    /// Publishes a batch: rows whose time has come again, one by one; then fresh ones, a wave at a time. Answers what
    /// became of the rows, and the error that ended it before all were tried.
    async fn publish(
        &self,
        lease: &Lease,
        batch: Batch,
        before: &Outcome,
    ) -> (Outcome, Result<(), OutboxError>) {
        let mut outcome = Outcome::after(before);
        if batch.is_empty() {
            return (outcome, Ok(()));
        }
        self.pause.at(Step::Read).await;
        let mut broken = self.publish_singly(lease, batch.due, &mut outcome).await;
        for wave in waves(batch.fresh, self.window_per_lane()) {
            if broken.is_err() {
                break;
            }
            broken = self.publish_wave(lease, outcome.passable(wave), &mut outcome).await;
        }
        self.pause.at(Step::Published).await;
        (outcome, broken)
    }

    /// Renews the lease with what is known of the broker, and cleans up, until cancelled.
    async fn keep(
        &self,
        lease: &Lease,
        cancel: &CancellationToken,
        leading: &metrics::Leading,
    ) -> Result<(), OutboxError> {
        let mut trimmed = tokio::time::Instant::now();
        let mut measured: Option<tokio::time::Instant> = None;
        loop {
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                () = tokio::time::sleep(lease.renew_every()) => {}
            }
            let reason = self.broker_trouble().unwrap_or_default();
            lease
                .renew(&self.outbox.pool, &Report { state: RelayState::Running, reason: &reason })
                .await?;
            if measured.is_none_or(|at| at.elapsed() > MEASURE_EVERY) {
                measured = Some(tokio::time::Instant::now());
                self.measure(leading).await;
            }
            if trimmed.elapsed() > self.config.clean_up_every {
                trimmed = tokio::time::Instant::now();
                self.trim(lease).await?;
            }
        }
    }

    /// Publishes a window at once; if the broker says no to any of it, finds out to which by publishing singly.
    async fn publish_wave(
        &self,
        lease: &Lease,
        wave: Vec<Row>,
        outcome: &mut Outcome,
    ) -> Result<(), OutboxError> {
        lease.check_time()?;
        let messages: Result<Vec<Message>, OutboxError> =
            wave.iter().map(|row| row.message(&self.config.exchange)).collect();
        let published = match messages {
            // A relay that was frozen in the middle of a wave sends no more of it once its lease may have ended.
            Ok(messages) => {
                self.broker.publish_while(messages, &|| lease.check_time().is_ok()).await
            }
            // One row cannot be read; publishing singly finds out which.
            Err(_) => return self.publish_singly(lease, wave, outcome).await,
        };
        match published {
            Ok(()) => {
                outcome.sent.extend(wave.iter().map(|row| row.id));
                Ok(())
            }
            // All but these are durable.
            Err(ref source @ BrokerError::Unroutable { ref routing_keys, .. }) => {
                for row in wave {
                    if !routing_keys.contains_key(&row.routing_key) {
                        outcome.sent.push(row.id);
                    } else if !outcome.holds(&row.lane) {
                        outcome.failed(row, Blame::Busy, source.to_string());
                    }
                }
                Ok(())
            }
            Err(source) => match self.blame(&source) {
                Blame::Broker => Err(OutboxError::Broker { source }),
                Blame::Busy | Blame::Row => self.publish_singly(lease, wave, outcome).await,
            },
        }
    }

    /// Publishes row after row; one that fails holds back the later ones of its lane.
    async fn publish_singly(
        &self,
        lease: &Lease,
        rows: Vec<Row>,
        outcome: &mut Outcome,
    ) -> Result<(), OutboxError> {
        for row in rows {
            lease.check_time()?;
            if outcome.holds(&row.lane) {
                continue;
            }
            let message = match row.message(&self.config.exchange) {
                Ok(message) => message,
                Err(error) => {
                    outcome.failed(row, Blame::Row, error.to_string());
                    continue;
                }
            };
            match self.broker.publish(message).await {
                Ok(()) => outcome.sent.push(row.id),
                Err(source) => match self.blame(&source) {
                    Blame::Broker => return Err(OutboxError::Broker { source }),
                    blame @ (Blame::Busy | Blame::Row) => {
                        outcome.failed(row, blame, source.to_string());
                    }
                },
            }
        }
        Ok(())
    }

    /// Says in the metrics what waits. What cannot be counted now is counted the next time.
    async fn measure(&self, leading: &metrics::Leading) {
        match self.outbox.backlog().await {
            Ok(contexts) => leading.measured(&contexts),
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "backlog not counted");
            }
        }
    }

    async fn trim(&self, lease: &Lease) -> Result<(), OutboxError> {
        while store::trim(&self.outbox.pool, lease, self.config.keep).await? {}
        Ok(())
    }

    /// Rows of a lane that may be unconfirmed together. The embedded broker stops at the first that it refuses, so
    /// with it nothing overtakes in any window.
    fn window_per_lane(&self) -> u16 {
        match self.broker.kind() {
            BrokerKind::Embedded => u16::MAX,
            BrokerKind::RabbitMq => self.config.window_per_lane,
        }
    }

    fn blame(&self, error: &BrokerError) -> Blame {
        blame(error, &self.broker.state())
    }

    fn broker_trouble(&self) -> Option<String> {
        match self.broker.state() {
            BrokerState::Connected => None,
            BrokerState::Blocked { reason } => {
                Some(format!("the broker takes no publishes: {reason}"))
            }
            BrokerState::Disconnected { reason } => Some(format!("no broker: {reason}")),
        }
    }

    async fn report(&self, lease: &Lease, report: &Report<'_>) {
        if let Err(error) = lease.report(&self.outbox.pool, report).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the relay's state is not stored"
            );
        }
    }
}

/// An error with its cause in one line.
fn reason_of(error: &OutboxError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
