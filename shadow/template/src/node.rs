//! The trie of one method.
//!
//! Owns growing it and the merge of names that are values. What must stay true: merging is commutative, and decided from
//! what was seen in total, never from the order; children that answer otherwise (status class, media type) or have other
//! children below them are not merged.

use std::collections::{BTreeMap, BTreeSet};

use crate::segment::{Class, ending, is_word};
use crate::templates::{Limits, StatusClass};

/// A name that is seen this often more than half of its siblings is no value.
const HEAVY_FACTOR: u64 = 20;
/// ... from this count on.
const HEAVY_MIN: u64 = 50;

/// Query keys, status class and media type of answers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct End {
    pub(crate) query: Vec<String>,
    pub(crate) status: StatusClass,
    pub(crate) media: String,
}

/// How often, over all and since the last save.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) total: u64,
    pub(crate) unsaved: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.total = self.total.saturating_add(other.total);
        self.unsaved = self.unsaved.saturating_add(other.unsaved);
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Node {
    names: BTreeMap<Box<str>, Node>,
    classes: BTreeMap<Class, Node>,
    ends: BTreeMap<End, Tally>,
}

/// What an answer of a node looks like, apart from client errors, which any id can give.
type Looks = BTreeSet<(StatusClass, String)>;

/// A child below a node that is a candidate for merging.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Name(Box<str>),
    Class(Class),
}

impl Node {
    /// Counts an answer at the end of a path; `false` when there is no room for its nodes.
    pub(crate) fn see(
        &mut self,
        segments: &[&str],
        end: End,
        tally: Tally,
        limits: &Limits,
        nodes: &mut usize,
    ) -> bool {
        let Some((first, rest)) = segments.split_first() else {
            self.count(end, tally, limits);
            return true;
        };
        let class = Class::of(first);
        let known = match &class {
            Some(class) => self.classes.contains_key(class),
            None => self.names.contains_key(*first),
        };
        if !known && *nodes >= limits.nodes {
            return false;
        }
        let class =
            class.or_else(|| (!known && self.is_full(limits, nodes)).then_some(Class::Text));
        let (child, new) = match class {
            Some(class) => {
                let new = !self.classes.contains_key(&class);
                (self.classes.entry(class).or_default(), new)
            }
            None => (self.names.entry((*first).into()).or_default(), !known),
        };
        *nodes += usize::from(new);
        child.see(rest, end, tally, limits, nodes)
    }

    /// Counts an answer at a path that is known already; `false` when it is not.
    pub(crate) fn see_known(
        &mut self,
        segments: &[&str],
        end: End,
        tally: Tally,
        limits: &Limits,
    ) -> bool {
        let Some((first, rest)) = segments.split_first() else {
            let known = !self.ends.is_empty();
            if known {
                self.count(end, tally, limits);
            }
            return known;
        };
        let child = match Class::of(first) {
            Some(class) => self.classes.get_mut(&class),
            None => self.names.get_mut(*first),
        };
        child.is_some_and(|child| child.see_known(rest, end, tally, limits))
    }

    fn count(&mut self, mut end: End, tally: Tally, limits: &Limits) {
        if self.ends.len() >= limits.answers_per_path && !self.ends.contains_key(&end) {
            end.query = vec!["*".to_owned()];
            "*".clone_into(&mut end.media);
        }
        self.ends.entry(end).or_default().add(tally);
    }

    /// Whether no further name fits, after names that are values were merged.
    fn is_full(&mut self, limits: &Limits, nodes: &mut usize) -> bool {
        if self.names.len() < limits.names_per_node {
            return false;
        }
        let before = self.size();
        self.merge_names(limits);
        *nodes = (*nodes + self.size()).saturating_sub(before);
        self.names.len() >= limits.names_per_node
    }

    /// Nodes from here on, this one included.
    pub(crate) fn size(&self) -> usize {
        1 + self.children().map(Self::size).sum::<usize>()
    }

    fn children(&self) -> impl Iterator<Item = &Self> {
        self.names.values().chain(self.classes.values())
    }

    /// Forgets what is saved.
    pub(crate) fn saved(&mut self) {
        for tally in self.ends.values_mut() {
            tally.unsaved = 0;
        }
        self.names.values_mut().chain(self.classes.values_mut()).for_each(Self::saved);
    }

    /// Merges all that are values, from the leaves up.
    pub(crate) fn settle(&mut self, limits: &Limits) {
        self.names.values_mut().chain(self.classes.values_mut()).for_each(|n| n.settle(limits));
        self.merge_names(limits);
    }

    fn merge_names(&mut self, limits: &Limits) {
        let endings: BTreeSet<Option<Box<str>>> =
            self.names.keys().map(|name| ending(name).map(Into::into)).collect();
        for ending in endings {
            let class = Class::Slug(ending.clone());
            let values = self.values(&class, ending.as_deref(), limits);
            if values.is_empty() {
                continue;
            }
            let mut merged = self.classes.remove(&class).unwrap_or_default();
            for name in values {
                if let Some(node) = self.names.remove(&name) {
                    merged.absorb(node);
                }
            }
            // What was few below each may be many below all of them.
            merged.settle(limits);
            self.classes.insert(class, merged);
        }
    }

