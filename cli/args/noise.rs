//! Arguments of `banyan shadow noise ..`.
//!
//! Owns what may be typed about noise, with its help texts.

use super::Who;
use clap::{Args, Subcommand};

/// Which evidence of noise.
#[derive(Debug, Args)]
pub(crate) struct NoiseWindow {
    /// Only evidence since then: an age such as 24h, or Unix milliseconds
    #[arg(long, value_name = "AGE")]
    pub(crate) since: Option<String>,
    /// Only these endpoints
    #[arg(long = "endpoint", value_name = "NAME")]
    pub(crate) endpoints: Vec<String>,
}

/// Which evidence at a place.
#[derive(Debug, Args)]
pub(crate) struct NoisePlace {
    #[command(flatten)]
    pub(crate) window: NoiseSince,
    /// Only this kind of difference, such as value_changed:string
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<String>,
}

/// `banyan shadow noise ..`
#[derive(Debug, Subcommand)]
pub(crate) enum NoiseCommand {
    /// Candidates and accepted places, with their evidence and what it amounts to
    #[command(after_long_help = "\
Examples:
  banyan shadow noise list
  banyan shadow noise list --since 24h --endpoint messages.list --json

NOISY counts pairs of reads in which legacy differed from itself. NEW ALONE and LEGACY ALONE count requests on which
only one of them differed from legacy's first answer; P says how likely so many of the first are if new is just
another legacy. REAL: new differs beyond legacy's noise.")]
    List(NoiseWindow),
    /// Take a place into noise.lock: its values no longer count, their presence, type and class do
    #[command(after_long_help = "\
Examples:
  banyan shadow noise accept messages.list '$.messages[*].token' --reason \"random per answer\"
  banyan shadow noise accept --all-proposed           shows what would be written (exit 1 if anything)
  banyan shadow noise accept --all-proposed --yes     writes it

What is never noise (structure, another class, identity, what `protect` names) and what is REAL is refused: exit 5.
Too little evidence: exit 4.")]
    Accept {
        /// The endpoint
        #[arg(value_name = "ENDPOINT")]
        endpoint: Option<String>,
        /// The place as `list` shows it
        #[arg(value_name = "PATH")]
        path: Option<String>,
        #[command(flatten)]
        place: NoisePlace,
        /// All places that `list` proposes
        #[arg(long, conflicts_with_all = ["endpoint", "path", "kind"])]
        all_proposed: bool,
        /// Write all proposed places
        #[arg(long, requires = "all_proposed")]
        yes: bool,
        #[command(flatten)]
        who: Who,
    },
    /// Take a place out of noise.lock, with its evidence: differences there count again
    #[command(
        after_long_help = "Examples:\n  banyan shadow noise forget messages.list '$.messages[*].token'\n  banyan shadow noise forget messages.list\n\nExit 1 when there is nothing to forget."
    )]
    Forget {
        /// The endpoint
        endpoint: String,
        /// The place; all of the endpoint's places when left out
        path: Option<String>,
    },
}

/// Since when evidence of noise counts.
#[derive(Debug, Args)]
pub(crate) struct NoiseSince {
    /// Only evidence since then: an age such as 24h, or Unix milliseconds
    #[arg(long, value_name = "AGE")]
    pub(crate) since: Option<String>,
}
