//! The growing collection: requests in, templates out.
//!
//! Owns pins, limits and the stable ids. What must stay true: a pinned template wins over what was inferred; whatever is
//! not counted under a template is counted in [`Lost`].

use std::collections::BTreeMap;

use banyan_domain::PathTemplate;
use banyan_domain::template::Segment;
use serde::{Deserialize, Serialize};

use crate::node::{End, Node, Tally};
use crate::segment::query_keys;

/// Methods that are told apart; others are `OTHER`.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// One answered request, or a template that was saved earlier, with what is counted under it.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The method.
    pub method: &'a str,
    /// Path and query, as they came.
    pub target: &'a str,
    /// The status of the answer.
    pub status: StatusClass,
    /// Media type of the answer without parameters; empty when it said none.
    pub media: &'a str,
}

/// First digit of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StatusClass {
    /// 2xx, and 1xx.
    #[serde(rename = "2xx")]
    Success,
    /// 3xx.
    #[serde(rename = "3xx")]
    Redirect,
    /// 4xx.
    #[serde(rename = "4xx")]
    ClientError,
    /// 5xx, and no answer.
    #[serde(rename = "5xx")]
    ServerError,
}

impl StatusClass {
    /// The class of a status.
    pub const fn of(status: u16) -> Self {
        match status {
            100..=299 => Self::Success,
            300..=399 => Self::Redirect,
            400..=499 => Self::ClientError,
            _ => Self::ServerError,
        }
    }

    /// The word that is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "2xx",
            Self::Redirect => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
        }
    }

    /// The class that a stored word names.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Success, Self::Redirect, Self::ClientError, Self::ServerError]
            .into_iter()
            .find(|class| class.as_str() == word)
    }
}

/// Limits of a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Nodes of all tries; beyond, new paths are counted as overflow.
    pub nodes: usize,
    /// Names below one node that are kept apart; beyond, further ones are `{text}`.
    pub names_per_node: usize,
    /// Different query keys and answers at one path; beyond, they are `*`.
    pub answers_per_path: usize,
    /// Segments that are looked at; what is deeper is one `{text}`.
    pub depth: usize,
    /// From how many different names on a segment is a value.
    pub cardinality: usize,
    /// From how many requests on a name is shown.
    pub shown_from: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            nodes: 20_000,
            names_per_node: 128,
            answers_per_path: 64,
            depth: 12,
            cardinality: 20,
            shown_from: 5,
        }
    }
}

/// A template that is given, for one method or for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The method; all when nothing.
    pub method: Option<String>,
    /// The path. Its fixed segments are never merged, its parameters always match.
    pub path: PathTemplate,
}

impl Pin {
    /// Reads `GET /tags/{tag}` or `/tags/{tag}`.
    ///
    /// # Errors
    /// A fragment saying the rule that is broken.
    pub fn new(text: &str) -> Result<Self, String> {
        let (method, path) = match text.split_once(' ') {
            Some((method, path)) => (Some(method), path.trim()),
            None => (None, text),
        };
        if let Some(method) = method.filter(|method| !METHODS.contains(method)) {
            return Err(format!("method `{method}` must be one of {}", METHODS.join(", ")));
        }
        let path = PathTemplate::new(path)?;
        Ok(Self { method: method.map(str::to_owned), path })
    }

    fn fits(&self, method: &str, segments: &[&str]) -> bool {
        let own = self.path.segments();
        let rest = matches!(own.last(), Some(Segment::Rest(_)));
        let length = if rest { own.len() <= segments.len() } else { own.len() == segments.len() };
        self.method.as_deref().is_none_or(|own| own == method)
            && length
            && own.iter().zip(segments).all(|(own, segment)| match own {
                Segment::Literal(text) => text == segment,
                Segment::Param(_) | Segment::Rest(_) => true,
            })
    }

    /// Fixed segments first, so that `/users/me` is before `/users/{id}`.
    fn rank(&self) -> Vec<u8> {
        let kind = |segment: &Segment| match segment {
            Segment::Literal(_) => 0,
            Segment::Param(_) => 1,
            Segment::Rest(_) => 2,
        };
        self.path.segments().iter().map(kind).collect()
    }
}

/// One endpoint as far as it can be told from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// Stable over runs: a hash of method, path and query keys.
    pub id: String,
    /// The method.
    pub method: String,
    /// The path, such as `/users/{int}/messages`.
    pub path: String,
    /// The query keys.
    pub query: Vec<String>,
    /// How it answered.
    pub answers: Vec<Answers>,
    /// How many requests.
    pub count: u64,
}

/// Requests with one kind of answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// Class of the status.
    pub status: StatusClass,
    /// Media type; empty when none was said.
    pub media: String,
    /// How many.
    pub count: u64,
}

