//! Exact decimals of JSON number lexemes.
//!
//! Owns number equality and hashing: sign, significant digits and exponent, no floating point. Must stay true: equal
//! decimals hash alike; an exponent beyond 64 bits has no decimal and is compared by its lexeme.

use crate::hash;

/// Digits that fit in one word of a hash.
const SHORT_DIGITS: usize = 18;

/// A number as sign, significant digits (no leading or trailing zero) and the exponent of the last digit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decimal<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

impl<'a> Decimal<'a> {
    /// Reads a valid JSON lexeme; `None` when the exponent does not fit.
    pub(crate) fn of(lexeme: &'a [u8]) -> Option<Self> {
        let (negative, rest) = match lexeme.split_first() {
            Some((b'-', rest)) => (true, rest),
            _ => (false, lexeme),
        };
        let split = rest.iter().position(|b| matches!(b, b'e' | b'E'));
        let (mantissa, exponent) = match split {
            Some(at) => (rest.get(..at)?, rest.get(at + 1..)?),
            None => (rest, &b""[..]),
        };
        let (whole, fraction) = match mantissa.iter().position(|b| *b == b'.') {
            Some(at) => (mantissa.get(..at)?, mantissa.get(at + 1..)?),
            None => (mantissa, &b""[..]),
        };
        let fraction_len = i64::try_from(fraction.len()).ok()?;
        let fraction = trim_end(fraction);
        let dropped = fraction_len - i64::try_from(fraction.len()).ok()?;
        let whole = trim_start(whole);
        let (whole, fraction, stripped) = match (whole.is_empty(), fraction.is_empty()) {
            (true, _) => (whole, trim_start(fraction), 0),
            (false, true) => {
                let kept = trim_end(whole);
                (kept, fraction, i64::try_from(whole.len() - kept.len()).ok()?)
            }
            (false, false) => (whole, fraction, 0),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Some(Self { negative: false, whole, fraction, exponent: 0 });
        }
        let exponent =
            parse_exponent(exponent)?.checked_sub(fraction_len - dropped)?.checked_add(stripped)?;
        Some(Self { negative, whole, fraction, exponent })
    }

    fn digits(&self) -> impl Iterator<Item = u8> {
        self.whole.iter().chain(self.fraction).copied()
    }

    fn hash(&self) -> u64 {
        let mut hash = u64::from(self.negative);
        let mut word = 0u64;
        for (at, digit) in self.digits().enumerate() {
            if at > 0 && at % SHORT_DIGITS == 0 {
                hash = hash::mix(hash, word);
                word = 0;
            }
            word = word * 10 + u64::from(digit & 0x0F);
        }
        hash::mix(hash::mix(hash, word), self.exponent.cast_unsigned())
    }
}

impl PartialEq for Decimal<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.negative == other.negative
            && self.exponent == other.exponent
            && self.whole.len() + self.fraction.len() == other.whole.len() + other.fraction.len()
            && self.digits().eq(other.digits())
    }
}

/// The number as a whole one, where it is one that every language holds exactly.
pub(crate) fn whole(lexeme: &[u8]) -> Option<i64> {
    /// 18 digits fit.
    const MAX: i64 = 1_000_000_000_000_000_000;
    let decimal = Decimal::of(lexeme)?;
    let scale = 10i64.checked_pow(u32::try_from(decimal.exponent).ok()?)?;
    let digits = decimal.digits().try_fold(0i64, |sum, digit| {
        sum.checked_mul(10)?.checked_add(i64::from(digit & 0x0F)).filter(|sum| *sum < MAX)
    })?;
    let value = digits.checked_mul(scale).filter(|value| *value < MAX)?;
    Some(if decimal.negative { -value } else { value })
}

/// Hash that is the same for all lexemes of one number.
pub(crate) fn hash_of(lexeme: &[u8]) -> u64 {
    Decimal::of(lexeme).map_or_else(|| hash::of_bytes(lexeme), |decimal| decimal.hash())
}

/// Length and hash of the number at the start of `text`, if the grammar allows it.
#[inline]
pub(super) fn scan(text: &[u8]) -> Option<(usize, u64)> {
    if let Some(found) = scan_short_integer(text) {
        return Some(found);
    }
    let len = number_len(text)?;
    Some((len, hash_of(text.get(..len)?)))
}

