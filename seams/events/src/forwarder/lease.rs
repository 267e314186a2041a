//! The lease: which of several forwarders of one name leads, and under which generation.
//!
//! Owns the lease row and the state row that `status` reads. It exists so that two forwarders never both
//! publish. What must stay true: the generation grows with every change of holder, and every transaction that
//! decides checks it ([`Claim`]), so a forwarder that slept through its lease decides nothing more.

use std::time::Duration;

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
}

/// The right to decide, as checked inside of a transaction.
#[derive(Clone)]
pub(super) struct Claim {
    scope: String,
    holder: String,
    generation: i64,
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
        }
    }

    /// Takes the lease if nobody else holds it.
    pub(super) async fn take(&mut self, store: &Store) -> Result<bool, ForwarderError> {
        let generation: Option<i64> = sqlx::query_scalar(TAKE)
            .bind(&self.scope)
            .bind(&self.holder)
            .bind(self.until())
            .bind(now_ms())
            .fetch_optional(&mut *store.lock().await)
            .await
            .map_err(|error| store.failed(&error))?;
        if let Some(generation) = generation {
            self.generation = generation;
        }
        Ok(generation.is_some())
    }

    /// Prolongs the lease that is held.
    pub(super) async fn renew(&self, store: &Store) -> Result<(), ForwarderError> {
        let renewed = sqlx::query(RENEW)
            .bind(&self.scope)
            .bind(&self.holder)
            .bind(self.generation)
            .bind(self.until())
            .execute(&mut *store.lock().await)
            .await
            .map_err(|error| store.failed(&error))?;
        if renewed.rows_affected() == 1 {
            return Ok(());
        }
        Err(ForwarderError::LeaseLost { name: self.scope.clone() })
    }

    /// Gives the lease back at once, for a forwarder that ends.
    pub(super) async fn release(&self, store: &Store) -> Result<(), ForwarderError> {
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
        assert!(one.take(&store).await.unwrap());
        assert!(!two.take(&store).await.unwrap());
        assert!(one.take(&store).await.unwrap(), "the holder may take it again");
        let old = one.claim();
        one.release(&store).await.unwrap();
        assert!(two.take(&store).await.unwrap());
        assert!(one.renew(&store).await.is_err());
        assert!(!old.held(&mut *store.lock().await).await.unwrap());
        assert!(two.claim().held(&mut *store.lock().await).await.unwrap());
        assert_eq!((one.generation, two.generation), (1, 2));
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
