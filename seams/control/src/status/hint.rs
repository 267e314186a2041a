//! The words around a status: the phrase for a context's reads, the next and the way back as commands, and
//! what deserves a look.

use super::{ContextView, EndpointView, InstancesView, SYNC_REPORT_AGE_MAX_MS, StatusInputs};
use crate::health::StoreHealth;
use banyan_domain::{EndpointKind, EndpointName, Phase};

/// The usual steps of a ramp, in percent.
const RAMP: [u8; 6] = [1, 5, 10, 25, 50, 100];

/// The next step forward of an endpoint. None for writes (they move by cutover) and none after `new`:
/// retiring legacy code is not a step to suggest.
pub(super) fn next(name: &EndpointName, kind: EndpointKind, phase: Phase) -> Option<String> {
    if kind == EndpointKind::Write {
        return None;
    }
    match phase {
        Phase::Legacy => Some(format!("banyan route flip {name} shadow")),
        Phase::Shadow => Some(format!("banyan route flip {name} canary --percent {}", RAMP[0])),
        Phase::Canary(percent) => Some(match RAMP.iter().find(|step| **step > percent.get()) {
            Some(step) => format!("banyan route flip {name} canary --percent {step}"),
            None => format!("banyan route flip {name} new"),
        }),
        Phase::New | Phase::Retired => None,
    }
}

/// The way back of an endpoint.
pub(super) fn back(name: &EndpointName, kind: EndpointKind, phase: Phase) -> Option<String> {
    match (kind, phase.rollback()) {
        (EndpointKind::Read, Some(_)) => Some(format!("banyan rollback {name}")),
        (EndpointKind::Read, None) | (EndpointKind::Write, _) => None,
    }
}

/// The next step of the endpoint that is least far.
pub(super) fn next_of_context(endpoints: &[EndpointView]) -> Option<String> {
    let open = endpoints.iter().filter(|endpoint| endpoint.next.is_some());
    open.min_by_key(|endpoint| rank(endpoint.phase)).and_then(|endpoint| endpoint.next.clone())
}

pub(super) fn back_of_context(context: &str, endpoints: &[EndpointView]) -> Option<String> {
    let any = endpoints.iter().any(|endpoint| endpoint.back.is_some());
    any.then(|| format!("banyan rollback {context}"))
}

/// The reads in one phrase: one phase, or from the least to the furthest.
pub(super) fn phrase(endpoints: &[EndpointView]) -> String {
    let reads = || endpoints.iter().filter(|e| e.kind == EndpointKind::Read).map(|e| e.phase);
    let least = reads().min_by_key(|phase| rank(*phase));
    let furthest = reads().max_by_key(|phase| rank(*phase));
    match (least, furthest) {
        (Some(least), Some(furthest)) if least == furthest => least.to_string(),
        (Some(least), Some(furthest)) => format!("{least} to {furthest}"),
        (Some(_), None) | (None, Some(_) | None) => "no reads".to_owned(),
    }
}

/// How far an endpoint has come.
fn rank(phase: Phase) -> (u8, u8) {
    match phase {
        Phase::Legacy => (0, 0),
        Phase::Shadow => (1, 0),
        Phase::Canary(percent) => (2, percent.get()),
        Phase::New => (3, 0),
        Phase::Retired => (4, 0),
    }
}

/// What a person should look at.
pub(super) fn warnings(
    inputs: &StatusInputs,
    instances: &InstancesView,
    contexts: &[ContextView],
) -> Vec<String> {
    let mut warnings = Vec::new();
    match inputs.store.health {
        StoreHealth::Ok => {}
        StoreHealth::Away => warnings.push(format!(
            "the control store is away ({}): the last table stays in force",
            inputs.store.detail
        )),
        StoreHealth::Behind => {
            warnings.push(format!("the control store is behind: {}", inputs.store.detail));
        }
    }
    for name in &instances.missing {
        warnings.push(format!("`{name}` does not route by generation {}", inputs.table.generation));
    }
    for context in contexts {
        let armed = context.armed.map(|epoch| {
            let what = if context.holding {
                "the proxies hold its writes"
            } else {
                "a cutover is under way"
            };
            format!("`{}` is armed for epoch {epoch}: {what}", context.context)
        });
        warnings.extend(armed);
        for job in context.sync.iter().filter(|job| job.age_ms > SYNC_REPORT_AGE_MAX_MS) {
            let seconds = job.age_ms / 1_000;
            warnings.push(format!("sync job `{}` has not reported for {seconds} s", job.job));
        }
    }
    warnings.extend(undeclared(inputs));
    warnings
}

/// Endpoints that the table knows and the file no longer declares.
fn undeclared(inputs: &StatusInputs) -> Option<String> {
    let gone: Vec<&str> = inputs
        .table
        .endpoints
        .keys()
        .filter(|name| inputs.catalogue.endpoint(name).is_none())
        .map(EndpointName::as_str)
        .collect();
    (!gone.is_empty())
        .then(|| format!("live but no longer declared, so routed to legacy: {}", gone.join(", ")))
}
