//! From a confirmed mismatch to what is counted and stored of it.
//!
//! Owns groups (where, kind, severity, transition), the worst difference of a read, and the redacted example. What must
//! stay true: one read counts once per group, however many elements of a list show it.

use crate::MirrorRequest;
use crate::ledger::Group;
use crate::redact::{self, AuthClass, Redaction};
use crate::tally::Sample;
use banyan_diff::{Comparison, Difference, Fragment, Kind, ValueChange, ValueClass};
use banyan_domain::{EndpointName, Generation, PathTemplate, Side};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Differences that one sample lists; more are only numbered.
const DIFFERENCES_MAX: usize = 20;

/// The circumstances of a mismatch.
pub(crate) struct Case<'a> {
    pub(crate) endpoint: &'a EndpointName,
    pub(crate) template: Option<&'a PathTemplate>,
    pub(crate) request: &'a MirrorRequest,
    pub(crate) served_by: Side,
    pub(crate) generation: Generation,
    pub(crate) at_ms: u64,
}

/// The groups that a comparison falls in, each once.
pub(crate) fn groups(comparison: &Comparison) -> BTreeSet<Group> {
    comparison.differences.iter().map(group).collect()
}

fn group(difference: &Difference) -> Group {
    Group {
        shape: redact::shape(&difference.location.shape),
        kind: difference.kind.label().into_owned(),
        severity: difference.severity.as_str(),
        transition: transition(difference),
    }
}

/// From which class of value to which, such as `rails-time -> iso8601`; neighbouring numbers say their step.
pub(crate) fn transition(difference: &Difference) -> String {
    if let Kind::ValueChanged { sub: ValueChange::Number } = difference.kind
        && let Some(step @ -1..=1) = step(difference)
    {
        return format!("int -> int{step:+}");
    }
    if difference.kind == Kind::StatusChanged {
        let text =
            |side: &Option<Fragment>| side.as_ref().map_or("?", |f| f.text.as_str()).to_owned();
        return format!("{} -> {}", text(&difference.legacy), text(&difference.new));
    }
    let class = |side: &Option<Fragment>| side.as_ref().map_or("absent", |f| class(f.class()));
    format!("{} -> {}", class(&difference.legacy), class(&difference.new))
}

fn step(difference: &Difference) -> Option<i64> {
    let number = |side: &Option<Fragment>| side.as_ref()?.text.parse::<i64>().ok();
    number(&difference.new)?.checked_sub(number(&difference.legacy)?)
}

/// The word of a class without its size, which differs from answer to answer.
const fn class(class: ValueClass) -> &'static str {
    match class {
        ValueClass::Null => "null",
        ValueClass::Bool => "bool",
        ValueClass::Int => "int",
        ValueClass::Number => "number",
        ValueClass::Uuid => "uuid",
        ValueClass::Hex(_) => "hex",
        ValueClass::Iso8601 => "iso8601",
        ValueClass::RailsTime => "rails-time",
        ValueClass::Epoch => "epoch",
        ValueClass::Url => "url",
        ValueClass::Empty => "empty",
        ValueClass::String(_) => "string",
        ValueClass::Array(_) => "array",
        ValueClass::Object => "object",
        ValueClass::Binary => "binary",
    }
}

/// The redacted example of a mismatch, under its worst difference.
pub(crate) fn sample(redaction: &Redaction, case: &Case<'_>, comparison: &Comparison) -> Sample {
    let worst = comparison.differences.iter().max_by_key(|difference| difference.severity);
    let shown = comparison.differences.iter().take(DIFFERENCES_MAX);
    let body = json!({
        "method": case.request.method,
        "target": redaction.target(&case.request.path_and_query, case.template),
        "auth": AuthClass::of(&case.request.headers).as_str(),
        "served_by": case.served_by.as_str(),
        "generation": case.generation.0,
        "total_differences": comparison.total_differences,
        "differences": shown.map(|difference| entry(redaction, difference)).collect::<Vec<_>>(),
    });
    Sample {
        at_ms: case.at_ms,
        endpoint: case.endpoint.clone(),
        shape: worst.map_or_else(String::new, |d| redact::shape(&d.location.shape)),
        kind: worst.map_or_else(String::new, |d| d.kind.label().into_owned()),
        body,
    }
}

fn entry(redaction: &Redaction, difference: &Difference) -> Value {
    let value = |side: &Option<Fragment>| {
        side.as_ref().map(|f| redaction.fragment(&difference.location, f))
    };
    json!({
        "shape": redact::shape(&difference.location.shape),
        "kind": difference.kind.label(),
        "severity": difference.severity.as_str(),
        "transition": transition(difference),
        "legacy": value(&difference.legacy),
        "new": value(&difference.new),
    })
}

/// What makes a request distinct: method, endpoint, target and the kind of its credentials.
pub(crate) fn fingerprint(
    redaction: &Redaction,
    endpoint: &EndpointName,
    request: &MirrorRequest,
) -> u64 {
    redaction.hash(&[
        b"request",
        endpoint.as_str().as_bytes(),
        request.method.as_bytes(),
        request.path_and_query.as_bytes(),
        AuthClass::of(&request.headers).as_str().as_bytes(),
    ])
}

#[cfg(test)]
mod tests;
