//! What can go wrong with an outbox or an inbox.

use banyan_cutover::MoveError;
use banyan_domain::ContextName;
use banyan_events::broker::BrokerError;
use banyan_events::envelope::EnvelopeError;

/// Why something could not be done. After an error inside of a business transaction, roll that transaction back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// The database refused or was not reached.
    #[error("cannot {act}")]
    Database {
        /// The failed act.
        act: &'static str,
        /// The database's words.
        source: sqlx::Error,
    },
    /// The context has no fence row in this database, so nobody knows whether this side may emit.
    #[error("context `{context}` is not enrolled in this database")]
    NotEnrolled {
        /// The context.
        context: ContextName,
    },
    /// An attribute of the event breaks a rule of CloudEvents.
    #[error("cannot emit the event")]
    Envelope {
        /// The rule.
        source: EnvelopeError,
    },
    /// The event breaks a limit of every broker.
    #[error("cannot emit the event")]
    Message {
        /// The limit.
        source: BrokerError,
    },
    /// A text is longer than its column.
    #[error("{what} has {bytes} bytes, the limit is {bytes_max}")]
    TooLong {
        /// Which text.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The fence is not in the state that the change starts from.
    #[error("cannot change the fence of `{context}`")]
    Fence {
        /// The context.
        context: ContextName,
        /// What it is and what was wanted.
        source: MoveError,
    },
    /// A row holds something that this release did not write.
    #[error("a row of `{table}` holds what this release cannot read: {what}")]
    Row {
        /// The table.
        table: &'static str,
        /// The column, never its value.
        what: &'static str,
    },
    /// Another relay of this database leads.
    #[error("another relay has taken over `{name}`")]
    LeaseLost {
        /// The relay's name.
        name: String,
    },
    /// The broker cannot be used right now; nothing is lost, the rows wait.
    #[error("cannot publish")]
    Broker {
        /// The broker's words.
        source: BrokerError,
    },
    /// The address names none of the three engines.
    #[error(
        "the database's address must start with `mysql:`, `mariadb:`, `postgres:` or `sqlite:`"
    )]
    Url,
}

impl OutboxError {
    /// What a user can do about it, if anything.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotEnrolled { .. } => Some("enrol it once with the side of this database"),
            Self::Database { .. } => {
                Some("is the database up, and are the tables of `banyan events outbox ddl` in it?")
            }
            Self::Broker { source } => source.hint(),
            Self::Envelope { .. }
            | Self::Message { .. }
            | Self::TooLong { .. }
            | Self::Fence { .. }
            | Self::Row { .. }
            | Self::LeaseLost { .. }
            | Self::Url => None,
        }
    }

    /// Whether the database was reached and has no outbox.
    pub fn is_absent(&self) -> bool {
        let Self::Database { source: sqlx::Error::Database(error), .. } = self else {
            return false;
        };
        // Postgres and MySQL by their codes for an unknown table; SQLite has only words for it.
        matches!(error.code().as_deref(), Some("42P01" | "42S02"))
            || error.message().starts_with("no such table")
    }

    pub(crate) fn database(act: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { act, source }
    }
}

/// Refuses a text that a column would cut.
pub(crate) fn fits(what: &'static str, text: &str, bytes_max: usize) -> Result<(), OutboxError> {
    let bytes = text.len();
    if bytes <= bytes_max { Ok(()) } else { Err(OutboxError::TooLong { what, bytes, bytes_max }) }
}
