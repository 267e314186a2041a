//! Arguments of `banyan sync ..`.

use super::Who;
use banyan_domain::Side;
use clap::{Args, Subcommand};

/// Which job.
#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    /// The job; all of them when left out
    pub(crate) job: Option<String>,
    /// The side that is written; without it the one that does not own the context
    #[arg(long, value_name = "SIDE", value_parser = side)]
    pub(crate) to: Option<Side>,
}

fn side(text: &str) -> Result<Side, String> {
    Side::from_word(text).ok_or_else(|| "must be `legacy` or `new`".to_owned())
}

/// `banyan sync pause|resume`
#[derive(Debug, Args)]
pub(crate) struct OrderArgs {
    /// The job
    pub(crate) job: String,
    /// The side that is written; the other one owns the data
    #[arg(long, value_name = "SIDE", default_value = "new", value_parser = side)]
    pub(crate) to: Side,
    #[command(flatten)]
    pub(crate) who: Who,
}

/// `banyan sync throttle`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("limit").required(true))]
pub(crate) struct ThrottleArgs {
    /// The job
    pub(crate) job: String,
    /// Rows per second at most
    #[arg(long, value_name = "N", group = "limit")]
    pub(crate) rows_per_second: Option<std::num::NonZeroU64>,
    /// Back to the limit of the file
    #[arg(long, group = "limit")]
    pub(crate) off: bool,
    /// The side that is written; the other one owns the data
    #[arg(long, value_name = "SIDE", default_value = "new", value_parser = side)]
    pub(crate) to: Side,
    #[command(flatten)]
    pub(crate) who: Who,
}

/// `banyan sync ..`
#[derive(Debug, Subcommand)]
pub(crate) enum SyncCommand {
    /// Where each job is: phase, state and why, lag, next run, last run
    #[command(
        after_long_help = "Examples:\n  banyan sync list\n  banyan sync list messages        with its last runs\n  banyan sync list --json | jq '.data.jobs[] | {job, state, reason, lag_ms}'\n\nExit 6 when a target database cannot be reached; what is known is shown all the same."
    )]
    List(JobArgs),
    /// What a run would do: triggers to install, rows to copy or mend; changes nothing
    #[command(
        after_long_help = "Examples:\n  banyan sync plan\n  banyan sync plan messages --json\n\nExit 1 when there is something to do."
    )]
    Plan(JobArgs),
    /// Copy and drain; installs the capture triggers first
    #[command(after_long_help = "\
Examples:
  banyan sync run messages --once --execute      copy, drain until nothing is pending, end
  banyan sync run --follow --execute             stay and follow changes until Ctrl-C

Installing triggers changes the source database: it needs --execute the first time.")]
    Run {
        #[command(flatten)]
        job: JobArgs,
        /// End when nothing is pending (default)
        #[arg(long, conflicts_with = "follow")]
        once: bool,
        /// Follow changes until stopped
        #[arg(long)]
        follow: bool,
        /// Install missing capture triggers
        #[arg(long)]
        execute: bool,
    },
    /// Hold a job, also a running one: it keeps its lease and does nothing
    #[command(
        after_long_help = "Examples:\n  banyan sync pause messages --reason \"peak hour\"\n  banyan sync pause messages --as ada --json\n\nA running worker obeys within a second, between two transactions. The order survives restarts.\nThe drain of changes waits too, so the lag grows: banyan sync throttle slows only the copy."
    )]
    Pause(OrderArgs),
    /// Let a paused job go on
    #[command(
        after_long_help = "Examples:\n  banyan sync resume messages\n  banyan sync resume messages --json"
    )]
    Resume(OrderArgs),
    /// Limit the rows that a copy or sweep reads per second, also while it runs
    #[command(
        after_long_help = "Examples:\n  banyan sync throttle messages --rows-per-second 500\n  banyan sync throttle messages --off              back to max-rows-per-second of the file\n\nThe drain of changes is never slowed by it."
    )]
    Throttle(ThrottleArgs),
    /// Compare both databases aggregate by aggregate, while live
    #[command(after_long_help = "\
Examples:
  banyan sync verify
  banyan sync verify messages --since-clean --json

