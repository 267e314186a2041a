//! `banyan shadow replay`: a recording against new, judged like live traffic.
//!
//! Owns the way from arguments to a run, its progress on stderr, and its report. What must stay true: the report and the
//! gate are those of live shadowing; a replay that was stopped says how to go on, and never passes.

use super::publish;
use crate::args::{ReplayArgs, ReportFiles};
use crate::config::noise::LockFile;
use crate::config::{self, Config};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, thousands};
use crate::wiring::signal::Stop;
use crate::wiring::{control, noise, recording, shadow};
use banyan_diff::RuleSet;
use banyan_domain::{Compiled, EndpointName, RouteTable};
use banyan_replay::{
    Baseline, Finished, Headers, Limits, ReplayConfig, ReplayError, Routes, Seen, Selection,
    Undeclared, replay,
};
use banyan_report::{BaseUrls, GateVerdict, Report, Source, render_terminal};
use banyan_shadow::{HttpConfig, Period, ShadowConfig, SystemClock, assemble};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Time between two plain lines of progress.
const EVERY: Duration = Duration::from_secs(10);
/// Largest answer that is compared without a configuration.
const BODY_BYTES_MAX: usize = 8 << 20;
/// Confirmed mismatches that may wait for their re-reads per cause: a replay has the time that live traffic has not.
const PER_CAUSE_MAX: usize = 64;

pub(crate) async fn run(file: &Path, args: &ReplayArgs, output: &Output) -> Result<Exit, Failure> {
    let loaded = configuration(file)?;
    publish::one_on_stdout(&args.report, output)?;
    let gate = super::shadow::demanded(loaded.as_ref(), &args.proof)?;
    let routes = routes(loaded.as_ref(), args)?;
    let settings = settings(file, loaded.as_ref(), args)?;
    // With those that expired: the report tells of them.
    let declared =
        loaded.as_ref().map_or_else(RuleSet::builtin, |config| config.shadow.rules.clone());
    let rules = args.rules.iter().try_fold(declared, |rules, file| {
        super::diff::read_rules(file).map(|more| rules.with(more))
    })?;
    let state = settings.state.clone();
    if !args.resume
        && let Some(state) = state.as_ref().filter(|state| state.exists())
    {
        let state = state.display();
        output.note(&format!("note: `{state}` is of an unfinished replay; --resume would go on with it, now it starts over"));
    }
    let stop = Stop::listen();
    let (sender, receiver) = watch::channel(Seen::default());
    let meter = tokio::spawn(meter(receiver, output.clone()));
    let clock = Arc::new(SystemClock);
    let ended = replay(settings, routes, clock, sender, stop.token.clone()).await;
    drop(meter.await);
    let finished = ended.map_err(|error| failure(&error, args))?;
    let period = Period { generated_ms: control::now_ms(), since_ms: None };
    let report = assemble(&finished.summary, gate, &finished.declared, period);
    let rules = shadow::rule_reports(&rules, &finished.summary, control::now_ms());
    let report =
        Report { source: source(&args.files), rules, ..report }.with_replay(|_| urls(args));
    tell(&report, &finished, &args.report, output)?;
    if let Some(exit) = stop.exit().filter(|_| finished.stopped) {
        output.note("stopped; the same command with --resume goes on");
        return Ok(exit);
    }
    if let Some(state) = state {
        // Only a leftover: the replay is through.
        drop(std::fs::remove_file(state));
    }
    let verdict = report.verdict();
    if finished.stopped && matches!(verdict, GateVerdict::Pass) {
        return Ok(Exit::Inconclusive);
    }
    Ok(publish::exit(verdict))
}

/// What was replayed, by name: where it lies is of no use to who reads the report elsewhere.
fn source(files: &[PathBuf]) -> Source {
    let name = |file: &PathBuf| {
        file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned()
    };
    let names: Vec<String> = files.iter().map(name).collect();
    Source::Replay { file: names.join(", ") }
}

/// Where an example can be asked again; not when the baseline is what was answered then.
fn urls(args: &ReplayArgs) -> Option<BaseUrls> {
    let (legacy, new) = (args.baseline.clone(), args.against.clone());
    (legacy != "recorded").then_some(BaseUrls { legacy, new })
}

/// The configuration, if there is one: a replay works without.
fn configuration(file: &Path) -> Result<Option<Config>, Failure> {
    if !file.exists() && file == Path::new("banyan.toml") {
        return Ok(None);
    }
    config::load(file).map(Some)
}

fn routes(config: Option<&Config>, args: &ReplayArgs) -> Result<Routes, Failure> {
    let Some(config) = config else { return Ok(Routes::new(None, Undeclared::Infer, 1)) };
    // Routes alone matter here, not who answers them now.
    let compiled = Compiled::new(&config.catalogue, &RouteTable::default()).map_err(|_| {
        Failure::new("banyan::config::invalid", Exit::Config, "routes conflict")
            .hint("banyan check")
    })?;
    let undeclared = if args.undeclared { Undeclared::Infer } else { Undeclared::Skip };
    Ok(Routes::new(Some(compiled), undeclared, 1))
}

