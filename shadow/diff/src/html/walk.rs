//! The walk over two pages.
//!
//! Owns the descent: equal subtrees are skipped by hash (and proven), attributes go by name, children are aligned. It
//! works on an explicit stack. Must stay true: each step is charged; what a rule ignores is hidden and counted; one new
//! element among siblings is one difference.

use html5ever::local_name;

use super::dom::{Attr, Dom, Node, NodeId};
use super::mask::Mask;
use super::place;
use crate::budget::Meter;
use crate::difference::{AttrChange, Difference, Kind, Location, ValueChange};
use crate::explain::{self, OnlyOn, Ruling, Value};
use crate::findings::Findings;
use crate::likeness::{self, Gap};
use crate::rule::Action;
use crate::{Fragment, RuleSet, Severity, Why, align, hash, value};

/// Nodes of one subtree that likeness looks at.
const LIKENESS_NODES_MAX: u32 = 48;

/// Likeness from which an element under another name is still the same place.
const SAME_PLACE: usize = 500;

/// Attributes that a browser or a form acts on: losing one is more than another look.
const ACTED_ON: [&str; 9] =
    ["action", "content", "for", "href", "method", "name", "src", "type", "value"];

/// Text of an element that its fragment shows.
const TEXT_MAX: usize = 80;

/// Compares two pages; `Err` when the work went over budget.
pub(crate) fn compare(
    legacy: &Dom,
    new: &Dom,
    rules: &RuleSet,
    findings: &mut Findings,
    meter: &mut Meter,
) -> Result<(), Why> {
    doctypes(legacy, new, rules, findings);
    let legacy = Side { dom: legacy, mask: Mask::of(legacy, rules, meter)? };
    let new = Side { dom: new, mask: Mask::of(new, rules, meter)? };
    let mut walk = Walk { legacy, new, rules, open: vec![(Dom::ROOT, Dom::ROOT)], findings, meter };
    walk.run()
}

fn doctypes(legacy: &Dom, new: &Dom, rules: &RuleSet, findings: &mut Findings) {
    let kind = match (&legacy.doctype, &new.doctype) {
        (Some(_), None) => Kind::HtmlNodeMissing,
        (None, Some(_)) => Kind::HtmlNodeExtra,
        (Some(a), Some(b)) if a != b => {
            Kind::HtmlText { sub: value::string(a.as_bytes(), b.as_bytes()) }
        }
        (Some(_) | None, _) => return,
    };
    let ruled = rules.at_html().find(|(_, target)| target.is_doctype());
    if let Some(rule) = ruled.and_then(|(index, _)| rules.rule(index)) {
        return findings.hide(&rule.id(), "html:!doctype");
    }
    let fragment = |dom: &Dom| dom.doctype.as_ref().map(|text| Fragment::of_text(text.as_bytes()));
    findings.push(Difference {
        location: place::of_doctype(),
        kind,
        legacy: fragment(legacy),
        new: fragment(new),
        // It switches the way the whole page is laid out, but loses nothing.
        severity: Severity::Value,
        hint: None,
    });
}

struct Side<'a> {
    dom: &'a Dom,
    mask: Option<Mask>,
}

impl Side<'_> {
    /// Hash for alignment: ignored nodes and attributes left out.
    fn hash(&self, id: NodeId) -> u64 {
        self.mask.as_ref().map_or_else(|| self.dom.node(id).hash, |mask| mask.hash_of(id))
    }

    /// The rules at an element, most specific first; of a text those of its element.
    fn rules(&self, id: NodeId) -> &[u32] {
        let element = if self.dom.is_element(id) { Some(id) } else { self.dom.parent(id) };
        self.mask.as_ref().zip(element).map_or(&[], |(mask, id)| mask.rules(id))
    }

    /// The rules at the attribute with that index in the page.
    fn attr_rules(&self, at: usize) -> &[u32] {
        self.mask.as_ref().map_or(&[], |mask| mask.attr_rules(at))
    }

    /// What identifies a child among its siblings: its `id`, else what it holds.
    fn identity(&self, id: NodeId) -> u64 {
        match self.dom.attr(id, "id").filter(|own| !own.is_empty()) {
            Some(own) => hash::mix(hash::of_bytes(own.as_bytes()), 11),
            None => self.hash(id),
        }
    }

    /// Hashes of the first nodes of a subtree, sorted.
    fn features(&self, id: NodeId) -> Vec<u64> {
        let node = self.dom.node(id);
        let end = node.end.min(id.0 + LIKENESS_NODES_MAX);
        let mut features: Vec<u64> =
            (id.0..end).map(|at| self.dom.node(NodeId(at)).shallow).collect();
        if node.name.is_none() {
            features = node
                .text
                .split(' ')
                .take(LIKENESS_NODES_MAX as usize)
                .map(|word| hash::of_bytes(word.as_bytes()))
                .collect();
        }
        features.sort_unstable();
        features
    }
}

