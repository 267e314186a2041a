//! A JSON document as an arena over borrowed bytes.
//!
//! Owns the value model: exact numbers, strings as code points (lone surrogates kept, as WTF-8), ordered members with
//! duplicates, and a subtree hash per node that ignores member order. It exists because `serde_json` loses duplicate
//! keys and lone surrogates and stops at 128 levels. What must stay true: nodes are in document order, `end` is the
//! index after a node's subtree, an object's children alternate key, value; nothing recurses.

mod guide;
mod number;
mod parse;
mod string;

use crate::hash;
use number::Decimal;
pub(crate) use number::{hash_of as hash_of_number, whole};
pub use parse::{JsonError, JsonErrorKind};
pub(crate) use parse::{Limits, add_element, add_member, container_hash, parse, parse_beside};
pub(crate) use string::push as push_code;

/// Says whether bytes are one JSON text as RFC 8259 defines it (UTF-8, at most 512 levels), and where not.
pub fn check_json(bytes: &[u8]) -> Result<(), JsonError> {
    parse(bytes, Limits { nodes: u32::MAX }).map(|_| ())
}

/// Index of a node in its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(pub(crate) u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    Null,
    False,
    True,
    Number,
    Text,
    Array,
    Object,
    /// The name of the member whose value is the next node.
    Key,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Node {
    hash: u64,
    /// Into the source, or into `decoded` for strings with escapes.
    start: u32,
    len: u32,
    end: u32,
    tag: Tag,
    escaped: bool,
}

/// One parsed document.
#[derive(Debug)]
pub(crate) struct Doc<'a> {
    source: &'a [u8],
    decoded: Vec<u8>,
    nodes: Vec<Node>,
}

impl Doc<'_> {
    pub(crate) const ROOT: NodeId = NodeId(0);

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn tag(&self, id: NodeId) -> Tag {
        self.node(id).tag
    }

    pub(crate) fn hash(&self, id: NodeId) -> u64 {
        self.node(id).hash
    }

    /// The node after this one's subtree.
    pub(crate) fn next(&self, id: NodeId) -> NodeId {
        NodeId(self.node(id).end)
    }

    /// Decoded string, number lexeme, or the source of a container or literal.
    pub(crate) fn bytes(&self, id: NodeId) -> &[u8] {
        let node = self.node(id);
        let range = node.start as usize..node.start as usize + node.len as usize;
        let from = if node.escaped { self.decoded.as_slice() } else { self.source };
        from.get(range).unwrap_or_default()
    }

    /// Elements of an array.
    pub(crate) fn elements(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        let end = self.next(id);
        let mut at = NodeId(id.0 + 1);
        std::iter::from_fn(move || {
            (at < end).then(|| {
                let element = at;
                at = self.next(element);
                element
            })
        })
    }

    /// Members of an object as (key, value), duplicates included.
    pub(crate) fn members(&self, id: NodeId) -> impl Iterator<Item = (NodeId, NodeId)> {
        let end = self.next(id);
        let mut at = NodeId(id.0 + 1);
        std::iter::from_fn(move || {
            (at < end).then(|| {
                let key = at;
                let value = NodeId(key.0 + 1);
                at = self.next(value);
                (key, value)
            })
        })
    }

    /// The last member of that name, which is the one that counts.
    pub(crate) fn member(&self, id: NodeId, name: &[u8]) -> Option<NodeId> {
        let hash = hash::of_bytes(name);
        let same = |key: NodeId| self.hash(key) == hash && self.bytes(key) == name;
        self.members(id).filter(|(key, _)| same(*key)).last().map(|(_, value)| value)
    }

    /// Whether two scalar nodes hold the same value.
    pub(crate) fn same_scalar(&self, id: NodeId, other: &Doc<'_>, other_id: NodeId) -> bool {
        if self.tag(id) != other.tag(other_id) {
            return false;
        }
        let (a, b) = (self.bytes(id), other.bytes(other_id));
        match self.tag(id) {
            Tag::Null | Tag::False | Tag::True => true,
            Tag::Number => same_number(a, b),
            Tag::Text | Tag::Key => a == b,
            Tag::Array | Tag::Object => false,
        }
    }

    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }
}

/// Exact equality of two number lexemes: 1, 1.0 and 1e0 are the same, 9007199254740993 is not its neighbour.
pub(crate) fn same_number(a: &[u8], b: &[u8]) -> bool {
    a == b || Decimal::of(a).zip(Decimal::of(b)).is_some_and(|(a, b)| a == b)
}

/// Whether text is a JSON number.
pub(crate) fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && number::number_len(text) == Some(text.len())
}
