//! Two header lists.
//!
//! Owns what is known about single headers: media type and charset, ETag, redirect target, lists without order. Must
//! stay true: a header that is hidden is counted under its rule; several lines of one name equal one line with commas.

use std::collections::BTreeSet;

use crate::difference::{Difference, Kind, Part};
use crate::explain::{self, OnlyOn, Ruling, Value};
use crate::findings::Findings;
use crate::json::is_number;
use crate::rule::{
    Action, CACHE_CONTROL_ORDER, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, VARY_ORDER,
};
use crate::{Fragment, Obs, RuleSet, Severity, cookie, path};

/// Headers that clients act on: losing one is more than a lost decoration.
const ACTED_ON: [&str; 7] = [
    "link",
    "location",
    "retry-after",
    "www-authenticate",
    "allow",
    "content-disposition",
    "content-language",
];

/// What is known about the two bodies when headers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bodies {
    /// Same bytes after decoding, and there are some.
    Equal,
    /// Both are empty, as in answers to HEAD and in 304.
    Absent,
    /// Not the same bytes, or not known.
    Different,
}

/// Compares all headers.
pub(crate) fn compare(
    legacy: &Obs<'_>,
    new: &Obs<'_>,
    rules: &RuleSet,
    bodies: Bodies,
    findings: &mut Findings,
) {
    let mut seen = BTreeSet::new();
    for (name, _) in legacy.headers.iter().chain(new.headers) {
        if !seen.insert(name.as_str()) {
            continue;
        }
        if name == "set-cookie" {
            let ignored = rules.at_header(name).find(|rule| *rule.action() == Action::Ignore);
            match ignored {
                Some(rule) if !legacy.values(name).eq(new.values(name)) => {
                    findings.hide(&rule.id(), "header:set-cookie");
                }
                Some(_) => {}
                None => cookie::compare(legacy, new, rules, findings),
            }
            continue;
        }
        let header = Header { name, legacy: joined(legacy, name), new: joined(new, name) };
        header.compare(legacy, rules, bodies, findings);
    }
}

/// Type and subtype of a media type, in lower case.
pub(crate) fn media_type(value: &[u8]) -> String {
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
    String::from_utf8_lossy(essence.trim_ascii()).to_ascii_lowercase()
}

struct Header<'a> {
    name: &'a str,
    legacy: Option<Vec<u8>>,
    new: Option<Vec<u8>>,
}

