//! Where each operation stands: the phase and the owner that a seam acts on.
//!
//! An application may read the same control state as the proxy, a flag service, or a constant; the seam only asks
//! for a [`Position`].
//!
//! What must stay true: asking is cheap and never waits; a request asks once and keeps the answer.

use arc_swap::ArcSwap;
use banyan_domain::{Bucket, Epoch, Percent, Phase, Side, bucket};
use std::{collections::HashMap, sync::Arc};

/// Where an operation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Who answers reads.
    pub phase: Phase,
    /// Who accepts writes.
    pub owner: Side,
    /// The number of this ownership.
    pub epoch: Epoch,
    /// The share of reads that are compared, in phases that compare.
    pub sample: Percent,
}

/// Says where an operation stands.
pub trait Switch: Send + Sync + 'static {
    /// The position of the operation called `op` now.
    fn position(&self, op: &'static str) -> Position;
}

/// All operations stand at one place for ever: for tests and for the last day of a migration.
#[derive(Debug, Clone, Copy)]
pub struct FixedSwitch(pub Position);

/// Positions that somebody else replaces while requests run; clones share them.
#[derive(Debug, Clone)]
pub struct SharedSwitch(Arc<ArcSwap<Positions>>);

/// The positions of all operations: one for most, others by name.
#[derive(Debug, Clone)]
pub struct Positions {
    most: Position,
    named: HashMap<String, Position>,
}

/// Who answers one read and who is asked for comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) served: Side,
    pub(crate) mirrored: Option<Side>,
}

impl Position {
    /// `phase` with every read compared, the writes where they are before a cutover: at legacy, or at new once
    /// retired.
    pub fn at(phase: Phase) -> Self {
        let owner = match phase {
            Phase::Legacy | Phase::Shadow | Phase::Canary(_) | Phase::New => Side::Legacy,
            Phase::Retired => Side::New,
        };
        Self { phase, owner, epoch: Epoch::default(), sample: Percent::HUNDRED }
    }

    /// The plan for a read of `op` by the caller `key`; the same bucket as in the proxy.
    pub(crate) fn plan(self, op: &str, key: &str) -> Plan {
        match self.phase {
            Phase::Legacy => Plan { served: Side::Legacy, mirrored: None },
            Phase::Shadow => Plan { served: Side::Legacy, mirrored: Some(Side::New) },
            Phase::Canary(percent) => canary(percent, bucket(op, key)),
            Phase::New => Plan { served: Side::New, mirrored: Some(Side::Legacy) },
            Phase::Retired => Plan { served: Side::New, mirrored: None },
        }
    }
}

fn canary(percent: Percent, bucket: Bucket) -> Plan {
    let served = if bucket.is_below(percent) { Side::New } else { Side::Legacy };
    Plan { served, mirrored: Some(served.other()) }
}

impl FixedSwitch {
    /// A switch that stands at [`Position::at`]`(phase)`.
    pub fn at(phase: Phase) -> Self {
        Self(Position::at(phase))
    }
}

impl Positions {
    /// Every operation at `most`.
    pub fn all(most: Position) -> Self {
        Self { most, named: HashMap::new() }
    }

    /// The same with the operation `op` at `position`.
    #[must_use]
    pub fn with(mut self, op: &str, position: Position) -> Self {
        self.named.insert(op.to_owned(), position);
        self
    }
}

impl SharedSwitch {
    /// A switch with `positions`.
    pub fn new(positions: Positions) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(positions)))
    }

    /// Puts `positions` in place at once for all; requests under way finish where they began.
    pub fn replace(&self, positions: Positions) {
        self.0.store(Arc::new(positions));
    }
}

impl Switch for FixedSwitch {
    fn position(&self, _: &'static str) -> Position {
        self.0
    }
}

impl Switch for SharedSwitch {
    fn position(&self, op: &'static str) -> Position {
        let positions = self.0.load();
        positions.named.get(op).copied().unwrap_or(positions.most)
    }
}
