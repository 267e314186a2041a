//! What the proxy counts.
//!
//! Owns the metrics and their labels. It exists so that a request touches only counters that were looked up when its
//! route table was taken in. What must stay true: labels are declared names and words of our own enums, never
//! anything a client sent; counting takes no lock.

use crate::gate::{Gate, Writes};
use arc_swap::ArcSwapOption;
use banyan_domain::{Compiled, ContextName, Decision, EndpointName, Phase, RequestKind, Side};
use banyan_shadow::SkipReason;
use prometheus::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, register_histogram_vec,
    register_int_counter_vec, register_int_gauge,
};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, OnceLock};

pub(crate) mod held;

const ROUTE: [&str; 5] = ["context", "endpoint", "side", "phase", "kind"];
const SECONDS: [f64; 13] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// A clash of names in the registry leaves a metric out; it must not keep the proxy from serving.
type Registered<T> = LazyLock<Option<T>>;

static REQUESTS: Registered<IntCounterVec> = LazyLock::new(|| {
    let labels = ["context", "endpoint", "side", "phase", "kind", "class"];
    register_int_counter_vec!("banyan_proxy_requests_total", "Requests answered", &labels).ok()
});
static REQUEST_SECONDS: Registered<HistogramVec> = LazyLock::new(|| {
    let help = "Time from the request's head to the end of its answer";
    register_histogram_vec!("banyan_proxy_request_seconds", help, &ROUTE, SECONDS.to_vec()).ok()
});
static ERRORS: Registered<IntCounterVec> = LazyLock::new(|| {
    let labels = ["context", "endpoint", "side", "phase", "kind", "cause"];
    register_int_counter_vec!("banyan_proxy_errors_total", "Requests that broke off", &labels).ok()
});
static FALLBACKS: Registered<IntCounterVec> = LazyLock::new(|| {
    let help = "Reads that legacy answered because the new side could not";
    register_int_counter_vec!("banyan_proxy_fallbacks_total", help, &["endpoint", "cause"]).ok()
});
static RETRIES: Registered<IntCounterVec> = LazyLock::new(|| {
    let help = "Reads sent again to the same side because a kept connection was dead";
    register_int_counter_vec!("banyan_proxy_retries_total", help, &["side"]).ok()
});
static REFUSED: Registered<IntCounterVec> = LazyLock::new(|| {
    let help = "Requests refused before any side saw them";
    register_int_counter_vec!("banyan_proxy_refused_total", help, &["reason"]).ok()
});
static MIRRORS: Registered<IntCounterVec> = LazyLock::new(|| {
    let help = "Reads with a planned comparison: offered to shadow, or skipped and why";
    register_int_counter_vec!("banyan_proxy_mirror_total", help, &["endpoint", "result"]).ok()
});
static PINNED: Registered<IntCounterVec> = LazyLock::new(|| {
    let help = "Reads kept with the owner because their caller wrote a moment ago";
    register_int_counter_vec!("banyan_proxy_pinned_reads_total", help, &["context"]).ok()
});

macro_rules! gauge {
    ($name:ident, $metric:literal, $help:literal) => {
        static $name: Registered<IntGauge> =
            LazyLock::new(|| register_int_gauge!($metric, $help).ok());
    };
}
gauge!(IN_FLIGHT, "banyan_proxy_in_flight", "Requests on their way, tunnels excluded");
gauge!(WRITES, "banyan_proxy_in_flight_writes", "Writes on their way");
gauge!(TUNNELS, "banyan_proxy_tunnels", "Open tunnels (WebSocket)");
gauge!(GENERATION, "banyan_proxy_generation", "Generation of the route table in use");
gauge!(TEE_BYTES, "banyan_proxy_tee_bytes", "Bytes held in copies of answers");
gauge!(PINS, "banyan_proxy_pins", "Callers remembered for read-your-writes");

/// What a request is counted as at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Informational,
    Success,
    Redirect,
    Refused,
    Failed,
    /// The client got no answer.
    Unanswered,
}

/// Why a request broke off, or a read fell back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Connect,
    Timeout,
    Broken,
    Status,
    Unconfigured,
    Client,
    Internal,
}

/// Counters of one route; each is looked up at its first use and never again.
pub(crate) struct Meter {
    context: String,
    endpoint: String,
    phase: Phase,
    kind: RequestKind,
    /// The gate of its context; here so that a request finds it without a lock.
    gate: Option<Arc<Gate>>,
    sides: [SideMeter; 2],
    offered: OnceLock<Option<IntCounter>>,
    pinned: OnceLock<Option<IntCounter>>,
}

