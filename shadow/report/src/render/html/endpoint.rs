//! One endpoint of the page: path, cause, examples, and what was skipped or hidden there.
//!
//! Owns the folding. It exists apart because it is what the index and a page of its own share. What must stay true: all of it is
//! readable without a script; a folded part says how much is in it.

use maud::{Markup, html};

use crate::model::{EndpointReport, Example, Group, LagReport, Report};
use crate::number::{counted, duration, grouped};

use super::badge;
use crate::render::line::{self, clean};

/// Groups that are unfolded from the start.
const OPEN_GROUPS: usize = 3;

pub(super) fn section(
    endpoint: &EndpointReport,
    report: &Report,
    anchor: &str,
    groups_max: usize,
) -> Markup {
    html! {
        section id=(anchor) {
            h2 { (badge(&endpoint.gate)) " " (clean(&endpoint.endpoint)) }
            @if endpoint.groups.is_empty() {
                p.quiet { "No confirmed difference." }
            }
            @for (at, group) in endpoint.groups.iter().take(groups_max).enumerate() {
                @if at == 0 || endpoint.groups[at - 1].path != group.path {
                    h3 { code { (clean(&group.path)) } }
                }
                (one_group(group, at < OPEN_GROUPS))
            }
            @if endpoint.groups.len() > groups_max {
                p.cut {
                    "cut after " (grouped(groups_max as u64)) " of "
                    (counted(endpoint.groups.len() as u64, "group")) ", the worst are shown"
                }
            }
            @if let Some(lag) = &endpoint.lag_time { (histogram(lag, report)) }
            (reasons(endpoint))
        }
    }
}

fn one_group(group: &Group, open: bool) -> Markup {
    let count = counted(group.count, "time");
    let span = line::span(Some(group.first_seen_ms), Some(group.last_seen_ms));
    html! {
        details open[open] {
            summary {
                span class={ "severity " (group.severity.as_str()) } { (group.severity.as_str()) } " "
                code { (clean(&group.kind)) } " " span.count { (count) }
            }
            p.quiet { (span) }
            ul.causes {
                @for cause in &group.causes {
                    li { code { (clean(&cause.text)) } " " span.count { (counted(cause.count, "time")) } }
                }
            }
            @for example in &group.examples { (one_example(example)) }
        }
    }
}

fn one_example(example: &Example) -> Markup {
    let value = |side: &Option<String>| side.as_deref().map_or_else(|| "(none)".to_owned(), clean);
    html! {
        div.example {
            p { code { (clean(&example.request)) } " at " code { (clean(&example.location)) } }
            dl.sides {
                div { dt { "legacy" } dd { code { (value(&example.legacy)) } } }
                div { dt { "new" } dd { code { (value(&example.new)) } } }
            }
            @if !example.replay.is_empty() {
                p.replay { "replay: " code { (clean(&example.replay)) } }
            } @else if !example.note.is_empty() {
                p.replay { "replay: " (clean(&example.note)) }
            }
        }
    }
}

/// How late new was. `meter` draws the bars, so that no style attribute is needed.
pub(super) fn histogram(lag: &LagReport, report: &Report) -> Markup {
    let most = lag.buckets.iter().map(|bucket| bucket.count).max().unwrap_or(0).max(1);
    html! {
        details.lag {
            summary { "Lag: " (line::lag(lag, report)) }
            @if !lag.buckets.is_empty() {
                table {
                    thead { tr { th scope="col" { "Agreed within" } th scope="col" { "Reads" } th scope="col" { "Share" } } }
                    tbody {
                        @for bucket in &lag.buckets {
                            tr {
                                th scope="row" { (bucket.le_ms.map_or_else(|| "more".to_owned(), duration)) }
                                td.number { (grouped(bucket.count)) }
                                td { meter min="0" max=(most) value=(bucket.count) { (grouped(bucket.count)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn reasons(endpoint: &EndpointReport) -> Markup {
    let skipped = endpoint.skipped_total();
    let hidden = endpoint.hidden_total();
    html! {
        @if hidden > 0 {
            details {
                summary { (counted(hidden, "difference")) " hidden by " (counted(endpoint.hidden.len() as u64, "rule")) }
                ul {
                    @for rule in &endpoint.hidden {
                        li {
                            code { (clean(&rule.rule)) } " " span.count { (counted(rule.count, "time")) } " "
                            span.quiet { (line::span(rule.first_ms, rule.last_ms)) }
                        }
                    }
                }
            }
        }
        @if skipped > 0 {
            details {
                summary { (counted(skipped, "request")) " skipped" }
                ul {
                    @for (reason, count) in &endpoint.skipped {
                        li { code { (clean(reason)) } " " span.count { (counted(*count, "time")) } }
                    }
                }
            }
        }
    }
}
