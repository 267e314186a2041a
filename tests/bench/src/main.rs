//! Benchmarks side by side with the peers: one run, one machine, one table.
//!
//! Owns the command `banyan-bench`. It exists because only ratios measured in the same minutes mean anything. What must
//! stay true: loopback only, processes of its own only, bounded in time; a case that cannot run is named, not left out.

#[cfg(feature = "proxy")]
mod case;
#[cfg(feature = "proxy")]
mod child;
mod diff;
#[cfg(feature = "events")]
mod events;
#[cfg(feature = "proxy")]
mod nginx;
mod quiet;
#[cfg(feature = "proxy")]
mod role;
#[cfg(feature = "proxy")]
mod run;
mod say;
#[cfg(feature = "proxy")]
mod shadow;
#[cfg(feature = "sync")]
mod sync;
#[cfg(feature = "proxy")]
mod table;
#[cfg(feature = "proxy")]
mod wrk;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// CPU per request and throughput of the proxy beside a bare pingora proxy, nginx and nginx with its mirror module.
///
/// Needs `wrk`; the nginx cases need `nginx`. Build it with `--release`, or the numbers mean nothing.
#[derive(Debug, Parser)]
#[cfg_attr(not(feature = "proxy"), allow(dead_code, reason = "options of the cases of the proxy"))]
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
    command: Option<Command>,
}

/// What else it can do.
#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// The diff engine beside deepdiff-rs (PyPI), microdiff and fast-json-patch (npm), text to report.
    ///
    /// Installs the peers into a temporary folder with pip and npm; those that cannot be had are named.
    Diff(diff::DiffArgs),
    /// The forwarder and the relay beside plain lapin programs and RabbitMQ's shovel, on a private RabbitMQ.
    ///
    /// Needs `rabbitmq-server`; the relay's databases are private ones, and one that is not installed is named.
    #[cfg(feature = "events")]
    Events(events::EventsArgs),
    /// The first copy and verify beside dump and checksum tools, on a private MariaDB and Postgres.
    ///
    /// A tool that is not installed is named.
    #[cfg(feature = "sync")]
    Sync(sync::SyncArgs),
    #[cfg(feature = "proxy")]
    #[command(flatten)]
    Role(Role),
}

/// What this program does as a child of its own.
#[cfg(feature = "proxy")]
#[derive(Debug, Clone, Subcommand)]
enum Role {
    #[command(hide = true)]
    /// Answers every request with a small JSON object.
    Upstream,
    #[command(hide = true)]
    /// Forwards with pingora and nothing else.
    Bare {
        /// Where to.
        upstream: String,
        /// With the time-outs that no proxy should be without.
        #[arg(long)]
        timeouts: bool,
    },
    #[command(hide = true)]
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
    let done = match &args.command {
        Some(Command::Diff(diff)) => diff::run(diff),
        #[cfg(feature = "events")]
        Some(Command::Events(events)) => events::run(events),
        #[cfg(feature = "sync")]
        Some(Command::Sync(sync)) => sync::run(sync),
        #[cfg(feature = "proxy")]
        Some(Command::Role(role)) => role::play(role),
        #[cfg(feature = "proxy")]
        None => run::run(&args),
        #[cfg(not(feature = "proxy"))]
        None => Err(failed("measure the proxy")(
            "built without it; or did you mean `diff`, `events` or `sync`?",
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::complain(&error.to_string());
            ExitCode::from(6)
        }
    }
}

/// Why a benchmark cannot run.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    /// A program is not installed.
    #[cfg(feature = "proxy")]
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
