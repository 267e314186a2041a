//! A write that a side refused by its fence.
//!
//! Owns the one exception from "a write is never sent twice": the side says that it rolled the write back, so it may go
//! to the next owner. It exists because a fence may close before this proxy knows of the cutover. What must
//! stay true: it counts only if the side names the context that was decided; it happens once per request, and only
//! with a body that can be sent again whole; the side's word never reaches a client; every one is counted, and an
//! operator is told of each that a client noticed.

use crate::admit::{Pass, Queueing};
use crate::answer::Answer;
use crate::call::{Call, Route};
use crate::hold::{self, Wait};
use crate::metric::held::{self, Fenced, Outcome};
use crate::plane::Plane;
use banyan_domain::{Compiled, ContextName, RequestKind};
use http::{HeaderName, HeaderValue, StatusCode};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use pingora::{Error, ErrorType};

/// Header by which a side says that its fence refused the write and that it had no effect.
pub(crate) static HEADER: HeaderName = HeaderName::from_static("x-banyan-fenced");
/// The type of the error that ends such a try.
pub(crate) const REFUSED: ErrorType = ErrorType::Custom("fenced");

/// How far a request is with fences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fence {
    /// It met none.
    Open,
    /// The first try was refused.
    Refused,
    /// It was refused and will be tried again when the table has moved on.
    Waits,
    /// The second try is on its way.
    Again,
    /// The second try was refused as well.
    RefusedAgain,
}

impl Fence {
    /// Whether a fence refused the request in the end.
    pub(crate) const fn is_refusal(self) -> bool {
        match self {
            Self::Refused | Self::Waits | Self::RefusedAgain => true,
            Self::Open | Self::Again => false,
        }
    }
}

/// Takes the side's word out of an answer. An error ends the try.
pub(crate) fn read(
    plane: &Plane,
    head: &mut ResponseHeader,
    call: &mut Call,
) -> pingora::Result<()> {
    if !head.headers.contains_key(&HEADER) {
        return Ok(());
    }
    let Some(named) = head.remove_header(&HEADER) else { return Ok(()) };
    if let Some(why) = stray(&named, head.status, call) {
        tell_stray(&plane.table.load(), &named, head.status, call, why);
        return Ok(());
    }
    call.attempt.fence = match call.attempt.fence {
        Fence::Open => Fence::Refused,
        Fence::Refused | Fence::Waits | Fence::Again | Fence::RefusedAgain => Fence::RefusedAgain,
    };
    // It had no effect: it is not on its way any more, and its caller has written nothing.
    call.write = None;
    if let Some(pin) = call.pin.take() {
        pin.forget();
    }
    let mut error = Error::explain(REFUSED, "a fence refused the write");
    error.as_up();
    error.set_retry(false);
    Err(error)
}

/// Why a side's word is not that its fence refused this write; nothing when it is.
fn stray(named: &HeaderValue, status: StatusCode, call: &Call) -> Option<&'static str> {
    if call.kind() != RequestKind::Write {
        return Some("the request is not declared as a write");
    }
    let names = |context: &ContextName| named.as_bytes() == context.as_str().as_bytes();
    if !call.context().is_some_and(names) {
        return Some("the request is declared as a write of another context");
    }
    (status != StatusCode::SERVICE_UNAVAILABLE).then_some("the status is not 503")
}

/// The client gets such an answer as it is. Most of them mean that an endpoint is missing in the declarations, or stands
/// in the wrong context, so its writes are lost to clients as long as the fence is shut.
fn tell_stray(
    table: &Compiled,
    named: &HeaderValue,
    status: StatusCode,
    call: &Call,
    why: &'static str,
) {
    let fence = named.to_str().unwrap_or("unreadable");
    // A label is a declared name, whatever a side says.
    let declared = ContextName::new(fence).ok().filter(|name| table.context(name).is_some());
    held::fenced(declared.as_ref().map_or("none", |name| name.as_str()), Fenced::Stray);
    let endpoint = call.route.as_ref().and_then(|route| route.decision.endpoint.as_ref());
    tracing::warn!(
        fence,
        why,
        context = call.context().map_or("none", |name| name.as_str()),
        endpoint = endpoint.map_or("none", |name| name.as_str()),
        kind = call.kind().as_str(),
        side = call.attempt.side.as_str(),
        status = status.as_u16(),
        "a fence refused a request that cannot go to the next owner"
    );
}

