//! All JSON selectors of a set of rules, compiled into one tree.
//!
//! Owns matching. A document is walked once with the places in the tree that are still alive, so the cost is that of the
//! members beside a selected path, whatever the number of rules; only `..` walks everywhere. Must stay true: whole
//! segments match; the rules at a place come most specific first.

use std::collections::{BTreeMap, BTreeSet};

use super::selector::{Filter, Literal, Segment, Selector};
use crate::json::{Doc, NodeId, Tag, same_number};

/// Selectors as a tree of segments.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trie {
    /// The first is the root; empty without selectors.
    nodes: Vec<Node>,
}

/// What comes after one segment.
#[derive(Debug, Clone, Default)]
struct Node {
    names: BTreeMap<Vec<u8>, u32>,
    indices: BTreeMap<u32, u32>,
    /// Pointer tokens: names or indices.
    either: BTreeMap<Vec<u8>, u32>,
    any: Option<u32>,
    filters: Vec<(Filter, u32)>,
    /// Where `..` leads, without a step.
    descend: Option<u32>,
    /// Whether this is behind `..`: it stays alive on every level.
    stays: bool,
    /// Rules whose selector ends here, most specific first.
    rules: Vec<u32>,
}

/// Places in the tree that are alive at one node of a document, sorted.
pub(crate) type Alive = Vec<u32>;

/// One step that the walk takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NameOrIndex<'a> {
    Name(&'a [u8]),
    Index(u32),
}

