//! The lease: which of several forwarders of one name leads, and under which generation.
//!
//! Owns the lease row and the state row that `status` reads. It exists so that two forwarders never both
//! publish. What must stay true: the generation grows with every change of holder, and every transaction that
//! decides checks it ([`Claim`]), so a forwarder that slept through its lease decides nothing more; nor does it
//! publish what it had decided, for it knows by its own clock until when it certainly led.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::SqliteConnection;

use super::store::{Store, now_ms};
use super::{ForwarderConfig, ForwarderError, RunState};

/// Signs of life per lease.
const RENEWALS: u32 = 4;

/// Takes the row when it is free, expired or already ours; a new holder gets a new generation.
const TAKE: &str = "INSERT INTO forwarder_lease (scope, holder, generation, until_ms)
    VALUES (?1, ?2, 1, ?3)
    ON CONFLICT (scope) DO UPDATE SET until_ms = excluded.until_ms, holder = excluded.holder,
        generation = generation + (holder <> excluded.holder)
    WHERE holder = excluded.holder OR until_ms < ?4
    RETURNING generation";
const HOLDER: &str = "SELECT holder, until_ms FROM forwarder_lease WHERE scope = ?1";
const RENEW: &str = "UPDATE forwarder_lease SET until_ms = ?4
    WHERE scope = ?1 AND holder = ?2 AND generation = ?3";
const HELD: &str = "SELECT 1 FROM forwarder_lease
    WHERE scope = ?1 AND holder = ?2 AND generation = ?3 AND until_ms >= ?4";
const REPORT: &str = "INSERT INTO forwarder_state (scope, holder, state, reason, at_ms)
    VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (scope) DO UPDATE SET holder = excluded.holder, state = excluded.state,
        reason = excluded.reason, at_ms = excluded.at_ms
    WHERE excluded.state <> 'standby' OR at_ms < excluded.at_ms - ?6";

/// The lease of one forwarder object.
pub(super) struct Lease {
    scope: String,
    /// A random name: a restarted process is another holder.
    holder: String,
    generation: i64,
    duration: Duration,
    /// By this process's clock; `None` = not held.
    held_until: Arc<Mutex<Option<Instant>>>,
}

/// How the lease was got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// Another forwarder holds it.
    No,
    /// Nobody else had it, or whoever had it gave it back.
    Freely,
    /// Its last holder fell silent; it gave its last sign of life so long ago.
    FromSilent(Duration),
}

/// The right to decide, as checked inside of a transaction.
#[derive(Clone)]
pub(super) struct Claim {
    scope: String,
    holder: String,
    generation: i64,
    held_until: Arc<Mutex<Option<Instant>>>,
}

/// What `status` shows of a forwarder.
pub(super) struct Report<'a> {
    pub(super) state: RunState,
    pub(super) reason: &'a str,
}

impl Lease {
    pub(super) fn new(config: &ForwarderConfig) -> Self {
        Self {
            scope: config.name.clone(),
            holder: uuid::Uuid::new_v4().to_string(),
            generation: 0,
            duration: config.lease,
            held_until: Arc::default(),
        }
    }

    pub(super) fn renew_every(&self) -> Duration {
        self.duration / RENEWALS
    }

    pub(super) fn claim(&self) -> Claim {
        Claim {
            scope: self.scope.clone(),
            holder: self.holder.clone(),
            generation: self.generation,
            held_until: Arc::clone(&self.held_until),
        }
    }

    /// Takes the lease if nobody else holds it.
    pub(super) async fn take(&mut self, store: &Store) -> Result<Taken, ForwarderError> {
        let asked = Instant::now();
        let last: Option<(String, i64)> = sqlx::query_as(HOLDER)
            .bind(&self.scope)
            .fetch_optional(&mut *store.lock().await)
            .await
            .map_err(|error| store.failed(&error))?;
        let generation: Option<i64> = sqlx::query_scalar(TAKE)
            .bind(&self.scope)
            .bind(&self.holder)
            .bind(self.until())
            .bind(now_ms())
            .fetch_optional(&mut *store.lock().await)
            .await
            .map_err(|error| store.failed(&error))?;
        let Some(generation) = generation else { return Ok(Taken::No) };
        self.generation = generation;
        self.holds_since(asked);
        Ok(match last {
            Some((holder, until_ms)) if holder != self.holder && until_ms > 0 => {
                let sign_of_life_ms = until_ms.saturating_sub(millis(self.duration));
                let silent_ms = now_ms().saturating_sub(sign_of_life_ms);
                Taken::FromSilent(Duration::from_millis(u64::try_from(silent_ms).unwrap_or(0)))
            }
            Some(_) | None => Taken::Freely,
        })
    }

