//! The parser: RFC 8259, strict, one pass, own stack.
//!
//! Owns the syntax and the subtree hashes that are built on the way. It exists because no kept parser borrows, keeps
//! lexemes and duplicates and hashes in the same pass. Must stay true: accepts exactly the JSON texts of RFC 8259 that
//! are UTF-8 and within the limits; never recurses, never reads outside the input.

use thiserror::Error;

use super::{Doc, Node, Tag, number, string};
use crate::hash;

/// The deepest nesting that is read.
pub(crate) const DEPTH_MAX: usize = 512;

/// Bounds of one parse.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) nodes: u32,
}

/// Why bytes are not a JSON text, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{kind} at byte {at}")]
pub struct JsonError {
    /// Byte offset of the trouble.
    pub at: usize,
    /// What is wrong there.
    pub kind: JsonErrorKind,
}

/// What is wrong with a JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JsonErrorKind {
    /// The bytes are not UTF-8.
    #[error("invalid UTF-8")]
    Utf8,
    /// The text ends too early.
    #[error("unexpected end")]
    End,
    /// A byte that the grammar does not allow here.
    #[error("unexpected character")]
    Unexpected,
    /// An unknown escape or one without four hex digits.
    #[error("invalid escape")]
    BadEscape,
    /// A number with a leading zero, a lone sign, or no digits after a point or exponent.
    #[error("invalid number")]
    BadNumber,
    /// A raw control character inside a string.
    #[error("control character in a string")]
    Control,
    /// Nested deeper than 512 levels.
    #[error("nested too deep")]
    TooDeep,
    /// More nodes or bytes than the limit.
    #[error("too large")]
    TooLarge,
}

impl JsonErrorKind {
    /// Whether the text may be valid and only a limit was hit.
    pub fn is_limit(self) -> bool {
        matches!(self, Self::TooDeep | Self::TooLarge)
    }
}

/// Parses one JSON text.
pub(crate) fn parse(source: &[u8], limits: Limits) -> Result<Doc<'_>, JsonError> {
    if u32::try_from(source.len()).is_err() {
        return Err(JsonError { at: 0, kind: JsonErrorKind::TooLarge });
    }
    if let Err(error) = std::str::from_utf8(source) {
        return Err(JsonError { at: error.valid_up_to(), kind: JsonErrorKind::Utf8 });
    }
    let doc = Doc { source, decoded: Vec::new(), nodes: Vec::with_capacity(source.len() / 16 + 1) };
    let mut parser = Parser { source, at: 0, doc, open: Vec::new(), limits };
    match parser.run() {
        Ok(()) => Ok(parser.doc),
        Err(kind) => Err(JsonError { at: parser.at, kind }),
    }
}

/// An array or object whose end was not seen yet.
struct Frame {
    node: u32,
    hash: u64,
    key: u64,
    object: bool,
}

struct Parser<'a> {
    source: &'a [u8],
    at: usize,
    doc: Doc<'a>,
    open: Vec<Frame>,
    limits: Limits,
}

type Step = Result<(), JsonErrorKind>;

