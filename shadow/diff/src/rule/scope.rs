//! Which comparisons a rule is for.
//!
//! Owns the four limits (context, endpoint, method, status) and how exact a scope is. It exists because a rule that is
//! right for one endpoint hides a defect in another. Must stay true: a limit that is not known to hold does not hold.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which comparisons a rule is for; nothing set means all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// A bounded context: the part of an endpoint's name before the dot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// An endpoint, e.g. `messages.list`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// A request method, in upper case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// A status that both sides answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusScope>,
}

/// One status or a class of them: `404` or `2xx`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum StatusScope {
    /// Exactly this status.
    Is(u16),
    /// All statuses that begin with this digit.
    Class(u8),
}

/// Not a status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a status such as 200 or a class such as \"2xx\", found `{0}`")]
pub struct StatusScopeError(String);

impl Scope {
    /// Whether nothing is limited.
    pub fn is_everywhere(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an endpoint is inside.
    pub(super) fn has_endpoint(&self, endpoint: &str) -> bool {
        let context = endpoint.split('.').next().unwrap_or_default();
        self.endpoint.as_deref().is_none_or(|own| own == endpoint)
            && self.context.as_deref().is_none_or(|own| own == context)
    }

    /// Whether a method is inside.
    pub(super) fn has_method(&self, method: &str) -> bool {
        self.method.as_deref().is_none_or(|own| own.eq_ignore_ascii_case(method))
    }

    /// Whether two answers with these statuses are inside.
    pub(super) fn has_statuses(&self, legacy: u16, new: u16) -> bool {
        self.status.is_none_or(|own| own.has(legacy) && own.has(new))
    }

    /// How exact it is: an endpoint beats a context, both beat method and status.
    pub(super) fn weight(&self) -> u8 {
        let status = match self.status {
            Some(StatusScope::Is(_)) => 2,
            Some(StatusScope::Class(_)) => 1,
            None => 0,
        };
        u8::from(self.endpoint.is_some()) * 32
            + u8::from(self.context.is_some()) * 16
            + u8::from(self.method.is_some()) * 4
            + status
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_everywhere() {
            return f.pad("everywhere");
        }
        let status = self.status.map(|status| status.to_string());
        let parts = [&self.method, &self.endpoint, &self.context, &status];
        let mut text = String::new();
        for (part, before) in parts.into_iter().zip(["", "", "context ", "status "]) {
            if let Some(part) = part {
                text.push_str(if text.is_empty() { "" } else { " " });
                text.extend([before, part]);
            }
        }
        f.pad(&text)
    }
}

impl StatusScope {
    fn has(self, status: u16) -> bool {
        match self {
            Self::Is(own) => own == status,
            Self::Class(own) => u16::from(own) == status / 100,
        }
    }
}

impl fmt::Display for StatusScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(status) => write!(f, "{status}"),
            Self::Class(class) => write!(f, "{class}xx"),
        }
    }
}

impl FromStr for StatusScope {
    type Err = StatusScopeError;

    fn from_str(text: &str) -> Result<Self, StatusScopeError> {
        let wrong = || StatusScopeError(text.to_owned());
        if let Some(class) = text.strip_suffix("xx") {
            let class = class.parse().ok().filter(|class| (1..=5).contains(class));
            return class.map(Self::Class).ok_or_else(wrong);
        }
        let status = text.parse().ok().filter(|status| (100..=599).contains(status));
        status.map(Self::Is).ok_or_else(wrong)
    }
}

impl From<StatusScope> for String {
    fn from(status: StatusScope) -> Self {
        status.to_string()
    }
}

impl TryFrom<String> for StatusScope {
    type Error = StatusScopeError;

    fn try_from(text: String) -> Result<Self, StatusScopeError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_hold_what_they_name() {
        let scope = Scope {
            context: Some("messages".to_owned()),
            method: Some("GET".to_owned()),
            status: "2xx".parse().ok(),
            ..Scope::default()
        };
        assert!(scope.has_endpoint("messages.list") && !scope.has_endpoint("tracks.list"));
        assert!(scope.has_method("get") && !scope.has_method("HEAD"));
        assert!(scope.has_statuses(200, 204) && !scope.has_statuses(200, 404));
        assert_eq!(scope.to_string(), "GET context messages status 2xx");
        assert_eq!(Scope::default().to_string(), "everywhere");
        for text in ["0xx", "6xx", "xx", "99", "600", "abc", ""] {
            assert!(text.parse::<StatusScope>().is_err(), "{text}");
        }
    }
}
