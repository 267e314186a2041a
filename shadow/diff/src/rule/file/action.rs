//! The action of a rule and its parameters.
//!
//! Owns which keys belong to which action. Must stay true: a key of another action is a problem, so that a forgotten
//! `do` cannot turn a tolerance into something wider.

use toml::de::{DeFloat, DeInteger, DeValue};

use super::super::action::{
    Action, BijectionRule, Expected, HostPair, KeyRule, Normaliser, Order, Replacement, TimeFormat,
    TimeRule, Tolerance, Types,
};
use super::{PARAMETERS, Reader, is_near};
use crate::json::is_number;

/// Words of actions with the keys they take; the first of them is needed, or one of them where noted in `action`.
const ACTIONS: [(&str, &[&str]); 19] = [
    ("ignore", &[]),
    ("ignore_value", &[]),
    ("tolerance", &["abs", "rel", "decimals"]),
    ("time", &["slack", "formats"]),
    ("ordered", &[]),
    ("set", &[]),
    ("multiset", &[]),
    ("key", &["key", "any-order"]),
    ("null_eq_missing", &[]),
    ("null_eq_empty", &[]),
    ("number_eq_string", &["decimals"]),
    ("case", &[]),
    ("trim", &[]),
    ("url_host_map", &["hosts"]),
    ("regex_replace", &["pattern", "with"]),
    ("cookie_attrs_only", &[]),
    ("normaliser", &["normaliser"]),
    ("bijection", &["domain", "any-type"]),
    ("expect", &["value", "value-is"]),
];

/// Longest pattern; its compiled size is limited too.
const PATTERN_MAX: usize = 4_096;

impl Reader<'_, '_> {
    pub(super) fn action(&mut self) -> Option<Action> {
        let word = self.required("do", "do = \"ignore_value\"")?;
        let Some((_, keys)) = ACTIONS.iter().find(|(own, _)| *own == word) else {
            let span = self.value_span("do");
            let close = ACTIONS.iter().find(|(own, _)| is_near(&word.replace('-', "_"), own));
            let hint = if let Some((meant, _)) = close {
                format!("did you mean `{meant}`?")
            } else {
                let words: Vec<&str> = ACTIONS.iter().map(|(own, _)| *own).collect();
                format!("one of {}", words.join(", "))
            };
            self.problems.hinted(span, format!("unknown action `{word}`"), &hint);
            return None;
        };
        self.foreign_keys(&word, keys);
        Some(match word.as_str() {
            "ignore" => Action::Ignore,
            "ignore_value" => Action::IgnoreValue,
            "tolerance" => self.tolerance()?,
            "time" => self.time()?,
            "ordered" => Action::Ordered,
            "set" => Action::Set,
            "multiset" => Action::Multiset,
            "key" => self.key()?,
            "null_eq_missing" => Action::NullEqMissing,
            "null_eq_empty" => Action::NullEqEmpty,
            "number_eq_string" => Action::NumberEqString { decimals: self.decimals()? },
            "case" => Action::Case,
            "trim" => Action::Trim,
            "url_host_map" => self.hosts()?,
            "regex_replace" => self.regex()?,
            "cookie_attrs_only" => Action::CookieAttrsOnly,
            "normaliser" => self.normaliser()?,
            "bijection" => self.bijection()?,
            _ => self.expect()?,
        })
    }

    fn foreign_keys(&mut self, word: &str, keys: &[&str]) {
        for (key, _) in self.table {
            let name: &str = key.get_ref();
            if !PARAMETERS.contains(&name) || keys.contains(&name) {
                continue;
            }
            let owners: Vec<&str> = ACTIONS
                .iter()
                .filter(|(_, keys)| keys.contains(&name))
                .map(|(owner, _)| *owner)
                .collect();
            let message = format!("`{name}` has no meaning for `{word}`");
            self.problems.hinted(key.span(), message, &format!("it is for {}", owners.join(", ")));
        }
    }

