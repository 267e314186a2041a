//! The tree that the HTML parser builds while it reads.
//!
//! Owns nodes as an arena of links, because the standard moves nodes around after they were placed. Must stay true: no
//! node owns another, so nothing recurses when the tree is dropped; the limits on nodes, depth and attributes raise a
//! flag, and the reader stops at the next piece.

use std::borrow::Cow;
use std::cell::{Cell, Ref, RefCell};

use html5ever::tendril::StrTendril;
use html5ever::tree_builder::{ElementFlags, NodeOrText, QuirksMode, TreeSink};
use html5ever::{Attribute, QualName};

use crate::Why;

/// Index of a node.
pub(super) type Id = u32;

/// No node.
pub(super) const NONE: Id = u32::MAX;

/// The deepest nesting that is read.
pub(super) const DEPTH_MAX: u32 = 512;

/// Attributes of one element.
pub(super) const ATTRIBUTES_MAX: usize = 1_000;

const DOCUMENT: Id = 0;

/// What a node is.
pub(super) enum Data {
    Document,
    Doctype(String),
    Element {
        name: QualName,
        attrs: Vec<Attribute>,
        /// The fragment inside of a `template`, else [`NONE`].
        contents: Id,
    },
    Text(StrTendril),
    /// Comments and processing instructions: not shown.
    Hidden,
}

/// A node with its links.
pub(super) struct Raw {
    pub(super) data: Data,
    pub(super) first: Id,
    pub(super) next: Id,
    parent: Id,
    last: Id,
    prev: Id,
    depth: u32,
}

/// All nodes of one page.
pub(super) struct Sink {
    nodes: RefCell<Vec<Raw>>,
    nodes_max: usize,
    deepest: Cell<u32>,
    over: Cell<Option<Why>>,
}

impl Sink {
    pub(super) fn new(nodes_max: usize) -> Self {
        let sink = Self {
            nodes: RefCell::new(Vec::new()),
            nodes_max,
            deepest: Cell::new(0),
            over: Cell::new(None),
        };
        sink.add(Data::Document);
        sink
    }

    /// The limit that was hit.
    pub(super) fn over(&self) -> Option<Why> {
        self.over.get()
    }

    /// The deepest place that any node had.
    pub(super) fn deepest(&self) -> u32 {
        self.deepest.get()
    }

    pub(super) fn into_nodes(self) -> Vec<Raw> {
        self.nodes.into_inner()
    }

    fn add(&self, data: Data) -> Id {
        let mut nodes = self.nodes.borrow_mut();
        if nodes.len() >= self.nodes_max {
            self.over.set(Some(Why::OverBudget));
        }
        let id = Id::try_from(nodes.len()).unwrap_or(NONE);
        let (first, next, parent, last, prev) = (NONE, NONE, NONE, NONE, NONE);
        nodes.push(Raw { data, first, next, parent, last, prev, depth: 0 });
        id
    }

    /// Puts a node without parent under `parent`, before `next` or at the end.
    fn link(&self, id: Id, parent: Id, next: Id) {
        let mut nodes = self.nodes.borrow_mut();
        let depth = at(&mut nodes, parent).map_or(0, |node| node.depth) + 1;
        let prev = match at(&mut nodes, next) {
            Some(next) => next.prev,
            None => at(&mut nodes, parent).map_or(NONE, |parent| parent.last),
        };
        if let Some(node) = at(&mut nodes, id) {
            (node.parent, node.prev, node.next, node.depth) = (parent, prev, next, depth);
        }
        match at(&mut nodes, prev) {
            Some(prev) => prev.next = id,
            None => at(&mut nodes, parent).into_iter().for_each(|parent| parent.first = id),
        }
        match at(&mut nodes, next) {
            Some(next) => next.prev = id,
            None => at(&mut nodes, parent).into_iter().for_each(|parent| parent.last = id),
        }
        drop(nodes);
        self.deepest.set(self.deepest.get().max(depth));
        if depth > DEPTH_MAX {
            self.over.set(Some(Why::TooDeep));
        }
    }

    fn unlink(&self, id: Id) {
        let mut nodes = self.nodes.borrow_mut();
        let Some(node) = at(&mut nodes, id) else { return };
        let (parent, prev, next) = (node.parent, node.prev, node.next);
        (node.parent, node.prev, node.next) = (NONE, NONE, NONE);
        match at(&mut nodes, prev) {
            Some(prev) => prev.next = next,
            None => at(&mut nodes, parent).into_iter().for_each(|parent| parent.first = next),
        }
        match at(&mut nodes, next) {
            Some(next) => next.prev = prev,
            None => at(&mut nodes, parent).into_iter().for_each(|parent| parent.last = prev),
        }
    }

