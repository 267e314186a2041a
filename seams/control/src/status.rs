//! The state of an installation at one glance, as data.
//!
//! Owns [`view`], a pure function from what the store and the process know to the object that
//! `banyan status --json`, `GET /api/status` and the on-call page show. It exists so that all three say the
//! same. What must stay true: it never calls something fine that it has not seen; what is desired (the
//! table) and what is reported (the instances) stay apart.

mod gather;
mod hint;

#[cfg(test)]
mod tests;

use crate::health::StoreHealth;
use crate::instance::Instance;
use crate::shadow::Outcomes;
use crate::sync::{ComponentStatus, SyncWatermark};
use banyan_domain::table::Stamp;
use banyan_domain::{
    Catalogue, ContextSpec, ContextState, EndpointKind, EndpointName, EndpointSpec, Epoch,
    Generation, Phase, RouteTable, Side,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

pub use gather::{Local, gather};

/// A sync report older than this no longer says how far behind the job is, in ms.
const SYNC_REPORT_AGE_MAX_MS: u64 = 5_000;

/// Everything that [`view`] looks at.
#[derive(Debug, Clone)]
pub struct StatusInputs {
    /// Name of the installation, such as `production`.
    pub environment: String,
    /// The time, Unix ms.
    pub now_ms: u64,
    /// How the store looks.
    pub store: StoreView,
    /// What is declared.
    pub catalogue: Arc<Catalogue>,
    /// The newest table known.
    pub table: Arc<RouteTable>,
    /// All known instances.
    pub instances: Vec<Instance>,
    /// Outcomes of the shadow reads in the time looked at.
    pub shadow: BTreeMap<EndpointName, Outcomes>,
    /// How far back `shadow` looks, in ms.
    pub shadow_window_ms: u64,
    /// All watermarks.
    pub watermarks: Vec<SyncWatermark>,
    /// The status board.
    pub components: Vec<ComponentStatus>,
}

/// The state of an installation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusView {
    /// Name of the installation.
    pub environment: String,
    /// When this was put together, Unix ms.
    pub at_ms: u64,
    /// The control store.
    pub store: StoreView,
    /// The newest generation known.
    pub generation: Generation,
    /// The freeze, if any.
    pub frozen: Option<StampView>,
    /// Who applied that generation.
    pub instances: InstancesView,
    /// The contexts, in file order.
    pub contexts: Vec<ContextView>,
    /// What components say about themselves.
    pub components: Vec<ComponentStatus>,
    /// What a person should look at, in words.
    pub warnings: Vec<String>,
}

/// How the control store looks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreView {
    /// Where it is.
    pub location: String,
    /// How it looks.
    pub health: StoreHealth,
    /// Age of what is shown of it, in ms; nothing when it was never seen.
    pub age_ms: Option<u64>,
    /// Why it does not look well; empty when it does.
    pub detail: String,
}

/// Who did something, when and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StampView {
    /// When, Unix ms.
    pub since_ms: u64,
    /// How long ago, in ms.
    pub age_ms: u64,
    /// Who.
    pub by: String,
    /// Why, may be empty.
    pub reason: String,
}

/// The living processes and what they route by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstancesView {
    /// Living instances that route by the newest generation.
    pub applied: usize,
    /// Living instances.
    pub of: usize,
    /// Names of living instances that do not.
    pub missing: Vec<String>,
    /// All that are remembered, dead ones included.
    pub list: Vec<Instance>,
}

/// One context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextView {
    /// Its name.
    pub context: String,
    /// Its reads in one phrase, such as `canary 10%` or `shadow to canary 10%`.
    pub phase: String,
    /// The side that accepts its writes.
    pub owner: Side,
    /// The side whose events are public.
    pub emits: Side,
    /// Number of this ownership.
    pub epoch: Epoch,
    /// Set while a cutover is armed.
    pub armed: Option<Epoch>,
    /// Whether the proxies hold its writes for that cutover.
    #[serde(default)]
    pub holding: bool,
    /// The last change of the context or one of its endpoints.
    pub changed: StampView,
    /// Its endpoints, in file order.
    pub endpoints: Vec<EndpointView>,
    /// Comparisons of its reads.
    pub mismatch: MismatchView,
    /// Its sync jobs.
    pub sync: Vec<SyncView>,
    /// How far the side that does not own it is behind, in ms; nothing when no job says.
    pub sync_lag_ms: Option<u64>,
    /// The next step forward, as a command.
    pub next: Option<String>,
    /// The way back, as a command.
    pub back: Option<String>,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointView {
    /// Its name.
    pub endpoint: String,
    /// Read or write.
    pub kind: EndpointKind,
    /// Its methods.
    pub methods: Vec<String>,
    /// Its path template.
    pub path: String,
    /// Its phase; of a write endpoint derived from the owner.
    pub phase: Phase,
    /// The last change.
    pub changed: StampView,
    /// Comparisons.
    pub mismatch: MismatchView,
    /// The next step forward, as a command.
    pub next: Option<String>,
    /// The way back, as a command.
    pub back: Option<String>,
}

/// Comparisons in the time looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MismatchView {
    /// How many were compared.
    pub compared: u64,
    /// How many of them are confirmed to differ.
    pub confirmed: u64,
    /// How far back this looks, in ms.
    pub window_ms: u64,
}

/// One sync job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncView {
    /// The job.
    pub job: String,
    /// The side it writes to.
    pub to: Side,
    /// How far it is behind, in ms; grows by itself when the job stops reporting.
    pub lag_ms: u64,
    /// Aggregates that wait.
    pub pending: u64,
    /// What it says about itself, in one word.
    pub state: String,
    /// Why, may be empty.
    pub detail: String,
    /// Age of its report, in ms.
    pub age_ms: u64,
}

