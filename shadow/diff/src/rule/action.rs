//! What a rule allows at its place.
//!
//! Owns the actions with their parameters; `explain.rs` says of two values whether an action allows them. It exists as
//! data so that rules can be listed, written and checked. Must stay true: an action has one word, the same in files,
//! reports and code; whether it can lose a value (`is_lossy`) decides whether it may stand at a protected place.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};

/// Bytes that a compiled pattern may take.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// What a rule allows at its place.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Any difference.
    Ignore,
    /// Another value of the same JSON type and class; presence still counts, and an array keeps its length.
    IgnoreValue,
    /// Two numbers that are nearly the same.
    Tolerance(Tolerance),
    /// The same point in time, written otherwise.
    Time(TimeRule),
    /// An array whose elements belong together by place.
    Ordered,
    /// An array of which neither order nor repetition counts; also a header with a list.
    Set,
    /// An array whose order does not count.
    Multiset,
    /// An array whose elements are identified by these members.
    Key(KeyRule),
    /// `null` and no such member.
    NullEqMissing,
    /// `null` and an empty string, array or object.
    NullEqEmpty,
    /// A number and its text: `12.5` and `"12.50"`.
    NumberEqString {
        /// Places that are compared; all when not set.
        decimals: Option<u8>,
    },
    /// Upper and lower case.
    Case,
    /// White space at both ends.
    Trim,
    /// Absolute URLs of legacy with another scheme and host on new.
    UrlHostMap(Vec<HostPair>),
    /// Texts that are equal after a replacement.
    RegexReplace(Replacement),
    /// Another value of a cookie; its attributes still count.
    CookieAttrsOnly,
    /// Texts that are equal in a normal form that Banyan knows.
    Normaliser(Normaliser),
    /// A consistent renaming: one value of legacy always becomes the same value of new.
    Bijection(BijectionRule),
    /// A known defect of legacy: new must have exactly this.
    Expect(Expected),
}

/// How far two numbers may be apart; one limit that holds is enough.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tolerance {
    /// Largest distance.
    pub abs: Option<f64>,
    /// Largest distance as a share of the larger number.
    pub rel: Option<f64>,
    /// Places after the point that must agree after rounding (half away from zero).
    pub decimals: Option<u8>,
}

/// When two times are the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TimeRule {
    /// Largest distance.
    pub slack_ms: u64,
    /// Forms that both sides must be in; all but numbers when empty.
    pub formats: Vec<TimeFormat>,
}

/// How a time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimeFormat {
    /// `2014-06-12T10:00:00Z`, with any fraction and offset.
    Iso8601,
    /// `2014/06/12 10:00:00 +0000`.
    Rails,
    /// `2014-06-12 10:00:00 UTC`.
    Sql,
    /// `Thu, 12 Jun 2014 10:00:00 GMT`.
    Http,
    /// Seconds since 1970, as a number.
    EpochSeconds,
    /// Milliseconds since 1970, as a number.
    EpochMillis,
}

/// What identifies the elements of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRule {
    /// Members that are unique together.
    pub names: Vec<String>,
    /// Whether the order of the elements counts.
    pub order: Order,
}

/// Whether order counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// Another order is a difference.
    #[default]
    Counts,
    /// It is not.
    Free,
}

/// Scheme and host of legacy's URLs and of the same on new, such as `http://a.example` and `https://b.example`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPair {
    /// What legacy's URL starts with.
    pub legacy: String,
    /// What stands there on new.
    pub new: String,
}

/// A pattern and what replaces each match, `$1` for its first group.
#[derive(Debug, Clone)]
pub struct Replacement {
    pattern: Regex,
    with: String,
}

/// A normal form that Banyan knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Normaliser {
    /// Rails' CSRF token, masked or plain: one of the right length is like any other.
    CsrfToken,
    /// The same where both sides read one session: the token under the mask must be the same.
    CsrfSession,
    /// Digests in the names of assets: `app-0a1b..9f.css` is `app-*.css`.
    AssetDigest,
    /// `nonce="..."` attributes, and nonces in a content security policy.
    Nonce,
    /// `W/"a"` and `"a"`.
    WeakEtag,
    /// Runs of white space are one blank.
    Whitespace,
    /// Line breaks at the end.
    TrailingNewline,
}

/// A renaming of ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BijectionRule {
    /// Places with the same domain share one renaming.
    pub domain: String,
    /// Whether a number may become a text.
    pub types: Types,
}

/// Whether a renaming may change the JSON type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Types {
    /// Both values have one JSON type.
    #[default]
    Same,
    /// A number may become a text, and back.
    Any,
}

/// What new must have where legacy is known to be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// This number, in any spelling.
    Number(String),
    /// This text.
    Text(String),
    /// No such member: legacy has one too many.
    Absent,
    /// The characters above U+FFFF that Rails 3 cut to their last 16 bits.
    Rails3Emoji,
}

