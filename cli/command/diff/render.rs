//! A diff for people.
//!
//! Owns the words and the layout: verdict, sources, differences from the worst to the mildest, what rules hid, one line
//! of sums. What must stay true: the first line is the verdict; readable without colour; no control character of a
//! source reaches the terminal.

use super::Outcome;
use super::source::Loaded;
use crate::output::{Output, Paint, columns, thousands};
use banyan_diff::{Difference, Kind, Severity, Verdict, Why};
use similar::{ChangeTag, TextDiff};
use std::time::Duration;

/// Lines around a changed line of text.
const CONTEXT: usize = 3;
/// Longer lines of text are cut.
const LINE_MAX: usize = 600;
/// Lines of text that are shown.
const LINES_MAX: usize = 600;
/// A pair of values that is not longer stands on one line.
const PAIR_MAX: usize = 60;

/// The whole answer.
pub(super) fn lines(outcome: &Outcome, output: &Output) -> Vec<String> {
    let mut lines = vec![verdict(outcome, output)];
    lines.extend(sources(outcome));
    let comparison = &outcome.comparison;
    let shown = comparison.differences.get(..outcome.shown).unwrap_or(&comparison.differences);
    let hunks = text_hunks(outcome, shown, output);
    let inline = |difference: &&Difference| hunks.is_none() || difference.kind != Kind::TextHunk;
    let rest: Vec<&Difference> = shown.iter().filter(inline).collect();
    for of_one_severity in rest.chunk_by(|a, b| a.severity == b.severity) {
        lines.push(String::new());
        if let Some(first) = of_one_severity.first() {
            lines.push(output.paint(Paint::Strong, first.severity.as_str()));
        }
        for group in of_one_severity.chunk_by(|a, b| same_group(a, b)) {
            lines.extend(self::group(group, output));
        }
    }
    lines.extend(hunks.unwrap_or_default());
    lines.extend(hidden(outcome, output));
    lines.push(String::new());
    lines.push(sums(outcome));
    lines
}

fn same_group(a: &Difference, b: &Difference) -> bool {
    a.location.shape == b.location.shape && a.kind.label() == b.kind.label()
}

fn verdict(outcome: &Outcome, output: &Output) -> String {
    let comparison = &outcome.comparison;
    let statuses = || format!("{} and {}", outcome.legacy.obs().status, outcome.new.obs().status);
    let (word, paint, what) = match comparison.verdict {
        Verdict::Match if outcome.legacy.body == outcome.new.body => {
            ("SAME", Paint::Good, "equal byte for byte".to_owned())
        }
        Verdict::Match => ("SAME", Paint::Good, "equal".to_owned()),
        Verdict::MatchNormalised => {
            let count = comparison.hidden.iter().map(|hidden| hidden.count).sum();
            ("SAME", Paint::Good, format!("after rules, which hide {}", differences(count)))
        }
        Verdict::Mismatch(_) => ("DIFFERENT", Paint::Bad, by_severity(outcome)),
        Verdict::NewError | Verdict::LegacyError => {
            ("DIFFERENT", Paint::Bad, format!("one side answers an error: {}", statuses()))
        }
        Verdict::BothError => {
            let what = format!("both sides answer an error, {}: that proves nothing", statuses());
            ("INCONCLUSIVE", Paint::Warn, what)
        }
        Verdict::Inconclusive(why) => ("INCONCLUSIVE", Paint::Warn, explain(why)),
    };
    format!("{}  {what}", output.paint(paint, word))
}

fn explain(why: Why) -> String {
    let text = match why.as_str() {
        "over_budget" => "too much to compare within the limits (--max-size)",
        "too_deep" => "JSON is nested deeper than 512 levels",
        "undecodable" => "a content encoding is unknown or broken",
        "not_modified" => "one side answers 304, so there is no body to compare",
        _ => "not decided",
    };
    format!("{text} [{}]", why.as_str())
}

fn differences(count: u64) -> String {
    let noun = if count == 1 { "difference" } else { "differences" };
    format!("{} {noun}", thousands(count))
}

