//! The promises of outbox, relay and inbox, kept on SQLite, MariaDB and Postgres by the same tests.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may panic, and says what it waited for"
)]

mod crash;
mod emit;
mod fence;
mod inbox;
mod metrics;
mod operate;
mod parity;
mod rabbitmq;
mod relay;
mod rigged;
mod simulation;
mod speed;
mod world;
