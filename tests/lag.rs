//! Replication lag through the real process: two small HTTP sides, a fifth of the writes 0.1 to 5 s late on the new one.
//!
//! No sync runs, so no watermark protects: the hard case. What must hold: no false mismatch, a lag histogram within 20 %
//! of what was injected, a defect planted at the same time confirmed, and each offered read counted once.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

mod support;

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{Folder, free_port};

/// Writes, one each 50 ms.
const WRITES: u64 = 240;

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Legacy,
    New,
}

/// Both sides' data: when each user's item was written, and how late new shows it.
#[derive(Default)]
struct World {
    written: Mutex<HashMap<u64, (Instant, Duration)>>,
    traces: AtomicU64,
}

impl World {
    /// A fifth is late, evenly between 0.1 and 5 s and in no order.
    fn late(user: u64) -> Duration {
        if !user.is_multiple_of(5) {
            return Duration::ZERO;
        }
        let (nth, of) = (user / 5, WRITES / 5);
        Duration::from_millis(100 + (nth * 29 % of) * 4_900 / (of - 1))
    }

    fn visible(&self, side: Side, user: u64) -> bool {
        let written = self.written.lock().unwrap();
        written.get(&user).is_some_and(|(at, late)| side == Side::Legacy || at.elapsed() >= *late)
    }
}

type Shown = State<(Side, Arc<World>)>;

async fn write(State((_, world)): Shown, Path(user): Path<u64>) -> Json<Value> {
    world.written.lock().unwrap().insert(user, (Instant::now(), World::late(user)));
    Json(json!({ "written": user }))
}

async fn list(State((side, world)): Shown, Path(user): Path<u64>) -> Json<Value> {
    Json(json!({ "user": user, "items": u64::from(world.visible(side, user)) }))
}

/// Has a trace id of its own in every answer; new gets the subject of some wrong.
async fn show(State((side, world)): Shown, Path(item): Path<u64>) -> Json<Value> {
    let trace = world.traces.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::SeqCst);
    let wrong = side == Side::New && item.is_multiple_of(4);
    let subject = if wrong { "helo" } else { "hello" };
    Json(json!({ "trace": format!("{trace:016x}"), "subject": subject }))
}

async fn serve(side: Side, world: Arc<World>) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let app = Router::new()
        .route("/users/{user}/items", get(list))
        .route("/users/{user}/items", post(write))
        .route("/items/{item}", get(show))
        .with_state((side, world));
    tokio::spawn(async move { axum::serve(listener, app).await });
    port
}

fn config(legacy: u16, new: u16, proxy: u16) -> String {
    let admin = free_port();
    format!(
        r#"
[proxy]
listen = "127.0.0.1:{proxy}"
legacy = "http://127.0.0.1:{legacy}"
[admin]
listen = "127.0.0.1:{admin}"
[shadow]
workers = 8
legacy-max-concurrency = 32
[[context]]
name = "items"
sticky = ["header:x-client"]
new = "http://127.0.0.1:{new}"
shadow-max-per-second = 2000
shadow-max-concurrency = 32
lag-measured-per-second = 100
[[context.endpoint]]
name = "items.list"
request = "GET /users/{{user}}/items"
phase = "shadow"
[[context.endpoint]]
name = "items.show"
request = "GET /items/{{item}}"
phase = "shadow"
[[context.endpoint]]
name = "items.write"
request = "POST /users/{{user}}/items"
"#
    )
}

