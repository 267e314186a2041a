//! Writes that a side refuses by its fence.

use crate::log;
use crate::support::{Sending, World, from, send};
use banyan_domain::{Phase, Side};
use bytes::Bytes;
use reqwest::{Method, Response};
use std::time::Duration;

/// Sends a write that the fence of legacy will refuse.
fn refused(world: &World, method: Method, body: Vec<u8>) -> Sending {
    let path = if method == Method::POST { "/messages" } else { "/messages/1" };
    let request = world.client.request(method, world.url(path));
    let request = if body.is_empty() { request } else { request.body(body) };
    send(request.header("x-do-legacy", "fenced messages"))
}

async fn is_refused(answer: Response) -> String {
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "1");
    assert!(!answer.headers().contains_key("x-banyan-fenced"));
    let body: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(body["retry_safe"], true);
    body["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_write_that_the_fence_refused_goes_to_the_next_owner_once_and_whole() {
    let bodies = [Vec::new(), b"small".to_vec(), vec![b'x'; 64 << 10]];
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        for body in &bodies {
            // This proxy has not heard of the cutover yet.
            let world = World::start(Phase::Shadow).await;
            let sent = refused(&world, method.clone(), body.clone());
            world.waiting(1).await;
            assert!(world.by_context.by_context().is_empty(), "it had no effect");
            world.put(Side::Legacy, 1, Some(2), true);
            world.put(Side::New, 2, None, false);
            let answer = sent.await.unwrap();
            assert!(!answer.headers().contains_key("x-banyan-fenced"));
            assert_eq!(from(&answer), "new", "{method}");
            world.settled().await;
            assert_eq!((world.legacy.count(), world.new.count()), (1, 1));
            assert_eq!(world.new.seen()[0].body, body, "{method}");
            assert!(world.by_context.by_context().is_empty());
        }
    }
}

#[tokio::test]
async fn a_chunked_body_is_sent_again_as_it_was() {
    let world = World::start(Phase::Shadow).await;
    let chunks = ["one", "two", "three"].map(|chunk| Ok::<_, std::io::Error>(Bytes::from(chunk)));
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    let request = world.client.post(world.url("/messages")).body(body);
    let sent = send(request.header("x-do-legacy", "fenced messages"));
    world.waiting(1).await;
    world.put(Side::New, 2, None, false);
    assert_eq!(from(&sent.await.unwrap()), "new");
    assert_eq!(world.new.seen()[0].body, "onetwothree");
}

#[tokio::test]
async fn a_body_that_cannot_be_sent_again_whole_is_refused_at_once() {
    let world = World::start(Phase::Shadow).await;
    for size in [(64 << 10) + 1, 3 << 20] {
        let detail =
            is_refused(refused(&world, Method::POST, vec![b'x'; size]).await.unwrap()).await;
        // No cutover is known of.
        let expected =
            "legacy takes no writes of `messages` now; nothing of this one was kept, send it again";
        assert_eq!(detail, expected);
    }
    assert!(log::has(&["WARN", "message=a fence refused a write", "outcome=large"]));
    world.put(Side::Legacy, 1, Some(2), false);
    let large = refused(&world, Method::POST, vec![b'x'; 100_000]);
    let detail = is_refused(large.await.unwrap()).await;
    let expected =
        "`messages` is being cut over; legacy refused the write and nothing of it was kept";
    assert_eq!(detail, expected);
    assert_eq!((world.legacy.count(), world.new.count()), (3, 0));
}

#[tokio::test]
async fn a_second_refusal_is_the_last() {
    let world = World::start(Phase::Shadow).await;
    let sent = refused(&world, Method::POST, b"hello".to_vec());
    world.waiting(1).await;
    // The cutover was given up, but the fence is not open again.
    world.put(Side::Legacy, 1, None, false);
    is_refused(sent.await.unwrap()).await;
    assert_eq!((world.legacy.count(), world.new.count()), (2, 0));
    assert!(log::has(&["WARN", "message=a fence refused a write", "outcome=again"]));
}

