//! The three engines behind one face: MySQL or MariaDB, Postgres, SQLite.
//!
//! Owns the translation of statement texts and the two ways to run one. It exists so that every statement of this crate
//! is written once, in a text with `?`, `{now}` and `{share}`, and so that [`emit`](crate::emit()) works in the
//! application's own sqlx transaction.
//!
//! What must stay true: the database's clock is the only clock (relays on several machines agree on it); a result is
//! read only up to a limit of bytes.

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use sqlx::mysql::{MySql, MySqlRow};
use sqlx::postgres::{PgRow, Postgres};
use sqlx::sqlite::{Sqlite, SqliteRow};
use sqlx::{AssertSqlSafe, FromRow};

/// Which SQL a database speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// MySQL 8 and MariaDB 10.5 or later.
    MySql,
    /// Postgres 12 or later.
    Postgres,
    /// SQLite 3.42 or later.
    Sqlite,
}

/// A value for a `?`.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub enum Bind<'a> {
    Number(i64),
    MaybeNumber(Option<i64>),
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// A row type that every engine can fill.
#[doc(hidden)]
pub trait AnyRow:
    for<'r> FromRow<'r, MySqlRow>
    + for<'r> FromRow<'r, PgRow>
    + for<'r> FromRow<'r, SqliteRow>
    + Send
    + Unpin
{
    /// What the row costs in memory; only rows with bodies say more than nothing.
    fn weight_bytes(&self) -> usize {
        0
    }
}

impl AnyRow for (i64,) {}
impl AnyRow for (String,) {}

/// An engine: `sqlx::MySql`, `sqlx::Postgres` or `sqlx::Sqlite`.
#[async_trait]
pub trait Engine: sqlx::Database {
    /// Its dialect.
    const DIALECT: Dialect;

    /// Runs a statement; answers how many rows it touched.
    #[doc(hidden)]
    async fn run(
        connection: &mut Self::Connection,
        sql: &str,
        binds: &[Bind<'_>],
    ) -> Result<u64, sqlx::Error>;

    /// Rows of a query, up to the first that makes them weigh `bytes_max`.
    #[doc(hidden)]
    async fn rows<T: AnyRow>(
        connection: &mut Self::Connection,
        sql: &str,
        binds: &[Bind<'_>],
        bytes_max: usize,
    ) -> Result<Vec<T>, sqlx::Error>;
}

/// All rows of a query whose result is small.
pub(crate) async fn all<DB: Engine, T: AnyRow>(
    connection: &mut DB::Connection,
    sql: &str,
    binds: &[Bind<'_>],
) -> Result<Vec<T>, sqlx::Error> {
    DB::rows(connection, sql, binds, usize::MAX).await
}

/// The row of a query that has one at most.
pub(crate) async fn one<DB: Engine, T: AnyRow>(
    connection: &mut DB::Connection,
    sql: &str,
    binds: &[Bind<'_>],
) -> Result<Option<T>, sqlx::Error> {
    Ok(all::<DB, T>(connection, sql, binds).await?.into_iter().next())
}

/// A count as databases keep it; ours are counted one by one and never get there.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Whole numbers as the text between the brackets of `IN (..)`; at least one.
pub(crate) fn id_list(ids: &[i64]) -> String {
    ids.iter().map(i64::to_string).collect::<Vec<_>>().join(",")
}

/// A statement on exactly these rows of the outbox: `set` is what it sets, `None` deletes them; at least one id.
///
/// MySQL and MariaDB read the whole table for a list of ids when they believe that it has few rows, and a change then waits
/// for every open transaction that has emitted. A join in a fixed order finds each row by its key, whatever they believe.
pub(crate) fn by_ids(dialect: Dialect, set: Option<&str>, ids: &[i64]) -> String {
    if dialect == Dialect::MySql {
        let ids: Vec<String> = ids.iter().map(|id| format!("SELECT {id} AS id")).collect();
        let joined = format!(
            "({}) AS ids STRAIGHT_JOIN banyan_outbox FORCE INDEX (PRIMARY) ON banyan_outbox.id = ids.id",
            ids.join(" UNION ALL ")
        );
        return match set {
            Some(set) => format!("UPDATE {joined} SET {set}"),
            None => format!("DELETE banyan_outbox FROM {joined}"),
        };
    }
    let ids = id_list(ids);
    match set {
        Some(set) => format!("UPDATE banyan_outbox SET {set} WHERE id IN ({ids})"),
        None => format!("DELETE FROM banyan_outbox WHERE id IN ({ids})"),
    }
}

/// Whether a text has such a list: it never comes again, so preparing it for reuse would only fill the cache.
fn has_ids(sql: &str) -> bool {
    ["id IN (", "id NOT IN (", "AS ids STRAIGHT_JOIN"].iter().any(|list| sql.contains(list))
}

impl Dialect {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MySql => "mysql",
            Self::Postgres => "postgres",
            Self::Sqlite => "sqlite",
        }
    }

    /// Begins a transaction that is going to write.
    pub(crate) const fn begin_write(self) -> &'static str {
        match self {
            Self::MySql => "START TRANSACTION",
            Self::Postgres => "BEGIN",
            Self::Sqlite => "BEGIN IMMEDIATE",
        }
    }

    /// An insert that does nothing when the row is there already.
    pub(crate) fn insert_new(self, into: &str) -> String {
        match self {
            // IGNORE also cuts texts that are too long: callers check lengths first.
            Self::MySql => format!("INSERT IGNORE INTO {into}"),
            Self::Postgres | Self::Sqlite => format!("INSERT INTO {into} ON CONFLICT DO NOTHING"),
        }
    }

    /// The text that this dialect understands.
    fn translate(self, sql: &str) -> String {
        let sql = sql.replace("{now}", self.clock_ms()).replace("{share}", self.share());
        match self {
            Self::MySql | Self::Sqlite => sql,
            Self::Postgres => number_placeholders(&sql),
        }
    }

    /// The database's clock in Unix milliseconds.
    const fn clock_ms(self) -> &'static str {
        match self {
            Self::MySql => "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)",
            Self::Postgres => "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
            Self::Sqlite => "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
        }
    }

