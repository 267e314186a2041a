//! Who emits a context's events, and how markers move that from one side to the other. Pure.
//!
//! What must stay true: the emission moves only at a `seal` in the owner's own queue, so every event that the owner
//! published before it is already behind; the next owner's events count only from its `open` on; epochs never go back;
//! a marker met again changes nothing.

use banyan_domain::{Epoch, Side};

use super::marker::MarkerKind;

/// Who emits a context's events, as far as the forwarder has acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ownership {
    /// The side that may emit.
    pub(super) owner: Side,
    /// Number of that ownership.
    pub(super) epoch: Epoch,
    /// Whether the owner's queue was read past its `open`; before it, its events are not the context's.
    pub(super) opened: bool,
    /// Sides that owned the context and were sealed: what they still send is late.
    pub(super) sealed: Sealed,
    /// The last epoch that was given up; its `open` means nothing.
    pub(super) voided: Epoch,
}

/// Which sides were sealed and have not been opened since.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) legacy: bool,
    pub(super) new: bool,
}

/// What a marker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MarkerEffect {
    /// Nothing: it was acted on before, or given up.
    Nothing,
    /// The ownership is now this.
    Changed(Ownership),
    /// The queue may not be read past it before the other side's marker.
    Hold,
}

/// The control store contradicts what was acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WentBack;

impl Sealed {
    pub(super) const fn of(self, side: Side) -> bool {
        match side {
            Side::Legacy => self.legacy,
            Side::New => self.new,
        }
    }

    const fn set(mut self, side: Side, sealed: bool) -> Self {
        match side {
            Side::Legacy => self.legacy = sealed,
            Side::New => self.new = sealed,
        }
        self
    }
}

impl Ownership {
    /// The first that this store hears of a context. When the ownership has changed before, the other side's events
    /// may be stragglers: they are kept for an operator, not taken for those of a side that never owned.
    pub(super) fn first(owner: Side, epoch: Epoch) -> Self {
        let sealed = Sealed::default().set(owner.other(), epoch > Epoch(1));
        Self { owner, epoch, opened: true, sealed, voided: Epoch(0) }
    }

    /// Compares with what the control store says. A newer ownership there is waited for: its markers come.
    pub(super) fn check_told(&self, owner: Side, epoch: Epoch) -> Result<(), WentBack> {
        if epoch < self.epoch || (epoch == self.epoch && owner != self.owner) {
            return Err(WentBack);
        }
        Ok(())
    }

