//! Parsing beside a document that is parsed already.
//!
//! Owns the short cut for two answers that are nearly the same: where the bytes of a value are those of the value at the
//! same place of the other document, its nodes are copied instead of read again. It exists because comparing bytes is
//! ten times faster than parsing them. Must stay true: the result is the one of a plain parse, node by node; the bytes
//! compared in vain are bounded by a multiple of the source.

use super::parse::{JsonErrorKind, Parser, to_u32};
use super::{Doc, Node, Tag};

/// No node.
pub(super) const NONE: u32 = u32::MAX;

/// Elements that the other document may have in addition before the place is lost.
const LOOK_AHEAD: usize = 4;

/// Spans up to this are compared directly, without remembering how far the bytes are equal.
const SHORT: usize = 64;

/// Elements in a row without any counterpart, after which the rest of an array is read alone.
const MISSES_MAX: u8 = 16;

/// Bytes compared per byte of source, after which the guide is given up.
const EFFORT: usize = 8;

/// The other document, and how far the bytes are known to be equal.
pub(super) struct Guide<'g> {
    doc: &'g Doc<'g>,
    /// Place in the source minus place in the other source, for which `until` holds.
    delta: usize,
    /// The first place in the source, at or after the last look, that differs.
    until: usize,
    /// Bytes that may still be compared.
    spare: usize,
    /// The node beside the value that is read now.
    beside: u32,
}

/// Where the guide stands in one open container.
#[derive(Debug, Clone, Copy)]
pub(super) struct Course {
    /// The next child (for objects: the key), and the end of the children.
    next: u32,
    end: u32,
    /// The child before.
    before: u32,
    /// The value beside the member that is read now.
    value: u32,
    /// Elements in a row that had no counterpart.
    misses: u8,
}

impl Course {
    pub(super) const LOST: Self = Self { next: NONE, end: 0, before: NONE, value: NONE, misses: 0 };
}

impl<'g> Guide<'g> {
    pub(super) fn new(doc: &'g Doc<'g>, source_len: usize) -> Self {
        let spare = source_len.saturating_mul(EFFORT).saturating_add(1_024);
        Self { doc, delta: usize::MAX, until: 0, spare, beside: NONE }
    }

    /// How many nodes the other document has.
    pub(super) fn nodes(&self) -> usize {
        self.doc.nodes.len()
    }

    fn node(&self, id: u32) -> Option<&'g Node> {
        self.doc.nodes.get(id as usize)
    }

    /// Where the children of the value beside are, for a container of that kind.
    pub(super) fn course(&self, tag: Tag) -> Course {
        match self.node(self.beside) {
            Some(node) if node.tag == tag => {
                Course { next: self.beside + 1, end: node.end, ..Course::LOST }
            }
            Some(_) | None => Course::LOST,
        }
    }

    /// Whether the source at `at` continues with `len` bytes of the other source from `from`.
    fn same(&mut self, source: &[u8], at: usize, from: usize, len: usize, keep: bool) -> bool {
        if len <= SHORT {
            let theirs = self.doc.source.get(from..from + len);
            return theirs.is_some() && source.get(at..at + len) == theirs;
        }
        let delta = at.wrapping_sub(from);
        if delta == self.delta && at <= self.until {
            return at + len <= self.until;
        }
        let (Some(a), Some(b)) = (source.get(at..), self.doc.source.get(from..)) else {
            return false;
        };
        let equal = common_prefix(a, b);
        self.spare = self.spare.saturating_sub(equal);
        if keep || equal >= len {
            (self.delta, self.until) = (delta, at + equal);
        }
        equal >= len
    }
}

impl Parser<'_, '_> {
    /// Copies the value that starts here, if the guide has the same.
    pub(super) fn copied(&mut self) -> Result<bool, JsonErrorKind> {
        if self.guide.as_ref().is_none_or(|guide| guide.spare == 0) {
            self.guide = None;
            return Ok(false);
        }
        let beside = match (self.open.is_empty(), self.top.object) {
            (true, _) => 0,
            (false, true) => self.top.course.value,
            (false, false) => return self.copied_element(),
        };
        let copied = self.copy(beside, true)?;
        if let Some(guide) = &mut self.guide {
            guide.beside = beside;
        }
        Ok(copied)
    }

