//! The dialect layer: the same statements on SQLite and on MySQL/MariaDB.
//!
//! All columns that the mothership reads are whole numbers or text (times are cast to text in SQL), so two thin
//! backends behind one enum do; sqlx's `Any` would need another feature and hides the drivers' own errors.
//!
//! What must stay true: on SQLite every write transaction begins IMMEDIATE on the one write connection (the sync
//! writes its change table in the same file, and a deferred transaction could fail to upgrade); readers never wait.

use crate::MothershipError;
use sqlx::{
    AssertSqlSafe, ColumnIndex, Connection, Decode, Encode, Executor, IntoArguments, MySql,
    MySqlPool, Sqlite, SqlitePool, Transaction, Type,
    mysql::{MySqlConnectOptions, MySqlPoolOptions, MySqlRow},
    query::Query,
    sqlite::{
        SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
    },
};
use std::{borrow::Cow, str::FromStr, time::Duration};

const LOCK_WAIT: Duration = Duration::from_secs(5);
const CONNECTION_WAIT: Duration = Duration::from_secs(20);
const SQLITE_READERS_MAX: u32 = 8;
const MYSQL_UNKNOWN_DATABASE: u16 = 1049;

/// A statement's text: a constant, or one built from constants (never from input).
pub(crate) type Sql = Cow<'static, str>;

/// A bound value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Arg {
    Int(i64),
    Text(String),
    Null,
}

/// One of the two kinds of database.
#[derive(Debug, Clone)]
pub(crate) enum Database {
    Sqlite { read: SqlitePool, write: SqlitePool },
    Mysql(MySqlPool),
}

/// A write transaction; dropping it without `commit` rolls back.
pub(crate) enum Tx {
    Sqlite(Transaction<'static, Sqlite>),
    Mysql(Transaction<'static, MySql>),
}

/// One row of either kind.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Mysql(MySqlRow),
}

/// What a statement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Done {
    /// Rows that matched (on MySQL also those whose values stayed the same).
    pub rows: u64,
    /// The id that an insert was given.
    pub id: i64,
}

/// Something that reads rows: the database itself, or a transaction.
pub(crate) trait Reader: Send {
    fn rows(
        &mut self,
        sql: Sql,
        args: &[Arg],
    ) -> impl Future<Output = Result<Vec<Row>, MothershipError>> + Send;
}

impl Database {
    /// Opens `url` (a missing SQLite file or MySQL database is created) for about `workers` readers at a time.
    pub(crate) async fn open(url: &str, workers: u16) -> Result<Self, MothershipError> {
        if url.starts_with("sqlite:") {
            Self::open_sqlite(url, workers).await
        } else if url.starts_with("mysql:") || url.starts_with("mariadb:") {
            Self::open_mysql(url, workers).await
        } else {
            Err(MothershipError::DatabaseUrl { url: without_password(url) })
        }
    }

    async fn open_sqlite(url: &str, workers: u16) -> Result<Self, MothershipError> {
        let open_error = |source| MothershipError::Open { url: without_password(url), source };
        let options = SqliteConnectOptions::from_str(url)
            .map_err(open_error)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(LOCK_WAIT)
            .pragma("cache_size", "-16000");
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(CONNECTION_WAIT)
                .test_before_acquire(false)
        };
        let write = pool(1).after_release(|connection, _| {
            // After a commit that failed (a full disk), sqlx counts the transaction as open for ever.
            Box::pin(async move {
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        });
        let write = write.connect_with(options.clone()).await.map_err(open_error)?;
        let readers = u32::from(workers).min(SQLITE_READERS_MAX);
        let read = pool(readers).connect_with(options).await.map_err(open_error)?;
        Ok(Self::Sqlite { read, write })
    }

    async fn open_mysql(url: &str, workers: u16) -> Result<Self, MothershipError> {
        let open_error = |source| MothershipError::Open { url: without_password(url), source };
        let options = MySqlConnectOptions::from_str(&url.replacen("mariadb:", "mysql:", 1))
            .map_err(open_error)?;
        let connect = || {
            MySqlPoolOptions::new()
                .max_connections(u32::from(workers) + 2)
                .acquire_timeout(CONNECTION_WAIT)
                .connect_with(options.clone())
        };
        match connect().await {
            Ok(pool) => Ok(Self::Mysql(pool)),
            Err(error) if is_unknown_database(&error) => {
                create_mysql_database(url, &options).await?;
                Ok(Self::Mysql(connect().await.map_err(open_error)?))
            }
            Err(error) => Err(open_error(error)),
        }
    }

    /// Begins a write transaction.
    pub(crate) async fn begin(&self) -> Result<Tx, MothershipError> {
        match self {
            Self::Sqlite { write, .. } => write.begin_with("BEGIN IMMEDIATE").await.map(Tx::Sqlite),
            Self::Mysql(pool) => pool.begin().await.map(Tx::Mysql),
        }
        .map_err(MothershipError::query)
    }

    /// Runs one statement outside of a transaction: DDL.
    pub(crate) async fn define(&self, sql: Sql) -> Result<(), MothershipError> {
        let sql = AssertSqlSafe(sql);
        match self {
            Self::Sqlite { write, .. } => write.execute(sqlx::raw_sql(sql)).await.map(|_| ()),
            Self::Mysql(pool) => pool.execute(sqlx::raw_sql(sql)).await.map(|_| ()),
        }
        .map_err(MothershipError::query)
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite { read, write } => {
                read.close().await;
                write.close().await;
            }
            Self::Mysql(pool) => pool.close().await,
        }
    }
}

