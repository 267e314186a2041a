//! `banyan shadow record`: live reads of a running `banyan serve` into a file, for a time.
//!
//! Owns the request and its progress. What must stay true: nothing is recorded longer than asked for, also when this
//! process dies; a recording that nobody takes up is an error, not a silent nothing.

use crate::args::RecordArgs;
use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, thousands};
use crate::wiring::asked::{self, Progress, Request};
use crate::wiring::control;
use crate::wiring::signal::Stop;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a running process may take to take the request up.
const TAKE_UP: Duration = Duration::from_secs(5);
/// How long the end of a recording may take.
const END: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(200);
const EVERY: Duration = Duration::from_secs(10);

pub(crate) async fn run(
    config: &Config,
    args: &RecordArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    for name in &args.endpoints {
        super::flip::endpoint(config, name)?;
    }
    let stop = Stop::listen();
    let now_ms = control::now_ms();
    let request = Request {
        id: format!("{}-{now_ms}", std::process::id()),
        out: absolute(&args.out),
        until_ms: now_ms.saturating_add(args.duration),
        bytes_max: args.max_size as u64,
        percent: args.percent.get(),
        endpoints: args.endpoints.clone(),
        raw: args.raw,
    };
    if args.raw {
        output.note("warning: --raw keeps credentials and personal data in the recording");
    }
    let (asking, state) = (asked::request_path(config), asked::progress_path(config));
    asked::put(&asking, &request).map_err(|error| {
        let doing = format!("cannot ask for a recording by `{}`", asking.display());
        Failure::of("banyan::replay::record", Exit::Unreachable, &doing, &error)
            .hint("run it where `banyan serve` runs, with the same configuration and rights")
    })?;
    let ended = follow(&request, &state, &stop, output).await;
    // Removing the request ends the recording.
    drop(std::fs::remove_file(&asking));
    ended?;
    let last = last(&request, &state).await?;
    tell(&request, &last, output);
    Ok(if last.recorded > 0 { Exit::Yes } else { Exit::Inconclusive })
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Waits until the recording is taken up, then until its time is over or somebody stops it.
async fn follow(
    request: &Request,
    state: &Path,
    stop: &Stop,
    output: &Output,
) -> Result<(), Failure> {
    let (begin, mut said) = (Instant::now(), Instant::now());
    loop {
        let progress = progress(request, state);
        if let Some(why) = progress.as_ref().and_then(|progress| progress.failed.clone()) {
            return Err(failed(request, &why));
        }
        if progress.is_none() && begin.elapsed() > TAKE_UP {
            return Err(Failure::new(
                "banyan::replay::record",
                Exit::Unreachable,
                "no running `banyan serve` took the recording up",
            )
            .hint("run it on the host of a proxy with shadow reads, with the same --config"));
        }
        let over = control::now_ms() >= request.until_ms;
        if over || stop.token.is_cancelled() || progress.as_ref().is_some_and(|p| p.ended) {
            return Ok(());
        }
        if let Some(progress) = progress
            && output.wants_progress()
            && said.elapsed() >= EVERY
        {
            said = Instant::now();
            let left = request.until_ms.saturating_sub(control::now_ms()) / 1_000;
            let (recorded, dropped) = (thousands(progress.recorded), thousands(progress.dropped));
            output
                .error_line(&format!("record {recorded} reads, {dropped} dropped, {left} s left"));
        }
        tokio::select! {
            () = stop.token.cancelled() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// What was recorded once all is on disk.
async fn last(request: &Request, state: &Path) -> Result<Progress, Failure> {
    let begin = Instant::now();
    loop {
        let progress = progress(request, state);
        match progress {
            Some(Progress { failed: Some(why), .. }) => return Err(failed(request, &why)),
            Some(progress) if progress.ended => return Ok(progress),
            Some(_) | None if begin.elapsed() > END => {
                return Err(failed(request, "the process that records does not answer any more"));
            }
            Some(_) | None => tokio::time::sleep(LOOK).await,
        }
    }
}

fn progress(request: &Request, state: &Path) -> Option<Progress> {
    asked::get::<Progress>(state).filter(|progress| progress.id == request.id)
}

fn failed(request: &Request, why: &str) -> Failure {
    let doing = format!("cannot record into `{}`", request.out.display());
    Failure::new("banyan::replay::record", Exit::Unreachable, doing)
        .because(why)
        .hint("name a new file in a folder that the serving process may write")
}

fn tell(request: &Request, last: &Progress, output: &Output) {
    if output.is_json() {
        let data = json!({
            "out": request.out,
            "recorded": last.recorded,
            "dropped": last.dropped,
            "raw": request.raw,
        });
        output.json("banyan.shadow.record/1", &data, &[]);
        return;
    }
    let (recorded, dropped) = (thousands(last.recorded), thousands(last.dropped));
    output.line(&format!(
        "recorded {recorded} reads into `{}`, {dropped} dropped",
        request.out.display()
    ));
}