fn settings(
    file: &Path,
    config: Option<&Config>,
    args: &ReplayArgs,
) -> Result<ReplayConfig, Failure> {
    let first = args.files.first().cloned().unwrap_or_default();
    let mut shadow = match config {
        Some(config) => shadow::settings(config)?,
        None => plain(args),
    };
    if config.is_none() || args.key.is_some() {
        shadow.redaction = recording::redaction(file, args.key.as_deref(), &first)?;
    }
    shadow.recheck.per_cause_max = PER_CAUSE_MAX;
    // Accepted noise is hidden, but evidence of noise is gathered live only.
    shadow.noise = banyan_shadow::NoiseConfig::OFF;
    let identity = own_rules(&mut shadow, &args.rules)?;
    if let Some(config) = config {
        // Rules of accepted noise stand beside all others of their endpoint, those of files too.
        let base = noise::base_rules(&shadow);
        shadow.learned.replace(LockFile::load(config)?.lock.rules(&base));
    }
    let baseline = baseline(&args.baseline)?;
    let endpoints = args.endpoints.iter().map(|name| endpoint(config, name));
    Ok(ReplayConfig {
        files: args.files.clone(),
        format: args.format.format(),
        limits: Limits::default(),
        against: args.against.clone(),
        selection: Selection {
            percent: args.percent,
            limit: args.limit,
            session_key: args.session_key.clone(),
            endpoints: endpoints.collect::<Result<_, _>>()?,
            needs_answer: baseline == Baseline::Recorded,
        },
        baseline,
        rate: args.rate,
        concurrency: usize::from(args.concurrency),
        headers: headers(&args.headers)?,
        timeout_ms: args.timeout,
        body_bytes_max: config.map_or(BODY_BYTES_MAX, |config| config.proxy.tee_max_bytes),
        give_up_ms: args.give_up,
        shadow,
        identity,
        state: Some(state(args, &first)),
        resume: args.resume,
    })
}

fn state(args: &ReplayArgs, first: &Path) -> PathBuf {
    let beside = || PathBuf::from(format!("{}.replay-state", first.display()));
    args.state.clone().unwrap_or_else(beside)
}

/// Adds the rules of files. What they say is part of what makes two runs the same replay.
fn own_rules(
    shadow: &mut ShadowConfig,
    files: &[PathBuf],
) -> Result<BTreeMap<String, String>, Failure> {
    let mut said = DefaultHasher::new();
    for file in files {
        let rules = super::diff::read_rules(file)?;
        std::fs::read(file).unwrap_or_default().hash(&mut said);
        shadow.rules = shadow.rules.clone().with(rules.iter().cloned());
        for (name, endpoint) in &mut shadow.endpoints {
            endpoint.rules =
                endpoint.rules.clone().with(rules.iter().cloned()).for_endpoint(name.as_str());
        }
    }
    let rules = if files.is_empty() { "none".to_owned() } else { format!("{:x}", said.finish()) };
    Ok(BTreeMap::from([("rules".to_owned(), rules)]))
}

/// The engine without a configuration: built-in rules, default limits.
fn plain(args: &ReplayArgs) -> ShadowConfig {
    use banyan_shadow::{NumericIds, Redaction, RedactionKey};
    let http = HttpConfig {
        legacy_url: args.against.clone(),
        new_urls: BTreeMap::new(),
        connect_timeout_ms: args.timeout,
        timeout_ms: args.timeout,
        body_bytes_max: BODY_BYTES_MAX,
    };
    // Its place is taken by the key file's at once.
    let redaction = Redaction::new(RedactionKey::derive(b""), NumericIds::Shown);
    ShadowConfig::new(http, BTreeMap::new(), redaction)
}

fn baseline(text: &str) -> Result<Baseline, Failure> {
    if text == "recorded" {
        return Ok(Baseline::Recorded);
    }
    config::value::base_url(text).map(Baseline::Url).map_err(|rule| {
        Failure::new("banyan::usage", Exit::Usage, format!("`--baseline`: {rule}"))
            .hint("--baseline recorded, or the base URL of legacy")
    })
}

fn endpoint(config: Option<&Config>, name: &str) -> Result<EndpointName, Failure> {
    if let Some(config) = config
        && !name.starts_with("undeclared.")
    {
        super::flip::endpoint(config, name)?;
    }
    EndpointName::new(name).map_err(|error| {
        Failure::new("banyan::usage", Exit::Usage, error.to_string())
            .hint("names are in the report of a replay without --endpoint")
    })
}

fn headers(texts: &[String]) -> Result<Headers, Failure> {
    let parse = |text: &String| {
        let (name, value) = text.split_once(':')?;
        let name = name.trim().to_ascii_lowercase();
        (!name.is_empty()).then(|| (name, value.trim().as_bytes().to_vec()))
    };
    let wrong = || {
        Failure::new("banyan::usage", Exit::Usage, "`--header` must be `Name: value`")
            .hint("--header 'Authorization: Bearer ..'")
    };
    texts.iter().map(|text| parse(text).ok_or_else(wrong)).collect()
}

