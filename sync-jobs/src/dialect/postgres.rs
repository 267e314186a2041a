//! Postgres: statement triggers with transition tables, row locks, strict types.
//!
//! Values other than integers are written as quoted literals of unknown type, which Postgres reads in the
//! type of their column; so one rule serves every type.
//!
//! What must stay true: `standard_conforming_strings` is on, else a backslash could end a literal.

use banyan_engine::{ColumnKind, JsonNumbers, PartKind, TextLimit, UNLIMITED, Value, ValueError};

use super::declared::Declared;
use super::{
    Dialect, Existing, KeyRow, WriteTarget, insert_into, key_columns, on_conflict, push_hex,
    push_quoted, quoted_name, values_rows, write_to,
};
use crate::capture::{self, CaptureObject};
use crate::spec::{CaptureEvent, CaptureSpec};

pub(crate) struct Postgres;

const SESSION: [&str; 1] = ["SET TIME ZONE 'UTC'; SET standard_conforming_strings = on; \
     SET DateStyle = 'ISO, YMD'; SET bytea_output = 'hex'; SET extra_float_digits = 1; \
     SET lock_timeout = '5s'; SET idle_in_transaction_session_timeout = '120s'; \
     SET by.origin = 'banyan'"];

const CHANGE: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS by_change (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
     job text NOT NULL, k text NOT NULL, op char(1) NOT NULL, \
     origin text DEFAULT current_setting('by.origin', true), \
     at timestamptz NOT NULL DEFAULT clock_timestamp()) \
     WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000)",
    "CREATE INDEX IF NOT EXISTS by_change_job ON by_change (job, seq)",
];

const STATE: [&str; 6] = [
    "CREATE TABLE IF NOT EXISTS by_state (job text NOT NULL, direction text NOT NULL, \
     phase text NOT NULL, cursor_key text COLLATE \"C\", roots_total bigint NOT NULL, \
     roots_done bigint NOT NULL, lease_holder text, lease_epoch bigint NOT NULL, \
     lease_expires_ms bigint NOT NULL, \
     rows_inserted bigint NOT NULL, rows_updated bigint NOT NULL, rows_deleted bigint NOT NULL, \
     batches bigint NOT NULL, relists bigint NOT NULL, batch_token text, applied_at_ms bigint, \
     PRIMARY KEY (job, direction))",
    "CREATE TABLE IF NOT EXISTS by_copy (list_name text NOT NULL, k text COLLATE \"C\" NOT NULL, \
     PRIMARY KEY (list_name, k))",
    "CREATE TABLE IF NOT EXISTS by_capture (job text NOT NULL, direction text NOT NULL, \
     identity text NOT NULL, PRIMARY KEY (job, direction))",
    "CREATE TABLE IF NOT EXISTS by_cursor (job text NOT NULL, direction text NOT NULL, \
     capture bigint NOT NULL, position text NOT NULL, PRIMARY KEY (job, direction, capture))",
    "CREATE TABLE IF NOT EXISTS by_conflict (job text NOT NULL, direction text NOT NULL, \
     k text COLLATE \"C\" NOT NULL, seen_ms bigint NOT NULL, PRIMARY KEY (job, direction, k))",
    "CREATE TABLE IF NOT EXISTS by_shape (job text NOT NULL, direction text NOT NULL, \
     side text NOT NULL, table_name text NOT NULL, form text NOT NULL, \
     PRIMARY KEY (job, direction, side, table_name))",
];

impl Dialect for Postgres {
    fn name(&self, name: &str) -> String {
        quoted_name(name, '"')
    }

    fn push_literal(&self, value: &Value, into: &mut String) -> Result<(), ValueError> {
        match value {
            Value::Null => into.push_str("NULL"),
            Value::Bool(truth) => into.push_str(if *truth { "'t'" } else { "'f'" }),
            // Bare, so that the parts of a key compare with integer columns.
            Value::Int(number) => into.push_str(&number.to_string()),
            Value::Float(bits) => {
                write_to(into, format_args!("'{:?}'", f64::from_bits(*bits)));
            }
            Value::Text(text) if text.contains('\0') => {
                return Err(ValueError::Nul { engine: "postgres" });
            }
            Value::Text(text) => push_quoted(text, into),
            Value::Bytes(bytes) => {
                into.push_str("'\\x");
                push_hex(bytes, into);
                into.push('\'');
            }
        }
        Ok(())
    }

