//! A page as a flat arena, in the order of the document.
//!
//! Owns the canonical form: attributes sorted, classes as a set, words with single spaces, comments gone. Must stay
//! true: a node's subtree is the run of nodes from it to its `end`; `hash` covers the subtree, `shallow` the node alone.

use std::fmt;

use html5ever::tendril::StrTendril;
use html5ever::{Attribute, LocalName, local_name};

use super::sink::{DEPTH_MAX, Data, Id, NONE, Raw};
use crate::json::add_element;
use crate::{Why, hash};

/// Tag names per parent that are numbered each for itself.
const NAMES_MAX: usize = 32;

/// Index of a node in its page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(pub(crate) u32);

/// An element or a text.
pub(crate) struct Node {
    /// `None` for a text.
    pub(crate) name: Option<LocalName>,
    /// The words of a text.
    pub(crate) text: StrTendril,
    attrs_from: u32,
    attrs_to: u32,
    pub(crate) parent: u32,
    pub(crate) end: u32,
    /// From 0 among the elements of the parent.
    pub(crate) place: u32,
    /// From 1 among the elements of that name; 0 when not known.
    pub(crate) nth: u32,
    pub(crate) hash: u64,
    pub(crate) shallow: u64,
}

/// One attribute; of `class` the sorted names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Attr {
    pub(crate) name: LocalName,
    pub(crate) value: StrTendril,
}

/// One parsed page. Node 0 is the `html` element.
pub(crate) struct Dom {
    nodes: Vec<Node>,
    attrs: Vec<Attr>,
    pub(crate) doctype: Option<String>,
}

impl fmt::Debug for Dom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dom({} nodes)", self.nodes.len())
    }
}

impl Dom {
    pub(crate) const ROOT: NodeId = NodeId(0);

    pub(super) fn of(raw: Vec<Raw>) -> Result<Self, Why> {
        let mut flat =
            Flat { raw, dom: Self { nodes: Vec::new(), attrs: Vec::new(), doctype: None } };
        flat.run()?;
        let mut dom = flat.dom;
        if dom.nodes.is_empty() {
            return Err(Why::Undecodable);
        }
        dom.hash();
        Ok(dom)
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..u32::try_from(self.nodes.len()).unwrap_or(NONE)).map(NodeId)
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// The node after this one's subtree.
    pub(crate) fn next(&self, id: NodeId) -> NodeId {
        NodeId(self.node(id).end)
    }

    pub(crate) fn is_element(&self, id: NodeId) -> bool {
        self.node(id).name.is_some()
    }

    pub(crate) fn parent(&self, id: NodeId) -> Option<NodeId> {
        (id != Self::ROOT).then(|| NodeId(self.node(id).parent))
    }

    pub(crate) fn children(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        let end = self.next(id);
        let mut at = NodeId(id.0 + 1);
        std::iter::from_fn(move || {
            (at < end).then(|| {
                let child = at;
                at = self.next(child);
                child
            })
        })
    }

    /// Index of the first attribute, and all attributes by name.
    pub(crate) fn attrs(&self, id: NodeId) -> (usize, &[Attr]) {
        let node = self.node(id);
        let (from, to) = (node.attrs_from as usize, node.attrs_to as usize);
        (from, self.attrs.get(from..to).unwrap_or_default())
    }

    pub(crate) fn attr(&self, id: NodeId, name: &str) -> Option<&str> {
        let found = self.attrs(id).1.iter().find(|attr| &*attr.name == name);
        found.map(|attr| &*attr.value)
    }

    /// Whether two subtrees are the same, proven node by node.
    pub(crate) fn same(&self, id: NodeId, other: &Self, other_id: NodeId) -> bool {
        let (end, other_end) = (self.next(id).0, other.next(other_id).0);
        end - id.0 == other_end - other_id.0
            && (id.0..end).zip(other_id.0..other_end).all(|(x, y)| {
                let (x, y) = (NodeId(x), NodeId(y));
                let (a, b) = (self.node(x), other.node(y));
                a.name == b.name
                    && a.end - id.0 == b.end - other_id.0
                    && a.text == b.text
                    && self.attrs(x).1 == other.attrs(y).1
            })
    }

