//! The parts of the page besides the endpoints: rules, noise, lag, suggestions, templates.
//!
//! Owns one table or list per part. It exists so that what was hidden is seen next to what was found. What must stay true: an empty part
//! leaves no heading; long ones are cut and say so.

use maud::{Markup, html};

use crate::model::{NoiseReport, Report, RuleReport, RuleState, SuggestionReport, TemplateReport};
use crate::number::{counted, grouped, percent};
use crate::render::line::{self, clean};

use super::endpoint::histogram;

/// Rows of one part.
const ROWS_MAX: usize = 200;

pub(super) fn all(report: &Report) -> Markup {
    html! {
        @if let Some(lag) = &report.lag {
            section { h2 { (line::lag_title(report)) } (histogram(lag, report)) }
        }
        (rules(&report.rules))
        (noise(&report.noise))
        (suggestions(&report.suggestions))
        (templates(&report.templates))
    }
}

fn head(names: &[&str]) -> Markup {
    html! { thead { tr { @for name in names { th scope="col" { (name) } } } } }
}

fn cut(all: usize) -> Markup {
    html! {
        @if all > ROWS_MAX {
            p.cut { "cut after " (grouped(ROWS_MAX as u64)) " of " (grouped(all as u64)) }
        }
    }
}

fn rules(rules: &[RuleReport]) -> Markup {
    let idle = rules.iter().filter(|rule| rule.state != RuleState::Active).count() as u64;
    html! {
        @if !rules.is_empty() {
            section {
                h2 { "Rules" }
                p.quiet { (counted(rules.len() as u64, "rule")) ", " (grouped(idle)) " of them dead or expired" }
                table.wide {
                    (head(&["State", "Rule", "Does", "Where", "From", "Hid", "Seen", "Why"]))
                    tbody {
                        @for rule in rules.iter().take(ROWS_MAX) { (rule_row(rule)) }
                    }
                }
                (cut(rules.len()))
            }
        }
    }
}

fn rule_row(rule: &RuleReport) -> Markup {
    let state = rule.state.as_str();
    let until = rule.expires.as_deref().map(|day| format!(" until {}", clean(day)));
    html! {
        tr {
            td data-label="State" { span class={ "state " (state) } { (state) } }
            th scope="row" data-label="Rule" { code { (clean(&rule.id)) } }
            td data-label="Does" { (clean(&rule.action)) (until.unwrap_or_default()) }
            td data-label="Where" { code { (clean(&rule.selector)) } }
            td data-label="From" { (clean(&rule.origin)) " " (clean(&rule.owner)) }
            td.number data-label="Hid" { (grouped(rule.hidden)) }
            td data-label="Seen" { (line::span(rule.first_ms, rule.last_ms)) }
            td data-label="Why" { (clean(&rule.reason)) }
        }
    }
}

fn noise(noise: &[NoiseReport]) -> Markup {
    html! {
        @if !noise.is_empty() {
            section {
                h2 { "Noise" }
                p.quiet { "Places where legacy differs from itself; presence and type are still compared." }
                table.wide {
                    (head(&["Endpoint", "Where", "Noisy", "Rate", "Hid", "Accepted", "Seen"]))
                    tbody {
                        @for place in noise.iter().take(ROWS_MAX) {
                            tr {
                                th scope="row" data-label="Endpoint" { (clean(&place.endpoint)) }
                                td data-label="Where" { code { (clean(&place.path)) } " " (clean(&place.kind)) @if place.is_real {
                                    " " strong { "REAL: new differs beyond it" } ", new alone "
                                    (counted(place.new_alone, "time")) ", legacy alone " (grouped(place.legacy_alone))
                                } }
                                td.number data-label="Noisy" { (grouped(place.noisy)) " of " (grouped(place.pairs)) }
                                td data-label="Rate" { (percent(place.rate_low_percent)) " to " (percent(place.rate_high_percent)) }
                                td.number data-label="Hid" { (grouped(place.hidden)) }
                                td data-label="Accepted" { (if place.accepted { "yes" } else { "no" }) }
                                td data-label="Seen" { (line::span(place.first_ms, place.last_ms)) }
                            }
                        }
                    }
                }
                (cut(noise.len()))
            }
        }
    }
}

fn suggestions(suggestions: &[SuggestionReport]) -> Markup {
    html! {
        @if !suggestions.is_empty() {
            section {
                h2 { "Suggested rules" }
                @for hint in suggestions.iter().take(ROWS_MAX) {
                    details {
                        summary {
                            (clean(&hint.endpoint)) " " (clean(&hint.cause)) ": explains " (grouped(hint.explains)) " of "
                            (grouped(hint.of)) ", would also have hidden " (grouped(hint.hides_breaking)) " breaking"
                        }
                        pre { code { @for text in hint.rule.lines() { (clean(text)) "\n" } } }
                    }
                }
                (cut(suggestions.len()))
            }
        }
    }
}

fn templates(templates: &[TemplateReport]) -> Markup {
    html! {
        @if !templates.is_empty() {
            section {
                h2 { "Requests that no endpoint declares" }
                table.wide {
                    (head(&["Method", "Template", "Query", "Requests", "Note"]))
                    tbody {
                        @for found in templates.iter().take(ROWS_MAX) {
                            tr {
                                td data-label="Method" { (clean(&found.method)) }
                                th scope="row" data-label="Template" { code { (clean(&found.template)) } }
                                td data-label="Query" { (clean(&found.query.join(", "))) }
                                td.number data-label="Requests" { (grouped(found.requests)) }
                                td data-label="Note" { (clean(&found.note)) }
                            }
                        }
                    }
                }
                (cut(templates.len()))
            }
        }
    }
}
