//! The relay's statements: what to publish, what became of it, what may go.
//!
//! Reading needs no lease, marking does: it is the marks that decide what is published next.

use std::collections::HashSet;
use std::time::Duration;

use sqlx::{Connection as _, Pool, Transaction};

use super::RelayConfig;
use super::batch::Blame;
use super::lease::{Lease, cut};
use crate::counter::{self, TRIMMED};
use crate::engine::{AnyRow, Bind, Engine, all, by_ids, id_list, signed};
use crate::error::OutboxError;
use crate::metrics;
use crate::row::{Row, RowState};

/// Rows that are tried again in one batch; they are published one by one.
const DUE_MAX: i64 = 64;
/// Rows that are cleaned up in one transaction.
const TRIM_MAX: i64 = 1_000;
/// States whose rows go away with age.
const SETTLED: [RowState; 5] =
    [RowState::Sent, RowState::Muted, RowState::Parity, RowState::Silent, RowState::Dropped];

/// By `banyan_outbox_state`; waiting rows are few.
const DUE: &str =
    "SELECT id, lane, routing_key, properties, body, attempts, state FROM banyan_outbox
    WHERE state = 'waiting' AND next_at_ms <= {now} {except} ORDER BY id LIMIT ?";
/// By `banyan_outbox_state`, in the order of ids, without the lanes that a failed row holds.
const FRESH: &str =
    "SELECT id, lane, routing_key, properties, body, attempts, state FROM banyan_outbox
    WHERE state = 'ready'
      AND lane NOT IN (SELECT lane FROM banyan_outbox WHERE state IN ('waiting', 'dead'))
      AND (SELECT COUNT(*) FROM banyan_outbox WHERE state = 'waiting') < ?
      {except} ORDER BY id LIMIT ?";
/// By the primary key alone: a condition on `state` could make MySQL lock half the index. The lease makes it needless,
/// for only the leader changes rows that are ready or waiting.
const SENT: &str = "state = 'sent', settled_at_ms = {now}, error = NULL";
const FAILED: &str =
    "UPDATE banyan_outbox SET state = ?, attempts = ?, next_at_ms = {now} + ?, error = ?
    WHERE id = ?";
/// By `banyan_outbox_state`. In the order of ids, which is nearly that of age, because an index by age would have to be
/// changed with every row that is marked.
const OLDEST: &str = "SELECT id, context, seq, {now} - settled_at_ms AS age_ms FROM banyan_outbox
    WHERE state = ? ORDER BY id LIMIT ?";

/// What to publish next.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Waiting rows whose time has come.
    pub(super) due: Vec<Row>,
    /// The oldest ready rows of lanes that nothing holds.
    pub(super) fresh: Vec<Row>,
}

/// What a batch came to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) sent: Vec<i64>,
    pub(super) failed: Vec<Failed>,
    /// Lanes of the rows that failed: nothing behind them may pass.
    held: HashSet<Vec<u8>>,
    /// The same of the two batches before, which the database did not know yet when this batch was read: of the nearer
    /// one first.
    held_before: [HashSet<Vec<u8>>; 2],
}

#[derive(Debug)]
pub(super) struct Failed {
    pub(super) id: i64,
    pub(super) attempts: i64,
    pub(super) blame: Blame,
    pub(super) error: String,
}

#[derive(sqlx::FromRow)]
struct Old {
    id: i64,
    context: String,
    seq: Option<i64>,
    age_ms: i64,
}

impl AnyRow for Old {}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.due.is_empty() && self.fresh.is_empty()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = i64> {
        self.due.iter().chain(&self.fresh).map(|row| row.id)
    }
}

impl Outcome {
    /// Whether there is nothing to mark.
    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty() && self.failed.is_empty()
    }

    /// The start of the outcome of the batch after `before`.
    pub(super) fn after(before: &Self) -> Self {
        let [nearer, _] = &before.held_before;
        Self { held_before: [before.held.clone(), nearer.clone()], ..Self::default() }
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = i64> {
        self.sent.iter().copied().chain(self.failed.iter().map(|row| row.id))
    }

    pub(super) fn holds(&self, lane: &[u8]) -> bool {
        self.held.contains(lane) || self.held_before.iter().any(|held| held.contains(lane))
    }

    /// The rows whose lane nothing holds.
    pub(super) fn passable(&self, rows: Vec<Row>) -> Vec<Row> {
        rows.into_iter().filter(|row| !self.holds(&row.lane)).collect()
    }

    pub(super) fn failed(&mut self, row: Row, blame: Blame, error: String) {
        let attempts = row.attempts.saturating_add(1);
        self.failed.push(Failed { id: row.id, attempts, blame, error });
        self.held.insert(row.lane);
    }
}

