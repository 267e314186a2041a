use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::broker::HeaderValue;
use crate::broker::message::tests::header_value;

const MODES: [Mode; 3] = [Mode::Binary, Mode::BinaryCe, Mode::Structured];

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::Boolean),
        any::<i32>().prop_map(Value::Integer),
        "\\PC{0,12}".prop_map(Value::Text),
    ]
}

/// Data with a type that it fits; JSON in the compact form that structured mode gives back.
fn typed_data() -> impl Strategy<Value = (Option<String>, Vec<u8>)> {
    let some = |text: &str| Some(text.to_owned());
    let json = prop_oneof![
        Just("null".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        "[a-z]{0,8}".prop_map(|text| format!("{{\"b\":\"{text}\",\"a\":[true,1.50]}}")),
        "\\PC{0,8}".prop_map(|text| serde_json::Value::from(text).to_string()),
    ];
    prop_oneof![
        Just((None, Vec::new())),
        (Just(some("application/json; charset=utf-8")), json.clone().prop_map(String::into_bytes)),
        (Just(some("application/vnd.messages+json")), json.clone().prop_map(String::into_bytes)),
        (Just(None), json.prop_map(String::into_bytes)),
        (Just(some("application/json")), vec(any::<u8>(), 0..3).prop_map(|_| b"{broken".to_vec())),
        (Just(some("text/plain")), "\\PC{1,20}".prop_map(String::into_bytes)),
        (Just(some("text/plain")), vec(128..=255_u8, 1..20)),
        (Just(some("application/avro")), vec(any::<u8>(), 0..40)),
    ]
}

prop_compose! {
    fn event()(
        (id, source, kind) in ("\\PC{1,20}", "/[a-z]{1,8}/(legacy|new)-[a-z]{1,5}", "[a-z.]{1,20}"),
        (subject, schema) in (option::of("\\PC{1,12}"), option::of("https://x/[a-z]{1,9}")),
        time in option::of(0..4_000_000_000_000_i64),
        extensions in btree_map("x[a-z0-9]{0,12}", value(), 0..5),
        (data_content_type, data) in typed_data(),
    ) -> CloudEvent {
        let mut event = CloudEvent::new(id, source, kind);
        event.subject = subject;
        event.data_schema = schema;
        event.extensions = extensions;
        event.data_content_type = data_content_type;
        event.data = data;
        match time.and_then(chrono::DateTime::from_timestamp_millis) {
            Some(time) => event.time(time),
            None => event,
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_equal_in_every_mode(event in event()) {
        for mode in MODES {
            let message = event.to_message(mode, "x", "key").unwrap();
            prop_assert!(message.validate().is_ok());
            prop_assert_eq!((&*message.exchange, &*message.routing_key), ("x", "key"));
            prop_assert_eq!(message.properties.message_id.as_ref(), Some(&event.id));
            let read = CloudEvent::from_message(&message).unwrap();
            prop_assert_eq!(read.as_ref(), Some(&event), "{:?}", mode);
        }
    }

    #[test]
    fn no_headers_make_reading_panic_and_what_is_read_can_be_written(
        prefix in prop_oneof![Just("cloudEvents_"), Just("cloudEvents:"), Just("ce-"), Just("x-")],
        mut headers in btree_map("[a-zA-Z]{1,6}|subject|time|datacontenttype", header_value(), 0..6),
        whole in any::<bool>(),
        content_type in option::of("\\PC{0,12}|application/json"),
        body in vec(any::<u8>(), 0..20),
    ) {
        if whole {
            for (name, text) in [("specversion", "1.0"), ("id", "1"), ("source", "/m"), ("type", "t")] {
                headers.insert(name.to_owned(), HeaderValue::from(text));
            }
        }
        let mut message = Message::new("x", "key", body);
        message.properties.content_type = content_type;
        for (name, value) in headers {
            message = message.header(format!("{prefix}{name}"), value);
        }
        if let Ok(Some(event)) = CloudEvent::from_message(&message) {
            let again = event.to_message(Mode::Binary, "x", "key").unwrap();
            prop_assert_eq!(CloudEvent::from_message(&again).unwrap(), Some(event));
        }
    }

    #[test]
    fn no_body_makes_reading_panic(
        body in vec(any::<u8>(), 0..60),
        cut in any::<prop::sample::Index>(),
        event in event(),
    ) {
        let mut message = Message::new("", "", body).content_type(STRUCTURED_TYPE);
        prop_assert!(!matches!(CloudEvent::from_message(&message), Ok(None)));
        let mut whole = event.to_message(Mode::Structured, "", "").unwrap().body;
        let at = cut.index(whole.len());
        whole[at] ^= 1;
        message.body = whole;
        prop_assert!(!matches!(CloudEvent::from_message(&message), Ok(None)));
    }
}

fn sent() -> CloudEvent {
    let stamp = Stamp {
        context: ContextName::new("messages").unwrap(),
        side: Side::New,
        epoch: Epoch(u64::MAX),
    };
    let source = source(&stamp.context, stamp.side, "chat");
    CloudEvent::new("0190b6a3-7f3e-7c2e-8f27-d1e6b1b0a001", source, "message.sent")
        .subject("812")
        .data("application/json", br#"{"id":812}"#.to_vec())
        .stamp(&stamp)
        .sequence(7)
}

#[test]
fn a_written_event_has_the_attributes_that_consumers_are_told_of() {
    let message = sent().to_message(Mode::Binary, "raw", "message.sent").unwrap();
    for (name, text) in [
        ("cloudEvents_specversion", "1.0"),
        ("cloudEvents_source", "/messages/new-chat"),
        ("cloudEvents_type", "message.sent"),
        ("cloudEvents_partitionkey", "812"),
        ("cloudEvents_sequence", "00000000000000000007"),
        ("cloudEvents_banyanepoch", "18446744073709551615"),
    ] {
        assert_eq!(message.text_header(name), Some(text), "{name}");
    }
    assert_eq!(message.properties.content_type.as_deref(), Some("application/json"));
    assert_eq!(message.properties.kind.as_deref(), Some("message.sent"));
    assert_eq!(message.properties.delivery_mode, Some(2));
    let read = CloudEvent::from_message(&message).unwrap().unwrap();
    assert_eq!(read.read_sequence(), Some(7));
    assert_eq!(read.read_stamp().unwrap().unwrap().epoch, Epoch(u64::MAX));
}

#[test]
fn a_message_of_the_monolith_is_no_cloud_event_and_no_error() {
    let plain = Message::new("x", "message.sent", b"{}".to_vec());
    assert_eq!(CloudEvent::from_message(&plain), Ok(None));
    let tagged = plain.header("x-request-id", "7").content_type("application/json");
    assert_eq!(CloudEvent::from_message(&tagged), Ok(None));
}

#[test]
fn each_fault_is_named_with_the_rule_and_without_the_value() {
    type Spoil = fn(&mut CloudEvent);
    let faults: [(Spoil, &str); 8] = [
        (|e| e.id.clear(), "attribute `id` must be not empty"),
        (|e| e.source = "a b".into(), "attribute `source` must be a URI reference, without spaces"),
        (|e| e.kind = "a\u{7}".into(), "attribute `type` must be free of control characters"),
        (|e| e.time = Some("today".into()), "attribute `time` must be an RFC 3339 time"),
        (
            |e| e.data_content_type = Some("json".into()),
            "attribute `datacontenttype` must be a MIME type such as `application/json`",
        ),
        (
            |e| *e = e.clone().extension("Up", "x"),
            "attribute `Up` must be named with 1 to 200 of `a-z 0-9`",
        ),
        (
            |e| *e = e.clone().extension("id", "x"),
            "attribute `id` must be set by its own field, not as an extension",
        ),
        (|e| e.kind = "k".repeat(256), "attribute `type` must be at most 255 bytes for AMQP"),
    ];
    for (spoil, said) in faults {
        let mut event = sent();
        spoil(&mut event);
        let error = event.to_message(Mode::Binary, "x", "k").unwrap_err();
        assert_eq!(error.to_string(), said);
    }
}

#[test]
fn a_broken_cloud_event_is_told_apart_from_none() {
    let bare = || Message::new("x", "k", b"{}".to_vec());
    let whole = || sent().to_message(Mode::BinaryCe, "x", "k").unwrap();
    let structured = |body: &str| Message::new("", "", body.into()).content_type(STRUCTURED_TYPE);
    let cases = [
        (bare().header("ce-id", "1"), "attribute `specversion` is missing"),
        (bare().header("ce-specversion", "1.0"), "attribute `id` is missing"),
        (whole().header("ce-specversion", "0.3"), "attribute `specversion` must be `1.0`"),
        (whole().header("ce-subject", true), "attribute `subject` must be text"),
        (whole().header("ce-x", 1_i64 << 40), "attribute `x` must be a whole number of 32 bits"),
        (structured("[]"), "the structured event must be one JSON object"),
        (structured("{\"specversion\":\"1.0\"}"), "attribute `id` is missing"),
        (
            structured(
                "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/m\",\"type\":\"t\",\
                 \"data\":1,\"data_base64\":\"\"}",
            ),
            "the structured event must be with `data` or `data_base64`, not both",
        ),
        (
            bare().content_type("application/cloudevents-batch+json"),
            "a batch of events cannot be read; send each event as its own message",
        ),
    ];
    for (message, said) in cases {
        assert_eq!(CloudEvent::from_message(&message).unwrap_err().to_string(), said);
    }
    let half = sent();
    let mut half = CloudEvent { extensions: BTreeMap::new(), ..half };
    half = half.extension("banyanside", "new");
    let error = half.read_stamp().unwrap_err().to_string();
    assert_eq!(error, "attribute `banyancontext` must be the name of a context");
}

#[test]
fn every_prefix_in_use_is_read() {
    let written = sent().to_message(Mode::Binary, "x", "k").unwrap();
    for prefix in ["cloudEvents:", "ce-"] {
        let mut message = written.clone();
        let headers = message.properties.headers.take().unwrap();
        for (name, value) in headers {
            let name = name.replace("cloudEvents_", prefix);
            message = message.header(name, value);
        }
        assert_eq!(CloudEvent::from_message(&message).unwrap(), Some(sent()), "{prefix}");
    }
}
