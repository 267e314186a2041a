//! Candidate rules for the differences of one comparison.
//!
//! Owns the table from what happened to which rule would allow it, narrowest first. Must stay true: a candidate is only a
//! guess; whoever uses it tries it.

use std::collections::BTreeMap;

use super::{Cause, Mismatch};
use crate::difference::{Difference, Kind, Part, ValueChange};
use crate::json::{self, Doc, Limits, NodeId, Tag};
use crate::{
    Action, BijectionRule, Budget, Comparison, Expected, HostPair, KeyRule, Normaliser, Order,
    Replacement, Rule, TimeRule, Tolerance, Types, decode,
};

/// Relative tolerances that are tried, in order.
const TOLERANCES: [f64; 4] = [1e-9, 1e-6, 1e-4, 1e-2];
/// Longest text at an end that a candidate may name; it must also be without digits.
const EDGE_MAX: usize = 6;
/// Longest name that may stand in a selector; what is longer is data.
const NAME_MAX: usize = 40;
/// Members that identify elements, best first.
const IDENTITY: [&str; 6] = ["id", "uuid", "_id", "urn", "key", "slug"];

/// Candidates for each cause of a comparison, narrowest first; at most one difference of a cause is looked at.
///
/// No candidate carries a value of an answer, with two exceptions that a person sees before using it: host names of URLs
/// that moved, and at most six letters that all texts lost or got at one end.
pub fn propose(
    mismatch: &Mismatch<'_>,
    comparison: &Comparison,
    budget: &Budget,
) -> Vec<(Cause, Rule)> {
    let mut causes: BTreeMap<Cause, &Difference> = BTreeMap::new();
    for difference in &comparison.differences {
        causes.entry(Cause::of(difference)).or_insert(difference);
    }
    let mut found = Vec::new();
    for (cause, difference) in &causes {
        let Some(at) = selector(&cause.shape) else { continue };
        let actions = actions(difference, cause, mismatch, budget);
        let first = actions.first().cloned();
        let reason = format!("suggested: {}; say here why it is harmless", cause.transition);
        let rules = actions.into_iter().filter_map(|action| Rule::new(&at, action, &reason).ok());
        found.extend(rules.map(|rule| (cause.clone(), rule)));
        if let Some(action) = first
            && let Some(everywhere) = everywhere(cause, causes.keys())
            && let Ok(rule) = Rule::new(&everywhere, action, &reason)
        {
            found.push((cause.clone(), rule));
        }
    }
    found
}

/// The shape as selector, unless a name in it may be data.
fn selector(shape: &str) -> Option<String> {
    let names = shape.split(['.', '[', ']', ':', '\'', ' ', '@']);
    let data =
        |name: &str| name.len() > NAME_MAX || name.bytes().filter(u8::is_ascii_digit).count() > 4;
    (!names.into_iter().any(data) && !shape.contains('@') || shape.starts_with("html:"))
        .then(|| shape.to_owned())
}

/// `$..name` when the same happened to members of that name at several places.
fn everywhere<'a>(cause: &Cause, all: impl Iterator<Item = &'a Cause>) -> Option<String> {
    let name = |shape: &str| {
        let (_, name) = shape.strip_prefix('$')?.rsplit_once('.')?;
        let plain =
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        plain.then(|| name.to_owned())
    };
    let own = name(&cause.shape)?;
    let same = |other: &&Cause| {
        other.kind == cause.kind
            && other.transition == cause.transition
            && name(&other.shape).as_deref() == Some(&own)
    };
    (all.filter(same).count() > 1).then(|| format!("$..{own}"))
}

