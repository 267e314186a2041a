//! Marks where rules apply in one page.
//!
//! Owns the run of CSS selectors over a page and the hashes that leave out what rules allow, so that siblings are
//! aligned by what counts. Must stay true: a mask never changes what is equal, only who is aligned with whom and which
//! rules are asked.

use std::collections::BTreeMap;

use super::dom::{Attr, Dom, NodeId};
use super::select::Page;
use crate::budget::Meter;
use crate::explain::{self, Value};
use crate::json::add_element;
use crate::rule::Action;
use crate::{RuleSet, Why, hash};

/// Rules per element and per attribute, and the hash of each node under them.
#[derive(Debug)]
pub(super) struct Mask {
    nodes: BTreeMap<NodeId, Vec<u32>>,
    /// By the attribute's index in the page.
    attrs: BTreeMap<usize, Vec<u32>>,
    hashes: Vec<u64>,
}

impl Mask {
    /// `None` when no rule selects anything in the page.
    pub(super) fn of(dom: &Dom, rules: &RuleSet, meter: &mut Meter) -> Result<Option<Self>, Why> {
        let count = rules.at_html().count();
        if count == 0 {
            return Ok(None);
        }
        meter.charge(dom.len() * (2 + count))?;
        let page = Page::of(dom);
        let mut mask = Self { nodes: BTreeMap::new(), attrs: BTreeMap::new(), hashes: Vec::new() };
        for (rule, target) in rules.at_html() {
            target.each(&page, |id| mask.mark(dom, id, target.attr(), rule));
        }
        meter.charge((mask.nodes.len() + mask.attrs.len()) * 8)?;
        if mask.nodes.is_empty() && mask.attrs.is_empty() {
            return Ok(None);
        }
        mask.hash(dom, rules);
        Ok(Some(mask))
    }

    /// The rules at an element, most specific first.
    pub(super) fn rules(&self, id: NodeId) -> &[u32] {
        self.nodes.get(&id).map_or(&[], Vec::as_slice)
    }

    /// The rules at an attribute, by its index in the page.
    pub(super) fn attr_rules(&self, at: usize) -> &[u32] {
        self.attrs.get(&at).map_or(&[], Vec::as_slice)
    }

    pub(super) fn hash_of(&self, id: NodeId) -> u64 {
        self.hashes.get(id.0 as usize).copied().unwrap_or_default()
    }

    fn mark(&mut self, dom: &Dom, id: NodeId, attr: Option<&str>, rule: u32) {
        let Some(name) = attr else { return self.nodes.entry(id).or_default().push(rule) };
        let (from, own) = dom.attrs(id);
        for (at, _) in own.iter().enumerate().filter(|(_, a)| name == "*" || &*a.name == name) {
            self.attrs.entry(from + at).or_default().push(rule);
        }
    }

    /// Children come after their parent, so one pass from the end sees them first.
    fn hash(&mut self, dom: &Dom, rules: &RuleSet) {
        self.hashes = vec![0; dom.len()];
        let ids: Vec<NodeId> = dom.ids().collect();
        for id in ids.into_iter().rev() {
            let hash = if ignores(rules, self.rules(id)) {
                1
            } else {
                self.hash_under_rules(dom, id, rules)
            };
            if let Some(slot) = self.hashes.get_mut(id.0 as usize) {
                *slot = hash;
            }
        }
    }

    fn hash_under_rules(&self, dom: &Dom, id: NodeId, rules: &RuleSet) -> u64 {
        let node = dom.node(id);
        if node.name.is_none() {
            let at_parent = dom.parent(id).map_or(&[][..], |parent| self.rules(parent));
            let canon = canon(rules, at_parent, node.text.as_bytes());
            return hash::mix(canon.unwrap_or(node.shallow), 3);
        }
        let own = dom.shallow_under(id, |at: usize, attr: &Attr| {
            let own = self.attr_rules(at);
            let canon = canon(rules, own, attr.value.as_bytes());
            (!ignores(rules, own)).then(|| canon.unwrap_or_else(|| attr.hash()))
        });
        let children = dom.children(id).filter(|child| !ignores(rules, self.rules(*child)));
        hash::mix(children.fold(own, |sum, child| add_element(sum, self.hash_of(child))), 3)
    }
}

/// Whether one of the rules ignores its place.
fn ignores(rules: &RuleSet, at: &[u32]) -> bool {
    let ignored =
        |index: &u32| rules.rule(*index).is_some_and(|rule| *rule.action() == Action::Ignore);
    at.iter().any(ignored)
}

/// The hash of a text in the normal form of the first rule that has one.
fn canon(rules: &RuleSet, at: &[u32], text: &[u8]) -> Option<u64> {
    let canon = |index: &u32| explain::canon(rules.rule(*index)?.action(), Value::Text(text));
    at.iter().find_map(canon)
}