impl Trie {
    /// Adds the selector of a rule; rules are added most specific first.
    pub(super) fn insert(&mut self, selector: &Selector, rule: u32) {
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        let mut at = 0;
        for segment in &selector.segments {
            at = self.child(at, segment);
        }
        if let Some(node) = self.nodes.get_mut(at as usize) {
            node.rules.push(rule);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Where a walk starts, with the rules of the whole document.
    pub(crate) fn start(&self, rules: &mut Vec<u32>) -> Alive {
        let mut alive = Alive::new();
        if !self.is_empty() {
            self.enter(0, &mut alive, rules);
        }
        alive
    }

    /// One step down to `node`: what stays alive, and the rules that select it.
    pub(crate) fn step(
        &self,
        alive: &[u32],
        step: NameOrIndex<'_>,
        (doc, node): (&Doc<'_>, NodeId),
        rules: &mut Vec<u32>,
    ) -> Alive {
        let mut next = Alive::new();
        for at in alive {
            let Some(own) = self.nodes.get(*at as usize) else { continue };
            if own.stays {
                self.enter_quietly(*at, &mut next);
            }
            let mut follow = |to: Option<&u32>| {
                if let Some(to) = to {
                    self.enter(*to, &mut next, rules);
                }
            };
            match step {
                NameOrIndex::Name(name) => {
                    follow(own.names.get(name));
                    follow(own.either.get(name));
                }
                NameOrIndex::Index(index) => {
                    follow(own.indices.get(&index));
                    if !own.either.is_empty() {
                        follow(own.either.get(index.to_string().as_bytes()));
                    }
                }
            }
            follow(own.any.as_ref());
            for (filter, to) in &own.filters {
                if filter.holds(doc, node) {
                    follow(Some(to));
                }
            }
        }
        rules.sort_unstable();
        rules.dedup();
        next
    }

    fn enter(&self, at: u32, alive: &mut Alive, rules: &mut Vec<u32>) {
        let Some(node) = self.nodes.get(at as usize) else { return };
        rules.extend_from_slice(&node.rules);
        self.enter_quietly(at, alive);
    }

    fn enter_quietly(&self, at: u32, alive: &mut Alive) {
        let mut at = Some(at);
        while let Some(place) = at {
            let Some(node) = self.nodes.get(place as usize) else { return };
            if !node.is_leaf() && !alive.contains(&place) {
                alive.push(place);
            }
            at = node.descend;
        }
    }

    fn child(&mut self, at: u32, segment: &Segment) -> u32 {
        let fresh = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let Some(node) = self.nodes.get_mut(at as usize) else { return at };
        let found = match segment {
            Segment::Name(name) => *node.names.entry(name.clone().into_bytes()).or_insert(fresh),
            Segment::Index(index) => *node.indices.entry(*index).or_insert(fresh),
            Segment::Either(token) => {
                *node.either.entry(token.clone().into_bytes()).or_insert(fresh)
            }
            Segment::Any => *node.any.get_or_insert(fresh),
            Segment::Descend => *node.descend.get_or_insert(fresh),
            Segment::Filter(filter) => {
                let known = node.filters.iter().find(|(own, _)| own == filter).map(|(_, to)| *to);
                known.unwrap_or_else(|| {
                    node.filters.push((filter.clone(), fresh));
                    fresh
                })
            }
        };
        if found == fresh {
            let stays = *segment == Segment::Descend;
            self.nodes.push(Node { stays, ..Node::default() });
        }
        found
    }
}

impl Node {
    fn is_leaf(&self) -> bool {
        self.names.is_empty()
            && self.indices.is_empty()
            && self.either.is_empty()
            && self.any.is_none()
            && self.filters.is_empty()
            && self.descend.is_none()
    }
}

impl Filter {
    /// Whether a node has the member with that value.
    fn holds(&self, doc: &Doc<'_>, node: NodeId) -> bool {
        let mut at = node;
        for name in &self.path {
            let member = (doc.tag(at) == Tag::Object).then(|| doc.member(at, name.as_bytes()));
            let Some(Some(value)) = member else { return false };
            at = value;
        }
        match (&self.literal, doc.tag(at)) {
            (Literal::Null, Tag::Null)
            | (Literal::Bool(true), Tag::True)
            | (Literal::Bool(false), Tag::False) => true,
            (Literal::Number(own), Tag::Number) => same_number(own.as_bytes(), doc.bytes(at)),
            (Literal::Text(own), Tag::Text) => own.as_bytes() == doc.bytes(at),
            (_, _) => false,
        }
    }
}

/// Whether there is a place that both selectors select, judged without a document. A filter is taken for any element.
pub(super) fn meet(a: &Selector, b: &Selector) -> bool {
    let (a, b) = (a.segments.as_slice(), b.segments.as_slice());
    reach(a, b).contains(&(a.len(), b.len()))
}

/// Whether `above` selects a place on the way to one that `below` selects, `below` being without `..`.
pub(super) fn is_above(above: &Selector, below: &Selector) -> bool {
    let (a, b) = (above.segments.as_slice(), below.segments.as_slice());
    !b.contains(&Segment::Descend) && reach(a, b).iter().any(|(x, y)| *x == a.len() && *y < b.len())
}

/// Pairs of positions that one path can lead to.
fn reach(a: &[Segment], b: &[Segment]) -> BTreeSet<(usize, usize)> {
    let mut seen = BTreeSet::new();
    let mut open = vec![(0, 0)];
    while let Some((x, y)) = open.pop() {
        if !seen.insert((x, y)) {
            continue;
        }
        let (left, right) = (a.get(x), b.get(y));
        // Behind `..` without a step, and a step that `..` swallows.
        if left == Some(&Segment::Descend) {
            open.push((x + 1, y));
            if right.is_some_and(|segment| *segment != Segment::Descend) {
                open.push((x, y + 1));
            }
        }
        if right == Some(&Segment::Descend) {
            open.push((x, y + 1));
            if left.is_some_and(|segment| *segment != Segment::Descend) {
                open.push((x + 1, y));
            }
        }
        if let (Some(left), Some(right)) = (left, right)
            && may_be_one(left, right)
        {
            open.push((x + 1, y + 1));
        }
    }
    seen
}

fn may_be_one(a: &Segment, b: &Segment) -> bool {
    match (a, b) {
        (Segment::Descend, _)
        | (_, Segment::Descend)
        | (Segment::Name(_), Segment::Index(_))
        | (Segment::Index(_), Segment::Name(_)) => false,
        (Segment::Any | Segment::Filter(_), _) | (_, Segment::Any | Segment::Filter(_)) => true,
        (Segment::Name(x) | Segment::Either(x), Segment::Name(y) | Segment::Either(y)) => x == y,
        (Segment::Index(x), Segment::Index(y)) => x == y,
        (Segment::Index(x), Segment::Either(y)) | (Segment::Either(y), Segment::Index(x)) => {
            x.to_string() == *y
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::selector::Target;
    use super::*;
    use crate::json::{Limits, parse};

    fn selector(text: &str) -> Selector {
        let Target::Json(selector) = Target::parse(text).unwrap() else { panic!("{text}") };
        selector
    }

    /// Pointers of all places that a selector selects in a document.
    fn selected(text: &str, json: &str) -> Vec<String> {
        let doc = parse(json.as_bytes(), Limits { nodes: 1_000 }).unwrap();
        let mut trie = Trie::default();
        trie.insert(&selector(text), 7);
        let (mut rules, mut found) = (Vec::new(), Vec::new());
        let alive = trie.start(&mut rules);
        if !rules.is_empty() {
            found.push(String::new());
        }
        let mut open = vec![(Doc::ROOT, alive, String::new())];
        while let Some((node, alive, at)) = open.pop() {
            let mut children = Vec::new();
            if doc.tag(node) == Tag::Object {
                children.extend(doc.members(node).map(|(key, value)| {
                    let name = String::from_utf8(doc.bytes(key).to_vec()).unwrap();
                    (value, NameOrIndex::Name(doc.bytes(key)), name)
                }));
            }
            if doc.tag(node) == Tag::Array {
                children.extend(
                    doc.elements(node)
                        .zip(0..)
                        .map(|(value, at)| (value, NameOrIndex::Index(at), at.to_string())),
                );
            }
            for (value, step, name) in children {
                let mut rules = Vec::new();
                let next = trie.step(&alive, step, (&doc, value), &mut rules);
                let at = format!("{at}/{name}");
                if !rules.is_empty() {
                    found.push(at.clone());
                }
                open.push((value, next, at));
            }
        }
        found.sort();
        found
    }

    const JSON: &str = r#"{"messages":[{"id":1,"sender":{"badge":"pro","id":9}},{"id":"2","sender":{"badge":null}}],"it's":{"0":{"a/b":1}},"füße":2}"#;

    #[test]
    fn selectors_match_whole_segments() {
        for (text, expected) in [
            ("$", &[""][..]),
            (
                "$.messages[*].sender.badge",
                &["/messages/0/sender/badge", "/messages/1/sender/badge"],
            ),
            ("$.messages[1]['sender'].badge", &["/messages/1/sender/badge"]),
            ("$..badge", &["/messages/0/sender/badge", "/messages/1/sender/badge"]),
            ("$.messages..id", &["/messages/0/id", "/messages/0/sender/id", "/messages/1/id"]),
            ("$..[1]..badge", &["/messages/1/sender/badge"]),
            (
                "$.*.*.*.*",
                &["/messages/0/sender/badge", "/messages/0/sender/id", "/messages/1/sender/badge"],
            ),
            ("/messages/1/sender/badge", &["/messages/1/sender/badge"]),
            ("/it's/0/a~1b", &["/it's/0/a/b"]),
            (r"$['it\'s']..['a/b']", &["/it's/0/a/b"]),
            (r#"$["f\u00fc\u00dfe"]"#, &["/füße"]),
            ("$.füße", &["/füße"]),
            ("$.messages[?@.id==1].sender.badge", &["/messages/0/sender/badge"]),
            ("$.messages[?@.id=='2']..badge", &["/messages/1/sender/badge"]),
            ("$.messages[?@.sender.badge == null].id", &["/messages/1/id"]),
            ("$.messages[?@.id==1.0]", &["/messages/0"]),
            ("$..adge", &[]),
            ("$.messages[2].sender", &[]),
            ("$.mess", &[]),
            ("$.it", &[]),
        ] {
            assert_eq!(selected(text, JSON), expected, "{text}");
        }
    }

    #[test]
    fn selectors_that_can_select_one_place_meet() {
        for (a, b, expected) in [
            ("$..id", "$.messages[*].id", true),
            ("$..id", "$..*", true),
            ("$..id", "$.id", true),
            ("$.a[*].id", "$.a[3]['id']", true),
            ("$.a[?@.k==1].id", "$..id", true),
            ("/a/0/id", "$.a[0].id", true),
            ("/a/0/id", "$.a[1].id", false),
            ("$..id", "$.uid", false),
            ("$..a.id", "$.b.id", false),
            ("$..a..id", "$.a.b.c.id", true),
            ("$", "$..id", false),
            ("$", "$", true),
        ] {
            assert_eq!(meet(&selector(a), &selector(b)), expected, "{a} {b}");
            assert_eq!(meet(&selector(b), &selector(a)), expected, "{b} {a}");
        }
        for (above, below, expected) in [
            ("$", "$.order.total", true),
            ("$.order", "$.order.total", true),
            ("$..order", "$.order.total", true),
            ("$.order.total", "$.order.total", false),
            ("$.orders", "$.order.total", false),
            ("$.order", "$..total", false),
        ] {
            assert_eq!(is_above(&selector(above), &selector(below)), expected, "{above} {below}");
        }
    }
}