/// Whether a refused try may be followed by another one.
pub(crate) fn may_try_again(session: &mut Session, call: &mut Call) -> bool {
    let touched = session.response_written().is_some_and(|head| !head.status.is_informational());
    let whole = session.is_body_empty()
        || (session.as_downstream_mut().is_body_done()
            && !session.as_downstream().retry_buffer_truncated());
    match call.attempt.fence {
        Fence::Refused if whole && !touched => {
            call.attempt.fence = Fence::Waits;
            true
        }
        Fence::Refused => {
            count(call, Fenced::Large);
            false
        }
        Fence::RefusedAgain => {
            count(call, Fenced::Again);
            false
        }
        Fence::Open | Fence::Waits | Fence::Again => false,
    }
}

fn count(call: &Call, outcome: Fenced) {
    let Some(context) = call.context().map(ContextName::as_str) else { return };
    held::fenced(context, outcome);
    let side = call.attempt.side.as_str();
    match outcome {
        Fenced::Rerouted => tracing::info!(context, side, "a write went to the next owner"),
        Fenced::Wait(_) | Fenced::Large | Fenced::Again | Fenced::Stray => {
            let outcome = outcome.as_str();
            tracing::warn!(context, side, outcome, "a fence refused a write");
        }
    }
}

/// What the client of a refused write is told. A fence can be shut without a cutover that this proxy knows of: it has not
/// heard of it yet, or one was given up and not cleared up.
pub(crate) fn refusal(call: &Call, table: &Compiled) -> Answer {
    let side = call.attempt.side;
    let state = call.context().and_then(|name| table.context(name)).map(|context| &context.state);
    let context = call.context().map_or("the context", |name| name.as_str());
    let detail = if state.is_some_and(|state| state.armed.is_some()) {
        format!(
            "`{context}` is being cut over; {side} refused the write and nothing of it was kept"
        )
    } else {
        format!(
            "{side} takes no writes of `{context}` now; nothing of this one was kept, send it again"
        )
    };
    hold::unavailable(&detail)
}

impl Plane {
    /// Waits for the next owner (or the end of the cutover) and decides anew.
    pub(crate) async fn wait_for_owner(
        &self,
        session: &mut Session,
        call: &mut Call,
    ) -> pingora::Result<()> {
        let waited = self.owner_after(session, call).await;
        let outcome = match waited {
            Ok(()) => Fenced::Rerouted,
            Err(outcome) => Fenced::Wait(outcome),
        };
        count(call, outcome);
        if waited.is_err() {
            let mut error = Error::explain(REFUSED, "no owner took the write in time");
            error.set_retry(false);
            return Err(error);
        }
        call.attempt.fence = Fence::Again;
        // The first try was rolled back: nothing of it counts as sent.
        call.attempt.sent = false;
        Ok(())
    }

    async fn owner_after(&self, session: &mut Session, call: &mut Call) -> Result<(), Outcome> {
        let Some(gate) = call.route.as_ref().and_then(|route| route.meter.gate().cloned()) else {
            return Err(Outcome::Refused);
        };
        let place = gate.fenced.join(self.config.hold.requests_max).ok_or(Outcome::Full)?;
        let mut wait = Wait::new(self);
        let _turn = wait.for_turn(session, &place).await?;
        loop {
            wait.for_look(session).await?;
            let moved =
                call.route.as_ref().is_none_or(|refused| has_moved(&self.table.load(), refused));
            if !moved {
                continue;
            }
            match self.route(session, call, Queueing::IsFirst) {
                Ok(Pass::Go) => return Ok(()),
                Ok(Pass::Wait(_)) => {}
                Err(_) => return Err(Outcome::Refused),
            }
        }
    }
}

/// Whether a table has another owner than the side that refused, or is a later one without a cutover.
fn has_moved(table: &Compiled, refused: &Route) -> bool {
    let decision = &refused.decision;
    let context = decision.context.as_ref().and_then(|name| table.context(name));
    let Some(state) = context.map(|context| &context.state) else { return true };
    let over = state.armed.is_none() && !state.holding;
    state.owner != decision.side || (over && table.generation > decision.generation)
}
