//! Whether an action allows a difference.
//!
//! Owns the meaning of each action for two values, and the normal form that lists are aligned by. It exists apart from
//! the walk so that JSON, headers, cookies and forms mean the same by the same word. Must stay true: an action is only
//! asked about two values that differ; it hides, shows, or says that the pair is none of its business, and then the
//! next rule is asked.

use crate::ValueClass;
use crate::bijection::Bijections;
use crate::exact::Exact;
use crate::fragment::{class_of_number, class_of_text};
use crate::hash;
use crate::json::{hash_of_number, is_number, same_number, whole};
use crate::normalise;
use crate::rule::{
    Action, BijectionRule, Expected, HostPair, Normaliser, TimeFormat, TimeRule, Tolerance, Types,
};
use crate::time::{self, Format};

/// A value as rules see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    /// A JSON number.
    Number(&'a [u8]),
    Text(&'a [u8]),
    /// With its length.
    Array(usize),
    /// With its length.
    Object(usize),
}

/// What an action says of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// The action is about other values; ask the next rule.
    NotMine,
    /// Allowed.
    Hide,
    /// A difference, whatever less specific rules say.
    Show,
}

/// Which side has a value that the other one lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnlyOn {
    Legacy,
    New,
}

impl Ruling {
    pub(crate) fn of(allowed: bool) -> Self {
        if allowed { Self::Hide } else { Self::Show }
    }
}

/// What `action` says of two different values.
pub(crate) fn pair(
    action: &Action,
    legacy: Value<'_>,
    new: Value<'_>,
    bijections: &mut Bijections,
) -> Ruling {
    match action {
        Action::Ignore => Ruling::Hide,
        Action::IgnoreValue => Ruling::of(same_class(legacy, new)),
        Action::Tolerance(tolerance) => match (legacy, new) {
            (Value::Number(a), Value::Number(b)) => Ruling::of(within(tolerance, a, b)),
            _ => Ruling::NotMine,
        },
        Action::Time(rule) => times(rule, legacy, new),
        Action::NullEqEmpty => match (legacy, new) {
            (Value::Null, other) | (other, Value::Null) if is_empty(other) => Ruling::Hide,
            _ => Ruling::NotMine,
        },
        Action::NumberEqString { decimals } => numbers(*decimals, legacy, new),
        Action::UrlHostMap(pairs) => match (legacy, new) {
            (Value::Text(a), Value::Text(b)) => hosts(pairs, a, b),
            _ => Ruling::NotMine,
        },
        Action::Case | Action::Trim | Action::RegexReplace(_) | Action::Normaliser(_) => {
            match (legacy, new) {
                (Value::Text(a), Value::Text(b)) => same_normal(action, a, b),
                _ => Ruling::NotMine,
            }
        }
        Action::Bijection(rule) => renamed(rule, legacy, new, bijections),
        Action::Expect(expected) => as_expected(expected, legacy, new),
        Action::Ordered
        | Action::Set
        | Action::Multiset
        | Action::Key(_)
        | Action::NullEqMissing
        | Action::CookieAttrsOnly => Ruling::NotMine,
    }
}

/// What `action` says of a value that only one side has.
pub(crate) fn missing(action: &Action, value: Value<'_>, on: OnlyOn) -> Ruling {
    match (action, on) {
        (Action::Ignore, _) | (Action::Expect(Expected::Absent), OnlyOn::Legacy) => Ruling::Hide,
        (Action::NullEqMissing, _) if value == Value::Null => Ruling::Hide,
        (Action::Expect(Expected::Rails3Emoji), _) => Ruling::NotMine,
        (Action::Expect(expected), OnlyOn::New) => Ruling::of(is_expected(expected, value)),
        (Action::IgnoreValue | Action::Expect(_), _) => Ruling::Show,
        (_, _) => Ruling::NotMine,
    }
}

