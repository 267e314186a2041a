//! What is asked of MariaDB and MySQL.
//!
//! What must stay true: only `information_schema`, settings and bounded samples are read; logins with
//! SUPER are administrators and are not reported.

use banyan_engine::Value;

use super::Finding;
use super::probe::{Place, Probe, SAMPLE_ROWS};
use crate::connection::{Connection, as_text};

/// All questions.
pub(super) fn probes(place: &Place) -> Vec<Probe> {
    let mut probes = vec![
        missing(place),
        storage(place),
        primary_key(place),
        key_collation(place),
        sql_mode(),
        lock_wait(),
        privileges(place),
    ];
    if place.is_source() {
        probes.extend([cascade(place), truncate(place), replace(place), binlog()]);
    } else {
        probes.push(outside(place));
    }
    probes
}

/// `(schema, table)` pairs.
fn pairs(place: &Place) -> String {
    let pairs = place.tables.iter().map(|table| match table.split_once('.') {
        Some((schema, table)) => format!("({}, {})", place.text(schema), place.text(table)),
        None => format!("(DATABASE(), {})", place.text(table)),
    });
    pairs.collect::<Vec<_>>().join(", ")
}

fn missing(place: &Place) -> Probe {
    let wanted: Vec<String> = place
        .tables
        .iter()
        .map(|table| {
            let (schema, name) = match table.split_once('.') {
                Some((schema, name)) => (place.text(schema), place.text(name)),
                None => ("DATABASE()".to_owned(), place.text(table)),
            };
            format!("SELECT {schema} AS s, {name} AS t")
        })
        .collect();
    Probe {
        topic: "table",
        finding: Finding::Fail,
        sql: format!(
            "SELECT w.t, 'does not exist' FROM ({}) AS w WHERE NOT EXISTS (SELECT 1 \
             FROM information_schema.TABLES i WHERE BINARY i.TABLE_SCHEMA = BINARY w.s \
             AND BINARY i.TABLE_NAME = BINARY w.t)",
            wanted.join(" UNION ALL ")
        ),
        hint: "correct the job's table names",
    }
}

fn storage(place: &Place) -> Probe {
    Probe {
        topic: "storage engine",
        finding: Finding::Fail,
        sql: format!(
            "SELECT TABLE_NAME, CONCAT('is ', COALESCE(ENGINE, TABLE_TYPE), ', which has no \
             transactions: a rolled back change stays, its mark does not') \
             FROM information_schema.TABLES WHERE (TABLE_SCHEMA, TABLE_NAME) IN ({}) \
             AND COALESCE(ENGINE, '') <> 'InnoDB'",
            pairs(place)
        ),
        hint: "ALTER TABLE .. ENGINE=InnoDB",
    }
}

fn primary_key(place: &Place) -> Probe {
    Probe {
        topic: "primary key",
        finding: Finding::Fail,
        sql: format!(
            "SELECT t.TABLE_NAME, 'has no primary key' FROM information_schema.TABLES t \
             WHERE (t.TABLE_SCHEMA, t.TABLE_NAME) IN ({}) AND t.TABLE_TYPE = 'BASE TABLE' \
             AND NOT EXISTS (SELECT 1 FROM information_schema.TABLE_CONSTRAINTS c \
             WHERE c.TABLE_SCHEMA = t.TABLE_SCHEMA AND c.TABLE_NAME = t.TABLE_NAME \
             AND c.CONSTRAINT_TYPE = 'PRIMARY KEY')",
            pairs(place)
        ),
        hint: "give the table a primary key, so that each row can be found",
    }
}

fn key_collation(place: &Place) -> Probe {
    let of_keys = if place.is_source() {
        format!("(TABLE_SCHEMA, TABLE_NAME) IN ({}) AND COLUMN_KEY = 'PRI'", pairs(place))
    } else {
        let keys = place.keys.iter().map(|(table, column)| {
            let table = table.rsplit('.').next().unwrap_or(table);
            format!("({}, {})", place.text(table), place.text(column))
        });
        format!(
            "(TABLE_SCHEMA, TABLE_NAME) IN ({}) AND (TABLE_NAME, COLUMN_NAME) IN ({})",
            pairs(place),
            keys.collect::<Vec<_>>().join(", ")
        )
    };
    Probe {
        topic: "key collation",
        finding: Finding::Warn,
        sql: format!(
            "SELECT CONCAT(TABLE_NAME, '.', COLUMN_NAME), CONCAT('has collation ', COLLATION_NAME, \
             ': keys that differ by case, accents or trailing spaces are one key to the database') \
             FROM information_schema.COLUMNS WHERE {of_keys} AND COLLATION_NAME IS NOT NULL \
             AND COLLATION_NAME NOT LIKE '%bin'"
        ),
        hint: "use COLLATE utf8mb4_bin (MariaDB: utf8mb4_nopad_bin) for text keys, or make sure \
               that no two keys differ only so",
    }
}

