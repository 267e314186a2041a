//! Rules: differences that are known to be harmless, hidden by name and counted.
//!
//! Owns the built-in Rails list and the rules of users (`ignore` at a selector). It exists so that nothing is ever
//! skipped silently: each hit of a rule is counted in [`crate::Hidden`]. What must stay true: a rule matches whole
//! segments, never substrings; the status cannot be ignored; user rules win over built-in ones.

mod builtin;
mod selector;

use std::sync::Arc;

use thiserror::Error;

pub(crate) use builtin::{
    CACHE_CONTROL_ORDER, CONTENT_ENCODING, CONTENT_LENGTH, COOKIE_VALUE, ETAG, JSON_TEXT,
    TRAILING_NEWLINE, VARY_ORDER,
};
use selector::Target;
pub(crate) use selector::{NameOrIndex, Selector, States};

/// Where a rule comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleSource {
    /// Part of Banyan.
    Builtin,
    /// Written by a person in the configuration.
    Human,
}

/// One rule: ignore what a selector selects.
#[derive(Debug, Clone)]
pub struct Rule {
    id: String,
    endpoint: Option<String>,
    reason: String,
    source: RuleSource,
    target: Target,
}

impl Rule {
    /// A rule that ignores all differences at `at`, with the reason that reports show.
    ///
    /// `at` is `$.a.b[*].c` or `$..c` (RFC 9535 subset), `/a/b` (RFC 6901), `header:etag`, `header:x-foo-*` or
    /// `cookie:name`. The rule applies to all endpoints until [`Rule::for_endpoint`].
    pub fn ignore(at: &str, reason: &str) -> Result<Self, RuleError> {
        if reason.trim().is_empty() {
            return Err(RuleError::new(at, 0, 0, RuleErrorKind::NoReason));
        }
        let target = Target::parse(at)?;
        let (id, reason) = (at.to_owned(), reason.to_owned());
        Ok(Self { id, endpoint: None, reason, source: RuleSource::Human, target })
    }

    /// Limits the rule to one endpoint.
    #[must_use]
    pub fn for_endpoint(mut self, endpoint: &str) -> Self {
        self.endpoint = Some(endpoint.to_owned());
        self
    }

    /// Names the rule; without a name its id is its selector.
    #[must_use]
    pub fn named(mut self, id: &str) -> Self {
        id.clone_into(&mut self.id);
        self
    }

    /// The id under which hits are counted.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The only endpoint it applies to, if limited.
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// Why the difference is harmless.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Where the rule comes from.
    pub fn source(&self) -> RuleSource {
        self.source
    }
}

/// The rules of one endpoint (or of all, before [`RuleSet::for_endpoint`]). Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct RuleSet {
    rules: Vec<Arc<Rule>>,
    builtin: bool,
}

impl RuleSet {
    /// No rules at all: every difference counts.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The built-in list of harmless Rails differences.
    pub fn builtin() -> Self {
        Self { rules: Vec::new(), builtin: true }
    }

    /// Adds rules of users; the first that matches wins.
    #[must_use]
    pub fn with(mut self, rules: impl IntoIterator<Item = Rule>) -> Self {
        self.rules.extend(rules.into_iter().map(Arc::new));
        self
    }

    /// The rules that apply to one endpoint; do this once per endpoint, not per comparison.
    #[must_use]
    pub fn for_endpoint(&self, endpoint: &str) -> Self {
        let applies = |rule: &&Arc<Rule>| rule.endpoint().is_none_or(|own| own == endpoint);
        Self { rules: self.rules.iter().filter(applies).cloned().collect(), builtin: self.builtin }
    }

    /// Id, reason and source of all rules, for listing; built-in ones last.
    pub fn list(&self) -> Vec<(String, String, RuleSource)> {
        let own = self.rules.iter().map(|r| (r.id.clone(), r.reason.clone(), r.source));
        let builtin = builtin::LIST.iter().filter(|_| self.builtin);
        own.chain(
            builtin
                .map(|(id, reason)| ((*id).to_owned(), (*reason).to_owned(), RuleSource::Builtin)),
        )
        .collect()
    }

    /// The rule that hides a header completely.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.own(|target| matches!(target, Target::Header(pattern) if pattern.matches(name)))
            .or_else(|| if self.builtin { builtin::header(name) } else { None })
    }

    /// The rule that hides a cookie completely.
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        self.own(|target| matches!(target, Target::Cookie(pattern) if pattern.matches(name)))
    }

    /// The id of a built-in rule, if the built-in list is on.
    pub(crate) fn builtin_rule(&self, id: &'static str) -> Option<&'static str> {
        self.builtin.then_some(id)
    }

    /// The selectors into JSON bodies with the index of their rule.
    pub(crate) fn selectors(&self) -> Vec<(usize, &Selector)> {
        let rules = self.rules.iter().enumerate();
        rules
            .filter_map(|(at, rule)| match &rule.target {
                Target::Json(selector) => Some((at, selector)),
                Target::Header(_) | Target::Cookie(_) => None,
            })
            .collect()
    }

    /// The id of a rule by its index.
    pub(crate) fn id_at(&self, at: usize) -> &str {
        self.rules.get(at).map_or("", |rule| rule.id.as_str())
    }

    fn own(&self, test: impl Fn(&Target) -> bool) -> Option<&str> {
        self.rules.iter().find(|rule| test(&rule.target)).map(|rule| rule.id.as_str())
    }
}

