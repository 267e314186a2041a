//! A proxy as a process part: bind, run, drain.
//!
//! Owns its threads and its end. It exists because pingora's own `Server` sleeps out a fixed grace period, installs
//! signal handlers and exits the process; here pingora's listening service runs on a runtime of ours, so that a proxy
//! can live and end beside other roles. What must stay true: binding fails before anything runs; at the end readiness
//! goes first, then the sockets, then requests on their way are waited for by their own count, within a bound.

use crate::config::ProxyConfig;
use crate::error::ProxyError;
use crate::gate::Writes;
use crate::handoff::Handoff;
use crate::life::Life;
use crate::listen::{self, Bound};
use crate::metric;
use crate::plane::Plane;
use crate::retry::TRIES_MAX;
use arc_swap::ArcSwap;
use banyan_domain::{Compiled, ContextName};
use banyan_shadow::ShadowHandle;
use pingora::apps::HttpServerOptions;
use pingora::proxy::{HttpProxy, http_proxy_service_with_name};
use pingora::server::configuration::ServerConf;
use pingora::services::Service as _;
use pingora::services::listening::Service;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often pins are swept and gauges of memory renewed.
const TEND_EVERY: Duration = Duration::from_millis(250);
/// How often a drain looks whether it is done.
const DRAIN_POLL: Duration = Duration::from_millis(5);
/// Time for the last bytes of finished answers to leave, HTTP/2 frames above all.
const LINGER: Duration = Duration::from_millis(50);

/// State that changes while a proxy runs, shared with whoever changes it.
#[derive(Clone)]
pub struct Live {
    /// The compiled route table; a swap is in effect for the next request.
    pub table: Arc<ArcSwap<Compiled>>,
    /// Per context: unix ms of the source up to which the sync has applied everything.
    pub watermarks: Arc<ArcSwap<HashMap<ContextName, u64>>>,
    /// For how long this process has not reached the control store, by its own monotonic clock; asked only while a
    /// cutover is armed.
    pub silence: Silence,
}

/// For how long the control store has not been reached.
pub type Silence = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Whether new requests are welcome; for a readiness endpoint (503 when not).
#[derive(Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

/// A proxy that has its sockets but does not serve yet.
pub struct Proxy {
    plane: Arc<Plane>,
    bound: Vec<Bound>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Requests that were cut because they took longer than the grace period.
    pub requests_cut: u64,
    /// Tunnels (WebSocket) that were open and are cut in any case.
    pub tunnels_cut: u64,
    /// Time from the request to stop to the end, in ms.
    pub elapsed_ms: u64,
}

impl Live {
    /// Live state with a fixed table and no sync.
    pub fn fixed(table: Compiled) -> Self {
        Self {
            table: Arc::new(ArcSwap::from_pointee(table)),
            watermarks: Arc::default(),
            silence: Arc::new(|| Duration::ZERO),
        }
    }
}

impl Readiness {
    /// Whether new requests are welcome.
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }
}

impl Proxy {
    /// Checks the configuration and takes the sockets. Nothing is served before [`Proxy::run`], but connections queue.
    ///
    /// # Errors
    /// What keeps the proxy from starting, with a [`ProxyError::hint`].
    pub fn bind(
        config: ProxyConfig,
        live: Live,
        shadow: Option<ShadowHandle>,
    ) -> Result<Self, ProxyError> {
        let handoff = shadow.map(|handle| Arc::new(handle) as Arc<dyn Handoff>);
        Self::bind_with(config, live, handoff)
    }

    /// The same with any taker of finished exchanges.
    ///
    /// # Errors
    /// As [`Proxy::bind`].
    pub fn bind_with(
        config: ProxyConfig,
        live: Live,
        handoff: Option<Arc<dyn Handoff>>,
    ) -> Result<Self, ProxyError> {
        if config.listen.is_empty() {
            return Err(ProxyError::NoListener);
        }
        let bound = config.listen.iter().map(Bound::new).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { plane: Arc::new(Plane::new(config, live, handoff)?), bound })
    }

    /// The addresses listened on, in the order of the configuration; port 0 is replaced by the port taken.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.bound.iter().map(|bound| bound.address).collect()
    }

    /// Writes on their way at this moment, by context; for the heartbeats that a cutover waits for.
    pub fn writes(&self) -> Writes {
        self.plane.writes.clone()
    }

    /// Requests on their way at this moment, tunnels excluded.
    pub fn in_flight(&self) -> Arc<AtomicU64> {
        self.plane.counts.requests.clone()
    }

    /// Whether new requests are welcome: from the start of [`Proxy::run`] until its end is asked for.
    pub fn readiness(&self) -> Readiness {
        self.plane.ready.clone()
    }

    /// Serves until `shutdown` is cancelled and everything on its way is done or the grace period is over. Runs on
    /// threads of its own; installs no signal handler and never exits the process.
    ///
    /// # Errors
    /// When no threads can be started, or the listening service breaks off.
    pub async fn run(self, shutdown: CancellationToken) -> Result<Drained, ProxyError> {
        let Self { plane, bound } = self;
        let mut service = service(&plane);
        let sockets = listen::attach(bound, &mut service)?;
        let threads = Threads::new(plane.config.threads)?;
        let (stop, stopped) = watch::channel(false);
        let mut serving = threads.spawn(async move {
            service.start_service(Some(sockets), stopped, 1).await;
        })?;
        drop(threads.spawn(tend(plane.clone()))?);
        for target in plane.upstreams.named() {
            drop(threads.spawn(target.keep_resolved())?);
        }
        plane.ready.set(true);
        let ended = tokio::select! {
            () = shutdown.cancelled() => Ok(drain(&plane, &stop, &mut serving).await),
            _ = &mut serving => Err(ProxyError::Broken),
        };
        plane.ready.set(false);
        ended
    }
}

