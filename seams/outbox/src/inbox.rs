//! The inbox of a consumer: an effect exactly once, and no effect of an ownership that ended.
//!
//! Owns the tables `banyan_inbox` and `banyan_inbox_epoch`. It exists because every broker delivers at least once. What
//! must stay true: the mark and the effect are in one transaction, so that both happen or neither; acknowledge only
//! after its commit.

use std::time::Duration;

use banyan_events::broker::Message;
use banyan_events::envelope::{CloudEvent, EnvelopeError, Stamp};
use sqlx::{Pool, Transaction};

use crate::engine::{Bind, Dialect, Engine, one, signed};
use crate::error::{OutboxError, fits};
use crate::schema::{CONSUMER_BYTES_MAX, TEXT_BYTES_MAX};

/// Marks that are forgotten in one statement, roughly.
const FORGET_MAX: i64 = 10_000;

const MARK: &str = "banyan_inbox (consumer, source, event_id, seen_at_ms) VALUES (?, ?, ?, {now})";
/// By `banyan_inbox_seen`.
const FORGET_TO: &str = "SELECT seen_at_ms FROM banyan_inbox WHERE seen_at_ms < {now} - ?
    ORDER BY seen_at_ms LIMIT 1 OFFSET ?";
const FORGET_ALL: &str = "DELETE FROM banyan_inbox WHERE seen_at_ms < {now} - ?";
const FORGET_SOME: &str = "DELETE FROM banyan_inbox WHERE seen_at_ms <= ?";

/// Both lock the row for writing at once, so that two events of one subject never wait for each other in a circle.
const RAISE: &str = "INSERT INTO banyan_inbox_epoch (consumer, context, subject, epoch)
    VALUES (?, ?, ?, ?) ON CONFLICT (consumer, context, subject)
    DO UPDATE SET epoch = excluded.epoch WHERE banyan_inbox_epoch.epoch < excluded.epoch";
const RAISE_MYSQL: &str = "INSERT INTO banyan_inbox_epoch (consumer, context, subject, epoch)
    VALUES (?, ?, ?, ?) ON DUPLICATE KEY UPDATE epoch = GREATEST(epoch, VALUES(epoch))";
/// A locking read, because a snapshot may be older than what was just compared with.
const NEWEST: &str = "SELECT epoch FROM banyan_inbox_epoch
    WHERE consumer = ? AND context = ? AND subject = ? {share}";

/// Whether a consumer has seen an event before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Have the effect.
    First,
    /// Have none; acknowledge.
    Again,
}

/// What names an event: two events of equal source and id are the same event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EventKey {
    /// The emitter; the AMQP `app_id` for events that are no CloudEvents.
    pub source: String,
    /// The id within the source; the AMQP `message_id` for events that are no CloudEvents.
    pub id: String,
}

/// The inbox of one consumer.
#[derive(Debug, Clone)]
pub struct Inbox {
    consumer: String,
}

/// Whether an event may have an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is of the newest ownership that was seen for its subject.
    Current,
    /// An event of a newer ownership was seen for its subject: have no effect, acknowledge.
    Stale {
        /// The newest epoch that was seen.
        newest: u64,
    },
}

/// Keeps a consumer from acting on events of an ownership that has ended, subject by subject.
#[derive(Debug, Clone)]
pub struct EpochFence {
    consumer: String,
}

impl EventKey {
    /// The key of an event in any form; `None` when its emitter gave it no id.
    ///
    /// # Errors
    /// [`EnvelopeError`] for a broken CloudEvent.
    pub fn of(message: &Message) -> Result<Option<Self>, EnvelopeError> {
        if let Some(event) = CloudEvent::from_message(message)? {
            return Ok(Some(Self { source: event.source, id: event.id }));
        }
        let source = message.properties.app_id.clone().unwrap_or_default();
        Ok(message.properties.message_id.clone().map(|id| Self { source, id }))
    }
}

impl Inbox {
    /// The inbox of `consumer`: of all its processes together.
    ///
    /// # Errors
    /// [`OutboxError::TooLong`] above 64 bytes.
    pub fn new(consumer: impl Into<String>) -> Result<Self, OutboxError> {
        checked(consumer.into()).map(|consumer| Self { consumer })
    }