fn sql_mode() -> Probe {
    Probe {
        topic: "sql_mode",
        finding: Finding::Warn,
        sql: "SELECT 'global sql_mode', CONCAT('is not strict: values that do not fit are cut \
              without an error (', @@GLOBAL.sql_mode, ')') FROM DUAL \
              WHERE @@GLOBAL.sql_mode NOT LIKE '%STRICT\\_%TABLES%'"
            .to_owned(),
        hint: "add STRICT_TRANS_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE",
    }
}

fn lock_wait() -> Probe {
    Probe {
        topic: "lock wait",
        finding: Finding::Warn,
        sql: "SELECT 'innodb_lock_wait_timeout', CONCAT('is ', @@GLOBAL.innodb_lock_wait_timeout, \
              ' s: writers that meet a lock of the job wait so long (the job itself waits 5 s)') \
              FROM DUAL WHERE @@GLOBAL.innodb_lock_wait_timeout > 60"
            .to_owned(),
        hint: "lower it to 50 s or less",
    }
}

/// Cascades fire no triggers here, so only a capture of the parent sees them.
fn cascade(place: &Place) -> Probe {
    Probe {
        topic: "cascade",
        finding: Finding::Fail,
        sql: format!(
            "SELECT CONCAT(r.TABLE_NAME, ' (', r.CONSTRAINT_NAME, ')'), CONCAT('changes with \
             ', r.REFERENCED_TABLE_NAME, ' by a foreign key (ON DELETE ', r.DELETE_RULE, ', ON \
             UPDATE ', r.UPDATE_RULE, '), which fires no trigger, and no capture covers ', \
             r.REFERENCED_TABLE_NAME) FROM information_schema.REFERENTIAL_CONSTRAINTS r \
             WHERE (r.CONSTRAINT_SCHEMA, r.TABLE_NAME) IN ({pairs}) \
             AND (r.UNIQUE_CONSTRAINT_SCHEMA, r.REFERENCED_TABLE_NAME) NOT IN ({pairs}) \
             AND (r.DELETE_RULE NOT IN ('RESTRICT', 'NO ACTION') \
             OR r.UPDATE_RULE NOT IN ('RESTRICT', 'NO ACTION'))",
            pairs = pairs(place)
        ),
        hint: "capture the parent too, with a key that lists the roots of its children",
    }
}

fn outside(place: &Place) -> Probe {
    Probe {
        topic: "cascade",
        finding: Finding::Fail,
        sql: format!(
            "SELECT CONCAT(r.TABLE_NAME, ' (', r.CONSTRAINT_NAME, ')'), CONCAT('loses or changes \
             rows when the job deletes from ', r.REFERENCED_TABLE_NAME, ' (ON DELETE ', \
             r.DELETE_RULE, '), and is not part of the aggregate') \
             FROM information_schema.REFERENTIAL_CONSTRAINTS r \
             WHERE (r.UNIQUE_CONSTRAINT_SCHEMA, r.REFERENCED_TABLE_NAME) IN ({pairs}) \
             AND (r.CONSTRAINT_SCHEMA, r.TABLE_NAME) NOT IN ({pairs}) \
             AND r.DELETE_RULE NOT IN ('RESTRICT', 'NO ACTION')",
            pairs = pairs(place)
        ),
        hint: "add the table to the job, or make the constraint RESTRICT",
    }
}

