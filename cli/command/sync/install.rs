//! `banyan sync install|uninstall`: the DDL is printed first and run on request.

use super::{chosen, open};
use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::wiring::sync;
use banyan_sync_jobs::{Job, PlanCapture, Ports, Side};
use serde_json::{Value, json};

pub(super) async fn install(
    config: &Config,
    which: Option<&str>,
    execute: bool,
    output: &Output,
) -> Result<Exit, Failure> {
    let mut all = Vec::new();
    let mut steps = 0;
    for configured in chosen(config, which)? {
        for to in directions(configured.spec.is_two_way()) {
            let job = open(configured, to, Ports::default())?;
            let failed = |error| sync::failure(job.name(), &error);
            let missing = if execute {
                job.install().await.map_err(failed)?.made
            } else {
                job.missing().await.map_err(failed)?
            };
            steps += missing.len();
            if !output.is_json() {
                print(&job, &missing, execute, output);
            }
            all.push(as_json(&job, &missing));
        }
    }
    if output.is_json() {
        let data = json!({ "executed": execute, "jobs": all });
        output.json("banyan.sync.install/1", &data, &[]);
    } else if !execute && steps > 0 {
        output.line("Nothing was changed. --execute runs these statements.");
    }
    Ok(if execute || steps == 0 { Exit::Yes } else { Exit::No })
}

pub(super) async fn uninstall(
    config: &Config,
    which: &str,
    execute: bool,
    output: &Output,
) -> Result<Exit, Failure> {
    let mut statements: Vec<(Side, String)> = Vec::new();
    for configured in chosen(config, Some(which))? {
        for to in directions(configured.spec.is_two_way()) {
            let job = open(configured, to, Ports::default())?;
            let report = job.uninstall(execute).await;
            let report = report.map_err(|error| sync::failure(job.name(), &error))?;
            statements.extend(report.statements);
        }
    }
    if output.is_json() {
        let list: Vec<Value> =
            statements.iter().map(|(side, sql)| json!({ "side": side, "sql": sql })).collect();
        let data = json!({ "job": which, "executed": execute, "statements": list });
        output.json("banyan.sync.uninstall/1", &data, &[]);
    } else {
        for (side, sql) in &statements {
            output.line(&format!("  on {side}: {sql};"));
        }
        output.line(match (statements.is_empty(), execute) {
            (true, _) => "Nothing of the job is installed.",
            (false, true) => "Removed. The data stays.",
            (false, false) => "Nothing was changed. --execute runs these statements.",
        });
    }
    Ok(if execute || statements.is_empty() { Exit::Yes } else { Exit::No })
}

/// Both, if the mapping describes both.
fn directions(is_two_way: bool) -> Vec<Side> {
    if is_two_way { vec![Side::New, Side::Legacy] } else { vec![Side::New] }
}

fn print(job: &Job, missing: &[PlanCapture], execute: bool, output: &Output) {
    if missing.is_empty() {
        output.line(&format!("{} to {}: all is installed", job.name(), job.to()));
        return;
    }
    let what = if execute { "made" } else { "would make" };
    output.line(&format!("{} to {}:", job.name(), job.to()));
    for step in missing {
        output.line(&format!("  {what} {} on {}:", step.object, step.side));
        step.statements.iter().for_each(|sql| output.line(&format!("    {sql};")));
    }
}

fn as_json(job: &Job, missing: &[PlanCapture]) -> Value {
    let steps: Vec<Value> = missing
        .iter()
        .map(|step| {
            json!({ "side": step.side, "object": step.object, "statements": step.statements })
        })
        .collect();
    json!({ "job": job.name(), "to": job.to(), "steps": steps })
}
