//! WebSocket and HTTP/2.

use crate::support::{World, from, read_request};
use banyan_domain::{Phase, Side};
use banyan_proxy::ListenTls;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

/// A server that greets with its side and echoes.
async fn echo(side: Side) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
                socket.send(Message::text(side.as_str())).await.unwrap();
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_text() {
                        socket.send(message).await.unwrap();
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_websocket_goes_to_the_owner_and_is_neither_copied_nor_counted_as_a_write() {
    let legacy = echo(Side::Legacy).await;
    let world = World::with(Phase::New, Side::Legacy, |config| {
        config.legacy.address = legacy.to_string();
    })
    .await;
    for path in ["/users/3/messages", "/cable"] {
        let url = format!("ws://{}{path}", world.address);
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap().into_text().unwrap(), "legacy");
        for word in ["one", "two", "three"] {
            socket.send(Message::text(word)).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap().into_text().unwrap(), word);
        }
        world.settled().await;
        socket.close(None).await.unwrap();
    }
    assert!(world.recorder.offered().is_empty() && world.recorder.skipped().is_empty());
    assert_eq!(world.new.count(), 0);
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_decided_like_http1() {
    let world = World::start(Phase::New).await;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    for _ in 0..3 {
        let request = client.get(world.url("/users/3/messages?page=1"));
        let answer =
            request.header("cookie", "a=1").header("cookie", "uid=2").send().await.unwrap();
        assert_eq!(answer.version(), reqwest::Version::HTTP_2);
        assert_eq!(from(&answer), "new");
    }
    let written = client.post(world.url("/messages")).body("hello").send().await.unwrap();
    assert_eq!(from(&written), "legacy");
    let seen = world.new.seen();
    assert_eq!(seen[0].headers["host"], world.address.to_string().as_str());
    assert_eq!(seen[0].headers["cookie"], "a=1; uid=2");
    assert_eq!(world.legacy.seen()[0].body.as_ref(), b"hello");
    world.recorder.handed_over(3).await;
    let exchange = world.recorder.offered().remove(0);
    assert!(exchange.request_headers.iter().any(|(name, _)| name == "host"));
}

#[tokio::test]
async fn tls_offers_http2_by_alpn_and_tells_the_scheme() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/life");
    let world = World::with(Phase::Legacy, Side::Legacy, |config| {
        config.listen[0].tls =
            Some(ListenTls { cert: dir.join("test-cert.pem"), key: dir.join("test-key.pem") });
    })
    .await;
    let url = format!("https://{}/a", world.address);
    for (builder, version) in [
        (reqwest::Client::builder(), reqwest::Version::HTTP_2),
        (reqwest::Client::builder().http1_only(), reqwest::Version::HTTP_11),
    ] {
        let client = builder.no_proxy().tls_danger_accept_invalid_certs(true).build().unwrap();
        let answer = client.get(&url).send().await.unwrap();
        assert_eq!(answer.version(), version);
        assert_eq!(from(&answer), "legacy");
    }
    assert_eq!(world.legacy.seen()[0].headers["x-forwarded-proto"], "https");
}

#[tokio::test]
async fn an_upgrade_to_anything_else_is_an_ordinary_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let world =
        World::with(Phase::Legacy, Side::Legacy, |config| config.legacy.address = address).await;
    let seen = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await
    });
    let request = "GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n";
    let asked = world.raw(request);
    let (seen, _) = tokio::join!(seen, asked);
    assert!(!seen.unwrap().unwrap().to_lowercase().contains("upgrade"));
}
