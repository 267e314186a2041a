//! Generations of the route table and the audit, in SQLite.
//!
//! Owns the one transaction in which the table changes. What must stay true: load, compare, apply and write
//! happen under one write lock; a try that comes to nothing leaves an audit row and nothing else.

use super::number::{from_db, to_db};
use super::{File, Tx};
use crate::audit::{self, AuditEntry, AuditOutcome, Committed, GenerationRecord};
use crate::error::{CommitError, ControlError};
use crate::metric;
use banyan_domain::{Actor, Catalogue, Change, Generation, Refusal, RouteTable};

const SELECT_GENERATION: &str = "SELECT COALESCE(MAX(generation), 0) FROM generation";
const SELECT_TABLE: &str =
    "SELECT generation, body FROM generation ORDER BY generation DESC LIMIT 1";
const SELECT_HEAD: &str = "SELECT actor, at_ms FROM generation ORDER BY generation DESC LIMIT 1";
const SELECT_GENERATIONS: &str = "SELECT generation, at_ms, actor, reason, action, detail \
    FROM generation ORDER BY generation DESC LIMIT ?";
const INSERT_GENERATION: &str = "INSERT INTO generation \
    (generation, at_ms, actor, reason, action, detail, body) VALUES (?, ?, ?, ?, ?, ?, ?)";
const COUNT_NOT_RESTORED: &str =
    "SELECT COUNT(*) FROM generation WHERE action <> 'restore' OR generation >= ?";
const INSERT_AUDIT: &str = "INSERT INTO audit \
    (at_ms, actor, reason, action, target, outcome, before_generation, after_generation, detail) \
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
const SELECT_AUDIT: &str = "SELECT id, at_ms, actor, reason, action, target, outcome, \
    before_generation, after_generation, detail \
    FROM audit WHERE at_ms >= ? ORDER BY id DESC LIMIT ?";

/// The word under which a restored table is recorded.
const RESTORE: &str = "restore";

pub(super) async fn generation(file: &File) -> Result<Generation, ControlError> {
    let read = file.read().await?;
    let row: Result<(i64,), _> = sqlx::query_as(SELECT_GENERATION).fetch_one(&read).await;
    let (generation,) = row.map_err(|error| file.fail(error))?;
    Ok(Generation(from_db(generation)))
}

pub(super) async fn table(file: &File) -> Result<RouteTable, ControlError> {
    let read = file.read().await?;
    let row = sqlx::query_as(SELECT_TABLE).fetch_optional(&read).await;
    parse(row.map_err(|error| file.fail(error))?)
}

fn parse(row: Option<(i64, String)>) -> Result<RouteTable, ControlError> {
    let Some((generation, body)) = row else { return Ok(RouteTable::default()) };
    let unreadable =
        |source| ControlError::Unreadable { what: format!("route table {generation}"), source };
    let table: RouteTable =
        serde_json::from_str(&body).map_err(|error| unreadable(Box::new(error)))?;
    if to_db(table.generation.0) != generation {
        return Err(unreadable("it names another generation inside".into()));
    }
    Ok(table)
}

/// What became of a try, before anything is written.
enum Judgement {
    Stale(Generation),
    Refused(Refusal),
    Done(Committed),
}

pub(super) async fn commit(
    file: &File,
    catalogue: &Catalogue,
    change: &Change,
    expected: Option<Generation>,
    actor: &Actor,
) -> Result<Committed, CommitError> {
    let (judgement, by, at_ms) =
        attempt(file, catalogue, change, expected, actor).await.map_err(CommitError::Store)?;
    match judgement {
        Judgement::Done(committed) => {
            metric::change(audit::action(change), AuditOutcome::Done);
            Ok(committed)
        }
        Judgement::Refused(refusal) => {
            metric::change(audit::action(change), AuditOutcome::Refused);
            Err(CommitError::Refused(refusal))
        }
        Judgement::Stale(current) => {
            metric::change(audit::action(change), AuditOutcome::Stale);
            let expected = expected.unwrap_or(current);
            Err(CommitError::Stale { expected, current, by, at_ms })
        }
    }
}

