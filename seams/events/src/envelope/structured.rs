//! Structured mode: the whole event is one JSON object.
//!
//! Data that is JSON stands in it as JSON (its spaces are not kept), text as a string, everything else as base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value as Json};

use super::attribute::{broken, is_json};
use super::{CloudEvent, EnvelopeError, SPEC_VERSION, STRUCTURED_TYPE, Value};
use crate::broker::Message;

/// Puts an event that was checked into a message.
pub(super) fn write(event: &CloudEvent) -> Message {
    let mut object = Map::new();
    let mut set = |name: &str, text: Option<&str>| {
        if let Some(text) = text {
            object.insert(name.to_owned(), Json::from(text));
        }
    };
    set("specversion", Some(SPEC_VERSION));
    set("id", Some(&event.id));
    set("source", Some(&event.source));
    set("type", Some(&event.kind));
    set("subject", event.subject.as_deref());
    set("time", event.time.as_deref());
    set("datacontenttype", event.data_content_type.as_deref());
    set("dataschema", event.data_schema.as_deref());
    for (name, value) in &event.extensions {
        let value = match value {
            Value::Boolean(truth) => Json::from(*truth),
            Value::Integer(number) => Json::from(*number),
            Value::Text(text) => Json::from(text.as_str()),
        };
        object.insert(name.clone(), value);
    }
    if !event.data.is_empty() {
        let (name, data) = data_member(event);
        object.insert(name.to_owned(), data);
    }
    let body = Json::Object(object).to_string().into_bytes();
    Message::new("", "", body).content_type(format!("{STRUCTURED_TYPE}; charset=utf-8"))
}

fn data_member(event: &CloudEvent) -> (&'static str, Json) {
    let content_type = event.data_content_type.as_deref();
    let base64 = || ("data_base64", Json::from(BASE64.encode(&event.data)));
    if is_json(content_type) {
        return serde_json::from_slice(&event.data)
            .map_or_else(|_| base64(), |json| ("data", json));
    }
    let is_text = content_type.is_some_and(|content_type| content_type.starts_with("text/"));
    match std::str::from_utf8(&event.data) {
        Ok(text) if is_text => ("data", Json::from(text)),
        Ok(_) | Err(_) => base64(),
    }
}

/// Reads an event that has still to be checked.
pub(super) fn read(body: &[u8]) -> Result<CloudEvent, EnvelopeError> {
    let Ok(Json::Object(mut object)) = serde_json::from_slice(body) else {
        return Err(EnvelopeError::Body { rule: "one JSON object" });
    };
    // In JSON a null attribute is an absent one; null data is the JSON value null.
    object.retain(|name, value| name == "data" || !value.is_null());
    if required(&mut object, "specversion")? != SPEC_VERSION {
        return Err(EnvelopeError::SpecVersion);
    }
    let mut event = CloudEvent::new(
        required(&mut object, "id")?,
        required(&mut object, "source")?,
        required(&mut object, "type")?,
    );
    event.subject = text(&mut object, "subject")?;
    event.time = text(&mut object, "time")?;
    event.data_content_type = text(&mut object, "datacontenttype")?;
    event.data_schema = text(&mut object, "dataschema")?;
    event.data = data(&mut object, event.data_content_type.as_deref())?;
    for (name, value) in object {
        let value = extension(&name, value)?;
        event.extensions.insert(name, value);
    }
    Ok(event)
}

fn data(
    object: &mut Map<String, Json>,
    content_type: Option<&str>,
) -> Result<Vec<u8>, EnvelopeError> {
    let base64 = text(object, "data_base64")?;
    match (object.remove("data"), base64) {
        (None, None) => Ok(Vec::new()),
        (Some(Json::String(text)), None) if !is_json(content_type) => Ok(text.into_bytes()),
        (Some(json), None) => Ok(json.to_string().into_bytes()),
        (None, Some(base64)) => {
            BASE64.decode(base64).map_err(|_| broken("data_base64", "base64 with padding"))
        }
        (Some(_), Some(_)) => {
            Err(EnvelopeError::Body { rule: "with `data` or `data_base64`, not both" })
        }
    }
}

fn required(object: &mut Map<String, Json>, name: &'static str) -> Result<String, EnvelopeError> {
    text(object, name)?.ok_or(EnvelopeError::Missing { attribute: name })
}

fn text(object: &mut Map<String, Json>, name: &str) -> Result<Option<String>, EnvelopeError> {
    match object.remove(name) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(_) => Err(broken(name, "text")),
    }
}

fn extension(name: &str, value: Json) -> Result<Value, EnvelopeError> {
    match value {
        Json::String(text) => Ok(Value::Text(text)),
        Json::Bool(truth) => Ok(Value::Boolean(truth)),
        Json::Number(number) => {
            let number = number.as_i64().and_then(|number| i32::try_from(number).ok());
            number.map(Value::Integer).ok_or_else(|| broken(name, "a whole number of 32 bits"))
        }
        Json::Null | Json::Array(_) | Json::Object(_) => {
            Err(broken(name, "a text, boolean or whole number"))
        }
    }
}
