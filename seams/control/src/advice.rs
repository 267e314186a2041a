//! What shadowing found out beside its verdicts: endpoints that nobody declared, rules that would explain mismatches.
//!
//! Owns the rows, in the same form for going in and coming out. It exists apart from the evidence because nothing here
//! decides a gate. The words are the shadow's own; the store adds up and does not judge.

use banyan_domain::EndpointName;
use serde::{Deserialize, Serialize};

/// Rows since the last batch, or all that are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// Undeclared requests by template.
    pub templates: Vec<TemplateCount>,
    /// Undeclared requests that are under no template.
    pub lost: Vec<LostCount>,
    /// How far candidate rules explain confirmed mismatches.
    pub suggestions: Vec<SuggestionCount>,
}

/// A number of undeclared requests of one template with one kind of answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateCount {
    /// When last, Unix ms.
    pub at_ms: u64,
    /// The method.
    pub method: String,
    /// The path with classes for values: `/users/{int}`.
    pub path: String,
    /// The query keys, joined by `&`.
    pub query: String,
    /// The class of the status, such as `2xx`.
    pub status: String,
    /// The media type of the answer; may be empty.
    pub media: String,
    /// How many.
    pub count: u64,
}

/// A number of undeclared requests that are under no template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostCount {
    /// When last, Unix ms.
    pub at_ms: u64,
    /// The word of why.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// How far one candidate rule explains one cause of mismatches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuggestionCount {
    /// When last, Unix ms.
    pub at_ms: u64,
    /// The endpoint.
    pub endpoint: EndpointName,
    /// Where the cause is, with indices removed.
    pub shape: String,
    /// The kind of its differences.
    pub kind: String,
    /// The class of the change.
    pub transition: String,
    /// The rule, as it is written in a rules file.
    pub rule: String,
    /// Mismatches whose differences of this cause it hides.
    pub explained: u64,
    /// Mismatches of this cause on which it was tried.
    pub seen: u64,
    /// Mismatches in which it also hides a breaking difference of another cause.
    pub hides_breaking: u64,
}
