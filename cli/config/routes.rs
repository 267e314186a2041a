//! Contexts, endpoints and route expectations.
//!
//! Owns `[[context]]`, `[[context.endpoint]]` and `[[expect]]`, and the checks that span them: names are
//! unique, an endpoint belongs to its context, no two endpoints answer the same request.

use super::events::ContextEvents;
use super::limits::{self, ContextShadow};
use super::problem::{Place, Problem, closest};
use super::reader::{Found, Section};
use super::section::secret;
use super::{ContextPlaces, url_relative_to, value};
use banyan_domain::{
    Catalogue, Compiled, ContextName, ContextSpec, EndpointKind, EndpointName, EndpointSpec,
    KeySource, PathTemplate, Phase, RouteTable, Side,
};
use banyan_sync_jobs::SequencePair;
use std::collections::BTreeMap;
use std::path::Path;

/// What the file says about routes.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    pub(crate) catalogue: Catalogue,
    pub(crate) places: BTreeMap<ContextName, ContextPlaces>,
    pub(crate) lines: BTreeMap<EndpointName, usize>,
    pub(crate) versions: BTreeMap<EndpointName, banyan_shadow::Version>,
}

/// A route test of the file.
#[derive(Debug, Clone)]
pub(crate) struct Expect {
    pub(crate) method: String,
    pub(crate) path: String,
    /// The endpoint that must match; nothing means the default route.
    pub(crate) endpoint: Option<EndpointName>,
    pub(crate) line: usize,
}

pub(crate) fn read(root: &Section<'_>, text: &str, base: &Path) -> Routes {
    let mut routes = Routes::default();
    for section in root.sections("context") {
        read_context(&section, text, base, &mut routes);
        section.finish();
    }
    if let Err(errors) = Compiled::new(&routes.catalogue, &RouteTable::default()) {
        for error in errors {
            root.problem(Problem::error(None, error.to_string()));
        }
    }
    routes
}

fn read_context(section: &Section<'_>, text: &str, base: &Path, routes: &mut Routes) {
    let name = section
        .required("name", "\"messages\"", |t| ContextName::new(t).map_err(|e| e.to_string()));
    let new = section.required("new", "\"http://127.0.0.1:4000\"", value::base_url);
    let sticky = sources(section, "sticky");
    let bound = section.or("read-your-writes-max", "60s", value::duration_ms);
    let events = ContextEvents::read(section);
    let shadow = ContextShadow::read(section);
    let mut databases = BTreeMap::new();
    let keys = [
        (Side::Legacy, ["legacy-database", "legacy-database-env", "legacy-database-file"]),
        (Side::New, ["new-database", "new-database-env", "new-database-file"]),
    ];
    for (side, keys) in keys {
        if let Some(url) = secret(section, keys, value::database_url) {
            databases.insert(side, url_relative_to(base, &url));
        }
    }
    let legacy_unpublished =
        section.optional("legacy-unpublished", value::text).map(|found| found.value);
    let sequences = section.sections("sequence").iter().filter_map(read_sequence).collect();
    let endpoints: Vec<EndpointSpec> = section
        .sections("endpoint")
        .iter()
        .filter_map(|endpoint| read_endpoint(endpoint, name.as_ref(), text, routes))
        .collect();
    let (Some(name), Some(new), Some(bound), Some(shadow)) = (name, new, bound, shadow) else {
        return;
    };
    if routes.places.contains_key(&name.value) {
        section.problem(Problem::error(
            name.span,
            format!("context `{}` is declared twice", name.value),
        ));
        return;
    }
    let sticky = sticky
        .unwrap_or_else(|| vec![KeySource::Header("authorization".into()), KeySource::Address]);
    let places =
        ContextPlaces { new: new.value, databases, sequences, legacy_unpublished, events, shadow };
    routes.places.insert(name.value.clone(), places);
    let spec = ContextSpec { name: name.value, sticky, read_your_writes_max_ms: bound, endpoints };
    routes.catalogue.contexts.push(spec);
}

/// `[[context.sequence]]`: ids of the same things, which both sides give.
fn read_sequence(section: &Section<'_>) -> Option<SequencePair> {
    let legacy = section.required("legacy", "\"messages.id\"", value::column);
    let new = section.required("new", "\"chat_messages.id\"", value::column);
    section.finish();
    Some(SequencePair { legacy: legacy?.value, new: new?.value })
}

fn sources(section: &Section<'_>, key: &'static str) -> Option<Vec<KeySource>> {
    let found = section.strings(key)?;
    let mut sources = Vec::new();
    for item in found {
        match KeySource::try_from(item.value) {
            Ok(source) => sources.push(source),
            Err(rule) => section.problem(Problem::error(item.span, rule)),
        }
    }
    Some(sources)
}

