//! MariaDB and MySQL: row triggers, gap locks, sessions with settings.
//!
//! Text goes as `_utf8mb4 X'..'`, so no setting of the server can turn data into SQL. Plain ASCII text, which
//! means the same under every setting, goes between quotes: half the bytes, and nothing to decode.
//!
//! What must stay true: an upsert is used only for rows known by primary key, because
//! `ON DUPLICATE KEY UPDATE` matches any unique key; `REPLACE` is never used, it deletes children.

use banyan_engine::{ColumnKind, JsonNumbers, KeyPart, PartKind, TextLimit, Value, ValueError};

use super::declared::Declared;
use super::{Dialect, Existing, KeyRow, WriteTarget, insert_into, push_hex, quoted_name, write_to};
use crate::capture::{self, CaptureObject};
use crate::spec::{CaptureEvent, CaptureSpec};

pub(crate) struct MySql;

const KEY_TEXT: &str = "VARCHAR(512) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";

const SESSION: [&str; 4] = [
    // An address may name another character set; literals and results are UTF-8.
    "SET NAMES utf8mb4",
    // NO_AUTO_VALUE_ON_ZERO: else a row with the key 0 would get another key.
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,PIPES_AS_CONCAT,\
     NO_AUTO_VALUE_ON_ZERO', \
     SESSION time_zone = '+00:00', SESSION innodb_lock_wait_timeout = 5, SESSION lock_wait_timeout = 5 \
     /*!80000 , SESSION information_schema_stats_expiry = 0 */",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "SET @by_origin = 'banyan'",
];

const CHANGE: [&str; 1] = ["CREATE TABLE IF NOT EXISTS by_change (\
     seq BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, job VARCHAR(32) NOT NULL, \
     k VARBINARY(512) NOT NULL, op CHAR(1) NOT NULL, origin VARCHAR(32) NULL, \
     at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), KEY by_change_job (job, seq)) \
     ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4"];

const STATE: [&str; 6] = [
    "CREATE TABLE IF NOT EXISTS by_state (job VARCHAR(32) NOT NULL, \
     direction VARCHAR(8) NOT NULL, phase VARCHAR(16) NOT NULL, cursor_key VARBINARY(512), \
     roots_total BIGINT NOT NULL, roots_done BIGINT NOT NULL, lease_holder VARCHAR(128), \
     lease_epoch BIGINT NOT NULL, lease_expires_ms BIGINT NOT NULL, \
     rows_inserted BIGINT NOT NULL, rows_updated BIGINT NOT NULL, \
     rows_deleted BIGINT NOT NULL, batches BIGINT NOT NULL, relists BIGINT NOT NULL, batch_token VARCHAR(128), \
     applied_at_ms BIGINT, PRIMARY KEY (job, direction)) \
     ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4",
    "CREATE TABLE IF NOT EXISTS by_copy (list_name VARCHAR(96) NOT NULL, \
     k VARBINARY(512) NOT NULL, PRIMARY KEY (list_name, k)) \
     ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4",
    "CREATE TABLE IF NOT EXISTS by_capture (job VARCHAR(32) NOT NULL, \
     direction VARCHAR(8) NOT NULL, identity VARCHAR(64) NOT NULL, PRIMARY KEY (job, direction)) \
     ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4",
    "CREATE TABLE IF NOT EXISTS by_cursor (job VARCHAR(32) NOT NULL, \
     direction VARCHAR(8) NOT NULL, capture BIGINT NOT NULL, position VARCHAR(64) NOT NULL, \
     PRIMARY KEY (job, direction, capture)) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4",
    "CREATE TABLE IF NOT EXISTS by_conflict (job VARCHAR(32) NOT NULL, \
     direction VARCHAR(8) NOT NULL, k VARBINARY(512) NOT NULL, seen_ms BIGINT NOT NULL, \
     PRIMARY KEY (job, direction, k)) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4",
    "CREATE TABLE IF NOT EXISTS by_shape (job VARCHAR(32) NOT NULL, direction VARCHAR(8) NOT NULL, \
     side VARCHAR(8) NOT NULL, table_name VARCHAR(192) NOT NULL, form LONGTEXT NOT NULL, \
     PRIMARY KEY (job, direction, side, table_name)) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 \
     COLLATE utf8mb4_bin",
];

impl Dialect for MySql {
    fn name(&self, name: &str) -> String {
        quoted_name(name, '`')
    }

