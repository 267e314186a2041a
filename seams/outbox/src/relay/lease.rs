//! The lease: which relay of a database leads, and under which generation.
//!
//! Owns the row of `banyan_relay`, which also says how the leader does. It exists so that one relay publishes and the
//! order holds. What must stay true: the generation grows with every change of holder; every marking transaction locks
//! the row and compares ([`Lease::claim`]); a leader that could not renew stops by its own clock.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::{Pool, Transaction};

use super::RelayConfig;
use crate::engine::{Bind, Engine, one, signed};
use crate::error::OutboxError;
use crate::status::RelayState;

/// Signs of life per lease.
const RENEWALS: u32 = 4;
/// Longest reason that is stored, in bytes.
const REASON_BYTES_MAX: usize = 480;

const MAKE: &str = "banyan_relay (name, holder, generation, until_ms, state, reason, at_ms)
    VALUES (?, '', 0, 0, 'standby', '', 0)";
/// Takes the row when it is expired. The holder's name is random, so nobody takes his own row.
const TAKE: &str = "UPDATE banyan_relay SET holder = ?, generation = generation + 1,
        until_ms = {now} + ?, state = 'running', reason = '', at_ms = {now}
    WHERE name = ? AND until_ms < {now}";
const GENERATION: &str = "SELECT generation FROM banyan_relay WHERE name = ? AND holder = ?";
const RENEW: &str =
    "UPDATE banyan_relay SET until_ms = {now} + ?, state = ?, reason = ?, at_ms = {now}
    WHERE name = ? AND holder = ? AND generation = ?";
const REPORT: &str = "UPDATE banyan_relay SET state = ?, reason = ?, at_ms = {now}
    WHERE name = ? AND holder = ? AND generation = ?";
const RELEASE: &str =
    "UPDATE banyan_relay SET until_ms = 0, state = 'stopped', reason = '', at_ms = {now}
    WHERE name = ? AND holder = ? AND generation = ?";
const CLAIM: &str = "SELECT generation FROM banyan_relay
    WHERE name = ? AND holder = ? AND generation = ? {share}";

/// The lease of one relay object.
pub(super) struct Lease {
    name: String,
    /// A random name: a restarted process is another holder.
    holder: String,
    generation: AtomicI64,
    duration: Duration,
    /// Until when the lease surely holds, by this process's clock.
    sure_until: Mutex<Instant>,
    did_work: AtomicBool,
}

/// How the leader does.
pub(super) struct Report<'a> {
    pub(super) state: RelayState,
    pub(super) reason: &'a str,
}

impl Lease {
    pub(super) fn new(config: &RelayConfig) -> Self {
        Self {
            name: config.name.clone(),
            holder: uuid::Uuid::new_v4().to_string(),
            generation: AtomicI64::new(0),
            duration: config.lease,
            sure_until: Mutex::new(Instant::now()),
            did_work: AtomicBool::new(false),
        }
    }

    pub(super) fn renew_every(&self) -> Duration {
        self.duration / RENEWALS
    }

    pub(super) fn generation(&self) -> i64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Notes that a round succeeded.
    pub(super) fn worked(&self) {
        self.did_work.store(true, Ordering::Relaxed);
    }

    /// Whether a round succeeded since this was asked last.
    pub(super) fn did_work(&self) -> bool {
        self.did_work.swap(false, Ordering::Relaxed)
    }

