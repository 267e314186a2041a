//! The log of decisions: one row per event, written before anything is published.
//!
//! What must stay true: a batch is decided in one transaction together with the check of the lease; a row that
//! is already there gives its decision again. Whose turn it is, is in `owner`; late events are in `quarantine`.

use std::collections::{BTreeMap, HashSet, VecDeque};

use banyan_domain::{ContextName, Epoch, Side};
use sqlx::{Connection as _, SqliteConnection};

use super::config::{Insertion, Retention};
use super::decide::{Decision, decide};
use super::lease::Claim;
use super::ownership::Ownership;
use super::store::{Store, now_ms};
use super::{ForwarderConfig, ForwarderError};
use crate::broker::Message;

/// Rows removed per transaction while trimming.
const TRIM_CHUNK: i64 = 1_000;
/// Prefix of the keys of events that their emitter did not name.
const ANONYMOUS: &str = "anon:";

const FIND: &str = "SELECT id, decision, forwarded_ms, body_hash FROM forwarder_log
    WHERE context = ?1 AND side = ?2 AND dedup_key = ?3";
const INSERT: &str = "INSERT INTO forwarder_log (context, side, epoch, dedup_key, message_id, type,
        exchange, routing_key, properties, body_hash, body, decision, decided_ms, forwarded_ms)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
/// `forwarded_ms` of a row that a tap made: consumers had the event without us, so it is never published.
const TAPPED: i64 = 0;
const UNACKED_ANONYMOUS: &str = "SELECT id, decision, forwarded_ms, body_hash FROM forwarder_log
    WHERE side = ?1 AND dedup_key LIKE 'anon:%'
        AND id > COALESCE((SELECT acked_id FROM forwarder_cursor WHERE side = ?1), 0)
    ORDER BY id";
const MARK: &str = "UPDATE forwarder_log SET forwarded_ms = ?2
    WHERE id IN (SELECT value FROM json_each(?1)) AND forwarded_ms IS NULL";
const MARK_SENT: &str = "INSERT INTO forwarder_sent (context, events, last_ms)
    SELECT context, COUNT(*), ?2 FROM forwarder_log WHERE id IN (SELECT value FROM json_each(?1))
        AND forwarded_ms IS NULL GROUP BY context
    ON CONFLICT (context) DO UPDATE SET events = events + excluded.events, last_ms = excluded.last_ms";
const COUNT: &str = "INSERT INTO forwarder_counter (context, side, decision, events)
    VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (context, side, decision) DO UPDATE SET events = events + excluded.events";
const TRIM: &str = "DELETE FROM forwarder_log WHERE id IN (SELECT id FROM forwarder_log
    WHERE (id <= (SELECT MAX(id) FROM forwarder_log) - ?1 OR decided_ms < ?2)
        AND (forwarded_ms IS NOT NULL OR decision IN ('mute', 'dup') OR resolution = 'dropped')
    ORDER BY id LIMIT ?3)";
const LATE_WAITING: &str = "SELECT COUNT(*) FROM forwarder_log
    WHERE decision = 'late' AND (resolution IS NULL OR resolution = 'release')";

/// An event as it came in.
pub(super) struct Arrival<'a> {
    pub(super) context: Option<&'a ContextName>,
    /// The emitter's name of it; `None` = anonymous.
    pub(super) key: Option<String>,
    pub(super) content_hash: String,
    pub(super) redelivered: bool,
    pub(super) message: &'a Message,
}

/// What is to be done with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decided {
    pub(super) row: i64,
    pub(super) decision: Decision,
    /// Not published before, as far as the log knows.
    pub(super) publish: bool,
    /// Decided now, not found in the log.
    pub(super) fresh: bool,
}

/// An anonymous row whose acknowledgement is not certain; a redelivery may be it.
pub(super) struct Unacked {
    row: Known,
}

struct Known {
    id: i64,
    decision: Decision,
    forwarded: bool,
    content_hash: String,
}

/// What a batch is decided under.
pub(super) struct Terms<'a> {
    pub(super) config: &'a ForwarderConfig,
    pub(super) claim: &'a Claim,
    pub(super) side: Side,
    /// As told by the control store just now.
    pub(super) owners: &'a BTreeMap<ContextName, (Side, Epoch)>,
}

type KnownRow = (i64, String, Option<i64>, String);

fn known(row: KnownRow) -> Option<Known> {
    let (id, decision, forwarded_ms, content_hash) = row;
    let decision = Decision::from_word(&decision)?;
    Some(Known { id, decision, forwarded: forwarded_ms.is_some(), content_hash })
}

