//! Cassettes of VCR: `http_interactions`, as YAML (Ruby's default) or JSON.
//!
//! Bodies are `string` or `base64_string`, YAML may hold them as `!binary`. Ruby writes repeated values as anchors and
//! aliases. What must stay true: aliases are shared, never copied, and the numbers of nodes and of nestings are bounded, so
//! that no cassette can blow up; an interaction of a wrong form is skipped.

use crate::http1;
use crate::{
    Ending, Entry, Headers, Limits, ReadError, Recorded, RecordedAnswer, RecordedBody, Sink, Unread,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::DateTime;
use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::Value;
use std::collections::HashMap;
use std::io::{BufRead, Read as _};
use std::ops::ControlFlow;
use std::rc::Rc;

/// Nodes of a cassette.
const NODES_MAX: usize = 5_000_000;
/// Nestings of a cassette; a real one has about 8.
const DEPTH_MAX: usize = 64;

/// A node of YAML or JSON, as far as cassettes need it.
enum Node {
    Text(Vec<u8>),
    List(Vec<Rc<Node>>),
    Map(Vec<(Rc<Node>, Rc<Node>)>),
    Nothing,
}

/// Reads all interactions of a cassette.
///
/// # Errors
/// When the stream cannot be read, is larger than the limit, or is no cassette.
pub fn read(
    input: &mut dyn BufRead,
    limits: &Limits,
    sink: &mut Sink<'_>,
) -> Result<Ending, ReadError> {
    let mut bytes = Vec::new();
    input.take(limits.whole_bytes as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limits.whole_bytes {
        return Err(not_vcr(format!("it is larger than {} bytes", limits.whole_bytes)));
    }
    let text = String::from_utf8_lossy(&bytes);
    let (root, warning) = if text.trim_start().starts_with('{') {
        let value: Value = serde_json::from_str(&text).map_err(|e| not_vcr(e.to_string()))?;
        (of_json(&value), None)
    } else {
        of_yaml(&text)
    };
    let interactions = root.get("http_interactions");
    let Some(Node::List(interactions)) = interactions else {
        let why = warning.unwrap_or_else(|| "it has no `http_interactions`".to_owned());
        return Err(not_vcr(why));
    };
    for (index, interaction) in interactions.iter().enumerate() {
        let place = index as u64 + 1;
        let entry = match exchange(interaction, place) {
            Ok(recorded) => Entry::Exchange(Box::new(recorded)),
            Err(why) => Entry::Skipped { place, why },
        };
        if sink(entry) == ControlFlow::Break(()) {
            return Ok(Ending::default());
        }
    }
    Ok(Ending { warning })
}

fn not_vcr(why: String) -> ReadError {
    ReadError::NotThat { format: "VCR", why }
}

impl Node {
    fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(pairs) = self else { return None };
        pairs.iter().find(|(own, _)| own.text() == Some(key.as_bytes())).map(|(_, value)| &**value)
    }

    fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Text(text) => Some(text),
            Self::List(_) | Self::Map(_) | Self::Nothing => None,
        }
    }

    fn string(&self) -> Option<&str> {
        std::str::from_utf8(self.text()?).ok()
    }
}

fn exchange(node: &Node, place: u64) -> Result<Recorded, Unread> {
    let request = node.get("request").ok_or(Unread::Malformed)?;
    let method = request.get("method").and_then(Node::string).ok_or(Unread::Malformed)?;
    let uri = request.get("uri").and_then(Node::string).ok_or(Unread::Malformed)?;
    Ok(Recorded {
        place,
        at_ms: node.get("recorded_at").and_then(Node::string).and_then(time_ms),
        method: method.to_ascii_uppercase(),
        target: http1::path_and_query(uri).ok_or(Unread::NoPath)?,
        headers: headers(request),
        legacy: node.get("response").and_then(answer),
        ..Recorded::default()
    })
}

fn answer(response: &Node) -> Option<RecordedAnswer> {
    let status = response.get("status")?;
    let code = status.get("code").unwrap_or(status).string()?.parse().ok()?;
    let body = response.get("body").map_or(RecordedBody::Missing, body);
    Some(RecordedAnswer { status: code, headers: headers(response), body, elapsed_ms: None })
}

fn body(body: &Node) -> RecordedBody {
    if let Some(packed) = body.get("base64_string").and_then(Node::text) {
        return unpacked(packed).map_or(RecordedBody::Missing, |b| RecordedBody::Whole(b.into()));
    }
    // VCR before version 2 wrote the text itself.
    let text = body.get("string").unwrap_or(body);
    match text {
        Node::Text(text) => RecordedBody::Whole(text.clone().into()),
        Node::Nothing => RecordedBody::Whole(bytes::Bytes::new()),
        Node::List(_) | Node::Map(_) => RecordedBody::Missing,
    }
}

