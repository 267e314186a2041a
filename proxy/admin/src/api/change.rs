//! Handlers that change the routing.
//!
//! Owns the forms of the requests and of the answer. Each is one commit, made under the caller's name; the
//! answer comes after the proxies have applied it, or says who has not. What must stay true: a step back
//! needs less power than a step forward, and nothing but the role is asked for it.

use crate::access::{Caller, Role};
use crate::error::Problem;
use crate::server::Shared;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use banyan_control::{Applied, Committed, audit, clock};
use banyan_domain::change::Moved;
use banyan_domain::phase::Direction;
use banyan_domain::{Change, ContextName, EndpointKind, EndpointName, Generation, Percent, Phase};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The longest reason that is kept, in characters.
const REASON_MAX: usize = 500;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Flip {
    phase: String,
    percent: Option<u8>,
    reason: String,
    generation: Option<Generation>,
}

/// The body of every other change; an empty body is the default one.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Step {
    reason: String,
    generation: Option<Generation>,
}

/// The answer to a change that was made.
#[derive(Debug, Serialize)]
pub(super) struct Done {
    generation: Generation,
    changed: bool,
    moved: Vec<Moved>,
    /// Who applied it; nothing when the store could not be asked.
    applied: Option<Applied>,
    message: String,
}

type Answer = Result<Json<Done>, Problem>;

pub(super) async fn flip(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path(endpoint): Path<String>,
    body: Bytes,
) -> Answer {
    let endpoint = endpoint_of(&endpoint)?;
    let flip: Flip = parse(&body)?;
    let percent = flip.percent.map(Percent::new).transpose().map_err(Problem::invalid)?;
    let to = Phase::from_words(&flip.phase, percent).map_err(Problem::invalid)?;
    let expected = flip.generation;
    if flip.reason.trim().is_empty() {
        return Err(Problem::invalid("a flip needs a reason"));
    }
    let expected = match caller.need(Role::Admin, "flip forward") {
        Ok(()) => expected,
        // What counts as back depends on the phase: pin the generation it was judged by.
        Err(problem) => Some(shared.back_only(&caller, &endpoint, to, expected).ok_or(problem)?),
    };
    shared.change(&caller, &Change::Flip { endpoint, to }, expected, &flip.reason).await
}

pub(super) async fn rollback_endpoint(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path(endpoint): Path<String>,
    body: Bytes,
) -> Answer {
    caller.need(Role::OnCall, "roll back")?;
    let change = Change::RollbackEndpoint { endpoint: endpoint_of(&endpoint)? };
    shared.step(&caller, &change, &body).await
}

pub(super) async fn rollback_context(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path(context): Path<String>,
    body: Bytes,
) -> Answer {
    caller.need(Role::OnCall, "roll back")?;
    let context = ContextName::new(&context)
        .map_err(|_| Problem::unknown(&format!("context `{context}`")))?;
    shared.step(&caller, &Change::RollbackContext { context }, &body).await
}

pub(super) async fn freeze(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Answer {
    caller.need(Role::OnCall, "freeze")?;
    shared.step(&caller, &Change::Freeze, &body).await
}

pub(super) async fn unfreeze(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Answer {
    caller.need(Role::Admin, "unfreeze")?;
    shared.step(&caller, &Change::Unfreeze, &body).await
}

fn endpoint_of(name: &str) -> Result<EndpointName, Problem> {
    EndpointName::new(name).map_err(|_| Problem::unknown(&format!("endpoint `{name}`")))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::invalid(format!("the body: {error}")))
}

impl Shared {
    /// The generation by which the flip is a step back and the caller may take it; nothing otherwise.
    fn back_only(
        &self,
        caller: &Caller,
        endpoint: &EndpointName,
        to: Phase,
        expected: Option<Generation>,
    ) -> Option<Generation> {
        caller.need(Role::OnCall, "flip back").ok()?;
        let catalogue = self.parts.catalogue.load();
        let spec = catalogue.endpoint(endpoint)?;
        let table = self.parts.raw_table.load();
        let from = table.endpoints.get(endpoint).map_or(spec.start, |state| state.phase);
        let back = match from.transition(to) {
            Ok(Direction::Back | Direction::Same) => spec.kind() == EndpointKind::Read,
            Ok(Direction::Forward) | Err(_) => false,
        };
        // Never a later one than it was judged by: that one may not be a step back any more.
        let judged_by = table.generation;
        back.then(|| expected.map_or(judged_by, |expected| expected.min(judged_by)))
    }

    async fn step(&self, caller: &Caller, change: &Change, body: &[u8]) -> Answer {
        let step: Step = if body.is_empty() { Step::default() } else { parse(body)? };
        self.change(caller, change, step.generation, &step.reason).await
    }

    async fn change(
        &self,
        caller: &Caller,
        change: &Change,
        expected: Option<Generation>,
        reason: &str,
    ) -> Answer {
        if reason.chars().count() > REASON_MAX {
            return Err(Problem::invalid(format!("a reason has at most {REASON_MAX} characters")));
        }
        let actor = audit::actor(&caller.name, reason.trim(), clock::now_ms());
        let catalogue = self.parts.catalogue.load_full();
        let committed = self.parts.store.commit(&catalogue, change, expected, &actor).await?;
        Ok(Json(self.applied(committed).await))
    }

    /// Waits for the proxies; the change is made, so that failing to see them is no error.
    async fn applied(&self, committed: Committed) -> Done {
        let generation = committed.table.generation;
        let waited = self.parts.store.wait_applied(generation, self.applied_timeout).await;
        let (applied, message) = match waited {
            Ok(applied) => (Some(applied.clone()), format!("generation {generation}: {applied}")),
            Err(error) => (
                None,
                format!("generation {generation} is made; who applied it is unknown: {error}"),
            ),
        };
        let effect = committed.effect;
        Done { generation, changed: effect.changed, moved: effect.moved, applied, message }
    }
}
