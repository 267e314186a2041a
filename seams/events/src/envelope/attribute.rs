//! Rules of attributes: names, texts, times and lengths.

use banyan_domain::{ContextName, Epoch, Side};

use super::{CloudEvent, EnvelopeError, Stamp, Value};
use crate::broker::message::SHORT_TEXT_BYTES_MAX;

/// Longest name of an extension, in bytes; with any prefix it still is an AMQP short text.
const NAME_BYTES_MAX: usize = 200;
/// Names that no extension may have.
const RESERVED: [&str; 9] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "data",
];

/// The first attribute that breaks a rule.
pub(super) fn validate(event: &CloudEvent) -> Result<(), EnvelopeError> {
    for (name, text) in [("id", &event.id), ("source", &event.source), ("type", &event.kind)] {
        filled(name, text)?;
    }
    let no_spaces = !event.source.contains(char::is_whitespace);
    must(no_spaces, "source", "a URI reference, without spaces")?;
    if let Some(subject) = &event.subject {
        filled("subject", subject)?;
    }
    if let Some(time) = &event.time {
        let is_time = chrono::DateTime::parse_from_rfc3339(time).is_ok();
        must(is_time, "time", "an RFC 3339 time")?;
    }
    if let Some(content_type) = &event.data_content_type {
        printable("datacontenttype", content_type)?;
        let (kind, rest) = content_type.split_once('/').unwrap_or_default();
        let is_type = !kind.is_empty() && !rest.is_empty();
        must(is_type, "datacontenttype", "a MIME type such as `application/json`")?;
        let is_event = media_type(content_type).starts_with("application/cloudevents");
        must(!is_event, "datacontenttype", "the type of the data, not of a CloudEvent")?;
    }
    if let Some(schema) = &event.data_schema {
        filled("dataschema", schema)?;
    }
    event.extensions.iter().try_for_each(|(name, value)| validate_extension(name, value))
}

fn validate_extension(name: &str, value: &Value) -> Result<(), EnvelopeError> {
    let is_name = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    must(is_name, name, "named with 1 to 200 of `a-z 0-9`")?;
    must(!RESERVED.contains(&name), name, "set by its own field, not as an extension")?;
    match value {
        Value::Text(text) => printable(name, text),
        Value::Boolean(_) | Value::Integer(_) => Ok(()),
    }
}

/// What AMQP keeps in short texts: id, type and content type.
pub(super) fn fits_amqp(event: &CloudEvent) -> Result<(), EnvelopeError> {
    let content_type = event.data_content_type.as_deref().unwrap_or_default();
    for (name, text) in
        [("id", &*event.id), ("type", &*event.kind), ("datacontenttype", content_type)]
    {
        must(text.len() <= SHORT_TEXT_BYTES_MAX, name, "at most 255 bytes for AMQP")?;
    }
    Ok(())
}

pub(super) fn read_stamp(event: &CloudEvent) -> Result<Option<Stamp>, EnvelopeError> {
    let [context, side, epoch] =
        ["banyancontext", "banyanside", "banyanepoch"].map(|name| event.text_extension(name));
    if context.is_none() && side.is_none() && epoch.is_none() {
        return Ok(None);
    }
    let context = context.and_then(|name| ContextName::new(name).ok());
    let side = side.and_then(Side::from_word);
    let epoch = epoch.and_then(|number| number.parse().ok()).map(Epoch);
    Ok(Some(Stamp {
        context: context.ok_or_else(|| broken("banyancontext", "the name of a context"))?,
        side: side.ok_or_else(|| broken("banyanside", "`legacy` or `new`"))?,
        epoch: epoch.ok_or_else(|| broken("banyanepoch", "a whole number as text"))?,
    }))
}

/// A MIME type without its parameters, in lower case.
pub(super) fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether data of this type is JSON; data without a type is.
pub(super) fn is_json(content_type: Option<&str>) -> bool {
    content_type.is_none_or(|content_type| {
        let media_type = media_type(content_type);
        media_type.ends_with("/json") || media_type.ends_with("+json")
    })
}

pub(super) fn broken(attribute: &str, rule: &'static str) -> EnvelopeError {
    EnvelopeError::Attribute { attribute: attribute.to_owned(), rule }
}

fn filled(attribute: &str, text: &str) -> Result<(), EnvelopeError> {
    must(!text.is_empty(), attribute, "not empty")?;
    printable(attribute, text)
}

fn printable(attribute: &str, text: &str) -> Result<(), EnvelopeError> {
    must(!text.contains(char::is_control), attribute, "free of control characters")
}

fn must(holds: bool, attribute: &str, rule: &'static str) -> Result<(), EnvelopeError> {
    if holds { Ok(()) } else { Err(broken(attribute, rule)) }
}
