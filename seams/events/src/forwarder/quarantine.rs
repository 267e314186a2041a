//! The quarantine: late events, kept until a person releases or drops each of them.
//!
//! Owns listing, releasing and dropping, and their audit. It exists because an event of a side that was already
//! sealed is neither safe to publish (the other side may have announced the same) nor safe to forget.
//! What must stay true: an event leaves the quarantine only by a named person with a reason; all or none of a
//! selection is resolved; a released event is published by the forwarder that leads, never by the command.

use banyan_domain::{ContextName, Side};
use serde::Serialize;
use sqlx::{Connection as _, SqliteConnection};

use super::lease::Claim;
use super::store::{Store, now_ms};
use super::{ForwarderConfig, ForwarderError};
use crate::broker::{Message, Properties};

/// Most events released in one go; the rest follows.
const RELEASE_BATCH: i64 = 100;
/// Word of a released event in the counters.
pub(super) const RELEASED: &str = "released";
/// Word of a dropped event in the counters.
pub(super) const DROPPED: &str = "dropped";

const LIST: &str = "SELECT id, context, side, epoch, type, routing_key, message_id, LENGTH(body),
        decided_ms, resolution IS NOT NULL FROM forwarder_log
    WHERE decision = 'late' AND (resolution IS NULL OR resolution = 'release')
    ORDER BY context, id LIMIT ?1";
const OF_CONTEXT: &str = "SELECT id, context FROM forwarder_log
    WHERE decision = 'late' AND resolution IS NULL AND context = ?1 ORDER BY id";
const OF_IDS: &str = "SELECT id, context FROM forwarder_log
    WHERE decision = 'late' AND resolution IS NULL AND id IN (SELECT value FROM json_each(?1))
    ORDER BY id";
const RESOLVE: &str = "UPDATE forwarder_log SET resolution = ?2, resolved_ms = ?3
    WHERE id IN (SELECT value FROM json_each(?1))";
const AUDIT: &str =
    "INSERT INTO forwarder_audit (at_ms, by, reason, action, context, events, detail)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const AUDIT_LIST: &str = "SELECT at_ms, by, reason, action, context, events, detail
    FROM forwarder_audit ORDER BY id DESC LIMIT ?1";
/// The doubled condition is that of the partial index.
const WANTED: &str = "SELECT id, exchange, routing_key, properties, body FROM forwarder_log
    WHERE decision = 'late' AND (resolution IS NULL OR resolution = 'release')
        AND resolution = 'release' AND side = ?1 ORDER BY id LIMIT ?2";
const RELEASE_DONE: &str = "UPDATE forwarder_log
    SET resolution = 'released', resolved_ms = ?2, forwarded_ms = ?2
    WHERE id IN (SELECT value FROM json_each(?1)) AND resolution = 'release'";
const COUNT_RESOLVED: &str = "INSERT INTO forwarder_counter (context, side, decision, events)
    SELECT context, side, ?2, COUNT(*) FROM forwarder_log
        WHERE id IN (SELECT value FROM json_each(?1)) AND resolution IS NOT ?2
        GROUP BY context, side
    ON CONFLICT (context, side, decision) DO UPDATE SET events = events + excluded.events";

/// One event in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LateEvent {
    /// Names it in `release` and `drop`.
    pub id: i64,
    /// Its context.
    pub context: String,
    /// The side that sent it after it was sealed.
    pub side: Side,
    /// The ownership under which it came.
    pub epoch: i64,
    /// Its AMQP `type`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Its routing key.
    pub routing_key: String,
    /// Its emitter's id.
    pub message_id: Option<String>,
    /// Size of its body.
    pub body_bytes: i64,
    /// When it came, in milliseconds since 1970.
    pub decided_ms: i64,
    /// A release was ordered; the leading forwarder has not published it yet.
    pub releasing: bool,
}

/// Which late events are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Exactly these.
    Ids(Vec<i64>),
    /// All that wait now in one context; `expected` refuses when it is another number than the person saw.
    Context {
        /// The context.
        context: ContextName,
        /// How many the person saw.
        expected: Option<u64>,
    },
}

/// What becomes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Published to the public exchange after all.
    Release,
    /// Never published; the row stays as long as the log keeps it.
    Drop,
}