impl Failed {
    /// Whether it is given up: only for a fault of its own, and after enough tries.
    pub(super) fn is_hopeless(&self, config: &RelayConfig) -> bool {
        match self.blame {
            Blame::Row => self.attempts >= i64::from(config.attempts_max),
            Blame::Busy | Blame::Broker => false,
        }
    }

    fn state(&self, config: &RelayConfig) -> RowState {
        if self.is_hopeless(config) { RowState::Dead } else { RowState::Waiting }
    }
}

/// A condition that leaves out the rows in hand: they are being published, or published and not marked. No cursor: a
/// lower id that commits meanwhile is found.
fn except(in_hand: &[i64]) -> String {
    if in_hand.is_empty() { String::new() } else { format!("AND id NOT IN ({})", id_list(in_hand)) }
}

/// What to publish next, without what is in hand.
pub(super) async fn read<DB: Engine>(
    pool: &Pool<DB>,
    config: &RelayConfig,
    in_hand: &[i64],
) -> Result<Batch, OutboxError> {
    let failed = || OutboxError::database("read the rows to publish");
    let mut connection = pool.acquire().await.map_err(failed())?;
    let except = except(in_hand);
    let [due, fresh] = [DUE, FRESH].map(|sql| sql.replace("{except}", &except));
    let binds = [Bind::Number(DUE_MAX)];
    let due = DB::rows(&mut connection, &due, &binds, config.bytes_max).await.map_err(failed())?;
    let binds = [config.waiting_max, config.rows_max].map(|limit| Bind::Number(i64::from(limit)));
    let fresh = DB::rows(&mut connection, &fresh, &binds, config.bytes_max).await;
    Ok(Batch { due, fresh: fresh.map_err(failed())? })
}

/// What becomes of one kind of rows.
pub(super) struct Marking {
    /// For errors.
    pub(super) doing: &'static str,
    /// What marks those that were published: a `SET` clause.
    pub(super) sent: &'static str,
    /// The state of one that failed; `None` leaves it as it is.
    pub(super) failed: fn(&Failed, &RelayConfig) -> Option<RowState>,
}

/// Rows that this side announces.
const ANNOUNCED: Marking = Marking {
    doing: "mark the published rows",
    sent: SENT,
    failed: |row, config| Some(row.state(config)),
};

/// Marks what became of the rows of a batch, if the lease is still held.
pub(super) async fn settle<DB: Engine>(
    pool: &Pool<DB>,
    lease: &Lease,
    outcome: &Outcome,
    config: &RelayConfig,
) -> Result<(), OutboxError> {
    mark(pool, lease, outcome, config, &ANNOUNCED).await?;
    metrics::settled(outcome.sent.len(), outcome.failed.len(), hopeless(outcome, config));
    Ok(())
}

/// Marks rows in one transaction that checks the lease.
///
/// The connection is closed after an error, here as in [`trim`]: the pool is the service's, and sqlx counts a transaction
/// whose commit failed (a full disk, say) as open for ever.
pub(super) async fn mark<DB: Engine>(
    pool: &Pool<DB>,
    lease: &Lease,
    outcome: &Outcome,
    config: &RelayConfig,
    marking: &Marking,
) -> Result<(), OutboxError> {
    let failed = OutboxError::database(marking.doing);
    let mut connection = pool.acquire().await.map_err(failed)?;
    let done = mark_on::<DB>(&mut connection, lease, outcome, config, marking).await;
    if done.is_err() {
        connection.close_on_drop();
    }
    done
}

async fn mark_on<DB: Engine>(
    connection: &mut DB::Connection,
    lease: &Lease,
    outcome: &Outcome,
    config: &RelayConfig,
    marking: &Marking,
) -> Result<(), OutboxError> {
    let failed = || OutboxError::database(marking.doing);
    let mut tx = connection.begin_with(DB::DIALECT.begin_write()).await.map_err(failed())?;
    lease.claim(&mut tx).await?;
    if !outcome.sent.is_empty() {
        let sql = by_ids(DB::DIALECT, Some(marking.sent), &outcome.sent);
        DB::run(&mut tx, &sql, &[]).await.map_err(failed())?;
    }
    for row in &outcome.failed {
        if let Some(state) = (marking.failed)(row, config) {
            mark_failed(&mut tx, row, state, config).await.map_err(failed())?;
        }
    }
    tx.commit().await.map_err(failed())
}

/// How many of the failed rows are given up.
pub(super) fn hopeless(outcome: &Outcome, config: &RelayConfig) -> usize {
    outcome.failed.iter().filter(|row| row.is_hopeless(config)).count()
}