    fn tolerance(&mut self) -> Option<Action> {
        let (abs, rel) = (self.number("abs")?, self.number("rel")?);
        let tolerance = Tolerance { abs, rel, decimals: self.decimals()? };
        if tolerance == Tolerance::default() {
            let span = self.value_span("do");
            self.problems.hinted(
                span,
                "`tolerance` needs `abs`, `rel` or `decimals`",
                "abs = 0.01, rel = 0.001 or decimals = 2",
            );
            return None;
        }
        if rel.is_some_and(|rel| rel >= 1.0) {
            let span = self.value_span("rel");
            self.problems.hinted(span, "`rel` is a share below 1", "rel = 0.01 is one percent");
            return None;
        }
        Some(Action::Tolerance(tolerance))
    }

    fn time(&mut self) -> Option<Action> {
        let slack = if self.value("slack").is_some() { Some(self.text("slack")?) } else { None };
        let slack_ms = match slack.as_deref().map(duration_ms) {
            None => 0,
            Some(Some(ms)) => ms,
            Some(None) => {
                let span = self.value_span("slack");
                self.problems
                    .add(span, "`slack` must be a duration such as \"500ms\", \"1s\", \"2m\"");
                return None;
            }
        };
        let mut formats = Vec::new();
        for (word, span) in self.texts("formats")? {
            let found = TimeFormat::ALL.into_iter().find(|format| format.word() == word);
            let Some(format) = found else {
                let words = TimeFormat::ALL.map(TimeFormat::word).join(", ");
                let message = format!("unknown form of time `{word}`");
                self.problems.hinted(span, message, &format!("one of {words}"));
                return None;
            };
            formats.push(format);
        }
        Some(Action::Time(TimeRule { slack_ms, formats }))
    }

    fn key(&mut self) -> Option<Action> {
        let names: Vec<String> = self.texts("key")?.into_iter().map(|(name, _)| name).collect();
        if names.is_empty() || names.len() > 8 {
            let span = self.value_span("key");
            self.problems.hinted(span, "`key` needs 1 to 8 names of members", "key = [\"code\"]");
            return None;
        }
        let order = if self.flag("any-order")? { Order::Free } else { Order::Counts };
        Some(Action::Key(KeyRule { names, order }))
    }

    fn hosts(&mut self) -> Option<Action> {
        let example = "hosts = { \"http://api.old.example\" = \"https://api.example\" }";
        let Some(DeValue::Table(table)) = self.value("hosts").map(toml::Spanned::get_ref) else {
            let span = self.value_span("hosts");
            self.problems.hinted(span, "`hosts` must be a table of URLs without a path", example);
            return None;
        };
        let mut pairs = Vec::new();
        let mut wrong = table.is_empty().then(|| self.value_span("hosts"));
        for (legacy, new) in table {
            if let DeValue::String(to) = new.get_ref()
                && is_origin(legacy.get_ref())
                && is_origin(to)
            {
                pairs.push(HostPair { legacy: legacy.get_ref().to_string(), new: to.to_string() });
            } else {
                wrong = Some(legacy.span());
            }
        }
        if let Some(span) = wrong {
            self.problems.hinted(span, "`hosts` must be a table of URLs without a path", example);
            return None;
        }
        Some(Action::UrlHostMap(pairs))
    }

    fn regex(&mut self) -> Option<Action> {
        let pattern = self.required("pattern", "pattern = 'v=[0-9]+'")?;
        let with = match self.value("with").map(toml::Spanned::get_ref) {
            None => String::new(),
            Some(DeValue::String(text)) => text.to_string(),
            Some(_) => self.text("with")?,
        };
        let compiled = if pattern.len() > PATTERN_MAX {
            Err(format!("the pattern is longer than {PATTERN_MAX} bytes"))
        } else {
            Replacement::new(&pattern, &with)
        };
        match compiled {
            Ok(replacement) => Some(Action::RegexReplace(replacement)),
            Err(why) => {
                let span = self.value_span("pattern");
                let hint = "the syntax is that of the Rust regex crate, without look-around";
                self.problems.hinted(span, format!("`pattern`: {why}"), hint);
                None
            }
        }
    }

    fn normaliser(&mut self) -> Option<Action> {
        let word = self.required("normaliser", "normaliser = \"whitespace\"")?;
        let found = Normaliser::ALL.into_iter().find(|normaliser| normaliser.word() == word);
        if found.is_none() {
            let span = self.value_span("normaliser");
            let words = Normaliser::ALL.map(Normaliser::word).join(", ");
            let message = format!("unknown normaliser `{word}`");
            self.problems.hinted(span, message, &format!("one of {words}"));
        }
        found.map(Action::Normaliser)
    }