    fn key_rows(&self, rows: &[KeyRow], parts: &[PartKind]) -> Result<String, ValueError> {
        let columns: Vec<String> = key_columns(parts)
            .iter()
            .enumerate()
            .map(|(at, name)| format!("column{} AS {name}", at + 1))
            .collect();
        let rows = values_rows(self, rows)?;
        Ok(format!("(SELECT {} FROM (VALUES ({rows})) AS v)", columns.join(", ")))
    }

    fn session_setup(&self) -> &'static [&'static str] {
        &SESSION
    }

    fn clock_ms(&self) -> &'static str {
        "CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS bigint)"
    }

    fn changed_at_ms(&self) -> &'static str {
        "CAST(floor(extract(epoch FROM at) * 1000) AS bigint)"
    }

    fn now_text(&self) -> &'static str {
        "clock_timestamp()"
    }

    fn cursor_floor(&self, time: &str, skew_seconds: u64) -> String {
        format!(
            "SELECT (LEAST({time}::timestamp, (SELECT min(xact_start)::timestamp \
             FROM pg_stat_activity WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid() \
             AND backend_type = 'client backend')) - interval '{skew_seconds} seconds')::text"
        )
    }

    fn begin_snapshot(&self) -> &'static str {
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    }

    fn begin_write(&self) -> &'static str {
        "BEGIN ISOLATION LEVEL READ COMMITTED"
    }

    fn for_share(&self) -> &'static str {
        " FOR SHARE"
    }

    fn for_update(&self) -> &'static str {
        " FOR UPDATE"
    }

    fn change_ddl(&self) -> &'static [&'static str] {
        &CHANGE
    }

    fn list_unique(&self, table: &str) -> String {
        let mut quoted = String::new();
        push_quoted(&self.name(table), &mut quoted);
        format!(
            "SELECT c.relname::text, a.attname::text, (NOT a.attnotnull)::int FROM pg_index i \
             JOIN pg_class c ON c.oid = i.indexrelid \
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) \
             WHERE i.indrelid = to_regclass({quoted}) AND i.indisunique AND NOT i.indisprimary \
             AND i.indexprs IS NULL AND i.indpred IS NULL ORDER BY 1, 2"
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
        let mut objects: Vec<CaptureObject> =
            capture.events.iter().map(|event| self.trigger(job, number, capture, *event)).collect();
        if capture.events.contains(&CaptureEvent::Delete) {
            objects.push(self.truncate_trigger(job, number, capture));
        }
        objects
    }

    fn list_triggers(&self) -> &'static str {
        "SELECT t.tgname::text, c.relname::text, CASE WHEN t.tgenabled = 'A' THEN p.prosrc ELSE '' END, \
         concat(t.oid, '.', t.xmin, '.', p.xmin) FROM pg_trigger t \
         JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid \
         WHERE NOT t.tgisinternal AND left(t.tgname::text, 3) = 'by_'"
    }

    fn drop_trigger(&self, trigger: &str, table: &str) -> Vec<String> {
        let name = self.name(trigger);
        vec![
            format!("DROP TRIGGER IF EXISTS {name} ON {}", self.name(table)),
            format!("DROP FUNCTION IF EXISTS {name}()"),
        ]
    }

    fn list_columns(&self, table: &str) -> String {
        let mut quoted = String::new();
        push_quoted(&self.name(table), &mut quoted);
        format!(
            "SELECT a.attname::text, CASE t.typtype WHEN 'e' THEN 'enum' \
             WHEN 'd' THEN format_type(t.typbasetype, t.typtypmod) \
             ELSE format_type(a.atttypid, a.atttypmod) END \
             FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = to_regclass({quoted}) AND a.attnum > 0 AND NOT a.attisdropped \
             ORDER BY a.attnum"
        )
    }

    fn table_form(&self, table: &str) -> String {
        let mut quoted = String::new();
        push_quoted(&self.name(table), &mut quoted);
        format!(
            "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), \
             COALESCE(l.collname::text, ''), COALESCE(array_position(i.indkey::int2[], a.attnum), -1) + 1 \
             FROM pg_attribute a LEFT JOIN pg_collation l ON l.oid = a.attcollation \
             LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary \
             WHERE a.attrelid = to_regclass({quoted}) AND a.attnum > 0 AND NOT a.attisdropped \
             ORDER BY a.attnum"
        )
    }

    fn find_table(&self, table: &str) -> String {
        let mut quoted = String::new();
        push_quoted(&self.name(table), &mut quoted);
        format!("SELECT 1 WHERE to_regclass({quoted}) IS NOT NULL")
    }

    fn column_kind(&self, declared: &str) -> Option<ColumnKind> {
        let declared = Declared::parse(declared);
        let integer = |bits| Some(ColumnKind::Integer { bits, unsigned: false });
        match declared.name.as_str() {
            "smallint" => integer(16),
            "integer" => integer(32),
            "bigint" => integer(64),
            "numeric" => {
                let digits = declared.number(0, UNLIMITED)?;
                let scale = declared.number(1, if digits == UNLIMITED { UNLIMITED } else { 0 })?;
                Some(ColumnKind::Decimal { digits, scale })
            }
            "real" => Some(ColumnKind::Real),
            "double precision" => Some(ColumnKind::Float),
            "boolean" => Some(ColumnKind::Bool),
            "text" | "enum" => Some(ColumnKind::TEXT),
            name if name.rsplit('.').next() == Some("citext") => Some(ColumnKind::TEXT),
            "character varying" if declared.numbers.is_empty() => Some(ColumnKind::TEXT),
            "character varying" => {
                Some(ColumnKind::Text { limit: TextLimit::Chars(declared.number(0, 0)?) })
            }
            "name" => Some(ColumnKind::Text { limit: TextLimit::Bytes(63) }),
            "character" | "bpchar" => {
                Some(ColumnKind::Char { length: declared.number(0, UNLIMITED)? })
            }
            "bytea" => Some(ColumnKind::Bytes),
            "timestamp without time zone" | "timestamp with time zone" => {
                Some(ColumnKind::Timestamp { digits: declared.number(0, 6)? })
            }
            "date" => Some(ColumnKind::Date),
            "time without time zone" => {
                Some(ColumnKind::Time { digits: declared.number(0, 6)?, span: false })
            }
            "uuid" => Some(ColumnKind::Uuid),
            "json" | "jsonb" => Some(ColumnKind::Json { numbers: JsonNumbers::Exact }),
            "bit" => match declared.number(0, 1)? {
                length @ 1..=64 => Some(ColumnKind::Bits { length }),
                _ => None,
            },
            _ => None,
        }
    }

    fn insert_ignore(&self) -> (&'static str, &'static str) {
        ("INSERT INTO", " ON CONFLICT DO NOTHING")
    }

    fn write_frame(&self, target: &WriteTarget<'_>, _existing: Existing) -> (String, String) {
        let insert = insert_into(self, target);
        (format!("{insert} OVERRIDING SYSTEM VALUE VALUES "), on_conflict(self, target))
    }

    fn copy_into(&self, target: &WriteTarget<'_>) -> Option<String> {
        let columns: Vec<String> = target.columns.iter().map(|c| self.name(c)).collect();
        Some(format!("COPY {} ({}) FROM STDIN", self.name(target.table), columns.join(", ")))
    }

    fn push_copied(&self, value: &Value, into: &mut String) -> Result<(), ValueError> {
        match value {
            Value::Null => into.push_str("\\N"),
            Value::Bool(truth) => into.push(if *truth { 't' } else { 'f' }),
            Value::Int(number) => write_to(into, format_args!("{number}")),
            Value::Float(bits) => write_to(into, format_args!("{:?}", f64::from_bits(*bits))),
            Value::Text(text) if text.contains('\0') => {
                return Err(ValueError::Nul { engine: "postgres" });
            }
            Value::Text(text) => push_escaped(text, into),
            Value::Bytes(bytes) => {
                into.push_str("\\\\x");
                push_hex(bytes, into);
            }
        }
        Ok(())
    }

    fn upsert_names_key(&self) -> bool {
        true
    }
}

