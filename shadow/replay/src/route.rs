//! Which endpoint an exchange belongs to.
//!
//! Owns declared routes, and the endpoints that are inferred from the requests of a recording by `banyan_template`. It
//! exists so that a replay groups its report without a configuration. What must stay true: the same recordings give the
//! same names, whatever share of them is replayed; the number of names is bounded; what fits no template shares one.

use crate::Recorded;
use banyan_domain::compiled::{CompileError, Located, MethodReading};
use banyan_domain::{
    Catalogue, Compiled, ContextName, ContextSpec, EndpointName, EndpointSpec, PathTemplate,
    Percent, Phase, RouteTable,
};
use banyan_template::{Limits, Seen, StatusClass, Templates, candidates};
use std::collections::{BTreeMap, BTreeSet};

/// Undeclared endpoints that get a name of their own, the most requested ones; further paths share one.
const INFERRED_MAX: usize = 300;
/// The context of what fits no template, and of names that are taken.
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
    seen: Templates,
    inferred: Option<Compiled>,
    templates: BTreeMap<EndpointName, PathTemplate>,
}

impl Routes {
    /// Declared endpoints, if there are any, and what becomes of the others. Words of undeclared paths become fixed parts
    /// of templates once they were seen `shown_from` times; before, they may be somebody's name.
    pub fn new(declared: Option<Compiled>, undeclared: Undeclared, shown_from: u64) -> Self {
        let seen = Templates::new(Limits { shown_from, ..Limits::default() }, Vec::new());
        Self { declared, undeclared, seen, inferred: None, templates: BTreeMap::new() }
    }

    /// Whether the endpoints must be inferred from all exchanges before the first is looked up.
    pub const fn learns(&self) -> bool {
        matches!(self.undeclared, Undeclared::Infer)
    }

    /// Takes an exchange into account.
    pub fn see(&mut self, recorded: &Recorded) {
        let target = path(&recorded.target);
        if !self.learns() || self.declared(&recorded.method, target).is_some() {
            return;
        }
        let answer = recorded.legacy.as_ref().or(recorded.new.as_ref());
        let status = answer.map_or(StatusClass::Success, |answer| StatusClass::of(answer.status));
        // HEAD and GET of a path are one endpoint.
        self.seen.see(&Seen { method: "GET", target, status, media: "" }, 1);
    }

    /// Names what was seen. Call it once, after the last exchange.
    pub fn settle(&mut self) {
        let mut contexts: BTreeMap<ContextName, Vec<EndpointSpec>> = BTreeMap::new();
        let taken = self.taken();
        for candidate in candidates(&self.seen.list()).into_iter().take(INFERRED_MAX) {
            let own = candidate.name.replace('.', "_");
            let name = if taken.contains(candidate.name.as_str()) {
                EndpointName::new(&format!("{CONTEXT}.{own}"))
            } else {
                EndpointName::new(&candidate.name)
            };
            let (Ok(name), Ok(path)) = (name, PathTemplate::new(&candidate.path)) else { continue };
            contexts.entry(name.context()).or_default().push(spec(name, path));
        }
        let contexts = contexts.into_iter().map(|(name, endpoints)| ContextSpec {
            name,
            sticky: Vec::new(),
            read_your_writes_max_ms: 0,
            endpoints,
        });
        let catalogue = Catalogue { contexts: contexts.collect() };
        self.templates = catalogue.endpoints().map(|e| (e.name.clone(), e.path.clone())).collect();
        self.inferred = compiled(catalogue);
        if self.inferred.is_none() {
            self.templates.clear();
        }
        if let (true, Some(name), Ok(path)) =
            (self.learns(), other(), PathTemplate::new("/{*rest}"))
        {
            self.templates.insert(name, path);
        }
        self.seen = Templates::default();
    }

    /// The endpoint of a request; nothing when it is to be left out.
    pub fn find(&self, method: &str, target: &str) -> Option<EndpointName> {
        let path = path(target);
        if let Some(found) = self.declared(method, path) {
            return Some(found);
        }
        if !self.learns() {
            return None;
        }
        let inferred = self.inferred.as_ref();
        inferred.and_then(|table| located(table, "GET", path)).or_else(other)
    }

    /// All undeclared endpoints, with their templates.
    pub const fn inferred(&self) -> &BTreeMap<EndpointName, PathTemplate> {
        &self.templates
    }

    /// Whether an endpoint is what is left over of the undeclared paths.
    pub(crate) fn is_rest(name: &EndpointName) -> bool {
        other().is_some_and(|other| other == *name)
    }

