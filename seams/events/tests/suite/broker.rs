//! What every broker promises.

use banyan_events::broker::{
    BrokerError, ExchangeKind, HeaderValue, Headers, Message, Properties, QueueOptions, Topology,
};

use crate::world::{Place, next, nothing_comes, number, numbered, on_both_brokers, take};

on_both_brokers!(
    a_queue_keeps_the_order_of_publishing,
    an_acknowledged_message_never_comes_again,
    a_dropped_consumer_gives_its_messages_back_in_their_old_places,
    exchanges_route_by_their_kind,
    a_message_passes_byte_identical_with_all_properties_and_odd_headers,
    declaring_again_is_harmless_and_declaring_otherwise_is_refused,
    a_full_queue_refuses_and_loses_nothing,
    only_one_consumer_is_active_and_the_next_takes_over,
    an_unknown_exchange_or_queue_is_an_error,
    a_cancelled_wait_loses_nothing,
    a_consumer_publishes_on_its_own_channel,
    depth_counts_what_waits,
    a_closed_handle_refuses,
);

fn one_queue() -> Topology {
    Topology::new()
        .exchange("x", ExchangeKind::Topic)
        .queue("q", QueueOptions::default())
        .bind("q", "x", "#")
}

async fn a_queue_keeps_the_order_of_publishing(place: Place) {
    let broker = place.with(&one_queue()).await;
    broker.publish_all((0..700).map(|i| numbered("x", "a", i)).collect()).await.unwrap();
    broker.publish(numbered("x", "a", 700)).await.unwrap();
    let mut consumer = broker.consume("q", 50).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() <= 700 {
        let batch = consumer.next_batch(50).await.unwrap();
        seen.extend(batch.iter().map(number));
        consumer.ack_through(batch.last().unwrap().tag).await.unwrap();
    }
    assert_eq!(seen, (0..=700).collect::<Vec<_>>());
}

async fn an_acknowledged_message_never_comes_again(place: Place) {
    let broker = place.with(&one_queue()).await;
    broker.publish_all((0..5).map(|i| numbered("x", "a", i)).collect()).await.unwrap();
    let mut consumer = broker.consume("q", 10).await.unwrap();
    let taken = take(&mut consumer, 5).await;
    consumer.ack(&[taken[0].tag, taken[3].tag]).await.unwrap();
    drop(consumer);
    let mut again = broker.consume("q", 10).await.unwrap();
    let seen: Vec<_> = take(&mut again, 3).await.iter().map(number).collect();
    assert_eq!(seen, [1, 2, 4]);
    nothing_comes(&mut again).await;
}

