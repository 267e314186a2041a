//! The run: rounds of all cases, medians, ratios.
//!
//! Owns the order. What must stay true: cases take turns, so that a busy minute of the machine hits all of them.

use crate::case::Case;
use crate::child::Running;
use crate::wrk::Load;
use crate::{Args, BenchError, nginx, quiet, say, table, wrk};
use std::collections::BTreeMap;

/// What one case showed in one round.
#[derive(Debug, Clone)]
struct Shot {
    load: Load,
    cpu_us: f64,
    compared: Option<f64>,
}

/// Medians of one case.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Row {
    pub(crate) case: Case,
    /// CPU time of the proxy process per request, in us.
    pub(crate) cpu_us_per_request: f64,
    pub(crate) requests_per_second: f64,
    pub(crate) p99_ms: f64,
    /// Share of the answers that were compared, of those with a planned comparison.
    pub(crate) compared_share: Option<f64>,
}

/// The whole result.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Report {
    pub(crate) schema: &'static str,
    pub(crate) optimised_build: bool,
    pub(crate) rows: Vec<Row>,
    /// Name, ratio, goal in words.
    pub(crate) ratios: Vec<(String, f64, String)>,
    pub(crate) not_run: Vec<String>,
    /// Cases that began although other programs used the CPU.
    pub(crate) disturbed: u64,
    /// Cases in all.
    pub(crate) shots: u64,
}

/// Runs all cases and prints the result.
pub(crate) fn run(args: &Args) -> Result<(), BenchError> {
    if !wrk::is_installed() {
        return Err(BenchError::Missing { program: "wrk" });
    }
    let with_nginx = nginx::is_installed();
    let cases: Vec<Case> =
        Case::ALL.into_iter().filter(|case| with_nginx || !case.needs_nginx()).collect();
    let legacy = Running::role(&["upstream"])?;
    let new = Running::role(&["upstream"])?;
    let mut shots: BTreeMap<usize, Vec<Shot>> = BTreeMap::new();
    let (mut disturbed, mut count) = (0, 0);
    for round in 1..=args.rounds {
        for (index, case) in cases.iter().enumerate() {
            say::progress(round, args.rounds, case.title());
            count += 1;
            disturbed += u64::from(!quiet::wait(args.wait));
            let shot = shoot(*case, args, &legacy.address, &new.address)?;
            shots.entry(index).or_default().push(shot);
        }
    }
    let rows: Vec<Row> = cases
        .iter()
        .enumerate()
        .filter_map(|(index, case)| Some(row(*case, shots.get(&index)?)))
        .collect();
    let not_run = Case::ALL.into_iter().filter(|case| !cases.contains(case));
    let report = Report {
        schema: "banyan.bench/1",
        optimised_build: !cfg!(debug_assertions),
        ratios: ratios(&rows),
        rows,
        disturbed,
        shots: count,
        not_run: not_run.map(|case| format!("{}: nginx is not installed", case.title())).collect(),
    };
    table::print(&report, args.json)
}

fn shoot(case: Case, args: &Args, legacy: &str, new: &str) -> Result<Shot, BenchError> {
    let started = case.start(legacy, new)?;
    let url = format!("http://{}{}", started.running().address, case.path());
    wrk::load(&url, 1, args.connections)?;
    let before = started.running().cpu_seconds()?;
    let load = wrk::load(&url, args.seconds, args.connections)?;
    let cpu_us = (started.running().cpu_seconds()? - before) * 1e6 / load.requests.max(1.0);
    let tally: BTreeMap<String, f64> =
        serde_json::from_str(started.end().trim()).unwrap_or_default();
    let all: f64 = tally.values().sum();
    let skipped = tally.get("skipped").copied().unwrap_or(0.0);
    let compared = (all > 0.0).then(|| (all - skipped) / all);
    Ok(Shot { load, cpu_us, compared })
}

fn row(case: Case, shots: &[Shot]) -> Row {
    let of = |pick: fn(&Shot) -> f64| median(shots.iter().map(pick).collect());
    let compared: Vec<f64> = shots.iter().filter_map(|shot| shot.compared).collect();
    Row {
        case,
        cpu_us_per_request: of(|shot| shot.cpu_us),
        requests_per_second: of(|shot| shot.load.per_second),
        p99_ms: of(|shot| shot.load.p99_ms),
        compared_share: (!compared.is_empty()).then(|| median(compared)),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn ratios(rows: &[Row]) -> Vec<(String, f64, String)> {
    let find = |case: Case| rows.iter().find(|row| row.case == case);
    let ratio = |name: &str, top: Case, bottom: Case, of: fn(&Row) -> f64, goal: &str| {
        let value = of(find(top)?) / of(find(bottom)?);
        Some((name.to_owned(), value, goal.to_owned()))
    };
    let cpu: fn(&Row) -> f64 = |row| row.cpu_us_per_request;
    let throughput: fn(&Row) -> f64 = |row| row.requests_per_second;
    let p99: fn(&Row) -> f64 = |row| row.p99_ms;
    [
        ratio("CPU/request, default route : bare", Case::BanyanDefault, Case::Bare, cpu, "<= 1.15"),
        ratio("CPU/request, canary read : bare", Case::BanyanRead, Case::Bare, cpu, "<= 1.15"),
        ratio(
            "CPU/request, default : bare, time-outs",
            Case::BanyanDefault,
            Case::BareTimeouts,
            cpu,
            "-",
        ),
        ratio(
            "CPU/request, canary : bare, time-outs",
            Case::BanyanRead,
            Case::BareTimeouts,
            cpu,
            "-",
        ),
        ratio("throughput, canary read : nginx", Case::BanyanRead, Case::Nginx, throughput, "-"),
        ratio(
            "throughput, shadow : nginx + mirror",
            Case::BanyanShadow,
            Case::NginxMirror,
            throughput,
            ">= 2",
        ),
        ratio("p99, shadow : canary read", Case::BanyanShadow, Case::BanyanRead, p99, "<= 1.2"),
    ]
    .into_iter()
    .flatten()
    .collect()
}