impl Action {
    /// Its word in rules files and reports.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Ignore => "ignore",
            Self::IgnoreValue => "ignore_value",
            Self::Tolerance(_) => "tolerance",
            Self::Time(_) => "time",
            Self::Ordered => "ordered",
            Self::Set => "set",
            Self::Multiset => "multiset",
            Self::Key(_) => "key",
            Self::NullEqMissing => "null_eq_missing",
            Self::NullEqEmpty => "null_eq_empty",
            Self::NumberEqString { .. } => "number_eq_string",
            Self::Case => "case",
            Self::Trim => "trim",
            Self::UrlHostMap(_) => "url_host_map",
            Self::RegexReplace(_) => "regex_replace",
            Self::CookieAttrsOnly => "cookie_attrs_only",
            Self::Normaliser(_) => "normaliser",
            Self::Bijection(_) => "bijection",
            Self::Expect(_) => "expect",
        }
    }

    /// Whether it can hide that a value is another one. Such an action is refused at protected places.
    pub fn is_lossy(&self) -> bool {
        match self {
            Self::Ignore
            | Self::IgnoreValue
            | Self::Tolerance(_)
            | Self::Case
            | Self::Trim
            | Self::RegexReplace(_)
            | Self::CookieAttrsOnly
            | Self::Normaliser(_) => true,
            Self::Time(time) => time.slack_ms > 0,
            Self::NumberEqString { decimals } => decimals.is_some(),
            Self::Ordered
            | Self::Set
            | Self::Multiset
            | Self::Key(_)
            | Self::NullEqMissing
            | Self::NullEqEmpty
            | Self::UrlHostMap(_)
            | Self::Bijection(_)
            | Self::Expect(_) => false,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.word();
        match self {
            Self::Tolerance(tolerance) => write!(f, "{word} {tolerance}"),
            Self::Time(time) if time.slack_ms > 0 => write!(f, "{word} slack {} ms", time.slack_ms),
            Self::Key(key) => write!(f, "{word} {}", key.names.join(", ")),
            Self::NumberEqString { decimals: Some(places) } => {
                write!(f, "{word} {places} decimals")
            }
            Self::RegexReplace(replacement) => write!(f, "{word} {}", replacement.pattern()),
            Self::Normaliser(normaliser) => write!(f, "{word} {}", normaliser.word()),
            Self::Bijection(bijection) => write!(f, "{word} {}", bijection.domain),
            Self::Expect(expected) => write!(f, "{word} {expected}"),
            Self::UrlHostMap(pairs) => {
                write!(f, "{word}")?;
                pairs.iter().try_for_each(|pair| write!(f, " {} -> {}", pair.legacy, pair.new))
            }
            Self::Time(_)
            | Self::NumberEqString { decimals: None }
            | Self::Ignore
            | Self::IgnoreValue
            | Self::Ordered
            | Self::Set
            | Self::Multiset
            | Self::NullEqMissing
            | Self::NullEqEmpty
            | Self::Case
            | Self::Trim
            | Self::CookieAttrsOnly => f.write_str(word),
        }
    }
}

impl fmt::Display for Tolerance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let abs = self.abs.map(|abs| format!("abs {abs}"));
        let rel = self.rel.map(|rel| format!("rel {rel}"));
        let decimals = self.decimals.map(|decimals| format!("{decimals} decimals"));
        let all: Vec<String> = [abs, rel, decimals].into_iter().flatten().collect();
        f.write_str(&all.join(" or "))
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(flag) => write!(f, "{flag}"),
            Self::Number(lexeme) => f.write_str(lexeme),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Absent => f.write_str("absent"),
            Self::Rails3Emoji => f.write_str("rails3-emoji"),
        }
    }
}

impl TimeFormat {
    /// All forms.
    pub const ALL: [Self; 6] =
        [Self::Iso8601, Self::Rails, Self::Sql, Self::Http, Self::EpochSeconds, Self::EpochMillis];

    /// Its word in rules files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Iso8601 => "iso8601",
            Self::Rails => "rails",
            Self::Sql => "sql",
            Self::Http => "http",
            Self::EpochSeconds => "epoch-s",
            Self::EpochMillis => "epoch-ms",
        }
    }
}

impl Normaliser {
    /// All normal forms.
    pub const ALL: [Self; 7] = [
        Self::CsrfToken,
        Self::CsrfSession,
        Self::AssetDigest,
        Self::Nonce,
        Self::WeakEtag,
        Self::Whitespace,
        Self::TrailingNewline,
    ];

    /// Its word in rules files.
    pub fn word(self) -> &'static str {
        match self {
            Self::CsrfToken => "csrf-token",
            Self::CsrfSession => "csrf-session",
            Self::AssetDigest => "asset-digest",
            Self::Nonce => "nonce",
            Self::WeakEtag => "weak-etag",
            Self::Whitespace => "whitespace",
            Self::TrailingNewline => "trailing-newline",
        }
    }
}

impl Replacement {
    /// Compiles a pattern (syntax of the `regex` crate: no look-around, linear time) of limited size.
    ///
    /// # Errors
    /// What is wrong with the pattern, on one line.
    pub fn new(pattern: &str, with: &str) -> Result<Self, String> {
        let compiled =
            RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).nest_limit(64).build();
        match compiled {
            Ok(pattern) => Ok(Self { pattern, with: with.to_owned() }),
            Err(regex::Error::CompiledTooBig(_)) => {
                Err("the pattern becomes too big; use smaller repetitions".to_owned())
            }
            Err(error) => {
                let text = error.to_string();
                let last = text.lines().last().unwrap_or_default();
                Err(last.strip_prefix("error: ").unwrap_or(last).to_owned())
            }
        }
    }

    /// The pattern as it was written.
    pub fn pattern(&self) -> &str {
        self.pattern.as_str()
    }

    /// What replaces each match.
    pub fn with(&self) -> &str {
        &self.with
    }

    pub(crate) fn regex(&self) -> &Regex {
        &self.pattern
    }
}

impl PartialEq for Replacement {
    fn eq(&self, other: &Self) -> bool {
        self.pattern() == other.pattern() && self.with == other.with
    }
}
