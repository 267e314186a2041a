//! Transactional outbox for services, the relay that empties it, and the inbox of consumers.
//!
//! Owns the tables ([`ddl`]), [`emit`] inside the business transaction, the fence row that decides whether this side
//! may emit ([`fence`]), the [`Relay`] to the side's raw exchange, and [`Inbox`] with [`EpochFence`] for consumers. It
//! exists because "commit, then publish" loses events, and because only one side may announce what happened in a
//! context.
//!
//! What must stay true: an event is `ready` only if this side owned its context when its transaction committed; a
//! `ready` row is published at least once, under one id, in the order of its lane; nothing is deleted before it was
//! sent; who lost the relay's lease marks nothing.
//!
//! ```no_run
//! # use banyan_outbox::{NewEvent, emit};
//! # async fn send(pool: sqlx::PgPool, messages: banyan_domain::ContextName) -> Result<(), Box<dyn std::error::Error>> {
//! let mut tx = pool.begin().await?;
//! sqlx::query("INSERT INTO chat_messages (id, body) VALUES (812, 'hi')").execute(&mut *tx).await?;
//! let event = NewEvent::new(messages, "message.sent", "812").data("application/json", b"{\"id\":812}".to_vec());
//! emit(&mut tx, &event).await?;
//! tx.commit().await?;
//! # Ok(())
//! # }
//! ```

mod counter;
mod emit;
mod engine;
mod error;
mod event;
pub mod fence;
mod inbox;
mod metrics;
mod operate;
mod relay;
mod row;
mod schema;
mod status;

use sqlx::Pool;

pub use emit::{Emitted, emit};
#[doc(hidden)]
pub use engine::{AnyRow, Bind};
pub use engine::{Dialect, Engine};
pub use error::OutboxError;
pub use event::{NewEvent, Origin};
pub use inbox::{Admission, EpochFence, EventKey, Inbox, Seen};
pub use operate::{DeadRow, Operate, Which, open};
pub use relay::{Pause, Relay, RelayConfig, Step};
pub use row::RowState;
pub use schema::{ddl, install};
pub use status::{ContextStatus, OutboxStatus, RelayState, RelayStatus};

/// The outbox of one database: what its operators look at and mend.
#[derive(Debug)]
pub struct Outbox<DB: Engine> {
    pool: Pool<DB>,
}

impl<DB: Engine> Outbox<DB> {
    /// The outbox in the database of `pool`.
    pub fn new(pool: Pool<DB>) -> Self {
        Self { pool }
    }
}

impl<DB: Engine> Clone for Outbox<DB> {
    fn clone(&self) -> Self {
        Self { pool: self.pool.clone() }
    }
}
