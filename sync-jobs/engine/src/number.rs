//! Decimals as text, without a float in between.
//!
//! What must stay true: one number has one text (`+01.50` is `1.5`, `-0.0` is `0`); rounding is half away
//! from zero, which is what MySQL and Postgres do with decimals.

/// Digits that an exponent may add; more is no number that somebody meant.
const EXPANDED_MAX: usize = 1_000;

/// `+01.50` -> `1.5`, `-0.0` -> `0`; no exponents (the engines do not print decimals with one).
pub(crate) fn decimal(text: &str) -> Option<String> {
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
    // Not `format!`: this is asked of each decimal that is copied.
    let mut plain = String::with_capacity(text.len() + 1);
    for piece in [sign, whole, dot, fraction] {
        plain.push_str(piece);
    }
    Some(plain)
}

/// Like [`decimal`], also for numbers with an exponent: `1.5e2` -> `150`.
pub(crate) fn scientific(text: &str) -> Option<String> {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else { return decimal(text) };
    let exponent: i32 = exponent.parse().ok()?;
    let moved = usize::try_from(exponent.unsigned_abs()).ok()?;
    let plain = decimal(mantissa)?;
    if plain == "0" {
        return Some(plain);
    }
    if moved > EXPANDED_MAX {
        return None;
    }
    let (sign, digits) = match plain.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", plain.as_str()),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let zeros = "0".repeat(moved);
    let shifted = if exponent < 0 {
        let all = format!("{zeros}{whole}");
        let (left, right) = all.split_at_checked(all.len() - moved)?;
        format!("{sign}{left}.{right}{fraction}")
    } else {
        let all = format!("{fraction}{zeros}");
        let (left, right) = all.split_at_checked(moved)?;
        format!("{sign}{whole}{left}.{right}")
    };
    decimal(&shifted)
}

/// How many digits a canonical decimal has before and after its point; a zero before it counts none.
pub(crate) fn digits(canonical: &str) -> (usize, usize) {
    let bare = canonical.trim_start_matches('-');
    let (whole, fraction) = bare.split_once('.').unwrap_or((bare, ""));
    (if whole == "0" { 0 } else { whole.len() }, fraction.len())
}

/// A canonical decimal with at most `scale` digits after the point, rounded half away from zero.
pub(crate) fn rounded(canonical: &str, scale: usize) -> String {
    let (sign, bare) = match canonical.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", canonical),
    };
    let (whole, fraction) = bare.split_once('.').unwrap_or((bare, ""));
    let Some((kept, cut)) = fraction.split_at_checked(scale) else { return canonical.to_owned() };
    let mut all = format!("{whole}{kept}").into_bytes();
    if cut.bytes().next().is_some_and(|digit| digit >= b'5') {
        increment(&mut all);
    }
    let point = all.len() - kept.len();
    let text: String = all.iter().map(|byte| char::from(*byte)).collect();
    let (whole, fraction) = text.split_at_checked(point).unwrap_or((&text, ""));
    decimal(&format!("{sign}{whole}.{fraction}")).unwrap_or_else(|| canonical.to_owned())
}

/// The number that these digits write, plus one.
pub(crate) fn increment(digits: &mut Vec<u8>) {
    for digit in digits.iter_mut().rev() {
        if *digit < b'9' {
            *digit += 1;
            return;
        }
        *digit = b'0';
    }
    digits.insert(0, b'1');
}

/// A finite float as a canonical decimal: the shortest text that reads back as the same bits.
pub(crate) fn of_float(number: f64) -> Option<String> {
    if !number.is_finite() {
        return None;
    }
    decimal(&number.to_string())
}

/// The nearest 32-bit float.
#[expect(clippy::cast_possible_truncation, reason = "rounding is what is asked for")]
pub(crate) fn narrow(number: f64) -> f32 {
    number as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;
    use proptest::prelude::*;

    #[test]
    fn exponents_are_expanded() {
        for (text, plain) in [
            ("1e2", "100"),
            ("-1.5E+3", "-1500"),
            ("12.5e-3", "0.0125"),
            ("0e999999", "0"),
            ("1e0", "1"),
            ("100e-2", "1"),
        ] {
            assert_eq!(scientific(text).as_deref(), Some(plain), "{text}");
        }
        assert_eq!(scientific("1e99999"), None);
    }

    #[test]
    fn rounding_is_half_away_from_zero() {
        for (text, scale, plain) in [
            ("1.255", 2, "1.26"),
            ("-1.255", 2, "-1.26"),
            ("9.999", 2, "10"),
            ("0.004", 2, "0"),
            ("-0.004", 2, "0"),
            ("1.2", 5, "1.2"),
            ("0.5", 0, "1"),
        ] {
            assert_eq!(rounded(text, scale), plain, "{text} at {scale}");
        }
    }

    proptest! {
        #[test]
        fn one_number_has_one_text(whole in 0_u64.., fraction in "[0-9]{0,6}", zeros in "0{0,3}") {
            let canonical = decimal(&format!("{whole}.{fraction}")).unwrap();
            prop_assert_eq!(decimal(&canonical), Some(canonical.clone()));
            prop_assert_eq!(decimal(&format!("+{zeros}{whole}.{fraction}{zeros}")), Some(canonical));
        }

        #[test]
        fn a_float_reads_back_from_its_decimal(bits in any::<u64>()) {
            let number = f64::from_bits(bits);
            if let Some(text) = of_float(number) {
                let back = Value::float(text.parse().unwrap());
                prop_assert_eq!(back, Value::float(number));
            }
        }
    }
}
