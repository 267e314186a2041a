//! Muted rows, published for parity: flagged, after everything that is ready, a few at a time.
//!
//! It exists so that the events of both sides can be compared before this side owns anything. What must stay true: a
//! muted row leaves only with the header that keeps the forwarder from announcing it; it is read only when nothing is
//! ready, so that a ready row waits behind one small batch at most; it holds no lane, and a broker that refuses it is
//! left alone for a while; it is marked only after the confirm, by the leader.

use std::time::{Duration, Instant};

use banyan_events::backoff::Backoff;
use sqlx::Pool;

use super::batch::{Blame, waves};
use super::lease::Lease;
use super::store::{self, Marking, Outcome, hopeless};
use super::{Relay, RelayConfig, Step};
use crate::engine::{Bind, Engine};
use crate::error::OutboxError;
use crate::metrics;
use crate::row::{Row, RowState};

/// Muted rows in one batch: what a ready row may have to wait for.
const MUTED_MAX: i64 = 100;

/// By `banyan_outbox_state`. Rows whose time has not come again are few, for every failure makes a pause.
const MUTED: &str = "SELECT id, lane, routing_key, properties, body, attempts, state
    FROM banyan_outbox WHERE state = 'muted' AND next_at_ms <= {now} ORDER BY id LIMIT ?";
/// By the primary key, as with rows that were sent. When it was settled stays: it goes away with its age.
const SHOWN: &str = "state = 'parity', error = NULL";

/// A full queue or an outage leaves a muted row as it is.
const SHOWING: Marking = Marking {
    doing: "mark the muted rows",
    sent: SHOWN,
    failed: |row, config| match row.blame {
        Blame::Row if row.is_hopeless(config) => Some(RowState::Silent),
        Blame::Row => Some(RowState::Muted),
        Blame::Busy | Blame::Broker => None,
    },
};

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
        store::mark(&self.outbox.pool, lease, &outcome, &self.config, &SHOWING).await?;
        metrics::muted(outcome.sent.len(), hopeless(&outcome, &self.config));
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
