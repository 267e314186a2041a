//! The report as Markdown, for the comment on a pull request or the summary of a CI job.
//!
//! Owns the length and the escaping. It exists because code hosts cut or drop long comments without a word. What must stay
//! true: never longer than asked, the worst first, and a line says what was cut; whatever comes from an answer or a name stands in a
//! code span, where it can neither format the page, nor link, nor call a person by an at sign.

use crate::model::{EndpointReport, Example, Group, Report, RuleState};
use crate::number::{counted, grouped, utc};

use super::line::{self, clean};

/// Bytes that are safe on GitHub, which drops summaries of 1 MiB.
pub const MARKDOWN_BYTES_MAX: usize = 900 * 1024;

/// Room for the last line, which says what was cut.
const CUT_BYTES: usize = 120;

/// Examples shown per group.
const EXAMPLES: usize = 2;

/// Lines shown of a suggested rule.
const RULE_LINES: usize = 20;

/// Longest text in a code span, in characters.
const SPAN_CHARS: usize = 400;

/// The report in at most `bytes_max` bytes (at least a few hundred, for the verdict).
pub fn render_markdown(report: &Report, bytes_max: usize) -> String {
    let mut page = Page { out: String::new(), bytes_max: bytes_max.max(1_024) - CUT_BYTES };
    let head = format!(
        "## {}: {}\n\n{}, made {}. Gate: {}.\n\n",
        report.verdict().word(),
        line::headline(report),
        span(&line::source(report)),
        utc(report.generated_ms),
        line::gate(report),
    );
    page.push(&head);
    page.table(report);
    let all: usize = report.endpoints.iter().map(|endpoint| endpoint.groups.len()).sum();
    let mut shown = 0;
    let room = page.bytes_max;
    for (at, endpoint) in report.endpoints.iter().enumerate() {
        // What is left is shared by the endpoints that are left, so that a bad one does not hide the others.
        let left = room.saturating_sub(page.out.len()) / (report.endpoints.len() - at);
        page.bytes_max = page.out.len() + left;
        shown += page.endpoint(endpoint, report);
    }
    page.bytes_max = room;
    if shown < all {
        let (shown, all) = (grouped(shown as u64), grouped(all as u64));
        let line = format!("\n**cut after {shown} of {all} groups**, the worst are shown\n");
        page.out.push_str(&line);
        return page.out;
    }
    page.parts(report);
    page.out
}

struct Page {
    out: String,
    bytes_max: usize,
}

impl Page {
    /// Adds a block, or nothing when it does not fit any more.
    fn push(&mut self, block: &str) -> bool {
        let fits = self.out.len() + block.len() <= self.bytes_max;
        if fits {
            self.out.push_str(block);
        }
        fits
    }

    fn table(&mut self, report: &Report) {
        if report.endpoints.is_empty() {
            return;
        }
        self.push("| Verdict | Endpoint | Compared | Differ | Late | Skipped | Distinct |\n");
        self.push("|---|---|--:|--:|--:|--:|--:|\n");
        for endpoint in &report.endpoints {
            let row = format!(
                "| {} | {} | {} | {} | {} | {} | {} |\n",
                endpoint.gate.word(),
                cell(&endpoint.endpoint),
                grouped(endpoint.compared),
                grouped(endpoint.mismatched),
                grouped(endpoint.lag),
                grouped(endpoint.skipped_total()),
                grouped(endpoint.distinct_requests),
            );
            // Half of the room is for what differs.
            if self.out.len() + row.len() > self.bytes_max / 2 {
                let all = grouped(report.endpoints.len() as u64);
                let line = format!("\ncut: {all} endpoints in all\n");
                self.out.push_str(&line);
                break;
            }
            self.push(&row);
        }
    }

    /// The number of groups that found room.
    fn endpoint(&mut self, endpoint: &EndpointReport, report: &Report) -> usize {
        let needs = line::still_needed(endpoint, report);
        let lag = endpoint.lag_time.as_ref();
        let says_more = !endpoint.groups.is_empty() || !endpoint.hidden.is_empty();
        if !says_more && needs.is_none() && lag.is_none() {
            return 0;
        }
        let title = span(&endpoint.endpoint);
        let seen = line::endpoint(endpoint, report);
        let needs = needs.map(|needs| format!("\nNeeds {}.\n", span(&needs))).unwrap_or_default();
        let lag =
            lag.map(|lag| format!("\nLag: {}.\n", line::lag(lag, report))).unwrap_or_default();
        let head = format!("\n### {} {title}\n\n{seen}\n{needs}{lag}", endpoint.gate.word());
        if !self.push(&head) {
            return 0;
        }
        let mut path = None;
        let mut shown = 0;
        for group in &endpoint.groups {
            let is_new = path != Some(&group.path);
            let title =
                if is_new { format!("\n#### {}\n\n", span(&group.path)) } else { String::new() };
            if !self.push(&format!("{title}{}", one_group(group))) {
                return shown;
            }
            path = Some(&group.path);
            shown += 1;
        }
        self.hidden(endpoint);
        shown
    }

