//! Arguments of `banyan events outbox ..`.
//!
//! Owns what may be typed about outboxes, with its help texts.

use clap::{Args, Subcommand, ValueEnum};

/// `banyan events outbox ..`
#[derive(Debug, Subcommand)]
pub(crate) enum OutboxCommand {
    /// Who relays, what waits, what is dead or lost
    #[command(after_long_help = "\
Examples:
  banyan events outbox status
  banyan events outbox status --json | jq '.data.outboxes[].contexts[].lag_ms'

READY rows wait to be published, WAITING ones failed and are tried again, DEAD ones need `retry` or `drop`. A waiting or
dead row holds back the later events of its subject, or of its context where that is the order.
Exit 1 when nobody relays, or something is dead or lost; 6 when a database is not reached, after what the others say.")]
    Status,
    /// Rows that were given up after too many tries
    #[command(
        after_long_help = "Examples:\n  banyan events outbox dead\n  banyan events outbox dead --limit 100 --json\n\nData of events is never shown. Exit 1 when there are any."
    )]
    Dead {
        /// How many per outbox, oldest first
        #[arg(long, default_value_t = 20, value_name = "N")]
        limit: u32,
    },
    /// Have dead rows published after all, in their old order
    #[command(after_long_help = "\
Examples:
  banyan events outbox retry 0190b6a3-7f3e-7c2e-8f27-d1e6b1b0a001
  banyan events outbox retry --context messages

Remove the cause first; `dead` shows it. Exit 1 when there was nothing to retry.")]
    Retry(RetryArgs),
    /// Give a dead row up for good: consumers never see its event, what waits behind it passes
    #[command(after_long_help = "\
Examples:
  banyan events outbox drop 0190b6a3-7f3e-7c2e-8f27-d1e6b1b0a001 --yes

There is no way back, so it needs --yes: exit 5 without.")]
    Drop {
        /// The event
        #[arg(value_name = "EVENT_ID")]
        event: String,
        /// Do it
        #[arg(long)]
        yes: bool,
    },
    /// Print the statements that make the tables of outbox and inbox
    #[command(
        after_long_help = "Examples:\n  banyan events outbox ddl postgres | psql \"$DATABASE_URL\"\n  banyan events outbox ddl mysql"
    )]
    Ddl {
        /// The database engine
        #[arg(value_enum)]
        engine: EngineName,
    },
}

/// Which dead rows.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct RetryArgs {
    /// The event
    #[arg(value_name = "EVENT_ID")]
    pub(crate) event: Option<String>,
    /// All of this context
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

/// A database engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineName {
    /// MySQL 8, MariaDB
    Mysql,
    /// Postgres
    Postgres,
    /// SQLite
    Sqlite,
}
