//! Why a consumer cannot start or go on.

use std::{io, net::SocketAddr, path::PathBuf};

use banyan_outbox::OutboxError;
use banyan_seams::events::broker::BrokerError;

/// Why a consumer cannot start, or what it waits for. Each message says what to change where a user can.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumerError {
    /// The URL of `--database` names no database that the consumer knows.
    #[error("cannot use the database `{scheme}:..` (hint: give `--database sqlite:/path/to/file`)")]
    DatabaseUrl {
        /// The scheme that was given.
        scheme: String,
    },
    /// The URL of `--broker` names no broker.
    #[error(
        "cannot use the broker (hint: give `--broker embedded:/path/broker.db` or \
         `--broker amqp://user:password@host:port/vhost`)"
    )]
    BrokerUrl {
        /// Why.
        #[source]
        source: BrokerError,
    },
    /// The database refuses. While consuming, the messages stay in the queue and it is tried again.
    #[error("cannot {act} (hint: is the file of `--database` writable and its disk not full?)")]
    Database {
        /// What failed.
        act: &'static str,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// The inbox refuses. The same.
    #[error("cannot use the inbox")]
    Inbox {
        /// Why.
        #[source]
        source: OutboxError,
    },
    /// The broker refuses or is away. It is tried again.
    #[error("cannot consume `{queue}`")]
    Broker {
        /// The queue.
        queue: String,
        /// Why.
        #[source]
        source: BrokerError,
    },
    /// Too many unreadable messages are put aside. The next one stays in the queue until there is room.
    #[error(
        "{poison_max} unreadable messages are put aside, no more are taken (hint: look at /poison, \
         then delete rows of the table `poison`, or raise `--poison-max`)"
    )]
    PoisonFull {
        /// The limit.
        poison_max: u32,
    },
    /// The address of `--listen` cannot be taken.
    #[error("cannot listen on `{address}` (hint: `--listen 127.0.0.1:0` takes a free port)")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The ready file cannot be written.
    #[error("cannot write the ready file `{}`", path.display())]
    ReadyFile {
        /// The file of `--ready-file`.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Accepting connections failed for good.
    #[error("cannot serve connections")]
    Serve {
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ConsumerError {
    pub(crate) fn database(act: &'static str) -> impl Fn(sqlx::Error) -> Self {
        move |source| Self::Database { act, source }
    }

    pub(crate) fn inbox(source: OutboxError) -> Self {
        Self::Inbox { source }
    }

    /// With its causes, in one line.
    pub(crate) fn line(&self) -> String {
        let mut line = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            line.push_str(": ");
            line.push_str(&error.to_string());
            cause = error.source();
        }
        line
    }
}
