//! The mothership through its public interface: HTTP, the broker, and the Rust API that starts it.

// `cfg(test)` is what tells clippy that unwrapping is fine in here.
#[cfg(test)]
mod contract;
#[cfg(test)]
mod events;
#[cfg(test)]
mod fence;
#[cfg(test)]
mod manners;
#[cfg(test)]
mod seed;
#[cfg(test)]
mod seeded;
#[cfg(test)]
mod world;
