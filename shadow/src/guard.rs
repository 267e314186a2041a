//! The limits on what is asked of the sides.
//!
//! Owns, per side (and per context on the new side): how many requests at once, and the pause after failures. It exists
//! so that shadow reads are never the load that brings a side down. What must stay true: nothing asks a side but through
//! here; a try that is dropped half-way gives its place back.

use crate::backoff::{Backoff, BackoffConfig, Ticket};
use crate::clock::{Clock, Dice};
use crate::{Answer, Ask, AskError, MirrorRequest, event};
use async_trait::async_trait;
use banyan_domain::{ContextName, Side};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// A side that is asked: legacy is one, each context has its own new one.
type Target = (Side, Option<ContextName>);

/// Limits and back-off around [`Ask`].
pub(crate) struct Guard {
    ask: Arc<dyn Ask>,
    clock: Arc<dyn Clock>,
    dice: Arc<Dice>,
    backoff: BackoffConfig,
    at_once: usize,
    targets: Mutex<BTreeMap<Target, Arc<Gate>>>,
}

struct Gate {
    places: Semaphore,
    backoff: Mutex<Backoff>,
}

/// A try on its way; abandons its ticket when dropped before a result.
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
        at_once: usize,
    ) -> Self {
        let targets = Mutex::new(BTreeMap::new());
        Self { ask, clock, dice, backoff, at_once: at_once.max(1), targets }
    }

    fn gate(&self, context: &ContextName, side: Side) -> Arc<Gate> {
        let target = match side {
            Side::Legacy => (side, None),
            Side::New => (side, Some(context.clone())),
        };
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        targets.entry(target).or_insert_with(|| Arc::new(Gate::new(self.at_once))).clone()
    }

    fn settle(&self, mut this: Try<'_>, side: Side, result: &Result<Answer, AskError>) {
        let Some(ticket) = this.ticket.take() else { return };
        let mut backoff = this.gate.backoff();
        match result {
            Ok(_) | Err(AskError::TooLarge) => backoff.succeeded(ticket),
            Err(error @ (AskError::Unreachable | AskError::Timeout)) => {
                let pause = |ms| self.dice.jitter(ms);
                backoff.failed(ticket, self.clock.now_ms(), &self.backoff, pause);
                drop(backoff);
                event::side_failed(side, *error);
            }
            Err(AskError::NoTarget | AskError::InexactTarget | AskError::Resting) => {
                backoff.abandoned(ticket);
            }
        }
    }
}

#[async_trait]
impl Ask for Guard {
    /// Waits for a place, then asks; a side that is being left alone is refused at once.
    async fn ask(
        &self,
        context: &ContextName,
        side: Side,
        request: &MirrorRequest,
    ) -> Result<Answer, AskError> {
        let gate = self.gate(context, side);
        let Ok(_place) = gate.places.acquire().await else { return Err(AskError::Resting) };
        let ticket = gate.backoff().admit(self.clock.now_ms()).ok_or(AskError::Resting)?;
        let this = Try { gate: &gate, ticket: Some(ticket) };
        let result = self.ask.ask(context, side, request).await;
        self.settle(this, side, &result);
        result
    }
}

impl Gate {
    fn new(at_once: usize) -> Self {
        Self { places: Semaphore::new(at_once), backoff: Mutex::new(Backoff::default()) }
    }

    fn backoff(&self) -> std::sync::MutexGuard<'_, Backoff> {
        self.backoff.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Try<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.gate.backoff().abandoned(ticket);
        }
    }
}
