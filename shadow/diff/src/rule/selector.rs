//! Selectors of rules: parsing and matching.
//!
//! Owns the RFC 9535 subset (`$`, name, index, `*`, `..`), RFC 6901 pointers and header patterns. JSON selectors match
//! step by step while the document is walked, so the cost is the depth of a path and not the number of nodes it could
//! select. Must stay true: segments match whole names; errors carry the byte position.

use super::{RuleError, RuleErrorKind};

/// What a rule applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Header(NamePattern),
    Cookie(NamePattern),
    Json(Selector),
}

/// A whole name, or a prefix that ends in `-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NamePattern {
    name: String,
    prefix: bool,
}

/// A path into JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selector {
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Name(String),
    Index(u32),
    /// A pointer token: a member name, or an index where the parent is an array.
    Either(String),
    Any,
    /// Any number of levels, also none.
    Descend,
}

/// One step that the walk takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NameOrIndex<'a> {
    Name(&'a [u8]),
    Index(u32),
}

/// How far each selector has matched; bounded by the number of selectors times their length.
pub(crate) type States = Vec<(usize, usize)>;

impl Selector {
    /// The states after one more step from position `at`; true when the selector selects that place.
    pub(crate) fn advance(
        &self,
        rule: usize,
        at: usize,
        step: NameOrIndex<'_>,
        next: &mut States,
    ) -> bool {
        let mut at = at;
        while self.segments.get(at) == Some(&Segment::Descend) {
            push_once(next, (rule, at));
            at += 1;
        }
        let Some(segment) = self.segments.get(at) else { return false };
        if !segment.matches(step) {
            return false;
        }
        if at + 1 == self.segments.len() {
            return true;
        }
        push_once(next, (rule, at + 1));
        false
    }

    /// Whether it selects the whole document.
    pub(crate) fn is_root(&self) -> bool {
        self.segments.is_empty()
    }
}

fn push_once(states: &mut States, state: (usize, usize)) {
    if !states.contains(&state) {
        states.push(state);
    }
}

impl Segment {
    fn matches(&self, step: NameOrIndex<'_>) -> bool {
        match (self, step) {
            (Self::Any, _) => true,
            (Self::Name(own) | Self::Either(own), NameOrIndex::Name(name)) => {
                own.as_bytes() == name
            }
            (Self::Index(own), NameOrIndex::Index(index)) => *own == index,
            (Self::Either(own), NameOrIndex::Index(index)) => *own == index.to_string(),
            (Self::Name(_), NameOrIndex::Index(_))
            | (Self::Index(_), NameOrIndex::Name(_))
            | (Self::Descend, _) => false,
        }
    }
}

impl NamePattern {
    pub(super) fn matches(&self, name: &str) -> bool {
        if self.prefix { name.starts_with(&self.name) } else { name == self.name }
    }

    fn parse(text: &str, from: usize) -> Result<Self, RuleError> {
        let name = text.get(from..).unwrap_or_default();
        let prefix = name.strip_suffix("-*").map(|stem| format!("{stem}-"));
        let is_token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(&c);
        let stem = prefix.as_deref().unwrap_or(name);
        if stem.is_empty() || stem == "-" || !stem.bytes().all(is_token) {
            return Err(RuleError::new(text, from, name.len(), RuleErrorKind::BadHeaderName));
        }
        Ok(Self { name: stem.to_owned(), prefix: prefix.is_some() })
    }
}

impl Target {
    pub(super) fn parse(text: &str) -> Result<Self, RuleError> {
        if text == "status" {
            return Err(RuleError::new(text, 0, text.len(), RuleErrorKind::Protected));
        }
        if let Some(name) = text.strip_prefix("header:") {
            let mut pattern = NamePattern::parse(text, text.len() - name.len())?;
            pattern.name.make_ascii_lowercase();
            return Ok(Self::Header(pattern));
        }
        if let Some(name) = text.strip_prefix("cookie:") {
            return NamePattern::parse(text, text.len() - name.len()).map(Self::Cookie);
        }
        if text.starts_with('/') {
            return Ok(Self::Json(pointer(text)));
        }
        if text.starts_with('$') {
            return Parser { text, at: 1 }.path().map(Self::Json);
        }
        Err(RuleError::new(text, 0, text.len(), RuleErrorKind::UnknownStart))
    }
}

