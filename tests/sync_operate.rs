//! Sync jobs operated through the real binary: killed and resumed, paused, throttled, scheduled, listed.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

mod support;

use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Executor, SqliteConnection};
use std::time::Duration;
use support::{Folder, wait_until};

const USERS: i64 = 1_500;

/// A job `people` with `extra` lines.
fn config(extra: &str) -> String {
    format!(
        r#"
[proxy]
listen = "127.0.0.1:0"
legacy = "http://127.0.0.1:9"

[[context]]
name = "messages"
new = "http://127.0.0.1:9"
legacy-database = "sqlite:legacy.db"
new-database = "sqlite:new.db"

[[context.endpoint]]
name = "messages.list"
request = "GET /users/{{user_id}}/messages"

[[sync]]
job = "people"
context = "messages"
root = "user"
key = ["integer"]
{extra}

[[sync.roots]]
side = "legacy"
select = "SELECT id AS k FROM users"

[[sync.capture]]
side = "legacy"
table = "users"
key = "{{row}}.id"

[[sync.table]]
to = "new"
name = "people"
key = ["id"]
root-column = "id"
select = "SELECT id, name FROM users WHERE id IN ({{keys.1}})"
"#
    )
}

fn block<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

async fn open(folder: &Folder, name: &str) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(folder.file(name)).create_if_missing(true);
    options.busy_timeout(Duration::from_secs(20)).connect().await.unwrap()
}

fn execute(folder: &Folder, name: &str, sql: &'static str) {
    block(async { open(folder, name).await.execute(sql).await.unwrap() });
}

fn count(folder: &Folder, sql: &'static str) -> i64 {
    block(async {
        sqlx::query_scalar(sql).fetch_one(&mut open(folder, "new.db").await).await.unwrap()
    })
}

/// Both databases, with users on the legacy side.
fn world(extra: &str) -> Folder {
    let folder = Folder::with_config(&config(extra));
    execute(
        &folder,
        "legacy.db",
        "PRAGMA journal_mode = WAL; CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
         INSERT INTO users WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)
         SELECT i, 'user ' || i FROM n",
    );
    execute(
        &folder,
        "new.db",
        "PRAGMA journal_mode = WAL; CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT NOT NULL)",
    );
    folder
}

/// The one job as `sync list` shows it.
fn listed(folder: &Folder) -> Value {
    folder.json(&["sync", "list"])["jobs"][0].clone()
}

#[test]
fn a_run_that_was_killed_in_the_middle_is_resumed_and_both_sides_are_equal() {
    let folder = world("max-rows-per-second = 200");
    let run = folder.start(&["sync", "run", "people", "--execute"]);
    wait_until("some of the copy", || {
        let job = listed(&folder);
        let done = job["done"].as_u64().unwrap_or(0);
        job["phase"] == "copy" && (400..1_300).contains(&done)
    });
    let job = listed(&folder);
    assert!(job["worker"].is_string() && job["total"] == USERS, "{job}");
    run.kill();
    let copied = count(&folder, "SELECT count(*) FROM people");
    assert!((400..USERS).contains(&copied), "killed in the middle: {copied}");
    let log = folder.log();
    assert!(log.contains("state waiting: 200 rows/s reached"), "{log}");
    assert!(log.contains("/1,500 ") && log.contains("eta "), "{log}");
    // A line per tenth or ten seconds, and at most one per second for states that come and go.
    assert!(log.lines().filter(|line| line.starts_with("people ")).count() < 40, "{log}");

    folder.expect(&["sync", "throttle", "people", "--rows-per-second", "1000000"], 0);
    let text = folder.expect(&["sync", "run", "people", "--json", "--no-progress"], 0);
    let answer: Value = serde_json::from_str(&text).unwrap();
    let inserted = answer["data"]["jobs"][0]["inserted"].as_i64().unwrap();
    assert_eq!(inserted, USERS - copied, "it went on where the killed one was");
    let verified = folder.json(&["sync", "verify"]);
    assert_eq!(verified["drift"], 0, "{verified}");

    let job = folder.json(&["sync", "list", "people"])["jobs"][0].clone();
    assert_eq!((&job["phase"], &job["state"]), (&"drain".into(), &"done".into()), "{job}");
    assert_eq!(job["runs"].as_array().map(Vec::len), Some(1), "the killed one had no end: {job}");
    let shown = folder.expect(&["sync", "list", "people"], 0);
    assert!(shown.contains("sqlite > sqlite") && shown.contains("STARTED (UTC)"), "{shown}");
}