impl Header<'_> {
    fn compare(&self, legacy: &Obs<'_>, rules: &RuleSet, bodies: Bodies, findings: &mut Findings) {
        if self.legacy == self.new {
            return;
        }
        match self.ruling(rules, findings) {
            (Ruling::Hide, rule) => return findings.hide(&rule, &format!("header:{}", self.name)),
            (Ruling::Show, _) => {}
            (Ruling::NotMine, _) => {
                let builtin = rules.builtin_header(self.name);
                if let Some(rule) = builtin.or_else(|| self.special(rules, bodies)) {
                    return findings.hide(rule, &format!("header:{}", self.name));
                }
            }
        }
        let (kind, severity) = match (&self.legacy, &self.new) {
            (Some(_), None) if ACTED_ON.contains(&self.name) => {
                (Kind::HeaderMissing, Severity::Value)
            }
            (Some(_), None) => (Kind::HeaderMissing, Kind::HeaderMissing.severity()),
            (None, _) => (Kind::HeaderExtra, Kind::HeaderExtra.severity()),
            (Some(a), Some(b)) => match self.changed(a, b, legacy.status) {
                Some(kind_and_severity) => kind_and_severity,
                None => return,
            },
        };
        findings.push(Difference {
            location: path::plain(Part::Header(self.name.to_owned())),
            kind,
            legacy: self.legacy.as_deref().map(Fragment::of_text),
            new: self.new.as_deref().map(Fragment::of_text),
            severity,
            hint: None,
        });
    }

    /// What the first rule says that is about these values, with its id.
    fn ruling(&self, rules: &RuleSet, findings: &mut Findings) -> (Ruling, String) {
        for rule in rules.at_header(self.name) {
            let text = |value| Value::Text(value);
            let ruling = match (rule.action(), &self.legacy, &self.new) {
                (Action::Set, Some(a), Some(b)) => Ruling::of(same_set(a, b)),
                (Action::Multiset, Some(a), Some(b)) => Ruling::of(list(a) == list(b)),
                (action, Some(a), Some(b)) => {
                    explain::pair(action, number(a), number(b), &mut findings.bijections)
                }
                (action, Some(a), None) => explain::missing(action, text(a), OnlyOn::Legacy),
                (action, None, Some(b)) => explain::missing(action, text(b), OnlyOn::New),
                (_, None, None) => Ruling::NotMine,
            };
            if ruling != Ruling::NotMine {
                return (ruling, rule.id());
            }
        }
        (Ruling::NotMine, String::new())
    }

    /// Built-in rules that look at the values.
    fn special(&self, rules: &RuleSet, bodies: Bodies) -> Option<&'static str> {
        let rule = match self.name {
            "content-length" => CONTENT_LENGTH,
            "content-encoding" => CONTENT_ENCODING,
            "etag" if self.legacy.is_some() && self.new.is_some() => match bodies {
                Bodies::Equal if self.both(|a, b| weak(a) != weak(b)) => return None,
                Bodies::Equal | Bodies::Absent | Bodies::Different => ETAG,
            },
            "vary" if self.both(same_set) => VARY_ORDER,
            "cache-control" if self.both(same_set) => CACHE_CONTROL_ORDER,
            _ => return None,
        };
        rules.builtin_rule(rule)
    }

    /// Kind and severity of two different values; `None` when they mean the same.
    fn changed(&self, a: &[u8], b: &[u8], status: u16) -> Option<(Kind, Severity)> {
        let kind = match self.name {
            "location" if (300..400).contains(&status) => Kind::RedirectTargetChanged,
            "content-type" if media_type(a) != media_type(b) => Kind::ContentTypeChanged,
            "content-type" => {
                let (x, y) = (charset(a), charset(b));
                if x == y {
                    return same_media(a, b);
                }
                // UTF-8 is what clients assume without a charset.
                let assumed = |charset: Option<String>| charset.unwrap_or("utf-8".to_owned());
                let cosmetic = assumed(x) == assumed(y);
                let severity = if cosmetic { Severity::Cosmetic } else { Severity::Value };
                return Some((Kind::CharsetChanged, severity));
            }
            _ => Kind::HeaderChanged,
        };
        Some((kind, kind.severity()))
    }

    fn both(&self, test: impl Fn(&[u8], &[u8]) -> bool) -> bool {
        matches!((&self.legacy, &self.new), (Some(a), Some(b)) if test(a, b))
    }
}

/// Media types with the same charset may still differ in other parameters.
fn same_media(a: &[u8], b: &[u8]) -> Option<(Kind, Severity)> {
    let parameters = |value: &[u8]| -> BTreeSet<Vec<u8>> {
        value
            .split(|byte| *byte == b';')
            .map(|part| part.trim_ascii().to_ascii_lowercase())
            .collect()
    };
    let quoted =
        |value: &[u8]| value.iter().copied().filter(|byte| *byte != b'"').collect::<Vec<u8>>();
    let same = parameters(&quoted(a)) == parameters(&quoted(b));
    (!same).then_some((Kind::HeaderChanged, Severity::Value))
}

/// The charset parameter of a media type, in lower case.
pub(crate) fn charset(value: &[u8]) -> Option<String> {
    value.split(|byte| *byte == b';').skip(1).find_map(|parameter| {
        let text = String::from_utf8_lossy(parameter.trim_ascii()).to_ascii_lowercase();
        text.strip_prefix("charset=").map(|charset| charset.trim_matches('"').to_owned())
    })
}

fn joined(obs: &Obs<'_>, name: &str) -> Option<Vec<u8>> {
    let mut values = obs.values(name);
    let mut all = values.next()?.to_vec();
    for value in values {
        all.extend_from_slice(b", ");
        all.extend_from_slice(value);
    }
    Some(all)
}

/// A header that is a number is compared as one by rules.
fn number(value: &[u8]) -> Value<'_> {
    if is_number(value) { Value::Number(value) } else { Value::Text(value) }
}

fn weak(etag: &[u8]) -> &[u8] {
    etag.strip_prefix(b"W/").unwrap_or(etag)
}

/// Comma-separated names as a set.
fn same_set(a: &[u8], b: &[u8]) -> bool {
    let set = |value: &[u8]| list(value).into_iter().collect::<BTreeSet<_>>();
    set(a) == set(b)
}

/// Comma-separated names, sorted.
fn list(value: &[u8]) -> Vec<Vec<u8>> {
    let parts = value.split(|byte| *byte == b',');
    let parts = parts.map(|part| part.trim_ascii().to_ascii_lowercase());
    let mut list: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
    list.sort_unstable();
    list
}
