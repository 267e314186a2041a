//! Instances and their heartbeats, in SQLite.
//!
//! Owns the rows that say which process applied which generation. What must stay true: of two processes
//! with one name only the later started one is heard, so that an acknowledgement has one meaning.

use super::File;
use super::number::{from_db, to_db};
use crate::error::ControlError;
use crate::instance::{Instance, InstanceReport};
use banyan_domain::Generation;

const UPSERT: &str = "INSERT INTO instance \
    (instance, role, address, admin_address, pid, started_ms, seen_ms, applied, in_flight_writes, in_flight, state, \
    detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
    ON CONFLICT (instance) DO UPDATE SET role = excluded.role, address = excluded.address, \
    admin_address = excluded.admin_address, pid = excluded.pid, started_ms = excluded.started_ms, \
    seen_ms = excluded.seen_ms, applied = excluded.applied, \
    in_flight_writes = excluded.in_flight_writes, in_flight = excluded.in_flight, state = excluded.state, detail = excluded.detail \
    WHERE excluded.started_ms >= instance.started_ms OR instance.seen_ms < ?";
const SELECT_PID: &str = "SELECT pid FROM instance WHERE instance = ?";
const DELETE_SILENT: &str = "DELETE FROM instance WHERE seen_ms < ?";
const DELETE_ONE: &str = "DELETE FROM instance WHERE instance = ?";
const SELECT: &str = "SELECT instance, role, address, admin_address, pid, started_ms, seen_ms, \
    applied, in_flight_writes, in_flight, state, detail FROM instance ORDER BY instance";
/// Writes on their way by context, as a JSON object.
pub(super) const ADD_IN_FLIGHT: &str =
    "ALTER TABLE instance ADD COLUMN in_flight TEXT NOT NULL DEFAULT '{}'";

pub(super) async fn heartbeat(file: &File, report: &InstanceReport) -> Result<(), ControlError> {
    let now = file.now_ms();
    let mut tx = file.begin().await?;
    let fail = |error| file.fail(error);
    let in_flight = serde_json::to_string(&report.in_flight)
        .map_err(|error| fail(sqlx::Error::Encode(Box::new(error))))?;
    let silent = now.saturating_sub(file.options.instance_memory_ms);
    sqlx::query(DELETE_SILENT).bind(to_db(silent)).execute(&mut *tx).await.map_err(fail)?;
    let upsert = sqlx::query(UPSERT)
        .bind(&report.instance)
        .bind(&report.role)
        .bind(&report.address)
        .bind(&report.admin_address)
        .bind(i64::from(report.pid))
        .bind(to_db(report.started_ms))
        .bind(to_db(now))
        .bind(to_db(report.applied.0))
        .bind(to_db(report.in_flight_writes))
        .bind(in_flight)
        .bind(&report.state)
        .bind(&report.detail)
        .bind(to_db(now.saturating_sub(file.options.instance_lease_ms)));
    let written = upsert.execute(&mut *tx).await.map_err(fail)?.rows_affected();
    if written == 0 {
        let row = sqlx::query_as(SELECT_PID).bind(&report.instance).fetch_one(&mut *tx).await;
        let (pid,): (i64,) = row.map_err(fail)?;
        let pid = u32::try_from(pid).unwrap_or_default();
        return Err(ControlError::InstanceTaken { instance: report.instance.clone(), pid });
    }
    file.end(tx).await
}

pub(super) async fn leave(file: &File, instance: &str) -> Result<(), ControlError> {
    let mut tx = file.begin().await?;
    let gone = sqlx::query(DELETE_ONE).bind(instance).execute(&mut *tx).await;
    gone.map_err(|error| file.fail(error))?;
    file.end(tx).await
}

type Row = (String, String, String, String, i64, i64, i64, i64, i64, String, String, String);

pub(super) async fn list(file: &File) -> Result<Vec<Instance>, ControlError> {
    let read = file.read().await?;
    let rows: Result<Vec<Row>, _> = sqlx::query_as(SELECT).fetch_all(&read).await;
    let rows = rows.map_err(|error| file.fail(error))?;
    // Taken after the rows were read, so that no age is negative.
    let (now, lease) = (file.now_ms(), file.options.instance_lease_ms);
    rows.into_iter().map(|row| instance(row, now, lease)).collect()
}

fn instance(row: Row, now_ms: u64, lease_ms: u64) -> Result<Instance, ControlError> {
    let (
        instance,
        role,
        address,
        admin_address,
        pid,
        started,
        seen,
        applied,
        writes,
        in_flight,
        state,
        detail,
    ) = row;
    let age_ms = now_ms.saturating_sub(from_db(seen));
    // An unreadable count must not pass for none: the coordinator waits for zero.
    let in_flight = serde_json::from_str(&in_flight).map_err(|error| ControlError::Unreadable {
        what: format!("writes on their way through `{instance}`"),
        source: Box::new(error),
    })?;
    let report = InstanceReport {
        instance,
        role,
        address,
        admin_address,
        pid: u32::try_from(pid).unwrap_or_default(),
        started_ms: from_db(started),
        applied: Generation(from_db(applied)),
        in_flight_writes: from_db(writes),
        in_flight,
        state,
        detail,
    };
    Ok(Instance { report, age_ms, live: age_ms < lease_ms })
}
