//! Our messages to and from lapin's types, losing nothing.

use lapin::BasicProperties;
use lapin::ErrorKind;
use lapin::types::{AMQPValue, DecimalValue, FieldArray, FieldTable, ShortString};

use super::short;
use crate::broker::{BrokerError, Delivery, HeaderValue, Headers, Message, Properties};

/// The AMQP reply code of an error that the broker sent, such as 404.
pub(super) fn reply_code(error: &lapin::Error) -> Option<u16> {
    if let ErrorKind::ProtocolError(error) = error.kind() { Some(error.get_id()) } else { None }
}

/// Header that a quorum queue adds to a redelivered message; not part of what was published.
const DELIVERY_COUNT: &str = "x-delivery-count";

pub(super) fn from_delivery(delivery: lapin::message::Delivery) -> Delivery {
    let mut properties = from_amqp(&delivery.properties);
    if delivery.redelivered {
        remove_delivery_count(&mut properties);
    }
    Delivery {
        tag: delivery.delivery_tag,
        redelivered: delivery.redelivered,
        message: Message {
            exchange: delivery.exchange.into(),
            routing_key: delivery.routing_key.into(),
            properties,
            body: delivery.data,
            publish_id: None,
            is_mandatory: false,
        },
    }
}

/// A table that was made only to hold the count goes with it. (A published empty table goes too; nobody can
/// tell them apart.)
fn remove_delivery_count(properties: &mut Properties) {
    if let Some(headers) = &mut properties.headers
        && headers.remove(DELIVERY_COUNT).is_some()
        && headers.is_empty()
    {
        properties.headers = None;
    }
}

fn from_amqp(p: &BasicProperties) -> Properties {
    let text = |value: &Option<ShortString>| value.as_ref().map(ToString::to_string);
    Properties {
        content_type: text(p.content_type()),
        content_encoding: text(p.content_encoding()),
        headers: p.headers().as_ref().map(headers_from),
        delivery_mode: *p.delivery_mode(),
        priority: *p.priority(),
        correlation_id: text(p.correlation_id()),
        reply_to: text(p.reply_to()),
        expiration: text(p.expiration()),
        message_id: text(p.message_id()),
        timestamp: *p.timestamp(),
        kind: text(p.kind()),
        user_id: text(p.user_id()),
        app_id: text(p.app_id()),
        cluster_id: text(p.cluster_id()),
    }
}

/// Sets exactly the properties that are there.
pub(super) fn to_amqp(p: &Properties) -> Result<BasicProperties, BrokerError> {
    type SetText = fn(BasicProperties, ShortString) -> BasicProperties;
    let texts: [(&Option<String>, SetText); 10] = [
        (&p.content_type, BasicProperties::with_content_type),
        (&p.content_encoding, BasicProperties::with_content_encoding),
        (&p.correlation_id, BasicProperties::with_correlation_id),
        (&p.reply_to, BasicProperties::with_reply_to),
        (&p.expiration, BasicProperties::with_expiration),
        (&p.message_id, BasicProperties::with_message_id),
        (&p.kind, BasicProperties::with_type),
        (&p.user_id, BasicProperties::with_user_id),
        (&p.app_id, BasicProperties::with_app_id),
        (&p.cluster_id, BasicProperties::with_cluster_id),
    ];
    let mut amqp = BasicProperties::default();
    for (value, set) in texts {
        if let Some(value) = value {
            amqp = set(amqp, short(value)?);
        }
    }
    if let Some(mode) = p.delivery_mode {
        amqp = amqp.with_delivery_mode(mode);
    }
    if let Some(priority) = p.priority {
        amqp = amqp.with_priority(priority);
    }
    if let Some(timestamp) = p.timestamp {
        amqp = amqp.with_timestamp(timestamp);
    }
    if let Some(headers) = &p.headers {
        amqp = amqp.with_headers(headers_to(headers)?);
    }
    Ok(amqp)
}

fn headers_from(table: &FieldTable) -> Headers {
    table.into_iter().map(|(name, value)| (name.to_string(), value_from(value))).collect()
}

