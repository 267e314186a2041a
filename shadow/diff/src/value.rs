//! What changed between two scalars.
//!
//! Owns the sub-kinds of a changed value; it exists because "another time format" and "another time" have different
//! causes and owners. Must stay true: symmetric in its two arguments.

use crate::difference::ValueChange;
use crate::json::{Doc, NodeId, Tag, is_number, same_number};
use crate::{Kind, time};

/// The kind of difference between two nodes that differ and are not both arrays or both objects.
pub(crate) fn kind(legacy: (&Doc<'_>, NodeId), new: (&Doc<'_>, NodeId)) -> Kind {
    let (a, b) = (legacy.0.tag(legacy.1), new.0.tag(new.1));
    let (text_a, text_b) = (legacy.0.bytes(legacy.1), new.0.bytes(new.1));
    match (a, b) {
        (Tag::Number, Tag::Number) => Kind::ValueChanged { sub: number(text_a, text_b) },
        (Tag::Text, Tag::Text) => Kind::ValueChanged { sub: string(text_a, text_b) },
        (Tag::True | Tag::False, Tag::True | Tag::False) => {
            Kind::ValueChanged { sub: ValueChange::Bool }
        }
        (Tag::Null, _) if is_empty(new) => Kind::NullVsEmpty,
        (_, Tag::Null) if is_empty(legacy) => Kind::NullVsEmpty,
        (Tag::Number | Tag::True | Tag::False, Tag::Text) if spells(text_b, text_a) => {
            Kind::ScalarAsString
        }
        (Tag::Text, Tag::Number | Tag::True | Tag::False) if spells(text_a, text_b) => {
            Kind::ScalarAsString
        }
        _ => Kind::TypeChanged,
    }
}

fn is_empty((doc, id): (&Doc<'_>, NodeId)) -> bool {
    match doc.tag(id) {
        Tag::Text => doc.bytes(id).is_empty(),
        Tag::Array | Tag::Object => doc.next(id).0 == id.0 + 1,
        Tag::Null | Tag::False | Tag::True | Tag::Number | Tag::Key => false,
    }
}

fn spells(text: &[u8], scalar: &[u8]) -> bool {
    text == scalar || (is_number(text) && is_number(scalar) && same_number(text, scalar))
}

fn number(a: &[u8], b: &[u8]) -> ValueChange {
    /// Whole numbers up to here are exact in every language; two of them never differ by precision.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    // No float holds more digits than this.
    if a.len().max(b.len()) > 1_024 {
        return ValueChange::Number;
    }
    let float = |text| std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
    let exact = |value: f64| value.fract() == 0.0 && value.abs() < EXACT_MAX;
    match (float(a), float(b)) {
        (Some(x), Some(y)) if exact(x) && exact(y) && (x - y).abs() >= 1.0 => ValueChange::Number,
        (Some(x), Some(y))
            if x.is_finite() && y.is_finite() && (x - y).abs() <= x.abs().max(y.abs()) * 1e-9 =>
        {
            ValueChange::NumberPrecision
        }
        _ => ValueChange::Number,
    }
}

/// Longest text of which it is told how it changed, in bytes; looking costs several passes.
const EXPLAINED_MAX: usize = 256 << 10;

/// What changed between two different texts.
pub(crate) fn string(a: &[u8], b: &[u8]) -> ValueChange {
    if let (Some(x), Some(y)) = (time::read(a), time::read(b)) {
        let same = x.instant == y.instant;
        return if same { ValueChange::TimeFormat } else { ValueChange::TimeInstant };
    }
    if same_words(a, b) {
        return ValueChange::Whitespace;
    }
    if a.len().max(b.len()) > EXPLAINED_MAX {
        return ValueChange::String;
    }
    let (a, b) = (String::from_utf8_lossy(a), String::from_utf8_lossy(b));
    if a.to_lowercase() == b.to_lowercase() {
        return ValueChange::Case;
    }
    if let (Some(x), Some(y)) = (after_host(&a), after_host(&b))
        && x == y
    {
        return ValueChange::UrlHost;
    }
    if is_mojibake(&a, &b) || is_mojibake(&b, &a) {
        return ValueChange::Encoding;
    }
    ValueChange::String
}

/// Whether two texts differ only in white space.
pub(crate) fn same_words(a: &[u8], b: &[u8]) -> bool {
    let words = |text| <[u8]>::split(text, u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words(a).eq(words(b))
}

/// Path, query and fragment of an absolute URL.
fn after_host(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    Some(rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"))
}

/// Whether `garbled` is the UTF-8 of `plain` read as latin1 or as Windows-1252.
fn is_mojibake(garbled: &str, plain: &str) -> bool {
    if plain.is_ascii() {
        return false;
    }
    let bytes: Option<Vec<u8>> = garbled.chars().map(windows_1252).collect();
    bytes.is_some_and(|bytes| bytes == plain.as_bytes())
}

fn windows_1252(c: char) -> Option<u8> {
    const HIGH: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž',
        '\u{8f}', '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}',
        'ž', 'Ÿ',
    ];
    match u8::try_from(u32::from(c)) {
        Ok(byte) => Some(byte),
        Err(_) => HIGH.iter().zip(0x80u8..).find(|(high, _)| **high == c).map(|(_, byte)| byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_ids_are_different_numbers_and_not_imprecise() {
        for (a, b, expected) in [
            ("1345678901", "1345678902", ValueChange::Number),
            ("1345678901.0", "1345678902", ValueChange::Number),
            ("9007199254740993", "9007199254740992", ValueChange::NumberPrecision),
            ("0.1", "0.10000000000000001", ValueChange::NumberPrecision),
        ] {
            assert_eq!(number(a.as_bytes(), b.as_bytes()), expected, "{a} {b}");
        }
    }

    #[test]
    fn string_changes_are_told_apart_and_symmetric() {
        for (a, b, expected) in [
            ("2014/06/12 10:00:00 +0000", "2014-06-12T10:00:00Z", ValueChange::TimeFormat),
            ("2014/06/12 10:00:00 +0000", "2014-06-12T10:00:01Z", ValueChange::TimeInstant),
            ("Ada", "ada", ValueChange::Case),
            ("a b", "a  b ", ValueChange::Whitespace),
            ("http://a.example/x?y", "https://b.example:8443/x?y", ValueChange::UrlHost),
            ("cafÃ©", "café", ValueChange::Encoding),
            ("â€œhiâ€\u{9d}", "“hi”", ValueChange::Encoding),
            ("one", "two", ValueChange::String),
        ] {
            assert_eq!(string(a.as_bytes(), b.as_bytes()), expected, "{a} {b}");
            assert_eq!(string(b.as_bytes(), a.as_bytes()), expected, "{b} {a}");
        }
    }
}
