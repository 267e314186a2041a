//! Rules as text: TOML, an array of tables `[[rule]]`.
//!
//! Owns reading with all problems at once, each with its place and a remedy, and writing. It is the one syntax, for rules
//! files and for `[[shadow.rule]]`. Must stay true: total on any text; a key that means nothing is a problem, never
//! skipped; what is written reads back as the same rule.

mod action;
mod write;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Day, Rule, RuleSource, Scope};

/// Rules of one file.
const RULES_MAX: usize = 5_000;

/// Keys that every rule may have; the others belong to actions.
const COMMON: [&str; 11] = [
    "id", "at", "do", "reason", "owner", "expires", "source", "context", "endpoint", "method",
    "status",
];

/// Keys of actions.
const PARAMETERS: [&str; 15] = [
    "abs",
    "rel",
    "decimals",
    "slack",
    "formats",
    "key",
    "any-order",
    "hosts",
    "pattern",
    "with",
    "normaliser",
    "domain",
    "any-type",
    "value",
    "value-is",
];

/// What is wrong in a rules file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleProblem {
    /// Bytes of the file.
    pub span: Range<usize>,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl fmt::Display for RuleProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " (hint: {hint})"))
    }
}

impl std::error::Error for RuleProblem {}

/// Reads a rules file.
///
/// # Errors
/// All problems in the order of the file.
pub fn rules_from_toml(text: &str) -> Result<Vec<Rule>, Vec<RuleProblem>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut problems = Problems::new(text);
    for error in errors {
        problems.add(error.span().unwrap_or(0..0), format!("not TOML: {}", error.message()));
    }
    if !problems.list.is_empty() {
        return Err(problems.list);
    }
    let mut rules = Vec::new();
    for (key, value) in document.get_ref() {
        if key.get_ref() != "rule" {
            let message = format!("unknown key `{}`", key.get_ref());
            problems.hinted(key.span(), message, "a rules file only has [[rule]] tables");
        } else if let DeValue::Array(items) = value.get_ref() {
            rules = read_rules(text, items, &mut problems);
        } else {
            problems.hinted(key.span(), "`rule` must be a list of tables", "[[rule]]");
        }
    }
    problems.finish(rules)
}

/// Reads the rules of an array of tables inside a larger file whose text is `text`.
///
/// # Errors
/// All problems in the order of the file.
pub fn rules_from_array(
    text: &str,
    items: &[Spanned<DeValue<'_>>],
) -> Result<Vec<Rule>, Vec<RuleProblem>> {
    let mut problems = Problems::new(text);
    let rules = read_rules(text, items, &mut problems);
    problems.finish(rules)
}

fn read_rules(
    text: &str,
    items: &[Spanned<DeValue<'_>>],
    problems: &mut Problems<'_>,
) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut ids = BTreeSet::new();
    for item in items.iter().take(RULES_MAX) {
        let DeValue::Table(table) = item.get_ref() else {
            problems.hinted(item.span(), "a rule must be a table", "[[rule]]");
            continue;
        };
        let mut reader = Reader { table, span: head(text, item.span()), problems };
        let Some(rule) = reader.rule() else { continue };
        if !ids.insert(rule.id()) {
            let span = reader.span.clone();
            let message = format!("rule `{}` is declared twice", rule.id());
            reader.problems.hinted(span, message, "give one of them another `id`");
        }
        rules.push(rule);
    }
    if let Some(item) = items.get(RULES_MAX) {
        problems.add(item.span(), format!("more than {RULES_MAX} rules"));
    }
    rules
}

/// The first line of a table, so that a problem does not mark the whole of it.
fn head(text: &str, span: Range<usize>) -> Range<usize> {
    let line = text.get(span.clone()).and_then(|table| table.lines().next());
    span.start..span.start + line.map_or(0, |line| line.trim_end().len())
}

/// Problems found so far.
struct Problems<'t> {
    text: &'t str,
    list: Vec<RuleProblem>,
}

impl<'t> Problems<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, list: Vec::new() }
    }

    fn add(&mut self, span: Range<usize>, message: impl Into<String>) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        self.list.push(RuleProblem {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            span,
            message: message.into(),
            hint: None,
        });
    }

    fn hinted(&mut self, span: Range<usize>, message: impl Into<String>, hint: &str) {
        self.add(span, message);
        if let Some(problem) = self.list.last_mut() {
            problem.hint = Some(hint.to_owned());
        }
    }

    fn finish(mut self, rules: Vec<Rule>) -> Result<Vec<Rule>, Vec<RuleProblem>> {
        if self.list.is_empty() {
            return Ok(rules);
        }
        self.list.sort_by_key(|problem| (problem.span.start, problem.span.end));
        Err(self.list)
    }
}

