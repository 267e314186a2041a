//! Marks which rules are at which nodes of one JSON document.
//!
//! Owns the walk of the selectors over a document and the hashes of normal forms, so that lists are aligned by what
//! counts. It exists as a side table because most comparisons have no JSON rules and then pay nothing. Must stay true: a
//! mask never changes what is equal, only who is aligned with whom and which rules are asked.

use std::collections::BTreeMap;

use crate::budget::Meter;
use crate::explain::{self, Value};
use crate::hash;
use crate::json::{Doc, NodeId, Tag, add_element, add_member, container_hash};
use crate::rule::{Action, Alive, NameOrIndex, Rule};
use crate::{RuleSet, Why};

/// Hash of a node that is left out of every comparison.
pub(crate) const LEFT_OUT: u64 = 1;

/// Per node: its rules, and the hash of its normal form.
#[derive(Debug)]
pub(crate) struct Mask {
    /// The different lists of rules; the first is empty.
    lists: Vec<Vec<u32>>,
    /// Per node the place of its list.
    marks: Vec<u32>,
    hashes: Vec<u64>,
    /// Whether some rule is a renaming, which also learns from equal values.
    pub(crate) binds: bool,
}

impl Mask {
    /// `None` when no rule selects anything in the document.
    pub(crate) fn of(
        doc: &Doc<'_>,
        rules: &RuleSet,
        meter: &mut Meter,
    ) -> Result<Option<Self>, Why> {
        if rules.json().is_empty() {
            return Ok(None);
        }
        let mut marks = Marks {
            doc,
            rules,
            lists: vec![Vec::new()],
            places: BTreeMap::new(),
            by_node: vec![0; doc.len()],
        };
        marks.walk(meter)?;
        if marks.lists.len() == 1 {
            return Ok(None);
        }
        meter.charge(doc.len() / 4)?;
        let hashes = Normal { doc, rules, marks: &marks }.hashes();
        let is_renaming = |rule: &u32| {
            let action = rules.rule(*rule).map(Rule::action);
            matches!(action, Some(Action::Bijection(_)))
        };
        let binds = marks.lists.iter().flatten().any(is_renaming);
        Ok(Some(Self { lists: marks.lists, marks: marks.by_node, hashes, binds }))
    }

    /// The rules at a node, most specific first, as indices.
    pub(crate) fn rules(&self, id: NodeId) -> &[u32] {
        let list = self.marks.get(id.0 as usize).copied().unwrap_or(0);
        self.lists.get(list as usize).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn hash(&self, id: NodeId) -> u64 {
        self.hashes.get(id.0 as usize).copied().unwrap_or_default()
    }
}

/// A node as rules see it.
pub(crate) fn value<'d>(doc: &'d Doc<'_>, id: NodeId) -> Value<'d> {
    match doc.tag(id) {
        Tag::Null => Value::Null,
        Tag::True => Value::Bool(true),
        Tag::False => Value::Bool(false),
        Tag::Number => Value::Number(doc.bytes(id)),
        Tag::Text | Tag::Key => Value::Text(doc.bytes(id)),
        Tag::Array => Value::Array(doc.elements(id).count()),
        Tag::Object => Value::Object(doc.members(id).count()),
    }
}

struct Marks<'d> {
    doc: &'d Doc<'d>,
    rules: &'d RuleSet,
    lists: Vec<Vec<u32>>,
    places: BTreeMap<Vec<u32>, u32>,
    by_node: Vec<u32>,
}

