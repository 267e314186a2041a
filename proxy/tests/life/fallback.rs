//! Reads that the new side cannot answer.

use crate::support::{World, context, from, read_request};
use banyan_domain::{Phase, Side};
use banyan_shadow::SkipReason;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

async fn fell_back(world: &World) {
    let answer = world.get("/users/3/messages").send().await.unwrap();
    assert_eq!(answer.headers()["x-banyan-fallback"], "legacy");
    assert_eq!(from(&answer), "legacy");
    assert_eq!(world.legacy.count(), 1);
    world.settled().await;
    assert_eq!(world.recorder.skipped(), [SkipReason::ServedFailed]);
    assert!(world.recorder.offered().is_empty());
}

/// A world whose new side is this raw listener.
async fn world_over(listener: &TcpListener) -> World {
    let address = listener.local_addr().unwrap().to_string();
    World::with(Phase::New, Side::Legacy, |config| {
        let new = config.new.get_mut(&context()).unwrap();
        new.address = address;
        new.read_timeout_ms = 100;
    })
    .await
}

#[tokio::test]
async fn a_new_side_that_refuses_falls_back_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = world_over(&listener).await;
    drop(listener);
    fell_back(&world).await;
}

#[tokio::test]
async fn a_new_side_that_resets_falls_back_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = world_over(&listener).await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
    });
    fell_back(&world).await;
}

#[tokio::test]
async fn a_new_side_that_is_silent_falls_back_after_its_time_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = world_over(&listener).await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        while read_request(&mut stream).await.is_some() {}
    });
    fell_back(&world).await;
}

#[tokio::test]
async fn a_new_side_that_breaks_off_within_the_head_falls_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = world_over(&listener).await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-le").await.unwrap();
    });
    fell_back(&world).await;
}

#[tokio::test]
async fn gateway_statuses_of_the_new_side_fall_back_and_other_errors_do_not() {
    let world = World::start(Phase::New).await;
    for status in ["502", "503", "504"] {
        let request = world.get("/users/3/messages").header("x-do-new", format!("status {status}"));
        let answer = request.send().await.unwrap();
        assert_eq!((answer.status().as_u16(), from(&answer)), (200, "legacy".to_owned()));
        assert_eq!(answer.headers()["x-banyan-fallback"], "legacy");
    }
    for status in ["500", "404"] {
        let request = world.get("/users/3/messages").header("x-do-new", format!("status {status}"));
        let answer = request.send().await.unwrap();
        assert_eq!((answer.status().as_str(), from(&answer)), (status, "new".to_owned()));
    }
    let both_down = world.get("/users/3/messages").header("x-do-new", "status 503");
    let answer = both_down.header("x-do-legacy", "status 503").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), from(&answer)), (503, "legacy".to_owned()));
}

#[tokio::test]
async fn nothing_falls_back_after_a_byte_reached_the_client() {
    let world = World::start(Phase::New).await;
    let request = world.get("/users/3/messages").header("x-do-new", "cut");
    let answer = request.send().await.unwrap();
    assert_eq!(from(&answer), "new");
    world.new.release();
    assert!(answer.bytes().await.is_err());
    world.settled().await;
    assert_eq!(world.legacy.count(), 0);
    assert_eq!(world.recorder.skipped(), [SkipReason::ServedFailed]);
}

#[tokio::test]
async fn an_endpoint_without_fallback_and_a_retired_one_show_the_failure() {
    let world = World::start(Phase::New).await;
    let strict = world.get("/users/3/strict").header("x-do-new", "status 503");
    assert_eq!(strict.send().await.unwrap().status(), 503);
    world.flip(Phase::Retired);
    let retired = world.get("/users/3/messages").header("x-do-new", "status 503");
    assert_eq!(retired.send().await.unwrap().status(), 503);
    assert_eq!(world.legacy.count(), 0);
}