impl Reader for Database {
    async fn rows(&mut self, sql: Sql, args: &[Arg]) -> Result<Vec<Row>, MothershipError> {
        match self {
            Database::Sqlite { read, .. } => {
                let rows = bound::<Sqlite>(sql, args).fetch_all(&*read).await;
                rows.map(|rows| rows.into_iter().map(Row::Sqlite).collect())
            }
            Database::Mysql(pool) => {
                let rows = bound::<MySql>(sql, args).fetch_all(&*pool).await;
                rows.map(|rows| rows.into_iter().map(Row::Mysql).collect())
            }
        }
        .map_err(MothershipError::query)
    }
}

impl Reader for Tx {
    async fn rows(&mut self, sql: Sql, args: &[Arg]) -> Result<Vec<Row>, MothershipError> {
        match self {
            Self::Sqlite(tx) => {
                let rows = bound::<Sqlite>(sql, args).fetch_all(&mut **tx).await;
                rows.map(|rows| rows.into_iter().map(Row::Sqlite).collect())
            }
            Self::Mysql(tx) => {
                let rows = bound::<MySql>(sql, args).fetch_all(&mut **tx).await;
                rows.map(|rows| rows.into_iter().map(Row::Mysql).collect())
            }
        }
        .map_err(MothershipError::query)
    }
}

impl Tx {
    /// Runs a statement whose text recurs; its preparation is kept.
    pub(crate) async fn execute(
        &mut self,
        sql: Sql,
        args: &[Arg],
    ) -> Result<Done, MothershipError> {
        self.run(sql, args, Keep::Prepared).await
    }

    /// Runs a statement whose text will not recur; it must not push others out of the cache.
    pub(crate) async fn execute_once(
        &mut self,
        sql: Sql,
        args: &[Arg],
    ) -> Result<Done, MothershipError> {
        self.run(sql, args, Keep::Nothing).await
    }

    async fn run(&mut self, sql: Sql, args: &[Arg], keep: Keep) -> Result<Done, MothershipError> {
        let persistent = matches!(keep, Keep::Prepared);
        match self {
            Self::Sqlite(tx) => {
                let query = bound::<Sqlite>(sql, args).persistent(persistent);
                let done = query.execute(&mut **tx).await.map_err(MothershipError::query)?;
                Ok(Done { rows: done.rows_affected(), id: done.last_insert_rowid() })
            }
            Self::Mysql(tx) => {
                let query = bound::<MySql>(sql, args).persistent(persistent);
                let done = query.execute(&mut **tx).await.map_err(MothershipError::query)?;
                let id = i64::try_from(done.last_insert_id()).unwrap_or(i64::MAX);
                Ok(Done { rows: done.rows_affected(), id })
            }
        }
    }

    pub(crate) async fn commit(self) -> Result<(), MothershipError> {
        match self {
            Self::Sqlite(tx) => tx.commit().await,
            Self::Mysql(tx) => tx.commit().await,
        }
        .map_err(MothershipError::query)
    }
}

impl Row {
    /// Reads the columns one after the other, in the order of the statement.
    pub(crate) fn cells(&self) -> Cells<'_> {
        Cells { row: self, next: 0 }
    }
}

/// Where a row is read next.
pub(crate) struct Cells<'r> {
    row: &'r Row,
    next: usize,
}

impl Cells<'_> {
    pub(crate) fn int(&mut self) -> Result<i64, MothershipError> {
        self.cell::<i64>()
    }

    pub(crate) fn maybe_int(&mut self) -> Result<Option<i64>, MothershipError> {
        self.cell::<Option<i64>>()
    }

    pub(crate) fn text(&mut self) -> Result<String, MothershipError> {
        self.cell::<String>()
    }

    pub(crate) fn maybe_text(&mut self) -> Result<Option<String>, MothershipError> {
        self.cell::<Option<String>>()
    }

    fn cell<T>(&mut self) -> Result<T, MothershipError>
    where
        T: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, MySql> + Type<MySql>,
        usize: ColumnIndex<SqliteRow> + ColumnIndex<MySqlRow>,
    {
        let index = self.next;
        self.next += 1;
        match self.row {
            Row::Sqlite(row) => sqlx::Row::try_get(row, index),
            Row::Mysql(row) => sqlx::Row::try_get(row, index),
        }
        .map_err(MothershipError::query)
    }
}

