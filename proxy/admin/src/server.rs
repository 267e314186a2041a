//! The listener and its life.
//!
//! Owns binding, the middleware chain and the graceful end. Binding and serving are two steps, so that a
//! process can tell its admin address to the store before it serves. What must stay true: the number of
//! requests worked on at the same time is bounded, and probes are answered even when that bound is reached.

use crate::access::{Access, AdminToken, refuse_foreign_page};
use crate::api;
use crate::error::{AdminError, Problem};
use crate::metric;
use crate::readiness::Readiness;
use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use banyan_control::{Agent, ControlStore, Health};
use banyan_domain::{Catalogue, Compiled, RouteTable};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Requests that are worked on at the same time; more are answered 503.
const AT_ONCE: usize = 64;
/// The largest request body, in bytes.
const BODY_MAX: usize = 64 * 1024;
/// How long a stopping listener waits for requests on their way, in ms.
const STOP_MS: u64 = 2_000;

/// How the admin API is reached.
#[derive(Debug, Clone)]
pub struct AdminConfig {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Who may use it. None means: only this machine, without restriction.
    pub tokens: Vec<AdminToken>,
    /// Name of the installation, such as `production`.
    pub name: String,
    /// How long a change waits until all proxies have applied it, in ms.
    pub applied_timeout_ms: u64,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tokens: Vec::new(),
            name: "local".to_owned(),
            applied_timeout_ms: 5_000,
        }
    }
}

/// What the API looks at and acts on.
#[derive(Clone)]
pub struct AdminParts {
    /// Where changes are made.
    pub store: Arc<dyn ControlStore>,
    /// What is declared.
    pub catalogue: Arc<ArcSwap<Catalogue>>,
    /// The table in force here, compiled.
    pub table: Arc<ArcSwap<Compiled>>,
    /// The same as data.
    pub raw_table: Arc<ArcSwap<RouteTable>>,
    /// How the store looks from here.
    pub health: Arc<ArcSwap<Health>>,
    /// Whether this process wants traffic.
    pub readiness: Readiness,
}

impl AdminParts {
    /// The parts of a running agent.
    pub fn of(agent: &Agent, readiness: Readiness) -> Self {
        Self {
            store: agent.store(),
            catalogue: agent.catalogue(),
            table: agent.table(),
            raw_table: agent.raw_table(),
            health: agent.health(),
            readiness,
        }
    }
}

/// An admin API that has its port and does not serve yet.
pub struct BoundAdmin {
    listener: TcpListener,
    address: SocketAddr,
    access: Access,
    config: AdminConfig,
}

/// A serving admin API.
#[derive(Debug)]
pub struct AdminServer {
    /// Where it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
    stop: CancellationToken,
}

/// What every handler sees.
pub(crate) struct Shared {
    pub(crate) parts: AdminParts,
    pub(crate) name: String,
    pub(crate) applied_timeout: Duration,
    access: Access,
    permits: Semaphore,
}

/// Takes the port.
///
/// # Errors
/// When the tokens are not safe for that address, or the port cannot be had.
pub async fn bind(config: AdminConfig) -> Result<BoundAdmin, AdminError> {
    let access = Access::new(config.listen, &config.tokens)?;
    let failed = |source| AdminError::Listen { listen: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(BoundAdmin { listener, address, access, config })
}

/// Takes the port and serves until `shutdown`.
///
/// # Errors
/// As [`bind`].
pub async fn serve(
    config: AdminConfig,
    parts: AdminParts,
    shutdown: &CancellationToken,
) -> Result<AdminServer, AdminError> {
    Ok(bind(config).await?.serve(parts, shutdown))
}

impl BoundAdmin {
    /// Where it will serve.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`.
    pub fn serve(self, parts: AdminParts, shutdown: &CancellationToken) -> AdminServer {
        let shared = Arc::new(Shared {
            parts,
            name: self.config.name,
            applied_timeout: Duration::from_millis(self.config.applied_timeout_ms),
            access: self.access,
            permits: Semaphore::new(AT_ONCE),
        });
        let stop = shutdown.child_token();
        let ending = stop.clone();
        let (listener, router) = (self.listener, router(shared));
        let task = tokio::spawn(async move {
            let served = axum::serve(listener, router)
                .with_graceful_shutdown(async move { ending.cancelled().await })
                .await;
            if let Err(error) = served {
                tracing::error!(%error, "the admin API ended");
            }
        });
        tracing::info!(address = %self.address, "admin API serving");
        AdminServer { address: self.address, task, stop }
    }
}

impl AdminServer {
    /// Stops taking requests and waits for those on their way, a bounded time.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(Duration::from_millis(STOP_MS), &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

fn router(shared: Arc<Shared>) -> Router {
    let guarded = api::guarded().layer(from_fn_with_state(shared.clone(), guard));
    api::probes()
        .merge(guarded)
        .fallback(|| async { Problem::unknown("that path") })
        .method_not_allowed_fallback(api::wrong_method)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(from_fn(finish))
        .with_state(shared)
}

/// The door: bound the work, know the caller, refuse forged changes.
async fn guard(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let Ok(_permit) = shared.permits.try_acquire() else {
        return Problem::busy().into_response();
    };
    let caller = match shared.access.caller(request.headers()) {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    let looks = matches!(*request.method(), Method::GET | Method::HEAD);
    if !looks && let Err(problem) = refuse_foreign_page(request.headers()) {
        return problem.into_response();
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// Headers that every answer gets, and the count.
async fn finish(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    metric::request(response.status().as_u16());
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