    /// The names with one ending that are values.
    fn values(&self, class: &Class, wanted: Option<&str>, limits: &Limits) -> Vec<Box<str>> {
        let group: Vec<(&Box<str>, &Node)> =
            self.names.iter().filter(|(name, _)| ending(name) == wanted).collect();
        let known = self.classes.get(class);
        if known.is_none() && group.len() < limits.cardinality {
            return Vec::new();
        }
        let mut counts: Vec<u64> = group.iter().map(|(_, node)| node.total()).collect();
        counts.sort_unstable();
        let median = counts.get(counts.len() / 2).copied().unwrap_or_default();
        let looks = known.map(Node::looks).filter(|looks| !looks.is_empty());
        let looks = looks.unwrap_or_else(|| usual(group.iter().map(|(_, node)| node.looks())));
        let below = Below::of(group.iter().map(|(_, node)| *node).chain(known));
        let values: Vec<Box<str>> = group
            .iter()
            .filter(|(_, node)| {
                let count = node.total();
                let heavy = count >= HEAVY_MIN && count > median.saturating_mul(HEAVY_FACTOR);
                let own = node.looks();
                !heavy && (own.is_empty() || own == looks) && below.fits(node)
            })
            .map(|(name, _)| (*name).clone())
            .collect();
        let enough = known.is_some() || values.len() >= limits.cardinality;
        if enough { values } else { Vec::new() }
    }

    fn total(&self) -> u64 {
        let own = self.ends.values().fold(0u64, |sum, tally| sum.saturating_add(tally.total));
        self.children().fold(own, |sum, child| sum.saturating_add(child.total()))
    }

    fn looks(&self) -> Looks {
        let ends = self.ends.keys().filter(|end| end.status != StatusClass::ClientError);
        ends.map(|end| (end.status, end.media.clone())).collect()
    }

    fn keys(&self) -> impl Iterator<Item = (Key, &Self)> {
        let names = self.names.iter().map(|(name, node)| (Key::Name(name.clone()), node));
        names.chain(self.classes.iter().map(|(class, node)| (Key::Class(class.clone()), node)))
    }

    fn is_leaf(&self) -> bool {
        self.names.is_empty() && self.classes.is_empty()
    }

    fn absorb(&mut self, other: Self) {
        for (name, node) in other.names {
            self.names.entry(name).or_default().absorb(node);
        }
        for (class, node) in other.classes {
            self.classes.entry(class).or_default().absorb(node);
        }
        for (end, tally) in other.ends {
            self.ends.entry(end).or_default().add(tally);
        }
    }

    /// Hides names that must not be shown, or that were seen too rarely to be called fixed.
    pub(crate) fn veil(&mut self, limits: &Limits) {
        let names = std::mem::take(&mut self.names);
        for (name, node) in names {
            if is_word(&name) && node.total() >= limits.shown_from {
                self.names.insert(name, node);
            } else {
                self.classes.entry(Class::Text).or_default().absorb(node);
            }
        }
        self.names.values_mut().chain(self.classes.values_mut()).for_each(|n| n.veil(limits));
    }

    /// Calls `each` with every path and what was counted at its end.
    pub(crate) fn walk(&self, path: &mut String, each: &mut impl FnMut(&str, &End, Tally)) {
        for (end, tally) in &self.ends {
            each(if path.is_empty() { "/" } else { path.as_str() }, end, *tally);
        }
        let classes = self.classes.iter().map(|(class, node)| (class.to_string(), node));
        for (step, node) in self.names.iter().map(|(n, node)| (n.to_string(), node)).chain(classes)
        {
            let length = path.len();
            path.push('/');
            path.push_str(&step);
            node.walk(path, each);
            path.truncate(length);
        }
    }
}

/// What is below the candidates for one merge.
struct Below {
    keys: BTreeMap<Key, usize>,
    leaves: BTreeMap<Looks, usize>,
}

impl Below {
    fn of<'a>(nodes: impl Iterator<Item = &'a Node>) -> Self {
        let mut below = Self { keys: BTreeMap::new(), leaves: BTreeMap::new() };
        for node in nodes {
            for (key, child) in node.keys() {
                *below.keys.entry(key).or_default() += 1;
                if child.is_leaf() {
                    *below.leaves.entry(child.looks()).or_default() += 1;
                }
            }
        }
        below
    }

    /// Whether what is below one candidate is found below others, or is a leaf that looks like theirs.
    fn fits(&self, node: &Node) -> bool {
        let own = Self::of(std::iter::once(node));
        node.keys().all(|(key, child)| {
            let shared = self.keys.get(&key).is_some_and(|count| *count > 1);
            let looks = child.looks();
            let alike = self.leaves.get(&looks) > own.leaves.get(&looks);
            shared || (child.is_leaf() && alike)
        })
    }
}

/// The most frequent look; the first in order of several.
fn usual(looks: impl Iterator<Item = Looks>) -> Looks {
    let mut counts: BTreeMap<Looks, usize> = BTreeMap::new();
    for own in looks.filter(|looks| !looks.is_empty()) {
        *counts.entry(own).or_default() += 1;
    }
    let best = counts.values().max().copied();
    counts.into_iter().find(|(_, count)| Some(*count) == best).map(|(l, _)| l).unwrap_or_default()
}
