//! The fence row of a context in one side's database: whether this side may emit, under which epoch.
//!
//! Owns the table `banyan_owner`, its shared reading by emitters and its changes by the cutover. It is the same row
//! that write fences read, so that writing and emitting end at the same moment.
//!
//! What must stay true: a change waits for every transaction that read the row to emit, and what commits after it read
//! the changed row; a change is one compare-and-set with the meaning of [`Fence::moved`].

use banyan_cutover::{Fence, FenceState, Move, MoveError};
use banyan_domain::{ContextName, Epoch, Side};
use sqlx::Transaction;

use crate::counter;
use crate::engine::{AnyRow, Bind, Dialect, Engine, one, signed};
use crate::error::OutboxError;

/// What events of a context keep their order with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Events of one subject keep their order, if the emitter holds the subject's row lock. No other cost.
    Subject,
    /// All events of the context keep the order of their commits and are numbered without gaps; emitters wait for
    /// each other from [`emit`](crate::emit()) to commit.
    Context,
}

/// A context as one side's database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerRow {
    /// The context.
    pub context: ContextName,
    /// The side whose database this is.
    pub side: Side,
    /// Open means that this side owns the context.
    pub fence: Fence,
    /// What its events keep their order with.
    pub order: Order,
}

#[derive(sqlx::FromRow)]
pub(crate) struct StoredOwner {
    pub(crate) context: String,
    pub(crate) side: String,
    pub(crate) state: String,
    pub(crate) epoch: i64,
    pub(crate) ordering: String,
}

impl AnyRow for StoredOwner {}

const INSERT: &str = "banyan_owner (context, side, state, epoch, ordering) VALUES (?, ?, ?, ?, ?)";
const READ: &str =
    "SELECT context, side, state, epoch, ordering FROM banyan_owner WHERE context = ?";
const READ_SHARED: &str =
    "SELECT context, side, state, epoch, ordering FROM banyan_owner WHERE context = ? {share}";
/// Step 3 of a cutover.
const DRAIN: &str = "UPDATE banyan_owner SET state = 'draining', epoch = ?
    WHERE context = ? AND state = 'open' AND epoch < ?";
/// Step 8.
const OPEN: &str = "UPDATE banyan_owner SET state = 'open', epoch = ?
    WHERE context = ? AND state <> 'open' AND epoch < ?";
/// Step 8'.
const BAR: &str = "UPDATE banyan_owner SET state = 'barred', epoch = ?
    WHERE context = ? AND state <> 'open' AND epoch < ?";
/// After step 8'.
const REOPEN: &str = "UPDATE banyan_owner SET state = 'open', epoch = ?
    WHERE context = ? AND state = 'draining' AND epoch = ? AND epoch > ?";

/// Postgres lets a steady stream of row sharers starve a change for ever; its advisory locks queue fairly.
const ADVISE_SHARED: &str =
    "SELECT pg_advisory_xact_lock_shared(hashtextextended('banyan fence ' || ?, 0))";
const ADVISE: &str = "SELECT pg_advisory_xact_lock(hashtextextended('banyan fence ' || ?, 0))";

/// Makes the context known in this database. A row that is there stays as it is.
///
/// # Errors
/// [`OutboxError::Database`].
pub async fn enrol<DB: Engine>(
    tx: &mut Transaction<'_, DB>,
    row: &OwnerRow,
) -> Result<(), OutboxError> {
    let failed = || OutboxError::database("enrol the context");
    let binds = [
        Bind::Text(row.context.as_str()),
        Bind::Text(row.side.as_str()),
        Bind::Text(row.fence.state.as_str()),
        Bind::Number(signed(row.fence.epoch.0)),
        Bind::Text(row.order.as_str()),
    ];
    DB::run(tx, &DB::DIALECT.insert_new(INSERT), &binds).await.map_err(failed())?;
    counter::prepare::<DB>(tx, &row.context).await.map_err(failed())
}

/// The row as it is now.
///
/// # Errors
/// [`OutboxError::NotEnrolled`], [`OutboxError::Database`].
pub async fn read<DB: Engine>(
    connection: &mut DB::Connection,
    context: &ContextName,
) -> Result<OwnerRow, OutboxError> {
    load::<DB>(connection, READ, context).await
}