#[derive(Default)]
struct SideMeter {
    requests: [OnceLock<Option<IntCounter>>; 6],
    seconds: OnceLock<Option<Histogram>>,
}

/// The meters of one route table.
pub(crate) struct Book {
    table: Arc<Compiled>,
    endpoints: HashMap<EndpointName, EndpointMeters>,
    contexts: HashMap<ContextName, ContextMeters>,
    unmatched: Arc<Meter>,
}

struct EndpointMeters {
    own: Arc<Meter>,
    upgrade: Arc<Meter>,
}

struct ContextMeters {
    unmatched: Arc<Meter>,
    write: Arc<Meter>,
    upgrade: Arc<Meter>,
}

/// The meters of the table in use.
#[derive(Default)]
pub(crate) struct Library {
    book: ArcSwapOption<Book>,
    writes: Writes,
}

impl Library {
    /// Meters whose gates are those of `writes`.
    pub(crate) fn new(writes: Writes) -> Self {
        Self { book: ArcSwapOption::empty(), writes }
    }

    /// The meter of a decision that was made from `table`.
    pub(crate) fn meter(&self, table: &Arc<Compiled>, decision: &Decision) -> Arc<Meter> {
        let book = self.book.load();
        if let Some(book) = book.as_ref().filter(|book| Arc::ptr_eq(&book.table, table)) {
            return book.meter(decision);
        }
        // Rare: a new generation. Two threads may both do it, which is harmless.
        let fresh = Arc::new(Book::new(table, &self.writes));
        set(&GENERATION, table.generation.0);
        self.book.store(Some(fresh.clone()));
        fresh.meter(decision)
    }
}

impl Book {
    fn new(table: &Arc<Compiled>, writes: &Writes) -> Self {
        let mut book = Self {
            endpoints: HashMap::new(),
            contexts: HashMap::new(),
            unmatched: Meter::new("none", "none", Phase::Legacy, RequestKind::Unmatched, None),
            table: table.clone(),
        };
        for endpoint in table.endpoints() {
            let name = &endpoint.spec.name;
            let context = table.contexts().get(endpoint.context).map(|c| &c.spec.name);
            let gate = context.map(|name| writes.gate(name));
            let context = context.map_or("none", |name| name.as_str());
            let kind = match endpoint.kind {
                banyan_domain::EndpointKind::Read => RequestKind::Read,
                banyan_domain::EndpointKind::Write => RequestKind::Write,
            };
            let meter =
                |kind| Meter::new(context, name.as_str(), endpoint.phase, kind, gate.clone());
            let meters = EndpointMeters { own: meter(kind), upgrade: meter(RequestKind::Upgrade) };
            book.endpoints.insert(name.clone(), meters);
        }
        for context in table.contexts() {
            let name = &context.spec.name;
            let phase = context.state.write_phase();
            let gate = writes.gate(name);
            let meter = |kind| Meter::new(name.as_str(), "none", phase, kind, Some(gate.clone()));
            let meters = ContextMeters {
                unmatched: meter(RequestKind::Unmatched),
                write: meter(RequestKind::Write),
                upgrade: meter(RequestKind::Upgrade),
            };
            book.contexts.insert(name.clone(), meters);
        }
        book
    }

    fn meter(&self, decision: &Decision) -> Arc<Meter> {
        let endpoint = decision.endpoint.as_ref().and_then(|name| self.endpoints.get(name));
        if let Some(meters) = endpoint {
            return match decision.kind {
                RequestKind::Upgrade => meters.upgrade.clone(),
                RequestKind::Read | RequestKind::Write | RequestKind::Unmatched => {
                    meters.own.clone()
                }
            };
        }
        let context = decision.context.as_ref().and_then(|name| self.contexts.get(name));
        let Some(meters) = context else { return self.unmatched.clone() };
        match decision.kind {
            RequestKind::Read | RequestKind::Unmatched => meters.unmatched.clone(),
            RequestKind::Write => meters.write.clone(),
            RequestKind::Upgrade => meters.upgrade.clone(),
        }
    }
}

