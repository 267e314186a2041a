//! The report as text for a terminal or a CI log.
//!
//! Owns the lines: verdict word first, aligned, then endpoint -> path -> cause with examples and a replay command. What
//! must stay true: the first line is the verdict with numbers; readable without colour; no control character of an
//! answer reaches the terminal.

use crate::gate::{FailReason, GateVerdict, OpenReason};
use crate::model::{EndpointReport, Example, Group, Report};
use crate::number::{counted, grouped, share, utc};

use super::Style;

/// Width of the longest verdict word and two spaces.
const WORD_WIDTH: usize = 14;

/// Rules listed per endpoint under what was hidden.
const HIDDEN_MAX: usize = 8;

/// The whole report.
pub fn render_terminal(report: &Report, style: Style) -> String {
    let mut page = Page { out: String::new(), style };
    page.headline(report);
    page.gate_lines(report);
    for endpoint in report.endpoints.iter().filter(|endpoint| has_details(endpoint)) {
        page.endpoint(endpoint);
    }
    page.out.push('\n');
    page.hints(report);
    page.out.truncate(page.out.trim_end().len());
    page.out.push('\n');
    page.out
}

/// Only the verdict per endpoint, as a gate prints it.
pub fn render_gate(report: &Report, style: Style) -> String {
    let mut page = Page { out: String::new(), style };
    if report.endpoints.is_empty() {
        page.headline(report);
    }
    page.gate_lines(report);
    page.hints(report);
    page.out
}

struct Page {
    out: String,
    style: Style,
}

impl Page {
    fn line(&mut self, indent: usize, text: &str) {
        self.out.extend(std::iter::repeat_n(' ', indent));
        // What comes from answers and request lines must not steer the terminal.
        self.out.extend(text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }));
        self.out.push('\n');
    }

    /// A line that starts with a verdict word.
    fn verdict_line(&mut self, verdict: &GateVerdict, text: &str) {
        let word = verdict.word();
        if self.style.colour {
            let code = match verdict {
                GateVerdict::Pass => "32",
                GateVerdict::Fail { .. } => "31",
                GateVerdict::Inconclusive { .. } => "33",
            };
            self.out.extend(["\u{1b}[1;", code, "m", word, "\u{1b}[0m"]);
        } else {
            self.out.push_str(word);
        }
        self.line(WORD_WIDTH - word.len(), text);
    }

    fn headline(&mut self, report: &Report) {
        let verdict = report.verdict();
        let of_rank = |rank| report.endpoints.iter().filter(move |e| e.gate.rank() == rank).count();
        let sum =
            |count: fn(&EndpointReport) -> u64| report.endpoints.iter().map(count).sum::<u64>();
        if report.endpoints.is_empty() {
            let since = report.since_ms.map(|ms| format!(" since {}", utc(ms))).unwrap_or_default();
            return self.verdict_line(&verdict, &format!("nothing was compared{since}"));
        }
        let text = format!(
            "{}: {} pass, {} fail, {} inconclusive; {} compared, {} differ, {}{}",
            counted(report.endpoints.len() as u64, "endpoint"),
            of_rank(2),
            of_rank(0),
            of_rank(1),
            grouped(sum(|e| e.compared)),
            grouped(sum(|e| e.mismatched)),
            report.gate,
            report.since_ms.map(|ms| format!(", since {}", utc(ms))).unwrap_or_default(),
        );
        self.verdict_line(&verdict, &text);
        self.out.push('\n');
    }

    fn gate_lines(&mut self, report: &Report) {
        for endpoint in &report.endpoints {
            let text = format!("{}: {}", endpoint.endpoint, summary(endpoint, report));
            self.verdict_line(&endpoint.gate, &text);
        }
    }

    fn endpoint(&mut self, endpoint: &EndpointReport) {
        self.out.push('\n');
        self.line(0, &endpoint.endpoint);
        let mut path = None;
        for group in &endpoint.groups {
            if path != Some(&group.path) {
                self.line(2, &group.path);
                path = Some(&group.path);
            }
            self.group(group);
        }
        self.list(2, "hidden", endpoint.hidden.iter().map(|h| (h.rule.as_str(), h.count)));
        self.list(
            2,
            "skipped",
            endpoint.skipped.iter().map(|(reason, count)| (reason.as_str(), *count)),
        );
    }

    fn group(&mut self, group: &Group) {
        let first = utc(group.first_seen_ms);
        let last = utc(group.last_seen_ms);
        let count = counted(group.count, "time");
        self.line(4, &format!("{}  {}  {count}  {first} to {last}", group.severity, group.kind));
        for cause in &group.causes {
            self.line(6, &format!("{}  {}", counted(cause.count, "time"), cause.text));
        }
        for example in group.examples.iter().take(self.style.examples) {
            self.example(example);
        }
    }

    fn example(&mut self, example: &Example) {
        self.line(6, &format!("{}  at {}", example.request, example.location));
        self.line(8, &format!("legacy  {}", example.legacy.as_deref().unwrap_or("(none)")));
        self.line(8, &format!("new     {}", example.new.as_deref().unwrap_or("(none)")));
        if !example.replay.is_empty() {
            self.line(8, &format!("replay: {}", example.replay));
        }
    }

    fn list<'a>(
        &mut self,
        indent: usize,
        title: &str,
        items: impl Iterator<Item = (&'a str, u64)>,
    ) {
        let items: Vec<_> = items.filter(|(_, count)| *count > 0).collect();
        if items.is_empty() {
            return;
        }
        let shown = items.iter().take(HIDDEN_MAX);
        let mut text: Vec<String> =
            shown.map(|(name, count)| format!("{name} {}", grouped(*count))).collect();
        if items.len() > HIDDEN_MAX {
            text.push(format!("and {} more", items.len() - HIDDEN_MAX));
        }
        self.line(indent, &format!("{title}: {}", text.join(", ")));
    }

    fn hints(&mut self, report: &Report) {
        let open = |e: &&EndpointReport| matches!(e.gate, GateVerdict::Inconclusive { .. });
        if let Some(endpoint) = report.endpoints.iter().find(open) {
            let name = &endpoint.endpoint;
            self.line(0, &format!("hint: {name} needs more traffic: raise `mirror-percent`, wait, or allow more mismatches"));
        }
        if report.endpoints.is_empty() {
            self.line(0, "hint: put an endpoint into shadow: banyan route flip <endpoint> shadow");
        }
    }
}

