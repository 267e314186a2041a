//! Seeded load that checks what it gets: the clients who must not notice a migration.
//!
//! Virtual users browse, write and read their own writes back, over all endpoints of the practice world. It exists to
//! find out whether a proxy, a canary, a flip or a rollback ever shows a client something wrong.
//!
//! What must stay true: nothing is retried and nothing is forgiven (each failure is counted and the first are kept
//! whole), and no check can fail because of what other users do at the same time.

mod args;
mod check;
mod client;
mod endpoint;
mod error;
mod latency;
mod ledger;
mod memory;
mod pace;
mod progress;
mod run;
mod script;
mod session;
mod summary;
mod tally;

pub use args::TrafficArgs;
pub use endpoint::Endpoint;
pub use error::TrafficError;
pub use ledger::LedgerEntry;
pub use run::run;
pub use summary::{EndpointSummary, Failure, Latency, SCHEMA, TrafficSummary};
