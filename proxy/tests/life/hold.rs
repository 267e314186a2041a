//! Writes that wait while their context is cut over.

use crate::log;
use crate::support::{PATIENCE, World, context, from, read_request, send, table_of, until};
use banyan_domain::table::Stamp;
use banyan_domain::{ContextState, Epoch, Phase, Side};
use banyan_proxy::AccessLog;
use futures_util::{SinkExt, StreamExt};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

async fn holding() -> World {
    let world = World::start(Phase::Shadow).await;
    world.put(Side::Legacy, 1, Some(2), true);
    world
}

/// Checks the answer to a write that no side has seen.
async fn is_not_let_through(answer: reqwest::Response) -> String {
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "1");
    let body: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!((&body["fault"], &body["retry_safe"]), (&"proxy".into(), &true.into()));
    body["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn held_writes_go_to_the_next_owner_whole_and_reads_do_not_wait() {
    let world = holding().await;
    let bodies = [b"a".to_vec(), vec![b'b'; 300_000], Vec::new()];
    let mut sent = Vec::new();
    for (n, body) in bodies.iter().enumerate() {
        sent.push(world.write(body.clone()));
        world.waiting(n + 1).await;
    }
    let put = world.client.put(world.url("/messages/7")).body("put");
    sent.push(send(put));
    world.waiting(4).await;
    assert_eq!(world.asked("/users/3/messages", "ada").await, "legacy");
    assert_eq!(from(&world.client.post(world.url("/other")).send().await.unwrap()), "legacy");
    assert!(world.by_context.by_context().is_empty(), "who waits is not on its way");

    world.put(Side::New, 2, None, false);
    for answer in sent {
        assert_eq!(from(&answer.await.unwrap()), "new");
    }
    let mut seen: Vec<Vec<u8>> = world.new.seen().iter().map(|s| s.body.to_vec()).collect();
    let mut expected = [bodies.as_slice(), &[b"put".to_vec()]].concat();
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
    assert_eq!(world.legacy.count(), 2, "the read and the undeclared write");
    assert!(world.by_context.waiting().is_empty());
}

#[tokio::test]
async fn a_cutover_that_is_given_up_lets_the_writes_go_on_to_the_owner() {
    let world = holding().await;
    let sent = world.write("hello");
    world.waiting(1).await;
    world.put(Side::Legacy, 1, None, false);
    assert_eq!(from(&sent.await.unwrap()), "legacy");
    assert_eq!((world.legacy.count(), world.new.count()), (1, 0));
}

/// A side that takes one connection after the other and writes down the bodies: what it has seen is the order in which the
/// proxy connected.
async fn in_order() -> (std::net::SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = seen.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let Some(request) = read_request(&mut stream).await else { continue };
            let body = request.split_once("\r\n\r\n").unwrap().1.to_owned();
            noted.lock().unwrap().push(body);
            let answer =
                "HTTP/1.1 200 OK\r\nx-from: new\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (address, seen)
}

#[tokio::test]
async fn who_came_first_is_forwarded_first_and_newcomers_do_not_overtake() {
    let (address, seen) = in_order().await;
    let world = World::with(Phase::Shadow, Side::Legacy, |config| {
        config.new.get_mut(&context()).unwrap().address = address.to_string();
        // One thread, so that the order of connections is the order of the steps.
        config.threads = 1;
    })
    .await;
    for epoch in 2..12 {
        world.put(Side::Legacy, 1, Some(epoch), true);
        let mut sent = Vec::new();
        for n in 0..6 {
            sent.push(world.write(n.to_string()));
            world.waiting(n + 1).await;
        }
        world.put(Side::New, epoch, None, false);
        // The table lets everybody go, but six wait.
        let late = world.write("late").await.unwrap();
        assert_eq!(from(&late), "new");
        for answer in sent {
            assert_eq!(from(&answer.await.unwrap()), "new");
        }
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        assert_eq!(seen, ["0", "1", "2", "3", "4", "5", "late"]);
    }
}

