//! The row encoding of `banyan_engine`'s lanes, as SQL of MariaDB/MySQL and Postgres.
//!
//! An expression is written only for pairs of result type and column kind where it is known to give the
//! canonical text that Rust gives. Whatever else there is (floats, json, a cast that could lose a
//! character) has no expression, and then the rows of that table are streamed and hashed here instead.
//!
//! What must stay true: two different canonical values never have the same encoding (a difference that
//! is only in the spelling costs a second look, an equality that is not one would be a lie); a value whose
//! expression gives NULL makes the row's hash NULL, which the caller counts.

use banyan_engine::{ColumnKind, INLINE_OCTETS};

use crate::dialect::{Engine, write_to};

/// What a result column holds, as far as the encoding cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Integer,
    Truth,
    Decimal,
    Text,
    Bytes,
    Moment,
    MomentWithZone,
    Day,
    Uuid,
}

/// One result column: its quoted name, the type that the driver reports, what the target stores.
#[derive(Debug, Clone)]
pub(crate) struct Encoded<'a> {
    pub(crate) column: String,
    pub(crate) reported: &'a str,
    pub(crate) kind: ColumnKind,
    /// Whether the mapping lets its values be rounded.
    pub(crate) round: bool,
    /// Whether MariaDB/MySQL holds it in utf8mb4, so that there is nothing to convert.
    pub(crate) is_utf8mb4: bool,
}

/// What the target's column stores, as far as there is an expression for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stored {
    Integer,
    Decimal,
    Bool,
    Text,
    Bytes,
    Timestamp,
    Date,
    Uuid,
}

impl Encoded<'_> {
    /// `None` for what is hashed in Rust: kinds whose canonical form is more than a spelling of the value.
    fn stored(&self) -> Option<Stored> {
        if self.round {
            return None;
        }
        // Spelled out by kind: what is new has no expression until somebody thought about it.
        match self.kind {
            ColumnKind::Integer { .. } => Some(Stored::Integer),
            ColumnKind::Decimal { .. } => Some(Stored::Decimal),
            ColumnKind::Bool => Some(Stored::Bool),
            ColumnKind::Text { .. } => Some(Stored::Text),
            ColumnKind::Bytes => Some(Stored::Bytes),
            ColumnKind::Timestamp { .. } => Some(Stored::Timestamp),
            ColumnKind::Date => Some(Stored::Date),
            ColumnKind::Uuid => Some(Stored::Uuid),
            ColumnKind::Float
            | ColumnKind::Real
            | ColumnKind::Char { .. }
            | ColumnKind::Set
            | ColumnKind::Binary { .. }
            | ColumnKind::Bits { .. }
            | ColumnKind::Time { .. }
            | ColumnKind::Year
            | ColumnKind::Json { .. }
            | ColumnKind::Any => None,
        }
    }
}

/// Whether the engine can compute lanes at all.
pub(crate) fn has_lanes(engine: Engine) -> bool {
    match engine {
        Engine::Sqlite => false,
        Engine::Postgres | Engine::MySql => true,
    }
}

/// The MD5 of a row of these columns, as an expression; `Err` is the position of a column that has none.
pub(crate) fn row_hash(engine: Engine, columns: &[Encoded<'_>]) -> Result<String, usize> {
    let mut parts = Vec::with_capacity(columns.len());
    for (at, column) in columns.iter().enumerate() {
        parts.push(value(engine, column).ok_or(at)?);
    }
    Ok(match engine {
        Engine::MySql => format!("MD5(CONCAT({}))", parts.join(", ")),
        Engine::Postgres | Engine::Sqlite => format!("md5({})", parts.join(" || ")),
    })
}

/// The root column as the octets of a key, so that no collation makes two keys one.
pub(crate) fn root(engine: Engine, column: &Encoded<'_>) -> Option<String> {
    let held = held(engine, column.reported)?;
    if matches!(column.stored()?, Stored::Bytes | Stored::Uuid) {
        return None;
    }
    let text = text(engine, held, column)?;
    Some(match engine {
        Engine::MySql => format!("CAST({text} AS BINARY)"),
        Engine::Postgres | Engine::Sqlite => format!("({text}) COLLATE \"C\""),
    })
}

/// Ends a select of hashes so that the optimizer does not put the hash's expression into each sum: it would
/// be computed three times.
pub(crate) fn once(engine: Engine) -> &'static str {
    match engine {
        Engine::MySql => " LIMIT 18446744073709551615",
        Engine::Postgres | Engine::Sqlite => " OFFSET 0",
    }
}

