//! Step 4 of a request's life: hold a write while its context is cut over.
//!
//! Owns the wait. It exists so that a switch of the owner costs a client some milliseconds and no error. What must stay
//! true: nothing of a held request has been read but its head, and no side has seen it; a wait ends by release, by its
//! time, by the client or by the end of the proxy, whatever else fails; who waits is decided anew by the table
//! that releases it, before anybody who came later.

use crate::admit::{Pass, Queueing, Refusal};
use crate::answer::{Answer, Fault};
use crate::call::Call;
use crate::gate::{Gate, Place};
use crate::metric::held::{self, Outcome};
use crate::plane::Plane;
use banyan_domain::{Compiled, Cutover};
use http::StatusCode;
use pingora::protocols::http::ServerSession as Downstream;
use pingora::proxy::Session;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until};

/// How often the first of a queue looks at the table.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How often somebody who is not the first looks whether the client is still there.
const CLIENT_EVERY: Duration = Duration::from_millis(100);
/// What a refused client is told to wait, in s.
pub(crate) const RETRY_AFTER_S: u8 = 1;

/// One wait in a queue.
pub(crate) struct Wait<'a> {
    plane: &'a Plane,
    until: Instant,
    first_look: bool,
}

impl Plane {
    /// Holds a request until the table lets it go; then it is decided anew and on its way.
    pub(crate) async fn hold(
        &self,
        session: &mut Session,
        call: &mut Call,
        gate: &Arc<Gate>,
    ) -> Result<(), Refusal> {
        let context = gate.context().as_str();
        let since = Instant::now();
        let Some(place) = gate.held.join(self.config.hold.requests_max) else {
            held::ended(context, Outcome::Full, None);
            return Err(self.refuse(call, gate, Outcome::Full));
        };
        held::began(context);
        if gate.held.len() == 1 {
            tracing::info!(context, "writes are held");
        }
        let ended = self.wait(session, call, gate, &place).await;
        let outcome = match &ended {
            Ok(()) => Outcome::Released,
            Err(Ended::Given(outcome)) => *outcome,
            Err(Ended::Refused(_)) => Outcome::Refused,
        };
        held::ended(context, outcome, Some(since.elapsed().as_secs_f64()));
        ended.map_err(|ended| match ended {
            Ended::Refused(refusal) => refusal,
            Ended::Given(outcome) => self.refuse(call, gate, outcome),
        })
    }

    async fn wait(
        &self,
        session: &mut Session,
        call: &mut Call,
        gate: &Gate,
        place: &Place<'_>,
    ) -> Result<(), Ended> {
        let mut wait = Wait::new(self);
        let _turn = wait.for_turn(session, place).await.map_err(Ended::Given)?;
        loop {
            wait.for_look(session).await.map_err(Ended::Given)?;
            if self.holds(&self.table.load(), gate) {
                continue;
            }
            match self.route(session, call, Queueing::IsFirst).map_err(Ended::Refused)? {
                Pass::Go => return Ok(()),
                // Another cutover has begun in between.
                Pass::Wait(_) => {}
            }
        }
    }

    /// Whether the writes of a gate must wait by this table.
    fn holds(&self, table: &Compiled, gate: &Gate) -> bool {
        let Some(context) = table.context(gate.context()) else { return false };
        context.state.holding || (context.state.armed.is_some() && self.is_cut_off())
    }

    /// Whether what a decision says of a cutover makes the request wait.
    pub(crate) fn must_wait(&self, cutover: Cutover) -> bool {
        match cutover {
            Cutover::None => false,
            Cutover::Armed(_) => self.is_cut_off(),
            Cutover::Holding(_) => true,
        }
    }

    /// Whether the control store has been away for longer than this proxy may go on with an armed context.
    pub(crate) fn is_cut_off(&self) -> bool {
        (self.silence)() > Duration::from_millis(self.config.hold.lease_ms)
    }

