//! The admin API on its own listener.
//!
//! Owns authentication, the JSON API and the probes (`/live`, `/ready`, `/metrics`). It exists so that a person
//! or a script can see and change the routing over HTTP under the same rules as from the CLI: every change
//! is a [`banyan_control::ControlStore::commit`]. What must stay true: GET never changes anything; nobody without a
//! token changes anything from another machine or from somebody else's web page; the API shows what this
//! process knows also when the store is away.

mod access;
mod api;
mod error;
mod metric;
mod readiness;
mod server;

pub use access::{AdminToken, Role};
pub use error::AdminError;
pub use readiness::Readiness;
pub use server::{AdminConfig, AdminParts, AdminServer, BoundAdmin, bind, serve};
