//! The control store: route tables, epochs, leases, acknowledgements, audit, tallies.
//!
//! Owns everything that all processes of one installation must agree on, and the [`agent`] that keeps a
//! process going when the store is away. It exists because phase is not configuration: the live state has one
//! home with compare-and-set, and whoever loses sight of it goes on with what it had (fail static).
//! What must stay true: every change of the route table goes through [`ControlStore::commit`], in one
//! transaction with its audit row; refused tries are audited too; a process never goes back to an older
//! generation than the one it has applied.

pub mod advice;
pub mod agent;
pub mod audit;
pub mod clock;
pub mod error;
pub mod health;
pub mod instance;
pub mod lease;
pub mod shadow;
pub mod sqlite;
pub mod status;
pub mod store;
pub mod sync;
pub mod why;

mod metric;

pub use advice::Advice;
pub use agent::{Agent, AgentError, AgentOptions, InFlight, Silence};
pub use audit::{AuditEntry, AuditOutcome, Committed, GenerationRecord};
pub use clock::{Clock, system_clock};
pub use error::{CommitError, ControlError};
pub use health::{Health, StoreHealth};
pub use instance::{Applied, Instance, InstanceReport};
pub use lease::{Lease, LeaseGrant};
pub use shadow::{ShadowBatch, ShadowSummary};
pub use sqlite::SqliteStore;
pub use store::{ControlStore, StoreOptions, attach, open, open_existing};
pub use sync::{ComponentStatus, SyncRun, SyncWatermark};
