//! SQLite: row triggers, one writer at a time, types by value.
//!
//! What must stay true: nothing here changes settings of somebody's database file (journal mode stays
//! what it is).

use banyan_engine::{ColumnKind, JsonNumbers, PartKind, UNLIMITED, Value, ValueError};

use super::{
    Dialect, Existing, KeyRow, WriteTarget, insert_into, key_columns, on_conflict, push_hex,
    push_quoted, quoted_name, values_rows, write_to,
};
use crate::capture::{self, CaptureObject};
use crate::spec::{CaptureEvent, CaptureSpec};

pub(crate) struct Sqlite;

const CHANGE: [&str; 3] = [
    "CREATE TABLE IF NOT EXISTS by_change (seq INTEGER PRIMARY KEY AUTOINCREMENT, \
     job TEXT NOT NULL, k TEXT NOT NULL, op TEXT NOT NULL, origin TEXT, at_ms INTEGER NOT NULL \
     DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)))",
    "CREATE INDEX IF NOT EXISTS by_change_job ON by_change (job, seq)",
    "CREATE TABLE IF NOT EXISTS by_session (origin TEXT NOT NULL)",
];

const STATE: [&str; 6] = [
    "CREATE TABLE IF NOT EXISTS by_state (job TEXT NOT NULL, direction TEXT NOT NULL, \
     phase TEXT NOT NULL, cursor_key TEXT, roots_total INTEGER NOT NULL, \
     roots_done INTEGER NOT NULL, lease_holder TEXT, lease_epoch INTEGER NOT NULL, \
     lease_expires_ms INTEGER NOT NULL, \
     rows_inserted INTEGER NOT NULL, rows_updated INTEGER NOT NULL, rows_deleted INTEGER NOT NULL, \
     batches INTEGER NOT NULL, relists INTEGER NOT NULL, batch_token TEXT, applied_at_ms INTEGER, \
     PRIMARY KEY (job, direction))",
    "CREATE TABLE IF NOT EXISTS by_copy (list_name TEXT NOT NULL, k TEXT NOT NULL, \
     PRIMARY KEY (list_name, k)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS by_capture (job TEXT NOT NULL, direction TEXT NOT NULL, \
     identity TEXT NOT NULL, PRIMARY KEY (job, direction)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS by_cursor (job TEXT NOT NULL, direction TEXT NOT NULL, \
     capture INTEGER NOT NULL, position TEXT NOT NULL, PRIMARY KEY (job, direction, capture)) \
     WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS by_conflict (job TEXT NOT NULL, direction TEXT NOT NULL, \
     k TEXT NOT NULL, seen_ms INTEGER NOT NULL, PRIMARY KEY (job, direction, k)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS by_shape (job TEXT NOT NULL, direction TEXT NOT NULL, \
     side TEXT NOT NULL, table_name TEXT NOT NULL, form TEXT NOT NULL, \
     PRIMARY KEY (job, direction, side, table_name))",
];

impl Dialect for Sqlite {
    fn name(&self, name: &str) -> String {
        quoted_name(name, '"')
    }

    fn push_literal(&self, value: &Value, into: &mut String) -> Result<(), ValueError> {
        match value {
            Value::Null => into.push_str("NULL"),
            Value::Bool(truth) => into.push(if *truth { '1' } else { '0' }),
            Value::Int(number) => {
                let number =
                    i64::try_from(*number).map_err(|_| ValueError::Range { engine: "sqlite" })?;
                into.push_str(&number.to_string());
            }
            Value::Float(bits) => match f64::from_bits(*bits) {
                // SQLite would store NULL.
                number if number.is_nan() => return Err(ValueError::Range { engine: "sqlite" }),
                number if number.is_infinite() => {
                    into.push_str(if number > 0.0 { "9e999" } else { "-9e999" });
                }
                number => write_to(into, format_args!("{number:?}")),
            },
            // A statement ends at a NUL character, so such text goes as hex.
            Value::Text(text) if text.contains('\0') => {
                into.push_str("CAST(X'");
                push_hex(text.as_bytes(), into);
                into.push_str("' AS TEXT)");
            }
            Value::Text(text) => push_quoted(text, into),
            Value::Bytes(bytes) => {
                into.push_str("X'");
                push_hex(bytes, into);
                into.push('\'');
            }
        }
        Ok(())
    }

