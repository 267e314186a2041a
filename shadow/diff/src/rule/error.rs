//! What can be wrong with a rule, and what to write instead.
//!
//! Owns the words of refusal. It exists apart from the rules so that all mistakes can be seen in one list. Must stay
//! true: every kind has a hint that names something to type.

use thiserror::Error;

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
                "start with `$.` or `/` for JSON bodies, `header:NAME` or `cookie:NAME`; `body:text` is text, `html:CSS` HTML"
            }
            RuleErrorKind::ExpectedName => "write a name, a `*`, or `['any text']`",
            RuleErrorKind::ExpectedBracket => "close it with `]`",
            RuleErrorKind::ExpectedSegment => "go on with `.name`, `..name` or `[0]`",
            RuleErrorKind::UnclosedQuote => "close the quotation mark",
            RuleErrorKind::BadIndex => "use a whole number from 0, or `*` for all elements",
            RuleErrorKind::Filter => {
                "write `[?@.name==1]`, `[?@.a.b=='text']`, or `[*]` for all elements"
            }
            RuleErrorKind::BadHeaderName => {
                "use a whole header name, or a prefix that ends in `-*` such as `header:x-foo-*`"
            }
            RuleErrorKind::Protected => {
                "status differences always count; fix them or take the endpoint out of shadow"
            }
            RuleErrorKind::NoReason => "say in `reason` why the difference is harmless",
            RuleErrorKind::TooLong => "a selector has at most 64 steps",
            RuleErrorKind::Misplaced(_, places) => places,
            RuleErrorKind::BadHtml => {
                "write a CSS selector after `html:`, such as `html:time.ago`, and `@name` at its end for an attribute"
            }
        }
    }
}

/// What is wrong with a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RuleErrorKind {
    /// Neither JSON path, pointer, header, cookie nor body.
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
    /// A filter other than `?@.name==literal`.
    #[error("unknown form of filter")]
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
    /// More steps than any document of ours has use for.
    #[error("too many steps")]
    TooLong,
    /// The action has no meaning at this kind of place; the second text says where it has.
    #[error("`{0}` has no meaning here")]
    Misplaced(&'static str, &'static str),
    /// Not a CSS selector.
    #[error("invalid CSS selector")]
    BadHtml,
}
