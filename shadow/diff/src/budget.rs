//! The limits of one comparison.
//!
//! Work is counted in steps instead of measured in time: the crate has no clock, and the same two answers always get
//! the same verdict. One step is about one visited node or 64 bytes; the default of 2,000,000 is tens of milliseconds.
//! Must stay true: whoever loops over input charges the meter first.

use crate::Why;

/// Limits of one comparison; over any of them (but `differences`) the verdict is inconclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// JSON nodes per side, keys included. Up to the default, a short body may have fewer: see [`Budget::nodes_of`].
    pub nodes: u32,
    /// Bytes of one decoded body.
    pub body_bytes: usize,
    /// Steps of work over both sides.
    pub steps: u64,
    /// Differences kept; counting goes on in `total_differences`.
    pub differences: usize,
}

/// Default of [`Budget::nodes`].
const NODES: u32 = 2_000_000;

/// Nodes that a body of any length may have; further ones per [`BYTES_PER_NODE`].
const NODES_FREE: usize = 320_000;
const BYTES_PER_NODE: usize = 17;

impl Budget {
    /// The nodes that a body of `len` bytes may have. A comparison takes up to 200 bytes per node, so this is what keeps
    /// it within 64 MiB and six times the two bodies. Who asks for more than the default gets it.
    pub(crate) fn nodes_of(&self, len: usize) -> u32 {
        let fits = u32::try_from(NODES_FREE + len / BYTES_PER_NODE).unwrap_or(u32::MAX);
        if self.nodes > NODES { self.nodes } else { self.nodes.min(fits) }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self { nodes: NODES, body_bytes: 32 << 20, steps: 20_000_000, differences: 1_000 }
    }
}

/// What is left of [`Budget::steps`].
#[derive(Debug)]
pub(crate) struct Meter {
    left: u64,
}

impl Meter {
    pub(crate) fn new(budget: &Budget) -> Self {
        Self { left: budget.steps }
    }

    /// Pays for work about to be done; refuses when it cannot be paid.
    pub(crate) fn charge(&mut self, steps: usize) -> Result<(), Why> {
        let left = self.left.checked_sub(steps as u64);
        self.left = left.unwrap_or(0);
        left.map(|_| ()).ok_or(Why::OverBudget)
    }
}
