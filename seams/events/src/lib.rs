//! Semantic events: brokers, forwarder, one emitter per context.
//!
//! Owns the envelope ([`envelope`]), the brokers behind one trait ([`broker`]) and the forwarder ([`forwarder`]), the
//! only writer of the public exchange. It exists because only one system may announce what happened in a context, while both
//! the monolith and the service that replaces it run.
//!
//! What must stay true: the owner's events reach the public exchange byte-identical and in order; the other
//! side's never do; a decision once stored is never made again.

pub mod backoff;
pub mod broker;
pub mod doctor;
pub mod envelope;
pub mod forwarder;
pub mod management;
mod metrics;
pub mod wrap;