#[tokio::test]
async fn a_write_that_waits_too_long_is_refused_and_was_never_forwarded() {
    let world = World::with(Phase::New, Side::Legacy, |config| {
        config.hold.wait_max_ms = 40;
        config.access_log = AccessLog::All;
    })
    .await;
    world.put(Side::Legacy, 1, Some(2), true);
    let detail = is_not_let_through(world.write("late").await.unwrap()).await;
    assert_eq!(detail, "`messages` is being cut over; the write waited 40 ms");
    assert!(log::has(&["WARN", "message=a held write was refused", "context=messages"]));
    let line = ["message=request", "path=/messages", "status=503", "context=messages"];
    until("its line does not name the context", || log::has(&line)).await;
    world.put(Side::New, 2, None, false);
    assert_eq!(from(&world.write("next").await.unwrap()), "new");
    assert_eq!((world.legacy.count(), world.new.count()), (0, 1));
}

#[tokio::test]
async fn a_refused_write_does_not_pin_its_caller() {
    let world = World::with(Phase::New, Side::Legacy, |config| config.hold.wait_max_ms = 10).await;
    let state = ContextState {
        armed: Some(Epoch(2)),
        holding: true,
        ..ContextState::settled(Side::Legacy, Epoch(1), Stamp::default())
    };
    world.live.table.store(Arc::new(table_of(Phase::New, 8, state)));
    let write = world.client.post(world.url("/messages")).header("x-user", "ada");
    assert_eq!(send(write).await.unwrap().status(), 503);
    assert_eq!(world.asked("/users/3/messages", "ada").await, "new");
}

#[tokio::test]
async fn no_more_writes_wait_than_may_and_the_others_are_told_at_once() {
    let world = World::with(Phase::Shadow, Side::Legacy, |c| c.hold.requests_max = 2).await;
    world.put(Side::Legacy, 1, Some(2), true);
    let sent = [world.write("one"), world.write("two")];
    world.waiting(2).await;
    let detail = is_not_let_through(world.write("three").await.unwrap()).await;
    assert_eq!(detail, "2 writes wait for the cutover of `messages` already");
    world.put(Side::New, 2, None, false);
    for answer in sent {
        assert_eq!(from(&answer.await.unwrap()), "new");
    }
    assert_eq!(world.new.count(), 2);
}

#[tokio::test]
async fn a_client_that_leaves_while_it_is_held_is_never_forwarded() {
    let world = holding().await;
    let head = "POST /messages HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let http2 = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let second = tokio::spawn(http2.post(world.url("/messages")).body("h2").send());
    world.waiting(2).await;
    let stays = world.write("stays");
    world.waiting(3).await;
    drop(stream);
    world.waiting(2).await;
    second.abort();
    world.waiting(1).await;
    world.put(Side::New, 2, None, false);
    assert_eq!(from(&stays.await.unwrap()), "new");
    assert_eq!((world.legacy.count(), world.new.count()), (0, 1));
}

#[tokio::test]
async fn a_client_that_only_stops_sending_is_told() {
    let world = holding().await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let head = "POST /messages HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    stream.write_all(head.as_bytes()).await.unwrap();
    world.waiting(1).await;
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    drop(tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await);
    assert!(String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 503"));
    assert_eq!(world.legacy.count(), 0);
}

/// A side that greets each tunnel with its name.
async fn greeter(side: Side) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
                socket.send(Message::text(side.as_str())).await.unwrap();
                // Until the client has left.
                while let Some(Ok(_)) = socket.next().await {}
            });
        }
    });
    address
}

/// Opens a tunnel through the proxy and gives the greeting.
async fn greeted(world: &World) -> String {
    greeting(format!("ws://{}/users/3/messages", world.address)).await
}

async fn greeting(url: String) -> String {
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    socket.next().await.unwrap().unwrap().into_text().unwrap().to_string()
}

#[tokio::test]
async fn a_new_tunnel_waits_as_a_write_does() {
    let address = greeter(Side::New).await;
    let world = World::with(Phase::Shadow, Side::Legacy, |config| {
        config.new.get_mut(&context()).unwrap().address = address.to_string();
    })
    .await;
    world.put(Side::Legacy, 1, Some(2), true);
    let tunnel = tokio::spawn(greeting(format!("ws://{}/users/3/messages", world.address)));
    world.waiting(1).await;
    world.put(Side::New, 2, None, false);
    assert_eq!(tokio::time::timeout(PATIENCE, tunnel).await.unwrap().unwrap(), "new");
    assert_eq!(world.legacy.count(), 0);
}

