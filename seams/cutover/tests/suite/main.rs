//! The protocol against worlds in memory: an exhaustive model check and seeded simulations.
//!
//! `world.rs` is the world both share: fences, route table, proxies, applications, sync workers, forwarder. `model.rs`
//! lets stateright walk every order of events within the bounds of `scope.rs`, `invariant.rs` has what must hold,
//! `reach.rs` the way back to rest, `check.rs` the tests: all scopes, and one safety rule taken away at a time.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests panic, and print their bounds"
)]

mod check;
mod death;
mod dry;
mod invariant;
mod model;
mod reach;
mod scope;
mod simulation;
mod theatre;
mod world;
