//! Character sets of bodies.
//!
//! Owns which charset a body is in (byte order mark, header, `meta`, guess, as browsers do it) and the way to UTF-8. It
//! exists because legacy may answer in latin1 what new answers in UTF-8, and both show the same text. Must stay true:
//! bytes that the charset does not allow are kept apart, so that decoding never makes two different bodies equal.

use std::borrow::Cow;

use encoding_rs::{DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

use crate::header::charset;
use crate::{Obs, Why};

/// How much of a page is searched for a `meta` element, as in browsers.
const META_MAX: usize = 1024;

/// A malformed byte `b` becomes this code point plus `b`: private use, one character per byte.
const MALFORMED: u32 = 0xF700;

/// A body as UTF-8, and the bytes in it that were malformed.
#[derive(Debug)]
pub(crate) struct Decoded<'a> {
    pub(crate) text: Cow<'a, str>,
    pub(crate) malformed: Vec<u8>,
}

/// The charset of a text by its header; without one it is UTF-8 where that fits, else Windows-1252.
pub(crate) fn of_text(obs: &Obs<'_>, body: &[u8]) -> &'static Encoding {
    let by_mark = Encoding::for_bom(body).map(|(encoding, _)| encoding);
    by_mark.or_else(|| declared(obs)).unwrap_or_else(|| guess(body))
}

/// The charset of a page: like a text, but a `meta` element counts too.
pub(crate) fn of_page(obs: &Obs<'_>, body: &[u8]) -> &'static Encoding {
    let by_mark = Encoding::for_bom(body).map(|(encoding, _)| encoding);
    by_mark.or_else(|| declared(obs)).or_else(|| meta(body)).unwrap_or_else(|| guess(body))
}

/// The charset that the header names, if it is a known one.
pub(crate) fn declared(obs: &Obs<'_>) -> Option<&'static Encoding> {
    let label = charset(obs.header("content-type")?)?;
    Encoding::for_label(label.as_bytes())
}

fn guess(body: &[u8]) -> &'static Encoding {
    if std::str::from_utf8(body).is_ok() { UTF_8 } else { WINDOWS_1252 }
}

/// Turns a body into UTF-8. Refuses one that already holds the characters which stand for malformed bytes.
pub(crate) fn decode<'a>(encoding: &'static Encoding, body: &'a [u8]) -> Result<Decoded<'a>, Why> {
    let mark = Encoding::for_bom(body).filter(|(by_mark, _)| *by_mark == encoding);
    let body = body.get(mark.map_or(0, |(_, len)| len)..).unwrap_or_default();
    if encoding == UTF_8
        && let Ok(text) = std::str::from_utf8(body)
    {
        return Ok(Decoded { text: Cow::Borrowed(text), malformed: Vec::new() });
    }
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let (mut text, mut malformed) = (String::with_capacity(body.len()), Vec::new());
    let mut at = 0;
    loop {
        let rest = body.get(at..).unwrap_or_default();
        let (result, read) = decoder.decode_to_string_without_replacement(rest, &mut text, true);
        at += read;
        match result {
            DecoderResult::InputEmpty => break,
            DecoderResult::OutputFull => text.reserve(rest.len() + 16),
            DecoderResult::Malformed(len, after) => {
                let end = at.saturating_sub(usize::from(after));
                let wrong = body.get(end.saturating_sub(usize::from(len))..end);
                for byte in wrong.unwrap_or_default() {
                    malformed.push(*byte);
                    text.extend(char::from_u32(MALFORMED + u32::from(*byte)));
                }
            }
        }
    }
    let stands_for_malformed = |c: &char| (MALFORMED..=MALFORMED + 0xFF).contains(&u32::from(*c));
    if !malformed.is_empty() && text.chars().filter(stands_for_malformed).count() > malformed.len()
    {
        return Err(Why::Undecodable);
    }
    Ok(Decoded { text: Cow::Owned(text), malformed })
}

/// The charset in a `meta` element at the beginning of a page.
fn meta(body: &[u8]) -> Option<&'static Encoding> {
    let head = body.get(..body.len().min(META_MAX))?.to_ascii_lowercase();
    let mut rest = head.as_slice();
    while let Some(at) = rest.iter().position(|byte| *byte == b'<') {
        rest = rest.get(at..)?;
        if let Some(comment) = rest.strip_prefix(b"<!--") {
            rest = comment.get(comment.windows(3).position(|end| end == b"-->")?..)?;
            continue;
        }
        let end = rest.iter().position(|byte| *byte == b'>').unwrap_or(rest.len());
        let tag = rest.get(..end)?;
        if tag.starts_with(b"<meta")
            && let Some(encoding) = charset_in(tag)
        {
            // A page that was read so far is no UTF-16, whatever it says.
            let wide = encoding == UTF_16BE || encoding == UTF_16LE;
            return Some(if wide { UTF_8 } else { encoding });
        }
        rest = rest.get(end..)?;
    }
    None
}

/// The value after `charset=` in a `meta` tag, also inside of `content`.
fn charset_in(tag: &[u8]) -> Option<&'static Encoding> {
    let at = tag.windows(7).position(|word| word == b"charset")?;
    let value = tag.get(at + 7..)?.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let value = value.strip_prefix(b"\"").or_else(|| value.strip_prefix(b"'")).unwrap_or(value);
    let is_end = |byte: &u8| byte.is_ascii_whitespace() || b"\"';/".contains(byte);
    let end = value.iter().position(is_end).unwrap_or(value.len());
    Encoding::for_label(value.get(..end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(header: &str, body: &[u8]) -> &'static str {
        let headers = [("content-type".to_owned(), header.as_bytes().to_vec())];
        of_page(&Obs { status: 200, headers: &headers, body }, body).name()
    }

    #[test]
    fn header_wins_over_meta_and_a_mark_over_both() {
        let meta = b"<!-- <meta charset=koi8-r> --><META CharSet='iso-8859-2'>";
        assert_eq!(page("text/html; charset=utf-8", meta), "UTF-8");
        assert_eq!(page("text/html", meta), "ISO-8859-2");
        assert_eq!(page("text/html; charset=nonsense", meta), "ISO-8859-2");
        let content = b"<meta http-equiv=Content-Type content=\"text/html; charset=Shift_JIS\">";
        assert_eq!(page("text/html", content), "Shift_JIS");
        assert_eq!(page("text/html; charset=koi8-r", b"\xEF\xBB\xBFa"), "UTF-8");
        assert_eq!(page("text/html", b"caf\xe9"), "windows-1252");
        assert_eq!(page("text/html", "café".as_bytes()), "UTF-8");
        assert_eq!(page("text/html", b"<meta charset=utf-16>"), "UTF-8");
    }

    #[test]
    fn bytes_that_do_not_fit_stay_different() {
        let text = |body: &[u8]| decode(UTF_8, body).unwrap().text.into_owned();
        assert_ne!(text(b"a\xffb"), text(b"a\xfeb"));
        assert_eq!(text(b"a\xff\xe2\x82b"), "a\u{F7FF}\u{F7E2}\u{F782}b");
        assert_eq!(decode(UTF_8, b"a\xffb").unwrap().malformed, [0xFF]);
        let pretending = "\u{F7FF}".as_bytes();
        assert!(decode(UTF_8, pretending).is_ok());
        assert_eq!(decode(UTF_8, &[pretending, b"\xfe"].concat()).unwrap_err(), Why::Undecodable);
        assert_eq!(decode(WINDOWS_1252, b"caf\xe9").unwrap().text, "café");
    }
}
