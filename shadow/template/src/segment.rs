//! What one segment of a path, or one query key, says about itself.
//!
//! Owns the classes that a segment has by its look. Must stay true: whatever could be a value of a user is a class or
//! stays inside this crate; only [`is_word`] may be shown.

use std::fmt;

/// Longest segment that can be a word of the application.
const WORD_MAX: usize = 32;
/// Longest query key that is shown.
const KEY_MAX: usize = 40;
/// Longest segment that is looked at; longer ones are [`Class::Text`].
const SEGMENT_MAX: usize = 64;

/// A segment that stands for many values.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Class {
    /// Digits.
    Int,
    /// A UUID in its usual form.
    Uuid,
    /// Hex digits: a digest or a random id.
    Hex,
    /// One of many names, with the ending of a file that all of them have (or none).
    Slug(Option<Box<str>>),
    /// Text about which nothing can be said, or that must not be shown.
    Text,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int => f.write_str("{int}"),
            Self::Uuid => f.write_str("{uuid}"),
            Self::Hex => f.write_str("{hex}"),
            Self::Slug(None) => f.write_str("{slug}"),
            Self::Slug(Some(ending)) => write!(f, "{{slug}}.{ending}"),
            Self::Text => f.write_str("{text}"),
        }
    }
}

impl Class {
    /// The class that a segment has by its look, or that a template names; nothing for a name.
    pub(crate) fn of(segment: &str) -> Option<Self> {
        let all = |test: fn(&u8) -> bool| segment.as_bytes().iter().all(test);
        let digits = segment.bytes().filter(u8::is_ascii_digit).count();
        let upper = segment.bytes().any(|b| b.is_ascii_uppercase());
        match segment {
            "{int}" => Some(Self::Int),
            "{uuid}" => Some(Self::Uuid),
            "{hex}" => Some(Self::Hex),
            "{text}" => Some(Self::Text),
            "{slug}" => Some(Self::Slug(None)),
            _ if segment.starts_with("{slug}.") => {
                Some(Self::Slug(segment.split_once('.').map(|(_, ending)| ending.into())))
            }
            _ if all(u8::is_ascii_digit) => Some(Self::Int),
            _ if is_uuid(segment) => Some(Self::Uuid),
            _ if all(u8::is_ascii_hexdigit)
                && (segment.len() >= 16 || (segment.len() >= 8 && digits > 0)) =>
            {
                Some(Self::Hex)
            }
            _ if segment.len() > SEGMENT_MAX => Some(Self::Text),
            // Long and mixed: a token, never a name.
            _ if segment.len() >= 20 && digits >= 3 && upper => Some(Self::Text),
            _ => None,
        }
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// The ending of a file name, if it has a usual one.
pub(crate) fn ending(segment: &str) -> Option<&str> {
    let (name, ending) = segment.rsplit_once('.')?;
    let usual = (1..=5).contains(&ending.len())
        && ending.starts_with(|c: char| c.is_ascii_lowercase())
        && ending.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (usual && !name.is_empty()).then_some(ending)
}

/// Whether a segment looks like a word that a programmer chose: no address, number, hash, token.
pub(crate) fn is_word(segment: &str) -> bool {
    segment.len() <= WORD_MAX && looks_chosen(segment, "_-.")
}

/// The keys of a query, each once and in order; what does not look like a key is `*`.
pub(crate) fn query_keys(query: &str) -> Vec<String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let keys = pairs.map(|pair| pair.split('=').next().unwrap_or_default());
    let mut keys: Vec<String> = keys.take(64).map(query_key).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Rails writes nested keys as `user[login]` and lists as `ids[]`.
fn query_key(key: &str) -> String {
    let key = key.replace("%5B", "[").replace("%5b", "[").replace("%5D", "]").replace("%5d", "]");
    let mut parts = key.split('[').enumerate();
    let chosen = parts.all(|(at, part)| match (at, part.strip_suffix(']')) {
        (0, _) => looks_chosen(part, "_-."),
        (_, Some("")) => true,
        (_, Some(name)) => looks_chosen(name, "_-."),
        (_, None) => false,
    });
    if chosen && key.len() <= KEY_MAX { key } else { "*".to_owned() }
}

fn looks_chosen(name: &str, also: &str) -> bool {
    let count = |test: fn(&char) -> bool| name.chars().filter(test).count();
    let digits = count(char::is_ascii_digit);
    let mixed =
        digits > 0 && count(char::is_ascii_uppercase) > 0 && count(char::is_ascii_lowercase) > 0;
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c))
        && digits <= 4
        && !(mixed && name.len() >= 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_have_the_class_of_their_look() {
        for (segment, class) in [
            ("17", "{int}"),
            ("9f2c4f9e-27f3-4cc1-ae3f-0a4a9a9d21b7", "{uuid}"),
            ("3fa2bc91", "{hex}"),
            ("deadbeefdeadbeef", "{hex}"),
            ("aGVsbG8gd29ybGQ1234567", "{text}"),
            ("{slug}.css", "{slug}.css"),
            ("{text}", "{text}"),
        ] {
            assert_eq!(Class::of(segment).unwrap().to_string(), class, "{segment}");
        }
        for name in ["messages", "defaced", "v1", "ada-lovelace", "app.css", "caf%C3%A9"] {
            assert_eq!(Class::of(name), None, "{name}");
        }
    }

    #[test]
    fn only_words_may_be_shown() {
        for word in ["messages", "v1.1", "robots.txt", "oauth2", "_health", "mark-read"] {
            assert!(is_word(word), "{word}");
        }
        for value in ["ada@mail.example", "+4915112345", "caf%C3%A9", "Xk29sLLq81zA", ""] {
            assert!(!is_word(value), "{value}");
        }
    }

    #[test]
    fn query_keys_are_a_set_of_names() {
        assert_eq!(
            query_keys("page=2&user%5Blogin%5D=ada&ids[]=1&ids[]=2&page=3"),
            ["ids[]", "page", "user[login]"]
        );
        assert_eq!(query_keys("ada@mail.example&=&x[4711471147114711]=1"), ["*"]);
        assert!(query_keys("").is_empty());
    }
}