#[tokio::test]
async fn writes_that_are_held_at_shutdown_are_released_or_told_and_never_cut() {
    let world = World::with(Phase::Shadow, Side::Legacy, |config| config.grace_ms = 400).await;
    world.put(Side::Legacy, 1, Some(2), true);
    let sent = world.write("one");
    world.waiting(1).await;
    world.shutdown.cancel();
    let detail = is_not_let_through(sent.await.unwrap()).await;
    assert_eq!(detail, "`messages` is being cut over and the proxy is shutting down");
    let drained = tokio::time::timeout(PATIENCE, world.run).await.unwrap().unwrap().unwrap();
    assert_eq!(drained.requests_cut, 0);
    assert_eq!((world.legacy.count(), world.new.count()), (0, 0));

    let world = holding().await;
    let sent = world.write("one");
    world.waiting(1).await;
    world.shutdown.cancel();
    until("it still welcomes requests", || !world.readiness.is_ready()).await;
    world.put(Side::New, 2, None, false);
    assert_eq!(from(&sent.await.unwrap()), "new");
}

#[tokio::test]
async fn cut_off_while_armed_a_proxy_stops_the_writes_of_that_context_only() {
    let world = World::with(Phase::Shadow, Side::Legacy, |config| {
        config.hold.wait_max_ms = 300;
        config.hold.lease_ms = 2_000;
    })
    .await;
    // Not armed: losing the store changes nothing, for however long.
    world.silence_ms.store(u64::MAX, Ordering::SeqCst);
    assert_eq!(from(&world.write("one").await.unwrap()), "legacy");
    world.put(Side::Legacy, 1, Some(2), false);
    world.silence_ms.store(2_000, Ordering::SeqCst);
    assert_eq!(from(&world.write("two").await.unwrap()), "legacy", "within the lease");

    world.silence_ms.store(2_001, Ordering::SeqCst);
    let held = world.write("three");
    world.waiting(1).await;
    assert_eq!(world.asked("/users/3/messages", "ada").await, "legacy");
    assert_eq!(from(&world.client.post(world.url("/other")).send().await.unwrap()), "legacy");
    let detail = is_not_let_through(held.await.unwrap()).await;
    assert_eq!(detail, "`messages` is being cut over and the proxy has lost its control store");
    let told = ["ERROR", "message=cut off from the control store", "contexts=messages"];
    until("nobody is told which context", || log::has(&told)).await;

    // The store is back and says what happened meanwhile.
    let held = world.write("four");
    world.waiting(1).await;
    world.put(Side::New, 2, None, false);
    world.silence_ms.store(0, Ordering::SeqCst);
    assert_eq!(from(&held.await.unwrap()), "new");
    let legacy: Vec<_> = world.legacy.seen().iter().map(|seen| seen.body.clone()).collect();
    assert!(!legacy.contains(&"three".into()) && !legacy.contains(&"four".into()));
}

#[tokio::test]
async fn writes_on_their_way_are_counted_exactly() {
    let world = World::start(Phase::Shadow).await;
    let waits = |n: usize| {
        let request = world.client.post(world.url("/messages")).body(n.to_string());
        send(request.header("x-do-legacy", "wait"))
    };
    let sent: Vec<_> = (0..20).map(waits).collect();
    world.legacy.arrivals(20).await;
    world.put(Side::Legacy, 1, Some(2), true);
    assert_eq!(world.on_their_way(), 20);
    let held = world.write("held");
    world.waiting(1).await;
    assert_eq!(world.on_their_way(), 20);
    for _ in 0..20 {
        world.legacy.release();
    }
    world.drained().await;
    for answer in sent {
        assert_eq!(from(&answer.await.unwrap()), "legacy");
    }
    world.put(Side::New, 2, None, false);
    assert_eq!(from(&held.await.unwrap()), "new");
}

#[tokio::test]
async fn a_slow_client_does_not_hold_up_the_drain_once_the_side_has_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let world = World::with(Phase::Shadow, Side::Legacy, |config| {
        config.legacy.address = address.to_string();
    })
    .await;
    for (answer, status) in [
        ("HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok", "201"),
        // Without a body, nothing but the head says that it is over.
        ("HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n", "201"),
        ("HTTP/1.1 204 No Content\r\n\r\n", "204"),
        ("HTTP/1.1 304 Not Modified\r\n\r\n", "304"),
    ] {
        let mut client = TcpStream::connect(world.address).await.unwrap();
        let half = "POST /messages HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nhi";
        client.write_all(half.as_bytes()).await.unwrap();
        let (mut side, _) = listener.accept().await.unwrap();
        assert_eq!(world.on_their_way(), 1, "{answer}");
        // The side answers before it has the whole body, which the client never sends.
        side.write_all(answer.as_bytes()).await.unwrap();
        let got = read_request(&mut client).await.unwrap();
        assert!(got.starts_with(&format!("HTTP/1.1 {status}")), "{got}");
        world.drained().await;
    }
}

