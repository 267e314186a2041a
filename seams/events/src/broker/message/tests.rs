use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;

/// Any header value, nested up to three levels.
pub(crate) fn header_value() -> impl Strategy<Value = HeaderValue> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(HeaderValue::Bool),
        any::<i8>().prop_map(HeaderValue::I8),
        any::<u8>().prop_map(HeaderValue::U8),
        any::<i16>().prop_map(HeaderValue::I16),
        any::<u16>().prop_map(HeaderValue::U16),
        any::<i32>().prop_map(HeaderValue::I32),
        any::<u32>().prop_map(HeaderValue::U32),
        any::<i64>().prop_map(HeaderValue::I64),
        any::<f32>().prop_map(HeaderValue::F32),
        any::<f64>().prop_map(HeaderValue::F64),
        (any::<u8>(), any::<u32>())
            .prop_map(|(scale, value)| HeaderValue::Decimal { scale, value }),
        vec(any::<u8>(), 0..12).prop_map(HeaderValue::Text),
        any::<u64>().prop_map(HeaderValue::Timestamp),
        vec(any::<u8>(), 0..12).prop_map(HeaderValue::Bytes),
        Just(HeaderValue::Void),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(HeaderValue::List),
            btree_map("[a-z]{1,4}", inner, 0..4).prop_map(HeaderValue::Table),
        ]
    })
}

fn message() -> impl Strategy<Value = Message> {
    let text = || option::of("\\PC{0,12}");
    let properties = (
        (text(), text(), option::of(btree_map("[a-z-]{1,8}", header_value(), 0..5))),
        (option::of(any::<u8>()), option::of(any::<u8>()), option::of(any::<u64>())),
        (text(), text(), text(), text()),
        (text(), text(), text(), text()),
    )
        .prop_map(|(a, b, c, d)| Properties {
            content_type: a.0,
            content_encoding: a.1,
            headers: a.2,
            delivery_mode: b.0,
            priority: b.1,
            timestamp: b.2,
            correlation_id: c.0,
            reply_to: c.1,
            expiration: c.2,
            message_id: c.3,
            kind: d.0,
            user_id: d.1,
            app_id: d.2,
            cluster_id: d.3,
        });
    (properties, vec(any::<u8>(), 0..40), "[a-z.]{0,10}")
        .prop_map(|(p, body, key)| Message::new("x", key, body).properties(p))
}

proptest! {
    #[test]
    fn a_message_stored_as_json_comes_back_unchanged(message in message()) {
        let json = serde_json::to_string(&message).unwrap();
        let back: Message = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(format!("{back:?}"), format!("{message:?}"));
    }
}

#[test]
fn a_float_that_json_cannot_write_keeps_its_bits() {
    let odd = f64::from_bits(0x7ff8_0000_0000_0001);
    let message = Message::new("", "q", vec![]).header("nan", HeaderValue::F64(odd));
    let json = serde_json::to_string(&message).unwrap();
    let back: Message = serde_json::from_str(&json).unwrap();
    let HeaderValue::F64(value) = back.properties.headers.unwrap()["nan"] else { panic!("f64") };
    assert_eq!(value.to_bits(), odd.to_bits());
}

#[test]
fn an_absent_header_table_stays_different_from_an_empty_one() {
    let absent = Message::new("", "q", vec![]);
    let mut empty = absent.clone();
    empty.properties.headers = Some(Headers::new());
    let stored = serde_json::to_string(&empty).unwrap();
    assert_ne!(serde_json::to_string(&absent).unwrap(), stored);
    assert_eq!(serde_json::from_str::<Message>(&stored).unwrap(), empty);
}

#[test]
fn a_too_long_part_is_refused_by_name() {
    let long = "k".repeat(256);
    let error = Message::new("", long.clone(), vec![]).validate().unwrap_err().to_string();
    assert!(error.contains("routing key has 256 bytes"), "{error}");
    let nested = HeaderValue::Table([(long, HeaderValue::Void)].into());
    let error = Message::new("", "", vec![]).header("t", nested).validate().unwrap_err();
    assert!(error.to_string().contains("header name has 256 bytes"), "{error}");
}