struct Walk<'a, 'f> {
    legacy: Side<'a>,
    new: Side<'a>,
    rules: &'a RuleSet,
    open: Vec<(NodeId, NodeId)>,
    findings: &'f mut Findings,
    meter: &'f mut Meter,
}

impl<'a> Walk<'a, '_> {
    fn run(&mut self) -> Result<(), Why> {
        while let Some((x, y)) = self.open.pop() {
            self.meter.charge(1)?;
            if self.same(x, y)? {
                continue;
            }
            let ruled = joined(self.legacy.rules(x), self.new.rules(y));
            if let Some(rule) = ruled.iter().find(|index| self.ignores(**index)) {
                let shape = place::of(self.legacy.dom, x, None).shape;
                self.hide(*rule, &shape);
                continue;
            }
            match (&self.legacy.dom.node(x).name, &self.new.dom.node(y).name) {
                (Some(a), Some(b)) => {
                    if a != b {
                        let location = place::of(self.legacy.dom, x, None);
                        self.report(
                            Kind::HtmlTag,
                            location,
                            Some(self.tag(x)),
                            Some(self.new_tag(y)),
                        );
                    }
                    self.attributes(x, y)?;
                    let first = self.open.len();
                    self.children(x, y)?;
                    if let Some(children) = self.open.get_mut(first..) {
                        children.reverse();
                    }
                }
                (Some(_) | None, _) => self.text(Some(x), Some(y)),
            }
        }
        Ok(())
    }

    fn ignores(&self, index: u32) -> bool {
        self.rules.rule(index).is_some_and(|rule| *rule.action() == Action::Ignore)
    }

    fn hide(&mut self, index: u32, shape: &str) {
        if let Some(rule) = self.rules.rule(index) {
            self.findings.hide(&rule.id(), shape);
        }
    }

    /// The first rule that is about such texts, if it allows the difference.
    fn allowed(&mut self, rules: &[u32], legacy: Option<&str>, new: Option<&str>) -> Option<u32> {
        for index in rules {
            let Some(rule) = self.rules.rule(*index) else { continue };
            let action = rule.action();
            let ruling = match (legacy, new) {
                (Some(a), Some(b)) => {
                    let renamed = &mut self.findings.bijections;
                    explain::pair(
                        action,
                        Value::Text(a.as_bytes()),
                        Value::Text(b.as_bytes()),
                        renamed,
                    )
                }
                (Some(a), None) => {
                    explain::missing(action, Value::Text(a.as_bytes()), OnlyOn::Legacy)
                }
                (None, Some(b)) => explain::missing(action, Value::Text(b.as_bytes()), OnlyOn::New),
                (None, None) => Ruling::NotMine,
            };
            match ruling {
                Ruling::Hide => return Some(*index),
                Ruling::Show => return None,
                Ruling::NotMine => {}
            }
        }
        None
    }

    /// Proven equality of two nodes.
    fn same(&mut self, x: NodeId, y: NodeId) -> Result<bool, Why> {
        let (a, b) = (self.legacy.dom.node(x), self.new.dom.node(y));
        if a.hash != b.hash {
            return Ok(false);
        }
        self.meter.charge((a.end - x.0) as usize)?;
        Ok(self.legacy.dom.same(x, self.new.dom, y))
    }

    fn attributes(&mut self, x: NodeId, y: NodeId) -> Result<(), Why> {
        let ((from, own), (other_from, other)) = (self.legacy.dom.attrs(x), self.new.dom.attrs(y));
        self.meter.charge(own.len() + other.len())?;
        let (mut at, mut other_at) = (0, 0);
        loop {
            let (first, second) = (own.get(at), other.get(other_at));
            let order = match (first, second) {
                (Some(first), Some(second)) => first.name.cmp(&second.name),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (None, None) => return Ok(()),
            };
            let first = first.filter(|_| order.is_le());
            let second = second.filter(|_| order.is_ge());
            let own_rules = first.map_or(&[][..], |_| self.legacy.attr_rules(from + at));
            let other_rules =
                second.map_or(&[][..], |_| self.new.attr_rules(other_from + other_at));
            let rules = joined(own_rules, other_rules);
            self.attribute((x, first), (y, second), &rules);
            at += usize::from(order.is_le());
            other_at += usize::from(order.is_ge());
        }
    }

    fn attribute(
        &mut self,
        legacy: (NodeId, Option<&'a Attr>),
        new: (NodeId, Option<&'a Attr>),
        rules: &[u32],
    ) {
        let (Some(any), true) = (legacy.1.or(new.1), legacy.1 != new.1) else { return };
        let location = match legacy.1 {
            Some(_) => place::of(self.legacy.dom, legacy.0, Some(&any.name)),
            None => place::of(self.new.dom, new.0, Some(&any.name)),
        };
        let value = |attr: Option<&'a Attr>| attr.map(|attr| &*attr.value);
        if let Some(rule) = self.allowed(rules, value(legacy.1), value(new.1)) {
            return self.hide(rule, &location.shape);
        }
        let sub = match (legacy.1, new.1) {
            (Some(_), None) => AttrChange::Missing,
            (None, _) => AttrChange::Extra,
            (Some(_), Some(_)) if any.name == local_name!("class") => AttrChange::Class,
            (Some(a), Some(b)) => {
                AttrChange::Value(value::string(a.value.as_bytes(), b.value.as_bytes()))
            }
        };
        let lost = sub == AttrChange::Missing && ACTED_ON.contains(&&*any.name);
        let kind = Kind::HtmlAttr { sub };
        let severity = if lost { Severity::Breaking } else { kind.severity() };
        let fragment =
            |attr: Option<&Attr>| attr.map(|attr| Fragment::of_text(attr.value.as_bytes()));
        let (legacy, new) = (fragment(legacy.1), fragment(new.1));
        self.findings.add(severity, true, || Difference {
            location,
            kind,
            legacy,
            new,
            severity,
            hint: None,
        });
    }

    fn children(&mut self, x: NodeId, y: NodeId) -> Result<(), Why> {
        let legacy: Vec<NodeId> = self.legacy.dom.children(x).collect();
        let new: Vec<NodeId> = self.new.dom.children(y).collect();
        self.meter.charge(legacy.len() + new.len())?;
        let a: Vec<u64> = legacy.iter().map(|id| self.legacy.identity(*id)).collect();
        let b: Vec<u64> = new.iter().map(|id| self.new.identity(*id)).collect();
        let alignment = align::align(&a, &b, self.meter)?;
        if !alignment.moved.is_empty() {
            let moved = u32::try_from(alignment.moved.len()).unwrap_or(u32::MAX);
            let location = place::of(self.legacy.dom, x, None);
            let (tag, new_tag) = (self.tag(x), self.new_tag(y));
            self.report(Kind::ArrayReordered { moved }, location, Some(tag), Some(new_tag));
        }
        let mut pairs = alignment.anchors.clone();
        for gap in likeness::gaps(&alignment, legacy.len(), new.len()) {
            self.pair_gap(&gap, (&legacy, &new), &mut pairs)?;
        }
        pairs.extend(alignment.moved);
        pairs.sort_unstable();
        self.paired(&pairs, &legacy, &new);
        Ok(())
    }

    fn pair_gap(
        &mut self,
        gap: &Gap,
        (legacy, new): (&[NodeId], &[NodeId]),
        pairs: &mut align::Pairs,
    ) -> Result<(), Why> {
        let side = |side: &Side<'_>, ids: &[NodeId], places: &[usize]| -> Vec<(NodeId, Vec<u64>)> {
            let of = |at: &usize| ids.get(*at).map(|id| (*id, side.features(*id)));
            places.iter().filter_map(of).collect()
        };
        self.meter.charge((gap.removed.len() + gap.inserted.len()) * 4)?;
        let removed = side(&self.legacy, legacy, &gap.removed);
        let inserted = side(&self.new, new, &gap.inserted);
        let (from, to) = (self.legacy.dom, self.new.dom);
        likeness::pair(gap, self.meter, pairs, |i, j| {
            let ((x, own), (y, other)) = (removed.get(i)?, inserted.get(j)?);
            let alike = likeness::shared(own, other);
            match (&from.node(*x).name, &to.node(*y).name) {
                (Some(name), Some(other)) if name == other => Some(1 + alike),
                (Some(_), Some(_)) if alike >= SAME_PLACE => Some(alike),
                (None, None) => Some(1 + alike),
                (Some(_) | None, _) => None,
            }
        })
    }

    /// Compares pairs later and reports what has no partner, in the order of the page.
    fn paired(&mut self, pairs: &[(usize, usize)], legacy: &[NodeId], new: &[NodeId]) {
        let mut taken = vec![false; new.len()];
        let mut pairs = pairs.iter().peekable();
        for (at, id) in legacy.iter().enumerate() {
            match pairs.next_if(|(x, _)| *x == at) {
                Some((_, y)) => {
                    if let (Some(slot), Some(other)) = (taken.get_mut(*y), new.get(*y)) {
                        *slot = true;
                        self.open.push((*id, *other));
                    }
                }
                None => self.one_sided(Some(*id), None),
            }
        }
        for (id, _) in new.iter().zip(taken).filter(|(_, taken)| !taken) {
            self.one_sided(None, Some(*id));
        }
    }

    fn one_sided(&mut self, legacy: Option<NodeId>, new: Option<NodeId>) {
        let (side, id) = match (legacy, new) {
            (Some(id), _) => (&self.legacy, id),
            (None, Some(id)) => (&self.new, id),
            (None, None) => return,
        };
        if !side.dom.is_element(id) {
            return self.text(legacy, new);
        }
        if let Some(rule) = side.rules(id).iter().copied().find(|index| self.ignores(*index)) {
            let shape = place::of(side.dom, id, None).shape;
            return self.hide(rule, &shape);
        }
        let location = place::of(side.dom, id, None);
        let kind = if legacy.is_some() { Kind::HtmlNodeMissing } else { Kind::HtmlNodeExtra };
        self.report(kind, location, legacy.map(|id| self.tag(id)), new.map(|id| self.new_tag(id)));
    }

    fn text(&mut self, legacy: Option<NodeId>, new: Option<NodeId>) {
        let (from, to) = (self.legacy.dom, self.new.dom);
        let (a, b) = (legacy.map(|id| from.node(id)), new.map(|id| to.node(id)));
        let location = match (legacy, new) {
            (Some(id), _) => place::of(self.legacy.dom, id, None),
            (None, Some(id)) => place::of(self.new.dom, id, None),
            (None, None) => return,
        };
        let rules = joined(
            legacy.map_or(&[], |id| self.legacy.rules(id)),
            new.map_or(&[], |id| self.new.rules(id)),
        );
        let words = |node: Option<&'a Node>| node.map(|node| &*node.text);
        if let Some(rule) = self.allowed(&rules, words(a), words(b)) {
            return self.hide(rule, &location.shape);
        }
        let sub = match (a, b) {
            (Some(a), Some(b)) => value::string(a.text.as_bytes(), b.text.as_bytes()),
            (Some(_) | None, _) => ValueChange::String,
        };
        let fragment =
            |node: Option<&Node>| node.map(|node| Fragment::of_text(node.text.as_bytes()));
        self.report(Kind::HtmlText { sub }, location, fragment(a), fragment(b));
    }

    fn report(
        &mut self,
        kind: Kind,
        location: Location,
        legacy: Option<Fragment>,
        new: Option<Fragment>,
    ) {
        let severity = kind.severity();
        self.findings.add(severity, true, || Difference {
            location,
            kind,
            legacy,
            new,
            severity,
            hint: None,
        });
    }

    fn tag(&self, id: NodeId) -> Fragment {
        tag(self.legacy.dom, id)
    }

    fn new_tag(&self, id: NodeId) -> Fragment {
        tag(self.new.dom, id)
    }
}

/// Two lists of rules as one, most specific first.
fn joined(own: &[u32], other: &[u32]) -> Vec<u32> {
    let mut all: Vec<u32> = own.iter().chain(other).copied().collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// An element as its start tag and the beginning of its text.
fn tag(dom: &Dom, id: NodeId) -> Fragment {
    let mut text = String::from("<");
    text.push_str(dom.node(id).name.as_deref().unwrap_or_default());
    for attr in dom.attrs(id).1 {
        if text.len() > TEXT_MAX {
            break;
        }
        text.extend([" ", &*attr.name, "=\"", &*attr.value, "\""]);
    }
    text.push('>');
    let end = dom.next(id).0.min(id.0 + LIKENESS_NODES_MAX);
    let words = (id.0..end).map(|at| dom.node(NodeId(at))).filter(|node| node.name.is_none());
    for words in words {
        if text.len() > 2 * TEXT_MAX {
            break;
        }
        text.push_str(&words.text);
    }
    Fragment::of_element(&text)
}
