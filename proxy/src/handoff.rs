//! The way of a finished exchange out of the proxy.
//!
//! Owns the interface behind which shadow works. What must stay true: an implementation never waits and never
//! panics; what it cannot take it counts itself.

use banyan_domain::EndpointName;
use banyan_shadow::{Exchange, ShadowHandle, SkipReason, Undeclared};

/// Takes finished exchanges for comparison.
pub trait Handoff: Send + Sync + 'static {
    /// Hands over an answered read; must return at once.
    fn offer(&self, exchange: Exchange);
    /// Whether a request that no endpoint covers is of interest now; must return at once.
    fn wants_undeclared(&self, _now_ms: u64) -> bool {
        false
    }
    /// Hands over a request that no endpoint covers; must return at once.
    fn undeclared(&self, request: Undeclared) {
        drop(request);
    }
    /// Counts a read that is not compared.
    fn skip(&self, endpoint: &EndpointName, reason: SkipReason);
}

impl Handoff for ShadowHandle {
    fn offer(&self, exchange: Exchange) {
        Self::offer(self, exchange);
    }

    fn wants_undeclared(&self, now_ms: u64) -> bool {
        Self::wants_undeclared(self, now_ms)
    }

    fn undeclared(&self, request: Undeclared) {
        Self::undeclared(self, request);
    }

    fn skip(&self, endpoint: &EndpointName, reason: SkipReason) {
        Self::skip(self, endpoint, reason);
    }
}
