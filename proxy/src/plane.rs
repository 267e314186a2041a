//! What all requests of one proxy share.
//!
//! Owns the parts; the steps over them are in `admit.rs` and `life.rs`. What must stay true: every part can be used by
//! many requests at once without a lock that another request could hold for long.

use crate::config::ProxyConfig;
use crate::error::ProxyError;
use crate::force::Force;
use crate::gate::Writes;
use crate::handoff::Handoff;
use crate::metric::Library;
use crate::ryw::ReadYourWrites;
use crate::server::{Live, Readiness, Silence};
use crate::tee::Budget;
use crate::upstream::Upstreams;
use arc_swap::ArcSwap;
use banyan_domain::Compiled;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio_util::sync::CancellationToken;

/// What all requests share.
pub(crate) struct Plane {
    pub(crate) config: ProxyConfig,
    pub(crate) table: Arc<ArcSwap<Compiled>>,
    pub(crate) upstreams: Upstreams,
    pub(crate) ryw: ReadYourWrites,
    pub(crate) force: Force,
    pub(crate) library: Library,
    pub(crate) budget: Arc<Budget>,
    pub(crate) handoff: Option<Arc<dyn Handoff>>,
    pub(crate) counts: Counts,
    pub(crate) ready: Readiness,
    /// Writes by context.
    pub(crate) writes: Writes,
    /// For how long the control store has not been reached.
    pub(crate) silence: Silence,
    /// Cancelled when nobody may be held any longer, because the proxy stops.
    pub(crate) closing: CancellationToken,
}

/// What is on its way.
#[derive(Default)]
pub(crate) struct Counts {
    /// Requests, tunnels excluded.
    pub(crate) requests: Arc<AtomicU64>,
    /// Tunnels.
    pub(crate) tunnels: Arc<AtomicU64>,
}

impl Plane {
    pub(crate) fn new(
        config: ProxyConfig,
        live: Live,
        handoff: Option<Arc<dyn Handoff>>,
    ) -> Result<Self, ProxyError> {
        let writes = Writes::default();
        Ok(Self {
            upstreams: Upstreams::new(&config)?,
            ryw: ReadYourWrites::new(&config.read_your_writes, live.watermarks),
            force: Force::new(&config.force),
            library: Library::new(writes.clone()),
            writes,
            silence: live.silence,
            closing: CancellationToken::new(),
            budget: Arc::new(Budget::new(config.tee)),
            table: live.table,
            handoff,
            counts: Counts::default(),
            ready: Readiness::default(),
            config,
        })
    }
}
