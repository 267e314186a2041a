//! A write that a side refused by its fence.
//!
//! Owns the one exception from "a write is never sent twice": the side says that it rolled the write back, so it may go
//! to the next owner. It exists because a fence may close before this proxy knows of the cutover. What must
//! stay true: it counts only if the side names the context that was decided; it happens once per request, and only
//! with a body that can be sent again whole; the side's word never reaches a client.

use crate::admit::{Pass, Queueing};
use crate::call::{Call, Route};
use crate::hold::Wait;
use crate::metric::held::{self, Fenced, Outcome};
use crate::plane::Plane;
use banyan_domain::{Compiled, RequestKind};
use http::{HeaderName, StatusCode};
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
pub(crate) fn read(head: &mut ResponseHeader, call: &mut Call) -> pingora::Result<()> {
    if !head.headers.contains_key(&HEADER) {
        return Ok(());
    }
    let Some(named) = head.remove_header(&HEADER) else { return Ok(()) };
    let decision = call.route.as_ref().map(|route| &route.decision);
    let context =
        decision.filter(|d| d.kind == RequestKind::Write).and_then(|d| d.context.as_ref());
    let ours = context.is_some_and(|context| named.as_bytes() == context.as_str().as_bytes());
    if head.status != StatusCode::SERVICE_UNAVAILABLE || !ours {
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
    let context = call.route.as_ref().and_then(|route| route.decision.context.as_ref());
    if let Some(context) = context {
        held::fenced(context.as_str(), outcome);
        tracing::info!(
            context = context.as_str(),
            side = call.attempt.side.as_str(),
            outcome = outcome.as_str(),
            "a fence refused a write"
        );
    }
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
