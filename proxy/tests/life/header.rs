//! Headers on the way to a side and back.

use crate::support::{World, from};
use banyan_domain::{Phase, Side};
use banyan_proxy::HostPolicy;

#[tokio::test]
async fn a_side_learns_client_scheme_host_and_hops_and_no_hop_by_hop_header() {
    let world = World::start(Phase::Legacy).await;
    let request = "GET /a HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-For: 8.8.8.8\r\nX-Request-Id: r-1\r\n\
                   traceparent: 00-1-2-01\r\nKeep-Alive: 5\r\nX-Secret: s\r\nx-banyan-side: new\r\n\
                   Connection: close, x-secret\r\n\r\n";
    assert!(world.raw(request).await.starts_with("HTTP/1.1 200"));
    let seen = world.legacy.seen();
    let header = |name: &str| seen[0].headers.get(name).map(|v| v.to_str().unwrap());
    assert_eq!(header("host"), Some("shop.example"));
    assert_eq!(header("x-forwarded-for"), Some("8.8.8.8, 127.0.0.1"));
    assert_eq!(header("x-forwarded-proto"), Some("http"));
    assert_eq!(header("x-forwarded-host"), Some("shop.example"));
    assert_eq!(header("x-request-id"), Some("r-1"));
    assert_eq!(header("traceparent"), Some("00-1-2-01"));
    assert_eq!(header("x-banyan-hops"), Some("1"));
    for gone in ["keep-alive", "x-secret", "x-banyan-side", "connection"] {
        assert_eq!(header(gone), None, "{gone}");
    }
}

#[tokio::test]
async fn a_request_that_came_back_three_times_ends_with_508() {
    let world = World::start(Phase::Legacy).await;
    let with = |hops: &str| world.get("/a").header("x-banyan-hops", hops).send();
    assert_eq!(with("2").await.unwrap().status(), 200);
    assert_eq!(with("3").await.unwrap().status(), 508);
    assert_eq!(with("many").await.unwrap().status(), 508);
    assert_eq!(world.legacy.seen()[0].headers["x-banyan-hops"], "3");
    assert_eq!(world.legacy.count(), 1);
}

#[tokio::test]
async fn a_proxy_that_points_at_itself_answers_508() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let world = World::with(Phase::Legacy, Side::Legacy, |config| {
        config.listen[0].addr.clone_from(&address);
        config.legacy.address.clone_from(&address);
    })
    .await;
    assert_eq!(world.get("/a").send().await.unwrap().status(), 508);
}

#[tokio::test]
async fn the_side_is_shown_only_when_asked_for() {
    let world = World::start(Phase::New).await;
    let answer = world.get("/users/3/messages").send().await.unwrap();
    assert!(answer.headers().get("x-banyan-side").is_none());
    let world = World::with(Phase::New, Side::Legacy, |c| c.expose_side = true).await;
    let answer = world.get("/users/3/messages").send().await.unwrap();
    assert_eq!(answer.headers()["x-banyan-side"], "new");
}

#[tokio::test]
async fn only_authorised_testers_force_a_side() {
    let wish = |world: &World, value: &str| {
        let request = world.get("/users/3/messages").header("x-banyan-side", value);
        async { from(&request.send().await.unwrap()) }
    };
    let nobody = World::start(Phase::Legacy).await;
    assert_eq!(wish(&nobody, "new").await, "legacy");
    let local = World::with(Phase::Legacy, Side::Legacy, |config| {
        config.force.networks = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    assert_eq!(wish(&local, "new").await, "new");
    let cookie = local.get("/users/3/messages").header("cookie", "banyan_side=new");
    assert_eq!(from(&cookie.send().await.unwrap()), "new");
    let signed = World::with(Phase::Legacy, Side::Legacy, |config| {
        config.force.secret = Some("s".to_owned());
    })
    .await;
    assert_eq!(wish(&signed, "new").await, "legacy");
    let token = banyan_proxy::sign_side("s", Side::New, u64::MAX);
    assert_eq!(wish(&signed, &token).await, "new");
    let written = signed.client.post(signed.url("/messages")).header("x-banyan-side", &token);
    assert_eq!(from(&written.send().await.unwrap()), "legacy");
}

#[tokio::test]
async fn host_and_header_limits_follow_the_configuration() {
    let world = World::with(Phase::Legacy, Side::Legacy, |config| {
        config.legacy.host = HostPolicy::Fixed("mothership.internal".to_owned());
        config.limit.header_bytes_max = 2_000;
    })
    .await;
    let large = world.get("/a").header("x-large", "x".repeat(3_000)).send().await.unwrap();
    assert_eq!(large.status(), 431);
    assert_eq!(world.get("/a").send().await.unwrap().status(), 200);
    let seen = world.legacy.seen();
    assert_eq!(seen[0].headers["host"], "mothership.internal");
    assert_eq!(seen[0].headers["x-forwarded-host"], world.address.to_string().as_str());
}

#[tokio::test]
async fn an_upstream_named_by_a_host_name_is_resolved() {
    let world = World::with(Phase::Legacy, Side::Legacy, |config| {
        let port = config.legacy.address.rsplit(':').next().unwrap().to_owned();
        config.legacy.address = format!("localhost:{port}");
        config.legacy.connect_timeout_ms = 500;
    })
    .await;
    // `localhost` may stand for ::1 as well, where nobody listens: that must not fail a write either.
    for _ in 0..4 {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        assert_eq!(client.post(world.url("/a")).body("x").send().await.unwrap().status(), 200);
    }
    assert_eq!(world.legacy.count(), 4);
}