    /// Children come after their parent, so one pass from the end sees them first.
    fn hash(&mut self) {
        for at in (0..self.nodes.len()).rev() {
            let id = NodeId(u32::try_from(at).unwrap_or(NONE));
            let shallow = self.shallow_under(id, |_, attr| Some(attr.hash()));
            let hash = self
                .children(id)
                .fold(shallow, |sum, child| add_element(sum, self.node(child).hash));
            if let Some(node) = self.nodes.get_mut(at) {
                node.shallow = shallow;
                node.hash = hash::mix(hash, 3);
            }
        }
    }

    /// Hash of a node alone. `value` is the hash of an attribute's value, by its index in the page; without one the
    /// attribute does not count.
    pub(super) fn shallow_under(
        &self,
        id: NodeId,
        value: impl Fn(usize, &Attr) -> Option<u64>,
    ) -> u64 {
        let node = self.node(id);
        let Some(name) = &node.name else { return hash::of_bytes(node.text.as_bytes()) };
        let (from, attrs) = self.attrs(id);
        let hashes = attrs.iter().zip(from..).filter_map(|(attr, at)| {
            Some(hash::mix(hash::of_bytes(attr.name.as_bytes()), value(at, attr)?))
        });
        hashes.fold(hash::of_bytes(name.as_bytes()).rotate_left(9), add_element)
    }
}

impl Attr {
    pub(super) fn hash(&self) -> u64 {
        hash::of_bytes(self.value.as_bytes())
    }
}

/// A parent whose children are being copied.
struct Frame {
    dom: u32,
    next: Id,
    /// White space counts.
    verbatim: bool,
    elements: u32,
    names: Vec<(LocalName, u32)>,
}

/// The way from the parser's tree to the arena.
struct Flat {
    raw: Vec<Raw>,
    dom: Dom,
}

impl Flat {
    fn run(&mut self) -> Result<(), Why> {
        let mut top = self.raw.first().map_or(NONE, |document| document.first);
        let mut root = NONE;
        while let Some(node) = self.raw.get(top as usize) {
            match &node.data {
                Data::Doctype(text) => self.dom.doctype = Some(text.clone()),
                Data::Element { .. } if root == NONE => root = top,
                Data::Element { .. } | Data::Document | Data::Text(_) | Data::Hidden => {}
            }
            top = node.next;
        }
        let mut open = Vec::new();
        if root != NONE {
            open.extend(self.element(root, None));
        }
        while let Some(frame) = open.last_mut() {
            let id = frame.next;
            let Some(node) = self.raw.get(id as usize) else {
                let end = u32::try_from(self.dom.nodes.len()).map_err(|_| Why::OverBudget)?;
                if let Some(closed) = self.dom.nodes.get_mut(frame.dom as usize) {
                    closed.end = end;
                }
                open.pop();
                continue;
            };
            match &node.data {
                Data::Element { .. } => {
                    frame.next = node.next;
                    let inner = self.element(id, Some(frame));
                    open.extend(inner);
                    if open.len() > DEPTH_MAX as usize {
                        return Err(Why::TooDeep);
                    }
                }
                Data::Text(_) | Data::Hidden => self.texts(frame),
                Data::Document | Data::Doctype(_) => frame.next = node.next,
            }
        }
        Ok(())
    }