/// Who resolves and why; both end up in the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// Name of the person.
    pub name: String,
    /// The reason; may not be empty.
    pub reason: String,
}

/// One act of an operator on the forwarder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditRow {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// `release`, `drop` or a step of a handover.
    pub action: String,
    /// The context.
    pub context: String,
    /// How many events it was about.
    pub events: i64,
    /// Ids, or other particulars.
    pub detail: String,
}

/// Why nothing was resolved.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum QuarantineError {
    /// The reason is empty.
    #[error("an event leaves the quarantine only with a reason")]
    NoReason,
    /// Nothing matches.
    #[error("no late event waits there")]
    Empty,
    /// Some of the ids do not wait in quarantine; the others were left alone too.
    #[error("not in quarantine: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    NotThere(Vec<i64>),
    /// Another number of events waits than the person saw.
    #[error("{found} late events wait, {expected} were expected")]
    Changed {
        /// What the person saw.
        expected: u64,
        /// What waits now.
        found: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] ForwarderError),
}

/// Releases or drops late events: all of the selection or none; answers their ids.
///
/// A release is an order to the leading forwarder, which publishes within a second; with none running it waits.
///
/// # Errors
/// See [`QuarantineError`].
pub async fn resolve(
    config: &ForwarderConfig,
    selection: &Selection,
    resolution: Resolution,
    operator: &Operator,
) -> Result<Vec<i64>, QuarantineError> {
    if operator.reason.trim().is_empty() {
        return Err(QuarantineError::NoReason);
    }
    let store = Store::open(&config.database).await?;
    let failed = |error: sqlx::Error| store.failed(&error);
    let mut conn = store.lock().await;
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    let found = select(&mut tx, selection).await.map_err(failed)?;
    check(selection, &found)?;
    for (context, ids) in by_context(&found) {
        let word = match resolution {
            Resolution::Release => "release",
            Resolution::Drop => {
                count(&mut tx, &ids, DROPPED).await.map_err(failed)?;
                DROPPED
            }
        };
        sqlx::query(RESOLVE)
            .bind(json(&ids))
            .bind(word)
            .bind(now_ms())
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        let row = AuditRow {
            at_ms: now_ms(),
            by: operator.name.clone(),
            reason: operator.reason.clone(),
            action: if resolution == Resolution::Drop { "drop" } else { "release" }.to_owned(),
            context,
            events: i64::try_from(ids.len()).unwrap_or(i64::MAX),
            detail: json(&ids),
        };
        audit(&mut tx, &row).await.map_err(failed)?;
    }
    tx.commit().await.map_err(failed)?;
    Ok(found.into_iter().map(|(id, _)| id).collect())
}

async fn select(
    conn: &mut SqliteConnection,
    selection: &Selection,
) -> Result<Vec<(i64, String)>, sqlx::Error> {
    let query = match selection {
        Selection::Ids(ids) => sqlx::query_as(OF_IDS).bind(json(ids)),
        Selection::Context { context, .. } => {
            sqlx::query_as(OF_CONTEXT).bind(context.as_str().to_owned())
        }
    };
    query.fetch_all(conn).await
}

fn check(selection: &Selection, found: &[(i64, String)]) -> Result<(), QuarantineError> {
    match selection {
        Selection::Ids(ids) => {
            let there = |id: &i64| found.iter().any(|(known, _)| known == id);
            let missing: Vec<i64> = ids.iter().copied().filter(|id| !there(id)).collect();
            if !missing.is_empty() {
                return Err(QuarantineError::NotThere(missing));
            }
        }
        Selection::Context { expected, .. } => {
            let found = found.len() as u64;
            if let Some(expected) = expected.filter(|expected| *expected != found) {
                return Err(QuarantineError::Changed { expected, found });
            }
        }
    }
    if found.is_empty() { Err(QuarantineError::Empty) } else { Ok(()) }
}

fn by_context(found: &[(i64, String)]) -> Vec<(String, Vec<i64>)> {
    let mut all: std::collections::BTreeMap<String, Vec<i64>> = std::collections::BTreeMap::new();
    for (id, context) in found {
        all.entry(context.clone()).or_default().push(*id);
    }
    all.into_iter().collect()
}

