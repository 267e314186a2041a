//! The canonical form of a value in a column: what is written, compared and hashed.
//!
//! The engines round, cut and pad what does not fit, each in its own way and some without a word. So
//! whatever a column cannot store exactly is refused here, or rounded here when the mapping names the
//! column in `round`; the engines only ever see what they store as it is.
//!
//! What must stay true: `into_canonical` is idempotent, and two values have one form exactly when they
//! are one fact in that column; `rounded` gives something that the column stores, if there is something.

use crate::kind::{ColumnKind, TextLimit, UNLIMITED};
use crate::value::{Value, ValueError};
use crate::{json, number, time};

impl Value {
    /// The value in the canonical form of a column of this kind.
    ///
    /// # Errors
    /// When it has none: free text for an integer column, more digits than the column stores.
    pub fn into_canonical(self, kind: ColumnKind) -> Result<Self, ValueError> {
        if self == Self::Null {
            return Ok(self);
        }
        let refused = ValueError::Kind { found: self.kind_name(), wanted: kind };
        match kind {
            ColumnKind::Any => Ok(self),
            ColumnKind::Integer { bits, unsigned } => {
                let number = self.as_integer().ok_or(refused)?;
                integer(number, bits, unsigned).ok_or(ValueError::OutOfRange { wanted: kind })
            }
            ColumnKind::Year => match self.as_integer().ok_or(refused)? {
                year @ (0 | 1901..=2155) => Ok(Self::Int(year)),
                _ => Err(ValueError::OutOfRange { wanted: kind }),
            },
            ColumnKind::Decimal { digits, scale } => {
                decimal(self.as_decimal().ok_or(refused)?, digits, scale, kind)
            }
            ColumnKind::Float | ColumnKind::Real => self.float_of(kind, refused),
            ColumnKind::Bool => self.as_bool().map(Self::Bool).ok_or(refused),
            ColumnKind::Text { limit } => text(self.into_text(refused)?, limit),
            ColumnKind::Char { length } => {
                let bare = self.into_text(refused)?;
                text(bare.trim_end_matches(' ').to_owned(), TextLimit::Chars(length))
            }
            ColumnKind::Set => self.into_text(refused).map(|text| Self::Text(set(&text))),
            ColumnKind::Bytes => self.into_bytes().map(Self::Bytes).ok_or(refused),
            ColumnKind::Binary { length } => binary(self.into_bytes().ok_or(refused)?, length),
            ColumnKind::Bits { length } => self.bits(length, refused),
            ColumnKind::Timestamp { digits } => match self.into_text(refused)? {
                plain if time::is_plain_timestamp(&plain) => Ok(Self::Text(plain)),
                other => time::timestamp(&other, digits).map(Self::Text),
            },
            ColumnKind::Date => time::date(&self.into_text(refused)?).map(Self::Text),
            ColumnKind::Time { digits, span } => {
                time::time(&self.into_text(refused)?, digits, span).map(Self::Text)
            }
            ColumnKind::Uuid => uuid(&self.into_text(refused.clone())?).ok_or(refused),
            ColumnKind::Json { numbers } => {
                let text = self.into_json(refused)?;
                let form = json::canonical(&text, numbers);
                form.map(Self::Text).map_err(|problem| ValueError::Json { problem })
            }
        }
    }

    /// The nearest value that a column of this kind stores; what cannot be rounded stays as it is.
    #[must_use]
    pub fn rounded(self, kind: ColumnKind) -> Self {
        match kind {
            ColumnKind::Decimal { scale, .. } if scale != UNLIMITED => match self.as_decimal() {
                Some(plain) => Self::Text(number::rounded(
                    &plain,
                    usize::try_from(scale).unwrap_or(usize::MAX),
                )),
                None => self,
            },
            ColumnKind::Integer { .. } => match self.as_decimal() {
                Some(plain) => Self::Text(number::rounded(&plain, 0)),
                None => self,
            },
            ColumnKind::Float => self.as_float().map_or(self, Self::float),
            ColumnKind::Real => match self.as_float() {
                Some(wide) => Self::float(f64::from(number::narrow(wide))),
                None => self,
            },
            ColumnKind::Timestamp { digits } => {
                self.map_text(|text| time::timestamp_rounded(text, digits))
            }
            ColumnKind::Time { digits, .. } => {
                self.map_text(|text| time::time_rounded(text, digits))
            }
            ColumnKind::Decimal { .. }
            | ColumnKind::Bool
            | ColumnKind::Text { .. }
            | ColumnKind::Char { .. }
            | ColumnKind::Set
            | ColumnKind::Bytes
            | ColumnKind::Binary { .. }
            | ColumnKind::Bits { .. }
            | ColumnKind::Date
            | ColumnKind::Year
            | ColumnKind::Uuid
            | ColumnKind::Json { .. }
            | ColumnKind::Any => self,
        }
    }

