//! Marks what rules ignore in one JSON document.
//!
//! Owns the walk of the selectors over a document and the hashes that leave ignored nodes out, so that lists are aligned
//! by what counts. It exists as a side table because most comparisons have no JSON rules and then pay nothing. Must stay
//! true: a mask never changes what is equal, only who is aligned with whom and what is hidden.

use crate::RuleSet;
use crate::json::{Doc, NodeId, Tag, add_element, add_member, container_hash};
use crate::rule::{NameOrIndex, States};

/// Per node: the rule that ignores it, and its hash without ignored nodes.
#[derive(Debug)]
pub(crate) struct Mask {
    rules: Vec<Option<u16>>,
    hashes: Vec<u64>,
}

impl Mask {
    /// `None` when no rule selects anything in the document.
    pub(crate) fn of(doc: &Doc<'_>, rules: &RuleSet) -> Option<Self> {
        let selectors = rules.selectors();
        if selectors.is_empty() {
            return None;
        }
        let mut marks =
            Marks { doc, selectors: &selectors, rules: vec![None; doc.len()], any: false };
        marks.walk();
        if !marks.any {
            return None;
        }
        let hashes = hashes(doc, &marks.rules);
        Some(Self { rules: marks.rules, hashes })
    }

    /// The index of the rule that ignores a node.
    pub(crate) fn rule(&self, id: NodeId) -> Option<usize> {
        self.rules.get(id.0 as usize).copied().flatten().map(usize::from)
    }

    pub(crate) fn hash(&self, id: NodeId) -> u64 {
        self.hashes.get(id.0 as usize).copied().unwrap_or_default()
    }
}

struct Marks<'d, 'r> {
    doc: &'d Doc<'d>,
    selectors: &'r [(usize, &'r crate::rule::Selector)],
    rules: Vec<Option<u16>>,
    any: bool,
}

impl Marks<'_, '_> {
    fn walk(&mut self) {
        if let Some((rule, _)) = self.selectors.iter().find(|(_, selector)| selector.is_root()) {
            return self.mark(Doc::ROOT, *rule);
        }
        let start: States = (0..self.selectors.len()).map(|at| (at, 0)).collect();
        let mut open = vec![(Doc::ROOT, start)];
        while let Some((node, states)) = open.pop() {
            match self.doc.tag(node) {
                Tag::Object => {
                    for (key, value) in self.doc.members(node) {
                        let step = NameOrIndex::Name(self.doc.bytes(key));
                        self.step(value, step, &states, &mut open);
                    }
                }
                Tag::Array => {
                    for (element, index) in self.doc.elements(node).zip(0..) {
                        self.step(element, NameOrIndex::Index(index), &states, &mut open);
                    }
                }
                Tag::Null | Tag::False | Tag::True | Tag::Number | Tag::Text | Tag::Key => {}
            }
        }
    }

    fn step(
        &mut self,
        node: NodeId,
        step: NameOrIndex<'_>,
        states: &States,
        open: &mut Vec<(NodeId, States)>,
    ) {
        let mut next = States::new();
        let mut hit: Option<usize> = None;
        for (at, position) in states {
            let Some((rule, selector)) = self.selectors.get(*at) else { continue };
            if selector.advance(*at, *position, step, &mut next) {
                hit = Some(hit.map_or(*rule, |first| first.min(*rule)));
            }
        }
        match hit {
            Some(rule) => self.mark(node, rule),
            None if !next.is_empty() => open.push((node, next)),
            None => {}
        }
    }

    fn mark(&mut self, node: NodeId, rule: usize) {
        self.any = true;
        if let Some(slot) = self.rules.get_mut(node.0 as usize) {
            *slot = Some(u16::try_from(rule).unwrap_or(u16::MAX));
        }
    }
}

/// Children come after their parent, so one pass from the end sees them first.
fn hashes(doc: &Doc<'_>, rules: &[Option<u16>]) -> Vec<u64> {
    let mut hashes = vec![0u64; doc.len()];
    for (id, rule) in (0..).map(NodeId).zip(rules).collect::<Vec<_>>().into_iter().rev() {
        let own = |child: NodeId| hashes.get(child.0 as usize).copied().unwrap_or_default();
        let ignored = |child: NodeId| rules.get(child.0 as usize).is_some_and(Option::is_some);
        let hash = match doc.tag(id) {
            _ if rule.is_some() => 1,
            Tag::Object => {
                let members = doc.members(id).filter(|(_, value)| !ignored(*value));
                let sum =
                    members.fold(2, |sum, (key, value)| add_member(sum, doc.hash(key), own(value)));
                container_hash(sum, true)
            }
            Tag::Array => {
                let sum = doc.elements(id).fold(1, |sum, element| add_element(sum, own(element)));
                container_hash(sum, false)
            }
            Tag::Null | Tag::False | Tag::True | Tag::Number | Tag::Text | Tag::Key => doc.hash(id),
        };
        if let Some(slot) = hashes.get_mut(id.0 as usize) {
            *slot = hash;
        }
    }
    hashes
}
