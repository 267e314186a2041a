//! How a sync job is operated: its schedule, what holds it back, and the caches it clears.
//!
//! Lowered to [`banyan_sync_jobs::Operate`]; a key that needs another one says so at its place.

use super::problem::{Problem, closest};
use super::reader::Section;
use super::section::secret;
use super::{relative_to, value};
use banyan_domain::Side;
use banyan_engine::KeyShape;
use banyan_sync_jobs::{
    CacheHook, CacheKey, Engine, LagQuery, Missed, Operate, Overlap, Schedule, ScheduleError,
    ScheduleRules, SideThrottle, SideUrls, Throttle,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Reads what is about operating in a `[[sync]]` section.
pub(crate) fn read(section: &Section<'_>, job: &str, shape: &KeyShape, base: &Path) -> Operate {
    let schedule = schedule(section, job);
    let rows = section.optional("max-rows-per-second", value::count);
    let pause_file = section.optional("pause-file", value::text);
    let sides = section.sections("throttle").iter().filter_map(throttle).collect();
    let caches = section.sections("cache").iter().filter_map(|found| cache(found, shape)).collect();
    Operate {
        schedule,
        throttle: Throttle {
            rows_per_second: rows.and_then(|found| u64::try_from(found.value).ok()),
            pause_file: pause_file.map(|found| PathBuf::from(relative_to(base, &found.value))),
            sides,
        },
        caches,
    }
}

/// What has no effect or no meaning with these databases.
pub(crate) fn check(section: &Section<'_>, operate: &Operate, urls: &SideUrls) {
    let sections = section.sections("throttle");
    for (found, side) in sections.iter().zip(&operate.throttle.sides) {
        if side.running_max.is_some() && matches!(urls.engine(side.side), Ok(Engine::Sqlite)) {
            let text = format!("`sync.throttle.running-max` has no meaning on {}", side.side);
            section.problem(
                Problem::error(found.key_span("running-max"), text)
                    .hint("SQLite has no server whose statements could be counted"),
            );
        }
    }
}

fn schedule(section: &Section<'_>, job: &str) -> Option<Schedule> {
    let text = section.optional("schedule", value::text);
    let default = ScheduleRules::default();
    let zone = section.or("time-zone", "UTC", value::text);
    let jitter = section.or("jitter", "0s", value::duration_ms);
    let deadline = section.or("deadline", "1m", value::duration_ms);
    let missed = section.or("missed", default.missed.as_str(), |word| {
        Missed::from_word(word)
            .ok_or_else(|| format!("must be `skip`, `one` or `all`, found `{word}`"))
    });
    let overlap = section.or("overlap", default.overlap.as_str(), |word| {
        Overlap::from_word(word)
            .ok_or_else(|| format!("must be `forbid` or `queue`, found `{word}`"))
    });
    let Some(text) = text else {
        no_schedule(section);
        return None;
    };
    let rules = ScheduleRules {
        jitter: Duration::from_millis(jitter?),
        deadline: Duration::from_millis(deadline?),
        missed: missed?,
        overlap: overlap?,
    };
    let zone = zone?;
    let error = match Schedule::new(job, &text.value, &zone, rules) {
        Ok(schedule) => return Some(schedule),
        Err(error) => error,
    };
    let (key, hint) = advice(&error, &zone);
    let place = section.key_span(key).or_else(|| section.span());
    let problem = Problem::error(place, format!("`sync.{key}`: {error}"));
    section.problem(match hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    });
    None
}