/// Appends text for COPY: what could end a value, a row or the input is escaped.
fn push_escaped(text: &str, into: &mut String) {
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(['\\', '\t', '\n', '\r']) {
        into.push_str(before);
        into.push_str(match rest.as_bytes().get(before.len()) {
            Some(b'\t') => "\\t",
            Some(b'\n') => "\\n",
            Some(b'\r') => "\\r",
            Some(_) | None => "\\\\",
        });
        rest = after;
    }
    into.push_str(rest);
}

impl Postgres {
    fn trigger(
        &self,
        job: &str,
        number: usize,
        capture: &CaptureSpec,
        event: CaptureEvent,
    ) -> CaptureObject {
        let mut keys = Vec::new();
        let mut referencing = String::from("REFERENCING");
        for image in event.images() {
            let table = format!("by_{}", image.to_lowercase());
            write_to(&mut referencing, format_args!(" {image} TABLE AS {table}"));
            let key = capture::key_of(&capture.key, "by_row");
            keys.push(if capture::is_select(&key) {
                format!(
                    "SELECT s.k::text AS k FROM {table} AS by_row CROSS JOIN LATERAL ({key}) AS s(k)"
                )
            } else {
                format!("SELECT ({key})::text AS k FROM {table} AS by_row")
            });
        }
        let body = format!(
            "INSERT INTO by_change (job, k, op) SELECT '{job}', q.k, '{op}' FROM ({keys}) AS q \
             WHERE q.k IS NOT NULL;",
            op = event.op(),
            // UNION also coalesces: one change row per root and statement.
            keys = if keys.len() == 1 {
                keys.concat().replacen("SELECT", "SELECT DISTINCT", 1)
            } else {
                keys.join(" UNION ")
            },
        );
        self.object(job, number, capture, (event.suffix(), event.sql(), &referencing), &body)
    }

