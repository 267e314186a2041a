//! What operators do to an outbox, whichever engine it is on.

use std::time::Duration;

use async_trait::async_trait;
use banyan_domain::ContextName;
use serde::Serialize;
use sqlx::pool::PoolOptions;
use sqlx::{Connection, MySql, Postgres, Sqlite};

use crate::Outbox;
use crate::engine::{AnyRow, Bind, Engine, all};
use crate::error::OutboxError;
use crate::status::OutboxStatus;

/// Longest wait for the database of an operator's command.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// A row that was given up after too many tries. Its data is not shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct DeadRow {
    /// Id of the event.
    pub event_id: String,
    /// Its context.
    pub context: String,
    /// Its subject: the aggregate whose later events wait behind it.
    pub subject: String,
    /// Its type.
    #[serde(rename = "type")]
    #[sqlx(rename = "type")]
    pub kind: String,
    /// Its routing key.
    pub routing_key: String,
    /// The ownership under which it was emitted.
    pub epoch: i64,
    /// How often it was tried.
    pub attempts: i64,
    /// What the broker said last.
    pub error: Option<String>,
    /// How long ago it was emitted, in milliseconds.
    pub age_ms: i64,
}

impl AnyRow for DeadRow {}

/// Which dead rows are meant. There is no "all": each context is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The one of this event.
    Event(String),
    /// Those of this context.
    Context(ContextName),
}

const DEAD: &str = "SELECT event_id, context, subject, type, routing_key, epoch, attempts, error,
    {now} - created_at_ms AS age_ms FROM banyan_outbox WHERE state = 'dead' ORDER BY id LIMIT ?";
const RETRY_EVENT: &str = "UPDATE banyan_outbox SET state = 'waiting', attempts = 0, next_at_ms = 0
    WHERE state = 'dead' AND event_id = ?";
const RETRY_CONTEXT: &str =
    "UPDATE banyan_outbox SET state = 'waiting', attempts = 0, next_at_ms = 0
    WHERE state = 'dead' AND context = ?";
const DROP: &str = "UPDATE banyan_outbox SET state = 'dropped', settled_at_ms = {now}
    WHERE state = 'dead' AND event_id = ?";

/// An outbox as operators see it.
#[async_trait]
pub trait Operate: Send + Sync {
    /// How it does right now.
    async fn status(&self) -> Result<OutboxStatus, OutboxError>;

    /// The oldest dead rows.
    async fn dead(&self, rows_max: u32) -> Result<Vec<DeadRow>, OutboxError>;

    /// Has dead rows tried again, as if for the first time; answers how many.
    async fn retry(&self, which: &Which) -> Result<u64, OutboxError>;

    /// Gives a dead row up for good, so that what waits behind it passes; answers whether there was one. Consumers
    /// never see the event.
    async fn drop_dead(&self, event_id: &str) -> Result<bool, OutboxError>;
}

/// Opens the outbox in the database at `url`: `mysql:`, `mariadb:`, `postgres:` or `sqlite:`.
///
/// # Errors
/// [`OutboxError::Url`] for anything else, [`OutboxError::Database`] when it is not reached.
pub async fn open(url: &str) -> Result<Box<dyn Operate>, OutboxError> {
    match url.split_once(':') {
        Some(("mysql" | "mariadb", _)) => connect::<MySql>(url).await,
        Some(("postgres" | "postgresql", _)) => connect::<Postgres>(url).await,
        Some(("sqlite", _)) => connect::<Sqlite>(url).await,
        Some(_) | None => Err(OutboxError::Url),
    }
}

async fn connect<DB: Engine>(url: &str) -> Result<Box<dyn Operate>, OutboxError> {
    let failed = || OutboxError::database("open the database");
    let options: <DB::Connection as Connection>::Options = url.parse().map_err(failed())?;
    // A pool tries a refused connection again and again, and in the end only says that it took too long.
    let opening = tokio::time::timeout(CONNECT_MAX, DB::Connection::connect_with(&options));
    let first = opening.await.unwrap_or_else(|_| Err(no_answer())).map_err(failed())?;
    first.close().await.map_err(failed())?;
    let pool = PoolOptions::<DB>::new().max_connections(1).acquire_timeout(CONNECT_MAX);
    Ok(Box::new(Outbox::new(pool.connect_lazy_with(options))))
}

fn no_answer() -> sqlx::Error {
    let text = format!("no answer within {} s", CONNECT_MAX.as_secs());
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text))
}

#[async_trait]
impl<DB: Engine> Operate for Outbox<DB> {
    async fn status(&self) -> Result<OutboxStatus, OutboxError> {
        Self::status(self).await
    }

    async fn dead(&self, rows_max: u32) -> Result<Vec<DeadRow>, OutboxError> {
        let failed = || OutboxError::database("read the dead rows");
        let mut connection = self.pool.acquire().await.map_err(failed())?;
        let binds = [Bind::Number(i64::from(rows_max))];
        all::<DB, _>(&mut connection, DEAD, &binds).await.map_err(failed())
    }

    async fn retry(&self, which: &Which) -> Result<u64, OutboxError> {
        match which {
            Which::Event(id) => self.change(RETRY_EVENT, id).await,
            Which::Context(context) => self.change(RETRY_CONTEXT, context.as_str()).await,
        }
    }

    async fn drop_dead(&self, event_id: &str) -> Result<bool, OutboxError> {
        Ok(self.change(DROP, event_id).await? > 0)
    }
}

impl<DB: Engine> Outbox<DB> {
    async fn change(&self, sql: &'static str, which: &str) -> Result<u64, OutboxError> {
        let failed = || OutboxError::database("change the dead rows");
        let mut connection = self.pool.acquire().await.map_err(failed())?;
        DB::run(&mut connection, sql, &[Bind::Text(which)]).await.map_err(failed())
    }
}
