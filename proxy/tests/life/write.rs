//! Writes: exactly one side, at most once.

use crate::support::{PATIENCE, World, context, from, read_request, send};
use banyan_domain::{Phase, Side};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

/// An upstream that answers the first `good` requests of each connection and then closes after having read the next.
async fn closing_upstream(good: usize) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let arrivals = Arc::new(AtomicUsize::new(0));
    let count = arrivals.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, good, count.clone()));
        }
    });
    (address, arrivals)
}

async fn serve(mut stream: TcpStream, good: usize, arrivals: Arc<AtomicUsize>) {
    for served in 0.. {
        if read_request(&mut stream).await.is_none() {
            return;
        }
        arrivals.fetch_add(1, Ordering::SeqCst);
        if served >= good {
            return;
        }
        let answer = b"HTTP/1.1 200 OK\r\nx-from: legacy\r\ncontent-length: 2\r\n\r\nok";
        stream.write_all(answer).await.unwrap();
    }
}

async fn world_with(legacy: std::net::SocketAddr, phase: Phase) -> World {
    World::with(phase, Side::Legacy, |config| config.legacy.address = legacy.to_string()).await
}

#[tokio::test]
async fn a_write_that_the_owner_reads_and_drops_arrives_once() {
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let (address, arrivals) = closing_upstream(0).await;
        let world = world_with(address, Phase::Shadow).await;
        let path = if method == "POST" { "/messages" } else { "/messages/1" };
        let request = world.client.request(method.parse().unwrap(), world.url(path));
        let answer = request.body("hello").send().await.unwrap();
        assert_eq!(answer.status(), 502, "{method}");
        let body: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!((&body["fault"], &body["retry_safe"]), (&"legacy".into(), &false.into()));
        world.settled().await;
        assert_eq!(arrivals.load(Ordering::SeqCst), 1, "{method}");
        assert_eq!(world.new.count(), 0, "{method}");
        assert!(world.recorder.offered().is_empty() && world.recorder.skipped().is_empty());
    }
}

#[tokio::test]
async fn on_a_dead_kept_connection_reads_are_sent_again_and_writes_are_not() {
    for (method, status, expected) in
        [("GET", 200, 3), ("HEAD", 200, 3), ("PUT", 502, 2), ("DELETE", 502, 2), ("POST", 502, 2)]
    {
        let (address, arrivals) = closing_upstream(1).await;
        let world = world_with(address, Phase::Legacy).await;
        // The first request makes the proxy keep a connection; the upstream drops the second one on it.
        assert_eq!(world.get("/other").send().await.unwrap().status(), 200);
        world.settled().await;
        let request = world.client.request(method.parse().unwrap(), world.url("/other"));
        assert_eq!(request.send().await.unwrap().status(), status, "{method}");
        assert_eq!(arrivals.load(Ordering::SeqCst), expected, "{method}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_does_not_abort_a_write_on_its_way() {
    let world = World::start(Phase::Legacy).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let request =
        "POST /messages HTTP/1.1\r\nHost: a\r\nx-do-legacy: wait\r\nContent-Length: 2\r\n\r\nhi";
    stream.write_all(request.as_bytes()).await.unwrap();
    world.legacy.arrivals(1).await;
    assert_eq!(world.on_their_way(), 1);
    stream.shutdown().await.unwrap();
    drop(stream);
    // A second request proves that the proxy has gone on; the write is still counted.
    assert_eq!(world.asked("/other", "ada").await, "legacy");
    assert_eq!(world.on_their_way(), 1);
    world.legacy.release();
    tokio::time::timeout(PATIENCE, world.settled()).await.unwrap();
    assert_eq!(world.legacy.seen()[0].body.as_ref(), b"hi");
    assert_eq!(world.on_their_way(), 0);
}

#[tokio::test]
async fn a_slow_write_on_the_new_side_is_not_cut_off_after_the_time_of_a_read() {
    let world = World::with(Phase::New, Side::New, |config| {
        config.new.get_mut(&context()).unwrap().read_timeout_ms = 50;
    })
    .await;
    // Legacy cannot answer either of them instead.
    let write = world.client.post(world.url("/messages")).body("slow");
    let strict = world.get("/users/3/strict");
    let sent = [write, strict].map(|request| send(request.header("x-do-new", "wait")));
    world.new.arrivals(2).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    world.new.release();
    world.new.release();
    for answer in sent {
        let answer = answer.await.unwrap();
        assert_eq!((answer.status().as_u16(), from(&answer)), (200, "new".to_owned()));
    }
    let read = world.get("/users/3/messages").header("x-do-new", "wait");
    assert_eq!(from(&read.send().await.unwrap()), "legacy", "a read falls back soon");
}

#[tokio::test]
async fn a_large_body_reaches_the_owner_whole() {
    let world = World::start(Phase::Shadow).await;
    let body = vec![b'y'; 3 << 20];
    let answer = world.client.post(world.url("/messages")).body(body.clone()).send().await.unwrap();
    assert_eq!(from(&answer), "legacy");
    assert_eq!(world.legacy.seen()[0].body, body);
}
