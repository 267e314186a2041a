//! `banyan sync plan|run|verify`; the others have files of their own.

mod conflict;
mod doctor;
mod install;
mod list;
mod orders;
mod repair;

use crate::args::{JobArgs, SyncCommand};
use crate::config::{Config, Job as ConfiguredJob};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, thousands};
use crate::wiring::signal::Stop;
use crate::wiring::{control, sync};
use banyan_sync_jobs::{
    Job, NoPause, Plan, Ports, RowDiff, RunMode, RunSummary, Side, VerifyOptions, VerifyReport,
};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::task::JoinSet;

pub(crate) async fn run(
    config: &Config,
    command: &SyncCommand,
    output: &Output,
) -> Result<Exit, Failure> {
    match command {
        SyncCommand::List(which) => list::run(config, which, output).await,
        SyncCommand::Plan(which) => plan(config, which, output).await,
        SyncCommand::Run { job, once: _, follow, execute } => {
            let mode = if *follow { RunMode::Follow } else { RunMode::Once };
            run_jobs(config, job, mode, *execute, output).await
        }
        SyncCommand::Pause(args) => orders::pause(config, args, output).await,
        SyncCommand::Resume(args) => orders::resume(config, args, output).await,
        SyncCommand::Throttle(args) => orders::throttle(config, args, output).await,
        SyncCommand::Verify { job, since_clean } => verify(config, job, *since_clean, output).await,
        SyncCommand::Repair(args) => repair::run(config, args, output).await,
        SyncCommand::Install { job, execute } => {
            install::install(config, job.as_deref(), *execute, output).await
        }
        SyncCommand::Uninstall { job, execute } => {
            install::uninstall(config, job, *execute, output).await
        }
        SyncCommand::Conflicts { job, limit } => conflict::list(config, job, *limit, output).await,
        SyncCommand::Overrule { job, keys, to } => {
            conflict::overrule(config, (job, *to), keys, output).await
        }
        SyncCommand::Doctor(args) => doctor::run(config, args, output).await,
    }
}

fn chosen<'c>(config: &'c Config, which: Option<&str>) -> Result<Vec<&'c ConfiguredJob>, Failure> {
    let jobs: Vec<&ConfiguredJob> =
        config.jobs.iter().filter(|job| which.is_none_or(|name| job.spec.name == *name)).collect();
    match (which, jobs.is_empty()) {
        (_, false) => Ok(jobs),
        (Some(name), true) => Err(super::flip::unknown(
            "job",
            name,
            config.jobs.iter().map(|job| job.spec.name.as_str()),
        )),
        (None, true) => {
            Err(Failure::new("banyan::sync::none", Exit::Config, "the file has no [[sync]] job")
                .hint("banyan config reference shows one"))
        }
    }
}

fn open(job: &ConfiguredJob, to: Side, ports: Ports) -> Result<Job, Failure> {
    job.open(to, ports).map_err(|error| sync::failure(&job.spec.name, &error))
}

/// The chosen jobs, each with its direction: the one that was asked for, else away from the context's owner. Of all jobs,
/// those that do not describe the direction are left out. Without a control store nothing was ever moved.
async fn chosen_toward<'c>(
    config: &'c Config,
    which: &JobArgs,
) -> Result<Vec<(&'c ConfiguredJob, Side)>, Failure> {
    let table = match which.to {
        Some(_) => None,
        None => match control::look(config).await {
            Ok(store) => store.table().await.ok(),
            Err(_) => None,
        },
    };
    let away = |job: &ConfiguredJob| {
        let contexts = table.iter().flat_map(|table| &table.contexts);
        let owner = contexts.into_iter().find(|(name, _)| name.as_str() == job.spec.context);
        match owner {
            Some((_, state)) if job.spec.is_two_way() => state.owner.other(),
            Some(_) | None => Side::New,
        }
    };
    let mut jobs: Vec<(&ConfiguredJob, Side)> = chosen(config, which.job.as_deref())?
        .into_iter()
        .map(|job| (job, which.to.unwrap_or_else(|| away(job))))
        .collect();
    if which.job.is_none() {
        jobs.retain(|(job, to)| *to == Side::New || job.spec.is_two_way());
    }
    if jobs.is_empty() {
        let what = "no [[sync]] job goes to side `legacy`";
        return Err(Failure::new("banyan::sync::none", Exit::Config, what)
            .hint("a job needs `roots`, `capture` and `table` sections of both sides"));
    }
    Ok(jobs)
}

