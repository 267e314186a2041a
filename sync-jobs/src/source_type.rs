//! Which types of a select's result can go into which column.
//!
//! Some types have no text that means the same elsewhere (intervals, arrays, geometry), or a text that
//! another column would misread (a bit string as a number). They are refused when the job is planned, and
//! the operator casts them in the select.
//!
//! What must stay true: a type that is not known to be right is refused; SQLite has no types of results,
//! its values are judged one by one.

use banyan_engine::ColumnKind;

use crate::connection::Described;
use crate::dialect::Engine;

/// What is to be done with a column of a select.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceType {
    /// It is exact as the engine shows it.
    Exact,
    /// The engine shows it cut; it must be read as a double.
    Widen,
    /// It has no form that fits the column.
    Refused,
}

/// Judges a column of a select on its way into a column of the target.
pub(crate) fn judge(engine: Engine, column: &Described, kind: ColumnKind) -> SourceType {
    match (engine, column.wire.as_str()) {
        (Engine::MySql, "FLOAT") => SourceType::Widen,
        (Engine::MySql, "GEOMETRY") => SourceType::Refused,
        (Engine::Sqlite | Engine::MySql, _) => SourceType::Exact,
        // Bits are a number here; as text they would lose their leading zeros.
        (Engine::Postgres, "BIT") if is_number(kind) => SourceType::Exact,
        (Engine::Postgres, wire) if POSTGRES.contains(&wire) => SourceType::Exact,
        (Engine::Postgres, wire) if wire.eq_ignore_ascii_case("citext") => SourceType::Exact,
        (Engine::Postgres, _) => SourceType::Refused,
    }
}

fn is_number(kind: ColumnKind) -> bool {
    matches!(kind, ColumnKind::Bits { .. } | ColumnKind::Integer { .. } | ColumnKind::Bool)
}

/// A select that shows its 32-bit floats as doubles, so that no digit is cut.
pub(crate) fn widened(engine: Engine, select: &str, columns: &[(Described, SourceType)]) -> String {
    if columns.iter().all(|(_, judged)| *judged != SourceType::Widen) {
        return select.to_owned();
    }
    let dialect = engine.dialect();
    let shown: Vec<String> = columns
        .iter()
        .map(|(column, judged)| {
            let name = dialect.name(&column.name);
            match judged {
                SourceType::Widen => {
                    format!("{} AS {name}", dialect.exact(&column.name, ColumnKind::Real))
                }
                SourceType::Exact | SourceType::Refused => name,
            }
        })
        .collect();
    let select = select.trim().trim_end_matches(';');
    format!("SELECT {} FROM (\n{select}\n) AS by_exact", shown.join(", "))
}

/// Types of results that have one text everywhere.
const POSTGRES: [&str; 23] = [
    "BOOL",
    "BYTEA",
    "\"CHAR\"",
    "NAME",
    "INT8",
    "INT2",
    "INT4",
    "TEXT",
    "OID",
    "JSON",
    "JSONB",
    "FLOAT4",
    "FLOAT8",
    "UNKNOWN",
    "CHAR",
    "VARCHAR",
    "DATE",
    "TIME",
    "TIMESTAMP",
    "TIMESTAMPTZ",
    "NUMERIC",
    "UUID",
    "ENUM",
];
