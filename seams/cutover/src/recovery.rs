//! Both fences together: who owns the context, and how an interrupted switch goes on.

use crate::fence::{Fence, FenceState, Move};
use banyan_domain::{Epoch, Side};

/// The fences of one context on both sides, as just read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fences {
    /// The monolith's.
    pub legacy: Fence,
    /// The service's.
    pub new: Fence,
}

/// What anybody who reads the fences may safely do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep {
    /// One side owns the context and nothing is under way.
    Steady {
        /// The owner.
        owner: Side,
        /// Its epoch.
        epoch: Epoch,
    },
    /// The owner is closed and nothing is decided: go on draining and verifying, then commit; or bar `to`.
    FinishOrAbort {
        /// The side that was closed.
        from: Side,
        /// The epoch of the switch.
        epoch: Epoch,
    },
    /// The target opened: the switch is decided, go on with routes, markers and reverse sync.
    GoOnAfterCommit {
        /// The side that was closed.
        from: Side,
        /// The epoch of the switch.
        epoch: Epoch,
    },
    /// The target can never open at this epoch: open the closed side again.
    Reopen {
        /// The side that was closed.
        from: Side,
        /// The epoch that was given up.
        given_up: Epoch,
    },
    /// No state that the protocol can reach; a person must look before anything moves.
    Broken,
}

impl Fences {
    /// The fence of one side.
    pub const fn of(&self, side: Side) -> Fence {
        match side {
            Side::Legacy => self.legacy,
            Side::New => self.new,
        }
    }

    /// The fences after a move on one side, or as they were when it does not apply.
    #[must_use]
    pub fn after(mut self, side: Side, wanted: Move) -> Self {
        if let Ok(moved) = self.of(side).moved(wanted) {
            match side {
                Side::Legacy => self.legacy = moved,
                Side::New => self.new = moved,
            }
        }
        self
    }

    /// Reads both fences.
    pub fn next_step(&self) -> NextStep {
        for from in Side::ALL {
            let (closed, target) = (self.of(from), self.of(from.other()));
            if closed.state != FenceState::Draining {
                continue;
            }
            return match target.state {
                FenceState::Open if target.epoch == closed.epoch => {
                    NextStep::GoOnAfterCommit { from, epoch: closed.epoch }
                }
                // Barred at a later epoch as well: one who slept through that switch closed the owner once more.
                FenceState::Barred | FenceState::Shut if target.epoch >= closed.epoch => {
                    NextStep::Reopen { from, given_up: closed.epoch }
                }
                FenceState::Shut | FenceState::Barred | FenceState::Draining
                    if target.epoch < closed.epoch =>
                {
                    NextStep::FinishOrAbort { from, epoch: closed.epoch }
                }
                FenceState::Open | FenceState::Shut | FenceState::Barred | FenceState::Draining => {
                    continue;
                }
            };
        }
        match (self.legacy.is_open(), self.new.is_open()) {
            (true, false) => NextStep::Steady { owner: Side::Legacy, epoch: self.legacy.epoch },
            (false, true) => NextStep::Steady { owner: Side::New, epoch: self.new.epoch },
            (true, true) | (false, false) => NextStep::Broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn start() -> Fences {
        Fences {
            legacy: Fence::new(FenceState::Open, Epoch(1)),
            new: Fence::new(FenceState::Shut, Epoch(0)),
        }
    }

    /// What two coordinators without any lock may try, each reading the fences before it acts. `owned` is the last
    /// ownership that began, as the control store says it: an epoch that was given up is none.
    fn act(fences: Fences, seen: Fences, finish: bool, owned: Epoch) -> Fences {
        let next = Epoch(seen.legacy.epoch.max(seen.new.epoch).0 + 1);
        match seen.next_step() {
            NextStep::Steady { owner, .. } => fences.after(owner, Move::Drain(next)),
            NextStep::FinishOrAbort { from, epoch } if finish => {
                fences.after(from.other(), Move::Open(epoch))
            }
            NextStep::FinishOrAbort { from, epoch } => fences.after(from.other(), Move::Bar(epoch)),
            NextStep::Reopen { from, given_up } => {
                fences.after(from, Move::Reopen { given_up, back_to: owned })
            }
            NextStep::GoOnAfterCommit { from, .. } => fences.after(from.other(), Move::Drain(next)),
            NextStep::Broken => fences,
        }
    }

    proptest! {
        #[test]
        fn coordinators_with_stale_readings_never_open_both_sides(
            steps in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>()), 0..60)
        ) {
            let mut fences = start();
            let mut readings = [start(), start()];
            let mut owned = Epoch(1);
            for (second, read_again, finish) in steps {
                let who = usize::from(second);
                if read_again {
                    readings[who] = fences;
                }
                fences = act(fences, readings[who], finish, owned);
                for open in [fences.legacy, fences.new].into_iter().filter(Fence::is_open) {
                    prop_assert!(open.epoch >= owned, "an ownership never gets older");
                    owned = open.epoch;
                }
                prop_assert!(!(fences.legacy.is_open() && fences.new.is_open()), "{fences:?}");
                prop_assert_ne!(fences.next_step(), NextStep::Broken, "{:?}", fences);
            }
        }
    }

    #[test]
    fn a_committed_switch_goes_on_and_a_barred_one_goes_back() {
        let drained = start().after(Side::Legacy, Move::Drain(Epoch(2)));
        assert_eq!(
            drained.next_step(),
            NextStep::FinishOrAbort { from: Side::Legacy, epoch: Epoch(2) }
        );
        let committed = drained.after(Side::New, Move::Open(Epoch(2)));
        assert_eq!(
            committed.next_step(),
            NextStep::GoOnAfterCommit { from: Side::Legacy, epoch: Epoch(2) }
        );
        let barred = drained.after(Side::New, Move::Bar(Epoch(2)));
        assert_eq!(barred.next_step(), NextStep::Reopen { from: Side::Legacy, given_up: Epoch(2) });
        assert_eq!(barred.after(Side::New, Move::Open(Epoch(2))), barred, "barred stays shut");
    }

    /// Found by the property above: a close of a given up switch comes late, when the next one was given up as well.
    #[test]
    fn a_late_close_of_a_burnt_epoch_is_reopened() {
        let late = Fences {
            legacy: Fence::new(FenceState::Draining, Epoch(2)),
            new: Fence::new(FenceState::Barred, Epoch(3)),
        };
        assert_eq!(late.next_step(), NextStep::Reopen { from: Side::Legacy, given_up: Epoch(2) });
        assert_eq!(late.after(Side::New, Move::Open(Epoch(2))), late, "it can never open at 2");
    }
}