async fn plan(config: &Config, which: &JobArgs, output: &Output) -> Result<Exit, Failure> {
    let mut plans = Vec::new();
    for (configured, to) in chosen_toward(config, which).await? {
        let job = open(configured, to, Ports::default())?;
        plans.push(job.plan().await.map_err(|error| sync::failure(job.name(), &error))?);
    }
    let nothing_to_do = plans.iter().all(Plan::is_empty);
    if output.is_json() {
        let data: Vec<Value> = plans.iter().map(plan_json).collect();
        output.json("banyan.sync.plan/1", &json!({ "jobs": data }), &[]);
    } else {
        for plan in &plans {
            print_plan(plan, output);
        }
    }
    Ok(if nothing_to_do { Exit::Yes } else { Exit::No })
}

fn print_plan(plan: &Plan, output: &Output) {
    output.line(&format!(
        "job {}: {:?} -> {:?} (to {}), {} roots, {} changes pending, starts with {}",
        plan.job, plan.source, plan.target, plan.to, plan.roots_total, plan.pending, plan.phase
    ));
    for missing in &plan.missing {
        output.line(&format!("  would make {} on {}:", missing.object, missing.side));
        missing.statements.iter().for_each(|statement| output.line(&format!("    {statement};")));
    }
    for table in &plan.tables {
        output.line(&format!(
            "  table {}: of {} rows of {} sampled roots {} missing, {} different, {} extra",
            table.name, table.rows, plan.roots_sampled, table.missing, table.different, table.extra
        ));
    }
    plan.rows.iter().take(5).for_each(|row| print_row(row, output));
    if plan.is_empty() {
        output.line("  nothing to do");
    }
}

fn print_row(row: &RowDiff, output: &Output) {
    output.line(&format!("    {} {} {}", row.kind.as_str(), row.table, row.primary_key));
    for column in &row.columns {
        let show = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        output.line(&format!(
            "      {}: wanted {}, found {}",
            column.column,
            show(&column.wanted),
            show(&column.found)
        ));
    }
}

fn plan_json(plan: &Plan) -> Value {
    json!({
        "job": plan.job,
        "to": plan.to,
        "phase": plan.phase,
        "roots": plan.roots_total,
        "pending": plan.pending,
        "missing": plan.missing.iter().map(|m| json!({
            "side": m.side, "object": m.object, "statements": m.statements,
        })).collect::<Vec<_>>(),
        "tables": plan.tables.iter().map(|t| json!({
            "name": t.name, "rows": t.rows, "missing": t.missing, "different": t.different, "extra": t.extra,
        })).collect::<Vec<_>>(),
        "rows": plan.rows.iter().map(row_json).collect::<Vec<_>>(),
        "empty": plan.is_empty(),
    })
}

fn row_json(row: &RowDiff) -> Value {
    json!({
        "table": row.table,
        "kind": row.kind.as_str(),
        "primary_key": row.primary_key,
        "columns": row.columns.iter().map(|c| json!({
            "column": c.column, "wanted": c.wanted, "found": c.found,
        })).collect::<Vec<_>>(),
    })
}

async fn run_jobs(
    config: &Config,
    which: &JobArgs,
    mode: RunMode,
    execute: bool,
    output: &Output,
) -> Result<Exit, Failure> {
    let store = control::open(config).await?;
    super::flip::adopt(config, store.as_ref()).await?;
    let stop = Stop::listen();
    let meter = Arc::new(sync::Meter::new(output.clone()));
    let mut running = JoinSet::new();
    for (configured, to) in chosen_toward(config, which).await? {
        let ports = Ports {
            progress: meter.clone(),
            store: Arc::new(sync::Keeper(store.clone())),
            pause: Arc::new(NoPause),
        };
        let job = open(configured, to, ports)?;
        install_missing(&job, execute, output).await?;
        let token = stop.token.clone();
        running.spawn(async move {
            let result = job.run(mode, token).await;
            result.map_err(|error| sync::failure(job.name(), &error))
        });
    }
    let mut summaries = Vec::new();
    while let Some(joined) = running.join_next().await {
        let summary =
            joined.map_err(|error| Failure::new("banyan::bug", Exit::Bug, error.to_string()))?;
        summaries.push(summary?);
    }
    drop(meter);
    summaries.sort_by(|a, b| a.job.cmp(&b.job));
    answer(&summaries, output);
    Ok(stop.exit().unwrap_or(Exit::Yes))
}

/// Installs what is missing, or says what would be and refuses.
async fn install_missing(job: &Job, execute: bool, output: &Output) -> Result<(), Failure> {
    let plan = job.plan().await.map_err(|error| sync::failure(job.name(), &error))?;
    if plan.missing.is_empty() {
        return Ok(());
    }
    if !execute {
        print_plan(&plan, output);
        return Err(Failure::new(
            "banyan::sync::not_confirmed",
            Exit::Refused,
            format!("job `{}` needs {} objects in the databases", job.name(), plan.missing.len()),
        )
        .hint(format!("look at them above, then: banyan sync run {} --execute", job.name())));
    }
    let report = job.install().await.map_err(|error| sync::failure(job.name(), &error))?;
    for made in &report.made {
        output.note(&format!("{}: made {} on {}", job.name(), made.object, made.side));
    }
    Ok(())
}