    /// The answer to a write that was not let through. No side has seen it.
    fn refuse(&self, call: &mut Call, gate: &Gate, outcome: Outcome) -> Refusal {
        let context = gate.context().as_str();
        // The others can be as many as the clients want; they are counted.
        if outcome == Outcome::Timeout {
            tracing::warn!(context, "a held write was refused: its time was over");
        }
        call.route = None;
        call.held_for = Some(gate.context().clone());
        Refusal {
            answer: unavailable(&self.why(context, outcome)),
            counted_as: outcome.counted_as(),
        }
    }

    pub(crate) fn why(&self, context: &str, outcome: Outcome) -> String {
        let hold = self.config.hold;
        match outcome {
            Outcome::Full => {
                format!("{} writes wait for the cutover of `{context}` already", hold.requests_max)
            }
            Outcome::Timeout if self.is_cut_off() => {
                format!("`{context}` is being cut over and the proxy has lost its control store")
            }
            Outcome::Timeout => {
                format!("`{context}` is being cut over; the write waited {} ms", hold.wait_max_ms)
            }
            Outcome::Refused => {
                format!("`{context}` is being cut over and the proxy is shutting down")
            }
            Outcome::Left => "the client closed its connection".to_owned(),
            Outcome::Released => String::new(),
        }
    }
}

/// How a wait ended without release.
enum Ended {
    Given(Outcome),
    /// The request, decided anew, is refused.
    Refused(Refusal),
}

impl<'a> Wait<'a> {
    pub(crate) fn new(plane: &'a Plane) -> Self {
        let until = Instant::now() + Duration::from_millis(plane.config.hold.wait_max_ms);
        Self { plane, until, first_look: true }
    }

    /// Waits to be the first.
    pub(crate) async fn for_turn<'p>(
        &self,
        session: &mut Session,
        place: &'p Place<'_>,
    ) -> Result<SemaphorePermit<'p>, Outcome> {
        tokio::select! {
            biased;
            outcome = self.without_release(session) => Err(outcome),
            turn = place.turn() => turn.map_err(|_| Outcome::Refused),
        }
    }

    /// Waits until it is time to look at the table again; the first look is at once.
    pub(crate) async fn for_look(&mut self, session: &mut Session) -> Result<(), Outcome> {
        let at_once = std::mem::take(&mut self.first_look);
        // Not a sleep of zero, which takes up to a millisecond: with it, a thousand who wait would take a second.
        let pause = async {
            if !at_once {
                sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            biased;
            outcome = self.without_release(session) => Err(outcome),
            () = pause => Ok(()),
        }
    }

    /// Ends when the request must not wait any longer.
    async fn without_release(&self, session: &mut Session) -> Outcome {
        tokio::select! {
            biased;
            () = self.plane.closing.cancelled() => Outcome::Refused,
            () = gone(session.as_downstream_mut()) => Outcome::Left,
            () = sleep_until(self.until) => Outcome::Timeout,
        }
    }
}

/// Ends when the client has left. Nothing may be read of a held request, so for HTTP/1 the state of the connection is
/// all there is; a client that only closed its own direction counts as gone, and is told 503.
async fn gone(client: &mut Downstream) {
    if let Some(closed) = client.watch_h2_stream_close() {
        drop(closed.await);
        return;
    }
    while !has_closed(client) {
        sleep(CLIENT_EVERY).await;
    }
}

/// States of a connection whose other end has closed or reset it, as the kernel numbers them.
const CLOSED: [u8; 3] = [7, 8, 9];

fn has_closed(client: &Downstream) -> bool {
    let socket = client.digest().and_then(|digest| digest.socket_digest.as_ref());
    let state = socket.and_then(|socket| socket.tcp_info()).map(|info| info.tcpi_state);
    state.is_some_and(|state| CLOSED.contains(&state))
}

/// 503 with `Retry-After`, for a write that provably had no effect.
pub(crate) fn unavailable(detail: &str) -> Answer {
    Answer {
        status: StatusCode::SERVICE_UNAVAILABLE,
        detail: detail.to_owned(),
        fault: Fault::Proxy,
        retry_safe: true,
        retry_after_s: Some(RETRY_AFTER_S),
    }
}