/// The transaction; also gives who made the generation it found, and when.
async fn attempt(
    file: &File,
    catalogue: &Catalogue,
    change: &Change,
    expected: Option<Generation>,
    actor: &Actor,
) -> Result<(Judgement, String, u64), ControlError> {
    let mut tx = file.begin().await?;
    let fail = |error| file.fail(error);
    let table = parse(sqlx::query_as(SELECT_TABLE).fetch_optional(&mut *tx).await.map_err(fail)?)?;
    let head: Option<(String, i64)> =
        sqlx::query_as(SELECT_HEAD).fetch_optional(&mut *tx).await.map_err(fail)?;
    let judgement = judge(&table, catalogue, change, expected, actor);
    write(&mut tx, &table, change, actor, &judgement).await.map_err(fail)?;
    file.end(tx).await?;
    let (by, at_ms) = head.unwrap_or_default();
    Ok((judgement, by, from_db(at_ms)))
}

fn judge(
    table: &RouteTable,
    catalogue: &Catalogue,
    change: &Change,
    expected: Option<Generation>,
    actor: &Actor,
) -> Judgement {
    if expected.is_some_and(|expected| expected != table.generation) {
        return Judgement::Stale(table.generation);
    }
    match banyan_domain::apply(table, catalogue, change, actor) {
        Ok((table, effect)) => Judgement::Done(Committed { table, effect }),
        Err(refusal) => Judgement::Refused(refusal),
    }
}

async fn write(
    tx: &mut Tx,
    before: &RouteTable,
    change: &Change,
    actor: &Actor,
    judgement: &Judgement,
) -> Result<(), sqlx::Error> {
    let (outcome, after, detail) = match judgement {
        Judgement::Stale(current) => {
            let detail = format!("{}: generation {current} was there", audit::wish(change));
            (AuditOutcome::Stale, before, detail)
        }
        Judgement::Refused(refusal) => {
            let detail = format!("{}: {refusal}", audit::wish(change));
            (AuditOutcome::Refused, before, detail)
        }
        // Every start adopts; only those that took something in are worth a row.
        Judgement::Done(done) if *change == Change::Adopt && !done.effect.changed => return Ok(()),
        Judgement::Done(done) => {
            let detail = audit::describe(change, &done.effect.moved, done.effect.changed);
            (AuditOutcome::Done, &done.table, detail)
        }
    };
    let action = audit::action(change);
    if after.generation != before.generation {
        insert_generation(tx, after, action, &detail, actor).await?;
    }
    let row = AuditRow { action, target: &audit::target(change), outcome, detail: &detail };
    insert_audit(tx, &row, before.generation, after.generation, actor).await
}

async fn insert_generation(
    tx: &mut Tx,
    table: &RouteTable,
    action: &str,
    detail: &str,
    actor: &Actor,
) -> Result<(), sqlx::Error> {
    let body =
        serde_json::to_string(table).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    let row = sqlx::query(INSERT_GENERATION)
        .bind(to_db(table.generation.0))
        .bind(to_db(actor.at_ms))
        .bind(&actor.name)
        .bind(&actor.reason)
        .bind(action)
        .bind(detail)
        .bind(body);
    row.execute(&mut **tx).await.map(drop)
}

/// A line of the audit.
pub(super) struct AuditRow<'a> {
    pub(super) action: &'a str,
    pub(super) target: &'a str,
    pub(super) outcome: AuditOutcome,
    pub(super) detail: &'a str,
}

/// Adds a line that changes no route.
pub(super) async fn note(
    file: &File,
    row: &AuditRow<'_>,
    actor: &Actor,
) -> Result<(), ControlError> {
    let mut tx = file.begin().await?;
    let fail = |error| file.fail(error);
    let newest = sqlx::query_as(SELECT_GENERATION).fetch_one(&mut *tx).await;
    let (newest,): (i64,) = newest.map_err(fail)?;
    let newest = Generation(from_db(newest));
    insert_audit(&mut tx, row, newest, newest, actor).await.map_err(fail)?;
    file.end(tx).await
}

