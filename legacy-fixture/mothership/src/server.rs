//! The life of the mothership: open, seed, listen, answer, end.
//!
//! It also owns what surrounds every answer: settling the request, the worker pool, and the headers that Rack adds.
//!
//! What must stay true: the end is graceful (running requests are answered, their changes committed, their events
//! published, each within a limit); a change whose client went away is still carried through.

use crate::{
    MothershipArgs, MothershipError, SeedReport, controller,
    database::Database,
    event::{Destination, Events, Publisher},
    failure::Failure,
    request, schema, seed as seeding,
    worker::WorkerPool,
};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use fixture_passport::{Passport, not_modified, weak_etag};
use std::{
    future::Future,
    io::Write,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long the end waits for requests that are being answered.
const REQUESTS_DRAIN_MAX: Duration = Duration::from_secs(20);
/// How often a change is tried when the database says that it collided with another.
const TRIES_MAX: u32 = 4;

/// What handlers share.
pub(crate) struct App {
    pub(crate) database: Database,
    pub(crate) events: Events,
    pub(crate) passport: Passport,
    pub(crate) workers: WorkerPool,
    pub(crate) started: Instant,
    think: Duration,
    changes: TaskTracker,
}

/// A mothership that listens and does not answer yet: for programs that need its address first.
pub struct Mothership {
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
    publisher: Publisher,
}

/// Opens or creates the database, seeds it when empty, listens, and answers until `shutdown` resolves.
///
/// Writes the ready file and prints one line to stdout once it listens. Ends when running requests are answered,
/// their changes are committed and their events are with the broker.
pub async fn run(
    args: MothershipArgs,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), MothershipError> {
    if args.seed_only {
        return seed(&args).await.map(|_| ());
    }
    let mothership = Mothership::open(&args).await?;
    announce(&args, mothership.address)?;
    mothership.serve(shutdown).await
}

/// Opens or creates the database of `args` and seeds it when empty; gives what it did.
pub async fn seed(args: &MothershipArgs) -> Result<SeedReport, MothershipError> {
    let (database, report) = open_seeded(args).await?;
    database.close().await;
    Ok(report)
}

impl Mothership {
    /// Opens or creates the database, seeds it when empty, and listens.
    pub async fn open(args: &MothershipArgs) -> Result<Self, MothershipError> {
        let (database, _) = open_seeded(args).await?;
        let listen_error =
            |source| MothershipError::Listen { address: args.listen.clone(), source };
        let listener = TcpListener::bind(&args.listen).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let (app, publisher) = assemble(args, database).await?;
        Ok(Self { listener, address, app, publisher })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown` resolves, then ends gracefully as [`run`] does.
    pub async fn serve(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), MothershipError> {
        let served = serve(self.listener, Arc::clone(&self.app), shutdown).await;
        finish(self.app, self.publisher).await;
        served
    }
}

impl std::fmt::Debug for Mothership {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Mothership").field("address", &self.address).finish_non_exhaustive()
    }
}

impl App {
    /// Carries a change through in a task of its own, so that a client who goes away cannot leave it half done, and
    /// tries it again when the database says that it collided with another.
    pub(crate) async fn carry<T, W, F>(&self, work: W) -> Result<T, Failure>
    where
        T: Send + 'static,
        W: Fn() -> F + Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send,
    {
        let task = self.changes.spawn(async move {
            let mut tries = 1;
            loop {
                match work().await {
                    Err(Failure::Internal(error)) if error.is_conflict() && tries < TRIES_MAX => {
                        tracing::info!(tries, %error, "change collided, trying again");
                        tries += 1;
                    }
                    result => return result,
                }
            }
        });
        task.await.map_err(|_| Failure::Died)?
    }
}

async fn open_seeded(args: &MothershipArgs) -> Result<(Database, SeedReport), MothershipError> {
    let database = Database::open(&args.database, args.workers).await?;
    schema::create_tables(&database).await?;
    schema::add_columns(&database).await?;
    let report = seeding::seed_when_empty(&database, args.seed_plan()).await?;
    schema::create_indexes(&database).await?;
    if report.rows > 0 {
        schema::settle(&database).await?;
    }
    Ok((database, report))
}

async fn assemble(
    args: &MothershipArgs,
    database: Database,
) -> Result<(Arc<App>, Publisher), MothershipError> {
    let exchange = args.exchange.clone();
    let destination = args.broker.clone().map(|broker| Destination { broker, exchange });
    let (events, publisher) = Events::start(&database, destination).await?;
    let app = App {
        database,
        events,
        passport: Passport::new(&args.secret),
        workers: WorkerPool::new(args.workers),
        started: Instant::now(),
        think: Duration::from_millis(args.think_ms),
        changes: TaskTracker::new(),
    };
    Ok((Arc::new(app), publisher))
}

/// The ready file appears complete or not at all.
fn announce(args: &MothershipArgs, address: SocketAddr) -> Result<(), MothershipError> {
    if let Some(path) = &args.ready_file {
        write_whole(path, &address.to_string()).map_err(|source| MothershipError::ReadyFile {
            path: path.display().to_string(),
            source,
        })?;
    }
    // A closed stdout is no reason not to serve.
    writeln!(std::io::stdout(), "mothership listening on http://{address}").ok();
    Ok(())
}

fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let partial = path.with_extension("partial");
    std::fs::write(&partial, text)?;
    std::fs::rename(partial, path)
}

async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), MothershipError> {
    let ending = CancellationToken::new();
    let asked = ending.clone();
    let server = axum::serve(listener, router(app)).with_graceful_shutdown(async move {
        shutdown.await;
        asked.cancel();
    });
    let late = async {
        ending.cancelled().await;
        tokio::time::sleep(REQUESTS_DRAIN_MAX).await;
    };
    tokio::select! {
        served = async { server.await } => served.map_err(|source| MothershipError::Serve { source }),
        () = late => {
            tracing::warn!("requests cut off: they were not answered in time before the end");
            Ok(())
        }
    }
}

/// Changes first, then their events, then the database.
async fn finish(app: Arc<App>, publisher: Publisher) {
    app.changes.close();
    if tokio::time::timeout(REQUESTS_DRAIN_MAX, app.changes.wait()).await.is_err() {
        tracing::error!("changes cut off before the end");
    }
    let database = app.database.clone();
    app.events.close();
    publisher.drain().await;
    database.close().await;
}

/// Requests are settled before the inner router sees them, because settling rewrites method and path.
fn router(app: Arc<App>) -> Router {
    let inner = controller::routes()
        .fallback(|| async { Failure::NotFound })
        .method_not_allowed_fallback(|| async { Failure::NotFound })
        .with_state(Arc::clone(&app));
    Router::new().fallback_service(inner).layer(middleware::from_fn_with_state(app, surround))
}

/// The life of a request: settle it, wait for a worker, let the handler answer, add what Rack adds.
async fn surround(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let headers = request.headers().clone();
    let request_id = request::request_id(&headers);
    let head = request.method() == Method::HEAD;
    if head {
        *request.method_mut() = Method::GET;
    }
    let get = request.method() == Method::GET;
    let response = match request::settle(&app.passport, request_id.clone(), request).await {
        Ok(request) => answer(&app, request, next).await,
        Err(failure) => failure.into_response(),
    };
    let mut response = cacheable(response, get.then_some(&headers)).await;
    add_headers(response.headers_mut(), &request_id, started.elapsed());
    if head { without_body(response) } else { response }
}

async fn answer(app: &App, request: Request, next: Next) -> Response {
    if matches!(request.uri().path(), "/healthz" | "/status") {
        // These say how the process is; they must not wait for a worker.
        return next.run(request).await;
    }
    let Some(_inside) = app.workers.enter().await else { return Failure::Busy.into_response() };
    if !app.think.is_zero() {
        tokio::time::sleep(app.think).await;
    }
    next.run(request).await
}

/// Adds the entity tag of the body; a client who has the same body gets 304 instead.
async fn cacheable(response: Response, conditional: Option<&HeaderMap>) -> Response {
    let (mut parts, body) = response.into_parts();
    // Handlers only make bodies in memory, so there is nothing to fail and no limit to keep.
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    if bytes.is_empty() {
        return Response::from_parts(parts, Body::empty());
    }
    let etag = weak_etag(&bytes);
    let if_none_match = conditional
        .and_then(|headers| headers.get(header::IF_NONE_MATCH))
        .and_then(|value| value.to_str().ok());
    let unchanged = parts.status == StatusCode::OK && not_modified(if_none_match, &etag);
    if let Ok(value) = HeaderValue::try_from(etag) {
        parts.headers.insert(header::ETAG, value);
    }
    if unchanged {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(parts, Body::empty());
    }
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    Response::from_parts(parts, Body::from(bytes))
}

fn add_headers(headers: &mut HeaderMap, request_id: &str, runtime: Duration) {
    let constants = [
        (header::CACHE_CONTROL, "max-age=0, private, must-revalidate"),
        (header::SERVER, "Phusion-Passenger-4 (mothership)"),
        (HeaderName::from_static("x-powered-by"), "Mothership"),
        (HeaderName::from_static("x-frame-options"), "SAMEORIGIN"),
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
    ];
    for (name, value) in constants {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let changing = [
        (HeaderName::from_static("x-request-id"), request_id.to_owned()),
        (HeaderName::from_static("x-runtime"), format!("{:.6}", runtime.as_secs_f64())),
    ];
    for (name, value) in changing {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

/// The answer to HEAD: all headers of the GET, its length included.
fn without_body(response: Response) -> Response {
    let (parts, _) = response.into_parts();
    Response::from_parts(parts, Body::empty())
}
