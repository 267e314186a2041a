//! One dedicated connection to one side, whichever engine it is.
//!
//! Every statement goes by the simple protocol, so that all three engines show values in their text form
//! and one code path serves them. A connection that saw an error is dropped by its owner, never reused:
//! no statement has to reason about a half-open transaction.
//!
//! What must stay true: every wait has a limit; rows are streamed and counted against a byte limit;
//! statements are never logged, because they hold row data.

use std::str::FromStr;
use std::time::{Duration, Instant};

use banyan_domain::Side;
use banyan_engine::{RootKey, Value};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, SqlSafeStr, Statement};
use tokio::time::timeout;

use crate::decode::{mysql_row, pg_columns, pg_row, plain_columns, sqlite_row};
use crate::dialect::{Dialect, Engine};
use crate::error::SyncError;
use crate::url::SideUrls;

/// Longest wait for a connection.
const CONNECT_SECONDS: u64 = 10;
/// Longest wait for a statement or for its next row.
pub(crate) const STATEMENT_SECONDS: u64 = 120;
/// What takes longer is told in the log.
const SLOW: Duration = Duration::from_secs(1);
/// How long SQLite waits for another writer before it says busy.
const SQLITE_BUSY: Duration = Duration::from_secs(5);

/// A connection to one side.
pub(crate) struct Connection {
    pub(crate) side: Side,
    pub(crate) dialect: &'static dyn Dialect,
    wire: Wire,
}

enum Wire {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
    MySql(MySqlConnection),
}

/// A column of a query's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) name: String,
    /// The type as sqlx names it; `ENUM` for any enum.
    pub(crate) wire: String,
}

/// The rows were heavier than the limit; nothing is wrong with the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooHeavy;

impl Connection {
    /// Connects and prepares the session.
    pub(crate) async fn open(urls: &SideUrls, side: Side) -> Result<Self, SyncError> {
        let engine = urls.engine(side)?;
        let wire = within(side, "connect", CONNECT_SECONDS, connect(engine, urls.of(side)))
            .await?
            .map_err(|source| SyncError::Connect { side, source })?;
        let mut connection = Self { side, dialect: engine.dialect(), wire };
        for statement in connection.dialect.session_setup() {
            connection.run("prepare the session", statement).await?;
        }
        Ok(connection)
    }

    /// Runs statements that return nothing; gives the number of rows they touched.
    pub(crate) async fn run(&mut self, act: &str, sql: &str) -> Result<u64, SyncError> {
        let side = self.side;
        let text = sqlx::raw_sql(AssertSqlSafe(sql));
        let done = async {
            match &mut self.wire {
                Wire::Sqlite(c) => c.execute(text).await.map(|done| done.rows_affected()),
                Wire::Postgres(c) => c.execute(text).await.map(|done| done.rows_affected()),
                Wire::MySql(c) => c.execute(text).await.map(|done| done.rows_affected()),
            }
        };
        within(side, act, STATEMENT_SECONDS, done)
            .await?
            .map_err(|source| failed(side, act, source))
    }

    /// Sends rows by a bulk write of Postgres ([`Dialect::copy_into`]); `next` appends some until there are none.
    pub(crate) async fn copy_in(
        &mut self,
        act: &str,
        sql: &str,
        mut next: impl FnMut(&mut String) -> Result<(), SyncError>,
    ) -> Result<u64, SyncError> {
        let side = self.side;
        let refused = |source| failed(side, act, source);
        let limit = STATEMENT_SECONDS;
        let Wire::Postgres(wire) = &mut self.wire else {
            return Err(refused(sqlx::Error::Protocol("only Postgres has COPY".to_owned())));
        };
        let begin = wire.copy_in_raw(sql);
        let mut copy = within(side, act, limit, begin).await?.map_err(refused)?;
        let mut text = String::new();
        loop {
            text.clear();
            // An error drops the copy, which tells the server that it failed.
            next(&mut text)?;
            if text.is_empty() {
                break;
            }
            within(side, act, limit, copy.send(text.as_bytes())).await?.map_err(refused)?;
        }
        within(side, act, limit, copy.finish()).await?.map_err(refused)
    }

