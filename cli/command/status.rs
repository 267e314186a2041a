//! `banyan status`: one page for on-call, the same object as the admin API's.

use crate::args::StatusArgs;
use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Paint, ago, columns, thousands};
use crate::wiring::control;
use crate::wiring::signal::Stop;
use crate::wiring::sync::NOT_COPIED_MS;
use banyan_control::ControlStore;
use banyan_control::status::{ContextView, MismatchView, StatusView, gather, view};
use std::sync::Arc;
use std::time::Duration;

pub(crate) async fn run(
    config: &Config,
    args: &StatusArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let store = control::look(config).await?;
    if !args.watch {
        show(config, store.as_ref(), output).await?;
        return Ok(Exit::Yes);
    }
    let stop = Stop::listen();
    loop {
        if !output.is_json() {
            // Clear the screen and go to its top left.
            output.line("\u{1b}[2J\u{1b}[H");
        }
        show(config, store.as_ref(), output).await?;
        tokio::select! {
            () = stop.token.cancelled() => return Ok(stop.exit().unwrap_or(Exit::Yes)),
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

async fn show(config: &Config, store: &dyn ControlStore, output: &Output) -> Result<(), Failure> {
    let catalogue = Arc::new(config.catalogue.clone());
    let inputs = gather(store, &config.environment, catalogue, None)
        .await
        .map_err(|error| control::store_failure(&error))?;
    let status = view(&inputs);
    if output.is_json() {
        output.json("banyan.status/1", &status, &[]);
    } else {
        output.lines(&lines(&status, output));
    }
    Ok(())
}

fn lines(status: &StatusView, output: &Output) -> Vec<String> {
    let instances = &status.instances;
    let frozen = match &status.frozen {
        Some(freeze) => {
            let why = super::route::who_why(&freeze.by, &freeze.reason);
            output.paint(Paint::Warn, &format!("FROZEN for {} by {why}", ago(freeze.age_ms)))
        }
        None => "not frozen".to_owned(),
    };
    let mut lines = vec![format!(
        "{}   store {}   proxies {}/{} on generation {}   {frozen}",
        output.paint(Paint::Strong, &status.environment),
        status.store.health.as_str(),
        instances.applied,
        instances.of,
        status.generation,
    )];
    let mut rows = vec![
        [
            "CONTEXT",
            "PHASE",
            "OWNER",
            "EPOCH",
            "SINCE",
            "WHO / WHY",
            "MISMATCH",
            "EMITS",
            "SYNC LAG",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    rows.extend(status.contexts.iter().map(row));
    lines.extend(columns(&rows));
    lines.extend(
        status
            .warnings
            .iter()
            .map(|warning| output.paint(Paint::Warn, &format!("warning: {warning}"))),
    );
    for job in status.contexts.iter().flat_map(|context| &context.sync) {
        // A job that follows and has nothing to say is silent.
        if !job.detail.is_empty() {
            let line = format!("sync {}: {}: {}", job.job, job.state, job.detail);
            lines.push(output.paint(Paint::Warn, &line));
        }
    }
    for context in &status.contexts {
        let step = |word: &str, command: &Option<String>| {
            command.as_ref().map(|command| format!("{word}: {command}"))
        };
        let steps: Vec<String> = [step("next", &context.next), step("back", &context.back)]
            .into_iter()
            .flatten()
            .collect();
        if !steps.is_empty() {
            lines.push(steps.join("     "));
        }
    }
    lines
}

fn row(context: &ContextView) -> Vec<String> {
    vec![
        context.context.clone(),
        context.phase.clone(),
        context.owner.to_string(),
        context.under_way().map_or_else(
            || context.epoch.to_string(),
            |under_way| format!("{} {under_way}", context.epoch),
        ),
        ago(context.changed.age_ms),
        super::route::who_why(&context.changed.by, &context.changed.reason),
        mismatch(context.mismatch),
        context.emits.to_string(),
        context.sync_lag_ms.map_or_else(|| "-".to_owned(), sync_lag),
    ]
}

pub(crate) fn sync_lag(lag_ms: u64) -> String {
    match lag_ms {
        NOT_COPIED_MS.. => "not copied".to_owned(),
        10_000..NOT_COPIED_MS => ago(lag_ms),
        0..10_000 => format!("{lag_ms} ms"),
    }
}

fn mismatch(seen: MismatchView) -> String {
    if seen.compared == 0 {
        return "-".to_owned();
    }
    #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
    let percent = seen.confirmed as f64 * 100.0 / seen.compared as f64;
    format!("{percent:.2}% of {}", thousands(seen.compared))
}
