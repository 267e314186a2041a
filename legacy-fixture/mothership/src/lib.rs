//! The mothership: a monolith with Rails manners, to practise carving on.
//!
//! It owns users, tracks, comments, followings, plays and user-to-user message threads on SQLite or MySQL/MariaDB,
//! answers JSON and simple pages, and publishes a semantic event after each committed change. It knows nothing of
//! the proxy, the shadow or the sync: it imports only `seams`, as any user's application would.
//!
//! What must stay true: the public contract in `legacy-fixture/README.md`; one transaction per change, with its
//! audit row; events leave only after the commit, in audit order.

mod args;
mod audit;
mod controller;
mod database;
mod error;
mod event;
mod failure;
mod html;
mod message;
mod request;
mod schema;
mod seed;
mod server;
mod track;
mod user;
mod worker;

pub use args::MothershipArgs;
pub use audit::{Committed, committed, committed_events};
pub use error::MothershipError;
pub use seed::{SeedPlan, SeedReport};
pub use server::{Mothership, run, seed};
