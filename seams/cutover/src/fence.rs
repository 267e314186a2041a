//! One fence: the row per context in each side's database that decides who may write and emit.

use banyan_domain::Epoch;
use serde::{Deserialize, Serialize};

/// State of a fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FenceState {
    /// The side accepts writes and emits events.
    Open,
    /// The side accepts only the sync job's writes.
    Shut,
    /// The side was closed for the switch to this fence's epoch; its last writes are being moved.
    Draining,
    /// A switch to this fence's epoch was given up; the side can never open at it.
    Barred,
}

/// A fence with its epoch: of the ownership when open, of the switch when draining or barred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fence {
    /// The state.
    pub state: FenceState,
    /// The epoch the state belongs to.
    pub epoch: Epoch,
}

/// A compare-and-set on one fence row. Each is one `UPDATE .. WHERE` in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Move {
    /// Step 3: close the owner for the switch to this epoch.
    Drain(Epoch),
    /// Step 8, COMMIT: open the target at this epoch.
    Open(Epoch),
    /// Step 8', abort: make sure the target never opens at this epoch.
    Bar(Epoch),
    /// After an abort: open the owner again at the epoch it had.
    Reopen {
        /// The switch that was given up.
        given_up: Epoch,
        /// The ownership to go back to.
        back_to: Epoch,
    },
}

/// Why a move matches no row: the fence is not in the state that the move starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the fence is {:?} at epoch {}, so {wanted:?} does not apply", .found.state, .found.epoch)]
pub struct MoveError {
    /// What the fence is.
    pub found: Fence,
    /// What was wanted.
    pub wanted: Move,
}

impl FenceState {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Open, Self::Shut, Self::Draining, Self::Barred];

    /// Its word in a fence row, in status and in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Shut => "shut",
            Self::Draining => "draining",
            Self::Barred => "barred",
        }
    }

    /// The state that a word names.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

impl Fence {
    /// A fence in `state` at `epoch`.
    pub const fn new(state: FenceState, epoch: Epoch) -> Self {
        Self { state, epoch }
    }

    /// Whether the side may write and emit.
    pub fn is_open(&self) -> bool {
        self.state == FenceState::Open
    }

    /// The fence after `wanted`: the meaning of the one `UPDATE` that a dialect runs.
    ///
    /// # Errors
    /// [`MoveError`] when the row does not match; nothing then changes.
    pub fn moved(self, wanted: Move) -> Result<Self, MoveError> {
        let closed_before = |epoch: Epoch| !self.is_open() && self.epoch < epoch;
        match wanted {
            Move::Drain(epoch) if self.is_open() && self.epoch < epoch => {
                Ok(Self::new(FenceState::Draining, epoch))
            }
            Move::Open(epoch) if closed_before(epoch) => Ok(Self::new(FenceState::Open, epoch)),
            Move::Bar(epoch) if closed_before(epoch) => Ok(Self::new(FenceState::Barred, epoch)),
            Move::Reopen { given_up, back_to }
                if self.state == FenceState::Draining
                    && self.epoch == given_up
                    && back_to < given_up =>
            {
                Ok(Self::new(FenceState::Open, back_to))
            }
            Move::Drain(_) | Move::Open(_) | Move::Bar(_) | Move::Reopen { .. } => {
                Err(MoveError { found: self, wanted })
            }
        }
    }
}
