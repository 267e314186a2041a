//! The dialect layer: one thin face over SQLite and Postgres.
//!
//! Reads are written so that both understand them; changes have a second text where they must ([`Sql`]).
//!
//! What must stay true: reads happen in a snapshot, so that the counts and the rows of one answer agree while
//! the sync writes; on SQLite every change begins IMMEDIATE on the one writing connection, so changes wait in a fair
//! line and not in SQLite's; nothing waits longer than the limits of the pool and of locks.

use crate::error::MessagesError;
use banyan_outbox::{Emitted, NewEvent, OutboxError, fence::OwnerRow};
use banyan_seams::domain::ContextName;
use sqlx::{
    Connection, FromRow, PgPool, Postgres, Sqlite, SqlitePool, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions, PgRow},
    sqlite::{
        SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
    },
};
use std::{str::FromStr, time::Duration};

const CONNECTIONS_MAX: u32 = 16;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// What a session of Postgres may wait for: a lock, and the next statement of its transaction.
const POSTGRES_LIMITS: [(&str, &str); 2] =
    [("lock_timeout", "5s"), ("idle_in_transaction_session_timeout", "30s")];
/// As long as a request may take in all: after a cutover all writes that were held come at once.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// An open database of the service.
#[derive(Debug, Clone)]
pub(crate) enum Database {
    Sqlite { read: SqlitePool, write: SqlitePool },
    Postgres(PgPool),
}

/// Which SQL the database speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// A snapshot to read from, or a change; dropping it without [`end`](Tx::end) rolls back.
pub(crate) enum Tx {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

/// A statement in the words of each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sql {
    pub(crate) sqlite: &'static str,
    pub(crate) postgres: &'static str,
}

/// A value for a `$n` of a statement.
#[derive(Debug, Clone)]
pub(crate) enum Bind {
    Number(i64),
    MaybeNumber(Option<i64>),
    Text(String),
    MaybeText(Option<String>),
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
            Self::Sqlite { .. } => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Runs several statements without values.
    pub(crate) async fn execute_script(&self, script: &'static str) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite { write, .. } => sqlx::raw_sql(script).execute(write).await.map(drop),
            Self::Postgres(pool) => sqlx::raw_sql(script).execute(pool).await.map(drop),
        }
    }

    /// Makes the tables of the outbox where they are missing.
    pub(crate) async fn install_outbox(&self) -> Result<(), OutboxError> {
        match self {
            Self::Sqlite { write, .. } => banyan_outbox::install(write).await,
            Self::Postgres(pool) => banyan_outbox::install(pool).await,
        }
    }

    /// Begins a snapshot.
    pub(crate) async fn snapshot(&self) -> Result<Tx, sqlx::Error> {
        match self {
            // A deferred transaction sees the database as it is at the first read.
            Self::Sqlite { read, .. } => read.begin().await.map(Tx::Sqlite),
            Self::Postgres(pool) => pool
                .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                .await
                .map(Tx::Postgres),
        }
    }

    /// Begins a change.
    pub(crate) async fn change(&self) -> Result<Tx, sqlx::Error> {
        match self {
            Self::Sqlite { write, .. } => write.begin_with("BEGIN IMMEDIATE").await.map(Tx::Sqlite),
            // What waited for a lock must see what the one before it did.
            Self::Postgres(pool) => {
                pool.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await.map(Tx::Postgres)
            }
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite { read, write } => {
                read.close().await;
                write.close().await;
            }
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

impl Sql {
    /// One text for both.
    pub(crate) const fn same(text: &'static str) -> Self {
        Self { sqlite: text, postgres: text }
    }
}

impl From<&'static str> for Sql {
    fn from(text: &'static str) -> Self {
        Self::same(text)
    }
}

/// The statement with its values.
macro_rules! bound {
    ($query:expr, $binds:expr) => {
        $binds.iter().fold($query, |query, bind| match bind {
            Bind::Number(number) => query.bind(*number),
            Bind::MaybeNumber(number) => query.bind(*number),
            Bind::Text(text) => query.bind(text.clone()),
            Bind::MaybeText(text) => query.bind(text.clone()),
        })
    };
}

impl Tx {
    /// All rows of a statement.
    pub(crate) async fn all<T: AnyRow>(
        &mut self,
        sql: impl Into<Sql>,
        binds: &[Bind],
    ) -> Result<Vec<T>, sqlx::Error> {
        let sql = sql.into();
        match self {
            Self::Sqlite(tx) => {
                bound!(sqlx::query_as(sql.sqlite), binds).fetch_all(&mut **tx).await
            }
            Self::Postgres(tx) => {
                bound!(sqlx::query_as(sql.postgres), binds).fetch_all(&mut **tx).await
            }
        }
    }

    /// The row of a statement that has one at most.
    pub(crate) async fn one<T: AnyRow>(
        &mut self,
        sql: impl Into<Sql>,
        binds: &[Bind],
    ) -> Result<Option<T>, sqlx::Error> {
        Ok(self.all(sql, binds).await?.into_iter().next())
    }

    /// The number that a counting statement gives.
    pub(crate) async fn count(
        &mut self,
        sql: impl Into<Sql>,
        binds: &[Bind],
    ) -> Result<i64, sqlx::Error> {
        Ok(self.one::<(i64,)>(sql, binds).await?.map_or(0, |(count,)| count))
    }

    /// Runs a statement; gives how many rows it touched.
    pub(crate) async fn run(
        &mut self,
        sql: impl Into<Sql>,
        binds: &[Bind],
    ) -> Result<u64, sqlx::Error> {
        let sql = sql.into();
        match self {
            Self::Sqlite(tx) => {
                let done = bound!(sqlx::query(sql.sqlite), binds).execute(&mut **tx).await;
                done.map(|done| done.rows_affected())
            }
            Self::Postgres(tx) => {
                let done = bound!(sqlx::query(sql.postgres), binds).execute(&mut **tx).await;
                done.map(|done| done.rows_affected())
            }
        }
    }

    /// The fence of the context, which then stays as it is until the end.
    pub(crate) async fn owner(&mut self, context: &ContextName) -> Result<OwnerRow, OutboxError> {
        match self {
            Self::Sqlite(tx) => banyan_outbox::fence::read_shared(tx, context).await,
            Self::Postgres(tx) => banyan_outbox::fence::read_shared(tx, context).await,
        }
    }

    /// Puts an event into the outbox.
    pub(crate) async fn emit(&mut self, event: &NewEvent) -> Result<Emitted, OutboxError> {
        match self {
            Self::Sqlite(tx) => banyan_outbox::emit(tx, event).await,
            Self::Postgres(tx) => banyan_outbox::emit(tx, event).await,
        }
    }

    /// Commits and gives the connection back.
    pub(crate) async fn end(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(tx) => tx.commit().await,
            Self::Postgres(tx) => tx.commit().await,
        }
    }

    /// Takes everything back before it returns, also the share of the fence.
    pub(crate) async fn undo(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(tx) => tx.rollback().await,
            Self::Postgres(tx) => tx.rollback().await,
        }
    }
}

