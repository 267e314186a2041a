//! Parity: do both sides announce the same changes?
//!
//! Owns pairing of two event streams, the kinds of finding and what the gate gets to see. It exists as a pure crate, without
//! broker and database, so that it can be played against planted faults and properties. What must stay true: pure and
//! deterministic; memory is bounded; what cannot be decided is counted as such, never as equal and never as missing; the
//! same findings when the sides are swapped.

mod advice;
mod assign;
mod cluster;
mod delay;
mod event;
mod finding;
mod judge;
mod key;
mod order;
mod report;
mod stream;
mod tally;

pub use event::{Event, EventKey};
pub use finding::Finding;
pub use judge::Judge;
pub use key::{Facts, KeySpec};
pub use report::{Asked, Counts};
pub use stream::{Limits, Parity, Period};
pub use tally::{Outcome, Show};
