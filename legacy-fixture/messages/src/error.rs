//! Why the service cannot start or go on.

use banyan_outbox::OutboxError;
use std::{io, net::SocketAddr, path::PathBuf};

/// Why the service cannot start or go on. Each message says what to change where a user can.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessagesError {
    /// The URL of `--database` names no database that the service knows.
    #[error(
        "open the database `{url}` (hint: give `--database sqlite:/path/to/file` or \
         `--database postgres://user@host:port/name`)"
    )]
    DatabaseUrl {
        /// What was given, without what follows an `@` or a password.
        url: String,
    },
    /// The database cannot be reached or refuses the schema.
    #[error("{act} (hint: does the database of `--database` exist and accept connections?)")]
    Database {
        /// What failed.
        act: &'static str,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// The tables of the outbox cannot be made.
    #[error("make the tables of the outbox (hint: may the user of `--database` create tables?)")]
    Outbox {
        /// Why.
        #[source]
        source: OutboxError,
    },
    /// The URL of `--broker` names no broker that the service knows.
    #[error(
        "use `{url}` as a broker (hint: give `--broker embedded:/path/broker.db` or \
         `--broker amqp://user:password@host:port`)"
    )]
    BrokerUrl {
        /// Its scheme.
        url: String,
    },
    /// The address of `--listen` cannot be taken.
    #[error("listen on `{address}` (hint: `--listen 127.0.0.1:0` takes a free port)")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The ready file cannot be written.
    #[error("write the ready file `{}`", path.display())]
    ReadyFile {
        /// The file of `--ready-file`.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Accepting connections failed for good.
    #[error("serve connections")]
    Serve {
        /// Why.
        #[source]
        source: io::Error,
    },
}
