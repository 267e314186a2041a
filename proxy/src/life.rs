//! The life of a request, as pingora calls its steps.
//!
//! Owns steps 5 to 9 (forward, tee, answer, hand over, count); steps 1 to 3 are in `admit.rs`, step 4 in `hold.rs`. What
//! must stay true: nothing is decided here that `admit` decided; but for a cutover, no step waits for anything but the
//! client and the side that answers; `logging` is the only exit and everything is counted there.

use crate::admit::{self, HOPS_HEADER, Pass};
use crate::call::{Call, OnTheWay};
use crate::failure::Stage;
use crate::fence::{self, Fence};
use crate::force::SIDE_HEADER;
use crate::intake::{AddressText, HeaderView};
use crate::metric::{Cause, Gauge};
use crate::plane::Plane;
use crate::tee::{Capture, owned_headers};
use crate::upstream::Patience;
use crate::{access, draw, failure, finish};
use banyan_domain::RequestKind;
use banyan_domain::sticky::Headers;
use banyan_shadow::SkipReason;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use std::sync::Arc;
use std::time::Duration;

/// Header of an answer that legacy gave because the new side could not.
const FALLBACK_HEADER: &str = "x-banyan-fallback";
static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static SIDE: HeaderName = HeaderName::from_static(SIDE_HEADER);
static HOPS: HeaderName = HeaderName::from_static(HOPS_HEADER);
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Pingora's callbacks over the shared parts.
pub(crate) struct Life(pub(crate) Arc<Plane>);

#[async_trait::async_trait]
impl ProxyHttp for Life {
    /// Boxed: pingora moves it from future to future, and it is large.
    type CTX = Box<Call>;

    fn new_ctx(&self) -> Self::CTX {
        Box::new(Call::new(OnTheWay::new(&self.0.counts.requests, Gauge::Requests)))
    }

    /// No module: compression is the sides' business, and an unused module costs time on each request.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    /// Steps 1 to 4: check, match, decide, hold.
    async fn request_filter(&self, session: &mut Session, call: &mut Self::CTX) -> Result<bool> {
        // Step 4, hold, comes before any body is read: what the client sends meanwhile waits in its connection.
        let admitted = match self.0.admit(session, call) {
            Ok(Pass::Go) => Ok(()),
            Ok(Pass::Wait(gate)) => self.0.hold(session, call, &gate).await,
            Err(refusal) => Err(refusal),
        };
        match admitted {
            Ok(()) => {
                self.0.prepare(session, call);
                Ok(false)
            }
            Err(refusal) => {
                admit::send(&refusal, session).await?;
                Ok(true)
            }
        }
    }

    /// Step 5, forward: where to. Called again on a retry, so it only reads what was decided.
    async fn upstream_peer(
        &self,
        session: &mut Session,
        call: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>> {
        if call.attempt.fence == Fence::Waits {
            // The one exception: the side says that the first try had no effect.
            self.0.wait_for_owner(session, call).await?;
        }
        if let Some(peer) = self.peer(call) {
            return Ok(peer);
        }
        if call.may_fall_back() {
            call.fall_back(Cause::Unconfigured);
            if let Some(peer) = self.peer(call) {
                return Ok(peer);
            }
        }
        let mut error = Error::explain(ErrorType::ConnectNoRoute, "no address for the side");
        error.as_up();
        Err(error)
    }

    /// Step 5, forward: what the side gets.
    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        head: &mut RequestHeader,
        call: &mut Self::CTX,
    ) -> Result<()> {
        self.edit_request(session, head, call)?;
        if matches!(call.capture, Capture::Planned | Capture::Running(_)) {
            call.sent_headers = owned_headers(&head.headers);
        }
        call.attempt.sent = true;
        Ok(())
    }

