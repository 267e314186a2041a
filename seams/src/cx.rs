//! What travels with a request through a seam: sticky key, deadline, hop count.
//!
//! The seam of an application may call a service whose own seam calls back; the hop count ends such a loop, the
//! deadline ends waiting.
//!
//! What must stay true: hops only grow; the caller's deadline is never moved, an experiment gets one of its own.

use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// Header that carries the hop count between applications.
pub const HOPS_HEADER: &str = "x-banyan-hops";

/// A request that has passed this many seams is refused.
pub const HOPS_MAX: u8 = 3;

/// The context of one request.
#[derive(Debug, Clone)]
pub struct Cx {
    key: Arc<str>,
    deadline: Instant,
    hops: u8,
}

impl Cx {
    /// A request of the caller named by `key` (for example `user:3`; the same key stays on the same side), to be
    /// answered `within` this time from now.
    pub fn new(key: impl Into<Arc<str>>, within: Duration) -> Self {
        Self { key: key.into(), deadline: Instant::now() + within, hops: 0 }
    }

    /// The same request with the hop count of its [`HOPS_HEADER`]; an unreadable one counts as too many.
    #[must_use]
    pub fn with_hops(mut self, header: Option<&str>) -> Self {
        let received = header.map_or(0, |text| text.trim().parse().unwrap_or(HOPS_MAX));
        self.hops = self.hops.max(received);
        self
    }

    /// Who asks.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// When the caller stops waiting.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// How many seams the request has passed; send it on in [`HOPS_HEADER`].
    pub fn hops(&self) -> u8 {
        self.hops
    }

    /// The request as a side behind the seam sees it; `None` when it has gone around too often.
    pub(crate) fn next_hop(&self) -> Option<Self> {
        let hops = self.hops.saturating_add(1);
        (hops <= HOPS_MAX).then(|| Self { hops, ..self.clone() })
    }

    /// The same request asked again off the caller's path, with `within` from now as its own deadline.
    pub(crate) fn for_experiment(&self, within: Duration) -> Self {
        Self { deadline: Instant::now() + within, ..self.clone() }
    }
}
