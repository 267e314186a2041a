//! The way of a finished exchange out of the proxy.
//!
//! Owns the interface behind which shadow works. What must stay true: an implementation never waits and never
//! panics; what it cannot take it counts itself.

use banyan_domain::EndpointName;
use banyan_shadow::{Exchange, ShadowHandle, SkipReason};

/// Takes finished exchanges for comparison.
pub trait Handoff: Send + Sync + 'static {
    /// Hands over an answered read; must return at once.
    fn offer(&self, exchange: Exchange);
    /// Counts a read that is not compared.
    fn skip(&self, endpoint: &EndpointName, reason: SkipReason);
}

impl Handoff for ShadowHandle {
    fn offer(&self, exchange: Exchange) {
        Self::offer(self, exchange);
    }

    fn skip(&self, endpoint: &EndpointName, reason: SkipReason) {
        Self::skip(self, endpoint, reason);
    }
}
