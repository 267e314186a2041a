//! Pairs of answers that are already at hand, without the queue: the way of a replay.
//!
//! Owns the second entrance to the engine. It exists so that a replay, which itself decides when each side is asked, gets
//! the same comparison, recheck, tally and redaction as live reads. What must stay true: a pair leaves exactly one outcome,
//! and its tag is saved in the same batch as that outcome, so that a replay can go on exactly where it was.

use crate::account::Account;
use crate::config::{Ports, ShadowConfig};
use crate::queue::ShadowHandle;
use crate::recheck::Suspected;
use crate::settle;
use crate::shadow::Shadow;
use crate::worker::{Core, Read, apart, conclude, silent};
use crate::{Answer, Ask, AskError, MirrorRequest, SkipReason};
use banyan_domain::{ContextName, EndpointName, Generation, Side};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The engine without its queue.
pub struct Direct {
    core: Arc<Core>,
    /// Keeps the queue, which nothing goes through, open.
    _handle: ShadowHandle,
}

/// Both sides' answers to one request.
pub struct Pair {
    /// Number of the exchange; comes back in [`crate::TallyBatch::done`].
    pub tag: u64,
    /// The context.
    pub context: ContextName,
    /// The endpoint.
    pub endpoint: EndpointName,
    /// What was asked; asked again when the answers differ.
    pub request: MirrorRequest,
    /// Legacy's answer.
    pub legacy: Answer,
    /// New's answer.
    pub new: Answer,
    /// When, Unix ms.
    pub at_ms: u64,
}

/// A request that got no pair of answers.
pub struct Unasked {
    /// Number of the exchange.
    pub tag: u64,
    /// The endpoint.
    pub endpoint: EndpointName,
    /// When, Unix ms.
    pub at_ms: u64,
}

impl Direct {
    /// Starts the engine on the present tokio runtime. `ask` is used for re-reads only.
    pub fn start(
        config: ShadowConfig,
        ask: Arc<dyn Ask>,
        ports: &Ports,
        cancel: CancellationToken,
    ) -> (Self, Shadow) {
        let (handle, core, shadow) = Shadow::start_core(config, ask, ports, cancel);
        (Self { core, _handle: handle }, shadow)
    }

    /// Compares a pair. A difference is looked at again in the background; its outcome comes later.
    pub async fn compare(&self, pair: Pair) {
        let account = self.open(&pair.endpoint, pair.at_ms, pair.tag);
        let read = of_replay(pair.context, pair.endpoint, pair.request, pair.at_ms);
        let judge = self.core.judge(&read);
        let owner = judge.owner;
        let (legacy, new) = (pair.legacy.clone(), pair.new.clone());
        let bytes = legacy.bytes() + new.bytes();
        let compared = apart(bytes, move || judge.compare(Side::Legacy, &legacy, &new)).await;
        let Some(comparison) = compared else { return account.inconclusive("compare_failed") };
        let answers = match owner {
            Side::Legacy => settle::Pair { owner: pair.legacy, other: pair.new },
            Side::New => settle::Pair { owner: pair.new, other: pair.legacy },
        };
        // The answers may be old: nothing can be said about how late a side is.
        conclude(&self.core, account, read, Suspected { answers, asked_ms: None, comparison });
    }

    /// Takes a request that legacy answered and new did not in time; it is asked again before that is new's error.
    pub fn silent(&self, unasked: Unasked, request: MirrorRequest, legacy: Answer) {
        let account = self.open(&unasked.endpoint, unasked.at_ms, unasked.tag);
        let read = of_replay(unasked.endpoint.context(), unasked.endpoint, request, unasked.at_ms);
        silent(&self.core, account, read, legacy);
    }

    /// Counts a request that a side did not answer.
    pub fn fail(&self, unasked: &Unasked, error: AskError) {
        self.open(&unasked.endpoint, unasked.at_ms, unasked.tag).fail(error.failure());
    }

    /// Counts a request that cannot be decided, for a word of why.
    pub fn inconclusive(&self, unasked: &Unasked, why: &'static str) {
        self.open(&unasked.endpoint, unasked.at_ms, unasked.tag).inconclusive(why);
    }

    /// Counts a request that was not asked.
    pub fn skip(&self, unasked: &Unasked, reason: SkipReason) {
        self.open(&unasked.endpoint, unasked.at_ms, unasked.tag).skip(reason);
    }

    fn open(&self, endpoint: &EndpointName, at_ms: u64, tag: u64) -> Account {
        self.core.books.open(endpoint, at_ms).tagged(tag)
    }
}

fn of_replay(
    context: ContextName,
    endpoint: EndpointName,
    request: MirrorRequest,
    at_ms: u64,
) -> Read {
    Read {
        context,
        endpoint,
        served_by: Side::Legacy,
        mirror_to: Side::New,
        generation: Generation(0),
        request,
        at_ms,
    }
}
