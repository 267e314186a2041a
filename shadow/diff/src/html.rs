//! Pages: parsed as browsers do, compared as trees.
//!
//! Owns what of a page counts: elements, attributes, words; not white space between words, the order of attributes and
//! classes, comments, or how a character is written. It exists because a page compared by lines shows one new `<li>` as
//! noise. What must stay true: nothing recurses, the work is charged, and what cannot be read within the limits is
//! inconclusive.

mod dom;
mod feed;
mod mask;
mod place;
mod select;
mod sink;
mod walk;

pub(crate) use dom::Dom;
pub(crate) use feed::Scope;
pub(crate) use select::CssTarget;
pub(crate) use walk::compare;

use crate::Why;
use crate::budget::Meter;

/// Nodes of any page; further ones per 32 bytes. A node costs up to 160 bytes while the tree is built.
const NODES_FREE: usize = 100_000;

/// Parses a page.
pub(crate) fn parse(text: &str, scope: Scope, meter: &mut Meter) -> Result<Dom, Why> {
    let nodes_max = NODES_FREE + text.len() / 32;
    let nodes = feed::read(text, scope, nodes_max, meter)?;
    meter.charge(nodes.len())?;
    Dom::of(nodes)
}

#[cfg(test)]
mod tests;
