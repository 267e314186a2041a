//! The report as text for a terminal or a CI log.
//!
//! Owns the lines: verdict word first, aligned, then endpoint -> path -> cause with examples and a replay command. What
//! must stay true: the first line is the verdict with numbers; readable without colour; no control character of an
//! answer reaches the terminal.

use crate::gate::{GateVerdict, OpenReason};
use crate::model::{EndpointReport, Example, Group, NoiseReport, Report, RuleReport, RuleState};
use crate::number::{counted, grouped};

use super::{Style, line};

/// Width of the longest verdict word and two spaces.
const WORD_WIDTH: usize = 14;

/// Rules listed per endpoint under what was hidden.
const HIDDEN_MAX: usize = 8;

/// Places of noise listed under the gate line of an endpoint.
const NOISE_MAX: usize = 5;

/// Rules, places of noise and suggestions listed.
const PARTS_MAX: usize = 20;

/// The whole report.
pub fn render_terminal(report: &Report, style: Style) -> String {
    let mut page = Page { out: String::new(), style };
    page.verdict_line(&report.verdict(), &line::headline(report));
    if !report.endpoints.is_empty() {
        page.out.push('\n');
    }
    page.gate_lines(report);
    for endpoint in report.endpoints.iter().filter(|endpoint| has_details(endpoint)) {
        page.endpoint(endpoint, report);
    }
    page.parts(report);
    page.out.push('\n');
    page.hints(report);
    page.out.truncate(page.out.trim_end().len());
    page.out.push('\n');
    page.out
}