/// The hash of a scalar's normal form, by which lists are aligned; `None` when the action has none for it.
pub(crate) fn canon(action: &Action, value: Value<'_>) -> Option<u64> {
    /// Stands for every value that an action may make equal to another.
    const ANY: u64 = 1;
    match (action, value) {
        (Action::Expect(Expected::Rails3Emoji), Value::Text(text)) => {
            cut_to_16_bits(text).map(|cut| hash::of_bytes(&cut))
        }
        (Action::Expect(Expected::Rails3Emoji), _) => None,
        (Action::IgnoreValue, value) => Some(hash::mix(ANY, family(value))),
        (Action::Ignore | Action::Expect(_), _)
        | (Action::Tolerance(_), Value::Number(_))
        | (Action::Bijection(_), Value::Number(_) | Value::Text(_)) => Some(ANY),
        (Action::Time(rule), value) => {
            let moment = moment(value)?;
            Some(if rule.slack_ms > 0 { ANY } else { hash::mix(moment.0.cast_unsigned(), 2) })
        }
        (Action::NullEqEmpty, value) => (value == Value::Null || is_empty(value)).then_some(ANY),
        (Action::NumberEqString { decimals }, Value::Number(text) | Value::Text(text)) => {
            let number = is_number(text).then(|| hash_of_number(text))?;
            Some(if decimals.is_some() { ANY } else { number })
        }
        (Action::UrlHostMap(pairs), Value::Text(text)) => Some(without_host(pairs, text)),
        (
            Action::Case | Action::Trim | Action::RegexReplace(_) | Action::Normaliser(_),
            Value::Text(text),
        ) => Some(hash::of_bytes(&normalise::text(action, text)?.text)),
        _ => None,
    }
}

fn is_empty(value: Value<'_>) -> bool {
    matches!(value, Value::Text(b"") | Value::Array(0) | Value::Object(0))
}

/// Whether two values are of one kind, so that only the value itself can be noise.
fn same_class(legacy: Value<'_>, new: Value<'_>) -> bool {
    match (legacy, new) {
        (Value::Null, Value::Null)
        | (Value::Bool(_), Value::Bool(_))
        | (Value::Object(_), Value::Object(_)) => true,
        (Value::Array(a), Value::Array(b)) => a == b,
        (Value::Number(a), Value::Number(b)) => same_number_class(a, b),
        (Value::Text(a), Value::Text(b)) => same_text_class(a, b),
        _ => false,
    }
}

/// What two values of one class have in common, so that elements of a list find each other before their values are judged.
fn family(value: Value<'_>) -> u64 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Text(text) => match class_of_text(text) {
            ValueClass::Empty => 5,
            ValueClass::Uuid => 6,
            ValueClass::Url => 7,
            ValueClass::Iso8601 => 8,
            ValueClass::RailsTime => 9,
            ValueClass::Null
            | ValueClass::Bool
            | ValueClass::Int
            | ValueClass::Number
            | ValueClass::Epoch
            | ValueClass::Hex(_)
            | ValueClass::String(_)
            | ValueClass::Array(_)
            | ValueClass::Object
            | ValueClass::Binary => 10 + u64::from(time::read(text).is_some()),
        },
    }
}

/// What is written as a whole number stays whole; a time since 1970 keeps its unit and never becomes small.
fn same_number_class(legacy: &[u8], new: &[u8]) -> bool {
    // Another encoder writes 2.0 for 2: what counts is the number.
    let plain = |lexeme: &[u8]| {
        whole(lexeme).map_or_else(|| lexeme.to_vec(), |number| number.to_string().into_bytes())
    };
    let (a, b) = (plain(legacy), plain(new));
    let (own, other) = (class_of_number(&a), class_of_number(&b));
    if own == ValueClass::Epoch || other == ValueClass::Epoch {
        let fits = |class| class == ValueClass::Epoch || class == ValueClass::Int;
        return fits(own) && fits(other) && a.len().abs_diff(b.len()) <= 1;
    }
    // Of decimals some are whole by chance, and still written as decimals.
    own == other || class_of_number(legacy) == class_of_number(new)
}

/// The class of both is the same; plain texts may be twice as long, and tokens of one length are of one class even if
/// one of them happens to be of hex digits only.
fn same_text_class(a: &[u8], b: &[u8]) -> bool {
    let is_token = |text: &[u8]| text.len() >= 8 && text.iter().all(u8::is_ascii_alphanumeric);
    match (class_of_text(a), class_of_text(b)) {
        (ValueClass::String(x), ValueClass::String(y)) => {
            let (small, large) = (x.min(y), x.max(y));
            time::read(a).is_some() == time::read(b).is_some() && large <= small.saturating_mul(2)
        }
        (ValueClass::Hex(_), ValueClass::String(_))
        | (ValueClass::String(_), ValueClass::Hex(_)) => {
            a.len() == b.len() && is_token(a) && is_token(b)
        }
        (x, y) => x == y,
    }
}