    /// Tries the element at the same place, those after it, and the one before it.
    fn copied_element(&mut self) -> Result<bool, JsonErrorKind> {
        let Some(guide) = &self.guide else { return Ok(false) };
        let course = self.top.course;
        let expected = guide.node(course.next).filter(|_| course.next < course.end);
        let large = expected.is_none_or(|node| matches!(node.tag, Tag::Array | Tag::Object));
        let ahead = if large { LOOK_AHEAD } else { 1 };
        let doc = guide.doc;
        let end_of = |id: u32| doc.nodes.get(id as usize).map_or(NONE, |node| node.end);
        let after = std::iter::successors(Some(course.next), |id| Some(end_of(*id)));
        let after = after.take_while(|id| *id < course.end).take(ahead);
        let before = (large && course.before != NONE).then_some(course.before);
        for candidate in after.chain(before) {
            if self.copy(candidate, candidate == course.next)? {
                let next = end_of(candidate);
                self.top.course = Course { before: candidate, next, misses: 0, ..course };
                return Ok(true);
            }
        }
        let beside = if expected.is_some() { course.next } else { NONE };
        if let Some(guide) = &mut self.guide {
            guide.beside = beside;
        }
        if beside != NONE {
            let (next, misses) = (end_of(beside), course.misses + 1);
            let lost = misses == MISSES_MAX;
            let onward = Course { before: beside, next, misses, ..course };
            self.top.course = if lost { Course::LOST } else { onward };
        }
        Ok(false)
    }

    /// Copies the name that starts here, if the guide has the same name next, after that, or before.
    pub(super) fn copied_key(&mut self) -> Result<Option<u64>, JsonErrorKind> {
        let Some(guide) = &self.guide else { return Ok(None) };
        let (course, doc) = (self.top.course, guide.doc);
        let end_of = |key: u32| doc.nodes.get(key as usize + 1).map_or(NONE, |node| node.end);
        let second = if course.next < course.end { end_of(course.next) } else { NONE };
        for (key, expected) in [(course.next, true), (second, false), (course.before, false)] {
            let Some(node) = doc.nodes.get(key as usize) else { continue };
            if (key < course.end || key == course.before) && self.copy(key, expected)? {
                let next = end_of(key);
                self.top.course = Course { next, before: key, value: key + 1, ..course };
                return Ok(Some(node.hash));
            }
        }
        self.top.course.value = NONE;
        Ok(None)
    }

    /// After a name was read in full: the guide may spell the same name otherwise.
    pub(super) fn name_was_read(&mut self, hash: u64) {
        let Some(guide) = &self.guide else { return };
        let (key, end) = (self.top.course.next, self.top.course.end);
        let Some(node) = guide.node(key).filter(|_| key < end) else { return };
        if node.tag == Tag::Key && node.hash == hash {
            let next = guide.node(key + 1).map_or(NONE, |value| value.end);
            self.top.course = Course { next, before: key, value: key + 1, ..self.top.course };
        }
    }

    /// Copies one node with its subtree, if the source has its bytes here. A value is attached to its container.
    fn copy(&mut self, id: u32, keep: bool) -> Result<bool, JsonErrorKind> {
        let Some(guide) = &mut self.guide else { return Ok(false) };
        let Some(node) = guide.node(id) else { return Ok(false) };
        let (start, len) = (node.start as usize, node.len as usize);
        let (from, len) = match node.tag {
            Tag::Array | Tag::Object | Tag::Number => (start, len),
            Tag::Text | Tag::Key if !node.escaped => (start - 1, len + 2),
            Tag::Text | Tag::Key | Tag::Null | Tag::False | Tag::True => return Ok(false),
        };
        let doc = guide.doc;
        if self.source.get(self.at) != doc.source.get(from)
            || !guide.same(self.source, self.at, from, len, keep)
        {
            return Ok(false);
        }
        let goes_on = |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E');
        if node.tag == Tag::Number && self.source.get(self.at + len).is_some_and(goes_on) {
            return Ok(false);
        }
        let subtree = doc.nodes.get(id as usize..node.end as usize).unwrap_or_default();
        if self.doc.nodes.len() + subtree.len() > self.limits.nodes as usize {
            return Err(JsonErrorKind::TooLarge);
        }
        self.append(subtree, id, from);
        self.at += len;
        if node.tag != Tag::Key {
            self.attach(node.hash);
        }
        Ok(true)
    }

    /// Appends nodes of the guide, moved to where they are here.
    fn append(&mut self, subtree: &[Node], id: u32, from: usize) {
        let Some(guide) = &self.guide else { return };
        let ids = to_u32(self.doc.nodes.len()).wrapping_sub(id);
        let bytes = to_u32(self.at).wrapping_sub(to_u32(from));
        let decoded = &mut self.doc.decoded;
        self.doc.nodes.extend(subtree.iter().map(|node| {
            let start = if node.escaped {
                let text = node.start as usize..node.start as usize + node.len as usize;
                let start = to_u32(decoded.len());
                decoded.extend_from_slice(guide.doc.decoded.get(text).unwrap_or_default());
                start
            } else {
                node.start.wrapping_add(bytes)
            };
            Node { start, end: node.end.wrapping_add(ids), ..*node }
        }));
    }
}

/// How many bytes both start with.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    const STEP: usize = 64;
    let (blocks_a, _) = a.as_chunks::<STEP>();
    let (blocks_b, _) = b.as_chunks::<STEP>();
    let blocks = blocks_a.iter().zip(blocks_b).take_while(|(x, y)| x == y).count();
    let from = blocks * STEP;
    let (a, b) = (a.get(from..).unwrap_or_default(), b.get(from..).unwrap_or_default());
    from + a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

#[cfg(test)]
mod tests;
