//! Behaviour of the SQLite store: compare-and-set, audit, liveness, leases, evidence, failure.

mod evidence;
mod failure;
mod noise;
mod route;
pub(crate) mod world;
