//! Load by wrk.
//!
//! Owns its call and the reading of what it prints. What must stay true: a run with a failed request is an error,
//! never a number.

use crate::{BenchError, failed};
use std::process::Command;

/// Result of one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) requests: f64,
    pub(crate) per_second: f64,
    pub(crate) p99_ms: f64,
}

/// Whether wrk is installed.
pub(crate) fn is_installed() -> bool {
    Command::new("wrk").arg("-v").output().is_ok()
}

/// Asks `url` as fast as it answers.
pub(crate) fn load(url: &str, seconds: u64, connections: u64) -> Result<Load, BenchError> {
    let out = Command::new("wrk")
        .args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "--latency"])
        .args(["-H", "Authorization: OAuth 3-a1b2c3d4e5f6", "-H", "Accept: application/json"])
        .args(["-H", "User-Agent: bench/1", url])
        .output()
        .map_err(failed("run wrk"))?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    read(&text).ok_or(BenchError::Failed { what: "read what wrk prints", detail: text })
}

fn read(text: &str) -> Option<Load> {
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        return None;
    }
    let line = |part: &str| text.lines().map(str::trim).find(|line| line.contains(part));
    let requests = line("requests in")?.split(' ').next()?.parse().ok()?;
    let per_second = line("Requests/sec:")?.split_whitespace().nth(1)?.parse().ok()?;
    let p99 = text.lines().map(str::trim).find(|line| line.starts_with("99%"))?;
    Some(Load { requests, per_second, p99_ms: milliseconds(p99.split_whitespace().nth(1)?)? })
}

fn milliseconds(text: &str) -> Option<f64> {
    let number = |suffix: &str| text.strip_suffix(suffix)?.parse::<f64>().ok();
    number("us")
        .map(|us| us / 1_000.0)
        .or_else(|| number("ms"))
        .or_else(|| Some(number("s")? * 1_000.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "  Latency Distribution\n     50%    1.10ms\n     99%  912.00us\n  \
        157431 requests in 5.00s, 55.00MB read\nRequests/sec:  31480.12\nTransfer/sec: 11MB\n";

    #[test]
    fn numbers_are_read_and_failed_requests_are_no_number() {
        let load = read(PRINTED).unwrap();
        assert!((load.per_second - 31_480.12).abs() < 0.01);
        assert!((load.requests - 157_431.0).abs() < 0.01);
        assert!((load.p99_ms - 0.912).abs() < 0.001);
        assert!(read(&format!("{PRINTED}  Non-2xx or 3xx responses: 3\n")).is_none());
        assert_eq!(milliseconds("1.50s"), Some(1_500.0));
    }
}
