//! Moving the fence row with a short wait, and naming who stands in the way.
//!
//! What must stay true: nothing waits longer than it was told to; a move that waited in vain changed nothing.

use std::pin::pin;
use std::time::Duration;

use banyan_cutover::{Move, sql};

use super::ContextFence;
use crate::connection::{Connection, as_integer, as_text};
use crate::dialect::Engine;
use crate::error::SyncError;

/// Sessions that are named at most.
const NAMED_MAX: usize = 5;
/// Longest part of a statement that is shown; it may hold data, so it is short.
const SHOWN_CHARS: usize = 60;

/// What the update did.
pub(super) enum Changed {
    /// So many rows matched.
    Rows(u64),
    /// It waited in vain for these.
    Blocked(Vec<String>),
}

/// Runs the compare-and-set. While it waits, a second connection asks who holds the row.
pub(super) async fn change(
    fence: &ContextFence,
    at: &mut Connection,
    wanted: Move,
    wait: Duration,
) -> Result<Changed, SyncError> {
    let id = prepare(at, wait).await?;
    let half = wait / 2;
    // Only for the message: whoever cannot see others moves the row all the same. The update goes on meanwhile, since its
    // lock must not stay open for a question.
    let ask = async {
        tokio::time::sleep(half).await;
        let asked = async {
            let mut second = fence.connect().await.ok()?;
            blockers(&mut second, id).await.ok()
        };
        tokio::time::timeout(half, asked).await.ok().flatten().unwrap_or_default()
    };
    let (mut update, mut ask) = (pin!(update(fence, at, wanted)), pin!(ask));
    let (done, by) = tokio::select! {
        biased;
        done = &mut update => (done, Vec::new()),
        by = &mut ask => (update.await, by),
    };
    match done {
        Ok(rows) => Ok(Changed::Rows(rows)),
        Err(error) if error.is_lock_timeout() => Ok(Changed::Blocked(if by.is_empty() {
            unnamed(fence.urls.engine(fence.side)?)
        } else {
            by
        })),
        Err(error) => Err(error),
    }
}

/// What is said when the engine cannot name the session.
fn unnamed(engine: Engine) -> Vec<String> {
    let text = match engine {
        Engine::Sqlite => "another connection writes the SQLite file",
        Engine::MySql => "a session that this login may not see (it needs PROCESS)",
        Engine::Postgres => {
            "a session that ended meanwhile, or a prepared transaction (pg_prepared_xacts)"
        }
    };
    vec![text.to_owned()]
}

/// Sets the session's longest wait for a lock; gives the session's number, where it has one.
async fn prepare(at: &mut Connection, wait: Duration) -> Result<i64, SyncError> {
    let ms = wait.as_millis().max(1);
    let (set, id) = match at.engine() {
        Engine::Sqlite => (format!("PRAGMA busy_timeout = {ms}"), "SELECT 0"),
        Engine::Postgres => (format!("SET lock_timeout = '{ms}ms'"), "SELECT pg_backend_pid()"),
        Engine::MySql => {
            let seconds = wait.as_secs_f64().ceil().max(1.0);
            let set = format!("SET SESSION innodb_lock_wait_timeout = {seconds:.0}");
            (set, "SELECT CONNECTION_ID()")
        }
    };
    at.run("set the lock time-out", &set).await?;
    Ok(at.integer("read the session's number", id.to_owned()).await?.unwrap_or(0))
}

async fn update(fence: &ContextFence, at: &mut Connection, wanted: Move) -> Result<u64, SyncError> {
    at.begin_write().await?;
    if at.engine() == Engine::Postgres {
        at.rows("lock the fence", sql::advise_postgres(&fence.context, false)).await?;
    }
    let rows = at.run("move the fence", &sql::change(&fence.context, wanted)).await?;
    at.commit().await?;
    Ok(rows)
}

/// Who blocks this session.
async fn blockers(at: &mut Connection, id: i64) -> Result<Vec<String>, SyncError> {
    let rows = match at.engine() {
        Engine::Sqlite => return Ok(Vec::new()),
        Engine::Postgres => {
            let sql = format!(
                "SELECT a.pid, a.usename::text, coalesce(host(a.client_addr), 'local'), a.application_name, \
                 extract(epoch FROM now() - a.xact_start)::bigint, a.state, left(a.query, {SHOWN_CHARS}) \
                 FROM unnest(pg_blocking_pids({id})) AS b(pid) JOIN pg_stat_activity a USING (pid) \
                 ORDER BY a.xact_start LIMIT {NAMED_MAX}"
            );
            at.rows("ask who blocks the fence", sql).await?
        }
        Engine::MySql => mysql_blockers(at, id).await?,
    };
    Ok(rows.iter().map(|row| line(row)).collect())
}

