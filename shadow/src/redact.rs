//! What of an answer may be stored: its shape, never its values.
//!
//! Owns tokens, the redacted request line and the cleaning of shape paths. It exists so that a sample shows that two
//! values differ, and how, without showing either. What must stay true: a value becomes its class and a keyed hash
//! (`tok:<class>:<hash>`, the same for the same value under one key) unless its place is on the list of shown ones and it
//! looks like no secret; nothing of a request but method, endpoint, template
//! literals, short numeric ids, query keys and the kind of credentials is kept.

use crate::secret::is_secret;
use banyan_diff::{Fragment, Location, Part, ValueClass};
use banyan_domain::PathTemplate;
use banyan_domain::template::Segment;
use std::fmt;

/// Longest number that is shown as an id; longer ones may be phone or card numbers.
const ID_DIGITS_MAX: usize = 9;
/// Longest name of a field, header, cookie or query parameter that is shown.
const NAME_MAX: usize = 40;

/// Headers whose values are credentials, or as good as.
const NEVER_SHOWN: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];

/// Secret that tokens are made with. Keep it over runs, so that tokens and distinct requests can be compared.
#[derive(Clone)]
pub struct RedactionKey([u8; 32]);

/// Whether short whole numbers in paths and queries are stored as they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NumericIds {
    /// Shown: a sample can be asked again by hand.
    #[default]
    Shown,
    /// Stored as tokens, for installations where an id alone is already personal data.
    Hidden,
}

/// How values are made fit to store.
#[derive(Debug, Clone)]
pub struct Redaction {
    key: RedactionKey,
    ids: NumericIds,
    /// Shapes of places whose values are shown.
    shown: Vec<String>,
}

/// The kind of credentials of a request; part of what makes requests distinct.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthClass {
    None,
    Cookie,
    Token,
    CookieAndToken,
}

impl RedactionKey {
    /// A key from any secret text.
    pub fn derive(secret: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("banyan 2026 shadow redaction");
        hasher.update(secret);
        Self(*hasher.finalize().as_bytes())
    }
}

impl fmt::Debug for RedactionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedactionKey(hidden)")
    }
}

impl AuthClass {
    pub(crate) fn of(headers: &[(String, Vec<u8>)]) -> Self {
        let has = |wanted: &str| headers.iter().any(|(name, _)| name == wanted);
        match (has("cookie"), has("authorization")) {
            (false, false) => Self::None,
            (true, false) => Self::Cookie,
            (false, true) => Self::Token,
            (true, true) => Self::CookieAndToken,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Cookie => "cookie",
            Self::Token => "token",
            Self::CookieAndToken => "cookie_and_token",
        }
    }
}

impl Redaction {
    /// Redaction with a key.
    pub const fn new(key: RedactionKey, ids: NumericIds) -> Self {
        Self { key, ids, shown: Vec::new() }
    }

    /// The same, but values at these places are shown: shapes as reports name them, such as `$.status` or
    /// `header:x-version`. A value that looks like personal data or a credential is not shown even there, and
    /// `authorization`, `cookie`, `set-cookie` and cookies never are.
    #[must_use]
    pub fn with_shown(self, shown: impl IntoIterator<Item = String>) -> Self {
        Self { shown: shown.into_iter().collect(), ..self }
    }

    /// A keyed hash of parts whose borders count.
    pub(crate) fn hash(&self, parts: &[&[u8]]) -> u64 {
        let mut hasher = blake3::Hasher::new_keyed(&self.key.0);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut first = [0; 8];
        hasher.finalize_xof().fill(&mut first);
        u64::from_le_bytes(first)
    }

    /// A key of its own for another purpose, from which this one cannot be found.
    pub fn key_for(&self, purpose: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(&self.key.0, purpose).as_bytes()
    }

    /// The token of a value: the same for the same value and class under one key.
    pub fn token(&self, class: &str, value: &[u8]) -> String {
        let hash = self.hash(&[b"token", class.as_bytes(), value]) >> 16;
        format!("tok:{class}:{hash:012x}")
    }

    /// A value of an answer. Status codes are shown; `null`, booleans, empty values and containers have no value to
    /// hide behind a token, or none that must be told apart.
    pub fn fragment(&self, location: &Location, fragment: &Fragment) -> String {
        if self.shows(location) && !is_secret(&fragment.text) {
            return fragment.text.clone();
        }
        self.hidden(&location.part, fragment)
    }

    /// A value of an answer as it is stored wherever it is not shown.
    pub(crate) fn hidden(&self, part: &Part, fragment: &Fragment) -> String {
        match (part, fragment.class()) {
            (Part::Status, _) => {
                fragment.text.chars().filter(char::is_ascii_digit).take(3).collect()
            }
            (Part::Header(_) | Part::Cookie(_) | Part::Body, class) => match class {
                ValueClass::Null
                | ValueClass::Bool
                | ValueClass::Empty
                | ValueClass::Object
                | ValueClass::Array(_) => class.to_string(),
                ValueClass::Int
                | ValueClass::Number
                | ValueClass::Uuid
                | ValueClass::Hex(_)
                | ValueClass::Iso8601
                | ValueClass::RailsTime
                | ValueClass::Epoch
                | ValueClass::Url
                | ValueClass::String(_)
                | ValueClass::Binary => self.token(&class.to_string(), fragment.text.as_bytes()),
            },
        }
    }

