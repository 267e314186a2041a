//! Watermarks, runs and the status board, in SQLite.

use super::File;
use super::number::{from_db, to_db};
use crate::error::ControlError;
use crate::sync::{ComponentStatus, SyncRun, SyncWatermark};
use banyan_domain::{ContextName, Side};

const UPSERT_WATERMARK: &str = "INSERT INTO sync_watermark \
    (job, side, context, watermark_ms, lag_ms, pending, state, detail, at_ms) \
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) \
    ON CONFLICT (job, side) DO UPDATE SET context = excluded.context, \
    watermark_ms = excluded.watermark_ms, lag_ms = excluded.lag_ms, pending = excluded.pending, \
    state = excluded.state, detail = excluded.detail, at_ms = excluded.at_ms";
const SELECT_WATERMARKS: &str = "SELECT job, side, context, watermark_ms, lag_ms, pending, state, \
    detail, at_ms FROM sync_watermark ORDER BY job, side";
/// A job that has said nothing for as long as evidence is kept was renamed or removed.
const DELETE_OLD_WATERMARKS: &str = "DELETE FROM sync_watermark WHERE at_ms < ?";
const UPSERT_RUN: &str = "INSERT INTO sync_run \
    (id, job, context, side, mode, started_ms, ended_ms, state, aggregates, row_count, detail) \
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
    ON CONFLICT (id) DO UPDATE SET ended_ms = excluded.ended_ms, state = excluded.state, \
    aggregates = excluded.aggregates, row_count = excluded.row_count, detail = excluded.detail";
const DELETE_OLD_RUNS: &str = "DELETE FROM sync_run WHERE started_ms < \
    (SELECT started_ms FROM sync_run ORDER BY started_ms DESC LIMIT 1 OFFSET ?)";
const SELECT_RUNS: &str = "SELECT id, job, context, side, mode, started_ms, ended_ms, state, \
    aggregates, row_count, detail FROM sync_run ORDER BY started_ms DESC, id DESC LIMIT ?";
const UPSERT_STATUS: &str = "INSERT INTO component_status (component, detail, at_ms) VALUES (?, ?, ?) \
    ON CONFLICT (component) DO UPDATE SET detail = excluded.detail, at_ms = excluded.at_ms";
const SELECT_STATUSES: &str =
    "SELECT component, detail, at_ms FROM component_status ORDER BY component";

/// Runs that are kept; older ones are deleted.
const RUNS_KEPT: i64 = 1_000;

pub(super) async fn put_watermark(
    file: &File,
    watermark: &SyncWatermark,
) -> Result<(), ControlError> {
    let mut tx = file.begin().await?;
    let upsert = sqlx::query(UPSERT_WATERMARK)
        .bind(&watermark.job)
        .bind(watermark.to.as_str())
        .bind(watermark.context.as_str())
        .bind(to_db(watermark.watermark_ms))
        .bind(to_db(watermark.lag_ms))
        .bind(to_db(watermark.pending))
        .bind(&watermark.state)
        .bind(&watermark.detail)
        .bind(to_db(watermark.at_ms));
    upsert.execute(&mut *tx).await.map_err(|error| file.fail(error))?;
    file.end(tx).await
}

type WatermarkRow = (String, String, String, i64, i64, i64, String, String, i64);

pub(super) async fn watermarks(file: &File) -> Result<Vec<SyncWatermark>, ControlError> {
    let read = file.read().await?;
    let rows: Result<Vec<WatermarkRow>, _> =
        sqlx::query_as(SELECT_WATERMARKS).fetch_all(&read).await;
    rows.map_err(|error| file.fail(error))?.into_iter().map(watermark).collect()
}

fn watermark(row: WatermarkRow) -> Result<SyncWatermark, ControlError> {
    let (job, to, context, watermark_ms, lag_ms, pending, state, detail, at_ms) = row;
    let what = format!("the watermark of job `{job}`");
    Ok(SyncWatermark {
        context: context_of(&what, &context)?,
        to: side_of(&what, &to)?,
        job,
        watermark_ms: from_db(watermark_ms),
        lag_ms: from_db(lag_ms),
        pending: from_db(pending),
        state,
        detail,
        at_ms: from_db(at_ms),
    })
}

