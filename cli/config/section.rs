//! The sections with fixed keys: control, proxy, admin, shadow.
//!
//! Each `read` takes a section and answers its values with defaults; the doc comment of a field and
//! `reference.toml` are the operator's manual. Problems are noted in the section, never thrown.

use super::problem::Problem;
use super::reader::Section;
use super::record::Record;
use super::{relative_to, url_relative_to, value};
use banyan_diff::{Protect, RuleSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;

/// `[control]`: where live state is kept.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    /// URL of the control store.
    pub(crate) store: String,
    /// Fail-static file: the last table a proxy applied.
    pub(crate) snapshot: String,
}

impl Control {
    pub(crate) fn read(section: &Section<'_>, base: &Path) -> Option<Self> {
        let store = section.or("store", "sqlite:banyan-control.db", |text| {
            if text.starts_with("sqlite:") {
                return Ok(text.to_owned());
            }
            Err("must start with `sqlite:` (Postgres and MySQL stores are not built yet)"
                .to_owned())
        });
        let snapshot = section.or("snapshot", "banyan-snapshot.json", value::text);
        section.finish();
        Some(Self {
            store: url_relative_to(base, &store?),
            snapshot: relative_to(base, &snapshot?),
        })
    }
}

/// `[proxy]`: the data plane.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    pub(crate) listen: SocketAddr,
    pub(crate) legacy: String,
    pub(crate) threads: usize,
    pub(crate) connect_timeout_ms: u64,
    pub(crate) read_timeout_ms: u64,
    pub(crate) new_read_timeout_ms: u64,
    pub(crate) grace_ms: u64,
    /// Writes of one context that may be held at a time during its cutover.
    pub(crate) hold_requests_max: usize,
    /// Longest time that one of them is held.
    pub(crate) hold_max_ms: u64,
    pub(crate) tee_max_bytes: usize,
    pub(crate) access_log: bool,
    pub(crate) expose_side: bool,
    pub(crate) force_networks: Vec<String>,
    pub(crate) tls: Option<Tls>,
    /// Key of the cookies and headers that Banyan signs; the same on every proxy of a fleet.
    pub(crate) secret: Option<String>,
}

/// Certificate and key of the public listener.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// The longest hold of a write, which `[cutover]` goes by, also when another key of `[proxy]` is wrong.
#[derive(Debug, Clone)]
pub(crate) struct HoldMax {
    pub(crate) ms: u64,
    /// Where that is said, if it is.
    pub(crate) place: Option<Range<usize>>,
}

impl HoldMax {
    pub(crate) fn read(proxy: &Section<'_>) -> Option<Self> {
        let ms = proxy.or("hold-max", "5s", value::duration_ms)?;
        Some(Self { ms, place: proxy.key_span("hold-max") })
    }
}

impl Proxy {
    pub(crate) fn read(section: &Section<'_>, hold: Option<&HoldMax>) -> Option<Self> {
        let listen = section.or("listen", "127.0.0.1:8080", value::address);
        let legacy = section.required("legacy", "\"http://127.0.0.1:3000\"", value::base_url);
        let threads = section.or("threads", "2", value::count);
        let connect_timeout_ms = section.or("connect-timeout", "1s", value::duration_ms);
        let read_timeout_ms = section.or("read-timeout", "60s", value::duration_ms);
        let new_read_timeout_ms = section.or("new-read-timeout", "2s", value::duration_ms);
        let hold_requests_max = section.or("hold-max-requests", "1000", value::count);
        let grace_ms = section.or("grace", "10s", value::duration_ms);
        let tee_max_bytes = section.or("tee-max-body", "1MiB", value::bytes);
        let access_log = section.or("access-log", "false", value::flag);
        let expose_side = section.or("expose-side", "false", value::flag);
        let networks = section.strings("force-networks").unwrap_or_default();
        let certificate = section.optional("tls-certificate", value::text);
        let key = section.optional("tls-key", value::text);
        let tls = match (certificate, key) {
            (Some(certificate), Some(key)) => {
                Some(Tls { certificate: certificate.value, key: key.value })
            }
            (None, None) => None,
            (Some(found), None) | (None, Some(found)) => {
                section.problem(
                    Problem::error(found.span, "TLS needs both `tls-certificate` and `tls-key`")
                        .hint("give both PEM files, or neither for plain HTTP"),
                );
                None
            }
        };
        let secret = secret(section, ["secret", "secret-env", "secret-file"], long_enough);
        section.finish();
        Some(Self {
            listen: listen?,
            legacy: legacy?.value,
            threads: threads?,
            connect_timeout_ms: connect_timeout_ms?,
            read_timeout_ms: read_timeout_ms?,
            new_read_timeout_ms: new_read_timeout_ms?,
            grace_ms: grace_ms?,
            hold_requests_max: hold_requests_max?,
            hold_max_ms: hold?.ms,
            tee_max_bytes: tee_max_bytes?,
            access_log: access_log?,
            expose_side: expose_side?,
            force_networks: networks.into_iter().map(|found| found.value).collect(),
            tls,
            secret,
        })
    }
}

fn long_enough(text: &str) -> Result<String, String> {
    if text.len() < 16 {
        return Err("must have at least 16 characters".to_owned());
    }
    Ok(text.to_owned())
}

/// `[admin]`: the admin API on its own listener.
#[derive(Debug, Clone)]
pub(crate) struct Admin {
    pub(crate) listen: SocketAddr,
    pub(crate) token: Option<String>,
}

impl Admin {
    pub(crate) fn read(section: &Section<'_>) -> Option<Self> {
        let listen = section.or("listen", "127.0.0.1:8081", value::address);
        let token = secret(section, ["token", "token-env", "token-file"], long_enough);
        section.finish();
        Some(Self { listen: listen?, token })
    }
}

