//! Reading the log of decisions again: what both sides published in a context since some moment, in order, in pages.
//!
//! Owns which part of a period the log still covers. It exists apart from `log`, which writes: a reader may be another process,
//! and must never make the forwarder wait. What must stay true: a page is bounded; rows come in the order in which they were
//! decided; where the log was trimmed, or a side's queue was not read, is said and not guessed.

use std::path::Path;

use banyan_domain::{ContextName, Side};

use super::decide::Decision;
use super::store::{Store, now_ms};
use super::{ForwarderConfig, ForwarderError};
use crate::broker::{Message, Properties};
use crate::envelope::CloudEvent;

/// Rows that one page looks at, those of other contexts too.
const PAGE_ROWS: i64 = 2_000;

const PAGE: &str =
    "SELECT id, context, side, type, exchange, routing_key, properties, body, decision, decided_ms
    FROM forwarder_log WHERE id > ?1 ORDER BY id LIMIT ?2";
const SPAN: &str = "SELECT MIN(id), MAX(id) FROM forwarder_log";
const NEXT: &str = "SELECT id, decided_ms FROM forwarder_log WHERE id >= ?1 ORDER BY id LIMIT 1";
/// Trimming goes by id and leaves out what is still to be published: the first row that it would take is where it came to.
const FIRST_TRIMMABLE: &str = "SELECT id, decided_ms FROM forwarder_log
    WHERE forwarded_ms IS NOT NULL OR decision IN ('mute', 'dup') OR resolution = 'dropped'
    ORDER BY id LIMIT 1";
const BEFORE: &str = "SELECT COUNT(*) FROM forwarder_log WHERE id < ?1";
const DRAINED: &str = "SELECT side, at_ms FROM forwarder_drained";

/// An event of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedEvent {
    /// Its row.
    pub row: i64,
    /// Who published it.
    pub side: Side,
    /// When it was decided, in milliseconds since 1970.
    pub decided_ms: i64,
    /// What was decided.
    pub decision: Decision,
    /// What happened: the `type` of CloudEvents, else the property `type`, else the routing key.
    pub kind: String,
    /// The `subject` of CloudEvents.
    pub subject: Option<String>,
    /// The message as it was published; its body is empty when the log kept none.
    pub message: Message,
    /// Whether the body was kept.
    pub has_body: bool,
    /// The payload with its MIME type, without the envelope; nothing when the body was not kept.
    pub payload: Option<Payload>,
}

/// What an event says, apart from its envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// MIME type, if it is told.
    pub content_type: Option<String>,
    /// The bytes.
    pub data: Vec<u8>,
}

/// What of a period the log covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coverage {
    /// The oldest moment from which every row is still there; `None` when the log is empty.
    pub from_ms: Option<i64>,
    /// Whether older rows were deleted.
    pub trimmed: bool,
    /// Up to here both raw queues are known to have been read; `None` when one never was.
    pub read_until_ms: Option<i64>,
    /// Now, by the clock that the rows have their times from.
    pub now_ms: i64,
}

/// A reader of the log; it holds its own connection.
pub struct LogReader {
    store: Store,
    context: ContextName,
    sides: Vec<Side>,
    after: i64,
}

impl LogReader {
    /// Opens the log for one context.
    ///
    /// # Errors
    /// [`ForwarderError::Store`]; also when there is no file: reading makes none.
    pub async fn open(
        config: &ForwarderConfig,
        context: &ContextName,
    ) -> Result<Self, ForwarderError> {
        let path: &Path = &config.database;
        if !path.exists() {
            let reason = "there is no such file: no forwarder ran yet".to_owned();
            return Err(ForwarderError::Store { path: path.display().to_string(), reason });
        }
        let sides = config.raw.keys().copied().collect();
        let store = Store::open(path).await?;
        Ok(Self { store, context: context.clone(), sides, after: 0 })
    }

    /// What the log covers at this moment. Ask again after reading: it may have been trimmed meanwhile.
    ///
    /// # Errors
    /// [`ForwarderError::Store`].
    pub async fn coverage(&self) -> Result<Coverage, ForwarderError> {
        let failed = |error: sqlx::Error| self.store.failed(&error);
        let mut conn = self.store.lock().await;
        let first: Option<(i64, i64)> =
            sqlx::query_as(FIRST_TRIMMABLE).fetch_optional(&mut *conn).await.map_err(failed)?;
        let drained: Vec<(String, i64)> =
            sqlx::query_as(DRAINED).fetch_all(&mut *conn).await.map_err(failed)?;
        let (from_ms, trimmed) = match first {
            None => (None, false),
            Some((id, at_ms)) => {
                let before: i64 = sqlx::query_scalar(BEFORE)
                    .bind(id)
                    .fetch_one(&mut *conn)
                    .await
                    .map_err(failed)?;
                (Some(at_ms), before < id - 1)
            }
        };
        let drained_of = |side: &Side| {
            drained.iter().find(|(word, _)| word == side.as_str()).map(|(_, at_ms)| *at_ms)
        };
        let read = self.sides.iter().map(drained_of).collect::<Option<Vec<_>>>();
        let read_until_ms = read.and_then(|read| read.into_iter().min());
        Ok(Coverage { from_ms, trimmed, read_until_ms, now_ms: now_ms() })
    }