    /// What a marker in the queue of `side` does.
    pub(super) fn meet(&self, side: Side, kind: MarkerKind, epoch: Epoch) -> MarkerEffect {
        if epoch <= self.voided {
            return MarkerEffect::Nothing;
        }
        match kind {
            MarkerKind::Open if epoch > self.epoch => MarkerEffect::Hold,
            MarkerKind::Open if epoch == self.epoch && self.owner == side && !self.opened => {
                let sealed = self.sealed.set(side, false);
                MarkerEffect::Changed(Self { opened: true, sealed, ..*self })
            }
            MarkerKind::Open => MarkerEffect::Nothing,
            MarkerKind::Seal | MarkerKind::Void if epoch <= self.epoch => MarkerEffect::Nothing,
            // The other side's queue is ahead: its own ownership has not begun here yet.
            MarkerKind::Seal if self.owner != side => MarkerEffect::Hold,
            MarkerKind::Seal => MarkerEffect::Changed(Self {
                owner: side.other(),
                epoch,
                opened: false,
                sealed: self.sealed.set(side, true),
                voided: self.voided,
            }),
            MarkerKind::Void => MarkerEffect::Changed(Self { voided: epoch, ..*self }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn changed(ownership: Ownership, side: Side, kind: MarkerKind, epoch: u64) -> Ownership {
        match ownership.meet(side, kind, Epoch(epoch)) {
            MarkerEffect::Changed(now) => now,
            MarkerEffect::Nothing | MarkerEffect::Hold => panic!("{kind:?}({epoch}) does nothing"),
        }
    }

    #[test]
    fn emission_moves_at_the_seal_and_counts_from_the_open() {
        let legacy = Ownership::first(Side::Legacy, Epoch(1));
        assert_eq!(legacy.meet(Side::New, MarkerKind::Open, Epoch(2)), MarkerEffect::Hold);
        let sealed = changed(legacy, Side::Legacy, MarkerKind::Seal, 2);
        assert_eq!((sealed.owner, sealed.epoch, sealed.opened), (Side::New, Epoch(2), false));
        assert!(sealed.sealed.legacy && !sealed.sealed.new);
        let opened = changed(sealed, Side::New, MarkerKind::Open, 2);
        assert!(opened.opened);
        let back = changed(opened, Side::New, MarkerKind::Seal, 3);
        assert_eq!((back.owner, back.opened, back.sealed.new), (Side::Legacy, false, true));
        let again = changed(back, Side::Legacy, MarkerKind::Open, 3);
        assert!(!again.sealed.legacy, "the owner's events are not late any more");
    }

    #[test]
    fn a_given_up_change_leaves_everything_as_it_was() {
        let legacy = Ownership::first(Side::Legacy, Epoch(1));
        let voided = changed(legacy, Side::Legacy, MarkerKind::Void, 2);
        assert_eq!((voided.owner, voided.epoch, voided.opened), (Side::Legacy, Epoch(1), true));
        assert_eq!(voided.meet(Side::New, MarkerKind::Open, Epoch(2)), MarkerEffect::Nothing);
        assert_eq!(voided.meet(Side::Legacy, MarkerKind::Seal, Epoch(2)), MarkerEffect::Nothing);
        assert_eq!(voided.meet(Side::New, MarkerKind::Open, Epoch(3)), MarkerEffect::Hold);
    }

    #[test]
    fn a_store_that_begins_after_a_change_takes_the_other_side_for_late() {
        assert!(!Ownership::first(Side::Legacy, Epoch(1)).sealed.new);
        assert!(Ownership::first(Side::New, Epoch(4)).sealed.legacy);
    }

    #[test]
    fn the_control_store_may_be_ahead_and_never_behind() {
        let new = Ownership { epoch: Epoch(2), ..Ownership::first(Side::New, Epoch(2)) };
        assert_eq!(new.check_told(Side::New, Epoch(2)), Ok(()));
        assert_eq!(new.check_told(Side::Legacy, Epoch(3)), Ok(()));
        assert_eq!(new.check_told(Side::Legacy, Epoch(1)), Err(WentBack));
        assert_eq!(new.check_told(Side::Legacy, Epoch(2)), Err(WentBack));
    }

    proptest! {
        /// Both queues hold the markers of several handovers, some given up, some put twice; they are read in any
        /// interleaving and with repetitions (a crash before the acknowledgement). The end is the same.
        #[test]
        fn any_interleaving_of_both_queues_ends_with_the_last_owner(
            given_up in prop::collection::vec(any::<bool>(), 1..8),
            picks in prop::collection::vec((any::<bool>(), 1_usize..3), 0..200),
        ) {
            let mut queues: [Vec<(MarkerKind, Epoch)>; 2] = [Vec::new(), Vec::new()];
            let (mut owner, mut epoch, mut last) = (0, 1, 1);
            for void in given_up {
                epoch += 1;
                queues[1 - owner].push((MarkerKind::Open, Epoch(epoch)));
                queues[1 - owner].push((MarkerKind::Open, Epoch(epoch)));
                let kind = if void { MarkerKind::Void } else { MarkerKind::Seal };
                queues[owner].push((kind, Epoch(epoch)));
                if !void {
                    owner = 1 - owner;
                    last = epoch;
                }
            }
            let mut now = Ownership::first(Side::Legacy, Epoch(1));
            let mut at = [0, 0];
            let fair = picks.into_iter().chain((0..400).map(|turn| (turn % 2 == 0, 1)));
            for (second, repeat) in fair {
                let queue = usize::from(second);
                let Some((kind, marker)) = queues[queue].get(at[queue]) else { continue };
                for _ in 0..repeat {
                    let before = now;
                    match now.meet(Side::ALL[queue], *kind, *marker) {
                        MarkerEffect::Changed(next) => now = next,
                        MarkerEffect::Nothing => {}
                        MarkerEffect::Hold => break,
                    }
                    prop_assert!(now.epoch >= before.epoch);
                    prop_assert!(now.owner == before.owner || *kind == MarkerKind::Seal);
                }
                if now.meet(Side::ALL[queue], *kind, *marker) == MarkerEffect::Nothing {
                    at[queue] += 1;
                }
            }
            prop_assert_eq!(at, [queues[0].len(), queues[1].len()], "no queue is held for ever");
            prop_assert_eq!((now.owner, now.epoch.0), (Side::ALL[owner], last));
            prop_assert!(now.opened);
        }
    }
}
