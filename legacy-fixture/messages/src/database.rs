//! The dialect layer: one thin face over SQLite and Postgres.
//!
//! All statements are written so that both understand them; what differs is only how a connection is opened and how a
//! snapshot begins.
//!
//! What must stay true: reads happen in a [`Snapshot`], so that the counts and the rows of one answer agree while
//! the sync writes; nothing waits longer than the pool's and SQLite's own limits.

use crate::error::MessagesError;
use sqlx::{
    FromRow, PgPool, Postgres, Sqlite, SqlitePool, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions, PgRow},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow},
};
use std::{str::FromStr, time::Duration};

const CONNECTIONS_MAX: u32 = 8;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// An open database of the service.
#[derive(Debug, Clone)]
pub(crate) enum Database {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// Which SQL the database speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// A read-only view of the database at one moment.
pub(crate) enum Snapshot {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

/// A value for a `$n` of a statement.
#[derive(Debug, Clone)]
pub(crate) enum Bind {
    Number(i64),
    Text(String),
}

/// A row type that both databases can fill.
pub(crate) trait AnyRow:
    for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}

impl<T> AnyRow for T where
    T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}

impl Database {
    /// Opens `sqlite:..` (made when missing) or `postgres://..`.
    pub(crate) async fn open(url: &str) -> Result<Self, MessagesError> {
        let scheme = url.split(':').next().unwrap_or_default();
        let opened = match scheme {
            "sqlite" => open_sqlite(url).await,
            "postgres" | "postgresql" => open_postgres(url).await,
            _ => return Err(MessagesError::DatabaseUrl { url: without_password(url) }),
        };
        opened.map_err(|source| MessagesError::Database { act: "open the database", source })
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Runs several statements without values.
    pub(crate) async fn execute_script(&self, script: &'static str) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(pool) => sqlx::raw_sql(script).execute(pool).await.map(drop),
            Self::Postgres(pool) => sqlx::raw_sql(script).execute(pool).await.map(drop),
        }
    }

    /// Begins a snapshot.
    pub(crate) async fn snapshot(&self) -> Result<Snapshot, sqlx::Error> {
        match self {
            // A deferred transaction sees the database as it is at the first read.
            Self::Sqlite(pool) => pool.begin().await.map(Snapshot::Sqlite),
            Self::Postgres(pool) => pool
                .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                .await
                .map(Snapshot::Postgres),
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

impl Snapshot {
    /// All rows of a statement.
    pub(crate) async fn all<T: AnyRow>(
        &mut self,
        sql: &'static str,
        binds: &[Bind],
    ) -> Result<Vec<T>, sqlx::Error> {
        match self {
            Self::Sqlite(transaction) => {
                let query = binds.iter().fold(sqlx::query_as(sql), |query, bind| match bind {
                    Bind::Number(number) => query.bind(*number),
                    Bind::Text(text) => query.bind(text.clone()),
                });
                query.fetch_all(&mut **transaction).await
            }
            Self::Postgres(transaction) => {
                let query = binds.iter().fold(sqlx::query_as(sql), |query, bind| match bind {
                    Bind::Number(number) => query.bind(*number),
                    Bind::Text(text) => query.bind(text.clone()),
                });
                query.fetch_all(&mut **transaction).await
            }
        }
    }

    /// The row of a statement that has one at most.
    pub(crate) async fn one<T: AnyRow>(
        &mut self,
        sql: &'static str,
        binds: &[Bind],
    ) -> Result<Option<T>, sqlx::Error> {
        Ok(self.all(sql, binds).await?.into_iter().next())
    }

    /// The number that a counting statement gives.
    pub(crate) async fn count(
        &mut self,
        sql: &'static str,
        binds: &[Bind],
    ) -> Result<i64, sqlx::Error> {
        Ok(self.one::<(i64,)>(sql, binds).await?.map_or(0, |(count,)| count))
    }

    /// Ends the snapshot and gives its connection back.
    pub(crate) async fn end(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(transaction) => transaction.commit().await,
            Self::Postgres(transaction) => transaction.commit().await,
        }
    }
}

async fn open_sqlite(url: &str) -> Result<Database, sqlx::Error> {
    let options = SqliteConnectOptions::from_str(url)?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(false);
    let pool = SqlitePoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(options)
        .await?;
    Ok(Database::Sqlite(pool))
}

async fn open_postgres(url: &str) -> Result<Database, sqlx::Error> {
    let options = PgConnectOptions::from_str(url)?.application_name("messages");
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(options)
        .await?;
    Ok(Database::Postgres(pool))
}

fn without_password(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, rest)) => format!("..@{rest}"),
        None => url.to_owned(),
    }
}
