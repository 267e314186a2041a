//! What a job is: root, capture, mapping, limits. Built by the command line from `banyan.toml`.
//!
//! The mapping is SQL, so that any change of model is possible and the database does the work. It is
//! written by the operator and trusted like the configuration; row data never becomes SQL text other
//! than through a dialect's literal.
//!
//! What must stay true: `JobSpec::check` reports all problems at once and accepts nothing that the
//! engine could misread (a select without a key placeholder would read whole tables per chunk).

use std::fmt;
use std::time::Duration;

use banyan_domain::{ContextName, Side};
use banyan_engine::{DriftPolicy, KeyShape, ZeroDate};

use crate::capture::is_select;
use crate::select;

/// One sync job.
#[derive(Debug, Clone)]
pub struct JobSpec {
    /// Name of the job: lower-case letters, digits, `-` and `_`, at most 32, starts with a letter.
    /// It becomes part of the trigger names `by_<job>_<n>_...`.
    pub name: String,
    /// The context whose data this is.
    pub context: String,
    /// What the aggregate is called in messages, e.g. `conversation`.
    pub root: String,
    /// Whether `banyan serve` drains changes continuously.
    pub follow: bool,
    /// How changes are learnt.
    pub mode: CaptureMode,
    /// The parts of a root key, for selects that need indexable columns.
    pub key: KeyShape,
    /// How to enumerate all root keys, one per side that can be the source.
    pub roots: Vec<RootsSpec>,
    /// Which table changes make which root dirty.
    pub captures: Vec<CaptureSpec>,
    /// The target's tables, parents before children.
    pub tables: Vec<TableSpec>,
    /// Sizes and waits.
    pub limits: Limits,
    /// What becomes of values that do not fit, and of tables that change.
    pub rules: Rules,
}

/// What becomes of values that a column cannot store as they are, and of tables that change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// What MySQL's zero dates become.
    pub zero_date: ZeroDate,
    /// Columns (table, column) whose values may be rounded to the target's digits.
    pub round: Vec<(String, String)>,
    /// With which changes of its tables the job goes on.
    pub drift: DriftPolicy,
}

impl Rules {
    /// Whether values of this column may be rounded.
    pub(crate) fn rounds(&self, table: &str, column: &str) -> bool {
        self.rounded_of(table).any(|name| name == column)
    }

    /// The columns of this table whose values may be rounded.
    pub(crate) fn rounded_of(&self, table: &str) -> impl Iterator<Item = &str> {
        let of_table = self.round.iter().filter(move |(of, _)| of == table);
        of_table.map(|(_, column)| column.as_str())
    }
}

/// How to enumerate the root keys of one side.
#[derive(Debug, Clone)]
pub struct RootsSpec {
    /// The side that is read.
    pub side: Side,
    /// A select with one column named `k`, each key at least once, e.g. `SELECT id AS k FROM users`.
    /// It is run once per listing (the keys go to a work list on the target), so it needs no paging.
    pub select: String,
}

/// One captured table.
#[derive(Debug, Clone)]
pub struct CaptureSpec {
    /// The side the table is on.
    pub side: Side,
    /// The table.
    pub table: String,
    /// Root key of the changed row `{row}`: an expression, or a `SELECT` of one column that gives
    /// several keys. NULL means no root is affected.
    pub key: String,
    /// The captured events; all three unless some cannot affect a root.
    pub events: Vec<CaptureEvent>,
    /// How to find changed rows without triggers, in mode [`CaptureMode::Cursor`].
    pub cursor: Option<CursorSpec>,
}

/// A column that tells when a row was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorSpec {
    /// The column; needs an index with the id behind it.
    pub column: String,
    /// The table's primary key, one column.
    pub id: String,
    /// How far behind its commit a row may be stamped: application servers' clocks differ. Rows of so many last seconds are
    /// read again each time.
    pub skew_seconds: u64,
}

/// How a job learns of changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum CaptureMode {
    /// By triggers: every change, at once.
    #[default]
    Trigger,
    /// By columns that tell when a row was changed, and by sweeps for deletes and for updates that leave the column alone. Needs
    /// no right to make anything on the source.
    Cursor,
    /// By comparing everything in each run. For small tables.
    Sweep,
}

/// A row event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CaptureEvent {
    /// A row was inserted.
    Insert,
    /// A row was updated; the roots of the row before and after are marked.
    Update,
    /// A row was deleted.
    Delete,
}

