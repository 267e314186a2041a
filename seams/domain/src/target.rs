//! The form of a request path that routing may rely on.
//!
//! Owns the normal form and the test for ambiguity. It exists because a path that the router and the
//! application read differently (`//`, `%2F`, `..`, case) would bypass a held or retired route. What must
//! stay true: a path is either in normal form, or it comes with the most lenient reading that any server
//! could make of it; whoever routes must refuse it when that reading hits a declared endpoint. Paths that hit none
//! pass through untouched, so that the monolith's other traffic never notices.

use percent_encoding::percent_decode;
use std::borrow::Cow;

/// How a raw path may be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target<'a> {
    /// Every server reads it the same way; the normal form has no trailing slash.
    Plain(Cow<'a, str>),
    /// Servers may read it differently; the lenient form is what the laxest would make of it.
    Odd {
        /// The most lenient reading, lower-case.
        lenient: String,
        /// What makes it odd.
        why: Oddity,
    },
}

/// What makes a path odd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oddity {
    /// It does not start with `/`.
    NoLeadingSlash,
    /// `//` inside.
    EmptySegment,
    /// `.` or `..` as a segment, plain or encoded.
    DotSegment,
    /// `%2F`, `%5C`, `%25`, `%00` or another reserved or control character, encoded.
    EncodedReserved,
    /// `\`, `;`, `#`, a control character or a broken `%` escape.
    StrayCharacter,
    /// Bytes that are no UTF-8.
    NotUtf8,
}

impl Oddity {
    /// The word for messages and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoLeadingSlash => "no leading slash",
            Self::EmptySegment => "empty segment",
            Self::DotSegment => "dot segment",
            Self::EncodedReserved => "encoded reserved character",
            Self::StrayCharacter => "stray character",
            Self::NotUtf8 => "not UTF-8",
        }
    }
}

/// Reads a raw path (no query). Never fails: what cannot be read is odd.
pub fn read(raw: &[u8]) -> Target<'_> {
    if let Ok(text) = std::str::from_utf8(raw)
        && is_simple(text)
    {
        return Target::Plain(Cow::Borrowed(trim_end(text)));
    }
    match normal(raw) {
        Ok(path) => Target::Plain(Cow::Owned(trim_end(&path).to_owned())),
        Err(why) => Target::Odd { lenient: lenient(raw), why },
    }
}

fn trim_end(path: &str) -> &str {
    match path.strip_suffix('/') {
        Some("") | None => path,
        Some(trimmed) => trimmed,
    }
}

/// The common case without allocation: only plain characters, no dots at segment starts, no `//`.
fn is_simple(text: &str) -> bool {
    let mut previous = 0u8;
    text.as_bytes().first() == Some(&b'/')
        && text.bytes().all(|byte| {
            let fine = byte.is_ascii_alphanumeric()
                || b"-_~!$&'()*+,=:@".contains(&byte)
                || (byte == b'.' && previous != b'/')
                || (byte == b'/' && previous != b'/');
            previous = byte;
            fine
        })
}

/// RFC 3986 normal form: unreserved characters decoded, other bytes left encoded in upper-case hex.
fn normal(raw: &[u8]) -> Result<String, Oddity> {
    let text = std::str::from_utf8(raw).map_err(|_| Oddity::NotUtf8)?;
    if !text.starts_with('/') {
        return Err(Oddity::NoLeadingSlash);
    }
    let mut out = String::with_capacity(text.len());
    let mut bytes = text.bytes();
    let mut decoded_high = false;
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let pair = [bytes.next().unwrap_or(0), bytes.next().unwrap_or(0)];
                let value = hex(pair).ok_or(Oddity::StrayCharacter)?;
                if value.is_ascii_alphanumeric() || b"-._~".contains(&value) {
                    out.push(char::from(value));
                } else if value.is_ascii() && !b" \"<>^`{|}!$&'()*+,=:@[]".contains(&value) {
                    return Err(Oddity::EncodedReserved);
                } else {
                    decoded_high |= !value.is_ascii();
                    push_escape(&mut out, value);
                }
            }
            b'\\' | b';' | b'#' | 0..=0x20 | 0x7f => return Err(Oddity::StrayCharacter),
            0x80.. => push_escape(&mut out, byte),
            _ => out.push(char::from(byte)),
        }
    }
    if decoded_high && std::str::from_utf8(&percent_decode(raw).collect::<Vec<u8>>()).is_err() {
        return Err(Oddity::NotUtf8);
    }
    if out.contains("//") {
        return Err(Oddity::EmptySegment);
    }
    if out.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(Oddity::DotSegment);
    }
    Ok(out)
}

