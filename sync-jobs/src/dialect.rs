//! What the three database engines say differently; everything else in this crate is common SQL.
//!
//! Statements are text with literals, sent by the simple protocol: one code path for three engines, and
//! every value comes back in the engine's own text form, decimals and times included. The price is
//! that literals must be right; they are written here only and never hold a backslash escape.
//!
//! What must stay true: a literal reads back as the value it was made of, whatever characters it has;
//! names are quoted; each object that the toolkit makes in a user's database starts with `by_`.

mod declared;
mod mysql;
mod postgres;
mod sqlite;

use std::fmt::{self, Write as _};

use banyan_engine::{ColumnKind, KeyPart, PartKind, RootKey, Value, ValueError};

use crate::capture::CaptureObject;
use crate::spec::CaptureSpec;

/// The origin of marks that the sync's own writes make on the other side.
pub(crate) const ORIGIN: &str = "banyan";
/// The condition of marks that an application's write made.
pub(crate) const FOREIGN: &str = "(origin IS NULL OR origin <> 'banyan')";
/// Longest statement that is written at once; SQLite refuses a million bytes.
pub(crate) const STATEMENT_BYTES_MAX: usize = 400_000;

/// A supported database engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Engine {
    /// SQLite 3.35 or later.
    Sqlite,
    /// PostgreSQL 12 or later.
    Postgres,
    /// MariaDB 10.6 or later, MySQL 8.0.4 or later.
    MySql,
}

impl Engine {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Sqlite, Self::Postgres, Self::MySql];

    /// The engine as a word of the output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
        }
    }

    /// What the engine says differently.
    pub(crate) fn dialect(self) -> &'static dyn Dialect {
        match self {
            Self::Sqlite => &sqlite::Sqlite,
            Self::Postgres => &postgres::Postgres,
            Self::MySql => &mysql::MySql,
        }
    }
}

/// One row write: the table, its columns, and which of them are the primary key.
pub(crate) struct WriteTarget<'a> {
    pub(crate) table: &'a str,
    pub(crate) columns: Vec<&'a str>,
    pub(crate) key: Vec<&'a str>,
}

/// A root key with its parts.
pub(crate) struct KeyRow {
    pub(crate) key: RootKey,
    pub(crate) parts: Vec<KeyPart>,
}

impl KeyRow {
    /// The key and its parts as values.
    pub(crate) fn values(&self) -> impl Iterator<Item = Value> {
        let key = Value::Text(self.key.as_str().to_owned());
        std::iter::once(key).chain(self.parts.iter().map(part_value))
    }
}

/// A key's part as a value.
pub(crate) fn part_value(part: &KeyPart) -> Value {
    match part {
        KeyPart::Integer(number) => Value::Int(i128::from(*number)),
        KeyPart::Text(text) => Value::Text(text.clone()),
    }
}

/// `k`, `k1`, `k2`, ..
fn key_columns(parts: &[PartKind]) -> Vec<String> {
    let parts = (1..=parts.len()).map(|n| format!("k{n}"));
    std::iter::once("k".to_owned()).chain(parts).collect()
}

/// The rows of a `VALUES`, without its first and last parenthesis.
fn values_rows(dialect: &dyn Dialect, rows: &[KeyRow]) -> Result<String, ValueError> {
    let mut text = String::new();
    for (at, row) in rows.iter().enumerate() {
        if at > 0 {
            text.push_str("),(");
        }
        for (column, value) in row.values().enumerate() {
            if column > 0 {
                text.push(',');
            }
            dialect.push_literal(&value, &mut text)?;
        }
    }
    Ok(text)
}

/// Whether the rows of an upsert may exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// The rows are not there by primary key.
    No,
    /// The rows may be there by primary key.
    Maybe,
}

