//! `banyan shadow import`: foreign files into a recording.
//!
//! Owns the counts that it prints. What must stay true: a bad entry stops nothing and is counted with its place; an
//! existing file is never overwritten; nothing raw is written unless it was spelled out.

use crate::args::ImportArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, thousands};
use crate::wiring::{control, recording};
use banyan_replay::{
    Entry, Head, LeftOut, Limits, Recorded, Redactor, Routes, Undeclared, Unread, Writer,
    WriterError, learn, open,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

/// Words of paths are shown from so many requests on.
const SHOWN_FROM: u64 = 5;

/// What was taken over and what was not.
#[derive(Default)]
struct Counts {
    imported: u64,
    /// Of these, those that lost a part of their target and cannot be replayed.
    unreplayable: u64,
    skipped: BTreeMap<Unread, LeftOut>,
    warnings: Vec<String>,
    bytes: u64,
}

pub(crate) async fn run(config: &Path, args: ImportArgs, output: &Output) -> Result<Exit, Failure> {
    let redactor = if args.raw {
        output.note("warning: --raw keeps credentials and personal data in the recording");
        None
    } else {
        Some(recording::redactor(config, args.key.as_deref(), &args.out)?)
    };
    let out = args.out.clone();
    let began = Instant::now();
    let importing = tokio::task::spawn_blocking(move || import(&args, redactor.as_ref()));
    let counts = importing.await.map_err(|error| {
        Failure::new("banyan::replay::import", Exit::Bug, "the import broke off")
            .because(error.to_string())
    })??;
    let seconds = began.elapsed().as_secs_f64();
    if output.is_json() {
        let skipped: BTreeMap<&str, _> = counts
            .skipped
            .iter()
            .map(|(why, left)| (why.as_str(), json!({ "count": left.count, "first": left.places })))
            .collect();
        let data = json!({
            "out": out,
            "imported": counts.imported,
            "unreplayable": counts.unreplayable,
            "skipped": skipped,
            "bytes": counts.bytes,
            "seconds": seconds,
        });
        output.json("banyan.shadow.import/1", &data, &counts.warnings);
    } else {
        say(&counts, &out, seconds, output);
    }
    Ok(if counts.imported > 0 { Exit::Yes } else { Exit::Inconclusive })
}

fn say(counts: &Counts, out: &Path, seconds: f64, output: &Output) {
    for warning in &counts.warnings {
        output.note(&format!("warning: {warning}"));
    }
    output.line(&format!(
        "imported {} requests into `{}` ({} bytes, {seconds:.1} s)",
        thousands(counts.imported),
        out.display(),
        thousands(counts.bytes)
    ));
    if counts.unreplayable > 0 {
        let count = thousands(counts.unreplayable);
        output.line(&format!(
            "of these {count} lost a part of their target to redaction and cannot be replayed"
        ));
    }
    output.lines(&recording::left_out(&counts.skipped));
}

fn import(args: &ImportArgs, redactor: Option<&Redactor>) -> Result<Counts, Failure> {
    let now_ms = control::now_ms();
    // What is redacted already stays as it is, under its own key.
    let redacted = args.files.iter().find_map(|file| redacted_under(file, args));
    let redactor = redactor.filter(|_| redacted.is_none());
    let key = redacted.or_else(|| redactor.map(Redactor::key));
    let head = key.map_or_else(|| Head::raw(now_ms), |key| Head::redacted(now_ms, &key));
    let mut writer = Writer::create(&args.out, &head)
        .map_err(|error| recording::not_written(&args.out, &error))?;
    let routes = routes(args, redactor)?;
    let mut counts = Counts::default();
    let mut failed: Option<WriterError> = None;
    for file in &args.files {
        let fail = |error| recording::unreadable(file, &error);
        let mut opened = open(file, args.format.format()).map_err(fail)?;
        let words = opened.format.places();
        let ending = opened.read(&Limits::default(), &mut |entry| {
            let recorded = match entry {
                Entry::Exchange(recorded) => recorded,
                Entry::Skipped { place, why } => {
                    counts.skipped.entry(why).or_default().add(file, words, place);
                    return ControlFlow::Continue(());
                }
            };
            let kept = kept(redactor, &routes, *recorded);
            counts.imported += 1;
            counts.unreplayable += u64::from(kept.lost_its_target());
            match writer.write(&kept) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        if let Some(error) = failed {
            return Err(recording::not_written(&args.out, &error));
        }
        if let Some(warning) = ending.map_err(fail)?.warning {
            counts.warnings.push(format!("`{}`: {warning}", file.display()));
        }
    }
    writer.flush().map_err(|error| recording::not_written(&args.out, &error))?;
    counts.bytes = writer.written();
    Ok(counts)
}

/// The templates of the paths, for redaction: a word that was seen less than five times may be somebody's name.
fn routes(args: &ImportArgs, redactor: Option<&Redactor>) -> Result<Routes, Failure> {
    let mut routes = Routes::new(None, Undeclared::Infer, SHOWN_FROM);
    if redactor.is_some() {
        learn(&args.files, args.format.format(), &Limits::default(), &mut routes)
            .map_err(|error| recording::unreadable(&error.file, &error.source))?;
    }
    Ok(routes)
}

/// The name of the key of a recording whose values are tokens.
fn redacted_under(file: &Path, args: &ImportArgs) -> Option<String> {
    let opened = open(file, args.format.format()).ok()?;
    opened.head().filter(|head| head.redacted).map(|head| head.key.clone())
}

/// The exchange as it is stored. Fixed words of its path stay; what looks like an id or a name becomes a token.
fn kept(redactor: Option<&Redactor>, routes: &Routes, recorded: Recorded) -> Recorded {
    let Some(redactor) = redactor else { return recorded };
    let endpoint = routes.find(&recorded.method, &recorded.target);
    let template = endpoint.as_ref().and_then(|name| routes.inferred().get(name));
    redactor.exchange(&recorded, template)
}