fn failure(error: &ReplayError, args: &ReplayArgs) -> Failure {
    let of = |code, exit| Failure::of(code, exit, "cannot replay", error);
    match error {
        ReplayError::File(error) => recording::unreadable(&error.file, &error.source),
        ReplayError::Start(_) => {
            of("banyan::replay::side", Exit::Usage).hint("write sides as http://host:port")
        }
        ReplayError::State(_) => of("banyan::replay::state", Exit::Usage).hint(
            "use the same recording and options as before, or leave --resume out to start over",
        ),
        ReplayError::Unreachable { .. } => {
            let resume = if args.resume { "" } else { " --resume goes on where it stopped." };
            of("banyan::replay::unreachable", Exit::Unreachable)
                .hint(format!("is it running, and is the address right? A retry is safe.{resume}"))
        }
        ReplayError::OtherKey { .. } => of("banyan::replay::key", Exit::Usage)
            .hint("name the key file it was recorded with: --key FILE"),
        ReplayError::Broken(_) | _ => of("banyan::replay::broken", Exit::Bug),
    }
}

/// Says the report, and what of the recording it is not about. No file of a stopped replay: read alone it would be a verdict
/// over all of it.
fn tell(
    report: &Report,
    finished: &Finished,
    files: &ReportFiles,
    output: &Output,
) -> Result<(), Failure> {
    if !output.is_json() {
        remark(finished, output);
    }
    let none = ReportFiles::default();
    let files = if finished.stopped { &none } else { files };
    let terminal = || render_terminal(report, super::shadow::style());
    publish::publish(report, files, output, terminal, |output| json(report, finished, output))
}

fn json(report: &Report, finished: &Finished, output: &Output) {
    let scanned = &finished.scanned;
    let unread: BTreeMap<&str, _> = scanned
        .unread
        .iter()
        .map(|(why, left)| (why.as_str(), json!({ "count": left.count, "first": left.places })))
        .collect();
    let data = json!({
        "verdict": report.verdict(),
        "stopped": finished.stopped,
        "resumed": finished.resumed,
        "recording": {
            "exchanges": scanned.exchanges,
            "selected": scanned.selected,
            "done": finished.done,
            "undeclared": scanned.undeclared,
            "unread": unread,
        },
        "report": report,
    });
    output.json("banyan.shadow.replay/1", &data, &finished.warnings);
}

/// What of the recording the report is about, and what was in the way, on stderr.
fn remark(finished: &Finished, output: &Output) {
    let scanned = &finished.scanned;
    for warning in &finished.warnings {
        output.note(&format!("warning: {warning}"));
    }
    let mut about = format!(
        "replayed {} of {} requests of the recording",
        thousands(finished.done),
        thousands(scanned.exchanges)
    );
    if scanned.undeclared > 0 {
        about = format!(
            "{about}; {} are of paths that are not declared",
            thousands(scanned.undeclared)
        );
    }
    output.note(&about);
    for line in recording::left_out(&scanned.unread) {
        output.note(&line);
    }
}

/// Shows how far it is: a bar on a terminal, else a line per 10 s or 10 %.
async fn meter(mut seen: watch::Receiver<Seen>, output: Output) {
    if !output.wants_progress() {
        return;
    }
    let bar = output.draws_progress().then(|| {
        let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("replay [{bar:24}] {msg}") {
            bar.set_style(style);
        }
        bar
    });
    let (begin, mut last, mut tenth) = (Instant::now(), Instant::now(), 0);
    let mut first = None;
    while seen.changed().await.is_ok() {
        let now = seen.borrow_and_update().clone();
        // What a run before this one did says nothing about the speed of this one.
        let before = *first.get_or_insert(now.done);
        let text = line(&now, before, begin.elapsed());
        if let Some(bar) = &bar {
            bar.set_length(now.total.max(1));
            bar.set_position(now.done);
            bar.set_message(text);
            continue;
        }
        let part = (now.done * 10).checked_div(now.total).unwrap_or(0);
        if last.elapsed() >= EVERY || part > tenth {
            (last, tenth) = (Instant::now(), part);
            output.error_line(&format!("replay {text}"));
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
}

/// `1,204/9,000 13.4 %  98.2/s  3 mismatches  state running`.
fn line(seen: &Seen, before: u64, elapsed: Duration) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a percentage and a rate for people")]
    let (percent, rate) = (
        seen.done as f64 * 100.0 / seen.total.max(1) as f64,
        (seen.done - before.min(seen.done)) as f64 / elapsed.as_secs_f64().max(0.001),
    );
    let mut parts = vec![
        format!("{}/{} {percent:.1} %", thousands(seen.done), thousands(seen.total)),
        format!("{rate:.1}/s"),
        format!("{} mismatches", thousands(seen.mismatched)),
    ];
    if seen.new_errors > 0 {
        parts.push(format!("{} errors of new", thousands(seen.new_errors)));
    }
    parts.push(match &seen.waiting {
        Some(why) => format!("state waiting: {why}"),
        None if seen.share < 1.0 => {
            format!("state sparing a side: {:.0} % of the rate", seen.share * 100.0)
        }
        None => "state running".to_owned(),
    });
    parts.join("  ")
}
