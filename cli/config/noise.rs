//! `noise.lock`: the noise that people accepted, as a reviewed file beside the configuration.
//!
//! Owns its form, both ways: reading with all problems and their places, and writing in one fixed order. It exists as a
//! file of its own because a program writes it and people review its changes. What must stay true: the same entries give
//! the same bytes; comments of people stay with the entry below them; a file of a newer version is refused by name; what is never
//! noise is refused here again, whoever wrote it.

use super::Config;
use super::problem::{Problem, Severity, closest};
use super::reader::{Found, Section, Shared};
use super::value;
use crate::exit::Exit;
use crate::failure::Failure;
use banyan_diff::{Protect, Rule, RuleError, RuleSet, RuleSource};
use banyan_domain::EndpointName;
use banyan_noise::Refusal;
use banyan_shadow::NOISE_RULE;
use chrono::{DateTime, SecondsFormat, Utc};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use toml::de::DeTable;

/// The version that this build writes, and the newest that it reads.
const VERSION: usize = 1;

/// Largest file that is read, in bytes.
const FILE_MAX: u64 = 4 << 20;

const HEAD: &str = "\
# Noise that was accepted: places at which legacy differs from itself, so that a difference of new says nothing there.
# Presence, type and class of the value are still compared. Written by `banyan shadow noise accept` and `forget`, read
# by `banyan serve` while it runs. Review changes like code; comments above an entry are kept.
";

/// What an entry is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) endpoint: String,
    pub(crate) path: String,
    pub(crate) kind: String,
}

/// One accepted place, with what was known when it was accepted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) pairs: u64,
    pub(crate) noisy: u64,
    pub(crate) rate_low_percent: f64,
    pub(crate) rate_high_percent: f64,
    pub(crate) first_ms: u64,
    pub(crate) last_ms: u64,
    pub(crate) example: String,
    pub(crate) accepted_by: String,
    pub(crate) accepted_ms: u64,
    pub(crate) reason: String,
    /// Lines of people above the entry, with their `#`.
    pub(crate) comments: Vec<String>,
}

/// The file.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Lock {
    pub(crate) entries: BTreeMap<Place, Entry>,
}

/// A lock with the bytes it was read from.
#[derive(Debug, Clone)]
pub(crate) struct LockFile {
    pub(crate) path: PathBuf,
    /// Nothing when there is no file yet.
    pub(crate) text: Option<String>,
    pub(crate) lock: Lock,
    pub(crate) warnings: Vec<Problem>,
}

impl LockFile {
    /// Reads the lock of a configuration; a missing file is an empty lock.
    ///
    /// # Errors
    /// Exit 3 with all problems of the file, or when it cannot be read.
    pub(crate) fn load(config: &Config) -> Result<Self, Failure> {
        let (file, errors) = Self::examine(config)?;
        if errors.is_empty() {
            return Ok(file);
        }
        let text = file.text.unwrap_or_default();
        Err(Failure::config(&file.path, &text, errors))
    }

    /// The same, with its problems, for `banyan check`.
    ///
    /// # Errors
    /// Only when the file cannot be read at all.
    pub(crate) fn examine(config: &Config) -> Result<(Self, Vec<Problem>), Failure> {
        let path = PathBuf::from(&config.shadow.noise_lock);
        let text = text_of(&path)?;
        let Some(text) = text else {
            let lock = Lock::default();
            return Ok((Self { path, text: None, lock, warnings: Vec::new() }, Vec::new()));
        };
        let names: Vec<&str> = config.catalogue.endpoints().map(|e| e.name.as_str()).collect();
        let (lock, problems) = parse(&text, &names, &config.shadow.protect);
        let (errors, warnings) =
            problems.into_iter().partition(|problem| problem.severity == Severity::Error);
        Ok((Self { path, text: Some(text), lock, warnings }, errors))
    }

    /// Writes the lock, all of it or nothing; a file that another one changed meanwhile is left alone.
    ///
    /// # Errors
    /// Exit 5 when the file changed since it was read, exit 6 when it cannot be written.
    pub(crate) fn save(&self) -> Result<(), Failure> {
        if text_of(&self.path)? != self.text {
            return Err(Failure::new(
                "banyan::noise::changed",
                Exit::Refused,
                format!("cannot write `{}`: it changed since it was read", self.path.display()),
            )
            .hint("run the command again"));
        }
        write(&self.path, &self.lock.render()).map_err(|error| {
            Failure::new(
                "banyan::noise::not_written",
                Exit::Unreachable,
                format!("cannot write `{}`", self.path.display()),
            )
            .because(error.to_string())
            .hint("check that its folder exists and is writable")
        })
    }
}

