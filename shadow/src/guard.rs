//! The limits on what is asked of the sides.
//!
//! Owns, per side (and per context on the new side): how much shadow traffic it gets ([`crate::capacity`]), and the pause
//! after failures ([`crate::backoff`]). It exists so that shadow reads are never the load that brings a side down, the
//! monolith no more than a new service. What must stay true: nothing asks a side but through here; a try that is dropped
//! half-way gives its place back; nobody waits for a place longer than a bound.

use crate::backoff::{Backoff, BackoffConfig, Ticket};
use crate::capacity::{Capacity, CapacityConfig, Purpose, Refused, Sign, retry_after_ms};
use crate::clock::{Clock, Dice};
use crate::{Answer, Ask, AskError, MirrorRequest, event, metric};
use banyan_domain::{ContextName, EndpointName, Side};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Longest wait for a place, in ms ..
const PLACE_WAIT_MS: u64 = 2_000;
/// .. and that of a re-read that decides about a mismatch: half of a proof is worth nothing.
const REREAD_WAIT_MS: u64 = 10_000;
/// How often a waiting re-read asks for its turn, in ms.
const TURN_MS: u64 = 25;

/// Limits of the shadow traffic to all sides.
#[derive(Debug, Clone, Default)]
pub struct SideLimits {
    /// To the monolith, over all contexts: when it is the other side, and when it is read again.
    pub legacy: CapacityConfig,
    /// To the new side of a context that has no limits of its own.
    pub new: CapacityConfig,
    /// To the new side of single contexts.
    pub contexts: BTreeMap<ContextName, CapacityConfig>,
}

/// A side that is asked: legacy is one, each context has its own new one.
type Target = (Side, Option<ContextName>);

/// One request to a side.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) context: &'a ContextName,
    pub(crate) endpoint: &'a EndpointName,
    pub(crate) side: Side,
    pub(crate) request: &'a MirrorRequest,
    pub(crate) purpose: Purpose,
}

/// Limits and back-off around [`Ask`].
pub(crate) struct Guard {
    ask: Arc<dyn Ask>,
    clock: Arc<dyn Clock>,
    dice: Arc<Dice>,
    backoff: BackoffConfig,
    limits: SideLimits,
    targets: Mutex<BTreeMap<Target, Arc<Gate>>>,
}

struct Gate {
    side: Side,
    /// The new side's context; empty for legacy.
    context: String,
    places: Semaphore,
    state: Mutex<State>,
}

struct State {
    backoff: Backoff,
    capacity: Capacity,
}

/// A try on its way; gives back its ticket and its place when dropped before a result.
struct Try<'g> {
    gate: &'g Gate,
    ticket: Option<Ticket>,
}

impl Guard {
    pub(crate) fn new(
        ask: Arc<dyn Ask>,
        clock: Arc<dyn Clock>,
        dice: Arc<Dice>,
        backoff: BackoffConfig,
        limits: SideLimits,
    ) -> Self {
        Self { ask, clock, dice, backoff, limits, targets: Mutex::new(BTreeMap::new()) }
    }

    /// Asks a side; refuses at once what is over its limits or while it is left alone, and waits a little for a place.
    pub(crate) async fn ask(&self, call: Call<'_>) -> Result<Answer, AskError> {
        let gate = self.gate(call.context, call.side);
        let _place = self.place(&gate, wait_ms(call.purpose)).await?;
        let this = self.admitted(&gate, call.purpose).await?;
        let asked_ms = self.clock.now_ms();
        let result = self.ask.ask(call.context, call.side, call.request).await;
        self.settle(this, call.endpoint, asked_ms, &result);
        result
    }