/// The table changes after a request was decided by it and before it is let go.
#[tokio::test]
async fn what_was_decided_by_a_table_that_is_not_in_force_any_more_is_decided_anew() {
    let (legacy, new) = (greeter(Side::Legacy).await, greeter(Side::New).await);
    let tunnels = World::with(Phase::Shadow, Side::Legacy, |config| {
        config.legacy.address = legacy.to_string();
        config.new.get_mut(&context()).unwrap().address = new.to_string();
    })
    .await;
    let writes = World::start(Phase::Shadow).await;
    // Several rounds, because the proxy's own look at the store's silence can take the place of the request's.
    for epoch in 2..6 {
        for world in [&tunnels, &writes] {
            world.put(Side::Legacy, epoch - 1, Some(epoch), false);
            let moved = ContextState::settled(Side::New, Epoch(epoch), Stamp::default());
            let (table, moved) = (world.live.table.clone(), world.next(moved));
            let act = Box::new(move || table.store(moved));
            *world.between_looks.lock().unwrap() = Some(act);
        }
        let tunnel = tokio::time::timeout(PATIENCE, greeted(&tunnels)).await.unwrap();
        let write = from(&writes.write("hello").await.unwrap());
        assert_eq!((tunnel.as_str(), write.as_str()), ("new", "new"));
    }
    assert_eq!(writes.legacy.count(), 0);
}

/// The promise that a cutover stands on: once the holding table is in force and the count is zero, no write reaches the
/// side that is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_nothing_reaches_a_side_after_it_was_drained() {
    let world = Arc::new(World::start(Phase::Shadow).await);
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..6)
        .map(|client| {
            let (world, stop, answered) = (world.clone(), stop.clone(), answered.clone());
            tokio::spawn(async move {
                let mut sent = 0;
                while !stop.load(Ordering::SeqCst) {
                    let body = format!("{client}-{sent}");
                    let answer = world.client.post(world.url("/messages")).body(body);
                    assert_eq!(answer.send().await.unwrap().status(), 200);
                    answered.fetch_add(1, Ordering::SeqCst);
                    sent += 1;
                }
                sent
            })
        })
        .collect();
    let sides = [(&world.legacy, Side::New), (&world.new, Side::Legacy)];
    for epoch in 2..22 {
        let (left, next) = sides[usize::try_from(epoch % 2).unwrap()];
        let goal = answered.load(Ordering::SeqCst) + 20;
        until("no write is answered", || answered.load(Ordering::SeqCst) >= goal).await;
        world.put(next.other(), epoch - 1, Some(epoch), true);
        world.drained().await;
        let before = left.count();
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(left.count(), before, "epoch {epoch}: a write after the drain");
        world.put(next, epoch, None, false);
    }
    stop.store(true, Ordering::SeqCst);
    let mut sent = 0;
    for client in clients {
        sent += client.await.unwrap();
    }
    let seen = [world.legacy.seen(), world.new.seen()].concat();
    let mut bodies: Vec<_> = seen.iter().map(|seen| seen.body.clone()).collect();
    bodies.sort();
    bodies.dedup();
    assert_eq!((bodies.len(), seen.len()), (sent, sent), "each write once");
}

#[tokio::test]
async fn a_keep_alive_connection_goes_on_after_a_held_write() {
    let world = holding().await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let write = "POST /messages HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    stream.write_all(write.as_bytes()).await.unwrap();
    world.waiting(1).await;
    world.put(Side::New, 2, None, false);
    // An answer is framed as a request is.
    let first = read_request(&mut stream).await.unwrap();
    assert!(first.starts_with("HTTP/1.1 200") && first.contains("x-from: new"), "{first}");
    let read = "GET /users/3/messages HTTP/1.1\r\nHost: a\r\n\r\n";
    stream.write_all(read.as_bytes()).await.unwrap();
    let second = read_request(&mut stream).await.unwrap();
    assert!(second.contains("x-from: legacy"), "{second}");
}