/// The text of the file, if there is one.
pub(crate) fn text_of(path: &Path) -> Result<Option<String>, Failure> {
    let unreadable = |why: String| {
        Failure::new(
            "banyan::noise::unreadable",
            Exit::Config,
            format!("cannot read the accepted noise `{}`", path.display()),
        )
        .because(why)
        .hint("`noise-lock` in [shadow] names the file; without a file no noise is accepted")
    };
    let size = match std::fs::metadata(path) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error.to_string())),
    };
    if size > FILE_MAX {
        return Err(unreadable(format!("it has {size} bytes, at most {FILE_MAX} are read")));
    }
    std::fs::read_to_string(path).map(Some).map_err(|error| unreadable(error.to_string()))
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or_else(|| Path::new(".")))?;
    file.write_all(text.as_bytes())?;
    let mode = std::fs::metadata(path).map_or(0o644, |found| found.permissions().mode());
    file.as_file().set_permissions(std::fs::Permissions::from_mode(mode & 0o777))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Reads a lock; `endpoints` are the declared ones.
pub(crate) fn parse(text: &str, endpoints: &[&str], protect: &Protect) -> (Lock, Vec<Problem>) {
    let (document, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        let problem = |error: toml::de::Error| {
            Problem::error(error.span(), format!("not TOML: {}", error.message()))
        };
        return (Lock::default(), syntax.into_iter().map(problem).collect());
    }
    let shared = Rc::new(Shared::default());
    let root = Section::root(document.get_ref(), Rc::clone(&shared));
    let lock = read(&root, text, endpoints, protect);
    let mut problems = std::mem::take(&mut shared.notes.borrow_mut().problems);
    problems.sort_by_key(|problem| problem.span.as_ref().map_or(0, |span| span.start));
    (lock, problems)
}

fn read(root: &Section<'_>, text: &str, endpoints: &[&str], protect: &Protect) -> Lock {
    let mut lock = Lock::default();
    let Some(version) = root.required("version", "1", value::count) else { return lock };
    if version.value > VERSION {
        let why = format!(
            "version {} was written by a newer release, this one reads up to {VERSION}",
            version.value
        );
        root.problem(Problem::error(version.span, why).hint("use that release"));
        return lock;
    }
    for section in root.sections("noise") {
        let Some((place, mut entry)) = read_entry(&section, endpoints, protect) else { continue };
        entry.comments = comments_before(text, section.span().map_or(0, |span| span.start));
        if lock.entries.contains_key(&place) {
            let why = format!("`{}` of `{}` is listed twice", place.path, place.endpoint);
            section.problem(Problem::error(section.span(), why).hint("remove one of them"));
            continue;
        }
        lock.entries.insert(place, entry);
    }
    root.finish();
    lock
}

fn read_entry(
    section: &Section<'_>,
    endpoints: &[&str],
    protect: &Protect,
) -> Option<(Place, Entry)> {
    let number = |text: &str| text.parse::<u64>().map_err(|_| whole(text));
    let endpoint = section.required("endpoint", "\"messages.list\"", value::text);
    let path = section.required("path", "\"$.server_time\"", value::text);
    let kind = section.required("kind", "\"value_changed:string\"", value::text);
    let pairs = section.required("pairs", "120", number);
    let noisy = section.required("noisy", "30", number);
    let low = section.required("rate-low-percent", "18.1", value::share);
    let high = section.required("rate-high-percent", "33.4", value::share);
    let first = section.required("first-seen", "2026-01-31T10:00:00Z", moment);
    let last = section.required("last-seen", "2026-01-31T10:00:00Z", moment);
    let example = section.required("example", "\"tok:string(<=16):0123456789ab\"", one_line);
    let accepted_by = section.required("accepted-by", "\"ada\"", one_line);
    let accepted_at = section.required("accepted-at", "2026-01-31T10:00:00Z", moment);
    let reason = section.required("reason", "\"a random token\"", one_line);
    section.finish();
    let (endpoint, path, kind) = (endpoint?, path?, kind?);
    check_endpoint(section, &endpoint, endpoints);
    check_place(section, &path, &kind.value, protect);
    let (pairs, noisy) = (pairs?, noisy?);
    if noisy.value == 0 || noisy.value > pairs.value {
        let why = format!("`noisy` must be 1 to `pairs` ({})", pairs.value);
        section.problem(Problem::error(noisy.span, why));
    }
    let place = Place { endpoint: endpoint.value, path: path.value, kind: kind.value };
    let entry = Entry {
        pairs: pairs.value,
        noisy: noisy.value,
        rate_low_percent: low?.value,
        rate_high_percent: high?.value,
        first_ms: first?.value,
        last_ms: last?.value,
        example: example?.value,
        accepted_by: accepted_by?.value,
        accepted_ms: accepted_at?.value,
        reason: reason?.value,
        comments: Vec::new(),
    };
    Some((place, entry))
}

/// An endpoint that is gone makes an entry useless, not wrong.
fn check_endpoint(section: &Section<'_>, endpoint: &Found<String>, endpoints: &[&str]) {
    let name = endpoint.value.as_str();
    if endpoints.contains(&name) {
        return;
    }
    let why = format!("no endpoint `{name}` is declared: this entry has no effect");
    let hint = closest(name, endpoints.iter().copied()).map_or_else(
        || format!("banyan shadow noise forget {name}"),
        |meant| format!("did you mean `{meant}`?"),
    );
    section.problem(Problem::warning(endpoint.span.clone(), why).hint(hint));
}