    /// Goes to the first row that was decided at or after a moment. Rows have no index by time: their ids grow with it.
    ///
    /// # Errors
    /// [`ForwarderError::Store`].
    pub async fn seek(&mut self, from_ms: i64) -> Result<(), ForwarderError> {
        let failed = |error: sqlx::Error| self.store.failed(&error);
        let mut conn = self.store.lock().await;
        let (first, last): (Option<i64>, Option<i64>) =
            sqlx::query_as(SPAN).fetch_one(&mut *conn).await.map_err(failed)?;
        let (Some(mut low), Some(last)) = (first, last) else { return Ok(()) };
        let mut high = last.saturating_add(1);
        while low < high {
            let middle = low + (high - low) / 2;
            let row: Option<(i64, i64)> = sqlx::query_as(NEXT)
                .bind(middle)
                .fetch_optional(&mut *conn)
                .await
                .map_err(failed)?;
            match row {
                Some((id, at_ms)) if at_ms < from_ms => low = id + 1,
                Some(_) | None => high = middle,
            }
        }
        self.after = low - 1;
        Ok(())
    }

    /// Skips all but the last so many rows, of all contexts; answers when the first one that is left was decided, if
    /// any was skipped.
    ///
    /// # Errors
    /// [`ForwarderError::Store`].
    pub async fn at_most_rows(&mut self, rows: i64) -> Result<Option<i64>, ForwarderError> {
        let failed = |error: sqlx::Error| self.store.failed(&error);
        let mut conn = self.store.lock().await;
        let (_, last): (Option<i64>, Option<i64>) =
            sqlx::query_as(SPAN).fetch_one(&mut *conn).await.map_err(failed)?;
        let earliest = last.unwrap_or(0).saturating_sub(rows);
        if self.after >= earliest {
            return Ok(None);
        }
        self.after = earliest;
        let first: Option<(i64, i64)> = sqlx::query_as(NEXT)
            .bind(earliest.saturating_add(1))
            .fetch_optional(&mut *conn)
            .await
            .map_err(failed)?;
        Ok(first.map(|(_, at_ms)| at_ms))
    }

    /// The next events of the context, in order; `None` at the end of the log. Events that their emitter sent twice under
    /// one id are left out: consumers never saw the second one.
    ///
    /// # Errors
    /// [`ForwarderError::Store`].
    pub async fn page(&mut self) -> Result<Option<Vec<LoggedEvent>>, ForwarderError> {
        let rows: Vec<Row> = sqlx::query_as(PAGE)
            .bind(self.after)
            .bind(PAGE_ROWS)
            .fetch_all(&mut *self.store.lock().await)
            .await
            .map_err(|error| self.store.failed(&error))?;
        let Some(last) = rows.last() else { return Ok(None) };
        self.after = last.id;
        let ours = rows.into_iter().filter(|row| row.context == self.context.as_str());
        Ok(Some(ours.filter_map(Row::event).collect()))
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    context: String,
    side: String,
    #[sqlx(rename = "type")]
    kind: Option<String>,
    exchange: String,
    routing_key: String,
    properties: Option<String>,
    body: Option<Vec<u8>>,
    decision: String,
    decided_ms: i64,
}

impl Row {
    fn event(self) -> Option<LoggedEvent> {
        let decision = Decision::from_word(&self.decision)?;
        let wanted = match decision {
            Decision::Forward | Decision::Mute | Decision::Late => true,
            Decision::Dup | Decision::Unmigrated => false,
        };
        let side = Side::from_word(&self.side).filter(|_| wanted)?;
        let has_body = self.body.is_some();
        let mut message =
            Message::new(&self.exchange, &self.routing_key, self.body.unwrap_or_default());
        let properties = self.properties.as_deref().map(serde_json::from_str::<Properties>);
        if let Some(Ok(properties)) = properties {
            message.properties = properties;
        }
        let (mut kind, mut subject) = (self.kind, None);
        let mut payload = has_body.then(|| Payload {
            content_type: message.properties.content_type.clone(),
            data: message.body.clone(),
        });
        if let Ok(Some(event)) = CloudEvent::from_message(&message) {
            kind = Some(event.kind);
            subject = event.subject;
            payload = has_body
                .then_some(Payload { content_type: event.data_content_type, data: event.data });
        }
        Some(LoggedEvent {
            row: self.id,
            side,
            decided_ms: self.decided_ms,
            decision,
            kind: kind.unwrap_or_else(|| message.routing_key.clone()),
            subject,
            message,
            has_body,
            payload,
        })
    }
}
