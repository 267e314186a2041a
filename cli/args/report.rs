//! Arguments of `banyan shadow report` and `banyan shadow gate`.
//!
//! Owns what may be typed there. It has a file of its own because both share which comparisons count and where the report goes,
//! and a replay shares the latter.

use crate::config::value;
use clap::Args;
use std::path::PathBuf;

/// `banyan shadow report`
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  banyan shadow report
  banyan shadow report --since 24h --endpoint messages.list --json
  banyan shadow report --html report/ --markdown comment.md
  banyan shadow report --schema > banyan.shadow.report-1.json

Values are redacted: the same value has the same token.")]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    pub(crate) evidence: Evidence,
    #[command(flatten)]
    pub(crate) files: ReportFiles,
    /// Print the JSON Schema of the report and end
    #[arg(long)]
    pub(crate) schema: bool,
}

/// `banyan shadow gate`
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  banyan shadow gate --since 24h
  banyan shadow gate --endpoint messages.list --target 99.5 --junit gate.xml
  banyan shadow gate --quiet-for 1h --max-lag-p99 2s --min-coverage 80
  banyan shadow gate --watched --since 2014-06-12T10:00:00Z     asked every minute until it passes

A gate that saw too little is inconclusive (exit 4), never a pass. A pass is a proof: the exact lower bound of the share of
agreeing distinct requests reaches the target. That bound holds for one look; who asks again and again needs --watched.")]
pub(crate) struct GateArgs {
    #[command(flatten)]
    pub(crate) evidence: Evidence,
    #[command(flatten)]
    pub(crate) demand: Demand,
    #[command(flatten)]
    pub(crate) files: ReportFiles,
}

/// Which comparisons count.
#[derive(Debug, Args)]
pub(crate) struct Evidence {
    /// Only what was seen since: `24h`, `90s`, `2014-06-12T10:00:00Z`, or Unix milliseconds
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only these endpoints; may be repeated
    #[arg(long = "endpoint", value_name = "NAME")]
    pub(crate) endpoints: Vec<String>,
}

/// What a gate over stored evidence asks for.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "What a pass needs")]
pub(crate) struct Demand {
    #[command(flatten)]
    pub(crate) proof: Proof,
    /// A bound that holds at every look, for a gate that is asked again and again
    #[arg(long)]
    pub(crate) watched: bool,
    /// The last mismatch must be older than this
    #[arg(long, value_name = "TIME", value_parser = value::duration_ms)]
    pub(crate) quiet_for: Option<u64>,
}

/// What any gate asks for, that of a replay too: one look at evidence that has an end.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "What a pass needs")]
pub(crate) struct Proof {
    /// Percent of distinct requests that must agree, e.g. 99.9
    #[arg(long, value_name = "PERCENT", conflicts_with = "max_mismatch_percent")]
    pub(crate) target: Option<f64>,
    /// The same from the other end: percent that may differ
    #[arg(long, value_name = "PERCENT")]
    pub(crate) max_mismatch_percent: Option<f64>,
    /// Confidence of the proof in percent, e.g. 95
    #[arg(long, value_name = "PERCENT")]
    pub(crate) confidence: Option<f64>,
    /// Distinct requests to compare at least, per endpoint
    #[arg(long, value_name = "N")]
    pub(crate) min_compared: Option<u64>,
    /// 99 % of the late answers of new must agree within this time
    #[arg(long, value_name = "TIME", value_parser = value::duration_ms)]
    pub(crate) max_lag_p99: Option<u64>,
    /// Percent of the endpoints that must be judged; the others may lack traffic
    #[arg(long, value_name = "PERCENT", default_value_t = 100.0)]
    pub(crate) min_coverage: f64,
}

impl Default for Proof {
    fn default() -> Self {
        Self {
            target: None,
            max_mismatch_percent: None,
            confidence: None,
            min_compared: None,
            max_lag_p99: None,
            min_coverage: 100.0,
        }
    }
}

/// Where the report goes besides the terminal.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Files (`-` is stdout)")]
pub(crate) struct ReportFiles {
    /// HTML pages into this folder: index.html, report.css
    #[arg(long, value_name = "DIR")]
    pub(crate) html: Option<PathBuf>,
    /// One HTML page with its style inside, e.g. for mail
    #[arg(long, value_name = "FILE")]
    pub(crate) inline: Option<PathBuf>,
    /// Markdown below 900 KiB, e.g. for a pull-request comment
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// JUnit XML: a test case per endpoint, inconclusive is skipped
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
}
