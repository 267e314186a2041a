//! The cutover protocol as pure data: fences, what they mean together, and the next safe step.
//!
//! Owns the states of a fence, the moves that are legal, and the reading of both fences by which anybody can go
//! on after a crash. It exists apart from any database so that a model checker can run the real code. What must
//! stay true: never two fences `OPEN`; `COMMIT` (the target's fence opens) is the single decision point;
//! what to do next follows from the fences alone, never from a coordinator's memory.

pub mod fence;
pub mod recovery;
pub mod sql;

pub use fence::{Fence, FenceState, Move, MoveError};
pub use recovery::{Fences, NextStep};
