//! What is asked of SQLite.
//!
//! What must stay true: nothing of the file is changed. Settings of other connections (`recursive_triggers`)
//! cannot be seen, so what depends on them is judged by the schema.

use super::Finding;
use super::probe::{Place, Probe};

/// All questions.
pub(super) fn probes(place: &Place) -> Vec<Probe> {
    let mut probes = vec![missing(place), primary_key(place), key_collation(place), journal()];
    if place.is_source() {
        probes.push(replace(place));
    } else {
        probes.push(outside(place));
    }
    probes
}

/// The tables as rows of a column `t`.
fn tables(place: &Place) -> String {
    let rows = place.tables.iter().map(|table| format!("SELECT {} AS t", place.text(table)));
    rows.collect::<Vec<_>>().join(" UNION ALL ")
}

fn missing(place: &Place) -> Probe {
    Probe {
        topic: "table",
        finding: Finding::Fail,
        sql: format!(
            "SELECT t, 'does not exist' FROM ({}) WHERE NOT EXISTS (SELECT 1 FROM sqlite_master \
             WHERE type = 'table' AND lower(name) = lower(t))",
            tables(place)
        ),
        hint: "correct the job's table names",
    }
}

fn primary_key(place: &Place) -> Probe {
    Probe {
        topic: "primary key",
        finding: Finding::Fail,
        sql: format!(
            "SELECT t, 'has no primary key' FROM ({}) WHERE EXISTS (SELECT 1 FROM sqlite_master \
             WHERE type = 'table' AND lower(name) = lower(t)) \
             AND NOT EXISTS (SELECT 1 FROM pragma_table_info(t) WHERE pk > 0)",
            tables(place)
        ),
        hint: "give the table a primary key, so that each row can be found",
    }
}

fn key_collation(place: &Place) -> Probe {
    Probe {
        topic: "key collation",
        finding: Finding::Warn,
        sql: format!(
            "SELECT q.t || '.' || x.name, 'has collation ' || x.coll || ': keys that differ by case \
             or trailing spaces are one key to the database' FROM ({}) AS q, \
             pragma_index_list(q.t) AS l, pragma_index_xinfo(l.name) AS x \
             WHERE l.origin = 'pk' AND x.key = 1 AND x.coll <> 'BINARY'",
            tables(place)
        ),
        hint: "use COLLATE BINARY for keys, or make sure that no two keys differ only so",
    }
}

fn journal() -> Probe {
    Probe {
        topic: "journal mode",
        finding: Finding::Warn,
        sql:
            "SELECT 'journal_mode', 'is ' || journal_mode || ': readers and the writer block each \
              other' FROM pragma_journal_mode WHERE journal_mode <> 'wal'"
                .to_owned(),
        hint: "PRAGMA journal_mode = WAL",
    }
}

fn replace(place: &Place) -> Probe {
    Probe {
        topic: "replace",
        finding: Finding::Warn,
        sql: format!(
            "SELECT 'trigger ' || name, 'uses REPLACE, which hides the deleted row from capture \
             unless recursive_triggers is on' FROM sqlite_master WHERE type = 'trigger' \
             AND substr(name, 1, 3) <> 'by_' AND (upper(sql) LIKE '%REPLACE INTO%' \
             OR upper(sql) LIKE '%INSERT OR REPLACE%' OR upper(sql) LIKE '%UPDATE OR REPLACE%') \
             UNION ALL SELECT q.t || ' (' || l.name || ')', 'is unique: a REPLACE INTO of the \
             application deletes another row, which capture does not see unless its connection \
             sets recursive_triggers' FROM ({}) AS q, pragma_index_list(q.t) AS l \
             WHERE l.\"unique\" = 1 AND l.origin <> 'pk'",
            tables(place)
        ),
        hint: "set PRAGMA recursive_triggers = ON in the application, or use INSERT .. ON CONFLICT",
    }
}

fn outside(place: &Place) -> Probe {
    Probe {
        topic: "cascade",
        finding: Finding::Fail,
        sql: format!(
            "WITH q AS ({}) SELECT m.name, 'loses or changes rows when the job deletes from ' || \
             f.\"table\" || ' (ON DELETE ' || f.on_delete || '), and is not part of the aggregate' \
             FROM sqlite_master AS m, pragma_foreign_key_list(m.name) AS f \
             WHERE m.type = 'table' AND f.on_delete IN ('CASCADE', 'SET NULL', 'SET DEFAULT') \
             AND lower(f.\"table\") IN (SELECT lower(t) FROM q) \
             AND lower(m.name) NOT IN (SELECT lower(t) FROM q)",
            tables(place)
        ),
        hint: "add the table to the job, or make the constraint RESTRICT",
    }
}
