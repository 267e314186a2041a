//! Why a request would go where it goes, for people.
//!
//! Owns the question and the answer that `banyan route why` and the admin API share. It runs the same
//! `decide` as the data plane, without read-your-writes (which only a proxy that saw the write knows).

use banyan_domain::decide::Refused;
use banyan_domain::sticky::Headers;
use banyan_domain::{Compiled, Generation, Mirror, Outcome, Phase, RequestHead, Side, decide};
use serde::{Deserialize, Serialize};

/// A request to explain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhyQuery {
    /// The method.
    pub method: String,
    /// A path with or without query, or a whole URL.
    pub url: String,
    /// The headers, in order.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The client's address; empty counts as loopback.
    #[serde(default)]
    pub address: String,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyView {
    /// The method that was asked about.
    pub method: String,
    /// The path that was asked about.
    pub path: String,
    /// The endpoint, if one is declared for it.
    pub endpoint: Option<String>,
    /// The endpoint's path template.
    pub template: Option<String>,
    /// The context, if any.
    pub context: Option<String>,
    /// `read`, `write`, `upgrade` or `unmatched`; nothing when refused.
    pub kind: Option<String>,
    /// The phase that applies.
    pub phase: Option<Phase>,
    /// The side that answers; nothing when refused.
    pub side: Option<Side>,
    /// The side that is asked afterwards for comparison; nothing when none is.
    pub mirrored_to: Option<Side>,
    /// Whether legacy may answer once if new cannot.
    pub fallback: bool,
    /// Why, in words.
    pub reason: String,
    /// Why the proxy would answer 400, in words; nothing when it would not.
    pub refused: Option<String>,
    /// The table it was decided from.
    pub generation: Generation,
}

/// Explains a request by a table.
pub fn view(table: &Compiled, query: &WhyQuery) -> WhyView {
    let method = query.method.to_ascii_uppercase();
    let path = path_of(&query.url).to_owned();
    let upgrade = query.headers.get("upgrade").is_some();
    let address = if query.address.is_empty() { "127.0.0.1" } else { query.address.as_str() };
    let head = RequestHead {
        method: &method,
        path: path.as_bytes(),
        headers: &query.headers,
        address,
        upgrade,
        forced: None,
        sample: 0,
    };
    let outcome = decide(table, &head, &|_, _| false);
    answer(table, method.clone(), path.clone(), outcome)
}

fn answer(table: &Compiled, method: String, path: String, outcome: Outcome) -> WhyView {
    let refused = |why: Refused| WhyView {
        method: method.clone(),
        path: path.clone(),
        endpoint: None,
        template: None,
        context: None,
        kind: None,
        phase: None,
        side: None,
        mirrored_to: None,
        fallback: false,
        reason: "the proxy answers 400".to_owned(),
        refused: Some(why.to_string()),
        generation: table.generation,
    };
    let decision = match outcome {
        Outcome::Refuse(why) => return refused(why),
        Outcome::Route(decision) => decision,
    };
    let spec = decision
        .endpoint
        .as_ref()
        .and_then(|name| table.endpoints().iter().find(|endpoint| endpoint.spec.name == *name));
    WhyView {
        method,
        path,
        endpoint: decision.endpoint.as_ref().map(ToString::to_string),
        template: spec.map(|endpoint| endpoint.spec.path.to_string()),
        context: decision.context.as_ref().map(ToString::to_string),
        kind: Some(decision.kind.as_str().to_owned()),
        phase: Some(decision.phase),
        side: Some(decision.side),
        mirrored_to: match decision.mirror {
            Mirror::To(side) => Some(side),
            Mirror::Sampled | Mirror::Pinned | Mirror::Off => None,
        },
        fallback: decision.fallback,
        reason: decision.why(),
        refused: None,
        generation: decision.generation,
    }
}

/// The raw path of a URL or request target, without query and fragment.
fn path_of(url: &str) -> &str {
    let target = match url.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            rest.find(['/', '?', '#']).and_then(|at| rest.get(at..)).unwrap_or("/")
        }
        Some(_) | None => url,
    };
    match target.split(['?', '#']).next() {
        Some("") | None => "/",
        Some(path) => path,
    }
}

#[cfg(test)]
mod tests {
    use super::path_of;

    #[test]
    fn the_path_is_found_in_targets_and_urls_and_left_raw() {
        assert_eq!(path_of("/users/3/messages?page=2"), "/users/3/messages");
        assert_eq!(path_of("http://localhost:8080/a%2Fb?x#y"), "/a%2Fb");
        assert_eq!(path_of("https://example.org?x=http://y/z"), "/");
        assert_eq!(path_of("/go?to=http://y/z"), "/go");
        assert_eq!(path_of("//a"), "//a");
        assert_eq!(path_of(""), "/");
    }
}
