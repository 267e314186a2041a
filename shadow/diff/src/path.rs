//! Paths to values, in the three spellings of a location.
//!
//! Owns the trail of steps from the root to the value being compared; texts are built only when a difference is
//! reported. Must stay true: keyed elements are named by their key, indices and map-like keys vanish from the shape.

use crate::difference::{Location, Part};
use crate::fragment::{is_uuid, push_escaped};
use crate::json::{Doc, NodeId, Tag};

/// Index of a step in a [`Trail`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TrailId(u32);

/// Which document a node belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Legacy,
    New,
}

/// One step down.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step<'k> {
    Root,
    /// A member; the node is its key.
    Member(Of, NodeId),
    /// An element by position.
    Element(u32),
    /// An element by identity: position, key name, node of the key's value.
    Keyed(u32, &'k str, Of, NodeId),
}

/// All steps taken in one comparison, as a tree of parents.
#[derive(Debug)]
pub(crate) struct Trail<'k> {
    steps: Vec<(u32, Step<'k>)>,
}

impl<'k> Trail<'k> {
    pub(crate) const ROOT: TrailId = TrailId(0);

    pub(crate) fn new() -> Self {
        Self { steps: vec![(0, Step::Root)] }
    }

    pub(crate) fn push(&mut self, parent: TrailId, step: Step<'k>) -> TrailId {
        let id = TrailId(u32::try_from(self.steps.len()).unwrap_or(u32::MAX));
        self.steps.push((parent.0, step));
        id
    }

    /// The step before this one.
    pub(crate) fn parent(&self, id: TrailId) -> TrailId {
        TrailId(self.steps.get(id.0 as usize).map_or(0, |(parent, _)| *parent))
    }

    /// The location in all spellings.
    pub(crate) fn location(&self, id: TrailId, legacy: &Doc<'_>, new: &Doc<'_>) -> Location {
        let doc = |of| match of {
            Of::Legacy => legacy,
            Of::New => new,
        };
        let (mut pointer, mut path) = (String::new(), String::from("$"));
        let mut shape = String::from("$");
        for step in self.down_to(id) {
            match step {
                Step::Root => {}
                Step::Member(of, key) => {
                    let name = String::from_utf8_lossy(doc(of).bytes(key));
                    push_pointer(&mut pointer, &name);
                    push_name(&mut path, &name);
                    if is_map_key(name.as_bytes()) {
                        shape.push_str(".*");
                    } else {
                        push_name(&mut shape, &name);
                    }
                }
                Step::Element(index) => {
                    push_pointer(&mut pointer, &index.to_string());
                    path.extend(["[", &index.to_string(), "]"]);
                    shape.push_str("[*]");
                }
                Step::Keyed(index, name, of, value) => {
                    push_pointer(&mut pointer, &index.to_string());
                    path.extend(["[?@.", name, "==", &literal(doc(of), value), "]"]);
                    shape.push_str("[*]");
                }
            }
        }
        Location { part: Part::Body, pointer, path, shape }
    }

    /// Only the shape, for counting what rules hide.
    pub(crate) fn shape(&self, id: TrailId, legacy: &Doc<'_>, new: &Doc<'_>) -> String {
        self.location(id, legacy, new).shape
    }

    fn down_to(&self, id: TrailId) -> Vec<Step<'k>> {
        let mut steps = Vec::new();
        let mut at = id.0;
        while let Some((parent, step)) = self.steps.get(at as usize) {
            steps.push(*step);
            if at == 0 {
                break;
            }
            at = *parent;
        }
        steps.reverse();
        steps
    }
}

/// Location of something that is not inside a JSON body.
pub(crate) fn plain(part: Part) -> Location {
    let path = match &part {
        Part::Status => "status".to_owned(),
        Part::Header(name) => format!("header:{name}"),
        Part::Cookie(name) => format!("cookie:{name}"),
        Part::Body => "body".to_owned(),
    };
    Location { part, pointer: String::new(), shape: path.clone(), path }
}

fn push_pointer(pointer: &mut String, token: &str) {
    pointer.push('/');
    pointer.push_str(&token.replace('~', "~0").replace('/', "~1"));
}

fn push_name(path: &mut String, name: &str) {
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if plain {
        path.push('.');
        path.push_str(name);
        return;
    }
    path.push('[');
    push_quoted(path, name);
    path.push(']');
}

fn push_quoted(out: &mut String, text: &str) {
    out.push('\'');
    for c in text.chars() {
        match c {
            '\'' => out.push_str("\\'"),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => push_escaped(out, c),
            c => out.push(c),
        }
    }
    out.push('\'');
}

/// A key that is data rather than a field name: digits, a UUID or long hex.
fn is_map_key(name: &[u8]) -> bool {
    let all = |test: fn(&u8) -> bool| !name.is_empty() && name.iter().all(test);
    all(u8::is_ascii_digit) || is_uuid(name) || (name.len() >= 16 && all(u8::is_ascii_hexdigit))
}

/// A scalar as the literal of a filter.
fn literal(doc: &Doc<'_>, id: NodeId) -> String {
    let text = String::from_utf8_lossy(doc.bytes(id));
    match doc.tag(id) {
        Tag::Text => {
            let mut quoted = String::new();
            push_quoted(&mut quoted, &text);
            quoted
        }
        Tag::Null | Tag::False | Tag::True | Tag::Number | Tag::Array | Tag::Object | Tag::Key => {
            text.into_owned()
        }
    }
}
