//! Ids that a side counts by itself: the next owner's counters must be above the last owner's.
//!
//! Both sides keep the same ids for the same facts, so an id that one side gave and deleted must never be given again by the
//! other. What must stay true: a counter is only raised; reading and raising again changes nothing.

use banyan_domain::Side;

use super::ContextFence;
use crate::connection::{Connection, as_integer, as_text};
use crate::dialect::Engine;
use crate::error::SyncError;

/// Two columns with ids of the same things, each `table.column`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequencePair {
    /// The monolith's.
    pub legacy: String,
    /// The service's.
    pub new: String,
}

/// What a counter said, and what the rows say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdCounter {
    /// The column whose counter it is, `table.column`.
    pub column: String,
    /// The id that it would give next.
    pub counter: i64,
    /// The first id above all rows.
    pub free: i64,
}

/// What became of one counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raised {
    /// The column whose counter it is.
    pub column: String,
    /// The next id before.
    pub before: i64,
    /// The next id now.
    pub now: i64,
}

impl SequencePair {
    /// The column on a side.
    pub fn of(&self, side: Side) -> &str {
        match side {
            Side::Legacy => &self.legacy,
            Side::New => &self.new,
        }
    }
}

impl IdCounter {
    /// The least id that nothing has had.
    pub fn next(&self) -> i64 {
        self.counter.max(self.free)
    }
}

impl ContextFence {
    /// The counters of these columns (`table.column`).
    ///
    /// # Errors
    /// A column that counts nothing, named; no connection.
    pub async fn id_counters(&self, columns: &[&str]) -> Result<Vec<IdCounter>, SyncError> {
        let mut at = self.borrow().await?;
        let mut counters = Vec::with_capacity(columns.len());
        for column in columns {
            counters.push(self.id_counter(&mut at, column).await?);
        }
        self.give_back(at).await;
        Ok(counters)
    }

    /// Raises each counter so that its next id is at least this; one that is higher stays. They were read just before, while
    /// nobody writes on this side.
    ///
    /// # Errors
    /// No connection; a table that others keep locked.
    pub async fn raise(&self, wanted: &[(IdCounter, i64)]) -> Result<Vec<Raised>, SyncError> {
        let mut raised = Vec::with_capacity(wanted.len());
        let mut kept = None;
        for (IdCounter { column, counter, free }, least) in wanted {
            let (before, least) = (*counter, (*least).max(*free));
            // The counter itself counts: on Postgres rows with ids of their own, as the sync brings them, do not move it.
            if before < least {
                let mut at = match kept.take() {
                    Some(at) => at,
                    None => self.borrow().await?,
                };
                let (table, of) = self.split(column)?;
                for sql in raise_sql(&at, table, of, least) {
                    at.run("raise an id counter", &sql).await?;
                }
                kept = Some(at);
            }
            raised.push(Raised { column: column.clone(), before, now: before.max(least) });
        }
        if let Some(at) = kept {
            self.give_back(at).await;
        }
        Ok(raised)
    }

    async fn id_counter(&self, at: &mut Connection, column: &str) -> Result<IdCounter, SyncError> {
        let (table, of) = self.split(column)?;
        let counter = match at.engine() {
            Engine::Sqlite => sqlite_counter(table),
            Engine::MySql => mysql_counter(table),
            Engine::Postgres => {
                let rows = at.rows("find a sequence", postgres_sequence(at, table, of)).await?;
                let name = rows.first().and_then(|row| row.first()).and_then(as_text);
                let name = name.ok_or_else(|| self.no_counter(column, Engine::Postgres))?;
                format!("SELECT last_value + CASE WHEN is_called THEN 1 ELSE 0 END FROM {name}")
            }
        };
        let (of, table) = (at.dialect.name(of), at.dialect.name(table));
        let sql = format!("SELECT ({counter}), (SELECT COALESCE(MAX({of}), 0) + 1 FROM {table})");
        let rows = at.rows("read an id counter", sql).await?;
        let number = |at: usize| rows.first().and_then(|row| row.get(at)).and_then(as_integer);
        let counter = number(0).ok_or_else(|| self.no_counter(column, at.engine()))?;
        Ok(IdCounter { column: column.to_owned(), counter, free: number(1).unwrap_or(1) })
    }

    fn split<'a>(&self, column: &'a str) -> Result<(&'a str, &'a str), SyncError> {
        column
            .rsplit_once('.')
            .filter(|(table, of)| !table.is_empty() && !of.is_empty())
            .ok_or_else(|| SyncError::Sequence {
                side: self.side,
                column: column.to_owned(),
                why: "it must be written as table.column".to_owned(),
            })
    }

    fn no_counter(&self, column: &str, engine: Engine) -> SyncError {
        let why = match engine {
            Engine::Sqlite => {
                "the column is not INTEGER PRIMARY KEY AUTOINCREMENT, so deleted ids are given again"
            }
            Engine::Postgres => "the column has neither an identity nor a sequence of its own",
            Engine::MySql => "the table has no AUTO_INCREMENT",
        };
        SyncError::Sequence { side: self.side, column: column.to_owned(), why: why.to_owned() }
    }
}

fn quoted(text: &str) -> String {
    text.replace('\'', "''")
}

/// The next id as the counter says; no row when there is none. A table that never had a row has no counter row yet.
fn sqlite_counter(table: &str) -> String {
    format!(
        "SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = '{0}'), 0) + 1 FROM sqlite_master \
         WHERE type = 'table' AND name = '{0}' AND upper(sql) LIKE '%AUTOINCREMENT%'",
        quoted(table)
    )
}

/// The next id as the counter says; NULL when there is none.
fn mysql_counter(table: &str) -> String {
    let (schema, table) = match table.split_once('.') {
        Some((schema, table)) => (format!("'{}'", quoted(schema)), table),
        None => ("DATABASE()".to_owned(), table),
    };
    format!(
        "SELECT AUTO_INCREMENT FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = '{}'",
        quoted(table)
    )
}

/// The name of the sequence behind an identity or serial column, quoted as needed; NULL when there is none.
fn postgres_sequence(at: &Connection, table: &str, column: &str) -> String {
    format!(
        "SELECT pg_get_serial_sequence('{}', '{}')",
        quoted(&at.dialect.name(table)),
        quoted(column)
    )
}

fn raise_sql(at: &Connection, table: &str, column: &str, least: i64) -> Vec<String> {
    let name = at.dialect.name(table);
    match at.engine() {
        Engine::Sqlite => {
            let (table, last) = (quoted(table), least - 1);
            vec![
                format!(
                    "UPDATE sqlite_sequence SET seq = {last} WHERE name = '{table}' AND seq < {last}"
                ),
                format!(
                    "INSERT INTO sqlite_sequence (name, seq) SELECT '{table}', {last} \
                     WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = '{table}')"
                ),
            ]
        }
        Engine::Postgres => {
            vec![format!(
                "SELECT setval(pg_get_serial_sequence('{}', '{}'), {least}, false)",
                quoted(&name),
                quoted(column)
            )]
        }
        Engine::MySql => vec![format!("ALTER TABLE {name} AUTO_INCREMENT = {least}")],
    }
}
