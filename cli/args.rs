//! Arguments: what may be typed.
//!
//! Owns the command tree with its help texts. It exists apart from the commands so that the tree reads as
//! one page; nothing here does any work.

mod context;
mod diff;
mod events;
mod noise;
mod outbox;
mod replay;
mod report;
mod sync;

use crate::output::Color;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

pub(crate) use context::{ContextCommand, CutoverArgs, FenceCommand};
pub(crate) use diff::DiffArgs;
pub(crate) use events::{
    EventsCommand, ForwardArgs, HandoverArgs, ParityArgs, ParityDemand, ResolveArgs, WrapArgs,
};
pub(crate) use noise::{NoiseCommand, NoisePlace, NoiseWindow};
pub(crate) use outbox::{EngineName, OutboxCommand, RetryArgs};
pub(crate) use replay::{ImportArgs, RecordArgs, ReplayArgs};
pub(crate) use report::{Demand, Evidence, GateArgs, Proof, ReportArgs, ReportFiles};
pub(crate) use sync::{DoctorArgs, JobArgs, OrderArgs, RepairArgs, SyncCommand, ThrottleArgs};

const AFTER_HELP: &str = "\
Exit codes:
  0 yes, pass, done · 1 the answer is no · 2 usage · 3 config invalid · 4 inconclusive
  5 refused by a safety rule · 6 unreachable, retry is safe · 70 our bug · 130/143 stopped
Environment:
  BANYAN_CONFIG    the configuration file
  BANYAN_SECTION__KEY overrides a value of the file, e.g. BANYAN_PROXY__LISTEN
  BANYAN_LOG       log filter, e.g. info,banyan_proxy=debug
  NO_COLOR         no colour";

/// Moves a monolith's endpoints to new services, one bounded context at a time, while both stay correct.
#[derive(Debug, Parser)]
#[command(name = "banyan", version, after_long_help = AFTER_HELP, max_term_width = 100, infer_long_args = false)]
#[command(
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The configuration file
    #[arg(
        short = 'c',
        long,
        global = true,
        env = "BANYAN_CONFIG",
        default_value = "banyan.toml",
        value_name = "FILE"
    )]
    pub(crate) config: PathBuf,
    /// Answer with JSON on stdout
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN")]
    pub(crate) color: Color,
    /// Say less: no remarks on stderr
    #[arg(short = 'q', long, global = true, action = clap::ArgAction::Count)]
    pub(crate) quiet: u8,
    /// Log more: -v info, -vv debug
    #[arg(short = 'v', long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// No progress on stderr
    #[arg(long, global = true)]
    pub(crate) no_progress: bool,
}

/// Who does it and why; goes to the audit.
#[derive(Debug, Args)]
pub(crate) struct Who {
    /// Why, for the audit
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
    /// Who, for the audit (default: the login name)
    #[arg(long = "as", value_name = "NAME", env = "BANYAN_AS")]
    pub(crate) name: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Walk the whole migration of a practice world, in about two minutes
    Demo(DemoArgs),
    /// Check the configuration: every problem at once, with its place
    Check(CheckArgs),
    /// Run the proxy, shadow, sync and events, all or some
    Serve(ServeArgs),
    /// What is live: phases, proxies, mismatches, sync lag, who emits
    Status(StatusArgs),
    /// Routes: list, show, explain, flip
    #[command(subcommand)]
    Route(RouteCommand),
    /// Contexts: show, cutover of all writes, drill of the way back, fences, retire
    #[command(subcommand)]
    Context(ContextCommand),
    /// Back to the previous safe phase or owner; never asks
    Rollback(RollbackArgs),
    /// Refuse all forward flips; rollback stays allowed
    Freeze(Who),
    /// Allow forward flips again
    Unfreeze(Who),
    /// Shadow reads: report, gate, and diff of any two answers
    #[command(subcommand)]
    Shadow(ShadowCommand),
    /// Sync jobs: list, plan, install, run, pause, throttle, verify, repair, conflicts, doctor
    #[command(subcommand)]
    Sync(SyncCommand),
    /// Events: the forwarder, its state and quarantine, parity, handover, insertion
    #[command(subcommand)]
    Events(EventsCommand),
    /// Who changed what, when and why
    Audit(AuditArgs),
    /// Show the effective configuration, or the reference of every key
    #[command(subcommand)]
    Config(ConfigCommand),
    /// What an error code or an exit code means
    Explain(ExplainArgs),
    /// Shell completions
    Completions(CompletionsArgs),
    /// The practice world: monolith, carved service, traffic
    #[command(subcommand)]
    Fixture(FixtureCommand),
}

/// `banyan demo`
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  banyan demo                  the whole walk: 2,000 users, 200,000 messages
  banyan demo --fast --json    the same walk on small data, one summary object
  banyan demo --stay           keep the world and its traffic up afterwards

