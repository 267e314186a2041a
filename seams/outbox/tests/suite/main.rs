//! The promises of outbox, relay and inbox, kept on SQLite, MariaDB and Postgres by the same tests.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may panic, and says what it waited for, its seed and what it measured"
)]

mod chaos;
mod crash;
mod emit;
mod fence;
mod full;
mod inbox;
mod metrics;
mod operate;
mod parity;
mod rabbitmq;
mod relay;
#[path = "../../../events/tests/suite/replica.rs"]
mod replica;
mod rigged;
mod simulation;
mod speed;
mod world;
