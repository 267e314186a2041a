//! What the benchmark prints.
//!
//! Owns the table and the JSON object of the proxy's cases.

use crate::run::Report;
use crate::{BenchError, failed, say};

/// Prints the result.
pub(crate) fn print(report: &Report, json: bool) -> Result<(), BenchError> {
    let text = if json {
        serde_json::to_string_pretty(report).map_err(failed("write JSON"))? + "\n"
    } else {
        table(report)
    };
    say::answer(&text)
}

fn table(report: &Report) -> String {
    let mut lines = vec![format!(
        "{:<30} {:>12} {:>12} {:>10} {:>10}",
        "case", "CPU us/req", "req/s", "p99 ms", "compared"
    )];
    lines.extend(report.rows.iter().map(|row| {
        let compared =
            row.compared_share.map_or("-".to_owned(), |share| format!("{:.1} %", share * 100.0));
        format!(
            "{:<30} {:>12.2} {:>12.0} {:>10.2} {compared:>10}",
            row.case.title(),
            row.cpu_us_per_request,
            row.requests_per_second,
            row.p99_ms
        )
    }));
    lines.push(String::new());
    lines.extend(
        report
            .ratios
            .iter()
            .map(|(name, value, goal)| format!("{name:<40} {value:>6.2}   goal {goal}")),
    );
    lines.extend(report.not_run.iter().map(|why| format!("not run: {why}")));
    if report.disturbed > 0 {
        let Report { disturbed, shots, .. } = report;
        lines.push(format!("{disturbed} of {shots} runs began while other programs used the CPU"));
    }
    if !report.optimised_build {
        lines.push("not an optimised build: these numbers mean nothing; use --release".to_owned());
    }
    lines.join("\n") + "\n"
}