/// Writes, reads what was written at once, and reads something else now and then; how many reads.
async fn traffic(proxy: u16) -> u64 {
    // Somebody else reads what was written: reads of the writer stay with the owner and are not mirrored.
    let client = reqwest::Client::new();
    let name = reqwest::header::HeaderValue::from_static("reader");
    let headers = [(reqwest::header::HeaderName::from_static("x-client"), name)];
    let headers = headers.into_iter().collect();
    let reader = reqwest::Client::builder().default_headers(headers).build().unwrap();
    let url = |path: String| format!("http://127.0.0.1:{proxy}{path}");
    let mut every = tokio::time::interval(Duration::from_millis(50));
    let mut reads = 0;
    for user in 0..WRITES {
        every.tick().await;
        let items = url(format!("/users/{user}/items"));
        let written = client.post(&items).header("x-client", "writer").send().await.unwrap();
        assert_eq!(written.status(), 200);
        let read = reader.get(&items).send().await.unwrap();
        let read: Value = read.json().await.unwrap();
        assert_eq!(read["items"], 1, "the client sees its write: {read}");
        reads += 1;
        if user.is_multiple_of(8) {
            let shown = reader.get(url(format!("/items/{user}"))).send().await.unwrap();
            assert_eq!(shown.status(), 200);
            reads += 1;
        }
    }
    reads
}

/// The report once every read has its outcome, by endpoint.
fn report(folder: &Folder, reads: u64) -> HashMap<String, Value> {
    let mut endpoints = HashMap::new();
    support::wait_until(&format!("{reads} outcomes (log: {})", folder.log()), || {
        let report = folder.json(&["shadow", "report"]);
        let list = report["endpoints"].as_array().unwrap().iter().cloned();
        endpoints = list.map(|e| (e["endpoint"].as_str().unwrap().to_owned(), e)).collect();
        let of = |endpoint: &Value| {
            let skipped = endpoint["skipped"].as_object().unwrap().values();
            endpoint["compared"].as_u64().unwrap() + skipped.filter_map(Value::as_u64).sum::<u64>()
        };
        endpoints.values().map(of).sum::<u64>() >= reads
    });
    endpoints
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::cast_precision_loss, reason = "a few thousand ms")]
async fn lag_makes_no_mismatch_is_measured_and_hides_no_defect() {
    let world = Arc::new(World::default());
    let legacy = serve(Side::Legacy, world.clone()).await;
    let new = serve(Side::New, world.clone()).await;
    let proxy = free_port();
    let folder = Folder::with_config(&config(legacy, new, proxy));
    let _serving = folder.start(&["serve", "--only", "proxy,shadow", "--ready-file", "ready"]);
    folder.wait_for_file("ready");
    let reads = traffic(proxy).await;
    let report = tokio::task::spawn_blocking(move || report(&folder, reads)).await.unwrap();

    let (list, show) = (&report["items.list"], &report["items.show"]);
    assert_eq!(list["mismatched"], 0, "{list:#}");
    assert_eq!(list["groups"].as_array().unwrap().len(), 0, "{list:#}");
    let groups: Vec<&str> =
        show["groups"].as_array().unwrap().iter().map(|g| g["path"].as_str().unwrap()).collect();
    assert_eq!(groups, ["$.subject"], "the trace is legacy's own noise: {show:#}");
    assert!(show["mismatched"].as_u64().unwrap() >= 5, "{show:#}");

    let mut injected: Vec<u64> = (0..WRITES)
        .map(World::late)
        .filter(|late| !late.is_zero())
        .map(|late| u64::try_from(late.as_millis()).unwrap())
        .collect();
    injected.sort_unstable();
    let lag = &list["lag_time"];
    let of = injected.len() as u64;
    assert!(lag["count"].as_u64().unwrap() * 10 >= of * 9, "{lag:#} of {of}");
    for (key, per_mille) in [("p50_ms", 500), ("p95_ms", 950), ("p99_ms", 990), ("max_ms", 1_000)] {
        let rank = (of * per_mille).div_ceil(1_000).max(1) - 1;
        let true_ms = injected[usize::try_from(rank).unwrap()] as f64;
        let off = (lag[key].as_f64().unwrap() / true_ms - 1.0).abs();
        assert!(off < 0.2, "{key}: {true_ms} was injected, told {lag:#}");
    }
}
