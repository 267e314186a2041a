//! The walk over two JSON documents.
//!
//! Owns the descent: equal subtrees are skipped by hash (and verified), objects are compared by name, arrays aligned,
//! scalars told apart. It works on an explicit stack, so depth costs heap and never the thread's stack. Must stay true:
//! each step is charged; what a rule hides is counted; equality is never concluded from a hash
//! alone.

mod array;
mod hint;
mod object;
mod same;

use crate::budget::Meter;
use crate::difference::{Difference, Kind};
use crate::explain::{self, OnlyOn, Ruling};
use crate::findings::Findings;
use crate::json::{Doc, NodeId, Tag};
use crate::mask::{self, Mask};
use crate::path::{Step, Trail, TrailId};
use crate::rule::Action;
use crate::{Fragment, RuleSet, Why, value};

/// Compares two documents; `Err` when the work went over budget.
pub(crate) fn compare(
    legacy: &Doc<'_>,
    new: &Doc<'_>,
    rules: &RuleSet,
    findings: &mut Findings,
    meter: &mut Meter,
) -> Result<(), Why> {
    let masks = (Mask::of(legacy, rules, meter)?, Mask::of(new, rules, meter)?);
    let mut walk = Walk {
        legacy: Side { doc: legacy, mask: masks.0 },
        new: Side { doc: new, mask: masks.1 },
        rules,
        trail: Trail::new(),
        open: vec![Pair { legacy: Doc::ROOT, new: Doc::ROOT, trail: Trail::ROOT }],
        findings,
        meter,
        loose: Vec::new(),
    };
    walk.run()?;
    walk.join()
}

/// One document with what rules ignore in it.
struct Side<'a> {
    doc: &'a Doc<'a>,
    mask: Option<Mask>,
}

impl Side<'_> {
    /// Hash for alignment: ignored nodes left out.
    fn hash(&self, id: NodeId) -> u64 {
        self.mask.as_ref().map_or_else(|| self.doc.hash(id), |mask| mask.hash(id))
    }

    /// The rules at a node, most specific first.
    fn rules(&self, id: NodeId) -> &[u32] {
        self.mask.as_ref().map_or(&[], |mask| mask.rules(id))
    }
}

/// Two nodes that belong together and are not compared yet.
#[derive(Debug, Clone, Copy)]
struct Pair {
    legacy: NodeId,
    new: NodeId,
    trail: TrailId,
}

struct Walk<'a, 'f> {
    legacy: Side<'a>,
    new: Side<'a>,
    rules: &'a RuleSet,
    trail: Trail<'a>,
    open: Vec<Pair>,
    findings: &'f mut Findings,
    meter: &'f mut Meter,
    /// One-sided differences, for joining.
    loose: Vec<hint::Loose>,
}

