//! Names of contexts and endpoints.
//!
//! Owns the rule for a legal name. It exists because names become metric labels, SQL identifiers and file
//! names: a constructor that refuses is cheaper than escaping everywhere. A value of these types is legal.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no {what}: use {rule}")]
pub struct NameError {
    name: String,
    what: &'static str,
    rule: &'static str,
}

/// Name of a bounded context, such as `messages`: lower-case letters, digits, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContextName(Arc<str>);

/// Name of an endpoint, such as `messages.list`: its context, a dot, and a name of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EndpointName(Arc<str>);

fn is_word(text: &str) -> bool {
    text.len() <= 48
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c))
}

impl ContextName {
    /// Checks and takes a context name.
    ///
    /// # Errors
    /// When the name does not start with a lower-case letter, has other characters than `a-z 0-9 _ -`, or is
    /// longer than 48.
    pub fn new(name: &str) -> Result<Self, NameError> {
        if is_word(name) {
            return Ok(Self(name.into()));
        }
        Err(NameError {
            name: name.to_owned(),
            what: "context name",
            rule: "a lower-case letter, then at most 47 of `a-z 0-9 _ -`",
        })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl EndpointName {
    /// Checks and takes an endpoint name of the form `context.name`.
    ///
    /// # Errors
    /// When it is not two words of the form of a context name, joined by one dot.
    pub fn new(name: &str) -> Result<Self, NameError> {
        match name.split_once('.') {
            Some((context, own)) if is_word(context) && is_word(own) => Ok(Self(name.into())),
            Some(_) | None => Err(NameError {
                name: name.to_owned(),
                what: "endpoint name",
                rule: "`context.name`, both of `a-z 0-9 _ -`",
            }),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The context part, the text before the dot.
    pub fn context(&self) -> ContextName {
        ContextName(self.0.split('.').next().unwrap_or_default().into())
    }
}

macro_rules! text_conversions {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(name: String) -> Result<Self, NameError> {
                Self::new(&name)
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_conversions!(ContextName);
text_conversions!(EndpointName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_and_an_endpoint_knows_its_context() {
        assert_eq!(EndpointName::new("messages.mark_read").unwrap().context().as_str(), "messages");
        for bad in ["", "Messages", "1st", "a b", "ä", "a.b"] {
            assert!(ContextName::new(bad).is_err(), "{bad}");
        }
        for bad in ["messages", "a.b.c", ".a", "a.", "A.b"] {
            assert!(EndpointName::new(bad).is_err(), "{bad}");
        }
    }
}