/// The row, which then stays as it is until the transaction ends: for an application that asks whether it may write
/// before it does. On SQLite that needs `BEGIN IMMEDIATE`.
///
/// # Errors
/// [`OutboxError::NotEnrolled`], [`OutboxError::Database`].
pub async fn read_shared<DB: Engine>(
    tx: &mut Transaction<'_, DB>,
    context: &ContextName,
) -> Result<OwnerRow, OutboxError> {
    advise(tx, ADVISE_SHARED, context).await?;
    load::<DB>(tx, READ_SHARED, context).await
}

/// Changes the fence; waits for every transaction that read it to emit, up to the lock time-out of the session. From
/// its commit on, nothing that was emitted under the old fence can still become `ready`.
///
/// # Errors
/// [`OutboxError::Fence`] when the row is not in the state that `wanted` starts from; nothing is changed then.
/// [`OutboxError::NotEnrolled`], [`OutboxError::Database`].
pub async fn change<DB: Engine>(
    tx: &mut Transaction<'_, DB>,
    context: &ContextName,
    wanted: Move,
) -> Result<Fence, OutboxError> {
    advise(tx, ADVISE, context).await?;
    let name = Bind::Text(context.as_str());
    let epoch = |epoch: Epoch| Bind::Number(signed(epoch.0));
    let (sql, binds) = match wanted {
        Move::Drain(e) => (DRAIN, vec![epoch(e), name, epoch(e)]),
        Move::Open(e) => (OPEN, vec![epoch(e), name, epoch(e)]),
        Move::Bar(e) => (BAR, vec![epoch(e), name, epoch(e)]),
        Move::Reopen { given_up, back_to } => {
            (REOPEN, vec![epoch(back_to), name, epoch(given_up), epoch(back_to)])
        }
    };
    let changed = DB::run(tx, sql, &binds).await;
    let changed = changed.map_err(OutboxError::database("change the fence"))?;
    let found = read::<DB>(tx, context).await?.fence;
    if changed == 1 {
        return Ok(found);
    }
    let source = MoveError { found, wanted };
    Err(OutboxError::Fence { context: context.clone(), source })
}

async fn advise<DB: Engine>(
    tx: &mut Transaction<'_, DB>,
    sql: &'static str,
    context: &ContextName,
) -> Result<(), OutboxError> {
    match DB::DIALECT {
        Dialect::Postgres => {
            let done = DB::run(tx, sql, &[Bind::Text(context.as_str())]).await;
            done.map(drop).map_err(OutboxError::database("lock the fence"))
        }
        Dialect::MySql | Dialect::Sqlite => Ok(()),
    }
}

async fn load<DB: Engine>(
    connection: &mut DB::Connection,
    sql: &'static str,
    context: &ContextName,
) -> Result<OwnerRow, OutboxError> {
    let stored: Option<StoredOwner> =
        one::<DB, _>(connection, sql, &[Bind::Text(context.as_str())])
            .await
            .map_err(OutboxError::database("read the fence"))?;
    match stored {
        Some(stored) => stored.read(),
        None => Err(OutboxError::NotEnrolled { context: context.clone() }),
    }
}

impl Order {
    /// Its word in the column `ordering`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Context => "context",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Subject, Self::Context].into_iter().find(|order| order.as_str() == word)
    }
}

impl StoredOwner {
    pub(crate) fn read(self) -> Result<OwnerRow, OutboxError> {
        let broken = |what| OutboxError::Row { table: "banyan_owner", what };
        let context = ContextName::new(&self.context).map_err(|_| broken("context"))?;
        let state = FenceState::from_word(&self.state).ok_or_else(|| broken("state"))?;
        let epoch = u64::try_from(self.epoch).map_err(|_| broken("epoch"))?;
        Ok(OwnerRow {
            context,
            side: Side::from_word(&self.side).ok_or_else(|| broken("side"))?,
            fence: Fence::new(state, Epoch(epoch)),
            order: Order::from_word(&self.ordering).ok_or_else(|| broken("ordering"))?,
        })
    }
}
