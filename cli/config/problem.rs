//! Problems of the configuration, each with its place.
//!
//! Owns the position of a problem and its two renderings (one line, and a snippet with a caret). It exists
//! because a config error without place and remedy costs an on-call person minutes.

use std::ops::Range;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but probably does not mean what was meant.
    Warning,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) severity: Severity,
    /// Byte range in the file; nothing when the problem is in the environment or the file is missing.
    pub(crate) span: Option<Range<usize>>,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Problem {
    pub(crate) fn error(span: Option<Range<usize>>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, span, message: message.into(), hint: None }
    }

    pub(crate) fn warning(span: Option<Range<usize>>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(span, message) }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Line and column, both from 1; the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Place {
    pub(crate) fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset.min(text.len())).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or("").chars().count() + 1,
        }
    }
}

/// `banyan.toml:47:11` or just the file when the place is unknown.
pub(crate) fn location(file: &str, text: &str, problem: &Problem) -> String {
    match &problem.span {
        Some(span) => {
            let place = Place::of(text, span.start);
            format!("{file}:{}:{}", place.line, place.column)
        }
        None => file.to_owned(),
    }
}

/// The line of the problem with a caret below, indented by two.
pub(crate) fn snippet(text: &str, problem: &Problem) -> Option<String> {
    let span = problem.span.clone()?;
    let place = Place::of(text, span.start);
    let line = text.lines().nth(place.line - 1)?;
    let width = text
        .get(span)
        .map_or(1, |marked| marked.lines().next().unwrap_or("").chars().count())
        .clamp(1, line.chars().count().saturating_sub(place.column - 1).max(1));
    let number = place.line.to_string();
    let pad = " ".repeat(number.len());
    let indent = " ".repeat(place.column - 1);
    Some(format!("  {number} | {line}\n  {pad} | {indent}{}", "^".repeat(width)))
}

/// The known word closest to `unknown`, if it is close enough to be meant.
pub(crate) fn closest<'a>(
    unknown: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    known
        .into_iter()
        .map(|word| (distance(unknown, word), word))
        .filter(|(distance, word)| *distance <= 1 + word.len() / 4)
        .min()
        .map(|(_, word)| word)
}

/// Edits between two words: insert, delete, replace and swap of neighbours (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = match (i, j) {
                (0, n) | (n, 0) => n,
                (i, j) => {
                    let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                    let mut best = replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                    if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                        best = best.min(rows[i - 2][j - 2] + 1);
                    }
                    best
                }
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_its_line_and_a_caret_under_the_value() {
        let text = "[proxy]\nlisten = 17\n";
        let problem = Problem::error(Some(17..19), "x");
        assert_eq!(location("banyan.toml", text, &problem), "banyan.toml:2:10");
        assert_eq!(snippet(text, &problem).unwrap(), "  2 | listen = 17\n    |          ^^");
    }

    #[test]
    fn a_typing_mistake_finds_the_word_that_was_meant() {
        let known = ["endpoint", "percent", "phase"];
        assert_eq!(closest("endpoitn", known), Some("endpoint"));
        assert_eq!(closest("percnt", known), Some("percent"));
        assert_eq!(closest("colour", known), None);
    }
}
