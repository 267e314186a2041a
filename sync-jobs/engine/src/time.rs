//! Dates and times as text: one text per moment, and what becomes of dates that are none.
//!
//! Text is used because no calendar type holds what the engines hold: MySQL has `0000-00-00`, days that do
//! not exist, and times of 838 hours.
//!
//! What must stay true: a canonical time is a real moment that all three engines can store; a fraction of
//! a second that a column cannot store is refused, or rounded half up when the mapping says so; a zero
//! date becomes only what the job says.

use std::fmt;

use crate::kind::ColumnKind;
use crate::number;
use crate::value::{Value, ValueError};

/// What MySQL's zero dates (`0000-00-00`, also partial ones) become in a date or time column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ZeroDate {
    /// An error that names table, column and row.
    #[default]
    Error,
    /// NULL.
    Null,
    /// This moment, canonical.
    Moment(String),
}

impl ZeroDate {
    /// `error`, `null` or a date with or without a time.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "error" => Ok(Self::Error),
            "null" => Ok(Self::Null),
            moment => timestamp(moment, 6).map(Self::Moment).map_err(|_| {
                format!(
                    "must be `error`, `null` or a moment like `1970-01-01 00:00:00`, found `{moment}`"
                )
            }),
        }
    }

    /// The value, or what it becomes when it is a zero date on its way into a date or time column.
    ///
    /// # Errors
    /// [`ValueError::ZeroDate`] when nothing was chosen.
    pub fn replace(&self, value: Value, kind: ColumnKind) -> Result<Value, ValueError> {
        let is_date = matches!(kind, ColumnKind::Date);
        if !(is_date || matches!(kind, ColumnKind::Timestamp { .. })) || !is_zero_date(&value) {
            return Ok(value);
        }
        match self {
            Self::Error => Err(ValueError::ZeroDate),
            Self::Null => Ok(Value::Null),
            Self::Moment(moment) => {
                let text = if is_date { moment.get(..10).unwrap_or(moment) } else { moment };
                Ok(Value::Text(text.to_owned()))
            }
        }
    }
}

impl fmt::Display for ZeroDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Null => "null",
            Self::Moment(moment) => moment,
        })
    }
}

/// Whether a value is a date with a year, month or day of zero.
pub fn is_zero_date(value: &Value) -> bool {
    let Value::Text(text) = value else { return false };
    let date = text.get(..10).filter(|date| is_digits_at(date, "dddd-dd-dd"));
    let rest = text.get(10..).unwrap_or_default();
    (rest.is_empty() || rest.starts_with([' ', 'T']))
        && date.is_some_and(|date| date.split('-').any(|part| part.bytes().all(|b| b == b'0')))
}

/// `YYYY-MM-DD HH:MM:SS[.f]` in UTC.
pub(crate) fn timestamp(text: &str, digits: u8) -> Result<String, ValueError> {
    let (date, seconds, fraction) = moment(text)?;
    let fraction = fitting(fraction, digits)?;
    Ok(joined(&format!("{date} {seconds}"), fraction))
}

/// Whether the text is canonical in every timestamp column: an existing moment without a fraction. Most are.
pub(crate) fn is_plain_timestamp(text: &str) -> bool {
    let Some((date, clock)) = text.split_once(' ') else { return false };
    is_digits_at(date, "dddd-dd-dd")
        && is_digits_at(clock, "dd:dd:dd")
        && day_of(date).is_some_and(|(year, month, _)| year > 0 && month > 0)
        && clock.get(..2).is_some_and(|hours| hours < "24")
        && clock.get(3..5).is_some_and(|minutes| minutes < "60")
        && clock.get(6..).is_some_and(|seconds| seconds < "60")
}

/// The moment with at most `digits` digits of a second, rounded half up; other text as it is.
pub(crate) fn timestamp_rounded(text: &str, digits: u8) -> String {
    let Ok((date, seconds, fraction)) = moment(text) else { return text.to_owned() };
    let Some((kept, carry)) = round(fraction, digits) else { return text.to_owned() };
    let (mut date, mut seconds) = (date.to_owned(), seconds);
    if carry {
        let next = number_of(&seconds) + 1;
        if next >= 86_400 {
            let Some(tomorrow) = tomorrow(&date) else { return text.to_owned() };
            date = tomorrow;
        }
        seconds = clock(next % 86_400);
    }
    joined(&format!("{date} {seconds}"), &kept)
}

/// `YYYY-MM-DD`; a time of day other than midnight is refused.
pub(crate) fn date(text: &str) -> Result<String, ValueError> {
    let (date, seconds, fraction) = moment(text)?;
    if seconds != "00:00:00" || !fraction.is_empty() {
        return Err(ValueError::TimeOfDay);
    }
    Ok(date.to_owned())
}