/// Requests that are under no template.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Client errors on paths that never answered otherwise: typos and scanners.
    pub misses: u64,
    /// New paths for which there was no room.
    pub overflow: u64,
}

/// All that was seen, by method.
#[derive(Debug, Clone, Default)]
pub struct Templates {
    limits: Limits,
    pins: Vec<Pin>,
    pinned: BTreeMap<(String, String), BTreeMap<End, Tally>>,
    methods: BTreeMap<&'static str, Node>,
    nodes: usize,
    lost: Lost,
}

impl Templates {
    /// An empty collection.
    pub fn new(limits: Limits, mut pins: Vec<Pin>) -> Self {
        pins.sort_by(|a, b| (a.rank(), &a.path.as_str()).cmp(&(b.rank(), &b.path.as_str())));
        Self { limits, pins, ..Self::default() }
    }

    /// Counts `count` equal requests.
    pub fn see(&mut self, seen: &Seen<'_>, count: u64) {
        let method = METHODS.into_iter().find(|known| *known == seen.method).unwrap_or("OTHER");
        let (path, query) = seen.target.split_once('?').unwrap_or((seen.target, ""));
        let mut segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
        let end = End { query: query_keys(query), status: seen.status, media: media(seen.media) };
        let tally = Tally { total: count, unsaved: count };
        if let Some(pin) = self.pins.iter().find(|pin| pin.fits(method, &segments)) {
            let key = (method.to_owned(), pin.path.as_str().to_owned());
            return self.pinned.entry(key).or_default().entry(end).or_default().add(tally);
        }
        if segments.len() > self.limits.depth {
            segments.truncate(self.limits.depth);
            segments.push("{text}");
        }
        let (limits, nodes) = (self.limits, &mut self.nodes);
        if seen.status == StatusClass::ClientError {
            let trie = self.methods.get_mut(method);
            if !trie.is_some_and(|trie| trie.see_known(&segments, end, tally, &limits)) {
                self.lost.misses += count;
            }
            return;
        }
        let trie = self.methods.entry(method).or_default();
        if !trie.see(&segments, end, tally, &limits, nodes) {
            self.lost.overflow += count;
        }
    }

    /// All templates with what was counted over all, in a fixed order.
    pub fn list(&self) -> Vec<Template> {
        self.templates(|tally| tally.total)
    }

    /// What was counted since the last call; nothing when nothing was. Also takes what was lost.
    pub fn take(&mut self) -> (Vec<Template>, Lost) {
        let templates = self.templates(|tally| tally.unsaved);
        self.methods.values_mut().for_each(Node::saved);
        for tally in self.pinned.values_mut().flat_map(BTreeMap::values_mut) {
            tally.unsaved = 0;
        }
        (templates, std::mem::take(&mut self.lost))
    }

    /// Nodes that are kept: how much a listing costs.
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// Requests that are under no template.
    pub fn lost(&self) -> Lost {
        self.lost
    }

    fn templates(&self, count: fn(&Tally) -> u64) -> Vec<Template> {
        let mut rows: BTreeMap<(String, String, Vec<String>), Vec<Answers>> = BTreeMap::new();
        let mut add = |method: &str, path: &str, end: &End, tally: Tally| {
            let count = count(&tally);
            if count == 0 {
                return;
            }
            let key = (path.to_owned(), method.to_owned(), end.query.clone());
            let answers = Answers { status: end.status, media: end.media.clone(), count };
            rows.entry(key).or_default().push(answers);
        };
        for (method, trie) in &self.methods {
            let mut settled = trie.clone();
            settled.settle(&self.limits);
            settled.veil(&self.limits);
            settled.walk(&mut String::new(), &mut |path, end, tally| add(method, path, end, tally));
        }
        for ((method, path), ends) in &self.pinned {
            for (end, tally) in ends {
                add(method, path, end, *tally);
            }
        }
        rows.into_iter()
            .map(|((path, method, query), answers)| Template {
                id: id(&method, &path, &query),
                count: answers.iter().map(|answers| answers.count).sum(),
                method,
                path,
                query,
                answers,
            })
            .collect()
    }
}

/// The media type without parameters, in lower case; what is none is `*`.
fn media(text: &str) -> String {
    let text = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let token = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-._".contains(&b))
    };
    let fine = text.len() <= 60
        && text.split_once('/').is_some_and(|(kind, sub)| token(kind) && token(sub));
    match (text.is_empty(), fine) {
        (true, _) => String::new(),
        (false, true) => text,
        (false, false) => "*".to_owned(),
    }
}

/// 64 bits of FNV-1a: stable for ever, and no secret is in it.
fn id(method: &str, path: &str, query: &[String]) -> String {
    let text = format!("{method} {path}?{}", query.join("&"));
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests;
