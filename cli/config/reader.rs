//! Reads a parsed TOML document key by key and collects every problem.
//!
//! Owns unknown keys, wrong types, missing keys and environment overrides. It exists because serde stops at
//! the first error, and an operator wants all of them at once. What must stay true: reading never fails;
//! a problem yields the default and a line in the list, and the caller refuses the whole file at the end.

use super::problem::{Problem, closest};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where an effective value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    File(Range<usize>),
    Environment(String),
}

/// One effective value, for `config show`.
#[derive(Debug, Clone)]
pub(crate) struct Effective {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) origin: Origin,
}

/// What reading collects.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) problems: Vec<Problem>,
    pub(crate) effective: Vec<Effective>,
}

/// The environment, passed in so that tests need not touch the real one.
pub(crate) type Environment = BTreeMap<String, String>;

/// A value with its place in the file.
#[derive(Debug, Clone)]
pub(crate) struct Found<T> {
    pub(crate) value: T,
    pub(crate) span: Option<Range<usize>>,
}

/// One table being read.
pub(crate) struct Section<'t> {
    table: Option<&'t DeTable<'t>>,
    span: Option<Range<usize>>,
    path: String,
    asked: RefCell<Vec<&'static str>>,
    shared: Rc<Shared>,
}

/// What all sections of one document share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) notes: RefCell<Notes>,
    pub(crate) environment: Environment,
}

impl<'t> Section<'t> {
    /// The whole document.
    pub(crate) fn root(table: &'t DeTable<'t>, shared: Rc<Shared>) -> Self {
        Self {
            table: Some(table),
            span: None,
            path: String::new(),
            asked: RefCell::default(),
            shared,
        }
    }

    /// Whether the file has this section at all.
    pub(crate) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// The place of the section's head.
    pub(crate) fn span(&self) -> Option<Range<usize>> {
        self.span.clone()
    }

    /// The place of a key, if the file has it.
    pub(crate) fn key_span(&self, key: &str) -> Option<Range<usize>> {
        self.table?.iter().find(|(k, _)| k.get_ref() == key).map(|(k, _)| k.span())
    }

    /// Notes a problem.
    pub(crate) fn problem(&self, problem: Problem) {
        self.shared.notes.borrow_mut().problems.push(problem);
    }

    /// The full name of a key.
    pub(crate) fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn value(&self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.asked.borrow_mut().push(key);
        self.table?.iter().find(|(k, _)| k.get_ref() == key).map(|(_, value)| value)
    }