fn answer(summaries: &[RunSummary], output: &Output) {
    if output.is_json() {
        let jobs: Vec<Value> = summaries
            .iter()
            .map(|s| {
                json!({
                    "job": s.job,
                    "outcome": s.outcome.as_str(),
                    "inserted": s.counters.rows_inserted,
                    "updated": s.counters.rows_updated,
                    "deleted": s.counters.rows_deleted,
                    "seconds": s.elapsed.as_secs_f64(),
                    "watermark_ms": s.watermark_ms,
                })
            })
            .collect();
        output.json("banyan.sync.run/1", &json!({ "jobs": jobs }), &[]);
        return;
    }
    for s in summaries {
        output.line(&format!(
            "{}: {} in {:.1} s: {} rows inserted, {} updated, {} deleted",
            s.job,
            s.outcome.as_str(),
            s.elapsed.as_secs_f64(),
            thousands(s.counters.rows_inserted),
            thousands(s.counters.rows_updated),
            thousands(s.counters.rows_deleted)
        ));
    }
}

async fn verify(
    config: &Config,
    which: &JobArgs,
    since_clean: bool,
    output: &Output,
) -> Result<Exit, Failure> {
    let mut reports: Vec<(String, VerifyReport)> = Vec::new();
    for (configured, to) in chosen_toward(config, which).await? {
        let job = open(configured, to, Ports::default())?;
        let report = job
            .verify(VerifyOptions { since_clean, ..VerifyOptions::default() })
            .await
            .map_err(|error| sync::failure(job.name(), &error))?;
        reports.push((job.name().to_owned(), report));
    }
    let drift: u64 = reports.iter().map(|(_, report)| report.differing_total).sum();
    let unknown = reports.iter().any(|(_, report)| is_inconclusive(report));
    if output.is_json() {
        let jobs: Vec<Value> =
            reports.iter().map(|(name, report)| verify_json(name, report)).collect();
        output.json("banyan.sync.verify/1", &json!({ "drift": drift, "jobs": jobs }), &[]);
    } else {
        for (name, report) in &reports {
            print_verify(name, report, output);
        }
    }
    Ok(match (drift, unknown) {
        (0, false) => Exit::Yes,
        (0, true) => Exit::Inconclusive,
        (_, _) => Exit::No,
    })
}

/// Whether a report leaves something open.
fn is_inconclusive(report: &VerifyReport) -> bool {
    report.hot_total > 0 || report.full_pass_needed.is_some()
}

fn print_verify(name: &str, report: &VerifyReport, output: &Output) {
    if let Some(reason) = report.full_pass_needed {
        output.line(&format!("{name}: a full pass is needed: {reason}"));
        return;
    }
    output.line(&format!(
        "{name}: {} aggregates checked, {} equal, {} drift, {} hot and unverified, {} changes pending",
        thousands(report.checked),
        thousands(report.equal),
        thousands(report.differing_total),
        thousands(report.hot_total),
        report.pending
    ));
    if !report.copied {
        output.line("  the first copy is not done: banyan sync run --once --execute");
    }
    for here in report.hashed_here.iter().filter(|here| !here.reason.ends_with("has no md5")) {
        output.line(&format!(
            "  {} on {}: hashed here, not in the database: {}",
            here.table, here.side, here.reason
        ));
    }
    print_keys(report, output);
}

/// The first hot and differing aggregates.
fn print_keys(report: &VerifyReport, output: &Output) {
    if let Some(key) = report.hot_unverified.first() {
        output.line(&format!("  hot, unverified: {key} and {} more", report.hot_total - 1));
    }
    for key in report.differing.iter().take(5) {
        output.line(&format!("  {}", key.key));
        key.rows.iter().take(5).for_each(|row| print_row(row, output));
    }
}

fn verify_json(name: &str, report: &VerifyReport) -> Value {
    json!({
        "job": name,
        "checked": report.checked,
        "equal": report.equal,
        "drift": report.differing_total,
        "hot": report.hot_total,
        "hot_keys": report.hot_unverified,
        "equal_by_lanes": report.equal_by_lanes,
        "hashed_here": report.hashed_here.iter().map(|here| json!({
            "side": here.side, "table": here.table, "reason": here.reason,
        })).collect::<Vec<_>>(),
        "full_pass_needed": report.full_pass_needed,
        "pending": report.pending,
        "copied": report.copied,
        "differing": report.differing.iter().map(|key| json!({
            "key": key.key,
            "rows": key.rows.iter().map(row_json).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}