    /// Step 6, tee: the head of the answer, before any edit of ours.
    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        call: &mut Self::CTX,
    ) -> Result<()> {
        fence::read(&self.0, head, call)?;
        let status = head.status;
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(());
        }
        if call.may_fall_back() && self.0.config.fallback_statuses.contains(&status.as_u16()) {
            // Nothing went to the client yet; the connection of this answer is given up with its unread body.
            let mut error = Error::new_up(ErrorType::HTTPStatus(status.as_u16()));
            error.set_retry(false);
            return Err(error);
        }
        call.attempt.upgraded = status == StatusCode::SWITCHING_PROTOCOLS;
        if call.write.is_some() && is_whole(&session.req_header().method, head) {
            // Pingora announces no body that does not come, so this is the end that the side has with the write.
            call.write = None;
        }
        if status.is_client_error()
            && let Some(pin) = call.pin.take()
        {
            pin.forget();
        }
        if matches!(status, StatusCode::NOT_MODIFIED | StatusCode::PARTIAL_CONTENT)
            && matches!(call.capture, Capture::Planned | Capture::Running(_))
        {
            call.capture = Capture::Dropped(SkipReason::ConditionalOrRange);
        }
        call.capture.begin(&self.0.budget, head);
        Ok(())
    }

    /// Step 6, tee: the body.
    fn upstream_response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        call: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        if end {
            // The side is done with the write. A client that still sends or reads must not hold up a cutover.
            call.write = None;
        }
        if let Some(chunk) = body {
            call.capture.push(chunk);
        }
        Ok(None)
    }

    /// Step 7, answer: our own headers.
    async fn response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        call: &mut Self::CTX,
    ) -> Result<()> {
        if head.status.is_informational() {
            return Ok(());
        }
        if self.0.config.expose_side {
            head.insert_header(&SIDE, call.attempt.side.as_str())?;
        }
        if call.attempt.fell_back.is_some() {
            head.insert_header(FALLBACK_HEADER, call.attempt.side.as_str())?;
        }
        if let Some(cookie) = self.write_cookie(session, head, call) {
            head.append_header(header::SET_COOKIE, cookie)?;
        }
        Ok(())
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        peer: &HttpPeer,
        call: &mut Self::CTX,
        error: Box<Error>,
    ) -> Box<Error> {
        let context = call.route.as_ref().and_then(|route| route.decision.context.as_ref());
        let target = self.0.upstreams.of(call.attempt.side, context);
        let elsewhere = target.is_some_and(|target| target.avoid(peer));
        failure::after(session, call, error, Stage::Connecting { elsewhere })
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        call: &mut Self::CTX,
        client_reused: bool,
    ) -> Box<Error> {
        failure::after(session, call, error, Stage::Connected { kept: client_reused })
    }

    /// Step 7, answer: when no side gave one.
    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        call: &mut Self::CTX,
    ) -> FailToProxy {
        let lost = || FailToProxy { error_code: 0, can_reuse_downstream: false };
        let begun = session.response_written().is_some_and(|head| {
            !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS
        });
        let answer = failure::answer(error, call, &self.0.table.load());
        let Some(answer) = answer.filter(|_| !begun) else { return lost() };
        match answer.send(session).await {
            Ok(()) => {
                FailToProxy { error_code: answer.status.as_u16(), can_reuse_downstream: false }
            }
            Err(_) => lost(),
        }
    }

    /// Steps 8 and 9: hand over, count.
    async fn logging(&self, session: &mut Session, error: Option<&Error>, call: &mut Self::CTX) {
        let status = session.response_written().map_or(0, |head| head.status.as_u16());
        finish::settle_write(call);
        finish::hand_over(self.0.handoff.as_deref(), session, error, call);
        finish::note_undeclared(self.0.handoff.as_deref(), session, error, call);
        finish::count(status, error, call);
        access::write(self.0.config.access_log, draw::percent(), session, call, status);
    }

    /// Our own line (see `count`) says it with fields.
    fn suppress_error_log(&self, _: &Session, _: &Self::CTX, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Self::CTX,
        _: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

impl Life {
    fn peer(&self, call: &Call) -> Option<Box<HttpPeer>> {
        let route = call.route.as_ref()?;
        let target = self.0.upstreams.of(call.attempt.side, route.decision.context.as_ref())?;
        let patience = if call.may_fall_back() { Patience::Short } else { Patience::Long };
        if call.tunnel { target.tunnel_peer() } else { target.peer(patience) }
    }

    fn edit_request(&self, session: &Session, head: &mut RequestHeader, call: &Call) -> Result<()> {
        if head.headers.contains_key(&SIDE) {
            drop(head.remove_header(&SIDE));
        }
        if let Some(origin) = &call.rewritten {
            head.set_raw_path(origin)?;
        }
        let host = head.headers.get(header::HOST).cloned();
        if let Some(host) = host.filter(|_| !head.headers.contains_key(&FORWARDED_HOST)) {
            head.insert_header(&FORWARDED_HOST, host)?;
        }
        if !head.headers.contains_key(&FORWARDED_PROTO) {
            let tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
            let scheme = HeaderValue::from_static(if tls { "https" } else { "http" });
            head.insert_header(&FORWARDED_PROTO, scheme)?;
        }
        let peer = session.client_addr().and_then(|address| address.as_inet());
        if let Some(forwarded) = forwarded_for(head, peer.map(std::net::SocketAddr::ip)) {
            head.insert_header(&FORWARDED_FOR, forwarded)?;
        }
        head.insert_header(&HOPS, hops(call.hops))?;
        let route = call.route.as_ref();
        let context = route.and_then(|route| route.decision.context.as_ref());
        let target = self.0.upstreams.of(call.attempt.side, context);
        if let Some(host) = target.and_then(|target| target.host_header.clone()) {
            head.insert_header(header::HOST, host)?;
        }
        Ok(())
    }

    /// The read-your-writes cookie, for clients that use cookies, after a write that may have changed something.
    fn write_cookie(
        &self,
        session: &Session,
        head: &ResponseHeader,
        call: &Call,
    ) -> Option<String> {
        if call.kind() != RequestKind::Write || head.status.is_client_error() {
            return None;
        }
        let context = call.route.as_ref()?.decision.context.as_ref()?;
        let headers = HeaderView(&session.req_header().headers);
        self.0.ryw.cookie(context, Some(headers.get("cookie")?))
    }
}

/// Whether an answer is over with its head: it has no body (RFC 9112, 6.3).
fn is_whole(asked: &Method, head: &ResponseHeader) -> bool {
    let bodyless = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let length = head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let empty = length.and_then(|text| text.trim().parse::<u64>().ok()) == Some(0)
        && !head.headers.contains_key(header::TRANSFER_ENCODING);
    *asked == Method::HEAD || bodyless || empty
}

/// The hop count as a header value, without an allocation for the counts that are let through.
fn hops(count: u8) -> HeaderValue {
    match count {
        0 | 1 => HeaderValue::from_static("1"),
        2 => HeaderValue::from_static("2"),
        _ => HeaderValue::from_static("3"),
    }
}

/// The next `X-Forwarded-For`: what was there, and the peer.
fn forwarded_for(head: &RequestHeader, peer: Option<std::net::IpAddr>) -> Option<HeaderValue> {
    let peer = AddressText::new(Some(peer?.to_canonical()));
    let mut earlier = head.headers.get_all(&FORWARDED_FOR).iter().peekable();
    if earlier.peek().is_none() {
        return HeaderValue::from_str(peer.as_str()).ok();
    }
    let parts: Vec<&[u8]> =
        earlier.map(HeaderValue::as_bytes).chain([peer.as_str().as_bytes()]).collect();
    HeaderValue::from_bytes(&parts.join(&b", "[..])).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_a_body_is_over_with_its_head() {
        let whole = |method: Method, status: u16, headers: &[(&'static str, &str)]| {
            let mut head = ResponseHeader::build(status, None).unwrap();
            for (name, value) in headers {
                head.insert_header(*name, (*value).to_owned()).unwrap();
            }
            is_whole(&method, &head)
        };
        assert!(whole(Method::DELETE, 204, &[]));
        assert!(whole(Method::PUT, 304, &[("content-length", "7")]));
        assert!(whole(Method::POST, 201, &[("content-length", "0")]));
        assert!(whole(Method::HEAD, 200, &[("content-length", "7")]));
        assert!(!whole(Method::POST, 201, &[("content-length", "7")]));
        assert!(!whole(Method::POST, 201, &[]), "until the side closes");
        let chunked = [("content-length", "0"), ("transfer-encoding", "chunked")];
        assert!(!whole(Method::POST, 200, &chunked));
    }
}
