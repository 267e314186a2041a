//! What the readings of fences, route table and forwarder mean together.
//!
//! Owns [`Seen`] and the one function that names the stage a context is in. It exists so that anybody who reads the
//! same comes to the same stage, whatever he remembers. What must stay true: a side that could not be read is never
//! guessed, except that a side that is open proves that the other one is not.

use banyan_domain::{Epoch, Side};

use crate::fence::Fence;
use crate::ports::{Route, Standing};
use crate::recovery::{Fences, NextStep};
use crate::switch::Switch;

/// What was read. `None` is what could not be reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Seen {
    /// The monolith's fence.
    pub legacy: Option<Fence>,
    /// The service's fence.
    pub new: Option<Fence>,
    /// The entry in the route table. Read before the fences, so it is never ahead of them.
    pub route: Option<Route>,
    /// What the forwarder has acted on.
    pub events: Events,
    /// The clock of the reading.
    pub now_ms: u64,
    /// What could not be reached, and why.
    pub unreachable: Vec<String>,
    /// Whether one of these was refused for good, so that reading again does not help.
    pub refused: bool,
}

/// What is known about the context's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Events {
    /// The forwarder's store could not be reached.
    Unknown,
    /// No events of the context go through a forwarder.
    None,
    /// What the forwarder has acted on.
    Standing(Standing),
}

/// Where a context is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Stage {
    /// One side owns the context in the fences and in the route table, and no switch is announced.
    Steady {
        /// The owner.
        owner: Side,
        /// Its epoch.
        epoch: Epoch,
    },
    /// The proxies are told of a switch, the owner is still open.
    Announced(Switch),
    /// A switch is announced that can never be: it was given up, or its epoch is used.
    Leftover(Switch),
    /// The owner is closed, nothing is decided.
    Closed(Switch),
    /// The owner is closed, the target can never open at this epoch.
    GivenUp(Switch),
    /// The target is open, the route table does not know yet.
    Decided(Switch),
    /// Something that the next step hangs on cannot be read.
    Unclear,
    /// No state that the protocol can reach; a person must look.
    Broken(&'static str),
}

impl Seen {
    /// The fence of one side.
    pub const fn fence(&self, side: Side) -> Option<Fence> {
        match side {
            Side::Legacy => self.legacy,
            Side::New => self.new,
        }
    }

    /// What the forwarder has acted on, if it is known.
    pub const fn standing(&self) -> Option<Standing> {
        match self.events {
            Events::Standing(standing) => Some(standing),
            Events::Unknown | Events::None => None,
        }
    }

    /// The next epoch that nothing has ever used, as far as can be read: given up ones are burnt as well.
    pub fn next_epoch(&self) -> Epoch {
        let fences = [self.legacy, self.new].into_iter().flatten().map(|fence| fence.epoch);
        let route = self.route.iter().flat_map(|route| [Some(route.epoch), route.armed]);
        let events = self.standing().into_iter().flat_map(|known| [known.epoch, known.voided]);
        let last = fences.chain(route.flatten()).chain(events).max();
        Epoch(last.unwrap_or_default().0 + 1)
    }

    /// Names the stage. `known` is a switch that was read before: its `back_to` stays right as long as its owner is
    /// closed for it, so the way back needs no control store.
    pub fn stage(&self, known: Option<Switch>) -> Stage {
        match (self.legacy, self.new) {
            (Some(legacy), Some(new)) => self.both(Fences { legacy, new }, known),
            (Some(legacy), None) => self.one(Side::Legacy, legacy),
            (None, Some(new)) => self.one(Side::New, new),
            (None, None) => Stage::Unclear,
        }
    }

    fn both(&self, fences: Fences, known: Option<Switch>) -> Stage {
        let switch = |from, epoch| {
            let back_to = self.back_to(from, epoch, known)?;
            Some(Switch { from, epoch, back_to })
        };
        match fences.next_step() {
            NextStep::Steady { owner, epoch } => self.owned(fences, owner, epoch),
            NextStep::GoOnAfterCommit { from, epoch } => self.owned(fences, from.other(), epoch),
            NextStep::FinishOrAbort { from, epoch } => {
                switch(from, epoch).map_or(Stage::Unclear, Stage::Closed)
            }
            NextStep::Reopen { from, given_up } => {
                switch(from, given_up).map_or(Stage::Unclear, Stage::GivenUp)
            }
            NextStep::Broken => Stage::Broken("no side is open and none is being closed"),
        }
    }

    /// The ownership that `from` had before it was closed: the control store changes the owner only after the
    /// decision, so it still says so, and so does the forwarder. The newest word counts, in case the control store
    /// was put back to an older state.
    fn back_to(&self, from: Side, epoch: Epoch, known: Option<Switch>) -> Option<Epoch> {
        let route = self.route.as_ref().map(|route| (route.owner, route.epoch));
        let events = self.standing().map(|known| (known.owner, known.epoch));
        let read = route.into_iter().chain(events).filter(|(owner, _)| *owner == from);
        let read = read.map(|(_, epoch)| epoch);
        let known = known.filter(|known| known.from == from && known.epoch == epoch);
        read.chain(known.map(|known| known.back_to)).filter(|back| *back < epoch).max()
    }

    /// One side is open. What the route table says is then behind it, equal, or announces the next switch.
    fn owned(&self, fences: Fences, owner: Side, epoch: Epoch) -> Stage {
        let Some(route) = &self.route else { return Stage::Unclear };
        if route.epoch < epoch {
            let switch = Switch { from: owner.other(), epoch, back_to: route.epoch };
            return Stage::Decided(switch);
        }
        if (route.owner, route.epoch) != (owner, epoch) {
            return Stage::Broken("the control store names an ownership that no fence knows");
        }
        let used = fences.legacy.epoch.max(fences.new.epoch);
        self.announced(owner, epoch, used)
    }

