//! The mothership through its public interface: HTTP, the broker, and the Rust API that starts it.

mod contract;
mod events;
mod manners;
mod seed;
mod seeded;
mod world;
