//! Cookies that are set: by name and attributes.
//!
//! Owns what of a cookie is comparable. Session values are encrypted or signed anew in every answer, so a value only
//! counts as there or empty (a deleted cookie). Must stay true: a lost attribute is breaking, because `Secure`,
//! `HttpOnly` and `Path` decide who can read the session.

use crate::difference::{Difference, Kind, Part, ValueChange};
use crate::explain::{self, OnlyOn, Ruling, Value};
use crate::findings::Findings;
use crate::rule::{Action, COOKIE_VALUE};
use crate::{Fragment, Obs, RuleSet, Severity, path};

/// Cookies of one answer that are looked at.
const COOKIES_MAX: usize = 64;

/// One `Set-Cookie` line.
#[derive(Debug, PartialEq, Eq)]
struct Cookie<'a> {
    name: &'a [u8],
    value: &'a [u8],
    /// Sorted, lower case, `expires` without its value.
    attributes: Vec<Vec<u8>>,
}

/// Compares the cookies of two answers.
pub(crate) fn compare(legacy: &Obs<'_>, new: &Obs<'_>, rules: &RuleSet, findings: &mut Findings) {
    let (a, b) = (cookies(legacy), cookies(new));
    for cookie in &a {
        let other = b.iter().find(|other| other.name == cookie.name);
        one(Some(cookie), other, rules, findings);
    }
    for cookie in &b {
        if !a.iter().any(|other| other.name == cookie.name) {
            one(None, Some(cookie), rules, findings);
        }
    }
}

fn one(
    legacy: Option<&Cookie<'_>>,
    new: Option<&Cookie<'_>>,
    rules: &RuleSet,
    findings: &mut Findings,
) {
    if legacy == new {
        return;
    }
    let name =
        legacy.or(new).map(|cookie| String::from_utf8_lossy(cookie.name)).unwrap_or_default();
    let location = path::plain(Part::Cookie(name.clone().into_owned()));
    if let Some(rule) = hiding(legacy, new, &name, rules) {
        return findings.hide(&rule, &location.shape);
    }
    let value = value_ruling(legacy, new, &name, rules, findings);
    let mut report = |kind: Kind, severity: Severity, of: fn(&Cookie<'_>) -> Fragment| {
        let (legacy, new) = (legacy.map(of), new.map(of));
        findings.push(Difference {
            location: location.clone(),
            kind,
            legacy,
            new,
            severity,
            hint: None,
        });
    };
    let (Some(a), Some(b)) = (legacy, new) else {
        let kind = if legacy.is_some() { Kind::CookieMissing } else { Kind::CookieExtra };
        return report(kind, kind.severity(), attributes);
    };
    if a.attributes != b.attributes {
        let lost = a.attributes.iter().any(|attribute| !has_name(b, attribute));
        let severity = if lost { Severity::Breaking } else { Severity::Value };
        report(Kind::CookieAttrChanged, severity, attributes);
    }
    if a.value == b.value {
        return;
    }
    let both = a.value.is_empty() == b.value.is_empty();
    let builtin = rules.builtin_rule(COOKIE_VALUE).filter(|_| both);
    match (value, builtin) {
        (Some((Ruling::Hide, rule)), _) => findings.hide(&rule, &location.shape),
        (None, Some(rule)) => findings.hide(rule, &location.shape),
        (Some((Ruling::Show | Ruling::NotMine, _)) | None, _) => {
            let kind = Kind::ValueChanged { sub: ValueChange::String };
            report(kind, kind.severity(), |cookie| Fragment::of_text(cookie.value));
        }
    }
}

/// The rule that hides the whole difference.
fn hiding(
    legacy: Option<&Cookie<'_>>,
    new: Option<&Cookie<'_>>,
    name: &str,
    rules: &RuleSet,
) -> Option<String> {
    let one_sided = match (legacy, new) {
        (Some(cookie), None) => Some((cookie.value, OnlyOn::Legacy)),
        (None, Some(cookie)) => Some((cookie.value, OnlyOn::New)),
        (Some(_), Some(_)) | (None, None) => None,
    };
    for rule in rules.at_cookie(name) {
        let ruling = match (rule.action(), one_sided) {
            (Action::Ignore, _) => Ruling::Hide,
            (action, Some((value, on))) => explain::missing(action, Value::Text(value), on),
            (_, None) => Ruling::Show,
        };
        match ruling {
            Ruling::Hide => return Some(rule.id()),
            Ruling::Show => return None,
            Ruling::NotMine => {}
        }
    }
    None
}

/// What the first rule says that is about the values of a cookie, with its id.
fn value_ruling(
    legacy: Option<&Cookie<'_>>,
    new: Option<&Cookie<'_>>,
    name: &str,
    rules: &RuleSet,
    findings: &mut Findings,
) -> Option<(Ruling, String)> {
    let (a, b) = legacy.zip(new).filter(|(a, b)| a.value != b.value)?;
    rules.at_cookie(name).find_map(|rule| {
        let values = (Value::Text(a.value), Value::Text(b.value));
        let ruling = if *rule.action() == Action::CookieAttrsOnly {
            Ruling::Hide
        } else {
            explain::pair(rule.action(), values.0, values.1, &mut findings.bijections)
        };
        (ruling != Ruling::NotMine).then(|| (ruling, rule.id()))
    })
}

fn attributes(cookie: &Cookie<'_>) -> Fragment {
    Fragment::of_text(&cookie.attributes.join(&b"; "[..]))
}

fn has_name(cookie: &Cookie<'_>, attribute: &[u8]) -> bool {
    let name = |attribute: &[u8]| attribute.split(|byte| *byte == b'=').next().map(<[u8]>::to_vec);
    cookie.attributes.iter().any(|own| name(own) == name(attribute))
}

fn cookies<'a>(obs: &Obs<'a>) -> Vec<Cookie<'a>> {
    let mut cookies: Vec<Cookie<'a>> = Vec::new();
    for line in obs.values("set-cookie").take(COOKIES_MAX) {
        let cookie = parse(line);
        // A browser keeps the last of two cookies with one name.
        cookies.retain(|other| other.name != cookie.name);
        cookies.push(cookie);
    }
    cookies
}

fn parse(line: &[u8]) -> Cookie<'_> {
    let mut parts = line.split(|byte| *byte == b';');
    let pair = parts.next().unwrap_or_default();
    let split = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
    let mut attributes: Vec<Vec<u8>> = parts
        .map(|part| part.trim_ascii().to_ascii_lowercase())
        .filter(|part| !part.is_empty())
        .map(|part| if part.starts_with(b"expires=") { b"expires".to_vec() } else { part })
        .collect();
    attributes.sort_unstable();
    Cookie {
        name: pair.get(..split).unwrap_or_default().trim_ascii(),
        value: pair.get(split + 1..).unwrap_or_default().trim_ascii(),
        attributes,
    }
}