/// Each header has a list of values, or one.
fn headers(of: &Node) -> Headers {
    let Some(Node::Map(pairs)) = of.get("headers") else { return Vec::new() };
    let mut headers = Headers::new();
    for (name, values) in pairs {
        let Some(name) = name.string().map(str::to_ascii_lowercase) else { continue };
        match &**values {
            Node::List(values) => headers
                .extend(values.iter().filter_map(|v| v.text()).map(|v| (name.clone(), v.to_vec()))),
            Node::Text(value) => headers.push((name, value.clone())),
            Node::Map(_) | Node::Nothing => {}
        }
    }
    headers.retain(|(name, _)| name != "transfer-encoding");
    headers
}

fn unpacked(packed: &[u8]) -> Option<Vec<u8>> {
    let packed: Vec<u8> =
        packed.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    STANDARD.decode(packed).ok()
}

fn time_ms(text: &str) -> Option<u64> {
    let time = DateTime::parse_from_rfc2822(text).or_else(|_| DateTime::parse_from_rfc3339(text));
    u64::try_from(time.ok()?.timestamp_millis()).ok()
}

/// Nesting is bounded by the JSON reader.
fn of_json(value: &Value) -> Node {
    match value {
        Value::Null => Node::Nothing,
        Value::Bool(flag) => Node::Text(flag.to_string().into_bytes()),
        Value::Number(number) => Node::Text(number.to_string().into_bytes()),
        Value::String(text) => Node::Text(text.clone().into_bytes()),
        Value::Array(items) => {
            Node::List(items.iter().map(|item| Rc::new(of_json(item))).collect())
        }
        Value::Object(pairs) => Node::Map(
            pairs
                .iter()
                .map(|(key, value)| {
                    let key = Node::Text(key.clone().into_bytes());
                    (Rc::new(key), Rc::new(of_json(value)))
                })
                .collect(),
        ),
    }
}

/// A list or map that is being built.
struct Building {
    anchor: usize,
    is_map: bool,
    items: Vec<Rc<Node>>,
}

/// Reads YAML as far as it goes; the warning says why it went no further.
fn of_yaml(text: &str) -> (Node, Option<String>) {
    let mut parser = Parser::new_from_str(text);
    let mut tree = Tree::default();
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, _)) => {
                if let Err(why) = tree.take(event) {
                    return (tree.end(), Some(why.to_owned()));
                }
            }
            Err(error) => {
                return (tree.end(), Some(format!("it cannot be read to its end: {error}")));
            }
        }
    }
    (tree.end(), None)
}

/// A tree that grows from events.
#[derive(Default)]
struct Tree {
    open: Vec<Building>,
    root: Option<Rc<Node>>,
    anchors: HashMap<usize, Rc<Node>>,
    nodes: usize,
}

impl Tree {
    fn take(&mut self, event: Event<'_>) -> Result<(), &'static str> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let binary = tag.as_ref().is_some_and(|tag| tag.suffix.ends_with("binary"));
                let plain = style == ScalarStyle::Plain && tag.is_none();
                let node = match (&*text, plain) {
                    ("" | "~" | "null", true) => Node::Nothing,
                    (text, _) if binary => {
                        unpacked(text.as_bytes()).map_or(Node::Nothing, Node::Text)
                    }
                    (text, _) => Node::Text(text.as_bytes().to_vec()),
                };
                self.place(Rc::new(node), anchor)
            }
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned();
                self.place(node.unwrap_or_else(|| Rc::new(Node::Nothing)), 0)
            }
            Event::SequenceStart(anchor, _) => self.begin(anchor, false),
            Event::MappingStart(anchor, _) => self.begin(anchor, true),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(built) = self.open.pop() else { return Ok(()) };
                let anchor = built.anchor;
                self.place(Rc::new(built.node()), anchor)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn begin(&mut self, anchor: usize, is_map: bool) -> Result<(), &'static str> {
        if self.open.len() >= DEPTH_MAX {
            return Err("it is nested too deeply");
        }
        self.open.push(Building { anchor, is_map, items: Vec::new() });
        Ok(())
    }

    fn place(&mut self, node: Rc<Node>, anchor: usize) -> Result<(), &'static str> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err("it has too many values");
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            Some(open) => open.items.push(node),
            // The first document counts.
            None if self.root.is_none() => self.root = Some(node),
            None => {}
        }
        Ok(())
    }

    /// What is there, also when the text broke off: open parts are closed.
    fn end(mut self) -> Node {
        while let Some(built) = self.open.pop() {
            let node = Rc::new(built.node());
            match self.open.last_mut() {
                Some(open) => open.items.push(node),
                None => self.root = Some(node),
            }
        }
        drop(self.anchors);
        self.root.map_or(Node::Nothing, |root| Rc::try_unwrap(root).unwrap_or(Node::Nothing))
    }
}

impl Building {
    fn node(self) -> Node {
        if !self.is_map {
            return Node::List(self.items);
        }
        let mut pairs = Vec::with_capacity(self.items.len() / 2);
        let mut items = self.items.into_iter();
        while let Some(key) = items.next() {
            let value = items.next().unwrap_or_else(|| Rc::new(Node::Nothing));
            pairs.push((key, value));
        }
        Node::Map(pairs)
    }
}
