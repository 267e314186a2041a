//! Traffic against the real monolith: whatever the sessions do to each other, a correct world has no failure.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use fixture_mothership::{MothershipArgs, MothershipError};
use fixture_passport::{DEFAULT_SECRET, Passport};
use fixture_traffic::{LedgerEntry, TrafficArgs, run};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};
use tokio::{sync::oneshot, task::JoinHandle};

/// A monolith on a file of its own, as a running program.
struct Site {
    url: String,
    folder: tempfile::TempDir,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), MothershipError>>,
}

impl Site {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ready_file = folder.path().join("ready");
        let args = MothershipArgs {
            users: 60,
            messages: 3_000,
            ready_file: Some(ready_file.clone()),
            ..MothershipArgs::on(format!("sqlite:{}", folder.path().join("legacy.db").display()))
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(fixture_mothership::run(args, async { drop(stopped.await) }));
        let address = loop {
            if let Ok(address) = std::fs::read_to_string(&ready_file) {
                break address;
            }
            assert!(!task.is_finished(), "the mothership must start");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        Self { url: format!("http://{address}"), folder, stop, task }
    }

    async fn end(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn the_monolith_has_no_failure_under_many_sessions_and_writes() {
    let site = Site::start().await;
    let ledger = site.folder.path().join("ledger");
    let args = TrafficArgs {
        users: 60,
        concurrency: 12,
        requests: Some(3_000),
        writes_percent: 30,
        ledger: Some(ledger.clone()),
        ..TrafficArgs::at(&site.url)
    };
    let summary = run(args, std::future::pending()).await.unwrap();
    println!("{summary}");
    assert_eq!((summary.requests, summary.failed), (3_000, 0), "{summary}");
    every_acknowledged_write_can_be_found_by_its_id(&ledger, &site.url).await;
    site.end().await;
}

/// `cargo test --test mothership -- --ignored --nocapture writes_per_second`: traffic and monolith in one process.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn writes_per_second() {
    let site = Site::start().await;
    let args = TrafficArgs {
        users: 60,
        concurrency: 16,
        rate: Some(400),
        writes_percent: 100,
        duration: Some(Duration::from_secs(5)),
        ..TrafficArgs::at(&site.url)
    };
    let summary = run(args, std::future::pending()).await.unwrap();
    println!("{summary}\n{} writes/s", summary.writes * 1_000 / summary.elapsed_ms);
    assert_eq!(summary.failed, 0, "{summary}");
    assert!(summary.writes * 1_000 / summary.elapsed_ms >= 200, "{summary}");
    site.end().await;
}

/// What a cutover's proof does: each created message is there as it was written or last edited, unless deleted.
async fn every_acknowledged_write_can_be_found_by_its_id(ledger: &Path, site: &str) {
    let text = std::fs::read_to_string(ledger).unwrap();
    let entries: Vec<LedgerEntry> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (mut bodies, mut deleted) = (BTreeMap::new(), BTreeSet::new());
    for entry in &entries {
        match entry.kind.as_str() {
            "messages.create" => {
                assert_eq!(bodies.insert((entry.id, entry.user), &entry.body), None);
            }
            "messages.update" => drop(bodies.insert((entry.id, entry.user), &entry.body)),
            "messages.delete" => drop(deleted.insert((entry.id, entry.user))),
            "messages.mark_read" => assert!(entry.read_at.is_some(), "{entry:?}"),
            other => panic!("{other}"),
        }
        assert!(entry.request_id.starts_with("traffic-1-"), "{entry:?}");
        assert_eq!(entry.served_by.as_deref(), Some("Mothership"));
    }
    assert!(bodies.len() > 100, "{}", bodies.len());
    let (client, passport) = (reqwest::Client::new(), Passport::new(DEFAULT_SECRET));
    for ((id, user), body) in bodies {
        let request = client.get(format!("{site}/messages/{id}"));
        let token = format!("OAuth {}", passport.token(user));
        let response = request.header("authorization", token).send().await.unwrap();
        if deleted.contains(&(id, user)) {
            assert_eq!(response.status(), 404, "{id}");
        } else {
            let shown: serde_json::Value = response.json().await.unwrap();
            assert_eq!(shown["message"]["body"].as_str(), body.as_deref(), "{id}");
        }
    }
}
