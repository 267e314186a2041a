//! Sync jobs of the file.
//!
//! Owns `[[sync]]` with its roots, captures and tables, lowered to [`banyan_sync_jobs::JobSpec`].

use super::problem::Problem;
use super::reader::Section;
use super::routes::Routes;
use super::{Job, value};
use banyan_domain::{ContextName, Side};
use banyan_engine::{KeyShape, PartKind};
use banyan_sync_jobs::{
    CaptureEvent, CaptureMode, CaptureSpec, CursorSpec, DriftClass, DriftPolicy, JobSpec, KeepSpec,
    Limits, RootsSpec, Rules, SideUrls, TableSpec, ZeroDate,
};
use std::path::Path;
use std::time::Duration;

pub(crate) fn read_jobs(root: &Section<'_>, routes: &Routes, base: &Path) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    for section in root.sections("sync") {
        let Some(job) = read_job(&section, routes, base) else { continue };
        if jobs.iter().any(|other| other.spec.name == job.spec.name) {
            section.problem(Problem::error(
                section.span(),
                format!("job `{}` is declared twice", job.spec.name),
            ));
        }
        jobs.push(job);
    }
    jobs
}

fn read_job(section: &Section<'_>, routes: &Routes, base: &Path) -> Option<Job> {
    let name = section.required("job", "\"messages\"", value::text);
    let context = section
        .required("context", "\"messages\"", |t| ContextName::new(t).map_err(|e| e.to_string()));
    let root = section.required("root", "\"conversation\"", value::text);
    let follow = section.or("follow", "true", value::flag);
    let mode = section.or("mode", "trigger", mode);
    let separator = section.or("separator", ":", value::text);
    let parts = key_parts(section);
    let limits = limits(section);
    let drift = read_drift(section);
    let zero_date = section.or("zero-date", "error", ZeroDate::parse);
    let shape = KeyShape::new(separator?, parts?);
    let job_name = name.as_ref().map_or("", |name| name.value.as_str());
    let operate = super::operate::read(section, job_name, &shape, base);
    let roots = section.sections("roots").iter().filter_map(read_roots).collect();
    let captures = section.sections("capture").iter().filter_map(read_capture).collect();
    let mut round = Vec::new();
    let sections = section.sections("table");
    let tables = sections.iter().filter_map(|table| read_table(table, &mut round)).collect();
    section.finish();
    let (name, context) = (name?, context?);
    let Some(places) = routes.places.get(&context.value) else {
        section.problem(Problem::error(
            context.span,
            format!("context `{}` is not declared", context.value),
        ));
        return None;
    };
    let database = |side: Side| {
        let url = places.databases.get(&side).cloned();
        if url.is_none() {
            section.problem(
                Problem::error(
                    section.span(),
                    format!("job `{}` needs `context.{side}-database`", name.value),
                )
                .hint(format!(
                    "{side}-database = \"sqlite:{side}.db\", or {side}-database-env = \"NAME\""
                )),
            );
        }
        url
    };
    let (legacy, new) = (database(Side::Legacy), database(Side::New));
    let spec = JobSpec {
        name: name.value,
        context: context.value.to_string(),
        root: root?.value,
        follow: follow?,
        mode: mode?,
        key: shape,
        roots,
        captures,
        tables,
        limits: limits?,
        rules: Rules { zero_date: zero_date?, round, drift: drift? },
    };
    if let Err(error) = spec.check(Side::New) {
        for problem in error.problems {
            section.problem(Problem::error(
                section.span(),
                format!("job `{}`: {}: {}", spec.name, problem.place, problem.message),
            ));
        }
    }
    let urls = SideUrls { legacy: legacy?, new: new? };
    super::operate::check(section, &operate, &urls);
    Some(Job { spec, urls, operate })
}

fn key_parts(section: &Section<'_>) -> Option<Vec<PartKind>> {
    let mut parts = Vec::new();
    for found in section.strings("key").unwrap_or_default() {
        match found.value.as_str() {
            "integer" => parts.push(PartKind::Integer),
            "text" => parts.push(PartKind::Text),
            other => {
                section.problem(Problem::error(
                    found.span,
                    format!("key part must be `integer` or `text`, found `{other}`"),
                ));
                return None;
            }
        }
    }
    Some(parts)
}

fn read_drift(section: &Section<'_>) -> Option<DriftPolicy> {
    let Some(words) = section.strings("continue-on-drift") else {
        return Some(DriftPolicy::default());
    };
    let mut continued = Vec::new();
    for found in words {
        let Some(class) = DriftClass::from_word(&found.value) else {
            let known: Vec<String> =
                DriftClass::CHOOSABLE.iter().map(|class| format!("`{}`", class.as_str())).collect();
            section.problem(Problem::error(
                found.span,
                format!("drift must be one of {}, found `{}`", known.join(", "), found.value),
            ));
            return None;
        };
        continued.push(class);
    }
    Some(DriftPolicy { continued })
}

