//! What is asked of Postgres.
//!
//! What must stay true: only catalogues and settings are read. Cascades and TRUNCATE are captured here,
//! because both fire triggers.

use super::Finding;
use super::probe::{Place, Probe};

/// All questions.
pub(super) fn probes(place: &Place) -> Vec<Probe> {
    let mut probes = vec![
        missing(place),
        storage(place),
        primary_key(place),
        key_collation(place),
        encoding(),
        lock_wait(),
        privileges(place),
    ];
    if !place.is_source() {
        probes.push(outside(place));
    }
    probes
}

/// The tables' names as they are written in SQL, quoted as literals.
fn names(place: &Place) -> impl Iterator<Item = String> {
    place.tables.iter().map(|table| place.text(&place.name(table)))
}

/// The tables' identities.
fn oids(place: &Place) -> String {
    let oids: Vec<String> = names(place).map(|name| format!("to_regclass({name})")).collect();
    format!("SELECT o FROM unnest(ARRAY[{}]::oid[]) AS o WHERE o IS NOT NULL", oids.join(", "))
}

fn missing(place: &Place) -> Probe {
    let names: Vec<String> = names(place).collect();
    Probe {
        topic: "table",
        finding: Finding::Fail,
        sql: format!(
            "SELECT n, 'does not exist' FROM unnest(ARRAY[{}]::text[]) AS n \
             WHERE to_regclass(n) IS NULL",
            names.join(", ")
        ),
        hint: "correct the job's table names",
    }
}

fn storage(place: &Place) -> Probe {
    Probe {
        topic: "storage engine",
        finding: Finding::Fail,
        sql: format!(
            "SELECT c.relname::text, CASE WHEN c.relkind = 'p' THEN 'is partitioned: writes to a \
             partition by its own name fire no trigger of the table' \
             WHEN c.relkind <> 'r' THEN 'is no plain table' \
             ELSE 'is unlogged: emptied after a crash' END FROM pg_class c \
             WHERE c.oid IN ({}) AND (c.relkind <> 'r' OR c.relpersistence <> 'p')",
            oids(place)
        ),
        hint: "use a plain, logged table",
    }
}

fn primary_key(place: &Place) -> Probe {
    Probe {
        topic: "primary key",
        finding: Finding::Fail,
        sql: format!(
            "SELECT c.relname::text, 'has no primary key' FROM pg_class c WHERE c.oid IN ({}) \
             AND NOT EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)",
            oids(place)
        ),
        hint: "give the table a primary key, so that each row can be found",
    }
}

fn key_collation(place: &Place) -> Probe {
    let keys = place.keys.iter().map(|(table, column)| {
        format!("({}, {})", place.text(&place.name(table)), place.text(column))
    });
    let keys: Vec<String> = keys.collect();
    let listed = if keys.is_empty() {
        "FALSE".to_owned()
    } else {
        format!(
            "EXISTS (SELECT 1 FROM (VALUES {}) AS k(t, c) \
             WHERE to_regclass(k.t) = a.attrelid AND k.c = a.attname)",
            keys.join(", ")
        )
    };
    Probe {
        topic: "key collation",
        finding: Finding::Warn,
        sql: format!(
            "SELECT c.relname || '.' || a.attname, CASE WHEN t.typname = 'citext' THEN 'is citext' \
             WHEN t.typname = 'bpchar' THEN 'is char(n)' ELSE 'has collation ' || l.collname END \
             || ': keys that differ by case, accents or trailing spaces are one key to the database' \
             FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
             JOIN pg_type t ON t.oid = a.atttypid \
             LEFT JOIN pg_collation l ON l.oid = a.attcollation \
             WHERE a.attrelid IN ({}) AND a.attnum > 0 AND NOT a.attisdropped \
             AND ({listed} OR EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = a.attrelid \
             AND i.indisprimary AND a.attnum = ANY (i.indkey))) \
             AND (t.typname IN ('citext', 'bpchar') OR NOT COALESCE(l.collisdeterministic, true))",
            oids(place)
        ),
        hint: "use text with a deterministic collation for keys, or make sure that no two keys \
               differ only so",
    }
}

fn encoding() -> Probe {
    Probe {
        topic: "charset",
        finding: Finding::Fail,
        sql: "SELECT datname::text, 'has encoding ' || pg_encoding_to_char(encoding) || ': text \
              may come as bytes that are not UTF-8' FROM pg_database \
              WHERE datname = current_database() AND pg_encoding_to_char(encoding) <> 'UTF8'"
            .to_owned(),
        hint: "use a database with encoding UTF8",
    }
}

fn lock_wait() -> Probe {
    Probe {
        topic: "lock wait",
        finding: Finding::Warn,
        sql:
            "SELECT name::text, 'is ' || setting || ' ms: writers that meet a lock of the job wait \
              so long (the job itself waits 5 s)' FROM pg_settings \
              WHERE name = 'lock_timeout' AND reset_val::bigint > 60000"
                .to_owned(),
        hint: "lower it to 50 s or less",
    }
}

fn outside(place: &Place) -> Probe {
    Probe {
        topic: "cascade",
        finding: Finding::Fail,
        sql: format!(
            "SELECT f.conrelid::regclass::text || ' (' || f.conname || ')', 'loses or changes rows \
             when the job deletes from ' || f.confrelid::regclass::text || ', and is not part of \
             the aggregate' FROM pg_constraint f WHERE f.contype = 'f' \
             AND f.confdeltype IN ('c', 'n', 'd') AND f.confrelid IN ({oids}) \
             AND f.conrelid NOT IN ({oids})",
            oids = oids(place)
        ),
        hint: "add the table to the job, or make the constraint RESTRICT",
    }
}

fn privileges(place: &Place) -> Probe {
    let needed = if place.is_source() {
        "ARRAY['SELECT', 'TRIGGER']"
    } else {
        "ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']"
    };
    let owner = if place.is_source() {
        format!(
            " UNION ALL SELECT 'owner', 'of ' || c.relname || ' is not ' || current_user || ', \
             which ENABLE ALWAYS TRIGGER needs' FROM pg_class c WHERE c.oid IN ({}) \
             AND NOT pg_has_role(c.relowner, 'USAGE')",
            oids(place)
        )
    } else {
        String::new()
    };
    Probe {
        topic: "privilege",
        finding: Finding::Fail,
        sql: format!(
            "SELECT p, 'is not granted to ' || current_user || ' on ' || o::regclass::text \
             FROM unnest({needed}) AS p CROSS JOIN ({}) AS t(o) \
             WHERE NOT has_table_privilege(o, p) \
             UNION ALL SELECT 'CREATE', 'is not granted to ' || current_user || ' on schema ' \
             || current_schema() WHERE NOT has_schema_privilege(current_schema(), 'CREATE'){owner}",
            oids(place)
        ),
        hint: "GRANT it to the job's login",
    }
}
