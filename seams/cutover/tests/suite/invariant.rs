//! What must hold in every state, and what every scope must be able to show.

use banyan_domain::{Epoch, Side};
use stateright::Property;

use crate::model::{Protocol, State};
use crate::scope::{BACK, Scope};

fn never_two_open(_: &Protocol, state: &State) -> bool {
    !Side::ALL.into_iter().all(|side| state.world.fence(side).is_open())
}

fn acknowledged_writes_are_there(_: &Protocol, state: &State) -> bool {
    let world = &state.world;
    let open = Side::ALL.into_iter().filter(|side| world.fence(*side).is_open());
    open.into_iter().all(|side| world.acked & !world.data(side) == 0)
        && world.acked & !world.data(world.owner()) == 0
}

fn unmoved_writes_have_a_change_row(_: &Protocol, state: &State) -> bool {
    let (world, owner) = (&state.world, state.world.owner());
    world.data(owner) & !world.data(owner.other()) & !world.changes(owner) == 0
}

/// All that were broken by an act are noted in the world, at the act.
fn broke(state: &State, invariant: &str) -> bool {
    state.world.broke == Some(invariant)
}

pub(crate) const NAMES: [&str; 7] = ["I1", "I2", "I3", "I4", "I5", "I6", "contradiction"];

pub(crate) fn properties(scope: &Scope) -> Vec<Property<Protocol>> {
    let mut properties = vec![
        Property::always("I1", never_two_open),
        Property::always("I2", acknowledged_writes_are_there),
        Property::always("I3", |_, state: &State| !broke(state, "I3")),
        Property::always("I4", |_, state: &State| !broke(state, "I4")),
        Property::always("I5", unmoved_writes_have_a_change_row),
        Property::always("I6", |_, state: &State| !broke(state, "I6")),
        Property::always("contradiction", |_, state: &State| !broke(state, "contradiction")),
        // A check that never gets anywhere proves nothing.
        Property::sometimes("the new side owns at rest", |_, state: &State| {
            state.world.owner() == Side::New && state.world.at_rest()
        }),
        Property::sometimes("all writes are done on the new side", |_, state: &State| {
            let all = (1 << state.world.writes.len()) - 1;
            state.world.owner() == Side::New && state.world.acked == all && state.world.at_rest()
        }),
    ];
    if scope.coordinators.iter().any(|orders| orders.contains(&BACK)) {
        properties.push(Property::sometimes("a rollback comes to rest", |_, state: &State| {
            let legacy = state.world.fence(Side::Legacy);
            legacy.is_open() && legacy.epoch > Epoch(2) && state.world.at_rest()
        }));
    }
    properties
}
