//! The steps of a switch: their order, their words, and one line about each.
//!
//! Owns the names that the CLI, the audit, the README and the crash tests share. What must stay true: `COMMIT` is the
//! only step that decides; every step before it may be repeated or given up, every step after it may be repeated.

use banyan_domain::Side;
use serde::{Deserialize, Serialize};
use std::fmt;

use crate::fence::Move;
use crate::switch::Switch;

/// One step of a switch, forward or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The checks before anything changes.
    Preflight,
    /// Move and compare what is there while writes go on, so that the hold has little left to do.
    CatchUp,
    /// The route table says that a switch to this epoch may come; every proxy acknowledges.
    Arm,
    /// The proxies hold new writes of the context.
    Hold,
    /// The writes that were on their way when the hold began end.
    Quiet,
    /// The owner's fence closes; from here on nobody can write there.
    Close,
    /// The last rows go to the other side.
    Drain,
    /// What changed since the last clean comparison is compared.
    Verify,
    /// The target's sequences are raised above the owner's last numbers.
    Sequences,
    /// `open(e)` goes into the target's raw queue.
    OpenMarker,
    /// The target's fence opens: the one decision.
    Commit,
    /// The route table names the new owner; the proxies release the held writes to it.
    Route,
    /// The sync runs the other way from now on.
    Reverse,
    /// What the last owner published after its last commits reaches its raw queue.
    Settle,
    /// `seal(e)` goes into the last owner's raw queue.
    Seal,
    /// The forwarder passes the last owner's events up to `seal(e)`, then the new owner's.
    Events,
    /// Given up: the target can never open at this epoch.
    Bar,
    /// Given up: the owner's fence opens again.
    Reopen,
    /// Given up: the proxies release the held writes to the owner.
    Disarm,
    /// Given up: `void(e)` goes into the owner's raw queue, so that `open(e)` means nothing.
    Void,
}

impl Step {
    /// All steps: forward in their order, then those of a switch that is given up.
    pub const ALL: [Self; 20] = [
        Self::Preflight,
        Self::CatchUp,
        Self::Arm,
        Self::Hold,
        Self::Quiet,
        Self::Close,
        Self::Drain,
        Self::Verify,
        Self::Sequences,
        Self::OpenMarker,
        Self::Commit,
        Self::Route,
        Self::Reverse,
        Self::Settle,
        Self::Seal,
        Self::Events,
        Self::Bar,
        Self::Reopen,
        Self::Disarm,
        Self::Void,
    ];

