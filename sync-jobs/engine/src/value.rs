//! Engine-neutral values and their one canonical form.
//!
//! The two sides are different database engines that show the same fact differently: `t` and `1`,
//! `2014-06-12 10:00:00` and `2014-06-12 10:00:00.000000`. Each value is brought into the canonical
//! form of the *target column's* kind once, directly after it was read, on both sides.
//!
//! What must stay true: canonical values are equal exactly when the facts are; a value that does not
//! fit the kind is an error with a reason, never a guess and never a silent NULL.

use std::borrow::Cow;
use std::fmt;

/// One column's value, whichever engine it came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// A truth value.
    Bool(bool),
    /// Any integer, signed or unsigned, of any width that the three engines have.
    Int(i128),
    /// The bits of a 64-bit float, so that equality is total.
    Float(u64),
    /// Text, and everything that is canonically text: decimals, times, uuids.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// What a target column stores; decides the canonical form of its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnKind {
    /// Whole numbers.
    Integer,
    /// Exact decimals; canonical without trailing zeros of the fraction.
    Decimal,
    /// 64-bit floats, compared bit by bit.
    Float,
    /// Truth values.
    Bool,
    /// Text of any length.
    Text,
    /// Bytes of any length.
    Bytes,
    /// A date with a time in UTC; canonical `YYYY-MM-DD HH:MM:SS[.ffffff]` without trailing zeros.
    Timestamp,
    /// A date, canonical `YYYY-MM-DD`.
    Date,
    /// A uuid, canonical in lower case with hyphens.
    Uuid,
    /// A SQLite column without a type of its own: what is stored is what counts.
    Any,
}

/// A value that has no canonical form in the column it is meant for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// The value is of another kind than the column.
    #[error("a {found} value does not fit a column of kind {wanted}")]
    Kind {
        /// What was read (the kind only; row data stays out of messages).
        found: &'static str,
        /// What the column stores.
        wanted: ColumnKind,
    },
    /// The number is outside what the engine can store.
    #[error("the number is outside the range of the {engine} engine")]
    Range {
        /// The engine's name.
        engine: &'static str,
    },
    /// The text has a NUL character and the engine cannot store it.
    #[error("the text has a NUL character, which {engine} cannot store")]
    Nul {
        /// The engine's name.
        engine: &'static str,
    },
}

impl Value {
    /// The float as a value.
    pub fn float(number: f64) -> Self {
        // -0.0 and 0.0 are equal to every engine's `=`, so they must be one value here.
        Self::Float(if number == 0.0 { 0 } else { number.to_bits() })
    }

