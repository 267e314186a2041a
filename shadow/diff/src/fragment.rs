//! Short renderings of values for reports.
//!
//! Owns the cap on what one difference may carry and the *class* of a value, which is what remains of it when the shadow
//! redacts. Must stay true: a fragment is printable (control characters are escaped) and at most about 240 bytes.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::json::{Doc, NodeId, Tag};
use crate::time;

/// Bytes of a rendered value that are kept.
const TEXT_MAX: usize = 240;

/// A value as short JSON text, and its class.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fragment {
    /// JSON text of the value, cut with `…` when long. Not redacted.
    pub text: String,
    class: ValueClass,
}

/// What kind of value it is, without the value: safe to store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueClass {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Int,
    /// A number with a fraction or an exponent.
    Number,
    /// A UUID in its usual form.
    Uuid,
    /// Hex digits, at least eight of them.
    Hex(u32),
    /// A time as in ISO 8601.
    Iso8601,
    /// A time as old Rails writes it, `2014/06/12 10:00:00 +0000`.
    RailsTime,
    /// Seconds or milliseconds since 1970, between 2001 and 2033.
    Epoch,
    /// An absolute URL.
    Url,
    /// The empty string, or no value at all.
    Empty,
    /// Other text; the power of two that its length in bytes does not exceed.
    String(u32),
    /// An array of that many elements.
    Array(u32),
    /// An object.
    Object,
    /// Bytes that are no text.
    Binary,
}

impl fmt::Display for ValueClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Number => f.write_str("number"),
            Self::Uuid => f.write_str("uuid"),
            Self::Hex(n) => write!(f, "hex{n}"),
            Self::Iso8601 => f.write_str("iso8601"),
            Self::RailsTime => f.write_str("rails-time"),
            Self::Epoch => f.write_str("epoch"),
            Self::Url => f.write_str("url"),
            Self::Empty => f.write_str("empty"),
            Self::String(n) => write!(f, "string(<={n})"),
            Self::Array(n) => write!(f, "array({n})"),
            Self::Object => f.write_str("object"),
            Self::Binary => f.write_str("binary"),
        }
    }
}

impl Fragment {
    /// The class of the value.
    pub fn class(&self) -> ValueClass {
        self.class
    }

    /// A fragment of plain text, such as a header value or a line; invalid UTF-8 is shown with replacement characters.
    pub fn of_text(text: &[u8]) -> Self {
        Self { text: quote(text), class: class_of_text(text) }
    }

    /// A fragment of a status code.
    pub(crate) fn of_status(status: u16) -> Self {
        Self { text: status.to_string(), class: ValueClass::Int }
    }

    /// A fragment that only describes bytes.
    pub(crate) fn of_binary(description: String) -> Self {
        Self { text: description, class: ValueClass::Binary }
    }

    /// A fragment of an element of a page, written as its start tag and some text.
    pub(crate) fn of_element(text: &str) -> Self {
        Self { text: one_line(text.as_bytes()), class: ValueClass::Object }
    }

    /// A fragment of a JSON value.
    pub(crate) fn of_json(doc: &Doc<'_>, id: NodeId) -> Self {
        let bytes = doc.bytes(id);
        let (text, class) = match doc.tag(id) {
            Tag::Null => ("null".to_owned(), ValueClass::Null),
            Tag::True => ("true".to_owned(), ValueClass::Bool),
            Tag::False => ("false".to_owned(), ValueClass::Bool),
            Tag::Number => (cut(&String::from_utf8_lossy(head(bytes))), class_of_number(bytes)),
            Tag::Text | Tag::Key => (quote(bytes), class_of_text(bytes)),
            Tag::Array => {
                let count = u32::try_from(doc.elements(id).count()).unwrap_or(u32::MAX);
                (one_line(bytes), ValueClass::Array(count))
            }
            Tag::Object => (one_line(bytes), ValueClass::Object),
        };
        Self { text, class }
    }
}

