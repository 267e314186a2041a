//! What follows when a side fails a request, with pingora's types.
//!
//! Owns the translation between pingora's errors and the rule in `retry.rs`, and the answer that a client gets in the end.
//! What must stay true: the rule alone decides; nothing internal is told to the client.

use crate::answer::{Answer, Fault};
use crate::call::Call;
use crate::fence;
use crate::metric::{self, Cause};
use crate::retry::{self, Failure, Next};
use banyan_domain::{Compiled, RequestKind};
use http::StatusCode;
use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType};

/// How far a try came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// No connection; `elsewhere` says whether the side has another address.
    Connecting { elsewhere: bool },
    /// On a connection; `kept` says whether it was one from the pool.
    Connected { kept: bool },
}

/// Turns a failed try into the next one, or leaves it as the end.
#[expect(clippy::unnecessary_box_returns, reason = "pingora hands errors over in boxes")]
pub(crate) fn after(
    session: &mut Session,
    call: &mut Call,
    mut error: Box<Error>,
    stage: Stage,
) -> Box<Error> {
    if call.attempt.fence.is_refusal() {
        let again = fence::may_try_again(session, call);
        error.set_retry(again);
        return error;
    }
    let bodyless = session.is_body_empty();
    let failure = Failure {
        repeatable: !call.tunnel
            && retry::is_repeatable(call.kind(), &session.req_header().method, bodyless),
        client_touched: session.response_written().is_some()
            || *error.esource() == ErrorSource::Downstream,
        kept_connection_died: stage == Stage::Connected { kept: true }
            && retry::died_when_kept(&error),
        other_address: stage == Stage::Connecting { elsewhere: true }
            && !call.attempt.tried_elsewhere,
        tried_again: call.attempt.tried_again,
        may_fall_back: call.may_fall_back(),
    };
    let next = retry::next(failure);
    match next {
        Next::GiveUp => {}
        Next::OtherAddress => call.attempt.tried_elsewhere = true,
        Next::SameSide => {
            call.attempt.tried_again = true;
            metric::retried(call.attempt.side);
        }
        Next::Fallback => call.fall_back(retry::cause(&error)),
    }
    error.set_retry(next != Next::GiveUp);
    error
}

/// What the client is told when no side answered, by the table in force; nothing when the client is gone.
pub(crate) fn answer(error: &Error, call: &Call, table: &Compiled) -> Option<Answer> {
    let side = call.attempt.side;
    if call.attempt.fence.is_refusal() {
        return Some(fence::refusal(call, table));
    }
    let (status, fault, detail) = match retry::cause(error) {
        Cause::Client if is_gone(error) => return None,
        Cause::Client if is_slow(error) => (
            StatusCode::REQUEST_TIMEOUT,
            Fault::Client,
            "the request did not arrive in time".to_owned(),
        ),
        Cause::Client => {
            (StatusCode::BAD_REQUEST, Fault::Client, "the request is not well formed".to_owned())
        }
        Cause::Timeout => (
            StatusCode::GATEWAY_TIMEOUT,
            Fault::Side(side),
            format!("{side} did not answer in time"),
        ),
        Cause::Connect | Cause::Unconfigured => (
            StatusCode::BAD_GATEWAY,
            Fault::Side(side),
            format!("{side} does not accept connections"),
        ),
        Cause::Broken | Cause::Status => {
            (StatusCode::BAD_GATEWAY, Fault::Side(side), format!("{side} broke the connection off"))
        }
        Cause::Internal => (
            StatusCode::INTERNAL_SERVER_ERROR,
            Fault::Proxy,
            "the proxy could not handle the request".to_owned(),
        ),
    };
    let retry_safe = !call.attempt.sent || call.kind() == RequestKind::Read;
    Some(Answer { status, detail, fault, retry_safe, retry_after_s: None })
}

fn is_gone(error: &Error) -> bool {
    use ErrorType::{ConnectionClosed, H2Error, ReadError, WriteError};
    [ReadError, WriteError, ConnectionClosed, H2Error].contains(error.etype())
}

fn is_slow(error: &Error) -> bool {
    [ErrorType::ReadTimedout, ErrorType::WriteTimedout].contains(error.etype())
}
