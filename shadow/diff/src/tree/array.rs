//! Two arrays: aligned by identity, else by content, else by place.
//!
//! Owns the ladder: what a rule says (`ordered`, `key`, `set`, `multiset`); a key that identifies the elements (`id`,
//! `uuid`, ...) when both sides have it; else equal elements are anchors and what lies between them is paired by
//! likeness. Must stay true: order is judged once per array and
//! reported as one `array_reordered`, never as many value changes.

use super::{OneSided, Pair, Walk};
use crate::align::{self, Pairs};
use crate::difference::Kind;
use crate::json::{Doc, NodeId, Tag};
use crate::path::{Of, Step};
use crate::rule::{Action, Order};
use crate::{RuleSet, Why, hash, mask};

/// Member names that identify an element, best first.
const IDENTITY: [&str; 10] =
    ["id", "uuid", "_id", "urn", "uri", "href", "key", "slug", "permalink", "name"];

/// Members ending in `_id` that identify an element together.
const PAIR_MAX: usize = 3;

/// Removed times inserted elements between two anchors that are paired by likeness; larger gaps go by place.
const LIKENESS_MAX: usize = 64 * 64;

/// Members of one element that likeness looks at.
const LIKENESS_MEMBERS_MAX: usize = 32;

/// How the elements of two arrays belong together.
struct Fit<'k> {
    key: Option<&'k str>,
    pairs: Pairs,
    /// Elements that must move to restore the order.
    moved: usize,
}

