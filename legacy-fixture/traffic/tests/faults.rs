//! Traffic against a tiny site: nothing is found on a sound one, and each known fault is found and explained.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod site;

use fixture_traffic::{Endpoint, LedgerEntry, TrafficArgs, TrafficError, TrafficSummary, run};
use site::{Fault, Site};
use std::{collections::BTreeSet, time::Duration};
use tokio::sync::oneshot;

const USERS: u32 = 24;

async fn traffic(site: &Site, requests: u64) -> TrafficSummary {
    let args = TrafficArgs {
        users: USERS,
        concurrency: 4,
        requests: Some(requests),
        writes_percent: 25,
        ..TrafficArgs::at(&site.url)
    };
    run(args, std::future::pending()).await.unwrap()
}

#[tokio::test]
async fn a_sound_site_has_no_failure_and_every_endpoint_is_used() {
    let site = Site::start(Fault::Nothing, i64::from(USERS)).await;
    let summary = traffic(&site, 6_000).await;
    assert_eq!(summary.failed, 0, "{summary}");
    assert_eq!(summary.requests, 6_000);
    assert_eq!(summary.reads + summary.writes, summary.requests);
    assert!((1_300..=1_600).contains(&summary.writes), "{}", summary.writes);
    let used: BTreeSet<&str> = summary.by_endpoint.keys().map(String::as_str).collect();
    let all: BTreeSet<&str> = Endpoint::ALL.into_iter().map(Endpoint::as_str).collect();
    assert_eq!(used, all);
    let by_endpoint: u64 = summary.by_endpoint.values().map(|endpoint| endpoint.requests).sum();
    assert_eq!(by_endpoint, summary.requests);
    let json = serde_json::to_string(&summary).unwrap();
    assert!(json.starts_with("{\"schema\":\"banyan.traffic/1\""), "{json}");
    assert_eq!(serde_json::from_str::<TrafficSummary>(&json).unwrap(), summary);
}

/// The fault, the endpoint where it shows, and words of the explanation.
const FAULTS: [(Fault, &str, &str); 19] = [
    (Fault::ListIs500, "messages.list", "status 500 instead of 200"),
    (Fault::UnreadIs503, "messages.unread_count", "status 503 instead of 200"),
    (Fault::ShowIsHtml, "messages.show", "does not follow the contract"),
    (Fault::ShowLacksReadAt, "messages.show", "missing field `read_at`"),
    (Fault::ShowHasIsoTime, "messages.show", "has the time `2014-06-12T10:00:00Z`"),
    (Fault::CreateIsLost, "messages.conversation", "own message"),
    (Fault::CreateIsLost, "messages.show", "status 404 instead of 200"),
    (Fault::CreateChangesBody, "messages.create", "stored body"),
    (Fault::UpdateIsLost, "messages.show", "has the body"),
    (Fault::ReadIsLost, "messages.show", "was read at"),
    (Fault::DeleteIsLost, "messages.show", "status 200 instead of 404"),
    (Fault::ListShowsForeign, "messages.list", "is not the caller's"),
    (Fault::ListIsOldestFirst, "messages.list", "newest first"),
    (Fault::LinkIsMissing, "messages.conversation", "link None"),
    (Fault::PageLacksToken, "pages.show", "without a CSRF token"),
    (Fault::SessionIsOfAnother, "session.create", "logged in as"),
    (Fault::ForeignListIsShown, "messages.list", "status 200 instead of 403"),
    (Fault::BlankIsAccepted, "messages.create", "status 201 instead of 422"),
    (Fault::NotModifiedWithoutReason, "messages.list", "status 500 instead of 200"),
];

#[tokio::test]
async fn each_fault_is_found_and_explained() {
    for (fault, endpoint, why) in FAULTS {
        let site = Site::start(fault, i64::from(USERS)).await;
        let summary = traffic(&site, 2_500).await;
        assert!(summary.failed > 0, "{fault:?}");
        let found = summary
            .failures
            .iter()
            .find(|failure| failure.endpoint == endpoint && failure.why.contains(why));
        let found = found.unwrap_or_else(|| panic!("{fault:?} must show at {endpoint}: {summary}"));
        assert!(found.url.starts_with(&site.url) && found.request_id.starts_with("traffic-1-"));
        assert!(summary.by_endpoint[endpoint].failed > 0);
        assert!(summary.failures.len() <= 20);
    }
}