/// Everything after `endpoint:` on its gate line.
fn summary(endpoint: &EndpointReport, report: &Report) -> String {
    let compared = grouped(endpoint.compared);
    let seen = match endpoint.gate {
        GateVerdict::Inconclusive { needed, why } => format!(
            "{} compared, {} needed  ({} so far){}",
            counted(endpoint.distinct_requests, "distinct request"),
            grouped(needed),
            mismatches(endpoint.mismatched),
            if why == OpenReason::Evidence { String::new() } else { format!(", {why}") },
        ),
        GateVerdict::Pass => format!(
            "{compared} compared, {} differ ({}, {})",
            grouped(endpoint.mismatched),
            share(endpoint.mismatched, endpoint.compared),
            report.gate,
        ),
        GateVerdict::Fail { why } => format!(
            "{} of {compared} compared differ ({}, {}){}",
            grouped(endpoint.mismatched),
            share(endpoint.mismatched, endpoint.compared),
            report.gate,
            reason(why),
        ),
    };
    let mut parts = vec![seen];
    for (count, what) in [
        (endpoint.lag, "late"),
        (endpoint.inconclusive, "undecided"),
        (endpoint.errors, "with errors"),
    ] {
        if count > 0 {
            parts.push(format!("{} {what}", grouped(count)));
        }
    }
    if !endpoint.hidden.is_empty() {
        let rules = counted(endpoint.hidden.len() as u64, "rule");
        parts.push(format!("{} hidden by {rules}", grouped(endpoint.hidden_total())));
    }
    parts.push(format!("{} skipped", grouped(endpoint.skipped_total())));
    parts.join(", ")
}

fn mismatches(count: u64) -> String {
    format!("{} mismatch{}", grouped(count), if count == 1 { "" } else { "es" })
}

fn reason(why: FailReason) -> String {
    match why {
        FailReason::Breaking { .. }
        | FailReason::NewErrors { .. }
        | FailReason::UnderNoise { .. }
        | FailReason::Lag { .. } => format!(", {why}"),
        FailReason::OverBudget => String::new(),
    }
}

fn has_details(endpoint: &EndpointReport) -> bool {
    !endpoint.groups.is_empty() || endpoint.hidden_total() > 0 || endpoint.skipped_total() > 0
}

#[cfg(test)]
mod tests;
