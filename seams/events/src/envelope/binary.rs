//! Binary mode: each attribute is a header, the data is the body.
//!
//! `datacontenttype` travels as the AMQP property `content_type`, as in the AMQP 1.0 binding.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::attribute::broken;
use super::{CloudEvent, EnvelopeError, SPEC_VERSION, Value};
use crate::broker::{HeaderValue, Headers, Message};

/// The AMQP 1.0 binding's prefix, in the spelling that every client library takes.
pub(super) const UNDERSCORE: &str = "cloudEvents_";
/// The older spelling of the same.
const COLON: &str = "cloudEvents:";
/// Knative's prefix.
pub(super) const CE: &str = "ce-";

/// All prefixes in use; the first that the message has counts.
const PREFIXES: [&str; 3] = [UNDERSCORE, COLON, CE];

/// Puts an event that was checked into a message.
pub(super) fn write(event: &CloudEvent, prefix: &str) -> Message {
    let mut message = Message::new("", "", event.data.clone());
    let optional = [
        ("subject", event.subject.as_ref()),
        ("time", event.time.as_ref()),
        ("dataschema", event.data_schema.as_ref()),
    ];
    let required = [
        ("specversion", SPEC_VERSION),
        ("id", &*event.id),
        ("source", &*event.source),
        ("type", &*event.kind),
    ];
    let texts = optional.iter().filter_map(|(name, text)| text.map(|text| (*name, text.as_str())));
    for (name, text) in required.into_iter().chain(texts) {
        message = message.header(format!("{prefix}{name}"), text);
    }
    for (name, value) in &event.extensions {
        message = message.header(format!("{prefix}{name}"), to_header(value));
    }
    message.properties.content_type.clone_from(&event.data_content_type);
    message
}

/// Reads the attributes of whichever prefix is there; `None` when none is.
pub(super) fn read(message: &Message) -> Result<Option<CloudEvent>, EnvelopeError> {
    let Some(headers) = &message.properties.headers else { return Ok(None) };
    let attributes = PREFIXES.into_iter().find_map(|prefix| {
        let found = attributes(headers, prefix);
        (!found.is_empty()).then_some(found)
    });
    let Some(mut attributes) = attributes else { return Ok(None) };
    let version = text(&mut attributes, "specversion")?;
    let version = version.ok_or(EnvelopeError::Missing { attribute: "specversion" })?;
    if version != SPEC_VERSION {
        return Err(EnvelopeError::SpecVersion);
    }
    let mut event = CloudEvent::new(
        required(&mut attributes, "id")?,
        required(&mut attributes, "source")?,
        required(&mut attributes, "type")?,
    );
    event.subject = text(&mut attributes, "subject")?;
    event.time = text(&mut attributes, "time")?;
    event.data_schema = text(&mut attributes, "dataschema")?;
    let in_header = text(&mut attributes, "datacontenttype")?;
    event.data_content_type = message.properties.content_type.clone().or(in_header);
    for (name, value) in attributes {
        if let Some(value) = from_header(name, value)? {
            event.extensions.insert(name.to_owned(), value);
        }
    }
    event.data.clone_from(&message.body);
    Ok(Some(event))
}

fn attributes<'m>(headers: &'m Headers, prefix: &str) -> BTreeMap<&'m str, &'m HeaderValue> {
    let named =
        headers.iter().filter_map(|(name, value)| Some((name.strip_prefix(prefix)?, value)));
    named.collect()
}

fn required(
    attributes: &mut BTreeMap<&str, &HeaderValue>,
    name: &'static str,
) -> Result<String, EnvelopeError> {
    text(attributes, name)?.ok_or(EnvelopeError::Missing { attribute: name })
}

/// Takes one of the attributes that are texts; a void header is an absent one.
fn text(
    attributes: &mut BTreeMap<&str, &HeaderValue>,
    name: &str,
) -> Result<Option<String>, EnvelopeError> {
    let Some(value) = attributes.remove(name) else { return Ok(None) };
    match from_header(name, value)? {
        Some(Value::Text(text)) => Ok(Some(text)),
        Some(Value::Boolean(_) | Value::Integer(_)) => Err(broken(name, "text")),
        None => Ok(None),
    }
}

fn to_header(value: &Value) -> HeaderValue {
    match value {
        Value::Boolean(truth) => HeaderValue::Bool(*truth),
        Value::Integer(number) => HeaderValue::I32(*number),
        Value::Text(text) => HeaderValue::from(text.as_str()),
    }
}

/// The wire types that have a CloudEvents counterpart; the others are refused by name.
fn from_header(name: &str, value: &HeaderValue) -> Result<Option<Value>, EnvelopeError> {
    let integer = |number: Result<i32, std::num::TryFromIntError>| {
        let number = number.map_err(|_| broken(name, "a whole number of 32 bits"))?;
        Ok(Some(Value::Integer(number)))
    };
    match value {
        HeaderValue::Void => Ok(None),
        HeaderValue::Bool(truth) => Ok(Some(Value::Boolean(*truth))),
        HeaderValue::I8(number) => integer(Ok(i32::from(*number))),
        HeaderValue::U8(number) => integer(Ok(i32::from(*number))),
        HeaderValue::I16(number) => integer(Ok(i32::from(*number))),
        HeaderValue::U16(number) => integer(Ok(i32::from(*number))),
        HeaderValue::I32(number) => integer(Ok(*number)),
        HeaderValue::U32(number) => integer(i32::try_from(*number)),
        HeaderValue::I64(number) => integer(i32::try_from(*number)),
        HeaderValue::Text(bytes) => {
            let text = String::from_utf8(bytes.clone()).map_err(|_| broken(name, "UTF-8 text"))?;
            Ok(Some(Value::Text(text)))
        }
        HeaderValue::Bytes(bytes) => Ok(Some(Value::Text(BASE64.encode(bytes)))),
        HeaderValue::Timestamp(seconds) => {
            let seconds = i64::try_from(*seconds).ok();
            let time = seconds.and_then(|seconds| chrono::DateTime::from_timestamp(seconds, 0));
            let time = time.ok_or_else(|| broken(name, "a time that a calendar has"))?;
            let text = time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
            Ok(Some(Value::Text(text)))
        }
        HeaderValue::F32(_)
        | HeaderValue::F64(_)
        | HeaderValue::Decimal { .. }
        | HeaderValue::List(_)
        | HeaderValue::Table(_) => Err(broken(name, "a text, boolean, whole number or time")),
    }
}
