//! The result for people and for machines.

use super::Report;
use crate::{BenchError, failed, say};
use std::fmt::Write as _;

pub(super) fn print(report: &Report, json: bool) -> Result<(), BenchError> {
    if json {
        let text = serde_json::to_string_pretty(report).map_err(failed("print"))?;
        return say::answer(&format!("{text}\n"));
    }
    let mut text =
        format!("{} rows; medians; ratio: time of the case by Banyan's time\n\n", report.rows);
    for group in &report.groups {
        line(&mut text, group.title);
        for row in &group.rows {
            let rounds: Vec<String> =
                row.rounds_seconds.iter().map(|seconds| format!("{seconds:.2}")).collect();
            line(
                &mut text,
                &format!(
                    "  {:50} {:>8.2} s {:>9.0} rows/s {:>6.2}  [{}]",
                    row.case,
                    row.seconds,
                    row.rows_per_second,
                    row.ratio,
                    rounds.join(" ")
                ),
            );
        }
        line(&mut text, "");
    }
    if !report.follow.is_empty() {
        line(
            &mut text,
            "follow MariaDB: from the commit of a row to when it was seen on the target",
        );
        for follow in &report.follow {
            line(&mut text, &follow.line());
        }
        line(&mut text, "");
    }
    for reason in &report.not_run {
        line(&mut text, &format!("not run: {reason}"));
    }
    if let Some(peak) = report.peak_memory_mib {
        line(&mut text, &format!("peak memory of this process, with Banyan's cases: {peak} MiB"));
    }
    if report.busy_starts > 0 {
        line(&mut text, &format!("{} cases began on a busy machine", report.busy_starts));
    }
    if !report.optimised_build {
        line(&mut text, "NOT a release build: the numbers mean little");
    }
    say::answer(&text)
}

fn line(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    writeln!(text, "{line}").unwrap_or_default();
}