    fn map_text(self, change: impl Fn(&str) -> String) -> Self {
        match self {
            Self::Text(text) => Self::Text(change(&text)),
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Bytes(_) => self,
        }
    }

    fn as_integer(&self) -> Option<i128> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Bool(truth) => Some(i128::from(*truth)),
            // A sum is a decimal in MySQL and Postgres.
            Self::Text(text) => number::decimal(text)?.parse().ok(),
            Self::Null | Self::Float(_) | Self::Bytes(_) => None,
        }
    }

    fn as_decimal(&self) -> Option<String> {
        match self {
            Self::Int(number) => Some(number.to_string()),
            Self::Text(text) => number::decimal(text),
            Self::Float(bits) => number::of_float(f64::from_bits(*bits)),
            Self::Null | Self::Bool(_) | Self::Bytes(_) => None,
        }
    }

    /// The nearest float.
    fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(bits) => Some(f64::from_bits(*bits)),
            Self::Int(number) => number.to_string().parse().ok(),
            Self::Text(text) => number::decimal(text)?.parse().ok(),
            Self::Null | Self::Bool(_) | Self::Bytes(_) => None,
        }
    }

    fn float_of(self, kind: ColumnKind, refused: ValueError) -> Result<Self, ValueError> {
        let wide = self.as_float().ok_or(refused)?;
        let narrow = number::narrow(wide);
        let is_real = kind == ColumnKind::Real;
        let exact = match &self {
            Self::Float(_) => !is_real || wide.is_nan() || same(f64::from(narrow), wide),
            // A decimal or integer is exact when its text comes back.
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Text(_) | Self::Bytes(_) => {
                let back = if is_real {
                    number::decimal(&narrow.to_string())
                } else {
                    number::of_float(wide)
                };
                back.is_some() && back == self.as_decimal()
            }
        };
        if !exact {
            return Err(ValueError::NotExact { wanted: kind });
        }
        Ok(Self::float(if is_real { f64::from(narrow) } else { wide }))
    }

    fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(truth) => Some(*truth),
            Self::Int(0) => Some(false),
            Self::Int(1) => Some(true),
            Self::Text(text) => match text.as_str() {
                "0" | "f" | "false" => Some(false),
                "1" | "t" | "true" => Some(true),
                _ => None,
            },
            Self::Null | Self::Int(_) | Self::Float(_) | Self::Bytes(_) => None,
        }
    }

    fn into_text(self, refused: ValueError) -> Result<String, ValueError> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Bool(_) | Self::Int(_) | Self::Float(_) => {
                self.canonical_text().map(std::borrow::Cow::into_owned).ok_or(refused)
            }
            // MySQL shows computed keys over binary columns as bytes.
            Self::Bytes(bytes) => String::from_utf8(bytes)
                .map_err(|error| ValueError::NotUtf8 { at: error.utf8_error().valid_up_to() }),
            Self::Null => Err(refused),
        }
    }

    fn into_json(self, refused: ValueError) -> Result<String, ValueError> {
        match self {
            Self::Bool(truth) => Ok(truth.to_string()),
            // A SQLite column that is declared JSON turns the texts of numbers into numbers.
            Self::Float(bits) => number::of_float(f64::from_bits(bits)).ok_or(refused),
            Self::Null | Self::Int(_) | Self::Text(_) | Self::Bytes(_) => self.into_text(refused),
        }
    }

    fn into_bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Text(text) => Some(text.into_bytes()),
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) => None,
        }
    }

    fn bits(self, length: u8, refused: ValueError) -> Result<Self, ValueError> {
        let width = usize::from(length);
        let text = match self {
            Self::Bool(truth) => format!("{:0width$b}", u8::from(truth)),
            Self::Int(number) if number >= 0 => format!("{number:0width$b}"),
            Self::Text(text)
                if !text.is_empty() && text.bytes().all(|b| matches!(b, b'0' | b'1')) =>
            {
                text
            }
            Self::Null | Self::Int(_) | Self::Float(_) | Self::Text(_) | Self::Bytes(_) => {
                return Err(refused);
            }
        };
        if text.len() != width {
            return Err(ValueError::Excess {
                found: text.len(),
                what: "bits",
                stored: u64::from(length),
            });
        }
        Ok(Self::Text(text))
    }
}