    /// A sub-table; an absent one reads as empty.
    pub(crate) fn section(&self, key: &'static str) -> Section<'t> {
        let found = self.value(key);
        let table = found.and_then(|value| {
            if let DeValue::Table(table) = value.get_ref() {
                return Some(table);
            }
            self.problem(Problem::error(
                Some(value.span()),
                format!("`{}` must be a table: `[{}]`", self.name(key), self.name(key)),
            ));
            None
        });
        Section {
            table,
            span: found.map(Spanned::span),
            path: self.name(key),
            asked: RefCell::default(),
            shared: Rc::clone(&self.shared),
        }
    }

    /// An array of tables; an absent one is empty.
    pub(crate) fn sections(&self, key: &'static str) -> Vec<Section<'t>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let DeValue::Array(array) = value.get_ref() else {
            self.problem(Problem::error(
                Some(value.span()),
                format!("`{}` must be a list of tables: `[[{}]]`", self.name(key), self.name(key)),
            ));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in array {
            let DeValue::Table(table) = item.get_ref() else {
                self.problem(Problem::error(
                    Some(item.span()),
                    format!("`{}` must be a table: `[[{}]]`", self.name(key), self.name(key)),
                ));
                continue;
            };
            sections.push(Section {
                table: Some(table),
                span: Some(item.span()),
                path: self.name(key),
                asked: RefCell::default(),
                shared: Rc::clone(&self.shared),
            });
        }
        sections
    }

    /// The items of a list as they were parsed, for a part of the file with an own reader.
    pub(crate) fn items(&self, key: &'static str) -> Vec<Spanned<DeValue<'t>>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        if let DeValue::Array(array) = value.get_ref() {
            return array.to_vec();
        }
        self.problem(Problem::error(
            Some(value.span()),
            format!("`{}` must be a list of tables: `[[{}]]`", self.name(key), self.name(key)),
        ));
        Vec::new()
    }

    /// A list of strings; an absent one is nothing.
    pub(crate) fn strings(&self, key: &'static str) -> Option<Vec<Found<String>>> {
        let value = self.value(key)?;
        let wrong = |span| {
            self.problem(Problem::error(
                Some(span),
                format!("`{}` must be a list of texts: [\"..\", \"..\"]", self.name(key)),
            ));
        };
        let DeValue::Array(array) = value.get_ref() else {
            wrong(value.span());
            return None;
        };
        let mut found = Vec::new();
        for item in array {
            if let DeValue::String(text) = item.get_ref() {
                found.push(Found { value: text.to_string(), span: Some(item.span()) });
            } else {
                wrong(item.span());
            }
        }
        let shown: Vec<&str> = found.iter().map(|f| f.value.as_str()).collect();
        self.note_effective(key, &format!("{shown:?}"), Origin::File(value.span()));
        Some(found)
    }

    /// A scalar as text with its origin: the environment wins over the file.
    fn scalar(&self, key: &'static str) -> Option<(String, Origin)> {
        let in_file = self.value(key);
        let variable = format!("BANYAN_{}", self.name(key).replace('.', "__").replace('-', "_"))
            .to_uppercase();
        if let Some(text) = self.shared.environment.get(&variable)
            && !self.is_in_list()
        {
            return Some((text.clone(), Origin::Environment(variable)));
        }
        let value = in_file?;
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.as_str().replace('_', ""),
            DeValue::Float(number) => number.as_str().replace('_', ""),
            DeValue::Boolean(flag) => flag.to_string(),
            DeValue::Datetime(time) => time.to_string(),
            DeValue::Array(_) | DeValue::Table(_) => {
                self.problem(Problem::error(
                    Some(value.span()),
                    format!("`{}` must be a single value", self.name(key)),
                ));
                return None;
            }
        };
        Some((text, Origin::File(value.span())))
    }

    /// List items have no environment names: their position would be part of the name.
    fn is_in_list(&self) -> bool {
        ["context", "sync", "expect", "capture", "table", "ignore", "endpoint"]
            .iter()
            .any(|list| self.path.split('.').any(|part| part == *list))
    }

    /// A value read by `parse`, or nothing when absent or wrong (then a problem is noted).
    pub(crate) fn optional<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Found<T>> {
        let (text, origin) = self.scalar(key)?;
        let span = match &origin {
            Origin::File(span) => Some(span.clone()),
            Origin::Default | Origin::Environment(_) => None,
        };
        match parse(&text) {
            Ok(value) => {
                self.note_effective(key, &text, origin);
                Some(Found { value, span })
            }
            Err(rule) => {
                let message = match &origin {
                    Origin::Environment(variable) => {
                        format!("environment variable {variable}: {rule}")
                    }
                    Origin::File(_) | Origin::Default => format!("`{}`: {rule}", self.name(key)),
                };
                self.problem(Problem::error(span, message));
                None
            }
        }
    }

    /// A value with a default, which is written in the form of the file.
    pub(crate) fn or<T>(
        &self,
        key: &'static str,
        default: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        if let Some(found) = self.optional(key, &parse) {
            return Some(found.value);
        }
        let has_file_value = self.table.is_some_and(|t| t.iter().any(|(k, _)| k.get_ref() == key));
        if !has_file_value {
            self.note_effective(key, default, Origin::Default);
        }
        // A default that its own parser refuses is a bug of ours; a test reads every default.
        parse(default).ok()
    }

    /// A value that must be there.
    pub(crate) fn required<T>(
        &self,
        key: &'static str,
        example: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Found<T>> {
        let before = self.shared.notes.borrow().problems.len();
        let found = self.optional(key, parse);
        if found.is_none() && self.shared.notes.borrow().problems.len() == before {
            self.problem(
                Problem::error(self.span(), format!("`{}` is missing", self.name(key)))
                    .hint(format!("{key} = {example}")),
            );
        }
        found
    }

    fn note_effective(&self, key: &str, value: &str, origin: Origin) {
        let effective = Effective { key: self.name(key), value: value.to_owned(), origin };
        self.shared.notes.borrow_mut().effective.push(effective);
    }

    /// Reports keys that nobody asked for. Call it last.
    pub(crate) fn finish(&self) {
        let asked = self.asked.borrow();
        for (key, _) in self.table.into_iter().flat_map(DeTable::iter) {
            if asked.contains(&key.get_ref().as_ref()) {
                continue;
            }
            let scope = if self.path.is_empty() {
                "the file".to_owned()
            } else {
                format!("[{}]", self.path)
            };
            let mut problem = Problem::error(
                Some(key.span()),
                format!("unknown key `{}` in {scope}", key.get_ref()),
            );
            problem.hint = match closest(key.get_ref(), asked.iter().copied()) {
                Some(meant) => Some(format!("did you mean `{meant}`?")),
                None => Some(format!("known keys: {}", asked.join(", "))),
            };
            self.problem(problem);
        }
    }
}