#[tokio::test]
async fn an_acknowledged_write_is_in_the_ledger_whatever_status_was_expected() {
    let site = Site::start(Fault::BlankIsAccepted, i64::from(USERS)).await;
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger");
    let args = TrafficArgs {
        users: USERS,
        concurrency: 4,
        requests: Some(2_500),
        writes_percent: 25,
        ledger: Some(ledger.clone()),
        ..TrafficArgs::at(&site.url)
    };
    let summary = run(args, std::future::pending()).await.unwrap();
    let text = std::fs::read_to_string(ledger).unwrap();
    let entries = text.lines().map(|line| serde_json::from_str::<LedgerEntry>(line).unwrap());
    let blank = entries.filter(|entry| entry.body.as_deref() == Some(" ")).count();
    assert!(blank > 0, "{summary}");
}

#[tokio::test]
async fn an_unread_count_that_never_agrees_with_the_conversations_is_found() {
    let site = Site::start(Fault::UnreadIsOneTooHigh, i64::from(USERS)).await;
    let summary = traffic(&site, 600).await;
    let found = summary.failures.iter().find(|failure| failure.why.contains("never agree"));
    assert!(found.is_some(), "{summary}");
}

#[tokio::test]
async fn a_site_that_hangs_up_is_a_failure_per_request_and_nothing_is_retried() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let hangs_up = std::thread::spawn(move || {
        let mut accepted = 0;
        while accepted < 10 {
            drop(listener.accept().unwrap());
            accepted += 1;
        }
    });
    let args = TrafficArgs { users: 4, concurrency: 2, requests: Some(10), ..TrafficArgs::at(url) };
    let summary = run(args, std::future::pending()).await.unwrap();
    assert_eq!((summary.requests, summary.failed), (10, 10));
    assert!(summary.failures.iter().all(|failure| failure.status.is_none()));
    assert!(summary.failures[0].why.starts_with("no answer: "), "{summary}");
    hangs_up.join().unwrap();
}

#[tokio::test]
async fn the_same_seed_sends_the_same_requests_in_each_session() {
    let asked = async |seed| {
        let site = Site::start(Fault::Nothing, i64::from(USERS)).await;
        let args = TrafficArgs {
            users: USERS,
            concurrency: 1,
            requests: Some(300),
            seed,
            ..TrafficArgs::at(&site.url)
        };
        run(args, std::future::pending()).await.unwrap();
        site.asked()
    };
    let (one, again, other) = (asked(5).await, asked(5).await, asked(6).await);
    assert_eq!(one, again);
    assert_ne!(one, other);
}

#[tokio::test]
async fn a_stop_and_a_time_limit_end_the_traffic_and_the_progress_file_is_last() {
    let site = Site::start(Fault::Nothing, i64::from(USERS)).await;
    let folder = tempfile::tempdir().unwrap();
    let progress_file = folder.path().join("progress.json");
    let endless = TrafficArgs {
        users: USERS,
        concurrency: 3,
        progress_file: Some(progress_file.clone()),
        ..TrafficArgs::at(&site.url)
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(run(endless.clone(), async { drop(stopped.await) }));
    loop {
        let written = std::fs::read_to_string(&progress_file).unwrap_or_default();
        if serde_json::from_str::<TrafficSummary>(&written).is_ok_and(|so_far| so_far.requests > 0)
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.send(()).unwrap();
    let summary = running.await.unwrap().unwrap();
    let last = std::fs::read_to_string(&progress_file).unwrap();
    let last: TrafficSummary = serde_json::from_str(&last).unwrap();
    assert_eq!((last.requests, last.failed), (summary.requests, summary.failed));

    let limited =
        TrafficArgs { duration: Some(Duration::from_millis(50)), rate: Some(100), ..endless };
    let summary = run(limited, std::future::pending()).await.unwrap();
    assert!((1..=7).contains(&summary.requests), "{}", summary.requests);
}

#[tokio::test]
async fn problems_at_the_start_say_what_to_change() {
    let refused = async |args| run(args, std::future::pending()).await.unwrap_err();
    for url in ["localhost:80", "ftp://a", "http://a/path", "nonsense"] {
        let error = refused(TrafficArgs::at(url)).await;
        assert!(matches!(&error, TrafficError::Url { .. }), "{url}");
        assert!(error.to_string().contains("--url http://host:port"), "{error}");
    }
    let few = TrafficArgs { users: 2, concurrency: 3, ..TrafficArgs::at("http://a") };
    assert!(refused(few).await.to_string().contains("--concurrency"));
    let nowhere = Some("/nowhere/at/all/progress.json".into());
    let error =
        refused(TrafficArgs { progress_file: nowhere, ..TrafficArgs::at("http://a") }).await;
    assert!(matches!(error, TrafficError::ProgressFile { .. }));
}
