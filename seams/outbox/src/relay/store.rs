//! The relay's statements: what to publish, what became of it, what may go.
//!
//! Reading needs no lease, marking does: it is the marks that decide what is published next.

use std::collections::HashSet;
use std::time::Duration;

use sqlx::{Pool, Transaction};

use super::RelayConfig;
use super::batch::Blame;
use super::lease::{Lease, cut};
use crate::counter::{self, TRIMMED};
use crate::engine::{AnyRow, Bind, Engine, all, id_list, signed};
use crate::error::OutboxError;
use crate::row::{Row, RowState};

/// Rows that are tried again in one round; they are published one by one.
const DUE_MAX: i64 = 64;
/// Rows that are cleaned up in one transaction.
const TRIM_MAX: i64 = 1_000;
/// States whose rows go away with age.
const SETTLED: [RowState; 3] = [RowState::Sent, RowState::Muted, RowState::Dropped];

/// By `banyan_outbox_state`; waiting rows are few.
const DUE: &str = "SELECT id, lane, routing_key, properties, body, attempts FROM banyan_outbox
    WHERE state = 'waiting' AND next_at_ms <= {now} ORDER BY id LIMIT ?";
/// By `banyan_outbox_state`, in the order of ids, without the lanes that a failed row holds.
const FRESH: &str = "SELECT id, lane, routing_key, properties, body, attempts FROM banyan_outbox
    WHERE state = 'ready'
      AND lane NOT IN (SELECT lane FROM banyan_outbox WHERE state IN ('waiting', 'dead'))
      AND (SELECT COUNT(*) FROM banyan_outbox WHERE state = 'waiting') < ?
    ORDER BY id LIMIT ?";
/// By the primary key alone: a condition on `state` could make MySQL lock half the index. The lease makes it needless,
/// for only the leader changes rows that are ready or waiting.
const SENT: &str = "UPDATE banyan_outbox SET state = 'sent', settled_at_ms = {now}, error = NULL
    WHERE id IN (";
const FAILED: &str =
    "UPDATE banyan_outbox SET state = ?, attempts = ?, next_at_ms = {now} + ?, error = ?
    WHERE id = ?";
/// By `banyan_outbox_settled`.
const OLD: &str = "SELECT id, context, seq FROM banyan_outbox
    WHERE state = ? AND settled_at_ms < {now} - ? ORDER BY settled_at_ms LIMIT ?";
const DELETE: &str = "DELETE FROM banyan_outbox WHERE id IN (";

/// What a round came to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) sent: Vec<i64>,
    failed: Vec<Failed>,
    /// Lanes of failed rows: nothing behind them may pass.
    held: HashSet<Vec<u8>>,
}

#[derive(Debug)]
struct Failed {
    id: i64,
    attempts: i64,
    blame: Blame,
    error: String,
}

#[derive(sqlx::FromRow)]
struct Old {
    id: i64,
    context: String,
    seq: Option<i64>,
}

impl AnyRow for Old {}

impl Outcome {
    pub(super) fn holds(&self, lane: &[u8]) -> bool {
        self.held.contains(lane)
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
    /// A row is given up only for a fault of its own.
    fn state(&self, config: &RelayConfig) -> RowState {
        match self.blame {
            Blame::Row if self.attempts >= i64::from(config.attempts_max) => RowState::Dead,
            Blame::Row | Blame::Busy | Blame::Broker => RowState::Waiting,
        }
    }
}

/// Waiting rows whose time has come.
pub(super) async fn due<DB: Engine>(
    pool: &Pool<DB>,
    config: &RelayConfig,
) -> Result<Vec<Row>, OutboxError> {
    let failed = || OutboxError::database("read the rows to try again");
    let mut connection = pool.acquire().await.map_err(failed())?;
    let binds = [Bind::Number(DUE_MAX)];
    DB::rows(&mut connection, DUE, &binds, config.bytes_max).await.map_err(failed())
}

/// The oldest ready rows of lanes that nothing holds.
pub(super) async fn fresh<DB: Engine>(
    pool: &Pool<DB>,
    config: &RelayConfig,
) -> Result<Vec<Row>, OutboxError> {
    let failed = || OutboxError::database("read the ready rows");
    let mut connection = pool.acquire().await.map_err(failed())?;
    let binds = [config.waiting_max, config.rows_max].map(|limit| Bind::Number(i64::from(limit)));
    DB::rows(&mut connection, FRESH, &binds, config.bytes_max).await.map_err(failed())
}

/// Marks what became of the rows of a round, if the lease is still held.
pub(super) async fn settle<DB: Engine>(
    pool: &Pool<DB>,
    lease: &Lease,
    outcome: &Outcome,
    config: &RelayConfig,
) -> Result<(), OutboxError> {
    let failed = || OutboxError::database("mark the published rows");
    let mut tx = pool.begin_with(DB::DIALECT.begin_write()).await.map_err(failed())?;
    lease.claim(&mut tx).await?;
    if !outcome.sent.is_empty() {
        let sql = format!("{SENT}{})", id_list(&outcome.sent));
        DB::run(&mut tx, &sql, &[]).await.map_err(failed())?;
    }
    for row in &outcome.failed {
        mark_failed(&mut tx, row, config).await.map_err(failed())?;
    }
    tx.commit().await.map_err(failed())
}

async fn mark_failed<DB: Engine>(
    tx: &mut Transaction<'_, DB>,
    row: &Failed,
    config: &RelayConfig,
) -> Result<(), sqlx::Error> {
    let state = row.state(config);
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
    let failed = || OutboxError::database("clean up the outbox");
    let keep_ms = signed(u64::try_from(keep.as_millis()).unwrap_or(u64::MAX));
    let mut tx = pool.begin_with(DB::DIALECT.begin_write()).await.map_err(failed())?;
    lease.claim(&mut tx).await?;
    let mut is_more = false;
    for state in SETTLED {
        let binds = [Bind::Text(state.as_str()), Bind::Number(keep_ms), Bind::Number(TRIM_MAX)];
        let old: Vec<Old> = all::<DB, _>(&mut tx, OLD, &binds).await.map_err(failed())?;
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
    DB::run(tx, &format!("{DELETE}{})", id_list(&ids)), &[]).await?;
    let mut numbered = std::collections::BTreeMap::<&str, i64>::new();
    for row in old.iter().filter(|row| row.seq.is_some()) {
        *numbered.entry(&row.context).or_default() += 1;
    }
    for (context, count) in numbered {
        counter::add::<DB>(tx, context, TRIMMED, count).await?;
    }
    Ok(())
}
