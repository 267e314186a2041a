//! The row of a handover: its step, for whoever goes on after a crash.
//!
//! What must stay true: a row moves from one step to the next only when it is still at the step that the mover
//! believes, so two coordinators cannot both think that a step is theirs to finish; an epoch is given out once.

use banyan_domain::{ContextName, Epoch, Side};
use serde::Serialize;
use sqlx::{Connection as _, SqliteConnection};

use crate::forwarder::ForwarderError;
use crate::forwarder::owner::number;
use crate::forwarder::quarantine::{AuditRow, Operator, audit};
use crate::forwarder::store::{Store, now_ms};

const LAST_EPOCH: &str =
    "SELECT COALESCE(MAX(epoch), 0) FROM forwarder_handover WHERE context = ?1";
const UNFINISHED: &str = "SELECT context, epoch, target, step, by, reason, began_ms, at_ms
    FROM forwarder_handover WHERE context = ?1 AND step NOT IN ('done', 'given-up')
    ORDER BY epoch DESC LIMIT 1";
const LATEST: &str = "SELECT context, epoch, target, step, by, reason, began_ms, at_ms
    FROM forwarder_handover h
    WHERE epoch = (SELECT MAX(epoch) FROM forwarder_handover l WHERE l.context = h.context)
    ORDER BY context";
const BEGIN: &str = "INSERT INTO forwarder_handover
        (context, epoch, target, step, by, reason, began_ms, at_ms)
    VALUES (?1, ?2, ?3, 'open', ?4, ?5, ?6, ?6)";
const ADVANCE: &str = "UPDATE forwarder_handover SET step = ?4, at_ms = ?5
    WHERE context = ?1 AND epoch = ?2 AND step = ?3";

/// The step that a handover is at: what is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HandoverStep {
    /// Put `open` into the next owner's raw queue.
    Open,
    /// Make the next owner the one that accepts the context's writes.
    Route,
    /// Wait until no write of the last owner is under way, and a little longer for what it publishes after commit.
    Settle,
    /// Put `seal` into the last owner's raw queue.
    Seal,
    /// Wait until the forwarder has met both.
    Switch,
    /// Over: the next owner emits.
    Done,
    /// Put `void` into the owner's raw queue.
    GiveUp,
    /// Over: everything is as before.
    GivenUp,
}

impl HandoverStep {
    const ALL: [Self; 8] = [
        Self::Open,
        Self::Route,
        Self::Settle,
        Self::Seal,
        Self::Switch,
        Self::Done,
        Self::GiveUp,
        Self::GivenUp,
    ];

    /// Its word in the store and in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Route => "route",
            Self::Settle => "settle",
            Self::Seal => "seal",
            Self::Switch => "switch",
            Self::Done => "done",
            Self::GiveUp => "give-up",
            Self::GivenUp => "given-up",
        }
    }

    /// Whether nothing is left to do.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::GivenUp)
    }

    pub(super) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.as_str() == word)
    }

    pub(super) const fn next(self) -> Self {
        match self {
            Self::Open => Self::Route,
            Self::Route => Self::Settle,
            Self::Settle => Self::Seal,
            Self::Seal => Self::Switch,
            Self::Switch | Self::Done => Self::Done,
            Self::GiveUp | Self::GivenUp => Self::GivenUp,
        }
    }
}

/// A handover as its row says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HandoverView {
    /// The context.
    pub context: String,
    /// The ownership it leads to.
    pub epoch: Epoch,
    /// The next owner.
    pub target: Side,
    /// What is done next.
    pub step: HandoverStep,
    /// Who began it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When it began, in milliseconds since 1970.
    pub began_ms: i64,
    /// When it came to its step.
    pub at_ms: i64,
}

pub(super) async fn insert(
    store: &Store,
    context: &ContextName,
    target: Side,
    known: Epoch,
    operator: &Operator,
) -> Result<HandoverView, ForwarderError> {
    let failed = |error: sqlx::Error| store.failed(&error);
    let mut conn = store.lock().await;
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    let last: i64 = sqlx::query_scalar(LAST_EPOCH)
        .bind(context.as_str())
        .fetch_one(&mut *tx)
        .await
        .map_err(failed)?;
    let now = now_ms();
    let row = HandoverView {
        context: context.to_string(),
        epoch: Epoch(known.0.max(last.unsigned_abs()) + 1),
        target,
        step: HandoverStep::Open,
        by: operator.name.clone(),
        reason: operator.reason.clone(),
        began_ms: now,
        at_ms: now,
    };
    sqlx::query(BEGIN)
        .bind(&row.context)
        .bind(number(row.epoch))
        .bind(target.as_str())
        .bind(&row.by)
        .bind(&row.reason)
        .bind(now)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
    note(&mut tx, &row, operator, "begun").await.map_err(failed)?;
    tx.commit().await.map_err(failed)?;
    Ok(row)
}

/// Moves the row on if it is still where the caller believes; somebody else may have moved it on already.
pub(super) async fn advance(
    conn: &mut SqliteConnection,
    row: &HandoverView,
    to: HandoverStep,
) -> Result<(), sqlx::Error> {
    let moved = sqlx::query(ADVANCE)
        .bind(&row.context)
        .bind(number(row.epoch))
        .bind(row.step.as_str())
        .bind(to.as_str())
        .bind(now_ms())
        .execute(conn)
        .await?;
    if moved.rows_affected() == 1 {
        return Ok(());
    }
    Err(sqlx::Error::Protocol("somebody else moves this handover; run it again".to_owned()))
}

pub(super) async fn note(
    conn: &mut SqliteConnection,
    row: &HandoverView,
    operator: &Operator,
    what: &str,
) -> Result<(), sqlx::Error> {
    let line = AuditRow {
        at_ms: now_ms(),
        by: operator.name.clone(),
        reason: operator.reason.clone(),
        action: "handover".to_owned(),
        context: row.context.clone(),
        events: 0,
        detail: format!("to {} at epoch {}: {what}", row.target, row.epoch),
    };
    audit(conn, &line).await
}

type HandoverRow = (String, i64, String, String, String, String, i64, i64);

fn view(row: HandoverRow) -> Option<HandoverView> {
    let (context, epoch, target, step, by, reason, began_ms, at_ms) = row;
    Some(HandoverView {
        context,
        epoch: Epoch(epoch.unsigned_abs()),
        target: Side::from_word(&target)?,
        step: HandoverStep::from_word(&step)?,
        by,
        reason,
        began_ms,
        at_ms,
    })
}

pub(super) async fn unfinished(
    store: &Store,
    context: &ContextName,
) -> Result<Option<HandoverView>, ForwarderError> {
    let row: Option<HandoverRow> = sqlx::query_as(UNFINISHED)
        .bind(context.as_str())
        .fetch_optional(&mut *store.lock().await)
        .await
        .map_err(|error| store.failed(&error))?;
    Ok(row.and_then(view))
}

impl Store {
    /// The last handover of each context.
    pub(in crate::forwarder) async fn handovers(&self) -> Result<Vec<HandoverView>, sqlx::Error> {
        let rows: Vec<HandoverRow> =
            sqlx::query_as(LATEST).fetch_all(&mut *self.lock().await).await?;
        Ok(rows.into_iter().filter_map(view).collect())
    }
}
