//! The result for people and for machines.

use super::{Report, Row};
use crate::{BenchError, failed, say};
use std::fmt::Write as _;

pub(super) fn print(report: &Report, json: bool) -> Result<(), BenchError> {
    if json {
        let text = serde_json::to_string_pretty(report).map_err(failed("print"))?;
        return say::answer(&format!("{text}\n"));
    }
    let mut text = format!(
        "{} events of {} bytes, {} queues, confirms everywhere; medians, rounds in brackets\n\n",
        report.events, report.bytes, report.queues
    );
    part(&mut text, "raw queue to public queue", &report.forwarding);
    if !report.relaying.is_empty() {
        let title = format!("outbox to raw queue, {} rows", report.rows);
        part(&mut text, &title, &report.relaying);
    }
    for reason in &report.not_run {
        line(&mut text, &format!("not run: {reason}"));
    }
    if report.busy_starts > 0 {
        line(&mut text, &format!("{} cases began on a busy machine", report.busy_starts));
    }
    if !report.optimised_build {
        line(&mut text, "NOT a release build: the numbers mean little");
    }
    say::answer(&text)
}

fn part(text: &mut String, title: &str, rows: &[Row]) {
    line(text, title);
    for row in rows {
        let cpu = row.cpu_us.map_or_else(String::new, |us| format!("{us:.0} us own CPU"));
        let rounds: Vec<String> =
            row.rounds_per_second.iter().map(|rate| format!("{rate:.0}")).collect();
        let rounds = rounds.join(" ");
        line(
            text,
            &format!(
                "  {:36} {:>7.0}/s {:>4.0} %  {cpu:>16}  [{rounds}]",
                row.case, row.per_second, row.percent
            ),
        );
    }
    line(text, "");
}

fn line(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    writeln!(text, "{line}").unwrap_or_default();
}
