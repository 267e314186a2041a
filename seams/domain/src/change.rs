//! Changes of the route table.
//!
//! Owns `apply`, the only way from one generation to the next. It exists so that store, CLI and admin API
//! refuse the same things with the same words. What must stay true: a refused change changes nothing; a
//! write endpoint is never flipped alone; a freeze never stops a step back.

use crate::name::{ContextName, EndpointName};
use crate::ownership;
use crate::phase::{Direction, Phase};
use crate::side::Side;
use crate::spec::{Catalogue, EndpointKind};
use crate::table::{ContextState, EndpointState, Freeze, RouteTable, Stamp};
use crate::version::Epoch;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A wish to change the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// Change one read endpoint's phase.
    Flip {
        /// The endpoint.
        endpoint: EndpointName,
        /// The phase wanted.
        to: Phase,
    },
    /// One step back for one read endpoint.
    RollbackEndpoint {
        /// The endpoint.
        endpoint: EndpointName,
    },
    /// One step back for the read endpoints of a context that are furthest forward.
    RollbackContext {
        /// The context.
        context: ContextName,
    },
    /// Begin a cutover of a context to the other side: nothing moves yet, but a proxy that loses the store
    /// must from now on refuse the context's writes.
    Arm {
        /// The context.
        context: ContextName,
        /// Number of the ownership that is to begin.
        epoch: Epoch,
    },
    /// Let the proxies hold new writes of a context whose cutover is armed.
    Hold {
        /// The context.
        context: ContextName,
        /// The epoch it is armed for.
        epoch: Epoch,
    },
    /// Give a cutover up: the owner stays, held writes go on to it.
    Disarm {
        /// The context.
        context: ContextName,
        /// The epoch it was armed for; another one is left alone.
        epoch: Epoch,
    },
    /// Make a side the owner of a context: its writes and its events move together, and the epoch grows. Ends
    /// what was armed and held. No freeze stops it: it is decided.
    MoveOwner {
        /// The context.
        context: ContextName,
        /// The next owner.
        to: Side,
        /// Number of the ownership that begins; greater than every one before.
        epoch: Epoch,
    },
    /// Refuse all forward changes.
    Freeze,
    /// Allow them again.
    Unfreeze,
    /// Take in what the file declares and the table does not know yet.
    Adopt,
}

/// Who wants a change, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Name of the person or program.
    pub name: String,
    /// The reason, may be empty.
    pub reason: String,
    /// Unix time in ms.
    pub at_ms: u64,
}

/// Why a change is refused by a safety rule. The display is a fragment, the hint the next command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No such endpoint is declared.
    #[error("endpoint `{name}` is not declared")]
    UnknownEndpoint {
        /// What was asked for.
        name: EndpointName,
    },
    /// No such context is declared.
    #[error("context `{name}` is not declared")]
    UnknownContext {
        /// What was asked for.
        name: ContextName,
    },
    /// Writes of a context move together.
    #[error("`{endpoint}` writes, and writes of `{context}` move together")]
    WriteEndpoint {
        /// The write endpoint.
        endpoint: EndpointName,
        /// Its context.
        context: ContextName,
    },
    /// The transition table says no.
    #[error("`{endpoint}` is in phase {from}; from there only {} is legal, not {to}", .next.join(", "))]
    IllegalTransition {
        /// The endpoint.
        endpoint: EndpointName,
        /// Its phase.
        from: Phase,
        /// The phase wanted.
        to: Phase,
        /// The legal ones.
        next: Vec<&'static str>,
    },
    /// Forward changes are frozen.
    #[error("forward flips are frozen by {by}{}", if .reason.is_empty() { String::new() } else { format!(" ({reason})") })]
    Frozen {
        /// Who froze.
        by: String,
        /// Why.
        reason: String,
    },
    /// The ownership is not newer than the one there is.
    #[error("`{context}` is at epoch {current}, so an ownership of epoch {wanted} cannot begin")]
    StaleEpoch {
        /// The context.
        context: ContextName,
        /// Its epoch.
        current: Epoch,
        /// The epoch wanted.
        wanted: Epoch,
    },
    /// Another cutover of the context is under way.
    #[error("`{context}` is armed for epoch {armed}, so epoch {wanted} cannot be armed")]
    AlreadyArmed {
        /// The context.
        context: ContextName,
        /// The epoch of the cutover under way.
        armed: Epoch,
        /// The epoch wanted.
        wanted: Epoch,
    },
    /// Writes are held only by the cutover that was armed.
    #[error("`{context}` is not armed for epoch {wanted}, so its writes cannot be held")]
    NotArmed {
        /// The context.
        context: ContextName,
        /// The epoch wanted.
        wanted: Epoch,
    },
    /// Nothing to take back.
    #[error("`{scope}` is already in phase legacy: there is nothing to roll back")]
    NothingToRollBack {
        /// Endpoint or context.
        scope: String,
    },
}

