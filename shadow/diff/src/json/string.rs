//! Escapes of JSON strings.
//!
//! Owns decoding into WTF-8: surrogate pairs become one code point, a lone surrogate keeps its own three bytes, so two
//! strings are equal exactly when their bytes are. Must stay true: the decoded form is never longer than the source.

use super::parse::JsonErrorKind;

/// Decodes the escape that follows a backslash at the start of `rest`; returns how many bytes it took.
pub(super) fn unescape(rest: &[u8], out: &mut Vec<u8>) -> Result<usize, JsonErrorKind> {
    let plain = match rest.first() {
        Some(b'"') => b'"',
        Some(b'\\') => b'\\',
        Some(b'/') => b'/',
        Some(b'b') => 8,
        Some(b'f') => 12,
        Some(b'n') => b'\n',
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(b'u') => return unicode(rest, out),
        _ => return Err(JsonErrorKind::BadEscape),
    };
    out.push(plain);
    Ok(1)
}

fn unicode(rest: &[u8], out: &mut Vec<u8>) -> Result<usize, JsonErrorKind> {
    let first = hex4(rest.get(1..5)).ok_or(JsonErrorKind::BadEscape)?;
    if (0xD800..0xDC00).contains(&first) && rest.get(5..7) == Some(b"\\u") {
        let second = hex4(rest.get(7..11)).ok_or(JsonErrorKind::BadEscape)?;
        if (0xDC00..0xE000).contains(&second) {
            push(0x1_0000 + ((first - 0xD800) << 10 | (second - 0xDC00)), out);
            return Ok(11);
        }
    }
    push(first, out);
    Ok(5)
}

fn hex4(digits: Option<&[u8]>) -> Option<u32> {
    digits?.iter().try_fold(0u32, |sum, d| Some(sum << 4 | char::from(*d).to_digit(16)?))
}

/// Appends a code point; a lone surrogate as its own three bytes.
pub(crate) fn push(code: u32, out: &mut Vec<u8>) {
    if let Some(c) = char::from_u32(code) {
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        return;
    }
    for byte in [0xE0 | code >> 12, 0x80 | code >> 6 & 0x3F, 0x80 | code & 0x3F] {
        out.extend(u8::try_from(byte));
    }
}