async fn a_dropped_consumer_gives_its_messages_back_in_their_old_places(place: Place) {
    let broker = place.with(&one_queue()).await;
    broker.publish_all((0..20).map(|i| numbered("x", "a", i)).collect()).await.unwrap();
    let mut consumer = broker.consume("q", 10).await.unwrap();
    assert!(take(&mut consumer, 10).await.iter().all(|delivery| !delivery.redelivered));
    drop(consumer);
    let mut again = broker.consume("q", 30).await.unwrap();
    let taken = take(&mut again, 20).await;
    assert_eq!(taken.iter().map(number).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
    let marks: Vec<_> = taken.iter().map(|delivery| delivery.redelivered).collect();
    assert_eq!(marks[..10], [true; 10]);
    assert_eq!(marks[10..], [false; 10]);
}

async fn exchanges_route_by_their_kind(place: Place) {
    let topology = Topology::new()
        .exchange("topic", ExchangeKind::Topic)
        .exchange("fanout", ExchangeKind::Fanout)
        .exchange("direct", ExchangeKind::Direct)
        .queue("q", QueueOptions::default())
        .bind("q", "topic", "message.*")
        .bind("q", "topic", "#.sent")
        .bind("q", "fanout", "whatever")
        .bind("q", "direct", "exact");
    let broker = place.with(&topology).await;
    let keys = [
        ("topic", "message.sent"),
        ("topic", "comment.created"),
        ("topic", "a.b.sent"),
        ("fanout", ""),
        ("direct", "exact"),
        ("direct", "other"),
        ("", "q"),
        ("", "no-such-queue"),
    ];
    let messages = keys.iter().enumerate().map(|(i, (x, key))| numbered(x, key, i)).collect();
    broker.publish_all(messages).await.unwrap();
    let mut consumer = broker.consume("q", 10).await.unwrap();
    let seen: Vec<_> = take(&mut consumer, 5).await.iter().map(number).collect();
    assert_eq!(seen, [0, 2, 3, 4, 6], "each at most once");
    nothing_comes(&mut consumer).await;
}

/// Every property and every header type, with values that tempt a broker to normalise.
pub(crate) fn odd_message(exchange: &str, user: Option<&str>) -> Message {
    let nested = Headers::from([
        ("list".to_owned(), HeaderValue::List(vec![HeaderValue::Void, HeaderValue::Bool(false)])),
        ("empty".to_owned(), HeaderValue::Table(Headers::new())),
    ]);
    let headers = Headers::from([
        ("bool".to_owned(), HeaderValue::Bool(true)),
        ("i8".to_owned(), HeaderValue::I8(-7)),
        ("u8".to_owned(), HeaderValue::U8(200)),
        ("i16".to_owned(), HeaderValue::I16(-30_000)),
        ("u16".to_owned(), HeaderValue::U16(60_000)),
        ("i32".to_owned(), HeaderValue::I32(i32::MIN)),
        ("u32".to_owned(), HeaderValue::U32(u32::MAX)),
        ("i64".to_owned(), HeaderValue::I64(i64::MIN)),
        ("f32".to_owned(), HeaderValue::F32(1.5)),
        ("f64".to_owned(), HeaderValue::F64(-0.0)),
        ("decimal".to_owned(), HeaderValue::Decimal { scale: 2, value: 12_345 }),
        ("text".to_owned(), HeaderValue::from("grüße")),
        ("latin1".to_owned(), HeaderValue::Text(vec![0x63, 0x61, 0x66, 0xe9])),
        ("bytes".to_owned(), HeaderValue::Bytes(vec![0, 255])),
        ("time".to_owned(), HeaderValue::Timestamp(1_402_567_200)),
        ("void".to_owned(), HeaderValue::Void),
        ("table".to_owned(), HeaderValue::Table(nested)),
    ]);
    let text = |value: &str| Some(value.to_owned());
    let properties = Properties {
        content_type: text("application/json; charset=utf-8"),
        content_encoding: text("identity"),
        headers: Some(headers),
        delivery_mode: Some(2),
        priority: Some(3),
        correlation_id: text("c-1"),
        reply_to: text("answers"),
        expiration: text("3600000"),
        message_id: text("mothership-812"),
        timestamp: Some(1_402_567_200),
        kind: text("message.sent"),
        user_id: user.map(ToOwned::to_owned),
        app_id: text("mothership"),
        cluster_id: text(""),
    };
    Message::new(exchange, "message.sent", vec![0, 159, 146, 150]).properties(properties)
}

async fn a_message_passes_byte_identical_with_all_properties_and_odd_headers(place: Place) {
    let broker = place.with(&one_queue()).await;
    let bare = Message::new("x", "bare", Vec::new());
    let mut empty_headers = Message::new("x", "empty", vec![1]);
    empty_headers.properties.headers = Some(Headers::new());
    let sent = vec![odd_message("x", Some("tester")), bare, empty_headers];
    broker.publish_all(sent.clone()).await.unwrap();
    let mut consumer = broker.consume("q", 10).await.unwrap();
    let got: Vec<_> = take(&mut consumer, 3).await.into_iter().map(|d| d.message).collect();
    assert_eq!(got, sent);
}

async fn declaring_again_is_harmless_and_declaring_otherwise_is_refused(place: Place) {
    let broker = place.with(&one_queue()).await;
    broker.declare(&one_queue()).await.unwrap();
    for other in [
        Topology::new().exchange("x", ExchangeKind::Fanout),
        Topology::new().queue("q", QueueOptions::shared()),
    ] {
        let error = broker.declare(&other).await.unwrap_err();
        assert!(matches!(error, BrokerError::TopologyConflict { .. }), "{error}");
    }
    let unbound = Topology::new().queue("q", QueueOptions::default()).bind("q", "absent", "#");
    let error = broker.declare(&unbound).await.unwrap_err();
    assert!(matches!(error, BrokerError::NoExchange { .. }), "{error}");
    broker.publish(numbered("x", "still.works", 1)).await.unwrap();
}

async fn a_full_queue_refuses_and_loses_nothing(place: Place) {
    let options = QueueOptions::default().classic().max_length(3);
    let topology =
        Topology::new().exchange("x", ExchangeKind::Topic).queue("q", options).bind("q", "x", "#");
    let broker = place.with(&topology).await;
    let mut accepted = Vec::new();
    for i in 0..6 {
        match broker.publish(numbered("x", "a", i)).await {
            Ok(()) => accepted.push(i),
            Err(BrokerError::QueueFull { length_max, .. }) => assert_eq!(length_max, 3),
            Err(BrokerError::Refused { reason }) => assert!(reason.contains("full"), "{reason}"),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(accepted, [0, 1, 2]);
    let mut consumer = broker.consume("q", 10).await.unwrap();
    let taken = take(&mut consumer, 3).await;
    consumer.ack_through(taken[2].tag).await.unwrap();
    broker.publish(numbered("x", "a", 6)).await.unwrap();
    assert_eq!(number(&next(&mut consumer).await), 6);
}

async fn only_one_consumer_is_active_and_the_next_takes_over(place: Place) {
    let broker = place.with(&one_queue()).await;
    let mut first = broker.consume("q", 2).await.unwrap();
    let mut second = broker.consume("q", 10).await.unwrap();
    broker.publish_all((0..6).map(|i| numbered("x", "a", i)).collect()).await.unwrap();
    assert_eq!(take(&mut first, 2).await.iter().map(number).collect::<Vec<_>>(), [0, 1]);
    nothing_comes(&mut second).await;
    drop(first);
    let seen: Vec<_> = take(&mut second, 6).await.iter().map(number).collect();
    assert_eq!(seen, [0, 1, 2, 3, 4, 5], "in order, from the first unacknowledged one");
}

async fn an_unknown_exchange_or_queue_is_an_error(place: Place) {
    let broker = place.with(&one_queue()).await;
    let error = broker.publish(numbered("absent", "a", 1)).await.unwrap_err();
    assert_eq!(error, BrokerError::NoExchange { exchange: "absent".to_owned() });
    broker.publish(numbered("x", "a", 2)).await.unwrap();
    for result in [broker.consume("absent", 1).await.err(), broker.depth("absent").await.err()] {
        assert_eq!(result, Some(BrokerError::NoQueue { queue: "absent".to_owned() }));
    }
}

async fn a_cancelled_wait_loses_nothing(place: Place) {
    let broker = place.with(&one_queue()).await;
    let mut consumer = broker.consume("q", 100).await.unwrap();
    let publisher = tokio::spawn(async move {
        for i in 0..60 {
            broker.publish(numbered("x", "a", i)).await.unwrap();
        }
        broker
    });
    let mut seen = Vec::new();
    while seen.len() < 60 {
        let wait = std::time::Duration::from_micros(300);
        if let Ok(delivery) = tokio::time::timeout(wait, consumer.next()).await {
            seen.push(number(&delivery.unwrap()));
        }
    }
    assert_eq!(seen, (0..60).collect::<Vec<_>>());
    publisher.await.unwrap();
}

async fn a_consumer_publishes_on_its_own_channel(place: Place) {
    let topology =
        one_queue().exchange("out", ExchangeKind::Fanout).queue("out", QueueOptions::default());
    let broker = place.with(&topology.bind("out", "out", "")).await;
    let mut consumer = broker.consume("q", 10).await.unwrap();
    broker.publish(numbered("x", "a", 7)).await.unwrap();
    let delivery = next(&mut consumer).await;
    consumer.publish(numbered("out", "", 70)).await.unwrap();
    consumer.ack_through(delivery.tag).await.unwrap();
    let mut out = broker.consume("out", 10).await.unwrap();
    assert_eq!(number(&next(&mut out).await), 70);
}

async fn depth_counts_what_waits(place: Place) {
    let broker = place.with(&one_queue()).await;
    broker.publish_all((0..5).map(|i| numbered("x", "a", i)).collect()).await.unwrap();
    assert_eq!(broker.depth("q").await.unwrap(), 5);
    let mut consumer = broker.consume("q", 2).await.unwrap();
    let taken = take(&mut consumer, 2).await;
    assert_eq!(broker.depth("q").await.unwrap(), 3);
    consumer.ack_through(taken[1].tag).await.unwrap();
    drop(consumer);
}

async fn a_closed_handle_refuses(place: Place) {
    let broker = place.with(&one_queue()).await;
    broker.close().await;
    let error = broker.publish(numbered("x", "a", 1)).await.unwrap_err();
    assert_eq!(error, BrokerError::Closed);
}
