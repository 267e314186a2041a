//! Bodies of text: by lines.
//!
//! Owns hunks: runs of lines that differ, each one difference. Lines are bytes, so any encoding can be compared. Must
//! stay true: a line break at the very end is a rule, not a hunk, when the built-in rules are on.

use std::borrow::Cow;

use crate::align;
use crate::budget::Meter;
use crate::difference::{Difference, Kind, Location, Part};
use crate::findings::Findings;
use crate::rule::{Action, TRAILING_NEWLINE};
use crate::{Fragment, RuleSet, Severity, Why, hash, normalise, value};

/// Compares two texts that differ.
pub(crate) fn compare(
    legacy: &[u8],
    new: &[u8],
    rules: &RuleSet,
    findings: &mut Findings,
    meter: &mut Meter,
) -> Result<(), Why> {
    if let Some(rule) = rules.at_text().find(|rule| *rule.action() == Action::Ignore) {
        findings.hide(&rule.id(), "body:text");
        return Ok(());
    }
    let (legacy, new) = normal(legacy, new, rules, findings, meter)?;
    let (mut a, mut b) = (&*legacy, &*new);
    if let Some(rule) = rules.builtin_rule(TRAILING_NEWLINE) {
        (a, b) = (without_end(a), without_end(b));
        if (a.len() == legacy.len()) != (b.len() == new.len()) {
            findings.hide(rule, "body:text");
        }
    }
    if a == b {
        return Ok(());
    }
    meter.charge(a.len() + b.len())?;
    let (a, b) = (Lines::of(a), Lines::of(b));
    let alignment = align::align(&a.hashes, &b.hashes, meter)?;
    let proven =
        alignment.anchors.into_iter().filter(|(x, y)| a.range(*x, x + 1) == b.range(*y, y + 1));
    let (mut from_a, mut from_b) = (0, 0);
    for (to_a, to_b) in proven.chain([(a.hashes.len(), b.hashes.len())]) {
        if from_a < to_a || from_b < to_b {
            hunk((&a, from_a, to_a), (&b, from_b, to_b), findings);
        }
        (from_a, from_b) = (to_a + 1, to_b + 1);
    }
    Ok(())
}

/// Legacy's text and new's.
type Texts<'t> = (Cow<'t, [u8]>, Cow<'t, [u8]>);

/// Both texts after all rules with a normal form; a rule counts once where it took out different pieces.
fn normal<'t>(
    legacy: &'t [u8],
    new: &'t [u8],
    rules: &RuleSet,
    findings: &mut Findings,
    meter: &mut Meter,
) -> Result<Texts<'t>, Why> {
    let (mut a, mut b) = (Cow::Borrowed(legacy), Cow::Borrowed(new));
    for rule in rules.at_text() {
        meter.charge(a.len() / 2 + b.len() / 2)?;
        let forms = (normalise::text(rule.action(), &a), normalise::text(rule.action(), &b));
        let (Some(x), Some(y)) = forms else { continue };
        let (changed, x, y) = (x.removed != y.removed, x.text.into_owned(), y.text.into_owned());
        if changed {
            findings.hide(&rule.id(), "body:text");
        }
        (a, b) = (Cow::Owned(x), Cow::Owned(y));
    }
    Ok((a, b))
}

/// Lines of one side, from and to.
type Run<'a> = (&'a Lines<'a>, usize, usize);

fn hunk<'a>(legacy: Run<'a>, new: Run<'a>, findings: &mut Findings) {
    let text = |(lines, from, to): Run<'a>| (from < to).then(move || lines.range(from, to));
    let (a, b) = (text(legacy), text(new));
    let cosmetic = value::same_words(a.unwrap_or_default(), b.unwrap_or_default());
    let severity = if cosmetic { Severity::Cosmetic } else { Kind::TextHunk.severity() };
    let line = legacy.1;
    findings.add(severity, true, || Difference {
        location: Location {
            part: Part::Body,
            pointer: format!("/{line}"),
            path: format!("body:line {}", line + 1),
            shape: "body:text".to_owned(),
        },
        kind: Kind::TextHunk,
        legacy: a.map(Fragment::of_text),
        new: b.map(Fragment::of_text),
        severity,
        hint: None,
    });
}

struct Lines<'a> {
    text: &'a [u8],
    starts: Vec<usize>,
    hashes: Vec<u64>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a [u8]) -> Self {
        let mut lines = Self { text, starts: Vec::new(), hashes: Vec::new() };
        let mut start = 0;
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            lines.starts.push(start);
            lines.hashes.push(hash::of_bytes(line.strip_suffix(b"\n").unwrap_or(line)));
            start += line.len();
        }
        lines
    }

    /// The text of lines `from..to` without the last line break.
    fn range(&self, from: usize, to: usize) -> &'a [u8] {
        let at = |line: usize| self.starts.get(line).copied().unwrap_or(self.text.len());
        let text = self.text.get(at(from)..at(to)).unwrap_or_default();
        text.strip_suffix(b"\n").unwrap_or(text)
    }
}

fn without_end(text: &[u8]) -> &[u8] {
    text.strip_suffix(b"\r\n").or_else(|| text.strip_suffix(b"\n")).unwrap_or(text)
}
