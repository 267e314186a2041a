//! Parity of events through the command line: a real forwarder fills its log from both sides, then `banyan events parity` judges it.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

mod support;

use banyan_events::broker::{self, ExchangeKind, Message, Topology};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, SqliteConnection};
use support::{Folder, wait_until};

/// Changes that both sides announce.
const CHANGES: u64 = 320;

const CONFIG: &str = r#"
[proxy]
listen = "127.0.0.1:0"
legacy = "http://127.0.0.1:9"

[admin]
listen = "127.0.0.1:0"

[[context]]
name = "messages"
new = "http://127.0.0.1:9"
events = ["message.*"]
parity-key = ["type", "subject|/subject/id"]
parity-window = "1m"
parity-late-max = "2s"

[[context.endpoint]]
name = "messages.list"
request = "GET /users/{user_id}/messages"

[events]
database = "sqlite:forwarder.db"
insertion = "tap"

[events.legacy]
broker = "embedded:events.db"
exchange = "semantic-events"

[events.new]
broker = "embedded:events.db"
exchange = "semantic-events-new"

[events.public]
broker = "embedded:events.db"
exchange = "public-events"

[[shadow.rule]]
endpoint = "messages.message.sent"
at = "$.audit_id"
do = "ignore_value"
reason = "each side counts its own"

[[shadow.rule]]
at = "$.occurred_at"
do = "time"
slack = "2s"
reason = "each side stamps its own publication"
"#;

/// Whether new does everything right.
#[derive(Clone, Copy, PartialEq, Eq)]
enum New {
    Right,
    /// Subject 10 is missing, 20 has another text, 30 comes twice, 40 and 41 change places, 50 comes late, 900 is its own.
    Wrong,
}

/// One event; `emission` numbers what its side published.
fn event(side: &str, kind: &str, subject: u64, text: &str, emission: u64) -> Message {
    let (exchange, time, audit) = match side {
        "legacy" => ("semantic-events", "2014/06/12 10:00:00 +0000", 812 + emission),
        _ => ("semantic-events-new", "2014-06-12T10:00:01Z", 9_000 + emission),
    };
    let body = format!(
        r#"{{"type":"{kind}","audit_id":{audit},"occurred_at":"{time}","subject":{{"type":"Message","id":{subject}}},"data":{{"text":"{text}"}}}}"#
    );
    Message::new(exchange, kind, body.into_bytes())
        .message_id(format!("{side}-{emission}"))
        .content_type("application/json")
        .persistent()
}

/// What a side publishes, in its order. The first of all only says where the log begins.
fn published(side: &str, new: New) -> Vec<Message> {
    let is_wrong = side == "new" && new == New::Wrong;
    let mut subjects: Vec<(u64, &str)> = Vec::new();
    for subject in 0..=CHANGES {
        // Two events of one subject: sent, then sent again with another text.
        let (first, second) = if is_wrong && subject == 40 { ("b", "a") } else { ("a", "b") };
        match subject {
            10 if is_wrong => {}
            20 if is_wrong => subjects.push((subject, "xyzzy-plugh")),
            30 if is_wrong => subjects.extend([(subject, "a"), (subject, "a")]),
            40 => subjects.extend([(subject, first), (subject, second)]),
            _ => subjects.push((subject, "a")),
        }
    }
    if is_wrong {
        subjects.push((900, "a"));
    }
    let event = |(emission, (subject, text)): (u64, (u64, &str))| {
        event(side, "message.sent", subject, text, emission)
    };
    (0..).zip(subjects).map(event).collect()
}

async fn log(folder: &Folder) -> SqliteConnection {
    SqliteConnectOptions::new().filename(folder.file("forwarder.db")).connect().await.unwrap()
}

async fn count(folder: &Folder, query: &'static str) -> i64 {
    if !folder.file("forwarder.db").exists() {
        return 0;
    }
    sqlx::query_scalar(query).fetch_one(&mut log(folder).await).await.unwrap_or(0)
}

/// Lets a real forwarder record what both sides publish.
fn recorded(new: New) -> Folder {
    let folder = Folder::with_config(CONFIG);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = format!("embedded:{}", folder.file("events.db").display());
    let broker = runtime.block_on(async {
        let broker = broker::connect(&url).await.unwrap();
        let topology = Topology::new()
            .exchange("semantic-events", ExchangeKind::Topic)
            .exchange("semantic-events-new", ExchangeKind::Topic);
        broker.declare(&topology).await.unwrap();
        broker
    });
    // The proxy makes the context known; the forwarder is a process of its own, as an operator may want it.
    let proxy = ["serve", "--only", "proxy,shadow", "--ready-file", "ready"];
    let serving = folder.start(&proxy);
    folder.wait_for_file("ready");
    let forwarding = folder.start(&["events", "forward", "--ready-file", "forwarding"]);
    folder.wait_for_file("forwarding");
    // From here on nothing that is published is lost: the raw queues are there.
    let (legacy, of_new) = (published("legacy", new), published("new", new));
    let all = i64::try_from(legacy.len() + of_new.len()).unwrap();
    runtime.block_on(async {
        broker.publish_all(legacy).await.unwrap();
        broker.publish_all(of_new).await.unwrap();
    });
    let rows = "SELECT COUNT(*) FROM forwarder_log WHERE context = 'messages'";
    wait_until(&format!("{all} rows: {}", folder.log()), || {
        runtime.block_on(count(&folder, rows)) == all
    });
    let drained = "SELECT COUNT(*) FROM forwarder_drained";
    wait_until("both raw queues", || runtime.block_on(count(&folder, drained)) == 2);
    assert_eq!(forwarding.terminate(), Some(143), "{}", folder.log());
    assert_eq!(serving.terminate(), Some(143), "{}", folder.log());
    runtime.block_on(spread(&folder, new));
    folder
}

