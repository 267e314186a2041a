//! Envelope: a semantic event as a CloudEvent 1.0, in the headers of AMQP 0-9-1 or as structured JSON.
//!
//! Owns the attributes with their rules, and both directions of both modes. It exists because CloudEvents has no
//! official binding for AMQP 0-9-1, so producers disagree about the header prefix: all known ones are read, one is
//! written, the same everywhere.
//!
//! What must stay true: it is pure; what was written is read back equal; no bytes make it panic; a message that is no
//! CloudEvent is told apart from one that is broken; no attribute's value stands in an error.

mod attribute;
mod binary;
mod structured;

use std::collections::BTreeMap;

use banyan_domain::{ContextName, Epoch, Side};

use crate::broker::Message;

/// The only version of the specification that is read and written.
pub const SPEC_VERSION: &str = "1.0";
/// `content_type` of a message in structured mode.
pub const STRUCTURED_TYPE: &str = "application/cloudevents+json";

/// One event: what happened, where, to what, and the data that says how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudEvent {
    /// Unique within `source`: two events of equal source and id are the same event.
    pub id: String,
    /// URI reference of the emitter, such as `/messages/new-chat`.
    pub source: String,
    /// The attribute `type`: what happened, such as `message.sent`.
    pub kind: String,
    /// What it happened to: the id of an aggregate.
    pub subject: Option<String>,
    /// When it happened, as RFC 3339 text, kept as it was written.
    pub time: Option<String>,
    /// MIME type of `data`.
    pub data_content_type: Option<String>,
    /// URI of the schema of `data`.
    pub data_schema: Option<String>,
    /// Attributes that CloudEvents itself does not name.
    pub extensions: BTreeMap<String, Value>,
    /// The payload; empty means none.
    pub data: Vec<u8>,
}

/// The value of an extension attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number of 32 bits, the largest that CloudEvents has.
    Integer(i32),
    /// Everything else in its text form.
    Text(String),
}

/// Who emitted an event under which ownership: the extensions `banyancontext`, `banyanside` and `banyanepoch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The bounded context.
    pub context: ContextName,
    /// The side that emitted.
    pub side: Side,
    /// The ownership under which it was emitted.
    pub epoch: Epoch,
}

/// How an event is put into a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Attributes as headers, data as the body; headers start with `cloudEvents_`.
    #[default]
    Binary,
    /// As [`Mode::Binary`], but headers start with `ce-`, as Knative's RabbitMQ components expect.
    BinaryCe,
    /// Everything as one JSON object in the body.
    Structured,
}

/// Why a message is no legal CloudEvent, or an event cannot be written. Texts never hold values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// A required attribute is not there.
    #[error("attribute `{attribute}` is missing")]
    Missing {
        /// Its name.
        attribute: &'static str,
    },
    /// Another version of CloudEvents.
    #[error("attribute `specversion` must be `{SPEC_VERSION}`")]
    SpecVersion,
    /// An attribute breaks a rule.
    #[error("attribute `{attribute}` must be {rule}")]
    Attribute {
        /// Its name.
        attribute: String,
        /// What it must be.
        rule: &'static str,
    },
    /// The body of a structured event is not what it must be.
    #[error("the structured event must be {rule}")]
    Body {
        /// What it must be.
        rule: &'static str,
    },
    /// Several events in one message; nobody of ours sends that.
    #[error("a batch of events cannot be read; send each event as its own message")]
    Batch,
}