Everything runs on free loopback ports in a temporary directory.")]
pub(crate) struct DemoArgs {
    /// The same walk on small data, in under 30 s
    #[arg(long)]
    pub(crate) fast: bool,
    /// Keep everything up with traffic until Ctrl-C
    #[arg(long)]
    pub(crate) stay: bool,
    /// Seed of data and traffic
    #[arg(long, default_value_t = 2014, value_name = "N")]
    pub(crate) seed: u64,
    /// Where to put the world (default: a temporary directory, removed at the end)
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// The monolith's database, empty: `mysql://USER@HOST:PORT/NAME` (default: SQLite)
    #[arg(long, value_name = "URL", help_heading = "On real servers")]
    pub(crate) legacy_database: Option<String>,
    /// The service's database, empty: `postgres://USER@HOST:PORT/NAME` (default: SQLite)
    #[arg(long, value_name = "URL", help_heading = "On real servers")]
    pub(crate) new_database: Option<String>,
    /// The broker: `amqp://USER:PASSWORD@HOST:PORT/VHOST` (default: embedded)
    #[arg(long, value_name = "URL", help_heading = "On real servers")]
    pub(crate) broker: Option<String>,
}

/// `banyan check`
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  banyan check                 file, references and route expectations
  banyan check --online        also the control store, databases and brokers")]
pub(crate) struct CheckArgs {
    /// Also reach the control store, both sides, databases and brokers
    #[arg(long)]
    pub(crate) online: bool,
}

/// A part of `banyan serve`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    /// Data plane and admin API
    Proxy,
    /// Mirror and compare, inside the proxy's process
    Shadow,
    /// Sync jobs that follow or have a schedule
    Sync,
    /// The forwarder of events
    Events,
}

/// `banyan serve`
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  banyan serve                        every role in one process
  banyan serve --only proxy,shadow    one of several proxies on the same control store
  banyan serve --only sync            the sync worker alone

Shadow reads run in the proxy's process: `--only shadow` needs `proxy` with it.
SIGTERM or Ctrl-C: /ready turns 503, requests in flight finish, then the process ends.")]
pub(crate) struct ServeArgs {
    /// Run only these roles
    #[arg(long, value_enum, value_delimiter = ',', value_name = "ROLES")]
    pub(crate) only: Vec<Role>,
    /// Name of this instance (default: host and process id)
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: Option<String>,
    /// Write the bound addresses to this file as JSON once everything listens and raw queues are there
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
}

/// `banyan status`
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  banyan status
  banyan status --watch
  banyan status --json | jq '.data.contexts[].endpoints'")]
pub(crate) struct StatusArgs {
    /// Repeat every second until Ctrl-C
    #[arg(long)]
    pub(crate) watch: bool,
}

/// `banyan route ..`
#[derive(Debug, Subcommand)]
pub(crate) enum RouteCommand {
    /// All declared endpoints with their live phase
    #[command(after_long_help = "Examples:\n  banyan route list\n  banyan route list --json")]
    List,
    /// One endpoint: declaration, phase, last change, mismatches
    #[command(
        after_long_help = "Examples:\n  banyan route show messages.list\n  banyan route show messages.list --json"
    )]
    Show {
        /// The endpoint
        endpoint: String,
    },
    /// Where a request would go, and why
    #[command(after_long_help = "\
Examples:
  banyan route why GET /users/3/messages
  banyan route why POST /messages/3 -H 'X-HTTP-Method-Override: DELETE'")]
    Why {
        /// The method
        method: String,
        /// Path and query, or a whole URL
        url: String,
        /// A request header, `Name: value`; may be repeated
        #[arg(short = 'H', long = "header", value_name = "HEADER")]
        headers: Vec<String>,
        /// The client's address
        #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
        address: String,
    },
    /// Change the phase of one read endpoint, on every proxy at once
    #[command(after_long_help = "\
Examples:
  banyan route flip messages.list shadow
  banyan route flip messages.list canary --percent 10 --reason 'week-1 ramp'

Legal steps: legacy -> shadow -> canary N% -> new -> retired, one at a time; back in one step.
Writes are not flipped: they move together with their context.")]
    Flip {
        /// The endpoint
        endpoint: String,
        /// legacy, shadow, canary, new or retired
        phase: String,
        /// Share of callers, with canary
        #[arg(long, value_name = "N")]
        percent: Option<u8>,
        /// Refuse when the table is not at this generation any more
        #[arg(long, value_name = "N")]
        generation: Option<u64>,
        /// How long to wait for every proxy
        #[arg(long, default_value = "5s", value_parser = crate::config::value::duration_ms, value_name = "TIME")]
        timeout: u64,
        #[command(flatten)]
        who: Who,
    },
}

/// `banyan rollback`
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  banyan rollback messages                legacy owns the context again; if it does already,
                                          reads that new answers go back to shadow
  banyan rollback messages.list --reason 'p99 doubled'

A rollback is one step, never asks, and is allowed while frozen.")]
pub(crate) struct RollbackArgs {
    /// A context or an endpoint
    pub(crate) scope: String,
    /// How long to wait for every proxy
    #[arg(long, default_value = "5s", value_parser = crate::config::value::duration_ms, value_name = "TIME")]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) who: Who,
}

