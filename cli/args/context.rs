//! Arguments of `banyan context ..`.

use super::Who;
use banyan_domain::Side;
use clap::{Args, Subcommand};

fn side(text: &str) -> Result<Side, String> {
    Side::from_word(text).ok_or_else(|| "must be `legacy` or `new`".to_owned())
}

/// `banyan context ..`
#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// Who owns a context, its fences, what is under way, what is to be done next
    #[command(
        after_long_help = "Examples:\n  banyan context show messages\n  banyan context show messages --json\n\nExit 6 when a database cannot be reached; what is known is shown all the same."
    )]
    Show {
        /// The context
        context: String,
    },
    /// Move writes, events and sync of a context to the other side, as one switch
    #[command(after_long_help = "\
Examples:
  banyan context cutover messages               the checks and the plan; nothing is changed
  banyan context cutover messages --execute --reason 'week 12'
  banyan context cutover messages --resume      goes on after a crash, whoever began it
  banyan context cutover messages --abort       gives up what is not decided

Writes are held in the proxies for a moment and go on to the new owner. Before the decision any
failure gives the switch up and the owner stays what it was; after it the switch only goes forward.
--force overrides failed checks, with --reason, but never those marked `never`.")]
    Cutover(CutoverArgs),
    /// What a rollback checks and moves, without closing anything
    #[command(after_long_help = "\
Examples:
  banyan context drill messages
  banyan context drill messages --json

Drains and compares toward the other side, reads its id counters, looks at fences, triggers and
events. Exit 0: nothing that stops a rollback was found; 1: something was. It does not try to close
the fence. Under writes an aggregate that changes all the time counts as not equal: run it again.")]
    Drill {
        /// The context
        context: String,
    },
    /// What still needs legacy, before its code of this context can go
    #[command(after_long_help = "\
Examples:
  banyan context retire messages                 lists what still calls legacy; changes nothing
  banyan context retire messages --execute       flips every read that is `new` to `retired`

Retired reads have no fallback and no comparison with legacy. Exit 1 while something still needs legacy.")]
    Retire {
        /// The context
        context: String,
        /// Flip the reads
        #[arg(long)]
        execute: bool,
        #[command(flatten)]
        who: Who,
    },
    /// The triggers that guard a context's tables
    #[command(subcommand)]
    Fence(FenceCommand),
}

/// What to do; without any of it the plan is printed.
#[derive(Debug, Args)]
pub(crate) struct CutoverAct {
    /// Do it
    #[arg(long, conflicts_with_all = ["resume", "abort"])]
    pub(crate) execute: bool,
    /// Go on with a switch that was interrupted, whoever began it
    #[arg(long, conflicts_with = "abort")]
    pub(crate) resume: bool,
    /// Give up a switch that is not decided
    #[arg(long)]
    pub(crate) abort: bool,
}

/// `banyan context cutover`
#[derive(Debug, Args)]
pub(crate) struct CutoverArgs {
    /// The context
    pub(crate) context: String,
    /// The next owner
    #[arg(long, value_name = "SIDE", default_value = "new", value_parser = side)]
    pub(crate) to: Side,
    #[command(flatten)]
    pub(crate) act: CutoverAct,
    /// Judge the shadow gate by what was seen since: `24h`, `2014-06-12T10:00:00Z`, or Unix milliseconds
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Override failed checks; needs --reason
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) who: Who,
}

/// `banyan context fence ..`
#[derive(Debug, Subcommand)]
pub(crate) enum FenceCommand {
    /// Make the row and the triggers on both sides; prints the exact DDL first
    #[command(after_long_help = "\
Examples:
  banyan context fence install messages               what would be made
  banyan context fence install messages --execute

The owner's side begins open, the other shut. From then on a write to the context's tables on the
side that does not own them is refused by the database itself; only the sync is let through.")]
    Install {
        /// The context
        context: String,
        /// Run the statements
        #[arg(long)]
        execute: bool,
    },
    /// Remove the triggers on both sides; the rows stay, the outbox announces by them
    #[command(
        after_long_help = "Examples:\n  banyan context fence uninstall messages\n  banyan context fence uninstall messages --execute"
    )]
    Uninstall {
        /// The context
        context: String,
        /// Run the statements
        #[arg(long)]
        execute: bool,
    },
}