/// One target table of the aggregate.
#[derive(Debug, Clone)]
pub struct TableSpec {
    /// The side the table is on: the target.
    pub to: Side,
    /// The table, with `schema.` if needed.
    pub name: String,
    /// Its primary key.
    pub key: Vec<String>,
    /// The column (in the select and in the table) that holds the root key.
    pub root_column: String,
    /// Rows of the given roots, read from the source, named like the target's columns. Placeholders:
    /// `{keys}` list of keys as text, `{keys.N}` list of their N-th parts, `{key_rows}` a derived
    /// table with columns `k`, `k1`, `k2`, ...
    pub select: String,
    /// The same rows as they are, read from the target with the same placeholders and in the same columns, for a table
    /// that has no root column. Columns that the table does not have are then compared and not written.
    pub current: Option<String>,
    /// Columns that are written with a new row and afterwards left as they are.
    pub keep: Vec<KeepSpec>,
    /// Whether a row may belong to several aggregates: then it is never deleted.
    pub shared: bool,
}

/// A column that keeps its value on the target, because the source does not know it exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeepSpec {
    /// The column: written with a new row, never compared.
    pub column: String,
    /// It is also written when this column of the selects differs.
    pub unless: Option<String>,
}

/// Sizes and waits of a job.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Root keys of the first chunk; the size then follows `chunk_target`.
    pub keys_per_chunk: usize,
    /// Root keys per chunk at most.
    pub keys_per_chunk_max: usize,
    /// Change rows per drain batch at most.
    pub changes_per_batch: usize,
    /// Bytes of rows in memory per chunk and side; a heavier chunk is halved.
    pub bytes_per_chunk: usize,
    /// Bytes of one aggregate that cannot be halved; above it the job fails and names the key.
    pub bytes_per_aggregate: usize,
    /// How long one chunk should take.
    pub chunk_target: Duration,
    /// Wait after a poll that found nothing; unless set 50 ms on SQLite, 100 ms elsewhere.
    pub idle_wait: Option<Duration>,
    /// How long a lease lives without renewal, so how long a crashed worker blocks the next one.
    pub lease_ttl: Duration,
    /// Failures in a row after which `--once` gives up.
    pub once_tries: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            keys_per_chunk: 500,
            keys_per_chunk_max: 4_000,
            changes_per_batch: 4_000,
            bytes_per_chunk: 16 << 20,
            bytes_per_aggregate: 256 << 20,
            chunk_target: Duration::from_millis(500),
            idle_wait: None,
            lease_ttl: Duration::from_secs(5),
            once_tries: 6,
        }
    }
}

/// All problems of one job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct SpecError {
    /// The job.
    pub job: String,
    /// The problems, in the order of the file.
    pub problems: Vec<SpecProblem>,
}

/// One problem of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecProblem {
    /// The place inside the job, e.g. `table people, select`.
    pub place: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run job `{}` as configured: ", self.job)?;
        for (at, problem) in self.problems.iter().enumerate() {
            let comma = if at == 0 { "" } else { "; " };
            write!(f, "{comma}{}: {}", problem.place, problem.message)?;
        }
        Ok(())
    }
}

impl CaptureEvent {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Insert, Self::Update, Self::Delete];
}

impl JobSpec {
    /// Whether the job can run toward `to`, by its text alone.
    ///
    /// # Errors
    /// [`SpecError`] with all problems.
    pub fn check(&self, to: Side) -> Result<(), SpecError> {
        let mut problems = Problems(Vec::new());
        self.check_name(&mut problems);
        self.check_context(&mut problems);
        self.check_source(to.other(), &mut problems);
        self.check_tables(to, &mut problems);
        let has_cursor = self.captures_on(to.other()).any(|(_, capture)| capture.cursor.is_some());
        if self.mode == CaptureMode::Cursor && !has_cursor {
            problems.add("capture", "mode `cursor` needs `cursor = \"updated_at\"` in a capture");
        }
        if problems.0.is_empty() {
            return Ok(());
        }
        Err(SpecError { job: self.name.clone(), problems: problems.0 })
    }

    /// The tables of the target side, parents first.
    pub(crate) fn tables_to(&self, to: Side) -> impl Iterator<Item = &TableSpec> {
        self.tables.iter().filter(move |table| table.to == to)
    }

    /// Whether the other direction is described too: then a write on the target's side is noticed.
    pub fn is_two_way(&self) -> bool {
        self.mode == CaptureMode::Trigger
            && [Side::Legacy, Side::New].into_iter().all(|side| {
                self.captures_on(side).next().is_some() && self.tables_to(side).next().is_some()
            })
    }