    /// Keeps the read row from being changed by others until the transaction ends.
    const fn share(self) -> &'static str {
        match self {
            // MySQL 8 knows FOR SHARE, MariaDB does not; both know this.
            Self::MySql => "LOCK IN SHARE MODE",
            Self::Postgres => "FOR SHARE",
            // A transaction that wrote holds the whole database; one that only read cannot write after a change.
            Self::Sqlite => "",
        }
    }
}

/// Turns each `?` into `$1`, `$2` and so on; no statement of this crate has one inside a literal.
fn number_placeholders(sql: &str) -> String {
    let mut parts = sql.split('?');
    let mut numbered = parts.next().unwrap_or_default().to_owned();
    for (at, part) in parts.enumerate() {
        numbered.push('$');
        numbered.push_str(&(at + 1).to_string());
        numbered.push_str(part);
    }
    numbered
}

macro_rules! engine {
    ($engine:ty, $dialect:expr) => {
        #[async_trait]
        impl Engine for $engine {
            const DIALECT: Dialect = $dialect;

            async fn run(
                connection: &mut <$engine as sqlx::Database>::Connection,
                sql: &str,
                binds: &[Bind<'_>],
            ) -> Result<u64, sqlx::Error> {
                let query = sqlx::query(AssertSqlSafe($dialect.translate(sql)));
                let query = binds.iter().fold(query, |query, bind| match *bind {
                    Bind::Number(number) => query.bind(number),
                    Bind::MaybeNumber(number) => query.bind(number),
                    Bind::Text(text) => query.bind(text),
                    Bind::Bytes(bytes) => query.bind(bytes),
                });
                let query = query.persistent(!has_ids(sql));
                query.execute(connection).await.map(|done| done.rows_affected())
            }

            async fn rows<T: AnyRow>(
                connection: &mut <$engine as sqlx::Database>::Connection,
                sql: &str,
                binds: &[Bind<'_>],
                bytes_max: usize,
            ) -> Result<Vec<T>, sqlx::Error> {
                let query = sqlx::query_as(AssertSqlSafe($dialect.translate(sql)));
                let query = binds.iter().fold(query, |query, bind| match *bind {
                    Bind::Number(number) => query.bind(number),
                    Bind::MaybeNumber(number) => query.bind(number),
                    Bind::Text(text) => query.bind(text),
                    Bind::Bytes(bytes) => query.bind(bytes),
                });
                let mut found = query.persistent(!has_ids(sql)).fetch(connection);
                let (mut rows, mut bytes) = (Vec::new(), 0);
                while let Some(row) = found.try_next().await? {
                    bytes += T::weight_bytes(&row);
                    rows.push(row);
                    if bytes >= bytes_max {
                        break;
                    }
                }
                Ok(rows)
            }
        }
    };
}

engine!(MySql, Dialect::MySql);
engine!(Postgres, Dialect::Postgres);
engine!(Sqlite, Dialect::Sqlite);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_serves_every_dialect() {
        let sql = "SELECT a FROM t WHERE b = ? AND c < {now} - ? {share}";
        assert_eq!(
            Dialect::Postgres.translate(sql),
            "SELECT a FROM t WHERE b = $1 AND c < \
             CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) - $2 FOR SHARE"
        );
        assert!(Dialect::MySql.translate(sql).ends_with("- ? LOCK IN SHARE MODE"));
        assert!(Dialect::Sqlite.translate(sql).ends_with("- ? "));
    }
}
