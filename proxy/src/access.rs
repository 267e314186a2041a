//! The access log.
//!
//! Owns the one line per request. It exists for operators who have no other log in front of the monolith. What must
//! stay true: no query, header or body is in a line; off, it costs one comparison.

use crate::call::Call;
use crate::config::AccessLog;
use crate::metric::Cause;
use pingora::proxy::Session;

/// Writes the line of a finished request. `draw` is 0..100, compared with the sampled share.
pub(crate) fn write(log: AccessLog, draw: u8, session: &Session, call: &Call, status: u16) {
    let wanted = match log {
        AccessLog::Off => false,
        AccessLog::All => true,
        AccessLog::Sampled(percent) => draw < percent,
    };
    if !wanted || !tracing::enabled!(target: "access", tracing::Level::INFO) {
        return;
    }
    let head = session.req_header();
    let decision = call.route.as_ref().map(|route| &route.decision);
    let text = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("-");
    tracing::info!(
        target: "access",
        method = head.method.as_str(),
        path = head.uri.path(),
        status,
        ms = u64::try_from(call.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        bytes = session.body_bytes_sent(),
        client = call.address.map(tracing::field::display),
        context = call.context().map_or("-", |name| name.as_str()),
        endpoint = decision.and_then(|d| d.endpoint.as_ref()).map_or("-", |name| name.as_str()),
        kind = call.kind().as_str(),
        phase = decision.map_or("-", |d| d.phase.word()),
        side = call.route.as_ref().map_or("-", |_| call.attempt.side.as_str()),
        fallback = call.attempt.fell_back.map(Cause::as_str),
        generation = decision.map(|d| d.generation.0),
        request_id = text("x-request-id"),
        traceparent = text("traceparent"),
        "request"
    );
}