    /// Streams the rows of a query.
    pub(crate) fn stream(&mut self, sql: String) -> BoxStream<'_, Result<Vec<Value>, sqlx::Error>> {
        let text = sqlx::raw_sql(AssertSqlSafe(sql));
        match &mut self.wire {
            Wire::Sqlite(c) => c.fetch(text).map(|row| row.and_then(|r| sqlite_row(&r))).boxed(),
            Wire::Postgres(c) => c.fetch(text).map(|row| row.and_then(|r| pg_row(&r))).boxed(),
            Wire::MySql(c) => c.fetch(text).map(|row| row.and_then(|r| mysql_row(&r))).boxed(),
        }
    }

    /// All rows of a query whose result is known to be small.
    pub(crate) async fn rows(
        &mut self,
        act: &str,
        sql: String,
    ) -> Result<Vec<Vec<Value>>, SyncError> {
        let rows = self.rows_within(act, sql, usize::MAX).await?;
        Ok(rows.unwrap_or_default())
    }

    /// All rows of a query, or [`TooHeavy`] when they need more than `bytes_max`.
    pub(crate) async fn rows_within(
        &mut self,
        act: &str,
        sql: String,
        bytes_max: usize,
    ) -> Result<Result<Vec<Vec<Value>>, TooHeavy>, SyncError> {
        let side = self.side;
        let mut bytes = 0_usize;
        let mut rows = Vec::new();
        let mut stream = self.stream(sql);
        while let Some(row) = within(side, act, STATEMENT_SECONDS, stream.next()).await? {
            let row = row.map_err(|source| failed(side, act, source))?;
            bytes += row.iter().map(Value::weight_bytes).sum::<usize>();
            if bytes > bytes_max {
                return Ok(Err(TooHeavy));
            }
            rows.push(row);
        }
        Ok(Ok(rows))
    }

    /// The first column of the first row as an integer.
    pub(crate) async fn integer(
        &mut self,
        act: &str,
        sql: String,
    ) -> Result<Option<i64>, SyncError> {
        let rows = self.rows(act, sql).await?;
        Ok(rows.first().and_then(|row| row.first()).and_then(as_integer))
    }

    /// The engine.
    pub(crate) fn engine(&self) -> Engine {
        match &self.wire {
            Wire::Sqlite(_) => Engine::Sqlite,
            Wire::Postgres(_) => Engine::Postgres,
            Wire::MySql(_) => Engine::MySql,
        }
    }

    /// A query's columns, without running it.
    pub(crate) async fn described(
        &mut self,
        act: &str,
        sql: &str,
    ) -> Result<Vec<Described>, SyncError> {
        let side = self.side;
        let text = AssertSqlSafe(sql).into_sql_str();
        let columns = async {
            match &mut self.wire {
                Wire::Sqlite(c) => c.prepare(text).await.map(|s| plain_columns(s.columns())),
                Wire::Postgres(c) => c.prepare(text).await.map(|s| pg_columns(s.columns())),
                Wire::MySql(c) => c.prepare(text).await.map(|s| plain_columns(s.columns())),
            }
        };
        within(side, act, STATEMENT_SECONDS, columns)
            .await?
            .map_err(|source| failed(side, act, source))
    }

    /// The database's clock in Unix milliseconds.
    pub(crate) async fn clock_ms(&mut self) -> Result<i64, SyncError> {
        let sql = format!("SELECT {}", self.dialect.clock_ms());
        Ok(self.integer("read the clock", sql).await?.unwrap_or(0))
    }

    /// Starts a read-only snapshot.
    pub(crate) async fn begin_snapshot(&mut self) -> Result<(), SyncError> {
        let begin = self.dialect.begin_snapshot();
        self.run("start a snapshot", begin).await.map(drop)
    }

    /// Starts a writing transaction.
    pub(crate) async fn begin_write(&mut self) -> Result<(), SyncError> {
        let begin = self.dialect.begin_write();
        self.run("start a transaction", begin).await.map(drop)
    }

    /// Commits.
    pub(crate) async fn commit(&mut self) -> Result<(), SyncError> {
        self.run("commit", "COMMIT").await.map(drop)
    }

    /// Gives the transaction up.
    pub(crate) async fn rollback(&mut self) -> Result<(), SyncError> {
        self.run("roll back", "ROLLBACK").await.map(drop)
    }
}

/// The error of a failed statement.
pub(crate) fn failed(side: Side, act: &str, source: sqlx::Error) -> SyncError {
    SyncError::Statement { side, act: act.to_owned(), source }
}

/// A value as an integer, whether the engine shows it as number or text.
pub(crate) fn as_integer(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => i64::try_from(*number).ok(),
        Value::Text(text) => text.parse().ok(),
        Value::Bool(truth) => Some(i64::from(*truth)),
        Value::Null | Value::Float(_) | Value::Bytes(_) => None,
    }
}

/// A value as text; bytes must be UTF-8. `None` for NULL.
pub(crate) fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::Bytes(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::Null => None,
        Value::Text(text) => Some(text.clone()),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
            value.canonical_text().map(std::borrow::Cow::into_owned)
        }
    }
}

/// The first column of each row as root keys; NULL is none.
pub(crate) fn as_keys(rows: &[Vec<Value>]) -> impl Iterator<Item = RootKey> {
    rows.iter().filter_map(|row| row.first()).filter_map(as_text).map(RootKey::new)
}

/// Waits for a database, at most `seconds`; `-v` tells what it took long for.
pub(crate) async fn within<T>(
    side: Side,
    act: &str,
    seconds: u64,
    work: impl Future<Output = T>,
) -> Result<T, SyncError> {
    let begun = Instant::now();
    let done = timeout(Duration::from_secs(seconds), work).await;
    let took = begun.elapsed();
    if took > SLOW {
        tracing::info!(%side, act, ?took, "a database took long");
    }
    done.map_err(|_| SyncError::Timeout { side, act: act.to_owned(), seconds })
}

async fn connect(engine: Engine, url: &str) -> Result<Wire, sqlx::Error> {
    match engine {
        Engine::Sqlite => {
            let options = SqliteConnectOptions::from_str(url)?
                .create_if_missing(false)
                .busy_timeout(SQLITE_BUSY)
                .disable_statement_logging();
            options.connect().await.map(Wire::Sqlite)
        }
        Engine::Postgres => {
            let options = PgConnectOptions::from_str(url)?
                .application_name("banyan-sync")
                .disable_statement_logging();
            options.connect().await.map(Wire::Postgres)
        }
        Engine::MySql => {
            let options = MySqlConnectOptions::from_str(url)?.disable_statement_logging();
            options.connect().await.map(Wire::MySql)
        }
    }
}