impl Refusal {
    /// A step forward during this freeze.
    pub(crate) fn frozen(freeze: &Freeze) -> Self {
        Self::Frozen { by: freeze.stamp.by.clone(), reason: freeze.stamp.reason.clone() }
    }

    /// The stable code, the key of `banyan explain`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownEndpoint { .. } => "banyan::flip::unknown_endpoint",
            Self::UnknownContext { .. } => "banyan::flip::unknown_context",
            Self::WriteEndpoint { .. } => "banyan::flip::write_endpoint",
            Self::IllegalTransition { .. } => "banyan::flip::illegal_transition",
            Self::Frozen { .. } => "banyan::flip::frozen",
            Self::StaleEpoch { .. } => "banyan::owner::stale_epoch",
            Self::AlreadyArmed { .. } => "banyan::owner::already_armed",
            Self::NotArmed { .. } => "banyan::owner::not_armed",
            Self::NothingToRollBack { .. } => "banyan::rollback::nothing",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::UnknownEndpoint { .. } | Self::UnknownContext { .. } => {
                "banyan route list        (shows what is declared)".to_owned()
            }
            Self::WriteEndpoint { context, .. } => format!(
                "flip the read endpoints one by one; the writes of `{context}` follow together, by a cutover"
            ),
            Self::IllegalTransition { endpoint, next, .. } => {
                let next = next.first().copied().unwrap_or("legacy");
                let percent = if next == "canary" { " --percent 1" } else { "" };
                format!("banyan route flip {endpoint} {next}{percent}")
            }
            Self::Frozen { .. } => {
                "banyan unfreeze --reason TEXT        (a rollback is allowed at any time)"
                    .to_owned()
            }
            Self::StaleEpoch { .. } => {
                "banyan status        (somebody else has moved the context meanwhile)".to_owned()
            }
            Self::AlreadyArmed { context, .. } => {
                format!("banyan context cutover {context} --resume        (goes on with it, or gives it up with --abort)")
            }
            Self::NotArmed { .. } => {
                "banyan status        (the cutover was given up, or another one has taken its place)".to_owned()
            }
            Self::NothingToRollBack { .. } => "banyan status        (shows all phases)".to_owned(),
        }
    }
}

/// What a change did, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// One entry per endpoint that moved.
    pub moved: Vec<Moved>,
    /// Whether anything changed at all; if not, no generation is made.
    pub changed: bool,
}

/// One endpoint that moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// The endpoint.
    pub endpoint: EndpointName,
    /// Where it was.
    pub from: Phase,
    /// Where it is.
    pub to: Phase,
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} -> {}", self.endpoint, self.from, self.to)
    }
}

/// The table after `change`, at the next generation if anything changed.
///
/// # Errors
/// A [`Refusal`] when a safety rule says no; the table is then as it was.
pub fn apply(
    table: &RouteTable,
    catalogue: &Catalogue,
    change: &Change,
    actor: &Actor,
) -> Result<(RouteTable, Effect), Refusal> {
    let mut next = table.clone();
    let stamp =
        Stamp { since_ms: actor.at_ms, by: actor.name.clone(), reason: actor.reason.clone() };
    let (moved, touched) = match change {
        Change::Flip { endpoint, to } => {
            (flip(table, catalogue, endpoint, *to)?.into_iter().collect(), false)
        }
        Change::RollbackEndpoint { endpoint } => {
            (vec![rollback_endpoint(table, catalogue, endpoint)?], false)
        }
        Change::RollbackContext { context } => {
            (rollback_context(table, catalogue, context)?, false)
        }
        Change::Arm { context, epoch } => {
            (Vec::new(), ownership::arm(&mut next, catalogue, context, *epoch, stamp.since_ms)?)
        }
        Change::Hold { context, epoch } => {
            (Vec::new(), ownership::hold(&mut next, catalogue, context, *epoch, stamp.since_ms)?)
        }
        Change::Disarm { context, epoch } => {
            (Vec::new(), ownership::disarm(&mut next, catalogue, context, *epoch)?)
        }
        Change::MoveOwner { context, to, epoch } => {
            let wanted = ownership::Wanted { context, to: *to, epoch: *epoch };
            (Vec::new(), ownership::move_owner(&mut next, catalogue, &wanted, &stamp)?)
        }
        Change::Freeze => {
            let fresh = next.frozen.is_none();
            next.frozen.get_or_insert(Freeze { stamp: stamp.clone() });
            (Vec::new(), fresh)
        }
        Change::Unfreeze => (Vec::new(), next.frozen.take().is_some()),
        Change::Adopt => (Vec::new(), adopt(&mut next, catalogue, &stamp)),
    };
    for step in &moved {
        let state = EndpointState { phase: step.to, stamp: stamp.clone() };
        next.endpoints.insert(step.endpoint.clone(), state);
    }
    let changed = touched || !moved.is_empty();
    if changed {
        next.generation = table.generation.next();
    }
    Ok((next, Effect { moved, changed }))
}