impl Meter {
    fn new(
        context: &str,
        endpoint: &str,
        phase: Phase,
        kind: RequestKind,
        gate: Option<Arc<Gate>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            context: context.to_owned(),
            endpoint: endpoint.to_owned(),
            phase,
            kind,
            gate,
            sides: <[SideMeter; 2]>::default(),
            offered: OnceLock::new(),
            pinned: OnceLock::new(),
        })
    }

    /// The gate of its context.
    pub(crate) fn gate(&self) -> Option<&Arc<Gate>> {
        self.gate.as_ref()
    }

    /// Counts a finished request with its time.
    pub(crate) fn finished(&self, side: Side, class: Class, seconds: f64) {
        let meters = &self.sides[side_index(side)];
        let requests = meters.requests[class.index()].get_or_init(|| {
            let [context, endpoint, side, phase, kind] = self.labels(side);
            let labels = [context, endpoint, side, phase, kind, class.as_str()];
            REQUESTS.as_ref().map(|vec| vec.with_label_values(&labels))
        });
        let time = meters.seconds.get_or_init(|| {
            REQUEST_SECONDS.as_ref().map(|vec| vec.with_label_values(&self.labels(side)))
        });
        if let (Some(requests), Some(time)) = (requests, time) {
            requests.inc();
            time.observe(seconds);
        }
    }

    /// Counts a request that broke off.
    pub(crate) fn broke_off(&self, side: Side, cause: Cause) {
        let [context, endpoint, side, phase, kind] = self.labels(side);
        inc(&ERRORS, &[context, endpoint, side, phase, kind, cause.as_str()]);
    }

    /// Counts a read that legacy answers instead of new.
    pub(crate) fn fell_back(&self, cause: Cause) {
        inc(&FALLBACKS, &[self.endpoint.as_str(), cause.as_str()]);
    }

    /// Counts a read handed to shadow.
    pub(crate) fn offered(&self) {
        let counter = self.offered.get_or_init(|| {
            MIRRORS.as_ref().map(|vec| vec.with_label_values(&[self.endpoint.as_str(), "offered"]))
        });
        if let Some(counter) = counter {
            counter.inc();
        }
    }

    /// Counts a read that is not compared.
    pub(crate) fn skipped(&self, reason: SkipReason) {
        inc(&MIRRORS, &[self.endpoint.as_str(), reason.as_str()]);
    }

    /// Counts a read kept with the owner.
    pub(crate) fn pinned(&self) {
        let counter = self.pinned.get_or_init(|| {
            PINNED.as_ref().map(|vec| vec.with_label_values(&[self.context.as_str()]))
        });
        if let Some(counter) = counter {
            counter.inc();
        }
    }

    fn labels(&self, side: Side) -> [&str; 5] {
        [&self.context, &self.endpoint, side.as_str(), self.phase.word(), self.kind.as_str()]
    }
}

/// Counts a request that no side saw.
pub(crate) fn refused(reason: &'static str) {
    inc(&REFUSED, &[reason]);
}

/// Counts a read sent again to the same side.
pub(crate) fn retried(side: Side) {
    inc(&RETRIES, &[side.as_str()]);
}

/// What is on its way through the proxy at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gauge {
    Requests,
    Writes,
    Tunnels,
}

/// Moves a gauge of things on their way by one, up or down.
pub(crate) fn on_the_way(gauge: Gauge, step: i64) {
    let metric = match gauge {
        Gauge::Requests => &IN_FLIGHT,
        Gauge::Writes => &WRITES,
        Gauge::Tunnels => &TUNNELS,
    };
    if let Some(metric) = metric.as_ref() {
        metric.add(step);
    }
}

/// Shows how much memory copies and pins take.
pub(crate) fn held(tee_bytes: usize, pins: usize) {
    set(&TEE_BYTES, tee_bytes as u64);
    set(&PINS, pins as u64);
}

fn inc(counters: &Registered<IntCounterVec>, labels: &[&str]) {
    if let Some(counters) = counters.as_ref() {
        counters.with_label_values(labels).inc();
    }
}

fn set(gauge: &Registered<IntGauge>, value: u64) {
    if let Some(gauge) = gauge.as_ref() {
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    }
}

const fn side_index(side: Side) -> usize {
    match side {
        Side::Legacy => 0,
        Side::New => 1,
    }
}

impl Class {
    /// The class of a status; 0 stands for none.
    pub(crate) const fn of(status: u16) -> Self {
        match status {
            100..=199 => Self::Informational,
            200..=299 => Self::Success,
            300..=399 => Self::Redirect,
            400..=499 => Self::Refused,
            500..=999 => Self::Failed,
            _ => Self::Unanswered,
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Informational => 0,
            Self::Success => 1,
            Self::Redirect => 2,
            Self::Refused => 3,
            Self::Failed => 4,
            Self::Unanswered => 5,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirect => "3xx",
            Self::Refused => "4xx",
            Self::Failed => "5xx",
            Self::Unanswered => "none",
        }
    }
}

impl Cause {
    /// The word for labels, logs and answers.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::Status => "status",
            Self::Unconfigured => "unconfigured",
            Self::Client => "client",
            Self::Internal => "internal",
        }
    }
}