impl<'a> Walk<'a, '_> {
    pub(super) fn arrays(&mut self, pair: Pair) -> Result<(), Why> {
        let legacy: Vec<NodeId> = self.legacy.doc.elements(pair.legacy).collect();
        let new: Vec<NodeId> = self.new.doc.elements(pair.new).collect();
        self.meter.charge(legacy.len() + new.len())?;
        let rule = self.array_rule(pair);
        let mut fit = self.fit(rule, &legacy, &new)?;
        if fit.moved > 0 {
            self.moved(pair, fit.moved, rule);
        }
        fit.pairs.sort_unstable();
        let repeats = match rule {
            Some((index, Action::Set)) => Some(index),
            _ => None,
        };
        let mut taken = vec![false; new.len()];
        let mut pairs = fit.pairs.iter().peekable();
        for (at, element) in legacy.iter().enumerate() {
            let Some((_, other_at)) = pairs.next_if(|(x, _)| *x == at) else {
                let step = self.element_step(fit.key, at, Of::Legacy, *element);
                match repeats {
                    Some(rule) if self.is_repeated(OneSided::Legacy(*element), &new)? => {
                        let trail = self.trail.push(pair.trail, step);
                        self.hide(rule, trail);
                    }
                    _ => {
                        let node = OneSided::Legacy(*element);
                        self.one_sided(Kind::ElemMissing, pair.trail, step, node);
                    }
                }
                continue;
            };
            let Some(other) = new.get(*other_at) else { continue };
            taken[*other_at] = true;
            if !self.same(*element, *other)? {
                let step = self.element_step(fit.key, at, Of::Legacy, *element);
                self.open_later(pair.trail, step, *element, *other);
            }
        }
        for ((at, element), _) in new.iter().enumerate().zip(taken).filter(|(_, taken)| !taken) {
            let step = self.element_step(fit.key, at, Of::New, *element);
            match repeats {
                Some(rule) if self.is_repeated(OneSided::New(*element), &legacy)? => {
                    let trail = self.trail.push(pair.trail, step);
                    self.hide(rule, trail);
                }
                _ => {
                    self.one_sided(Kind::ElemExtra, pair.trail, step, OneSided::New(*element));
                }
            }
        }
        Ok(())
    }

    /// The most specific rule that says how elements belong together.
    fn array_rule(&self, pair: Pair) -> Option<(u32, &'a Action)> {
        if !self.is_ruled(pair) {
            return None;
        }
        let rules: &'a RuleSet = self.rules;
        self.rules_at(pair).into_iter().find_map(|index| {
            let action = rules.rule(index)?.action();
            let about_arrays =
                matches!(action, Action::Ordered | Action::Set | Action::Multiset | Action::Key(_));
            about_arrays.then_some((index, action))
        })
    }

    fn fit(
        &mut self,
        rule: Option<(u32, &'a Action)>,
        legacy: &[NodeId],
        new: &[NodeId],
    ) -> Result<Fit<'a>, Why> {
        let by_rule = match rule {
            Some((_, Action::Ordered)) => {
                let pairs = (0..legacy.len().min(new.len())).map(|at| (at, at)).collect();
                Some(Fit { key: None, pairs, moved: 0 })
            }
            Some((_, Action::Key(key))) => self.by_key(&key.names, legacy, new)?,
            Some(_) | None => None,
        };
        if let Some(fit) = by_rule {
            return Ok(fit);
        }
        match self.by_identity(legacy, new)? {
            Some(fit) => Ok(fit),
            None => self.by_content(legacy, new),
        }
    }

    /// Reports another order, or hides it where a rule says that order does not count.
    fn moved(&mut self, pair: Pair, moved: usize, rule: Option<(u32, &'a Action)>) {
        match rule {
            Some((index, Action::Set | Action::Multiset)) => return self.hide(index, pair.trail),
            Some((index, Action::Key(key))) if key.order == Order::Free => {
                return self.hide(index, pair.trail);
            }
            Some(_) | None => {}
        }
        let moved = u32::try_from(moved).unwrap_or(u32::MAX);
        let kind = Kind::ArrayReordered { moved };
        self.report(kind, pair.trail, Some(pair.legacy), Some(pair.new));
    }

    /// Whether the other side has an equal element too.
    fn is_repeated(&mut self, element: OneSided, others: &[NodeId]) -> Result<bool, Why> {
        self.meter.charge(others.len())?;
        for other in others {
            let (legacy, new) = match element {
                OneSided::Legacy(own) => (own, *other),
                OneSided::New(own) => (*other, own),
            };
            if self.same(legacy, new)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn element_step(&self, key: Option<&'a str>, at: usize, of: Of, element: NodeId) -> Step<'a> {
        let doc = match of {
            Of::Legacy => self.legacy.doc,
            Of::New => self.new.doc,
        };
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        let keyed = key.and_then(|name| Some((name, doc.member(element, name.as_bytes())?)));
        match keyed {
            Some((name, value)) => Step::Keyed(at, name, of, value),
            None => Step::Element(at),
        }
    }

    /// By the members that a rule names, if they are scalar, present and unique together in all elements.
    fn by_key(
        &mut self,
        names: &'a [String],
        legacy: &[NodeId],
        new: &[NodeId],
    ) -> Result<Option<Fit<'a>>, Why> {
        let key = match names {
            [name] => Some(name.as_str()),
            _ => None,
        };
        let fit = self.by_names(names, legacy, new)?;
        Ok(fit.map(|(pairs, moved)| Fit { key, pairs, moved }))
    }

    /// Pairs of elements with the same members of these names, and how many must move.
    fn by_names(
        &mut self,
        names: &[String],
        legacy: &[NodeId],
        new: &[NodeId],
    ) -> Result<Option<(Pairs, usize)>, Why> {
        self.meter.charge((legacy.len() + new.len()).saturating_mul(names.len()))?;
        let Some(a) = keys(self.legacy.doc, legacy, names) else { return Ok(None) };
        let Some(b) = keys(self.new.doc, new, names) else { return Ok(None) };
        let mut pairs = align::join(&a, &b);
        let proven = |(x, y): &(usize, usize)| {
            names.iter().all(|name| self.same_identity(legacy[*x], new[*y], name))
        };
        if !pairs.iter().all(proven) {
            return Ok(None);
        }
        pairs.sort_unstable();
        let in_order = align::longest_increasing(pairs.iter().map(|(_, y)| *y)).len();
        let moved = pairs.len() - in_order;
        Ok(Some((pairs, moved)))
    }

    /// Rows that join two things, such as `user_id` and `thread_id`, are identified by both.
    fn by_pair(&mut self, legacy: &[NodeId], new: &[NodeId]) -> Result<Option<Fit<'a>>, Why> {
        let Some(first) = legacy.first() else { return Ok(None) };
        let doc = self.legacy.doc;
        let ids = doc.members(*first).map(|(key, _)| doc.bytes(key));
        let names: Vec<String> = ids
            .filter(|name| name.ends_with(b"_id") && name.len() > 3)
            .take(PAIR_MAX + 1)
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect();
        if !(2..=PAIR_MAX).contains(&names.len()) {
            return Ok(None);
        }
        let fit = self.by_names(&names, legacy, new)?;
        let shared = |pairs: &Pairs| pairs.len() * 2 >= legacy.len().min(new.len());
        let fit = fit.filter(|(pairs, _)| shared(pairs));
        Ok(fit.map(|(pairs, moved)| Fit { key: None, pairs, moved }))
    }

    /// The first key that is a unique scalar in all elements and that at least half of the shorter list shares.
    fn by_identity(&mut self, legacy: &[NodeId], new: &[NodeId]) -> Result<Option<Fit<'a>>, Why> {
        let (Some(first), Some(other_first)) = (legacy.first(), new.first()) else {
            return Ok(None);
        };
        let is_object = |doc: &Doc<'_>, id: NodeId| doc.tag(id) == Tag::Object;
        if !is_object(self.legacy.doc, *first) || !is_object(self.new.doc, *other_first) {
            return Ok(None);
        }
        for key in IDENTITY {
            let Some(a) = self.identities(Of::Legacy, legacy, key)? else { continue };
            let Some(b) = self.identities(Of::New, new, key)? else { continue };
            let pairs = align::join(&a, &b);
            let proven = pairs.iter().all(|(x, y)| self.same_identity(legacy[*x], new[*y], key));
            if !proven || pairs.len() * 2 < legacy.len().min(new.len()) {
                continue;
            }
            let mut pairs = pairs;
            pairs.sort_unstable();
            let in_order = align::longest_increasing(pairs.iter().map(|(_, y)| *y)).len();
            let moved = pairs.len() - in_order;
            return Ok(Some(Fit { key: Some(key), pairs, moved }));
        }
        self.by_pair(legacy, new)
    }

    /// Hash and place of each element's identity, sorted; `None` when the key does not identify all of them.
    fn identities(
        &mut self,
        of: Of,
        elements: &[NodeId],
        key: &str,
    ) -> Result<Option<Vec<(u64, usize)>>, Why> {
        let side = match of {
            Of::Legacy => &self.legacy,
            Of::New => &self.new,
        };
        let mut identities = Vec::with_capacity(elements.len());
        for (at, element) in elements.iter().enumerate() {
            if side.doc.tag(*element) != Tag::Object {
                return Ok(None);
            }
            let Some(value) = side.doc.member(*element, key.as_bytes()) else { return Ok(None) };
            let scalar = matches!(side.doc.tag(value), Tag::Number | Tag::Text);
            let hash = side.hash(value);
            if !scalar || hash == mask::LEFT_OUT {
                return Ok(None);
            }
            identities.push((hash, at));
        }
        self.meter.charge(elements.len())?;
        identities.sort_unstable();
        let unique = identities.windows(2).all(|pair| pair[0].0 != pair[1].0);
        Ok(unique.then_some(identities))
    }

    /// Equal, or written in two ways that a rule takes for one.
    fn same_identity(&self, legacy: NodeId, new: NodeId, key: &str) -> bool {
        let a = self.legacy.doc.member(legacy, key.as_bytes());
        let b = self.new.doc.member(new, key.as_bytes());
        a.zip(b).is_some_and(|(a, b)| {
            self.legacy.doc.same_scalar(a, self.new.doc, b)
                || (!self.legacy.rules(a).is_empty() && self.legacy.hash(a) == self.new.hash(b))
        })
    }

    /// Equal elements are anchors or moved; what is left between anchors is paired by likeness.
    fn by_content(&mut self, legacy: &[NodeId], new: &[NodeId]) -> Result<Fit<'a>, Why> {
        let a: Vec<u64> = legacy.iter().map(|id| self.legacy.hash(*id)).collect();
        let b: Vec<u64> = new.iter().map(|id| self.new.hash(*id)).collect();
        let alignment = align::align(&a, &b, self.meter)?;
        let mut used = (vec![false; a.len()], vec![false; b.len()]);
        for (x, y) in alignment.anchors.iter().chain(&alignment.moved) {
            used.0[*x] = true;
            used.1[*y] = true;
        }
        let mut pairs = alignment.anchors.clone();
        let (mut from_a, mut from_b) = (0, 0);
        let end = [(a.len(), b.len())];
        for (to_a, to_b) in alignment.anchors.iter().chain(&end) {
            let removed: Vec<usize> = (from_a..*to_a).filter(|at| !used.0[*at]).collect();
            let inserted: Vec<usize> = (from_b..*to_b).filter(|at| !used.1[*at]).collect();
            if !removed.is_empty() && !inserted.is_empty() {
                self.pair_gap((&removed, legacy), (&inserted, new), &mut pairs)?;
            }
            (from_a, from_b) = (to_a + 1, to_b + 1);
        }
        let moved = alignment.moved.len();
        pairs.extend(alignment.moved);
        Ok(Fit { key: None, pairs, moved })
    }

    fn pair_gap(
        &mut self,
        removed: (&[usize], &[NodeId]),
        inserted: (&[usize], &[NodeId]),
        pairs: &mut Pairs,
    ) -> Result<(), Why> {
        let work = removed.0.len() * inserted.0.len();
        if work == 1 || work > LIKENESS_MAX {
            pairs.extend(removed.0.iter().copied().zip(inserted.0.iter().copied()));
            return Ok(());
        }
        self.meter.charge(work)?;
        let mut scores = Vec::with_capacity(work);
        for (i, x) in removed.0.iter().enumerate() {
            for (j, y) in inserted.0.iter().enumerate() {
                let score = self.likeness(removed.1[*x], inserted.1[*y]);
                scores.push((std::cmp::Reverse(score), i.abs_diff(j), i.min(j), i, j));
            }
        }
        scores.sort_unstable();
        let same_length = removed.0.len() == inserted.0.len();
        let mut used = (vec![false; removed.0.len()], vec![false; inserted.0.len()]);
        for (score, distance, _, i, j) in scores {
            let alike = score.0 > 0 || (same_length && distance == 0);
            if alike && !used.0[i] && !used.1[j] {
                used.0[i] = true;
                used.1[j] = true;
                pairs.push((removed.0[i], inserted.0[j]));
            }
        }
        Ok(())
    }

    /// How alike two elements are, 0 to 1,000; objects and arrays by the share of equal members.
    fn likeness(&self, legacy: NodeId, new: NodeId) -> usize {
        let hashes = |side: &super::Side<'_>, id: NodeId| -> Vec<u64> {
            let mut hashes: Vec<u64> = match side.doc.tag(id) {
                Tag::Object => {
                    let members = side.doc.members(id).take(LIKENESS_MEMBERS_MAX);
                    members
                        .map(|(key, value)| side.doc.hash(key) ^ side.hash(value).rotate_left(9))
                        .collect()
                }
                Tag::Array => {
                    side.doc.elements(id).take(LIKENESS_MEMBERS_MAX).map(|e| side.hash(e)).collect()
                }
                Tag::Null | Tag::False | Tag::True | Tag::Number | Tag::Text | Tag::Key => {
                    Vec::new()
                }
            };
            hashes.sort_unstable();
            hashes
        };
        if self.legacy.doc.tag(legacy) != self.new.doc.tag(new) {
            return 0;
        }
        let (a, b) = (hashes(&self.legacy, legacy), hashes(&self.new, new));
        let place = |hashes: &[u64]| hashes.iter().map(|hash| (*hash, 0)).collect::<Vec<_>>();
        let shared = align::join(&place(&a), &place(&b)).len();
        shared * 1_000 / a.len().max(b.len()).max(1)
    }
}

/// Hash and place of each element's key, sorted; `None` when the members do not identify all of them.
fn keys(doc: &Doc<'_>, elements: &[NodeId], names: &[String]) -> Option<Vec<(u64, usize)>> {
    let mut keys = Vec::with_capacity(elements.len());
    for (at, element) in elements.iter().enumerate() {
        let mut key = names.len() as u64;
        for name in names {
            let is_object = doc.tag(*element) == Tag::Object;
            let value = is_object.then(|| doc.member(*element, name.as_bytes())).flatten()?;
            if matches!(doc.tag(value), Tag::Array | Tag::Object) {
                return None;
            }
            key = hash::mix(key.rotate_left(9), doc.hash(value));
        }
        keys.push((key, at));
    }
    keys.sort_unstable();
    keys.windows(2).all(|pair| pair[0].0 != pair[1].0).then_some(keys)
}
