//! Alarms of the broker, keys that nobody is bound to, messages that nobody can read: said in the status, nothing lost,
//! over without help.

use banyan_domain::Side;
use banyan_events::broker::{ExchangeKind, Message, QueueOptions, Topology};
use banyan_test_servers::{or_skip, rabbitmq};

use crate::stage::{World, event};
use crate::world::{Place, next, number, numbered, on_both_brokers, take};

on_both_brokers!(
    an_event_that_nobody_is_bound_to_is_counted_and_holds_nothing_back,
    messages_that_nobody_can_read_pass_untouched,
);

async fn an_event_that_nobody_is_bound_to_is_counted_and_holds_nothing_back(place: Place) {
    let mut world = World::new(place).await;
    "narrow".clone_into(&mut world.config.public.exchange);
    let narrow = Topology::new()
        .exchange("narrow", ExchangeKind::Topic)
        .queue("sent-only", QueueOptions::default().classic())
        .bind("sent-only", "narrow", "message.sent");
    world.broker.declare(&narrow).await.unwrap();
    let running = world.run().await;
    let unheard = numbered("raw.legacy", "message.read", 1).message_id("m-1");
    world.broker.publish_all(vec![unheard, event("raw.legacy", 2)]).await.unwrap();
    let mut consumer = world.broker.consume("sent-only", 10).await.unwrap();
    assert_eq!(number(&next(&mut consumer).await), 2);
    // Two counters, written one after the other; both were published, as before Banyan.
    world
        .until("counted", |status| {
            (status.contexts[0].unrouted, status.contexts[0].forwarded) == (1, 2)
        })
        .await;
    world.until("acknowledged", |status| status.contexts[0].lag_events == Some(0)).await;
    running.stop().await;
}

async fn messages_that_nobody_can_read_pass_untouched(place: Place) {
    let world = World::new(place).await;
    let bytes = Message::new("raw.legacy", "message.sent", vec![0xff, 0x00, 0xfe]);
    let poison = vec![
        // No UTF-8, no id.
        bytes.clone(),
        // A CloudEvent without id and source.
        bytes.clone().header("cloudEvents_specversion", "9.9").header("cloudEvents_type", ""),
        // A body that claims to be JSON.
        Message::new("raw.legacy", "message.sent", b"{\"a\":".to_vec())
            .content_type("application/json"),
        // Something that looks like a marker and is none: it did not come by the default exchange, or its epoch is none.
        bytes.clone().header("x-banyan-marker", "seal").header("x-banyan-epoch", "2"),
        Message::new("", "f.legacy", b"x".to_vec())
            .header("x-banyan-marker", "seal")
            .header("x-banyan-context", "messages")
            .header("x-banyan-epoch", "-1"),
    ];
    let running = world.run().await;
    let mut push = world.consumer().await;
    world.broker.publish_all(poison.clone()).await.unwrap();
    world.broker.publish(event("raw.legacy", 7)).await.unwrap();
    for expected in &poison {
        let found = next(&mut push).await.message;
        assert_eq!(
            (found.body, found.properties),
            (expected.body.clone(), expected.properties.clone())
        );
    }
    assert_eq!(number(&next(&mut push).await), 7);
    let status = world.until("forwarded", |status| status.contexts[0].forwarded == 5).await;
    assert_eq!((status.unmigrated, status.contexts[0].owner), (1, Some(Side::Legacy)));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_larger_than_our_own_brokers_limit_passes_on_rabbitmq() {
    let Some(place) = Place::rabbitmq().await else { return };
    let world = World::with_raw_queues(place, QueueOptions::default().classic()).await;
    let running = world.run().await;
    let mut push = world.consumer().await;
    let large = Message::new("raw.legacy", "message.sent", vec![7; 20 * 1024 * 1024]);
    world.broker.publish(large.persistent().message_id("large")).await.unwrap();
    assert_eq!(next(&mut push).await.message.body.len(), 20 * 1024 * 1024);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alarms_of_memory_and_disk_are_said_waited_out_and_lose_nothing() {
    let node = or_skip(tokio::task::spawn_blocking(rabbitmq).await.unwrap());
    let Some(node) = node else { return };
    let alarms: [(&str, [&[&str]; 2]); 2] = [
        (
            "memory",
            [
                &["set_vm_memory_high_watermark", "absolute", "1"],
                &["set_vm_memory_high_watermark", "absolute", "400MB"],
            ],
        ),
        ("disk", [&["set_disk_free_limit", "900GB"], &["set_disk_free_limit", "1MB"]]),
    ];
    for (word, [raise, lower]) in alarms {
        let place = Place { url: node.fresh_url(), directory: tempfile::tempdir().unwrap() };
        let world = World::with_raw_queues(place, QueueOptions::default().classic()).await;
        let events = (0..40).map(|id| event("raw.legacy", id)).collect();
        world.broker.publish_all(events).await.unwrap();
        node.control(raise).unwrap();
        let running = world.run().await;
        let status = world.until("said", |status| status.reason.contains(word)).await;
        assert_eq!(status.contexts[0].forwarded, 0, "{word}: nothing gets through");
        node.control(lower).unwrap();
        world.until("over", |status| status.contexts[0].forwarded == 40).await;
        let mut push = world.consumer().await;
        let mut seen: Vec<usize> = Vec::new();
        while seen.last() != Some(&39) {
            let id = number(&take(&mut push, 1).await[0]);
            if !seen.contains(&id) {
                seen.push(id);
            }
        }
        assert_eq!(seen, (0..40).collect::<Vec<_>>(), "{word}: all, in order");
        running.stop().await;
    }
}