    /// Marks an event as seen, in the transaction of its effect. Two transactions with one event wait for each other, and
    /// one of them is the first.
    ///
    /// # Errors
    /// [`OutboxError::TooLong`] for a source or id above 255 bytes; [`OutboxError::Database`]: roll back, do not
    /// acknowledge.
    pub async fn once<DB: Engine>(
        &self,
        tx: &mut Transaction<'_, DB>,
        key: &EventKey,
    ) -> Result<Seen, OutboxError> {
        fits("the event's source", &key.source, TEXT_BYTES_MAX)?;
        fits("the event's id", &key.id, TEXT_BYTES_MAX)?;
        let binds = [&self.consumer, &key.source, &key.id].map(|text| Bind::Text(text));
        let marked = DB::run(tx, &DB::DIALECT.insert_new(MARK), &binds).await;
        match marked.map_err(OutboxError::database("mark the event as seen"))? {
            0 => Ok(Seen::Again),
            _ => Ok(Seen::First),
        }
    }

    /// Forgets marks older than `keep`, of all consumers of the database; answers whether there may be more. An event
    /// that the broker delivers again after that has its effect again, so keep marks longer than queues keep events.
    ///
    /// # Errors
    /// [`OutboxError::Database`].
    pub async fn forget<DB: Engine>(pool: &Pool<DB>, keep: Duration) -> Result<bool, OutboxError> {
        let failed = || OutboxError::database("clean up the inbox");
        let keep_ms = signed(u64::try_from(keep.as_millis()).unwrap_or(u64::MAX));
        let mut connection = pool.acquire().await.map_err(failed())?;
        let binds = [Bind::Number(keep_ms), Bind::Number(FORGET_MAX)];
        let to: Option<(i64,)> =
            one::<DB, _>(&mut connection, FORGET_TO, &binds).await.map_err(failed())?;
        let (sql, bind) = match to {
            Some((to,)) => (FORGET_SOME, to),
            None => (FORGET_ALL, keep_ms),
        };
        DB::run(&mut connection, sql, &[Bind::Number(bind)]).await.map_err(failed())?;
        Ok(to.is_some())
    }
}

impl EpochFence {
    /// The fence of `consumer`: of all its processes together.
    ///
    /// # Errors
    /// [`OutboxError::TooLong`] above 64 bytes.
    pub fn new(consumer: impl Into<String>) -> Result<Self, OutboxError> {
        checked(consumer.into()).map(|consumer| Self { consumer })
    }

    /// Compares an event's epoch with the newest that was seen for its subject and remembers the newer, in the
    /// transaction of the effect.
    ///
    /// # Errors
    /// [`OutboxError::TooLong`] for a subject above 255 bytes; [`OutboxError::Database`]: roll back, do not acknowledge.
    pub async fn admit<DB: Engine>(
        &self,
        tx: &mut Transaction<'_, DB>,
        stamp: &Stamp,
        subject: &str,
    ) -> Result<Admission, OutboxError> {
        let failed = || OutboxError::database("check the epoch of the event");
        fits("the event's subject", subject, TEXT_BYTES_MAX)?;
        let epoch = signed(stamp.epoch.0);
        let key = [&self.consumer, stamp.context.as_str(), subject].map(Bind::Text);
        let raise = match DB::DIALECT {
            Dialect::MySql => RAISE_MYSQL,
            Dialect::Postgres | Dialect::Sqlite => RAISE,
        };
        let raised = [key.as_slice(), &[Bind::Number(epoch)]].concat();
        DB::run(tx, raise, &raised).await.map_err(failed())?;
        let newest: Option<(i64,)> = one::<DB, _>(tx, NEWEST, &key).await.map_err(failed())?;
        Ok(match newest {
            Some((newest,)) if newest > epoch => {
                Admission::Stale { newest: u64::try_from(newest).unwrap_or(0) }
            }
            Some(_) | None => Admission::Current,
        })
    }
}

fn checked(consumer: String) -> Result<String, OutboxError> {
    fits("the consumer's name", &consumer, CONSUMER_BYTES_MAX)?;
    Ok(consumer)
}
