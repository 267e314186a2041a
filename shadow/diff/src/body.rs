//! Two bodies: what form they have, and the comparison for that form.
//!
//! Owns the choice between JSON, text and binary. The declared type is a claim: a body that says JSON and does not parse
//! is text. Must stay true: equal bytes never get here.

use crate::budget::Meter;
use crate::difference::{Difference, Kind, Part};
use crate::findings::Findings;
use crate::header::media_type;
use crate::json::{self, Doc, Limits};
use crate::rule::JSON_TEXT;
use crate::{Budget, Fragment, Obs, RuleSet, Why, binary, path, text, tree};

/// One side's answer with its decoded body.
pub(crate) struct Decoded<'a> {
    pub(crate) obs: &'a Obs<'a>,
    pub(crate) body: &'a [u8],
}

/// A body in the form that it is compared in.
enum Form<'a> {
    Empty,
    Json(Doc<'a>),
    Text,
    Binary,
}

/// Compares two different bodies.
pub(crate) fn compare(
    legacy: &Decoded<'_>,
    new: &Decoded<'_>,
    rules: &RuleSet,
    budget: &Budget,
    findings: &mut Findings,
) -> Result<(), Why> {
    let mut meter = Meter::new(budget);
    meter.charge((legacy.body.len() + new.body.len()) / 64)?;
    let a = form(legacy, budget, None)?;
    let b = form(new, budget, if let Form::Json(doc) = &a { Some(doc) } else { None })?;
    match (a, b) {
        (Form::Json(a), Form::Json(b)) => {
            let before = findings.seen();
            tree::compare(&a, &b, rules, findings, &mut meter)?;
            if findings.seen() == before {
                findings.hide(JSON_TEXT, "body");
            }
        }
        (Form::Text, Form::Text) => {
            text::compare(legacy.body, new.body, rules, findings, &mut meter)?;
        }
        (a, b) => {
            // The only action that a whole body can have is `ignore`.
            if let Some(rule) = rules.at_body().next() {
                findings.hide(&rule.id(), "body");
            } else if matches!((&a, &b), (Form::Binary | Form::Text, Form::Binary | Form::Text)) {
                binary::report(legacy.body, new.body, findings);
            } else {
                other_form((legacy.body, &a), (new.body, &b), findings);
            }
        }
    }
    Ok(())
}

fn other_form(legacy: (&[u8], &Form<'_>), new: (&[u8], &Form<'_>), findings: &mut Findings) {
    let kind = Kind::TypeChanged;
    findings.push(Difference {
        location: path::plain(Part::Body),
        kind,
        legacy: Some(fragment(legacy.0, legacy.1)),
        new: Some(fragment(new.0, new.1)),
        severity: kind.severity(),
    });
}

fn fragment(body: &[u8], form: &Form<'_>) -> Fragment {
    match form {
        Form::Empty | Form::Text => Fragment::of_text(body),
        Form::Json(doc) => Fragment::of_json(doc, Doc::ROOT),
        Form::Binary => binary::describe(body),
    }
}

/// Reads a body; `other` is the document that it is probably much like.
fn form<'a>(side: &Decoded<'a>, budget: &Budget, other: Option<&Doc<'_>>) -> Result<Form<'a>, Why> {
    if side.body.is_empty() {
        return Ok(Form::Empty);
    }
    let declared = side.obs.header("content-type").map(media_type).unwrap_or_default();
    if is_json(&declared) || (may_lie(&declared) && looks_like_json(side.body)) {
        let body = side.body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(side.body);
        let limits = Limits { nodes: budget.nodes };
        let read = match other {
            Some(other) => json::parse_beside(body, limits, other),
            None => json::parse(body, limits),
        };
        match read {
            Ok(doc) => return Ok(Form::Json(doc)),
            Err(error) if error.kind == json::JsonErrorKind::TooDeep => return Err(Why::TooDeep),
            Err(error) if error.kind.is_limit() => return Err(Why::OverBudget),
            Err(_) => {}
        }
    }
    let text = is_text(&declared)
        || (!is_binary(&declared)
            && !side.body.contains(&0)
            && std::str::from_utf8(side.body).is_ok());
    Ok(if text { Form::Text } else { Form::Binary })
}

fn is_json(media: &str) -> bool {
    media == "application/json" || media == "text/json" || media.ends_with("+json")
}

/// Types that servers send for want of a better one.
fn may_lie(media: &str) -> bool {
    matches!(media, "" | "text/plain" | "application/octet-stream" | "text/javascript")
}

fn looks_like_json(body: &[u8]) -> bool {
    matches!(body.trim_ascii_start().first(), Some(b'{' | b'['))
}

fn is_text(media: &str) -> bool {
    media.starts_with("text/")
        || media.ends_with("+xml")
        || matches!(
            media,
            "application/xml" | "application/javascript" | "application/x-www-form-urlencoded"
        )
}

fn is_binary(media: &str) -> bool {
    let family = media.split('/').next().unwrap_or_default();
    matches!(family, "image" | "audio" | "video" | "font")
        || matches!(media, "application/octet-stream" | "application/pdf" | "application/zip")
}
