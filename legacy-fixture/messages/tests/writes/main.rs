//! The service as the owner of the context: its writes, their events, and the fence that allows them.

// `cfg(test)` is what tells clippy that unwrapping is fine in here.
#[cfg(test)]
mod contract;
#[cfg(test)]
mod crowd;
#[cfg(test)]
mod events;
#[cfg(test)]
mod fence;
#[cfg(test)]
mod upgrade;
#[cfg(test)]
mod world;
