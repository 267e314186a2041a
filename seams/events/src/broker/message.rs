//! One event as brokers carry it: exchange, routing key, the 14 AMQP 0-9-1 basic properties and a body.
//!
//! It exists so that the forwarder and the embedded broker handle a legacy message without knowing an AMQP
//! library, and so that a message can be stored as JSON and come back unchanged.
//!
//! What must stay true: nothing is normalised. An absent header table and an empty one are different, a
//! header keeps its wire type, texts keep bytes that are not UTF-8, floats keep their bits.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::BrokerError;

/// Longest exchange name, routing key, short property or header name, in bytes (AMQP short string).
pub const SHORT_TEXT_BYTES_MAX: usize = 255;
/// Largest body, in bytes: what RabbitMQ accepts by default, so that whatever came from it can be passed on.
pub const BODY_BYTES_MAX: usize = 128 * 1024 * 1024;
/// `delivery_mode` of a message that survives a broker restart.
const PERSISTENT: u8 = 2;

/// The header table of a message: names to typed values.
pub type Headers = BTreeMap<String, HeaderValue>;

/// One event on its way to or from a broker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The exchange it is published to; empty = the default exchange (straight to the queue named by the key).
    pub exchange: String,
    /// The routing key that bindings match.
    pub routing_key: String,
    /// The AMQP basic properties.
    #[serde(default)]
    pub properties: Properties,
    /// The payload, passed as it is.
    #[serde(with = "base64_bytes")]
    pub body: Vec<u8>,
    /// Makes a repeated publish harmless where the broker can remember it; never sent over the wire.
    #[serde(skip)]
    pub publish_id: Option<PublishId>,
    /// Whether a publish that reaches no queue is an error; never sent over the wire.
    #[serde(skip)]
    pub is_mandatory: bool,
}

/// Identity of one publish, stable over retries and restarts.
///
/// The embedded broker stores a message of a known id once. RabbitMQ has no such memory and ignores it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PublishId {
    /// Who publishes; must be unique to the store that counts `sequence`.
    pub publisher: String,
    /// Number of the message within the publisher.
    pub sequence: i64,
}

/// The 14 basic properties of AMQP 0-9-1; an absent one stays absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Properties {
    /// MIME type of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// MIME encoding of the body, for example `gzip`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// The header table; `None` is not the same as an empty one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Headers>,
    /// 1 = may be lost at a restart, 2 = persistent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_mode: Option<u8>,
    /// 0 to 9; carried, not acted on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Id of the request that this message answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// Queue that an answer should go to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// Time to live in milliseconds, as text (an AMQP oddity).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<String>,
    /// The emitter's id of the event; what duplicates are recognised by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<u64>,
    /// The AMQP property `type`: the kind of event.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The publishing user; RabbitMQ refuses a message whose value is not the connection's user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Name of the publishing application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
    /// Deprecated in AMQP, carried all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
}

/// A header with its AMQP wire type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StoredValue", into = "StoredValue")]
pub enum HeaderValue {
    /// `t`
    Bool(bool),
    /// `b`
    I8(i8),
    /// `B`
    U8(u8),
    /// `s`
    I16(i16),
    /// `u`
    U16(u16),
    /// `I`
    I32(i32),
    /// `i`
    U32(u32),
    /// `l`
    I64(i64),
    /// `f`
    F32(f32),
    /// `d`
    F64(f64),
    /// `D`: `value` divided by ten to the power of `scale`.
    Decimal {
        /// How many digits of `value` are behind the point.
        scale: u8,
        /// All digits.
        value: u32,
    },
    /// `S`: bytes that are usually, but not necessarily, UTF-8.
    Text(Vec<u8>),
    /// `A`
    List(Vec<HeaderValue>),
    /// `T`: seconds since 1970.
    Timestamp(u64),
    /// `F`
    Table(Headers),
    /// `x`
    Bytes(Vec<u8>),
    /// `V`
    Void,
}

impl Message {
    /// A message without properties; add what is needed with the builders below.
    pub fn new(exchange: impl Into<String>, routing_key: impl Into<String>, body: Vec<u8>) -> Self {
        Self {
            exchange: exchange.into(),
            routing_key: routing_key.into(),
            properties: Properties::default(),
            body,
            publish_id: None,
            is_mandatory: false,
        }
    }