/// Equal, bit by bit but for the sign of zero.
fn same(left: f64, right: f64) -> bool {
    Value::float(left) == Value::float(right)
}

fn integer(number: i128, bits: u8, unsigned: bool) -> Option<Value> {
    let width = u32::from(bits.clamp(1, 64));
    let (low, high) = if unsigned {
        (0, 1_i128 << width)
    } else {
        (-(1_i128 << (width - 1)), 1_i128 << (width - 1))
    };
    (low..high).contains(&number).then_some(Value::Int(number))
}

fn decimal(plain: String, digits: u32, scale: u32, kind: ColumnKind) -> Result<Value, ValueError> {
    let limit = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX);
    let (whole, fraction) = number::digits(&plain);
    if scale != UNLIMITED {
        if fraction > limit(scale) {
            let what = "digits after the point";
            return Err(ValueError::Excess { found: fraction, what, stored: u64::from(scale) });
        }
        if whole > limit(digits.saturating_sub(scale)) {
            return Err(ValueError::OutOfRange { wanted: kind });
        }
    } else if digits != UNLIMITED
        && significant(&plain) > limit(digits)
        && plain.parse::<i64>().is_err()
    {
        let what = "digits";
        let found = significant(&plain);
        return Err(ValueError::Excess { found, what, stored: u64::from(digits) });
    }
    Ok(Value::Text(plain))
}

/// Digits without the zeros at both ends.
fn significant(plain: &str) -> usize {
    let digits: String = plain.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.trim_start_matches('0');
    let kept = if plain.contains('.') { digits } else { digits.trim_end_matches('0') };
    kept.len()
}

fn text(text: String, limit: TextLimit) -> Result<Value, ValueError> {
    let (found, stored, what) = match limit {
        TextLimit::None => return Ok(Value::Text(text)),
        // Counting bytes first spares most texts the walk.
        TextLimit::Chars(chars) if text.len() <= usize::try_from(chars).unwrap_or(usize::MAX) => {
            return Ok(Value::Text(text));
        }
        TextLimit::Chars(chars) => (text.chars().count(), chars, "characters"),
        TextLimit::Bytes(bytes) => (text.len(), bytes, "bytes"),
    };
    if found > usize::try_from(stored).unwrap_or(usize::MAX) {
        return Err(ValueError::Excess { found, what, stored: u64::from(stored) });
    }
    Ok(Value::Text(text))
}

fn binary(bytes: Vec<u8>, length: u32) -> Result<Value, ValueError> {
    let (found, stored) = (bytes.len(), u64::from(length));
    if u64::try_from(found) != Ok(stored) {
        return Err(ValueError::Excess { found, what: "bytes", stored });
    }
    Ok(Value::Bytes(bytes))
}

/// The words of a set in alphabetical order, each once.
fn set(text: &str) -> String {
    let mut words: Vec<&str> = text.split(',').filter(|word| !word.is_empty()).collect();
    words.sort_unstable();
    words.dedup();
    words.join(",")
}

fn uuid(text: &str) -> Option<Value> {
    let digits: String = text.chars().filter(|c| *c != '-').collect::<String>().to_lowercase();
    if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| digits.get(range).unwrap_or(""));
    Some(Value::Text(parts.join("-")))
}

#[cfg(test)]
mod tests;