    fn gate(&self, context: &ContextName, side: Side) -> Arc<Gate> {
        let target = match side {
            Side::Legacy => (side, None),
            Side::New => (side, Some(context.clone())),
        };
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let limits = match side {
                Side::Legacy => self.limits.legacy,
                Side::New => self.limits.contexts.get(context).copied().unwrap_or(self.limits.new),
            };
            Arc::new(Gate::new(side, context, limits))
        };
        targets.entry(target).or_insert_with(new).clone()
    }

    async fn place<'g>(
        &self,
        gate: &'g Gate,
        wait_ms: u64,
    ) -> Result<SemaphorePermit<'g>, AskError> {
        if let Ok(place) = gate.places.try_acquire() {
            return Ok(place);
        }
        tokio::select! {
            place = gate.places.acquire() => place.map_err(|_| AskError::Resting),
            () = self.clock.sleep(wait_ms) => Err(AskError::OverCapacity),
        }
    }

    /// A re-read that decides about a mismatch waits for its turn; all else is refused at once.
    async fn admitted<'g>(&self, gate: &'g Gate, purpose: Purpose) -> Result<Try<'g>, AskError> {
        let until_ms = self.clock.now_ms().saturating_add(wait_ms(purpose));
        loop {
            match self.admit(gate, purpose) {
                Err(AskError::OverCapacity | AskError::BackingOff)
                    if purpose == Purpose::Reread && self.clock.now_ms() < until_ms =>
                {
                    self.clock.sleep(TURN_MS).await;
                }
                admitted => return admitted,
            }
        }
    }

    fn admit<'g>(&self, gate: &'g Gate, purpose: Purpose) -> Result<Try<'g>, AskError> {
        let now_ms = self.clock.now_ms();
        let mut state = gate.state();
        let ticket = state.backoff.admit(now_ms).ok_or(AskError::Resting)?;
        let admitted = state.capacity.admit(now_ms, purpose);
        Self::tell(gate, &mut state, now_ms);
        match admitted {
            Ok(()) => Ok(Try { gate, ticket: Some(ticket) }),
            Err(refused) => {
                state.backoff.abandoned(ticket);
                Err(match refused {
                    Refused::OverCapacity => AskError::OverCapacity,
                    Refused::BackingOff => AskError::BackingOff,
                })
            }
        }
    }

    fn settle(
        &self,
        mut this: Try<'_>,
        endpoint: &EndpointName,
        asked_ms: u64,
        result: &Result<Answer, AskError>,
    ) {
        let Some(ticket) = this.ticket.take() else { return };
        let now_ms = self.clock.now_ms();
        let mut state = this.gate.state();
        match result {
            Ok(_) | Err(AskError::TooLarge) => state.backoff.succeeded(ticket),
            Err(AskError::Unreachable | AskError::Timeout) => {
                let pause = |ms| self.dice.jitter(ms);
                state.backoff.failed(ticket, now_ms, &self.backoff, pause);
            }
            Err(
                AskError::NoTarget
                | AskError::InexactTarget
                | AskError::Resting
                | AskError::OverCapacity
                | AskError::BackingOff,
            ) => state.backoff.abandoned(ticket),
        }
        match sign(result, now_ms.saturating_sub(asked_ms)) {
            Some(sign) => state.capacity.answered(now_ms, endpoint, sign),
            None => state.capacity.abandoned(),
        }
        Self::tell(this.gate, &mut state, now_ms);
        drop(state);
        if let Err(error) = result {
            event::side_failed(this.gate.side, *error);
        }
    }

    /// Tells log and metrics when a side gets less, nothing, or all again.
    fn tell(gate: &Gate, state: &mut State, now_ms: u64) {
        let share = state.capacity.share();
        metric::capacity_share(gate.side, &gate.context, share);
        if let Some(standing) = state.capacity.change(now_ms) {
            event::capacity_changed(gate.side, &gate.context, standing, share);
        }
    }
}

/// How long a request may wait for its turn, in ms.
const fn wait_ms(purpose: Purpose) -> u64 {
    match purpose {
        Purpose::Reread => REREAD_WAIT_MS,
        Purpose::Mirror | Purpose::Look => PLACE_WAIT_MS,
    }
}

/// What a result says about the load of the side; nothing when it was not asked.
fn sign(result: &Result<Answer, AskError>, took_ms: u64) -> Option<Sign> {
    match result {
        Ok(answer) if matches!(answer.status, 429 | 503) => {
            Some(Sign::Overloaded(answer.obs().header("retry-after").and_then(retry_after_ms)))
        }
        Ok(answer) if answer.status >= 500 => Some(Sign::Errored),
        Ok(_) | Err(AskError::TooLarge) => Some(Sign::Fine(took_ms)),
        Err(AskError::Unreachable | AskError::Timeout) => Some(Sign::Unreachable),
        Err(
            AskError::NoTarget
            | AskError::InexactTarget
            | AskError::Resting
            | AskError::OverCapacity
            | AskError::BackingOff,
        ) => None,
    }
}

impl Gate {
    fn new(side: Side, context: &ContextName, limits: CapacityConfig) -> Self {
        let context = match side {
            Side::Legacy => String::new(),
            Side::New => context.as_str().to_owned(),
        };
        let capacity = Capacity::new(limits);
        let state = Mutex::new(State { backoff: Backoff::default(), capacity });
        Self { side, context, places: Semaphore::new(limits.at_once.max(1)), state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Try<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let mut state = self.gate.state();
            state.backoff.abandoned(ticket);
            state.capacity.abandoned();
        }
    }
}
