//! What can go wrong in a job, by name, and what an operator can do about it.
//!
//! What must stay true: messages name side, job, table, column or key, never row data and never an
//! address; every error a person can fix has a hint; `is_transient` decides who retries.

use banyan_domain::Side;
use banyan_engine::{KeyError, RowsError, ValueError};

use crate::spec::SpecError;

/// A job cannot go on. Displays as what follows "cannot ".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// The job's text is wrong.
    #[error("{source}")]
    Spec {
        /// All problems.
        source: SpecError,
    },
    /// The address is of no supported engine.
    #[error("use the database of side `{}`: `{scheme}:` is no known engine", side.as_str())]
    Scheme {
        /// The side.
        side: Side,
        /// What the address starts with.
        scheme: String,
    },
    /// No connection to a side's database.
    #[error("connect to the database of side `{}`", side.as_str())]
    Connect {
        /// The side.
        side: Side,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// A statement failed.
    #[error("{act} on side `{}`", side.as_str())]
    Statement {
        /// The side.
        side: Side,
        /// What was tried.
        act: String,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// The scratch database of a verify, on this machine.
    #[error("keep the list of root keys on this machine")]
    Scratch {
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// A database did not answer in time.
    #[error("{act} on side `{}`: no answer within {seconds} s", side.as_str())]
    Timeout {
        /// The side.
        side: Side,
        /// What was tried.
        act: String,
        /// The limit.
        seconds: u64,
    },
    /// The job's tables or triggers are not there.
    #[error("run job `{job}`: {what} missing on side `{}`", side.as_str())]
    NotInstalled {
        /// The job.
        job: String,
        /// The side.
        side: Side,
        /// What is missing.
        what: String,
    },
    /// Tables are not as they were when somebody accepted them.
    #[error("go on with job `{job}`: its tables changed: {}", changes.join(", "))]
    Drift {
        /// The job.
        job: String,
        /// What changed.
        changes: Vec<String>,
    },
    /// The target has no such table or column, or the select does not give it.
    #[error("map to table `{table}`: {problem}")]
    Shape {
        /// The target table.
        table: String,
        /// What does not fit.
        problem: String,
    },
    /// Types of the target, or of a select, that are not supported; all of them at once.
    #[error("map {} columns: {}", problems.len(), problems.join("; "))]
    Types {
        /// One per column.
        problems: Vec<String>,
    },
    /// A value does not fit its column.
    #[error("map column `{table}.{column}` of row `{row}`")]
    Value {
        /// The target table.
        table: String,
        /// The target column.
        column: String,
        /// The row's primary key.
        row: String,
        /// Why.
        #[source]
        source: ValueError,
    },
    /// Rows of a table cannot be matched by primary key.
    #[error("match the rows of table `{table}`")]
    Rows {
        /// The target table.
        table: String,
        /// Why.
        #[source]
        source: RowsError,
    },
    /// A select returned a row of a root that was not asked for.
    #[error(
        "map to table `{table}`: the select returned a row of root `{key}`, which was not asked for"
    )]
    ForeignRoot {
        /// The target table.
        table: String,
        /// The root that came.
        key: String,
    },
    /// A root key has another shape than declared.
    #[error("use a root key")]
    Key {
        /// Why.
        #[source]
        source: KeyError,
    },
    /// A root key cannot be written as a literal.
    #[error("use a root key")]
    KeyValue {
        /// Why.
        #[source]
        source: ValueError,
    },
    /// One aggregate is larger than the limit.
    #[error("hold aggregate `{key}` in memory: it is larger than {limit_bytes} bytes")]
    AggregateTooLarge {
        /// The root key.
        key: String,
        /// The limit.
        limit_bytes: usize,
    },
    /// Another worker runs the job.
    #[error("run job `{job}`: `{holder}` holds its lease for {expires_in_ms} ms more")]
    LeaseHeld {
        /// The job.
        job: String,
        /// The other worker.
        holder: String,
        /// When it may be taken.
        expires_in_ms: i64,
    },
    /// Another worker took the job over; nothing was written under the lost lease.
    #[error("go on with job `{job}`: another worker took its lease")]
    LeaseLost {
        /// The job.
        job: String,
    },
    /// The target side accepts writes itself.
    #[error("apply job `{job}`: the target's fence is OPEN, so side `{}` owns the context", side.as_str())]
    Fenced {
        /// The job.
        job: String,
        /// The target side.
        side: Side,
    },
    /// The fence moved between reading the source and writing the target; nothing was written.
    #[error("apply job `{job}`: the target's fence has moved")]
    FenceMoved {
        /// The job.
        job: String,
    },
    /// Rows outside of the job, or ones that the source does not change, hold unique values that a batch needs.
    #[error("apply job `{job}`: its rows need unique values that other rows of the target hold")]
    ValueTaken {
        /// The job.
        job: String,
    },
    /// A fence row that this version cannot read.
    #[error("use the fence of side `{}`: its row in `banyan_owner` says `{found}`", side.as_str())]
    BrokenFence {
        /// The side.
        side: Side,
        /// State and epoch as they stand there.
        found: String,
    },
    /// A query of the configuration that should count does not.
    #[error("count on side `{}`: the first row of `{query}` is not one whole number", side.as_str())]
    Count {
        /// The side.
        side: Side,
        /// The query.
        query: String,
    },
    /// A column gives no ids of its own, so its counter cannot be raised.
    #[error("use the ids of `{column}` on side `{}`: {why}", side.as_str())]
    Sequence {
        /// The side.
        side: Side,
        /// The column.
        column: String,
        /// Why not.
        why: String,
    },
    /// The job runs in the other direction.
    #[error("run job `{job}`: `{holder}` runs it toward side `{}`", toward.as_str())]
    OtherDirection {
        /// The job.
        job: String,
        /// Who.
        holder: String,
        /// The other direction's target.
        toward: Side,
    },
    /// The run was told to stop while a step was under way.
    #[error("finish the step: the run was told to stop")]
    Stopped,
}