fn push_escape(out: &mut String, byte: u8) {
    out.push('%');
    for nibble in [byte >> 4, byte & 15] {
        out.push(char::from(b"0123456789ABCDEF"[usize::from(nibble)]));
    }
}

fn hex(pair: [u8; 2]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()
}

/// What the laxest server would read: decoded until nothing changes, `\` as `/`, `;parameters` and a fragment
/// dropped, empty and dot segments resolved, lower-case.
fn lenient(raw: &[u8]) -> String {
    let mut text = raw.split(|byte| *byte == b'#').next().unwrap_or_default().to_vec();
    for _ in 0..4 {
        let decoded: Vec<u8> = percent_decode(&text).collect();
        if decoded == text {
            break;
        }
        text = decoded;
    }
    let text = String::from_utf8_lossy(&text).replace('\\', "/").replace('\0', "");
    let mut segments: Vec<&str> = Vec::new();
    for segment in text.split('/') {
        match segment.split(';').next().unwrap_or_default().trim() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            plain => segments.push(plain),
        }
    }
    format!("/{}", segments.join("/")).to_lowercase()
}

/// Percent-decodes one path parameter for use as a key.
pub(crate) fn decode(value: &str) -> String {
    percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(raw: &str) -> Option<String> {
        match read(raw.as_bytes()) {
            Target::Plain(path) => Some(path.into_owned()),
            Target::Odd { .. } => None,
        }
    }

    #[test]
    fn normal_forms_decode_what_is_safe_and_nothing_else() {
        assert_eq!(plain("/users/3/messages").as_deref(), Some("/users/3/messages"));
        assert_eq!(plain("/users/%33/m%65ssages/").as_deref(), Some("/users/3/messages"));
        assert_eq!(plain("/").as_deref(), Some("/"));
        assert_eq!(plain("/caf%c3%a9").as_deref(), Some("/caf%C3%A9"));
        assert_eq!(plain("/a%20b").as_deref(), Some("/a%20b"));
        for odd in [
            "//a",
            "/a//b",
            "/a/./b",
            "/a/%2e%2E/b",
            "/a%2Fb",
            "/a%5cb",
            "/a%00",
            "/a%zz",
            "/a%2",
            "a",
            "",
            "/a;b",
            "/a\\b",
            "/a%252Fb",
            "/%ff",
        ] {
            assert_eq!(plain(odd), None, "{odd}");
        }
    }

    #[test]
    fn the_lenient_form_is_what_the_laxest_server_reads() {
        for raw in [
            "//users//3/messages",
            "/x/../users/3/./messages/",
            "/users%2F3%2fmessages",
            "/users%252F3/messages",
            "\\users\\3\\messages",
            "/users;a=b/3/messages",
            "/users/3/messages#x/y",
            "/USERS//3/messages",
        ] {
            let Target::Odd { lenient, .. } = read(raw.as_bytes()) else {
                panic!("{raw} is plain")
            };
            assert_eq!(lenient, "/users/3/messages", "{raw}");
        }
    }

    proptest! {
        #[test]
        fn reading_is_total_and_plain_forms_are_stable(raw in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Target::Plain(path) = read(&raw) {
                prop_assert_eq!(read(path.as_bytes()), Target::Plain(path.clone()));
            }
        }
    }
}