/// Why a rule cannot be read, and where in its selector.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("read rule selector `{selector}`: {kind}")]
pub struct RuleError {
    /// The selector as it was given.
    pub selector: String,
    /// Byte offset of the trouble in `selector`.
    pub at: usize,
    /// Bytes that are wrong; 0 when something is missing there.
    pub len: usize,
    /// What is wrong.
    pub kind: RuleErrorKind,
}

impl RuleError {
    pub(crate) fn new(selector: &str, at: usize, len: usize, kind: RuleErrorKind) -> Self {
        Self { selector: selector.to_owned(), at, len, kind }
    }

    /// What to write instead.
    pub fn hint(&self) -> &'static str {
        match self.kind {
            RuleErrorKind::UnknownStart => {
                "start with `$.` or `/` for JSON bodies, `header:NAME` or `cookie:NAME`"
            }
            RuleErrorKind::ExpectedName => "write a name, a `*`, or `['any text']`",
            RuleErrorKind::ExpectedBracket => "close it with `]`",
            RuleErrorKind::ExpectedSegment => "go on with `.name`, `..name` or `[0]`",
            RuleErrorKind::UnclosedQuote => "close the quotation mark",
            RuleErrorKind::BadIndex => "use a whole number from 0, or `*` for all elements",
            RuleErrorKind::Filter => "use `[*]` for all elements",
            RuleErrorKind::BadHeaderName => {
                "use a whole header name, or a prefix that ends in `-*` such as `header:x-foo-*`"
            }
            RuleErrorKind::Protected => {
                "status differences always count; fix them or take the endpoint out of shadow"
            }
            RuleErrorKind::NoReason => "say in `reason` why the difference is harmless",
        }
    }
}

/// What is wrong with a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RuleErrorKind {
    /// Neither JSON path, pointer, header nor cookie.
    #[error("unknown kind of selector")]
    UnknownStart,
    /// A name or `*` should be here.
    #[error("expected a name")]
    ExpectedName,
    /// A bracket is not closed.
    #[error("expected `]`")]
    ExpectedBracket,
    /// Something other than `.` or `[` follows a segment.
    #[error("expected `.` or `[`")]
    ExpectedSegment,
    /// A quoted name does not end.
    #[error("unclosed quotation mark")]
    UnclosedQuote,
    /// Not an index, e.g. negative.
    #[error("invalid index")]
    BadIndex,
    /// Filters are not supported in rules.
    #[error("filters are not supported")]
    Filter,
    /// Not a header name, or `*` elsewhere than after a final `-`.
    #[error("invalid header or cookie name")]
    BadHeaderName,
    /// The status cannot be ignored.
    #[error("the status is protected")]
    Protected,
    /// A rule without a reason.
    #[error("missing reason")]
    NoReason,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(at: &str) -> (usize, usize, RuleErrorKind) {
        let error = Rule::ignore(at, "because").unwrap_err();
        assert!(!error.hint().is_empty());
        (error.at, error.len, error.kind)
    }

    #[test]
    fn mistakes_are_named_with_their_position() {
        assert_eq!(error("messages"), (0, 8, RuleErrorKind::UnknownStart));
        assert_eq!(error("$."), (2, 0, RuleErrorKind::ExpectedName));
        assert_eq!(error("$.a.."), (5, 0, RuleErrorKind::ExpectedName));
        assert_eq!(error("$.a b"), (3, 1, RuleErrorKind::ExpectedSegment));
        assert_eq!(error("$x"), (1, 1, RuleErrorKind::ExpectedSegment));
        assert_eq!(error("$[0"), (3, 0, RuleErrorKind::ExpectedBracket));
        assert_eq!(error("$[-1]"), (2, 2, RuleErrorKind::BadIndex));
        assert_eq!(error("$[?@.id==4]"), (2, 1, RuleErrorKind::Filter));
        assert_eq!(error("$['a]"), (2, 3, RuleErrorKind::UnclosedQuote));
        assert_eq!(error("header:x-*-y"), (7, 5, RuleErrorKind::BadHeaderName));
        assert_eq!(error("header:"), (7, 0, RuleErrorKind::BadHeaderName));
        assert_eq!(error("status"), (0, 6, RuleErrorKind::Protected));
        let kind = Rule::ignore("$.a", " ").unwrap_err().kind;
        assert_eq!(kind, RuleErrorKind::NoReason);
    }

    #[test]
    fn headers_match_whole_names_or_prefixes() {
        let rules = RuleSet::empty().with([
            Rule::ignore("header:X-Foo-*", "test").unwrap(),
            Rule::ignore("header:etag", "test").unwrap().named("no-etag"),
        ]);
        assert_eq!(rules.header("x-foo-bar"), Some("header:X-Foo-*"));
        assert_eq!(rules.header("etag"), Some("no-etag"));
        assert_eq!(rules.header("x-foo"), None);
        assert_eq!(rules.header("x-etag"), None);
        assert_eq!(rules.header("date"), None);
        assert!(RuleSet::builtin().header("date").is_some());
    }

    #[test]
    fn rules_of_other_endpoints_do_not_apply() {
        let rule = Rule::ignore("header:a", "test").unwrap().for_endpoint("messages.list");
        let rules = RuleSet::empty().with([rule]);
        assert!(rules.for_endpoint("messages.list").header("a").is_some());
        assert!(rules.for_endpoint("messages.show").header("a").is_none());
    }
}