impl Marks<'_> {
    fn walk(&mut self, meter: &mut Meter) -> Result<(), Why> {
        let mut found = Vec::new();
        let alive = self.rules.json().start(&mut found);
        let mut open = Vec::new();
        self.enter(Doc::ROOT, found, alive, &mut open);
        while let Some((node, alive)) = open.pop() {
            match self.doc.tag(node) {
                Tag::Object => {
                    for (key, value) in self.doc.members(node) {
                        meter.charge(alive.len())?;
                        let step = NameOrIndex::Name(self.doc.bytes(key));
                        self.step(value, step, &alive, &mut open);
                    }
                }
                Tag::Array => {
                    for (element, index) in self.doc.elements(node).zip(0..) {
                        meter.charge(alive.len())?;
                        self.step(element, NameOrIndex::Index(index), &alive, &mut open);
                    }
                }
                Tag::Null | Tag::False | Tag::True | Tag::Number | Tag::Text | Tag::Key => {}
            }
        }
        Ok(())
    }

    fn step(
        &mut self,
        node: NodeId,
        step: NameOrIndex<'_>,
        alive: &[u32],
        open: &mut Vec<(NodeId, Alive)>,
    ) {
        let mut found = Vec::new();
        let next = self.rules.json().step(alive, step, (self.doc, node), &mut found);
        self.enter(node, found, next, open);
    }

    fn enter(
        &mut self,
        node: NodeId,
        found: Vec<u32>,
        alive: Alive,
        open: &mut Vec<(NodeId, Alive)>,
    ) {
        let first = found.first().and_then(|rule| self.rules.rule(*rule));
        let ignored = first.is_some_and(|rule| *rule.action() == Action::Ignore);
        if !alive.is_empty() && !ignored {
            open.push((node, alive));
        }
        if found.is_empty() {
            return;
        }
        let fresh = u32::try_from(self.lists.len()).unwrap_or(0);
        let place = *self.places.entry(found).or_insert_with_key(|list| {
            self.lists.push(list.clone());
            fresh
        });
        if let Some(mark) = self.by_node.get_mut(node.0 as usize) {
            *mark = place;
        }
    }
}

/// Builds the hashes of normal forms.
struct Normal<'d> {
    doc: &'d Doc<'d>,
    rules: &'d RuleSet,
    marks: &'d Marks<'d>,
}

impl<'d> Normal<'d> {
    /// Children come after their parent, so one pass from the end sees them first.
    fn hashes(&self) -> Vec<u64> {
        let mut hashes = vec![0u64; self.doc.len()];
        for id in (0..).map(NodeId).take(self.doc.len()).collect::<Vec<_>>().into_iter().rev() {
            let hash = self.ruled(id, &hashes).unwrap_or_else(|| self.plain(id, &hashes));
            if let Some(slot) = hashes.get_mut(id.0 as usize) {
                *slot = hash;
            }
        }
        hashes
    }

    fn actions(&self, id: NodeId) -> impl Iterator<Item = &'d Action> {
        let list = self.marks.by_node.get(id.0 as usize).copied().unwrap_or(0);
        let list = self.marks.lists.get(list as usize).map_or(&[][..], Vec::as_slice);
        list.iter().filter_map(|rule| self.rules.rule(*rule)).map(Rule::action)
    }

    /// The hash under the first rule that gives the node a normal form.
    fn ruled(&self, id: NodeId, hashes: &[u64]) -> Option<u64> {
        let own = |child: NodeId| hashes.get(child.0 as usize).copied().unwrap_or_default();
        let mut actions = self.actions(id).peekable();
        actions.peek()?;
        let value = value(self.doc, id);
        actions.find_map(|action| match (action, value) {
            (Action::IgnoreValue, Value::Array(len)) => Some(hash::mix(len as u64, 3)),
            (Action::Set | Action::Multiset, Value::Array(_)) => {
                let mut elements: Vec<u64> = self.doc.elements(id).map(own).collect();
                elements.sort_unstable();
                if *action == Action::Set {
                    elements.dedup();
                }
                Some(container_hash(elements.into_iter().fold(1, add_element), false))
            }
            (action, value) => explain::canon(action, value),
        })
    }

    fn plain(&self, id: NodeId, hashes: &[u64]) -> u64 {
        let own = |child: NodeId| hashes.get(child.0 as usize).copied().unwrap_or_default();
        match self.doc.tag(id) {
            Tag::Object => {
                let members = self.doc.members(id).filter(|(_, value)| !self.is_left_out(*value));
                let sum = members
                    .fold(2, |sum, (key, value)| add_member(sum, self.doc.hash(key), own(value)));
                container_hash(sum, true)
            }
            Tag::Array => {
                let sum =
                    self.doc.elements(id).fold(1, |sum, element| add_element(sum, own(element)));
                container_hash(sum, false)
            }
            Tag::Null | Tag::False | Tag::True | Tag::Number | Tag::Text | Tag::Key => {
                self.doc.hash(id)
            }
        }
    }

    /// Whether a member may be absent on the other side.
    fn is_left_out(&self, id: NodeId) -> bool {
        let is_null = self.doc.tag(id) == Tag::Null;
        self.actions(id).any(|action| {
            *action == Action::Ignore || (is_null && *action == Action::NullEqMissing)
        })
    }
}
