//! What happened to a value, in words that carry no value.
//!
//! Owns the third part of a cause's signature (place, kind, transition): "the time is 3,600 s later", "rounded to one
//! decimal", "a number became a string". It exists because two defects at one place have different owners. Must stay
//! true: the words are few, so that they can be counted by; nothing of a value but small steps and status codes is in
//! them.

use crate::difference::{AttrChange, Difference, Kind, ValueChange};
use crate::json::{is_number, same_number};
use crate::time::Moment;
use crate::{Fragment, ValueClass, time};

/// Factors between usual units: percent and cents, seconds and minutes, milliseconds.
const FACTORS: [u32; 4] = [10, 60, 100, 1_000];

/// Decimals up to which a rounding is looked for.
const DECIMALS_MAX: usize = 8;

/// Exponents beyond this are not written out.
const EXPONENT_MAX: i32 = 40;

/// Time shifts are named in steps of this many seconds, up to [`SHIFT_MAX`]; others are just other times.
const SHIFT_STEP: i64 = 900;
const SHIFT_MAX: i64 = 26 * 3_600;

impl Difference {
    /// From what to what, such as `rails-time -> iso8601`, `time +3600s`, `round(2)`, `int -> int-1`.
    pub fn transition(&self) -> String {
        let (legacy, new) = (self.legacy.as_ref(), self.new.as_ref());
        let special = legacy.zip(new).and_then(|(legacy, new)| special(self.kind, legacy, new));
        special.unwrap_or_else(|| format!("{} -> {}", word(legacy), word(new)))
    }
}

/// The word for a change that says more than two classes.
fn special(kind: Kind, legacy: &Fragment, new: &Fragment) -> Option<String> {
    if kind == Kind::StatusChanged {
        return Some(format!("{} -> {}", legacy.text, new.text));
    }
    let (Kind::ValueChanged { sub }
    | Kind::HtmlText { sub }
    | Kind::HtmlAttr { sub: AttrChange::Value(sub) }) = kind
    else {
        return None;
    };
    match sub {
        ValueChange::Number => number(&legacy.text, &new.text),
        ValueChange::TimeInstant => shift(legacy, new),
        ValueChange::Case => Some(case(legacy, new)),
        ValueChange::String => edge(legacy, new),
        ValueChange::NumberPrecision
        | ValueChange::Bool
        | ValueChange::Whitespace
        | ValueChange::TimeFormat
        | ValueChange::UrlHost
        | ValueChange::Encoding => None,
    }
}

/// The word of a class without its size, which differs from answer to answer.
fn word(fragment: Option<&Fragment>) -> &'static str {
    let Some(fragment) = fragment else { return "absent" };
    match fragment.class() {
        ValueClass::Null => "null",
        ValueClass::Bool => "bool",
        ValueClass::Int => "int",
        // 17.0 is a whole number, however it is written.
        ValueClass::Number => match plain(&fragment.text) {
            Some(text) if !text.contains('.') => word_of_whole(&text),
            Some(_) | None => "number",
        },
        ValueClass::Uuid => "uuid",
        ValueClass::Hex(_) => "hex",
        ValueClass::Iso8601 => "iso8601",
        ValueClass::RailsTime => "rails-time",
        ValueClass::Epoch => "epoch",
        ValueClass::Url => "url",
        ValueClass::Empty => "empty",
        ValueClass::String(_) => "string",
        ValueClass::Array(_) => "array",
        ValueClass::Object => "object",
        ValueClass::Binary => "binary",
    }
}

fn word_of_whole(text: &str) -> &'static str {
    match text.parse::<i64>() {
        Ok(1_000_000_000..2_000_000_000 | 1_000_000_000_000..2_000_000_000_000) => "epoch",
        _ => "int",
    }
}

fn number(a: &str, b: &str) -> Option<String> {
    let (a, b) = (plain(a)?, plain(b)?);
    if let (Ok(x), Ok(y)) = (a.parse::<i64>(), b.parse::<i64>())
        && let Some(step @ (-1 | 1)) = y.checked_sub(x)
    {
        return Some(format!("int -> int{step:+}"));
    }
    if let Some(decimals) = rounding(&a, &b) {
        return Some(format!("round({decimals})"));
    }
    if let Some(decimals) = rounding(&b, &a) {
        return Some(format!("unround({decimals})"));
    }
    FACTORS.iter().find_map(|factor| {
        let times = |small: &str, large: &str| {
            let product = small.parse::<f64>().ok()? * f64::from(*factor);
            let large = large.parse::<f64>().ok()?;
            (product != 0.0 && (product - large).abs() <= large.abs() * 1e-12).then_some(())
        };
        let up = times(&a, &b).map(|()| format!("x{factor}"));
        up.or_else(|| times(&b, &a).map(|()| format!("/{factor}")))
    })
}

