//! Arguments of `banyan events ..`.

use super::{OutboxCommand, ReportFiles, Who};
use crate::config::events::window;
use crate::config::value;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `banyan events ..`
#[derive(Debug, Subcommand)]
pub(crate) enum EventsCommand {
    /// Owner, forwarded, muted, lag, quarantine, handovers
    #[command(after_long_help = "Examples:\n  banyan events status\n  banyan events status --json")]
    Status,
    /// Run the forwarder alone, in a process of its own
    #[command(after_long_help = "\
Examples:
  banyan events forward
  banyan events forward --ready-file /run/banyan-events.json

Several of them, also beside `banyan serve`, take turns: one leads, the others stand by.
The control store must know the contexts: start `banyan serve` once.
SIGTERM or Ctrl-C: the batches in hand are finished, then the process ends.")]
    Forward(ForwardArgs),
    /// Publish late events after all
    #[command(after_long_help = "\
Examples:
  banyan events release --id 4711 --reason \"new did not announce it\"
  banyan events release messages --expect 3 --reason \"compared by hand\"

The order is carried out by the forwarder that leads, within a second; without one it waits.
Exit 5 when something else waits in quarantine than was named.")]
    Release(ResolveArgs),
    /// Give late events up
    #[command(after_long_help = "\
Examples:
  banyan events drop --id 4711 --reason \"new announced the same\"
  banyan events drop messages --expect 3 --reason \"compared by hand\"

Exit 5 when something else waits in quarantine than was named.")]
    Drop(ResolveArgs),
    /// Hand the events and writes of a context without own tables to the other side
    #[command(after_long_help = "\
Examples:
  banyan events handover messages --to new                       the checks and the steps
  banyan events handover messages --to new --execute --reason \"week 3\"
  banyan events handover messages --give-up --reason \"not today\"

Run it again after a crash: it goes on at the step that it came to. Back is the same with --to legacy.
Exit 1 without --execute, 5 when a check fails, 6 when the forwarder has not passed the markers in time.")]
    Handover(HandoverArgs),
    /// Whether both sides announce the same changes
    #[command(after_long_help = "\
Examples:
  banyan events parity messages
  banyan events parity messages --since 24h --max-mismatch-percent 0.5 --junit parity.xml
  banyan events parity messages --since 2014-06-12T10:00:00Z --html report/ --json

Pairs the events that both sides published by `parity-key` and compares their payloads under the
rules of the file; a rule for one type of event names the endpoint CONTEXT.TYPE. Values are
redacted. Exit 0 when parity is proven for every type of event, 1 when it is refuted, 4 when too
few events were seen, only one side published, or the log was trimmed inside the period.")]
    Parity(ParityArgs),
    /// Move a live exchange's bindings behind the forwarder, without touching the monolith
    #[command(after_long_help = "\
Examples:
  banyan events wrap                                  the steps, nothing is done
  banyan events wrap --execute --reason \"week 1\"
  banyan events wrap --binding push=message.* --execute --reason \"no management plugin\"

Needs events.insertion = \"wrap\" and a forwarder that is not running. Run it again after a crash: each step
may be done twice. Exit 1 without --execute.")]
    Wrap(WrapArgs),
    /// Undo a wrap: consumers hang on the monolith's exchange again
    #[command(after_long_help = "\
Examples:
  banyan events unwrap
  banyan events unwrap --execute --reason \"the trial is over\"

Needs a forwarder that is not running and every context owned by legacy. Exit 1 without --execute.")]
    Unwrap(WrapArgs),
    /// Look for what would break the one-emitter rule on the broker
    #[command(after_long_help = "\
Examples:
  banyan events doctor
  banyan events doctor --json

Needs events.management, the URL of RabbitMQ's management API; without it only little can be looked at.
Exit 1 when something is wrong, 4 when something could not be looked at.")]
    Doctor,
    /// Outboxes of services: status, dead rows, retry
    #[command(subcommand)]
    Outbox(OutboxCommand),
}

/// `banyan events forward`
#[derive(Debug, Args)]
pub(crate) struct ForwardArgs {
    /// Write the process id to this file as JSON once it runs and raw queues are there
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
}

