//! Two differences that are one: a member under another name, an element in another list.
//!
//! Owns the joining after the walk, of a value that only legacy has with the equal value that only new has. It exists
//! because one cause should be one line of a report. Must stay true: both ends are proven equal and each is the only one
//! of its kind; the joined difference is as bad as the worse of the two; the total counts it once.

use super::Walk;
use crate::Why;
use crate::difference::Kind;
use crate::json::{Doc, NodeId, Tag};
use crate::path::TrailId;

/// One-sided differences of a comparison; with more of them none is joined.
const LOOSE_MAX: usize = 256;

/// From how long a text, and how large a number, a scalar says enough to be recognised under another name.
const TELLING_TEXT: usize = 4;
const TELLING_NUMBER: f64 = 100.0;

/// A difference that only one side has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loose {
    kind: Kind,
    trail: TrailId,
    node: NodeId,
    hash: u64,
    /// Its index among the findings.
    at: usize,
}

impl Walk<'_, '_> {
    /// Remembers a difference that is about to be reported, if it is one-sided.
    pub(super) fn remember(
        &mut self,
        kind: Kind,
        trail: TrailId,
        legacy: Option<NodeId>,
        new: Option<NodeId>,
    ) {
        let one_sided =
            matches!(kind, Kind::KeyMissing | Kind::KeyExtra | Kind::ElemMissing | Kind::ElemExtra);
        if !one_sided || self.loose.len() > LOOSE_MAX {
            return;
        }
        let end = match (legacy, new) {
            (Some(node), _) => Some((node, self.legacy.doc.hash(node))),
            (None, Some(node)) => Some((node, self.new.doc.hash(node))),
            (None, None) => None,
        };
        if let (Some((node, hash)), Some(at)) = (end, self.findings.next_index()) {
            self.loose.push(Loose { kind, trail, node, hash, at });
        }
    }

    /// Joins what belongs together.
    pub(super) fn join(&mut self) -> Result<(), Why> {
        let mut loose = std::mem::take(&mut self.loose);
        // Which ends are known would depend on the order of the walk, and so on which side is which.
        if loose.len() > LOOSE_MAX || self.findings.next_index().is_none() {
            return Ok(());
        }
        self.meter.charge(loose.len())?;
        loose.sort_by_key(|end| (end.hash, end.at));
        let mut extras = Vec::new();
        for run in loose.chunk_by(|a, b| a.hash == b.hash) {
            self.join_run(run, Kind::KeyRenamed, &mut extras)?;
            self.join_run(run, Kind::ElemMoved, &mut extras)?;
        }
        self.findings.drop_joined(&extras);
        Ok(())
    }

    /// Joins the ends of one value.
    fn join_run(
        &mut self,
        run: &[Loose],
        joined: Kind,
        extras: &mut Vec<usize>,
    ) -> Result<(), Why> {
        let renamed = joined == Kind::KeyRenamed;
        let missing = if renamed { Kind::KeyMissing } else { Kind::ElemMissing };
        let extra = if renamed { Kind::KeyExtra } else { Kind::ElemExtra };
        for end in run.iter().filter(|end| end.kind == missing) {
            let near = |other: &&Loose| !renamed || self.is_sibling(end.trail, other.trail);
            let rivals = run.iter().filter(|other| other.kind == missing).filter(near).count();
            let mut others = run.iter().filter(|other| other.kind == extra).filter(near);
            let (1, Some(other), None) = (rivals, others.next(), others.next()) else { continue };
            if self.is_telling(end, other, joined) && self.same(end.node, other.node)? {
                let hint = self.trail.shape(other.trail, self.legacy.doc, self.new.doc);
                self.findings.join(end.at, other.at, joined, hint);
                extras.push(other.at);
            }
        }
        Ok(())
    }

    fn is_sibling(&self, a: TrailId, b: TrailId) -> bool {
        self.trail.parent(a) == self.trail.parent(b)
    }

    /// Whether the value, or the two names, say that it is the same thing.
    fn is_telling(&self, end: &Loose, other: &Loose, joined: Kind) -> bool {
        let doc = self.legacy.doc;
        let (tag, bytes) = (doc.tag(end.node), doc.bytes(end.node));
        if joined == Kind::ElemMoved {
            return tag == Tag::Object && doc.members(end.node).nth(1).is_some();
        }
        let telling = match tag {
            Tag::Null | Tag::True | Tag::False | Tag::Key => false,
            Tag::Number => {
                let number = std::str::from_utf8(bytes).ok().and_then(|n| n.parse::<f64>().ok());
                number.is_some_and(|number| number.abs() >= TELLING_NUMBER)
            }
            Tag::Text => bytes.len() >= TELLING_TEXT,
            Tag::Array | Tag::Object => doc.next(end.node).0 > end.node.0 + 1,
        };
        telling || alike(&name_of(doc, end.node), &name_of(self.new.doc, other.node))
    }
}

/// The name of a member, which stands before its value.
fn name_of(doc: &Doc<'_>, value: NodeId) -> Vec<u8> {
    let key = value.0.checked_sub(1).map(NodeId);
    key.filter(|key| doc.tag(*key) == Tag::Key)
        .map(|key| doc.bytes(key).to_vec())
        .unwrap_or_default()
}

/// Whether two names differ only in how their words are joined: `created_at`, `createdAt`, `CREATED-AT`.
fn alike(a: &[u8], b: &[u8]) -> bool {
    let letters = |name: &[u8]| -> Vec<u8> {
        let plain = name.iter().filter(|byte| !b"_- .".contains(byte));
        plain.map(u8::to_ascii_lowercase).collect()
    };
    let (a, b) = (letters(a), letters(b));
    !a.is_empty() && a == b
}