impl Parser<'_> {
    fn run(&mut self) -> Step {
        loop {
            self.skip_space();
            self.value()?;
            if self.after_value()? {
                break;
            }
        }
        self.skip_space();
        if self.at == self.source.len() { Ok(()) } else { Err(JsonErrorKind::Unexpected) }
    }

    /// Reads one value up to its first nested value; containers stay open.
    fn value(&mut self) -> Step {
        loop {
            match self.peek() {
                Some(b'{') => {
                    self.open_container(Tag::Object)?;
                    self.skip_space();
                    if self.peek() == Some(b'}') {
                        return self.close_container();
                    }
                    self.key()?;
                }
                Some(b'[') => {
                    self.open_container(Tag::Array)?;
                    self.skip_space();
                    if self.peek() == Some(b']') {
                        return self.close_container();
                    }
                }
                Some(b'"') => return self.text(Tag::Text).map(|hash| self.attach(hash)),
                Some(b'-' | b'0'..=b'9') => return self.number(),
                Some(b'n') => return self.literal(b"null", Tag::Null),
                Some(b't') => return self.literal(b"true", Tag::True),
                Some(b'f') => return self.literal(b"false", Tag::False),
                Some(_) => return Err(JsonErrorKind::Unexpected),
                None => return Err(JsonErrorKind::End),
            }
        }
    }

    /// Closes containers and steps over a comma; true when the root value is complete.
    fn after_value(&mut self) -> Result<bool, JsonErrorKind> {
        while let Some(frame) = self.open.last() {
            let object = frame.object;
            self.skip_space();
            match (self.peek(), object) {
                (Some(b','), true) => {
                    self.at += 1;
                    self.skip_space();
                    self.key()?;
                    return Ok(false);
                }
                (Some(b','), false) => {
                    self.at += 1;
                    return Ok(false);
                }
                (Some(b'}'), true) | (Some(b']'), false) => self.close_container()?,
                (Some(_), _) => return Err(JsonErrorKind::Unexpected),
                (None, _) => return Err(JsonErrorKind::End),
            }
        }
        Ok(true)
    }

    fn open_container(&mut self, tag: Tag) -> Step {
        if self.open.len() >= DEPTH_MAX {
            return Err(JsonErrorKind::TooDeep);
        }
        let node = self.push(tag, self.at, 0, 0, false)?;
        let object = tag == Tag::Object;
        self.open.push(Frame { node, hash: u64::from(object) + 1, key: 0, object });
        self.at += 1;
        Ok(())
    }

    fn close_container(&mut self) -> Step {
        self.at += 1;
        let Some(frame) = self.open.pop() else { return Err(JsonErrorKind::Unexpected) };
        let (end, at) = (to_u32(self.doc.nodes.len()), to_u32(self.at));
        let node = &mut self.doc.nodes[frame.node as usize];
        let hash = container_hash(frame.hash, frame.object);
        node.end = end;
        node.len = at - node.start;
        node.hash = hash;
        self.attach(hash);
        Ok(())
    }

    /// Adds a finished value to the hash of its container.
    #[inline]
    fn attach(&mut self, hash: u64) {
        if let Some(frame) = self.open.last_mut() {
            frame.hash = if frame.object {
                add_member(frame.hash, frame.key, hash)
            } else {
                add_element(frame.hash, hash)
            };
        }
    }

    fn key(&mut self) -> Step {
        match self.peek() {
            Some(b'"') => {}
            Some(_) => return Err(JsonErrorKind::Unexpected),
            None => return Err(JsonErrorKind::End),
        }
        let hash = self.text(Tag::Key)?;
        if let Some(frame) = self.open.last_mut() {
            frame.key = hash;
        }
        self.skip_space();
        match self.peek() {
            Some(b':') => self.at += 1,
            Some(_) => return Err(JsonErrorKind::Unexpected),
            None => return Err(JsonErrorKind::End),
        }
        self.skip_space();
        Ok(())
    }

    fn text(&mut self, tag: Tag) -> Result<u64, JsonErrorKind> {
        self.at += 1;
        let start = self.at;
        self.at = plain_end(self.source, start);
        if self.peek() != Some(b'"') {
            return self.escaped_text(start, tag);
        }
        let hash = hash::of_bytes(&self.source[start..self.at]);
        self.push(tag, start, self.at - start, hash, false)?;
        self.at += 1;
        Ok(hash)
    }

    fn escaped_text(&mut self, start: usize, tag: Tag) -> Result<u64, JsonErrorKind> {
        let decoded_start = self.doc.decoded.len();
        let mut copied = start;
        loop {
            self.at = plain_end(self.source, self.at);
            self.doc.decoded.extend_from_slice(&self.source[copied..self.at]);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    let rest = &self.source[self.at + 1..];
                    self.at += 1 + string::unescape(rest, &mut self.doc.decoded)?;
                    copied = self.at;
                }
                Some(_) => return Err(JsonErrorKind::Control),
                None => return Err(JsonErrorKind::End),
            }
        }
        self.at += 1;
        let len = self.doc.decoded.len() - decoded_start;
        let hash = hash::of_bytes(&self.doc.decoded[decoded_start..]);
        self.push(tag, decoded_start, len, hash, true)?;
        Ok(hash)
    }

    fn number(&mut self) -> Step {
        let rest = &self.source[self.at..];
        let Some(len) = number_len(rest) else { return Err(JsonErrorKind::BadNumber) };
        let hash = number::hash_of(&rest[..len]).rotate_left(7);
        self.push(Tag::Number, self.at, len, hash, false)?;
        self.at += len;
        self.attach(hash);
        Ok(())
    }

    fn literal(&mut self, word: &[u8], tag: Tag) -> Step {
        if !self.source[self.at..].starts_with(word) {
            return Err(JsonErrorKind::Unexpected);
        }
        let hash = hash::mix(word.len() as u64, u64::from(word[0]));
        self.push(tag, self.at, word.len(), hash, false)?;
        self.at += word.len();
        self.attach(hash);
        Ok(())
    }

    #[inline]
    fn push(
        &mut self,
        tag: Tag,
        start: usize,
        len: usize,
        hash: u64,
        escaped: bool,
    ) -> Result<u32, JsonErrorKind> {
        let id = to_u32(self.doc.nodes.len());
        if id >= self.limits.nodes {
            return Err(JsonErrorKind::TooLarge);
        }
        let (start, len) = (to_u32(start), to_u32(len));
        self.doc.nodes.push(Node { hash, start, len, end: id + 1, tag, escaped });
        Ok(id)
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.source.get(self.at).copied()
    }

    #[inline]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }
}

