use super::*;
use crate::Served;
use banyan_domain::{ContextName, Generation, Side};
use bytes::Bytes;

fn exchange(body: usize) -> Exchange {
    Exchange {
        context: ContextName::new("messages").unwrap(),
        endpoint: EndpointName::new("messages.list").unwrap(),
        served_by: Side::Legacy,
        mirror_to: Side::New,
        generation: Generation(1),
        method: "GET".into(),
        path_and_query: "/users/3/messages?page=2".into(),
        request_headers: vec![("authorization".into(), b"OAuth 3-secret".to_vec())],
        served: Served {
            status: 200,
            headers: vec![],
            body: Bytes::from(vec![b'x'; body]),
            elapsed_ms: 1,
        },
        at_ms: 1,
    }
}

fn skips(queue: &ShadowQueue) -> Vec<(SkipReason, u64)> {
    queue.take_skips().into_iter().map(|(_, reason, count)| (reason, count)).collect()
}

#[tokio::test]
async fn overflow_drops_the_newest_and_counts_it() {
    let (handle, mut queue) = queue(QueueLimit { exchanges: 2, bytes: 1 << 20 });
    for at_ms in 1..=5 {
        handle.offer(Exchange { at_ms, ..exchange(1) });
    }
    assert_eq!(skips(&queue), [(SkipReason::QueueFull, 3)]);
    assert_eq!(queue.next().await.unwrap().exchange().at_ms, 1);
    assert_eq!(queue.next().await.unwrap().exchange().at_ms, 2);
}

#[tokio::test]
async fn bytes_are_bounded_and_given_back_when_the_work_is_done() {
    let one = exchange(10_000).bytes();
    let (handle, mut queue) = queue(QueueLimit { exchanges: 10, bytes: one });
    handle.offer(exchange(10_000));
    handle.offer(exchange(10_000));
    assert_eq!(skips(&queue), [(SkipReason::QueueFull, 1)]);
    let working = queue.next().await.unwrap();
    handle.offer(exchange(10_000));
    assert_eq!(skips(&queue), [(SkipReason::QueueFull, 1)], "the worker still holds the bytes");
    drop(working);
    handle.offer(exchange(10_000));
    assert_eq!(skips(&queue), []);
}

#[tokio::test]
async fn a_closed_queue_hands_out_what_waits_and_counts_what_comes_later() {
    let (handle, mut queue) = queue(QueueLimit::default());
    handle.offer(exchange(1));
    queue.close();
    handle.offer(exchange(1));
    assert_eq!(skips(&queue), [(SkipReason::Shutdown, 1)]);
    assert!(queue.next().await.is_some());
    assert!(queue.next().await.is_none());
}

#[test]
fn a_debug_print_of_an_exchange_shows_no_secret() {
    let shown = format!("{:?}", exchange(3));
    assert!(!shown.contains("secret") && !shown.contains("xxx") && !shown.contains("/users"));
}
