//! What follows when a side fails a request.
//!
//! Owns the rule whether another try is allowed and where. It exists because pingora's own rule repeats PUT and
//! DELETE on kept connections, and those emit events. What must stay true: a write is never sent twice; nothing is tried
//! again once the client has a byte.

use crate::metric::Cause;
use banyan_domain::RequestKind;
use http::Method;
use pingora::{Error, ErrorSource, ErrorType, RetryType};

/// How a try failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "six independent facts; the test walks all 64")]
pub(crate) struct Failure {
    /// Whether the request may be repeated at all; see [`is_repeatable`].
    pub(crate) repeatable: bool,
    /// Whether the client has got a byte, or is the one who failed.
    pub(crate) client_touched: bool,
    /// Whether the failure is one that a kept connection shows when the other end had closed it.
    pub(crate) kept_connection_died: bool,
    /// Whether another try for that reason was made.
    pub(crate) tried_again: bool,
    /// Whether no connection came about and the side has another address that was not tried: nothing was sent.
    pub(crate) other_address: bool,
    /// Whether legacy may be asked instead.
    pub(crate) may_fall_back: bool,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The client gets an error.
    GiveUp,
    /// Once to another address of the same side; any method, as nothing was sent.
    OtherAddress,
    /// Once more to the same side.
    SameSide,
    /// Once to legacy.
    Fallback,
}

/// Tries per request: the first, one more on the same side, one fallback.
pub(crate) const TRIES_MAX: usize = 3;

/// What follows a failure.
pub(crate) fn next(failure: Failure) -> Next {
    let Failure { kept_connection_died, tried_again, may_fall_back, .. } = failure;
    if failure.client_touched {
        return Next::GiveUp;
    }
    if failure.other_address {
        return Next::OtherAddress;
    }
    if !failure.repeatable {
        return Next::GiveUp;
    }
    match (kept_connection_died && !tried_again, may_fall_back) {
        (true, _) => Next::SameSide,
        (false, true) => Next::Fallback,
        (false, false) => Next::GiveUp,
    }
}

/// Whether sending a request twice is harmless: GET and HEAD that are not declared as writes, without a body.
pub(crate) fn is_repeatable(kind: RequestKind, method: &Method, bodyless: bool) -> bool {
    let reads = match kind {
        RequestKind::Read | RequestKind::Unmatched => true,
        RequestKind::Write | RequestKind::Upgrade => false,
    };
    reads && bodyless && (*method == Method::GET || *method == Method::HEAD)
}

/// Whether an error on a kept connection is the kind that a dead one shows.
pub(crate) fn died_when_kept(error: &Error) -> bool {
    match error.retry {
        RetryType::ReusedOnly => true,
        RetryType::Decided(retry) => retry,
    }
}

/// The cause of an error, for labels and answers.
pub(crate) fn cause(error: &Error) -> Cause {
    use ErrorType as E;
    let kind = error.etype();
    let timeout = [E::ConnectTimedout, E::TLSHandshakeTimedout, E::ReadTimedout, E::WriteTimedout];
    let connect = [
        E::ConnectRefused,
        E::ConnectNoRoute,
        E::ConnectError,
        E::ConnectProxyFailure,
        E::SocketError,
        E::BindError,
        E::TLSHandshakeFailure,
        E::HandshakeError,
        E::InvalidCert,
    ];
    match error.esource() {
        ErrorSource::Downstream => Cause::Client,
        ErrorSource::Upstream | ErrorSource::Unset if timeout.contains(kind) => Cause::Timeout,
        ErrorSource::Upstream | ErrorSource::Unset if connect.contains(kind) => Cause::Connect,
        ErrorSource::Upstream if matches!(kind, E::HTTPStatus(_)) => Cause::Status,
        ErrorSource::Upstream => Cause::Broken,
        ErrorSource::Internal | ErrorSource::Unset => Cause::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_failure_of_a_write_or_after_a_byte_to_the_client_is_tried_again() {
        for bits in 0..64u8 {
            let bit = |n: u8| bits & (1 << n) != 0;
            let failure = Failure {
                repeatable: bit(0),
                client_touched: bit(1),
                kept_connection_died: bit(2),
                tried_again: bit(3),
                may_fall_back: bit(4),
                other_address: bit(5),
            };
            let next = next(failure);
            if failure.client_touched || (!failure.repeatable && !failure.other_address) {
                assert_eq!(next, Next::GiveUp, "{failure:?}");
            }
            if next == Next::OtherAddress {
                assert!(failure.other_address, "{failure:?}");
            }
            if next == Next::SameSide {
                assert!(failure.kept_connection_died && !failure.tried_again, "{failure:?}");
            }
            if next == Next::Fallback {
                assert!(failure.may_fall_back, "{failure:?}");
            }
        }
    }

    #[test]
    fn only_bodyless_reads_are_repeatable() {
        use RequestKind::{Read, Unmatched, Upgrade, Write};
        assert!(is_repeatable(Read, &Method::GET, true));
        assert!(is_repeatable(Unmatched, &Method::HEAD, true));
        assert!(!is_repeatable(Read, &Method::GET, false));
        assert!(!is_repeatable(Write, &Method::GET, true));
        assert!(!is_repeatable(Upgrade, &Method::GET, true));
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS] {
            assert!(!is_repeatable(Unmatched, &method, true), "{method}");
        }
    }
}
