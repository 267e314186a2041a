//! `banyan-bench diff`: the diff engine beside the diff libraries that people use, text to report.
//!
//! Owns the order of a run. It exists because a time alone says nothing: the peers run in the same minutes on the same
//! bytes, and a fast wrong answer is shown as wrong. What must stay true: parsing counts for everybody; the right answer
//! is known from how the case was made.

mod peers;
mod table;
mod world;

use crate::{BenchError, failed, quiet};
use banyan_diff::{Budget, Comparison, Kind, Obs, RuleSet, compare};
use peers::Peer;
use std::path::Path;
use std::time::Instant;
use world::{Case, Right};

/// Options of the command.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DiffArgs {
    /// Timed runs per tool, case and round
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=101))]
    runs: u32,
    /// Rounds; tools take turns within each, and the medians are shown
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=9))]
    rounds: u32,
    /// Seed of the generated texts
    #[arg(long, default_value_t = 2014)]
    seed: u64,
    /// Seconds to wait before each case for the machine to become quiet
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=600))]
    wait: u64,
    /// Only this program, without installing any peer
    #[arg(long)]
    alone: bool,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
}

/// What one tool showed in one case.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Shot {
    median_ms: f64,
    reported: u64,
    /// Whether the report is the right one; peers are judged by its size only.
    #[serde(default)]
    right: bool,
}

/// All tools in one case.
#[derive(Debug, serde::Serialize)]
struct Row {
    case: &'static str,
    /// Bytes of one side.
    bytes: usize,
    pairs: usize,
    right: String,
    banyan: Shot,
    peers: Vec<(String, Shot)>,
}

/// The whole result.
#[derive(Debug, serde::Serialize)]
struct Report {
    schema: &'static str,
    seed: u64,
    optimised_build: bool,
    rows: Vec<Row>,
    not_run: Vec<String>,
    /// Cases that began although other programs used the CPU.
    disturbed: u32,
    shots: u32,
}

/// Runs all cases and prints the result.
pub(crate) fn run(args: &DiffArgs) -> Result<(), BenchError> {
    let folder = tempfile::tempdir().map_err(failed("make a folder"))?;
    let (peers, not_run) =
        if args.alone { (Vec::new(), Vec::new()) } else { peers::install(folder.path()) };
    let mut report = Report {
        schema: "banyan.bench.diff/1",
        seed: args.seed,
        optimised_build: !cfg!(debug_assertions),
        rows: Vec::new(),
        not_run,
        disturbed: 0,
        shots: 0,
    };
    for case in world::cases(args.seed) {
        let files = case.write(folder.path())?;
        let mut banyan = Vec::new();
        let mut others: Vec<Vec<Shot>> = vec![Vec::new(); peers.len()];
        for round in 1..=args.rounds {
            crate::say::progress(round.into(), args.rounds.into(), case.title);
            report.shots += 1;
            report.disturbed += u32::from(!quiet::wait(args.wait));
            banyan.push(measure(&case, args.runs));
            for (peer, shots) in peers.iter().zip(&mut others) {
                shots.push(shot_of_peer(peer, &files, &case, args.runs)?);
            }
        }
        let peers = peers.iter().zip(others);
        report.rows.push(Row {
            case: case.title,
            bytes: case.legacy.iter().map(String::len).sum(),
            pairs: case.legacy.len(),
            right: case.right.to_string(),
            banyan: middle(banyan)?,
            peers: peers
                .map(|(peer, shots)| Ok((peer.name.to_owned(), middle(shots)?)))
                .collect::<Result<_, BenchError>>()?,
        });
    }
    table::print(&report, args.json)
}

fn shot_of_peer(
    peer: &Peer,
    files: &(std::path::PathBuf, std::path::PathBuf),
    case: &Case,
    runs: u32,
) -> Result<Shot, BenchError> {
    let (legacy, new): (&Path, &Path) = (&files.0, &files.1);
    let shot = peer.measure(legacy, new, runs)?;
    Ok(Shot { right: shot.reported == case.right.count(), ..shot })
}

/// The shot with the median of the medians.
fn middle(mut shots: Vec<Shot>) -> Result<Shot, BenchError> {
    shots.sort_by(|a, b| a.median_ms.total_cmp(&b.median_ms));
    let at = shots.len() / 2;
    shots.into_iter().nth(at).ok_or_else(|| failed("measure")("no run"))
}

/// Compares all pairs of a case, `runs` times after a warm-up.
fn measure(case: &Case, runs: u32) -> Shot {
    let headers = [("content-type".to_owned(), b"application/json".to_vec())];
    let rules = RuleSet::builtin();
    let budget = Budget { steps: 200_000_000, differences: 100_000, ..Budget::default() };
    let once = || -> Vec<Comparison> {
        let pairs = case.legacy.iter().zip(&case.new);
        pairs
            .map(|(legacy, new)| {
                let legacy = Obs { status: 200, headers: &headers, body: legacy.as_bytes() };
                let new = Obs { status: 200, headers: &headers, body: new.as_bytes() };
                compare(&legacy, &new, &rules, &budget)
            })
            .collect()
    };
    let mut found = once();
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let started = Instant::now();
            found = once();
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let reported = found.iter().map(|comparison| comparison.total_differences).sum();
    let right = match case.right {
        Right::Differences(count) => reported == count,
        Right::OneReordered => {
            let mut all = found.iter().flat_map(|comparison| &comparison.differences);
            reported == 1 && all.all(|one| matches!(one.kind, Kind::ArrayReordered { .. }))
        }
    };
    Shot { median_ms: times.get(times.len() / 2).copied().unwrap_or_default(), reported, right }
}
