use super::*;
use crate::SkipReason;
use crate::ask::Failure;
use crate::fixture::exchange;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A side that notes the head of one request and answers with these bytes.
async fn raw_side(answer: &'static [u8]) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = read_head(&mut stream).await;
        stream.write_all(answer).await.unwrap();
        head
    });
    (url, task)
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

fn ask(legacy_url: &str, timeout_ms: u64) -> HttpAsk {
    HttpAsk::new(&HttpConfig {
        legacy_url: legacy_url.into(),
        new_urls: BTreeMap::new(),
        connect_timeout_ms: 1_000,
        timeout_ms,
        body_bytes_max: 100_000,
    })
    .unwrap()
}

async fn get(ask: &HttpAsk, target: &str, headers: &[(&str, &str)]) -> Result<Answer, AskError> {
    let mut exchange = exchange("messages.list", target);
    let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec()));
    exchange.request_headers = headers.collect();
    let request = MirrorRequest::of(&exchange).unwrap();
    ask.ask(&exchange.context, Side::Legacy, &request).await
}

#[tokio::test]
async fn the_request_goes_out_as_it_came_in() {
    let (url, side) = raw_side(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let target = "/users/3/messages?page=2&q=%2F%c3%A4+x&empty=&&=a;b|~!$()*,:@[]^\\";
    let headers = [
        ("host", "api.example"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, br"),
        ("x-a", "1"),
        ("x-a", "2"),
        ("authorization", "OAuth 3-f"),
    ];
    let answer = get(&ask(&url, 5_000), target, &headers).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (200, &b"ok"[..]));
    let head = side.await.unwrap();
    assert!(head.starts_with(&format!("GET {target} HTTP/1.1\r\n")), "{head}");
    for (name, value) in headers {
        assert!(head.contains(&format!("{name}: {value}\r\n")), "{name} in {head}");
    }
    assert_eq!(head.matches("host:").count(), 1, "{head}");
    assert!(head.contains("x-banyan-shadow: 1\r\n") && head.contains("x-banyan-hops: 1\r\n"));
    assert!(!head.contains("user-agent") && !head.contains("referer"), "{head}");
}

#[tokio::test]
async fn targets_that_the_library_would_rewrite_are_refused() {
    let ask = ask("http://127.0.0.1:9", 1_000);
    let rewritten = [
        "/a/../b",
        "/a/%2e%2E/b",
        "/a/./b",
        "/ä",
        "/a b",
        "/a\"",
        "/a?q='",
        "/a?q=ä",
        "/a#b",
        "/a{b}",
        "/a\\b",
        "/a\tb",
        "//host/../b",
    ];
    for target in rewritten {
        let result = get(&ask, target, &[]).await;
        assert_eq!(result.unwrap_err(), AskError::InexactTarget, "{target}");
    }
    let failure = AskError::InexactTarget.failure();
    assert_eq!(failure, Failure::Skip(SkipReason::InexactTarget));
}

#[tokio::test]
async fn a_redirect_is_an_answer_cookies_are_not_kept_and_nothing_is_decoded() {
    let (url, side) = raw_side(
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
          Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x00",
    )
    .await;
    let answer = get(&ask(&url, 5_000), "/", &[]).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (302, &b"\x1f\x8b\x00"[..]));
    let cookies = answer.headers.iter().filter(|(name, _)| name == "set-cookie").count();
    assert_eq!(cookies, 2, "repeated headers stay repeated");
    assert!(
        answer.headers.iter().any(|(name, value)| name == "content-encoding" && value == b"gzip")
    );
    side.await.unwrap();
}

#[tokio::test]
async fn an_endless_body_is_given_up_at_the_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let side = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let mut sent = 0_u64;
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {
            sent += 4096;
        }
        sent
    });
    assert_eq!(get(&ask(&url, 30_000), "/", &[]).await, Err(AskError::TooLarge));
    // The connection is closed: the side's writing ends.
    side.await.unwrap();
    assert_eq!(AskError::TooLarge.failure(), Failure::Inconclusive("body_too_large"));
}

#[tokio::test]
async fn a_side_that_never_answers_times_out_and_a_dead_one_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    assert_eq!(get(&ask(&url, 50), "/", &[]).await, Err(AskError::Timeout));
    drop(listener);
    assert_eq!(get(&ask(&url, 5_000), "/", &[]).await, Err(AskError::Unreachable));
}

#[tokio::test]
async fn a_context_without_address_has_no_target() {
    let exchange = exchange("messages.list", "/");
    let request = MirrorRequest::of(&exchange).unwrap();
    let ask = ask("http://127.0.0.1:9", 50);
    let result = ask.ask(&exchange.context, Side::New, &request).await;
    assert_eq!(result, Err(AskError::NoTarget));
}

#[test]
fn a_base_url_must_be_plain() {
    for bad in ["", "localhost:3000", "http://a/b", "http://a?b", "http://u:p@a", "ftp://a"] {
        let error = base(bad).unwrap_err();
        assert!(error.to_string().contains("http://host:port"), "{bad}: {error}");
    }
    assert!(base("http://127.0.0.1:3000").is_ok() && base("https://a.example/").is_ok());
}
