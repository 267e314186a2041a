//! A world for one test: two sides that write down what reaches them, a proxy on a free port, a recorder in the place
//! of shadow.

use crate::log;
use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use banyan_domain::table::Stamp;
use banyan_domain::{
    Catalogue, Compiled, ContextName, ContextSpec, ContextState, EndpointName, EndpointSpec, Epoch,
    Generation, PathTemplate, Percent, Phase, RouteTable, Side,
};
use banyan_proxy::{Drained, Handoff, Listen, Live, Proxy, ProxyConfig, ProxyError, Upstream};
use banyan_shadow::{Exchange, SkipReason, Undeclared};
use bytes::Bytes;
use futures_util::StreamExt;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

/// Nothing in a test may take longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A request as a side saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) target: String,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

/// One side. A request tells it what to do by the header `x-do-legacy` or `x-do-new`: `status 503`, `bytes 1000`,
/// `wait` (until `release`), `cut` (break off within the body, after `release`), `header NAME VALUE`, `fenced CONTEXT`.
#[derive(Clone)]
pub(crate) struct FakeSide {
    pub(crate) side: Side,
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    arrived: Arc<Notify>,
    release: Arc<Semaphore>,
}

impl FakeSide {
    pub(crate) async fn start(side: Side) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self {
            side,
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            arrived: Arc::default(),
            release: Arc::new(Semaphore::new(0)),
        };
        let router = Router::new().fallback(answer).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        fake
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// Waits until this many requests arrived in all.
    pub(crate) async fn arrivals(&self, count: usize) {
        wait_until(&self.arrived, || self.count() >= count).await;
    }

    /// Lets one waiting request go on.
    pub(crate) fn release(&self) {
        self.release.add_permits(1);
    }
}

async fn wait_until(notify: &Notify, done: impl Fn() -> bool) {
    let wait = async {
        loop {
            let notified = notify.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if done() {
                return;
            }
            notified.await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("it did not happen in time");
}

async fn answer(State(fake): State<FakeSide>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 10 << 20).await.unwrap_or_default();
    let order = parts
        .headers
        .get(format!("x-do-{}", fake.side))
        .map(|value| value.to_str().unwrap().to_owned())
        .unwrap_or_default();
    fake.seen.lock().unwrap().push(Seen {
        target: parts.uri.to_string(),
        headers: parts.headers,
        body,
    });
    fake.arrived.notify_waiters();
    let words: Vec<&str> = order.split(' ').collect();
    let response = Response::builder().header("x-from", fake.side.as_str());
    let text = format!("{{\"from\":\"{}\"}}", fake.side);
    match words.as_slice() {
        ["status", status] => {
            response.status(status.parse::<u16>().unwrap()).body(Body::from(text))
        }
        ["bytes", count] => response.body(Body::from(vec![b'x'; count.parse().unwrap()])),
        ["fenced", context] => {
            response.status(503).header("x-banyan-fenced", *context).body(Body::from(text))
        }
        ["header", name, value] => response.header(*name, *value).body(Body::from(text)),
        ["wait"] => {
            fake.release.acquire().await.unwrap().forget();
            response.body(Body::from(text))
        }
        ["cut"] => {
            let release = fake.release.clone();
            let cut = async move {
                release.acquire().await.unwrap().forget();
                Err(std::io::Error::other("cut"))
            };
            let half = futures_util::stream::iter([Ok(Bytes::from_static(b"half"))]);
            response.body(Body::from_stream(half.chain(futures_util::stream::once(cut))))
        }
        _ => response.body(Body::from(text)),
    }
    .unwrap()
}

/// Takes the place of shadow.
#[derive(Default)]
pub(crate) struct Recorder {
    offered: Mutex<Vec<Exchange>>,
    skipped: Mutex<Vec<SkipReason>>,
    undeclared: Mutex<Vec<Undeclared>>,
    changed: Notify,
}

impl Handoff for Recorder {
    fn offer(&self, exchange: Exchange) {
        self.offered.lock().unwrap().push(exchange);
        self.changed.notify_waiters();
    }

    fn wants_undeclared(&self, _now_ms: u64) -> bool {
        true
    }

    fn undeclared(&self, request: Undeclared) {
        self.undeclared.lock().unwrap().push(request);
        self.changed.notify_waiters();
    }

    fn skip(&self, _endpoint: &EndpointName, reason: SkipReason) {
        self.skipped.lock().unwrap().push(reason);
        self.changed.notify_waiters();
    }
}

impl Recorder {
    pub(crate) fn offered(&self) -> Vec<Exchange> {
        self.offered.lock().unwrap().clone()
    }

    pub(crate) fn forget(&self) {
        self.offered.lock().unwrap().clear();
        self.skipped.lock().unwrap().clear();
    }

    pub(crate) fn skipped(&self) -> Vec<SkipReason> {
        self.skipped.lock().unwrap().clone()
    }

    /// Waits until this many undeclared requests were told, and gives them.
    pub(crate) async fn undeclared(&self, count: usize) -> Vec<Undeclared> {
        wait_until(&self.changed, || self.undeclared.lock().unwrap().len() >= count).await;
        self.undeclared.lock().unwrap().clone()
    }

    /// Waits until this many reads were offered or skipped.
    pub(crate) async fn handed_over(&self, count: usize) {
        let done =
            || self.offered.lock().unwrap().len() + self.skipped.lock().unwrap().len() >= count;
        wait_until(&self.changed, done).await;
    }
}

/// What a test does at a named point within the proxy.
pub(crate) type Pause = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// The world of a test.
pub(crate) struct World {
    pub(crate) legacy: FakeSide,
    pub(crate) new: FakeSide,
    pub(crate) address: SocketAddr,
    pub(crate) live: Live,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) client: reqwest::Client,
    pub(crate) in_flight: Arc<AtomicU64>,
    pub(crate) by_context: banyan_proxy::Writes,
    /// For how long the control store has been away, in ms.
    pub(crate) silence_ms: Arc<AtomicU64>,
    /// Done once, when the proxy next asks for how long: a write or tunnel of an armed context does it between its two
    /// looks at the table.
    pub(crate) between_looks: Pause,
    pub(crate) readiness: banyan_proxy::Readiness,
    pub(crate) shutdown: CancellationToken,
    pub(crate) run: tokio::task::JoinHandle<Result<Drained, ProxyError>>,
}

