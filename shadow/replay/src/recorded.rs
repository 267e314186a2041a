//! One recorded exchange, and its line in a recording.
//!
//! Owns the model that every format is read into, and its JSON form (`banyan` recording, version 1). It exists so that
//! the replayer knows one kind of exchange, wherever it was recorded. What must stay true: writing and reading gives the
//! same exchange back, byte by byte; nothing here is shown by `Debug`: an exchange may hold credentials.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A header list in wire order.
pub type Headers = Vec<(String, Vec<u8>)>;

/// One recorded exchange.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// Where it stands in its file: line or entry, from 1; 0 when it comes from no file.
    #[serde(skip)]
    pub place: u64,
    /// Names it within its recording; samples say it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// When it was answered, Unix ms; absent when the source does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
    /// Who asked: exchanges of one session are replayed in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The endpoint it was routed to, if a proxy recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The method, upper case.
    pub method: String,
    /// Path and query as they were sent.
    pub target: String,
    /// The client's headers, names in lower case.
    #[serde(default, with = "list", skip_serializing_if = "Vec::is_empty")]
    pub headers: Headers,
    /// What legacy answered, or whoever did when the source knows one side only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legacy: Option<RecordedAnswer>,
    /// What new answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<RecordedAnswer>,
    /// What the live comparison found, such as `match`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
}

/// One side's recorded answer.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedAnswer {
    /// The HTTP status code.
    pub status: u16,
    /// The headers, names in lower case.
    #[serde(default, with = "list", skip_serializing_if = "Vec::is_empty")]
    pub headers: Headers,
    /// What is known of the body.
    #[serde(default, skip_serializing_if = "RecordedBody::is_missing")]
    pub body: RecordedBody,
    /// How long it took, in ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elapsed_ms: Option<u64>,
}

/// What a recording knows of a body.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Encoded", into = "Encoded")]
pub enum RecordedBody {
    /// Nothing, as in an access log.
    #[default]
    Missing,
    /// All of it.
    Whole(Bytes),
    /// Only whether it is the same as another one: its token.
    Token(String),
}

/// Bytes in JSON: text as it is, anything else as base64; a token says so.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Encoded {
    Text(String),
    Base64 { base64: String },
    Token { token: String },
    Missing(()),
}

impl Recorded {
    /// The first value of a header, by lower-case name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_slice())
    }

    /// Whether redaction took a part of its target, so that nobody can ask it again.
    pub fn lost_its_target(&self) -> bool {
        crate::redact::is_redacted_target(&self.target)
    }

    /// Bytes it keeps in memory, for the limits of whoever holds it.
    pub fn bytes(&self) -> usize {
        let headers = |list: &Headers| -> usize {
            list.iter().map(|(name, value)| name.len() + value.len() + 48).sum()
        };
        let answer = |answer: &Option<RecordedAnswer>| {
            answer.as_ref().map_or(0, |answer| headers(&answer.headers) + answer.body.bytes())
        };
        size_of::<Self>()
            + self.target.len()
            + headers(&self.headers)
            + answer(&self.legacy)
            + answer(&self.new)
    }
}

impl RecordedBody {
    /// Whether nothing is known.
    pub const fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Missing => 0,
            Self::Whole(bytes) => bytes.len(),
            Self::Token(token) => token.len(),
        }
    }
}

impl From<RecordedBody> for Encoded {
    fn from(body: RecordedBody) -> Self {
        match body {
            RecordedBody::Missing => Self::Missing(()),
            RecordedBody::Whole(bytes) => Self::of(&bytes),
            RecordedBody::Token(token) => Self::Token { token },
        }
    }
}

impl From<Encoded> for RecordedBody {
    fn from(encoded: Encoded) -> Self {
        match encoded {
            Encoded::Missing(()) => Self::Missing,
            Encoded::Token { token } => Self::Token(token),
            Encoded::Text(text) => Self::Whole(Bytes::from(text)),
            // What is no base64 is kept as it stands: a body that compares unequal, never a lost line.
            Encoded::Base64 { base64 } => Self::Whole(
                STANDARD.decode(&base64).map_or_else(|_| Bytes::from(base64), Bytes::from),
            ),
        }
    }
}

impl Encoded {
    fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64 { base64: STANDARD.encode(bytes) },
        }
    }
}

/// Header lists as `[["name", "value"], ..]`.
mod list {
    use super::{Encoded, Headers, RecordedBody};
    use serde::{Deserialize, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(list: &Headers, to: S) -> Result<S::Ok, S::Error> {
        let pairs: Vec<(&str, Encoded)> =
            list.iter().map(|(name, value)| (name.as_str(), Encoded::of(value))).collect();
        pairs.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Headers, D::Error> {
        let pairs = Vec::<(String, RecordedBody)>::deserialize(from)?;
        let value = |body| match body {
            RecordedBody::Whole(bytes) => bytes.to_vec(),
            RecordedBody::Token(token) => token.into_bytes(),
            RecordedBody::Missing => Vec::new(),
        };
        Ok(pairs.into_iter().map(|(name, body)| (name, value(body))).collect())
    }
}

/// Shows neither headers nor bodies.
impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded")
            .field("id", &self.id)
            .field("method", &self.method)
            .field("legacy", &self.legacy)
            .field("new", &self.new)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RecordedAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedAnswer").field("status", &self.status).finish_non_exhaustive()
    }
}

impl fmt::Debug for RecordedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("Missing"),
            Self::Whole(bytes) => write!(f, "Whole({} bytes)", bytes.len()),
            Self::Token(_) => f.write_str("Token"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers() -> impl Strategy<Value = Headers> {
        proptest::collection::vec(
            ("[a-z-]{1,12}", proptest::collection::vec(any::<u8>(), 0..24)),
            0..4,
        )
    }

    fn answer() -> impl Strategy<Value = RecordedAnswer> {
        let body = prop_oneof![
            Just(RecordedBody::Missing),
            proptest::collection::vec(any::<u8>(), 0..64)
                .prop_map(|b| RecordedBody::Whole(b.into())),
            ".{0,40}".prop_map(|text| RecordedBody::Whole(text.into())),
            "tok:[a-z]{3}:[0-9a-f]{12}".prop_map(RecordedBody::Token),
        ];
        (100..600_u16, headers(), body, proptest::option::of(any::<u64>())).prop_map(
            |(status, headers, body, elapsed_ms)| RecordedAnswer {
                status,
                headers,
                body,
                elapsed_ms,
            },
        )
    }

    pub(crate) fn recorded() -> impl Strategy<Value = Recorded> {
        let texts = (".{0,8}", proptest::option::of(".{0,8}"), "/.{0,30}");
        (
            texts,
            proptest::option::of(any::<u64>()),
            headers(),
            proptest::option::of(answer()),
            proptest::option::of(answer()),
        )
            .prop_map(|((id, session, target), at_ms, headers, legacy, new)| Recorded {
                id,
                at_ms,
                session,
                method: "GET".into(),
                target,
                headers,
                legacy,
                new,
                ..Recorded::default()
            })
    }

    proptest! {
        #[test]
        fn a_line_gives_the_same_exchange_back(recorded in recorded()) {
            let line = serde_json::to_string(&recorded).unwrap();
            prop_assert!(!line.contains('\n'));
            let read: Recorded = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(read, recorded);
        }
    }
}
