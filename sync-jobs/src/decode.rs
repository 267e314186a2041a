//! Rows of the three engines as neutral values.
//!
//! Everything arrives in the engine's text form; here it becomes numbers, text or bytes, by the type that
//! the engine says. What the *column it goes to* makes of it is decided later, by its kind.
//!
//! What must stay true: nothing is lost here: a 32-bit float becomes the same number in 64 bits, bits
//! become an unsigned number, text that is not UTF-8 stays bytes and is refused with its place.

use std::str::FromStr;

use banyan_engine::Value;
use sqlx::mysql::MySqlRow;
use sqlx::postgres::{PgColumn, PgRow, PgTypeInfo, PgTypeKind};
use sqlx::sqlite::SqliteRow;
use sqlx::{Column, Row, TypeInfo, ValueRef};

use crate::connection::Described;

/// A result's columns with their types.
pub(crate) fn plain_columns<C: Column>(columns: &[C]) -> Vec<Described> {
    let described = |column: &C| Described {
        name: column.name().to_owned(),
        wire: column.type_info().name().to_owned(),
    };
    columns.iter().map(described).collect()
}

/// Postgres' columns; an enum is an enum whatever its name, a domain is what it is made of.
pub(crate) fn pg_columns(columns: &[PgColumn]) -> Vec<Described> {
    let described = |column: &PgColumn| Described {
        name: column.name().to_owned(),
        wire: pg_type(column.type_info()),
    };
    columns.iter().map(described).collect()
}

/// A SQLite row.
pub(crate) fn sqlite_row(row: &SqliteRow) -> Result<Vec<Value>, sqlx::Error> {
    let mut values = Vec::with_capacity(row.len());
    for at in 0..row.len() {
        let raw = row.try_get_raw(at)?;
        if raw.is_null() {
            values.push(Value::Null);
            continue;
        }
        let kind = raw.type_info().name().to_owned();
        values.push(match kind.as_str() {
            "INTEGER" => Value::Int(i128::from(row.try_get_unchecked::<i64, _>(at)?)),
            "REAL" => Value::float(row.try_get_unchecked::<f64, _>(at)?),
            "BLOB" => Value::Bytes(row.try_get_unchecked::<Vec<u8>, _>(at)?),
            _ => match row.try_get_unchecked::<String, _>(at) {
                Ok(text) => Value::Text(text),
                Err(_) => Value::Bytes(row.try_get_unchecked::<Vec<u8>, _>(at)?),
            },
        });
    }
    Ok(values)
}

/// A Postgres row.
pub(crate) fn pg_row(row: &PgRow) -> Result<Vec<Value>, sqlx::Error> {
    let mut values = Vec::with_capacity(row.len());
    for (at, column) in row.columns().iter().enumerate() {
        let raw = row.try_get_raw(at)?;
        if raw.is_null() {
            values.push(Value::Null);
            continue;
        }
        let bytes = raw.as_bytes().map_err(sqlx::Error::Decode)?;
        let Ok(text) = std::str::from_utf8(bytes) else {
            values.push(Value::Bytes(bytes.to_vec()));
            continue;
        };
        values.push(match column.type_info().name() {
            "BOOL" => Value::Bool(text == "t"),
            "INT2" | "INT4" | "INT8" | "OID" => Value::Int(number(text, column.name())?),
            "FLOAT4" => Value::float(f64::from(number::<f32>(text, column.name())?)),
            "FLOAT8" => Value::float(number(text, column.name())?),
            "BYTEA" => Value::Bytes(row.try_get_unchecked::<Vec<u8>, _>(at)?),
            // As Postgres' own cast to text does it.
            "CHAR" => Value::Text(text.trim_end_matches(' ').to_owned()),
            "BIT" => Value::Int(bits(text).ok_or_else(|| too_many_bits(column.name()))?),
            _ => Value::Text(text.to_owned()),
        });
    }
    Ok(values)
}

/// A MySQL or MariaDB row.
pub(crate) fn mysql_row(row: &MySqlRow) -> Result<Vec<Value>, sqlx::Error> {
    let mut values = Vec::with_capacity(row.len());
    for (at, column) in row.columns().iter().enumerate() {
        let Some(bytes) = row.try_get_unchecked::<Option<&[u8]>, _>(at)? else {
            values.push(Value::Null);
            continue;
        };
        let kind = column.type_info().name();
        if kind == "BIT" {
            let number = bytes.iter().fold(0_i128, |sum, byte| (sum << 8) | i128::from(*byte));
            values.push(Value::Int(number));
            continue;
        }
        let binary =
            ["BINARY", "VARBINARY", "TINYBLOB", "BLOB", "MEDIUMBLOB", "LONGBLOB", "GEOMETRY"];
        let text = if binary.contains(&kind) { None } else { std::str::from_utf8(bytes).ok() };
        let Some(text) = text else {
            values.push(Value::Bytes(bytes.to_vec()));
            continue;
        };
        values.push(match kind {
            "BOOLEAN" | "YEAR" => Value::Int(number(text, column.name())?),
            name if name.contains("INT") => Value::Int(number(text, column.name())?),
            // Shown with six digits; exact reads go through a double (`Dialect::exact`).
            "FLOAT" => Value::float(f64::from(number::<f32>(text, column.name())?)),
            "DOUBLE" => Value::float(number(text, column.name())?),
            _ => Value::Text(text.to_owned()),
        });
    }
    Ok(values)
}

fn pg_type(found: &PgTypeInfo) -> String {
    match found.kind() {
        PgTypeKind::Enum(_) => "ENUM".to_owned(),
        PgTypeKind::Domain(base) => pg_type(base),
        PgTypeKind::Simple
        | PgTypeKind::Pseudo
        | PgTypeKind::Composite(_)
        | PgTypeKind::Array(_)
        | PgTypeKind::Range(_) => found.name().to_owned(),
    }
}

fn bits(text: &str) -> Option<i128> {
    if text.len() > 64 { None } else { i128::from_str_radix(text, 2).ok() }
}

fn too_many_bits(column: &str) -> sqlx::Error {
    decode(column, std::io::Error::other("a bit string of more than 64 bits"))
}

fn number<T: FromStr>(text: &str, column: &str) -> Result<T, sqlx::Error>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    text.parse().map_err(|e| decode(column, e))
}

fn decode(column: &str, source: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: format!("`{column}`"), source: Box::new(source) }
}
