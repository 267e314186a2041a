//! `banyan sync list`: where each job is, when it runs next, how it ended last.
//!
//! Reads the targets, and the control store for what workers reported; changes nothing. What must stay true: what
//! a worker reported is shown with its age when it is old, never as if it were so now.

use super::orders;
use crate::args::JobArgs;
use crate::command::audit::utc;
use crate::config::{Config, Job as ConfiguredJob};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, ago, columns, thousands};
use crate::wiring::control;
use crate::wiring::sync::{self, NOT_COPIED_MS};
use banyan_control::{SyncRun, SyncWatermark};
use banyan_sync_jobs::{JobStatus, Ports};
use serde_json::{Value, json};

/// Runs that are shown of one job.
const RUNS_SHOWN: usize = 10;
/// Runs that are read to find each job's last ones.
const RUNS_READ: u32 = 1_000;
/// A report older than this is not what happens now.
const REPORT_AGE_MAX_MS: u64 = 10_000;

/// One job with all that is known of it.
struct Listed<'c> {
    job: &'c ConfiguredJob,
    to: String,
    engines: (String, String),
    status: Result<JobStatus, Failure>,
    mark: Option<SyncWatermark>,
    runs: Vec<SyncRun>,
}

pub(crate) async fn run(
    config: &Config,
    which: &JobArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let (marks, runs, warnings) = reported(config).await;
    let mut listed = Vec::new();
    for (configured, to) in super::chosen_toward(config, which).await? {
        let name = &configured.spec.name;
        let job =
            configured.open(to, Ports::default()).map_err(|error| sync::failure(name, &error))?;
        let (source, target) = job.engines();
        let status = job.status().await.map_err(|error| sync::failure(name, &error));
        listed.push(Listed {
            job: configured,
            to: job.to().to_string(),
            engines: (source.as_str().to_owned(), target.as_str().to_owned()),
            status,
            mark: marks.iter().find(|m| m.job == *name && m.to == job.to()).cloned(),
            runs: runs.iter().filter(|r| r.job == *name && r.to == job.to()).cloned().collect(),
        });
    }
    let detailed = which.job.is_some();
    if output.is_json() {
        let jobs: Vec<Value> = listed.iter().map(|job| job.json(detailed)).collect();
        output.json("banyan.sync.list/1", &json!({ "jobs": jobs }), &warnings);
    } else {
        for warning in &warnings {
            output.note(&format!("warning: {warning}"));
        }
        print(&listed, detailed, output);
    }
    let away = listed.iter().any(|job| job.status.is_err());
    Ok(if away { Exit::Unreachable } else { Exit::Yes })
}

/// What workers told the control store; a warning when it cannot be read.
async fn reported(config: &Config) -> (Vec<SyncWatermark>, Vec<SyncRun>, Vec<String>) {
    let read = async {
        let store = control::look(config).await?;
        let failed = |error| control::store_failure(&error);
        let marks = store.watermarks().await.map_err(failed)?;
        Ok((marks, store.runs(RUNS_READ).await.map_err(failed)?))
    };
    let read: Result<_, Failure> = read.await;
    match read {
        Ok((marks, runs)) => (marks, runs, Vec::new()),
        Err(failure) => {
            let why = failure.because.join(": ");
            (Vec::new(), Vec::new(), vec![format!("no reports of workers: {why}")])
        }
    }
}