fn check_place(section: &Section<'_>, path: &Found<String>, kind: &str, protect: &Protect) {
    let span = path.span.clone();
    let refused = |refusal: Refusal| {
        let why = format!("`{}` cannot be accepted as noise: {refusal}", path.value);
        Problem::error(span.clone(), why).hint(refusal.hint())
    };
    if let Some(refusal) = Refusal::of(&path.value, kind) {
        return section.problem(refused(refusal));
    }
    match rule(&path.value, "read from the lock file") {
        Err(error) => {
            section.problem(Problem::error(span, format!("`path`: {error}")).hint(error.hint()));
        }
        Ok(rule) if protect.refuses(&rule).is_some() => {
            section.problem(refused(Refusal::UserProtected));
        }
        Ok(_) => {}
    }
}

fn whole(text: &str) -> String {
    format!("must be a whole number, found `{text}`")
}

fn moment(text: &str) -> Result<u64, String> {
    let read = DateTime::parse_from_rfc3339(text).ok();
    read.and_then(|time| u64::try_from(time.timestamp_millis()).ok())
        .ok_or_else(|| format!("must be a time such as 2026-01-31T10:00:00Z, found `{text}`"))
}

fn one_line(text: &str) -> Result<String, String> {
    if text.contains(['\n', '\r']) {
        Err("must be one line".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// The comment lines above a place of the text, up to the first other line.
fn comments_before(text: &str, at: usize) -> Vec<String> {
    let before = text.get(..at).unwrap_or(text);
    let mut comments: Vec<String> = before
        .lines()
        .rev()
        .skip_while(|line| line.trim_start().starts_with("[["))
        .map(str::trim)
        .take_while(|line| line.is_empty() || line.starts_with('#'))
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    comments.reverse();
    comments
}

fn rule(path: &str, reason: &str) -> Result<Rule, RuleError> {
    let rule = Rule::ignore_value(path, reason)?.named(&format!("{NOISE_RULE}{path}"));
    Ok(rule.from_source(RuleSource::Learned))
}

impl Lock {
    /// The text of the file.
    pub(crate) fn render(&self) -> String {
        let mut text = format!("{HEAD}version = {VERSION}\n");
        for (place, entry) in &self.entries {
            text.push('\n');
            entry.comments.iter().for_each(|comment| text.extend([comment.as_str(), "\n"]));
            let quoted = |value: &str| toml::Value::String(value.to_owned()).to_string();
            let lines = [
                ("endpoint", quoted(&place.endpoint)),
                ("path", quoted(&place.path)),
                ("kind", quoted(&place.kind)),
                ("pairs", entry.pairs.to_string()),
                ("noisy", entry.noisy.to_string()),
                ("rate-low-percent", format!("{:.2}", entry.rate_low_percent)),
                ("rate-high-percent", format!("{:.2}", entry.rate_high_percent)),
                ("first-seen", time(entry.first_ms)),
                ("last-seen", time(entry.last_ms)),
                ("example", quoted(&entry.example)),
                ("accepted-by", quoted(&entry.accepted_by)),
                ("accepted-at", time(entry.accepted_ms)),
                ("reason", quoted(&entry.reason)),
            ];
            text.push_str("[[noise]]\n");
            for (key, value) in lines {
                text.extend([key, " = ", &value, "\n"]);
            }
        }
        text
    }

    /// The rules of the endpoints that have accepted noise: their own from `base`, then one per accepted path.
    pub(crate) fn rules(
        &self,
        base: &BTreeMap<EndpointName, RuleSet>,
    ) -> BTreeMap<EndpointName, RuleSet> {
        let mut paths: BTreeMap<&str, BTreeSet<(&str, &str)>> = BTreeMap::new();
        for (place, entry) in &self.entries {
            let of_endpoint = paths.entry(&place.endpoint).or_default();
            if !of_endpoint.iter().any(|(path, _)| *path == place.path) {
                of_endpoint.insert((&place.path, &entry.reason));
            }
        }
        let with_noise = base.iter().filter_map(|(name, rules)| {
            let accepted = paths.get(name.as_str())?;
            // A path that is no selector was refused when the file was read.
            let learned = accepted.iter().filter_map(|(path, reason)| {
                let reason = if reason.is_empty() { "accepted noise" } else { reason };
                rule(path, reason).ok()
            });
            Some((name.clone(), rules.clone().with(learned)))
        });
        with_noise.collect()
    }
}

/// Whether a path can be the selector of a rule.
pub(crate) fn is_selectable(path: &str) -> bool {
    rule(path, "asked").is_ok()
}

/// Whether the configuration protects a path from being hidden.
pub(crate) fn is_protected(config: &Config, path: &str) -> bool {
    rule(path, "asked").is_ok_and(|rule| config.shadow.protect.refuses(&rule).is_some())
}

fn time(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(DateTime::<Utc>::from_timestamp_millis);
    time.unwrap_or_default().to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests;
