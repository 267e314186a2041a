//! Why traffic cannot start. What goes wrong later is not an error but a counted failure.

use std::{io, path::PathBuf};

/// Why traffic cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrafficError {
    /// `--url` is not the address of a site.
    #[error("use `{url}` as the address (hint: write `--url http://host:port`, without a path)")]
    Url {
        /// What was given.
        url: String,
    },
    /// There are not enough users for each session to have its own.
    #[error(
        "give each of {concurrency} sessions users of its own out of {users} \
         (hint: raise `--users` or lower `--concurrency`)"
    )]
    TooFewUsers {
        /// Of `--concurrency`.
        concurrency: u32,
        /// Of `--users`.
        users: u32,
    },
    /// The HTTP client cannot be made.
    #[error("set up the HTTP client")]
    Client {
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The ledger cannot be opened.
    #[error("open the ledger `{}` (hint: is its folder there and writable?)", path.display())]
    Ledger {
        /// The file of `--ledger`.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The progress file cannot be written.
    #[error("write the progress file `{}` (hint: is its folder there and writable?)", path.display())]
    ProgressFile {
        /// The file of `--progress-file`.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}
