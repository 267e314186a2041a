//! The log of decisions: one row per event, written before anything is published.
//!
//! What must stay true: a batch is decided in one transaction together with the check of the lease; a row that
//! is already there gives its decision again. What is decided is in `batch`, whose turn it is in `owner`; late events
//! are in `quarantine`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use banyan_domain::{ContextName, Epoch, Side};
use sqlx::{Connection as _, QueryBuilder, Sqlite, SqliteConnection};

use super::batch::{Arrival, Decided, Known, KnownRows, NewRow, Plan};
use super::config::{Insertion, Retention};
use super::decide::Decision;
use super::lease::Claim;
use super::ownership::Ownership;
use super::store::{Store, now_ms};
use super::{ForwarderConfig, ForwarderError};

/// Rows removed per transaction while trimming.
const TRIM_CHUNK: i64 = 1_000;
/// Rows of one INSERT, the largest that fits; few sizes, so that each is prepared once.
const INSERT_SIZES: [usize; 3] = [64, 8, 1];

const FIND: &str = "SELECT dedup_key, id, decision, forwarded_ms, body_hash FROM forwarder_log
    WHERE context = ?1 AND side = ?2 AND dedup_key IN (SELECT value FROM json_each(?3))";
const LAST_ID: &str =
    "SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'forwarder_log'), 0)";
const INSERT: &str =
    "INSERT INTO forwarder_log (id, context, side, epoch, dedup_key, message_id, type,
        exchange, routing_key, properties, body_hash, body, decision, decided_ms, forwarded_ms) ";
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
/// Rows are decided in the order of their ids, so the first young one ends the search: nothing writes meanwhile.
const TRIM: &str = "DELETE FROM forwarder_log WHERE id IN (SELECT id FROM forwarder_log
    WHERE id < MAX((SELECT MAX(id) FROM forwarder_log) - ?1 + 1, COALESCE(
            (SELECT id FROM forwarder_log WHERE decided_ms >= ?2 ORDER BY id LIMIT 1),
            (SELECT MAX(id) FROM forwarder_log) + 1))
        AND (forwarded_ms IS NOT NULL OR decision IN ('mute', 'dup') OR resolution = 'dropped')
    ORDER BY id LIMIT ?3)";
const LATE_WAITING: &str = "SELECT COUNT(*) FROM forwarder_log
    WHERE decision = 'late' AND (resolution IS NULL OR resolution = 'release')";

/// Counts beside the decisions: published, and no queue was bound.
pub(super) const UNROUTED: &str = "unrouted";

/// What a batch is decided under.
pub(super) struct Terms<'a> {
    pub(super) config: &'a ForwarderConfig,
    pub(super) claim: &'a Claim,
    pub(super) side: Side,
    /// As told by the control store just now.
    pub(super) owners: &'a BTreeMap<ContextName, (Side, Epoch)>,
}

/// Id, decision, when it was forwarded, hash of the content.
type KnownRow = (i64, String, Option<i64>, String);

fn known(row: KnownRow) -> Option<Known> {
    let (id, decision, forwarded_ms, content_hash) = row;
    let decision = Decision::from_word(&decision)?;
    Some(Known { id, decision, is_forwarded: forwarded_ms.is_some(), content_hash })
}

