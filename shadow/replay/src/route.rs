//! Which endpoint an exchange belongs to.
//!
//! Owns declared routes, and the names of undeclared ones: the path with `{id}` for what looks like an id. It exists so
//! that a replay groups its report without a configuration. What must stay true: the same recording gives the same names,
//! whatever part of it is replayed; the number of names is bounded.

use banyan_domain::compiled::{Located, MethodReading};
use banyan_domain::{Compiled, EndpointName, PathTemplate};
use std::collections::{BTreeMap, HashMap};

/// Undeclared endpoints that get a name of their own; further paths share one.
const TEMPLATES_MAX: usize = 300;
/// Segments of a template; longer paths share one.
const SEGMENTS_MAX: usize = 12;
/// The context of undeclared endpoints.
const CONTEXT: &str = "undeclared";

/// What to do with paths that are not declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undeclared {
    /// Leave them out, counted.
    Skip,
    /// Replay them under inferred names.
    Infer,
}

/// The endpoints of a replay.
pub struct Routes {
    declared: Option<Compiled>,
    undeclared: Undeclared,
    inferred: HashMap<String, EndpointName>,
    templates: BTreeMap<EndpointName, PathTemplate>,
}

impl Routes {
    /// Declared endpoints, if there are any, and what becomes of the others.
    pub fn new(declared: Option<Compiled>, undeclared: Undeclared) -> Self {
        Self { declared, undeclared, inferred: HashMap::new(), templates: BTreeMap::new() }
    }

    /// The endpoint of a request, as far as it is known; a new undeclared one is named.
    pub fn learn(&mut self, method: &str, target: &str) -> Option<EndpointName> {
        let path = path(target);
        if let Some(found) = self.declared(method, path) {
            return Some(found);
        }
        if self.undeclared == Undeclared::Skip {
            return None;
        }
        let shape = shape(path);
        if let Some(known) = self.inferred.get(&shape) {
            return Some(known.clone());
        }
        let full = self.inferred.len() >= TEMPLATES_MAX;
        let template = PathTemplate::new(&shape).ok().filter(|_| !full);
        let (name, template) = match template {
            Some(template) => (self.name(&shape)?, template),
            None => (other()?, PathTemplate::new("/{*rest}").ok()?),
        };
        self.templates.insert(name.clone(), template);
        if !full {
            self.inferred.insert(shape, name.clone());
        }
        Some(name)
    }

    /// The endpoint of a request; nothing when it is to be left out.
    pub fn find(&self, method: &str, target: &str) -> Option<EndpointName> {
        let path = path(target);
        if let Some(found) = self.declared(method, path) {
            return Some(found);
        }
        match self.undeclared {
            Undeclared::Skip => None,
            Undeclared::Infer => self.inferred.get(&shape(path)).cloned().or_else(other),
        }
    }

    /// All endpoints that were seen undeclared, with their templates.
    pub const fn inferred(&self) -> &BTreeMap<EndpointName, PathTemplate> {
        &self.templates
    }

    /// The declared endpoints.
    pub const fn compiled(&self) -> Option<&Compiled> {
        self.declared.as_ref()
    }

    fn declared(&self, method: &str, path: &str) -> Option<EndpointName> {
        let table = self.declared.as_ref()?;
        match table.locate(path.as_bytes(), MethodReading::Exact(method)) {
            Located::Endpoint { endpoint, .. } => {
                table.endpoints().get(endpoint).map(|found| found.spec.name.clone())
            }
            Located::Undeclared { .. }
            | Located::Nothing
            | Located::Odd(_)
            | Located::CaseVariant => None,
        }
    }

    /// A free name made of the fixed words of a shape.
    fn name(&self, shape: &str) -> Option<EndpointName> {
        let word = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
        let plain: String = shape.replace(['{', '}'], "").chars().map(word).collect();
        let plain = plain.trim_matches('_');
        let short: String = plain.chars().take(40).collect();
        let own = match short.chars().next() {
            None => "root".to_owned(),
            Some(first) if first.is_ascii_lowercase() => short,
            Some(_) => format!("p_{short}"),
        };
        let names = std::iter::once(own.clone()).chain((2..).map(|n| format!("{own}_{n}")));
        let mut names = names.filter_map(|own| EndpointName::new(&format!("{CONTEXT}.{own}")).ok());
        names.find(|name| !self.templates.contains_key(name))
    }
}

fn other() -> Option<EndpointName> {
    EndpointName::new(&format!("{CONTEXT}.other")).ok()
}

fn path(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

/// The path with parameters for what looks like an id.
fn shape(path: &str) -> String {
    let mut shape = String::new();
    let mut ids = 0;
    for (at, segment) in path.split('/').filter(|segment| !segment.is_empty()).enumerate() {
        if at >= SEGMENTS_MAX {
            return format!("{shape}/{{*rest}}");
        }
        shape.push('/');
        if is_word(segment) {
            shape.push_str(segment);
            continue;
        }
        ids += 1;
        let number = if ids == 1 { String::new() } else { ids.to_string() };
        shape.extend(["{id", &number, "}"]);
    }
    if shape.is_empty() { "/".to_owned() } else { shape }
}

/// Whether a segment looks like a fixed word of an API, and not like an id, a hash or a name.
fn is_word(segment: &str) -> bool {
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    let plain = segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let hex =
        segment.len() >= 12 && segment.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let version = segment.len() <= 3 && segment.starts_with('v') && digits + 1 == segment.len();
    plain
        && !hex
        && segment.len() <= 40
        && segment.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '.')
        && segment != "."
        && segment != ".."
        && (version || digits <= 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_become_parameters_and_words_stay() {
        let cases = [
            ("/", "/"),
            ("/users/3/messages", "/users/{id}/messages"),
            ("/v2/users/3/messages/91.json", "/v2/users/{id}/messages/{id2}"),
            ("/a/550e8400-e29b-41d4-a716-446655440000", "/a/{id}"),
            ("/tracks/unread_count", "/tracks/unread_count"),
            ("/search/caf%C3%A9", "/search/{id}"),
            ("/a//b/", "/a/b"),
        ];
        for (path, expected) in cases {
            assert_eq!(shape(path), expected);
            assert!(PathTemplate::new(expected).is_ok(), "{expected}");
        }
    }

    #[test]
    fn names_are_legal_stable_and_bounded() {
        let mut routes = Routes::new(None, Undeclared::Infer);
        let name = |routes: &mut Routes, target: &str| routes.learn("GET", target).unwrap();
        assert_eq!(
            name(&mut routes, "/users/3/messages?x=1").as_str(),
            "undeclared.users_id_messages"
        );
        assert_eq!(
            name(&mut routes, "/users_id/messages").as_str(),
            "undeclared.users_id_messages_2"
        );
        assert_eq!(name(&mut routes, "/").as_str(), "undeclared.root");
        assert_eq!(name(&mut routes, "/9").as_str(), "undeclared.id");
        for at in 0..1_000 {
            let word: String = format!("{at:04}").bytes().map(|b| char::from(b + 49)).collect();
            name(&mut routes, &format!("/x{word}"));
        }
        assert!(routes.inferred().len() <= TEMPLATES_MAX + 1);
        assert_eq!(
            routes.find("GET", "/users/77/messages").unwrap().as_str(),
            "undeclared.users_id_messages"
        );
        assert_eq!(routes.find("GET", "/never/seen").unwrap().as_str(), "undeclared.other");
        let none = Routes::new(None, Undeclared::Skip);
        assert_eq!(none.find("GET", "/users"), None);
    }
}
