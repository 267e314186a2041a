//! Two objects: by member name, in any order.
//!
//! Owns missing, extra and repeated members. Must stay true: of a repeated name the last value counts, and the repetition
//! itself is reported when only one side repeats.

use super::{OneSided, Pair, Walk};
use crate::Why;
use crate::budget::Meter;
use crate::difference::Kind;
use crate::json::{Doc, NodeId, Tag};
use crate::path::{Of, Step};
use crate::rule::Action;

/// A member with a unique name.
#[derive(Debug, Clone, Copy)]
struct Member {
    key: NodeId,
    value: NodeId,
    repeated: bool,
}

impl Walk<'_, '_> {
    fn ignores(&self, index: u32) -> bool {
        self.rules.rule(index).is_some_and(|rule| *rule.action() == Action::Ignore)
    }

    pub(super) fn objects(&mut self, pair: Pair) -> Result<(), Why> {
        let legacy = members(self.legacy.doc, pair.legacy, self.meter)?;
        let new = members(self.new.doc, pair.new, self.meter)?;
        self.meter.charge(sorting(new.len()))?;
        let matches = matches((self.legacy.doc, &legacy), (self.new.doc, &new));
        let mut taken = vec![false; new.len()];

        for (member, found) in legacy.iter().zip(matches) {
            let step = Step::Member(Of::Legacy, member.key);
            let Some((at, other)) = found.and_then(|at| new.get(at).map(|other| (at, other)))
            else {
                let kind = missing_kind(self.legacy.doc, member.value, Kind::KeyMissing);
                self.one_sided(kind, pair.trail, step, OneSided::Legacy(member.value));
                continue;
            };
            if let Some(slot) = taken.get_mut(at) {
                *slot = true;
            }
            if member.repeated != other.repeated {
                self.repeated(pair, *member, *other);
            }
            self.descend(pair.trail, step, member.value, other.value)?;
        }
        for (member, _) in new.iter().zip(taken).filter(|(_, taken)| !taken) {
            let step = Step::Member(Of::New, member.key);
            let kind = missing_kind(self.new.doc, member.value, Kind::KeyExtra);
            self.one_sided(kind, pair.trail, step, OneSided::New(member.value));
        }
        Ok(())
    }

    fn repeated(&mut self, pair: Pair, legacy: Member, new: Member) {
        let trail = self.trail.push(pair.trail, Step::Member(Of::Legacy, legacy.key));
        let values = Pair { legacy: legacy.value, new: new.value, trail };
        let ignored = self.rules_at(values).into_iter().find(|index| self.ignores(*index));
        if let Some(rule) = ignored {
            return self.hide(rule, trail);
        }
        self.report(Kind::DupKey, trail, Some(legacy.value), Some(new.value));
    }
}

/// A `null` that the other side leaves out is its own kind.
fn missing_kind(doc: &Doc<'_>, value: NodeId, kind: Kind) -> Kind {
    if doc.tag(value) == Tag::Null { Kind::NullVsMissing } else { kind }
}

/// Members with unique names in document order; a repeated name stands at its first place with its last value.
fn members(doc: &Doc<'_>, object: NodeId, meter: &mut Meter) -> Result<Vec<Member>, Why> {
    let mut members: Vec<Member> =
        doc.members(object).map(|(key, value)| Member { key, value, repeated: false }).collect();
    meter.charge(sorting(members.len()))?;
    if !may_repeat(doc, &members) {
        return Ok(members);
    }
    let keys: Vec<NodeId> = members.iter().map(|member| member.key).collect();
    meter.charge(4 * sorting(keys.len()))?;
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by(|a, b| doc.bytes(keys[*a]).cmp(doc.bytes(keys[*b])));
    let mut dropped = vec![false; members.len()];
    for run in order.chunk_by(|a, b| doc.bytes(keys[*a]) == doc.bytes(keys[*b])) {
        if let [first, .., last] = run {
            members[*first].value = members[*last].value;
            members[*first].repeated = true;
            for later in run.iter().skip(1) {
                dropped[*later] = true;
            }
        }
    }
    let mut dropped = dropped.into_iter();
    members.retain(|_| !dropped.next().unwrap_or(false));
    Ok(members)
}

/// Steps of sorting `n` things, and of finding each.
fn sorting(n: usize) -> usize {
    3 * n * n.checked_ilog2().map_or(1, |levels| 1 + levels as usize)
}

fn may_repeat(doc: &Doc<'_>, members: &[Member]) -> bool {
    let mut hashes: Vec<u64> = members.iter().map(|member| doc.hash(member.key)).collect();
    if hashes.len() <= 8 {
        return hashes.iter().enumerate().any(|(at, hash)| hashes[..at].contains(hash));
    }
    hashes.sort_unstable();
    hashes.windows(2).any(|pair| pair[0] == pair[1])
}

/// For each member of legacy its place in new.
fn matches(legacy: (&Doc<'_>, &[Member]), new: (&Doc<'_>, &[Member])) -> Vec<Option<usize>> {
    let same = |a: &Member, b: &Member| legacy.0.same_scalar(a.key, new.0, b.key);
    let mut index: Option<Vec<(u64, &[u8], usize)>> = None;
    let mut expected = 0;
    let mut found = Vec::with_capacity(legacy.1.len());
    for member in legacy.1 {
        // Both sides mostly write their members in the same order.
        let next = new.1.get(expected).filter(|other| same(member, other)).map(|_| expected);
        let place = next.or_else(|| {
            let index = index.get_or_insert_with(|| {
                let names = new.1.iter().enumerate();
                let mut names: Vec<_> =
                    names.map(|(at, m)| (new.0.hash(m.key), new.0.bytes(m.key), at)).collect();
                names.sort_unstable();
                names
            });
            // By hash, because comparing numbers is quick; by name too, because hashes can be made to collide.
            let (hash, name) = (legacy.0.hash(member.key), legacy.0.bytes(member.key));
            let found = |(h, n, _): &(u64, &[u8], usize)| (*h, *n).cmp(&(hash, name));
            let at = index.binary_search_by(found).ok()?;
            index.get(at).map(|(_, _, place)| *place)
        });
        if let Some(place) = place {
            expected = place + 1;
        }
        found.push(place);
    }
    found
}
