//! Normal forms of texts, for rules that look through what is different in every answer.
//!
//! Owns the named forms (CSRF tokens, digests of assets, nonces, ..) and replacement by pattern. It exists apart from the
//! rules so that values, headers, text and HTML use the same. Must stay true: linear time, bounded growth, and what was
//! taken out is remembered as a hash, so that a rule counts a hit only where it made a difference.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::hash;
use crate::rule::{Action, Normaliser, Replacement};

/// A text in a normal form.
#[derive(Debug, Clone)]
pub(crate) struct Normal<'t> {
    pub(crate) text: Cow<'t, [u8]>,
    /// Hash of the pieces that were taken out.
    pub(crate) removed: u64,
}

impl<'t> Normal<'t> {
    fn unchanged(text: &'t [u8]) -> Self {
        Self { text: Cow::Borrowed(text), removed: 0 }
    }
}

/// The normal form that an action means, if it means one.
pub(crate) fn text<'t>(action: &Action, text: &'t [u8]) -> Option<Normal<'t>> {
    match action {
        Action::Normaliser(Normaliser::CsrfToken) => Some(csrf(text, any_token)),
        Action::Normaliser(Normaliser::CsrfSession) => Some(csrf(text, same_token)),
        Action::Normaliser(Normaliser::AssetDigest) => Some(digests(text)),
        Action::Normaliser(Normaliser::Nonce) => Some(nonces(text)),
        Action::Normaliser(Normaliser::WeakEtag) => {
            Some(part(text, text.strip_prefix(b"W/").unwrap_or(text)))
        }
        Action::Normaliser(Normaliser::Whitespace) => Some(blanks(text)),
        Action::Normaliser(Normaliser::TrailingNewline) => {
            let end = text.iter().rposition(|b| !matches!(b, b'\n' | b'\r')).map_or(0, |at| at + 1);
            Some(part(text, text.get(..end).unwrap_or(text)))
        }
        Action::RegexReplace(replacement) => replaced(replacement, text),
        Action::Case => Some(lower(text)),
        Action::Trim => Some(part(text, text.trim_ascii())),
        Action::Ignore
        | Action::IgnoreValue
        | Action::Tolerance(_)
        | Action::Time(_)
        | Action::Ordered
        | Action::Set
        | Action::Multiset
        | Action::Key(_)
        | Action::NullEqMissing
        | Action::NullEqEmpty
        | Action::NumberEqString { .. }
        | Action::UrlHostMap(_)
        | Action::CookieAttrsOnly
        | Action::Bijection(_)
        | Action::Expect(_) => None,
    }
}

/// A text of which only a part stays.
fn part<'t>(text: &'t [u8], kept: &'t [u8]) -> Normal<'t> {
    let removed = if kept.len() == text.len() { 0 } else { text.len() as u64 };
    Normal { text: Cow::Borrowed(kept), removed }
}

fn lower(text: &[u8]) -> Normal<'_> {
    let lower = String::from_utf8_lossy(text).to_lowercase().into_bytes();
    if lower == text {
        return Normal::unchanged(text);
    }
    Normal { text: Cow::Owned(lower), removed: hash::of_bytes(text) }
}

fn blanks(text: &[u8]) -> Normal<'_> {
    let words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let mut out = Vec::with_capacity(text.len());
    for word in words {
        if !out.is_empty() {
            out.push(b' ');
        }
        out.extend_from_slice(word);
    }
    if out == text { Normal::unchanged(text) } else { owned(out, hash::of_bytes(text)) }
}

fn owned<'t>(text: Vec<u8>, removed: u64) -> Normal<'t> {
    Normal { text: Cow::Owned(text), removed }
}

/// Pieces of a text that are replaced, written from left to right.
struct Cut<'t> {
    text: &'t [u8],
    out: Vec<u8>,
    copied: usize,
    removed: u64,
}

impl<'t> Cut<'t> {
    fn new(text: &'t [u8]) -> Self {
        Self { text, out: Vec::new(), copied: 0, removed: 0 }
    }

    fn replace(&mut self, from: usize, to: usize, with: &[u8]) {
        let piece = self.text.get(from..to).unwrap_or_default();
        if piece == with {
            return;
        }
        self.out.extend_from_slice(self.text.get(self.copied..from).unwrap_or_default());
        self.out.extend_from_slice(with);
        self.removed = hash::mix(self.removed.rotate_left(5), hash::of_bytes(piece));
        self.copied = to;
    }

    fn finish(mut self) -> Normal<'t> {
        if self.copied == 0 && self.out.is_empty() {
            return Normal::unchanged(self.text);
        }
        self.out.extend_from_slice(self.text.get(self.copied..).unwrap_or_default());
        owned(self.out, self.removed)
    }
}