    fn push_literal(&self, value: &Value, into: &mut String) -> Result<(), ValueError> {
        match value {
            Value::Null => into.push_str("NULL"),
            Value::Bool(truth) => into.push(if *truth { '1' } else { '0' }),
            Value::Int(number) => into.push_str(&number.to_string()),
            Value::Float(bits) => match f64::from_bits(*bits) {
                number if number.is_finite() => write_to(into, format_args!("{number:e}")),
                _ => return Err(ValueError::Range { engine: "mysql" }),
            },
            Value::Text(text) if is_plain(text) => {
                into.push('\'');
                into.push_str(text);
                into.push('\'');
            }
            Value::Text(text) => {
                into.push_str("_utf8mb4 X'");
                push_hex(text.as_bytes(), into);
                into.push('\'');
            }
            Value::Bytes(bytes) => {
                into.push_str("X'");
                push_hex(bytes, into);
                into.push('\'');
            }
        }
        Ok(())
    }

    fn key_rows(&self, rows: &[KeyRow], parts: &[PartKind]) -> Result<String, ValueError> {
        // VALUES differs between MySQL and MariaDB, and thousands of UNION ALL overrun the stack.
        let json: Vec<serde_json::Value> = rows.iter().map(json_row).collect();
        let mut columns = vec![format!("k {KEY_TEXT} PATH '$[0]'")];
        for (at, part) in parts.iter().enumerate() {
            let declared = match part {
                PartKind::Integer => "BIGINT",
                PartKind::Text => KEY_TEXT,
            };
            columns.push(format!("k{0} {declared} PATH '$[{0}]'", at + 1));
        }
        let mut rows = String::new();
        self.push_literal(&Value::Text(serde_json::Value::Array(json).to_string()), &mut rows)?;
        Ok(format!(
            "(SELECT * FROM JSON_TABLE({rows}, '$[*]' COLUMNS ({})) AS by_keys)",
            columns.join(", ")
        ))
    }

    fn as_key(&self, column: &str) -> String {
        format!("CAST({column} AS CHAR)")
    }

