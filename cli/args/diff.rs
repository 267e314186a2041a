//! Arguments of `banyan shadow diff`.
//!
//! Owns what may be typed there. It has a file of its own because it is a command of its own: it needs no
//! configuration and no running installation.

use crate::config::value;
use clap::Args;
use std::path::PathBuf;

/// `banyan shadow diff`
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  banyan shadow diff legacy.json new.json
  banyan shadow diff http://127.0.0.1:3000/users/3 http://127.0.0.1:4000/users/3
  banyan shadow diff before.json http://127.0.0.1:4000/users/3 --ignore '$..updated_at'
  banyan shadow diff before.json after.json --rules rules.toml --endpoint users.show
  curl -s http://127.0.0.1:3000/users/3 | banyan shadow diff - after.json --json

Of two URLs also status and headers are compared; as soon as one side is a file, bodies only.
Files are read by their ending (.json, .html, .txt, .. and the same with .gz), else by their content.
Exit: 0 same, also when rules hid something (it says what) · 1 different · 2 a source cannot be read
      4 inconclusive, e.g. too large · 6 a URL cannot be reached")]
pub(crate) struct DiffArgs {
    /// A file, an http(s) URL, or `-` for stdin
    pub(crate) legacy: String,
    /// The same for the other side
    pub(crate) new: String,
    /// Hide differences here: `$..updated_at`, `/a/0/b`, `header:etag`, `cookie:name`; may be repeated
    #[arg(long = "ignore", value_name = "SELECTOR")]
    pub(crate) ignore: Vec<String>,
    /// Rules in TOML, `[[rule]]` tables as in [[shadow.rule]]; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: Vec<PathBuf>,
    /// Apply also the rules that are limited to this endpoint
    #[arg(long, value_name = "NAME")]
    pub(crate) endpoint: Option<String>,
    /// Without the built-in rules for harmless Rails manners
    #[arg(long)]
    pub(crate) no_builtin: bool,
    /// Take both bodies as this media type
    #[arg(long, value_name = "TYPE")]
    pub(crate) content_type: Option<String>,
    /// Show at most this many differences, the worst first
    #[arg(long, default_value_t = 200, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) max_differences: u32,
    /// Larger sources are not compared
    #[arg(long, default_value = "128MiB", value_parser = value::bytes, value_name = "SIZE")]
    pub(crate) max_size: usize,
    /// Send this to each URL, `Name: value`; may be repeated
    #[arg(short = 'H', long = "header", value_name = "HEADER", help_heading = "URLs")]
    pub(crate) headers: Vec<String>,
    /// How long a URL may take
    #[arg(long, default_value = "30s", value_parser = value::duration_ms, value_name = "TIME",
          help_heading = "URLs")]
    pub(crate) timeout: u64,
}