fn context_of(what: &str, name: &str) -> Result<ContextName, ControlError> {
    ContextName::new(name).map_err(|error| unreadable(what, error))
}

fn side_of(what: &str, word: &str) -> Result<Side, ControlError> {
    Side::from_word(word).ok_or_else(|| unreadable(what, format!("`{word}` is no side")))
}

fn unreadable(what: &str, source: impl Into<crate::error::Cause>) -> ControlError {
    ControlError::Unreadable { what: what.to_owned(), source: source.into() }
}

pub(super) async fn record_run(file: &File, run: &SyncRun) -> Result<(), ControlError> {
    let mut tx = file.begin().await?;
    let fail = |error| file.fail(error);
    let upsert = sqlx::query(UPSERT_RUN)
        .bind(&run.id)
        .bind(&run.job)
        .bind(run.context.as_str())
        .bind(run.to.as_str())
        .bind(&run.mode)
        .bind(to_db(run.started_ms))
        .bind(run.ended_ms.map(to_db))
        .bind(&run.state)
        .bind(to_db(run.aggregates))
        .bind(to_db(run.rows))
        .bind(run.detail.to_string());
    upsert.execute(&mut *tx).await.map_err(fail)?;
    let trim = sqlx::query(DELETE_OLD_RUNS).bind(RUNS_KEPT - 1);
    trim.execute(&mut *tx).await.map_err(fail)?;
    file.end(tx).await
}

type RunRow = (String, String, String, String, String, i64, Option<i64>, String, i64, i64, String);

pub(super) async fn runs(file: &File, limit: u32) -> Result<Vec<SyncRun>, ControlError> {
    let read = file.read().await?;
    let rows: Result<Vec<RunRow>, _> =
        sqlx::query_as(SELECT_RUNS).bind(i64::from(limit)).fetch_all(&read).await;
    rows.map_err(|error| file.fail(error))?.into_iter().map(run).collect()
}

fn run(row: RunRow) -> Result<SyncRun, ControlError> {
    let (id, job, context, to, mode, started_ms, ended_ms, state, aggregates, rows, detail) = row;
    let what = format!("sync run `{id}`");
    Ok(SyncRun {
        context: context_of(&what, &context)?,
        to: side_of(&what, &to)?,
        detail: serde_json::from_str(&detail).map_err(|error| unreadable(&what, error))?,
        id,
        job,
        mode,
        started_ms: from_db(started_ms),
        ended_ms: ended_ms.map(from_db),
        state,
        aggregates: from_db(aggregates),
        rows: from_db(rows),
    })
}

pub(super) async fn put_status(
    file: &File,
    component: &str,
    detail: &serde_json::Value,
) -> Result<(), ControlError> {
    let mut tx = file.begin().await?;
    let upsert = sqlx::query(UPSERT_STATUS)
        .bind(component)
        .bind(detail.to_string())
        .bind(to_db(file.now_ms()));
    upsert.execute(&mut *tx).await.map_err(|error| file.fail(error))?;
    file.end(tx).await
}

pub(super) async fn statuses(file: &File) -> Result<Vec<ComponentStatus>, ControlError> {
    let read = file.read().await?;
    let rows: Result<Vec<(String, String, i64)>, _> =
        sqlx::query_as(SELECT_STATUSES).fetch_all(&read).await;
    let rows = rows.map_err(|error| file.fail(error))?;
    let now = file.now_ms();
    let status = |(component, detail, at_ms): (String, String, i64)| {
        let what = format!("the status of `{component}`");
        let detail = serde_json::from_str(&detail).map_err(|error| unreadable(&what, error))?;
        let at_ms = from_db(at_ms);
        Ok(ComponentStatus { component, detail, at_ms, age_ms: now.saturating_sub(at_ms) })
    };
    rows.into_iter().map(status).collect()
}

/// Forgets the watermarks of jobs that no longer exist.
pub(super) async fn forget_old(file: &File) -> Result<(), ControlError> {
    let cut = file.now_ms().saturating_sub(file.options.shadow.retention_ms);
    let mut tx = file.begin().await?;
    let gone = sqlx::query(DELETE_OLD_WATERMARKS).bind(to_db(cut)).execute(&mut *tx).await;
    gone.map_err(|error| file.fail(error))?;
    file.end(tx).await
}
