//! What became of the two requests, also when there is no answer to compare.
//!
//! Owns the verdict when a side timed out, refused, or sent more than the shell keeps. It exists so that replay and live
//! shadowing say the same about a dead side. Must stay true: a side that did not answer is an error of that side, an
//! answer that was too large is no evidence at all.

use crate::difference::{Difference, Failure, Kind, Part};
use crate::{Budget, Comparison, Fragment, Obs, RuleSet, Sides, Verdict, Why, compare, path};

/// What one side did with a request.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// It answered.
    Response(Obs<'a>),
    /// No whole answer in time.
    Timeout,
    /// No connection, or one that broke.
    ConnectError,
    /// An answer beyond the limit of the shell.
    TooLarge,
}

/// Compares two outcomes; with two responses this is [`compare`].
pub fn compare_outcomes(
    legacy: &Outcome<'_>,
    new: &Outcome<'_>,
    rules: &RuleSet,
    budget: &Budget,
) -> Comparison {
    match (legacy, new) {
        (Outcome::Response(a), Outcome::Response(b)) => compare(a, b, rules, budget),
        (Outcome::TooLarge, _) | (_, Outcome::TooLarge) => {
            bare(Verdict::Inconclusive(Why::OverBudget), None)
        }
        (Outcome::Response(answer), failed) => {
            let verdict = if answer.status >= 500 { Verdict::BothError } else { Verdict::NewError };
            bare(verdict, failed.failure().map(|sub| difference(sub, Some(answer), None)))
        }
        (failed, Outcome::Response(answer)) => {
            let verdict =
                if answer.status >= 500 { Verdict::BothError } else { Verdict::LegacyError };
            bare(verdict, failed.failure().map(|sub| difference(sub, None, Some(answer))))
        }
        (Outcome::Timeout | Outcome::ConnectError, Outcome::Timeout | Outcome::ConnectError) => {
            bare(Verdict::BothError, None)
        }
    }
}

impl Outcome<'_> {
    fn failure(&self) -> Option<Failure> {
        match self {
            Self::Timeout => Some(Failure::Timeout),
            Self::ConnectError => Some(Failure::Refused),
            Self::Response(_) | Self::TooLarge => None,
        }
    }
}

fn difference(sub: Failure, legacy: Option<&Obs<'_>>, new: Option<&Obs<'_>>) -> Difference {
    let kind = Kind::OutcomeChanged { sub };
    let status = |answer: Option<&Obs<'_>>| answer.map(|answer| Fragment::of_status(answer.status));
    Difference {
        location: path::plain(Part::Status),
        kind,
        legacy: status(legacy),
        new: status(new),
        severity: kind.severity(),
        hint: None,
    }
}

fn bare(verdict: Verdict, difference: Option<Difference>) -> Comparison {
    let differences: Vec<Difference> = difference.into_iter().collect();
    Comparison {
        verdict,
        total_differences: differences.len() as u64,
        differences,
        hidden: Vec::new(),
        content_type_lies: Sides::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn side_that_does_not_answer_is_at_fault() {
        let answer = |status| Outcome::Response(Obs { status, headers: &[], body: b"" });
        let said = |legacy: Outcome<'_>, new: Outcome<'_>| {
            let comparison =
                compare_outcomes(&legacy, &new, &RuleSet::builtin(), &Budget::default());
            let kind = comparison.differences.first().map(|d| d.kind.label().into_owned());
            (comparison.verdict, kind.unwrap_or_default())
        };
        let kind = ToOwned::to_owned;
        for (legacy, new, verdict, label) in [
            (answer(200), answer(200), Verdict::Match, ""),
            (answer(200), Outcome::Timeout, Verdict::NewError, "outcome_changed:timeout"),
            (answer(404), Outcome::ConnectError, Verdict::NewError, "outcome_changed:refused"),
            (Outcome::Timeout, answer(200), Verdict::LegacyError, "outcome_changed:timeout"),
            (answer(503), Outcome::Timeout, Verdict::BothError, "outcome_changed:timeout"),
            (Outcome::Timeout, Outcome::ConnectError, Verdict::BothError, ""),
            (Outcome::TooLarge, answer(200), Verdict::Inconclusive(Why::OverBudget), ""),
            (Outcome::Timeout, Outcome::TooLarge, Verdict::Inconclusive(Why::OverBudget), ""),
        ] {
            assert_eq!(said(legacy, new), (verdict, kind(label)), "{legacy:?} {new:?}");
        }
    }
}
