//! What can go wrong with the control store, in words a person can act on.
//!
//! Owns [`ControlError`] and [`CommitError`]. It exists so that callers never see a database driver's error
//! type: the trait stays the same for every backend. The display is a fragment, the hint the remedy.

use banyan_domain::{Generation, Refusal};
use std::path::PathBuf;

/// The driver's error, kept for the `because:` chain.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why the control store could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The URL names a kind of store that this build does not have.
    #[error("`{url}` names no control store this build knows")]
    Unsupported {
        /// The URL as given, without any password.
        url: String,
    },
    /// There is no store file where one was expected (never made, or removed while in use).
    #[error("there is no control store at `{}`", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file or its folder cannot be created or written.
    #[error("the control store `{}` cannot be written", path.display())]
    NotWritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Cause,
    },
    /// Another connection kept the lock for longer than the busy timeout.
    #[error("the control store `{}` is locked by another program", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
        /// What the driver said.
        #[source]
        source: Cause,
    },
    /// The store did not answer in time.
    #[error("the control store did not answer within {after_ms} ms")]
    TimedOut {
        /// How long was waited, in ms.
        after_ms: u64,
    },
    /// The file was written by a newer release.
    #[error(
        "the control store `{}` has schema {found}, this release knows schemas up to {supported}",
        path.display()
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// The schema found.
        found: u64,
        /// The newest one known.
        supported: u64,
    },
    /// The file is no database or is damaged.
    #[error("the control store `{}` is damaged or is no SQLite file", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What the driver said.
        #[source]
        source: Cause,
    },
    /// A value in the store cannot be read, such as a route table with an unknown phase.
    #[error("{what} in the control store cannot be read")]
    Unreadable {
        /// What it is, such as `route table 12`.
        what: String,
        /// Why not.
        #[source]
        source: Cause,
    },
    /// Another living process reports under the same instance name.
    #[error("instance name `{instance}` is used by another process (pid {pid})")]
    InstanceTaken {
        /// The name.
        instance: String,
        /// The other process.
        pid: u32,
    },
    /// Anything else that keeps the store from answering.
    #[error("the control store `{}` cannot be reached", path.display())]
    Unreachable {
        /// The file.
        path: PathBuf,
        /// What the driver said.
        #[source]
        source: Cause,
    },
}

impl ControlError {
    /// The stable code, the key of `banyan explain`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unsupported { .. } => "banyan::control::unsupported",
            Self::Missing { .. } => "banyan::control::missing",
            Self::NotWritable { .. } => "banyan::control::not_writable",
            Self::Locked { .. } => "banyan::control::locked",
            Self::TimedOut { .. } => "banyan::control::timed_out",
            Self::NewerSchema { .. } => "banyan::control::newer_schema",
            Self::Corrupt { .. } => "banyan::control::corrupt",
            Self::Unreadable { .. } => "banyan::control::unreadable",
            Self::InstanceTaken { .. } => "banyan::control::instance_taken",
            Self::Unreachable { .. } => "banyan::control::unreachable",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Unsupported { .. } => {
                "supported is `sqlite:PATH`, such as `sqlite:banyan.db` (Postgres and MySQL come later)".to_owned()
            }
            Self::Missing { path } => format!(
                "`banyan serve` creates it; if `{}` was removed, restart one `banyan serve`: it restores the last table it knows",
                path.display()
            ),
            Self::NotWritable { path, .. } => format!(
                "check that the folder of `{}` exists and that this user may write there",
                path.display()
            ),
            Self::Locked { path, .. } => format!(
                "try again; if it stays locked, find who holds it: lsof {}",
                path.display()
            ),
            Self::TimedOut { .. } => "try again; proxies go on with the table they have".to_owned(),
            Self::NewerSchema { .. } => {
                "use the release that wrote it, or a newer one".to_owned()
            }
            Self::Corrupt { path, .. } => format!(
                "proxies go on with the table they have; move `{}` away and restart one `banyan serve`: it restores that table",
                path.display()
            ),
            Self::Unreadable { .. } => {
                "it was probably written by a newer release: use that one".to_owned()
            }
            Self::InstanceTaken { .. } => {
                "give each process its own instance name".to_owned()
            }
            Self::Unreachable { .. } => {
                "try again; proxies go on with the table they have".to_owned()
            }
        }
    }

    /// Whether the same call may succeed a little later without anybody acting.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Locked { .. } | Self::TimedOut { .. } | Self::Unreachable { .. } => true,
            Self::Unsupported { .. }
            | Self::Missing { .. }
            | Self::NotWritable { .. }
            | Self::NewerSchema { .. }
            | Self::Corrupt { .. }
            | Self::Unreadable { .. }
            | Self::InstanceTaken { .. } => false,
        }
    }
}

/// Why a change of the route table was not made.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Somebody else changed the table since the caller looked.
    #[error("the route table is at generation {current}, not {expected}: {by} changed it")]
    Stale {
        /// What the caller had seen.
        expected: Generation,
        /// What is there.
        current: Generation,
        /// Who made the current generation.
        by: String,
        /// When, Unix ms.
        at_ms: u64,
    },
    /// A safety rule says no.
    #[error(transparent)]
    Refused(Refusal),
    /// The store could not do it; nothing was changed, unless the error says that the reply was lost.
    #[error(transparent)]
    Store(ControlError),
}

impl CommitError {
    /// The stable code, the key of `banyan explain`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Stale { .. } => "banyan::flip::stale",
            Self::Refused(refusal) => refusal.code(),
            Self::Store(error) => error.code(),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Stale { current, .. } => format!(
                "banyan audit --limit 5        (shows who did what; then try again on generation {current})"
            ),
            Self::Refused(refusal) => refusal.hint(),
            Self::Store(error) => error.hint(),
        }
    }

    /// Whether the same call may succeed a little later without anybody acting.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Stale { .. } | Self::Refused(_) => false,
            Self::Store(error) => error.retryable(),
        }
    }
}
