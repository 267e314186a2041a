//! What can stop the mothership from starting, or one of its requests from being answered.
//!
//! What must stay true: messages are fragments that fit "cannot ...", name the thing, and leave the source to the chain.

/// How the refusals of fence triggers begin.
const FENCE_MESSAGE: &str = "banyan fence: ";

/// Why the mothership cannot start, go on, or answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MothershipError {
    /// `--database` is neither SQLite nor MySQL.
    #[error("use `{url}` as a database; hint: sqlite:/path/file.db or mysql://user@host:port/name")]
    DatabaseUrl {
        /// What was given.
        url: String,
    },
    /// `--broker` names no known kind of broker.
    #[error(
        "use `{url}` as a broker; hint: embedded:/path/broker.db or amqp://user:password@host:port"
    )]
    BrokerUrl {
        /// What was given.
        url: String,
    },
    /// The database could not be opened.
    #[error("open the database `{url}`")]
    Open {
        /// The URL without its password.
        url: String,
        /// What the driver said.
        source: sqlx::Error,
    },
    /// A statement failed.
    #[error("run a statement on the database")]
    Query {
        /// What the driver said.
        #[source]
        source: sqlx::Error,
    },
    /// An earlier seeding was interrupted.
    #[error("use the half seeded database; hint: delete it and start again")]
    HalfSeeded,
    /// `--messages` without users to write them.
    #[error("seed {messages} messages without users; hint: give --users 1 or more")]
    NoAuthors {
        /// How many messages were asked for.
        messages: u32,
    },
    /// The address is taken or not ours.
    #[error("listen on `{address}`; hint: port 0 takes a free one")]
    Listen {
        /// What was given.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The ready file could not be written.
    #[error("write the ready file `{path}`")]
    ReadyFile {
        /// Its path.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The listener broke.
    #[error("serve requests")]
    Serve {
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl MothershipError {
    pub(crate) fn query(source: sqlx::Error) -> Self {
        Self::Query { source }
    }

    /// The context whose fence refused the statement. The transaction then has no effect: it is rolled back.
    pub(crate) fn fenced_context(&self) -> Option<&str> {
        let Self::Query { source: sqlx::Error::Database(error) } = self else { return None };
        // On both engines the trigger speaks for itself: "banyan fence: context `messages` is shut on legacy".
        let reason = error.message().strip_prefix(FENCE_MESSAGE)?;
        Some(reason.split('`').nth(1).unwrap_or("unknown"))
    }

    /// True when nothing is broken and there is only too much to do: no connection became free in time.
    pub(crate) fn is_overload(&self) -> bool {
        matches!(self, Self::Query { source: sqlx::Error::PoolTimedOut })
    }

    /// True when the same transaction may well succeed now: a deadlock, a lock wait that timed out, a busy file.
    pub(crate) fn is_conflict(&self) -> bool {
        let Self::Query { source: sqlx::Error::Database(error) } = self else { return false };
        // MySQL: SQLSTATE 40001 is a deadlock, HY000 with 1205 a lock wait. SQLite: 5 busy, 517 busy snapshot, 6 locked.
        let mysql_lock_wait = error
            .try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()
            .is_some_and(|error| error.number() == 1205);
        mysql_lock_wait || matches!(error.code().as_deref(), Some("40001" | "5" | "6" | "517"))
    }
}
