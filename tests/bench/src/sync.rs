//! `banyan-bench sync`: the first copy and verify beside dump tools and checksum tools.
//!
//! Owns the order of a run. It exists because rows per second say nothing without the same rows moved by the usual tools on
//! the same servers in the same minutes. What must stay true: every copy starts with an empty table and ends with all
//! rows in it, counted; every verify looks at equal tables and says so; a tool that is not installed is named.

mod copy;
mod follow;
mod table;
mod tool;
mod verify;
mod world;

use crate::{BenchError, failed, quiet, say};
use std::time::{Duration, Instant};
use world::{Root, Target, World};

/// Options of the command.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SyncArgs {
    /// Rows of the table
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    rows: u32,
    /// Rounds; cases take turns within each, and the medians are shown
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=9))]
    rounds: u32,
    /// Seconds to wait before each case for the machine to become quiet
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=600))]
    wait: u64,
    /// Only cases whose name has this text; `banyan` shows the memory of copy and verify for any number of rows,
    /// `one-row` the same for aggregates of one row, `follow` only the followers
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Writes per second of the source while its followers are timed
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(2..=20_000))]
    follow_rate: u32,
    /// How many seconds a follower is timed; 0: not
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=3_600))]
    follow_seconds: u32,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
}

/// The medians of a case.
#[derive(Debug, serde::Serialize)]
struct Row {
    case: &'static str,
    seconds: f64,
    rows_per_second: f64,
    /// Time of the case divided by the time of Banyan's case of the same group; above 1 Banyan is faster.
    ratio: f64,
    rounds_seconds: Vec<f64>,
}

/// Cases that do the same.
#[derive(Debug, serde::Serialize)]
struct Group {
    title: &'static str,
    rows: Vec<Row>,
}

/// The whole result.
#[derive(Debug, serde::Serialize)]
struct Report {
    schema: &'static str,
    optimised_build: bool,
    rows: u32,
    busy_starts: u32,
    /// Peak of this process, which runs Banyan's cases itself and the others as children.
    peak_memory_mib: Option<u64>,
    groups: Vec<Group>,
    follow: Vec<follow::Follow>,
    not_run: Vec<String>,
}

/// Runs everything and prints it.
pub(crate) fn run(args: &SyncArgs) -> Result<(), BenchError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(failed("start a runtime"))?;
    runtime.block_on(measure(args))
}

async fn measure(args: &SyncArgs) -> Result<(), BenchError> {
    let world = World::start(args.rows).await?;
    let mut bench = Bench { args, busy_starts: 0, shots: Vec::new(), not_run: Vec::new() };
    for round in 1..=args.rounds {
        copy::round(&mut bench, &world, round).await?;
        verify::round(&mut bench, &world, round).await?;
    }
    let follow = bench.follow(&world).await?;
    let report = Report {
        schema: "banyan.bench.sync/1",
        optimised_build: !cfg!(debug_assertions),
        rows: args.rows,
        busy_starts: bench.busy_starts,
        peak_memory_mib: peak_memory_mib(),
        groups: bench.groups(),
        follow,
        not_run: bench.not_run,
    };
    table::print(&report, args.json)
}

/// One measured case of one round.
struct Shot {
    group: &'static str,
    case: &'static str,
    seconds: f64,
}

struct Bench<'a> {
    args: &'a SyncArgs,
    busy_starts: u32,
    shots: Vec<Shot>,
    not_run: Vec<String>,
}

impl Bench<'_> {
    /// Measures one case; one that fails in the first round is named and left out.
    async fn case(
        &mut self,
        round: u32,
        (group, case): (&'static str, &'static str),
        work: impl AsyncFnOnce() -> Result<(), BenchError>,
    ) -> Result<(), BenchError> {
        if self.not_run.iter().any(|reason| reason.starts_with(&format!("{group}, {case}:"))) {
            return Ok(());
        }
        if !self.wants(case) {
            return Ok(());
        }
        say::progress(u64::from(round), u64::from(self.args.rounds), &format!("{group}, {case}"));
        if !quiet::wait(self.args.wait) {
            self.busy_starts += 1;
        }
        let started = Instant::now();
        let done = tokio::time::timeout(Duration::from_mins(20), work()).await;
        let seconds = started.elapsed().as_secs_f64();
        match done.unwrap_or_else(|_| Err(failed("finish a case")("not within 20 minutes"))) {
            Ok(()) => self.shots.push(Shot { group, case, seconds }),
            Err(error) if round == 1 && !Root::ALL.map(Root::case).contains(&case) => {
                self.not_run.push(format!("{group}, {case}: {error}"));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Whether a case is asked for.
    fn wants(&self, case: &str) -> bool {
        self.args.only.as_ref().is_none_or(|only| case.contains(only.as_str()))
    }

    /// Times followers.
    async fn follow(&mut self, world: &World) -> Result<Vec<follow::Follow>, BenchError> {
        let mut done = Vec::new();
        if !self.wants("follow") || self.args.follow_seconds == 0 {
            return Ok(done);
        }
        for target in [Target::MariaDb, Target::Postgres] {
            say::progress(1, 1, &format!("follow to {target:?}"));
            if !quiet::wait(self.args.wait) {
                self.busy_starts += 1;
            }
            let (rate, seconds) = (self.args.follow_rate, self.args.follow_seconds);
            done.push(follow::measure(world, target, rate, seconds).await?);
        }
        Ok(done)
    }

    fn groups(&self) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for shot in &self.shots {
            if !groups.iter().any(|group| group.title == shot.group) {
                groups.push(Group { title: shot.group, rows: self.rows_of(shot.group) });
            }
        }
        groups
    }

    fn rows_of(&self, group: &str) -> Vec<Row> {
        let mut cases: Vec<&'static str> = Vec::new();
        for shot in self.shots.iter().filter(|shot| shot.group == group) {
            if !cases.contains(&shot.case) {
                cases.push(shot.case);
            }
        }
        let seconds = |case: &str| -> Vec<f64> {
            let of_case = |shot: &&Shot| shot.group == group && shot.case == case;
            self.shots.iter().filter(of_case).map(|shot| shot.seconds).collect()
        };
        let ours = cases.first().map_or(1.0, |case| middle(seconds(case)));
        cases
            .into_iter()
            .map(|case| Row {
                case,
                seconds: middle(seconds(case)),
                rows_per_second: f64::from(self.args.rows) / middle(seconds(case)).max(0.001),
                ratio: middle(seconds(case)) / ours.max(0.001),
                rounds_seconds: seconds(case),
            })
            .collect()
    }
}

/// As Linux counts it.
fn peak_memory_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1_024)
}

fn middle(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}