/// `None` when the text would grow beyond four times its size.
fn replaced<'t>(replacement: &Replacement, text: &'t [u8]) -> Option<Normal<'t>> {
    let limit = text.len().saturating_mul(4).saturating_add(4_096);
    let mut cut = Cut::new(text);
    for captures in replacement.regex().captures_iter(text) {
        let Some(found) = captures.get(0) else { continue };
        let mut with = Vec::new();
        captures.expand(replacement.with().as_bytes(), &mut with);
        cut.replace(found.start(), found.end(), &with);
        if cut.out.len() > limit || with.len() > limit {
            return None;
        }
    }
    Some(cut.finish())
}

/// `-` and 32 to 64 hex digits and `.`, as Sprockets names its files.
fn digests(text: &[u8]) -> Normal<'_> {
    let mut cut = Cut::new(text);
    let mut at = 0;
    while let Some(dash) = find(text, at, b'-') {
        let rest = text.get(dash + 1..).unwrap_or_default();
        let hex = |b: &&u8| b.is_ascii_digit() || (b'a'..=b'f').contains(b);
        let len = rest.iter().take(65).take_while(hex).count();
        at = dash + 1 + len;
        if (32..=64).contains(&len) && rest.get(len) == Some(&b'.') {
            cut.replace(dash + 1, dash + 1 + len, b"*");
        }
    }
    cut.finish()
}

/// The value of `nonce="..."`, and `'nonce-...'` in a content security policy.
fn nonces(text: &[u8]) -> Normal<'_> {
    let mut cut = Cut::new(text);
    let mut at = 0;
    while let Some(found) = find(text, at, b'n') {
        at = found + 1;
        let rest = text.get(found..).unwrap_or_default();
        let before = found.checked_sub(1).and_then(|at| text.get(at).copied());
        let (skip, end) = match (rest.get(5..7), before) {
            _ if !rest.starts_with(b"nonce") => continue,
            (Some(b"=\""), _) => (7, b'"'),
            (Some(b"='"), _) => (7, b'\''),
            (Some([b'-', _]), Some(b'\'')) => (6, b'\''),
            (_, _) => continue,
        };
        let from = found + skip;
        if let Some(to) = find(text, from, end) {
            cut.replace(from, to, b"*");
            at = to;
        }
    }
    cut.finish()
}

/// A CSRF token, or the tags of a page that hold one; `stands_for` writes what is compared in place of the token.
fn csrf(text: &[u8], stands_for: fn(&[u8; TOKEN_BYTES]) -> Vec<u8>) -> Normal<'_> {
    let mut cut = Cut::new(text);
    if let Some(token) = token(text) {
        cut.replace(0, text.len(), &stands_for(&token));
        return cut.finish();
    }
    let mut at = 0;
    while let Some(from) = find(text, at, b'<') {
        let Some(to) = find(text, from, b'>') else { break };
        at = to;
        let tag = text.get(from..to).unwrap_or_default();
        if !contains(tag, b"csrf-token") && !contains(tag, b"authenticity_token") {
            continue;
        }
        for name in [&b"content="[..], b"value="] {
            let Some(start) = position(tag, name).map(|start| start + name.len()) else { continue };
            let Some(quote @ (b'"' | b'\'')) = tag.get(start).copied() else { continue };
            let Some(end) = find(tag, start + 1, quote) else { continue };
            if let Some(token) = tag.get(start + 1..end).and_then(token) {
                cut.replace(from + start + 1, from + end, &stands_for(&token));
                break;
            }
        }
    }
    cut.finish()
}

/// Bytes of a token of Rails (`AUTHENTICITY_TOKEN_LENGTH`).
const TOKEN_BYTES: usize = 32;

/// Every valid token is alike: whose session it is, is another session's business.
fn any_token(_: &[u8; TOKEN_BYTES]) -> Vec<u8> {
    b"*csrf 32 bytes*".to_vec()
}

/// The token itself, as a hash: it would let somebody write in the name of the user.
fn same_token(token: &[u8; TOKEN_BYTES]) -> Vec<u8> {
    format!("*csrf {:016x}*", hash::of_bytes(token)).into_bytes()
}

/// Base64 as Rails writes tokens: both alphabets (`urlsafe_csrf_tokens`), with and without padding.
const fn base64(alphabet: &base64::alphabet::Alphabet) -> GeneralPurpose {
    let padding =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, padding)
}
static STANDARD: GeneralPurpose = base64(&base64::alphabet::STANDARD);
static URL_SAFE: GeneralPurpose = base64(&base64::alphabet::URL_SAFE);

/// The token that a text holds: plain (before Rails 4.2), or masked (since), which is a one-time pad and `pad XOR token`.
///
/// Source: `unmask_token` and `valid_authenticity_token?` of Rails' `request_forgery_protection.rb`.
fn token(text: &[u8]) -> Option<[u8; TOKEN_BYTES]> {
    // 43 digits hold 32 bytes, 86 and two of padding hold 64.
    if !(43..=88).contains(&text.len()) {
        return None;
    }
    let bytes = STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()?;
    match bytes.split_at_checked(TOKEN_BYTES)? {
        (plain, []) => plain.try_into().ok(),
        (pad, masked) if masked.len() == TOKEN_BYTES => {
            let mut token = [0; TOKEN_BYTES];
            for (out, (pad, masked)) in token.iter_mut().zip(pad.iter().zip(masked)) {
                *out = pad ^ masked;
            }
            Some(token)
        }
        _ => None,
    }
}