#[tokio::test]
async fn the_wait_for_the_next_owner_has_an_end() {
    let world =
        World::with(Phase::Shadow, Side::Legacy, |config| config.hold.wait_max_ms = 40).await;
    is_refused(refused(&world, Method::POST, b"hello".to_vec()).await.unwrap()).await;
    assert!(world.by_context.waiting().is_empty());
    assert_eq!(world.legacy.count(), 1);
}

#[tokio::test]
async fn an_armed_or_holding_table_does_not_release_it() {
    let world = World::start(Phase::Shadow).await;
    let sent = refused(&world, Method::POST, b"hello".to_vec());
    world.waiting(1).await;
    for holding in [false, true] {
        world.put(Side::Legacy, 1, Some(2), holding);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(world.by_context.waiting().values().sum::<usize>(), 1);
    }
    world.put(Side::New, 2, None, false);
    assert_eq!(from(&sent.await.unwrap()), "new");
}

/// Answers of a fence that no write of its context got, by the context that they are counted under.
fn strays(context: &str) -> f64 {
    let families = prometheus::gather();
    let family = families.iter().find(|f| f.get_name() == "banyan_proxy_fenced_writes_total");
    let counters = family.into_iter().flat_map(prometheus::proto::MetricFamily::get_metric);
    let wanted = [("context", context), ("outcome", "stray")];
    let wanted = |name: &str, value: &str| wanted.contains(&(name, value));
    counters
        .filter(|m| m.get_label().iter().all(|label| wanted(label.get_name(), label.get_value())))
        .map(|metric| metric.get_counter().get_value())
        .sum()
}

#[tokio::test]
async fn the_word_of_a_side_counts_only_for_the_context_that_was_decided() {
    let world = World::start(Phase::Shadow).await;
    let counted = || (strays("none"), strays("messages"));
    let before = counted();
    for (path, order) in [
        // Another context, not 503, undeclared: what the side says goes to the client, without the header.
        ("/messages", "fenced tracks"),
        ("/messages", "header x-banyan-fenced messages"),
        ("/other", "fenced messages"),
    ] {
        let request = world.client.post(world.url(path)).body("hello");
        let answer = request.header("x-do-legacy", order).send().await.unwrap();
        assert_eq!(from(&answer), "legacy", "{path} {order}");
        assert!(!answer.headers().contains_key("x-banyan-fenced"), "{path} {order}");
    }
    let read = world.get("/users/3/messages").header("x-do-legacy", "fenced messages");
    let answer = read.send().await.unwrap();
    assert_eq!((answer.status().as_u16(), from(&answer).as_str()), (503, "legacy"));
    assert!(!answer.headers().contains_key("x-banyan-fenced"));
    assert_eq!((world.legacy.count(), world.new.count()), (4, 0));
    // `tracks` is declared nowhere, and a side's word must not become a label.
    let after = counted();
    assert_eq!((after.0 - before.0, after.1 - before.1), (1.0, 3.0));
    let told = |parts: &[&str]| {
        let line = ["WARN", "message=a fence refused a request that cannot go to the next owner"];
        log::has(&[line.as_slice(), parts].concat())
    };
    assert!(told(&["fence=tracks", "context=messages", "endpoint=messages.create"]));
    assert!(told(&["fence=messages", "status=200"]));
    assert!(told(&["fence=messages", "context=none", "kind=unmatched"]));
    assert!(told(&["fence=messages", "context=messages", "kind=read", "status=503"]));
}

#[tokio::test]
async fn a_second_try_that_breaks_off_is_not_followed_by_a_third() {
    let world = World::start(Phase::Shadow).await;
    let request = world.client.post(world.url("/messages")).body("hello");
    let request = request.header("x-do-legacy", "fenced messages").header("x-do-new", "cut");
    let sent = send(request);
    world.waiting(1).await;
    world.put(Side::New, 2, None, false);
    world.new.arrivals(1).await;
    world.new.release();
    // The new side broke off within its answer: the client sees that, and nothing is sent a third time.
    let answer = sent.await.unwrap();
    assert!(answer.bytes().await.is_err());
    assert_eq!((world.legacy.count(), world.new.count()), (1, 1));
}