fn actions(
    difference: &Difference,
    cause: &Cause,
    mismatch: &Mismatch<'_>,
    budget: &Budget,
) -> Vec<Action> {
    let kind = difference.kind;
    if let Kind::ValueChanged { sub } = kind {
        return values(sub, difference, cause);
    }
    if let Kind::ArrayReordered { .. } = kind {
        return reordered(difference, mismatch, budget);
    }
    let one = [
        (Kind::ScalarAsString, Some(Action::NumberEqString { decimals: None })),
        (Kind::NullVsMissing, Some(Action::NullEqMissing)),
        (Kind::NullVsEmpty, Some(Action::NullEqEmpty)),
        (Kind::KeyMissing, Some(Action::Expect(Expected::Absent))),
        (Kind::TypeChanged, constant(difference)),
        (Kind::KeyExtra, Some(Action::Ignore)),
        (Kind::HeaderExtra, Some(Action::Ignore)),
        (Kind::HeaderMissing, Some(Action::Ignore)),
        (Kind::CookieExtra, Some(Action::Ignore)),
        (Kind::RedirectTargetChanged, hosts(difference)),
        (Kind::TextHunk, Some(Action::Normaliser(Normaliser::Whitespace))),
    ];
    if kind == Kind::HeaderChanged {
        return vec![Action::Set, Action::IgnoreValue, Action::Ignore];
    }
    let found = one.into_iter().find(|(own, _)| *own == kind);
    found.and_then(|(_, action)| action).into_iter().collect()
}

fn values(sub: ValueChange, difference: &Difference, cause: &Cause) -> Vec<Action> {
    let mut actions = Vec::new();
    match sub {
        ValueChange::Number => {
            actions.extend(decimals(&cause.transition));
            actions.extend(near(difference));
            actions.extend(renamed(cause));
        }
        ValueChange::NumberPrecision => actions.extend(near(difference)),
        ValueChange::TimeFormat => actions.push(Action::Time(TimeRule::default())),
        ValueChange::TimeInstant => actions.extend(slack(&cause.transition)),
        ValueChange::Case => actions.push(Action::Case),
        ValueChange::Whitespace => {
            actions.push(Action::Trim);
            actions.push(Action::Normaliser(Normaliser::Whitespace));
        }
        ValueChange::UrlHost => actions.extend(hosts(difference)),
        ValueChange::Bool => actions.extend(constant(difference)),
        ValueChange::String => {
            actions.extend(edge(difference, &cause.transition));
            actions.extend(renamed(cause));
        }
        ValueChange::Encoding => {}
    }
    if matches!(difference.location.part, Part::Cookie(_)) {
        return vec![Action::CookieAttrsOnly];
    }
    actions.push(Action::IgnoreValue);
    actions
}

/// `round(2)`: numbers agree to two decimals.
fn decimals(transition: &str) -> Option<Action> {
    let (_, rest) = transition.split_once("round(")?;
    let decimals = rest.strip_suffix(')')?.parse().ok()?;
    Some(Action::Tolerance(Tolerance { decimals: Some(decimals), ..Tolerance::default() }))
}

/// The smallest usual tolerance that holds here, and a step of one.
fn near(difference: &Difference) -> Vec<Action> {
    let number = |side: &Option<crate::Fragment>| side.as_ref()?.text.parse::<f64>().ok();
    let (Some(a), Some(b)) = (number(&difference.legacy), number(&difference.new)) else {
        return Vec::new();
    };
    let (distance, size) = ((a - b).abs(), a.abs().max(b.abs()));
    let rel = TOLERANCES.into_iter().find(|rel| distance <= size * rel);
    let rel = rel.map(|rel| Tolerance { rel: Some(rel), ..Tolerance::default() });
    let abs = (distance <= 1.0).then(|| Tolerance { abs: Some(1.0), ..Tolerance::default() });
    rel.into_iter().chain(abs).map(Action::Tolerance).collect()
}

/// `time +3600s`: one side's clock or time zone is off.
fn slack(transition: &str) -> Option<Action> {
    let seconds = transition.strip_prefix("time ")?.strip_suffix('s')?.parse::<i64>().ok()?;
    let slack_ms = seconds.unsigned_abs().checked_mul(1_000)?;
    Some(Action::Time(TimeRule { slack_ms, ..TimeRule::default() }))
}

/// A consistent renaming of ids, for members that are named like one.
fn renamed(cause: &Cause) -> Option<Action> {
    let (from, to) = cause.transition.split_once(" -> ")?;
    let id = ["int", "uuid", "hex", "string"];
    let (_, name) = cause.shape.rsplit_once('.')?;
    let domain = name.strip_suffix("_id").or((name == "id").then_some("id"))?;
    let types = if from == "int" && to != "int" { Types::Any } else { Types::Same };
    (id.contains(&from) && id.contains(&to))
        .then(|| Action::Bijection(BijectionRule { domain: domain.to_owned(), types }))
}