/// Count of rows, count of hashes, and both lanes over a column `h`.
pub(crate) fn sums(engine: Engine) -> String {
    let lane = |from: u32| match engine {
        // Cheaper than the same by SUBSTR.
        Engine::MySql if from == 1 => "SUM(CAST(CONV(LEFT(h, 15), 16, 10) AS UNSIGNED))".to_owned(),
        Engine::MySql => format!("SUM(CAST(CONV(SUBSTR(h, {from}, 15), 16, 10) AS UNSIGNED))"),
        Engine::Postgres | Engine::Sqlite => {
            format!("sum(('x0' || substr(h, {from}, 15))::bit(64)::bigint)")
        }
    };
    format!("COUNT(*), COUNT(h), {}, {}", lane(1), lane(16))
}

/// The encoding of one value.
fn value(engine: Engine, column: &Encoded<'_>) -> Option<String> {
    let held = held(engine, column.reported)?;
    let name = &column.column;
    let stored = column.stored()?;
    if stored == Stored::Bytes {
        return bytes(engine, held, name);
    }
    let text = text(engine, held, column)?;
    // Not COALESCE: an encoding that fails must not look like NULL.
    let mut case = format!("CASE WHEN {name} IS NULL THEN '~'");
    if engine == Engine::MySql && held == Held::Moment && stored == Stored::Timestamp {
        // Nearly all times, at a third of the price.
        write_to(
            &mut case,
            format_args!(" WHEN MICROSECOND({name}) = 0 THEN CONCAT(LEFT({name}, 19), ';')"),
        );
    }
    let rest = if stored == Stored::Text {
        let octets = format!("OCTET_LENGTH({text})");
        let hashed = concat(engine, &["'#'", &octets, "':'", &format!("MD5({text})")]);
        write_to(&mut case, format_args!(" WHEN {octets} > {INLINE_OCTETS} THEN {hashed}"));
        concat(engine, &[&octets, "':'", &text])
    } else {
        concat(engine, &[&text, "';'"])
    };
    write_to(&mut case, format_args!(" ELSE {rest} END"));
    Some(case)
}

fn bytes(engine: Engine, held: Held, name: &str) -> Option<String> {
    if held != Held::Bytes {
        return None;
    }
    let octets = format!("OCTET_LENGTH({name})");
    let digits = match engine {
        Engine::MySql => format!("LOWER(HEX({name}))"),
        Engine::Postgres | Engine::Sqlite => format!("encode({name}, 'hex')"),
    };
    let hashed = concat(engine, &["'#'", &octets, "':'", &format!("MD5({name})")]);
    let inline = concat(engine, &[&format!("2 * {octets}"), "':'", &digits]);
    Some(format!(
        "CASE WHEN {name} IS NULL THEN '~' WHEN {octets} > {INLINE_OCTETS} THEN {hashed} \
         ELSE {inline} END"
    ))
}

/// The canonical text of a value that is not NULL.
fn text(engine: Engine, held: Held, column: &Encoded<'_>) -> Option<String> {
    let name = &column.column;
    let plain = match engine {
        // What takes text reads a number as its digits.
        Engine::MySql if matches!(held, Held::Integer | Held::Decimal) => name.clone(),
        Engine::MySql => format!("CAST({name} AS CHAR)"),
        Engine::Postgres | Engine::Sqlite => format!("({name})::text"),
    };
    let truth = format!("CASE WHEN {name} THEN '1' ELSE '0' END");
    match (column.stored()?, held) {
        (Stored::Integer | Stored::Bool | Stored::Text, Held::Truth) => Some(format!("({truth})")),
        // An integer's decimal is a count or sum; one with a fraction is refused when its rows are looked at.
        (Stored::Integer, Held::Integer | Held::Decimal)
        | (Stored::Decimal | Stored::Bool, Held::Integer)
        | (Stored::Text, Held::Integer | Held::Decimal | Held::Moment | Held::Day | Held::Uuid)
        | (Stored::Date, Held::Day) => Some(plain),
        (Stored::Decimal, Held::Decimal) => Some(decimal(engine, name, &plain)),
        (Stored::Text, Held::Text) => Some(characters(engine, column, plain)),
        (Stored::Text, Held::Bytes) if engine == Engine::MySql => Some(octets(name)),
        (Stored::Timestamp, Held::Moment | Held::MomentWithZone) => {
            Some(moment(engine, held, name, plain))
        }
        (Stored::Uuid, Held::Text | Held::Uuid | Held::Bytes) => uuid(engine, held, column),
        (
            Stored::Integer
            | Stored::Decimal
            | Stored::Bool
            | Stored::Text
            | Stored::Bytes
            | Stored::Timestamp
            | Stored::Date
            | Stored::Uuid,
            _,
        ) => None,
    }
}