    /// Makes a publish that reaches no queue an error, [`BrokerError::Unroutable`]. Otherwise it is gone without a word.
    #[must_use]
    pub fn mandatory(mut self) -> Self {
        self.is_mandatory = true;
        self
    }

    /// Sets the id that consumers and the forwarder recognise duplicates by.
    #[must_use]
    pub fn message_id(mut self, id: impl Into<String>) -> Self {
        self.properties.message_id = Some(id.into());
        self
    }

    /// Sets the MIME type of the body.
    #[must_use]
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.properties.content_type = Some(content_type.into());
        self
    }

    /// Sets the AMQP property `type`.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.properties.kind = Some(kind.into());
        self
    }

    /// Makes it survive a restart of the broker.
    #[must_use]
    pub fn persistent(mut self) -> Self {
        self.properties.delivery_mode = Some(PERSISTENT);
        self
    }

    /// Sets one header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<HeaderValue>) -> Self {
        self.properties.headers.get_or_insert_default().insert(name.into(), value.into());
        self
    }

    /// Replaces all properties at once.
    #[must_use]
    pub fn properties(mut self, properties: Properties) -> Self {
        self.properties = properties;
        self
    }

    /// Gives the publish an identity, so that repeating it is harmless where the broker supports that.
    #[must_use]
    pub fn publish_once(mut self, id: PublishId) -> Self {
        self.publish_id = Some(id);
        self
    }

    /// Whether a header of this name is there, whatever its value.
    pub fn has_header(&self, name: &str) -> bool {
        self.properties.headers.as_ref().is_some_and(|headers| headers.contains_key(name))
    }

    /// A text header, if it is there and UTF-8.
    pub fn text_header(&self, name: &str) -> Option<&str> {
        match self.properties.headers.as_ref()?.get(name)? {
            HeaderValue::Text(bytes) => std::str::from_utf8(bytes).ok(),
            HeaderValue::Bool(_)
            | HeaderValue::I8(_)
            | HeaderValue::U8(_)
            | HeaderValue::I16(_)
            | HeaderValue::U16(_)
            | HeaderValue::I32(_)
            | HeaderValue::U32(_)
            | HeaderValue::I64(_)
            | HeaderValue::F32(_)
            | HeaderValue::F64(_)
            | HeaderValue::Decimal { .. }
            | HeaderValue::List(_)
            | HeaderValue::Timestamp(_)
            | HeaderValue::Table(_)
            | HeaderValue::Bytes(_)
            | HeaderValue::Void => None,
        }
    }

    /// Checks the limits that every broker has, before anything is sent.
    ///
    /// # Errors
    /// [`BrokerError::InvalidMessage`] naming the part that is too long.
    pub fn validate(&self) -> Result<(), BrokerError> {
        let p = &self.properties;
        let short = [
            ("exchange", Some(&self.exchange)),
            ("routing key", Some(&self.routing_key)),
            ("content_type", p.content_type.as_ref()),
            ("content_encoding", p.content_encoding.as_ref()),
            ("correlation_id", p.correlation_id.as_ref()),
            ("reply_to", p.reply_to.as_ref()),
            ("expiration", p.expiration.as_ref()),
            ("message_id", p.message_id.as_ref()),
            ("type", p.kind.as_ref()),
            ("user_id", p.user_id.as_ref()),
            ("app_id", p.app_id.as_ref()),
            ("cluster_id", p.cluster_id.as_ref()),
        ];
        for (part, value) in short {
            check_short(part, value.map_or("", String::as_str))?;
        }
        if let Some(headers) = &p.headers {
            check_names(headers)?;
        }
        if self.body.len() > BODY_BYTES_MAX {
            let reason =
                format!("body has {} bytes, the limit is {BODY_BYTES_MAX}", self.body.len());
            return Err(BrokerError::InvalidMessage { reason });
        }
        Ok(())
    }
}

fn check_short(part: &str, value: &str) -> Result<(), BrokerError> {
    if value.len() <= SHORT_TEXT_BYTES_MAX {
        return Ok(());
    }
    let reason = format!("{part} has {} bytes, the limit is {SHORT_TEXT_BYTES_MAX}", value.len());
    Err(BrokerError::InvalidMessage { reason })
}

