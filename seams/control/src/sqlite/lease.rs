//! Leases, in SQLite. The rule itself is [`crate::lease::grant`].

use super::File;
use super::number::{from_db, to_db};
use crate::error::ControlError;
use crate::lease::{Lease, LeaseGrant, grant};

const SELECT_ONE: &str = "SELECT name, holder, epoch, expires_ms FROM lease WHERE name = ?";
const SELECT_ALL: &str = "SELECT name, holder, epoch, expires_ms FROM lease ORDER BY name";
const UPSERT: &str = "INSERT INTO lease (name, holder, epoch, expires_ms) VALUES (?, ?, ?, ?) \
    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, epoch = excluded.epoch, \
    expires_ms = excluded.expires_ms";
/// The row stays, so that the epoch is never used twice.
const END: &str =
    "UPDATE lease SET expires_ms = 0 WHERE name = ? AND holder = ? AND expires_ms > ?";

type Row = (String, String, i64, i64);

pub(super) async fn take(
    file: &File,
    name: &str,
    holder: &str,
    ttl_ms: u64,
) -> Result<Option<LeaseGrant>, ControlError> {
    let mut tx = file.begin().await?;
    let fail = |error| file.fail(error);
    // After the write lock is held: waiting for it must not stretch the old lease.
    let now = file.now_ms();
    let row: Option<Row> =
        sqlx::query_as(SELECT_ONE).bind(name).fetch_optional(&mut *tx).await.map_err(fail)?;
    let Some(epoch) = grant(row.map(lease).as_ref(), holder, now) else { return Ok(None) };
    let expires_ms = now.saturating_add(ttl_ms);
    let upsert =
        sqlx::query(UPSERT).bind(name).bind(holder).bind(to_db(epoch)).bind(to_db(expires_ms));
    upsert.execute(&mut *tx).await.map_err(fail)?;
    file.end(tx).await?;
    Ok(Some(LeaseGrant { epoch, expires_ms }))
}

pub(super) async fn release(file: &File, name: &str, holder: &str) -> Result<bool, ControlError> {
    let mut tx = file.begin().await?;
    let end = sqlx::query(END).bind(name).bind(holder).bind(to_db(file.now_ms()));
    let ended = end.execute(&mut *tx).await.map_err(|error| file.fail(error))?.rows_affected();
    file.end(tx).await?;
    Ok(ended > 0)
}

pub(super) async fn list(file: &File) -> Result<Vec<Lease>, ControlError> {
    let read = file.read().await?;
    let rows: Result<Vec<Row>, _> = sqlx::query_as(SELECT_ALL).fetch_all(&read).await;
    Ok(rows.map_err(|error| file.fail(error))?.into_iter().map(lease).collect())
}

fn lease((name, holder, epoch, expires_ms): Row) -> Lease {
    Lease { name, holder, epoch: from_db(epoch), expires_ms: from_db(expires_ms) }
}
