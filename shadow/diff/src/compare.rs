//! The one entry: two answers to a verdict.
//!
//! Owns the order of the steps and which of them still make sense: errors first, then status, headers, bodies. Must stay
//! true: total (any bytes, any headers), and symmetric up to the words missing and extra.

use serde::{Deserialize, Serialize};

use crate::body::{self, Decoded};
use crate::difference::{Difference, Kind, Part};
use crate::findings::{Findings, Hidden};
use crate::header::{self, Bodies, media_type};
use crate::{Bijections, Budget, Fragment, Obs, RuleSet, Verdict, Why, decode, path};

/// Everything that one comparison says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// The outcome.
    pub verdict: Verdict,
    /// Located differences, at most [`Budget::differences`].
    pub differences: Vec<Difference>,
    /// What rules hid.
    pub hidden: Vec<Hidden>,
    /// All differences, also those beyond the cap.
    pub total_differences: u64,
    /// Where the body is not what `content-type` says, such as JSON sent as `text/html`. Known only when the bodies
    /// had to be read, because their bytes differ.
    #[serde(default)]
    pub content_type_lies: Sides,
}

/// A fact about each side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sides {
    /// It holds for legacy.
    pub legacy: bool,
    /// It holds for new.
    pub new: bool,
}

/// Compares two answers to one request.
///
/// ```
/// use banyan_diff::{Budget, Obs, RuleSet, compare};
///
/// let headers = [("content-type".to_owned(), b"application/json".to_vec())];
/// let legacy = Obs { status: 200, headers: &headers, body: br#"{"id":1,"name":"Ada"}"# };
/// let new = Obs { status: 200, headers: &headers, body: br#"{"name":"ada","id":1.0}"# };
/// let comparison = compare(&legacy, &new, &RuleSet::builtin(), &Budget::default());
/// assert_eq!(comparison.differences[0].location.path, "$.name");
/// assert_eq!(comparison.differences[0].kind.label(), "value_changed:case");
/// ```
pub fn compare(legacy: &Obs<'_>, new: &Obs<'_>, rules: &RuleSet, budget: &Budget) -> Comparison {
    compare_with(legacy, new, rules, budget, &mut Bijections::default())
}

/// The same with the renamings of earlier comparisons, for rules with [`crate::Action::Bijection`]. What this comparison
/// adds stays when both sides agree.
pub fn compare_with(
    legacy: &Obs<'_>,
    new: &Obs<'_>,
    rules: &RuleSet,
    budget: &Budget,
    bijections: &mut Bijections,
) -> Comparison {
    let rules = &rules.for_statuses(legacy.status, new.status);
    let mut findings = Findings::new(budget.differences, std::mem::take(bijections));
    let outcome = match statuses(legacy, new, &mut findings) {
        Next::Stop(verdict) => (None, verdict),
        Next::Go => (answers(legacy, new, rules, budget, &mut findings).err(), None),
    };
    let conclusion = findings.conclude(outcome.0, outcome.1);
    *bijections = conclusion.bijections;
    Comparison {
        verdict: conclusion.verdict,
        differences: conclusion.differences,
        hidden: conclusion.hidden,
        total_differences: conclusion.total,
        content_type_lies: conclusion.content_type_lies,
    }
}

enum Next {
    Go,
    /// Nothing else can be compared; with a verdict when the status alone decides it.
    Stop(Option<Verdict>),
}

fn statuses(legacy: &Obs<'_>, new: &Obs<'_>, findings: &mut Findings) -> Next {
    let (a, b) = (legacy.status, new.status);
    if (a == 304 && b == 200) || (a == 200 && b == 304) {
        return Next::Stop(Some(Verdict::Inconclusive(Why::NotModified)));
    }
    if a != b {
        let kind = Kind::StatusChanged;
        findings.push(Difference {
            location: path::plain(Part::Status),
            kind,
            legacy: Some(Fragment::of_status(a)),
            new: Some(Fragment::of_status(b)),
            severity: kind.severity(),
            hint: None,
        });
    }
    match (a >= 500, b >= 500) {
        (true, true) => Next::Stop(Some(Verdict::BothError)),
        (true, false) => Next::Stop(Some(Verdict::LegacyError)),
        (false, true) => Next::Stop(Some(Verdict::NewError)),
        // An error page and a result have nothing in common; one difference is enough.
        (false, false) if a / 100 != b / 100 => Next::Stop(None),
        (false, false) => Next::Go,
    }
}

fn answers(
    legacy: &Obs<'_>,
    new: &Obs<'_>,
    rules: &RuleSet,
    budget: &Budget,
    findings: &mut Findings,
) -> Result<(), Why> {
    let coding = |obs: &Obs<'_>| {
        obs.values("content-encoding").map(<[u8]>::to_ascii_lowercase).collect::<Vec<_>>()
    };
    if legacy.body == new.body && coding(legacy) == coding(new) {
        let bodies = if legacy.body.is_empty() { Bodies::Absent } else { Bodies::Equal };
        header::compare(legacy, new, rules, bodies, findings);
        return Ok(());
    }
    let (a, b) = match (decode::body(legacy, budget), decode::body(new, budget)) {
        (Ok(a), Ok(b)) => (a, b),
        (Err(why), _) | (_, Err(why)) => {
            header::compare(legacy, new, rules, Bodies::Different, findings);
            return Err(why);
        }
    };
    let bodies = if a == b { Bodies::Equal } else { Bodies::Different };
    header::compare(legacy, new, rules, bodies, findings);
    if a == b || (!rules.ignores_header("content-type") && other_media(legacy, new)) {
        return Ok(());
    }
    let (a, b) = (Decoded { obs: legacy, body: &a }, Decoded { obs: new, body: &b });
    body::compare(&a, &b, rules, budget, findings)
}

/// Whether both sides declare a type, and not the same: that is already the difference.
fn other_media(legacy: &Obs<'_>, new: &Obs<'_>) -> bool {
    let media = |obs: &Obs<'_>| obs.header("content-type").map(media_type);
    media(legacy).zip(media(new)).is_some_and(|(a, b)| a != b)
}

#[cfg(test)]
mod tests;
