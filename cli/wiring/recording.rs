//! What `import`, `record` and `replay` share: the key of tokens, the words for what was left out, failures.

use crate::config::{self, Config};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::thousands;
use banyan_domain::{EndpointName, Percent};
use banyan_replay::{LeftOut, ReadError, RecordConfig, Recorder, Redactor, Unread, WriterError};
use banyan_shadow::{NumericIds, Redaction};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Redaction under the key that was named, else that of the configuration if there is one, else `FILE.key`.
///
/// # Errors
/// When the key can neither be read nor made, or the configuration is wrong.
pub(crate) fn redaction(
    config: &Path,
    key: Option<&Path>,
    file: &Path,
) -> Result<Redaction, Failure> {
    let path = match key {
        Some(path) => path.to_owned(),
        None if config.exists() => {
            PathBuf::from(format!("{}.key", config::load(config)?.control.snapshot))
        }
        None => PathBuf::from(format!("{}.key", file.display())),
    };
    Ok(Redaction::new(super::shadow::key_file(&path.display().to_string())?, NumericIds::Shown))
}

/// The same as a redactor of exchanges.
///
/// # Errors
/// As [`redaction`].
pub(crate) fn redactor(
    config: &Path,
    key: Option<&Path>,
    file: &Path,
) -> Result<Redactor, Failure> {
    redaction(config, key, file).map(Redactor::new)
}

/// A recording that cannot be written.
pub(crate) fn not_written(file: &Path, error: &WriterError) -> Failure {
    let doing = format!("cannot write the recording `{}`", file.display());
    Failure::of("banyan::replay::write", Exit::Unreachable, &doing, error)
        .hint("name a new file in a folder that exists and has room: existing files are never overwritten")
}

/// A file that cannot be read as a recording.
pub(crate) fn unreadable(file: &Path, error: &ReadError) -> Failure {
    let doing = format!("cannot read `{}`", file.display());
    let failure = Failure::of("banyan::replay::read", Exit::Usage, &doing, error);
    match error {
        ReadError::Newer { .. } => failure.hint("use the Banyan that recorded it, or a newer one"),
        ReadError::Unknown | ReadError::NotThat { .. } => {
            failure.hint("say what it is: --format har|gor|nginx|vcr|banyan")
        }
        ReadError::Io(_) | _ => failure.hint("does the file exist, and may you read it?"),
    }
}

/// One line per reason: `skipped 3 malformed (access.log line 5, access.log line 6, ..)`.
pub(crate) fn left_out(skipped: &BTreeMap<Unread, LeftOut>) -> Vec<String> {
    let line = |(why, left): (&Unread, &LeftOut)| {
        let more = if left.count > left.places.len() as u64 { ", .." } else { "" };
        format!("skipped {} {why} ({}{more})", thousands(left.count), left.places.join(", "))
    };
    skipped.iter().map(line).collect()
}

/// Starts the recording that the configuration asks for, if it does.
///
/// # Errors
/// When an endpoint is unknown, or the file cannot be written.
pub(crate) fn start(config: &Config) -> Result<Option<Arc<Recorder>>, Failure> {
    let Some(record) = &config.shadow.record else { return Ok(None) };
    let path = PathBuf::from(&record.file);
    let endpoints = record.endpoints.iter().map(|name| declared(config, name));
    if record.raw {
        let file = &record.file;
        tracing::warn!(file, "recording raw: credentials and personal data go to the file");
    }
    let recorder = Recorder::start(RecordConfig {
        path: path.clone(),
        bytes_max: record.bytes_max as u64,
        percent: record.percent,
        endpoints: endpoints.collect::<Result<_, _>>()?,
        redactor: if record.raw { None } else { Some(own_redactor(config)?) },
        ..template(config)
    });
    recorder.map(Some).map_err(|error| match error {
        WriterError::Foreign => Failure::new(
            "banyan::replay::write",
            Exit::Config,
            format!(
                "`{}` is no recording of the kind that `shadow.record` asks for",
                path.display()
            ),
        )
        .hint("move it away, or name another `file`: raw and redacted reads never share one"),
        WriterError::Io(_) | WriterError::Json(_) | _ => not_written(&path, &error),
    })
}

/// A recording of everything declared, redaction and place left open.
pub(crate) fn template(config: &Config) -> RecordConfig {
    let templates = config.catalogue.endpoints();
    RecordConfig {
        path: PathBuf::new(),
        bytes_max: u64::MAX,
        percent: Percent::HUNDRED,
        endpoints: BTreeSet::new(),
        templates: templates.map(|spec| (spec.name.clone(), spec.path.clone())).collect(),
        redactor: None,
        now_ms: super::control::now_ms(),
    }
}

/// The redactor of this installation.
///
/// # Errors
/// When its key can neither be read nor made.
pub(crate) fn own_redactor(config: &Config) -> Result<Redactor, Failure> {
    let key = super::shadow::key_file(&format!("{}.key", config.control.snapshot))?;
    Ok(Redactor::new(Redaction::new(key, NumericIds::Shown)))
}

fn declared(config: &Config, name: &str) -> Result<EndpointName, Failure> {
    let found = config.catalogue.endpoints().find(|endpoint| endpoint.name.as_str() == name);
    found.map(|endpoint| endpoint.name.clone()).ok_or_else(|| {
        Failure::new(
            "banyan::config::invalid",
            Exit::Config,
            format!("`shadow.record.endpoints`: no endpoint `{name}` is declared"),
        )
        .hint("banyan route list")
    })
}
