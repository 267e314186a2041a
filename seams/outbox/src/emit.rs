//! Emitting: the event becomes a row of the outbox in the business transaction, or nothing at all.

use banyan_events::broker::Message;
use sqlx::Transaction;

use crate::counter;
use crate::engine::{Bind, Engine, signed};
use crate::error::OutboxError;
use crate::event::{NewEvent, Origin};
use crate::fence::{self, Order, OwnerRow};

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emitted {
    /// It will be published once the transaction commits.
    Ready {
        /// Its number within the context, if the context is numbered.
        sequence: Option<u64>,
    },
    /// It is kept for parity and never published: this side does not own the context, or the change is a copy.
    Muted,
}

const INSERT_READY: &str =
    "INSERT INTO banyan_outbox (event_id, context, side, epoch, subject, lane, seq,
        type, routing_key, properties, body, origin, state, created_at_ms, settled_at_ms)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'ready', {now}, NULL)";
/// A muted row is settled at once: the cleanup counts its age from here.
const INSERT_MUTED: &str =
    "INSERT INTO banyan_outbox (event_id, context, side, epoch, subject, lane, seq,
        type, routing_key, properties, body, origin, state, created_at_ms, settled_at_ms)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'muted', {now}, {now})";

/// Writes the event into the outbox, in the transaction of the change that it announces.
///
/// Takes a shared lock on the context's fence row until the transaction ends, so that the owner cannot change in
/// between. In [`Order::Subject`] the caller must hold the lock of the subject's own row (an update of it is enough):
/// that is what orders two events of one subject. On SQLite, write before emitting or begin with `BEGIN IMMEDIATE`.
///
/// # Errors
/// [`OutboxError::NotEnrolled`] when nobody knows whether this side may emit; [`OutboxError::Envelope`],
/// [`OutboxError::Message`] or [`OutboxError::TooLong`] for an event that could never be published;
/// [`OutboxError::Database`]. Roll the transaction back.
pub async fn emit<DB: Engine>(
    tx: &mut Transaction<'_, DB>,
    event: &NewEvent,
) -> Result<Emitted, OutboxError> {
    let owner = fence::read_shared(tx, &event.context).await?;
    // Before a number is taken, so that a refused event leaves no gap.
    let message = event.message(&owner, None)?;
    if !is_announced(event.origin, &owner) {
        insert(tx, INSERT_MUTED, &Entry { event, owner: &owner, message, sequence: None }).await?;
        return Ok(Emitted::Muted);
    }
    let (message, sequence) = match owner.order {
        Order::Subject => (message, None),
        Order::Context => {
            let sequence = counter::next(tx, &event.context).await?;
            (event.message(&owner, Some(sequence))?, Some(sequence))
        }
    };
    insert(tx, INSERT_READY, &Entry { event, owner: &owner, message, sequence }).await?;
    Ok(Emitted::Ready { sequence })
}

/// The rule: only the owner's own changes are announced.
fn is_announced(origin: Origin, owner: &OwnerRow) -> bool {
    match origin {
        Origin::User => owner.fence.is_open(),
        Origin::Sync | Origin::Replay => false,
    }
}

/// All that a new row is made of.
struct Entry<'e> {
    event: &'e NewEvent,
    owner: &'e OwnerRow,
    message: Message,
    sequence: Option<u64>,
}

async fn insert<DB: Engine>(
    tx: &mut Transaction<'_, DB>,
    sql: &'static str,
    entry: &Entry<'_>,
) -> Result<(), OutboxError> {
    let Entry { event, owner, message, sequence } = entry;
    let properties = serde_json::to_string(&message.properties);
    let properties =
        properties.map_err(|_| OutboxError::Row { table: "banyan_outbox", what: "properties" })?;
    let id = event.id.to_string();
    let lane = event.lane(owner.order);
    let binds = [
        Bind::Text(&id),
        Bind::Text(event.context.as_str()),
        Bind::Text(owner.side.as_str()),
        Bind::Number(signed(owner.fence.epoch.0)),
        Bind::Text(&event.subject),
        Bind::Bytes(&lane),
        Bind::MaybeNumber(sequence.map(signed)),
        Bind::Text(&event.kind),
        Bind::Text(&message.routing_key),
        Bind::Text(&properties),
        Bind::Bytes(&message.body),
        Bind::Text(event.origin.as_str()),
    ];
    let inserted = DB::run(tx, sql, &binds).await;
    inserted.map(drop).map_err(OutboxError::database("write the event into the outbox"))
}