/// Most numbers are whole and short: digits and hash in one pass. `None` leaves the decision to the grammar.
#[inline]
fn scan_short_integer(text: &[u8]) -> Option<(usize, u64)> {
    let from = usize::from(text.first() == Some(&b'-'));
    let (mut at, mut value) = (from, 0u64);
    while let Some(digit @ b'0'..=b'9') = text.get(at) {
        if at - from == SHORT_DIGITS {
            return None;
        }
        value = value * 10 + u64::from(digit & 0x0F);
        at += 1;
    }
    let leading_zero = at - from > 1 && text.get(from) == Some(&b'0');
    if at == from || leading_zero || matches!(text.get(at), Some(b'.' | b'e' | b'E')) {
        return None;
    }
    let mut exponent = 0;
    while value.is_multiple_of(10) && value > 0 {
        value /= 10;
        exponent += 1;
    }
    let negative = u64::from(from == 1 && value > 0);
    Some((at, hash::mix(hash::mix(negative, value), exponent)))
}

/// Length of the number at the start of `text`, if the grammar allows it.
pub(super) fn number_len(text: &[u8]) -> Option<usize> {
    let digits = |from: usize| {
        text.get(from..).unwrap_or_default().iter().take_while(|b| b.is_ascii_digit()).count()
    };
    let mut at = usize::from(text.first() == Some(&b'-'));
    let whole = digits(at);
    if whole == 0 || (whole > 1 && text.get(at) == Some(&b'0')) {
        return None;
    }
    at += whole;
    if text.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        if fraction == 0 {
            return None;
        }
        at += 1 + fraction;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        at += 1 + usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at);
        if exponent == 0 {
            return None;
        }
        at += exponent;
    }
    Some(at)
}

fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.split_first() {
        None => return Some(0),
        Some((b'-', digits)) => (true, digits),
        Some((b'+', digits)) => (false, digits),
        Some(_) => (false, text),
    };
    let value = digits
        .iter()
        .try_fold(0i64, |sum, digit| sum.checked_mul(10)?.checked_add(i64::from(digit & 0x0F)))?;
    Some(if negative { -value } else { value })
}

fn trim_start(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|d| **d == b'0').count();
    digits.get(zeros..).unwrap_or_default()
}

fn trim_end(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().rev().take_while(|d| **d == b'0').count();
    digits.get(..digits.len() - zeros).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &str, b: &str) -> bool {
        let equal = Decimal::of(a.as_bytes()) == Decimal::of(b.as_bytes());
        if equal {
            assert_eq!(hash_of(a.as_bytes()), hash_of(b.as_bytes()), "{a} {b}");
        }
        equal
    }

    #[test]
    fn lexemes_of_one_number_are_equal() {
        for (a, b) in [
            ("1", "1.0"),
            ("1", "1e0"),
            ("100", "1E2"),
            ("100", "1.00e+2"),
            ("0", "-0.0e99999999999999999999"),
            ("0.001", "1e-3"),
            ("0.0010", "10e-4"),
            ("12.50", "12.5"),
            ("120.50", "1205e-1"),
            ("123456789012345678901234567890", "12345678901234567890123456789e1"),
        ] {
            assert!(same(a, b), "{a} {b}");
        }
    }

    #[test]
    fn the_short_way_is_the_long_way() {
        for text in ["0", "-0", "7", "-120", "100000", "999999999999999999", "1234567890123456789"]
        {
            assert_eq!(
                scan(text.as_bytes()),
                Some((text.len(), hash_of(text.as_bytes()))),
                "{text}"
            );
        }
        for (text, len) in [("12,", 2), ("1.5]", 3), ("0x", 1), ("1e3 ", 3), ("-5}", 2)] {
            assert_eq!(scan(text.as_bytes()).map(|found| found.0), Some(len), "{text}");
        }
        for text in ["", "-", "01", "-01", "1.", "1e", "1e+", "x", "+1", ".5"] {
            assert_eq!(scan(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn neighbours_beyond_double_precision_differ() {
        for (a, b) in [
            ("9007199254740993", "9007199254740992"),
            ("1.000000000000000005", "1.0"),
            ("1", "-1"),
            ("1e10", "1e11"),
            ("10", "1"),
            ("0.1", "0.01"),
            ("101", "11"),
        ] {
            assert!(!same(a, b), "{a} {b}");
        }
    }
}