    /// A word for messages: the kind, never the data.
    pub const fn kind_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Int(_) => "integer",
            Self::Float(_) => "float",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytes",
        }
    }

    /// The canonical text; `None` is NULL. Bytes are lower-case hex, floats their shortest exact form.
    pub fn canonical_text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Null => None,
            Self::Bool(truth) => Some(Cow::Borrowed(if *truth { "1" } else { "0" })),
            Self::Int(number) => Some(Cow::Owned(number.to_string())),
            Self::Float(bits) => Some(Cow::Owned(format!("{:?}", f64::from_bits(*bits)))),
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Bytes(bytes) => Some(Cow::Owned(hex(bytes))),
        }
    }

    /// About how many bytes of memory the value holds, for the byte limits of a chunk.
    pub fn weight_bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) => 0,
                Self::Text(text) => text.len(),
                Self::Bytes(bytes) => bytes.len(),
            }
    }

    /// The value in the canonical form of a column of this kind.
    ///
    /// # Errors
    /// [`ValueError::Kind`] when it has none, e.g. free text for an integer column.
    pub fn into_canonical(self, kind: ColumnKind) -> Result<Self, ValueError> {
        if self == Self::Null {
            return Ok(self);
        }
        let refused = ValueError::Kind { found: self.kind_name(), wanted: kind };
        match kind {
            ColumnKind::Any => Some(self),
            ColumnKind::Integer => self.into_integer(),
            ColumnKind::Decimal => self.into_decimal(),
            ColumnKind::Float => self.into_float(),
            ColumnKind::Bool => self.into_bool(),
            ColumnKind::Text => self.into_text(),
            ColumnKind::Bytes => self.into_bytes(),
            ColumnKind::Timestamp => self.into_text().and_then(canonical_timestamp),
            ColumnKind::Date => self.into_text().and_then(canonical_date),
            ColumnKind::Uuid => self.into_text().and_then(canonical_uuid),
        }
        .ok_or(refused)
    }

    fn into_integer(self) -> Option<Self> {
        match self {
            Self::Int(_) => Some(self),
            Self::Bool(truth) => Some(Self::Int(i128::from(truth))),
            Self::Text(text) => text.parse().ok().map(Self::Int),
            Self::Null | Self::Float(_) | Self::Bytes(_) => None,
        }
    }

    fn into_decimal(self) -> Option<Self> {
        let text = match self {
            Self::Int(number) => number.to_string(),
            Self::Text(text) => text,
            Self::Float(bits) => format!("{:?}", f64::from_bits(bits)),
            Self::Null | Self::Bool(_) | Self::Bytes(_) => return None,
        };
        canonical_decimal(&text).map(Self::Text)
    }

    fn into_float(self) -> Option<Self> {
        match self {
            Self::Float(_) => Some(self),
            Self::Int(number) => number.to_string().parse().ok().map(Self::float),
            Self::Text(text) => text.parse().ok().map(Self::float),
            Self::Null | Self::Bool(_) | Self::Bytes(_) => None,
        }
    }

    fn into_bool(self) -> Option<Self> {
        match self {
            Self::Bool(_) => Some(self),
            Self::Int(0) => Some(Self::Bool(false)),
            Self::Int(1) => Some(Self::Bool(true)),
            Self::Text(text) => match text.as_str() {
                "0" | "f" | "false" => Some(Self::Bool(false)),
                "1" | "t" | "true" => Some(Self::Bool(true)),
                _ => None,
            },
            Self::Null | Self::Int(_) | Self::Float(_) | Self::Bytes(_) => None,
        }
    }

    fn into_text(self) -> Option<Self> {
        match self {
            Self::Text(_) => Some(self),
            Self::Bool(_) | Self::Int(_) | Self::Float(_) => {
                self.canonical_text().map(|text| Self::Text(text.into_owned()))
            }
            // MySQL shows computed keys over binary columns as bytes; text that is not UTF-8 is refused.
            Self::Bytes(bytes) => String::from_utf8(bytes).ok().map(Self::Text),
            Self::Null => None,
        }
    }

    fn into_bytes(self) -> Option<Self> {
        match self {
            Self::Bytes(_) => Some(self),
            Self::Text(text) => Some(Self::Bytes(text.into_bytes())),
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) => None,
        }
    }
}

impl ColumnKind {
    /// The kind as a word of the messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Integer => "integer",
            Self::Decimal => "decimal",
            Self::Float => "float",
            Self::Bool => "boolean",
            Self::Text => "text",
            Self::Bytes => "bytes",
            Self::Timestamp => "timestamp",
            Self::Date => "date",
            Self::Uuid => "uuid",
            Self::Any => "any",
        }
    }
}

impl fmt::Display for ColumnKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Removes the zone of a UTC time and the zeros at the end of its fraction.
fn canonical_timestamp(value: Value) -> Option<Value> {
    let Value::Text(mut text) = value else { return None };
    for zone in ["+00:00", "+00", "Z", " UTC"] {
        if let Some(bare) = text.strip_suffix(zone) {
            text.truncate(bare.len());
            break;
        }
    }
    let (date, time) = text.split_once([' ', 'T'])?;
    if !is_digits_at(date, "dddd-dd-dd") || !is_digits_at(time.get(..8)?, "dd:dd:dd") {
        return None;
    }
    let fraction = match time.get(8..)?.strip_prefix('.') {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.trim_end_matches('0'),
        None if time.len() == 8 => "",
        Some(_) | None => return None,
    };
    let seconds = time.get(..8)?;
    let dot = if fraction.is_empty() { "" } else { "." };
    Some(Value::Text(format!("{date} {seconds}{dot}{fraction}")))
}