/// `banyan shadow ..`
#[derive(Debug, Subcommand)]
pub(crate) enum ShadowCommand {
    /// What differs, by endpoint, path and cause
    Report(ReportArgs),
    /// Pass, fail or inconclusive, for CI: exit 0, 1 or 4
    Gate(GateArgs),
    /// Compare two files or URLs by the same engine; needs no configuration
    Diff(DiffArgs),
    /// Record the reads of a running `banyan serve` for a time
    Record(RecordArgs),
    /// Turn a HAR, GoReplay file, access log or cassette into a recording
    Import(ImportArgs),
    /// Ask both sides a recording again and judge new: exit 0, 1 or 4
    Replay(Box<ReplayArgs>),
    /// Rules: differences that are known to be harmless
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Places at which legacy differs from itself: list, accept, forget
    #[command(subcommand)]
    Noise(NoiseCommand),
    /// Endpoints that nobody declared, as far as requests tell
    #[command(after_long_help = "\
Examples:
  banyan shadow templates
  banyan shadow templates --since 24h --toml >> banyan.toml

Requests that no endpoint covers go to legacy. Up to 200 of them per second are looked at: method, path with classes for
values ({int}, {uuid}, {slug}), query keys, status and media type are counted; no value is kept.")]
    Templates(TemplatesArgs),
}

/// Which templates.
#[derive(Debug, Args)]
pub(crate) struct TemplatesArgs {
    /// Only what was seen in this time: `24h`, `90s`, or Unix milliseconds
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Print `[[context.endpoint]]` tables to paste into banyan.toml
    #[arg(long)]
    pub(crate) toml: bool,
}

/// `banyan shadow rules ..`
#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// All rules with their place, action, owner, day of expiry and hits; dead and expired ones are marked
    #[command(after_long_help = "\
Examples:
  banyan shadow rules list
  banyan shadow rules list --since 7d --endpoint messages.list --json

used: it hid something. dead: it hid nothing though answers were compared. expired: it does not apply any more.
idle: it hid nothing, which says nothing.")]
    List {
        /// Count hits of this long ago, or since Unix ms (default: all)
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Only the rules and hits of this endpoint
        #[arg(long, value_name = "NAME")]
        endpoint: Option<String>,
    },
    /// Rules that would explain confirmed mismatches, ready to paste
    #[command(after_long_help = "\
Examples:
  banyan shadow rules suggest
  banyan shadow rules suggest --endpoint messages.list > candidates.toml

Each rule was tried on mismatches while their answers were in memory: how many it explains, how many it leaves, and in how
many it would also have hidden a breaking difference. Protected places get no suggestion; nothing is put into effect.")]
    Suggest(SuggestArgs),
}

/// Which suggestions.
#[derive(Debug, Args)]
pub(crate) struct SuggestArgs {
    /// Only what was seen in this time: `24h`, `90s`, or Unix milliseconds
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only for this endpoint
    #[arg(long, value_name = "NAME")]
    pub(crate) endpoint: Option<String>,
}

/// `banyan audit`
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  banyan audit\n  banyan audit --limit 5 --json")]
pub(crate) struct AuditArgs {
    /// How many entries, newest first
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub(crate) limit: u32,
}

/// `banyan config ..`
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Every effective value with its origin; secrets masked
    #[command(
        after_long_help = "Examples:\n  banyan config show\n  BANYAN_PROXY__LISTEN=127.0.0.1:9000 banyan config show"
    )]
    Show,
    /// The commented reference of every key
    #[command(after_long_help = "Examples:\n  banyan config reference > banyan.toml")]
    Reference,
}

/// `banyan explain`
#[derive(Debug, Args)]
#[command(
    after_long_help = "Examples:\n  banyan explain banyan::flip::write_endpoint\n  banyan explain exit 4"
)]
pub(crate) struct ExplainArgs {
    /// A code such as `banyan::flip::frozen`, or `exit N`
    #[arg(required = true, value_name = "CODE")]
    pub(crate) what: Vec<String>,
}

/// `banyan completions`
#[derive(Debug, Args)]
#[command(
    after_long_help = "Examples:\n  banyan completions bash > /etc/bash_completion.d/banyan\n  banyan completions zsh"
)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

/// `banyan fixture ..`
#[derive(Debug, Subcommand)]
pub(crate) enum FixtureCommand {
    /// The monolith with Rails manners
    Mothership(fixture_mothership::MothershipArgs),
    /// The carved service
    Messages(fixture_messages::MessagesArgs),
    /// A consumer of the public events: one notification per message
    PushNotifications(fixture_consumers::ConsumerArgs),
    /// A consumer of the public events: counts per day and type
    Stats(fixture_consumers::ConsumerArgs),
    /// Checking load
    Traffic(fixture_traffic::TrafficArgs),
}
