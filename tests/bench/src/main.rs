//! Benchmarks side by side with the peers: one run, one machine, one table.
//!
//! Owns the command `banyan-bench`. It exists because only ratios measured in the same minutes mean anything. What must
//! stay true: loopback only, processes of its own only, bounded in time; a case that cannot run is named, not left out.

mod case;
mod child;
mod nginx;
mod quiet;
mod role;
mod run;
mod shadow;
mod table;
mod wrk;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// CPU per request and throughput of the proxy beside a bare pingora proxy, nginx and nginx with its mirror module.
///
/// Needs `wrk`; the nginx cases need `nginx`. Build it with `--release`, or the numbers mean nothing.
#[derive(Debug, Parser)]
struct Args {
    /// Seconds of load per case and round.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Rounds; cases take turns within each, and the medians are shown.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=9))]
    rounds: u64,
    /// Client connections.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=1024))]
    connections: u64,
    /// Seconds to wait before each case for the machine to become quiet.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=600))]
    wait: u64,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What this program does as a child of its own.
#[derive(Debug, Clone, Subcommand)]
#[command(hide = true)]
enum Role {
    /// Answers every request with a small JSON object.
    Upstream,
    /// Forwards with pingora and nothing else.
    Bare {
        /// Where to.
        upstream: String,
        /// With the time-outs that no proxy should be without.
        #[arg(long)]
        timeouts: bool,
    },
    /// Forwards with Banyan.
    Banyan {
        /// The legacy side.
        legacy: String,
        /// The new side.
        new: String,
        /// `default`, `read`, or `shadow`.
        mode: role::Mode,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.role {
        Some(role) => role::play(role),
        None => run::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            table::complain(&error.to_string());
            ExitCode::from(6)
        }
    }
}

/// Why a benchmark cannot run.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    /// A program is not installed.
    #[error("`{program}` is needed: apt-get install {program}")]
    Missing {
        /// The program.
        program: &'static str,
    },
    /// Something failed that should not.
    #[error("{what}: {detail}")]
    Failed {
        /// The failed act.
        what: &'static str,
        /// What the system says.
        detail: String,
    },
}

/// Turns any error into a [`BenchError`] with the failed act.
fn failed<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> BenchError {
    move |error| BenchError::Failed { what, detail: error.to_string() }
}