/// The key at fault, and what would be right.
fn advice(error: &ScheduleError, zone: &str) -> (&'static str, Option<String>) {
    match error {
        ScheduleError::Zone { .. } => {
            let meant = closest(zone, Schedule::zones()).map(str::to_owned);
            let city = || {
                Schedule::zones()
                    .find(|known| known.rsplit('/').next().is_some_and(|city| city == zone))
                    .map(str::to_owned)
            };
            let meant = city().or(meant);
            ("time-zone", meant.map(|meant| format!("did you mean `{meant}`?")))
        }
        ScheduleError::AllNeedsQueue => ("missed", Some("overlap = \"queue\"".to_owned())),
        ScheduleError::TooLong { key } => (key, None),
        ScheduleError::Cron { .. } | ScheduleError::Never { .. } => {
            ("schedule", Some("schedule = \"*/5 * * * *\"".to_owned()))
        }
    }
}

/// Rules without a schedule would look as if they did something.
fn no_schedule(section: &Section<'_>) {
    for key in ["time-zone", "jitter", "deadline", "missed", "overlap"] {
        if let Some(span) = section.key_span(key) {
            let text = format!("`sync.{key}` has no effect without `schedule`");
            section.problem(Problem::error(Some(span), text).hint("schedule = \"*/5 * * * *\""));
        }
    }
}

fn side(text: &str) -> Result<Side, String> {
    Side::from_word(text).ok_or_else(|| format!("must be `legacy` or `new`, found `{text}`"))
}

fn throttle(section: &Section<'_>) -> Option<SideThrottle> {
    let side = section.required("side", "\"legacy\"", side);
    let query = section.optional("lag-query", value::text);
    let max = section.optional("lag-max", value::duration_ms);
    let running = section.optional("running-max", value::count);
    let replica = secret(section, ["replica", "replica-env", "replica-file"], value::database_url);
    section.finish();
    let refuse = |text: &str, hint: &str| {
        section.problem(Problem::error(section.span(), text).hint(hint));
    };
    let lag = match (query, max) {
        (Some(query), Some(max)) => Some(LagQuery {
            query: query.value,
            max: Duration::from_millis(max.value),
            replica: replica.map(|url| SideUrls { legacy: url.clone(), new: url }),
        }),
        (None, None) if replica.is_some() => {
            refuse("`sync.throttle.replica` needs `lag-query` and `lag-max`", "lag-max = \"5s\"");
            None
        }
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            refuse("replica lag needs both `lag-query` and `lag-max`", "lag-max = \"5s\"");
            return None;
        }
    };
    let running_max = running.and_then(|found| u64::try_from(found.value).ok());
    if lag.is_none() && running_max.is_none() {
        refuse(
            "`[[sync.throttle]]` measures nothing",
            "running-max = 40, or lag-query and lag-max",
        );
    }
    Some(SideThrottle { side: side?.value, lag, running_max })
}

fn cache(section: &Section<'_>, shape: &KeyShape) -> Option<CacheHook> {
    let side = section.required("side", "\"legacy\"", side);
    let server = section.required("server", "\"127.0.0.1:11211\"", server);
    let names = section.strings("keys").unwrap_or_default();
    section.finish();
    if names.is_empty() {
        section.problem(
            Problem::error(section.span(), "`sync.cache.keys` is missing")
                .hint("keys = [\"user/{key.1}/inbox\"]"),
        );
    }
    let mut keys = Vec::new();
    for name in names {
        match CacheKey::parse(&name.value, shape) {
            Ok(key) => keys.push(key),
            Err(rule) => {
                let text = format!("`sync.cache.keys`: `{}`: {rule}", name.value);
                section.problem(Problem::error(name.span, text));
            }
        }
    }
    Some(CacheHook { side: side?.value, server: server?.value, keys })
}

/// `HOST:PORT`, short enough for its column.
fn server(text: &str) -> Result<String, String> {
    let rule = || format!("must be HOST:PORT such as \"127.0.0.1:11211\", found `{text}`");
    let (host, port) = text.rsplit_once(':').ok_or_else(rule)?;
    let legal = !host.is_empty() && text.len() <= 64 && !text.contains(char::is_whitespace);
    match port.parse::<u16>() {
        Ok(port) if port > 0 && legal => Ok(text.to_owned()),
        Ok(_) | Err(_) => Err(rule()),
    }
}
