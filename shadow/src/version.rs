//! Where an answer says which version of its data it shows.
//!
//! Owns the version fingerprint of an endpoint: a header such as `x-version` or `last-modified`, or a member of the JSON
//! body such as `$.updated_at`. It exists so that two answers of different versions are not compared at all: one side is
//! behind and says so. What must stay true: it only ever postpones; answers that both lack it, or agree on it, are compared
//! as if there were none.

use crate::Answer;
use banyan_diff::Comparison;
use std::fmt;

/// A version fingerprint: `header:NAME` or a path such as `$.updated_at`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(Place);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Header(String),
    /// Path as the diff engine writes it.
    Json(String),
}

impl Version {
    /// Reads a fingerprint from its text.
    ///
    /// # Errors
    /// Says what a fingerprint looks like, when this is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("header:") {
            let token = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
            if !name.is_empty() && name.chars().all(token) {
                return Ok(Self(Place::Header(name.to_ascii_lowercase())));
            }
        }
        if let Some(names) = text.strip_prefix("$.") {
            let plain = |name: &str| {
                name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                    && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            };
            if names.split('.').all(plain) {
                return Ok(Self(Place::Json(text.to_owned())));
            }
        }
        Err("must be a header as `header:x-version` or a member as `$.updated_at`".to_owned())
    }

    /// Whether both answers have it, and not the same.
    ///
    /// A member is looked up among the differences: if it is none, both have the same or a rule says that it does not
    /// matter.
    pub(crate) fn differs(&self, owner: &Answer, other: &Answer, across: &Comparison) -> bool {
        match &self.0 {
            Place::Header(name) => {
                let pair = owner.obs().header(name).zip(other.obs().header(name));
                pair.is_some_and(|(a, b)| a != b)
            }
            Place::Json(path) => across.differences.iter().any(|difference| {
                difference.location.path == *path
                    && difference.legacy.is_some()
                    && difference.new.is_some()
            }),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Header(name) => write!(f, "header:{name}"),
            Place::Json(path) => f.write_str(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::json;
    use banyan_diff::{Budget, RuleSet, compare};

    fn differs(version: &str, a: &Answer, b: &Answer) -> bool {
        let across = compare(&a.obs(), &b.obs(), &RuleSet::builtin(), &Budget::default());
        Version::parse(version).unwrap().differs(a, b, &across)
    }

    #[test]
    fn a_version_counts_only_when_both_have_it() {
        let body = |text: &str| json(200, text);
        assert!(differs("$.v", &body(r#"{"v":1}"#), &body(r#"{"v":2,"a":1}"#)));
        assert!(!differs("$.v", &body(r#"{"v":1}"#), &body(r#"{"v":1,"a":1}"#)));
        assert!(!differs("$.v", &body(r#"{"v":1}"#), &body(r#"{"a":1}"#)));
        let headed = |value: &str| {
            let mut answer = json(200, "{}");
            answer.headers.push(("x-version".into(), value.as_bytes().to_vec()));
            answer
        };
        assert!(differs("header:X-Version", &headed("7"), &headed("8")));
        assert!(!differs("header:x-version", &headed("7"), &headed("7")));
        assert!(!differs("header:x-version", &headed("7"), &json(200, "{}")));
    }

    #[test]
    fn only_headers_and_plain_members_are_versions() {
        for text in ["header:last-modified", "$.updated_at", "$.meta.version"] {
            assert_eq!(Version::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "updated_at", "$.", "$.a[0]", "$..a", "header:", "header:a b"] {
            assert!(Version::parse(text).is_err(), "{text}");
        }
    }
}
