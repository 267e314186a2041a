//! How an outbox does: who relays, what waits, what is lost.

use serde::Serialize;

use crate::Outbox;
use crate::counter::{ISSUED, TRIMMED};
use crate::engine::{AnyRow, Bind, Engine, all, one};
use crate::error::OutboxError;
use crate::fence::{Order, OwnerRow, StoredOwner};
use crate::row::RowState;

/// State of a relay, as it says itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RelayState {
    /// None has led yet.
    Standby,
    /// One leads.
    Running,
    /// One leads and waits out an error.
    Waiting,
    /// The last one ended on its own.
    Stopped,
}

/// A relay by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RelayStatus {
    /// Its name.
    pub name: String,
    /// What it said last.
    pub state: RelayState,
    /// Why, in the words of the broker or the database; empty when all is well.
    pub reason: String,
    /// How long ago it said so, in milliseconds.
    pub age_ms: u64,
    /// Which leadership it is; grows with every change of the leader.
    pub generation: u64,
    /// Whether the lease is held; false means that nobody relays.
    pub leads: bool,
}

/// The outbox of one context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContextStatus {
    /// The context.
    pub context: String,
    /// The side whose database this is.
    pub side: String,
    /// State of the fence: `open` means that this side emits.
    pub fence: &'static str,
    /// The epoch of the fence.
    pub epoch: u64,
    /// What events keep their order with.
    pub order: Order,
    /// Rows to be published, also those behind a failed one.
    pub ready: u64,
    /// Rows that failed and will be tried again; each holds its lane.
    pub waiting: u64,
    /// Rows that an operator must retry or drop; each holds its lane.
    pub dead: u64,
    /// Age of the oldest row that is not published, in milliseconds: the lag.
    pub lag_ms: u64,
    /// Numbered rows that vanished from the table without being cleaned up; `None` in subject order.
    pub lost: Option<u64>,
}

/// The outbox of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutboxStatus {
    /// Every relay that ever led.
    pub relays: Vec<RelayStatus>,
    /// Every enrolled context.
    pub contexts: Vec<ContextStatus>,
}

#[derive(sqlx::FromRow)]
struct StoredRelay {
    name: String,
    state: String,
    reason: String,
    age_ms: i64,
    generation: i64,
    left_ms: i64,
}

#[derive(sqlx::FromRow)]
struct Backlog {
    context: String,
    state: String,
    found: i64,
    age_ms: i64,
}

impl AnyRow for StoredRelay {}
impl AnyRow for Backlog {}

const RELAYS: &str = "SELECT name, state, reason, {now} - at_ms AS age_ms, generation,
    until_ms - {now} AS left_ms FROM banyan_relay WHERE generation > 0 ORDER BY name";
const OWNERS: &str =
    "SELECT context, side, state, epoch, ordering FROM banyan_owner ORDER BY context";
/// By `banyan_outbox_state`; what was sent is not counted.
const BACKLOG: &str =
    "SELECT context, state, COUNT(*) AS found, {now} - MIN(created_at_ms) AS age_ms
    FROM banyan_outbox WHERE state IN ('ready', 'waiting', 'dead') GROUP BY context, state";
/// One statement, hence one snapshot: emitters change number and rows together.
const LOST: &str = "SELECT
    (SELECT value FROM banyan_outbox_counter WHERE context = ? AND name = ?)
    - (SELECT value FROM banyan_outbox_counter WHERE context = ? AND name = ?)
    - (SELECT COUNT(*) FROM banyan_outbox WHERE context = ? AND seq IS NOT NULL)";

impl OutboxStatus {
    /// Whether everything goes its way: somebody relays, nothing is dead, nothing is lost.
    pub fn is_well(&self) -> bool {
        let relayed = self.relays.iter().any(|relay| relay.leads);
        let in_order =
            |context: &ContextStatus| context.dead == 0 && context.lost.unwrap_or(0) == 0;
        relayed && self.contexts.iter().all(in_order)
    }
}