impl<'a> Walk<'a, '_> {
    fn run(&mut self) -> Result<(), Why> {
        while let Some(pair) = self.open.pop() {
            self.meter.charge(1)?;
            if self.same(pair.legacy, pair.new)? {
                continue;
            }
            if self.is_ruled(pair) && self.hidden(pair) {
                continue;
            }
            let first_child = self.open.len();
            match (self.legacy.doc.tag(pair.legacy), self.new.doc.tag(pair.new)) {
                (Tag::Object, Tag::Object) => self.objects(pair)?,
                (Tag::Array, Tag::Array) => self.arrays(pair)?,
                _ => {
                    let (legacy, new) = (self.legacy.doc, self.new.doc);
                    let kind = value::kind((legacy, pair.legacy), (new, pair.new));
                    self.report(kind, pair.trail, Some(pair.legacy), Some(pair.new));
                }
            }
            // Children were pushed in document order; the stack takes them from its end.
            if let Some(children) = self.open.get_mut(first_child..) {
                children.reverse();
            }
        }
        Ok(())
    }

    /// Compares a pair later, unless it is the same.
    fn descend(
        &mut self,
        parent: TrailId,
        step: Step<'a>,
        legacy: NodeId,
        new: NodeId,
    ) -> Result<(), Why> {
        if !self.same(legacy, new)? {
            self.open_later(parent, step, legacy, new);
        }
        Ok(())
    }

    /// Compares a pair later that is not the same.
    fn open_later(&mut self, parent: TrailId, step: Step<'a>, legacy: NodeId, new: NodeId) {
        let trail = self.trail.push(parent, step);
        self.open.push(Pair { legacy, new, trail });
    }

    fn report(&mut self, kind: Kind, trail: TrailId, legacy: Option<NodeId>, new: Option<NodeId>) {
        self.remember(kind, trail, legacy, new);
        let (trails, docs) = (&self.trail, (self.legacy.doc, self.new.doc));
        let severity = kind.severity();
        self.findings.add(severity, true, || Difference {
            location: trails.location(trail, docs.0, docs.1),
            kind,
            legacy: legacy.map(|id| Fragment::of_json(docs.0, id)),
            new: new.map(|id| Fragment::of_json(docs.1, id)),
            severity,
            hint: None,
        });
    }

    fn hide(&mut self, rule: u32, trail: TrailId) {
        let shape = self.trail.shape(trail, self.legacy.doc, self.new.doc);
        if let Some(rule) = self.rules.rule(rule) {
            self.findings.hide(&rule.id(), &shape);
        }
    }

    /// Reports a node that only one side has, unless a rule allows it.
    fn one_sided(&mut self, kind: Kind, parent: TrailId, step: Step<'a>, node: OneSided) {
        let trail = self.trail.push(parent, step);
        let (side, on, id, legacy, new) = match node {
            OneSided::Legacy(id) => (&self.legacy, OnlyOn::Legacy, id, Some(id), None),
            OneSided::New(id) => (&self.new, OnlyOn::New, id, None, Some(id)),
        };
        for index in side.rules(id) {
            let Some(rule) = self.rules.rule(*index) else { continue };
            match explain::missing(rule.action(), mask::value(side.doc, id), on) {
                Ruling::Hide => return self.hide(*index, trail),
                Ruling::Show => break,
                Ruling::NotMine => {}
            }
        }
        self.report(kind, trail, legacy, new);
    }

    fn is_ruled(&self, pair: Pair) -> bool {
        !self.legacy.rules(pair.legacy).is_empty() || !self.new.rules(pair.new).is_empty()
    }

    /// The rules at either node of a pair, most specific first. Without filters and indices both have the same.
    fn rules_at(&self, pair: Pair) -> Vec<u32> {
        let (own, other) = (self.legacy.rules(pair.legacy), self.new.rules(pair.new));
        let mut rules: Vec<u32> = own.iter().chain(other).copied().collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    }

    /// Hides a difference if the first rule that is about such values allows it.
    fn hidden(&mut self, pair: Pair) -> bool {
        for index in self.rules_at(pair) {
            let Some(rule) = self.rules.rule(index) else { continue };
            let (legacy, new) = (self.legacy.doc, self.new.doc);
            let values = (mask::value(legacy, pair.legacy), mask::value(new, pair.new));
            let renamed = &mut self.findings.bijections;
            match explain::pair(rule.action(), values.0, values.1, renamed) {
                Ruling::Hide => {
                    self.hide(index, pair.trail);
                    return true;
                }
                Ruling::Show => return false,
                Ruling::NotMine => {}
            }
        }
        false
    }

    /// Equal values bind too: an id that both sides share cannot also be the new name of another one.
    fn bind_equal(&mut self, legacy: NodeId) {
        let Some(mask) = self.legacy.mask.as_ref().filter(|mask| mask.binds) else { return };
        let doc = self.legacy.doc;
        for id in (legacy.0..doc.next(legacy).0).map(NodeId) {
            for rule in mask.rules(id).iter().filter_map(|index| self.rules.rule(*index)) {
                if let Action::Bijection(_) = rule.action() {
                    let value = mask::value(doc, id);
                    explain::pair(rule.action(), value, value, &mut self.findings.bijections);
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum OneSided {
    Legacy(NodeId),
    New(NodeId),
}