    /// Whether values at this place may be shown.
    fn shows(&self, location: &Location) -> bool {
        let never = match &location.part {
            Part::Cookie(_) => true,
            Part::Header(name) => NEVER_SHOWN.contains(&name.as_str()),
            Part::Status | Part::Body => false,
        };
        !never && self.shown.contains(&location.shape)
    }

    /// The target of a request: literals of the template, numeric ids and query keys, the rest as tokens. Without a
    /// template no text of the path is known to be harmless.
    pub fn target(&self, path_and_query: &str, template: Option<&PathTemplate>) -> String {
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        let literals = template.map_or(&[][..], PathTemplate::segments);
        let mut shown = String::new();
        for (at, segment) in path.split('/').skip(1).enumerate() {
            shown.push('/');
            match literals.get(at) {
                Some(Segment::Literal(text)) if text == segment => shown.push_str(text),
                Some(Segment::Literal(_) | Segment::Param(_) | Segment::Rest(_)) | None => {
                    shown.push_str(&self.value(segment));
                }
            }
        }
        for (at, pair) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
            shown.push(if at == 0 { '?' } else { '&' });
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            shown.push_str(&if is_field(key) { key.to_owned() } else { self.value(key) });
            shown.push('=');
            shown.push_str(&self.value(value));
        }
        shown
    }

    /// A shape path in which every key that may be data instead of a field's name became `*`.
    pub fn shape(text: &str) -> String {
        shape(text)
    }

    /// An id as it may stand in a report: a short number as it is, unless such ids are hidden too; all else as a token.
    pub fn id(&self, text: &str) -> String {
        self.value(text)
    }

    /// Whether a name looks like one a programmer chose, so that it may be stored.
    pub fn is_field(name: &str) -> bool {
        is_field(name)
    }

    fn value(&self, text: &str) -> String {
        let digits = text.len() <= ID_DIGITS_MAX && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits && !is_secret(text);
        match (text.is_empty(), number, self.ids) {
            (true, _, _) => String::new(),
            (false, true, NumericIds::Shown) => text.to_owned(),
            (false, true, NumericIds::Hidden) => self.token("int", text.as_bytes()),
            (false, false, _) => self.token("string", text.as_bytes()),
        }
    }
}

/// A shape path in which every key that may be data instead of a field's name became `*`.
pub(crate) fn shape(text: &str) -> String {
    let Some(mut rest) = text.strip_prefix('$') else { return named(text) };
    let mut clean = String::from("$");
    while let Some(first) = rest.chars().next() {
        let (step, after) = match first {
            '.' => split_at(
                rest,
                1 + rest.get(1..).and_then(|r| r.find(['.', '['])).unwrap_or(rest.len() - 1),
            ),
            '[' => split_at(rest, bracket_end(rest)),
            _ => (rest, ""),
        };
        clean.push_str(&clean_step(step));
        rest = after;
    }
    clean
}

/// `header:etag`, `cookie:_session`, `html:body > ul#inbox > li@title`, `status`, `body`.
fn named(text: &str) -> String {
    match text.split_once(':') {
        Some(("html", "!doctype")) => text.to_owned(),
        Some(("html", path)) => html(path),
        Some((part @ ("header" | "cookie"), name)) if !is_field(name) => format!("{part}:*"),
        Some(("header" | "cookie", _)) => text.to_owned(),
        None if is_field(text) => text.to_owned(),
        Some(_) | None => "body".to_owned(),
    }
}

/// Elements, ids and attributes of a page that look like names; an author of a page may write anything there.
fn html(path: &str) -> String {
    let clean = |name: &str| if is_field(name) { name.to_owned() } else { "*".to_owned() };
    let (elements, attribute) = match path.rsplit_once('@') {
        Some((elements, attribute)) => (elements, Some(attribute)),
        None => (path, None),
    };
    let step = |step: &str| match step.split_once('#') {
        Some((element, id)) if is_field(id) => format!("{}#{id}", clean(element)),
        Some((element, _)) => clean(element),
        None => clean(step),
    };
    let steps: Vec<String> = elements.split(" > ").map(step).collect();
    let attribute = attribute.map(|name| format!("@{}", clean(name))).unwrap_or_default();
    format!("html:{}{attribute}", steps.join(" > "))
}

fn clean_step(step: &str) -> String {
    let name = step
        .strip_prefix('.')
        .or_else(|| step.strip_prefix("['").and_then(|step| step.strip_suffix("']")));
    match name {
        _ if step == "[*]" || step == ".*" => step.to_owned(),
        Some(name) if is_field(name) => step.to_owned(),
        Some(_) | None => ".*".to_owned(),
    }
}

/// Where a bracket that opens `text` ends, quotes and escapes respected.
pub(crate) fn bracket_end(text: &str) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '\'' => quoted = !quoted,
            ']' if !quoted => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn split_at(text: &str, at: usize) -> (&str, &str) {
    text.split_at_checked(at).unwrap_or((text, ""))
}

/// Whether a name looks like one a programmer chose: not an address, a number, a hash or random text.
pub(crate) fn is_field(name: &str) -> bool {
    let count = |test: fn(&char) -> bool| name.chars().filter(test).count();
    let digits = count(char::is_ascii_digit);
    let mixed =
        digits > 0 && count(char::is_ascii_uppercase) > 0 && count(char::is_ascii_lowercase) > 0;
    name.len() <= NAME_MAX
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
        && digits <= 4
        && !(mixed && name.len() >= 12)
}

#[cfg(test)]
mod tests;
