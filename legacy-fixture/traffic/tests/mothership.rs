//! Traffic against the real monolith: whatever the sessions do to each other, a correct world has no failure.

use fixture_mothership::MothershipArgs;
use fixture_traffic::{TrafficArgs, run};
use std::time::Duration;
use tokio::sync::oneshot;

#[tokio::test]
async fn the_monolith_has_no_failure_under_many_sessions_and_writes() {
    let folder = tempfile::tempdir().unwrap();
    let ready_file = folder.path().join("ready");
    let args = MothershipArgs {
        users: 60,
        messages: 3_000,
        ready_file: Some(ready_file.clone()),
        ..MothershipArgs::on(format!("sqlite:{}", folder.path().join("legacy.db").display()))
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let mothership = tokio::spawn(fixture_mothership::run(args, async { drop(stopped.await) }));
    let address = loop {
        if let Ok(address) = std::fs::read_to_string(&ready_file) {
            break address;
        }
        assert!(!mothership.is_finished(), "the mothership must start");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let args = TrafficArgs {
        users: 60,
        concurrency: 12,
        requests: Some(3_000),
        writes_percent: 30,
        ..TrafficArgs::at(format!("http://{address}"))
    };
    let summary = run(args, std::future::pending()).await.unwrap();
    println!("{summary}");
    assert_eq!((summary.requests, summary.failed), (3_000, 0), "{summary}");
    stop.send(()).unwrap();
    mothership.await.unwrap().unwrap();
}