/// `3 differences: 1 breaking, 2 value`
fn by_severity(outcome: &Outcome) -> String {
    let comparison = &outcome.comparison;
    let kept = &comparison.differences;
    let all = comparison.total_differences == kept.len() as u64;
    let order = [
        Severity::Breaking,
        Severity::Value,
        Severity::Order,
        Severity::Additive,
        Severity::Cosmetic,
    ];
    let parts = order.into_iter().filter_map(|severity| {
        let count = kept.iter().filter(|difference| difference.severity == severity).count();
        (count > 0).then(|| format!("{} {}", thousands(count as u64), severity.as_str()))
    });
    let parts = parts.collect::<Vec<_>>().join(", ");
    let total = differences(comparison.total_differences);
    if all {
        return format!("{total}: {parts}");
    }
    format!("{total}; of the first {}: {parts}", thousands(kept.len() as u64))
}

fn sources(outcome: &Outcome) -> Vec<String> {
    let any_url = outcome.legacy.is_url() || outcome.new.is_url();
    let row = |word: &str, side: &Loaded| {
        let mut row = vec![word.to_owned(), safe(&side.name)];
        if any_url {
            row.push(side.status.map_or("-".to_owned(), |status| status.to_string()));
        }
        row.push(format!("{} bytes", thousands(side.body.len() as u64)));
        row.extend(side.elapsed_ms().map(|ms| format!("in {ms} ms")));
        row
    };
    columns(&[row("legacy", &outcome.legacy), row("new", &outcome.new)])
}

/// Differences of one shape and kind.
fn group(group: &[&Difference], output: &Output) -> Vec<String> {
    let Some(first) = group.first() else { return Vec::new() };
    let reordered = matches!(first.kind, Kind::ArrayReordered { .. });
    let kind = if reordered { first.kind.to_string() } else { first.kind.label().into_owned() };
    if group.len() == 1 {
        let mut lines = vec![format!("  {}  {kind}", safe(&first.location.path))];
        lines.extend(values(first, "    ", output));
        return lines;
    }
    let times = thousands(group.len() as u64);
    let mut lines =
        vec![format!("  {}  {}, {times} times", safe(&first.location.shape), first.kind.label())];
    let mut rows = Vec::new();
    for difference in group {
        let path = safe(&difference.location.path);
        if let Some(pair) = pair(difference, output) {
            rows.push(vec![format!("    {path}"), pair]);
            continue;
        }
        lines.extend(columns(&std::mem::take(&mut rows)));
        lines.push(format!("    {path}"));
        lines.extend(values(difference, "      ", output));
    }
    lines.extend(columns(&rows));
    lines
}

/// Both values on one line, if they are short.
fn pair(difference: &Difference, output: &Output) -> Option<String> {
    let text = |side: &Option<banyan_diff::Fragment>| side.as_ref().map(|f| safe(&f.text));
    let (legacy, new) = (text(&difference.legacy), text(&difference.new));
    let width = |text: &Option<String>| text.as_ref().map_or(0, |text| text.chars().count());
    if width(&legacy) + width(&new) > PAIR_MAX {
        return None;
    }
    let old = |text: &str| output.paint(Paint::Bad, text);
    let fresh = |text: &str| output.paint(Paint::Good, text);
    match (legacy, new) {
        (Some(a), Some(b)) => Some(format!("{} -> {}", old(&a), fresh(&b))),
        (Some(a), None) => Some(old(&format!("- {a}"))),
        (None, Some(b)) => Some(fresh(&format!("+ {b}"))),
        (None, None) => None,
    }
}

/// Each value on a line of its own.
fn values(difference: &Difference, indent: &str, output: &Output) -> Vec<String> {
    if matches!(difference.kind, Kind::ArrayReordered { .. }) {
        return vec![format!("{indent}the same elements in another order")];
    }
    let line = |sign: &str, paint, fragment: &banyan_diff::Fragment| {
        format!("{indent}{}", output.paint(paint, &format!("{sign} {}", safe(&fragment.text))))
    };
    let legacy = difference.legacy.as_ref().map(|f| line("-", Paint::Bad, f));
    let new = difference.new.as_ref().map(|f| line("+", Paint::Good, f));
    // Long values are cut; then both may look alike.
    let alike =
        matches!((&difference.legacy, &difference.new), (Some(a), Some(b)) if a.text == b.text);
    let note = alike.then(|| format!("{indent}  both begin alike; they differ further on"));
    legacy.into_iter().chain(new).chain(note).collect()
}