fn check_names(headers: &Headers) -> Result<(), BrokerError> {
    headers.iter().try_for_each(|(name, value)| {
        check_short("header name", name)?;
        check_names_within(value)
    })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "only two of the kinds hold other values")]
fn check_names_within(value: &HeaderValue) -> Result<(), BrokerError> {
    match value {
        HeaderValue::Table(table) => check_names(table),
        HeaderValue::List(list) => list.iter().try_for_each(check_names_within),
        _ => Ok(()),
    }
}

impl From<&str> for HeaderValue {
    fn from(text: &str) -> Self {
        Self::Text(text.as_bytes().to_vec())
    }
}

impl From<String> for HeaderValue {
    fn from(text: String) -> Self {
        Self::Text(text.into_bytes())
    }
}

impl From<i64> for HeaderValue {
    fn from(value: i64) -> Self {
        Self::I64(value)
    }
}

impl From<bool> for HeaderValue {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

/// The JSON form of a header: one key naming the type, so that nothing is guessed when reading.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredValue {
    Bool(bool),
    I8(i8),
    U8(u8),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    /// The bits, because JSON has neither NaN nor infinity.
    F32Bits(u32),
    F64Bits(u64),
    Decimal {
        scale: u8,
        value: u32,
    },
    Text(String),
    /// A text that is not UTF-8, in base64.
    TextBase64(String),
    List(Vec<HeaderValue>),
    Timestamp(u64),
    Table(Headers),
    BytesBase64(String),
    Void,
}

impl From<HeaderValue> for StoredValue {
    fn from(value: HeaderValue) -> Self {
        match value {
            HeaderValue::Bool(v) => Self::Bool(v),
            HeaderValue::I8(v) => Self::I8(v),
            HeaderValue::U8(v) => Self::U8(v),
            HeaderValue::I16(v) => Self::I16(v),
            HeaderValue::U16(v) => Self::U16(v),
            HeaderValue::I32(v) => Self::I32(v),
            HeaderValue::U32(v) => Self::U32(v),
            HeaderValue::I64(v) => Self::I64(v),
            HeaderValue::F32(v) => Self::F32Bits(v.to_bits()),
            HeaderValue::F64(v) => Self::F64Bits(v.to_bits()),
            HeaderValue::Decimal { scale, value } => Self::Decimal { scale, value },
            HeaderValue::Text(v) => match String::from_utf8(v) {
                Ok(text) => Self::Text(text),
                Err(error) => Self::TextBase64(BASE64.encode(error.as_bytes())),
            },
            HeaderValue::List(v) => Self::List(v),
            HeaderValue::Timestamp(v) => Self::Timestamp(v),
            HeaderValue::Table(v) => Self::Table(v),
            HeaderValue::Bytes(v) => Self::BytesBase64(BASE64.encode(v)),
            HeaderValue::Void => Self::Void,
        }
    }
}

impl TryFrom<StoredValue> for HeaderValue {
    type Error = base64::DecodeError;

    fn try_from(value: StoredValue) -> Result<Self, Self::Error> {
        Ok(match value {
            StoredValue::Bool(v) => Self::Bool(v),
            StoredValue::I8(v) => Self::I8(v),
            StoredValue::U8(v) => Self::U8(v),
            StoredValue::I16(v) => Self::I16(v),
            StoredValue::U16(v) => Self::U16(v),
            StoredValue::I32(v) => Self::I32(v),
            StoredValue::U32(v) => Self::U32(v),
            StoredValue::I64(v) => Self::I64(v),
            StoredValue::F32Bits(v) => Self::F32(f32::from_bits(v)),
            StoredValue::F64Bits(v) => Self::F64(f64::from_bits(v)),
            StoredValue::Decimal { scale, value } => Self::Decimal { scale, value },
            StoredValue::Text(v) => Self::Text(v.into_bytes()),
            StoredValue::TextBase64(v) => Self::Text(BASE64.decode(v)?),
            StoredValue::List(v) => Self::List(v),
            StoredValue::Timestamp(v) => Self::Timestamp(v),
            StoredValue::Table(v) => Self::Table(v),
            StoredValue::BytesBase64(v) => Self::Bytes(BASE64.decode(v)?),
            StoredValue::Void => Self::Void,
        })
    }
}

/// Bodies in JSON are base64: they are bytes, whatever `content_type` claims.
mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64.decode(text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
pub(crate) mod tests;