    /// Its word in the audit, in logs and in the names of pause points.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::CatchUp => "catch_up",
            Self::Arm => "arm",
            Self::Hold => "hold",
            Self::Quiet => "quiet",
            Self::Close => "close",
            Self::Drain => "drain",
            Self::Verify => "verify",
            Self::Sequences => "sequences",
            Self::OpenMarker => "open_marker",
            Self::Commit => "commit",
            Self::Route => "route",
            Self::Reverse => "reverse",
            Self::Settle => "settle",
            Self::Seal => "seal",
            Self::Events => "events",
            Self::Bar => "bar",
            Self::Reopen => "reopen",
            Self::Disarm => "disarm",
            Self::Void => "void",
        }
    }

    /// The step that a word names.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.as_str() == word)
    }

    /// One line for people.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::Preflight => "check everything that could stop the switch, change nothing",
            Self::CatchUp => "move and compare what is there while writes go on",
            Self::Arm => "tell every proxy that a switch may come",
            Self::Hold => "hold new writes of the context in the proxies",
            Self::Quiet => "wait for the writes that are on their way",
            Self::Close => "close the owner's fence, after every transaction that wrote",
            Self::Drain => "move the last rows to the other side",
            Self::Verify => "compare what changed since the last clean comparison",
            Self::Sequences => "raise the other side's sequences above the last numbers",
            Self::OpenMarker => "put `open` into the other side's raw queue",
            Self::Commit => "open the other side's fence: decided from here on",
            Self::Route => "name the new owner and release the held writes to it",
            Self::Reverse => "turn the sync round, so that the last owner stays warm",
            Self::Settle => "wait for what the last owner still publishes",
            Self::Seal => "put `seal` into the last owner's raw queue",
            Self::Events => "wait for the forwarder to pass the markers",
            Self::Bar => "give up: make sure that the other side never opens at this epoch",
            Self::Reopen => "give up: open the owner's fence again",
            Self::Disarm => "give up: release the held writes to the owner",
            Self::Void => "give up: put `void` into the owner's raw queue",
        }
    }

    /// Whether the step comes after the decision.
    pub const fn is_decided(self) -> bool {
        match self.place() {
            Place::After => true,
            Place::Before | Place::Back => false,
        }
    }

    /// Whether the step changes nothing: it marks that something waited for is there.
    pub const fn is_mark(self) -> bool {
        matches!(self, Self::Quiet | Self::Events)
    }

    /// Whether a failure gives the switch up. On the way back and after the decision a failed step is tried again.
    pub const fn failure_gives_up(self) -> bool {
        match self.place() {
            Place::Before => true,
            Place::After | Place::Back => false,
        }
    }

    const fn place(self) -> Place {
        match self {
            Self::Preflight
            | Self::CatchUp
            | Self::Arm
            | Self::Hold
            | Self::Quiet
            | Self::Close
            | Self::Drain
            | Self::Verify
            | Self::Sequences
            | Self::OpenMarker
            | Self::Commit => Place::Before,
            Self::Route | Self::Reverse | Self::Settle | Self::Seal | Self::Events => Place::After,
            Self::Bar | Self::Reopen | Self::Disarm | Self::Void => Place::Back,
        }
    }

    /// The move of a fence that the step is, and on which side. The driver and the model both ask here.
    pub const fn fence_move(self, switch: &Switch) -> Option<(Side, Move)> {
        let epoch = switch.epoch;
        match self {
            Self::Close => Some((switch.from, Move::Drain(epoch))),
            Self::Commit => Some((switch.to(), Move::Open(epoch))),
            Self::Bar => Some((switch.to(), Move::Bar(epoch))),
            Self::Reopen => {
                Some((switch.from, Move::Reopen { given_up: epoch, back_to: switch.back_to }))
            }
            Self::Preflight
            | Self::CatchUp
            | Self::Arm
            | Self::Hold
            | Self::Quiet
            | Self::Drain
            | Self::Verify
            | Self::Sequences
            | Self::OpenMarker
            | Self::Route
            | Self::Reverse
            | Self::Settle
            | Self::Seal
            | Self::Events
            | Self::Disarm
            | Self::Void => None,
        }
    }

    /// The change of the route table that the step is.
    pub const fn route_move(self) -> Option<RouteMove> {
        match self {
            Self::Arm => Some(RouteMove::Arm),
            Self::Hold => Some(RouteMove::Hold),
            Self::Route => Some(RouteMove::MoveOwner),
            Self::Disarm => Some(RouteMove::Disarm),
            Self::Preflight
            | Self::CatchUp
            | Self::Quiet
            | Self::Close
            | Self::Drain
            | Self::Verify
            | Self::Sequences
            | Self::OpenMarker
            | Self::Commit
            | Self::Reverse
            | Self::Settle
            | Self::Seal
            | Self::Events
            | Self::Bar
            | Self::Reopen
            | Self::Void => None,
        }
    }

    /// The marker that the step puts, and into which side's raw queue.
    pub const fn marker(self, switch: &Switch) -> Option<(Side, MarkerKind)> {
        match self {
            Self::OpenMarker => Some((switch.to(), MarkerKind::Open)),
            Self::Seal => Some((switch.from, MarkerKind::Seal)),
            Self::Void => Some((switch.from, MarkerKind::Void)),
            Self::Preflight
            | Self::CatchUp
            | Self::Arm
            | Self::Hold
            | Self::Quiet
            | Self::Close
            | Self::Drain
            | Self::Verify
            | Self::Sequences
            | Self::Commit
            | Self::Route
            | Self::Reverse
            | Self::Settle
            | Self::Events
            | Self::Bar
            | Self::Reopen
            | Self::Disarm => None,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a step is: up to the decision, after it, or on the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Before,
    After,
    Back,
}

/// A change of the context's entry in the route table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteMove {
    /// A switch to the epoch may come.
    Arm,
    /// Hold the context's writes; only when armed at the epoch.
    Hold,
    /// The target owns the context from the epoch on; clears armed and holding.
    MoveOwner,
    /// The switch to the epoch is off; clears armed and holding. Nothing when armed at another epoch.
    Disarm,
}

/// What a marker says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkerKind {
    /// In the queue of the side that becomes the owner: from here on its events are the context's.
    Open,
    /// In the queue of the side that was the owner: its last event lies before.
    Seal,
    /// In the queue of the owner: the change to this epoch was given up.
    Void,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_its_own_word_and_line() {
        for (at, step) in Step::ALL.into_iter().enumerate() {
            assert_eq!(Step::from_word(step.as_str()), Some(step));
            assert_eq!(Step::ALL.iter().position(|other| *other == step), Some(at));
            assert!(!step.explain().is_empty());
            let json = serde_json::to_string(&step).unwrap();
            assert_eq!(json, format!("\"{step}\""), "one word per step everywhere");
        }
    }
}