impl CloudEvent {
    /// An event with its required attributes.
    pub fn new(id: impl Into<String>, source: impl Into<String>, kind: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            source: source.into(),
            kind: kind.into(),
            subject: None,
            time: None,
            data_content_type: None,
            data_schema: None,
            extensions: BTreeMap::new(),
            data: Vec::new(),
        }
    }

    /// Sets what it happened to, also as the partition key.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        let subject = subject.into();
        self.extensions.insert("partitionkey".to_owned(), Value::Text(subject.clone()));
        self.subject = Some(subject);
        self
    }

    /// Sets when it happened.
    #[must_use]
    pub fn time(mut self, time: chrono::DateTime<chrono::Utc>) -> Self {
        self.time = Some(time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true));
        self
    }

    /// Sets the payload with its MIME type.
    #[must_use]
    pub fn data(mut self, content_type: impl Into<String>, data: Vec<u8>) -> Self {
        self.data_content_type = Some(content_type.into());
        self.data = data;
        self
    }

    /// Sets one extension attribute.
    #[must_use]
    pub fn extension(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.extensions.insert(name.into(), value.into());
        self
    }

    /// Sets who emits it under which ownership. The epoch is text: an Integer of CloudEvents has 32 bits.
    #[must_use]
    pub fn stamp(self, stamp: &Stamp) -> Self {
        self.extension("banyancontext", stamp.context.as_str())
            .extension("banyanside", stamp.side.as_str())
            .extension("banyanepoch", stamp.epoch.to_string())
    }

    /// Sets its number within the source: zero-padded, so that texts sort as numbers do.
    #[must_use]
    pub fn sequence(self, sequence: u64) -> Self {
        self.extension("sequence", format!("{sequence:020}"))
    }

    /// Who emitted it, if a library of ours did.
    ///
    /// # Errors
    /// [`EnvelopeError`] when the three extensions are not all there or are no legal names and numbers.
    pub fn read_stamp(&self) -> Result<Option<Stamp>, EnvelopeError> {
        attribute::read_stamp(self)
    }

    /// Its number within the source, if it has one that is a number.
    pub fn read_sequence(&self) -> Option<u64> {
        self.text_extension("sequence")?.parse().ok()
    }

    /// A text extension.
    pub fn text_extension(&self, name: &str) -> Option<&str> {
        match self.extensions.get(name)? {
            Value::Text(text) => Some(text),
            Value::Boolean(_) | Value::Integer(_) => None,
        }
    }

    /// Checks every attribute.
    ///
    /// # Errors
    /// [`EnvelopeError`] naming the first attribute that breaks a rule, with the rule.
    pub fn validate(&self) -> Result<(), EnvelopeError> {
        attribute::validate(self)
    }

    /// The event as a persistent message with `message_id` = `id` and AMQP `type` = `type`.
    ///
    /// # Errors
    /// [`EnvelopeError`] when an attribute breaks a rule, or is too long for AMQP.
    pub fn to_message(
        &self,
        mode: Mode,
        exchange: &str,
        routing_key: &str,
    ) -> Result<Message, EnvelopeError> {
        self.validate()?;
        attribute::fits_amqp(self)?;
        let message = match mode {
            Mode::Binary => binary::write(self, binary::UNDERSCORE),
            Mode::BinaryCe => binary::write(self, binary::CE),
            Mode::Structured => structured::write(self),
        };
        let mut message = message.message_id(&self.id).kind(&self.kind).persistent();
        exchange.clone_into(&mut message.exchange);
        routing_key.clone_into(&mut message.routing_key);
        Ok(message)
    }

    /// The event in a message of either mode and any known prefix; `None` when the message is no CloudEvent.
    ///
    /// # Errors
    /// [`EnvelopeError`] when it says that it is a CloudEvent and is none.
    pub fn from_message(message: &Message) -> Result<Option<Self>, EnvelopeError> {
        let content_type = message.properties.content_type.as_deref().unwrap_or_default();
        let media_type = attribute::media_type(content_type);
        let event = if media_type == STRUCTURED_TYPE {
            structured::read(&message.body)?
        } else if media_type.starts_with("application/cloudevents-batch") {
            return Err(EnvelopeError::Batch);
        } else if media_type.starts_with("application/cloudevents") {
            return Err(EnvelopeError::Body { rule: "in the JSON format" });
        } else {
            match binary::read(message)? {
                Some(event) => event,
                None => return Ok(None),
            }
        };
        event.validate()?;
        Ok(Some(event))
    }
}

/// The source of a library-made event: `/context/side-app`.
pub fn source(context: &ContextName, side: Side, app: &str) -> String {
    format!("/{context}/{side}-{app}")
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

#[cfg(test)]
mod tests;
