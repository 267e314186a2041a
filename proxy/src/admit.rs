//! Steps 1 to 3 of a request's life: check it, match it, decide it.
//!
//! Owns everything between the head and the decision. It exists apart from pingora's callbacks so that it can be read as
//! one sequence. What must stay true: nothing here awaits; whatever is refused is refused before any side sees a byte; a
//! write is counted as on its way before it looks at the table it goes by, and not at all while it waits; what may have to
//! wait, writes and tunnels, goes by a table that is still in force when it is let go.

use crate::answer::{Answer, Fault};
use crate::call::{Call, OnTheWay, Route};
use crate::force::{SIDE_COOKIE, SIDE_HEADER};
use crate::gate::Gate;
use crate::intake::{self, AddressText, HeaderView};
use crate::metric::{self, Gauge};
use crate::plane::Plane;
use crate::ryw::now_ms;
use crate::tee::Capture;
use banyan_domain::compiled::{Located, MethodReading};
use banyan_domain::decide::Refused;
use banyan_domain::sticky::{self, Headers};
use banyan_domain::target::Oddity;
use banyan_domain::{
    Compiled, ContextName, Decision, Mirror, Outcome, Reason, RequestHead, RequestKind, Side,
    StickyKey, decide,
};
use banyan_shadow::SkipReason;
use http::{HeaderMap, HeaderName, StatusCode};
use pingora::proxy::Session;
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

/// Header that counts proxies of this kind on the way, so that a loop ends.
pub(crate) const HOPS_HEADER: &str = "x-banyan-hops";
static HOPS: HeaderName = HeaderName::from_static(HOPS_HEADER);
/// A request that comes with this many hops is refused.
const HOPS_MAX: u8 = 3;

/// A refusal with the word it is counted under.
pub(crate) struct Refusal {
    pub(crate) answer: Answer,
    pub(crate) counted_as: &'static str,
}

/// Whether a decided request may go on.
pub(crate) enum Pass {
    /// It is on its way.
    Go,
    /// It must wait at the gate of its context.
    Wait(Arc<Gate>),
}

/// Whether a request that is decided has waited already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queueing {
    /// It has just come: those who wait go first.
    HasCome,
    /// It is the first of a queue.
    IsFirst,
}

impl Plane {
    /// Checks and decides a request; afterwards `call.route` says where it goes.
    pub(crate) fn admit(&self, session: &mut Session, call: &mut Call) -> Result<Pass, Refusal> {
        self.limit_client(session);
        self.check_head(session, call)?;
        intake::join_cookies(session.req_header_mut());
        self.route(session, call, Queueing::HasCome)
    }

    fn limit_client(&self, session: &mut Session) {
        let limit = &self.config.limit;
        session.set_read_timeout(Some(Duration::from_millis(limit.client_read_timeout_ms)));
        session.set_write_timeout(Some(Duration::from_millis(limit.client_write_timeout_ms)));
        session.set_total_drain_timeout(Some(Duration::from_millis(limit.client_read_timeout_ms)));
        if !self.ready.is_ready() {
            session.set_keepalive(None);
        } else if session.get_keepalive().is_some() {
            session.set_keepalive(Some(limit.keepalive_s));
        }
    }

    fn check_head(&self, session: &Session, call: &mut Call) -> Result<(), Refusal> {
        let headers = &session.req_header().headers;
        let limit = self.config.limit.header_bytes_max;
        if intake::header_bytes(headers) > limit {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return Err(refuse(status, "headers", format!("more than {limit} bytes of headers")));
        }
        let came_with = headers.get(&HOPS).map(|value| {
            // An unreadable count is as bad as one that is too high.
            value.to_str().ok().and_then(|text| text.parse::<u8>().ok()).unwrap_or(HOPS_MAX)
        });
        call.hops = came_with.unwrap_or(0).saturating_add(1);
        if call.hops > HOPS_MAX {
            let detail = "the request came back to the proxy: an upstream points at it";
            let answer = Answer {
                status: StatusCode::LOOP_DETECTED,
                detail: detail.to_owned(),
                fault: Fault::Proxy,
                retry_safe: false,
                retry_after_s: None,
            };
            return Err(Refusal { answer, counted_as: "loop" });
        }
        let peer = session.client_addr().and_then(|a| a.as_inet()).map(std::net::SocketAddr::ip);
        call.address = intake::client_address(peer, headers, &self.config.trusted_proxies);
        Ok(())
    }

    /// Decides a request by the newest table and lets it go, or says where it must wait.
    pub(crate) fn route(
        &self,
        session: &Session,
        call: &mut Call,
        queueing: Queueing,
    ) -> Result<Pass, Refusal> {
        loop {
            let table = self.table.load();
            let route = self.decide(&table, session, call)?;
            let Decision { kind, cutover, side, .. } = route.decision;
            call.attempt.side = side;
            let gate = match kind {
                RequestKind::Write | RequestKind::Upgrade => route.meter.gate().cloned(),
                RequestKind::Read | RequestKind::Unmatched => None,
            };
            let Some(gate) = gate else {
                call.route = Some(route);
                return Ok(Pass::Go);
            };
            let first = queueing == Queueing::IsFirst || gate.held.is_empty();
            if !first || self.must_wait(cutover) {
                call.route = Some(route);
                return Ok(Pass::Wait(gate));
            }
            // A tunnel is not counted: it can stay open for hours, and no cutover waits for it.
            let on_its_way = (kind == RequestKind::Write).then(|| gate.begin());
            // A new table in between: it may hold, and whoever put it in force may have counted already.
            if !Arc::ptr_eq(&table, &self.table.load()) {
                continue;
            }
            if on_its_way.is_some() {
                self.begin_write(&table, &route.decision, call);
                call.write = on_its_way;
            }
            call.route = Some(route);
            return Ok(Pass::Go);
        }
    }

