//! The promises of the two consumers, on the embedded broker and on RabbitMQ.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may panic, and says what it waited for"
)]

mod crash;
mod effect;
mod outage;
mod poison;
mod world;