/// The threads of a proxy. They end with this value, wherever it is dropped; a plain runtime must not be dropped
/// inside another one.
struct Threads(Option<Runtime>);

impl Threads {
    fn new(threads: usize) -> Result<Self, ProxyError> {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name("banyan-proxy")
            .enable_all()
            .build()
            .map(|runtime| Self(Some(runtime)))
            .map_err(ProxyError::Runtime)
    }

    fn spawn(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Result<JoinHandle<()>, ProxyError> {
        self.0.as_ref().map(|runtime| runtime.spawn(task)).ok_or(ProxyError::Broken)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Pingora's service over our steps.
fn service(plane: &Arc<Plane>) -> Service<HttpProxy<Life>> {
    let conf = Arc::new(ServerConf {
        threads: plane.config.threads.max(1),
        // Pingora counts tries by this name, not retries.
        max_retries: TRIES_MAX,
        upstream_keepalive_pool_size: plane.config.limit.upstream_pool,
        ..ServerConf::default()
    });
    let mut service = http_proxy_service_with_name(&conf, Life(plane.clone()), "banyan proxy");
    if let Some(proxy) = service.app_logic_mut() {
        let mut options = HttpServerOptions::default();
        options.h2c = plane.config.limit.h2c;
        options.keepalive_request_limit = plane.config.limit.keepalive_requests;
        options.h2_idle_timeout = Some(Duration::from_secs(plane.config.limit.keepalive_s.max(1)));
        proxy.server_options = Some(options);
    }
    service
}

/// Readiness first, then the sockets, then the requests on their way.
async fn drain(plane: &Plane, stop: &watch::Sender<bool>, serving: &mut JoinHandle<()>) -> Drained {
    let since = Instant::now();
    plane.ready.set(false);
    tracing::info!(in_flight = plane.counts.requests.load(Ordering::Acquire), "proxy drains");
    tokio::time::sleep(Duration::from_millis(plane.config.drain_delay_ms)).await;
    // Closes the sockets and connections without a request; those with one are closed after its answer.
    stop.send_replace(true);
    let until = Instant::now() + Duration::from_millis(plane.config.grace_ms);
    let closed = tokio::time::timeout(Duration::from_millis(plane.config.grace_ms), serving).await;
    if closed.is_err() {
        tracing::warn!("the listening service did not close its sockets in time");
    }
    // A cutover under way lasts a moment: those who are held get half of the time to be released in.
    let held_until = since + Duration::from_millis(plane.config.grace_ms / 2);
    while plane.counts.requests.load(Ordering::Acquire) > 0 && Instant::now() < until {
        if Instant::now() >= held_until {
            plane.closing.cancel();
        }
        tokio::time::sleep(DRAIN_POLL).await;
    }
    tokio::time::sleep(LINGER).await;
    let drained = Drained {
        requests_cut: plane.counts.requests.load(Ordering::Acquire),
        tunnels_cut: plane.counts.tunnels.load(Ordering::Acquire),
        elapsed_ms: u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    tracing::info!(
        requests_cut = drained.requests_cut,
        tunnels_cut = drained.tunnels_cut,
        elapsed_ms = drained.elapsed_ms,
        "proxy drained"
    );
    drained
}

/// Says when armed contexts are stopped because the control store is away, and when they go on.
fn tell_cut_off(plane: &Plane, was: bool) -> bool {
    let table = plane.table.load();
    let armed = armed(&table);
    let is = plane.is_cut_off() && !armed.is_empty();
    metric::held::cut_off(is);
    match (was, is) {
        (false, true) => tracing::error!(
            contexts = armed.join(", "),
            lease_ms = plane.config.hold.lease_ms,
            "cut off from the control store while a cutover is armed: writes of these contexts are held, then refused"
        ),
        (true, false) => tracing::info!("writes of armed contexts go on"),
        (true, true) | (false, false) => {}
    }
    is
}

/// The contexts of which a cutover is armed.
fn armed(table: &Compiled) -> Vec<&str> {
    let armed = table.contexts().iter().filter(|context| context.state.armed.is_some());
    armed.map(|context| context.spec.name.as_str()).collect()
}

/// Sweeps pins and renews gauges of memory until the runtime ends.
async fn tend(plane: Arc<Plane>) {
    let mut every = tokio::time::interval(TEND_EVERY);
    let mut was_cut_off = false;
    loop {
        every.tick().await;
        plane.ryw.tend();
        was_cut_off = tell_cut_off(&plane, was_cut_off);
        metric::held(plane.budget.used(), plane.ryw.len());
    }
}