fn headers_to(headers: &Headers) -> Result<FieldTable, BrokerError> {
    let mut table = FieldTable::default();
    for (name, value) in headers {
        table.insert(short(name)?, value_to(value)?);
    }
    Ok(table)
}

fn value_from(value: &AMQPValue) -> HeaderValue {
    match value {
        AMQPValue::Boolean(v) => HeaderValue::Bool(*v),
        AMQPValue::ShortShortInt(v) => HeaderValue::I8(*v),
        AMQPValue::ShortShortUInt(v) => HeaderValue::U8(*v),
        AMQPValue::ShortInt(v) => HeaderValue::I16(*v),
        AMQPValue::ShortUInt(v) => HeaderValue::U16(*v),
        AMQPValue::LongInt(v) => HeaderValue::I32(*v),
        AMQPValue::LongUInt(v) => HeaderValue::U32(*v),
        AMQPValue::LongLongInt(v) => HeaderValue::I64(*v),
        AMQPValue::Float(v) => HeaderValue::F32(*v),
        AMQPValue::Double(v) => HeaderValue::F64(*v),
        AMQPValue::DecimalValue(v) => HeaderValue::Decimal { scale: v.scale, value: v.value },
        // lapin never reads this kind from the wire: RabbitMQ has no type letter for it.
        AMQPValue::ShortString(v) => HeaderValue::Text(v.as_str().as_bytes().to_vec()),
        AMQPValue::LongString(v) => HeaderValue::Text(v.as_bytes().to_vec()),
        AMQPValue::FieldArray(v) => {
            HeaderValue::List(v.as_slice().iter().map(value_from).collect())
        }
        AMQPValue::Timestamp(v) => HeaderValue::Timestamp(*v),
        AMQPValue::FieldTable(v) => HeaderValue::Table(headers_from(v)),
        AMQPValue::ByteArray(v) => HeaderValue::Bytes(v.as_slice().to_vec()),
        AMQPValue::Void => HeaderValue::Void,
    }
}

fn value_to(value: &HeaderValue) -> Result<AMQPValue, BrokerError> {
    Ok(match value {
        HeaderValue::Bool(v) => AMQPValue::Boolean(*v),
        HeaderValue::I8(v) => AMQPValue::ShortShortInt(*v),
        HeaderValue::U8(v) => AMQPValue::ShortShortUInt(*v),
        HeaderValue::I16(v) => AMQPValue::ShortInt(*v),
        HeaderValue::U16(v) => AMQPValue::ShortUInt(*v),
        HeaderValue::I32(v) => AMQPValue::LongInt(*v),
        HeaderValue::U32(v) => AMQPValue::LongUInt(*v),
        HeaderValue::I64(v) => AMQPValue::LongLongInt(*v),
        HeaderValue::F32(v) => AMQPValue::Float(*v),
        HeaderValue::F64(v) => AMQPValue::Double(*v),
        HeaderValue::Decimal { scale, value } => {
            AMQPValue::DecimalValue(DecimalValue { scale: *scale, value: *value })
        }
        HeaderValue::Text(v) => AMQPValue::LongString(v.clone().into()),
        HeaderValue::List(v) => {
            let items = v.iter().map(value_to).collect::<Result<Vec<_>, _>>()?;
            AMQPValue::FieldArray(FieldArray::from(items))
        }
        HeaderValue::Timestamp(v) => AMQPValue::Timestamp(*v),
        HeaderValue::Table(v) => AMQPValue::FieldTable(headers_to(v)?),
        HeaderValue::Bytes(v) => AMQPValue::ByteArray(v.clone().into()),
        HeaderValue::Void => AMQPValue::Void,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::broker::message::tests::header_value;

    proptest! {
        #[test]
        fn a_header_survives_the_way_to_lapin_and_back(value in header_value()) {
            let back = value_from(&value_to(&value).unwrap());
            prop_assert_eq!(format!("{back:?}"), format!("{value:?}"));
        }
    }
}