fn find(text: &[u8], from: usize, byte: u8) -> Option<usize> {
    text.get(from..)?.iter().position(|b| *b == byte).map(|at| from + at)
}

fn position(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    position(text, part).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(normaliser: Normaliser, from: &str) -> String {
        let normal = text(&Action::Normaliser(normaliser), from.as_bytes()).unwrap();
        assert_eq!(normal.removed != 0, *normal.text != *from.as_bytes(), "{from}");
        String::from_utf8(normal.text.into_owned()).unwrap()
    }

    #[test]
    fn named_forms_look_through_what_changes_in_every_answer() {
        use Normaliser::{AssetDigest, CsrfToken, Nonce, TrailingNewline, WeakEtag, Whitespace};
        let digest = "0123456789abcdef0123456789abcdef";
        let masked = format!("{}g==", "aB+/".repeat(22).get(..85).unwrap());
        let page = |token: &str| {
            format!(
                "<meta content=\"{token}\" name=\"csrf-token\" /><input name=\"authenticity_token\" value='{token}'><p>{token}</p>"
            )
        };
        for (normaliser, from, to) in [
            (AssetDigest, format!("/a/app-{digest}.css"), "/a/app-*.css".to_owned()),
            (AssetDigest, format!("app-{digest}{digest}.js x-"), "app-*.js x-".to_owned()),
            (AssetDigest, format!("app-{digest}"), format!("app-{digest}")),
            (AssetDigest, "a-0123.css".to_owned(), "a-0123.css".to_owned()),
            (
                Nonce,
                "<script nonce=\"abc\">n</script>".to_owned(),
                "<script nonce=\"*\">n</script>".to_owned(),
            ),
            (Nonce, "script-src 'nonce-abc'".to_owned(), "script-src 'nonce-*'".to_owned()),
            (WeakEtag, "W/\"a\"".to_owned(), "\"a\"".to_owned()),
            (Whitespace, " a \n b".to_owned(), "a b".to_owned()),
            (TrailingNewline, "a\n\r\n".to_owned(), "a".to_owned()),
            (CsrfToken, masked.clone(), "*csrf 32 bytes*".to_owned()),
            (CsrfToken, "short".to_owned(), "short".to_owned()),
            (
                CsrfToken,
                page(&masked),
                page("*csrf 32 bytes*").replace("<p>*csrf 32 bytes*", &format!("<p>{masked}")),
            ),
        ] {
            assert_eq!(normal(normaliser, &from), to, "{from}");
        }
    }

    #[test]
    fn tokens_are_unmasked_whatever_their_pad_alphabet_and_padding() {
        let raw: [u8; TOKEN_BYTES] = std::array::from_fn(|at| u8::try_from(at * 7 % 256).unwrap());
        let masked = |pad: u8| -> Vec<u8> {
            let under = raw.iter().map(|byte| byte ^ pad);
            std::iter::repeat_n(pad, TOKEN_BYTES).chain(under).collect()
        };
        for pad in [0, 0x5A, 0xFB, 0xFF] {
            for text in [STANDARD.encode(masked(pad)), URL_SAFE.encode(masked(pad))] {
                assert_eq!(token(text.as_bytes()), Some(raw), "{text}");
                assert_eq!(token(text.trim_end_matches('=').as_bytes()), Some(raw), "{text}");
            }
        }
        assert_eq!(token(STANDARD.encode(raw).as_bytes()), Some(raw), "as before Rails 4.2");
        let session = |token: &[u8]| normal(Normaliser::CsrfSession, &STANDARD.encode(token));
        assert_eq!(session(&masked(1)), session(&masked(2)));
        assert_eq!(session(&masked(1)), session(&raw));
        assert_ne!(session(&masked(1)), session(&[9; TOKEN_BYTES]));
        let (good, half) = (STANDARD.encode(masked(3)), STANDARD.encode(&masked(3)[..48]));
        for wrong in [&format!("A{good}"), &half, &good.replace('A', "!"), &"B".repeat(86)] {
            assert_eq!(token(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn replacement_that_grows_without_bound_is_none() {
        let grow = Replacement::new("", &"x".repeat(100)).unwrap();
        assert!(replaced(&grow, &[b'a'; 10_000]).is_none());
        let swap = Replacement::new(r"v(\d+)", "version $1").unwrap();
        assert_eq!(&*replaced(&swap, b"v1 v22").unwrap().text, b"version 1 version 22");
    }
}