/// An hour ago and in steps, so that nothing is young and no test has to wait.
async fn spread(folder: &Folder, new: New) {
    let mut log = log(folder).await;
    let times = "UPDATE forwarder_log SET decided_ms =
        (SELECT MAX(at_ms) FROM forwarder_drained) - 3600000
            + 50 * CAST(json_extract(body, '$.subject.id') AS INTEGER)
            + CASE side WHEN 'new' THEN 30 ELSE 0 END
            + CASE WHEN json_extract(body, '$.data.text') = 'b' THEN 10 ELSE 0 END";
    sqlx::query(times).execute(&mut log).await.unwrap();
    let first = "UPDATE forwarder_log SET decided_ms = decided_ms - 3600000
        WHERE json_extract(body, '$.subject.id') = 0";
    sqlx::query(first).execute(&mut log).await.unwrap();
    if new == New::Wrong {
        let late = "UPDATE forwarder_log SET decided_ms = decided_ms + 3000
            WHERE side = 'new' AND json_extract(body, '$.subject.id') = 50";
        sqlx::query(late).execute(&mut log).await.unwrap();
        let moved = "UPDATE forwarder_log SET decided_ms = decided_ms +
            CASE json_extract(body, '$.data.text') WHEN 'a' THEN 20 ELSE -20 END
            WHERE side = 'new' AND json_extract(body, '$.subject.id') = 40";
        sqlx::query(moved).execute(&mut log).await.unwrap();
    }
}

fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "TIME");
    settings.add_filter(r"rows? \d+", "row N");
    settings.add_filter(r"and \d+(: |  at|\n)", "and N$1");
    settings.add_filter(r"at the rate so far about .*", "at the rate so far about LONG");
    settings.add_filter(r#"("\w+_ms": )\d{13}"#, "${1}MS");
    settings.add_filter(r"tok:(\w+(?:\(<=\d+\))?):[0-9a-f]{12}", "tok:$1:HASH");
    settings.add_filter(r#"("distinct_per_hour": )[0-9.]+"#, "${1}RATE");
    settings.bind(|| insta::assert_snapshot!(name, text));
}

const GATE: [&str; 5] = ["events", "parity", "messages", "--max-mismatch-percent", "1"];

fn pretty(json: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    serde_json::to_string_pretty(&value).unwrap()
}

#[test]
fn sides_that_announce_the_same_pass_and_a_period_that_cannot_be_judged_does_not() {
    let folder = recorded(New::Right);
    snapshot("holds", &folder.run(&GATE));
    snapshot("holds_json", &pretty(&folder.expect(&[&GATE[..], &["--json"]].concat(), 0)));
    let report = folder.file("report");
    let files =
        ["--html", report.to_str().unwrap(), "--junit", "parity.xml", "--markdown", "parity.md"];
    folder.expect(&[&GATE[..], &files].concat(), 0);
    assert!(
        std::fs::read_to_string(folder.file("parity.xml"))
            .unwrap()
            .contains("messages.message.sent")
    );
    assert!(report.join("index.html").exists() && folder.file("parity.md").exists());

    // A budget that so few events cannot prove, and a time without events.
    snapshot(
        "too_few",
        &folder.run(&["events", "parity", "messages", "--max-mismatch-percent", "0.01"]),
    );
    snapshot("nothing", &folder.run(&[&GATE[..], &["--since", "1s"]].concat()));
    snapshot("usage", &folder.run(&[&GATE[..], &["--window", "5s", "--late-max", "1m"]].concat()));

    // The log was trimmed: the first rows are gone.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let trim = "DELETE FROM forwarder_log WHERE id <= (SELECT MIN(id) FROM forwarder_log) + 20";
        sqlx::query(trim).execute(&mut log(&folder).await).await.unwrap();
    });
    snapshot("trimmed", &folder.run(&GATE));
}

#[test]
fn without_a_recorded_event_or_a_place_of_new_the_remedy_is_told() {
    let folder = Folder::with_config(CONFIG);
    snapshot("before_serve", &folder.run(&GATE));
    let (before, new) = CONFIG.split_once("[events.new]").unwrap();
    let (_, after) = new.split_once("[events.public]").unwrap();
    folder.write("banyan.toml", &format!("{before}[events.public]{after}"));
    snapshot("no_new", &folder.run(&GATE));
}

#[test]
fn each_fault_of_new_is_found_and_a_handover_is_refused() {
    let folder = recorded(New::Wrong);
    snapshot("fails", &folder.run(&["events", "parity", "messages"]));
    let text = folder.expect(&["events", "parity", "messages", "--json"], 1);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let findings = &value["data"]["counts"]["findings"];
    let expected = serde_json::json!({
        "differ": 1, "only_legacy": 1, "only_new": 1, "duplicated": 1, "reordered": 1, "late": 1,
    });
    assert_eq!(findings, &expected);
    assert!(!text.contains("xyzzy"), "values are redacted");
    let plan = folder.expect(&["events", "handover", "messages", "--to", "new"], 1);
    let parity = plan.lines().find(|line| line.contains("parity")).unwrap();
    assert!(parity.starts_with("warn") && parity.contains("6 of 323 mismatch"), "{plan}");
    let run =
        ["events", "handover", "messages", "--to", "new", "--execute", "--reason", "x", "--json"];
    let refused = folder.command(&run).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(5), "{said}");
    assert!(said.contains("parity"), "{said}");
}