async fn mark_failed<DB: Engine>(
    tx: &mut Transaction<'_, DB>,
    row: &Failed,
    state: RowState,
    config: &RelayConfig,
) -> Result<(), sqlx::Error> {
    if state == RowState::Dead {
        tracing::error!(
            row = row.id,
            attempts = row.attempts,
            error = row.error,
            "outbox row is dead"
        );
    }
    let wait = config.wait(row.attempts).as_millis();
    let error = cut(&row.error);
    let binds = [
        Bind::Text(state.as_str()),
        Bind::Number(row.attempts),
        Bind::Number(signed(u64::try_from(wait).unwrap_or(u64::MAX))),
        Bind::Text(&error),
        Bind::Number(row.id),
    ];
    DB::run(tx, FAILED, &binds).await.map(drop)
}

/// Deletes some rows that were settled longer ago than `keep`; answers whether there may be more.
pub(super) async fn trim<DB: Engine>(
    pool: &Pool<DB>,
    lease: &Lease,
    keep: Duration,
) -> Result<bool, OutboxError> {
    let failed = OutboxError::database("clean up the outbox");
    let mut connection = pool.acquire().await.map_err(failed)?;
    let done = trim_on::<DB>(&mut connection, lease, keep).await;
    if done.is_err() {
        connection.close_on_drop();
    }
    done
}

async fn trim_on<DB: Engine>(
    connection: &mut DB::Connection,
    lease: &Lease,
    keep: Duration,
) -> Result<bool, OutboxError> {
    let failed = || OutboxError::database("clean up the outbox");
    let keep_ms = signed(u64::try_from(keep.as_millis()).unwrap_or(u64::MAX));
    let mut tx = connection.begin_with(DB::DIALECT.begin_write()).await.map_err(failed())?;
    lease.claim(&mut tx).await?;
    let mut is_more = false;
    for state in SETTLED {
        let binds = [Bind::Text(state.as_str()), Bind::Number(TRIM_MAX)];
        let mut old: Vec<Old> = all::<DB, _>(&mut tx, OLDEST, &binds).await.map_err(failed())?;
        old.retain(|row| row.age_ms > keep_ms);
        is_more |= signed(old.len() as u64) == TRIM_MAX;
        delete(&mut tx, &old).await.map_err(failed())?;
    }
    tx.commit().await.map_err(failed())?;
    Ok(is_more)
}

async fn delete<DB: Engine>(tx: &mut Transaction<'_, DB>, old: &[Old]) -> Result<(), sqlx::Error> {
    if old.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = old.iter().map(|row| row.id).collect();
    DB::run(tx, &by_ids(DB::DIALECT, None, &ids), &[]).await?;
    let mut numbered = std::collections::BTreeMap::<&str, i64>::new();
    for row in old.iter().filter(|row| row.seq.is_some()) {
        *numbered.entry(&row.context).or_default() += 1;
    }
    for (context, count) in numbered {
        counter::add::<DB>(tx, context, TRIMMED, count).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(outcome: &mut Outcome, id: i64, lane: u8, blame: Blame) {
        outcome.failed(Row::of_lane(id, lane), blame, String::new());
    }

    #[test]
    fn a_failed_row_holds_its_lane_until_a_batch_is_read_that_knows_of_it() {
        let mut first = Outcome::default();
        first.sent.push(6);
        failed(&mut first, 7, 1, Blame::Busy);
        let second = Outcome::after(&first);
        let third = Outcome::after(&second);
        let fourth = Outcome::after(&third);
        assert_eq!(
            [&first, &second, &third, &fourth].map(|outcome| outcome.holds(&[1])),
            [true, true, true, false]
        );
        assert_eq!(first.ids().collect::<Vec<_>>(), [6, 7]);
        assert_eq!([except(&[6, 7]), except(&[])], ["AND id NOT IN (6,7)", ""]);
        let rows = vec![Row::of_lane(8, 1), Row::of_lane(9, 2)];
        assert_eq!(third.passable(rows), [Row::of_lane(9, 2)]);
    }

    #[test]
    fn only_faults_of_its_own_kill_a_row_and_only_after_enough_of_them() {
        let config = RelayConfig { attempts_max: 3, ..RelayConfig::new("raw") };
        let state = |attempts, blame| {
            Failed { id: 1, attempts, blame, error: String::new() }.state(&config)
        };
        assert_eq!(state(2, Blame::Row), RowState::Waiting);
        assert_eq!(state(3, Blame::Row), RowState::Dead);
        assert_eq!(state(99, Blame::Busy), RowState::Waiting);
    }
}
