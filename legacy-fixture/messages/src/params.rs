//! The parameters of a request's body: a form or JSON, read as the monolith reads it.
//!
//! What must stay true: a body that is neither is 400, one above 1 MiB is 413, one that does not come within 30 s is
//! 400; a GET has no parameters.

use axum::body::Body;
use http::{HeaderMap, Method, StatusCode, header, request::Parts};
use serde_json::{Map, Value};
use std::time::Duration;

const BODY_BYTES_MAX: usize = 1 << 20;
const BODY_WAIT_MAX: Duration = Duration::from_secs(30);

/// What the body says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Params {
    is_form: bool,
    value: Value,
}

impl Params {
    /// Reads the body.
    ///
    /// # Errors
    /// The status of the refusal.
    pub(crate) async fn read(parts: &Parts, body: Body) -> Result<Self, StatusCode> {
        if matches!(parts.method, Method::GET | Method::HEAD) {
            return Ok(Self::default());
        }
        let read = axum::body::to_bytes(body, BODY_BYTES_MAX);
        let bytes = match tokio::time::timeout(BODY_WAIT_MAX, read).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(_)) => return Err(StatusCode::PAYLOAD_TOO_LARGE),
            Err(_) => return Err(StatusCode::BAD_REQUEST),
        };
        let is_form = is_form(&parts.headers);
        let value = parse(&bytes, is_form).ok_or(StatusCode::BAD_REQUEST)?;
        Ok(Self { is_form, value })
    }

    /// A text on the top level.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.value.get(name).and_then(Value::as_str)
    }

    /// The same for a form only.
    pub(crate) fn form_text(&self, name: &str) -> Option<&str> {
        self.text(name).filter(|_| self.is_form)
    }

    /// The parameters of one resource: `message[..]`, `{"message":{..}}`.
    pub(crate) fn object(&self, name: &str) -> Option<&Map<String, Value>> {
        self.value.get(name).and_then(Value::as_object)
    }
}

#[cfg(test)]
impl From<Value> for Params {
    fn from(value: Value) -> Self {
        Self { is_form: false, value }
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.unwrap_or_default().starts_with("application/x-www-form-urlencoded")
}

/// `None` when it cannot be read.
fn parse(bytes: &[u8], is_form: bool) -> Option<Value> {
    if bytes.is_empty() {
        return Some(Value::Null);
    }
    if is_form {
        return Some(form(bytes));
    }
    serde_json::from_slice::<Map<String, Value>>(bytes).ok().map(Value::Object)
}

/// `message[body]=Hi&_method=patch` as `{"message":{"body":"Hi"},"_method":"patch"}`.
fn form(bytes: &[u8]) -> Value {
    let mut params = Map::new();
    for (key, value) in url::form_urlencoded::parse(bytes) {
        let value = Value::String(value.into_owned());
        match key.strip_suffix(']').and_then(|key| key.split_once('[')) {
            Some((resource, attribute)) => {
                let slot = params.entry(resource).or_insert_with(|| Value::Object(Map::new()));
                if let Some(attributes) = slot.as_object_mut() {
                    attributes.insert(attribute.to_owned(), value);
                }
            }
            None => {
                params.insert(key.into_owned(), value);
            }
        }
    }
    Value::Object(params)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn forms_nest_one_level() {
        let parsed = form("message[body]=a+b%26%C3%A9&message[recipient_id]=17&x=1".as_bytes());
        assert_eq!(
            parsed,
            json!({ "message": { "body": "a b&é", "recipient_id": "17" }, "x": "1" })
        );
        assert_eq!(form(b"a=1&a[b]=2"), json!({ "a": "1" }));
    }

    #[test]
    fn what_is_no_object_cannot_be_read() {
        assert_eq!(parse(b"", false), Some(Value::Null));
        assert_eq!(parse(br#"{"a":1}"#, false), Some(json!({ "a": 1 })));
        for broken in [b"[1]".as_slice(), b"{", b"\xff", b"a=1"] {
            assert_eq!(parse(broken, false), None);
        }
    }
}