Exit 1 on drift, 4 when keys never got quiet or a full pass is needed.")]
    Verify {
        #[command(flatten)]
        job: JobArgs,
        /// Only what changed since the last verify that ended clean
        #[arg(long)]
        since_clean: bool,
    },
    /// Show the exact rows that differ; enqueue them for the drain with --execute
    #[command(after_long_help = "\
Examples:
  banyan sync repair messages                    the exact rows, nothing is written
  banyan sync repair messages --execute          mark what differs; a running worker applies it
  banyan sync repair messages 3:17 --execute     mark this aggregate

Exit 0 when both sides are equal, 1 when something differs, 4 when it is not known yet.")]
    Repair(RepairArgs),
    /// Install what the jobs need in both databases: prints the exact DDL, runs it with --execute
    #[command(after_long_help = "\
Examples:
  banyan sync install messages              print the DDL; exit 1 when something is missing
  banyan sync install messages --execute    run it

A job that describes both directions is installed in both, so that writes on the side that does not own the data are noticed.
Triggers that were missing may have missed changes: the next run then compares everything.")]
    Install {
        /// The job; all of them when left out
        job: Option<String>,
        /// Run the DDL
        #[arg(long)]
        execute: bool,
    },
    /// Remove triggers, marks and checkpoints of a job from both databases
    #[command(after_long_help = "\
Examples:
  banyan sync uninstall messages              print what would go; exit 1 when there is something
  banyan sync uninstall messages --execute    remove it

The data stays. A job that is installed again compares everything.")]
    Uninstall {
        /// The job
        job: String,
        /// Remove it
        #[arg(long)]
        execute: bool,
    },
    /// Aggregates that were written on both sides, with their rows
    #[command(after_long_help = "\
Examples:
  banyan sync conflicts
  banyan sync conflicts messages --to legacy --json

An application wrote on the side that does not own the data. The job never overwrites that: it sets the aggregate aside and goes
on with the others. Exit 1 when there are some.")]
    Conflicts {
        #[command(flatten)]
        job: JobArgs,
        /// How many to show
        #[arg(long, default_value_t = 20, value_name = "N")]
        limit: usize,
    },
    /// Decide conflicts for the owner: what the other side wrote is overwritten
    #[command(after_long_help = "\
Examples:
  banyan sync overrule messages 3:17 4:9
  banyan sync overrule messages 3:17 --to legacy

Look at them first: banyan sync conflicts. To keep what the other side wrote, write it on the owner's side, then overrule.")]
    Overrule {
        /// The job
        job: String,
        /// Keys of the aggregates
        #[arg(required = true)]
        keys: Vec<String>,
        /// The side that is written; the other one owns the data
        #[arg(long, value_name = "SIDE", default_value = "new", value_parser = side)]
        to: Side,
    },
    /// Look for what could make a job lose changes, stop, or hurt the application
    Doctor(DoctorArgs),
}

/// `banyan sync repair`
#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    /// The job
    pub(crate) job: String,
    /// Root keys to look at; all of both sides when left out
    #[arg(value_name = "KEY")]
    pub(crate) keys: Vec<String>,
    /// Only show what differs (default)
    #[arg(long, conflicts_with = "execute")]
    pub(crate) dry_run: bool,
    /// Mark what differs, so that the drain makes it right; named keys in any case
    #[arg(long)]
    pub(crate) execute: bool,
    /// Seconds to wait for a running worker
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    pub(crate) wait: u64,
    /// The side that is written; the other one owns the data
    #[arg(long, value_name = "SIDE", default_value = "new", value_parser = side)]
    pub(crate) to: Side,
}

/// `banyan sync doctor`
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  banyan sync doctor                     both sides of every job: keys, cascades, charsets, rights, clocks
  banyan sync doctor messages --json
  banyan sync doctor messages --sample   also measures what the triggers cost a writer

Changes nothing; --sample works on a scratch table of its own and drops it.
Exit 0 when nothing fails, also with warnings; 1 when something does; 6 without a connection.")]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) job: JobArgs,
    /// Measure the cost of the capture triggers in a scratch copy of a captured table
    #[arg(long)]
    pub(crate) sample: bool,
}