/// Hash of an object with one more member; the order of members does not matter.
#[inline]
pub(crate) fn add_member(hash: u64, key: u64, value: u64) -> u64 {
    hash.wrapping_add(hash::mix(key, value.rotate_left(31)))
}

/// Hash of an array with one more element; the order matters.
#[inline]
pub(crate) fn add_element(hash: u64, value: u64) -> u64 {
    hash::mix(hash.rotate_left(5), value)
}

/// Finishes the hash of a container.
#[inline]
pub(crate) fn container_hash(hash: u64, object: bool) -> u64 {
    hash::mix(hash, if object { 0x6F } else { 0x61 })
}

/// The first byte from `at` that is a quote, a backslash or a control character; eight bytes per look.
#[inline]
fn plain_end(source: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zero_byte = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    while let Some(chunk) = source.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*chunk);
        let quote = zero_byte(word ^ (ONES * 0x22));
        let slash = zero_byte(word ^ (ONES * 0x5C));
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let found = quote | slash | control;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while source.get(at).is_some_and(|b| !matches!(b, b'"' | b'\\' | 0..0x20)) {
        at += 1;
    }
    at
}

/// Length of the number at the start of `text`, if the grammar allows it.
pub(super) fn number_len(text: &[u8]) -> Option<usize> {
    let digits = |from: usize| {
        text.get(from..).unwrap_or_default().iter().take_while(|b| b.is_ascii_digit()).count()
    };
    let mut at = usize::from(text.first() == Some(&b'-'));
    let whole = digits(at);
    if whole == 0 || (whole > 1 && text.get(at) == Some(&b'0')) {
        return None;
    }
    at += whole;
    if text.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        if fraction == 0 {
            return None;
        }
        at += 1 + fraction;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        at += 1 + usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at);
        if exponent == 0 {
            return None;
        }
        at += exponent;
    }
    Some(at)
}

/// Offsets fit because the source is at most `u32::MAX` bytes.
#[inline]
fn to_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