async fn insert_audit(
    tx: &mut Tx,
    row: &AuditRow<'_>,
    before: Generation,
    after: Generation,
    actor: &Actor,
) -> Result<(), sqlx::Error> {
    let row = sqlx::query(INSERT_AUDIT)
        .bind(to_db(actor.at_ms))
        .bind(&actor.name)
        .bind(&actor.reason)
        .bind(row.action)
        .bind(row.target)
        .bind(row.outcome.as_str())
        .bind(to_db(before.0))
        .bind(to_db(after.0))
        .bind(row.detail);
    row.execute(&mut **tx).await.map(drop)
}

pub(super) async fn restore(
    file: &File,
    table: &RouteTable,
    actor: &Actor,
) -> Result<bool, ControlError> {
    let mut tx = file.begin().await?;
    let fail = |error| file.fail(error);
    let row = sqlx::query_as(COUNT_NOT_RESTORED).bind(to_db(table.generation.0));
    let (others,): (i64,) = row.fetch_one(&mut *tx).await.map_err(fail)?;
    if others > 0 || table.generation == Generation(0) {
        return Ok(false);
    }
    let row = sqlx::query_as(SELECT_GENERATION).fetch_one(&mut *tx).await;
    let (before,): (i64,) = row.map_err(fail)?;
    let detail = "a process gave back the table it had kept";
    insert_generation(&mut tx, table, RESTORE, detail, actor).await.map_err(fail)?;
    let row = AuditRow { action: RESTORE, target: "", outcome: AuditOutcome::Done, detail };
    let before = Generation(from_db(before));
    insert_audit(&mut tx, &row, before, table.generation, actor).await.map_err(fail)?;
    file.end(tx).await?;
    file.announce(table.generation);
    Ok(true)
}

type GenerationTuple = (i64, i64, String, String, String, String);

pub(super) async fn generations(
    file: &File,
    limit: u32,
) -> Result<Vec<GenerationRecord>, ControlError> {
    let read = file.read().await?;
    let rows: Result<Vec<GenerationTuple>, _> =
        sqlx::query_as(SELECT_GENERATIONS).bind(i64::from(limit)).fetch_all(&read).await;
    let record = |(generation, at_ms, actor, reason, action, detail)| GenerationRecord {
        generation: Generation(from_db(generation)),
        at_ms: from_db(at_ms),
        actor,
        reason,
        action,
        detail,
    };
    Ok(rows.map_err(|error| file.fail(error))?.into_iter().map(record).collect())
}

type AuditTuple = (i64, i64, String, String, String, String, String, i64, i64, String);

pub(super) async fn audit(
    file: &File,
    limit: u32,
    since_ms: Option<u64>,
) -> Result<Vec<AuditEntry>, ControlError> {
    let read = file.read().await?;
    let rows: Result<Vec<AuditTuple>, _> = sqlx::query_as(SELECT_AUDIT)
        .bind(to_db(since_ms.unwrap_or(0)))
        .bind(i64::from(limit))
        .fetch_all(&read)
        .await;
    rows.map_err(|error| file.fail(error))?.into_iter().map(entry).collect()
}

fn entry(row: AuditTuple) -> Result<AuditEntry, ControlError> {
    let (id, at_ms, actor, reason, action, target, outcome, before, after, detail) = row;
    let outcome = AuditOutcome::from_word(&outcome).ok_or_else(|| ControlError::Unreadable {
        what: format!("audit entry {id}"),
        source: format!("unknown outcome `{outcome}`").into(),
    })?;
    Ok(AuditEntry {
        id: from_db(id),
        at_ms: from_db(at_ms),
        actor,
        reason,
        action,
        target,
        outcome,
        before: Generation(from_db(before)),
        after: Generation(from_db(after)),
        detail,
    })
}
