//! The whole path against two real HTTP servers.

use super::*;
use crate::{HttpConfig, SystemClock};
use axum::extract::Request;
use axum::http::header::SET_COOKIE;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use banyan_domain::ContextName;
use serde_json::json;
use std::sync::Mutex;

async fn side(answer: impl Fn(&Request) -> Response + Clone + Send + Sync + 'static) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(move |request: Request| std::future::ready(answer(&request)));
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

fn exchange(target: &str, body: &serde_json::Value) -> Exchange {
    let answer = crate::fixture::json(200, body.to_string());
    let mut exchange = served(LIST, target, Side::Legacy, answer, 1);
    exchange.request_headers = vec![
        ("Host".into(), b"api.example".to_vec()),
        ("Authorization".into(), b"OAuth 3-topsecret".to_vec()),
        ("Accept".into(), b"application/json".to_vec()),
    ];
    exchange
}

#[tokio::test]
async fn reads_are_mirrored_rechecked_and_tallied_over_http() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let heads = seen.clone();
    let new_url = side(move |request| {
        let header = |name: &str| {
            let value = request.headers().get(name);
            value.map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        let head = ["host", "authorization", "x-banyan-shadow", "cookie"].map(header);
        heads.lock().unwrap().push((request.uri().to_string(), head));
        let total = if request.uri().path() == "/wrong" { 5 } else { 4 };
        ([(SET_COOKIE, "a=b")], Json(json!({ "total": total }))).into_response()
    })
    .await;
    let legacy_url = side(|_| Json(json!({ "total": 4 })).into_response()).await;
    let mut config = config();
    let context = ContextName::new("messages").unwrap();
    config.http = HttpConfig {
        legacy_url,
        new_urls: [(context, new_url)].into_iter().collect(),
        ..config.http
    };
    config.rules = config.rules.with([
        banyan_diff::Rule::ignore("header:set-cookie", "test").unwrap(),
        banyan_diff::Rule::ignore("cookie:a", "test").unwrap(),
    ]);
    config.endpoints.clear();
    config.recheck.settle.delays_ms = vec![10, 20, 40];
    config.flush_ms = 10;
    let store = Arc::new(MemoryStore::default());
    let mut ports = ports(&store, &VirtualClock::start());
    ports.clock = Arc::new(SystemClock);
    let (handle, shadow) = Shadow::start(config, &ports, CancellationToken::new()).unwrap();
    handle.offer(exchange("/users/3/messages?page=%32", &json!({ "total": 4 })));
    handle.offer(exchange("/wrong", &json!({ "total": 4 })));
    handle.offer(exchange("/a/../b", &json!({ "total": 4 })));
    while store.total() < 3 {
        store.saved.notified().await;
    }
    shadow.stop().await;
    let outcomes = list(&store);
    let words: Vec<_> =
        outcomes.iter().map(|(outcome, reason, _)| format!("{outcome}:{reason}")).collect();
    assert_eq!(words, ["match_normalised:", "mismatch:value", "skipped:inexact_target"]);
    let seen = seen.lock().unwrap();
    let expected = ["api.example", "OAuth 3-topsecret", "1", ""].map(str::to_owned);
    assert!(seen.iter().any(|(uri, _)| uri == "/users/3/messages?page=%32"), "{seen:?}");
    assert!(seen.iter().all(|(_, head)| *head == expected), "no cookie comes back: {seen:?}");
}