    fn hidden(&mut self, endpoint: &EndpointReport) {
        for hidden in endpoint.hidden.iter().take(20) {
            let seen = line::span(hidden.first_ms, hidden.last_ms);
            let count = counted(hidden.count, "time");
            self.push(&format!("- hidden by {}: {count} {seen}\n", span(&hidden.rule)));
        }
    }

    fn parts(&mut self, report: &Report) {
        if let Some(lag) = &report.lag {
            self.push(&format!(
                "\n### {}\n\n{}\n",
                line::lag_title(report),
                line::lag(lag, report)
            ));
        }
        let idle = report.rules.iter().filter(|rule| rule.state != RuleState::Active);
        for (at, rule) in idle.enumerate() {
            let head = if at == 0 { "\n### Rules that did nothing\n\n" } else { "" };
            let (id, state) = (span(&rule.id), rule.state.as_str());
            self.push(&format!("{head}- {state}: {id} {}\n", span(&rule.reason)));
        }
        for (at, noise) in report.noise.iter().enumerate() {
            let head = if at == 0 {
                "\n### Noise\n\nPlaces where legacy differs from itself. **REAL**: new differs beyond it.\n\n"
            } else {
                ""
            };
            self.push(&format!(
                "{head}- {}{} {}{}: {}\n",
                if noise.is_real { "**REAL** " } else { "" },
                span(&noise.endpoint),
                span(&noise.path),
                if noise.kind.is_empty() {
                    String::new()
                } else {
                    format!(" {}", span(&noise.kind))
                },
                line::noise(noise),
            ));
        }
        for (at, hint) in report.suggestions.iter().enumerate() {
            let head = if at == 0 { "\n### Suggested rules\n\n" } else { "" };
            self.push(&format!(
                "{head}- {} {}: explains {} of {}, would also have hidden {} breaking\n",
                span(&hint.endpoint),
                span(&hint.cause),
                grouped(hint.explains),
                grouped(hint.of),
                grouped(hint.hides_breaking),
            ));
            for line in hint.rule.lines().take(RULE_LINES) {
                self.push(&format!("  - {}\n", span(line)));
            }
        }
        for (at, found) in report.templates.iter().enumerate() {
            let head = if at == 0 { "\n### Requests that no endpoint declares\n\n" } else { "" };
            let request = span(&format!("{} {}", found.method, found.template));
            self.push(&format!("{head}- {request}: {}\n", counted(found.requests, "request")));
        }
    }
}

fn one_group(group: &Group) -> String {
    let mut text = format!(
        "- **{}** {} {}, {}\n",
        group.severity,
        span(&group.kind),
        counted(group.count, "time"),
        line::span(Some(group.first_seen_ms), Some(group.last_seen_ms)),
    );
    for cause in group.causes.iter().take(5) {
        let line = format!("  - {} {}\n", span(&cause.text), counted(cause.count, "time"));
        text.push_str(&line);
    }
    for example in group.examples.iter().take(EXAMPLES) {
        text.push_str(&one_example(example));
    }
    text
}

fn one_example(example: &Example) -> String {
    let value = |side: &Option<String>| span(side.as_deref().unwrap_or("(none)"));
    let mut text = format!(
        "  - {} at {}: legacy {}, new {}\n",
        span(&example.request),
        span(&example.location),
        value(&example.legacy),
        value(&example.new),
    );
    if !example.replay.is_empty() {
        let line = format!("    - {}\n", whole_span(&example.replay));
        text.push_str(&line);
    } else if !example.note.is_empty() {
        let line = format!("    - {}\n", span(&example.note));
        text.push_str(&line);
    }
    text
}

/// Text in a table: no pipe, not even an escaped one, because a backslash before it would undo the escape.
fn cell(text: &str) -> String {
    span(&text.replace('|', "\u{A6}"))
}

/// A code span of bounded length.
fn span(text: &str) -> String {
    let mut chars = text.chars();
    let short: String = chars.by_ref().take(SPAN_CHARS).collect();
    whole_span(&if chars.next().is_some() { format!("{short}..") } else { short })
}

/// A code span. Its fence is longer than any run of backticks within.
fn whole_span(text: &str) -> String {
    let text = clean(text);
    if text.trim().is_empty() {
        return "`(empty)`".to_owned();
    }
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    // A space on both sides is not shown; it keeps a backtick at an end off the fence.
    let pad = if longest > 0 || text.starts_with(' ') || text.ends_with(' ') { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

#[cfg(test)]
mod tests;