/// A number without exponent and without zeros at its end; nothing when it is cut or far from 1.
fn plain(lexeme: &str) -> Option<String> {
    if !is_number(lexeme.as_bytes()) {
        return None;
    }
    let (mantissa, exponent) = lexeme.split_once(['e', 'E']).unwrap_or((lexeme, "0"));
    let exponent =
        exponent.parse::<i32>().ok().filter(|exponent| exponent.abs() <= EXPONENT_MAX)?;
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let point = i32::try_from(whole.len()).ok()? + exponent;
    let (whole, fraction) = if let Ok(point @ 1..) = usize::try_from(point) {
        let padded = format!("{digits:0<point$}");
        let (whole, fraction) = padded.split_at_checked(point)?;
        (whole.to_owned(), fraction.to_owned())
    } else {
        let zeros = usize::try_from(-point).ok()?;
        ("0".to_owned(), format!("{}{digits}", "0".repeat(zeros)))
    };
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    Some(format!("{sign}{whole}{dot}{fraction}"))
}

/// The decimals to which `exact` was rounded or cut to become `coarse`; both are plain.
fn rounding(exact: &str, coarse: &str) -> Option<usize> {
    let decimals = |text: &str| text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let kept = decimals(coarse);
    if kept >= decimals(exact) || kept > DECIMALS_MAX {
        return None;
    }
    let value = exact.parse::<f64>().ok()?;
    let rounded = format!("{value:.kept$}");
    let dot = exact.find('.')?;
    let cut = exact.get(..dot + 1 + kept)?.trim_end_matches('.');
    let same = |text: &str| same_number(text.as_bytes(), coarse.as_bytes());
    (same(&rounded) || same(cut)).then_some(kept)
}

fn shift(a: &Fragment, b: &Fragment) -> Option<String> {
    let (x, y) = (moment(a)?, moment(b)?);
    let seconds = y.instant.0.checked_sub(x.instant.0)?;
    let usual = x.instant.1 == y.instant.1
        && seconds.abs() <= SHIFT_MAX
        && (seconds % SHIFT_STEP == 0 || seconds.abs() == 1);
    usual.then(|| format!("time {seconds:+}s"))
}

fn moment(fragment: &Fragment) -> Option<Moment> {
    time::read(inner(fragment)?.as_bytes())
}

/// How the letters changed, as far as they are shown.
fn case(a: &Fragment, b: &Fragment) -> String {
    let (a, b) = (a.text.trim_end_matches('…'), b.text.trim_end_matches('…'));
    let same = |a: &str, b: &str| {
        let short = a.chars().count().min(b.chars().count());
        a.chars().take(short).eq(b.chars().take(short))
    };
    let word = match (same(&a.to_lowercase(), b), same(&a.to_uppercase(), b)) {
        (true, _) => "lower",
        (_, true) => "upper",
        (false, false) => "case",
    };
    word.to_owned()
}

/// What was lost or added at one end of a text.
fn edge(a: &Fragment, b: &Fragment) -> Option<String> {
    let (a, b) = (inner(a)?, inner(b)?);
    let (short, long, sign) = if a.len() > b.len() { (b, a, '-') } else { (a, b, '+') };
    if short.is_empty() || short.len() == long.len() {
        return None;
    }
    let end = if long.starts_with(short) {
        "suffix"
    } else if long.ends_with(short) {
        "prefix"
    } else {
        return None;
    };
    Some(format!("{sign}{end}"))
}

/// The text between the quotation marks; nothing when it was cut.
fn inner(fragment: &Fragment) -> Option<&str> {
    fragment.text.strip_prefix('"')?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_out() {
        for (lexeme, expected) in [
            ("17", "17"),
            ("17.0", "17"),
            ("172e0", "172"),
            ("25430e-1", "2543"),
            ("1.5E+2", "150"),
            ("-0.50", "-0.5"),
            ("12e-4", "0.0012"),
            ("0.0", "0"),
        ] {
            assert_eq!(plain(lexeme).as_deref(), Some(expected), "{lexeme}");
        }
        assert_eq!(plain("1e400"), None);
        assert_eq!(plain("123…"), None);
    }

    #[test]
    fn what_happened_to_a_number_has_a_word() {
        for (a, b, expected) in [
            ("17", "18", "int -> int+1"),
            ("17", "16.0", "int -> int-1"),
            ("12.349", "12.35", "round(2)"),
            ("12.349", "12.34", "round(2)"),
            ("12.34", "12", "round(0)"),
            ("12.3", "12.349", "unround(1)"),
            ("12.5", "1250", "x100"),
            ("90000", "90", "/1000"),
        ] {
            assert_eq!(number(a, b).as_deref(), Some(expected), "{a} {b}");
        }
        assert_eq!(number("17", "4711"), None);
    }

    #[test]
    fn what_happened_to_a_text_has_a_word() {
        let text = |text: &str| Fragment::of_text(text.as_bytes());
        let edge = |a, b| edge(&text(a), &text(b));
        assert_eq!(edge("Hi there", "Hi").as_deref(), Some("-suffix"));
        assert_eq!(edge("Hi", "Re: Hi").as_deref(), Some("+prefix"));
        assert_eq!(edge("Hi", "Ho"), None);
        assert_eq!(edge("", "Ho"), None);
        let shift = |a, b| shift(&text(a), &text(b));
        let noon = "2014/06/12 12:00:00 +0000";
        assert_eq!(shift(noon, "2014-06-12T13:00:00Z").as_deref(), Some("time +3600s"));
        assert_eq!(shift(noon, "2014-06-12T12:00:07Z"), None);
        let long = "ÄB".repeat(200);
        assert_eq!(case(&text(&long), &text(&long.to_lowercase())), "lower");
        assert_eq!(case(&text("Ab"), &text("aB")), "case");
    }
}
