//! `banyan sync repair`.
//!
//! What must stay true: exit 0 only when both sides were seen to be equal; the exact rows are printed before
//! anything is enqueued, because a repair overwrites them.

use super::{is_inconclusive, open, print_keys, print_row, row_json, verify_json};
use crate::args::RepairArgs;
use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, thousands};
use crate::wiring::sync;
use banyan_sync_jobs::{Ports, RepairOptions, RepairOutcome, RepairReport};
use serde_json::json;
use std::time::Duration;

pub(super) async fn run(
    config: &Config,
    args: &RepairArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let [configured] = super::chosen(config, Some(&args.job))?[..] else {
        let what = format!("two jobs are called `{}`", args.job);
        return Err(Failure::new("banyan::sync::failed", Exit::Config, what));
    };
    let job = open(configured, args.to, Ports::default())?;
    let options = RepairOptions {
        keys: (!args.keys.is_empty()).then(|| args.keys.clone()),
        execute: args.execute,
        wait: Duration::from_secs(args.wait),
        ..RepairOptions::default()
    };
    let report = job.repair(options).await.map_err(|error| sync::failure(job.name(), &error))?;
    if output.is_json() {
        output.json("banyan.sync.repair/1", &repair_json(&args.job, &report), &[]);
    } else {
        print(&args.job, &report, output);
    }
    Ok(exit(&report))
}

fn exit(report: &RepairReport) -> Exit {
    let seen = report.after.as_ref().unwrap_or(&report.before);
    match report.outcome {
        RepairOutcome::NothingToDo | RepairOutcome::Shown | RepairOutcome::Applied => {
            match (seen.differing_total, is_inconclusive(seen)) {
                (0, false) => Exit::Yes,
                (0, true) => Exit::Inconclusive,
                (_, _) => Exit::No,
            }
        }
        RepairOutcome::Enqueued | RepairOutcome::Waiting => Exit::Inconclusive,
    }
}

fn print(job: &str, report: &RepairReport, output: &Output) {
    let before = &report.before;
    output.line(&format!(
        "{job}: {} aggregates checked, {} differ, {} hot and unverified",
        thousands(before.checked),
        thousands(before.differing_total),
        thousands(before.hot_total)
    ));
    if report.outcome == RepairOutcome::Shown {
        for key in &before.differing {
            output.line(&format!("  {}", key.key));
            key.rows.iter().for_each(|row| print_row(row, output));
        }
        let more = before.differing_total - before.differing.len() as u64;
        if more > 0 {
            output.line(&format!("  and {} aggregates more", thousands(more)));
        }
    } else {
        print_keys(before, output);
    }
    if let Some(origin) = &report.origin {
        output.line(&format!("{} aggregates marked, origin {origin}", thousands(report.enqueued)));
    }
    output.line(&match (&report.outcome, &report.after) {
        (RepairOutcome::NothingToDo, _) => "nothing to repair".to_owned(),
        (RepairOutcome::Shown, _) => {
            format!("nothing was written; to mark them: banyan sync repair {job} --execute")
        }
        (RepairOutcome::Enqueued, _) => {
            format!("no worker runs; to apply them: banyan sync run {job} --once")
        }
        (RepairOutcome::Waiting, _) => {
            format!("the worker has not applied all of them yet: banyan sync verify {job}")
        }
        (RepairOutcome::Applied, after) => format!(
            "applied by the running worker; afterwards {} differ",
            thousands(after.as_ref().map_or(0, |after| after.differing_total))
        ),
    });
}

fn repair_json(job: &str, report: &RepairReport) -> serde_json::Value {
    json!({
        "job": job,
        "outcome": report.outcome.as_str(),
        "enqueued": report.enqueued,
        "origin": report.origin,
        "before": verify_json(job, &report.before),
        "after": report.after.as_ref().map(|after| verify_json(job, after)),
        "rows": report.before.differing.iter().flat_map(|key| &key.rows).map(row_json).collect::<Vec<_>>(),
    })
}