fn print(listed: &[Listed<'_>], detailed: bool, output: &Output) {
    let head = ["JOB", "TO", "ENGINES", "PHASE", "STATE", "LAG", "PENDING", "NEXT RUN", "LAST RUN"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(listed.iter().map(Listed::row));
    output.lines(&columns(&rows));
    for job in listed {
        job.remarks().iter().for_each(|remark| output.line(remark));
    }
    if !detailed {
        return;
    }
    for job in listed {
        let mut rows = vec![
            ["STARTED (UTC)", "TOOK", "OUTCOME", "ROOTS", "ROWS", "WHY"]
                .map(str::to_owned)
                .to_vec(),
        ];
        rows.extend(job.runs.iter().take(RUNS_SHOWN).map(run_row));
        output.line("");
        match job.runs.len() {
            0 => output.line("no run has ended yet"),
            _ => output.lines(&columns(&rows)),
        }
    }
}

fn run_row(run: &SyncRun) -> Vec<String> {
    let took = run.ended_ms.map(|ended| ago(ended.saturating_sub(run.started_ms)));
    let error = run.detail.get("error").and_then(Value::as_str);
    vec![
        utc(run.started_ms),
        took.unwrap_or_else(|| "-".to_owned()),
        run.state.clone(),
        thousands(run.aggregates),
        thousands(run.rows),
        error.unwrap_or("-").to_owned(),
    ]
}

impl Listed<'_> {
    fn row(&self) -> Vec<String> {
        let name = self.job.spec.name.clone();
        let engines = format!("{} > {}", self.engines.0, self.engines.1);
        let dash = || "-".to_owned();
        let pending = self.mark.as_ref().map(|mark| thousands(mark.pending));
        vec![
            name,
            self.to.clone(),
            engines,
            self.phase(),
            self.state(),
            self.lag_ms().map_or_else(dash, super::super::status::sync_lag),
            pending.unwrap_or_else(dash),
            self.next(),
            self.last(),
        ]
    }

    fn phase(&self) -> String {
        let Ok(status) = &self.status else { return "?".to_owned() };
        if !status.installed {
            return "not installed".to_owned();
        }
        let what = if status.sweeping { "sweep: " } else { "" };
        match status.phase.as_str() {
            "copy" => format!(
                "{what}copy {}/{}",
                thousands(status.roots_done),
                thousands(status.roots_total)
            ),
            phase => format!("{what}{phase}"),
        }
    }

    fn age_ms(&self) -> u64 {
        self.mark.as_ref().map_or(0, |mark| control::now_ms().saturating_sub(mark.at_ms))
    }

    /// What the worker does, or that there is none.
    fn state(&self) -> String {
        let Some(mark) = &self.mark else { return "never ran".to_owned() };
        let ended = ["done", "stopped"].contains(&mark.state.as_str());
        if ended || self.age_ms() <= REPORT_AGE_MAX_MS {
            return mark.state.clone();
        }
        format!("no worker ({} {} ago)", mark.state, ago(self.age_ms()))
    }

    fn lag_ms(&self) -> Option<u64> {
        let mark = self.mark.as_ref()?;
        let old = if self.age_ms() > REPORT_AGE_MAX_MS { self.age_ms() } else { 0 };
        Some(mark.lag_ms.saturating_add(old).min(NOT_COPIED_MS))
    }

    fn next(&self) -> String {
        let slot = self.status.as_ref().ok().and_then(|status| status.slot.as_ref());
        match slot {
            Some(slot) if slot.running_ms.is_some() => "now".to_owned(),
            Some(slot) => {
                let next = slot.next_ms.and_then(|next| u64::try_from(next).ok());
                next.map_or_else(
                    || "never".to_owned(),
                    |next| match next.checked_sub(control::now_ms()) {
                        Some(left) => format!("{} (in {})", utc(next), ago(left)),
                        None => format!("{} (due)", utc(next)),
                    },
                )
            }
            None if self.job.spec.follow => "follows".to_owned(),
            None => "-".to_owned(),
        }
    }

    fn last(&self) -> String {
        let Some(run) = self.runs.first() else { return "-".to_owned() };
        let ended = run.ended_ms.unwrap_or(run.started_ms);
        let age = ago(control::now_ms().saturating_sub(ended));
        format!("{} {age} ago, {} rows", run.state, thousands(run.rows))
    }

    /// Reasons and warnings, one line each.
    fn remarks(&self) -> Vec<String> {
        let name = &self.job.spec.name;
        let mut remarks = Vec::new();
        match &self.status {
            Err(failure) => {
                remarks.push(format!("{name}: cannot look: {}", failure.because.join(": ")));
            }
            Ok(status) => {
                if status.orders.paused && !self.says("paused") {
                    let why = super::super::route::who_why(&status.orders.by, &status.orders.why);
                    remarks.push(format!("{name}: paused by {why}"));
                }
                let note = status.slot.as_ref().map(|slot| slot.note.as_str());
                if let Some(note) = note.filter(|note| !note.is_empty()) {
                    remarks.push(format!("{name}: schedule: {note}"));
                }
                if status.cache_waiting > 0 && !self.says("cache") {
                    let waiting = thousands(status.cache_waiting);
                    remarks.push(format!("{name}: {waiting} cache keys wait for their server"));
                }
            }
        }
        if let Some(mark) = self.mark.as_ref().filter(|mark| !mark.detail.is_empty()) {
            remarks.push(format!("{name}: {}: {}", mark.state, mark.detail));
        }
        remarks
    }

    fn says(&self, word: &str) -> bool {
        self.mark.as_ref().is_some_and(|mark| mark.detail.contains(word))
    }

    fn json(&self, detailed: bool) -> Value {
        let spec = &self.job.spec;
        let status = self.status.as_ref().ok();
        let mark = self.mark.as_ref();
        let schedule = self.job.operate.schedule.as_ref().map(|schedule| {
            let slot = status.and_then(|status| status.slot.as_ref());
            json!({
                "schedule": schedule.text(),
                "time_zone": schedule.zone(),
                "next_ms": slot.and_then(|slot| slot.next_ms),
                "last_slot_ms": slot.and_then(|slot| slot.last_ms),
                "running_slot_ms": slot.and_then(|slot| slot.running_ms),
                "runs": slot.map(|slot| slot.runs),
                "passed": slot.map(|slot| slot.passed),
                "note": slot.map(|slot| slot.note.as_str()),
            })
        });
        let shown = if detailed { RUNS_SHOWN } else { 1 };
        json!({
            "job": spec.name,
            "context": spec.context,
            "to": self.to,
            "source": self.engines.0,
            "target": self.engines.1,
            "follow": spec.follow,
            "installed": status.map(|status| status.installed),
            "phase": status.map(|status| status.phase.as_str()),
            "sweeping": status.map(|status| status.sweeping),
            "done": status.map(|status| status.roots_done),
            "total": status.map(|status| status.roots_total),
            "worker": status.and_then(|status| status.worker.as_deref()),
            "state": mark.map(|mark| mark.state.as_str()),
            "reason": mark.map(|mark| mark.detail.as_str()).filter(|detail| !detail.is_empty()),
            "reported_ms": mark.map(|mark| mark.at_ms),
            "lag_ms": self.lag_ms().filter(|lag| *lag < NOT_COPIED_MS),
            "pending": mark.map(|mark| mark.pending),
            "orders": status.map(|status| orders::json(&spec.name, &status.orders)),
            "schedule": schedule,
            "cache_waiting": status.map(|status| status.cache_waiting),
            "runs": self.runs.iter().take(shown).collect::<Vec<_>>(),
            "error": self.status.as_ref().err().map(|failure| failure.because.join(": ")),
        })
    }
}