    fn key_rows(&self, rows: &[KeyRow], parts: &[PartKind]) -> Result<String, ValueError> {
        let columns = key_columns(parts).join(", ");
        let rows = values_rows(self, rows)?;
        Ok(format!("(WITH by_keys({columns}) AS (VALUES ({rows})) SELECT {columns} FROM by_keys)"))
    }

    fn row_list(&self, rows: &[String]) -> String {
        format!("VALUES ({})", rows.join("),("))
    }

    fn session_setup(&self) -> &'static [&'static str] {
        &[]
    }

    fn clock_ms(&self) -> &'static str {
        "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
    }

    fn changed_at_ms(&self) -> &'static str {
        "at_ms"
    }

    fn now_text(&self) -> &'static str {
        "strftime('%Y-%m-%d %H:%M:%f', 'now')"
    }

    // There is one writer at a time, so what is stamped and not committed is at most one transaction old: the skew's part.
    fn cursor_floor(&self, time: &str, skew_seconds: u64) -> String {
        format!("SELECT strftime('%Y-%m-%d %H:%M:%f', {time}, '-{skew_seconds} seconds')")
    }

    fn begin_snapshot(&self) -> &'static str {
        "BEGIN"
    }

    fn begin_write(&self) -> &'static str {
        "BEGIN IMMEDIATE"
    }

    fn for_share(&self) -> &'static str {
        ""
    }

    fn for_update(&self) -> &'static str {
        ""
    }

    fn change_ddl(&self) -> &'static [&'static str] {
        &CHANGE
    }

    fn change_tables(&self) -> &'static [&'static str] {
        &["by_change", "by_session"]
    }

    // The row lives inside one transaction of the only writer: nobody else ever sees it.
    fn tag(&self) -> Option<(&'static str, &'static str)> {
        Some(("INSERT INTO by_session (origin) VALUES ('banyan')", "DELETE FROM by_session"))
    }

    fn list_unique(&self, table: &str) -> String {
        let mut quoted = String::new();
        push_quoted(table, &mut quoted);
        format!(
            "SELECT l.name, i.name, 1 - t.\"notnull\" FROM pragma_index_list({quoted}) l \
             JOIN pragma_index_info(l.name) i JOIN pragma_table_info({quoted}) t ON t.name = i.name \
             WHERE l.\"unique\" = 1 AND l.partial = 0 AND l.origin <> 'pk' ORDER BY l.name, i.seqno"
        )
    }

    fn state_ddl(&self) -> &'static [&'static str] {
        &STATE
    }

    fn capture_objects(
        &self,
        job: &str,
        number: usize,
        capture: &CaptureSpec,
    ) -> Vec<CaptureObject> {
        capture.events.iter().map(|event| self.trigger(job, number, capture, *event)).collect()
    }

    fn list_triggers(&self) -> &'static str {
        "SELECT name, tbl_name, sql, rowid FROM sqlite_master \
         WHERE type = 'trigger' AND substr(name, 1, 3) = 'by_'"
    }

    fn drop_trigger(&self, trigger: &str, _table: &str) -> Vec<String> {
        vec![format!("DROP TRIGGER IF EXISTS {}", self.name(trigger))]
    }

    fn list_columns(&self, table: &str) -> String {
        let mut quoted = String::new();
        push_quoted(table, &mut quoted);
        format!("SELECT name, type FROM pragma_table_info({quoted}) ORDER BY cid")
    }

    fn table_form(&self, table: &str) -> String {
        let mut quoted = String::new();
        push_quoted(table, &mut quoted);
        // Only the collation of a key can be read; it is the one that can make two rows one.
        format!(
            "SELECT c.name, c.type, COALESCE((SELECT x.coll FROM pragma_index_list({quoted}) AS l, \
             pragma_index_xinfo(l.name) AS x WHERE l.origin = 'pk' AND x.key = 1 \
             AND x.name = c.name), ''), c.pk FROM pragma_table_info({quoted}) AS c ORDER BY c.cid"
        )
    }

    fn find_table(&self, table: &str) -> String {
        let mut quoted = String::new();
        push_quoted(table, &mut quoted);
        format!("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = {quoted}")
    }

    fn column_kind(&self, declared: &str) -> Option<ColumnKind> {
        let declared = declared.to_ascii_uppercase();
        let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
        // The order is that of SQLite's own rules of affinity, as far as they decide.
        match () {
            () if declared.is_empty() => Some(ColumnKind::Any),
            () if has(&["INT"]) => Some(ColumnKind::INTEGER),
            () if has(&["CHAR", "CLOB", "TEXT"]) => Some(ColumnKind::TEXT),
            () if has(&["BLOB"]) => Some(ColumnKind::Bytes),
            () if has(&["REAL", "FLOA", "DOUB"]) => Some(ColumnKind::Float),
            () if has(&["BOOL"]) => Some(ColumnKind::Bool),
            () if has(&["DATETIME", "TIMESTAMP"]) => {
                Some(ColumnKind::Timestamp { digits: u8::MAX })
            }
            () if has(&["DATE"]) => Some(ColumnKind::Date),
            () if has(&["TIME"]) => Some(ColumnKind::Time { digits: u8::MAX, span: true }),
            () if has(&["UUID"]) => Some(ColumnKind::Uuid),
            () if has(&["JSON"]) => Some(ColumnKind::Json { numbers: JsonNumbers::Machine }),
            // Stored as a float unless it is a whole number: fifteen digits come back.
            () if has(&["DEC", "NUMERIC"]) => {
                Some(ColumnKind::Decimal { digits: 15, scale: UNLIMITED })
            }
            // Numeric affinity: the text `007` would become the number 7.
            () => None,
        }
    }

    fn insert_ignore(&self) -> (&'static str, &'static str) {
        ("INSERT INTO", " ON CONFLICT DO NOTHING")
    }

    fn write_frame(&self, target: &WriteTarget<'_>, _existing: Existing) -> (String, String) {
        (format!("{} VALUES ", insert_into(self, target)), on_conflict(self, target))
    }

    fn upsert_names_key(&self) -> bool {
        true
    }
}

impl Sqlite {
    fn trigger(
        &self,
        job: &str,
        number: usize,
        capture: &CaptureSpec,
        event: CaptureEvent,
    ) -> CaptureObject {
        let name = capture::trigger_name(job, number, event.suffix());
        let mut keys = Vec::new();
        for image in event.images() {
            let key = capture::key_of(&capture.key, image);
            keys.push(if capture::is_select(&key) { key } else { format!("SELECT {key}") });
        }
        let body = format!(
            "INSERT INTO by_change (job, k, op, origin) \
             SELECT '{job}', q.k, '{op}', (SELECT s.origin FROM by_session s) \
             FROM (SELECT NULL AS k WHERE 0 UNION {keys}) AS q WHERE q.k IS NOT NULL;",
            op = event.op(),
            keys = keys.join(" UNION "),
        );
        let mark = capture::mark(&format!("{}{body}", capture.table));
        let create = format!(
            "CREATE TRIGGER {} AFTER {} ON {} FOR EACH ROW BEGIN {mark} {body} END",
            self.name(&name),
            event.sql(),
            self.name(&capture.table),
        );
        CaptureObject { name, table: capture.table.clone(), mark, create: vec![create] }
    }
}
