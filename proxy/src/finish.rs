//! The end of a request's life: settle, hand over, count.
//!
//! Owns steps 8 and 9. What must stay true: nothing here waits; a read that is not compared is counted with its reason;
//! every request is counted exactly once.

use crate::call::Call;
use crate::handoff::Handoff;
use crate::metric::{Cause, Class};
use crate::retry;
use crate::ryw::now_ms;
use crate::tee::Copied;
use banyan_domain::{Mirror, RequestKind};
use banyan_shadow::{Exchange, Served, SkipReason, Undeclared};
use http::header::CONTENT_TYPE;
use pingora::proxy::Session;
use pingora::{Error, ErrorSource};

/// Ends the pin of a write.
pub(crate) fn settle_write(call: &mut Call) {
    if call.attempt.sent {
        // Its time is taken now, after the answer: see `Pin`. An unknown outcome counts as a write.
        drop(call.pin.take());
    } else if let Some(pin) = call.pin.take() {
        pin.forget();
    }
}

/// Hands an answered read to shadow, or counts why not.
pub(crate) fn hand_over(
    handoff: Option<&dyn Handoff>,
    session: &Session,
    error: Option<&Error>,
    call: &mut Call,
) {
    let (Some(route), Some(handoff)) = (&call.route, handoff) else { return };
    let Some(endpoint) = &route.decision.endpoint else { return };
    let Some(copied) = call.capture.finish() else { return };
    let broken = error.map(|error| match error.esource() {
        ErrorSource::Downstream => SkipReason::ClientGone,
        ErrorSource::Upstream | ErrorSource::Internal | ErrorSource::Unset => {
            SkipReason::ServedFailed
        }
    });
    let fell_back = call.attempt.fell_back.map(|_| SkipReason::ServedFailed);
    let headers = std::mem::take(&mut call.sent_headers);
    let exchange = copied.and_then(|copied| match broken.or(fell_back) {
        Some(reason) => Err(reason),
        None => exchange(session, call, headers, copied),
    });
    match exchange {
        Ok(exchange) => {
            route.meter.offered();
            handoff.offer(exchange);
        }
        Err(reason) => {
            route.meter.skipped(reason);
            handoff.skip(endpoint, reason);
        }
    }
}

fn exchange(
    session: &Session,
    call: &Call,
    request_headers: Vec<(String, Vec<u8>)>,
    copied: Copied,
) -> Result<Exchange, SkipReason> {
    let decision = call.route.as_ref().map(|route| &route.decision);
    let decision = decision.ok_or(SkipReason::PhaseChanged)?;
    let (Mirror::To(mirror_to), Some(context), Some(endpoint)) =
        (decision.mirror, &decision.context, &decision.endpoint)
    else {
        return Err(SkipReason::PhaseChanged);
    };
    let request = session.req_header();
    let target = call.rewritten.as_deref().unwrap_or_else(|| request.raw_path());
    let target = std::str::from_utf8(target).map_err(|_| SkipReason::InexactTarget)?;
    Ok(Exchange {
        context: context.clone(),
        endpoint: endpoint.clone(),
        served_by: call.attempt.side,
        mirror_to,
        generation: decision.generation,
        method: request.method.as_str().to_owned(),
        path_and_query: target.to_owned(),
        request_headers,
        served: Served {
            status: copied.status,
            headers: copied.headers,
            body: copied.body,
            elapsed_ms: u64::try_from(call.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        },
        at_ms: now_ms(),
    })
}

/// Tells shadow of an answered request that no endpoint covers; a copy is made only of the few that it wants.
pub(crate) fn note_undeclared(
    handoff: Option<&dyn Handoff>,
    session: &Session,
    error: Option<&Error>,
    call: &Call,
) {
    let (Some(route), Some(handoff), None) = (&call.route, handoff, error) else { return };
    let unmatched = route.decision.kind == RequestKind::Unmatched && !call.attempt.upgraded;
    let Some(answer) = session.response_written().filter(|_| unmatched) else { return };
    if !handoff.wants_undeclared(now_ms()) {
        return;
    }
    let request = session.req_header();
    let target = call.rewritten.as_deref().unwrap_or_else(|| request.raw_path());
    let content_type = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    handoff.undeclared(Undeclared {
        method: request.method.as_str().to_owned(),
        target: String::from_utf8_lossy(target).into_owned(),
        status: answer.status.as_u16(),
        content_type: content_type.unwrap_or_default().to_owned(),
    });
}

/// Counts a finished request, and logs one that broke off.
pub(crate) fn count(status: u16, error: Option<&Error>, call: &Call) {
    let Some(route) = &call.route else { return };
    let side = call.attempt.side;
    let seconds = call.started.elapsed().as_secs_f64();
    if !call.attempt.upgraded {
        route.meter.finished(side, Class::of(status), seconds);
    }
    let Some(error) = error else { return };
    let cause = retry::cause(error);
    if call.attempt.upgraded && cause == Cause::Client {
        return;
    }
    route.meter.broke_off(side, cause);
    tracing::warn!(
        cause = cause.as_str(),
        side = side.as_str(),
        kind = call.kind().as_str(),
        context = call.context().map_or("none", |name| name.as_str()),
        endpoint = route.decision.endpoint.as_ref().map_or("none", |name| name.as_str()),
        status,
        sent = call.attempt.sent,
        error = %error,
        "request broke off"
    );
}