/// Only the verdict per endpoint, as a gate prints it.
pub fn render_gate(report: &Report, style: Style) -> String {
    let mut page = Page { out: String::new(), style };
    let verdict = report.verdict();
    if report.endpoints.is_empty() || is_uncovered(&verdict) {
        page.verdict_line(&verdict, &line::headline(report));
    }
    for endpoint in &report.endpoints {
        page.gate_line(endpoint, report);
        page.noise_below(endpoint, report);
    }
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
        self.out.push_str(&line::clean(text));
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

    fn gate_lines(&mut self, report: &Report) {
        for endpoint in &report.endpoints {
            self.gate_line(endpoint, report);
        }
    }

    fn gate_line(&mut self, endpoint: &EndpointReport, report: &Report) {
        let text = format!("{}: {}", endpoint.endpoint, line::endpoint(endpoint, report));
        self.verdict_line(&endpoint.gate, &text);
        if let Some(needs) = line::still_needed(endpoint, report) {
            self.line(WORD_WIDTH, &format!("needs {needs}"));
        }
    }

    /// What hid differences of an endpoint as noise, and what the noise would hide: a verdict rests on both.
    fn noise_below(&mut self, endpoint: &EndpointReport, report: &Report) {
        let counts = |place: &&NoiseReport| {
            place.endpoint == endpoint.endpoint && (place.is_real || place.hidden > 0)
        };
        let places: Vec<_> = report.noise.iter().filter(counts).collect();
        for place in places.iter().take(NOISE_MAX) {
            let (word, said) = (line::noise_word(place), line::noise(place));
            self.line(WORD_WIDTH, &format!("{word}  {}: {said}", at(place)));
        }
        if let Some(more @ 1..) = places.len().checked_sub(NOISE_MAX) {
            let more = counted(more as u64, "more place");
            self.line(WORD_WIDTH, &format!("and {more} of noise: banyan shadow noise list"));
        }
    }

    fn endpoint(&mut self, endpoint: &EndpointReport, report: &Report) {
        self.out.push('\n');
        self.line(0, &endpoint.endpoint);
        let mut path = None;
        if let Some(lag) = &endpoint.lag_time {
            self.line(2, &line::lag(lag, report));
        }
        for group in endpoint.groups.iter().take(self.style.groups) {
            if path != Some(&group.path) {
                self.line(2, &group.path);
                path = Some(&group.path);
            }
            self.group(group);
        }
        let groups = endpoint.groups.len();
        if groups > self.style.groups {
            let (shown, all) = (grouped(self.style.groups as u64), grouped(groups as u64));
            self.line(2, &format!("cut after {shown} of {all} groups, the worst were shown"));
        }
        self.list(2, "hidden", endpoint.hidden.iter().map(|h| (h.rule.as_str(), h.count)));
        self.list(
            2,
            "skipped",
            endpoint.skipped.iter().map(|(reason, count)| (reason.as_str(), *count)),
        );
    }

    fn group(&mut self, group: &Group) {
        let count = counted(group.count, "time");
        let span = line::span(Some(group.first_seen_ms), Some(group.last_seen_ms));
        self.line(4, &format!("{}  {}  {count}  {span}", group.severity, group.kind));
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
        } else if !example.note.is_empty() {
            self.line(8, &format!("replay: {}", example.note));
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

    /// How late new was, what rules and noise did, and what the differences suggest.
    fn parts(&mut self, report: &Report) {
        if let Some(lag) = &report.lag {
            self.out.push('\n');
            self.line(
                0,
                &format!("{}: {}", line::lag_title(report).to_lowercase(), line::lag(lag, report)),
            );
        }
        self.rules_and_noise(report);
        if !report.suggestions.is_empty() {
            self.out.push('\n');
            self.line(0, "suggested rules");
        }
        for hint in report.suggestions.iter().take(PARTS_MAX) {
            let effect = format!(
                "explains {} of {}, would also have hidden {} breaking",
                grouped(hint.explains),
                grouped(hint.of),
                grouped(hint.hides_breaking),
            );
            self.line(2, &format!("{}  {}: {effect}", hint.endpoint, hint.cause));
            for line in hint.rule.lines() {
                self.line(6, line);
            }
        }
    }

    fn rules_and_noise(&mut self, report: &Report) {
        let idle = |rule: &&RuleReport| rule.state != RuleState::Active;
        let mut idle = report.rules.iter().filter(idle).peekable();
        if idle.peek().is_some() {
            self.out.push('\n');
            self.line(0, "rules that did nothing");
        }
        for rule in idle.take(PARTS_MAX) {
            let since = rule.expires.as_deref().unwrap_or("");
            self.line(2, &format!("{}  {}  {} {since}", rule.state.as_str(), rule.id, rule.reason));
        }
        if !report.noise.is_empty() {
            self.out.push('\n');
            self.line(
                0,
                "noise: places where legacy differs from itself; REAL: new differs beyond it",
            );
        }
        for noise in report.noise.iter().take(PARTS_MAX) {
            let (word, said) = (line::noise_word(noise), line::noise(noise));
            self.line(2, &format!("{word}  {}  {}: {said}", noise.endpoint, at(noise)));
        }
        if report.noise.len() > PARTS_MAX {
            let (shown, all) = (PARTS_MAX, grouped(report.noise.len() as u64));
            self.line(2, &format!("cut after {shown} of {all} places, the REAL ones were first"));
        }
    }

    fn hints(&mut self, report: &Report) {
        let open = |e: &&EndpointReport| {
            matches!(e.gate, GateVerdict::Inconclusive { why: OpenReason::Evidence, .. })
        };
        let open = report.endpoints.iter().find(open).map(|endpoint| endpoint.endpoint.as_str());
        for hint in line::hints(report, open) {
            self.line(0, &hint);
        }
    }
}

/// Whether it is the number of judged endpoints that keeps the gate open.
fn is_uncovered(verdict: &GateVerdict) -> bool {
    matches!(verdict, GateVerdict::Inconclusive { why: OpenReason::Coverage, .. })
}

fn has_details(endpoint: &EndpointReport) -> bool {
    !endpoint.groups.is_empty()
        || endpoint.lag_time.is_some()
        || endpoint.hidden_total() > 0
        || endpoint.skipped_total() > 0
}

/// Where the noise is, with its kind if that is known.
fn at(place: &NoiseReport) -> String {
    format!("{} {}", place.path, place.kind).trim_end().to_owned()
}

#[cfg(test)]
mod tests;
