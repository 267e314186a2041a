//! Writing a rule.
//!
//! Owns the text form of rules that Banyan suggests or has learned. Must stay true: it reads back as the same rule.

use super::super::action::{Action, Expected, Order, Types};
use super::super::{Normaliser, Rule, RuleSource, TimeFormat};

impl Rule {
    /// The rule as a `[[rule]]` table, ending in a line break.
    pub fn to_toml(&self) -> String {
        self.to_toml_as("rule")
    }

    /// The same under another name of the table, such as `shadow.rule`.
    pub fn to_toml_as(&self, table: &str) -> String {
        let mut lines = vec![format!("[[{table}]]")];
        let mut line = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                lines.push(format!("{key} = {value}"));
            }
        };
        let scope = self.scope();
        line("id", self.name().map(quoted));
        line("at", Some(quoted(self.at())));
        line("do", Some(quoted(self.action().word())));
        for (key, value) in parameters(self.action()) {
            line(key, Some(value));
        }
        line("context", scope.context.as_deref().map(quoted));
        line("endpoint", scope.endpoint.as_deref().map(quoted));
        line("method", scope.method.as_deref().map(quoted));
        line("status", scope.status.map(|status| quoted(&status.to_string())));
        line("reason", Some(quoted(self.reason())));
        line("owner", self.owner().map(quoted));
        line("expires", self.expires().map(|day| day.to_string()));
        let learned = self.source() == RuleSource::Learned;
        line("source", learned.then(|| quoted("learned")));
        lines.join("\n") + "\n"
    }
}

fn parameters(action: &Action) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let mut add = |key: &'static str, value: Option<String>| {
        found.extend(value.map(|value| (key, value)));
    };
    match action {
        Action::Tolerance(tolerance) => {
            add("abs", tolerance.abs.map(|abs| format!("{abs:?}")));
            add("rel", tolerance.rel.map(|rel| format!("{rel:?}")));
            add("decimals", tolerance.decimals.map(|places| places.to_string()));
        }
        Action::Time(time) => {
            let slack = (time.slack_ms > 0).then(|| quoted(&format!("{}ms", time.slack_ms)));
            add("slack", slack);
            let words: Vec<&str> =
                time.formats.iter().map(|format| TimeFormat::word(*format)).collect();
            add("formats", (!words.is_empty()).then(|| list(&words)));
        }
        Action::Key(key) => {
            add("key", Some(list(&key.names)));
            add("any-order", (key.order == Order::Free).then(|| "true".to_owned()));
        }
        Action::NumberEqString { decimals } => add("decimals", decimals.map(|d| d.to_string())),
        Action::UrlHostMap(pairs) => {
            let pairs: Vec<String> = pairs
                .iter()
                .map(|p| format!("{} = {}", quoted(&p.legacy), quoted(&p.new)))
                .collect();
            add("hosts", Some(format!("{{ {} }}", pairs.join(", "))));
        }
        Action::RegexReplace(replacement) => {
            add("pattern", Some(quoted(replacement.pattern())));
            add("with", Some(quoted(replacement.with())));
        }
        Action::Normaliser(normaliser) => {
            add("normaliser", Some(quoted(Normaliser::word(*normaliser))));
        }
        Action::Bijection(bijection) => {
            add("domain", Some(quoted(&bijection.domain)));
            add("any-type", (bijection.types == Types::Any).then(|| "true".to_owned()));
        }
        Action::Expect(expected) => match expected {
            Expected::Null | Expected::Absent | Expected::Rails3Emoji => {
                add("value-is", Some(quoted(&expected.to_string())));
            }
            Expected::Bool(flag) => add("value", Some(flag.to_string())),
            Expected::Number(lexeme) => add("value", Some(lexeme.clone())),
            Expected::Text(text) => add("value", Some(quoted(text))),
        },
        Action::Ignore
        | Action::IgnoreValue
        | Action::Ordered
        | Action::Set
        | Action::Multiset
        | Action::NullEqMissing
        | Action::NullEqEmpty
        | Action::Case
        | Action::Trim
        | Action::CookieAttrsOnly => {}
    }
    found
}

fn list(words: &[impl AsRef<str>]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word.as_ref())).collect();
    format!("[{}]", words.join(", "))
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.extend(["\\u", &format!("{:04X}", u32::from(c))]),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
