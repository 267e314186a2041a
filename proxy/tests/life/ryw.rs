//! Read-your-writes: a caller's own write is never missed because the sync lags.

use crate::support::{World, from};
use banyan_domain::{Phase, Side};
use banyan_shadow::SkipReason;
use std::time::{SystemTime, UNIX_EPOCH};

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

async fn post(world: &World, user: &str, order: &str) -> reqwest::Response {
    let request = world.client.post(world.url("/messages")).header("x-user", user);
    request.header("x-do-legacy", order).body("x").send().await.unwrap()
}

#[tokio::test]
async fn a_writer_stays_with_the_owner_until_the_watermark_has_passed_the_write() {
    let world = World::start(Phase::New).await;
    world.watermark(now_ms());
    assert_eq!(world.asked("/users/3/messages", "ada").await, "new");
    post(&world, "ada", "").await;
    assert_eq!(world.asked("/users/3/messages", "ada").await, "legacy");
    assert_eq!(world.asked("/users/3/messages", "bob").await, "new");
    world.settled().await;
    assert!(world.recorder.skipped().contains(&SkipReason::Pinned));
    // Within the allowed difference of clocks the write may not be there yet.
    world.watermark(now_ms());
    assert_eq!(world.asked("/users/3/messages", "ada").await, "legacy");
    world.watermark(now_ms() + 1_000);
    assert_eq!(world.asked("/users/3/messages", "ada").await, "new");
}

#[tokio::test]
async fn the_pin_begins_before_the_write_reaches_the_owner() {
    let world = World::start(Phase::New).await;
    world.watermark(u64::MAX);
    let request = world.client.post(world.url("/messages")).header("x-user", "ada");
    let write = tokio::spawn(request.header("x-do-legacy", "wait").body("x").send());
    world.legacy.arrivals(1).await;
    assert_eq!(world.asked("/users/3/messages", "ada").await, "legacy");
    world.legacy.release();
    write.await.unwrap().unwrap();
    world.settled().await;
    assert_eq!(world.asked("/users/3/messages", "ada").await, "new");
}

#[tokio::test]
async fn refused_writes_do_not_pin_and_writes_of_unknown_outcome_do() {
    let world = World::start(Phase::New).await;
    post(&world, "refused", "status 422").await;
    post(&world, "failed", "status 500").await;
    post(&world, "redirected", "status 302").await;
    world.settled().await;
    assert_eq!(world.asked("/users/3/messages", "refused").await, "new");
    assert_eq!(world.asked("/users/3/messages", "failed").await, "legacy");
    assert_eq!(world.asked("/users/3/messages", "redirected").await, "legacy");
}

#[tokio::test]
async fn a_write_that_never_left_the_proxy_does_not_pin() {
    let world = World::with(Phase::New, Side::Legacy, |config| {
        config.legacy.address = "127.0.0.1:1".to_owned();
    })
    .await;
    assert_eq!(post(&world, "ada", "").await.status(), 502);
    world.settled().await;
    assert_eq!(world.asked("/users/3/messages", "ada").await, "new");
}

#[tokio::test]
async fn without_a_sync_the_pin_ends_at_the_bound_of_the_context() {
    let world = World::start(Phase::New).await;
    post(&world, "ada", "").await;
    world.settled().await;
    assert_eq!(world.asked("/users/3/messages", "ada").await, "legacy");
    // The same rule with a bound of zero, as a new table brings it.
    let mut catalogue = crate::support::catalogue();
    catalogue.contexts[0].read_your_writes_max_ms = 0;
    catalogue.contexts[0].endpoints.iter_mut().for_each(|e| e.start = Phase::New);
    let table = banyan_domain::Compiled::new(&catalogue, &banyan_domain::RouteTable::default());
    world.live.table.store(std::sync::Arc::new(table.unwrap()));
    post(&world, "bob", "").await;
    world.settled().await;
    assert_eq!(world.asked("/users/3/messages", "bob").await, "new");
}

#[tokio::test]
async fn another_proxy_honours_the_cookie_of_a_writer() {
    let secret = |config: &mut banyan_proxy::ProxyConfig| {
        config.read_your_writes.secret = Some("fleet".to_owned());
    };
    let first = World::with(Phase::New, Side::Legacy, secret).await;
    let second = World::with(Phase::New, Side::Legacy, secret).await;
    let stranger = World::start(Phase::New).await;
    let write = first.client.post(first.url("/messages")).header("cookie", "uid=ada").body("x");
    let answer = write.send().await.unwrap();
    let set_cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(set_cookie.starts_with("banyan_ryw=messages~"), "{set_cookie}");
    let cookie = format!("uid=ada; {}", set_cookie.split(';').next().unwrap());
    let ask = |world: &World| {
        let request = world.get("/users/3/messages").header("cookie", &cookie);
        async { from(&request.send().await.unwrap()) }
    };
    assert_eq!(ask(&second).await, "legacy");
    assert_eq!(ask(&stranger).await, "new");
    second.watermark(now_ms() + 1_000);
    assert_eq!(ask(&second).await, "new");
    // Clients without cookies get none.
    assert!(post(&first, "token-client", "").await.headers().get("set-cookie").is_none());
}
