//! The one place that prints. Answers go to stdout, everything else to stderr.
//!
//! Owns colour, the JSON envelope and quietness. It exists so that no command can mix the two streams or
//! print a secret in passing. What must stay true: with `--json` stdout holds JSON and nothing else.

use serde::Serialize;
use std::io::{IsTerminal, Write};

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What a piece of text means; never the only carrier of the meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    Good,
    Warn,
    Bad,
    Strong,
    Faint,
}

/// Where and how a command answers.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    json: bool,
    color: bool,
    quiet: u8,
    progress: bool,
}

impl Output {
    pub(crate) fn new(json: bool, color: Color, quiet: u8, progress: bool) -> Self {
        let color = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                std::env::var_os("NO_COLOR").is_none() && std::io::stdout().is_terminal()
            }
        };
        Self { json, color: color && !json, quiet, progress }
    }

    /// Whether the answer is JSON.
    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// Whether only the exit code is wanted.
    pub(crate) const fn is_silent(&self) -> bool {
        self.quiet > 0
    }

    /// Whether a live progress bar may be drawn.
    pub(crate) fn draws_progress(&self) -> bool {
        self.progress && !self.json && std::io::stderr().is_terminal()
    }

    /// Whether progress of any form is wanted.
    pub(crate) const fn wants_progress(&self) -> bool {
        self.progress && self.quiet == 0
    }

    pub(crate) fn paint(&self, paint: Paint, text: &str) -> String {
        if !self.color {
            return text.to_owned();
        }
        let code = match paint {
            Paint::Good => "32",
            Paint::Warn => "33",
            Paint::Bad => "31;1",
            Paint::Strong => "1",
            Paint::Faint => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// Several lines of the answer.
    pub(crate) fn lines<T: AsRef<str>>(&self, lines: &[T]) {
        for text in lines {
            self.line(text.as_ref());
        }
    }

    /// A line of the answer. A closed pipe ends the output quietly, as with `| head`.
    #[expect(clippy::unused_self, reason = "all printing goes through one value")]
    pub(crate) fn line(&self, text: &str) {
        let mut stdout = std::io::stdout().lock();
        drop(writeln!(stdout, "{text}").and_then(|()| stdout.flush()));
    }

    /// A remark next to the answer.
    pub(crate) fn note(&self, text: &str) {
        if self.quiet == 0 {
            self.error_line(text);
        }
    }

    /// A line on stderr that is never silenced.
    #[expect(clippy::unused_self, reason = "all printing goes through one value")]
    pub(crate) fn error_line(&self, text: &str) {
        drop(writeln!(std::io::stderr().lock(), "{text}"));
    }

    /// The JSON envelope: `{"schema":"banyan.route.list/1","data":..,"warnings":[..]}`.
    pub(crate) fn json(&self, schema: &str, data: &impl Serialize, warnings: &[String]) {
        let envelope = serde_json::json!({ "schema": schema, "data": data, "warnings": warnings });
        let text = serde_json::to_string_pretty(&envelope).unwrap_or_else(|error| {
            serde_json::json!({ "schema": schema, "error": error.to_string() }).to_string()
        });
        self.line(&text);
    }

    /// One line of a JSON stream.
    pub(crate) fn json_line(&self, value: &impl Serialize) {
        if let Ok(text) = serde_json::to_string(value) {
            self.line(&text);
        }
    }
}

/// A table of columns padded to their widest cell; the last column is left ragged.
pub(crate) fn columns(rows: &[Vec<String>]) -> Vec<String> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    rows.iter()
        .map(|row| {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                line.push_str(cell);
                if column + 1 < row.len() {
                    let pad = widths[column].saturating_sub(cell.chars().count()) + 2;
                    line.push_str(&" ".repeat(pad));
                }
            }
            line.trim_end().to_owned()
        })
        .collect()
}

/// How long ago, in the two largest units: `2h 04m`, `17s`.
pub(crate) fn ago(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {:02}m", seconds / 3_600, seconds / 60 % 60),
        86_400.. => format!("{}d {:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// A number with thousands separators.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ages_read_well() {
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(thousands(12), "12");
        assert_eq!(ago(7_440_000), "2h 04m");
        assert_eq!(ago(59_999), "59s");
    }

    #[test]
    fn columns_are_aligned_and_not_padded_at_the_end() {
        let rows = [vec!["A".to_owned(), "B".to_owned()], vec!["long".to_owned(), "b".to_owned()]];
        assert_eq!(columns(&rows), ["A     B", "long  b"]);
    }
}
