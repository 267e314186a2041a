//! The protocol as a model for stateright: the real `decide`, the real steps, any interleaving.
//!
//! A coordinator is two acts that anything may come between: it reads and decides, then it does what it decided, on
//! readings that may be old by then. Its act may be done, be done with the reply lost, or not be done.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::time::Duration;

use banyan_cutover::{Ending, GiveUp, Intent, Limits, Memo, Next, Step, Switch, decide};
use banyan_domain::Side;
use stateright::{Model, Property};

use crate::invariant;
use crate::scope::Scope;
use crate::world::{Happening, Mutation, Reply, World};

/// The model: a scope and a mutation.
#[derive(Clone)]
pub(crate) struct Protocol {
    pub(crate) scope: Scope,
    pub(crate) mutation: Mutation,
    limits: Limits,
}

/// World and coordinators.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) world: World,
    pub(crate) coordinators: Vec<Coordinator>,
}

/// A coordinator.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Coordinator {
    phase: Phase,
    /// How many of its starts are used.
    started: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Phase {
    /// Ended or dead; whoever comes next remembers nothing.
    Away,
    Reading {
        intent: Intent,
        memo: Memo,
    },
    Doing {
        intent: Intent,
        memo: Memo,
        step: Step,
        switch: Switch,
    },
}

/// What may happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    World(Happening),
    /// Somebody begins with an empty memory.
    Come {
        who: usize,
        intent: Intent,
    },
    Read {
        who: usize,
        late: bool,
        blind: Option<Side>,
    },
    Do {
        who: usize,
        how: How,
    },
    Die {
        who: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Done,
    /// It was done, and the coordinator heard an error.
    ReplyLost,
    /// It was not done.
    Failed,
}

impl Protocol {
    pub(crate) fn new(scope: Scope, mutation: Mutation) -> Self {
        // Waiting for what is published after commits is time; that the outbox is empty is not.
        let limits = Limits { settle: Duration::ZERO, ..Limits::default() };
        Self { scope, mutation, limits }
    }

    fn read(&self, state: &State, who: usize, late: bool, blind: Option<Side>) -> Option<State> {
        let Phase::Reading { intent, memo } = &state.coordinators[who].phase else { return None };
        let seen = state.world.seen(late, blind);
        let (mut next, mut memo) = (state.clone(), memo.clone());
        let phase = loop {
            match decide(*intent, &memo, &seen, &self.limits) {
                // The reason makes no difference to what follows, so it makes no state of its own.
                Next::GiveUp(_) => memo.give_up(GiveUp::Requested),
                Next::Do(step, switch) => {
                    memo.begin(*intent, step, switch);
                    if !is_quick(step) {
                        break Phase::Doing { intent: *intent, memo, step, switch };
                    }
                    memo.finish(step);
                }
                Next::Wait(_) => break Phase::Reading { intent: *intent, memo },
                Next::End(Ending::Broken(_)) => {
                    next.world.broke.get_or_insert("contradiction");
                    break Phase::Away;
                }
                Next::End(_) => break Phase::Away,
            }
        };
        next.coordinators[who].phase = phase;
        (next != *state).then_some(next)
    }

    fn act(state: &State, who: usize, how: How) -> Option<State> {
        let Phase::Doing { intent, memo, step, switch } = &state.coordinators[who].phase else {
            return None;
        };
        let (mut next, mut memo) = (state.clone(), memo.clone());
        let reply = match how {
            How::Done | How::ReplyLost => next.world.step(*step, switch),
            How::Failed => Reply::NotApplicable,
        };
        match how {
            How::Done if reply == Reply::Done => memo.finish(*step),
            // A fence in another state is a word of its own; a route table that says no is an error.
            How::Done if step.fence_move(switch).is_some() || reply == Reply::Again => {}
            How::Done | How::ReplyLost | How::Failed if step.failure_gives_up() => {
                memo.give_up(GiveUp::Requested);
            }
            How::Done | How::ReplyLost | How::Failed => {}
        }
        next.coordinators[who].phase = Phase::Reading { intent: *intent, memo };
        Some(next)
    }
}

/// Steps without any effect on the world of the model need no moment of their own.
fn is_quick(step: Step) -> bool {
    step.is_mark()
        || matches!(
            step,
            Step::Preflight | Step::CatchUp | Step::Verify | Step::Sequences | Step::Reverse
        )
}

impl Model for Protocol {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        let away = Coordinator { phase: Phase::Away, started: 0 };
        let coordinators = vec![away; self.scope.coordinators.len()];
        vec![State { world: World::new(self.scope.size, self.mutation), coordinators }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Act>) {
        let mut happenings = Vec::new();
        state.world.happenings(&mut happenings);
        actions.extend(happenings.into_iter().map(Act::World));
        for (who, coordinator) in state.coordinators.iter().enumerate() {
            match &coordinator.phase {
                Phase::Away => {
                    let start = self.scope.coordinators[who].get(coordinator.started);
                    actions.extend(start.map(|intent| Act::Come { who, intent: *intent }));
                    if coordinator.started > 0 {
                        actions.push(Act::Come { who, intent: Intent::Resume });
                    }
                    if coordinator.started > 0 && self.scope.aborts {
                        actions.push(Act::Come { who, intent: Intent::Abort });
                    }
                }
                Phase::Reading { .. } => {
                    let lates = if self.scope.late { &[false, true][..] } else { &[false] };
                    let sides = [None, Some(Side::Legacy), Some(Side::New)];
                    let blinds = if self.scope.blind { &sides[..] } else { &sides[..1] };
                    for late in lates {
                        actions.extend(blinds.iter().map(|blind| Act::Read {
                            who,
                            late: *late,
                            blind: *blind,
                        }));
                    }
                    actions.push(Act::Die { who });
                }
                Phase::Doing { .. } => {
                    actions.push(Act::Do { who, how: How::Done });
                    if self.scope.lossy {
                        actions.push(Act::Do { who, how: How::ReplyLost });
                        actions.push(Act::Do { who, how: How::Failed });
                    }
                    actions.push(Act::Die { who });
                }
            }
        }
    }

    fn next_state(&self, last: &State, action: Act) -> Option<State> {
        self.after(last, action).map(|next| self.canonical(next))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        invariant::properties(&self.scope)
    }
}

impl Protocol {
    fn after(&self, last: &State, action: Act) -> Option<State> {
        match action {
            Act::World(what) => {
                let mut next = last.clone();
                next.world.happen(what);
                (next != *last).then_some(next)
            }
            Act::Come { who, intent } => {
                let mut next = last.clone();
                let coordinator = &mut next.coordinators[who];
                coordinator.phase = Phase::Reading { intent, memo: Memo::default() };
                if matches!(intent, Intent::Start { .. }) {
                    coordinator.started += 1;
                }
                Some(next)
            }
            Act::Read { who, late, blind } => self.read(last, who, late, blind),
            Act::Do { who, how } => Self::act(last, who, how),
            Act::Die { who } => {
                let mut next = last.clone();
                next.coordinators[who].phase = Phase::Away;
                Some(next)
            }
        }
    }

    /// Two coordinators with the same orders are the same two when they change places.
    fn canonical(&self, mut state: State) -> State {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        if self.scope.coordinators.windows(2).all(|pair| pair[0] == pair[1]) {
            state.coordinators.sort_by_cached_key(|coordinator| hasher.hash_one(coordinator));
        }
        state
    }
}
