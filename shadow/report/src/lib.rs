//! One report model and its renderings, and the gate that judges it.
//!
//! Owns what a shadow report says and how it looks; it exists apart from the shadow shell so that live tallies, replays
//! and files all end in the same report, and each renderer is one file. What must stay true: pure and deterministic (the
//! same model renders to the same bytes); what is not decided is INCONCLUSIVE, never PASS.

pub mod binomial;
mod gate;
mod model;
mod number;
mod render;
mod replay;
#[cfg(test)]
mod sample;
mod schema;
pub mod watched;

pub use banyan_diff::Severity;
pub use gate::{
    Bound, Evidence, FailReason, Gate, GateError, GateVerdict, MAX_MISMATCH_PERCENT, OpenReason,
};
pub use model::{
    Coverage, EndpointReport, Example, Group, HiddenCount, LagBucket, LagReport, NoiseReport,
    Report, RuleReport, RuleState, SCHEMA, Source, SuggestionReport, TemplateReport, Transition,
};
pub use render::{
    HtmlFile, MARKDOWN_BYTES_MAX, Style, render_gate, render_html, render_html_inline,
    render_junit, render_markdown, render_terminal,
};
pub use replay::{BaseUrls, Credentials};
pub use schema::JSON_SCHEMA;
