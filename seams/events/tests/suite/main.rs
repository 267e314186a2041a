//! The promises of the brokers and of the forwarder, kept on both brokers by the same tests.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may panic, and says what it waited for, its seed and what it measured"
)]

mod broker;
mod embedded;
mod forwarder;
mod handover;
mod quarantine;
mod read;
mod replica;
mod replicas;
mod stage;
mod tap;
mod trouble;
mod world;
mod wrap;
