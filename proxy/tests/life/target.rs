//! Targets and methods that servers read differently: no way around the table.

use crate::support::{World, from, raw};
use banyan_domain::Phase;

async fn status(world: &World, request_line: &str) -> String {
    let request = format!("{request_line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let answer = world.raw(&request).await;
    answer.split(' ').nth(1).unwrap_or("none").to_owned()
}

#[tokio::test]
async fn odd_forms_of_a_declared_path_are_refused_with_400_and_reach_no_side() {
    let world = World::start(Phase::Retired).await;
    for target in [
        "//users/3/messages",
        "/users//3/messages",
        "/users/3/./messages",
        "/x/../users/3/messages",
        "/x/%2e%2e/users/3/messages",
        "/users%2F3/messages",
        "/users%2f3%2fmessages",
        "/users%252F3/messages",
        "/users/3/messages%00",
        "/users/3\\messages",
        "/users/3/messages;jsessionid=1",
        "/Users/3/messages",
        "/USERS/3/MESSAGES",
        "users/3/messages",
        "\\users\\3\\messages",
        "http://a//users/3/messages",
        "ftp://a/users/3/messages",
    ] {
        assert_eq!(status(&world, &format!("GET {target}")).await, "400", "{target}");
    }
    // Bytes that are no UTF-8 keep the fragment in the target that would go out.
    for target in
        [&b"/users/3/messages#\xff"[..], b"/users/3/\xff/../messages", b"/users/3/messages/\xff/.."]
    {
        let request =
            [b"GET ", target, b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"].concat();
        let answer = raw(world.address, &request).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{target:?}: {answer}");
    }
    assert_eq!((world.legacy.count(), world.new.count()), (0, 0));
}

#[tokio::test]
async fn odd_forms_of_other_paths_reach_legacy_byte_by_byte() {
    let world = World::start(Phase::Retired).await;
    let targets = ["//tracks//1", "/tracks/%2e%2e/x", "/a%2Fb?c=%2F..", "/a;b=1", "/TRACKS/1"];
    for target in targets {
        assert_eq!(status(&world, &format!("GET {target}")).await, "200", "{target}");
    }
    let seen: Vec<String> = world.legacy.seen().into_iter().map(|s| s.target).collect();
    assert_eq!(seen, targets);
}

#[tokio::test]
async fn an_absolute_form_or_a_fragment_is_decided_and_forwarded_by_its_path() {
    let world = World::start(Phase::Retired).await;
    assert_eq!(status(&world, "GET http://a/users/3/messages?page=2").await, "200");
    assert_eq!(status(&world, "GET http://a").await, "200");
    assert_eq!(status(&world, "GET /users/3/messages#fragment").await, "200");
    assert_eq!(world.new.seen()[0].target, "/users/3/messages?page=2");
    assert_eq!(world.new.seen()[1].target, "/users/3/messages");
    assert_eq!(world.legacy.seen()[0].target, "/");
}

#[tokio::test]
async fn a_duplicate_or_contradicting_host_is_refused() {
    let world = World::start(Phase::Legacy).await;
    for request in [
        "GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n",
        "GET http://b/a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET /a HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let answer = world.raw(request).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{request} -> {answer}");
    }
    assert_eq!(world.legacy.count(), 0);
}

#[tokio::test]
async fn a_method_override_is_classified_as_what_the_application_will_do() {
    let world = World::start(Phase::New).await;
    let post = |path: &str, real: &str| {
        let request = world.client.post(world.url(path)).header("x-http-method-override", real);
        async { request.body("x").send().await.unwrap() }
    };
    assert_eq!(from(&post("/messages/1", "PUT").await), "legacy");
    assert_eq!(from(&post("/messages/1", "delete").await), "legacy");
    for read in ["GET", "HEAD", "TRACE", "PUT,DELETE"] {
        let answer = post("/messages/1", read).await;
        assert_eq!(answer.status(), 400, "{read}");
        let body: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(body["fault"], "client");
    }
    assert_eq!(post("/tracks/1", "GET").await.status(), 200);
    let form = world.client.post(world.url("/messages/1"));
    let form = form.header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(from(&form.body("_method=delete").send().await.unwrap()), "legacy");
    assert_eq!(world.new.count(), 0);
}

#[tokio::test]
async fn refusals_are_counted_by_reason() {
    let world = World::start(Phase::Legacy).await;
    assert_eq!(status(&world, "GET /users/3/x/../messages").await, "400");
    let families = prometheus::gather();
    let refused = families.iter().find(|f| f.get_name() == "banyan_proxy_refused_total").unwrap();
    let labels = |m: &prometheus::proto::Metric| m.get_label()[0].get_value().to_owned();
    assert!(refused.get_metric().iter().any(|m| labels(m) == "dot segment"));
}
