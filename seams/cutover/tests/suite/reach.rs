//! Every state that can be reached, and the way back from each of them to rest.
//!
//! The checker has no word for "from everywhere a good state can be reached", so this walks the same model once more,
//! keeps the edges, and searches backward from the states at rest.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use stateright::Model;

use crate::model::{Protocol, State};

/// What a walk found.
pub(crate) struct Reached {
    pub(crate) states: usize,
    pub(crate) at_rest: usize,
    /// Some state from which no rest can be reached.
    pub(crate) stuck: Option<State>,
}

pub(crate) fn walk(model: &Protocol) -> Reached {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    let mut known: HashMap<u64, u32> = HashMap::new();
    let mut edges: Vec<(u32, u32)> = Vec::new();
    let mut rest: Vec<u32> = Vec::new();
    let mut queue: Vec<State> = model.init_states();
    known.insert(hasher.hash_one(&queue[0]), 0);
    let mut numbers = vec![0_u32];
    // Depth first needs the states on the way only, not all of them.
    while let (Some(state), Some(number)) = (queue.pop(), numbers.pop()) {
        if state.world.at_rest() {
            rest.push(number);
        }
        for next in model.next_states(&state) {
            let fresh = u32::try_from(known.len()).unwrap();
            let to = *known.entry(hasher.hash_one(&next)).or_insert(fresh);
            edges.push((to, number));
            if to == fresh {
                queue.push(next);
                numbers.push(to);
            }
        }
    }
    let good = backward(known.len(), edges, &rest);
    let stuck = good.iter().position(|good| !good);
    let stuck = stuck.map(|number| find(model, u32::try_from(number).unwrap()));
    Reached { states: known.len(), at_rest: rest.len(), stuck }
}

fn backward(states: usize, mut edges: Vec<(u32, u32)>, rest: &[u32]) -> Vec<bool> {
    edges.sort_unstable();
    edges.dedup();
    let mut good = vec![false; states];
    let mut queue = rest.to_vec();
    for number in rest {
        good[*number as usize] = true;
    }
    while let Some(to) = queue.pop() {
        let first = edges.partition_point(|edge| edge.0 < to);
        for (_, from) in edges[first..].iter().take_while(|edge| edge.0 == to) {
            if !good[*from as usize] {
                good[*from as usize] = true;
                queue.push(*from);
            }
        }
    }
    good
}

/// The state with this number: the walk again, up to there.
fn find(model: &Protocol, wanted: u32) -> State {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    let mut known: HashMap<u64, u32> = HashMap::new();
    let mut queue: Vec<State> = model.init_states();
    known.insert(hasher.hash_one(&queue[0]), 0);
    while let Some(state) = queue.pop() {
        for next in model.next_states(&state) {
            let fresh = u32::try_from(known.len()).unwrap();
            let to = *known.entry(hasher.hash_one(&next)).or_insert(fresh);
            if to == fresh && to == wanted {
                return next;
            }
            if to == fresh {
                queue.push(next);
            }
        }
    }
    panic!("state {wanted} was found before");
}