/// `[-]HH:MM:SS[.f]`.
pub(crate) fn time(text: &str, digits: u8, span: bool) -> Result<String, ValueError> {
    let (negative, hours, rest, fraction) = span_parts(text).ok_or(ValueError::NoMoment)?;
    if !span && (negative || hours > 23) {
        return Err(ValueError::Span);
    }
    let fraction = fitting(fraction, digits)?;
    let clock = joined(&format!("{hours:02}:{rest}"), fraction);
    let is_zero = clock.bytes().all(|b| b == b'0' || b == b':');
    Ok(if negative && !is_zero { format!("-{clock}") } else { clock })
}

/// The time with at most `digits` digits of a second, rounded half away from zero; other text as it is.
pub(crate) fn time_rounded(text: &str, digits: u8) -> String {
    let Some((negative, hours, rest, fraction)) = span_parts(text) else { return text.to_owned() };
    let Some((kept, carry)) = round(fraction, digits) else { return text.to_owned() };
    let seconds = u64::from(hours) * 3_600 + number_of(&format!("00:{rest}")) + u64::from(carry);
    let sign = if negative { "-" } else { "" };
    joined(&format!("{sign}{}", clock(seconds)), &kept)
}

/// Date, clock and fraction (without trailing zeros) of a moment in UTC.
fn moment(text: &str) -> Result<(&str, String, &str), ValueError> {
    if text.ends_with("infinity") {
        return Err(ValueError::Infinity);
    }
    let bare = ["+00:00", "+00", "Z", " UTC"]
        .iter()
        .find_map(|zone| text.strip_suffix(zone))
        .unwrap_or(text);
    let (date, time) = bare.split_once([' ', 'T']).unwrap_or((bare, "00:00:00"));
    if !is_digits_at(date, "dddd-dd-dd") {
        return Err(ValueError::NoMoment);
    }
    if date.split('-').any(|part| part.bytes().all(|b| b == b'0')) {
        return Err(ValueError::ZeroDate);
    }
    let (clock, fraction) = clock_of(time).ok_or(ValueError::NoMoment)?;
    if day_of(date).is_none() || number_of(&clock) >= 86_400 {
        return Err(ValueError::NoMoment);
    }
    Ok((date, clock, fraction))
}

/// `HH:MM[:SS[.f]]` as clock and fraction.
fn clock_of(time: &str) -> Option<(String, &str)> {
    if is_digits_at(time, "dd:dd") {
        return Some((format!("{time}:00"), ""));
    }
    let (clock, rest) = time.split_at_checked(8)?;
    if !is_digits_at(clock, "dd:dd:dd") || clock.get(3..4)? > "5" || clock.get(6..7)? > "5" {
        return None;
    }
    Some((clock.to_owned(), fraction_of(rest)?))
}

/// Sign, hours, `MM:SS` and fraction of a MySQL time.
fn span_parts(text: &str) -> Option<(bool, u16, &str, &str)> {
    let (negative, bare) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (hours, rest) = bare.split_once(':')?;
    let (clock, fraction) = rest.split_at_checked(5)?;
    let legal = (2..=3).contains(&hours.len())
        && hours.bytes().all(|b| b.is_ascii_digit())
        && is_digits_at(clock, "dd:dd")
        && clock.get(..1)? <= "5"
        && clock.get(3..4)? <= "5";
    legal.then_some((negative, hours.parse().ok()?, clock, fraction_of(fraction)?))
}

/// The digits behind the point, without zeros at the end.
fn fraction_of(rest: &str) -> Option<&str> {
    if rest.is_empty() {
        return Some("");
    }
    let digits = rest.strip_prefix('.')?;
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.trim_end_matches('0'))
}

fn fitting(fraction: &str, digits: u8) -> Result<&str, ValueError> {
    if fraction.len() > usize::from(digits) {
        let what = "digits of a second";
        return Err(ValueError::Excess { found: fraction.len(), what, stored: u64::from(digits) });
    }
    Ok(fraction)
}

/// The kept digits and whether the second moves on; `None` when there is nothing to round.
fn round(fraction: &str, digits: u8) -> Option<(String, bool)> {
    let (kept, cut) = fraction.split_at_checked(usize::from(digits))?;
    let mut all = kept.as_bytes().to_vec();
    let up = cut.bytes().next().is_some_and(|digit| digit >= b'5');
    if up {
        number::increment(&mut all);
    }
    let carry = all.len() > kept.len();
    let from = usize::from(carry);
    let text: String = all.iter().skip(from).map(|byte| char::from(*byte)).collect();
    Some((text.trim_end_matches('0').to_owned(), carry))
}

