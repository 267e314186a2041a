//! Exact arithmetic on decimals, for rules with a tolerance.
//!
//! Owns difference and rounding without floating point, so that 9007199254740993 is never "within 0.01" of its
//! neighbour. Must stay true: total on every JSON number; what does not fit is `None`, and then no tolerance holds.

/// A decimal, `mantissa * 10^exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exact {
    mantissa: i128,
    exponent: i32,
}

/// Digits of a mantissa: enough for money and ids, and sums stay far from the limit of `i128`.
const DIGITS_MAX: u32 = 36;

impl Exact {
    /// Reads a JSON number of at most 36 significant digits.
    pub(crate) fn of(lexeme: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(lexeme).ok()?;
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (digits, exponent) = match text.split_once(['e', 'E']) {
            Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let fraction = fraction.trim_end_matches('0');
        let mut mantissa: i128 = 0;
        for digit in whole.bytes().chain(fraction.bytes()) {
            if mantissa >= 10i128.pow(DIGITS_MAX - 1) || !digit.is_ascii_digit() {
                return None;
            }
            mantissa = mantissa * 10 + i128::from(digit & 0x0F);
        }
        let exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
        let mantissa = if negative { -mantissa } else { mantissa };
        Some(if mantissa == 0 {
            Self { mantissa, exponent: 0 }
        } else {
            Self { mantissa, exponent }
        })
    }

    /// The distance of two numbers.
    pub(crate) fn distance(self, other: Self) -> Option<Self> {
        if self.mantissa == 0 || other.mantissa == 0 {
            let one = if self.mantissa == 0 { other } else { self };
            return Some(one.abs());
        }
        let exponent = self.exponent.min(other.exponent);
        let (a, b) = (self.at(exponent)?, other.at(exponent)?);
        Some(Self { mantissa: a.checked_sub(b)?.checked_abs()?, exponent })
    }

    pub(crate) fn abs(self) -> Self {
        Self { mantissa: self.mantissa.abs(), ..self }
    }

    /// Rounded to `decimals` places, half away from zero; in units of the last place.
    pub(crate) fn rounded(self, decimals: u8) -> Option<i128> {
        let last = -i32::from(decimals);
        if self.exponent >= last {
            return self.at(last);
        }
        let drop = u32::try_from(last.checked_sub(self.exponent)?).ok()?;
        let Some(unit) = 10i128.checked_pow(drop) else { return Some(0) };
        let (whole, rest) = (self.mantissa / unit, self.mantissa % unit);
        let up = rest.abs() >= unit - rest.abs();
        Some(if up { whole + self.mantissa.signum() } else { whole })
    }

    /// The nearest double.
    pub(crate) fn to_f64(self) -> f64 {
        format!("{}e{}", self.mantissa, self.exponent).parse().unwrap_or(f64::INFINITY)
    }

    fn at(self, exponent: i32) -> Option<i128> {
        let shift = u32::try_from(self.exponent.checked_sub(exponent)?).ok()?;
        self.mantissa.checked_mul(10i128.checked_pow(shift)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Exact {
        Exact::of(text.as_bytes()).unwrap()
    }

    #[test]
    fn distances_are_exact() {
        for (a, b, expected) in [
            ("12.51", "12.50", 0.01),
            ("9007199254740993", "9007199254740992", 1.0),
            ("-1", "1", 2.0),
            ("1e3", "1000.0", 0.0),
            ("0", "-0.25", 0.25),
        ] {
            let distance = of(a).distance(of(b)).unwrap().to_f64();
            assert!((distance - expected).abs() < f64::EPSILON, "{a} {b} {distance}");
        }
        assert!(of("1e300").distance(of("1")).is_none());
        assert!(Exact::of("1".repeat(60).as_bytes()).is_none());
    }

    #[test]
    fn rounding_is_half_away_from_zero() {
        for (text, decimals, expected) in [
            ("12.345", 2, 1_235),
            ("12.344", 2, 1_234),
            ("-12.345", 2, -1_235),
            ("12", 2, 1_200),
            ("1e-400", 2, 0),
            ("0.5", 0, 1),
            ("0.49", 0, 0),
        ] {
            assert_eq!(of(text).rounded(decimals), Some(expected), "{text}");
        }
    }
}