fn within(tolerance: &Tolerance, a: &[u8], b: &[u8]) -> bool {
    let (Some(a), Some(b)) = (Exact::of(a), Exact::of(b)) else { return false };
    let rounded = |decimals| a.rounded(decimals).is_some_and(|x| b.rounded(decimals) == Some(x));
    if tolerance.decimals.is_some_and(rounded) {
        return true;
    }
    let Some(distance) = a.distance(b).map(Exact::to_f64) else { return false };
    let largest = a.abs().to_f64().max(b.abs().to_f64());
    tolerance.abs.is_some_and(|abs| distance <= abs)
        || tolerance.rel.is_some_and(|rel| distance <= rel * largest)
}

/// Two numbers of which at least one is a text; two plain numbers only when places are limited.
fn numbers(decimals: Option<u8>, legacy: Value<'_>, new: Value<'_>) -> Ruling {
    let (Some(a), Some(b)) = (numeric(legacy), numeric(new)) else { return Ruling::NotMine };
    if let (Value::Number(_), Value::Number(_), None) = (legacy, new, decimals) {
        return Ruling::NotMine;
    }
    let rounded = |decimals| {
        let (a, b) = (Exact::of(a), Exact::of(b));
        a.zip(b).is_some_and(|(a, b)| {
            a.rounded(decimals).is_some_and(|rounded| b.rounded(decimals) == Some(rounded))
        })
    };
    Ruling::of(decimals.map_or_else(|| same_number(a, b), rounded))
}

