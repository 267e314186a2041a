//! Adapters between the parts: each shell's ports, implemented on another shell.
//!
//! Owns every place where two parts that do not know each other meet. It exists so that the crates keep
//! their import edges; an adapter copies fields and holds no rules of its own.

pub(crate) mod advice;
pub(crate) mod asked;
pub(crate) mod control;
pub(crate) mod cutover;
pub(crate) mod events;
pub(crate) mod log;
pub(crate) mod noise;
pub(crate) mod pace;
pub(crate) mod parity;
pub(crate) mod proxy;
pub(crate) mod recording;
pub(crate) mod shadow;
pub(crate) mod signal;
pub(crate) mod sync;
