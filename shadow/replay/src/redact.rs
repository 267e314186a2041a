//! What of an exchange a redacted recording keeps.
//!
//! Owns the change from an exchange to one that can be stored: credentials go, values become tokens of a key (the same
//! value, the same token), numeric ids of the target stay. It exists so that a recording can be kept and shared without the
//! data in it, and a later answer, redacted under the same key, can still be compared with the recorded one. What must stay
//! true: the same function redacts both; redacting does not depend on which side answered.

use crate::{Headers, Recorded, RecordedAnswer, RecordedBody};
use banyan_domain::PathTemplate;
use banyan_shadow::{Answer, Redaction};
use bytes::Bytes;
use serde_json::{Map, Value};
use std::io::Read as _;

/// Headers of a request that are kept as they are; all others go.
const REQUEST_KEPT: [&str; 9] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "content-type",
    "host",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-requested-with",
];
/// Headers of an answer whose values are kept; those of all others become tokens.
const ANSWER_KEPT: [&str; 12] = [
    "accept-ranges",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "allow",
    "cache-control",
    "content-language",
    "content-type",
    "referrer-policy",
    "vary",
    "x-content-type-options",
    "x-frame-options",
    "x-xss-protection",
];
/// Headers that speak of the encoding, which is undone.
const ENCODING: [&str; 3] = ["content-encoding", "content-length", "transfer-encoding"];
/// Largest decoded body that is looked into; a larger one is not kept.
const DECODED_MAX: u64 = 32 << 20;
/// What a token begins with.
const TOKEN: &str = "tok:";

/// Redacts exchanges and answers.
#[derive(Debug, Clone)]
pub struct Redactor {
    redaction: Redaction,
}

impl Redactor {
    /// A redactor that makes the tokens of this redaction.
    pub const fn new(redaction: Redaction) -> Self {
        Self { redaction }
    }

    /// The name of the key: says whether two recordings can be compared, and nothing of the key.
    pub fn key(&self) -> String {
        self.redaction.token("key", b"name").replace("tok:key:", "")
    }

    /// What is kept of an exchange.
    pub fn exchange(&self, recorded: &Recorded, template: Option<&PathTemplate>) -> Recorded {
        let session = recorded.session.as_ref().map(String::as_bytes).map(<[u8]>::to_vec);
        let session = session.or_else(|| credentials(recorded));
        let headers = recorded.headers.iter();
        let headers = headers.filter(|(name, _)| REQUEST_KEPT.contains(&name.as_str())).cloned();
        Recorded {
            place: recorded.place,
            id: recorded.id.clone(),
            at_ms: recorded.at_ms,
            session: session.map(|session| self.redaction.token("session", &session)),
            endpoint: recorded.endpoint.clone(),
            method: recorded.method.clone(),
            target: self.redaction.target(&recorded.target, template),
            headers: headers.collect(),
            legacy: recorded.legacy.as_ref().map(|answer| self.recorded(answer)),
            new: recorded.new.as_ref().map(|answer| self.recorded(answer)),
            outcome: recorded.outcome.clone(),
        }
    }

    /// What is kept of a recorded answer.
    fn recorded(&self, answer: &RecordedAnswer) -> RecordedAnswer {
        let body = match &answer.body {
            RecordedBody::Whole(bytes) => self.body(&answer.headers, bytes),
            RecordedBody::Missing | RecordedBody::Token(_) => answer.body.clone(),
        };
        RecordedAnswer {
            status: answer.status,
            headers: self.headers(&answer.headers),
            body,
            elapsed_ms: answer.elapsed_ms,
        }
    }

    /// A live answer in the form that a recorded one has, so that the two can be compared. A body that a recording would
    /// not keep becomes empty; a token stands as text.
    pub fn answer(&self, answer: &Answer) -> Answer {
        let body = match self.body(&answer.headers, &answer.body) {
            RecordedBody::Whole(bytes) => bytes,
            RecordedBody::Token(token) => Bytes::from(token),
            RecordedBody::Missing => Bytes::new(),
        };
        Answer { status: answer.status, headers: self.headers(&answer.headers), body }
    }

