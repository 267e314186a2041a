//! One switch: which side is closed, at which epoch, and which ownership to go back to.

use banyan_domain::{Epoch, Side};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A switch of a context from one side to the other. A rollback is one with the sides swapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Switch {
    /// The side that owns the context and is closed.
    pub from: Side,
    /// Number of the ownership that begins. If the switch is given up, the number is burnt.
    pub epoch: Epoch,
    /// Number of the ownership that `from` has, and gets back if the switch is given up. It is read from the control
    /// store, which changes the owner only after the decision.
    pub back_to: Epoch,
}

impl Switch {
    /// The side that becomes the owner.
    pub const fn to(&self) -> Side {
        self.from.other()
    }
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} at epoch {}", self.from, self.to(), self.epoch)
    }
}
