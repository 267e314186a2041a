//! The parser: RFC 8259, strict, one pass, own stack.
//!
//! Owns the syntax and the subtree hashes that are built on the way. It exists because no kept parser borrows, keeps
//! lexemes and duplicates and hashes in the same pass. Must stay true: accepts exactly the JSON texts of RFC 8259 that
//! are UTF-8 and within the limits; never recurses, never reads outside the input.

use thiserror::Error;

use super::guide::{Course, Guide};
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
    start(source, limits, None)
}

/// Parses one JSON text that is probably much like another; the result is the same as that of [`parse`].
pub(crate) fn parse_beside<'a>(
    source: &'a [u8],
    limits: Limits,
    other: &Doc<'_>,
) -> Result<Doc<'a>, JsonError> {
    start(source, limits, Some(Guide::new(other, source.len())))
}

fn start<'a>(
    source: &'a [u8],
    limits: Limits,
    guide: Option<Guide<'_>>,
) -> Result<Doc<'a>, JsonError> {
    if u32::try_from(source.len()).is_err() {
        return Err(JsonError { at: 0, kind: JsonErrorKind::TooLarge });
    }
    if let Err(error) = std::str::from_utf8(source) {
        return Err(JsonError { at: error.valid_up_to(), kind: JsonErrorKind::Utf8 });
    }
    let guess = source.len() / 10 + 1;
    let capacity = guide.as_ref().map_or(guess, |guide| guide.nodes().min(source.len() / 2 + 1));
    let doc = Doc { source, decoded: Vec::new(), nodes: Vec::with_capacity(capacity) };
    let top = Frame { node: 0, hash: 0, key: 0, object: false, course: Course::LOST };
    let mut parser = Parser { source, at: 0, doc, top, open: Vec::new(), limits, guide };
    match parser.run() {
        Ok(()) => Ok(parser.doc),
        Err(kind) => Err(JsonError { at: parser.at, kind }),
    }
}

/// An array or object whose end was not seen yet.
pub(super) struct Frame {
    node: u32,
    hash: u64,
    key: u64,
    pub(super) object: bool,
    pub(super) course: Course,
}

pub(super) struct Parser<'a, 'g> {
    pub(super) source: &'a [u8],
    pub(super) at: usize,
    pub(super) doc: Doc<'a>,
    /// The container that is read now; outside of all of them a frame that nothing looks at.
    pub(super) top: Frame,
    /// The containers around it.
    pub(super) open: Vec<Frame>,
    pub(super) limits: Limits,
    pub(super) guide: Option<Guide<'g>>,
}

type Step = Result<(), JsonErrorKind>;