/// `[shadow]`: mirroring and comparison.
#[derive(Debug, Clone)]
pub(crate) struct Shadow {
    pub(crate) queue: usize,
    pub(crate) queue_bytes: usize,
    pub(crate) workers: usize,
    pub(crate) timeout_ms: u64,
    pub(crate) recheck_ms: Vec<u64>,
    /// Without a watermark: how long a difference must stand before it is proven.
    pub(crate) recheck_quiet_ms: u64,
    /// Places whose values are shown in samples.
    pub(crate) show: Vec<String>,
    /// Whether short numbers in paths and queries are shown.
    pub(crate) show_ids: bool,
    /// Shadow traffic to the monolith.
    pub(crate) legacy: banyan_shadow::CapacityConfig,
    pub(crate) max_mismatch_percent: f64,
    pub(crate) confidence_percent: f64,
    /// Packs and own rules; also those that have expired.
    pub(crate) rules: RuleSet,
    /// Places that nothing may hide.
    pub(crate) protect: Protect,
    pub(crate) noise_percent: f64,
    /// The file of accepted noise.
    pub(crate) noise_lock: String,
    /// Paths of undeclared requests that are given instead of inferred.
    pub(crate) templates: Vec<banyan_template::Pin>,
    /// Where live reads are recorded, if they are.
    pub(crate) record: Option<Record>,
}

impl Shadow {
    pub(crate) fn read(section: &Section<'_>, text: &str, base: &Path) -> Option<Self> {
        let queue = section.or("queue", "1024", value::count);
        let queue_bytes = section.or("queue-bytes", "64MiB", value::bytes);
        let workers = section.or("workers", "2", value::count);
        let timeout_ms = section.or("timeout", "5s", value::duration_ms);
        let max_mismatch_percent = section.or("max-mismatch-percent", "0.1", value::share);
        let confidence_percent = section.or("confidence-percent", "95", value::share);
        let noise_percent = section.or("noise-percent", "2", value::share);
        let noise_lock = section.or("noise-lock", "noise.lock", value::text);
        let recheck_quiet_ms = section.or("recheck-quiet", "6s", value::duration_ms);
        let per_second = section.or("legacy-max-per-second", "300", super::limits::number);
        let at_once = section.or("legacy-max-concurrency", "4", value::count);
        let show = super::limits::shown(section);
        let show_ids = section.or("show-ids", "true", value::flag);
        let recheck = section.strings("recheck");
        let recheck_ms = match recheck {
            None => vec![250, 1_000, 4_000],
            Some(found) => found
                .into_iter()
                .filter_map(|item| match value::duration_ms(&item.value) {
                    Ok(ms) => Some(ms),
                    Err(rule) => {
                        section.problem(Problem::error(
                            item.span,
                            format!("`shadow.recheck`: {rule}"),
                        ));
                        None
                    }
                })
                .collect(),
        };
        let templates = section.strings("templates").unwrap_or_default();
        let templates = templates.into_iter().filter_map(|item| {
            let pin = banyan_template::Pin::new(&item.value);
            pin.map_err(|rule| {
                let text = format!("`shadow.templates`: {rule}");
                section.problem(Problem::error(item.span, text));
            })
            .ok()
        });
        let templates = templates.collect();
        let (rules, protect) = super::rules::read(section, text);
        let record = Record::read(&section.section("record"), base);
        section.finish();
        Some(Self {
            queue: queue?,
            queue_bytes: queue_bytes?,
            workers: workers?,
            timeout_ms: timeout_ms?,
            recheck_ms,
            show,
            show_ids: show_ids?,
            recheck_quiet_ms: recheck_quiet_ms?,
            legacy: banyan_shadow::CapacityConfig { per_second: per_second?, at_once: at_once? },
            max_mismatch_percent: max_mismatch_percent?,
            confidence_percent: confidence_percent?,
            rules: rules?,
            protect,
            noise_percent: noise_percent?,
            noise_lock: relative_to(base, &noise_lock?),
            templates,
            record,
        })
    }
}

/// A secret: in the file, in an environment variable, or in a file of its own; at most one of them.
pub(crate) fn secret(
    section: &Section<'_>,
    keys: [&'static str; 3],
    parse: impl Fn(&str) -> Result<String, String>,
) -> Option<String> {
    let [plain, from_env, from_file] = keys;
    let plain_value = section.optional(plain, &parse);
    let variable = section.optional(from_env, value::text);
    let file = section.optional(from_file, value::text);
    let given = usize::from(plain_value.is_some())
        + usize::from(variable.is_some())
        + usize::from(file.is_some());
    if given > 1 {
        section.problem(Problem::error(
            section.span(),
            format!("give only one of `{plain}`, `{from_env}` and `{from_file}`"),
        ));
    }
    let read = |what: String, text: Result<String, String>, span| {
        let parsed =
            text.and_then(|text| parse(text.trim()).map_err(|rule| format!("its value {rule}")));
        match parsed {
            Ok(value) => Some(value),
            Err(why) => {
                section.problem(Problem::error(
                    span,
                    format!("`{}`: {what}: {why}", section.name(plain)),
                ));
                None
            }
        }
    };
    if let Some(found) = variable {
        let text = std::env::var(&found.value).map_err(|_| "it is not set".to_owned());
        return read(format!("environment variable {}", found.value), text, found.span);
    }
    if let Some(found) = file {
        let text = std::fs::read_to_string(&found.value).map_err(|error| error.to_string());
        return read(format!("file {}", found.value), text, found.span);
    }
    plain_value.map(|found| found.value)
}
