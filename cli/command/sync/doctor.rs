//! `banyan sync doctor`: what could make a job lose changes, stop, or hurt the application.
//!
//! What must stay true: the exit code says whether anything failed; warnings alone are a yes.

use super::{chosen_toward, open};
use crate::args::DoctorArgs;
use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::wiring::sync;
use banyan_sync_jobs::{DoctorCheck, DoctorOptions, DoctorReport, Finding, Ports};
use serde_json::{Value, json};

pub(super) async fn run(
    config: &Config,
    args: &DoctorArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let options = DoctorOptions { sample: args.sample };
    let mut reports = Vec::new();
    for (configured, to) in chosen_toward(config, &args.job).await? {
        let job = open(configured, to, Ports::default())?;
        let report = job.doctor(options).await;
        reports.push(report.map_err(|error| sync::failure(job.name(), &error))?);
    }
    if output.is_json() {
        let jobs: Vec<Value> = reports.iter().map(report_json).collect();
        output.json("banyan.sync.doctor/1", &json!({ "jobs": jobs }), &[]);
    } else {
        for report in &reports {
            print(report, output);
        }
    }
    let failed = reports.iter().any(|report| report.worst() == Finding::Fail);
    Ok(if failed { Exit::No } else { Exit::Yes })
}

fn print(report: &DoctorReport, output: &Output) {
    output.line(&format!("job {}:", report.job));
    for check in &report.checks {
        output.line(&format!(
            "  {:4}  {:6}  {:14}  {}",
            check.finding.as_str(),
            side(check),
            check.topic,
            [check.object.as_str(), check.text.as_str()].join(" ").trim()
        ));
        if let Some(hint) = check.hint.as_ref().filter(|_| check.finding != Finding::Ok) {
            output.line(&format!("        hint: {hint}"));
        }
    }
    let count = |finding| report.checks.iter().filter(|check| check.finding == finding).count();
    output.line(&format!(
        "  {} ok, {} warn, {} fail",
        count(Finding::Ok),
        count(Finding::Warn),
        count(Finding::Fail)
    ));
}

fn side(check: &DoctorCheck) -> &'static str {
    check.side.map_or("both", banyan_domain::Side::as_str)
}

fn report_json(report: &DoctorReport) -> Value {
    let checks: Vec<Value> = report
        .checks
        .iter()
        .map(|check| {
            json!({
                "result": check.finding.as_str(),
                "side": check.side,
                "topic": check.topic,
                "object": check.object,
                "text": check.text,
                "hint": check.hint,
            })
        })
        .collect();
    json!({ "job": report.job, "result": report.worst().as_str(), "checks": checks })
}