    /// Places a child before `next`, or at the end; text joins a text that stands before it.
    fn place(&self, parent: Id, next: Id, child: NodeOrText<Id>) {
        let text = match child {
            NodeOrText::AppendNode(id) => {
                self.unlink(id);
                return self.link(id, parent, next);
            }
            NodeOrText::AppendText(text) => text,
        };
        let mut nodes = self.nodes.borrow_mut();
        let before = match at(&mut nodes, next) {
            Some(next) => next.prev,
            None => at(&mut nodes, parent).map_or(NONE, |parent| parent.last),
        };
        if let Some(Data::Text(own)) = at(&mut nodes, before).map(|node| &mut node.data) {
            return own.push_tendril(&text);
        }
        drop(nodes);
        let id = self.add(Data::Text(text));
        self.link(id, parent, next);
    }

    fn parent_of(&self, id: Id) -> Id {
        at(&mut self.nodes.borrow_mut(), id).map_or(NONE, |node| node.parent)
    }
}

fn at(nodes: &mut [Raw], id: Id) -> Option<&mut Raw> {
    nodes.get_mut(id as usize)
}

impl TreeSink for Sink {
    type Handle = Id;
    type Output = Self;
    type ElemName<'a> = Ref<'a, QualName>;

    fn finish(self) -> Self {
        self
    }

    fn parse_error(&self, _message: Cow<'static, str>) {}

    fn get_document(&self) -> Id {
        DOCUMENT
    }

    fn elem_name<'a>(&'a self, target: &'a Id) -> Ref<'a, QualName> {
        Ref::map(self.nodes.borrow(), |nodes| match &nodes[*target as usize].data {
            Data::Element { name, .. } => name,
            Data::Document | Data::Doctype(_) | Data::Text(_) | Data::Hidden => {
                unreachable!("the tree builder asks elements for their name")
            }
        })
    }

    fn create_element(&self, name: QualName, attrs: Vec<Attribute>, flags: ElementFlags) -> Id {
        let contents = if flags.template { self.add(Data::Document) } else { NONE };
        self.add(Data::Element { name, attrs, contents })
    }

    fn create_comment(&self, _text: StrTendril) -> Id {
        self.add(Data::Hidden)
    }

    fn create_pi(&self, _target: StrTendril, _data: StrTendril) -> Id {
        self.add(Data::Hidden)
    }

    fn append(&self, parent: &Id, child: NodeOrText<Id>) {
        self.place(*parent, NONE, child);
    }

    fn append_based_on_parent_node(&self, element: &Id, before: &Id, child: NodeOrText<Id>) {
        if self.parent_of(*element) == NONE {
            self.append(before, child);
        } else {
            self.append_before_sibling(element, child);
        }
    }

    fn append_doctype_to_document(&self, name: StrTendril, public: StrTendril, system: StrTendril) {
        let words = [&*name, &*public, &*system].map(str::trim);
        let id = self.add(Data::Doctype(words.join(" ").trim_end().to_owned()));
        self.link(id, DOCUMENT, NONE);
    }

    fn get_template_contents(&self, target: &Id) -> Id {
        let mut nodes = self.nodes.borrow_mut();
        let (contents, depth) = match at(&mut nodes, *target) {
            Some(Raw { data: Data::Element { contents, .. }, depth, .. }) => (*contents, *depth),
            Some(_) | None => (*target, 0),
        };
        if let Some(fragment) = at(&mut nodes, contents) {
            fragment.depth = depth;
        }
        contents
    }

    fn same_node(&self, x: &Id, y: &Id) -> bool {
        x == y
    }

    fn set_quirks_mode(&self, _mode: QuirksMode) {}

    fn append_before_sibling(&self, sibling: &Id, child: NodeOrText<Id>) {
        self.place(self.parent_of(*sibling), *sibling, child);
    }

    fn add_attrs_if_missing(&self, target: &Id, new: Vec<Attribute>) {
        let mut nodes = self.nodes.borrow_mut();
        let Some(Raw { data: Data::Element { attrs, .. }, .. }) = at(&mut nodes, *target) else {
            return;
        };
        for attr in new {
            if attrs.len() >= ATTRIBUTES_MAX {
                self.over.set(Some(Why::OverBudget));
                return;
            }
            if !attrs.iter().any(|own| own.name == attr.name) {
                attrs.push(attr);
            }
        }
    }

    fn remove_from_parent(&self, target: &Id) {
        self.unlink(*target);
    }

    fn reparent_children(&self, node: &Id, new_parent: &Id) {
        loop {
            let first = at(&mut self.nodes.borrow_mut(), *node).map_or(NONE, |node| node.first);
            if first == NONE {
                return;
            }
            self.unlink(first);
            self.link(first, *new_parent, NONE);
        }
    }
}
