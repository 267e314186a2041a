//! Import and replay through the real binary, against two small sites.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test helpers fail by panicking")]

mod support;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::routing::get;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::Folder;

/// A site that answers a few reads and remembers who asked when.
struct Site {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Clone)]
struct Seen {
    target: String,
    cookie: String,
    began: Instant,
    ended: Instant,
}

#[derive(Clone)]
struct Manner {
    /// Whether it has the planted bug: every fifth user has one message too many.
    bug: bool,
    delay: Duration,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Site {
    fn start(bug: bool, delay_ms: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let manner = Manner { bug, delay: Duration::from_millis(delay_ms), seen: seen.clone() };
        let app = Router::new()
            .route("/users/{id}/messages", get(messages))
            .route("/tracks/{id}", get(track))
            .with_state(manner);
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { url, seen, _runtime: runtime }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn first_asks(&self) -> Vec<Seen> {
        let mut known = std::collections::HashSet::new();
        self.seen().into_iter().filter(|seen| known.insert(seen.target.clone())).collect()
    }
}

type Dated = ([(&'static str, &'static str); 1], axum::Json<Value>);

/// Always of the same second, so that no run differs from another by a turn of the clock.
fn dated(body: Value) -> Dated {
    ([("date", "Fri, 01 Nov 2019 00:00:00 GMT")], axum::Json(body))
}

async fn messages(
    State(manner): State<Manner>,
    Path(id): Path<u64>,
    headers: HeaderMap,
    uri: Uri,
) -> Dated {
    let extra = u64::from(manner.bug && id.is_multiple_of(5));
    answered(&manner, &headers, &uri).await;
    dated(json!({ "user": id, "total": id % 7 + extra, "messages": [{ "id": id * 10 }] }))
}

async fn track(
    State(manner): State<Manner>,
    Path(id): Path<u64>,
    headers: HeaderMap,
    uri: Uri,
) -> Dated {
    answered(&manner, &headers, &uri).await;
    dated(json!({ "track": id }))
}

async fn answered(manner: &Manner, headers: &HeaderMap, uri: &Uri) {
    let began = Instant::now();
    tokio::time::sleep(manner.delay).await;
    let cookie = headers.get("cookie").map_or("", |value| value.to_str().unwrap()).to_owned();
    let target = uri.to_string();
    manner.seen.lock().unwrap().push(Seen { target, cookie, began, ended: Instant::now() });
}

/// A log of reads of different users.
fn access_log(lines: u64) -> String {
    let mut log = String::new();
    for at in 1..=lines {
        let target =
            if at % 10 == 0 { format!("/tracks/{at}") } else { format!("/users/{at}/messages") };
        let (minute, second) = (at / 60 % 60, at % 60);
        writeln!(
            log,
            "10.0.{}.{} - - [10/Oct/2025:13:{minute:02}:{second:02} +0000] \"GET {target} HTTP/1.1\" 200 60 \"-\" \"test\"",
            at % 9,
            at % 200
        )
        .unwrap();
    }
    log
}

/// Runs a replay with JSON; answers exit code and data.
fn replay(folder: &Folder, arguments: &[&str]) -> (i32, Value) {
    let output =
        folder.command(&[&["shadow", "replay", "--json"], arguments].concat()).output().unwrap();
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let value: Value =
        serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}\n{stderr}"));
    (output.status.code().unwrap(), value["data"].clone())
}

/// Path, kind and count of every confirmed group.
fn groups(data: &Value) -> Vec<(String, String, u64)> {
    let endpoints = data["report"]["endpoints"].as_array().unwrap();
    let groups = endpoints.iter().flat_map(|endpoint| endpoint["groups"].as_array().unwrap());
    groups
        .map(|group| {
            let text = |key: &str| group[key].as_str().unwrap().to_owned();
            (text("path"), text("kind"), group["count"].as_u64().unwrap())
        })
        .collect()
}

fn total(data: &Value, field: &str) -> u64 {
    let endpoints = data["report"]["endpoints"].as_array().unwrap();
    endpoints.iter().map(|endpoint| endpoint[field].as_u64().unwrap()).sum()
}

#[test]
fn a_replay_finds_the_planted_bug_and_nothing_else() {
    let (legacy, new, folder) = (Site::start(false, 0), Site::start(true, 0), Folder::new());
    folder.write("access.log", &(access_log(60) + "not a line\n10.0.0.1 - - [10/Oct/2025:13:00:00 +0000] \"POST /messages HTTP/1.1\" 201 1 \"-\" \"-\"\n"));
    let sides = ["--against", &new.url, "--baseline", &legacy.url, "--rate", "max"];
    let files =
        ["--html", "pages", "--inline", "mail.html", "--markdown", "a.md", "--junit", "a.xml"];
    let (exit, data) = replay(&folder, &[&["access.log"], &sides[..], &files].concat());
    assert_eq!(exit, 1, "{data:#}");
    published(&folder, &data);
    // Users 5, 15, .. 55: those of 10, 20, .. are tracks.
    assert_eq!(groups(&data), [("$.total".to_owned(), "value_changed:number".to_owned(), 6)]);
    assert_eq!((total(&data, "matched"), total(&data, "mismatched")), (54, 6), "{data:#}");
    let recording = &data["recording"];
    assert_eq!((&recording["exchanges"], &recording["done"]), (&json!(60), &json!(60)));
    assert_eq!(recording["unread"]["malformed"]["first"], json!(["access.log line 61"]));
    assert_eq!(recording["unread"]["unsafe_method"]["count"], 1);
    assert!(!folder.file("access.log.replay-state").exists(), "the state is a leftover");
    let human = folder
        .command(&[&["shadow", "replay", "access.log"], &sides[..], &["--limit", "4"]].concat());
    let text = String::from_utf8({ human }.output().unwrap().stdout).unwrap();
    assert!(text.contains("users.messages_list"), "{text}");
}

/// The files of a report tell the same as its JSON: a failed replay of this log.
fn published(folder: &Folder, data: &Value) {
    assert_eq!(data["report"]["source"], json!({ "kind": "replay", "file": "access.log" }));
    for name in ["pages/index.html", "pages/report.css", "mail.html", "a.md", "a.xml"] {
        let text = std::fs::read_to_string(folder.file(name)).unwrap();
        if name != "pages/report.css" {
            assert!(text.contains("users.messages_list"), "{name}: {text}");
        }
        if ![".css", ".xml"].iter().any(|end| name.strip_suffix(end).is_some()) {
            assert!(text.contains("replay of access.log") && text.contains("FAIL"), "{text}");
        }
    }
    let junit = std::fs::read_to_string(folder.file("a.xml")).unwrap();
    assert!(junit.contains("<failure"), "{junit}");
}

#[test]
fn every_format_replays_against_what_was_recorded() {
    let (new, folder) = (Site::start(true, 0), Folder::new());
    let body = |id: u64| json!({ "user": id, "total": id % 7, "messages": [{ "id": id * 10 }] });
    let entries: Vec<Value> = (1..=30)
        .map(|id| {
            json!({
                "request": { "method": "GET", "url": format!("http://x.test/users/{id}/messages") },
                "response": { "status": 200, "content": {
                    "mimeType": "application/json", "text": body(id).to_string() } },
            })
        })
        .collect();
    folder.write("a.har", &json!({ "log": { "entries": entries } }).to_string());
    let (mut gor, mut cassette) = (String::new(), "---\nhttp_interactions:\n".to_owned());
    for id in 1..=30_u64 {
        let answer = body(id);
        write!(
            gor,
            "1 {id:024x} 17000000000000000{id:02}\nGET /users/{id}/messages HTTP/1.1\r\nHost: x.test\r\n\r\n\n🐵🙈🙉\n\
             2 {id:024x} 17000000000000000{id:02} 5\nHTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{answer}\n🐵🙈🙉\n"
        )
        .unwrap();
        write!(
            cassette,
            "- request:\n    method: get\n    uri: http://x.test/users/{id}/messages\n    headers: {{}}\n  \
             response:\n    status:\n      code: 200\n    headers:\n      Content-Type:\n      - application/json\n    \
             body:\n      encoding: UTF-8\n      string: '{answer}'\n"
        )
        .unwrap();
    }
    folder.write("b.gor", &gor);
    folder.write("c.yml", &cassette);
    for file in ["a.har", "b.gor", "c.yml"] {
        folder.expect(&["shadow", "import", file, "--raw", "--out", &format!("{file}.ndjson")], 0);
        folder
            .expect(&["shadow", "import", file, "--out", &format!("{file}.banyan.ndjson.zst")], 0);
    }
    // Directly, from a raw recording, and from one whose values are tokens: the same bug each time.
    let names = ["a.har", "b.gor", "c.yml"];
    let files = names.iter().flat_map(|name| {
        [(*name).to_owned(), format!("{name}.ndjson"), format!("{name}.banyan.ndjson.zst")]
    });
    let runs: Vec<(String, i32, Value)> = std::thread::scope(|scope| {
        let running: Vec<_> = files
            .map(|file| {
                let (folder, url) = (&folder, &new.url);
                scope.spawn(move || {
                    let options = ["--against", url, "--rate", "max"];
                    let (exit, data) = replay(folder, &[&[file.as_str()], &options[..]].concat());
                    (file, exit, data)
                })
            })
            .collect();
        running.into_iter().map(|run| run.join().unwrap()).collect()
    });
    for (file, exit, data) in runs {
        assert_eq!(exit, 1, "{file}: {data:#}");
        let found = groups(&data);
        assert_eq!(
            (found[0].0.as_str(), found[0].2, found.len()),
            ("$.total", 6, 1),
            "{file}: {data:#}"
        );
        assert_eq!(total(&data, "matched") + total(&data, "normalised"), 24, "{file}: {data:#}");
    }
}

#[test]
fn a_killed_replay_goes_on_and_ends_with_the_same_report() {
    let (legacy, new, folder) = (Site::start(false, 2), Site::start(true, 2), Folder::new());
    folder.write("access.log", &access_log(300));
    let options = ["--against", &new.url, "--baseline", &legacy.url, "--rate", "100/s"];
    let arguments = [&["shadow", "replay", "access.log"], &options[..]].concat();
    let running = folder.start(&arguments);
    support::wait_until("half of the replay", || new.first_asks().len() >= 150);
    running.kill();
    let kept: Value =
        serde_json::from_slice(&std::fs::read(folder.file("access.log.replay-state")).unwrap())
            .unwrap();
    let asked = new.first_asks().len() as u64;
    assert!(kept["done"]["below"].as_u64().unwrap() > 0, "{kept:#}");

    let (exit, resumed) = replay(&folder, &[&["access.log", "--resume"], &options[..]].concat());
    assert_eq!(exit, 1, "{resumed:#}");
    let before = resumed["resumed"].as_u64().unwrap();
    assert!(before > 0 && before <= asked, "{before} of {asked}");
    assert_eq!(new.first_asks().len(), 300, "each was asked");

    let (_, whole) = replay(&folder, &[&["access.log"], &options[..]].concat());
    assert_eq!(without_times(&resumed["report"]), without_times(&whole["report"]));
    assert_eq!(total(&resumed, "mismatched"), 30);

    let other = folder.run(&["shadow", "replay", "access.log", "--resume", "--against", &new.url]);
    assert!(other.contains("exit 2") && other.contains("banyan::replay::state"), "{other}");
}

/// A report without what differs between two runs of anything.
fn without_times(report: &Value) -> Value {
    match report {
        Value::Object(map) => map
            .iter()
            .filter(|(key, _)| !key.ends_with("_ms"))
            .map(|(key, value)| (key.clone(), without_times(value)))
            .collect(),
        Value::Array(items) => items.iter().map(without_times).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => report.clone(),
    }
}

#[test]
fn sessions_stay_in_order_and_the_rate_is_kept() {
    let (legacy, new, folder) = (Site::start(false, 15), Site::start(false, 15), Folder::new());
    let mut lines = "{\"banyan\":\"recording\",\"version\":1}\n".to_owned();
    for at in 0..240_u64 {
        let recorded = json!({
            "method": "GET", "target": format!("/users/{at}/messages"),
            "headers": [["cookie", format!("sid={}", at % 8)]],
        });
        writeln!(lines, "{recorded}").unwrap();
    }
    folder.write("a.ndjson", &lines);
    let options = ["--baseline", &legacy.url, "--against", &new.url, "--rate", "80/s"];
    let shape = ["a.ndjson", "--concurrency", "8", "--session-key", "cookie:sid"];
    let (exit, data) = replay(&folder, &[&shape[..], &options].concat());
    assert_eq!((exit, total(&data, "matched")), (4, 240), "{data:#}");
    let mut sessions: HashMap<String, Vec<Seen>> = HashMap::new();
    for seen in new.seen() {
        sessions.entry(seen.cookie.clone()).or_default().push(seen);
    }
    assert_eq!(sessions.len(), 8);
    let number = |seen: &Seen| seen.target.split('/').nth(2).unwrap().parse::<u64>().unwrap();
    for asked in sessions.values() {
        assert_eq!(asked.len(), 30);
        for pair in asked.windows(2) {
            assert!(number(&pair[0]) < number(&pair[1]), "in order");
            assert!(pair[0].ended <= pair[1].began, "one at a time");
        }
    }
    let asked = legacy.seen();
    let took = asked.last().unwrap().began.duration_since(asked[0].began).as_secs_f64();
    let rate = 239.0 / took;
    assert!((72.0..88.0).contains(&rate), "{rate} per second instead of 80");
    let together = new.seen().iter().filter(|one| one.began < asked[20].ended).count();
    assert!(together > 1, "different sessions go side by side");
}

#[test]
fn a_replay_without_a_configuration_can_pass() {
    let (legacy, new, folder) = (Site::start(false, 0), Site::start(false, 0), Folder::new());
    folder.write("access.log", &access_log(60));
    folder.write("rules.toml", "[[rule]]\nat = \"$.gone\"\ndo = \"ignore\"\nreason = \"test\"\n");
    let sides = ["--against", &new.url, "--baseline", &legacy.url, "--rate", "max"];
    let proof = ["--target", "40", "--confidence", "50", "--rules", "rules.toml"];
    let (exit, data) = replay(&folder, &[&["access.log"], &sides[..], &proof].concat());
    assert_eq!((exit, total(&data, "compared")), (0, 60), "{data:#}");
    let rules = data["report"]["rules"].as_array().unwrap();
    let rules: Vec<_> = rules.iter().map(|rule| (&rule["id"], &rule["state"])).collect();
    assert_eq!(rules, [(&json!("$.gone"), &json!("dead"))], "{data:#}");
}

#[test]
fn a_new_side_that_never_answers_is_its_error_and_not_undecided() {
    let (legacy, folder) = (Site::start(false, 0), Folder::new());
    // Connections are taken by the system, and nobody reads from them.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let new = format!("http://{}", silent.local_addr().unwrap());
    folder.write("access.log", &access_log(3));
    let options = ["--against", &new, "--baseline", &legacy.url, "--timeout", "200ms"];
    let (exit, data) = replay(&folder, &[&["access.log"], &options[..]].concat());
    assert_eq!((exit, total(&data, "errors")), (1, 3), "{data:#}");
    let expected = ("status".to_owned(), "outcome_changed:timeout".to_owned(), 3);
    assert_eq!(groups(&data), [expected], "the report says what happened, and to which request");
}

#[test]
fn a_share_takes_whole_sessions_the_same_ones_each_time() {
    let (legacy, new, folder) = (Site::start(false, 0), Site::start(false, 0), Folder::new());
    folder.write("access.log", &access_log(400));
    let options = ["--baseline", &legacy.url, "--against", &new.url, "--rate", "max"];
    let share = ["access.log", "--percent", "25"];
    let taken = || {
        let (_, data) = replay(&folder, &[&share[..], &options].concat());
        let skipped: u64 = data["report"]["endpoints"]
            .as_array()
            .unwrap()
            .iter()
            .map(|endpoint| endpoint["skipped"]["sampled"].as_u64().unwrap_or(0))
            .sum();
        assert_eq!(total(&data, "compared") + skipped, 400, "{data:#}");
        total(&data, "compared")
    };
    let first = taken();
    assert!((60..140).contains(&first), "{first}");
    let targets = |site: &Site| site.first_asks().len() as u64;
    assert_eq!((taken(), targets(&new), targets(&legacy)), (first, first, first));
}

#[test]
fn a_side_that_is_not_there_is_exit_6_and_a_wrong_file_exit_2() {
    let folder = Folder::new();
    folder.write("access.log", &access_log(3));
    folder.write("letter.txt", "Dear reader,\n");
    // Nobody listens on port 1 of the loopback.
    let nobody = "http://127.0.0.1:1";
    let said =
        folder.run(&["shadow", "replay", "access.log", "--against", nobody, "--baseline", nobody]);
    assert!(said.contains("exit 6") && said.contains("cannot replay"), "{said}");
    let said = folder.run(&["shadow", "replay", "letter.txt", "--against", nobody]);
    assert!(
        said.contains("exit 2") && said.contains("--format har|gor|nginx|vcr|banyan"),
        "{said}"
    );
    folder.expect(&["shadow", "import", "access.log", "--out", "a.ndjson"], 0);
    let again = folder.run(&["shadow", "import", "access.log", "--out", "a.ndjson"]);
    assert!(again.contains("exit 6") && again.contains("never overwritten"), "{again}");
}

/// `BANYAN_IMPORT_LINES=1000000` is the full proof.
#[test]
fn a_large_log_is_imported_in_bounded_memory() {
    let lines: u64 =
        std::env::var("BANYAN_IMPORT_LINES").ok().and_then(|n| n.parse().ok()).unwrap_or(50_000);
    let folder = Folder::new();
    folder.write("access.log", &access_log(lines));
    let mut command = std::process::Command::new("sh");
    // 256 MiB of address space beyond what the runtime maps would fail this.
    let script = format!(
        "ulimit -v 1500000; exec {} shadow import access.log --out a.banyan.ndjson.zst --json",
        env!("CARGO_BIN_EXE_banyan")
    );
    let began = Instant::now();
    let output = command.args(["-c", &script]).current_dir(folder.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let value: Value = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(value["data"]["imported"], lines, "{value:#}");
    println!("{lines} lines in {:.1} s: {value:#}", began.elapsed().as_secs_f64());
}

/// One GET over a connection of its own.
fn ask(address: &str, target: &str, cookie: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let head = format!(
        "GET {target} HTTP/1.1\r\nHost: api.test\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn what_serve_recorded_holds_no_secret_and_finds_the_bug_again() {
    let (legacy, new) = (Site::start(false, 0), Site::start(true, 0));
    let folder = Folder::with_config(&format!(
        r#"
[proxy]
listen = "127.0.0.1:0"
legacy = "{}"
[admin]
listen = "127.0.0.1:0"
[shadow.record]
file = "reads.banyan.ndjson.zst"
[[context]]
name = "messages"
new = "{}"
[[context.endpoint]]
name = "messages.list"
request = "GET /users/{{user_id}}/messages"
phase = "shadow"
"#,
        legacy.url, new.url
    ));
    let serving = folder.start(&["serve", "--only", "proxy,shadow", "--ready-file", "ready"]);
    let ready: Value = serde_json::from_str(&folder.wait_for_file("ready")).unwrap();
    let proxy = ready["proxy"].as_str().unwrap().to_owned();
    for id in 1..=40 {
        let answer =
            ask(&proxy, &format!("/users/{id}/messages"), &format!("sid=s3cret-{}", id % 4));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert!(serving.terminate().is_some());
    folder.expect(
        &["shadow", "import", "reads.banyan.ndjson.zst", "--raw", "--out", "lines.ndjson"],
        0,
    );
    let lines = std::fs::read_to_string(folder.file("lines.ndjson")).unwrap();
    assert_eq!(lines.lines().count(), 41, "{}", folder.log());
    assert!(!lines.contains("s3cret"), "no credential is stored");
    assert!(lines.contains("/users/7/messages") && lines.contains("tok:number:"), "{lines}");

    let against = ["reads.banyan.ndjson.zst", "--against", &new.url, "--rate", "max"];
    for baseline in ["recorded", &legacy.url] {
        let (exit, data) = replay(&folder, &[&against[..], &["--baseline", baseline]].concat());
        assert_eq!(exit, 1, "{baseline}: {data:#}");
        assert_eq!(data["report"]["endpoints"][0]["endpoint"], "messages.list");
        let found = groups(&data);
        assert_eq!((found[0].0.as_str(), found[0].2, found.len()), ("$.total", 8, 1), "{data:#}");
        assert_eq!(total(&data, "compared"), 40, "{baseline}: {data:#}");
    }
    let key = folder.run(&[&["shadow", "replay"], &against[..], &["--key", "other.key"]].concat());
    assert!(key.contains("exit 2") && key.contains("banyan::replay::key"), "{key}");
}

#[test]
fn a_running_serve_records_for_a_time_when_asked() {
    let (legacy, new) = (Site::start(false, 0), Site::start(false, 0));
    let folder = Folder::with_config(&format!(
        r#"
[proxy]
listen = "127.0.0.1:0"
legacy = "{}"
[admin]
listen = "127.0.0.1:0"
[[context]]
name = "messages"
new = "{}"
[[context.endpoint]]
name = "messages.list"
request = "GET /users/{{user_id}}/messages"
phase = "shadow"
"#,
        legacy.url, new.url
    ));
    let asking = ["shadow", "record", "--for", "1500ms", "--out", "reads.ndjson", "--json"];
    let nobody = folder.run(&asking);
    assert!(nobody.contains("exit 6") && nobody.contains("banyan::replay::record"), "{nobody}");
    let serving = folder.start(&["serve", "--only", "proxy,shadow", "--ready-file", "ready"]);
    let ready: Value = serde_json::from_str(&folder.wait_for_file("ready")).unwrap();
    let proxy = ready["proxy"].as_str().unwrap().to_owned();
    let recorded = std::thread::scope(|scope| {
        let recording = scope.spawn(|| folder.json(&asking[..6]));
        folder.wait_for_file("reads.ndjson");
        for id in 1..=10 {
            ask(&proxy, &format!("/users/{id}/messages"), "sid=1");
        }
        recording.join().unwrap()
    });
    assert_eq!((&recorded["recorded"], &recorded["dropped"]), (&json!(10), &json!(0)));
    ask(&proxy, "/users/99/messages", "sid=1");
    let lines = std::fs::read_to_string(folder.file("reads.ndjson")).unwrap();
    assert!(lines.contains("/users/10/messages") && !lines.contains("/users/99/"), "{lines}");
    assert_eq!(serving.terminate(), Some(143));
    assert!(!folder.file("banyan-snapshot.json.record").exists());
}
