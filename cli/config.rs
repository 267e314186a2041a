//! The whole of `banyan.toml`: what exists, where it is, and the limits.
//!
//! Owns reading, checking and the effective values of the one configuration file. It exists so that
//! every command sees the same file, checked as a whole. What must stay true: a file with any problem is
//! refused with all of its problems; phases in the file are starting phases, never live state; secrets can come
//! from the environment or a file, and are never printed.

pub(crate) mod cutover;
pub(crate) mod database;
pub(crate) mod events;
pub(crate) mod limits;
pub(crate) mod noise;
pub(crate) mod operate;
pub(crate) mod problem;
pub(crate) mod reader;
pub(crate) mod record;
pub(crate) mod routes;
pub(crate) mod rules;
pub(crate) mod section;
pub(crate) mod value;

use crate::exit::Exit;
use crate::failure::Failure;
use banyan_domain::{Catalogue, ContextName, EndpointName, Side};
use problem::{Problem, Severity};
use reader::{Effective, Environment, Section, Shared};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use toml::de::DeTable;

/// The commented reference of every key, printed by `banyan config reference`.
pub(crate) const REFERENCE: &str = include_str!("config/reference.toml");

/// The checked configuration.
#[derive(Debug)]
pub(crate) struct Config {
    /// The file it came from, as the user named it.
    pub(crate) file: PathBuf,
    /// Name of the environment, shown by `status`.
    pub(crate) environment: String,
    pub(crate) control: section::Control,
    pub(crate) proxy: section::Proxy,
    pub(crate) admin: section::Admin,
    pub(crate) shadow: section::Shadow,
    pub(crate) cutover: banyan_cutover::Limits,
    pub(crate) events: Option<events::Events>,
    pub(crate) catalogue: Catalogue,
    pub(crate) contexts: BTreeMap<ContextName, ContextPlaces>,
    /// Where answers of an endpoint say which version of their data they show.
    pub(crate) versions: BTreeMap<EndpointName, banyan_shadow::Version>,
    pub(crate) jobs: Vec<Job>,
    pub(crate) expects: Vec<routes::Expect>,
    /// Line of each endpoint in the file.
    pub(crate) endpoint_lines: BTreeMap<EndpointName, usize>,
    /// Every scalar with its origin.
    pub(crate) effective: Vec<Effective>,
    /// Warnings that do not prevent use.
    pub(crate) warnings: Vec<Problem>,
    /// The text, for places.
    pub(crate) text: String,
}

/// Where the two sides of a context are.
#[derive(Debug, Clone)]
pub(crate) struct ContextPlaces {
    /// Base URL of the new side.
    pub(crate) new: String,
    /// Databases of the sides, for sync jobs.
    pub(crate) databases: BTreeMap<Side, String>,
    /// Columns with ids of the same things, which both sides give.
    pub(crate) sequences: Vec<banyan_sync_jobs::SequencePair>,
    /// Query that counts events which the monolith committed and has not published yet.
    pub(crate) legacy_unpublished: Option<String>,
    /// Which events are its own.
    pub(crate) events: events::ContextEvents,
    /// What shadow reads may cost it.
    pub(crate) shadow: limits::ContextShadow,
}

/// One sync job with the databases it joins.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) spec: banyan_sync_jobs::JobSpec,
    pub(crate) urls: banyan_sync_jobs::SideUrls,
    /// Schedule, throttle and caches.
    pub(crate) operate: banyan_sync_jobs::Operate,
}

impl Job {
    /// The job as it is configured.
    ///
    /// # Errors
    /// What is wrong with its text or its addresses.
    pub(crate) fn open(
        &self,
        to: banyan_domain::Side,
        ports: banyan_sync_jobs::Ports,
    ) -> Result<banyan_sync_jobs::Job, banyan_sync_jobs::SyncError> {
        let job =
            banyan_sync_jobs::Job::open_toward(self.spec.clone(), self.urls.clone(), ports, to)?;
        Ok(job.operated_by(self.operate.clone()))
    }
}

/// A file that could be read, with what was found in it.
pub(crate) struct Loaded {
    pub(crate) file: PathBuf,
    pub(crate) text: String,
    pub(crate) problems: Vec<Problem>,
    pub(crate) config: Option<Config>,
}

