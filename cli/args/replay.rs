//! Arguments of `banyan shadow record`, `import` and `replay`.
//!
//! Owns what may be typed there. `import` and `replay` work without a configuration and without a running installation.

use super::report::{Proof, ReportFiles};
use crate::config::value;
use banyan_domain::Percent;
use banyan_replay::{Format, Rate, SessionKey};
use clap::Args;
use std::path::PathBuf;

/// A format by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FormatName {
    /// Told by the content
    Auto,
    /// Banyan's own
    Banyan,
    /// HTTP Archive 1.2
    Har,
    /// GoReplay's file output
    Gor,
    /// Combined access log of nginx or Apache
    Nginx,
    /// Cassette of VCR
    Vcr,
}

impl FormatName {
    /// The format; nothing when it is to be told by content.
    pub(crate) const fn format(self) -> Option<Format> {
        match self {
            Self::Auto => None,
            Self::Banyan => Some(Format::Recording),
            Self::Har => Some(Format::Har),
            Self::Gor => Some(Format::Gor),
            Self::Nginx => Some(Format::Nginx),
            Self::Vcr => Some(Format::Vcr),
        }
    }
}

/// `banyan shadow record`
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  banyan shadow record --for 10m --out reads.banyan.ndjson.zst
  banyan shadow record --for 1h --percent 10 --endpoint messages.list --out lists.banyan.ndjson.zst

Asks the running `banyan serve` of this configuration, on this host, to record the reads that it mirrors.
Ctrl-C ends it early. To record all the time, see [shadow.record] in `banyan config reference`.
Credentials are dropped and values become tokens unless --raw is given; numeric ids stay.
Exit: 0 recorded · 4 no read came by · 6 nobody serves, or the file cannot be written")]
pub(crate) struct RecordArgs {
    /// How long
    #[arg(long = "for", value_parser = value::duration_ms, value_name = "TIME")]
    pub(crate) duration: u64,
    /// The recording to make: `.ndjson` plain, else compressed
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Share of sessions
    #[arg(long, default_value = "100", value_parser = value::percent, value_name = "N")]
    pub(crate) percent: Percent,
    /// Only these endpoints; may be repeated
    #[arg(long = "endpoint", value_name = "NAME")]
    pub(crate) endpoints: Vec<String>,
    /// Most bytes; the older half becomes FILE.1
    #[arg(long, default_value = "1GiB", value_parser = value::bytes, value_name = "SIZE")]
    pub(crate) max_size: usize,
    /// Keep credentials and values as they are
    #[arg(long)]
    pub(crate) raw: bool,
}

/// `banyan shadow import`
#[derive(Debug, Clone, Args)]
#[command(after_long_help = "\
Examples:
  banyan shadow import access.log.gz --out reads.banyan.ndjson.zst
  banyan shadow import requests_0.gor requests_1.gor --out reads.banyan.ndjson.zst
  banyan shadow import inbox.har --raw --out inbox.ndjson

Reads HAR 1.2, GoReplay (.gor, .gor.gz), combined access logs (also .gz), VCR cassettes and recordings.
Only GET and HEAD are taken. A bad line is counted and named, it stops nothing.
Credentials are dropped and values become tokens unless --raw is given; what lost a part of its
target cannot be replayed, numeric ids stay. `replay` reads all these formats directly, too.")]
pub(crate) struct ImportArgs {
    /// The files, in order
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// The recording to make: `.ndjson` plain, else compressed
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// What the files are
    #[arg(long, value_enum, default_value = "auto", value_name = "FORMAT")]
    pub(crate) format: FormatName,
    /// Keep credentials and values as they are
    #[arg(long, conflicts_with = "key")]
    pub(crate) raw: bool,
    /// File with the key of the tokens (default: that of the configuration, else OUT.key, made when missing)
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}