    fn headers(&self, headers: &Headers) -> Headers {
        let kept = headers.iter().filter(|(name, _)| !ENCODING.contains(&name.as_str()));
        kept.map(|(name, value)| {
            let value = match name.as_str() {
                name if ANSWER_KEPT.contains(&name) => value.clone(),
                "set-cookie" => self.cookie(value),
                _ => self.redaction.token("header", value).into_bytes(),
            };
            (name.clone(), value)
        })
        .collect()
    }

    /// Name and attributes of a cookie stay, its value becomes a token.
    fn cookie(&self, value: &[u8]) -> Vec<u8> {
        let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
        let (pair, attributes) = value.split_at_checked(end).unwrap_or((value, b""));
        let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (name, value) = pair.split_at_checked(at).unwrap_or((pair, b""));
        let token = self.redaction.token("cookie", value.strip_prefix(b"=").unwrap_or_default());
        [name, b"=", token.as_bytes(), attributes].concat()
    }

    /// JSON keeps its form, with tokens for its values; other text and binary become one token.
    fn body(&self, headers: &Headers, body: &Bytes) -> RecordedBody {
        if body.is_empty() {
            return RecordedBody::Whole(Bytes::new());
        }
        let Some(decoded) = decoded(headers, body) else { return RecordedBody::Missing };
        match serde_json::from_slice::<Value>(&decoded) {
            Ok(value) => {
                let text = self.value(&value).to_string();
                RecordedBody::Whole(Bytes::from(text))
            }
            Err(_) => RecordedBody::Token(self.redaction.token("body", &decoded)),
        }
    }

    /// Nesting is bounded by the JSON reader.
    fn value(&self, value: &Value) -> Value {
        match value {
            Value::Null | Value::Bool(_) => value.clone(),
            Value::Number(number) => {
                self.redaction.token("number", plain(&number.to_string()).as_bytes()).into()
            }
            Value::String(text) if text.is_empty() => value.clone(),
            Value::String(text) => self.redaction.token("string", text.as_bytes()).into(),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(pairs) => {
                let pairs = pairs.iter().map(|(key, value)| (self.name(key), self.value(value)));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }

    /// A key that looks like a field's name stays.
    fn name(&self, key: &str) -> String {
        if Redaction::is_field(key) {
            return key.to_owned();
        }
        self.redaction.token("key", key.as_bytes())
    }
}

/// Whether a target lost a value, so that nobody can ask it again.
pub(crate) fn is_redacted_target(target: &str) -> bool {
    target.contains(TOKEN)
}

fn credentials(recorded: &Recorded) -> Option<Vec<u8>> {
    let parts = [recorded.header("cookie"), recorded.header("authorization")];
    let found = parts.iter().any(Option::is_some);
    found.then(|| parts.map(Option::unwrap_or_default).join(&0))
}

/// The body without its content encoding; nothing when that cannot be undone.
fn decoded(headers: &Headers, body: &Bytes) -> Option<Bytes> {
    let encoding = headers.iter().find(|(name, _)| name == "content-encoding");
    let encoding = encoding.map(|(_, value)| value.trim_ascii().to_ascii_lowercase());
    let mut out = Vec::new();
    let read = match encoding.as_deref() {
        None | Some(b"" | b"identity") => return Some(body.clone()),
        Some(b"gzip" | b"x-gzip") => {
            flate2::read::MultiGzDecoder::new(&body[..]).take(DECODED_MAX + 1).read_to_end(&mut out)
        }
        Some(b"deflate") => {
            flate2::read::ZlibDecoder::new(&body[..]).take(DECODED_MAX + 1).read_to_end(&mut out)
        }
        Some(b"zstd") => {
            zstd::Decoder::new(&body[..]).ok()?.take(DECODED_MAX + 1).read_to_end(&mut out)
        }
        Some(_) => return None,
    };
    read.ok()?;
    (out.len() as u64 <= DECODED_MAX).then(|| out.into())
}

/// One spelling of a number: `1`, `1.0` and `1e0` are the same.
fn plain(lexeme: &str) -> String {
    let (sign, rest) = lexeme.strip_prefix('-').map_or(("", lexeme), |rest| ("-", rest));
    let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    let dropped = digits.len() - digits.trim_end_matches('0').len();
    let Ok(exponent) = exponent.parse::<i64>() else { return lexeme.to_owned() };
    if significant.is_empty() {
        return "0".to_owned();
    }
    let shift = i64::try_from(dropped).unwrap_or(0) - i64::try_from(fraction.len()).unwrap_or(0);
    format!("{sign}{significant}e{}", exponent.saturating_add(shift))
}

#[cfg(test)]
mod tests {
    use super::*;
    use banyan_shadow::{NumericIds, RedactionKey};
    use std::io::Write as _;

    fn redactor(secret: &[u8]) -> Redactor {
        Redactor::new(Redaction::new(RedactionKey::derive(secret), NumericIds::Shown))
    }

    fn answer(headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec()));
        Answer { status: 200, headers: headers.collect(), body: body.into() }
    }

