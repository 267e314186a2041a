//! The tables that operating a job needs on its target: orders, slots, and cache keys to delete.
//!
//! They stand apart from the checkpoint, because installations that have a checkpoint already get them
//! by the same `install`.
//!
//! What must stay true: each statement can be repeated; a job's rows are found by job and direction.

use crate::connection::Connection;
use crate::dialect::Engine;
use crate::error::SyncError;
use crate::install;
use crate::job::JobInner;

/// The tables, in the order in which they are made.
pub(crate) const NAMES: [&str; 3] = ["by_control", "by_slot", "by_cache"];

/// What makes them.
pub(crate) fn ddl(engine: Engine) -> Vec<String> {
    let end = match engine {
        Engine::MySql => " ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4",
        Engine::Sqlite | Engine::Postgres => "",
    };
    let key = match engine {
        Engine::MySql => "VARBINARY(250)",
        Engine::Postgres => "VARCHAR(250) COLLATE \"C\"",
        Engine::Sqlite => "VARCHAR(250)",
    };
    vec![
        format!(
            "CREATE TABLE IF NOT EXISTS by_control (job VARCHAR(32) NOT NULL, \
             direction VARCHAR(8) NOT NULL, paused BIGINT NOT NULL, rows_per_second BIGINT, \
             by_name VARCHAR(128) NOT NULL, why VARCHAR(255) NOT NULL, \
             changed_ms BIGINT NOT NULL, PRIMARY KEY (job, direction)){end}"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS by_slot (job VARCHAR(32) NOT NULL, \
             direction VARCHAR(8) NOT NULL, cursor_ms BIGINT NOT NULL, run_slot_ms BIGINT NOT NULL, \
             holder VARCHAR(128) NOT NULL, expires_ms BIGINT NOT NULL, \
             sweep_slot_ms BIGINT NOT NULL, sweep_relists BIGINT NOT NULL, runs BIGINT NOT NULL, \
             passed BIGINT NOT NULL, note VARCHAR(255) NOT NULL, PRIMARY KEY (job, direction)){end}"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS by_cache (job VARCHAR(32) NOT NULL, \
             direction VARCHAR(8) NOT NULL, server VARCHAR(64) NOT NULL, k {key} NOT NULL, \
             stamp BIGINT NOT NULL, PRIMARY KEY (job, direction, server, k)){end}"
        ),
    ]
}

/// Whether one of the tables is missing.
pub(crate) async fn missing(target: &mut Connection) -> Result<bool, SyncError> {
    for name in NAMES {
        if !install::exists(target, name).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Statements that forget the job.
pub(crate) async fn forget(
    job: &JobInner,
    target: &mut Connection,
) -> Result<Vec<String>, SyncError> {
    let mut statements = Vec::new();
    for name in NAMES {
        if install::exists(target, name).await? {
            statements.push(format!("DELETE FROM {name} WHERE {}", job.state.is_ours()));
        }
    }
    Ok(statements)
}

/// The error for a table that an older version did not make.
pub(crate) fn absent(job: &JobInner, table: &str) -> SyncError {
    SyncError::NotInstalled {
        job: job.spec.name.clone(),
        side: job.to,
        what: format!("table `{table}`"),
    }
}
