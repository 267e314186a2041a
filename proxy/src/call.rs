//! One request on its way.
//!
//! Owns what the steps of a life hand to each other. It exists because pingora calls the steps apart and some of
//! them again on a retry. What must stay true: `route` is set once and never changed; what may change between tries
//! is in `attempt`.

use crate::fence::Fence;
use crate::gate::OnItsWay;
use crate::metric::{self, Cause, Gauge, Meter};
use crate::pin::Pin;
use crate::tee::Capture;
use banyan_domain::{ContextName, Decision, RequestKind, Side};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// One request on its way.
pub(crate) struct Call {
    pub(crate) started: Instant,
    /// Counted until the connection is done with the request.
    pub(crate) on_the_way: OnTheWay,
    /// Whether it asks for a tunnel (WebSocket).
    pub(crate) tunnel: bool,
    /// Where it goes; nothing when it was refused.
    pub(crate) route: Option<Route>,
    /// The context for whose cutover it was held, when it was not let through.
    pub(crate) held_for: Option<ContextName>,
    pub(crate) attempt: Attempt,
    pub(crate) address: Option<IpAddr>,
    /// Proxies of this kind it went through, this one included.
    pub(crate) hops: u8,
    /// Path and query when the target came in absolute form.
    pub(crate) rewritten: Option<Box<[u8]>>,
    pub(crate) capture: Capture,
    /// Headers as the side got them, kept only for a comparison.
    pub(crate) sent_headers: Vec<(String, Vec<u8>)>,
    /// Set while a write is on its way: counted for its context.
    pub(crate) write: Option<OnItsWay>,
    /// Set while a write is on its way and its caller is known.
    pub(crate) pin: Option<Pin>,
}

/// Where a request goes, decided once.
pub(crate) struct Route {
    pub(crate) decision: Decision,
    pub(crate) meter: Arc<Meter>,
    /// Whether legacy may answer if the new side cannot.
    pub(crate) fallback: bool,
}

/// What happened so far.
#[expect(clippy::struct_excessive_bools, reason = "four independent facts of one request")]
pub(crate) struct Attempt {
    /// The side that is asked now.
    pub(crate) side: Side,
    /// Whether a dead kept connection was already the reason for another try.
    pub(crate) tried_again: bool,
    /// Whether a refused connection was already the reason for trying another address.
    pub(crate) tried_elsewhere: bool,
    /// Why legacy was asked instead of new, if it was.
    pub(crate) fell_back: Option<Cause>,
    /// How far it is with fences.
    pub(crate) fence: Fence,
    /// Whether a byte of the request may have been sent in any try.
    pub(crate) sent: bool,
    /// Whether the connection became a tunnel.
    pub(crate) upgraded: bool,
}

/// A thing on its way, counted until it is dropped.
pub(crate) struct OnTheWay {
    counter: Arc<AtomicU64>,
    gauge: Gauge,
}

impl OnTheWay {
    pub(crate) fn new(counter: &Arc<AtomicU64>, gauge: Gauge) -> Self {
        counter.fetch_add(1, Ordering::AcqRel);
        metric::on_the_way(gauge, 1);
        Self { counter: counter.clone(), gauge }
    }
}

impl Drop for OnTheWay {
    fn drop(&mut self) {
        self.counter.fetch_sub(1, Ordering::AcqRel);
        metric::on_the_way(self.gauge, -1);
    }
}

impl Call {
    pub(crate) fn new(on_the_way: OnTheWay) -> Self {
        Self {
            started: Instant::now(),
            on_the_way,
            tunnel: false,
            route: None,
            held_for: None,
            attempt: Attempt {
                side: Side::Legacy,
                tried_again: false,
                tried_elsewhere: false,
                fell_back: None,
                fence: Fence::Open,
                sent: false,
                upgraded: false,
            },
            address: None,
            hops: 0,
            rewritten: None,
            capture: Capture::Off,
            sent_headers: Vec::new(),
            write: None,
            pin: None,
        }
    }

    pub(crate) fn kind(&self) -> RequestKind {
        self.route.as_ref().map_or(RequestKind::Unmatched, |route| route.decision.kind)
    }

    /// The context it belongs to, also when it was held and refused.
    pub(crate) fn context(&self) -> Option<&ContextName> {
        let decided = self.route.as_ref().and_then(|route| route.decision.context.as_ref());
        decided.or(self.held_for.as_ref())
    }

    /// Whether legacy may be asked instead now.
    pub(crate) fn may_fall_back(&self) -> bool {
        self.route.as_ref().is_some_and(|route| route.fallback)
            && self.attempt.side == Side::New
            && self.attempt.fell_back.is_none()
    }

    /// Turns to legacy.
    pub(crate) fn fall_back(&mut self, cause: Cause) {
        if let Some(route) = &self.route {
            route.meter.fell_back(cause);
        }
        self.attempt.side = Side::Legacy;
        self.attempt.fell_back = Some(cause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_request_that_was_refused_still_names_its_context() {
        let mut call = Call::new(OnTheWay::new(&Arc::default(), Gauge::Requests));
        assert_eq!(call.context(), None);
        let messages = ContextName::new("messages").unwrap();
        call.held_for = Some(messages.clone());
        assert_eq!(call.context(), Some(&messages));
    }
}
