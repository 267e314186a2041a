//! What a target column stores, with the sizes that decide what fits.
//!
//! The kind is made of the *declared* type, precision, scale and length included, because a value that an
//! engine would round, cut or pad on its way in would differ from its source for ever, or be lost
//! without a word. The canonical form is made for the kind before the value is written.
//!
//! What must stay true: a kind is small and `Copy`; two columns of one kind store the same values.

use std::fmt;

/// No limit of digits or length.
pub const UNLIMITED: u32 = u32::MAX;

/// What a target column stores; decides the canonical form of its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnKind {
    /// Whole numbers of this width.
    Integer {
        /// Width in bits, at most 64.
        bits: u8,
        /// Whether it starts at zero.
        unsigned: bool,
    },
    /// Exact decimals; canonical without trailing zeros of the fraction.
    Decimal {
        /// Digits in all, or [`UNLIMITED`].
        digits: u32,
        /// Digits after the point, or [`UNLIMITED`].
        scale: u32,
    },
    /// 64-bit floats, compared bit by bit.
    Float,
    /// 32-bit floats, compared bit by bit.
    Real,
    /// Truth values.
    Bool,
    /// Text of variable length.
    Text {
        /// What it may hold.
        limit: TextLimit,
    },
    /// Text of fixed length, whose trailing spaces mean nothing; canonical without them.
    Char {
        /// Length in characters.
        length: u32,
    },
    /// A set of words; canonical in alphabetical order, joined by commas.
    Set,
    /// Bytes of any length.
    Bytes,
    /// Exactly so many bytes; the engine would pad fewer with zeros.
    Binary {
        /// Length in bytes.
        length: u32,
    },
    /// Exactly so many bits; canonical as `0` and `1`.
    Bits {
        /// Length in bits, at most 64.
        length: u8,
    },
    /// A date with a time in UTC; canonical `YYYY-MM-DD HH:MM:SS[.ffffff]` without trailing zeros.
    Timestamp {
        /// Digits of a second's fraction.
        digits: u8,
    },
    /// A date, canonical `YYYY-MM-DD`.
    Date,
    /// A time; canonical `HH:MM:SS[.ffffff]` without trailing zeros.
    Time {
        /// Digits of a second's fraction.
        digits: u8,
        /// Whether it may be negative or longer than a day, as in MySQL.
        span: bool,
    },
    /// MySQL's year: 0 or 1901 to 2155.
    Year,
    /// A uuid, canonical in lower case with hyphens.
    Uuid,
    /// JSON; canonical with sorted keys, without spaces, numbers as plain decimals.
    Json {
        /// How the engine keeps numbers.
        numbers: JsonNumbers,
    },
    /// A SQLite column without a type of its own: what is stored is what counts.
    Any,
}

/// What a text column may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TextLimit {
    /// Anything.
    None,
    /// At most so many characters.
    Chars(u32),
    /// At most so many bytes of UTF-8.
    Bytes(u32),
}

/// How an engine keeps the numbers inside JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JsonNumbers {
    /// As they are written.
    Exact,
    /// As 64-bit integers and floats.
    Machine,
}

impl ColumnKind {
    /// Whole numbers of 64 bits with sign, what root keys are made of.
    pub const INTEGER: Self = Self::Integer { bits: 64, unsigned: false };
    /// Text without a limit.
    pub const TEXT: Self = Self::Text { limit: TextLimit::None };
    /// Decimals without a limit.
    pub const DECIMAL: Self = Self::Decimal { digits: UNLIMITED, scale: UNLIMITED };
    /// Times down to the microsecond.
    pub const TIMESTAMP: Self = Self::Timestamp { digits: 6 };

    /// The kind as a word of the messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Integer { .. } => "integer",
            Self::Decimal { .. } => "decimal",
            Self::Float => "float",
            Self::Real => "real",
            Self::Bool => "boolean",
            Self::Text { .. } => "text",
            Self::Char { .. } => "char",
            Self::Set => "set",
            Self::Bytes => "bytes",
            Self::Binary { .. } => "binary",
            Self::Bits { .. } => "bit",
            Self::Timestamp { .. } => "timestamp",
            Self::Date => "date",
            Self::Time { .. } => "time",
            Self::Year => "year",
            Self::Uuid => "uuid",
            Self::Json { .. } => "json",
            Self::Any => "any",
        }
    }
}

impl fmt::Display for ColumnKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            Self::Integer { bits, unsigned } => {
                write!(f, "({bits} bits{})", if *unsigned { ", unsigned" } else { "" })
            }
            Self::Decimal { digits, scale } if *scale != UNLIMITED => {
                write!(f, "({digits},{scale})")
            }
            Self::Char { length }
            | Self::Binary { length }
            | Self::Text { limit: TextLimit::Chars(length) } => write!(f, "({length})"),
            Self::Bits { length } => write!(f, "({length})"),
            Self::Timestamp { digits } | Self::Time { digits, .. } => write!(f, "({digits})"),
            Self::Decimal { .. }
            | Self::Float
            | Self::Real
            | Self::Bool
            | Self::Text { .. }
            | Self::Set
            | Self::Bytes
            | Self::Date
            | Self::Year
            | Self::Uuid
            | Self::Json { .. }
            | Self::Any => Ok(()),
        }
    }
}