pub(crate) fn context() -> ContextName {
    ContextName::new("messages").unwrap()
}

pub(crate) fn canary(percent: u8) -> Phase {
    Phase::Canary(Percent::new(percent).unwrap())
}

/// The declarations of all worlds. Callers are known by the header `x-user` or the cookie `uid`.
pub(crate) fn catalogue() -> Catalogue {
    let endpoint = |name: &str, methods: &[&str], path: &str| EndpointSpec {
        name: EndpointName::new(&format!("messages.{name}")).unwrap(),
        methods: methods.iter().map(|m| (*m).to_owned()).collect(),
        path: PathTemplate::new(path).unwrap(),
        start: Phase::Legacy,
        mirror_percent: Percent::HUNDRED,
        mirror_back: true,
        fallback: name != "strict",
        sticky: Vec::new(),
    };
    let sticky = ["header:x-user", "cookie:uid"].map(|s| s.to_owned().try_into().unwrap());
    Catalogue {
        contexts: vec![ContextSpec {
            name: context(),
            sticky: sticky.into(),
            read_your_writes_max_ms: 5_000,
            endpoints: vec![
                endpoint("list", &["GET"], "/users/{user_id}/messages"),
                endpoint("strict", &["GET"], "/users/{user_id}/strict"),
                endpoint("show", &["GET"], "/messages/{id}"),
                endpoint("create", &["POST"], "/messages"),
                endpoint("update", &["PUT", "PATCH"], "/messages/{id}"),
                endpoint("delete", &["DELETE"], "/messages/{id}"),
            ],
        }],
    }
}

/// A table in which all reads are in `phase` and the context belongs to `owner`.
pub(crate) fn table(phase: Phase, owner: Side) -> Compiled {
    table_of(phase, 7, ContextState::settled(owner, Epoch(1), Stamp::default()))
}

/// The same with any state of the context, at a generation.
pub(crate) fn table_of(phase: Phase, generation: u64, state: ContextState) -> Compiled {
    let catalogue = catalogue();
    let endpoints = catalogue.endpoints().map(|spec| {
        let state = banyan_domain::table::EndpointState { phase, stamp: Stamp::default() };
        (spec.name.clone(), state)
    });
    let table = RouteTable {
        generation: Generation(generation),
        frozen: None,
        contexts: BTreeMap::from([(context(), state)]),
        endpoints: endpoints.collect(),
    };
    Compiled::new(&catalogue, &table).unwrap()
}

impl World {
    pub(crate) async fn start(phase: Phase) -> Self {
        Self::with(phase, Side::Legacy, |_| {}).await
    }

