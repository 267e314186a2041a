//! Orders of operators to a running job: pause, resume, another limit of rows per second.
//!
//! They are kept in `by_control` on the target, beside the data, so that every worker sees them wherever it
//! runs, and a restart changes nothing.
//!
//! What must stay true: an order is one row and the last one counts; a worker reads it between steps and at
//! least once per second while it waits; an order never interrupts a transaction.

use banyan_engine::Value;

use crate::connection::{Connection, as_integer, as_text};
use crate::error::SyncError;
use crate::install;
use crate::job::{Job, JobInner};
use crate::state::text;
use crate::tables;

/// Longest name and reason that are kept.
const NAME_MAX: usize = 100;
const WHY_MAX: usize = 200;

/// What operators ordered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orders {
    /// Whether the job is paused.
    pub paused: bool,
    /// Rows per second instead of the configured limit.
    pub rows_per_second: Option<u64>,
    /// Who gave the last order; empty when there was none.
    pub by: String,
    /// Why; may be empty.
    pub why: String,
    /// When, Unix milliseconds of the target.
    pub changed_ms: i64,
}

impl Job {
    /// Pauses the job: it keeps its lease and does nothing until it is resumed.
    ///
    /// # Errors
    /// No connection, or the job is not installed.
    pub async fn pause(&self, by: &str, why: &str) -> Result<Orders, SyncError> {
        self.order("paused = 1", by, why).await
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// No connection, or the job is not installed.
    pub async fn resume(&self, by: &str, why: &str) -> Result<Orders, SyncError> {
        self.order("paused = 0", by, why).await
    }

    /// Limits the rows that the copy reads per second; nothing gives the configured limit back.
    ///
    /// # Errors
    /// No connection, or the job is not installed.
    pub async fn throttle(
        &self,
        rows_per_second: Option<u64>,
        by: &str,
        why: &str,
    ) -> Result<Orders, SyncError> {
        let set = match rows_per_second {
            Some(rows) => format!("rows_per_second = {}", i64::try_from(rows).unwrap_or(i64::MAX)),
            None => "rows_per_second = NULL".to_owned(),
        };
        self.order(&set, by, why).await
    }

    async fn order(&self, set: &str, by: &str, why: &str) -> Result<Orders, SyncError> {
        let job = &self.inner;
        let mut target = job.connect_target().await?;
        if !install::exists(&mut target, "by_control").await? {
            return Err(tables::absent(job, "by_control"));
        }
        let (insert, end) = target.dialect.insert_ignore();
        let sql = format!(
            "{insert} by_control (job, direction, paused, by_name, why, changed_ms) \
             VALUES ('{}', '{}', 0, '', '', 0){end}",
            job.spec.name,
            job.to.as_str()
        );
        target.run("make the row of orders", &sql).await?;
        let sql = format!(
            "UPDATE by_control SET {set}, by_name = {}, why = {}, changed_ms = {} WHERE {}",
            text(target.dialect, &cut(by, NAME_MAX))?,
            text(target.dialect, &cut(why, WHY_MAX))?,
            target.dialect.clock_ms(),
            job.state.is_ours(),
        );
        target.run("write the order", &sql).await?;
        read(job, &mut target).await
    }
}

/// The orders; none when nobody gave one. The table must be there.
pub(crate) async fn read(job: &JobInner, target: &mut Connection) -> Result<Orders, SyncError> {
    let sql = format!(
        "SELECT paused, rows_per_second, by_name, why, changed_ms FROM by_control WHERE {}",
        job.state.is_ours()
    );
    let rows = target.rows("read the orders", sql).await?;
    Ok(rows.first().map_or_else(Orders::default, |row| orders(row)))
}

fn orders(row: &[Value]) -> Orders {
    let [paused, rows, by, why, changed] = row else { return Orders::default() };
    Orders {
        paused: as_integer(paused).is_some_and(|paused| paused != 0),
        rows_per_second: as_integer(rows).and_then(|rows| u64::try_from(rows).ok()),
        by: as_text(by).unwrap_or_default(),
        why: as_text(why).unwrap_or_default(),
        changed_ms: as_integer(changed).unwrap_or(0),
    }
}

/// The first `max` characters, without what would break a line of output.
pub(crate) fn cut(text: &str, max: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(max).collect()
}