    fn bijection(&mut self) -> Option<Action> {
        let domain = self.required("domain", "domain = \"user\"")?;
        let types = if self.flag("any-type")? { Types::Any } else { Types::Same };
        Some(Action::Bijection(BijectionRule { domain, types }))
    }

    fn expect(&mut self) -> Option<Action> {
        let special =
            if self.value("value-is").is_some() { Some(self.text("value-is")?) } else { None };
        let expected = match (self.value("value").map(toml::Spanned::get_ref), special.as_deref()) {
            (Some(DeValue::String(text)), None) => Some(Expected::Text(text.to_string())),
            (Some(DeValue::Boolean(flag)), None) => Some(Expected::Bool(*flag)),
            (Some(DeValue::Integer(number)), None) => lexeme(number.as_str()),
            (Some(DeValue::Float(number)), None) => lexeme(number.as_str()),
            (None, Some("null")) => Some(Expected::Null),
            (None, Some("absent")) => Some(Expected::Absent),
            (None, Some("rails3-emoji")) => Some(Expected::Rails3Emoji),
            (_, _) => None,
        };
        if expected.is_none() {
            let span = if self.value("value").is_some() { "value" } else { "value-is" };
            let span = self.value_span(span);
            self.problems.hinted(
                span,
                "`expect` needs what new must have",
                "value = \"open\" (or a number, true, false), or value-is = \"null\", \"absent\" or \"rails3-emoji\"",
            );
        }
        expected.map(Action::Expect)
    }

    /// The number at a key, if there is one; nothing when it is wrong.
    #[expect(clippy::option_option, reason = "absent and wrong are two things")]
    fn number(&mut self, key: &str) -> Option<Option<f64>> {
        let Some(value) = self.value(key) else { return Some(None) };
        let integer = value.get_ref().as_integer().map(DeInteger::as_str);
        let text = integer.or_else(|| value.get_ref().as_float().map(DeFloat::as_str));
        let text = text.unwrap_or_default();
        let number = text.replace('_', "").parse::<f64>().ok();
        let valid = number.filter(|number| number.is_finite() && *number >= 0.0);
        if valid.is_none() {
            let span = value.span();
            self.problems.add(span, format!("`{key}` must be a number of at least 0"));
        }
        valid.map(Some)
    }

    #[expect(clippy::option_option, reason = "absent and wrong are two things")]
    fn decimals(&mut self) -> Option<Option<u8>> {
        let Some(places) = self.number("decimals")? else { return Some(None) };
        let found = (0..=30u8).find(|own| (f64::from(*own) - places).abs() < f64::EPSILON);
        if found.is_none() {
            let span = self.value_span("decimals");
            self.problems.add(span, "`decimals` must be a whole number 0 to 30");
        }
        found.map(Some)
    }

    fn flag(&mut self, key: &str) -> Option<bool> {
        let Some(value) = self.value(key) else { return Some(false) };
        if let DeValue::Boolean(flag) = value.get_ref() {
            return Some(*flag);
        }
        let span = value.span();
        self.problems.add(span, format!("`{key}` must be true or false"));
        None
    }

    fn texts(&mut self, key: &str) -> Option<Vec<(String, std::ops::Range<usize>)>> {
        let Some(value) = self.value(key) else { return Some(Vec::new()) };
        let mut texts = Vec::new();
        let items = value.get_ref().as_array();
        let mut wrong = items.is_none().then(|| value.span());
        for item in items.into_iter().flat_map(|items| items.iter()) {
            match item.get_ref().as_str() {
                Some(text) => texts.push((text.to_owned(), item.span())),
                None => wrong = Some(item.span()),
            }
        }
        if let Some(span) = wrong {
            self.problems.add(span, format!("`{key}` must be a list of texts"));
            return None;
        }
        Some(texts)
    }
}

fn lexeme(text: &str) -> Option<Expected> {
    let text = text.replace('_', "");
    is_number(text.as_bytes()).then_some(Expected::Number(text))
}

/// Scheme and authority, nothing else.
fn is_origin(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['/', '?', '#', ' ']))
}

fn duration_ms(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(split)?;
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}