impl Store {
    /// Decides a batch: one transaction, all or nothing.
    pub(super) async fn decide(
        &self,
        terms: &Terms<'_>,
        unacked: &mut VecDeque<Unacked>,
        arrivals: &[Arrival<'_>],
    ) -> Result<Vec<Decided>, ForwarderError> {
        let failed = |error: sqlx::Error| self.failed(&error);
        let mut conn = self.lock().await;
        let mut tx = conn.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        if !terms.claim.held(&mut tx).await.map_err(failed)? {
            return Err(terms.claim.lost());
        }
        let ownerships = self.ownerships(&mut tx, terms.owners).await?;
        let mut work = Work { terms, ownerships, seen: HashSet::new(), conn: &mut tx };
        let mut decided = Vec::with_capacity(arrivals.len());
        for arrival in arrivals {
            decided.push(work.decide_one(arrival, unacked).await.map_err(failed)?);
        }
        work.count(arrivals, &decided).await.map_err(failed)?;
        let late = work.late_if_any(&decided).await.map_err(failed)?;
        let late_max = terms.config.retention.late_max;
        if late > late_max {
            return Err(ForwarderError::QuarantineFull { late, late_max });
        }
        tx.commit().await.map_err(failed)?;
        Ok(decided)
    }

    /// Marks rows as forwarded and counts them.
    pub(super) async fn mark_forwarded(&self, rows: &[i64]) -> Result<(), ForwarderError> {
        let failed = |error: sqlx::Error| self.failed(&error);
        let ids = serde_json::Value::from(rows).to_string();
        let mut conn = self.lock().await;
        let mut tx = conn.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        for statement in [MARK_SENT, MARK] {
            sqlx::query(statement)
                .bind(&ids)
                .bind(now_ms())
                .execute(&mut *tx)
                .await
                .map_err(failed)?;
        }
        tx.commit().await.map_err(failed)
    }

    /// Remembers up to where a side's events are acknowledged.
    pub(super) async fn mark_acked(&self, side: Side, row: i64) -> Result<(), ForwarderError> {
        let upsert = "INSERT INTO forwarder_cursor (side, acked_id) VALUES (?1, ?2)
            ON CONFLICT (side) DO UPDATE SET acked_id = MAX(acked_id, excluded.acked_id)";
        sqlx::query(upsert)
            .bind(side.as_str())
            .bind(row)
            .execute(&mut *self.lock().await)
            .await
            .map(drop)
            .map_err(|error| self.failed(&error))
    }

    /// Late events that wait for an operator, or for the release that one ordered.
    pub(super) async fn late_waiting(&self) -> Result<u64, ForwarderError> {
        let late: i64 = sqlx::query_scalar(LATE_WAITING)
            .fetch_one(&mut *self.lock().await)
            .await
            .map_err(|error| self.failed(&error))?;
        Ok(late.unsigned_abs())
    }

    /// Anonymous rows whose acknowledgement is not certain, oldest first.
    pub(super) async fn unacked(&self, side: Side) -> Result<VecDeque<Unacked>, ForwarderError> {
        let rows: Vec<KnownRow> = sqlx::query_as(UNACKED_ANONYMOUS)
            .bind(side.as_str())
            .fetch_all(&mut *self.lock().await)
            .await
            .map_err(|error| self.failed(&error))?;
        Ok(rows.into_iter().filter_map(known).map(|row| Unacked { row }).collect())
    }

    /// Removes what the retention no longer covers, in small transactions.
    pub(super) async fn trim(&self, retention: &Retention) -> Result<u64, ForwarderError> {
        let rows_max = i64::try_from(retention.rows_max).unwrap_or(i64::MAX);
        let age_ms = i64::try_from(retention.age_max.as_millis()).unwrap_or(i64::MAX);
        let mut removed = 0;
        loop {
            let chunk = sqlx::query(TRIM)
                .bind(rows_max)
                .bind(now_ms().saturating_sub(age_ms))
                .bind(TRIM_CHUNK)
                .execute(&mut *self.lock().await)
                .await
                .map_err(|error| self.failed(&error))?
                .rows_affected();
            removed += chunk;
            if chunk < TRIM_CHUNK.unsigned_abs() {
                return Ok(removed);
            }
        }
    }
}

/// One deciding transaction.
struct Work<'a> {
    terms: &'a Terms<'a>,
    ownerships: BTreeMap<ContextName, Ownership>,
    /// Rows met in this batch: a second meeting is a duplicate whatever the broker says of it.
    seen: HashSet<i64>,
    conn: &'a mut SqliteConnection,
}

