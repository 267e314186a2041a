//! Path templates such as `/users/{user_id}/messages`.
//!
//! Owns parsing of a template and the parameters a match yields. A value of [`PathTemplate`] is legal for
//! the matcher: it starts with `/`, its parameters fill whole segments and have different names.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// A legal path template.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathTemplate {
    text: String,
    segments: Vec<Segment>,
}

/// One segment of a template.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// Fixed text.
    Literal(String),
    /// A parameter that fills the segment.
    Param(String),
    /// A parameter that takes the rest of the path; only at the end.
    Rest(String),
}

impl PathTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// A fragment saying the rule that is broken.
    pub fn new(text: &str) -> Result<Self, String> {
        let Some(inner) = text.strip_prefix('/') else {
            return Err(format!("path `{text}` must start with `/`"));
        };
        if text.len() > 1 && text.ends_with('/') {
            return Err(format!("path `{text}` must not end with `/` (both forms are matched)"));
        }
        let mut segments = Vec::new();
        for part in inner.split('/').filter(|_| !inner.is_empty()) {
            segments.push(Self::segment(text, part)?);
        }
        let mut names: Vec<&str> = segments.iter().filter_map(Segment::name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        if names.len() != count {
            return Err(format!("path `{text}` uses a parameter name twice"));
        }
        if segments.iter().rev().skip(1).any(|s| matches!(s, Segment::Rest(_))) {
            return Err(format!("path `{text}`: `{{*name}}` can only stand at the end"));
        }
        Ok(Self { text: text.to_owned(), segments })
    }

    fn segment(text: &str, part: &str) -> Result<Segment, String> {
        if part.is_empty() {
            return Err(format!("path `{text}` has an empty segment"));
        }
        if let Some(name) = part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
            let (rest, name) = name.strip_prefix('*').map_or((false, name), |n| (true, n));
            let legal =
                !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            return match (legal, rest) {
                (true, false) => Ok(Segment::Param(name.to_owned())),
                (true, true) => Ok(Segment::Rest(name.to_owned())),
                (false, _) => {
                    Err(format!("path `{text}`: `{part}` needs a name of a-z, 0-9 and _"))
                }
            };
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,=:@".contains(c);
        if part.chars().all(plain) && part != "." && part != ".." {
            return Ok(Segment::Literal(part.to_owned()));
        }
        Err(format!("path `{text}`: segment `{part}` must be plain characters or one `{{name}}`"))
    }

    /// The template as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its segments, in order.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The names of its parameters, in order.
    pub fn params(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(Segment::name)
    }

    /// The same shape for the matcher, with numbered parameters, so that templates that differ only in
    /// names share a node.
    pub(crate) fn pattern(&self) -> String {
        let mut pattern = String::new();
        for (index, segment) in self.segments.iter().enumerate() {
            pattern.push('/');
            let (open, name) = match segment {
                Segment::Literal(text) => {
                    pattern.push_str(text);
                    continue;
                }
                Segment::Param(_) => ("{p", index),
                Segment::Rest(_) => ("{*p", index),
            };
            pattern.push_str(open);
            pattern.push_str(&name.to_string());
            pattern.push('}');
        }
        if pattern.is_empty() {
            pattern.push('/');
        }
        pattern
    }
}

impl Segment {
    /// The parameter's name, nothing for fixed text.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::Param(name) | Self::Rest(name) => Some(name),
        }
    }
}

impl TryFrom<String> for PathTemplate {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::new(&text)
    }
}

impl From<PathTemplate> for String {
    fn from(template: PathTemplate) -> Self {
        template.text
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Parameters of one matched path, in the order of the template.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params {
    pub(crate) names: Arc<[String]>,
    pub(crate) values: Vec<String>,
}

impl Params {
    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        let index = self.names.iter().position(|known| known == name)?;
        self.values.get(index).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_templates_parse_and_illegal_ones_say_the_rule() {
        let template = PathTemplate::new("/users/{id}/messages").unwrap();
        assert_eq!(template.params().collect::<Vec<_>>(), ["id"]);
        assert_eq!(template.pattern(), "/users/{p1}/messages");
        assert_eq!(PathTemplate::new("/").unwrap().pattern(), "/");
        for bad in [
            "", "users", "/a//b", "/a/", "/{a}/{a}", "/{}", "/a{b}", "/a/../b", "/{*r}/x", "/a b",
            "/a?x",
        ] {
            assert!(PathTemplate::new(bad).is_err(), "{bad}");
        }
    }
}