fn read_endpoint(
    section: &Section<'_>,
    context: Option<&Found<ContextName>>,
    text: &str,
    routes: &mut Routes,
) -> Option<EndpointSpec> {
    let name = section
        .required("name", "\"messages.list\"", |t| EndpointName::new(t).map_err(|e| e.to_string()));
    let request = section.required("request", "\"GET /users/{id}/messages\"", parse_request);
    let start = section.or("phase", "legacy", |word| {
        if word == "canary" {
            return Err("a context cannot start in `canary`; start in `shadow` and flip".to_owned());
        }
        Phase::from_words(word, None)
    });
    let mirror_percent = section.or("mirror-percent", "100", value::percent);
    let mirror_back = section.or("mirror-back", "true", value::flag);
    let fallback = section.or("fallback", "true", value::flag);
    let sticky = sources(section, "sticky").unwrap_or_default();
    let version = limits::version(section);
    section.finish();
    let (name, request) = (name?, request?);
    let (methods, path) = request.value;
    let line = name.span.clone().map_or(0, |span| Place::of(text, span.start).line);
    if routes.lines.insert(name.value.clone(), line).is_some() {
        section.problem(Problem::error(
            name.span,
            format!("endpoint `{}` is declared twice", name.value),
        ));
        return None;
    }
    let spec = EndpointSpec {
        name: name.value,
        methods,
        path,
        start: start?,
        mirror_percent: mirror_percent?,
        mirror_back: mirror_back?,
        fallback: fallback?,
        sticky,
    };
    routes.versions.extend(version.map(|version| (spec.name.clone(), version)));
    limits::check_version(section, &spec);
    if context.is_some_and(|context| context.value != spec.name.context()) {
        let message = format!("endpoint `{}` is not of this context", spec.name);
        section
            .problem(Problem::error(name.span, message).hint("an endpoint is named CONTEXT.NAME"));
    }
    match spec.kind() {
        EndpointKind::Read => check_read(section, &spec),
        EndpointKind::Write => check_write(section, &spec),
    }
    Some(spec)
}

fn check_read(section: &Section<'_>, spec: &EndpointSpec) {
    for source in &spec.sticky {
        if let KeySource::Path(param) = source
            && !spec.path.params().any(|known| known == &**param)
        {
            section.problem(Problem::error(
                section.span(),
                format!("`{}`: sticky key `{source}` is no parameter of {}", spec.name, spec.path),
            ));
        }
    }
}

fn check_write(section: &Section<'_>, spec: &EndpointSpec) {
    if spec.start != Phase::Legacy {
        let message = format!("`{}` writes: its phase follows the owner", spec.name);
        section.problem(
            Problem::error(section.span(), message)
                .hint("leave `phase` out; writes of a context move together, by a cutover"),
        );
    }
    for key in ["mirror-percent", "mirror-back", "fallback", "sticky"] {
        if let Some(span) = section.key_span(key) {
            let message = format!("`{key}` has no effect on `{}`: it writes", spec.name);
            section.problem(Problem::warning(Some(span), message));
        }
    }
}

/// `GET /path` or `PUT,PATCH /path`.
fn parse_request(text: &str) -> Result<(Vec<String>, PathTemplate), String> {
    let (methods, path) = text.split_once(' ').ok_or_else(|| {
        format!("must be METHOD /path such as \"GET /users/{{id}}\", found `{text}`")
    })?;
    let methods: Vec<String> = methods.split(',').map(|m| m.trim().to_owned()).collect();
    for method in &methods {
        if method.is_empty() || !method.chars().all(|c| c.is_ascii_uppercase()) {
            return Err(format!("method `{method}` must be upper-case letters"));
        }
    }
    let reads = methods.iter().filter(|m| banyan_domain::spec::is_read_method(m)).count();
    if reads != 0 && reads != methods.len() {
        return Err("reads and writes cannot share an endpoint; declare two".to_owned());
    }
    Ok((methods, PathTemplate::new(path.trim())?))
}

pub(crate) fn read_expects(root: &Section<'_>, routes: &Routes) -> Vec<Expect> {
    let known: Vec<&str> = routes.lines.keys().map(EndpointName::as_str).collect();
    let mut expects = Vec::new();
    for section in root.sections("expect") {
        let request = section.required("request", "\"GET /users/3/messages\"", |text| {
            text.split_once(' ')
                .map(|(method, path)| (method.to_owned(), path.to_owned()))
                .ok_or_else(|| format!("must be METHOD /path, found `{text}`"))
        });
        let endpoint = section.required("endpoint", "\"messages.list\" (or \"none\")", value::text);
        section.finish();
        let (Some(request), Some(endpoint)) = (request, endpoint) else { continue };
        let wanted = match endpoint.value.as_str() {
            "none" => None,
            name if known.contains(&name) => EndpointName::new(name).ok(),
            name => {
                let mut problem =
                    Problem::error(endpoint.span, format!("endpoint `{name}` is not declared"));
                problem.hint = closest(name, known.iter().copied())
                    .map(|meant| format!("did you mean `{meant}`?"));
                section.problem(problem);
                continue;
            }
        };
        let (method, path) = request.value;
        expects.push(Expect {
            method,
            path,
            endpoint: wanted,
            line: request.span.map_or(0, |s| s.start),
        });
    }
    expects
}
