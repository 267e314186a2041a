//! What a run wants, remembers and says at its end.
//!
//! Owns the intent, the memory of one run, the reasons to give up and the endings. What must stay true: the memory
//! only saves repeating. It is about one epoch; whatever it says of another one is forgotten.

use std::time::Duration;

use banyan_domain::{Epoch, Side};

use crate::step::Step;
use crate::switch::Switch;

/// What an operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Intent {
    /// A new switch to this side. A run that somebody else has begun is named and left alone.
    Start {
        /// The next owner.
        to: Side,
    },
    /// Go on with what is under way, whoever began it.
    Resume,
    /// Give up what is under way, if it is not decided.
    Abort,
}

/// The memory of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Memo {
    /// The switch that the run began or took up.
    pub mine: Option<Switch>,
    /// Why it is given up.
    pub given_up: Option<GiveUp>,
    /// Sessions that kept a fence locked at the last try.
    pub blocked: Vec<String>,
    about: Option<Epoch>,
    done: Steps,
}

/// A set of steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Steps(u32);

/// Why a switch is given up before it is decided.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum GiveUp {
    /// An operator wanted it.
    #[error("an operator asked for it")]
    Requested,
    /// Somebody else gave it up.
    #[error("somebody else gave it up")]
    Overtaken,
    /// The checks before it did not pass.
    #[error("these checks did not pass: {}", .0.join(", "))]
    NotReady(Vec<String>),
    /// Something could not be reached.
    #[error("not reachable: {}", .0.join("; "))]
    Unreachable(Vec<String>),
    /// Proxies did not acknowledge.
    #[error("these proxies did not acknowledge in time: {}", .0.join(", "))]
    Proxies(Vec<String>),
    /// Writes under way did not end.
    #[error("{in_flight} writes that were under way did not end in time")]
    Busy {
        /// How many.
        in_flight: u64,
    },
    /// The hold was released while the owner was closed.
    #[error("the proxies' hold was released by somebody else")]
    Released,
    /// The hold lasted as long as it may.
    #[error("the hold lasted {} ms{}", .age.as_millis(), blocked(.blocked_by))]
    HeldTooLong {
        /// How long.
        age: Duration,
        /// The sessions that kept the owner's fence locked.
        blocked_by: Vec<String>,
    },
    /// Aggregates could not be moved.
    #[error("{} aggregates cannot be written to the other side: {}", .0.len(), .0.join("; "))]
    Conflicts(Vec<String>),
    /// The sides differ.
    #[error("{} aggregates differ between the sides: {}", .0.len(), .0.join(", "))]
    Differ(Vec<String>),
    /// A step failed.
    #[error("step `{step}` failed: {reason}")]
    Failed {
        /// The step.
        step: Step,
        /// Why.
        reason: String,
    },
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Waiting {
    /// Something that the next step hangs on.
    #[error("not reachable: {}", .0.join("; "))]
    Unreachable(Vec<String>),
    /// Proxies that did not acknowledge yet.
    #[error("waiting for {} to acknowledge `{step}`", .missing.join(", "))]
    Proxies {
        /// What they should acknowledge.
        step: Step,
        /// Their names.
        missing: Vec<String>,
    },
    /// Writes under way.
    #[error("waiting for {in_flight} writes under way")]
    Quiet {
        /// How many.
        in_flight: u64,
    },
    /// What is published after commits.
    #[error("waiting {} ms for what is published after commits", .left.as_millis())]
    Settle {
        /// How long still.
        left: Duration,
    },
    /// The forwarder.
    #[error("waiting for the forwarder to pass the markers of epoch {epoch}")]
    Events {
        /// The ownership.
        epoch: Epoch,
    },
}

/// How a run ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ending {
    /// Everything is done.
    Finished(Switch),
    /// It was given up, the owner is what it was.
    GivenUp {
        /// The switch; its epoch is burnt if the owner had been closed.
        switch: Switch,
        /// Why.
        reason: GiveUp,
    },
    /// There is nothing to begin, to go on with or to give up.
    Nothing {
        /// The owner.
        owner: Side,
        /// Its epoch.
        epoch: Epoch,
    },
    /// Somebody has begun this one and it is neither decided nor given up: resume or abort it first.
    Unfinished(Switch),
    /// It is decided, so it cannot be given up: resume it, or roll back by a switch of its own.
    TooLate(Switch),
    /// The readings contradict each other; nothing was changed.
    Broken(&'static str),
    /// Something did not come back within its limit. Whether it is decided says `decided`: resume goes on.
    Interrupted {
        /// The switch, as far as it is known.
        switch: Option<Switch>,
        /// `Some(true)` when the other side is the owner, `Some(false)` when not, `None` when a side must be read first.
        decided: Option<bool>,
        /// What is missing.
        reason: String,
    },
}

impl Memo {
    /// Whether the run has done this step of this switch.
    pub fn has(&self, switch: Switch, step: Step) -> bool {
        self.about == Some(switch.epoch) && self.done.has(step)
    }

    /// Called before a step is done: the run is now about this switch, and takes it for its own if it begins it, was
    /// asked to go on with it, or finds what it wants decided already.
    pub fn begin(&mut self, intent: Intent, step: Step, switch: Switch) {
        if self.about != Some(switch.epoch) {
            self.about = Some(switch.epoch);
            self.done = Steps::default();
            self.blocked.clear();
        }
        // Once the owner is closed, on the way back, and after the decision, what came before matters no more.
        if step == Step::Close || !step.failure_gives_up() {
            self.done.forget_before(step);
        }
        let own = match intent {
            Intent::Start { to } => {
                switch.to() == to && (step == Step::Preflight || step.is_decided())
            }
            Intent::Resume | Intent::Abort => true,
        };
        if own && self.mine.is_none() {
            self.mine = Some(switch);
        }
    }

    /// Called after a step was done.
    pub fn finish(&mut self, step: Step) {
        self.done.insert(step);
    }

    /// The switch is given up for this reason; the first reason stays.
    pub fn give_up(&mut self, reason: GiveUp) {
        self.given_up.get_or_insert(reason);
        self.done.forget_before(Step::Route);
    }
}

impl Steps {
    const fn has(self, step: Step) -> bool {
        self.0 & (1 << step as u32) != 0
    }

    const fn insert(&mut self, step: Step) {
        self.0 |= 1 << step as u32;
    }

    /// Forgets the steps before this one, up to the decision. That a switch was armed stays: it tells "not yet
    /// announced" from "called off by somebody else".
    fn forget_before(&mut self, step: Step) {
        let old = |old: &Step| old.failure_gives_up() && *old < step && *old != Step::Arm;
        for old in Step::ALL.into_iter().filter(old) {
            self.0 &= !(1 << old as u32);
        }
    }
}

impl Waiting {
    /// The step that waits, if it is one.
    pub const fn step(&self) -> Option<Step> {
        match self {
            Self::Unreachable(_) => None,
            Self::Proxies { step, .. } => Some(*step),
            Self::Quiet { .. } => Some(Step::Quiet),
            Self::Settle { .. } => Some(Step::Settle),
            Self::Events { .. } => Some(Step::Events),
        }
    }
}

fn blocked(by: &[String]) -> String {
    if by.is_empty() {
        String::new()
    } else {
        format!("; its fence was locked by {}", by.join(", "))
    }
}
