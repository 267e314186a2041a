//! Copies for shadow: complete, bounded, never in the client's way.

use crate::support::{World, canary, from};
use banyan_domain::{Phase, Side};
use banyan_shadow::SkipReason;

#[tokio::test]
async fn a_shadowed_read_is_handed_over_whole_after_the_answer() {
    let world = World::start(Phase::Shadow).await;
    let request = world.get("/users/3/messages?page=2").header("x-user", "ada");
    let answer = request.header("cookie", "uid=1").send().await.unwrap();
    let body = answer.bytes().await.unwrap();
    world.recorder.handed_over(1).await;
    let exchange = world.recorder.offered().remove(0);
    assert_eq!(exchange.endpoint.as_str(), "messages.list");
    assert_eq!((exchange.served_by, exchange.mirror_to), (Side::Legacy, Side::New));
    assert_eq!(exchange.generation.0, 7);
    assert_eq!((&*exchange.method, &*exchange.path_and_query), ("GET", "/users/3/messages?page=2"));
    assert_eq!((exchange.served.status, &exchange.served.body), (200, &body));
    let sent = |name: &str| exchange.request_headers.iter().find(|(n, _)| n == name);
    assert_eq!(sent("x-user").unwrap().1, b"ada");
    assert_eq!(sent("cookie").unwrap().1, b"uid=1");
    assert_eq!(sent("host").unwrap().1, world.address.to_string().as_bytes());
    assert!(exchange.served.headers.contains(&("x-from".to_owned(), b"legacy".to_vec())));
    assert_eq!(world.new.count(), 0);
}

#[tokio::test]
async fn each_phase_plans_the_other_side_and_writes_and_heads_plan_none() {
    let world = World::start(Phase::Legacy).await;
    for (phase, mirror) in [
        (Phase::Legacy, None),
        (Phase::Shadow, Some(Side::New)),
        (canary(100), Some(Side::Legacy)),
        (canary(0), Some(Side::New)),
        (Phase::New, Some(Side::Legacy)),
        (Phase::Retired, None),
    ] {
        world.flip(phase);
        world.asked("/users/3/messages", "ada").await;
        world.client.head(world.url("/users/3/messages")).send().await.unwrap();
        world.client.put(world.url("/messages/1")).body("x").send().await.unwrap();
        world.asked("/tracks/1", "ada").await;
        world.settled().await;
        let planned: Vec<Side> = world.recorder.offered().iter().map(|e| e.mirror_to).collect();
        assert_eq!(planned, Vec::from_iter(mirror), "{phase}");
        world.recorder.forget();
    }
}

#[tokio::test]
async fn an_answer_above_the_limit_is_skipped_counted_and_reaches_the_client_whole() {
    let world = World::with(Phase::Shadow, Side::Legacy, |c| c.tee.answer_bytes_max = 1_000).await;
    for (bytes, expected) in
        [("1001", SkipReason::BodyTooLarge), ("5000000", SkipReason::BodyTooLarge)]
    {
        let request = world.get("/messages/1").header("x-do-legacy", format!("bytes {bytes}"));
        let body = request.send().await.unwrap().bytes().await.unwrap();
        assert_eq!(body.len().to_string(), bytes);
        world.recorder.handed_over(1).await;
        assert_eq!(world.recorder.skipped(), [expected]);
        world.recorder.forget();
    }
    let request = world.get("/messages/1").header("x-do-legacy", "bytes 1000");
    assert_eq!(request.send().await.unwrap().bytes().await.unwrap().len(), 1_000);
    world.recorder.handed_over(1).await;
    assert_eq!(world.recorder.offered()[0].served.body.len(), 1_000);
}

#[tokio::test]
async fn copies_together_stay_within_their_budget_until_shadow_lets_go() {
    let world = World::with(Phase::Shadow, Side::Legacy, |c| c.tee.total_bytes_max = 25_000).await;
    let ask = || async {
        let request = world.get("/messages/1").header("x-do-legacy", "bytes 10000");
        assert_eq!(request.send().await.unwrap().bytes().await.unwrap().len(), 10_000);
        world.settled().await;
    };
    for _ in 0..4 {
        ask().await;
    }
    assert_eq!(world.recorder.offered().len(), 2);
    assert_eq!(world.recorder.skipped(), [SkipReason::TeeBudget; 2]);
    world.recorder.forget();
    ask().await;
    assert_eq!(world.recorder.offered().len(), 1);
}

#[tokio::test]
async fn answers_that_say_nothing_about_the_side_are_skipped() {
    let world = World::start(Phase::Shadow).await;
    let not_modified = world.get("/messages/1").header("x-do-legacy", "status 304");
    assert_eq!(not_modified.send().await.unwrap().status(), 304);
    world.recorder.handed_over(1).await;
    let cut = world.get("/messages/1").header("x-do-legacy", "cut");
    let cut = cut.send().await.unwrap();
    world.legacy.release();
    assert!(cut.bytes().await.is_err());
    world.recorder.handed_over(2).await;
    let with_body = world.get("/messages/1").body("odd");
    assert_eq!(with_body.send().await.unwrap().status(), 200);
    world.recorder.handed_over(3).await;
    assert_eq!(
        world.recorder.skipped(),
        [SkipReason::ConditionalOrRange, SkipReason::ServedFailed, SkipReason::UnsafeMethod]
    );
}

#[tokio::test]
async fn a_dead_new_side_changes_nothing_for_the_clients_of_a_shadowed_endpoint() {
    let world = World::with(Phase::Shadow, Side::Legacy, |config| config.new.clear()).await;
    for _ in 0..20 {
        let answer = world.get("/users/3/messages").send().await.unwrap();
        assert_eq!(from(&answer), "legacy");
        assert!(answer.headers().get("x-banyan-fallback").is_none());
    }
    world.recorder.handed_over(20).await;
}

#[tokio::test]
async fn a_request_that_no_endpoint_covers_is_told_with_its_answer() {
    let world = World::start(Phase::Shadow).await;
    world.asked("/tracks/1?page=2", "ada").await;
    world.client.post(world.url("/session")).body("x").send().await.unwrap();
    world.asked("/users/3/messages", "ada").await;
    let told = world.recorder.undeclared(2).await;
    let mut targets: Vec<(&str, &str, u16)> =
        told.iter().map(|r| (r.method.as_str(), r.target.as_str(), r.status)).collect();
    targets.sort_unstable();
    assert_eq!(targets, [("GET", "/tracks/1?page=2", 200), ("POST", "/session", 200)]);
}