fn truncate(place: &Place) -> Probe {
    let of_tables = format!("({})", place.bare_tables());
    Probe {
        topic: "truncate",
        finding: Finding::Warn,
        sql: format!(
            "SELECT q.o, q.w FROM (\
             SELECT GRANTEE AS o, 'may TRUNCATE (right DROP), which fires no trigger' AS w \
             FROM (SELECT GRANTEE FROM information_schema.USER_PRIVILEGES \
             WHERE PRIVILEGE_TYPE = 'DROP' UNION SELECT GRANTEE \
             FROM information_schema.SCHEMA_PRIVILEGES WHERE PRIVILEGE_TYPE = 'DROP' \
             AND DATABASE() LIKE TABLE_SCHEMA UNION SELECT GRANTEE \
             FROM information_schema.TABLE_PRIVILEGES WHERE PRIVILEGE_TYPE = 'DROP' \
             AND TABLE_SCHEMA = DATABASE() AND TABLE_NAME IN {of_tables}) AS g \
             WHERE g.GRANTEE NOT IN (SELECT GRANTEE FROM information_schema.USER_PRIVILEGES \
             WHERE PRIVILEGE_TYPE = 'SUPER') {}) AS q",
            code("TRUNCATE", "uses TRUNCATE, which fires no trigger")
        ),
        hint: "let applications DELETE; after a TRUNCATE run banyan sync verify",
    }
}

fn replace(_: &Place) -> Probe {
    let code = code(
        "REPLACE[[:space:]]+((LOW_PRIORITY|DELAYED)[[:space:]]+)?INTO",
        "uses REPLACE INTO, which deletes rows, and children by cascade without a trigger",
    );
    Probe {
        topic: "replace",
        finding: Finding::Warn,
        sql: format!(
            "SELECT q.o, q.w FROM (SELECT NULL AS o, NULL AS w FROM DUAL WHERE FALSE {code}) AS q"
        ),
        hint: "use INSERT .. ON DUPLICATE KEY UPDATE",
    }
}

/// Routines, events and triggers whose text matches.
fn code(pattern: &str, what: &str) -> String {
    let one = |kind: &str, name: &str, text: &str, from: &str, schema: &str| {
        format!(
            " UNION ALL SELECT CONCAT('{kind} ', {name}), '{what}' FROM information_schema.{from} \
             WHERE {schema} = DATABASE() AND {text} REGEXP '(^|[^a-zA-Z_]){pattern}([^a-zA-Z_]|$)'"
        )
    };
    [
        one("routine", "ROUTINE_NAME", "ROUTINE_DEFINITION", "ROUTINES", "ROUTINE_SCHEMA"),
        one("event", "EVENT_NAME", "EVENT_DEFINITION", "EVENTS", "EVENT_SCHEMA"),
        one("trigger", "TRIGGER_NAME", "ACTION_STATEMENT", "TRIGGERS", "TRIGGER_SCHEMA"),
    ]
    .concat()
}

fn binlog() -> Probe {
    Probe {
        topic: "binlog",
        finding: Finding::Fail,
        sql: "SELECT 'log_bin_trust_function_creators', 'is off while the binlog is on, so CREATE \
              TRIGGER is refused for a login without SUPER' FROM DUAL WHERE @@GLOBAL.log_bin = 1 \
              AND @@GLOBAL.log_bin_trust_function_creators = 0 \
              AND NOT EXISTS (SELECT 1 FROM information_schema.USER_PRIVILEGES \
              WHERE PRIVILEGE_TYPE = 'SUPER' AND GRANTEE = CONCAT('''', \
              SUBSTRING_INDEX(CURRENT_USER(), '@', 1), '''@''', \
              SUBSTRING_INDEX(CURRENT_USER(), '@', -1), ''''))"
            .to_owned(),
        hint: "SET GLOBAL log_bin_trust_function_creators = 1",
    }
}