/// One table being read.
struct Reader<'a, 't> {
    table: &'a DeTable<'a>,
    span: Range<usize>,
    problems: &'a mut Problems<'t>,
}

impl Reader<'_, '_> {
    fn rule(&mut self) -> Option<Rule> {
        let before = self.problems.list.len();
        let at = self.required("at", "at = \"$.messages[*].updated_at\"");
        let action = self.action();
        let reason = self.required("reason", "reason = \"why the difference is harmless\"");
        let (id, owner) = (self.text("id"), self.text("owner"));
        let expires = self.parsed::<Day>("expires");
        let source = self.source();
        let scope = Scope {
            context: self.text("context"),
            endpoint: self.text("endpoint"),
            method: self.text("method").map(|method| method.to_ascii_uppercase()),
            status: self.parsed("status"),
        };
        self.unknown_keys();
        if self.problems.list.len() > before {
            return None;
        }
        let mut rule = match Rule::new(&at?, action?, &reason?) {
            Ok(rule) => rule.within(scope).from_source(source),
            Err(error) => {
                let span = self.inside("at", error.at, error.len);
                let hint = error.hint();
                self.problems.hinted(span, format!("`at`: {}", error.kind), hint);
                return None;
            }
        };
        if let Some(id) = id {
            rule = rule.named(&id);
        }
        if let Some(owner) = owner {
            rule = rule.owned_by(&owner);
        }
        if let Some(day) = expires {
            rule = rule.until(day);
        }
        Some(rule)
    }

    fn source(&mut self) -> RuleSource {
        match self.text("source").as_deref() {
            None | Some("human") => RuleSource::Human,
            Some("learned") => RuleSource::Learned,
            Some(other) => {
                let span = self.value_span("source");
                let message = format!("`source` must be `human` or `learned`, found `{other}`");
                self.problems.add(span, message);
                RuleSource::Human
            }
        }
    }

    fn unknown_keys(&mut self) {
        for (key, _) in self.table {
            let name: &str = key.get_ref();
            if COMMON.contains(&name) || PARAMETERS.contains(&name) {
                continue;
            }
            let known = COMMON.iter().chain(&PARAMETERS).copied();
            let close = known.clone().find(|known| is_near(name, known));
            let hint = match close {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("known keys: {}", COMMON.join(", ")),
            };
            self.problems.hinted(key.span(), format!("unknown key `{name}` in a rule"), &hint);
        }
    }

    fn value(&self, key: &str) -> Option<&Spanned<DeValue<'_>>> {
        self.table.iter().find(|(own, _)| own.get_ref() == key).map(|(_, value)| value)
    }

    fn value_span(&self, key: &str) -> Range<usize> {
        self.value(key).map_or_else(|| self.span.clone(), Spanned::span)
    }

    /// A place inside a text, unless escapes moved it.
    fn inside(&self, key: &str, at: usize, len: usize) -> Range<usize> {
        let span = self.value_span(key);
        let written = self.problems.text.get(span.clone()).unwrap_or_default();
        let plain = !written.contains('\\') && !written.starts_with("\"\"\"");
        let end = span.start + 1 + at + len.max(1);
        if plain && !written.starts_with("'''") && end <= span.end {
            span.start + 1 + at..end
        } else {
            span
        }
    }

    fn text(&mut self, key: &str) -> Option<String> {
        let value = self.value(key)?;
        if let DeValue::String(text) = value.get_ref()
            && !text.trim().is_empty()
        {
            return Some(text.to_string());
        }
        let span = value.span();
        self.problems.add(span, format!("`{key}` must be a text that is not empty"));
        None
    }

    fn required(&mut self, key: &str, example: &str) -> Option<String> {
        if self.value(key).is_some() {
            return self.text(key);
        }
        let span = self.span.clone();
        self.problems.hinted(span, format!("`{key}` is missing"), example);
        None
    }

    /// A text, number or day that has a form of its own.
    fn parsed<T: std::str::FromStr<Err: fmt::Display>>(&mut self, key: &str) -> Option<T> {
        let value = self.value(key)?;
        let span = value.span();
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.as_str().to_owned(),
            DeValue::Datetime(day) => day.to_string(),
            DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Array(_) | DeValue::Table(_) => {
                self.problems.add(span, format!("`{key}` must be a text"));
                return None;
            }
        };
        match text.parse() {
            Ok(parsed) => Some(parsed),
            Err(rule) => {
                self.problems.add(span, format!("`{key}` {rule}"));
                None
            }
        }
    }
}

/// Whether a word is a known one with a mistake or two.
fn is_near(word: &str, known: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (word.chars().take(40).collect(), known.chars().collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row.last().is_some_and(|edits| *edits <= 1 + known.len() / 5)
}

#[cfg(test)]
mod tests;
