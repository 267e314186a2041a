//! The owner rows of the store: whose events go public, and the markers that change that.
//!
//! What must stay true: a change of owner is one transaction together with the check of the lease, and happens
//! only at a marker; the control store is believed about the first ownership and refused when it goes back.

use std::collections::BTreeMap;

use banyan_domain::{ContextName, Epoch, Side};
use sqlx::{Connection as _, SqliteConnection};

use super::ForwarderError;
use super::lease::Claim;
use super::marker::Marker;
use super::ownership::{MarkerEffect, Ownership, Sealed};
use super::store::{Store, now_ms};

const OWNER: &str = "SELECT owner, epoch, opened, sealed_legacy, sealed_new, voided
    FROM forwarder_owner WHERE context = ?1";
const TOLD_OWNER: &str = "SELECT owner, epoch, opened, sealed_legacy, sealed_new, voided
    FROM forwarder_owner WHERE context = ?1 AND told_epoch = ?2";
const SET_OWNER: &str =
    "INSERT INTO forwarder_owner (context, owner, epoch, opened, sealed_legacy, sealed_new,
        voided, told_epoch, since_ms)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?3, ?8)
    ON CONFLICT (context) DO UPDATE SET owner = excluded.owner, epoch = excluded.epoch,
        opened = excluded.opened, sealed_legacy = excluded.sealed_legacy,
        sealed_new = excluded.sealed_new, voided = excluded.voided, since_ms = excluded.since_ms";
const TOLD: &str =
    "UPDATE forwarder_owner SET told_epoch = ?2 WHERE context = ?1 AND told_epoch <> ?2";
const HOLD: &str = "INSERT INTO forwarder_hold (side, context, marker, epoch, since_ms)
    VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (side) DO UPDATE SET context = excluded.context, marker = excluded.marker,
        epoch = excluded.epoch, since_ms = excluded.since_ms";
const UNHOLD: &str = "DELETE FROM forwarder_hold WHERE side = ?1";

type OwnerRow = (String, i64, bool, bool, bool, i64);

impl Store {
    /// The ownerships to decide under: those acted on, and for a context never heard of, what the control store says.
    ///
    /// # Errors
    /// [`ForwarderError::OwnerWentBack`] when the control store says an older ownership than was acted on.
    pub(super) async fn ownerships(
        &self,
        conn: &mut SqliteConnection,
        told: &BTreeMap<ContextName, (Side, Epoch)>,
    ) -> Result<BTreeMap<ContextName, Ownership>, ForwarderError> {
        let mut all = BTreeMap::new();
        for (context, (owner, epoch)) in told {
            let now = self.ownership(conn, context, *owner, *epoch).await?;
            all.insert(context.clone(), now);
        }
        Ok(all)
    }

    async fn ownership(
        &self,
        conn: &mut SqliteConnection,
        context: &ContextName,
        owner: Side,
        epoch: Epoch,
    ) -> Result<Ownership, ForwarderError> {
        let failed = |error: sqlx::Error| self.failed(&error);
        let Some(known) = read_owner(conn, context).await.map_err(failed)? else {
            let first = Ownership::first(owner, epoch);
            write_owner(conn, context, &first).await.map_err(failed)?;
            tracing::info!(%context, %owner, %epoch, "the forwarder learns who owns a context");
            return Ok(first);
        };
        if known.check_told(owner, epoch).is_err() {
            let (context, known) = (context.clone(), known.epoch);
            return Err(ForwarderError::OwnerWentBack { context, known, told: epoch });
        }
        let told = sqlx::query(TOLD).bind(context.as_str()).bind(number(epoch));
        told.execute(conn).await.map_err(failed)?;
        Ok(known)
    }