impl From<i64> for Arg {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Arg {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Arg {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl<T: Into<Arg>> From<Option<T>> for Arg {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

enum Keep {
    Prepared,
    Nothing,
}

fn bound<'q, DB>(sql: Sql, args: &[Arg]) -> Query<'q, DB, <DB as sqlx::Database>::Arguments>
where
    DB: sqlx::Database,
    <DB as sqlx::Database>::Arguments: IntoArguments<DB>,
    i64: for<'a> Encode<'a, DB> + Type<DB>,
    String: for<'a> Encode<'a, DB> + Type<DB>,
    Option<String>: for<'a> Encode<'a, DB> + Type<DB>,
{
    args.iter().fold(sqlx::query::<DB>(AssertSqlSafe(sql)), |query, arg| match arg {
        Arg::Int(value) => query.bind(*value),
        Arg::Text(value) => query.bind(value.clone()),
        Arg::Null => query.bind(None::<String>),
    })
}

/// `?, ?, ?` for `count` values, rounded up to a power of two so that few different statements are prepared; the
/// caller repeats its last value to fill up.
pub(crate) fn padded_list(ids: &[i64]) -> (String, Vec<Arg>) {
    let size = ids.len().next_power_of_two();
    let filler = ids.last().copied().unwrap_or_default();
    let args = ids.iter().copied().chain(std::iter::repeat(filler)).take(size).map(Arg::Int);
    (vec!["?"; size].join(", "), args.collect())
}

fn is_unknown_database(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>())
        .is_some_and(|error| error.number() == MYSQL_UNKNOWN_DATABASE)
}

async fn create_mysql_database(
    url: &str,
    options: &MySqlConnectOptions,
) -> Result<(), MothershipError> {
    let name = options.get_database().unwrap_or_default().replace('`', "``");
    let sql = format!("CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4");
    let without_name = options.clone().database("");
    let create = async {
        let pool = MySqlPoolOptions::new().max_connections(1).connect_with(without_name).await?;
        pool.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await?;
        pool.close().await;
        Ok(())
    };
    create.await.map_err(|source| MothershipError::Open { url: without_password(url), source })
}

/// `mysql://root:secret@host/db` without `secret`, for messages.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let Some((credentials, place)) = rest.rsplit_once('@') else { return url.to_owned() };
    let user = credentials.split(':').next().unwrap_or_default();
    format!("{scheme}://{user}@{place}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_stay_out_of_messages() {
        assert_eq!(without_password("mysql://root:geheim@h:1/db"), "mysql://root@h:1/db");
        assert_eq!(without_password("mysql://root@h:1/db"), "mysql://root@h:1/db");
        assert_eq!(without_password("sqlite:/tmp/a.db"), "sqlite:/tmp/a.db");
    }

    #[test]
    fn lists_are_padded_to_few_sizes() {
        let (places, args) = padded_list(&[5, 6, 7]);
        assert_eq!(places, "?, ?, ?, ?");
        assert_eq!(args, [5, 6, 7, 7].map(Arg::Int));
    }

    #[tokio::test]
    async fn a_transaction_that_ended_by_itself_does_not_keep_the_write_connection() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("m.db").display());
        let database = Database::open(&url, 1).await.unwrap();
        // As a full disk does it: the database takes the transaction back, and sqlx does not notice.
        let script = "CREATE TABLE a (id INTEGER); CREATE TABLE b (id INTEGER); \
                      CREATE TRIGGER t BEFORE INSERT ON a BEGIN SELECT RAISE(ROLLBACK, 'full'); END;";
        database.define(script.into()).await.unwrap();
        let mut tx = database.begin().await.unwrap();
        tx.execute("INSERT INTO a VALUES (1)".into(), &[]).await.unwrap_err();
        drop(tx);
        let mut tx = database.begin().await.unwrap();
        tx.execute("INSERT INTO b VALUES (1)".into(), &[]).await.unwrap();
        tx.commit().await.unwrap();
        database.close().await;
    }

    #[tokio::test]
    async fn unknown_kinds_of_database_are_refused_with_a_hint() {
        let error = Database::open("postgres://u:p@h/db", 1).await.unwrap_err().to_string();
        assert!(error.contains("postgres://u@h/db") && error.contains("hint"), "{error}");
    }
}
