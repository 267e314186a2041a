//! From templates to endpoints that can be pasted into `banyan.toml`.
//!
//! Owns the names that are proposed. What must stay true: what is proposed is legal configuration; a method that is not
//! known to be safe is a write.

use std::collections::{BTreeMap, BTreeSet};

use banyan_domain::PathTemplate;
use serde::{Deserialize, Serialize};

use crate::Template;

/// Longest part of a name; legal are 48, which leaves room for a number.
const NAME_MAX: usize = 42;

/// One `[[context.endpoint]]` that could be declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// A name, such as `users.messages_list`.
    pub name: String,
    /// The method.
    pub method: String,
    /// The path with named parameters, such as `/users/{user_id}/messages`.
    pub path: String,
    /// Requests that would have been its.
    pub count: u64,
}

/// The endpoints that templates amount to, most requested first; query keys do not matter.
pub fn candidates(templates: &[Template]) -> Vec<Candidate> {
    let mut counts: BTreeMap<(String, &str), u64> = BTreeMap::new();
    for template in templates {
        let method = if template.method == "HEAD" { "GET" } else { template.method.as_str() };
        let path = named(&template.path);
        let legal = PathTemplate::new(&path).is_ok() && method != "OPTIONS" && method != "OTHER";
        if legal {
            *counts.entry((path, method)).or_default() += template.count;
        }
    }
    let mut taken = BTreeSet::new();
    let mut candidates: Vec<Candidate> = counts
        .into_iter()
        .map(|((path, method), count)| {
            let name = unique(&name(method, &path), &mut taken);
            Candidate { name, method: method.to_owned(), path, count }
        })
        .collect();
    candidates.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
    candidates
}

impl Candidate {
    /// Whether it only reads, as far as its method tells.
    pub fn is_read(&self) -> bool {
        self.method == "GET"
    }

    /// The lines for `banyan.toml`, below a `[[context]]`.
    pub fn toml(&self) -> String {
        let request = format!("{} {}", self.method, self.path);
        format!("[[context.endpoint]]\nname = \"{}\"\nrequest = \"{request}\"\n", self.name)
    }
}

/// The path with parameters named after what is before them: `/users/{int}` becomes `/users/{user_id}`.
fn named(path: &str) -> String {
    let mut out = String::new();
    let mut taken = BTreeSet::new();
    let mut before = "";
    for segment in path.split('/').skip(1).filter(|segment| !segment.is_empty()) {
        out.push('/');
        let variable = segment.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let Some((class, _)) = variable else {
            out.push_str(segment);
            before = segment;
            continue;
        };
        let suffix = match class {
            "int" | "uuid" | "hex" => "id",
            "slug" => "name",
            "text" => "value",
            given => given,
        };
        let inferred = suffix != class;
        let stem: String = singular(before).chars().filter(char::is_ascii_alphanumeric).collect();
        let name = if inferred && !stem.is_empty() {
            format!("{stem}_{suffix}")
        } else {
            suffix.trim_start_matches('*').to_owned()
        };
        out.push('{');
        out.push_str(&unique(&name, &mut taken));
        out.push('}');
    }
    if out.is_empty() { "/".to_owned() } else { out }
}

fn singular(word: &str) -> &str {
    word.strip_suffix('s').filter(|stem| stem.len() > 2 && !stem.ends_with('s')).unwrap_or(word)
}

/// `users.messages_list`: the first fixed segment as context, then the others and the verb that Rails would use.
fn name(method: &str, path: &str) -> String {
    let ends_in_value = path.ends_with('}');
    let verb = match (method, ends_in_value) {
        ("GET", true) => "show",
        ("GET", false) => "list",
        ("POST", _) => "create",
        ("DELETE", _) => "delete",
        _ => "update",
    };
    let words = path.split('/').filter(|segment| !segment.is_empty() && !segment.starts_with('{'));
    let mut words = words.map(word);
    let context = words.next().unwrap_or_else(|| "root".to_owned());
    let own: Vec<String> = words.chain([verb.to_owned()]).collect();
    let own: String = own.join("_").chars().take(NAME_MAX).collect();
    format!("{context}.{own}")
}

/// A segment as part of a name.
fn word(segment: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let word: String = segment.chars().map(plain).take(NAME_MAX).collect();
    if word.starts_with(|c: char| c.is_ascii_lowercase()) { word } else { format!("x{word}") }
}

fn unique(name: &str, taken: &mut BTreeSet<String>) -> String {
    let free = (1u32..).map(|nth| if nth == 1 { name.to_owned() } else { format!("{name}_{nth}") });
    let mut free = free;
    let name = free.find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(name.clone());
    name
}

#[cfg(test)]
mod tests {
    use banyan_domain::EndpointName;

    use crate::{Limits, Seen, StatusClass, Templates, candidates};

    #[test]
    fn candidates_are_legal_configuration() {
        let mut templates = Templates::new(Limits::default(), Vec::new());
        for (method, target) in [
            ("GET", "/users/17/messages?page=2"),
            ("GET", "/users/17/messages"),
            ("HEAD", "/users/17/messages"),
            ("POST", "/users/17/messages"),
            ("GET", "/users/17/9"),
            ("DELETE", "/_internal/9f2c4f9e-27f3-4cc1-ae3f-0a4a9a9d21b7"),
            ("GET", "/"),
            ("GET", "/4711/x"),
            ("OPTIONS", "/users/17"),
        ] {
            let seen = Seen { method, target, status: StatusClass::Success, media: "text/html" };
            templates.see(&seen, 10);
        }
        let found = candidates(&templates.list());
        let lines: Vec<String> =
            found.iter().map(|c| format!("{} {} {}", c.name, c.method, c.path)).collect();
        assert_eq!(
            lines,
            [
                "users.messages_list GET /users/{user_id}/messages",
                "root.list GET /",
                "users.messages_create POST /users/{user_id}/messages",
                "users.show GET /users/{user_id}/{user_id_2}",
                "x.list GET /{id}/x",
                "x_internal.delete DELETE /_internal/{internal_id}",
            ]
        );
        for candidate in &found {
            assert!(EndpointName::new(&candidate.name).is_ok(), "{}", candidate.name);
        }
        assert_eq!(found[0].count, 30);
        assert!(found[0].toml().contains("request = \"GET /users/{user_id}/messages\"\n"));
    }
}