    fn decide(
        &self,
        table: &Arc<Compiled>,
        session: &Session,
        call: &mut Call,
    ) -> Result<Route, Refusal> {
        let request = session.req_header();
        let target = intake::target(&request.method, request.raw_path())
            .map_err(|_| odd(Oddity::NoLeadingSlash))?;
        if target.fragment && is_declared(table, target.path) {
            return Err(odd(Oddity::StrayCharacter));
        }
        let address = AddressText::new(call.address);
        let forced = self.forced(&request.headers, call);
        // Not the decision's kind: a tunnel on an undeclared path is a tunnel, too.
        call.tunnel = session.is_upgrade_req() && intake::asks_for_tunnel(&request.headers);
        let pinned = Cell::new(false);
        let headers = HeaderView(&request.headers);
        let holds = |context: &ContextName, caller: &StickyKey| {
            pinned.set(self.ryw.holds(table, context, caller, headers.get("cookie")));
            pinned.get()
        };
        let head = RequestHead {
            method: request.method.as_str(),
            path: target.path,
            headers: &headers,
            address: address.as_str(),
            upgrade: call.tunnel,
            forced,
            sample: crate::draw::percent(),
        };
        let decision = match decide(table, &head, &holds) {
            Outcome::Route(decision) => decision,
            Outcome::Refuse(refused) => return Err(refused_by(refused)),
        };
        call.rewritten = target.rewritten.map(origin_form);
        let meter = self.library.meter(table, &decision);
        if decision.reason == Reason::ReadYourWrites {
            meter.pinned();
        }
        // A caller that is pinned to the new side must not be answered by legacy, which lags.
        let fallback = decision.fallback
            && !(pinned.get() && owner(table, decision.context.as_ref()) == Side::New);
        Ok(Route { decision, meter, fallback })
    }

    /// The pin begins before the write is forwarded: a read that overtakes it must see it, too.
    fn begin_write(&self, table: &Compiled, decision: &Decision, call: &mut Call) {
        let Some(context) = &decision.context else { return };
        let max_ms = table.context(context).map_or(0, |c| c.spec.read_your_writes_max_ms);
        call.pin = decision.identity.as_ref().map(|who| self.ryw.begin(context, who, max_ms));
    }

    fn forced(&self, headers: &HeaderMap, call: &Call) -> Option<Side> {
        if !self.force.is_possible() {
            return None;
        }
        let view = HeaderView(headers);
        let by_cookie = || sticky::cookie(view.get("cookie")?, SIDE_COOKIE);
        let wish = view.get(SIDE_HEADER).or_else(by_cookie)?;
        self.force.side(wish, call.address, now_ms() / 1_000)
    }

    /// What the decision means for the connection, the copies and the counts.
    pub(crate) fn prepare(&self, session: &mut Session, call: &mut Call) {
        let Some(Route { decision, .. }) = &call.route else { return };
        if decision.kind == RequestKind::Write {
            // A client that leaves does not abort a write on its way.
            session.set_abort_on_close(false);
        }
        if call.tunnel {
            let target = self.upstreams.of(decision.side, decision.context.as_ref());
            session.set_read_timeout(target.map(|target| target.tunnel_idle()));
            call.on_the_way = OnTheWay::new(&self.counts.tunnels, Gauge::Tunnels);
        }
        call.capture = match (decision.mirror, &self.handoff) {
            (Mirror::To(_), Some(_)) if session.is_body_empty() => Capture::Planned,
            (Mirror::To(_), Some(_)) => Capture::Dropped(SkipReason::UnsafeMethod),
            (Mirror::Sampled, Some(_)) => Capture::Dropped(SkipReason::Sampled),
            (Mirror::Pinned, Some(_)) => Capture::Dropped(SkipReason::Pinned),
            (Mirror::Off, _) | (_, None) => Capture::Off,
        };
    }
}

fn is_declared(table: &Compiled, path: &[u8]) -> bool {
    !matches!(table.locate(path, MethodReading::FormPost), Located::Nothing)
}

fn owner(table: &Compiled, context: Option<&ContextName>) -> Side {
    let context = context.and_then(|name| table.context(name));
    context.map_or(Side::Legacy, |context| context.state.owner)
}

/// The target in origin form: an absolute form may leave the path out.
fn origin_form(rest: &[u8]) -> Box<[u8]> {
    if rest.starts_with(b"/") { rest.into() } else { [b"/", rest].concat().into() }
}

fn refuse(status: StatusCode, counted_as: &'static str, detail: impl Into<String>) -> Refusal {
    Refusal { answer: Answer::refusal(status, detail), counted_as }
}

fn odd(why: Oddity) -> Refusal {
    refused_by(Refused::OddTarget(why))
}

fn refused_by(refused: Refused) -> Refusal {
    let counted_as = match refused {
        Refused::OddTarget(why) => why.as_str(),
        Refused::CaseVariant => "case variant",
        Refused::MethodOverride => "method override",
    };
    refuse(StatusCode::BAD_REQUEST, counted_as, refused.to_string())
}

/// Counts a refusal and sends it.
pub(crate) async fn send(refusal: &Refusal, session: &mut Session) -> pingora::Result<()> {
    metric::refused(refusal.counted_as);
    refusal.answer.send(session).await
}
