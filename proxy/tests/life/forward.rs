//! Where requests go.

use crate::support::{World, canary, from, table};
use banyan_domain::{Mirror, Outcome, Phase, RequestHead, Side, bucket, decide};

#[tokio::test]
async fn reads_follow_their_phase_and_everything_else_goes_to_legacy() {
    let world = World::start(Phase::Legacy).await;
    for (phase, side) in [
        (Phase::Legacy, "legacy"),
        (Phase::Shadow, "legacy"),
        (canary(0), "legacy"),
        (canary(100), "new"),
        (Phase::New, "new"),
        (Phase::Retired, "new"),
        (Phase::Legacy, "legacy"),
    ] {
        world.flip(phase);
        assert_eq!(world.asked("/users/3/messages?page=2", "ada").await, side, "{phase}");
        assert_eq!(world.asked("/messages/91.json", "ada").await, side, "{phase}");
        assert_eq!(world.asked("/tracks/7", "ada").await, "legacy", "{phase}");
        let written = world.client.post(world.url("/messages")).body("x").send().await.unwrap();
        assert_eq!(from(&written), "legacy", "{phase}");
    }
}

#[tokio::test]
async fn writes_go_to_the_owner_whatever_the_phase() {
    let world = World::with(Phase::Legacy, Side::New, |_| {}).await;
    let written = world.client.delete(world.url("/messages/9")).send().await.unwrap();
    assert_eq!(from(&written), "new");
    assert_eq!(world.asked("/messages/9", "ada").await, "legacy");
}

#[tokio::test]
async fn a_canary_keeps_each_caller_on_the_side_of_its_bucket() {
    let world = World::start(canary(30)).await;
    for user in 0..40 {
        let user = format!("user-{user}");
        let new = bucket("messages.list", &user).get() < 30;
        for _ in 0..2 {
            let side = world.asked("/users/3/messages", &user).await;
            assert_eq!(side, if new { "new" } else { "legacy" }, "{user}");
        }
    }
    world.flip(canary(60));
    for user in 0..40 {
        let user = format!("user-{user}");
        let new = bucket("messages.list", &user).get() < 60;
        let side = world.asked("/users/3/messages", &user).await;
        assert_eq!(side, if new { "new" } else { "legacy" }, "{user}");
    }
}

#[tokio::test]
async fn a_request_goes_where_decide_says() {
    let world = World::start(canary(50)).await;
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    let paths = [
        "/",
        "/messages",
        "/messages/1",
        "/messages/1.json",
        "/messages/1/",
        "/messages/1/read",
        "/users/3/messages",
        "/users/3/messages?x=/../..",
        "/users/%33/messages",
        "/users/3//messages",
        "/users/3/./messages",
        "/users/x/../3/messages",
        "/users%2F3/messages",
        "/Users/3/Messages",
        "/users/3/messages;a=b",
        "/tracks//1",
        "/tracks/../1",
    ];
    let mut pass = 0;
    for phase in [Phase::Legacy, Phase::Shadow, canary(50), Phase::New, Phase::Retired] {
        world.flip(phase);
        let table = table(phase, Side::Legacy);
        for (method, path) in methods.iter().flat_map(|m| paths.iter().map(move |p| (*m, *p))) {
            pass += 1;
            let user = format!("user-{pass}");
            let headers = vec![("x-user".to_owned(), user.clone())];
            let raw_path = path.split('?').next().unwrap();
            let head = RequestHead {
                method,
                path: raw_path.as_bytes(),
                headers: &headers,
                address: "127.0.0.1",
                upgrade: false,
                forced: None,
                sample: 0,
            };
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: a\r\nx-user: {user}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            let before = (world.legacy.count(), world.new.count());
            let answer = world.raw(&request).await;
            let went = (world.legacy.count() - before.0, world.new.count() - before.1);
            let case = format!("{phase} {method} {path}: {answer}");
            match decide(&table, &head, &|_, _| false) {
                Outcome::Refuse(_) => {
                    assert!(answer.starts_with("HTTP/1.1 400"), "{case}");
                    assert_eq!(went, (0, 0), "{case}");
                }
                Outcome::Route(decision) => {
                    let expected = match decision.side {
                        Side::Legacy => (1, 0),
                        Side::New => (0, 1),
                    };
                    assert_eq!(went, expected, "{case}");
                    world.settled().await;
                    let mirrored = world.recorder.offered().len();
                    let planned = matches!(decision.mirror, Mirror::To(_));
                    assert_eq!(mirrored, usize::from(planned), "{case}");
                }
            }
            world.recorder.forget();
        }
    }
}

#[tokio::test]
async fn a_context_without_a_service_is_answered_by_legacy_or_502() {
    let world = World::with(Phase::New, Side::Legacy, |config| config.new.clear()).await;
    let answer = world.get("/users/3/messages").send().await.unwrap();
    assert_eq!(from(&answer), "legacy");
    assert_eq!(answer.headers()["x-banyan-fallback"], "legacy");
    let answer = world.get("/users/3/strict").send().await.unwrap();
    assert_eq!(answer.status(), 502);
    let body: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(body["fault"], "new");
    assert_eq!(body["retry_safe"], true);
}