/// Rights that install and run need; a login with a role is not judged.
fn privileges(place: &Place) -> Probe {
    let needed = if place.is_source() {
        "SELECT 'SELECT' AS p UNION ALL SELECT 'INSERT' UNION ALL SELECT 'DELETE' \
         UNION ALL SELECT 'CREATE' UNION ALL SELECT 'TRIGGER'"
    } else {
        "SELECT 'SELECT' AS p UNION ALL SELECT 'INSERT' UNION ALL SELECT 'UPDATE' \
         UNION ALL SELECT 'DELETE' UNION ALL SELECT 'CREATE'"
    };
    let me = "CONCAT('''', SUBSTRING_INDEX(CURRENT_USER(), '@', 1), '''@''', \
              SUBSTRING_INDEX(CURRENT_USER(), '@', -1), '''')";
    Probe {
        topic: "privilege",
        finding: Finding::Fail,
        sql: format!(
            "SELECT n.p, CONCAT('is not granted to ', CURRENT_USER(), ' on ', DATABASE()) \
             FROM ({needed}) AS n WHERE COALESCE(CURRENT_ROLE(), 'NONE') = 'NONE' \
             AND NOT EXISTS (SELECT 1 FROM information_schema.USER_PRIVILEGES u \
             WHERE u.GRANTEE = {me} AND BINARY u.PRIVILEGE_TYPE = BINARY n.p) \
             AND NOT EXISTS (SELECT 1 FROM information_schema.SCHEMA_PRIVILEGES s \
             WHERE s.GRANTEE = {me} AND BINARY s.PRIVILEGE_TYPE = BINARY n.p \
             AND DATABASE() LIKE s.TABLE_SCHEMA)"
        ),
        hint: "GRANT it to the job's login on the schema",
    }
}

/// A question about values.
struct Sample {
    topic: &'static str,
    hint: &'static str,
    /// Which columns are asked.
    columns: &'static str,
    /// The condition on a value; `@` is the column.
    fault: &'static str,
    what: &'static str,
}

const ZERO_DATE: Sample = Sample {
    topic: "zero date",
    hint: "set the job's `zero-date`, and NO_ZERO_DATE in sql_mode so that no more come",
    columns: "DATA_TYPE IN ('date', 'datetime', 'timestamp')",
    fault: "CAST(@ AS CHAR) LIKE '%-00%' OR CAST(@ AS CHAR) LIKE '0000-%'",
    what: "has zero dates",
};

const DOUBLY_ENCODED: Sample = Sample {
    topic: "charset",
    hint: "if the application writes UTF-8 over a latin1 connection, convert the column through \
           BINARY before the first copy",
    columns: "CHARACTER_SET_NAME = 'latin1'",
    fault: "HEX(@) REGEXP '^([0-9A-F]{2})*(C[2-9A-F]|D[0-9A-F]|E[0-9A-F][89AB][0-9A-F])[89AB]'",
    what: "is latin1 and seems to hold the bytes of UTF-8",
};

/// Questions about the first rows of the captured tables: zero dates, UTF-8 in latin1 columns.
pub(super) async fn samples(at: &mut Connection, place: &Place) -> Vec<Probe> {
    let mut probes = Vec::new();
    for of in [&ZERO_DATE, &DOUBLY_ENCODED] {
        let sql = format!(
            "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS \
             WHERE (TABLE_SCHEMA, TABLE_NAME) IN ({}) AND {}",
            pairs(place),
            of.columns
        );
        // What may not be listed here was reported as a missing table or right already.
        let columns = at.rows("list the columns", sql).await.unwrap_or_default();
        let sampled: Vec<String> =
            columns.iter().filter_map(|row| sampled(place, of, row)).collect();
        let none = "SELECT NULL, NULL FROM DUAL WHERE FALSE".to_owned();
        let sql = if sampled.is_empty() { none } else { sampled.join(" UNION ALL ") };
        let finding = if of.topic == ZERO_DATE.topic { place.zero_dates } else { Finding::Warn };
        probes.push(Probe { topic: of.topic, finding, sql, hint: of.hint });
    }
    probes
}

/// The query of one column.
fn sampled(place: &Place, of: &Sample, row: &[Value]) -> Option<String> {
    let [schema, table, column] = row else { return None };
    let (schema, table, column) = (as_text(schema)?, as_text(table)?, as_text(column)?);
    let quoted = place.name(&column.replace('.', "\u{0}")).replace('\u{0}', ".");
    Some(format!(
        "SELECT {}, '{} (in the first {SAMPLE_ROWS} rows)' FROM DUAL WHERE EXISTS (SELECT 1 \
         FROM (SELECT {quoted} FROM {}.{} LIMIT {SAMPLE_ROWS}) AS q WHERE {})",
        place.text(&format!("{table}.{column}")),
        of.what,
        place.name(&schema),
        place.name(&table),
        of.fault.replace('@', &quoted),
    ))
}