impl SyncError {
    /// Whether the same act may succeed later without anybody's help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { source, .. } | Self::Statement { source, .. } => is_transient(source),
            Self::Timeout { .. }
            | Self::LeaseHeld { .. }
            | Self::LeaseLost { .. }
            | Self::FenceMoved { .. }
            | Self::OtherDirection { .. } => true,
            Self::Spec { .. }
            | Self::Scheme { .. }
            | Self::NotInstalled { .. }
            | Self::Drift { .. }
            | Self::Scratch { .. }
            | Self::Shape { .. }
            | Self::Types { .. }
            | Self::Value { .. }
            | Self::Rows { .. }
            | Self::ForeignRoot { .. }
            | Self::Key { .. }
            | Self::KeyValue { .. }
            | Self::AggregateTooLarge { .. }
            | Self::Fenced { .. }
            | Self::Sequence { .. }
            | Self::BrokenFence { .. }
            | Self::Count { .. }
            | Self::ValueTaken { .. }
            | Self::Stopped => false,
        }
    }

    /// Whether another worker runs the job, in this direction or in the other.
    pub fn is_of_another_worker(&self) -> bool {
        matches!(self, Self::LeaseHeld { .. } | Self::OtherDirection { .. })
    }

    /// Whether a statement waited for a lock for as long as it may.
    pub(crate) fn is_lock_timeout(&self) -> bool {
        let Self::Statement { source: sqlx::Error::Database(error), .. } = self else {
            return false;
        };
        let code = error.code().unwrap_or_default().into_owned();
        if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
            return matches!(code.parse::<u32>().unwrap_or(0) & 0xff, 5 | 6);
        }
        match error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
            Some(mysql) => matches!(mysql.number(), 1205 | 1213),
            None => matches!(code.as_str(), "55P03" | "40P01"),
        }
    }

    /// Whether a row was refused because another has its unique value.
    pub(crate) fn is_unique_violation(&self) -> bool {
        let Self::Statement { source: sqlx::Error::Database(error), .. } = self else {
            return false;
        };
        error.is_unique_violation()
    }

    /// Whether the database refused a statement, and would again.
    pub(crate) fn is_refused(&self) -> bool {
        let Self::Statement { source, .. } = self else { return false };
        matches!(source, sqlx::Error::Database(_)) && !is_transient(source)
    }

    /// Whether a database could not be reached, as opposed to refusing what was asked.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } => true,
            Self::Statement { source, .. } => is_transient(source),
            Self::Spec { .. }
            | Self::Scheme { .. }
            | Self::NotInstalled { .. }
            | Self::Drift { .. }
            | Self::Scratch { .. }
            | Self::Shape { .. }
            | Self::Types { .. }
            | Self::Value { .. }
            | Self::Rows { .. }
            | Self::ForeignRoot { .. }
            | Self::Key { .. }
            | Self::KeyValue { .. }
            | Self::AggregateTooLarge { .. }
            | Self::LeaseHeld { .. }
            | Self::LeaseLost { .. }
            | Self::Fenced { .. }
            | Self::FenceMoved { .. }
            | Self::Sequence { .. }
            | Self::BrokenFence { .. }
            | Self::Count { .. }
            | Self::OtherDirection { .. }
            | Self::ValueTaken { .. }
            | Self::Stopped => false,
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Spec { .. } => "correct the `[[sync]]` section of this job in banyan.toml".into(),
            Self::Scheme { .. } => "use sqlite:, postgres:, mysql: or mariadb:".into(),
            Self::Connect { side, .. } => format!(
                "check that the database of side `{}` runs and that its address is right",
                side.as_str()
            ),
            Self::Scratch { .. } => "long lists go to the folder for temporary files: give it space, or name another \
                                     one in SQLITE_TMPDIR"
                .into(),
            Self::NotInstalled { job, .. } => {
                format!("banyan sync plan {job} shows the missing DDL; --execute installs it")
            }
            Self::Drift { job, .. } => format!(
                "banyan sync plan {job} shows the change; --execute accepts it and compares \
                 everything again"
            ),
            Self::Types { .. } => {
                "cast the column in the `select` (`CAST(c AS CHAR)`, `c::text`), or change the \
                 target's type"
                    .into()
            }
            Self::Value { source, table, column, .. } => value_hint(source, table, column),
            Self::Shape { table, .. }
            | Self::Rows { table, .. }
            | Self::ForeignRoot { table, .. } => {
                format!("correct the `select` of table `{table}` in banyan.toml")
            }
            Self::Key { .. } => "make `key` of the captures and `roots` give the same keys".into(),
            Self::AggregateTooLarge { .. } => "raise the job's `bytes-per-aggregate`".into(),
            Self::LeaseHeld { .. } => {
                "stop the other worker, or wait until its lease expires".into()
            }
            Self::Statement { source, .. } if !is_transient(source) => {
                "check the mapping's SQL and the login's rights".into()
            }
            Self::Statement { .. } | Self::Timeout { .. } => "the run is safe to repeat".into(),
            Self::Fenced { .. } => "run the job in the direction of the owner's writes".into(),
            Self::BrokenFence { .. } => {
                "states are open, shut, draining and barred, the epoch is a whole number; is another version of Banyan at work?".into()
            }
            Self::Count { .. } => "correct `context.legacy-unpublished` in banyan.toml: SELECT COUNT(*) ..".into(),
            Self::Sequence { .. } => {
                "correct `[[context.sequence]]` in banyan.toml: legacy = \"table.column\", new = \"table.column\"".into()
            }
            Self::ValueTaken { .. } => {
                "compare the unique keys of both sides: the target must not be stricter".into()
            }
            Self::OtherDirection { .. } => {
                "one direction at a time: stop the other worker, or wait until its lease ends"
                    .into()
            }
            Self::KeyValue { .. }
            | Self::LeaseLost { .. }
            | Self::FenceMoved { .. }
            | Self::Stopped => return None,
        };
        Some(hint)
    }

    /// The message with all its causes, for logs and records.
    pub fn chain(&self) -> String {
        let mut text = format!("cannot {self}");
        let mut cause = std::error::Error::source(self);
        while let Some(inner) = cause {
            let line = inner.to_string();
            if !text.ends_with(&line) {
                text.push_str(": ");
                text.push_str(&line);
            }
            cause = inner.source();
        }
        text
    }
}