    /// A `TRUNCATE` names no rows: the job lists its roots again.
    fn truncate_trigger(&self, job: &str, number: usize, capture: &CaptureSpec) -> CaptureObject {
        let body = format!("INSERT INTO by_change (job, k, op) VALUES ('{job}', '*', 'T');");
        self.object(job, number, capture, ("at", "TRUNCATE", ""), &body)
    }

    fn object(
        &self,
        job: &str,
        number: usize,
        capture: &CaptureSpec,
        (suffix, event, referencing): (&str, &str, &str),
        body: &str,
    ) -> CaptureObject {
        let name = capture::trigger_name(job, number, suffix);
        let mark = capture::mark(&format!("{}{body}", capture.table));
        let quoted = self.name(&name);
        let table = self.name(&capture.table);
        // SECURITY DEFINER: the application's login needs no right on by_change.
        let function = format!(
            "CREATE OR REPLACE FUNCTION {quoted}() RETURNS trigger LANGUAGE plpgsql \
             SECURITY DEFINER SET search_path FROM CURRENT AS $by$ BEGIN {mark} {body} \
             RETURN NULL; END $by$"
        );
        let trigger = format!(
            "CREATE TRIGGER {quoted} AFTER {event} ON {table} {referencing} \
             FOR EACH STATEMENT EXECUTE FUNCTION {quoted}()"
        );
        let always = format!("ALTER TABLE {table} ENABLE ALWAYS TRIGGER {quoted}");
        CaptureObject {
            name,
            table: capture.table.clone(),
            mark,
            create: vec![function, trigger, always],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copied_values_cannot_end_their_row_and_null_is_no_text() {
        let copied = |value: Value| {
            let mut text = String::new();
            Postgres.push_copied(&value, &mut text).unwrap();
            text
        };
        let text = |text: &str| copied(Value::Text(text.to_owned()));
        assert_eq!(copied(Value::Null), r"\N");
        assert_eq!(text(r"\N"), r"\\N");
        assert_eq!(text(r"\."), r"\\.");
        assert_eq!(text("a\tb\nc\rd\\"), r"a\tb\nc\rd\\");
        assert_eq!(text("é'\""), "é'\"");
        assert_eq!(copied(Value::Bytes(vec![0xab])), r"\\xAB");
        assert!(Postgres.push_copied(&Value::Text("\0".to_owned()), &mut String::new()).is_err());
    }
}