    /// Adds an element; the frame is for its children.
    fn element(&mut self, id: Id, parent: Option<&mut Frame>) -> Option<Frame> {
        let raw = self.raw.get_mut(id as usize)?;
        let first = raw.first;
        let Data::Element { name, attrs, contents } =
            std::mem::replace(&mut raw.data, Data::Hidden)
        else {
            return None;
        };
        let first = self.raw.get(contents as usize).map_or(first, |fragment| fragment.first);
        let name = name.local;
        let attrs_from = u32::try_from(self.dom.attrs.len()).ok()?;
        self.dom.attrs.extend(attrs.into_iter().map(attr));
        if let Some(own) = self.dom.attrs.get_mut(attrs_from as usize..) {
            own.sort_by(|a, b| a.name.cmp(&b.name));
        }
        let attrs_to = u32::try_from(self.dom.attrs.len()).ok()?;
        let dom = u32::try_from(self.dom.nodes.len()).ok()?;
        let mut node = Node {
            name: Some(name.clone()),
            text: StrTendril::new(),
            attrs_from,
            attrs_to,
            parent: 0,
            end: dom + 1,
            place: 0,
            nth: 1,
            hash: 0,
            shallow: 0,
        };
        let mut verbatim = is_verbatim(&name);
        if let Some(parent) = parent {
            (node.parent, node.place) = (parent.dom, parent.elements);
            node.nth = parent.count(&name);
            verbatim |= parent.verbatim;
        }
        self.dom.nodes.push(node);
        Some(Frame { dom, next: first, verbatim, elements: 0, names: Vec::new() })
    }

    /// Adds the words of a run of texts; comments do not part them.
    fn texts(&mut self, frame: &mut Frame) {
        let mut words: Option<StrTendril> = None;
        while let Some(node) = self.raw.get_mut(frame.next as usize) {
            match &mut node.data {
                Data::Text(text) => match &mut words {
                    Some(words) => words.push_tendril(text),
                    None => words = Some(std::mem::take(text)),
                },
                Data::Hidden => {}
                Data::Element { .. } | Data::Document | Data::Doctype(_) => break,
            }
            frame.next = node.next;
        }
        let text =
            words.map(|words| if frame.verbatim { trimmed(words) } else { single_spaced(words) });
        let Some(text) = text.filter(|text| !text.is_empty()) else { return };
        let Ok(at) = u32::try_from(self.dom.nodes.len()) else { return };
        self.dom.nodes.push(Node {
            name: None,
            text,
            attrs_from: 0,
            attrs_to: 0,
            parent: frame.dom,
            end: at + 1,
            place: frame.elements,
            nth: 0,
            hash: 0,
            shallow: 0,
        });
    }
}

impl Frame {
    /// One more element; its number among those of its name.
    fn count(&mut self, name: &LocalName) -> u32 {
        self.elements += 1;
        if let Some((_, count)) = self.names.iter_mut().find(|(own, _)| own == name) {
            *count += 1;
            return *count;
        }
        if self.names.len() >= NAMES_MAX {
            return 0;
        }
        self.names.push((name.clone(), 1));
        1
    }
}

fn attr(attr: Attribute) -> Attr {
    let name = match attr.name.prefix {
        Some(prefix) => LocalName::from(format!("{prefix}:{}", attr.name.local)),
        None => attr.name.local,
    };
    let value = if name == local_name!("class") { class_set(&attr.value) } else { attr.value };
    Attr { name, value }
}

fn class_set(value: &str) -> StrTendril {
    let mut names: Vec<&str> = value.split_ascii_whitespace().collect();
    names.sort_unstable();
    names.dedup();
    StrTendril::from(names.join(" "))
}

/// Elements whose white space is shown or means something.
fn is_verbatim(name: &LocalName) -> bool {
    matches!(&**name, "pre" | "textarea" | "script" | "style" | "listing" | "plaintext" | "xmp")
}

/// Without white space at both ends.
fn trimmed(text: StrTendril) -> StrTendril {
    let inner = text.trim_ascii();
    let from = text.len() - text.trim_ascii_start().len();
    match (u32::try_from(from), u32::try_from(inner.len())) {
        (Ok(from), Ok(len)) if inner.len() < text.len() => text.subtendril(from, len),
        (Ok(_) | Err(_), _) => text,
    }
}

/// The words with one space between them.
fn single_spaced(text: StrTendril) -> StrTendril {
    let text = trimmed(text);
    let space = |pair: &[u8]| match pair {
        [b' ', second] => second.is_ascii_whitespace(),
        [first, ..] => first.is_ascii_whitespace(),
        [] => false,
    };
    if !text.as_bytes().windows(2).any(space) {
        return text;
    }
    let mut words = String::with_capacity(text.len());
    for word in text.split_ascii_whitespace() {
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(word);
    }
    StrTendril::from(words)
}