/// Reads and checks the configuration.
///
/// # Errors
/// A [`Failure`] with exit code 3 that lists all problems with their places.
pub(crate) fn load(file: &Path) -> Result<Config, Failure> {
    let loaded = examine(file, &environment())?;
    match loaded.config {
        Some(config) => Ok(config),
        None => Err(Failure::config(&loaded.file, &loaded.text, loaded.problems)),
    }
}

/// Reads the configuration and keeps its problems, for `banyan check`.
///
/// # Errors
/// Only when the file cannot be read at all.
pub(crate) fn examine(file: &Path, environment: &Environment) -> Result<Loaded, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::new(
            "banyan::config::unreadable",
            Exit::Config,
            format!("cannot read the configuration `{}`", file.display()),
        )
        .because(error.to_string())
        .hint("name it with --config FILE; banyan config reference > banyan.toml starts a new one")
    })?;
    let (problems, config) = parse(file, &text, environment);
    Ok(Loaded { file: file.to_owned(), text, problems, config })
}

fn environment() -> Environment {
    std::env::vars().filter(|(name, _)| name.starts_with("BANYAN_")).collect()
}

fn parse(file: &Path, text: &str, environment: &Environment) -> (Vec<Problem>, Option<Config>) {
    let (document, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        let problems = syntax
            .into_iter()
            .map(|error| Problem::error(error.span(), format!("not TOML: {}", error.message())))
            .collect();
        return (problems, None);
    }
    let shared =
        Rc::new(Shared { environment: environment.clone(), notes: std::cell::RefCell::default() });
    let root = Section::root(document.get_ref(), Rc::clone(&shared));
    let config = read(file, text, &root);
    root.finish();
    let notes = shared.notes.take();
    let (mut errors, warnings): (Vec<Problem>, Vec<Problem>) =
        notes.problems.into_iter().partition(|problem| problem.severity == Severity::Error);
    errors.sort_by_key(|problem| problem.span.as_ref().map_or(0, |span| span.start));
    match (config, errors.is_empty()) {
        (Some(mut config), true) => {
            config.effective = notes.effective;
            config.warnings = warnings;
            (Vec::new(), Some(config))
        }
        (_, _) => (errors, None),
    }
}

fn read(file: &Path, text: &str, root: &Section<'_>) -> Option<Config> {
    let base = file.parent().unwrap_or_else(|| Path::new(".")).to_owned();
    let environment = root.or("environment", "development", value::text);
    let control = section::Control::read(&root.section("control"), &base);
    let proxy = root.section("proxy");
    let hold = section::HoldMax::read(&proxy);
    let proxy = section::Proxy::read(&proxy, hold.as_ref());
    let admin = section::Admin::read(&root.section("admin"));
    let shadow = section::Shadow::read(&root.section("shadow"), text, &base);
    let cutover = cutover::read(&root.section("cutover"), hold.as_ref());
    let routes = routes::read(root, text, &base);
    let jobs = database::read_jobs(root, &routes, &base);
    let events = events::Events::read(&root.section("events"), &base);
    let expects = routes::read_expects(root, &routes);
    Some(Config {
        file: file.to_owned(),
        environment: environment?,
        control: control?,
        proxy: proxy?,
        admin: admin?,
        shadow: shadow?,
        cutover: cutover?,
        events,
        catalogue: routes.catalogue,
        contexts: routes.places,
        versions: routes.versions,
        jobs,
        expects,
        endpoint_lines: routes.lines,
        effective: Vec::new(),
        warnings: Vec::new(),
        text: text.to_owned(),
    })
}

/// A path of the file, relative to the file's folder.
pub(crate) fn relative_to(base: &Path, path: &str) -> String {
    if Path::new(path).is_absolute() || base.as_os_str().is_empty() {
        return path.to_owned();
    }
    base.join(path).display().to_string()
}

/// The same for URLs that hold a path: `sqlite:x.db`, `embedded:x.db`.
pub(crate) fn url_relative_to(base: &Path, url: &str) -> String {
    for scheme in ["sqlite:", "embedded:"] {
        if let Some(path) = url.strip_prefix(scheme) {
            let path = path.strip_prefix("//").unwrap_or(path);
            return format!("{scheme}{}", relative_to(base, path));
        }
    }
    url.to_owned()
}

#[cfg(test)]
mod tests;
