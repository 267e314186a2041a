//! What a sticky key is made of.
//!
//! Owns the sources a key can come from and their order. It exists so that a caller stays on one side, and
//! so that logs can name the source without showing a token.

use crate::template::Params;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Where a sticky key comes from; the first source that is present in a request wins.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum KeySource {
    /// A parameter of the path template, such as `user_id`.
    Path(Arc<str>),
    /// A request header, lower-case.
    Header(Arc<str>),
    /// A cookie.
    Cookie(Arc<str>),
    /// The address of the client.
    Address,
}

impl TryFrom<String> for KeySource {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("path", name)) if !name.is_empty() => Ok(Self::Path(name.into())),
            Some(("header", name)) if !name.is_empty() => {
                Ok(Self::Header(name.to_ascii_lowercase().into()))
            }
            Some(("cookie", name)) if !name.is_empty() => Ok(Self::Cookie(name.into())),
            None if text == "address" => Ok(Self::Address),
            Some(_) | None => Err(format!(
                "`{text}` is no key source; use `path:NAME`, `header:NAME`, `cookie:NAME` or `address`"
            )),
        }
    }
}

impl From<KeySource> for String {
    fn from(source: KeySource) -> Self {
        source.to_string()
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(name) => write!(f, "path:{name}"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Address => f.write_str("address"),
        }
    }
}

/// A key found in a request. `value` may be a secret (a token): show it through [`StickyKey::shown`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StickyKey {
    /// Where it was found.
    pub source: KeySource,
    /// What was found. Shared, so that a decision can be copied at no cost.
    pub value: Arc<str>,
}

impl StickyKey {
    /// A form fit for people and logs: path parameters and addresses as they are, the rest by source only.
    pub fn shown(&self) -> String {
        match &self.source {
            KeySource::Path(name) => format!("{name}:{}", self.value),
            KeySource::Address => format!("address:{}", self.value),
            KeySource::Header(_) | KeySource::Cookie(_) => {
                format!("{} (value hidden)", self.source)
            }
        }
    }
}

/// Reads header values by lower-case name; the proxy, the CLI and tests bring their own.
pub trait Headers {
    /// The first value of the header, if it is there and is text.
    fn get(&self, name: &str) -> Option<&str>;
}

impl Headers for [(String, String)] {
    fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

impl Headers for Vec<(String, String)> {
    fn get(&self, name: &str) -> Option<&str> {
        Headers::get(self.as_slice(), name)
    }
}

/// The value of one cookie in a `Cookie` header.
pub fn cookie<'h>(header: &'h str, name: &str) -> Option<&'h str> {
    header
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(n, _)| *n == name)
        .map(|(_, value)| value)
}

/// The first of `sources` that is present, in order.
pub fn find(
    sources: &[KeySource],
    params: &Params,
    headers: &dyn Headers,
    address: &str,
) -> Option<StickyKey> {
    sources.iter().find_map(|source| {
        let value = match source {
            KeySource::Path(name) => params.get(name)?,
            KeySource::Header(name) => headers.get(name)?,
            KeySource::Cookie(name) => cookie(headers.get("cookie")?, name)?,
            KeySource::Address => address,
        };
        Some(StickyKey { source: source.clone(), value: value.into() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_present_source_wins_and_tokens_stay_hidden() {
        let sources = ["header:Authorization", "cookie:sid", "address"]
            .map(|s| KeySource::try_from(s.to_owned()).unwrap());
        let headers = vec![("Cookie".to_owned(), "a=b; sid=s3cret".to_owned())];
        let key = find(&sources, &Params::default(), &headers, "10.0.0.1").unwrap();
        assert_eq!(&*key.value, "s3cret");
        assert!(!key.shown().contains("s3cret"));
        let none = find(&sources, &Params::default(), &Vec::new(), "10.0.0.1").unwrap();
        assert_eq!(none.shown(), "address:10.0.0.1");
        assert!(KeySource::try_from("body:x".to_owned()).is_err());
    }
}
