//! What `banyan-bench diff` prints.

use super::{Report, Row, Shot};
use crate::{BenchError, failed, say};

/// Prints the result.
pub(super) fn print(report: &Report, json: bool) -> Result<(), BenchError> {
    let text = if json {
        serde_json::to_string_pretty(report).map_err(failed("write JSON"))? + "\n"
    } else {
        table(report)
    };
    say::answer(&text)
}

fn table(report: &Report) -> String {
    let mut lines = vec![format!(
        "{:<34} {:<16} {:>10} {:>8} {:>10} {:>10}  right answer?",
        "case", "tool", "ms", "ratio", "reported", "right"
    )];
    for row in &report.rows {
        lines.push(line(row, row.case, "banyan", &row.banyan));
        lines.extend(row.peers.iter().map(|(name, shot)| line(row, "", name, shot)));
        let seconds = row.banyan.median_ms / 1e3;
        if row.pairs > 1 && seconds > 0.0 {
            #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
            let rate = row.pairs as f64 / seconds;
            lines.push(format!("{:<34} {rate:.0} pairs per second and core", ""));
        }
    }
    lines.push(String::new());
    lines.push("ms: median, text to report, one thread; ratio: how many times as long".to_owned());
    lines.extend(report.not_run.iter().map(|why| format!("not run: {why}")));
    if report.disturbed > 0 {
        let Report { disturbed, shots, .. } = report;
        lines.push(format!(
            "{disturbed} of {shots} rounds began while other programs used the CPU: compare ratios, not times"
        ));
    }
    if !report.optimised_build {
        lines.push("not an optimised build: these numbers mean nothing; use --release".to_owned());
    }
    lines.join("\n") + "\n"
}

fn line(row: &Row, case: &str, tool: &str, shot: &Shot) -> String {
    let ratio = shot.median_ms / row.banyan.median_ms;
    let right = if shot.right { "yes" } else { "NO" };
    format!(
        "{case:<34} {tool:<16} {:>10.2} {ratio:>8.1} {:>10} {:>10}  {right}",
        shot.median_ms, shot.reported, row.right
    )
}