impl Parser<'_, '_> {
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
            if self.guide.is_some() && self.copied()? {
                return Ok(());
            }
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
        while !self.open.is_empty() {
            self.skip_space();
            match (self.peek(), self.top.object) {
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
        let course = self.guide.as_ref().map_or(Course::LOST, |guide| guide.course(tag));
        let inner = Frame { node, hash: u64::from(object) + 1, key: 0, object, course };
        self.open.push(std::mem::replace(&mut self.top, inner));
        self.at += 1;
        Ok(())
    }

    fn close_container(&mut self) -> Step {
        self.at += 1;
        let Some(outer) = self.open.pop() else { return Err(JsonErrorKind::Unexpected) };
        let frame = std::mem::replace(&mut self.top, outer);
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
    pub(super) fn attach(&mut self, hash: u64) {
        self.top.hash = if self.top.object {
            add_member(self.top.hash, self.top.key, hash)
        } else {
            add_element(self.top.hash, hash)
        };
    }

    #[inline]
    fn key(&mut self) -> Step {
        match self.peek() {
            Some(b'"') => {}
            Some(_) => return Err(JsonErrorKind::Unexpected),
            None => return Err(JsonErrorKind::End),
        }
        self.top.key = self.name()?;
        if self.peek() != Some(b':') {
            self.skip_space();
        }
        match self.peek() {
            Some(b':') => self.at += 1,
            Some(_) => return Err(JsonErrorKind::Unexpected),
            None => return Err(JsonErrorKind::End),
        }
        self.skip_space();
        Ok(())
    }

    #[inline]
    fn name(&mut self) -> Result<u64, JsonErrorKind> {
        if self.guide.is_none() {
            return self.text(Tag::Key);
        }
        if let Some(hash) = self.copied_key()? {
            return Ok(hash);
        }
        let hash = self.text(Tag::Key)?;
        self.name_was_read(hash);
        Ok(hash)
    }

    #[inline]
    fn text(&mut self, tag: Tag) -> Result<u64, JsonErrorKind> {
        let start = self.at + 1;
        // Most strings are shorter than two words: these show the end, and they are the hash.
        if let Some(bytes) = self.source.get(start..).and_then(<[u8]>::first_chunk::<16>) {
            let len = first_end(bytes).unwrap_or(bytes.len());
            if bytes.get(len) == Some(&b'"') {
                let hash = hash::of_first(*bytes, len);
                self.push(tag, start, len, hash, false)?;
                self.at = start + len + 1;
                return Ok(hash);
            }
        }
        self.long_text(start, tag)
    }

    #[inline(never)]
    fn long_text(&mut self, start: usize, tag: Tag) -> Result<u64, JsonErrorKind> {
        self.at = plain_end(self.source, start);
        if self.peek() != Some(b'"') {
            return self.escaped_text(start, tag);
        }
        let hash = hash::of_bytes(&self.source[start..self.at]);
        self.push(tag, start, self.at - start, hash, false)?;
        self.at += 1;
        Ok(hash)
    }

    #[inline(never)]
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
        let Some((len, hash)) = number::scan(rest) else { return Err(JsonErrorKind::BadNumber) };
        let hash = hash.rotate_left(7);
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
        if self.peek().is_some_and(|byte| byte <= b' ') {
            self.skip_more_space();
        }
    }

    fn skip_more_space(&mut self) {
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

/// The first byte from `at` that is a quote, a backslash or a control character.
#[inline]
fn plain_end(source: &[u8], at: usize) -> usize {
    let text = source.get(at..).unwrap_or_default();
    let near = text.get(..32).unwrap_or(text);
    match first_end(near) {
        Some(len) => at + len,
        None if near.len() == text.len() => at + text.len(),
        None => at + near.len() + long_plain(text.get(near.len()..).unwrap_or_default()),
    }
}

/// Where the plain text ends, word by word.
#[inline]
fn first_end(text: &[u8]) -> Option<usize> {
    let (words, rest) = text.as_chunks::<8>();
    let mut at = 0;
    for word in words {
        let found = ends_plain(*word);
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let len = plain_bytes(rest);
    (len < rest.len()).then_some(at + len)
}

/// The rest of a long string: blocks that the compiler turns into vector instructions, then words.
fn long_plain(text: &[u8]) -> usize {
    let (blocks, _) = text.as_chunks::<32>();
    let special =
        |byte: u8| u8::from(byte < 0x20) | u8::from(byte == b'"') | u8::from(byte == b'\\');
    let plain = |block: &&[u8; 32]| block.iter().fold(0, |found, byte| found | special(*byte)) == 0;
    let from = blocks.iter().take_while(plain).count() * 32;
    let rest = text.get(from..).unwrap_or_default();
    from + first_end(rest).unwrap_or(rest.len())
}

fn plain_bytes(text: &[u8]) -> usize {
    text.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)).count()
}

/// The high bit of each byte that ends plain text; bits above the first one found may be wrong.
#[inline]
fn ends_plain(word: [u8; 8]) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let word = u64::from_le_bytes(word);
    let (quote, slash) = (word ^ (ONES * 0x22), word ^ (ONES * 0x5C));
    let quote = quote.wrapping_sub(ONES) & !quote;
    let slash = slash.wrapping_sub(ONES) & !slash;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (quote | slash | control) & HIGH
}

/// Offsets fit because the source is at most `u32::MAX` bytes.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "start() refuses sources that are longer")]
pub(super) fn to_u32(n: usize) -> u32 {
    n as u32
}

#[cfg(test)]
mod tests;