async fn count(conn: &mut SqliteConnection, ids: &[i64], word: &str) -> Result<(), sqlx::Error> {
    sqlx::query(COUNT_RESOLVED).bind(json(ids)).bind(word).execute(conn).await.map(drop)
}

fn json(ids: &[i64]) -> String {
    serde_json::Value::from(ids).to_string()
}

/// Adds a line to the audit.
pub(super) async fn audit(conn: &mut SqliteConnection, row: &AuditRow) -> Result<(), sqlx::Error> {
    sqlx::query(AUDIT)
        .bind(row.at_ms)
        .bind(&row.by)
        .bind(&row.reason)
        .bind(&row.action)
        .bind(&row.context)
        .bind(row.events)
        .bind(&row.detail)
        .execute(conn)
        .await
        .map(drop)
}

type LateRow =
    (i64, String, String, i64, Option<String>, String, Option<String>, Option<i64>, i64, bool);
type AuditTuple = (i64, String, String, String, String, i64, String);
type WantedRow = (i64, String, String, Option<String>, Option<Vec<u8>>);

impl Store {
    /// The late events that wait, oldest first per context.
    pub(super) async fn late(&self, limit: u32) -> Result<Vec<LateEvent>, sqlx::Error> {
        let rows: Vec<LateRow> =
            sqlx::query_as(LIST).bind(limit).fetch_all(&mut *self.lock().await).await?;
        let event = |row: LateRow| {
            let (id, context, side, epoch, kind, routing_key, message_id, bytes, at, releasing) =
                row;
            Some(LateEvent {
                id,
                context,
                side: Side::from_word(&side)?,
                epoch,
                kind,
                routing_key,
                message_id,
                body_bytes: bytes.unwrap_or(0),
                decided_ms: at,
                releasing,
            })
        };
        Ok(rows.into_iter().filter_map(event).collect())
    }

    /// What operators did, newest first.
    pub(super) async fn audited(&self, limit: u32) -> Result<Vec<AuditRow>, sqlx::Error> {
        let rows: Vec<AuditTuple> =
            sqlx::query_as(AUDIT_LIST).bind(limit).fetch_all(&mut *self.lock().await).await?;
        let row = |(at_ms, by, reason, action, context, events, detail)| AuditRow {
            at_ms,
            by,
            reason,
            action,
            context,
            events,
            detail,
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// The late events of a side whose release was ordered, oldest first.
    pub(super) async fn releases(
        &self,
        claim: &Claim,
        side: Side,
    ) -> Result<Vec<(i64, Message)>, ForwarderError> {
        let failed = |error: sqlx::Error| self.failed(&error);
        let mut conn = self.lock().await;
        let rows: Vec<WantedRow> = sqlx::query_as(WANTED)
            .bind(side.as_str())
            .bind(RELEASE_BATCH)
            .fetch_all(&mut *conn)
            .await
            .map_err(failed)?;
        if !rows.is_empty() && !claim.held(&mut conn).await.map_err(failed)? {
            return Err(claim.lost());
        }
        rows.into_iter().map(|row| self.released_form(row)).collect()
    }

    fn released_form(&self, row: WantedRow) -> Result<(i64, Message), ForwarderError> {
        let (id, exchange, routing_key, properties, body) = row;
        let unreadable = |error: serde_json::Error| {
            self.failed(&sqlx::Error::Protocol(format!("properties of late event {id}: {error}")))
        };
        let properties: Properties = match properties {
            Some(text) => serde_json::from_str(&text).map_err(unreadable)?,
            None => Properties::default(),
        };
        let message = Message::new(exchange, routing_key, body.unwrap_or_default());
        Ok((id, message.properties(properties)))
    }

    /// Marks released events as published.
    pub(super) async fn mark_released(&self, ids: &[i64]) -> Result<(), ForwarderError> {
        let failed = |error: sqlx::Error| self.failed(&error);
        let mut conn = self.lock().await;
        let mut tx = conn.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        count(&mut tx, ids, RELEASED).await.map_err(failed)?;
        let done = sqlx::query(RELEASE_DONE).bind(json(ids)).bind(now_ms());
        done.execute(&mut *tx).await.map_err(failed)?;
        tx.commit().await.map_err(failed)
    }
}