    /// The declared endpoints.
    pub const fn compiled(&self) -> Option<&Compiled> {
        self.declared.as_ref()
    }

    fn declared(&self, method: &str, path: &str) -> Option<EndpointName> {
        located(self.declared.as_ref()?, method, path)
    }

    fn taken(&self) -> BTreeSet<String> {
        let endpoints = self.declared.iter().flat_map(Compiled::endpoints);
        endpoints.map(|endpoint| endpoint.spec.name.as_str().to_owned()).collect()
    }
}

/// A table of inferred endpoints. Of two that the matcher cannot tell apart the later goes.
fn compiled(mut catalogue: Catalogue) -> Option<Compiled> {
    for _ in 0..INFERRED_MAX {
        let errors = match Compiled::new(&catalogue, &RouteTable::default()) {
            Ok(table) => return Some(table),
            Err(errors) => errors,
        };
        let clashing: BTreeSet<&str> = errors
            .iter()
            .map(|error| match error {
                CompileError::Twice { second, .. } | CompileError::SharedPath { second, .. } => {
                    second
                }
                CompileError::Conflict { endpoint, .. } => endpoint,
            })
            .map(String::as_str)
            .collect();
        for context in &mut catalogue.contexts {
            context.endpoints.retain(|endpoint| !clashing.contains(endpoint.name.as_str()));
        }
    }
    None
}

fn spec(name: EndpointName, path: PathTemplate) -> EndpointSpec {
    EndpointSpec {
        name,
        methods: vec!["GET".to_owned()],
        path,
        start: Phase::Shadow,
        mirror_percent: Percent::HUNDRED,
        mirror_back: false,
        fallback: false,
        sticky: Vec::new(),
    }
}

fn located(table: &Compiled, method: &str, path: &str) -> Option<EndpointName> {
    match table.locate(path.as_bytes(), MethodReading::Exact(method)) {
        Located::Endpoint { endpoint, .. } => {
            table.endpoints().get(endpoint).map(|found| found.spec.name.clone())
        }
        Located::Undeclared { .. } | Located::Nothing | Located::Odd(_) | Located::CaseVariant => {
            None
        }
    }
}

fn other() -> Option<EndpointName> {
    EndpointName::new(&format!("{CONTEXT}.other")).ok()
}

fn path(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(targets: &[&str], shown_from: u64) -> Routes {
        let mut routes = Routes::new(None, Undeclared::Infer, shown_from);
        for target in targets {
            let (method, target) = ("GET".into(), (*target).into());
            routes.see(&Recorded { method, target, ..Recorded::default() });
        }
        routes.settle();
        routes
    }

    #[test]
    fn undeclared_paths_are_grouped_under_legal_names() {
        let routes =
            routes(&["/users/3/messages?page=1", "/users/4/messages", "/tracks/9", "/"], 1);
        let name = |target: &str| routes.find("GET", target).unwrap().to_string();
        assert_eq!(name("/users/77/messages?x"), "users.messages_list");
        assert_eq!(routes.find("HEAD", "/tracks/1").unwrap().as_str(), "tracks.show");
        assert_eq!(
            (name("/"), name("/never/seen")),
            ("root.list".into(), "undeclared.other".into())
        );
        let template = &routes.inferred()[&EndpointName::new("tracks.show").unwrap()];
        assert_eq!(template.as_str(), "/tracks/{track_id}");
        let none = Routes::new(None, Undeclared::Skip, 1);
        assert_eq!(none.find("GET", "/users"), None);
    }

    #[test]
    fn a_name_that_was_seen_once_is_no_word_of_the_application_unless_asked_for() {
        let seen = ["/people/ada"];
        let path = |shown_from| {
            let routes = routes(&seen, shown_from);
            let name = routes.find("GET", "/people/ada").unwrap();
            routes.inferred()[&name].as_str().to_owned()
        };
        assert_eq!(path(1), "/people/ada");
        assert!(!path(5).contains("ada"), "{}", path(5));
    }

    #[test]
    fn the_number_of_names_is_bounded() {
        let targets: Vec<String> = (0..2_000)
            .map(|at| {
                format!(
                    "/{}/list",
                    format!("{at:04}").bytes().map(|b| char::from(b + 49)).collect::<String>()
                )
            })
            .collect();
        let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
        let routes = routes(&targets, 1);
        assert!(routes.inferred().len() <= INFERRED_MAX + 1);
        assert!(routes.find("GET", targets[1_999]).is_some());
    }
}