    fn session_setup(&self) -> &'static [&'static str] {
        &SESSION
    }

    fn clock_ms(&self) -> &'static str {
        "CAST(FLOOR(UNIX_TIMESTAMP(NOW(6)) * 1000) AS SIGNED)"
    }

    fn changed_at_ms(&self) -> &'static str {
        "CAST(FLOOR(UNIX_TIMESTAMP(at) * 1000) AS SIGNED)"
    }

    fn now_text(&self) -> &'static str {
        "UTC_TIMESTAMP(6)"
    }

    // `trx_started` is shown in the server's zone, whatever the session's is.
    fn cursor_floor(&self, time: &str, skew_seconds: u64) -> String {
        format!(
            "SELECT CAST(LEAST(CAST({time} AS DATETIME(6)), COALESCE((SELECT \
             UTC_TIMESTAMP() - INTERVAL MAX(TIMESTAMPDIFF(SECOND, CONVERT_TZ(trx_started, 'SYSTEM', @@session.time_zone), SYSDATE())) + 1 SECOND \
             FROM information_schema.INNODB_TRX WHERE trx_mysql_thread_id <> CONNECTION_ID()), \
             CAST({time} AS DATETIME(6)))) - INTERVAL {skew_seconds} SECOND AS CHAR)"
        )
    }

    /// For a list of numbers it reads the whole table when it believes that it has few rows, as of a queue it does, and then
    /// waits for every open transaction that has marked something. A join in a fixed order finds each row by its key.
    fn delete_marks(&self, seqs: &[i64]) -> String {
        let list: Vec<String> = seqs.iter().map(|seq| format!("SELECT {seq} AS seq")).collect();
        format!(
            "DELETE by_change FROM ({}) AS done STRAIGHT_JOIN by_change FORCE INDEX (PRIMARY) ON by_change.seq = done.seq",
            list.join(" UNION ALL ")
        )
    }

    fn begin_snapshot(&self) -> &'static str {
        "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
    }

    fn begin_write(&self) -> &'static str {
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION"
    }

    fn for_share(&self) -> &'static str {
        " LOCK IN SHARE MODE"
    }

    fn for_update(&self) -> &'static str {
        " FOR UPDATE"
    }

    fn change_ddl(&self) -> &'static [&'static str] {
        &CHANGE
    }

    fn list_unique(&self, table: &str) -> String {
        format!(
            "SELECT INDEX_NAME, COLUMN_NAME, NULLABLE = 'YES' FROM information_schema.STATISTICS WHERE {} \
             AND NON_UNIQUE = 0 AND INDEX_NAME <> 'PRIMARY' ORDER BY INDEX_NAME, SEQ_IN_INDEX",
            in_schema(table)
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
        "SELECT TRIGGER_NAME, EVENT_OBJECT_TABLE, ACTION_STATEMENT, CAST(CREATED AS CHAR) \
         FROM information_schema.TRIGGERS \
         WHERE TRIGGER_SCHEMA = DATABASE() AND LEFT(TRIGGER_NAME, 3) = 'by_'"
    }

    fn drop_trigger(&self, trigger: &str, _table: &str) -> Vec<String> {
        vec![format!("DROP TRIGGER IF EXISTS {}", self.name(trigger))]
    }

    fn list_columns(&self, table: &str) -> String {
        format!(
            "SELECT COLUMN_NAME, COLUMN_TYPE FROM information_schema.COLUMNS WHERE {} \
             ORDER BY ORDINAL_POSITION",
            in_schema(table)
        )
    }

    fn table_form(&self, table: &str) -> String {
        format!(
            "SELECT c.COLUMN_NAME, c.COLUMN_TYPE, COALESCE(c.COLLATION_NAME, ''), \
             COALESCE(k.ORDINAL_POSITION, 0) FROM information_schema.COLUMNS c \
             LEFT JOIN information_schema.KEY_COLUMN_USAGE k ON k.CONSTRAINT_NAME = 'PRIMARY' \
             AND k.TABLE_SCHEMA = c.TABLE_SCHEMA AND k.TABLE_NAME = c.TABLE_NAME \
             AND k.COLUMN_NAME = c.COLUMN_NAME WHERE {} ORDER BY c.ORDINAL_POSITION",
            in_schema(table).replace("TABLE_", "c.TABLE_")
        )
    }

    fn find_table(&self, table: &str) -> String {
        format!("SELECT 1 FROM information_schema.TABLES WHERE {}", in_schema(table))
    }

    fn column_kind(&self, declared: &str) -> Option<ColumnKind> {
        let declared = Declared::parse(declared);
        let unsigned = declared.name.contains("unsigned");
        let integer = |bits| Some(ColumnKind::Integer { bits, unsigned });
        let text = |bytes| Some(ColumnKind::Text { limit: TextLimit::Bytes(bytes) });
        match declared.word() {
            "tinyint" => integer(8),
            "smallint" => integer(16),
            "mediumint" => integer(24),
            "int" => integer(32),
            "bigint" => integer(64),
            "bit" => Some(ColumnKind::Integer { bits: declared.number(0, 1)?, unsigned: true }),
            "year" => Some(ColumnKind::Year),
            "decimal" => {
                let (digits, scale) = (declared.number(0, 10)?, declared.number(1, 0)?);
                Some(ColumnKind::Decimal { digits, scale })
            }
            // With a number of digits these round in a way of their own.
            "float" if declared.numbers.is_empty() => Some(ColumnKind::Real),
            "double" if declared.numbers.is_empty() => Some(ColumnKind::Float),
            "char" => Some(ColumnKind::Char { length: declared.number(0, 1)? }),
            "varchar" => {
                Some(ColumnKind::Text { limit: TextLimit::Chars(declared.number(0, u32::MAX)?) })
            }
            "tinytext" => text(255),
            "text" => text(65_535),
            "mediumtext" => text(16_777_215),
            "longtext" => text(u32::MAX),
            "enum" => Some(ColumnKind::TEXT),
            "set" => Some(ColumnKind::Set),
            "binary" => Some(ColumnKind::Binary { length: declared.number(0, 1)? }),
            "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
                Some(ColumnKind::Bytes)
            }
            "datetime" | "timestamp" => {
                Some(ColumnKind::Timestamp { digits: declared.number(0, 0)? })
            }
            "date" => Some(ColumnKind::Date),
            "time" => Some(ColumnKind::Time { digits: declared.number(0, 0)?, span: true }),
            "uuid" => Some(ColumnKind::Uuid),
            "json" => Some(ColumnKind::Json { numbers: JsonNumbers::Machine }),
            _ => None,
        }
    }

    fn exact(&self, column: &str, kind: ColumnKind) -> String {
        let name = self.name(column);
        // A FLOAT is shown with six digits; as a double it is shown with all of them.
        if kind == ColumnKind::Real { format!("{name} + 0e0") } else { name }
    }

    fn insert_ignore(&self) -> (&'static str, &'static str) {
        ("INSERT IGNORE INTO", "")
    }

    fn write_frame(&self, target: &WriteTarget<'_>, existing: Existing) -> (String, String) {
        let insert = format!("{} VALUES ", insert_into(self, target));
        let end = match existing {
            Existing::No => String::new(),
            Existing::Maybe => {
                let sets: Vec<String> = target
                    .columns
                    .iter()
                    .map(|column| format!("{0} = VALUES({0})", self.name(column)))
                    .collect();
                format!(" ON DUPLICATE KEY UPDATE {}", sets.join(", "))
            }
        };
        (insert, end)
    }

    fn upsert_names_key(&self) -> bool {
        false
    }
}