/// Which late events.
#[derive(Debug, Args)]
#[group(id = "which", required = true, multiple = false)]
pub(crate) struct ResolveWhich {
    /// All that wait in this context
    #[arg(value_name = "CONTEXT")]
    pub(crate) context: Option<String>,
    /// Exactly this one; may be given several times
    #[arg(long = "id", value_name = "ID")]
    pub(crate) ids: Vec<i64>,
}

/// `banyan events release|drop`
#[derive(Debug, Args)]
pub(crate) struct ResolveArgs {
    #[command(flatten)]
    pub(crate) which: ResolveWhich,
    /// Refuse unless exactly so many wait in the context
    #[arg(long, value_name = "N", requires = "context")]
    pub(crate) expect: Option<u64>,
    #[command(flatten)]
    pub(crate) who: Who,
}

/// `banyan events handover`
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is one flag that may be typed")]
pub(crate) struct HandoverArgs {
    /// The context
    pub(crate) context: String,
    /// The next owner: legacy or new
    #[arg(long, value_name = "SIDE", required_unless_present = "give_up")]
    pub(crate) to: Option<String>,
    /// Do it
    #[arg(long, conflicts_with = "give_up")]
    pub(crate) execute: bool,
    /// Emergency: wait neither for writes under way nor for stragglers, which end in quarantine
    #[arg(long, conflicts_with = "give_up")]
    pub(crate) now: bool,
    /// Override checks that may be overridden; needs a reason
    #[arg(long, conflicts_with = "give_up")]
    pub(crate) force: bool,
    /// Give up a handover whose writes have not moved
    #[arg(long)]
    pub(crate) give_up: bool,
    /// How long the last owner may go on publishing after its last write, in ms
    #[arg(long, default_value_t = 2_000, value_name = "MS")]
    pub(crate) settle: u64,
    /// How long to wait for each of: proxies, writes under way, the forwarder, in ms
    #[arg(long, default_value_t = 30_000, value_name = "MS")]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) who: Who,
}

/// `banyan events parity`
#[derive(Debug, Args)]
pub(crate) struct ParityArgs {
    /// The context
    pub(crate) context: String,
    /// Only events since: `24h`, `90s`, `2014-06-12T10:00:00Z`, or Unix milliseconds
    #[arg(long, value_name = "TIME", default_value = "24h")]
    pub(crate) since: String,
    /// How far apart the two events of a pair may be (default: `parity-window`)
    #[arg(long, value_name = "TIME", value_parser = window)]
    pub(crate) window: Option<u64>,
    /// From which distance on the later one is late (default: `parity-late-max`)
    #[arg(long, value_name = "TIME", value_parser = value::duration_ms)]
    pub(crate) late_max: Option<u64>,
    #[command(flatten)]
    pub(crate) demand: ParityDemand,
    #[command(flatten)]
    pub(crate) files: ReportFiles,
}

/// What parity asks for.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "What a pass needs")]
pub(crate) struct ParityDemand {
    /// Percent of the events of a type that may mismatch (default: `shadow.max-mismatch-percent`)
    #[arg(long, value_name = "PERCENT")]
    pub(crate) max_mismatch_percent: Option<f64>,
    /// Confidence of the proof in percent (default: `shadow.confidence-percent`)
    #[arg(long, value_name = "PERCENT")]
    pub(crate) confidence: Option<f64>,
    /// Events to compare at least, per type
    #[arg(long, value_name = "N")]
    pub(crate) min_compared: Option<u64>,
    /// Percent of the types of event that must be judged; rare ones may lack events, as long as nothing differs there
    #[arg(long, value_name = "PERCENT", default_value_t = 100.0)]
    pub(crate) min_coverage: f64,
}

/// `banyan events wrap|unwrap`
#[derive(Debug, Args)]
pub(crate) struct WrapArgs {
    /// A binding of the monolith's exchange, when it cannot be read from the management API; may be given several times
    #[arg(long = "binding", value_name = "QUEUE=KEY")]
    pub(crate) bindings: Vec<String>,
    /// Do it
    #[arg(long)]
    pub(crate) execute: bool,
    #[command(flatten)]
    pub(crate) who: Who,
}
