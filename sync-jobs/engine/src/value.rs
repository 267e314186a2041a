//! Engine-neutral values and their one canonical form.
//!
//! The two sides are different database engines that show the same fact differently: `t` and `1`,
//! `2014-06-12 10:00:00` and `2014-06-12 10:00:00.000000`. Each value is brought into the canonical
//! form of the *target column's* kind once, directly after it was read, on both sides.
//!
//! What must stay true: canonical values are equal exactly when the facts are; a value that does not
//! fit the kind is an error with a reason, never a guess and never a silent NULL.

use std::borrow::Cow;

use crate::kind::ColumnKind;

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
    /// The number is outside what the column can store.
    #[error("the number is outside the range of a column of kind {wanted}")]
    OutOfRange {
        /// What the column stores.
        wanted: ColumnKind,
    },
    /// The column would store a nearby number instead.
    #[error("the number is not exact in a column of kind {wanted}")]
    NotExact {
        /// What the column stores.
        wanted: ColumnKind,
    },
    /// The column would cut or round the value.
    #[error("the value has {found} {what}, the column stores {stored}")]
    Excess {
        /// How much the value has.
        found: usize,
        /// Of what.
        what: &'static str,
        /// How much the column stores.
        stored: u64,
    },
    /// The text has a NUL character and the engine cannot store it.
    #[error("the text has a NUL character, which {engine} cannot store")]
    Nul {
        /// The engine's name.
        engine: &'static str,
    },
    /// The bytes of a text are not UTF-8.
    #[error("the text is not UTF-8 from byte {at} on")]
    NotUtf8 {
        /// The first wrong byte.
        at: usize,
    },
    /// A zero date, and the job does not say what it becomes.
    #[error("the value is a zero date, and the job's `zero-date` does not say what it becomes")]
    ZeroDate,
    /// Postgres' `infinity`.
    #[error("the value is infinity, which is no moment")]
    Infinity,
    /// No date or time that exists, or not in UTC.
    #[error("the text is no moment in UTC between the years 1 and 9999")]
    NoMoment,
    /// A date column gets a time of day.
    #[error("the value has a time of day, the column stores a date")]
    TimeOfDay,
    /// MySQL's times can be negative or longer than a day.
    #[error("the time is negative or longer than a day")]
    Span,
    /// JSON that has no canonical form.
    #[error("{problem}")]
    Json {
        /// Why.
        problem: &'static str,
    },
}

impl Value {
    /// The float as a value.
    pub fn float(number: f64) -> Self {
        // -0.0 and 0.0 are equal to every engine's `=`, so they must be one value here.
        // There are many NaNs in bits and one in SQL.
        let number = if number.is_nan() { f64::NAN } else { number };
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