    /// The time before asking counts: the answer may have been long on its way.
    fn holds_since(&self, asked: Instant) {
        let until = asked.checked_add(self.duration);
        *self.held_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    /// Prolongs the lease that is held.
    pub(super) async fn renew(&self, store: &Store) -> Result<(), ForwarderError> {
        let asked = Instant::now();
        let renewed = sqlx::query(RENEW)
            .bind(&self.scope)
            .bind(&self.holder)
            .bind(self.generation)
            .bind(self.until())
            .execute(&mut *store.lock().await)
            .await
            .map_err(|error| store.failed(&error))?;
        if renewed.rows_affected() == 1 {
            self.holds_since(asked);
            return Ok(());
        }
        Err(ForwarderError::LeaseLost { name: self.scope.clone() })
    }

    /// Gives the lease back at once, for a forwarder that ends.
    pub(super) async fn release(&self, store: &Store) -> Result<(), ForwarderError> {
        *self.held_until.lock().unwrap_or_else(PoisonError::into_inner) = None;
        sqlx::query(RENEW)
            .bind(&self.scope)
            .bind(&self.holder)
            .bind(self.generation)
            .bind(0)
            .execute(&mut *store.lock().await)
            .await
            .map(drop)
            .map_err(|error| store.failed(&error))
    }

    /// Stores what `status` shows. A standby does not overwrite a leader that gives signs of life.
    pub(super) async fn report(
        &self,
        store: &Store,
        report: &Report<'_>,
    ) -> Result<(), ForwarderError> {
        sqlx::query(REPORT)
            .bind(&self.scope)
            .bind(&self.holder)
            .bind(report.state.as_str())
            .bind(report.reason)
            .bind(now_ms())
            .bind(millis(self.duration))
            .execute(&mut *store.lock().await)
            .await
            .map(drop)
            .map_err(|error| store.failed(&error))
    }

    fn until(&self) -> i64 {
        now_ms().saturating_add(millis(self.duration))
    }
}

impl Claim {
    /// Whether the lease is still held; to be asked inside of the deciding transaction.
    pub(super) async fn held(&self, conn: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let held: Option<i64> = sqlx::query_scalar(HELD)
            .bind(&self.scope)
            .bind(&self.holder)
            .bind(self.generation)
            .bind(now_ms())
            .fetch_optional(conn)
            .await?;
        Ok(held.is_some())
    }

    /// Whether the lease is certainly still held, by this process's own clock, without asking anybody.
    pub(super) fn is_fresh(&self) -> bool {
        let until = *self.held_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    pub(super) fn lost(&self) -> ForwarderError {
        ForwarderError::LeaseLost { name: self.scope.clone() }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::PublicPlace;
    use super::*;

    async fn two(directory: &tempfile::TempDir) -> (Store, Lease, Lease) {
        let path = directory.path().join("f.db");
        let store = Store::open(&path).await.unwrap();
        let config = ForwarderConfig::new("f", path, PublicPlace::new("embedded:x", "p"));
        (store, Lease::new(&config), Lease::new(&config))
    }

    #[tokio::test]
    async fn only_one_of_two_holds_the_lease_and_each_change_has_a_new_generation() {
        let directory = tempfile::tempdir().unwrap();
        let (store, mut one, mut two) = two(&directory).await;
        assert_eq!(one.take(&store).await.unwrap(), Taken::Freely);
        assert_eq!(two.take(&store).await.unwrap(), Taken::No);
        assert_eq!(one.take(&store).await.unwrap(), Taken::Freely, "the holder may take it again");
        let old = one.claim();
        assert!(old.is_fresh());
        one.release(&store).await.unwrap();
        assert!(!old.is_fresh());
        assert_eq!(two.take(&store).await.unwrap(), Taken::Freely);
        assert!(one.renew(&store).await.is_err());
        assert!(!old.held(&mut *store.lock().await).await.unwrap());
        assert!(two.claim().held(&mut *store.lock().await).await.unwrap());
        assert_eq!((one.generation, two.generation), (1, 2));
    }

    #[tokio::test]
    async fn a_lease_of_a_silent_holder_is_taken_with_the_length_of_its_silence() {
        let directory = tempfile::tempdir().unwrap();
        let (store, mut one, mut two) = two(&directory).await;
        one.duration = Duration::from_millis(30);
        two.duration = one.duration;
        one.take(&store).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!one.claim().is_fresh(), "it knows by itself");
        let taken = two.take(&store).await.unwrap();
        let Taken::FromSilent(silence) = taken else { panic!("{taken:?}") };
        assert!(silence >= Duration::from_millis(49), "{silence:?}");
    }

    #[tokio::test]
    async fn an_expired_lease_decides_nothing_even_if_nobody_took_it() {
        let directory = tempfile::tempdir().unwrap();
        let (store, mut one, _) = two(&directory).await;
        one.take(&store).await.unwrap();
        let claim = one.claim();
        one.release(&store).await.unwrap();
        assert!(!claim.held(&mut *store.lock().await).await.unwrap());
    }
}
