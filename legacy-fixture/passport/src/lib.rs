//! Signed sessions and API tokens that the monolith and its services share, and the few text rules that both must
//! follow to answer alike: times, pages, entity tags.
//!
//! It exists so that a service carved out of the monolith recognises the same callers and writes the same bytes
//! without a copy of the monolith's code.
//!
//! What must stay true: everything here is a pure function of its arguments (no clock, no randomness, no I/O), and
//! the same user always has the same token; the proxy uses sessions and tokens as sticky keys.

pub mod csrf;
pub mod etag;
pub mod page;
mod passport;
pub mod time;

pub use etag::{not_modified, weak_etag};
pub use page::{Page, link_header};
pub use passport::{Caller, CallerKind, DEFAULT_SECRET, Passport, SESSION_COOKIE, session_cookie};