fn phase_of(
    table: &RouteTable,
    catalogue: &Catalogue,
    name: &EndpointName,
) -> Result<Phase, Refusal> {
    let spec =
        catalogue.endpoint(name).ok_or_else(|| Refusal::UnknownEndpoint { name: name.clone() })?;
    if spec.kind() == EndpointKind::Write {
        return Err(Refusal::WriteEndpoint { endpoint: name.clone(), context: name.context() });
    }
    Ok(table.endpoints.get(name).map_or(spec.start, |state| state.phase))
}

fn flip(
    table: &RouteTable,
    catalogue: &Catalogue,
    endpoint: &EndpointName,
    to: Phase,
) -> Result<Option<Moved>, Refusal> {
    let from = phase_of(table, catalogue, endpoint)?;
    let direction = from.transition(to).map_err(|next| Refusal::IllegalTransition {
        endpoint: endpoint.clone(),
        from,
        to,
        next: next.to_vec(),
    })?;
    match (direction, &table.frozen) {
        (Direction::Same, _) => Ok(None),
        (Direction::Forward, Some(freeze)) => Err(Refusal::frozen(freeze)),
        (Direction::Forward, None) | (Direction::Back, _) => {
            Ok(Some(Moved { endpoint: endpoint.clone(), from, to }))
        }
    }
}

fn rollback_endpoint(
    table: &RouteTable,
    catalogue: &Catalogue,
    endpoint: &EndpointName,
) -> Result<Moved, Refusal> {
    let from = phase_of(table, catalogue, endpoint)?;
    let to = from
        .rollback()
        .ok_or_else(|| Refusal::NothingToRollBack { scope: endpoint.to_string() })?;
    Ok(Moved { endpoint: endpoint.clone(), from, to })
}

/// A context steps back together: first everything that new answers goes to shadow; only when nothing
/// is answered by new any more does a further rollback end the shadow reads.
fn rollback_context(
    table: &RouteTable,
    catalogue: &Catalogue,
    context: &ContextName,
) -> Result<Vec<Moved>, Refusal> {
    let spec = catalogue
        .context(context)
        .ok_or_else(|| Refusal::UnknownContext { name: context.clone() })?;
    let reads = spec.endpoints.iter().filter(|e| e.kind() == EndpointKind::Read);
    let steps: Vec<Moved> =
        reads.filter_map(|e| rollback_endpoint(table, catalogue, &e.name).ok()).collect();
    let served_by_new = |step: &&Moved| step.from != Phase::Shadow;
    let first: Vec<Moved> = steps.iter().filter(served_by_new).cloned().collect();
    match (first.is_empty(), steps.is_empty()) {
        (false, _) => Ok(first),
        (true, false) => Ok(steps),
        (true, true) => Err(Refusal::NothingToRollBack { scope: context.to_string() }),
    }
}

fn adopt(table: &mut RouteTable, catalogue: &Catalogue, stamp: &Stamp) -> bool {
    let before = (table.contexts.len(), table.endpoints.len());
    for context in &catalogue.contexts {
        table
            .contexts
            .entry(context.name.clone())
            .or_insert_with(|| ContextState::settled(Side::Legacy, Epoch(1), stamp.clone()));
        for endpoint in context.endpoints.iter().filter(|e| e.kind() == EndpointKind::Read) {
            table
                .endpoints
                .entry(endpoint.name.clone())
                .or_insert_with(|| EndpointState { phase: endpoint.start, stamp: stamp.clone() });
        }
    }
    before != (table.contexts.len(), table.endpoints.len())
}