impl Store {
    /// Decides a batch: one transaction, all or nothing. `flying` are rows that were decided before and are still
    /// being published or acknowledged.
    pub(super) async fn decide(
        &self,
        terms: &Terms<'_>,
        unacked: &mut VecDeque<Known>,
        flying: BTreeSet<i64>,
        arrivals: &[Arrival<'_>],
    ) -> Result<Vec<Decided>, ForwarderError> {
        let failed = |error: sqlx::Error| self.failed(&error);
        let mut conn = self.lock().await;
        let mut tx = conn.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        if !terms.claim.held(&mut tx).await.map_err(failed)? {
            return Err(terms.claim.lost());
        }
        let ownerships = self.ownerships(&mut tx, terms.owners).await?;
        let mut writing = Writing { terms, conn: &mut tx };
        let known = writing.find(arrivals).await.map_err(failed)?;
        let last_id = writing.last_id().await.map_err(failed)?;
        let plan = Plan::make(terms.side, &ownerships, known, unacked, flying, last_id, arrivals);
        writing.insert_all(&plan.rows, &ownerships).await.map_err(failed)?;
        writing.count(&plan.rows).await.map_err(failed)?;
        let late = writing.late_if_any(&plan.rows).await.map_err(failed)?;
        let late_max = terms.config.retention.late_max;
        if late > late_max {
            return Err(ForwarderError::QuarantineFull { late, late_max });
        }
        tx.commit().await.map_err(failed)?;
        Ok(match terms.config.insertion {
            Insertion::Tap => plan.decided.into_iter().map(Decided::unpublished).collect(),
            Insertion::Vhost | Insertion::Exchange | Insertion::Wrap => plan.decided,
        })
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

    /// Counts published events of a context that no consumer's queue was bound for.
    pub(super) async fn note_unrouted(
        &self,
        side: Side,
        context: &str,
        events: u64,
    ) -> Result<(), ForwarderError> {
        sqlx::query(COUNT)
            .bind(context)
            .bind(side.as_str())
            .bind(UNROUTED)
            .bind(i64::try_from(events).unwrap_or(i64::MAX))
            .execute(&mut *self.lock().await)
            .await
            .map(drop)
            .map_err(|error| self.failed(&error))
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
    pub(super) async fn unacked(&self, side: Side) -> Result<VecDeque<Known>, ForwarderError> {
        let rows: Vec<KnownRow> = sqlx::query_as(UNACKED_ANONYMOUS)
            .bind(side.as_str())
            .fetch_all(&mut *self.lock().await)
            .await
            .map_err(|error| self.failed(&error))?;
        Ok(rows.into_iter().filter_map(known).collect())
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
struct Writing<'a> {
    terms: &'a Terms<'a>,
    conn: &'a mut SqliteConnection,
}

impl Writing<'_> {
    /// What is known of the named arrivals, one statement per context.
    async fn find(&mut self, arrivals: &[Arrival<'_>]) -> Result<KnownRows, sqlx::Error> {
        let mut keys: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for arrival in arrivals {
            keys.entry(arrival.context_word()).or_default().extend(arrival.key.as_deref());
        }
        let mut found = KnownRows::default();
        for (context, keys) in keys.into_iter().filter(|(_, keys)| !keys.is_empty()) {
            let rows: Vec<(String, i64, String, Option<i64>, String)> = sqlx::query_as(FIND)
                .bind(context)
                .bind(self.terms.side.as_str())
                .bind(serde_json::Value::from(keys).to_string())
                .fetch_all(&mut *self.conn)
                .await?;
            for (key, id, decision, forwarded_ms, hash) in rows {
                if let Some(row) = known((id, decision, forwarded_ms, hash)) {
                    found.put(context, key, row);
                }
            }
        }
        Ok(found)
    }

    /// The ids that follow are ours: the transaction excludes every other writer.
    async fn last_id(&mut self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar(LAST_ID).fetch_one(&mut *self.conn).await
    }

    async fn insert_all(
        &mut self,
        rows: &[NewRow<'_>],
        ownerships: &BTreeMap<ContextName, Ownership>,
    ) -> Result<(), sqlx::Error> {
        let mut rest = rows;
        while !rest.is_empty() {
            let size = INSERT_SIZES.into_iter().find(|size| *size <= rest.len()).unwrap_or(1);
            let (now, after) = rest.split_at(size);
            self.insert(now, ownerships).await?;
            rest = after;
        }
        Ok(())
    }

    async fn insert(
        &mut self,
        rows: &[NewRow<'_>],
        ownerships: &BTreeMap<ContextName, Ownership>,
    ) -> Result<(), sqlx::Error> {
        let (config, side, now) = (self.terms.config, self.terms.side.as_str(), now_ms());
        let mut insert = QueryBuilder::<Sqlite>::new(INSERT);
        insert.push_values(rows, |mut values, row| {
            let message = row.arrival.message;
            let ownership = row.arrival.context.and_then(|context| ownerships.get(context));
            let epoch = ownership.map_or(0, |now| i64::try_from(now.epoch.0).unwrap_or(i64::MAX));
            // An unmigrated event is not ours to compare: its row only recognises it.
            let is_kept = row.decision != Decision::Unmigrated;
            let is_short = message.body.len() <= config.logged_body_bytes_max;
            // A late event may have to be released: then the row is all that is left of it.
            let keeps_body = row.decision == Decision::Late || (is_kept && is_short);
            let is_tapped = config.insertion == Insertion::Tap && row.decision.publishes();
            values
                .push_bind(row.id)
                .push_bind(row.arrival.context_word())
                .push_bind(side)
                .push_bind(epoch)
                .push_bind(row.key.as_ref())
                .push_bind(message.properties.message_id.as_deref())
                .push_bind(message.properties.kind.as_deref())
                .push_bind(message.exchange.as_str())
                .push_bind(message.routing_key.as_str())
                .push_bind(is_kept.then_some(row.arrival.properties.as_str()))
                .push_bind(row.arrival.content_hash.as_str())
                .push_bind(keeps_body.then_some(message.body.as_slice()))
                .push_bind(row.decision.as_str())
                .push_bind(now)
                .push_bind(is_tapped.then_some(TAPPED));
        });
        insert.build().execute(&mut *self.conn).await.map(drop)
    }

    async fn count(&mut self, rows: &[NewRow<'_>]) -> Result<(), sqlx::Error> {
        let mut counts: BTreeMap<(&str, &str), i64> = BTreeMap::new();
        for row in rows {
            *counts.entry((row.arrival.context_word(), row.decision.as_str())).or_default() += 1;
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

    async fn late_if_any(&mut self, rows: &[NewRow<'_>]) -> Result<u64, sqlx::Error> {
        if !rows.iter().any(|row| row.decision == Decision::Late) {
            return Ok(0);
        }
        let late: i64 = sqlx::query_scalar(LATE_WAITING).fetch_one(&mut *self.conn).await?;
        Ok(late.unsigned_abs())
    }
}
