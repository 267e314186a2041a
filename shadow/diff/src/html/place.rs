//! Places in a page: for people, for grouping, as a pointer.
//!
//! Owns the CSS-like path (`html:body > ul#inbox > li[3] > a@href`) and its shape (`html:body > ul#inbox > li > a@href`),
//! which is a selector that a rule can use. Must stay true: numbers, and ids that hold data, never reach the shape.

use std::fmt::Write;

use super::dom::{Dom, NodeId};
use crate::difference::{Location, Part};

/// The innermost steps that a path shows; a suffix of a path still selects the place.
const STEPS_MAX: usize = 16;

/// Siblings that are looked at to see whether a number is needed.
const SIBLINGS_MAX: usize = 64;

/// Longest id or name that a path shows.
const NAME_MAX: usize = 40;

/// The place of the doctype.
pub(super) fn of_doctype() -> Location {
    let path = "html:!doctype".to_owned();
    Location { part: Part::Body, pointer: String::new(), shape: path.clone(), path }
}

/// The place of an element, of a text (its element's), or of an attribute.
pub(super) fn of(dom: &Dom, id: NodeId, attr: Option<&str>) -> Location {
    let (mut pointer, mut path, mut shape) = (String::new(), String::new(), String::new());
    let steps = steps(dom, id);
    let shown = steps.len().saturating_sub(STEPS_MAX);
    for (at, step) in steps.iter().enumerate() {
        if at > 0 || steps.len() == 1 {
            pointer.extend((at > 0).then(|| format!("/{}", dom.node(*step).place)));
        }
        if at < shown || (at == 0 && steps.len() > 1) {
            continue;
        }
        if !path.is_empty() {
            path.push_str(" > ");
            shape.push_str(" > ");
        }
        push_step(dom, *step, &mut path, &mut shape);
    }
    if let Some(name) = attr {
        path.extend(["@", if is_name(name) { name } else { "*" }]);
        shape.extend(["@", if is_name(name) { name } else { "*" }]);
        pointer.extend(["@", name]);
    }
    let named = |text: String| format!("html:{text}");
    Location { part: Part::Body, pointer, path: named(path), shape: named(shape) }
}

/// The elements from the root down.
fn steps(dom: &Dom, id: NodeId) -> Vec<NodeId> {
    let mut steps = Vec::new();
    let mut at = if dom.is_element(id) { Some(id) } else { dom.parent(id) };
    while let Some(node) = at {
        steps.push(node);
        at = dom.parent(node);
    }
    steps.reverse();
    steps
}

fn push_step(dom: &Dom, id: NodeId, path: &mut String, shape: &mut String) {
    let name = dom.node(id).name.as_deref().unwrap_or("*");
    let name = if is_name(name) { name } else { "*" };
    path.push_str(name);
    shape.push_str(name);
    if let Some(own) = dom.attr(id, "id").filter(|own| is_name(own)) {
        path.extend(["#", own]);
        if !own.bytes().any(|byte| byte.is_ascii_digit()) {
            shape.extend(["#", own]);
        }
        return;
    }
    let nth = dom.node(id).nth;
    if nth > 1 || (nth == 1 && has_twin(dom, id)) {
        write!(path, "[{nth}]").unwrap_or_default();
    }
}

fn has_twin(dom: &Dom, id: NodeId) -> bool {
    let Some(parent) = dom.parent(id) else { return false };
    let end = dom.next(parent);
    let mut at = dom.next(id);
    for _ in 0..SIBLINGS_MAX {
        if at >= end {
            return false;
        }
        if dom.node(at).name == dom.node(id).name {
            return true;
        }
        at = dom.next(at);
    }
    false
}

/// A name that stands in a selector as it is.
fn is_name(name: &str) -> bool {
    name.len() <= NAME_MAX
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}