/// The class of a text value.
pub(crate) fn class_of_text(text: &[u8]) -> ValueClass {
    if text.is_empty() {
        return ValueClass::Empty;
    }
    if is_uuid(text) {
        return ValueClass::Uuid;
    }
    match time::read(text).map(|moment| moment.format) {
        Some(time::Format::Rails) => return ValueClass::RailsTime,
        Some(time::Format::Iso) => return ValueClass::Iso8601,
        Some(time::Format::Sql | time::Format::Http) | None => {}
    }
    let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
    if text.len() >= 8 && text.iter().all(u8::is_ascii_hexdigit) {
        return ValueClass::Hex(len);
    }
    if text.starts_with(b"http://") || text.starts_with(b"https://") {
        return ValueClass::Url;
    }
    ValueClass::String(len.checked_next_power_of_two().unwrap_or(u32::MAX))
}

pub(crate) fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// The class of a JSON number.
pub(crate) fn class_of_number(lexeme: &[u8]) -> ValueClass {
    if lexeme.iter().any(|b| matches!(b, b'.' | b'e' | b'E')) {
        return ValueClass::Number;
    }
    let value = std::str::from_utf8(lexeme).ok().and_then(|text| text.parse::<i64>().ok());
    match value {
        Some(1_000_000_000..2_000_000_000 | 1_000_000_000_000..2_000_000_000_000) => {
            ValueClass::Epoch
        }
        _ => ValueClass::Int,
    }
}

/// JSON string text of bytes, cut when long.
fn quote(bytes: &[u8]) -> String {
    let short = bytes.len() > TEXT_MAX;
    let mut out = String::from("\"");
    for c in String::from_utf8_lossy(head(bytes)).chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || is_bidi_control(c) => {
                push_escaped(&mut out, c);
            }
            c => out.push(c),
        }
        if out.len() > TEXT_MAX {
            out.push('…');
            return out;
        }
    }
    out.push(if short { '…' } else { '"' });
    out
}

/// Shows a character by its code.
pub(crate) fn push_escaped(out: &mut String, c: char) {
    out.extend(["\\u", &format!("{:04x}", u32::from(c))]);
}

/// Characters that reorder a terminal line and could disguise a value.
fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Source of a container on one line: line breaks and the indentation after them become one space.
fn one_line(bytes: &[u8]) -> String {
    let mut out = String::new();
    let mut indent = false;
    for c in String::from_utf8_lossy(head(bytes)).chars() {
        match c {
            '\n' | '\r' | '\t' => indent = true,
            ' ' if indent => {}
            c => {
                if std::mem::take(&mut indent) {
                    out.push(' ');
                }
                if is_bidi_control(c) || c.is_control() {
                    push_escaped(&mut out, c);
                } else {
                    out.push(c);
                }
            }
        }
    }
    if bytes.len() > TEXT_MAX {
        out.push('…');
    }
    out
}

fn cut(text: &str) -> String {
    if text.len() >= TEXT_MAX { format!("{text}…") } else { text.to_owned() }
}

/// The first bytes, not ending inside a UTF-8 sequence.
fn head(bytes: &[u8]) -> &[u8] {
    let mut end = bytes.len().min(TEXT_MAX);
    while end < bytes.len() && end > 0 && bytes.get(end).is_some_and(|b| b & 0xC0 == 0x80) {
        end -= 1;
    }
    bytes.get(..end).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_say_what_a_value_is() {
        for (text, class) in [
            ("", "empty"),
            ("9f2c4f9e-27f3-4cc1-ae3f-0a4a9a9d21b7", "uuid"),
            ("deadbeefdeadbeef", "hex16"),
            ("2014-06-12T10:00:00Z", "iso8601"),
            ("2014-06-12T10:00:00.123+02:00", "iso8601"),
            ("2014/06/12 10:00:00 +0000", "rails-time"),
            ("https://a.example/b", "url"),
            ("hello", "string(<=8)"),
        ] {
            assert_eq!(Fragment::of_text(text.as_bytes()).class().to_string(), class, "{text}");
        }
    }

    #[test]
    fn text_is_capped_and_printable() {
        let long = "é".repeat(400);
        let fragment = Fragment::of_text(long.as_bytes());
        assert!(fragment.text.len() < 260 && fragment.text.ends_with('…'));
        assert_eq!(Fragment::of_text(b"a\x1b[31m\n\"").text, r#""a\u001b[31m\n\"""#);
        assert_eq!(Fragment::of_text("\u{202E}x".as_bytes()).text, r#""\u202ex""#);
        assert_eq!(one_line(b"{\n  \"a\": \"b  c\",\n  \"d\": 1\n}"), r#"{ "a": "b  c", "d": 1 }"#);
    }
}