fn canonical_date(value: Value) -> Option<Value> {
    let Value::Text(text) = value else { return None };
    let date = text.get(..10)?;
    let rest = text.get(10..)?;
    let midnight = rest.is_empty()
        || rest.trim_end_matches('0').trim_end_matches('.') == " 00:00:"
        || rest == " 00:00:00";
    (midnight && is_digits_at(date, "dddd-dd-dd")).then(|| Value::Text(date.to_owned()))
}

fn canonical_uuid(value: Value) -> Option<Value> {
    let Value::Text(text) = value else { return None };
    let digits: String = text.chars().filter(|c| *c != '-').collect::<String>().to_lowercase();
    if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| digits.get(range).unwrap_or(""));
    Some(Value::Text(parts.join("-")))
}

/// `+01.50` -> `1.5`, `-0.0` -> `0`; no exponents (the engines do not print decimals with one).
fn canonical_decimal(text: &str) -> Option<String> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let numeric = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !numeric(whole) || !numeric(fraction) {
        return None;
    }
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        rest => rest,
    };
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    let sign = if negative && (whole != "0" || !fraction.is_empty()) { "-" } else { "" };
    Some(format!("{sign}{whole}{dot}{fraction}"))
}

/// Whether `text` has a digit where `shape` has `d`, and the shape's character elsewhere.
fn is_digits_at(text: &str, shape: &str) -> bool {
    text.len() == shape.len()
        && text.bytes().zip(shape.bytes()).all(|(byte, want)| match want {
            b'd' => byte.is_ascii_digit(),
            mark => byte == mark,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn engines_that_show_one_fact_differently_agree() {
        let cases = [
            (text("t"), text("1"), ColumnKind::Bool),
            (Value::Int(1), Value::Bool(true), ColumnKind::Bool),
            (
                text("2014-06-12 10:00:00.000000"),
                text("2014-06-12 10:00:00"),
                ColumnKind::Timestamp,
            ),
            (text("2014-06-12T10:00:00Z"), text("2014-06-12 10:00:00+00"), ColumnKind::Timestamp),
            (text("1.50"), text("01.5"), ColumnKind::Decimal),
            (text("-0.00"), Value::Int(0), ColumnKind::Decimal),
            (Value::Int(12), text("12"), ColumnKind::Integer),
            (Value::float(0.0), Value::float(-0.0), ColumnKind::Float),
            (text("2014-06-12 00:00:00"), text("2014-06-12"), ColumnKind::Date),
            (
                text("A0EEBC999C0B4EF8BB6D6BB9BD380A11"),
                text("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
                ColumnKind::Uuid,
            ),
        ];
        for (left, right, kind) in cases {
            assert_eq!(left.into_canonical(kind), right.into_canonical(kind), "{kind}");
        }
    }

    #[test]
    fn what_does_not_fit_the_column_is_refused() {
        for (value, kind) in [
            (text("twelve"), ColumnKind::Integer),
            (Value::Float(0), ColumnKind::Integer),
            (Value::Int(2), ColumnKind::Bool),
            (text("12/06/2014"), ColumnKind::Timestamp),
            (text("2014-06-12 10:00:00+02"), ColumnKind::Timestamp),
            (text("2014-06-12 10:00:00"), ColumnKind::Date),
            (Value::Bytes(vec![0xff]), ColumnKind::Text),
            (text("1e3"), ColumnKind::Decimal),
        ] {
            assert!(value.clone().into_canonical(kind).is_err(), "{value:?} as {kind}");
        }
    }

    #[test]
    fn null_is_null_in_every_column() {
        assert_eq!(Value::Null.into_canonical(ColumnKind::Integer), Ok(Value::Null));
        assert_eq!(Value::Null.canonical_text(), None);
    }
}
