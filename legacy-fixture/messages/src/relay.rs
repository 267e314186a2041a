//! The relay of the service's outbox, in the service's own process.
//!
//! It has connections of its own, so that a slow broker takes none away from the requests.
//!
//! What must stay true: without `--broker` nothing is sent and the rows stay; a broker that is away never fails a
//! request nor the start; the end lets a batch under way finish, for a bounded time.

use crate::{args::MessagesArgs, database::is_reusable, error::MessagesError};
use banyan_outbox::{Engine, Outbox, Relay, RelayConfig};
use banyan_seams::events::{
    backoff::Backoff,
    broker::{Broker, BrokerError, ExchangeKind, Topology, connect},
};
use sqlx::{Pool, Postgres, Sqlite, pool::PoolOptions};
use std::{error::Error, sync::Arc, time::Duration};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// First and longest wait for a broker or a database that is away.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long the end waits for a batch under way.
const END_MAX: Duration = Duration::from_secs(10);
const CONNECTIONS_MAX: u32 = 4;

/// A relay that runs.
#[derive(Debug)]
pub(crate) struct Running {
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

/// Starts the relay when there is a broker.
pub(crate) fn start(args: &MessagesArgs) -> Option<Running> {
    let broker = args.broker.clone()?;
    let (database, exchange) = (args.database.clone(), args.exchange.clone());
    let cancel = CancellationToken::new();
    let to = Destination { database, broker, exchange, cancel: cancel.clone() };
    let is_sqlite = to.database.starts_with("sqlite:");
    let task = if is_sqlite { spawn::<Sqlite>(to) } else { spawn::<Postgres>(to) };
    Some(Running { cancel, task })
}

/// For any engine, because the compiler does not see that the future of a named one may be sent.
fn spawn<DB: Engine>(to: Destination) -> JoinHandle<()> {
    tokio::spawn(async move { to.relay::<DB>().await })
}

/// Refuses a broker that no try can reach.
pub(crate) fn refuse_unknown_broker(url: Option<&str>) -> Result<(), MessagesError> {
    let Some(url) = url else { return Ok(()) };
    if ["embedded:", "amqp://", "amqps://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Ok(());
    }
    let scheme = url.split(':').next().unwrap_or_default();
    Err(MessagesError::BrokerUrl { url: format!("{scheme}:..") })
}

impl Running {
    /// Lets a batch under way finish. Rows that are left go out after the next start.
    pub(crate) async fn end(self) {
        self.cancel.cancel();
        let mut task = self.task;
        if tokio::time::timeout(END_MAX, &mut task).await.is_err() {
            task.abort();
            tracing::warn!(after_s = END_MAX.as_secs(), "relay cut off before the end");
        }
    }
}

/// What passes by itself is a warning; what only a person can mend is an error.
fn complain(reason: &(dyn Error + Send + Sync + 'static)) {
    let of_broker = reason.downcast_ref::<BrokerError>();
    let hint = of_broker.and_then(BrokerError::hint);
    if of_broker.is_some_and(|error| !error.is_transient()) {
        tracing::error!(error = reason, hint, "events wait: the relay cannot start");
    } else {
        tracing::warn!(error = reason, hint, "events wait: the relay cannot start yet");
    }
}

struct Destination {
    database: String,
    broker: String,
    exchange: String,
    cancel: CancellationToken,
}

impl Destination {
    async fn relay<DB: Engine>(&self) {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        let opened = loop {
            let reason = match self.open::<DB>().await {
                Ok(opened) => break opened,
                Err(error) => error,
            };
            complain(reason.as_ref());
            tokio::select! {
                () = self.cancel.cancelled() => return,
                () = tokio::time::sleep(backoff.wait()) => {}
            }
        };
        let (pool, broker) = opened;
        let config = RelayConfig::new(&self.exchange);
        Relay::new(Outbox::new(pool.clone()), Arc::clone(&broker), config)
            .run(self.cancel.clone())
            .await;
        broker.close().await;
        pool.close().await;
    }

    async fn open<DB: Engine>(
        &self,
    ) -> Result<(Pool<DB>, Arc<dyn Broker>), Box<dyn Error + Send + Sync>> {
        let broker = self.declare().await?;
        let pool = PoolOptions::<DB>::new()
            .max_connections(CONNECTIONS_MAX)
            .after_release(|connection, _| Box::pin(is_reusable(connection)));
        Ok((pool.connect(&self.database).await?, broker))
    }

    async fn declare(&self) -> Result<Arc<dyn Broker>, BrokerError> {
        let broker = connect(&self.broker).await?;
        broker.declare(&Topology::new().exchange(&self.exchange, ExchangeKind::Topic)).await?;
        Ok(broker)
    }
}