/// MariaDB has the lock waits in `information_schema`, MySQL 8 in `performance_schema`.
async fn mysql_blockers(
    at: &mut Connection,
    id: i64,
) -> Result<Vec<Vec<banyan_engine::Value>>, SyncError> {
    let session = "b.trx_mysql_thread_id, p.user, p.host, '' AS program, \
         TIMESTAMPDIFF(SECOND, CONVERT_TZ(b.trx_started, 'SYSTEM', @@session.time_zone), SYSDATE()), p.command, LEFT(COALESCE(p.info, ''), ";
    let tail = format!(
        "{SHOWN_CHARS}) FROM {{waits}} JOIN information_schema.INNODB_TRX b ON b.trx_id = w.{{blocking}} \
         JOIN information_schema.INNODB_TRX r ON r.trx_id = w.{{waiting}} \
         LEFT JOIN information_schema.PROCESSLIST p ON p.id = b.trx_mysql_thread_id \
         WHERE r.trx_mysql_thread_id = {id} GROUP BY b.trx_mysql_thread_id LIMIT {NAMED_MAX}"
    );
    let query = |waits: &str, blocking: &str, waiting: &str| {
        let tail = tail
            .replace("{waits}", waits)
            .replace("{blocking}", blocking)
            .replace("{waiting}", waiting);
        format!("SELECT {session}{tail}")
    };
    let maria =
        query("information_schema.INNODB_LOCK_WAITS w", "blocking_trx_id", "requesting_trx_id");
    if let Ok(rows) = at.rows("ask who blocks the fence", maria).await {
        return Ok(rows);
    }
    let mysql = query(
        "performance_schema.data_lock_waits w",
        "blocking_engine_transaction_id",
        "requesting_engine_transaction_id",
    );
    at.rows("ask who blocks the fence", mysql).await
}

/// Transactions of others that are open for longer than `age`.
pub(super) async fn old_transactions(
    at: &mut Connection,
    age: Duration,
) -> Result<Vec<String>, SyncError> {
    let seconds = age.as_secs();
    let sql = match at.engine() {
        Engine::Sqlite => return Ok(Vec::new()),
        Engine::Postgres => format!(
            "SELECT a.pid, a.usename::text, coalesce(host(a.client_addr), 'local'), a.application_name, \
             extract(epoch FROM now() - a.xact_start)::bigint, a.state, left(a.query, {SHOWN_CHARS}) \
             FROM pg_stat_activity a WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() \
             AND a.backend_xid IS NOT NULL AND a.xact_start < now() - interval '{seconds} seconds' \
             ORDER BY a.xact_start LIMIT {NAMED_MAX}"
        ),
        Engine::MySql => format!(
            "SELECT b.trx_mysql_thread_id, p.user, p.host, '' AS program, \
             TIMESTAMPDIFF(SECOND, CONVERT_TZ(b.trx_started, 'SYSTEM', @@session.time_zone), SYSDATE()), p.command, LEFT(COALESCE(p.info, ''), {SHOWN_CHARS}) \
             FROM information_schema.INNODB_TRX b \
             LEFT JOIN information_schema.PROCESSLIST p ON p.id = b.trx_mysql_thread_id \
             WHERE b.trx_rows_modified + b.trx_rows_locked > 0 AND b.trx_mysql_thread_id <> CONNECTION_ID() \
             AND TIMESTAMPDIFF(SECOND, CONVERT_TZ(b.trx_started, 'SYSTEM', @@session.time_zone), SYSDATE()) >= {seconds} \
             ORDER BY b.trx_started LIMIT {NAMED_MAX}"
        ),
    };
    let rows = at.rows("list open transactions", sql).await?;
    Ok(rows.iter().map(|row| line(row)).collect())
}

/// `session 41 (root@10.0.0.7, psql), open for 32 s, Sleep: UPDATE ..`.
fn line(row: &[banyan_engine::Value]) -> String {
    let text = |at: usize| row.get(at).and_then(as_text).unwrap_or_default();
    let seconds = row.get(4).and_then(as_integer).unwrap_or(0).max(0);
    let program = match text(3) {
        program if program.is_empty() => String::new(),
        program => format!(", {program}"),
    };
    let doing = text(6).split_whitespace().collect::<Vec<_>>().join(" ");
    let doing = if doing.is_empty() { text(5) } else { format!("{}: {doing}", text(5)) };
    let (session, user, host) = (text(0), text(1), text(2));
    format!("session {session} ({user}@{host}{program}), open for {seconds} s, {doing}")
}
