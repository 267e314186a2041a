//! Sync jobs wired to the control store and to progress on stderr.

use super::pace::{Pace, short};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, thousands};
use async_trait::async_trait;
use banyan_control::{ControlStore, SyncRun, SyncWatermark};
use banyan_domain::ContextName;
use banyan_sync_jobs::{
    NoPause, NoProgress, Ports, Progress, ProgressEvent, ProgressStore, ProgressStoreError,
    RunRecord, SyncError, Watermark,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A sync error as a failure.
pub(crate) fn failure(job: &str, error: &SyncError) -> Failure {
    let exit = if matches!(
        error,
        SyncError::LeaseHeld { .. }
            | SyncError::Fenced { .. }
            | SyncError::OtherDirection { .. }
            | SyncError::Drift { .. }
    ) {
        Exit::Refused
    } else if error.is_unreachable() {
        Exit::Unreachable
    } else {
        // What is left is what the file says: a mapping, an address, a limit.
        Exit::Config
    };
    let failure =
        Failure::of("banyan::sync::failed", exit, &format!("cannot run job `{job}`"), error);
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Ports of a run that shows nothing and keeps its records in the control store.
pub(crate) fn quiet_ports(store: &Arc<dyn ControlStore>) -> Ports {
    Ports {
        progress: Arc::new(NoProgress),
        store: Arc::new(Keeper(store.clone())),
        pause: Arc::new(NoPause),
    }
}

/// Keeps watermarks and runs in the control store.
pub(crate) struct Keeper(pub(crate) Arc<dyn ControlStore>);

/// The lag of a target that has not been copied yet: nothing of it may be relied on.
pub(crate) const NOT_COPIED_MS: u64 = u32::MAX as u64 * 1_000;

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn context(name: &str) -> Result<ContextName, ProgressStoreError> {
    ContextName::new(name).map_err(|error| ProgressStoreError(error.to_string()))
}

#[async_trait]
impl ProgressStore for Keeper {
    async fn save_watermark(&self, mark: &Watermark) -> Result<(), ProgressStoreError> {
        let mark = SyncWatermark {
            job: mark.job.clone(),
            context: context(&mark.context)?,
            to: mark.to,
            watermark_ms: unsigned(mark.watermark_ms),
            lag_ms: u64::try_from(mark.lag_ms).unwrap_or(NOT_COPIED_MS),
            pending: mark.pending,
            state: mark.state.as_str().to_owned(),
            detail: mark.reason.clone().unwrap_or_default(),
            at_ms: super::control::now_ms(),
        };
        self.0.put_watermark(&mark).await.map_err(|error| ProgressStoreError(error.to_string()))
    }

    async fn save_run(&self, run: &RunRecord) -> Result<(), ProgressStoreError> {
        let run = SyncRun {
            id: format!("{}-{}-{}", run.job, run.started_ms, std::process::id()),
            job: run.job.clone(),
            context: context(&run.context)?,
            to: run.to,
            mode: "run".to_owned(),
            started_ms: unsigned(run.started_ms),
            ended_ms: Some(unsigned(run.ended_ms)),
            state: run.outcome.as_str().to_owned(),
            aggregates: run.counters.roots_applied,
            rows: run.counters.rows(),
            detail: json!({
                "inserted": run.counters.rows_inserted,
                "updated": run.counters.rows_updated,
                "deleted": run.counters.rows_deleted,
                "error": run.error,
            }),
        };
        self.0.record_run(&run).await.map_err(|error| ProgressStoreError(error.to_string()))
    }
}

/// Progress on stderr: a bar per job on a terminal, else one line per job every 10 s or 10 %.
pub(crate) struct Meter {
    output: Output,
    started: Instant,
    jobs: Mutex<HashMap<String, Shown>>,
}

struct Shown {
    bar: Option<ProgressBar>,
    pace: Pace,
}

impl Meter {
    pub(crate) fn new(output: Output) -> Self {
        Self { output, started: Instant::now(), jobs: Mutex::default() }
    }
}

impl Progress for Meter {
    fn observe(&self, event: ProgressEvent) {
        if !self.output.wants_progress() {
            return;
        }
        // A poisoned lock means a panic while printing: nothing is lost by printing on.
        let mut jobs = self.jobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let shown =
            jobs.entry(event.job.clone()).or_insert_with(|| Shown::new(&self.output, &event));
        let now = self.started.elapsed();
        let eta = shown.pace.eta(now, &event);
        if let Some(bar) = &shown.bar {
            bar.set_length(event.total.max(1));
            bar.set_position(event.done.min(event.total.max(1)));
            bar.set_message(line(&event, eta));
            return;
        }
        if shown.pace.is_due(now, &event) {
            self.print(&event, eta);
        }
    }
}

impl Meter {
    fn print(&self, event: &ProgressEvent, eta: Option<Duration>) {
        if !self.output.is_json() {
            self.output.error_line(&format!("{} {}", event.job, line(event, eta)));
            return;
        }
        let value = json!({
            "type": "progress",
            "job": event.job,
            "state": event.state.as_str(),
            "reason": event.reason,
            "done": event.done,
            "total": event.total,
            "rows_per_second": event.rows_per_second,
            "lag_ms": event.lag_ms,
            "pending": event.pending,
            "eta_s": eta.map(|eta| eta.as_secs()),
        });
        self.output.error_line(&value.to_string());
    }
}

impl Shown {
    fn new(output: &Output, event: &ProgressEvent) -> Self {
        let bar = output.draws_progress().then(|| {
            let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{prefix:10} [{bar:24}] {msg}") {
                bar.set_style(style);
            }
            bar.set_prefix(event.job.clone());
            bar
        });
        Self { bar, pace: Pace::default() }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let jobs = self.jobs.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        jobs.values().filter_map(|shown| shown.bar.as_ref()).for_each(ProgressBar::finish);
    }
}

/// `412,000/1,930,114 21.3 %  8,100 rows/s  lag 4 s  state waiting: reason  eta 3m07s`.
fn line(event: &ProgressEvent, eta: Option<Duration>) -> String {
    let mut parts = Vec::new();
    if event.total > 0 {
        #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
        let percent = event.done as f64 * 100.0 / event.total as f64;
        parts.push(format!("{}/{} {percent:.1} %", thousands(event.done), thousands(event.total)));
    }
    parts.push(format!("{:.0} rows/s", event.rows_per_second));
    parts.extend(event.lag_ms.map(|lag| format!("lag {} ms", lag.max(0))));
    parts.push(match &event.reason {
        Some(reason) => format!("state {}: {reason}", event.state.as_str()),
        None => format!("state {}", event.state.as_str()),
    });
    parts.extend(eta.map(|eta| format!("eta {}", short(eta))));
    parts.join("  ")
}
