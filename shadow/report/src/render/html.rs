//! The report as a folder of pages, or as one page for mail.
//!
//! Owns the split into files and the frame of a page. It exists for people who read a report in a browser: of a CI server that
//! forbids scripts and inline styles, on a telephone, or on paper. What must stay true: no script, no style attribute, nothing
//! fetched from elsewhere; every value is escaped (by `maud`, which escapes whatever is not markup); bounded in size, and what is
//! left out is said.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::gate::GateVerdict;
use crate::model::{EndpointReport, Report};
use crate::number::{grouped, utc};

use super::line::{self, clean};

mod endpoint;
mod part;

/// The style sheet, beside the pages or within the single one.
const STYLE: &str = include_str!("html/report.css");

/// Groups on one page; with more, each endpoint gets a page of its own.
const GROUPS_PER_INDEX: usize = 100;

/// Groups shown of one endpoint, the worst first.
const GROUPS_PER_ENDPOINT: usize = 500;

/// One file of the report's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HtmlFile {
    /// Its name, without a folder: `index.html`, `report.css`, ..
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// The report as files of one folder; `index.html` is the first.
pub fn render_html(report: &Report) -> Vec<HtmlFile> {
    let split = groups(report) > GROUPS_PER_INDEX;
    let details = if split { Details::Elsewhere } else { Details::Here };
    let style = html! { link rel="stylesheet" href="report.css"; };
    let index = page("Shadow report", &style, &index(report, details));
    let mut files = vec![
        HtmlFile { name: "index.html".to_owned(), text: index },
        HtmlFile { name: "report.css".to_owned(), text: STYLE.to_owned() },
    ];
    if split {
        files.extend(report.endpoints.iter().enumerate().map(|(at, endpoint)| HtmlFile {
            name: file_name(at, endpoint),
            text: page(&clean(&endpoint.endpoint), &style, &endpoint_page(report, endpoint)),
        }));
    }
    files
}

/// The report as one page with its style inside, e.g. for mail.
pub fn render_html_inline(report: &Report) -> String {
    let style = html! { style { (PreEscaped(STYLE)) } };
    page("Shadow report", &style, &index(report, Details::Here))
}

/// Where the groups of an endpoint are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Details {
    Here,
    Elsewhere,
}

fn page(title: &str, style: &Markup, body: &Markup) -> String {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                (style)
            }
            body { main { (body) } }
        }
    };
    markup.into_string()
}

fn index(report: &Report, details: Details) -> Markup {
    html! {
        header {
            p.kicker { "Banyan shadow report" }
            h1 { (badge(&report.verdict())) " " (line::headline(report)) }
            dl.facts {
                (fact("Source", &line::source(report)))
                (fact("Made", &utc(report.generated_ms)))
                (fact("Since", &report.since_ms.map_or_else(|| "all that is kept".to_owned(), utc)))
                (fact("Gate", &line::gate(report)))
                (fact("Coverage", &coverage(report)))
            }
        }
        (table(report, details))
        @if details == Details::Here {
            @for (at, endpoint) in report.endpoints.iter().enumerate() {
                (endpoint::section(endpoint, report, &anchor(at), groups_left(report)))
            }
        }
        (part::all(report))
        footer { p { "Values are redacted: " code { "tok:class:hash" } ", the same value has the same token." } }
    }
}

fn endpoint_page(report: &Report, endpoint: &EndpointReport) -> Markup {
    html! {
        header {
            p.kicker { a href="index.html" { "Banyan shadow report" } }
            h1 {
                (badge(&endpoint.gate)) " " (clean(&endpoint.endpoint)) ": "
                (line::endpoint(endpoint, report))
            }
        }
        (endpoint::section(endpoint, report, "endpoint", GROUPS_PER_ENDPOINT))
    }
}

fn fact(name: &str, value: &str) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

fn coverage(report: &Report) -> String {
    let coverage = report.coverage;
    format!("{} of {} endpoints judged", grouped(coverage.judged), grouped(coverage.endpoints))
}

/// The verdict as a word in a box; colour is only a help.
fn badge(verdict: &GateVerdict) -> Markup {
    let class = match verdict {
        GateVerdict::Pass => "pass",
        GateVerdict::Fail { .. } => "fail",
        GateVerdict::Inconclusive { .. } => "open",
    };
    html! { span class={ "badge " (class) } { (verdict.word()) } }
}

fn table(report: &Report, details: Details) -> Markup {
    html! {
        @if !report.endpoints.is_empty() {
            table.wide {
                caption { "Endpoints, the worst first" }
                thead { tr {
                    @for name in ["Verdict", "Endpoint", "Phase", "Compared", "Differ", "Late", "Undecided", "Errors", "Skipped", "Distinct"] {
                        th scope="col" { (name) }
                    }
                } }
                tbody {
                    @for (at, endpoint) in report.endpoints.iter().enumerate() {
                        (row(endpoint, report, &link(at, endpoint, details)))
                    }
                }
            }
        }
    }
}

fn row(endpoint: &EndpointReport, report: &Report, link: &str) -> Markup {
    let numbers = [
        ("Compared", endpoint.compared),
        ("Differ", endpoint.mismatched),
        ("Late", endpoint.lag),
        ("Undecided", endpoint.inconclusive),
        ("Errors", endpoint.errors),
        ("Skipped", endpoint.skipped_total()),
        ("Distinct", endpoint.distinct_requests),
    ];
    html! {
        tr {
            td data-label="Verdict" { (badge(&endpoint.gate)) }
            th scope="row" data-label="Endpoint" { a href=(link) { (clean(&endpoint.endpoint)) } }
            td data-label="Phase" { (clean(&endpoint.phase)) }
            @for (name, number) in numbers {
                td.number data-label=(name) { (grouped(number)) }
            }
        }
        @if let Some(needs) = line::still_needed(endpoint, report) {
            tr.remark { td colspan="10" { "needs " (needs) } }
        }
    }
}

fn link(at: usize, endpoint: &EndpointReport, details: Details) -> String {
    match details {
        Details::Here => format!("#{}", anchor(at)),
        Details::Elsewhere => file_name(at, endpoint),
    }
}

fn anchor(at: usize) -> String {
    format!("endpoint-{}", at + 1)
}

/// A name that any file system takes; the number keeps two names apart.
fn file_name(at: usize, endpoint: &EndpointReport) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let name: String = endpoint.endpoint.chars().take(60).map(plain).collect();
    format!("{:03}-{name}.html", at + 1)
}

fn groups(report: &Report) -> usize {
    report.endpoints.iter().map(|endpoint| endpoint.groups.len()).sum()
}

/// Groups per endpoint, so that one page with all of them stays readable.
fn groups_left(report: &Report) -> usize {
    GROUPS_PER_ENDPOINT / report.endpoints.len().clamp(1, GROUPS_PER_ENDPOINT)
}

#[cfg(test)]
mod tests;
