//! Whether two subtrees are equal.
//!
//! Owns the proof behind each hash: same source bytes, else a structural comparison on an own stack. Must stay true:
//! repeated member names count with their last value, so two objects that repeat names are only the same when their
//! members are in the same order.

use super::Walk;
use crate::Why;
use crate::budget::Meter;
use crate::json::{Doc, NodeId, Tag};

impl Walk<'_, '_> {
    /// Proven equality of two nodes.
    pub(super) fn same(&mut self, legacy: NodeId, new: NodeId) -> Result<bool, Why> {
        if self.legacy.doc.hash(legacy) != self.new.doc.hash(new) {
            return Ok(false);
        }
        let same = same_tree((self.legacy.doc, legacy), (self.new.doc, new), self.meter)?;
        if same && self.legacy.mask.is_some() {
            self.bind_equal(legacy);
        }
        Ok(same)
    }
}

fn same_tree(a: (&Doc<'_>, NodeId), b: (&Doc<'_>, NodeId), meter: &mut Meter) -> Result<bool, Why> {
    let (doc_a, doc_b) = (a.0, b.0);
    if let Some(equal) = same_layout((doc_a, a.1), (doc_b, b.1), meter)? {
        return Ok(equal);
    }
    let mut open = vec![(a.1, b.1)];
    while let Some((x, y)) = open.pop() {
        let (tag, bytes) = (doc_a.tag(x), doc_a.bytes(x));
        meter.charge(1 + bytes.len() / 64)?;
        if tag != doc_b.tag(y) {
            return Ok(false);
        }
        // The source of a container proves its equality; different sources may still be the same value.
        let equal = match tag {
            Tag::Array if bytes != doc_b.bytes(y) => {
                same_elements((doc_a, x), (doc_b, y), &mut open)
            }
            Tag::Object if bytes != doc_b.bytes(y) => {
                same_members((doc_a, x), (doc_b, y), &mut open)
            }
            Tag::Array | Tag::Object => true,
            Tag::Null | Tag::False | Tag::True | Tag::Number | Tag::Text | Tag::Key => {
                doc_a.same_scalar(x, doc_b, y)
            }
        };
        if !equal {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Most equal subtrees have the same nodes in the same order: one pass without a stack. `None` when they have not.
fn same_layout(
    a: (&Doc<'_>, NodeId),
    b: (&Doc<'_>, NodeId),
    meter: &mut Meter,
) -> Result<Option<bool>, Why> {
    let bytes = a.0.bytes(a.1);
    meter.charge(1 + bytes.len() / 64)?;
    let tag = a.0.tag(a.1);
    if tag != b.0.tag(b.1) {
        return Ok(Some(false));
    }
    if !matches!(tag, Tag::Array | Tag::Object) {
        return Ok(Some(a.0.same_scalar(a.1, b.0, b.1)));
    }
    if bytes == b.0.bytes(b.1) {
        return Ok(Some(true));
    }
    let count = a.0.next(a.1).0 - a.1.0;
    if count != b.0.next(b.1).0 - b.1.0 {
        return Ok(None);
    }
    meter.charge(count as usize)?;
    let alike = (1..count).all(|at| {
        let (x, y) = (NodeId(a.1.0 + at), NodeId(b.1.0 + at));
        match a.0.tag(x) {
            Tag::Array | Tag::Object => {
                a.0.tag(x) == b.0.tag(y) && a.0.next(x).0 - x.0 == b.0.next(y).0 - y.0
            }
            Tag::Null | Tag::False | Tag::True | Tag::Number | Tag::Text | Tag::Key => {
                a.0.same_scalar(x, b.0, y)
            }
        }
    });
    Ok(alike.then_some(true))
}

type Open = Vec<(NodeId, NodeId)>;

fn same_elements(a: (&Doc<'_>, NodeId), b: (&Doc<'_>, NodeId), open: &mut Open) -> bool {
    let (mut left, mut right) = (a.0.elements(a.1), b.0.elements(b.1));
    loop {
        match (left.next(), right.next()) {
            (Some(x), Some(y)) => open.push((x, y)),
            (None, None) => return true,
            (Some(_), None) | (None, Some(_)) => return false,
        }
    }
}

fn same_members(a: (&Doc<'_>, NodeId), b: (&Doc<'_>, NodeId), open: &mut Open) -> bool {
    let mut left: Vec<_> = a.0.members(a.1).collect();
    let mut right: Vec<_> = b.0.members(b.1).collect();
    if left.len() != right.len() {
        return false;
    }
    if !left.iter().zip(&right).all(|((x, _), (y, _))| a.0.same_scalar(*x, b.0, *y)) {
        left.sort_by(|(x, _), (y, _)| a.0.bytes(*x).cmp(a.0.bytes(*y)));
        right.sort_by(|(x, _), (y, _)| b.0.bytes(*x).cmp(b.0.bytes(*y)));
        if !left.iter().zip(&right).all(|((x, _), (y, _))| a.0.same_scalar(*x, b.0, *y)) {
            return false;
        }
    }
    open.extend(left.into_iter().zip(right).map(|((_, x), (_, y))| (x, y)));
    true
}
