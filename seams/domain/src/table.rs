//! The live state: which phase each endpoint is in and who owns each context.
//!
//! Owns the route table, the snapshot that the control store versions and every proxy keeps in memory and on
//! disk. What must stay true: a table is only changed by [`crate::change::apply`], one generation at a time.

use crate::name::{ContextName, EndpointName};
use crate::phase::Phase;
use crate::side::Side;
use crate::version::{Epoch, Generation};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Who changed something last, when and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Unix time in ms.
    pub since_ms: u64,
    /// The person or program.
    pub by: String,
    /// The reason that was given, may be empty.
    pub reason: String,
}

/// Live state of a context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextState {
    /// The side that accepts its writes and emits its events.
    pub owner: Side,
    /// Number of this ownership.
    pub epoch: Epoch,
    /// Set while a cutover to this epoch is armed: proxies that lose the store must then refuse writes.
    pub armed: Option<Epoch>,
    /// Whether proxies hold new writes, because the armed cutover is about to switch. Never without `armed`.
    /// Tables of older releases do not have it.
    #[serde(default)]
    pub holding: bool,
    /// When the cutover under way was armed, or began to hold, Unix ms; 0 when none is.
    #[serde(default)]
    pub under_way_ms: u64,
    /// Last change of the owner. Arming, holding and disarming leave it: the audit has them.
    pub stamp: Stamp,
}

/// Live state of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointState {
    /// Its phase. Of a write endpoint it is unused: that is derived from the owner.
    pub phase: Phase,
    /// Last change.
    pub stamp: Stamp,
}

/// A freeze: forward flips and cutovers are refused, rollback stays allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// Who froze, when and why.
    pub stamp: Stamp,
}

/// The whole route table at one generation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    /// Version of this table.
    pub generation: Generation,
    /// The freeze, if any.
    pub frozen: Option<Freeze>,
    /// Contexts by name.
    pub contexts: BTreeMap<ContextName, ContextState>,
    /// Endpoints by name.
    pub endpoints: BTreeMap<EndpointName, EndpointState>,
}

impl ContextState {
    /// An ownership of which no cutover is under way.
    pub const fn settled(owner: Side, epoch: Epoch, stamp: Stamp) -> Self {
        Self { owner, epoch, armed: None, holding: false, under_way_ms: 0, stamp }
    }

    /// How far a cutover is, in a word or two: `armed(3)`, `holding(3)`; nothing when none is under way.
    pub fn under_way(&self) -> Option<String> {
        let word = if self.holding { "holding" } else { "armed" };
        self.armed.map(|epoch| format!("{word}({epoch})"))
    }

    /// The phase shown for the context's write endpoints.
    pub const fn write_phase(&self) -> Phase {
        match self.owner {
            Side::Legacy => Phase::Legacy,
            Side::New => Phase::New,
        }
    }
}
