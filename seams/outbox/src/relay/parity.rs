//! Muted rows, published for parity: flagged, after everything that is ready, a few at a time.
//!
//! It exists so that the events of both sides can be compared before this side owns anything. What must stay true: a
//! muted row leaves only with the header that keeps the forwarder from announcing it; it is read only when nothing is
//! ready, so that a ready row waits behind one small batch at most; it holds no lane, and a broker that refuses it is
//! left alone for a while; it is marked only after the confirm, by the leader.

use std::time::{Duration, Instant};

use banyan_events::backoff::Backoff;
use sqlx::{Connection as _, Pool};

use super::batch::{Blame, waves};
use super::lease::{Lease, cut};
use super::store::{Outcome, hopeless};
use super::{Relay, RelayConfig, Step};
use crate::engine::{Bind, Engine, id_list, signed};
use crate::error::OutboxError;
use crate::metrics;
use crate::row::{Row, RowState};

/// Muted rows in one batch: what a ready row may have to wait for.
const MUTED_MAX: i64 = 100;

/// By `banyan_outbox_state`. Rows whose time has not come again are few, for every failure makes a pause.
const MUTED: &str = "SELECT id, lane, routing_key, properties, body, attempts, state
    FROM banyan_outbox WHERE state = 'muted' AND next_at_ms <= {now} ORDER BY id LIMIT ?";
/// By the primary key, as with rows that were sent. When it was settled stays: it goes away with its age.
const SHOWN: &str = "UPDATE banyan_outbox SET state = 'parity', error = NULL WHERE id IN (";
const FAILED: &str =
    "UPDATE banyan_outbox SET state = ?, attempts = ?, next_at_ms = {now} + ?, error = ?
    WHERE id = ?";

/// Whether muted rows are wanted, and until when they are left alone.
pub(super) struct Parity {
    is_on: bool,
    not_before: Instant,
    backoff: Backoff,
    /// The pause after a batch with failures.
    pause: Duration,
}

impl Parity {
    pub(super) fn new(config: &RelayConfig) -> Self {
        let backoff = Backoff::new(config.retry.0, config.retry.1);
        let is_on = config.publish_muted;
        Self { is_on, not_before: Instant::now(), backoff, pause: config.retry.0 }
    }

    fn is_due(&self) -> bool {
        self.is_on && Instant::now() >= self.not_before
    }

    /// While a queue is full, muted rows wait longer and longer: it is the queue of the ready ones too.
    fn done(&mut self, outcome: &Outcome) {
        let mut pause = if outcome.failed.is_empty() { Duration::ZERO } else { self.pause };
        if outcome.failed.iter().any(|row| row.blame == Blame::Busy) {
            pause = self.backoff.wait();
        } else {
            self.backoff.reset();
        }
        self.not_before = Instant::now() + pause;
    }
}

impl<DB: Engine> Relay<DB> {
    /// Publishes one batch of muted rows, if that is wanted and due; answers whether there was one.
    pub(super) async fn publish_muted(
        &self,
        lease: &Lease,
        parity: &mut Parity,
    ) -> Result<bool, OutboxError> {
        if !parity.is_due() {
            return Ok(false);
        }
        let rows = read(&self.outbox.pool, &self.config).await?;
        if rows.is_empty() {
            return Ok(false);
        }
        self.pause.at(Step::Read).await;
        // An outcome of its own: what is held here holds back no ready row.
        let mut outcome = Outcome::default();
        let mut broken = Ok(());
        for wave in waves(rows, self.window_per_lane()) {
            if broken.is_err() {
                break;
            }
            broken = self.publish_wave(lease, outcome.passable(wave), &mut outcome).await;
        }
        self.pause.at(Step::Published).await;
        settle(&self.outbox.pool, lease, &outcome, &self.config).await?;
        self.pause.at(Step::Marked).await;
        parity.done(&outcome);
        broken.map(|()| true)
    }
}

async fn read<DB: Engine>(pool: &Pool<DB>, config: &RelayConfig) -> Result<Vec<Row>, OutboxError> {
    let failed = || OutboxError::database("read the muted rows");
    let mut connection = pool.acquire().await.map_err(failed())?;
    let binds = [Bind::Number(MUTED_MAX)];
    DB::rows(&mut connection, MUTED, &binds, config.bytes_max).await.map_err(failed())
}

/// Marks what became of the rows, if the lease is still held.
async fn settle<DB: Engine>(
    pool: &Pool<DB>,
    lease: &Lease,
    outcome: &Outcome,
    config: &RelayConfig,
) -> Result<(), OutboxError> {
    let failed = OutboxError::database("mark the muted rows");
    let mut connection = pool.acquire().await.map_err(failed)?;
    let done = settle_on::<DB>(&mut connection, lease, outcome, config).await;
    if done.is_err() {
        // As in `store::settle`.
        connection.close_on_drop();
    }
    done
}

async fn settle_on<DB: Engine>(
    connection: &mut DB::Connection,
    lease: &Lease,
    outcome: &Outcome,
    config: &RelayConfig,
) -> Result<(), OutboxError> {
    let failed = || OutboxError::database("mark the muted rows");
    let mut tx = connection.begin_with(DB::DIALECT.begin_write()).await.map_err(failed())?;
    lease.claim(&mut tx).await?;
    if !outcome.sent.is_empty() {
        let sql = format!("{SHOWN}{})", id_list(&outcome.sent));
        DB::run(&mut tx, &sql, &[]).await.map_err(failed())?;
    }
    for row in outcome.failed.iter().filter(|row| row.blame == Blame::Row) {
        let state = if row.is_hopeless(config) { RowState::Silent } else { RowState::Muted };
        let wait = config.wait(row.attempts).as_millis();
        let error = cut(&row.error);
        let binds = [
            Bind::Text(state.as_str()),
            Bind::Number(row.attempts),
            Bind::Number(signed(u64::try_from(wait).unwrap_or(u64::MAX))),
            Bind::Text(&error),
            Bind::Number(row.id),
        ];
        DB::run(&mut tx, FAILED, &binds).await.map_err(failed())?;
    }
    tx.commit().await.map_err(failed())?;
    metrics::muted(outcome.sent.len(), hopeless(outcome, config));
    Ok(())
}
