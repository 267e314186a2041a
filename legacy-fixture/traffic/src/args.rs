//! Arguments of `banyan fixture traffic`.

use crate::endpoint::Endpoint;
use std::{path::PathBuf, time::Duration};

/// Put checked load on the practice world.
#[derive(Debug, Clone, clap::Args)]
pub struct TrafficArgs {
    /// Where to send requests: the proxy or an application, for example `http://127.0.0.1:8080`; may be repeated, a session
    /// then stays with one of them
    #[arg(long = "url", value_name = "URL", required = true)]
    pub urls: Vec<String>,
    /// Secret under which API tokens are signed; must be the monolith's
    #[arg(
        long,
        env = "MOTHERSHIP_SECRET",
        default_value = fixture_passport::DEFAULT_SECRET,
        hide_env_values = true
    )]
    pub secret: String,
    /// Virtual users: those with the ids 1 to N
    #[arg(long, default_value_t = 2_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub users: u32,
    /// Seed: the same seed gives each session the same requests, as far as the answers are the same
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// Requests per second over all sessions; without it each session sends as soon as it was answered
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// Rest after an answer that took longer than this, the longer the slower it was (at most 2 s), so that a busy machine is
    /// not saturated: `100ms`
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub ease_above: Option<Duration>,
    /// Sessions at a time
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub concurrency: u32,
    /// Stop after this time: `500ms`, `30s`, `5m`
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Stop after this many requests
    #[arg(long, value_name = "N")]
    pub requests: Option<u64>,
    /// Share of requests that change something, in percent
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub writes_percent: u8,
    /// Read only these endpoints, for example `messages.list,messages.show`; all when absent.
    /// Reads that other requests need (profiles for logging in, checks after writes) still happen
    #[arg(long, value_name = "ENDPOINT", value_delimiter = ',', value_parser = parse_read)]
    pub reads_of: Vec<Endpoint>,
    /// Print the summary as one JSON object
    #[arg(long)]
    pub json: bool,
    /// File that always holds the counters so far as JSON, rewritten every 250 ms
    #[arg(long, value_name = "PATH")]
    pub progress_file: Option<PathBuf>,
    /// File to append one JSON line to for each acknowledged write of the context `messages`
    #[arg(long, value_name = "PATH")]
    pub ledger: Option<PathBuf>,
}

impl TrafficArgs {
    /// The defaults of the command line for one address, for programs that make traffic themselves.
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            urls: vec![url.into()],
            secret: fixture_passport::DEFAULT_SECRET.to_owned(),
            users: 2_000,
            seed: 1,
            rate: None,
            ease_above: None,
            concurrency: 8,
            duration: None,
            requests: None,
            writes_percent: 10,
            reads_of: Vec::new(),
            json: false,
            progress_file: None,
            ledger: None,
        }
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = text.strip_prefix(digits).unwrap_or_default();
    let wrong = || format!("`{text}` is no time; write `500ms`, `30s` or `5m`");
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let milliseconds = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        _ => None,
    };
    milliseconds.filter(|time| *time > 0).map(Duration::from_millis).ok_or_else(wrong)
}

fn parse_read(text: &str) -> Result<Endpoint, String> {
    let reads = || Endpoint::ALL.into_iter().filter(|endpoint| endpoint.is_plain_read());
    reads().find(|endpoint| endpoint.as_str() == text).ok_or_else(|| {
        let names: Vec<_> = reads().map(Endpoint::as_str).collect();
        format!("`{text}` is no endpoint to read; they are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, FromArgMatches};

    fn parse(arguments: &[&str]) -> Result<TrafficArgs, clap::Error> {
        let command = TrafficArgs::augment_args(clap::Command::new("traffic"));
        let all = ["traffic", "--url", "http://a"].iter().chain(arguments);
        TrafficArgs::from_arg_matches(&command.try_get_matches_from(all)?)
    }

    #[test]
    fn program_defaults_are_the_command_line_defaults() {
        let parsed = parse(&[]).unwrap();
        assert_eq!(format!("{parsed:?}"), format!("{:?}", TrafficArgs::at("http://a")));
    }

    #[test]
    fn times_and_endpoints_are_read_or_explained() {
        let parsed = parse(&["--duration", "1500ms", "--reads-of", "messages.list,messages.show"]);
        let parsed = parsed.unwrap();
        assert_eq!(parsed.duration, Some(Duration::from_millis(1_500)));
        assert_eq!(parsed.reads_of, [Endpoint::List, Endpoint::Show]);
        for wrong in
            ["5", "s", "0s", "-1s", "5h", "", "99999999999999999999s", "18446744073709552s"]
        {
            assert!(parse(&["--duration", wrong]).is_err(), "{wrong}");
        }
        let error = parse(&["--reads-of", "messages.create"]).unwrap_err().to_string();
        assert!(error.contains("messages.list, messages.conversations"), "{error}");
        assert!(parse(&["--writes-percent", "101"]).is_err());
        assert!(parse(&["--concurrency", "0"]).is_err());
    }
}
