//! The limits of one comparison.
//!
//! Work is counted in steps instead of measured in time: the crate has no clock, and the same two answers always get
//! the same verdict. One step is about one visited node or 64 bytes; the default of 2,000,000 is tens of milliseconds.
//! Must stay true: whoever loops over input charges the meter first.

use crate::Why;

/// Limits of one comparison; over any of them (but `differences`) the verdict is inconclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// JSON nodes per side, keys included.
    pub nodes: u32,
    /// Bytes of one decoded body.
    pub body_bytes: usize,
    /// Steps of work over both sides.
    pub steps: u64,
    /// Differences kept; counting goes on in `total_differences`.
    pub differences: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { nodes: 2_000_000, body_bytes: 32 << 20, steps: 20_000_000, differences: 1_000 }
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
