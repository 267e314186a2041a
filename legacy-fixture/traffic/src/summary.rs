//! What traffic saw: the object that is printed, and its text for people.
//!
//! What must stay true: the schema number changes when a field changes its meaning; fields are only added.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// The `schema` of a [`TrafficSummary`].
pub const SCHEMA: &str = "banyan.traffic/1";

/// What traffic saw, so far or in the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrafficSummary {
    /// [`SCHEMA`].
    pub schema: String,
    /// Requests sent and answered or given up.
    pub requests: u64,
    /// Those that change nothing.
    pub reads: u64,
    /// Those that change rows.
    pub writes: u64,
    /// Transport errors, 5xx, unexpected statuses and violated checks.
    pub failed: u64,
    /// Since the start, in milliseconds.
    pub elapsed_ms: u64,
    /// Over all endpoints.
    pub latency: Latency,
    /// By name, endpoints that were used.
    pub by_endpoint: BTreeMap<String, EndpointSummary>,
    /// The first 20.
    pub failures: Vec<Failure>,
}

/// Percentiles of the time from sending a request to having its whole answer, in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of the requests took no longer.
    pub p50_ms: f64,
    /// 90 % took no longer.
    pub p90_ms: f64,
    /// 99 % took no longer.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// One endpoint's share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndpointSummary {
    /// Requests to it.
    pub requests: u64,
    /// Failed ones of them.
    pub failed: u64,
    /// Half of the requests took no longer, in milliseconds.
    pub p50_ms: f64,
    /// 99 % took no longer, in milliseconds.
    pub p99_ms: f64,
}

/// One failure, with what is needed to find it in logs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// Name of the endpoint.
    pub endpoint: String,
    /// Method of the request.
    pub method: String,
    /// URL of the request.
    pub url: String,
    /// Status of the answer, if there was one.
    pub status: Option<u16>,
    /// What was wrong.
    pub why: String,
    /// `X-Request-Id` of the request.
    pub request_id: String,
    /// The virtual user.
    pub user_id: i64,
    /// Milliseconds since the start of the traffic.
    pub at_ms: u64,
    /// `X-Served-By` or `X-Powered-By` of the answer: which application it came from.
    pub served_by: Option<String>,
    /// The beginning of the answer.
    pub body: String,
}

impl fmt::Display for TrafficSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, reads, writes, failed, latency, .. } = self;
        let seconds = std::time::Duration::from_millis(self.elapsed_ms).as_secs_f64();
        writeln!(f, "{requests} requests in {seconds:.1} s: {reads} reads, {writes} writes")?;
        let Latency { p50_ms, p99_ms, max_ms, .. } = latency;
        writeln!(f, "failed {failed}; p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms, max {max_ms:.1} ms")?;
        writeln!(f)?;
        let header = ("ENDPOINT", "REQUESTS", "FAILED", "P50 MS", "P99 MS");
        let (name, requests, failed, p50, p99) = header;
        writeln!(f, "{name:<24} {requests:>9} {failed:>7} {p50:>8} {p99:>8}")?;
        for (name, endpoint) in &self.by_endpoint {
            let EndpointSummary { requests, failed, p50_ms, p99_ms } = endpoint;
            writeln!(f, "{name:<24} {requests:>9} {failed:>7} {p50_ms:>8.1} {p99_ms:>8.1}")?;
        }
        for failure in &self.failures {
            writeln!(f, "\n{failure}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, method, url, why, user_id, request_id, .. } = self;
        let status =
            self.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        let served_by = self.served_by.as_deref().unwrap_or("nobody known");
        write!(f, "failed {endpoint}: {method} {url} -> {status} from {served_by}: {why}")?;
        write!(f, " (user {user_id}, request {request_id}, at {} ms)", self.at_ms)
    }
}