    /// The captures of the source side, with their number in trigger names.
    pub(crate) fn captures_on(&self, side: Side) -> impl Iterator<Item = (usize, &CaptureSpec)> {
        let on_side = self.captures.iter().filter(move |capture| capture.side == side);
        on_side.enumerate().map(|(at, capture)| (at + 1, capture))
    }

    /// The select that lists the root keys of a side.
    pub(crate) fn roots_of(&self, side: Side) -> Option<&str> {
        let roots = self.roots.iter().find(|roots| roots.side == side)?;
        Some(roots.select.trim().trim_end_matches(';'))
    }

    fn check_name(&self, problems: &mut Problems) {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        let starts = self.name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        if !starts || self.name.len() > 32 || !self.name.bytes().all(legal) {
            problems.add(
                "job",
                "must be a-z, 0-9, `-`, `_`, start with a letter, and have at most 32 characters",
            );
        }
    }

    /// The context's name stands in the statements of its fence.
    fn check_context(&self, problems: &mut Problems) {
        if let Err(error) = ContextName::new(&self.context) {
            problems.add("context", error.to_string());
        }
    }

    fn check_source(&self, from: Side, problems: &mut Problems) {
        if self.roots_of(from).is_none_or(str::is_empty) {
            problems.add("roots", format!("no select lists the roots of side `{}`", from.as_str()));
        }
        if self.mode != CaptureMode::Sweep && self.captures_on(from).next().is_none() {
            problems.add("capture", format!("no table of side `{}` is captured", from.as_str()));
        }
        for (_, capture) in self.captures_on(from) {
            let place = format!("capture {}", capture.table);
            if !capture.key.contains("{row}") {
                problems.add(&place, "`key` must use `{row}`, e.g. `{row}.id`");
            }
            if self.mode == CaptureMode::Cursor
                && capture.cursor.is_some()
                && is_select(&capture.key)
            {
                problems.add(&place, "a `key` of a cursor must be an expression, not a SELECT");
            }
            if capture.events.is_empty() {
                problems.add(&place, "`events` must name insert, update or delete");
            }
        }
    }

    fn check_tables(&self, to: Side, problems: &mut Problems) {
        if self.tables_to(to).next().is_none() {
            problems.add("table", format!("no table goes to side `{}`", to.as_str()));
        }
        for table in self.tables_to(to) {
            let place = format!("table {}", table.name);
            if table.key.is_empty() {
                problems.add(&place, "`key` must name the primary key's columns");
            }
            for message in select::problems(&table.select, &self.key) {
                problems.add(&format!("{place}, select"), message);
            }
            for message in table.current.iter().flat_map(|sql| select::problems(sql, &self.key)) {
                problems.add(&format!("{place}, current"), message);
            }
            if table.current.is_some() && self.roots_of(to).is_none_or(str::is_empty) {
                let side = to.as_str();
                problems.add("roots", format!("no select lists the roots of side `{side}`"));
            }
            for keep in &table.keep {
                let is_key = |column: &String| table.key.contains(column);
                if is_key(&keep.column) || keep.column == table.root_column {
                    let column = &keep.column;
                    problems.add(&place, format!("`keep` must not name key column `{column}`"));
                }
            }
        }
    }
}

struct Problems(Vec<SpecProblem>);

impl Problems {
    fn add(&mut self, place: &str, message: impl Into<String>) {
        self.0.push(SpecProblem { place: place.to_owned(), message: message.into() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_of_a_job_are_reported_at_once() {
        let job = JobSpec {
            name: "Bad name".to_owned(),
            context: "messages".to_owned(),
            root: "user".to_owned(),
            follow: false,
            mode: CaptureMode::Trigger,
            key: KeyShape::new(":", vec![]),
            roots: vec![],
            captures: vec![CaptureSpec {
                side: Side::Legacy,
                table: "users".to_owned(),
                key: "id".to_owned(),
                events: vec![],
                cursor: None,
            }],
            tables: vec![TableSpec {
                to: Side::New,
                name: "people".to_owned(),
                key: vec![],
                root_column: "id".to_owned(),
                select: "SELECT id FROM users WHERE id IN ({keys.1})".to_owned(),
                current: None,
                keep: vec![],
                shared: false,
            }],
            limits: Limits::default(),
            rules: Rules::default(),
        };
        let places: Vec<String> =
            job.check(Side::New).unwrap_err().problems.into_iter().map(|p| p.place).collect();
        assert_eq!(
            places,
            [
                "job",
                "roots",
                "capture users",
                "capture users",
                "table people",
                "table people, select"
            ]
        );
    }
}