fn pointer(text: &str) -> Selector {
    let tokens = text.split('/').skip(1);
    let segments = tokens.map(|token| Segment::Either(token.replace("~1", "/").replace("~0", "~")));
    Selector { segments: segments.collect() }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn path(mut self) -> Result<Selector, RuleError> {
        let mut segments = Vec::new();
        while let Some(c) = self.peek() {
            match c {
                '.' => {
                    self.at += 1;
                    let descend = self.peek() == Some('.');
                    if descend {
                        self.at += 1;
                        if segments.last() != Some(&Segment::Descend) {
                            segments.push(Segment::Descend);
                        }
                    }
                    match self.peek() {
                        Some('[') if descend => segments.push(self.bracket()?),
                        _ => segments.push(self.name()?),
                    }
                }
                '[' => segments.push(self.bracket()?),
                c => return Err(self.error(c.len_utf8(), RuleErrorKind::ExpectedSegment)),
            }
        }
        Ok(Selector { segments })
    }

    fn name(&mut self) -> Result<Segment, RuleError> {
        if self.peek() == Some('*') {
            self.at += 1;
            return Ok(Segment::Any);
        }
        let rest = self.rest();
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-' || !c.is_ascii();
        let len = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        match rest.get(..len) {
            Some(name) if len > 0 => {
                self.at += len;
                Ok(Segment::Name(name.to_owned()))
            }
            _ => {
                let wrong = self.peek().map_or(0, char::len_utf8);
                Err(self.error(wrong, RuleErrorKind::ExpectedName))
            }
        }
    }

    fn bracket(&mut self) -> Result<Segment, RuleError> {
        self.at += 1;
        let segment = match self.peek() {
            Some('*') => {
                self.at += 1;
                Segment::Any
            }
            Some(quote @ ('\'' | '"')) => self.quoted(quote)?,
            Some('?') => return Err(self.error(1, RuleErrorKind::Filter)),
            Some(c) if c == '-' || c.is_ascii_digit() => self.index()?,
            other => {
                let wrong = other.map_or(0, char::len_utf8);
                return Err(self.error(wrong, RuleErrorKind::ExpectedName));
            }
        };
        if self.peek() != Some(']') {
            let wrong = self.peek().map_or(0, char::len_utf8);
            return Err(self.error(wrong, RuleErrorKind::ExpectedBracket));
        }
        self.at += 1;
        Ok(segment)
    }

    fn index(&mut self) -> Result<Segment, RuleError> {
        let rest = self.rest();
        let len = rest.find(|c: char| c != '-' && !c.is_ascii_digit()).unwrap_or(rest.len());
        let Some(index) = rest.get(..len).and_then(|digits| digits.parse().ok()) else {
            return Err(self.error(len, RuleErrorKind::BadIndex));
        };
        self.at += len;
        Ok(Segment::Index(index))
    }

    fn quoted(&mut self, quote: char) -> Result<Segment, RuleError> {
        let rest = self.rest();
        let mut name = String::new();
        let mut chars = rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => name.extend(chars.next().map(|(_, escaped)| escaped)),
                c if c == quote => {
                    self.at += at + 1;
                    return Ok(Segment::Name(name));
                }
                c => name.push(c),
            }
        }
        Err(self.error(rest.len(), RuleErrorKind::UnclosedQuote))
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn error(&self, len: usize, kind: RuleErrorKind) -> RuleError {
        RuleError::new(self.text, self.at, len, kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(selector: &str, path: &[NameOrIndex<'_>]) -> bool {
        let Target::Json(selector) = Target::parse(selector).unwrap() else {
            panic!("no JSON selector")
        };
        let mut states = vec![(0, 0)];
        let mut hit = selector.is_root() && path.is_empty();
        for step in path {
            let mut next = States::new();
            hit = false;
            for (rule, at) in &states {
                hit |= selector.advance(*rule, *at, *step, &mut next);
            }
            states = next;
        }
        hit
    }

    #[test]
    fn selectors_match_whole_segments() {
        use NameOrIndex::{Index, Name};
        let path = [Name(b"messages"), Index(3), Name(b"sender"), Name(b"badge")];
        for selector in [
            "$.messages[*].sender.badge",
            "$.messages[3]['sender'].badge",
            "$..badge",
            "$..sender.badge",
            "$.messages..badge",
            "$..[3]..badge",
            "$.*.*.*.*",
            "/messages/3/sender/badge",
            r#"$["messages"][*]..*"#,
        ] {
            assert!(selects(selector, &path), "{selector}");
        }
        for selector in [
            "$.messages",
            "$.messages[*].sender",
            "$..bad",
            "$.messages[2].sender.badge",
            "$",
            "$..adge",
        ] {
            assert!(!selects(selector, &path), "{selector}");
        }
        assert!(selects("$", &[]));
        assert!(selects(r"$['it\'s']", &[Name(b"it's")]));
        assert!(selects("/a~1b/0", &[Name(b"a/b"), Name(b"0")]));
        assert!(selects("$.füße", &[Name("füße".as_bytes())]));
    }
}
