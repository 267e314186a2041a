//! Start and end of a proxy.

use crate::support::{PATIENCE, World, table};
use banyan_domain::{Phase, Side};
use banyan_proxy::{Listen, Live, Proxy, ProxyConfig, ProxyError};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn requests_on_their_way_finish_and_readiness_goes_first() {
    let world = World::start(Phase::Legacy).await;
    // Connections that are kept must not hold up the end.
    world.get("/a").send().await.unwrap();
    assert!(world.readiness.is_ready());
    let requests: Vec<_> = (0..8)
        .map(|n| {
            let request = if n % 2 == 0 {
                world.get("/users/3/messages")
            } else {
                world.client.post(world.url("/messages")).body("x")
            };
            tokio::spawn(request.header("x-do-legacy", "wait").send())
        })
        .collect();
    world.legacy.arrivals(9).await;
    world.shutdown.cancel();
    tokio::time::timeout(PATIENCE, async {
        while world.readiness.is_ready() || std::net::TcpStream::connect(world.address).is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    for _ in &requests {
        world.legacy.release();
    }
    for request in requests {
        let answer = request.await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.bytes().await.unwrap().as_ref(), b"{\"from\":\"legacy\"}");
    }
    let drained = tokio::time::timeout(PATIENCE, world.run).await.unwrap().unwrap().unwrap();
    assert_eq!((drained.requests_cut, drained.tunnels_cut), (0, 0));
}

#[tokio::test]
async fn a_request_that_takes_longer_than_the_grace_period_is_cut_and_reported() {
    let world = World::with(Phase::Legacy, Side::Legacy, |config| config.grace_ms = 50).await;
    let request = world.get("/a").header("x-do-legacy", "wait").send();
    let request = tokio::spawn(request);
    world.legacy.arrivals(1).await;
    world.shutdown.cancel();
    let drained = tokio::time::timeout(PATIENCE, world.run).await.unwrap().unwrap().unwrap();
    assert_eq!(drained.requests_cut, 1);
    assert!(request.await.unwrap().is_err());
}

#[tokio::test]
async fn an_idle_proxy_ends_at_once_and_frees_its_port() {
    let world = World::start(Phase::Legacy).await;
    world.get("/a").send().await.unwrap();
    world.shutdown.cancel();
    let drained = tokio::time::timeout(PATIENCE, world.run).await.unwrap().unwrap().unwrap();
    assert!(drained.elapsed_ms < 2_000, "{drained:?}");
    std::net::TcpListener::bind(world.address).unwrap();
}

#[tokio::test]
async fn a_port_in_use_is_a_typed_error_before_anything_runs() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = ProxyConfig {
        listen: vec![Listen::clear(&taken.local_addr().unwrap().to_string())],
        ..ProxyConfig::default()
    };
    let live = Live::fixed(table(Phase::Legacy, Side::Legacy));
    let error = Proxy::bind(config, live.clone(), None).err().unwrap();
    assert!(matches!(error, ProxyError::Listen { .. }), "{error:?}");
    let none = ProxyConfig { listen: Vec::new(), ..ProxyConfig::default() };
    assert!(matches!(Proxy::bind(none, live, None), Err(ProxyError::NoListener)));
}

#[tokio::test]
async fn dropping_a_run_ends_its_threads_without_a_panic() {
    let config =
        ProxyConfig { listen: vec![Listen::clear("127.0.0.1:0")], ..ProxyConfig::default() };
    let live = Live::fixed(table(Phase::Legacy, Side::Legacy));
    let proxy = Proxy::bind(config, live, None).unwrap();
    let readiness = proxy.readiness();
    let run = tokio::spawn(proxy.run(CancellationToken::new()));
    tokio::time::timeout(PATIENCE, async {
        while !readiness.is_ready() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    run.abort();
    assert!(run.await.unwrap_err().is_cancelled());
}