/// What helps against a value that its column cannot store.
fn value_hint(source: &ValueError, table: &str, column: &str) -> String {
    if *source == ValueError::ZeroDate {
        return "set `zero-date = \"null\"` (or a moment such as \"1970-01-01 00:00:00\") in the job"
            .into();
    }
    if matches!(source, ValueError::Excess { .. } | ValueError::NotExact { .. }) {
        return format!(
            "make `{table}.{column}` large enough, or list it in `round` of table `{table}` if less \
             is enough (digits are rounded, text is never cut)"
        );
    }
    format!("correct the `select` of table `{table}`, or the type of `{column}`")
}

/// Whether a database error passes by itself: connection, lock, deadlock, restart, too busy.
#[expect(clippy::wildcard_enum_match_arm, reason = "sqlx::Error is non-exhaustive and not ours")]
fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default().into_owned();
            if database.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
                // Primary code in the low byte: BUSY, LOCKED, IOERR, CANTOPEN, PROTOCOL.
                return matches!(code.parse::<u32>().unwrap_or(0) & 0xff, 5 | 6 | 10 | 14 | 15);
            }
            if let Some(mysql) = database.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
                return matches!(
                    mysql.number(),
                    1040 | 1053 | 1158..=1161 | 1203 | 1205 | 1213 | 1290 | 1927 | 2006 | 2013
                );
            }
            ["08", "40", "53", "55", "57"].iter().any(|class| code.starts_with(class))
        }
        _ => false,
    }
}