async fn open_sqlite(url: &str) -> Result<Database, sqlx::Error> {
    let options = SqliteConnectOptions::from_str(url)?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(false);
    let pool = |connections| {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_release(|connection, _| Box::pin(is_reusable(connection)))
    };
    let write = pool(1).connect_with(options.clone()).await?;
    let read = pool(CONNECTIONS_MAX).connect_with(options).await?;
    Ok(Database::Sqlite { read, write })
}

async fn open_postgres(url: &str) -> Result<Database, sqlx::Error> {
    let options =
        PgConnectOptions::from_str(url)?.application_name("messages").options(POSTGRES_LIMITS);
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(options)
        .await?;
    Ok(Database::Postgres(pool))
}

/// Whether a connection may go back to its pool: after a commit that failed (a full disk), sqlx counts the transaction
/// as open for ever.
pub(crate) async fn is_reusable<C: Connection>(connection: &mut C) -> Result<bool, sqlx::Error> {
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

fn without_password(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, rest)) => format!("..@{rest}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::SqliteConnection;

    #[tokio::test]
    async fn a_connection_whose_transaction_ended_by_itself_is_not_used_again() {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        // As a full disk does it: the database takes the transaction back, and sqlx does not notice.
        let script = "CREATE TABLE a (id INTEGER); \
                      CREATE TRIGGER t BEFORE INSERT ON a BEGIN SELECT RAISE(ROLLBACK, 'full'); END;";
        sqlx::raw_sql(script).execute(&mut connection).await.unwrap();
        let tx = connection.begin().await.unwrap();
        tx.commit().await.unwrap();
        assert!(is_reusable(&mut connection).await.unwrap());
        let mut tx = connection.begin().await.unwrap();
        sqlx::raw_sql("INSERT INTO a VALUES (1)").execute(&mut *tx).await.unwrap_err();
        drop(tx);
        assert!(!is_reusable(&mut connection).await.unwrap());
    }
}
