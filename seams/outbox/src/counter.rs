//! Numbers without gaps for events of a context in context order.
//!
//! `issued` is bumped in the emitting transaction, so a rolled-back emission takes its number back and numbers follow
//! the order of commits. `trimmed` counts the numbered rows that were cleaned up; it is a row of its own, so that the
//! cleanup never waits for an emitter. What must stay true: issued = trimmed + numbered rows in the table; if not, rows
//! were lost.

use banyan_domain::ContextName;
use sqlx::Transaction;

use crate::engine::{Bind, Engine, one};
use crate::error::OutboxError;

pub(crate) const ISSUED: &str = "issued";
pub(crate) const TRIMMED: &str = "trimmed";

const PREPARE: &str = "banyan_outbox_counter (context, name, value) VALUES (?, ?, 0)";
const ADD: &str =
    "UPDATE banyan_outbox_counter SET value = value + ? WHERE context = ? AND name = ?";
/// In the transaction that added, so it sees its own value.
const READ: &str = "SELECT value FROM banyan_outbox_counter WHERE context = ? AND name = ?";

pub(crate) async fn prepare<DB: Engine>(
    connection: &mut DB::Connection,
    context: &ContextName,
) -> Result<(), sqlx::Error> {
    let sql = DB::DIALECT.insert_new(PREPARE);
    for name in [ISSUED, TRIMMED] {
        let binds = [Bind::Text(context.as_str()), Bind::Text(name)];
        DB::run(connection, &sql, &binds).await?;
    }
    Ok(())
}

/// The next number of the context; other emitters of the context wait until this transaction ends.
pub(crate) async fn next<DB: Engine>(
    tx: &mut Transaction<'_, DB>,
    context: &ContextName,
) -> Result<u64, OutboxError> {
    let failed = || OutboxError::database("number the event");
    add::<DB>(tx, context.as_str(), ISSUED, 1).await.map_err(failed())?;
    let binds = [Bind::Text(context.as_str()), Bind::Text(ISSUED)];
    let issued: Option<(i64,)> = one::<DB, _>(tx, READ, &binds).await.map_err(failed())?;
    let issued = issued.and_then(|(number,)| u64::try_from(number).ok());
    issued.ok_or_else(|| OutboxError::NotEnrolled { context: context.clone() })
}

pub(crate) async fn add<DB: Engine>(
    connection: &mut DB::Connection,
    context: &str,
    name: &str,
    count: i64,
) -> Result<(), sqlx::Error> {
    let binds = [Bind::Number(count), Bind::Text(context), Bind::Text(name)];
    DB::run(connection, ADD, &binds).await.map(drop)
}