    /// Acts on a marker that was met in a side's queue.
    pub(super) async fn meet(
        &self,
        claim: &Claim,
        side: Side,
        marker: &Marker,
        told: (Side, Epoch),
    ) -> Result<MarkerEffect, ForwarderError> {
        let failed = |error: sqlx::Error| self.failed(&error);
        let mut conn = self.lock().await;
        let mut tx = conn.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        if !claim.held(&mut tx).await.map_err(failed)? {
            return Err(claim.lost());
        }
        let now = self.ownership(&mut tx, &marker.context, told.0, told.1).await?;
        let effect = now.meet(side, marker.kind, marker.epoch);
        match effect {
            MarkerEffect::Nothing => unhold(&mut tx, side).await.map_err(failed)?,
            MarkerEffect::Changed(next) => {
                write_owner(&mut tx, &marker.context, &next).await.map_err(failed)?;
                unhold(&mut tx, side).await.map_err(failed)?;
            }
            MarkerEffect::Hold => {
                sqlx::query(HOLD)
                    .bind(side.as_str())
                    .bind(marker.context.as_str())
                    .bind(marker.kind.as_str())
                    .bind(number(marker.epoch))
                    .bind(now_ms())
                    .execute(&mut *tx)
                    .await
                    .map_err(failed)?;
            }
        }
        tx.commit().await.map_err(failed)?;
        if let MarkerEffect::Changed(next) = effect {
            let owner = next.owner;
            tracing::info!(%marker, %side, %owner, epoch = %next.epoch, "the forwarder met a marker");
        }
        Ok(effect)
    }

    /// Whether a held queue must still wait at its marker.
    pub(super) async fn still_holds(
        &self,
        side: Side,
        marker: &Marker,
    ) -> Result<bool, ForwarderError> {
        let failed = |error: sqlx::Error| self.failed(&error);
        let now = read_owner(&mut *self.lock().await, &marker.context).await.map_err(failed)?;
        Ok(now.is_none_or(|now| now.meet(side, marker.kind, marker.epoch) == MarkerEffect::Hold))
    }

    /// The ownership acted on, if this was told before: then nothing is to be written, and nobody waited for.
    pub(super) async fn already_told(
        &self,
        context: &ContextName,
        told: (Side, Epoch),
    ) -> Result<Option<Ownership>, ForwarderError> {
        let known = sqlx::query_as(TOLD_OWNER)
            .bind(context.as_str())
            .bind(number(told.1))
            .fetch_optional(&mut *self.lock().await)
            .await
            .and_then(|row| row.map(ownership).transpose());
        let known = known.map_err(|error| self.failed(&error))?;
        Ok(known.filter(|known| known.check_told(told.0, told.1).is_ok()))
    }

    /// The ownership acted on, for whoever leads a handover.
    pub(super) async fn acted_on(
        &self,
        context: &ContextName,
    ) -> Result<Option<Ownership>, ForwarderError> {
        read_owner(&mut *self.lock().await, context).await.map_err(|error| self.failed(&error))
    }
}

async fn unhold(conn: &mut SqliteConnection, side: Side) -> Result<(), sqlx::Error> {
    sqlx::query(UNHOLD).bind(side.as_str()).execute(conn).await.map(drop)
}

async fn read_owner(
    conn: &mut SqliteConnection,
    context: &ContextName,
) -> Result<Option<Ownership>, sqlx::Error> {
    let row: Option<OwnerRow> =
        sqlx::query_as(OWNER).bind(context.as_str()).fetch_optional(conn).await?;
    row.map(ownership).transpose()
}

fn ownership(row: OwnerRow) -> Result<Ownership, sqlx::Error> {
    let (owner, epoch, opened, legacy, new, voided) = row;
    let owner = Side::from_word(&owner)
        .ok_or_else(|| sqlx::Error::Protocol(format!("`{owner}` is no side")))?;
    Ok(Ownership {
        owner,
        epoch: Epoch(epoch.unsigned_abs()),
        opened,
        sealed: Sealed { legacy, new },
        voided: Epoch(voided.unsigned_abs()),
    })
}

async fn write_owner(
    conn: &mut SqliteConnection,
    context: &ContextName,
    now: &Ownership,
) -> Result<(), sqlx::Error> {
    sqlx::query(SET_OWNER)
        .bind(context.as_str())
        .bind(now.owner.as_str())
        .bind(number(now.epoch))
        .bind(now.opened)
        .bind(now.sealed.legacy)
        .bind(now.sealed.new)
        .bind(number(now.voided))
        .bind(now_ms())
        .execute(conn)
        .await
        .map(drop)
}

/// As SQLite stores it; epochs count ownerships and stay small.
pub(super) fn number(epoch: Epoch) -> i64 {
    i64::try_from(epoch.0).unwrap_or(i64::MAX)
}