    pub(crate) async fn with(
        phase: Phase,
        owner: Side,
        edit: impl FnOnce(&mut ProxyConfig),
    ) -> Self {
        log::keep();
        let legacy = FakeSide::start(Side::Legacy).await;
        let new = FakeSide::start(Side::New).await;
        let mut config = ProxyConfig {
            listen: vec![Listen::clear("127.0.0.1:0")],
            legacy: Upstream::new(&legacy.address.to_string()),
            new: BTreeMap::from([(context(), Upstream::new(&new.address.to_string()))]),
            threads: 2,
            grace_ms: 5_000,
            ..ProxyConfig::default()
        };
        edit(&mut config);
        let silence_ms = Arc::new(AtomicU64::new(0));
        let between_looks = Pause::default();
        let (silent, pause) = (silence_ms.clone(), between_looks.clone());
        let silence = move || {
            if let Some(act) = pause.lock().unwrap().take() {
                act();
            }
            Duration::from_millis(silent.load(Ordering::SeqCst))
        };
        let live = Live {
            table: Arc::new(ArcSwap::from_pointee(table(phase, owner))),
            watermarks: Arc::default(),
            silence: Arc::new(silence),
        };
        let recorder = Arc::new(Recorder::default());
        let proxy = Proxy::bind_with(config, live.clone(), Some(recorder.clone())).unwrap();
        let address = proxy.addresses()[0];
        let (in_flight, by_context) = (proxy.in_flight(), proxy.writes());
        let readiness = proxy.readiness();
        let shutdown = CancellationToken::new();
        let run = tokio::spawn(proxy.run(shutdown.clone()));
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self {
            legacy,
            new,
            address,
            live,
            recorder,
            client,
            in_flight,
            by_context,
            silence_ms,
            between_looks,
            readiness,
            shutdown,
            run,
        }
    }

    pub(crate) fn flip(&self, phase: Phase) {
        self.live.table.store(Arc::new(table(phase, Side::Legacy)));
    }

    /// Puts a table in force in which all reads are in shadow and the context is as given: owner, epoch, the epoch of a
    /// cutover under way and whether it holds.
    pub(crate) fn put(&self, owner: Side, epoch: u64, armed: Option<u64>, holding: bool) {
        let state = ContextState {
            armed: armed.map(Epoch),
            holding,
            ..ContextState::settled(owner, Epoch(epoch), Stamp::default())
        };
        self.live.table.store(self.next(state));
    }

    /// The same table, not in force yet.
    pub(crate) fn next(&self, state: ContextState) -> Arc<Compiled> {
        let generation = self.live.table.load().generation.0 + 1;
        Arc::new(table_of(Phase::Shadow, generation, state))
    }

    /// Writes of the context that are on their way.
    pub(crate) fn on_their_way(&self) -> u64 {
        self.by_context.by_context().get(&context()).copied().unwrap_or(0)
    }

    /// Sends a write from a task of its own.
    pub(crate) fn write(&self, body: impl Into<reqwest::Body>) -> Sending {
        send(self.client.post(self.url("/messages")).body(body))
    }

    /// Waits until this many writes of the context wait in the proxy.
    pub(crate) async fn waiting(&self, count: usize) {
        let waiting = || self.by_context.waiting().get(&context()).copied().unwrap_or(0);
        until("another number of writes waits", || waiting() == count).await;
    }

    /// Waits until no write of the context is on its way.
    pub(crate) async fn drained(&self) {
        until("writes stay on their way", || self.by_context.by_context().is_empty()).await;
    }

    pub(crate) fn watermark(&self, unix_ms: u64) {
        self.live.watermarks.store(Arc::new([(context(), unix_ms)].into()));
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(self.url(path))
    }

    /// The side that answers a GET, by the header that each side sets.
    pub(crate) async fn asked(&self, path: &str, user: &str) -> String {
        from(&self.get(path).header("x-user", user).send().await.unwrap())
    }

    /// Waits until no request is on its way.
    pub(crate) async fn settled(&self) {
        settled(&self.in_flight).await;
    }

    /// Sends raw bytes and reads until the proxy closes.
    pub(crate) async fn raw(&self, request: &str) -> String {
        raw(self.address, request.as_bytes()).await
    }
}

/// An answer that is awaited elsewhere.
pub(crate) type Sending = tokio::task::JoinHandle<reqwest::Response>;

/// Sends a request from a task of its own.
pub(crate) fn send(request: reqwest::RequestBuilder) -> Sending {
    tokio::spawn(async move { request.send().await.unwrap() })
}

/// Waits until something is so.
pub(crate) async fn until(otherwise: &str, done: impl Fn() -> bool) {
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "{otherwise}");
}

pub(crate) async fn settled(count: &AtomicU64) {
    let wait = async {
        while count.load(Ordering::Acquire) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("requests stay on their way");
}

pub(crate) fn from(response: &reqwest::Response) -> String {
    let from = response.headers().get("x-from");
    from.map_or_else(|| response.status().to_string(), |value| value.to_str().unwrap().to_owned())
}

pub(crate) async fn raw(address: SocketAddr, request: &[u8]) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        // A reset after the answer is as good as an end.
        drop(stream.read_to_end(&mut answer).await);
        String::from_utf8_lossy(&answer).into_owned()
    };
    tokio::time::timeout(PATIENCE, exchange).await.expect("no end of the answer")
}

/// Reads one request head (and a body by its content-length) from a raw connection; nothing at its end.
pub(crate) async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut chunk = [0u8; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|l| l.to_lowercase().strip_prefix("content-length:").map(str::to_owned))
                .map_or(0, |length| length.trim().parse().unwrap());
            if body.len() >= length {
                return Some(text);
            }
        }
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}
