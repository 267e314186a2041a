//! The service carved out of the monolith: messages in a chat model, one conversation per pair of users.
//!
//! It has its own database and answers the endpoints of the context `messages` with the same bytes as the monolith.
//! It exists to be moved to: its rows come from the sync; it writes while the fence row in its database says that it
//! owns the context, and refuses with 503 otherwise.
//!
//! What must stay true: an answer depends on the database and the request alone, comes from one snapshot of the
//! database, and shows a user nothing that is not his; a change and its event are one transaction.

mod answer;
mod args;
mod call;
mod chat;
mod committed;
mod database;
mod error;
mod event;
mod http;
mod letter;
mod ops;
mod params;
mod relay;
mod schema;
mod server;
mod sql;
mod view;
mod write;

pub use args::MessagesArgs;
pub use committed::{Announced, committed};
pub use error::MessagesError;
pub use schema::create_schema;
pub use server::{Bound, bind, run};