fn numeric(value: Value<'_>) -> Option<&[u8]> {
    match value {
        Value::Number(text) => Some(text),
        Value::Text(text) => is_number(text).then_some(text),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A point in time in ms, rounded down, and how it is written.
fn moment(value: Value<'_>) -> Option<(i64, TimeFormat)> {
    match value {
        Value::Text(text) => {
            let moment = time::read(text)?;
            let (seconds, nanos) = moment.instant;
            let format = match moment.format {
                Format::Iso => TimeFormat::Iso8601,
                Format::Rails => TimeFormat::Rails,
                Format::Sql => TimeFormat::Sql,
                Format::Http => TimeFormat::Http,
            };
            Some((seconds.checked_mul(1_000)?.checked_add(i64::from(nanos / 1_000_000))?, format))
        }
        Value::Number(text) => {
            let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
            match number {
                // Ten digits are seconds until the year 2286; thirteen are milliseconds.
                100_000_000..10_000_000_000 => Some((number * 1_000, TimeFormat::EpochSeconds)),
                100_000_000_000..10_000_000_000_000 => Some((number, TimeFormat::EpochMillis)),
                _ => None,
            }
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn times(rule: &TimeRule, legacy: Value<'_>, new: Value<'_>) -> Ruling {
    let (Some(a), Some(b)) = (moment(legacy), moment(new)) else { return Ruling::NotMine };
    let is_number = |format| matches!(format, TimeFormat::EpochSeconds | TimeFormat::EpochMillis);
    let allowed = |format| match rule.formats.as_slice() {
        [] => !is_number(format),
        formats => formats.contains(&format),
    };
    if !allowed(a.1) || !allowed(b.1) {
        // Two numbers without a word about numbers are just numbers.
        let plain = is_number(a.1) && is_number(b.1);
        return if plain { Ruling::NotMine } else { Ruling::Show };
    }
    let exact = match (legacy, new) {
        (Value::Text(x), Value::Text(y)) => {
            let instant = |text| time::read(text).map(|moment| moment.instant);
            instant(x) == instant(y)
        }
        _ => a.0 == b.0,
    };
    Ruling::of(exact || (rule.slack_ms > 0 && a.0.abs_diff(b.0) <= rule.slack_ms))
}

/// Scheme and authority of an absolute URL, and the rest of it.
fn split_url(url: &[u8]) -> Option<(&[u8], &[u8])> {
    let scheme = [&b"https://"[..], b"http://", b"//"];
    let scheme = scheme.iter().find(|scheme| url.starts_with(scheme))?.len();
    let rest = url.get(scheme..)?;
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    url.split_at_checked(scheme + end)
}

fn hosts(pairs: &[HostPair], legacy: &[u8], new: &[u8]) -> Ruling {
    let (Some(a), Some(b)) = (split_url(legacy), split_url(new)) else { return Ruling::NotMine };
    let same = |written: &str, found: &[u8]| found.eq_ignore_ascii_case(written.as_bytes());
    let mapped = pairs.iter().any(|pair| same(&pair.legacy, a.0) && same(&pair.new, b.0));
    // `http://a.example` and `http://a.example/` are one address.
    let path = |own| if own == b"" { &b"/"[..] } else { own };
    Ruling::of(mapped && path(a.1) == path(b.1))
}

fn without_host(pairs: &[HostPair], text: &[u8]) -> u64 {
    let listed = |host: &[u8]| {
        pairs.iter().any(|pair| {
            [&pair.legacy, &pair.new].iter().any(|own| host.eq_ignore_ascii_case(own.as_bytes()))
        })
    };
    match split_url(text) {
        Some((host, rest)) if listed(host) => hash::of_bytes(rest),
        Some(_) | None => hash::of_bytes(text),
    }
}

fn same_normal(action: &Action, legacy: &[u8], new: &[u8]) -> Ruling {
    let (Some(a), Some(b)) = (normalise::text(action, legacy), normalise::text(action, new)) else {
        return Ruling::Show;
    };
    // A named form says nothing about texts that do not hold what it is named after.
    let named = matches!(
        action,
        Action::Normaliser(
            Normaliser::CsrfToken
                | Normaliser::CsrfSession
                | Normaliser::AssetDigest
                | Normaliser::Nonce
        )
    );
    if named && a.removed == 0 && b.removed == 0 {
        return Ruling::NotMine;
    }
    Ruling::of(a.text == b.text)
}

fn renamed(
    rule: &BijectionRule,
    legacy: Value<'_>,
    new: Value<'_>,
    bijections: &mut Bijections,
) -> Ruling {
    let scalar = |value| match value {
        Value::Number(text) => Some((0, text)),
        Value::Text(text) => Some((1, text)),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let (Some(a), Some(b)) = (scalar(legacy), scalar(new)) else { return Ruling::NotMine };
    if a.0 != b.0 && rule.types == Types::Same {
        return Ruling::Show;
    }
    Ruling::of(bijections.agrees(&rule.domain, a, b))
}

fn as_expected(expected: &Expected, legacy: Value<'_>, new: Value<'_>) -> Ruling {
    if *expected != Expected::Rails3Emoji {
        return Ruling::of(is_expected(expected, new));
    }
    let (Value::Text(a), Value::Text(b)) = (legacy, new) else { return Ruling::NotMine };
    match cut_to_16_bits(b) {
        Some(cut) => Ruling::of(cut == a),
        None => Ruling::NotMine,
    }
}

fn is_expected(expected: &Expected, value: Value<'_>) -> bool {
    match (expected, value) {
        (Expected::Null, Value::Null) => true,
        (Expected::Bool(own), Value::Bool(flag)) => *own == flag,
        (Expected::Number(own), Value::Number(text)) => same_number(own.as_bytes(), text),
        (Expected::Text(own), Value::Text(text)) => own.as_bytes() == text,
        _ => false,
    }
}

/// What Rails 3 made of a text: of a character above U+FFFF only the last 16 bits were written. `None` when the text has
/// no such character.
fn cut_to_16_bits(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    let mut found = false;
    while let Some((first, after)) = rest.split_first() {
        if let (0xF0..=0xF4, Some([b, c, d])) = (*first, after.first_chunk::<3>()) {
            let bits = |byte: u8| u32::from(byte & 0x3F);
            let code = u32::from(first & 7) << 18 | bits(*b) << 12 | bits(*c) << 6 | bits(*d);
            crate::json::push_code(code & 0xFFFF, &mut out);
            rest = after.get(3..).unwrap_or_default();
            found = true;
        } else {
            out.push(*first);
            rest = after;
        }
    }
    found.then_some(out)
}