    /// Takes the lease if nobody holds it; renews it if this relay does.
    pub(super) async fn take<DB: Engine>(&self, pool: &Pool<DB>) -> Result<bool, OutboxError> {
        if self.generation() > 0 {
            let report = Report { state: RelayState::Running, reason: "" };
            if self.renew(pool, &report).await.is_ok() {
                return Ok(true);
            }
        }
        let failed = || OutboxError::database("take the relay's lease");
        let asked = Instant::now();
        let mut connection = pool.acquire().await.map_err(failed())?;
        let name = Bind::Text(&self.name);
        let make = DB::DIALECT.insert_new(MAKE);
        DB::run(&mut connection, &make, &[name]).await.map_err(failed())?;
        let binds = [Bind::Text(&self.holder), Bind::Number(self.duration_ms()), name];
        if DB::run(&mut connection, TAKE, &binds).await.map_err(failed())? == 0 {
            return Ok(false);
        }
        let binds = [name, Bind::Text(&self.holder)];
        let taken: Option<(i64,)> =
            one::<DB, _>(&mut connection, GENERATION, &binds).await.map_err(failed())?;
        let Some((generation,)) = taken else { return Ok(false) };
        self.generation.store(generation, Ordering::Relaxed);
        self.prolong(asked);
        Ok(true)
    }

    /// Prolongs the lease that is held.
    pub(super) async fn renew<DB: Engine>(
        &self,
        pool: &Pool<DB>,
        report: &Report<'_>,
    ) -> Result<(), OutboxError> {
        let asked = Instant::now();
        let reason = cut(report.reason);
        let said = [
            Bind::Number(self.duration_ms()),
            Bind::Text(report.state.as_str()),
            Bind::Text(&reason),
        ];
        if self.update(pool, RENEW, &said).await? == 0 {
            return Err(self.lost());
        }
        self.prolong(asked);
        Ok(())
    }

    /// Stores how the leader does; who lost the lease says nothing.
    pub(super) async fn report<DB: Engine>(
        &self,
        pool: &Pool<DB>,
        report: &Report<'_>,
    ) -> Result<(), OutboxError> {
        let reason = cut(report.reason);
        let said = [Bind::Text(report.state.as_str()), Bind::Text(&reason)];
        self.update(pool, REPORT, &said).await.map(drop)
    }

    /// Gives the lease back at once, for a relay that ends.
    pub(super) async fn release<DB: Engine>(&self, pool: &Pool<DB>) -> Result<(), OutboxError> {
        self.update(pool, RELEASE, &[]).await.map(drop)
    }

    /// Makes sure, inside of a transaction, that the lease is held until the transaction ends.
    pub(super) async fn claim<DB: Engine>(
        &self,
        tx: &mut Transaction<'_, DB>,
    ) -> Result<(), OutboxError> {
        let held: Option<(i64,)> = one::<DB, _>(tx, CLAIM, &self.identity())
            .await
            .map_err(OutboxError::database("check the relay's lease"))?;
        held.map(drop).ok_or_else(|| self.lost())
    }

    /// Refuses to go on when the lease may have ended unnoticed, as after the process was frozen.
    pub(super) fn check_time(&self) -> Result<(), OutboxError> {
        let sure_until = *self.sure_until.lock().unwrap_or_else(PoisonError::into_inner);
        if Instant::now() < sure_until { Ok(()) } else { Err(self.lost()) }
    }

    async fn update<DB: Engine>(
        &self,
        pool: &Pool<DB>,
        sql: &'static str,
        said: &[Bind<'_>],
    ) -> Result<u64, OutboxError> {
        let failed = || OutboxError::database("update the relay's lease");
        let mut connection = pool.acquire().await.map_err(failed())?;
        let binds = [said, &self.identity()].concat();
        DB::run(&mut connection, sql, &binds).await.map_err(failed())
    }

    fn identity(&self) -> [Bind<'_>; 3] {
        [Bind::Text(&self.name), Bind::Text(&self.holder), Bind::Number(self.generation())]
    }

    /// The database counts the lease from a moment after `asked`, so this process gives up first.
    fn prolong(&self, asked: Instant) {
        *self.sure_until.lock().unwrap_or_else(PoisonError::into_inner) = asked + self.duration;
    }

    fn duration_ms(&self) -> i64 {
        signed(u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX))
    }

    fn lost(&self) -> OutboxError {
        OutboxError::LeaseLost { name: self.name.clone() }
    }
}

/// A text that fits its column.
pub(super) fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(REASON_BYTES_MAX.min(text.len()));
    text.get(..end).unwrap_or_default().to_owned()
}
