//! Root keys: the text that names one aggregate, and the parts it is made of.
//!
//! A computed key such as `3:17` cannot use an index, its parts can. So a job may declare what the
//! parts are, and a mapping may use them (`{keys.1}`, `{key_rows}`).
//!
//! What must stay true: a key's text is canonical (one text per aggregate); splitting a key that does
//! not have the declared shape is an error that names the key, never a guess.

use std::fmt;

/// The canonical text of one aggregate's root key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RootKey(String);

/// What one part of a root key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PartKind {
    /// A canonical decimal integer of at most 64 bits.
    Integer,
    /// Any text without the separator.
    Text,
}

/// One part of a root key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeyPart {
    /// An integer part.
    Integer(i64),
    /// A text part.
    Text(String),
}

/// The declared shape of a job's root keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyShape {
    separator: String,
    parts: Vec<PartKind>,
}

/// A root key that does not have its job's shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("root key `{key}` does not have the declared parts ({shape})")]
pub struct KeyError {
    /// The key as it was captured or listed.
    pub key: String,
    /// The declared shape in words.
    pub shape: String,
}

impl RootKey {
    /// The key of this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl KeyShape {
    /// Keys made of these parts, joined by the separator. No parts: keys are opaque.
    pub fn new(separator: impl Into<String>, parts: Vec<PartKind>) -> Self {
        Self { separator: separator.into(), parts }
    }

    /// How the parts are declared.
    pub fn parts(&self) -> &[PartKind] {
        &self.parts
    }

    /// The parts of one key; empty when none are declared.
    ///
    /// # Errors
    /// [`KeyError`] when the number of parts differs or an integer part is not a canonical integer.
    pub fn split(&self, key: &RootKey) -> Result<Vec<KeyPart>, KeyError> {
        if self.parts.is_empty() {
            return Ok(Vec::new());
        }
        self.try_split(key.as_str())
            .ok_or_else(|| KeyError { key: key.as_str().to_owned(), shape: self.to_string() })
    }

    /// A key of this shape, for preparing statements: `0:0`.
    pub fn sample(&self) -> String {
        let parts: Vec<&str> = self.parts.iter().map(|_| "0").collect();
        if parts.is_empty() { "0".to_owned() } else { parts.join(&self.separator) }
    }

    fn try_split(&self, text: &str) -> Option<Vec<KeyPart>> {
        let pieces: Vec<&str> = if self.parts.len() == 1 {
            vec![text]
        } else {
            text.split(self.separator.as_str()).collect()
        };
        if pieces.len() != self.parts.len() {
            return None;
        }
        pieces.into_iter().zip(&self.parts).map(|(piece, kind)| part(piece, *kind)).collect()
    }
}

impl fmt::Display for KeyShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, kind) in self.parts.iter().enumerate() {
            if at > 0 {
                f.write_str(&self.separator)?;
            }
            f.write_str(match kind {
                PartKind::Integer => "<integer>",
                PartKind::Text => "<text>",
            })?;
        }
        Ok(())
    }
}

fn part(piece: &str, kind: PartKind) -> Option<KeyPart> {
    match kind {
        PartKind::Text => Some(KeyPart::Text(piece.to_owned())),
        PartKind::Integer => {
            let number: i64 = piece.parse().ok()?;
            // `007` and `+7` would be second texts of key 7.
            (number.to_string() == piece).then_some(KeyPart::Integer(number))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> KeyShape {
        KeyShape::new(":", vec![PartKind::Integer, PartKind::Integer])
    }

    #[test]
    fn a_key_is_split_into_its_declared_parts() {
        assert_eq!(
            pair().split(&RootKey::new("3:17")),
            Ok(vec![KeyPart::Integer(3), KeyPart::Integer(17)])
        );
        assert_eq!(KeyShape::new(":", vec![]).split(&RootKey::new("a:b")), Ok(vec![]));
    }

    #[test]
    fn a_key_of_another_shape_is_refused_by_name() {
        for key in ["3", "3:17:1", "03:17", "+3:17", "a:b", "", "3: 17"] {
            let refused = pair().split(&RootKey::new(key)).unwrap_err();
            assert_eq!(refused.key, key);
            assert!(refused.to_string().contains("<integer>:<integer>"));
        }
    }

    #[test]
    fn one_text_part_may_hold_the_separator() {
        let shape = KeyShape::new(":", vec![PartKind::Text]);
        assert_eq!(shape.split(&RootKey::new("a:b")), Ok(vec![KeyPart::Text("a:b".to_owned())]));
    }
}