impl MySql {
    fn trigger(
        &self,
        job: &str,
        number: usize,
        capture: &CaptureSpec,
        event: CaptureEvent,
    ) -> CaptureObject {
        let name = capture::trigger_name(job, number, event.suffix());
        let body = if capture::is_select(&capture.key) {
            select_body(job, capture, event)
        } else {
            expression_body(job, capture, event)
        };
        let mark = capture::mark(&format!("{}{body}", capture.table));
        let create = format!(
            "CREATE TRIGGER {} AFTER {} ON {} FOR EACH ROW BEGIN {body} {mark} END",
            self.name(&name),
            event.sql(),
            self.name(&capture.table),
        );
        CaptureObject { name, table: capture.table.clone(), mark, create: vec![create] }
    }
}

/// Whether text is printable ASCII without quote and backslash.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'\'' && byte != b'\\')
}

/// One key per row image, held in a variable: no derived table, no lock beyond the insert.
fn expression_body(job: &str, capture: &CaptureSpec, event: CaptureEvent) -> String {
    let mut declare = String::new();
    let mut act = String::new();
    for (at, image) in event.images().iter().enumerate() {
        let key = capture::key_of(&capture.key, image);
        write_to(&mut declare, format_args!("DECLARE by_k{at} VARBINARY(512); "));
        let differs = if at == 0 { "" } else { " AND NOT (by_k0 <=> by_k1)" };
        write_to(
            &mut act,
            format_args!(
                "SET by_k{at} = {key}; IF by_k{at} IS NOT NULL{differs} THEN \
             INSERT INTO by_change (job, k, op, origin) \
             VALUES ('{job}', by_k{at}, '{op}', @by_origin); END IF; ",
                op = event.op(),
            ),
        );
    }
    format!("{declare}{act}")
}

/// Several keys per row image.
fn select_body(job: &str, capture: &CaptureSpec, event: CaptureEvent) -> String {
    let keys: Vec<String> =
        event.images().iter().map(|image| capture::key_of(&capture.key, image)).collect();
    format!(
        "INSERT INTO by_change (job, k, op, origin) SELECT '{job}', q.k, '{op}', @by_origin \
         FROM (SELECT CAST(NULL AS CHAR(512)) AS k FROM DUAL WHERE FALSE UNION {keys}) AS q \
         WHERE q.k IS NOT NULL;",
        op = event.op(),
        keys = keys.join(" UNION "),
    )
}

/// `[key, part, ..]`.
fn json_row(row: &KeyRow) -> serde_json::Value {
    let key = serde_json::Value::from(row.key.as_str());
    let parts = row.parts.iter().map(|part| match part {
        KeyPart::Integer(number) => serde_json::Value::from(*number),
        KeyPart::Text(text) => serde_json::Value::from(text.as_str()),
    });
    serde_json::Value::Array(std::iter::once(key).chain(parts).collect())
}

/// The condition that finds a table in `information_schema`.
fn in_schema(table: &str) -> String {
    let text = |text: &str| {
        let mut hex = String::from("_utf8mb4 X'");
        push_hex(text.as_bytes(), &mut hex);
        hex.push('\'');
        hex
    };
    match table.split_once('.') {
        Some((schema, table)) => {
            format!("TABLE_SCHEMA = {} AND TABLE_NAME = {}", text(schema), text(table))
        }
        None => format!("TABLE_SCHEMA = DATABASE() AND TABLE_NAME = {}", text(table)),
    }
}