/// `banyan shadow replay`
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  banyan shadow replay reads.banyan.ndjson.zst --against http://127.0.0.1:4000 --baseline recorded
  banyan shadow replay access.log.gz --against http://new.test --baseline http://legacy.test --rate 200/s
  banyan shadow replay traffic.gor --against http://new.test --baseline http://legacy.test --rate 1x --percent 10
  banyan shadow replay reads.banyan.ndjson.zst --against http://new.test --baseline recorded --resume
  banyan shadow replay reads.banyan.ndjson.zst --against http://new.test --target 99 --junit gate.xml

Asks the baseline first, then new; a difference counts only if it stays when both are read again.
Requests of one session go in order, one at a time. Writes are never replayed.
With a configuration its endpoints and rules are used; without one, names are made from the paths.
Exit: 0 pass · 1 fail · 4 inconclusive · 6 a side cannot be reached · 130/143 stopped, --resume goes on")]
pub(crate) struct ReplayArgs {
    /// Recordings, HAR, GoReplay, access logs or cassettes, in order
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Base URL of new
    #[arg(long, value_name = "URL", value_parser = value::base_url)]
    pub(crate) against: String,
    /// Base URL of legacy, or `recorded`: what was answered then
    #[arg(long, default_value = "recorded", value_name = "URL")]
    pub(crate) baseline: String,
    /// What the files are
    #[arg(long, value_enum, default_value = "auto", value_name = "FORMAT")]
    pub(crate) format: FormatName,
    /// `50/s`, `600/m`; `1x`, `2x` as it was recorded; `max`
    #[arg(long, default_value = "50/s", value_name = "RATE", help_heading = "Load")]
    pub(crate) rate: Rate,
    /// Requests on their way at once
    #[arg(long, default_value_t = 4, value_name = "N", help_heading = "Load",
          value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub(crate) concurrency: u16,
    /// Limit of one request
    #[arg(long, default_value = "10s", value_parser = value::duration_ms, value_name = "TIME",
          help_heading = "Load")]
    pub(crate) timeout: u64,
    /// End when a side is gone for longer
    #[arg(long, default_value = "30s", value_parser = value::duration_ms, value_name = "TIME",
          help_heading = "Load")]
    pub(crate) give_up: u64,
    /// Share of sessions, the same ones in every run
    #[arg(long, default_value = "100", value_parser = value::percent, value_name = "N",
          help_heading = "What is replayed")]
    pub(crate) percent: Percent,
    /// At most so many requests
    #[arg(long, value_name = "N", help_heading = "What is replayed")]
    pub(crate) limit: Option<u64>,
    /// Only these endpoints; may be repeated
    #[arg(long = "endpoint", value_name = "NAME", help_heading = "What is replayed")]
    pub(crate) endpoints: Vec<String>,
    /// Also paths that the configuration does not declare
    #[arg(long, help_heading = "What is replayed")]
    pub(crate) undeclared: bool,
    /// `auto`, `cookie:NAME`, `header:NAME` or `address`
    #[arg(long, default_value = "auto", value_name = "KEY", help_heading = "What is replayed")]
    pub(crate) session_key: SessionKey,
    /// Set this on every request, `Name: value`; may be repeated
    #[arg(short = 'H', long = "header", value_name = "HEADER", help_heading = "What is replayed")]
    pub(crate) headers: Vec<String>,
    /// Rules for harmless differences, [[rule]] tables; may be repeated. On top of built-in and configured ones
    #[arg(long = "rules", value_name = "FILE", help_heading = "Judging")]
    pub(crate) rules: Vec<PathBuf>,
    /// Go on where a replay was stopped or killed
    #[arg(long, help_heading = "State")]
    pub(crate) resume: bool,
    /// Where position and results are kept while it runs (default: FILE.replay-state)
    #[arg(long, value_name = "FILE", help_heading = "State")]
    pub(crate) state: Option<PathBuf>,
    /// File with the key of redacted values (default: that of the configuration, else FILE.key)
    #[arg(long, value_name = "FILE", help_heading = "State")]
    pub(crate) key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) proof: Proof,
    #[command(flatten)]
    pub(crate) report: ReportFiles,
}