/// One engine.
pub(crate) trait Dialect: Send + Sync {
    /// A quoted name; dots separate schema and table.
    fn name(&self, name: &str) -> String;
    /// Appends the value as a literal.
    fn push_literal(&self, value: &Value, into: &mut String) -> Result<(), ValueError>;
    /// A derived table with columns `k`, `k1`, `k2`, .. of these keys.
    fn key_rows(&self, rows: &[KeyRow], parts: &[PartKind]) -> Result<String, ValueError>;
    /// What stands in `(a, b) IN (..)` for these rows of literals.
    fn row_list(&self, rows: &[String]) -> String {
        format!("({})", rows.join("),("))
    }
    /// A root column as the text of a key.
    fn as_key(&self, column: &str) -> String {
        format!("CAST({column} AS TEXT)")
    }
    /// Statements that prepare a fresh connection.
    fn session_setup(&self) -> &'static [&'static str];
    /// The clock in Unix milliseconds, as an expression.
    fn clock_ms(&self) -> &'static str;
    /// `by_change.at` in Unix milliseconds, as an expression.
    fn changed_at_ms(&self) -> &'static str;
    /// This moment as text of a time column, as an expression.
    fn now_text(&self) -> &'static str;
    /// The earlier of a time and the start of the oldest open transaction of others, less some seconds, as text.
    fn cursor_floor(&self, time: &str, skew_seconds: u64) -> String;
    /// Starts a read-only snapshot.
    fn begin_snapshot(&self) -> &'static str;
    /// Starts a writing transaction that sees what others committed.
    fn begin_write(&self) -> &'static str;
    /// What keeps the read rows from being changed by others, if the engine locks rows.
    fn for_share(&self) -> &'static str;
    /// What locks the read rows, if the engine locks rows.
    fn for_update(&self) -> &'static str;
    /// Deletes exactly these marks, and waits for nobody who writes others.
    fn delete_marks(&self, seqs: &[i64]) -> String {
        let list: Vec<String> = seqs.iter().map(i64::to_string).collect();
        format!("DELETE FROM by_change WHERE seq IN ({})", list.join(","))
    }
    /// DDL of the change table and what belongs to it.
    fn change_ddl(&self) -> &'static [&'static str];
    /// The tables that [`Dialect::change_ddl`] makes.
    fn change_tables(&self) -> &'static [&'static str] {
        &["by_change"]
    }
    /// Start and end of a transaction whose marks must carry [`ORIGIN`], where no session variable does it.
    fn tag(&self) -> Option<(&'static str, &'static str)> {
        None
    }
    /// Lists a table's unique keys beside the primary key: name of the key, column, 1 if that may be NULL.
    fn list_unique(&self, table: &str) -> String;
    /// DDL of the checkpoint and work-list tables.
    fn state_ddl(&self) -> &'static [&'static str];
    /// Triggers of one capture.
    fn capture_objects(
        &self,
        job: &str,
        number: usize,
        capture: &CaptureSpec,
    ) -> Vec<CaptureObject>;
    /// Lists triggers whose names start with `by_`: name, table, text, and what changes when it is made anew or was off.
    fn list_triggers(&self) -> &'static str;
    /// Drops a trigger of ours by name.
    fn drop_trigger(&self, trigger: &str, table: &str) -> Vec<String>;
    /// Lists a table's columns: name, declared type with its sizes.
    fn list_columns(&self, table: &str) -> String;
    /// Lists a table's columns as they are declared: name, type, collation, place in the primary key.
    fn table_form(&self, table: &str) -> String;
    /// Whether a table of the current schema exists: one row if so.
    fn find_table(&self, table: &str) -> String;
    /// What a declared type stores; `None` if it is not supported.
    fn column_kind(&self, declared: &str) -> Option<ColumnKind>;
    /// A column of this kind as an expression that shows its value exactly.
    fn exact(&self, column: &str, _kind: ColumnKind) -> String {
        self.name(column)
    }
    /// Start and end of an insert that ignores rows which are there: `(INSERT .. INTO, ..)`.
    fn insert_ignore(&self) -> (&'static str, &'static str);
    /// Start and end of a multi-row write.
    fn write_frame(&self, target: &WriteTarget<'_>, existing: Existing) -> (String, String);
    /// Starts a bulk write of new rows that refuses rows which are there, if the engine has one; values go as
    /// [`Dialect::push_copied`] writes them, tabs between them, a line feed behind each row.
    fn copy_into(&self, _target: &WriteTarget<'_>) -> Option<String> {
        None
    }
    /// Appends the value as text of a bulk write.
    fn push_copied(&self, value: &Value, into: &mut String) -> Result<(), ValueError> {
        self.push_literal(value, into)
    }
    /// Whether an upsert can say that it means the primary key and no other unique key.
    fn upsert_names_key(&self) -> bool;
}

/// Appends text in quotes, quotes doubled; right where backslash is no escape character.
fn push_quoted(text: &str, into: &mut String) {
    into.push('\'');
    for (at, piece) in text.split('\'').enumerate() {
        if at > 0 {
            into.push_str("''");
        }
        into.push_str(piece);
    }
    into.push('\'');
}

/// Appends bytes as hex digits.
fn push_hex(bytes: &[u8], into: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        into.push(char::from(DIGITS[usize::from(byte >> 4)]));
        into.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// Appends formatted text.
pub(crate) fn write_to(into: &mut String, text: fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    if into.write_fmt(text).is_err() {
        debug_assert!(false, "a String takes all text");
    }
}

/// Quotes each dotted part of a name.
fn quoted_name(name: &str, quote: char) -> String {
    let double: String = [quote, quote].iter().collect();
    let parts: Vec<String> = name
        .split('.')
        .map(|part| format!("{quote}{}{quote}", part.replace(quote, &double)))
        .collect();
    parts.join(".")
}

/// The start of an insert with a column list, in this dialect's quoting.
fn insert_into(dialect: &dyn Dialect, target: &WriteTarget<'_>) -> String {
    let columns: Vec<String> = target.columns.iter().map(|c| dialect.name(c)).collect();
    format!("INSERT INTO {} ({})", dialect.name(target.table), columns.join(", "))
}

/// `ON CONFLICT (key) DO UPDATE SET ..`, as SQLite and Postgres say it.
fn on_conflict(dialect: &dyn Dialect, target: &WriteTarget<'_>) -> String {
    let key: Vec<String> = target.key.iter().map(|c| dialect.name(c)).collect();
    let sets: Vec<String> = target
        .columns
        .iter()
        .filter(|column| !target.key.contains(column))
        .map(|column| format!("{0} = excluded.{0}", dialect.name(column)))
        .collect();
    if sets.is_empty() {
        return format!(" ON CONFLICT ({}) DO NOTHING", key.join(", "));
    }
    format!(" ON CONFLICT ({}) DO UPDATE SET {}", key.join(", "), sets.join(", "))
}