impl<DB: Engine> Outbox<DB> {
    /// How the outbox does right now.
    ///
    /// # Errors
    /// [`OutboxError::Database`], or [`OutboxError::Row`] for a table of another release.
    pub async fn status(&self) -> Result<OutboxStatus, OutboxError> {
        let failed = || OutboxError::database("read the outbox");
        let mut connection = self.pool.acquire().await.map_err(failed())?;
        let relays: Vec<StoredRelay> =
            all::<DB, _>(&mut connection, RELAYS, &[]).await.map_err(failed())?;
        let owners: Vec<StoredOwner> =
            all::<DB, _>(&mut connection, OWNERS, &[]).await.map_err(failed())?;
        let backlog: Vec<Backlog> =
            all::<DB, _>(&mut connection, BACKLOG, &[]).await.map_err(failed())?;
        let mut contexts = Vec::with_capacity(owners.len());
        for owner in owners {
            let owner = owner.read()?;
            let lost = lost::<DB>(&mut connection, &owner).await.map_err(failed())?;
            contexts.push(context_status(&owner, &backlog, lost));
        }
        let relays: Result<Vec<RelayStatus>, OutboxError> =
            relays.into_iter().map(relay_status).collect();
        Ok(OutboxStatus { relays: relays?, contexts })
    }
}

impl<DB: Engine> Outbox<DB> {
    /// What waits in each enrolled context. Cheaper than [`Outbox::status`]: nothing is looked up of what was sent.
    pub(crate) async fn backlog(&self) -> Result<Vec<ContextStatus>, OutboxError> {
        let failed = || OutboxError::database("count the rows that wait");
        let mut connection = self.pool.acquire().await.map_err(failed())?;
        let owners: Vec<StoredOwner> =
            all::<DB, _>(&mut connection, OWNERS, &[]).await.map_err(failed())?;
        let backlog: Vec<Backlog> =
            all::<DB, _>(&mut connection, BACKLOG, &[]).await.map_err(failed())?;
        let status = |owner: StoredOwner| Ok(context_status(&owner.read()?, &backlog, None));
        owners.into_iter().map(status).collect()
    }
}

async fn lost<DB: Engine>(
    connection: &mut DB::Connection,
    owner: &OwnerRow,
) -> Result<Option<u64>, sqlx::Error> {
    let name = Bind::Text(owner.context.as_str());
    match owner.order {
        Order::Subject => Ok(None),
        Order::Context => {
            let binds = [name, Bind::Text(ISSUED), name, Bind::Text(TRIMMED), name];
            let lost: Option<(i64,)> = one::<DB, _>(connection, LOST, &binds).await?;
            Ok(lost.map(|(lost,)| unsigned(lost)))
        }
    }
}

fn context_status(owner: &OwnerRow, backlog: &[Backlog], lost: Option<u64>) -> ContextStatus {
    let of_context = || backlog.iter().filter(|row| row.context == owner.context.as_str());
    let count = |state: RowState| {
        let row = of_context().find(|row| row.state == state.as_str());
        row.map_or(0, |row| unsigned(row.found))
    };
    ContextStatus {
        context: owner.context.to_string(),
        side: owner.side.to_string(),
        fence: owner.fence.state.as_str(),
        epoch: owner.fence.epoch.0,
        order: owner.order,
        ready: count(RowState::Ready),
        waiting: count(RowState::Waiting),
        dead: count(RowState::Dead),
        lag_ms: of_context().map(|row| unsigned(row.age_ms)).max().unwrap_or(0),
        lost,
    }
}

fn relay_status(stored: StoredRelay) -> Result<RelayStatus, OutboxError> {
    let state = RelayState::from_word(&stored.state);
    Ok(RelayStatus {
        name: stored.name,
        state: state.ok_or(OutboxError::Row { table: "banyan_relay", what: "state" })?,
        reason: stored.reason,
        age_ms: unsigned(stored.age_ms),
        generation: unsigned(stored.generation),
        leads: stored.left_ms > 0,
    })
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

impl RelayState {
    const ALL: [Self; 4] = [Self::Standby, Self::Running, Self::Waiting, Self::Stopped];

    /// Its word in the column `state`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standby => "standby",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Stopped => "stopped",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}