/// New has a constant without content where legacy has something else.
fn constant(difference: &Difference) -> Option<Action> {
    let expected = match difference.new.as_ref()?.text.as_str() {
        "null" => Expected::Null,
        "true" => Expected::Bool(true),
        "false" => Expected::Bool(false),
        _ => return None,
    };
    Some(Action::Expect(expected))
}

/// Scheme and host of both, when both look like public host names.
fn hosts(difference: &Difference) -> Option<Action> {
    let origin = |side: &Option<crate::Fragment>| {
        let text = side.as_ref()?.text.trim_matches('"');
        let (scheme, rest) = text.split_once("://")?;
        let host = rest.split(['/', '?', '#']).next()?;
        let labels = host.split([':', '.']);
        let plain = |label: &str| {
            !label.is_empty()
                && label.len() <= 32
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let fine = matches!(scheme, "http" | "https")
            && host.contains('.')
            && labels.into_iter().all(plain);
        fine.then(|| format!("{scheme}://{host}"))
    };
    let (legacy, new) = (origin(&difference.legacy)?, origin(&difference.new)?);
    Some(Action::UrlHostMap(vec![HostPair { legacy, new }]))
}

/// A few letters that stand on one side only, at one end.
fn edge(difference: &Difference, transition: &str) -> Option<Action> {
    let text = |side: &Option<crate::Fragment>| {
        Some(side.as_ref()?.text.strip_prefix('"')?.strip_suffix('"')?.to_owned())
    };
    let (a, b) = (text(&difference.legacy)?, text(&difference.new)?);
    let (short, long) = if a.len() > b.len() { (b, a) } else { (a, b) };
    let (extra, pattern): (&str, fn(&str) -> String) = if transition.ends_with("suffix") {
        (long.strip_prefix(&short)?, |extra| format!("{extra}$"))
    } else if transition.ends_with("prefix") {
        (long.strip_suffix(&short)?, |extra| format!("^{extra}"))
    } else {
        return None;
    };
    let harmless = extra.len() <= EDGE_MAX
        && !extra.contains(['\\', '<', '>'])
        && !extra.bytes().any(|b| b.is_ascii_digit() || !(b.is_ascii_graphic() || b == b' '));
    let pattern = pattern(&escaped(extra));
    harmless.then(|| Replacement::new(&pattern, "").ok()).flatten().map(Action::RegexReplace)
}

/// The text as a pattern that matches only itself.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if !c.is_ascii_alphanumeric() && c != ' ' {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// By identity where the elements have one, else without order.
fn reordered(difference: &Difference, mismatch: &Mismatch<'_>, budget: &Budget) -> Vec<Action> {
    let key = identity(difference, mismatch, budget)
        .map(|name| Action::Key(KeyRule { names: vec![name.to_owned()], order: Order::Free }));
    match key {
        Some(key) => vec![key],
        None => vec![Action::Multiset, Action::Set],
    }
}

/// The member that all elements of legacy's list have.
fn identity(
    difference: &Difference,
    mismatch: &Mismatch<'_>,
    budget: &Budget,
) -> Option<&'static str> {
    let body = decode::body(&mismatch.legacy, budget).ok()?;
    let doc = json::parse(&body, Limits { nodes: budget.nodes }).ok()?;
    let list = at(&doc, &difference.location.pointer)?;
    let has = |element: NodeId, key: &str| doc.member(element, key.as_bytes()).is_some();
    let objects = doc.elements(list).all(|element| doc.tag(element) == Tag::Object);
    IDENTITY.into_iter().find(|key| objects && doc.elements(list).all(|e| has(e, key)))
}

/// The node at an RFC 6901 pointer, if it is a list.
fn at(doc: &Doc<'_>, pointer: &str) -> Option<NodeId> {
    let mut node = Doc::ROOT;
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        node = match doc.tag(node) {
            Tag::Object => doc.member(node, token.as_bytes())?,
            Tag::Array => doc.elements(node).nth(token.parse().ok()?)?,
            Tag::Null | Tag::False | Tag::True | Tag::Number | Tag::Text | Tag::Key => return None,
        };
    }
    (doc.tag(node) == Tag::Array).then_some(node)
}
