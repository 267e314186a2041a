//! The counters that all sessions share.
//!
//! What must stay true: a request is counted once, when its answer is complete or given up; the number of kept
//! failures is bounded, their count is not.

use crate::{
    endpoint::Endpoint,
    latency::Histogram,
    summary::{EndpointSummary, Failure, Latency, SCHEMA, TrafficSummary},
};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

const FAILURES_KEPT: usize = 20;

/// The counters.
#[derive(Debug)]
pub(crate) struct Tally {
    started: Instant,
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    all: Histogram,
    by_endpoint: BTreeMap<Endpoint, Counted>,
    failed: u64,
    failures: Vec<Failure>,
}

#[derive(Debug)]
struct Counted {
    requests: u64,
    failed: u64,
    latency: Histogram,
}

impl Tally {
    pub(crate) fn new() -> Self {
        let counts = Counts {
            all: Histogram::new(),
            by_endpoint: BTreeMap::new(),
            failed: 0,
            failures: Vec::new(),
        };
        Self { started: Instant::now(), counts: Mutex::new(counts) }
    }

    /// Since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Counts a request.
    pub(crate) fn count(&self, endpoint: Endpoint, latency: Duration) {
        let mut counts = self.lock();
        counts.all.add(latency);
        let counted = counts.of(endpoint);
        counted.requests += 1;
        counted.latency.add(latency);
    }

    /// Counts a failure of a counted request.
    pub(crate) fn fail(&self, endpoint: Endpoint, failure: Failure) {
        tracing::warn!(%failure, "request failed");
        let mut counts = self.lock();
        counts.failed += 1;
        counts.of(endpoint).failed += 1;
        if counts.failures.len() < FAILURES_KEPT {
            counts.failures.push(failure);
        }
    }

    /// Everything so far.
    pub(crate) fn summary(&self) -> TrafficSummary {
        let elapsed_ms = u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX);
        let counts = self.lock();
        let sum = |wanted: fn(Endpoint) -> bool| {
            let matching =
                counts.by_endpoint.iter().filter(move |(endpoint, _)| wanted(**endpoint));
            matching.map(|(_, counted)| counted.requests).sum::<u64>()
        };
        let (requests, writes) = (sum(|_| true), sum(Endpoint::is_write));
        TrafficSummary {
            schema: SCHEMA.to_owned(),
            requests,
            reads: requests - writes,
            writes,
            failed: counts.failed,
            elapsed_ms,
            latency: Latency {
                p50_ms: counts.all.percentile_ms(50),
                p90_ms: counts.all.percentile_ms(90),
                p99_ms: counts.all.percentile_ms(99),
                max_ms: counts.all.max_ms(),
            },
            by_endpoint: counts
                .by_endpoint
                .iter()
                .map(|(endpoint, counted)| (endpoint.as_str().to_owned(), counted.summary()))
                .collect(),
            failures: counts.failures.clone(),
        }
    }

    /// Counters stay meaningful when a session panicked while it held them.
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn of(&mut self, endpoint: Endpoint) -> &mut Counted {
        self.by_endpoint.entry(endpoint).or_insert_with(|| Counted {
            requests: 0,
            failed: 0,
            latency: Histogram::new(),
        })
    }
}

impl Counted {
    fn summary(&self) -> EndpointSummary {
        EndpointSummary {
            requests: self.requests,
            failed: self.failed,
            p50_ms: self.latency.percentile_ms(50),
            p99_ms: self.latency.percentile_ms(99),
        }
    }
}
