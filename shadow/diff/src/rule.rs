//! Rules: differences that are known to be harmless, hidden by name and counted.
//!
//! Owns one rule: where it is (`selector.rs`), for which comparisons (`scope.rs`), what it allows (`action.rs`), who wrote
//! it, why and until when. It exists so that nothing is ever skipped silently: each hit of a rule is counted in
//! [`crate::Hidden`]. What must stay true: a rule matches whole segments, never substrings; the status cannot be hidden;
//! every rule has a reason.

mod action;
mod audit;
mod builtin;
mod day;
mod error;
mod file;
mod protect;
mod scope;
mod selector;
mod set;
mod trie;

use serde::{Deserialize, Serialize};

pub use action::{
    Action, BijectionRule, Expected, HostPair, KeyRule, Normaliser, Order, Replacement, TimeFormat,
    TimeRule, Tolerance, Types,
};
pub use audit::{RuleHealth, RuleState, Run};
pub(crate) use builtin::{
    BODY_ENCODING, CACHE_CONTROL_ORDER, CONTENT_ENCODING, CONTENT_LENGTH, COOKIE_VALUE, ETAG,
    HTML_TEXT, JSON_TEXT, TRAILING_NEWLINE, VARY_ORDER,
};
pub use builtin::{Pack, builtin_ids};
pub use day::{Day, DayError};
pub use error::{RuleError, RuleErrorKind};
pub use file::{RuleProblem, rules_from_array, rules_from_toml};
pub use protect::{Protect, Refused};
pub use scope::{Scope, StatusScope, StatusScopeError};
use selector::Target;
pub use set::{RuleSet, UnknownRule};
pub(crate) use trie::{Alive, NameOrIndex};

/// Where a rule comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleSource {
    /// Written by a person.
    Human,
    /// Learned from what legacy shows against itself, and accepted by a person.
    Learned,
    /// Part of Banyan.
    Builtin,
}

impl RuleSource {
    /// The word used in rules files and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Learned => "learned",
            Self::Builtin => "builtin",
        }
    }
}

/// One rule: what is allowed at a place, for which comparisons, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    id: Option<String>,
    at: String,
    scope: Scope,
    action: Action,
    reason: String,
    owner: Option<String>,
    expires: Option<Day>,
    source: RuleSource,
    target: Target,
}

impl Rule {
    /// A rule for all comparisons, with the reason that reports show.
    ///
    /// `at` is `$.a.b[*].c`, `$..c` or `$.a[?@.id==1].c` (RFC 9535 subset), `/a/b` (RFC 6901), `header:etag`,
    /// `header:x-foo-*`, `cookie:name`, `body:text`, `body` or `html:` with a CSS selector.
    ///
    /// # Errors
    /// What is wrong with the selector, a missing reason, or an action that has no meaning at such a place.
    pub fn new(at: &str, action: Action, reason: &str) -> Result<Self, RuleError> {
        if reason.trim().is_empty() {
            return Err(RuleError::new(at, 0, 0, RuleErrorKind::NoReason));
        }
        let target = Target::parse(at)?;
        if let Some(places) = misplaced(&action, &target) {
            let kind = RuleErrorKind::Misplaced(action.word(), places);
            return Err(RuleError::new(at, 0, at.len(), kind));
        }
        Ok(Self {
            id: None,
            at: at.to_owned(),
            scope: Scope::default(),
            action,
            reason: reason.to_owned(),
            owner: None,
            expires: None,
            source: RuleSource::Human,
            target,
        })
    }

    /// A rule that allows all differences at `at`.
    ///
    /// # Errors
    /// As [`Rule::new`].
    pub fn ignore(at: &str, reason: &str) -> Result<Self, RuleError> {
        Self::new(at, Action::Ignore, reason)
    }

    /// A rule that allows another value of the same JSON type and class; presence still counts.
    ///
    /// # Errors
    /// As [`Rule::new`].
    pub fn ignore_value(at: &str, reason: &str) -> Result<Self, RuleError> {
        Self::new(at, Action::IgnoreValue, reason)
    }

    /// Limits the rule to one endpoint.
    #[must_use]
    pub fn for_endpoint(mut self, endpoint: &str) -> Self {
        self.scope.endpoint = Some(endpoint.to_owned());
        self
    }

    /// Limits the rule to some comparisons.
    #[must_use]
    pub fn within(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Names the rule; without a name its id is its selector, with `@` and the endpoint it is limited to.
    #[must_use]
    pub fn named(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    /// Says who answers for it.
    #[must_use]
    pub fn owned_by(mut self, owner: &str) -> Self {
        self.owner = Some(owner.to_owned());
        self
    }

    /// The last day on which it applies.
    #[must_use]
    pub fn until(mut self, day: Day) -> Self {
        self.expires = Some(day);
        self
    }

    /// Says where it comes from; people unless told otherwise.
    #[must_use]
    pub fn from_source(mut self, source: RuleSource) -> Self {
        self.source = source;
        self
    }

    /// The id under which hits are counted.
    pub fn id(&self) -> String {
        match (&self.id, &self.scope.endpoint) {
            (Some(id), _) => id.clone(),
            (None, Some(endpoint)) => format!("{} @{endpoint}", self.at),
            (None, None) => self.at.clone(),
        }
    }

    /// The name it was given.
    pub fn name(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Its selector as it was written.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// For which comparisons it is.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The only endpoint it applies to, if limited.
    pub fn endpoint(&self) -> Option<&str> {
        self.scope.endpoint.as_deref()
    }

    /// What it allows.
    pub fn action(&self) -> &Action {
        &self.action
    }

    /// Why the difference is harmless.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Who answers for it.
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// The last day on which it applies.
    pub fn expires(&self) -> Option<Day> {
        self.expires
    }

    /// Where it comes from.
    pub fn source(&self) -> RuleSource {
        self.source
    }

    /// Whether its last day is over.
    pub fn is_expired(&self, today: Day) -> bool {
        self.expires.is_some_and(|last| today > last)
    }
}

/// Where an action has a meaning, if it has none at this kind of place.
fn misplaced(action: &Action, target: &Target) -> Option<&'static str> {
    let everywhere = matches!(action, Action::Ignore);
    let text = matches!(
        action,
        Action::RegexReplace(_) | Action::Case | Action::Trim | Action::Normaliser(_)
    );
    let json_only = matches!(
        action,
        Action::Ordered
            | Action::Key(_)
            | Action::NullEqMissing
            | Action::NullEqEmpty
            | Action::NumberEqString { .. }
    );
    let list = matches!(action, Action::Set | Action::Multiset);
    let cookie = matches!(action, Action::CookieAttrsOnly);
    let fits = match target {
        Target::Body => everywhere,
        Target::Text => everywhere || text,
        Target::Cookie(_) => !json_only && !list,
        Target::Json(_) => !cookie,
        Target::Header(_) => !json_only && !cookie,
        Target::Html(_) => !json_only && !list && !cookie,
    };
    if fits {
        return None;
    }
    Some(match (json_only, list, cookie) {
        (true, _, _) => "it is for places in JSON, `$.a` or `/a`",
        (_, true, _) => "it is for arrays in JSON, `$.a`, and for headers, `header:NAME`",
        (_, _, true) => "it is for cookies, `cookie:NAME`",
        (false, false, false) => {
            "`body` can only be ignored; text also takes regex_replace, case, trim and normaliser"
        }
    })
}

#[cfg(test)]
mod tests;