    #[test]
    fn equal_answers_stay_equal_and_different_ones_different() {
        let redactor = redactor(b"k");
        let json = |body: &str| {
            let answer =
                redactor.answer(&answer(&[("content-type", "application/json")], body.to_owned()));
            serde_json::from_slice::<Value>(&answer.body).unwrap()
        };
        let one = json(r#"{"id":1.0,"name":"Ada","tags":[],"ok":true,"none":null}"#);
        assert_eq!(one, json(r#"{"id":1, "name":"\u0041da", "tags":[], "ok":true, "none":null}"#));
        assert_ne!(one, json(r#"{"id":2,"name":"Ada","tags":[],"ok":true,"none":null}"#));
        assert_ne!(one["id"], json(r#"{"id":"1.0"}"#)["id"], "a number is no text");
        let text = |body: &str| redactor.answer(&answer(&[], body.to_owned())).body;
        assert_eq!(text("<p>a"), text("<p>a"));
        assert_ne!(text("<p>a"), text("<p>b"));
    }

    #[test]
    fn an_encoding_is_undone_before_values_become_tokens() {
        let redactor = redactor(b"k");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"{\"a\":1}").unwrap();
        let packed =
            redactor.answer(&answer(&[("content-encoding", "gzip")], gzip.finish().unwrap()));
        assert_eq!(packed, redactor.answer(&answer(&[], "{\"a\":1}")));
        let broken = redactor.answer(&answer(&[("content-encoding", "gzip")], "no gzip"));
        assert!(broken.body.is_empty());
    }

    #[test]
    fn no_secret_is_left_and_numeric_ids_are() {
        let secrets = ["s3cret", "hunter2", "ada@example.com", "Ada", "Lovelace", "tok123"];
        let headers = [
            ("cookie", "sid=s3cret"),
            ("authorization", "Bearer hunter2"),
            ("x-api-key", "tok123"),
            ("accept", "application/json"),
        ];
        let own = |list: &[(&str, &str)]| -> Headers {
            list.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect()
        };
        let recorded = Recorded {
            method: "GET".into(),
            target: "/users/42/messages?q=Lovelace&page=2".into(),
            headers: own(&headers),
            legacy: Some(RecordedAnswer {
                status: 200,
                headers: own(&[("set-cookie", "sid=s3cret; Path=/; HttpOnly"), ("x-user", "Ada")]),
                body: RecordedBody::Whole(r#"{"ada@example.com":{"name":"Ada"}}"#.into()),
                elapsed_ms: None,
            }),
            ..Recorded::default()
        };
        let template = PathTemplate::new("/users/{id}/messages").unwrap();
        let kept = redactor(b"k").exchange(&recorded, Some(&template));
        let line = serde_json::to_string(&kept).unwrap();
        for secret in secrets {
            assert!(!line.contains(secret), "{secret} in {line}");
        }
        assert!(kept.target.starts_with("/users/42/messages?q=tok:string:"), "{}", kept.target);
        assert!(kept.target.ends_with("&page=2") && is_redacted_target(&kept.target));
        assert_eq!(kept.headers, own(&[("accept", "application/json")]));
        let cookie = String::from_utf8(kept.legacy.unwrap().headers[0].1.clone()).unwrap();
        assert!(cookie.starts_with("sid=tok:cookie:") && cookie.ends_with("; Path=/; HttpOnly"));
        assert_ne!(redactor(b"k").key(), redactor(b"l").key());
    }

    #[test]
    fn a_number_has_one_spelling() {
        for same in ["1", "1.0", "1e0", "10e-1", "0.1E1"] {
            assert_eq!(plain(same), "1e0", "{same}");
        }
        assert_eq!(plain("-0.0"), "0");
        assert_eq!(plain("-1200"), "-12e2");
        assert_ne!(plain("9007199254740993"), plain("9007199254740992"));
    }
}
