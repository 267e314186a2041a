//! Ids that a side counts by itself: the next owner's counters must be above the last owner's.
//!
//! Both sides keep the same ids for the same facts, so an id that one side gave and deleted must never be given again by the
//! other. What must stay true: a counter is only raised; reading and raising again changes nothing.

use banyan_domain::Side;

use super::ContextFence;
use crate::connection::{Connection, as_text};
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

impl ContextFence {
    /// The next id that each of these columns (`table.column`) would give.
    ///
    /// # Errors
    /// A column that counts nothing, named; no connection.
    pub async fn next_ids(&self, columns: &[&str]) -> Result<Vec<i64>, SyncError> {
        let mut at = self.borrow().await?;
        let mut next = Vec::with_capacity(columns.len());
        for column in columns {
            let (counter, free) = self.next_id(&mut at, column).await?;
            next.push(counter.max(free));
        }
        self.give_back(at).await;
        Ok(next)
    }

    /// Raises each counter so that the next id is at least this; a counter that is higher stays.
    ///
    /// # Errors
    /// A column that counts nothing, named; no connection; a table that others keep locked.
    pub async fn raise(&self, wanted: &[(&str, i64)]) -> Result<Vec<Raised>, SyncError> {
        let mut at = self.borrow().await?;
        let mut raised = Vec::with_capacity(wanted.len());
        for (column, least) in wanted {
            let (before, free) = self.next_id(&mut at, column).await?;
            let least = (*least).max(free);
            // The counter itself counts: on Postgres rows with ids of their own, as the sync brings them, do not move it.
            if before < least {
                let (table, of) = self.split(column)?;
                for sql in raise_sql(&at, table, of, least) {
                    at.run("raise an id counter", &sql).await?;
                }
            }
            raised.push(Raised { column: (*column).to_owned(), before, now: before.max(least) });
        }
        self.give_back(at).await;
        Ok(raised)
    }

    /// What the counter would give next, and the first id above all rows.
    async fn next_id(&self, at: &mut Connection, column: &str) -> Result<(i64, i64), SyncError> {
        let (table, of) = self.split(column)?;
        let sql = match at.engine() {
            Engine::Sqlite => sqlite_counter(table),
            Engine::MySql => mysql_counter(table),
            Engine::Postgres => {
                let rows = at.rows("find a sequence", postgres_sequence(at, table, of)).await?;
                let name = rows.first().and_then(|row| row.first()).and_then(as_text);
                let name = name.ok_or_else(|| self.no_counter(column, Engine::Postgres))?;
                format!("SELECT last_value + CASE WHEN is_called THEN 1 ELSE 0 END FROM {name}")
            }
        };
        let counter = at.integer("read an id counter", sql).await?;
        let counter = counter.ok_or_else(|| self.no_counter(column, at.engine()))?;
        let (of, table) = (at.dialect.name(of), at.dialect.name(table));
        let highest = format!("SELECT COALESCE(MAX({of}), 0) + 1 FROM {table}");
        let highest = at.integer("read the highest id", highest).await?.unwrap_or(1);
        Ok((counter, highest))
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
