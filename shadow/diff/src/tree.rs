//! The walk over two JSON documents.
//!
//! Owns the descent: equal subtrees are skipped by hash (and verified), objects are compared by name, arrays aligned,
//! scalars told apart. It works on an explicit stack, so depth costs heap and never the thread's stack. Must stay true:
//! each step is charged; an ignored node hides its differences and counts them; equality is never concluded from a hash
//! alone.

mod array;
mod object;
mod same;

use crate::budget::Meter;
use crate::difference::{Difference, Kind};
use crate::findings::Findings;
use crate::json::{Doc, NodeId, Tag};
use crate::mask::Mask;
use crate::path::{Step, Trail, TrailId};
use crate::{Fragment, RuleSet, Why, value};

/// Compares two documents; `Err` when the work went over budget.
pub(crate) fn compare(
    legacy: &Doc<'_>,
    new: &Doc<'_>,
    rules: &RuleSet,
    findings: &mut Findings,
    meter: &mut Meter,
) -> Result<(), Why> {
    let side = |doc| Side { doc, mask: Mask::of(doc, rules) };
    let mut walk = Walk {
        legacy: side(legacy),
        new: side(new),
        rules,
        trail: Trail::new(),
        open: vec![Pair { legacy: Doc::ROOT, new: Doc::ROOT, trail: Trail::ROOT }],
        findings,
        meter,
    };
    walk.run()
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

    fn rule(&self, id: NodeId) -> Option<usize> {
        self.mask.as_ref().and_then(|mask| mask.rule(id))
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
    trail: Trail,
    open: Vec<Pair>,
    findings: &'f mut Findings,
    meter: &'f mut Meter,
}

impl Walk<'_, '_> {
    fn run(&mut self) -> Result<(), Why> {
        while let Some(pair) = self.open.pop() {
            self.meter.charge(1)?;
            if self.same(pair.legacy, pair.new)? {
                continue;
            }
            let ignored = self.legacy.rule(pair.legacy).or_else(|| self.new.rule(pair.new));
            if let Some(rule) = ignored {
                self.hide(rule, pair.trail);
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
        step: Step,
        legacy: NodeId,
        new: NodeId,
    ) -> Result<(), Why> {
        if !self.same(legacy, new)? {
            self.open_later(parent, step, legacy, new);
        }
        Ok(())
    }

    /// Compares a pair later that is not the same.
    fn open_later(&mut self, parent: TrailId, step: Step, legacy: NodeId, new: NodeId) {
        let trail = self.trail.push(parent, step);
        self.open.push(Pair { legacy, new, trail });
    }

    fn report(&mut self, kind: Kind, trail: TrailId, legacy: Option<NodeId>, new: Option<NodeId>) {
        let (trails, docs) = (&self.trail, (self.legacy.doc, self.new.doc));
        let severity = kind.severity();
        self.findings.add(severity, true, || Difference {
            location: trails.location(trail, docs.0, docs.1),
            kind,
            legacy: legacy.map(|id| Fragment::of_json(docs.0, id)),
            new: new.map(|id| Fragment::of_json(docs.1, id)),
            severity,
        });
    }

    fn hide(&mut self, rule: usize, trail: TrailId) {
        let shape = self.trail.shape(trail, self.legacy.doc, self.new.doc);
        self.findings.hide(self.rules.id_at(rule), &shape);
    }

    /// Reports a node that only one side has, unless a rule ignores it.
    fn one_sided(&mut self, kind: Kind, parent: TrailId, step: Step, node: OneSided) {
        let trail = self.trail.push(parent, step);
        let (rule, legacy, new) = match node {
            OneSided::Legacy(id) => (self.legacy.rule(id), Some(id), None),
            OneSided::New(id) => (self.new.rule(id), None, Some(id)),
        };
        match rule {
            Some(rule) => self.hide(rule, trail),
            None => self.report(kind, trail, legacy, new),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum OneSided {
    Legacy(NodeId),
    New(NodeId),
}