fn limits(section: &Section<'_>) -> Option<Limits> {
    let default = Limits::default();
    let per_chunk =
        section.or("keys-per-chunk", &default.keys_per_chunk.to_string(), value::count)?;
    let max =
        section.or("keys-per-chunk-max", &default.keys_per_chunk_max.to_string(), value::count)?;
    let changes =
        section.or("changes-per-batch", &default.changes_per_batch.to_string(), value::count)?;
    let target = section.or("chunk-target", "500ms", value::duration_ms)?;
    Some(Limits {
        keys_per_chunk: per_chunk,
        keys_per_chunk_max: max,
        changes_per_batch: changes,
        chunk_target: Duration::from_millis(target),
        ..default
    })
}

fn mode(text: &str) -> Result<CaptureMode, String> {
    match text {
        "trigger" => Ok(CaptureMode::Trigger),
        "cursor" => Ok(CaptureMode::Cursor),
        "sweep" => Ok(CaptureMode::Sweep),
        other => Err(format!("must be `trigger`, `cursor` or `sweep`, found `{other}`")),
    }
}

fn side(text: &str) -> Result<Side, String> {
    Side::from_word(text).ok_or_else(|| format!("must be `legacy` or `new`, found `{text}`"))
}

fn read_roots(section: &Section<'_>) -> Option<RootsSpec> {
    let from = section.or("side", "legacy", side);
    let select = section.required("select", "\"SELECT id AS k FROM users\"", value::text);
    section.finish();
    Some(RootsSpec { side: from?, select: select?.value })
}

fn read_capture(section: &Section<'_>) -> Option<CaptureSpec> {
    let from = section.or("side", "legacy", side);
    let table = section.required("table", "\"messages\"", value::text);
    let key = section.required("key", "\"{row}.id\"", value::text);
    let mut events = Vec::new();
    for found in section.strings("events").unwrap_or_default() {
        match found.value.as_str() {
            "insert" => events.push(CaptureEvent::Insert),
            "update" => events.push(CaptureEvent::Update),
            "delete" => events.push(CaptureEvent::Delete),
            other => section.problem(Problem::error(
                found.span,
                format!("event must be `insert`, `update` or `delete`, found `{other}`"),
            )),
        }
    }
    if events.is_empty() {
        events = CaptureEvent::ALL.to_vec();
    }
    let cursor = section.optional("cursor", value::text);
    let id = section.or("cursor-id", "id", value::text);
    let skew = section.or("cursor-skew", "60s", value::duration_ms);
    section.finish();
    let (id, skew_seconds) = (id?, skew?.div_ceil(1_000));
    let cursor = cursor.map(|column| CursorSpec { column: column.value, id, skew_seconds });
    Some(CaptureSpec { side: from?, table: table?.value, key: key?.value, events, cursor })
}

fn read_table(section: &Section<'_>, round: &mut Vec<(String, String)>) -> Option<TableSpec> {
    let to = section.or("to", "new", side);
    let name = section.required("name", "\"conversations\"", value::text);
    let key = section.strings("key");
    let root_column = section.required("root-column", "\"conversation_id\"", value::text);
    let select = section.required("select", "\"SELECT .. WHERE .. IN ({keys})\"", value::text);
    let current = section.optional("current", value::text);
    let shared = section.or("shared", "false", value::flag);
    let keep = section.sections("keep").iter().filter_map(read_keep).collect();
    let rounded = section.strings("round").unwrap_or_default();
    section.finish();
    let Some(key) = key else {
        section.problem(
            Problem::error(section.span(), "`sync.table.key` is missing").hint("key = [\"id\"]"),
        );
        return None;
    };
    let name = name?;
    round.extend(rounded.into_iter().map(|column| (name.value.clone(), column.value)));
    Some(TableSpec {
        to: to?,
        name: name.value,
        key: key.into_iter().map(|found| found.value).collect(),
        root_column: root_column?.value,
        select: select?.value,
        current: current.map(|found| found.value),
        keep,
        shared: shared?,
    })
}

fn read_keep(section: &Section<'_>) -> Option<KeepSpec> {
    let column = section.required("column", "\"created_at\"", value::text);
    let unless = section.optional("unless", value::text);
    section.finish();
    Some(KeepSpec { column: column?.value, unless: unless.map(|found| found.value) })
}