fn joined(clock: &str, fraction: &str) -> String {
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{clock}{dot}{fraction}")
}

/// Seconds of `HH:MM:SS`.
fn number_of(clock: &str) -> u64 {
    clock.split(':').fold(0, |sum, part| sum * 60 + part.parse::<u64>().unwrap_or(0))
}

fn clock(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// Year, month and day, if there is such a day.
fn day_of(date: &str) -> Option<(u16, u8, u8)> {
    let mut parts = date.split('-');
    let year: u16 = parts.next()?.parse().ok()?;
    let month: u8 = parts.next()?.parse().ok()?;
    let day: u8 = parts.next()?.parse().ok()?;
    (day >= 1 && day <= days_in(year, month)?).then_some((year, month, day))
}

fn days_in(year: u16, month: u8) -> Option<u8> {
    let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 => Some(if leap { 29 } else { 28 }),
        _ => None,
    }
}

fn tomorrow(date: &str) -> Option<String> {
    let (mut year, mut month, mut day) = day_of(date)?;
    day += 1;
    if day > days_in(year, month)? {
        (month, day) = (month + 1, 1);
    }
    if month > 12 {
        (year, month) = (year + 1, 1);
    }
    (year <= 9_999).then(|| format!("{year:04}-{month:02}-{day:02}"))
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

    #[test]
    fn rounding_carries_into_minutes_days_and_years() {
        for (text, digits, want) in [
            ("2014-06-12 10:00:00.4999999", 6, "2014-06-12 10:00:00.5"),
            ("2014-06-12 10:00:59.5", 0, "2014-06-12 10:01:00"),
            ("2014-12-31 23:59:59.9999", 3, "2015-01-01 00:00:00"),
            ("2016-02-28 23:59:59.5", 0, "2016-02-29 00:00:00"),
            ("2014-06-12 10:00:00.449", 1, "2014-06-12 10:00:00.4"),
        ] {
            let rounded = timestamp_rounded(text, digits);
            assert_eq!(timestamp(&rounded, digits).as_deref(), Ok(want), "{text}");
        }
        assert_eq!(time_rounded("-00:59:59.96", 1), "-01:00:00");
        assert_eq!(time_rounded("838:00:00.25", 1), "838:00:00.3");
    }

    proptest::proptest! {
        #[test]
        fn what_looks_plain_is_canonical_as_it_is(
            text in "[0-2]0[01][0-9]-[01][0-9]-[0-3][0-9] [0-2][0-9]:[0-6][0-9]:[0-6][0-9]"
        ) {
            let exact = timestamp(&text, 0);
            proptest::prop_assert_eq!(is_plain_timestamp(&text), exact.as_deref() == Ok(&text));
        }
    }

    #[test]
    fn days_that_do_not_exist_are_refused() {
        for text in [
            "2014-02-29 00:00:00",
            "2014-13-01 00:00:00",
            "2014-06-31",
            "2014-06-12 24:00:00",
            "2014-06-12 10:60:00",
            "12014-06-12 10:00:00",
            "0044-03-15 00:00:00 BC",
            "2014-06-12 10:00:00+02",
        ] {
            assert_eq!(timestamp(text, 6), Err(ValueError::NoMoment), "{text}");
        }
        assert_eq!(timestamp("-infinity", 6), Err(ValueError::Infinity));
        assert_eq!(timestamp("2014-00-00 00:00:00", 6), Err(ValueError::ZeroDate));
    }

    #[test]
    fn a_zero_date_becomes_what_the_job_says() {
        let zero = || Value::Text("0000-00-00 00:00:00".to_owned());
        let kind = ColumnKind::TIMESTAMP;
        assert_eq!(ZeroDate::Error.replace(zero(), kind), Err(ValueError::ZeroDate));
        assert_eq!(ZeroDate::Null.replace(zero(), kind), Ok(Value::Null));
        let epoch = ZeroDate::parse("1970-01-01 00:00:00").unwrap();
        let moment = |text: &str| Ok(Value::Text(text.to_owned()));
        assert_eq!(epoch.replace(zero(), kind), moment("1970-01-01 00:00:00"));
        let partial = Value::Text("2014-00-00".to_owned());
        assert_eq!(epoch.replace(partial, ColumnKind::Date), moment("1970-01-01"));
        assert_eq!(epoch.replace(zero(), ColumnKind::TEXT), Ok(zero()));
        assert!(ZeroDate::parse("0000-00-00").is_err());
    }
}