/// Text in UTF-8, whatever the column's character set is.
fn characters(engine: Engine, column: &Encoded<'_>, plain: String) -> String {
    let name = &column.column;
    match engine {
        // A conversion copies and checks each text, also from utf8mb4 to itself: as dear as all the rest.
        Engine::MySql if column.is_utf8mb4 => format!("{name} COLLATE utf8mb4_bin"),
        // One explicit collation, so that texts of several collations can stand in one CONCAT.
        Engine::MySql => format!("CONVERT({name} USING utf8mb4) COLLATE utf8mb4_bin"),
        Engine::Postgres | Engine::Sqlite => plain,
    }
}

/// The 32 digits of a uuid. MariaDB reports its own uuid as bytes; bytes that are none give NULL.
fn uuid(engine: Engine, held: Held, column: &Encoded<'_>) -> Option<String> {
    let name = &column.column;
    match engine {
        Engine::MySql => {
            let text =
                format!("LOWER(REPLACE({}, '-', ''))", characters(engine, column, String::new()));
            Some(format!("(CASE WHEN OCTET_LENGTH({text}) = 32 THEN {text} END)"))
        }
        Engine::Postgres | Engine::Sqlite if held == Held::Bytes => None,
        Engine::Postgres | Engine::Sqlite => {
            Some(format!("lower(replace(({name})::text, '-', ''))"))
        }
    }
}

/// Text that is reported as bytes: a `_bin` collation, or bytes that are UTF-8; others give NULL.
fn octets(name: &str) -> String {
    let text = format!("CONVERT({name} USING utf8mb4) COLLATE utf8mb4_bin");
    format!("(CASE WHEN CAST({text} AS BINARY) = CAST({name} AS BINARY) THEN {text} END)")
}

/// Without the zeros at the end of the fraction, and without a sign of zero.
fn decimal(engine: Engine, name: &str, plain: &str) -> String {
    match engine {
        Engine::MySql => format!(
            "(CASE WHEN {name} = 0 THEN '0' WHEN LOCATE('.', {plain}) > 0 THEN \
             TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM {plain})) ELSE {plain} END)"
        ),
        Engine::Postgres | Engine::Sqlite => format!(
            "(CASE WHEN {name} = 0 THEN '0' WHEN scale({name}) > 0 THEN \
             rtrim(rtrim({plain}, '0'), '.') ELSE {plain} END)"
        ),
    }
}

/// UTC, without the zeros at the end of the fraction.
fn moment(engine: Engine, held: Held, name: &str, plain: String) -> String {
    match engine {
        Engine::MySql => format!(
            "TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM \
             DATE_FORMAT({name}, '%Y-%m-%d %H:%i:%s.%f')))"
        ),
        // Text output under ISO dates has no such zeros, and keeps `BC` and `infinity` apart.
        Engine::Postgres | Engine::Sqlite if held == Held::MomentWithZone => {
            format!("({name} AT TIME ZONE 'UTC')::text")
        }
        Engine::Postgres | Engine::Sqlite => plain,
    }
}

fn concat(engine: Engine, parts: &[&str]) -> String {
    match engine {
        Engine::MySql => format!("CONCAT({})", parts.join(", ")),
        Engine::Postgres | Engine::Sqlite => parts.join(" || "),
    }
}

/// What a type that the driver reports holds; `None` for types that are hashed in Rust.
fn held(engine: Engine, reported: &str) -> Option<Held> {
    match engine {
        Engine::Sqlite => None,
        Engine::Postgres => held_by_postgres(reported),
        Engine::MySql => held_by_mysql(reported),
    }
}

fn held_by_postgres(reported: &str) -> Option<Held> {
    Some(match reported {
        "INT2" | "INT4" | "INT8" => Held::Integer,
        "BOOL" => Held::Truth,
        "NUMERIC" => Held::Decimal,
        "TEXT" | "VARCHAR" | "citext" => Held::Text,
        "BYTEA" => Held::Bytes,
        "TIMESTAMP" => Held::Moment,
        "TIMESTAMPTZ" => Held::MomentWithZone,
        "DATE" => Held::Day,
        "UUID" => Held::Uuid,
        _ => return None,
    })
}

fn held_by_mysql(reported: &str) -> Option<Held> {
    Some(match reported.strip_suffix(" UNSIGNED").unwrap_or(reported) {
        "BOOLEAN" | "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" => Held::Integer,
        "DECIMAL" => Held::Decimal,
        "CHAR" | "VARCHAR" | "TINYTEXT" | "TEXT" | "MEDIUMTEXT" | "LONGTEXT" | "ENUM" => Held::Text,
        "BINARY" | "VARBINARY" | "TINYBLOB" | "BLOB" | "MEDIUMBLOB" | "LONGBLOB" => Held::Bytes,
        "DATETIME" | "TIMESTAMP" => Held::Moment,
        "DATE" => Held::Day,
        _ => return None,
    })
}