impl Work<'_> {
    async fn decide_one(
        &mut self,
        arrival: &Arrival<'_>,
        unacked: &mut VecDeque<Unacked>,
    ) -> Result<Decided, sqlx::Error> {
        let Some(key) = &arrival.key else {
            return match redelivered_row(arrival, unacked) {
                Some(row) => Ok(self.again(&row)),
                None => self.first_time(arrival, &anonymous_key()).await,
            };
        };
        let Some(row) = self.find(arrival, key).await? else {
            return self.first_time(arrival, key).await;
        };
        if row.content_hash != arrival.content_hash {
            tracing::warn!(side = %self.terms.side, key, "two different events have the same id");
        }
        let interrupted = row.decision.publishes() && !row.forwarded;
        if !self.seen.contains(&row.id) && (arrival.redelivered || interrupted) {
            return Ok(self.again(&row));
        }
        self.insert(arrival, &format!("dup:{}:{}", row.id, anonymous_key()), Decision::Dup).await
    }

    async fn find(
        &mut self,
        arrival: &Arrival<'_>,
        key: &str,
    ) -> Result<Option<Known>, sqlx::Error> {
        let row: Option<KnownRow> = sqlx::query_as(FIND)
            .bind(context_word(arrival))
            .bind(self.terms.side.as_str())
            .bind(key)
            .fetch_optional(&mut *self.conn)
            .await?;
        Ok(row.and_then(known))
    }

    /// Decided before: the same decision, published only if it was not marked.
    fn again(&mut self, row: &Known) -> Decided {
        self.seen.insert(row.id);
        let publish = row.decision.publishes() && !row.forwarded;
        Decided { row: row.id, decision: row.decision, publish, fresh: false }
    }

    async fn first_time(
        &mut self,
        arrival: &Arrival<'_>,
        key: &str,
    ) -> Result<Decided, sqlx::Error> {
        let ownership = arrival.context.and_then(|context| self.ownerships.get(context)).copied();
        let decision = decide(self.terms.side, ownership, arrival.message);
        self.insert(arrival, key, decision).await
    }

    async fn insert(
        &mut self,
        arrival: &Arrival<'_>,
        key: &str,
        decision: Decision,
    ) -> Result<Decided, sqlx::Error> {
        let message = arrival.message;
        let epoch = arrival.context.and_then(|context| self.ownerships.get(context));
        // An unmigrated event is not ours to compare: its row only recognises it.
        let kept = decision != Decision::Unmigrated;
        let short = message.body.len() <= self.terms.config.logged_body_bytes_max;
        let taps = self.terms.config.insertion == Insertion::Tap;
        // A late event may have to be released: then the row is all that is left of it.
        let keeps_body = decision == Decision::Late || (kept && short);
        let properties = serde_json::to_string(&message.properties).unwrap_or_default();
        let inserted = sqlx::query(INSERT)
            .bind(context_word(arrival))
            .bind(self.terms.side.as_str())
            .bind(epoch.map_or(0, |now| i64::try_from(now.epoch.0).unwrap_or(i64::MAX)))
            .bind(key)
            .bind(&message.properties.message_id)
            .bind(&message.properties.kind)
            .bind(&message.exchange)
            .bind(&message.routing_key)
            .bind(kept.then_some(properties))
            .bind(&arrival.content_hash)
            .bind(keeps_body.then_some(message.body.as_slice()))
            .bind(decision.as_str())
            .bind(now_ms())
            .bind((taps && decision.publishes()).then_some(TAPPED))
            .execute(&mut *self.conn)
            .await?;
        let row = inserted.last_insert_rowid();
        self.seen.insert(row);
        Ok(Decided { row, decision, publish: decision.publishes() && !taps, fresh: true })
    }

    async fn count(
        &mut self,
        arrivals: &[Arrival<'_>],
        decided: &[Decided],
    ) -> Result<(), sqlx::Error> {
        let mut counts: BTreeMap<(&str, &str), i64> = BTreeMap::new();
        for (arrival, decided) in arrivals.iter().zip(decided).filter(|(_, d)| d.fresh) {
            *counts.entry((context_word(arrival), decided.decision.as_str())).or_default() += 1;
        }
        for ((context, decision), events) in counts {
            sqlx::query(COUNT)
                .bind(context)
                .bind(self.terms.side.as_str())
                .bind(decision)
                .bind(events)
                .execute(&mut *self.conn)
                .await?;
        }
        Ok(())
    }

    async fn late_if_any(&mut self, decided: &[Decided]) -> Result<u64, sqlx::Error> {
        if !decided.iter().any(|decided| decided.fresh && decided.decision == Decision::Late) {
            return Ok(0);
        }
        let late: i64 = sqlx::query_scalar(LATE_WAITING).fetch_one(&mut *self.conn).await?;
        Ok(late.unsigned_abs())
    }
}

/// The row of a redelivered event without an id: redeliveries come in the old order, so the first unacknowledged
/// row with the same content is it, and rows before that one were acknowledged after all.
fn redelivered_row(arrival: &Arrival<'_>, unacked: &mut VecDeque<Unacked>) -> Option<Known> {
    if !arrival.redelivered {
        return None;
    }
    let same = |unacked: &Unacked| unacked.row.content_hash == arrival.content_hash;
    let position = unacked.iter().position(same)?;
    unacked.drain(..=position).next_back().map(|unacked| unacked.row)
}

fn context_word<'a>(arrival: &Arrival<'a>) -> &'a str {
    arrival.context.map_or("", ContextName::as_str)
}

fn anonymous_key() -> String {
    format!("{ANONYMOUS}{}", uuid::Uuid::now_v7())
}