/// Text by lines with what stands around them; `None` when the bodies are not at hand as text.
fn text_hunks(outcome: &Outcome, shown: &[Difference], output: &Output) -> Option<Vec<String>> {
    let (legacy, new) = (&outcome.legacy, &outcome.new);
    let any = shown.iter().any(|difference| difference.kind == Kind::TextHunk);
    if !any || !legacy.is_plain() || !new.is_plain() {
        return None;
    }
    let (a, b) = (String::from_utf8_lossy(&legacy.body), String::from_utf8_lossy(&new.body));
    let diff = TextDiff::configure().timeout(Duration::from_secs(5)).diff_lines(&*a, &*b);
    let mut lines = Vec::new();
    let mut left_out = 0;
    for hunk in diff.grouped_ops(CONTEXT) {
        if lines.len() > LINES_MAX {
            left_out += 1;
            continue;
        }
        let Some(first) = hunk.first() else { continue };
        lines.push(String::new());
        let at = (first.old_range().start + 1, first.new_range().start + 1);
        let head = format!("text from line {} of legacy, line {} of new", at.0, at.1);
        lines.push(output.paint(Paint::Strong, &head));
        for change in hunk.iter().flat_map(|op| diff.iter_changes(op)) {
            let text = safe(change.value().trim_end_matches(['\n', '\r']));
            let text: String = text.chars().take(LINE_MAX).collect();
            lines.push(match change.tag() {
                ChangeTag::Equal => format!("    {text}").trim_end().to_owned(),
                ChangeTag::Delete => {
                    format!("  {}", output.paint(Paint::Bad, &format!("- {text}")))
                }
                ChangeTag::Insert => {
                    format!("  {}", output.paint(Paint::Good, &format!("+ {text}")))
                }
            });
        }
    }
    if left_out > 0 {
        lines.push(format!("and {left_out} more places"));
    }
    Some(lines)
}

fn hidden(outcome: &Outcome, output: &Output) -> Vec<String> {
    let hidden = &outcome.comparison.hidden;
    if hidden.is_empty() {
        return Vec::new();
    }
    let reasons = outcome.rules.list();
    let rows: Vec<Vec<String>> = hidden
        .iter()
        .map(|hidden| {
            let reason = reasons.iter().find(|(id, _, _)| *id == hidden.rule);
            let reason = reason.map_or(String::new(), |(_, reason, _)| safe(reason));
            let count = format!("{} at {}", thousands(hidden.count), safe(&hidden.location));
            vec![format!("  {count}"), safe(&hidden.rule), reason]
        })
        .collect();
    let mut lines = vec![String::new(), output.paint(Paint::Strong, "hidden by rules")];
    lines.extend(columns(&rows));
    lines
}

fn sums(outcome: &Outcome) -> String {
    let comparison = &outcome.comparison;
    let total = comparison.total_differences;
    let shown = outcome.shown as u64;
    let hidden: u64 = comparison.hidden.iter().map(|hidden| hidden.count).sum();
    let undecided = matches!(comparison.verdict, Verdict::Inconclusive(_) | Verdict::BothError);
    let found = if undecided && total == 0 {
        "bodies were not compared".to_owned()
    } else {
        differences(total)
    };
    let mut parts = vec![found];
    if total > shown {
        parts.push(format!("the worst {} shown (--max-differences)", thousands(shown)));
    }
    if hidden > 0 {
        parts.push(format!("{} hidden by rules", thousands(hidden)));
    }
    parts.join(", ")
}

/// Text that cannot steer a terminal: control characters and those that reorder a line are shown by their code.
pub(super) fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let reorders = matches!(c,
            '\u{200E}' | '\u{200F}' | '\u{061C}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
        if c == '\t' || !(c.is_control() || reorders) {
            out.push(c);
        } else {
            out.extend(["\\u", &format!("{:04x}", u32::from(c))]);
        }
    }
    out
}
