//! Selectors of rules: what they say.
//!
//! Owns the RFC 9535 subset (`$`, name, index, `*`, `..`, `[?@.a.b==literal]`), RFC 6901 pointers, names of headers and
//! cookies, and how exact a selector is. The shape of every difference is a selector. `trie.rs` matches them. Must stay
//! true: segments match whole names; errors carry the byte position.

use std::cmp::Reverse;

use super::{RuleError, RuleErrorKind};
use crate::html::CssTarget;
use crate::json::is_number;

/// Steps of one selector.
const SEGMENTS_MAX: usize = 64;

/// What a rule applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Header(NamePattern),
    Cookie(NamePattern),
    Json(Selector),
    /// The lines of a text.
    Text,
    /// A body as a whole: another form, or bytes that are no text.
    Body,
    /// A place in an HTML page.
    Html(CssTarget),
}

/// A whole name, or a prefix that ends in `-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamePattern {
    name: String,
    prefix: bool,
}

/// A path into JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(super) segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    Name(String),
    Index(u32),
    /// A pointer token: a member name, or an index where the parent is an array.
    Either(String),
    Any,
    /// An element or member that has a member with this value.
    Filter(Filter),
    /// Any number of levels, also none.
    Descend,
}

/// `?@.a.b==literal`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) path: Vec<String>,
    pub(crate) literal: Literal,
}

/// A scalar written in a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
}

/// How exact a target is; the smaller one is more exact.
pub(super) type Rank = (usize, Reverse<usize>, usize);

impl Target {
    /// Fewer `..` first, then more steps that are named, then fewer `*`; of header patterns whole names, then the
    /// longest prefix.
    pub(super) fn rank(&self) -> Rank {
        match self {
            Self::Json(selector) => selector.rank(),
            Self::Header(pattern) | Self::Cookie(pattern) => {
                (usize::from(pattern.prefix), Reverse(pattern.name.len()), 0)
            }
            Self::Text | Self::Body => (0, Reverse(0), 0),
            Self::Html(css) => (0, Reverse(css.text().len()), 0),
        }
    }
}

impl Selector {
    fn rank(&self) -> Rank {
        let count = |test: fn(&Segment) -> bool| self.segments.iter().filter(|s| test(s)).count();
        let descends = count(|segment| *segment == Segment::Descend);
        let any = count(|segment| *segment == Segment::Any);
        (descends, Reverse(self.segments.len() - descends - any), any)
    }
}

impl NamePattern {
    pub(crate) fn matches(&self, name: &str) -> bool {
        if self.prefix { name.starts_with(&self.name) } else { name == self.name }
    }

    /// Whether there is a name that both match.
    pub(super) fn meets(&self, other: &Self) -> bool {
        (self.prefix && other.name.starts_with(&self.name))
            || (other.prefix && self.name.starts_with(&other.name))
            || self.name == other.name
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
    pub(crate) fn parse(text: &str) -> Result<Self, RuleError> {
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
        if let Some(css) = text.strip_prefix("html:") {
            let from = text.len() - css.len();
            return CssTarget::parse(css).map(Self::Html).map_err(|at| {
                let len = if css.trim().is_empty() { css.len() } else { 0 };
                RuleError::new(text, from + at, len, RuleErrorKind::BadHtml)
            });
        }
        match text {
            "body" => return Ok(Self::Body),
            "body:text" => return Ok(Self::Text),
            _ => {}
        }
        let selector = if text.starts_with('/') {
            pointer(text)
        } else if text.starts_with('$') {
            Parser { text, at: 1 }.path()?
        } else {
            return Err(RuleError::new(text, 0, text.len(), RuleErrorKind::UnknownStart));
        };
        if selector.segments.len() > SEGMENTS_MAX {
            return Err(RuleError::new(text, 0, text.len(), RuleErrorKind::TooLong));
        }
        Ok(Self::Json(selector))
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
            Some(quote @ ('\'' | '"')) => Segment::Name(self.quoted(quote)?),
            Some('?') => self.filter()?,
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

    /// `?@.a.b==literal`, blanks allowed around `==`.
    fn filter(&mut self) -> Result<Segment, RuleError> {
        self.at += 1;
        self.blanks();
        if self.peek() != Some('@') {
            return Err(self.error(self.peek().map_or(0, char::len_utf8), RuleErrorKind::Filter));
        }
        self.at += 1;
        let mut path = Vec::new();
        loop {
            let segment = match self.peek() {
                Some('.') => {
                    self.at += 1;
                    self.name()?
                }
                Some('[') => self.bracket()?,
                _ => break,
            };
            let Segment::Name(name) = segment else {
                return Err(self.error(0, RuleErrorKind::Filter));
            };
            path.push(name);
        }
        self.blanks();
        if !self.rest().starts_with("==") || path.is_empty() {
            return Err(self.error(self.peek().map_or(0, char::len_utf8), RuleErrorKind::Filter));
        }
        self.at += 2;
        self.blanks();
        let literal = self.literal()?;
        self.blanks();
        Ok(Segment::Filter(Filter { path, literal }))
    }

    fn literal(&mut self) -> Result<Literal, RuleError> {
        if let Some(quote @ ('\'' | '"')) = self.peek() {
            return self.quoted(quote).map(Literal::Text);
        }
        let rest = self.rest();
        let len = rest.find([']', ' ']).unwrap_or(rest.len());
        let word = rest.get(..len).unwrap_or_default();
        let literal = match word {
            "null" => Literal::Null,
            "true" => Literal::Bool(true),
            "false" => Literal::Bool(false),
            number if is_number(number.as_bytes()) => Literal::Number(number.to_owned()),
            _ => return Err(self.error(len, RuleErrorKind::Filter)),
        };
        self.at += len;
        Ok(literal)
    }

    fn blanks(&mut self) {
        while self.peek() == Some(' ') {
            self.at += 1;
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, RuleError> {
        let rest = self.rest();
        let mut name = String::new();
        let mut chars = rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => match chars.next() {
                    Some((at, 'u')) => {
                        let code = rest.get(at + 1..at + 5);
                        let code = code.and_then(|hex| u32::from_str_radix(hex, 16).ok());
                        let Some(c) = code.and_then(char::from_u32) else {
                            return Err(self.error(rest.len(), RuleErrorKind::ExpectedName));
                        };
                        name.push(c);
                        chars.nth(3);
                    }
                    Some((_, 'n')) => name.push('\n'),
                    Some((_, 'r')) => name.push('\r'),
                    Some((_, 't')) => name.push('\t'),
                    Some((_, 'b')) => name.push('\u{8}'),
                    Some((_, 'f')) => name.push('\u{C}'),
                    Some((_, escaped)) => name.push(escaped),
                    None => {}
                },
                c if c == quote => {
                    self.at += at + 1;
                    return Ok(name);
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
