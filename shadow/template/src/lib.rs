//! Endpoint templates inferred from requests that nobody declared.
//!
//! Owns the way from `GET /users/17/messages?page=2` to `GET /users/{int}/messages?page`. It exists because a monolith has
//! more endpoints than anyone wrote down, and what is not known cannot be carved out. Apart from the shadow shell so that
//! replay and import use it, too. What must stay true: pure (no I/O, no clock, no threads); bounded memory, with a count
//! of what did not fit; the same requests give the same templates and ids in any order; nothing of a request but words
//! that look chosen by a programmer and were seen several times comes out.

mod candidate;
mod node;
mod segment;
mod templates;

pub use candidate::{Candidate, candidates};
pub use templates::{Answers, Limits, Lost, Pin, Seen, StatusClass, Template, Templates};