#[test]
fn serve_sweeps_at_slots_follows_and_obeys_orders() {
    let folder = world("follow = true\nschedule = \"0 3 1 1 *\"\ntime-zone = \"Europe/Berlin\"");
    folder.expect(&["sync", "run", "people", "--execute", "--no-progress"], 0);
    assert!(listed(&folder)["schedule"]["next_ms"].is_u64());
    // A slot was missed while no scheduler ran: one run makes up for it.
    execute(
        &folder,
        "new.db",
        "INSERT INTO by_slot VALUES ('people', 'new', 1700000000000, 0, '', 0, 0, -1, 0, 0, '');
         UPDATE people SET name = 'drifted' WHERE id = 7",
    );
    let serve = folder.start(&["serve", "--only", "sync", "--ready-file", "ready"]);
    folder.wait_for_file("ready");
    wait_until("the sweep", || {
        let job = listed(&folder);
        job["schedule"]["runs"] == 1 && job["schedule"]["running_slot_ms"].is_null()
    });
    let drifted = "SELECT count(*) FROM people WHERE name = 'drifted'";
    assert_eq!(count(&folder, drifted), 0, "the sweep mended what no trigger saw");
    let job = listed(&folder);
    assert_eq!((&job["state"], &job["phase"]), (&"following".into(), &"drain".into()), "{job}");
    assert!(job["schedule"]["passed"].as_u64().unwrap() >= 1, "older slots are folded: {job}");

    let said = folder.expect(&["sync", "pause", "people", "--reason", "peak hour"], 0);
    assert!(said.contains("people: paused, no limit of rows/s (tester: peak hour)"), "{said}");
    wait_until("the worker waits and says why", || {
        let job = listed(&folder);
        job["state"] == "waiting" && job["reason"] == "paused by tester: peak hour"
    });
    execute(&folder, "legacy.db", "UPDATE users SET name = 'later' WHERE id = 8");
    let status = folder.expect(&["status"], 0);
    assert!(status.contains("sync people: waiting: paused by tester: peak hour"), "{status}");
    let list = folder.expect(&["sync", "list"], 0);
    assert!(list.contains("people: waiting: paused by tester: peak hour"), "{list}");
    let later = "SELECT count(*) FROM people WHERE name = 'later'";
    assert_eq!(count(&folder, later), 0);
    folder.expect(&["sync", "resume", "people"], 0);
    wait_until("the change", || count(&folder, later) == 1);
    assert_eq!(serve.terminate(), Some(143), "stopped in good order");
    assert_eq!(folder.expect(&["sync", "verify"], 0).lines().count(), 1);
}

#[test]
fn what_cannot_work_is_refused_at_its_place() {
    let extra = "follow = true\nschedule = \"61 * * * *\"\ntime-zone = \"Berlin\"\nmissed = \"some\"
[[sync.throttle]]\nside = \"new\"\nrunning-max = 4
[[sync.throttle]]\nside = \"legacy\"\nlag-query = \"SELECT 1\"
[[sync.cache]]\nside = \"legacy\"\nserver = \"localhost\"\nkeys = [\"inbox\", \"u {key.1}\", \"{key.2}\"]";
    let folder = Folder::with_config(&config(extra));
    insta::assert_snapshot!("sync_operate_config_bad", folder.run(&["check"]));
    let extra = "follow = true\nschedule = \"0 3 * * *\"\ntime-zone = \"Berlin\"";
    let folder = Folder::with_config(&config(extra));
    let said = folder.run(&["check"]);
    assert!(said.contains("did you mean `Europe/Berlin`?"), "{said}");
    let folder = Folder::with_config(&config("follow = true\njitter = \"5s\""));
    let said = folder.run(&["check"]);
    assert!(said.contains("`sync.jitter` has no effect without `schedule`"), "{said}");
    let folder = world("follow = true");
    insta::assert_snapshot!("sync_pause_unknown", folder.run(&["sync", "pause", "poeple"]));
    insta::assert_snapshot!("sync_throttle_nothing", folder.run(&["sync", "throttle", "people"]));
    insta::assert_snapshot!("sync_pause_not_installed", folder.run(&["sync", "pause", "people"]));
    insta::assert_snapshot!("sync_list_never_ran", folder.run(&["sync", "list"]));
}