    fn announced(&self, owner: Side, epoch: Epoch, used: Epoch) -> Stage {
        let armed = self.route.as_ref().and_then(|route| route.armed);
        match armed.map(|armed| Switch { from: owner, epoch: armed, back_to: epoch }) {
            None => Stage::Steady { owner, epoch },
            Some(switch) if switch.epoch > used => Stage::Announced(switch),
            Some(switch) => Stage::Leftover(switch),
        }
    }

    /// Only one side can be read. If it is open the other is not: a switch away from it can be called off, one to it
    /// is decided, and the held writes need not wait for the other side.
    fn one(&self, side: Side, fence: Fence) -> Stage {
        let Some(route) = &self.route else { return Stage::Unclear };
        if fence.is_open() && route.epoch < fence.epoch {
            let (from, epoch, back_to) = (side.other(), fence.epoch, route.epoch);
            return Stage::Decided(Switch { from, epoch, back_to });
        }
        if !fence.is_open() || (route.owner, route.epoch) != (side, fence.epoch) {
            return Stage::Unclear;
        }
        match self.announced(side, fence.epoch, fence.epoch) {
            stage @ (Stage::Announced(_) | Stage::Leftover(_)) => stage,
            Stage::Steady { .. }
            | Stage::Closed(_)
            | Stage::GivenUp(_)
            | Stage::Decided(_)
            | Stage::Unclear
            | Stage::Broken(_) => Stage::Unclear,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unnecessary_wraps, reason = "they build fields that may be missing")]
mod tests {
    use super::*;
    use crate::fence::FenceState;

    fn fence(state: FenceState, epoch: u64) -> Option<Fence> {
        Some(Fence::new(state, Epoch(epoch)))
    }

    fn route(owner: Side, epoch: u64, armed: Option<u64>) -> Option<Route> {
        let (missing, armed) = (Vec::new(), armed.map(Epoch));
        let holding = armed.is_some();
        let epoch = Epoch(epoch);
        Some(Route { owner, epoch, armed, holding, changed_ms: 0, missing, in_flight: 0 })
    }

    fn steady() -> Seen {
        Seen {
            legacy: fence(FenceState::Open, 1),
            new: fence(FenceState::Shut, 0),
            route: route(Side::Legacy, 1, None),
            events: Events::None,
            now_ms: 0,
            unreachable: Vec::new(),
            refused: false,
        }
    }

    fn to_new(epoch: u64, back_to: u64) -> Switch {
        Switch { from: Side::Legacy, epoch: Epoch(epoch), back_to: Epoch(back_to) }
    }

    #[test]
    fn a_burnt_epoch_is_never_taken_again() {
        let after_abort = Seen { new: fence(FenceState::Barred, 4), ..steady() };
        assert_eq!(after_abort.next_epoch(), Epoch(5));
        let armed = Seen { route: route(Side::Legacy, 1, Some(7)), ..steady() };
        assert_eq!(armed.next_epoch(), Epoch(8));
        let voided =
            Standing { owner: Side::Legacy, epoch: Epoch(1), opened: true, voided: Epoch(9) };
        assert_eq!(Seen { events: Events::Standing(voided), ..steady() }.next_epoch(), Epoch(10));
    }

    #[test]
    fn the_ownership_to_go_back_to_is_the_newest_that_anybody_knows() {
        let closed = Seen {
            legacy: fence(FenceState::Draining, 9),
            new: fence(FenceState::Barred, 9),
            route: route(Side::Legacy, 5, Some(9)),
            ..steady()
        };
        assert_eq!(closed.stage(None), Stage::GivenUp(to_new(9, 5)));
        // The control store was put back to an older state; the forwarder knows better.
        let known =
            Standing { owner: Side::Legacy, epoch: Epoch(7), opened: true, voided: Epoch(0) };
        let put_back = Seen { events: Events::Standing(known), ..closed.clone() };
        assert_eq!(put_back.stage(None), Stage::GivenUp(to_new(9, 7)));
        // Without either, a run that is under way still knows, and a new one must wait.
        let alone = Seen { route: None, ..closed };
        assert_eq!(alone.stage(Some(to_new(9, 6))), Stage::GivenUp(to_new(9, 6)));
        assert_eq!(alone.stage(Some(to_new(8, 6))), Stage::Unclear, "that is another switch");
        assert_eq!(alone.stage(None), Stage::Unclear);
    }

    #[test]
    fn an_open_side_proves_that_the_other_is_not() {
        let open = Seen { new: None, route: route(Side::Legacy, 1, Some(2)), ..steady() };
        assert_eq!(open.stage(None), Stage::Announced(to_new(2, 1)));
        let closed = Seen { legacy: fence(FenceState::Draining, 2), ..open };
        assert_eq!(closed.stage(None), Stage::Unclear, "nobody knows whether it is decided");
        let opened = Seen {
            legacy: None,
            new: fence(FenceState::Open, 2),
            route: route(Side::Legacy, 1, Some(2)),
            ..steady()
        };
        assert_eq!(opened.stage(None), Stage::Decided(to_new(2, 1)), "held writes need not wait");
    }

    #[test]
    fn contradictions_are_named_and_nothing_else_is_done() {
        let ahead = Seen { route: route(Side::New, 5, None), ..steady() };
        assert!(matches!(ahead.stage(None), Stage::Broken(why) if why.contains("control store")));
        let shut = Seen { legacy: fence(FenceState::Shut, 1), ..steady() };
        assert!(matches!(shut.stage(None), Stage::Broken(why) if why.contains("no side is open")));
    }
}
