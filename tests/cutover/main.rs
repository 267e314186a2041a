//! A whole context moves under traffic, through real processes: nothing fails, nothing is lost or doubled.
//!
//! `BANYAN_SWITCHES=50 cargo test --test cutover servers -- --nocapture` is the long form on MariaDB, Postgres and RabbitMQ;
//! `BANYAN_CRASHES=all cargo test --test cutover crash -- --nocapture` kills the coordinator, every part and every server at every step.
//! Of a release build: `cargo build --release`, then the same with `BANYAN_TEST_BINARY=$PWD/target/release/banyan`.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "test helpers fail by panicking, and say what they measured"
)]

mod crash;
mod fenced;
mod ledger;
mod partition;
#[path = "../support/mod.rs"]
mod support;
mod switches;
mod world;