impl ContextView {
    /// How far a cutover is: `armed(3)` or `holding(3)`; nothing when none is under way.
    pub fn under_way(&self) -> Option<String> {
        let state = ContextState {
            armed: self.armed,
            holding: self.holding,
            ..ContextState::settled(self.owner, self.epoch, Stamp::default())
        };
        state.under_way()
    }
}

/// Puts the state together.
pub fn view(inputs: &StatusInputs) -> StatusView {
    let instances = instances_view(inputs);
    let contexts: Vec<ContextView> =
        inputs.catalogue.contexts.iter().map(|spec| inputs.context_view(spec)).collect();
    StatusView {
        environment: inputs.environment.clone(),
        at_ms: inputs.now_ms,
        store: inputs.store.clone(),
        generation: inputs.table.generation,
        frozen: inputs.table.frozen.as_ref().map(|freeze| inputs.stamp(&freeze.stamp)),
        warnings: hint::warnings(inputs, &instances, &contexts),
        instances,
        contexts,
        components: inputs.components.clone(),
    }
}

fn instances_view(inputs: &StatusInputs) -> InstancesView {
    let live = || inputs.instances.iter().filter(|instance| instance.live);
    // Not `>=`: an instance ahead of the store follows another history.
    let has = |instance: &&Instance| instance.report.applied == inputs.table.generation;
    InstancesView {
        applied: live().filter(has).count(),
        of: live().count(),
        missing: live().filter(|i| !has(i)).map(|i| i.report.instance.clone()).collect(),
        list: inputs.instances.clone(),
    }
}

impl StatusInputs {
    fn context_view(&self, spec: &ContextSpec) -> ContextView {
        let state = self.table.contexts.get(&spec.name);
        let owner = state.map_or(Side::Legacy, |state| state.owner);
        let endpoints: Vec<EndpointView> =
            spec.endpoints.iter().map(|endpoint| self.endpoint_view(endpoint, owner)).collect();
        let latest = endpoints.iter().map(|endpoint| &endpoint.changed);
        let own = state.map(|state| self.stamp(&state.stamp)).unwrap_or_default();
        let changed = latest.fold(&own, |a, b| if b.since_ms > a.since_ms { b } else { a }).clone();
        let sync: Vec<SyncView> = self.sync_views(spec);
        ContextView {
            context: spec.name.to_string(),
            phase: hint::phrase(&endpoints),
            owner,
            emits: owner,
            epoch: state.map_or(Epoch(0), |state| state.epoch),
            armed: state.and_then(|state| state.armed),
            holding: state.is_some_and(|state| state.holding),
            changed,
            mismatch: self.sum(endpoints.iter().map(|endpoint| endpoint.mismatch)),
            sync_lag_ms: sync.iter().filter(|job| job.to != owner).map(|job| job.lag_ms).max(),
            sync,
            next: hint::next_of_context(&endpoints),
            back: hint::back_of_context(spec.name.as_str(), &endpoints),
            endpoints,
        }
    }

    fn endpoint_view(&self, spec: &EndpointSpec, owner: Side) -> EndpointView {
        let kind = spec.kind();
        let state = self.table.endpoints.get(&spec.name);
        let phase = match (kind, owner) {
            (EndpointKind::Read, _) => state.map_or(spec.start, |state| state.phase),
            (EndpointKind::Write, Side::Legacy) => Phase::Legacy,
            (EndpointKind::Write, Side::New) => Phase::New,
        };
        let frozen = self.table.frozen.is_some();
        let outcomes = self.shadow.get(&spec.name);
        EndpointView {
            endpoint: spec.name.to_string(),
            kind,
            methods: spec.methods.clone(),
            path: spec.path.to_string(),
            phase,
            changed: state.map(|state| self.stamp(&state.stamp)).unwrap_or_default(),
            mismatch: MismatchView {
                compared: outcomes.map_or(0, Outcomes::compared),
                confirmed: outcomes.map_or(0, Outcomes::confirmed),
                window_ms: self.shadow_window_ms,
            },
            next: hint::next(&spec.name, kind, phase).filter(|_| !frozen),
            back: hint::back(&spec.name, kind, phase),
        }
    }

    fn sync_views(&self, spec: &ContextSpec) -> Vec<SyncView> {
        let jobs = self.watermarks.iter().filter(|mark| mark.context == spec.name);
        jobs.map(|mark| {
            let age_ms = self.now_ms.saturating_sub(mark.at_ms);
            let silent = if age_ms > SYNC_REPORT_AGE_MAX_MS { age_ms } else { 0 };
            SyncView {
                job: mark.job.clone(),
                to: mark.to,
                lag_ms: mark.lag_ms.saturating_add(silent),
                pending: mark.pending,
                state: mark.state.clone(),
                detail: mark.detail.clone(),
                age_ms,
            }
        })
        .collect()
    }

    fn sum(&self, parts: impl Iterator<Item = MismatchView>) -> MismatchView {
        let empty = MismatchView { window_ms: self.shadow_window_ms, ..MismatchView::default() };
        parts.fold(empty, |sum, part| MismatchView {
            compared: sum.compared + part.compared,
            confirmed: sum.confirmed + part.confirmed,
            ..sum
        })
    }

    fn stamp(&self, stamp: &Stamp) -> StampView {
        StampView {
            since_ms: stamp.since_ms,
            age_ms: self.now_ms.saturating_sub(stamp.since_ms),
            by: stamp.by.clone(),
            reason: stamp.reason.clone(),
        }
    }
}
