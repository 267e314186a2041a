//! What a run tells: notices while it goes, a summary at its end.

use std::time::Duration;

use crate::memo::{Ending, GiveUp};
use crate::ports::Check;
use crate::step::Step;
use crate::switch::Switch;

/// Who wants to see how a run goes.
pub trait Watch: Send {
    /// Called before and after each step and before each wait.
    fn notice(&mut self, notice: &Notice);
}

/// One thing that happened in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A step begins.
    Begin {
        /// The step.
        step: Step,
        /// The switch.
        switch: Switch,
    },
    /// A step is done.
    Done {
        /// The step.
        step: Step,
        /// What it did, for people.
        detail: String,
        /// How long it took.
        elapsed_ms: u64,
    },
    /// A step was not done and is tried again, or somebody else did it.
    Again {
        /// The step.
        step: Step,
        /// Why.
        reason: String,
    },
    /// Something is waited for.
    Waiting {
        /// What.
        reason: String,
    },
    /// The checks before the switch.
    Checked {
        /// All of them.
        checks: Vec<Check>,
    },
    /// The switch is given up.
    GivingUp {
        /// Why.
        reason: GiveUp,
    },
    /// A line could not be written to the audit.
    NotRecorded {
        /// Why.
        reason: String,
    },
    /// The run is over.
    Ended {
        /// How.
        ending: Ending,
    },
}

/// How long a step took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct StepTime {
    /// The step.
    pub step: Step,
    /// All tries and waits together.
    pub elapsed_ms: u64,
    /// How often it was tried or waited for.
    pub tries: u32,
}

/// What a run did, for the last lines of the command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// The switch.
    pub switch: Option<Switch>,
    /// From the hold to the release, as this run saw it; nothing when it did not see both.
    pub hold: Option<Duration>,
    /// Rows that were moved while the owner was closed.
    pub drained_rows: u64,
    /// Rows that were moved before.
    pub caught_up_rows: u64,
    /// Aggregates that were compared while the owner was closed.
    pub verified: u64,
    /// Writes that were still under way when the owner was closed: zero, unless the proxies' count was not known.
    pub in_flight_at_close: u64,
    /// Proxies that did not acknowledge the new owner in time; the fence refuses their writes meanwhile.
    pub behind: Vec<String>,
    /// The steps in the order in which they were first done.
    pub steps: Vec<StepTime>,
    /// The checks.
    pub checks: Vec<Check>,
    /// Lines that the audit lacks.
    pub not_recorded: u32,
    held_since: Option<u64>,
}

impl Summary {
    pub(super) fn add(&mut self, step: Step, elapsed_ms: u64) {
        match self.steps.iter_mut().find(|time| time.step == step) {
            Some(time) => {
                time.elapsed_ms += elapsed_ms;
                time.tries += 1;
            }
            None => self.steps.push(StepTime { step, elapsed_ms, tries: 1 }),
        }
    }

    pub(super) fn elapsed_ms(&self, step: Step) -> u64 {
        self.steps.iter().find(|time| time.step == step).map_or(0, |time| time.elapsed_ms)
    }

    pub(super) fn held(&mut self, now_ms: u64) {
        self.held_since.get_or_insert(now_ms);
    }

    pub(super) fn released(&mut self, now_ms: u64) {
        if let Some(since) = self.held_since.take() {
            self.hold = Some(Duration::from_millis(now_ms.saturating_sub(since)));
        }
    }

    pub(super) fn end(&mut self, switch: Option<Switch>, now_ms: u64) {
        self.switch = switch;
        let open_hold = self.held_since.map(|since| now_ms.saturating_sub(since));
        self.hold = self.hold.or(open_hold.map(Duration::from_millis));
    }
}
