//! The command line as its users see it: help, errors and exit codes, as snapshots.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

mod support;

use sqlx::Connection as _;
use std::net::TcpListener;
use support::{Folder, free_port};

const CONFIG: &str = r#"
[proxy]
listen = "127.0.0.1:0"
legacy = "http://127.0.0.1:9"

[admin]
listen = "127.0.0.1:0"

[[context]]
name = "messages"
new = "http://127.0.0.1:9"

[[context.endpoint]]
name = "messages.list"
request = "GET /users/{user_id}/messages"

[[context.endpoint]]
name = "messages.create"
request = "POST /messages"

[[expect]]
request = "GET /users/3/messages"
endpoint = "messages.list"
"#;

/// Every command, for its help snapshot. `tests/tidy.rs` checks that none is missing here.
pub(crate) const COMMANDS: &[&str] = &[
    "",
    "demo",
    "check",
    "serve",
    "status",
    "route",
    "route list",
    "route show",
    "route why",
    "route flip",
    "context",
    "context show",
    "context cutover",
    "context drill",
    "context retire",
    "context fence",
    "context fence install",
    "context fence uninstall",
    "rollback",
    "freeze",
    "unfreeze",
    "shadow",
    "shadow report",
    "shadow gate",
    "shadow diff",
    "shadow rules",
    "shadow rules list",
    "shadow rules suggest",
    "shadow noise",
    "shadow noise list",
    "shadow noise accept",
    "shadow noise forget",
    "shadow templates",
    "shadow record",
    "shadow import",
    "shadow replay",
    "sync",
    "sync list",
    "sync doctor",
    "sync plan",
    "sync install",
    "sync uninstall",
    "sync pause",
    "sync resume",
    "sync repair",
    "sync run",
    "sync throttle",
    "sync verify",
    "sync conflicts",
    "sync overrule",
    "events",
    "events status",
    "events forward",
    "events release",
    "events drop",
    "events parity",
    "events handover",
    "events wrap",
    "events unwrap",
    "events doctor",
    "events outbox",
    "events outbox status",
    "events outbox dead",
    "events outbox retry",
    "events outbox drop",
    "events outbox ddl",
    "audit",
    "config",
    "config show",
    "config reference",
    "explain",
    "completions",
    "fixture",
    "fixture mothership",
    "fixture messages",
    "fixture push-notifications",
    "fixture stats",
    "fixture traffic",
];

/// Ages, ports and folders are not part of the promise.
fn snapshot(name: &str, folder: &Folder, text: &str) {
    let text = text.replace(&folder.path().display().to_string(), "FOLDER");
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\d+m?s ago", "AGO");
    settings.add_filter(r"127\.0\.0\.1:\d{4,5}", "127.0.0.1:PORT");
    settings.add_filter(r"(\b0s\b|\b1s\b)", "NOW");
    settings.add_filter(r"in \d+ ms", "in N ms");
    settings.add_filter(r"sport = :\d+", "sport = :PORT");
    settings.add_filter(r"\.banyan-report-\w+", ".banyan-report-RANDOM");
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn every_command_helps_with_examples() {
    let folder = Folder::new();
    for command in COMMANDS {
        let words: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let name = format!("help {command}").trim().replace(' ', "_");
        snapshot(&name, &folder, &folder.run(&words));
    }
}

#[test]
fn wrong_usage_is_exit_2_with_the_closest_word() {
    let folder = Folder::with_config(CONFIG);
    snapshot("usage_unknown_command", &folder, &folder.run(&["rout", "list"]));
    snapshot("usage_unknown_flag", &folder, &folder.run(&["status", "--wach"]));
    snapshot(
        "usage_unknown_endpoint",
        &folder,
        &folder.run(&["route", "flip", "messages.lst", "shadow"]),
    );
    snapshot(
        "usage_unknown_phase",
        &folder,
        &folder.run(&["route", "flip", "messages.list", "cnary"]),
    );
    snapshot("usage_shadow_alone", &folder, &folder.run(&["serve", "--only", "shadow"]));
}

#[test]
fn a_bad_configuration_is_exit_3_with_every_problem_at_its_place() {
    let bad = CONFIG
        .replace("listen = \"127.0.0.1:0\"\nlegacy", "listn = \"x\"\nlegacy")
        .replace(
            "request = \"POST /messages\"",
            "request = \"POST messages\"\nmirror-percent = 250",
        )
        .replace("endpoint = \"messages.list\"", "endpoint = \"messages.lits\"");
    let folder = Folder::with_config(&bad);
    snapshot("config_bad", &folder, &folder.run(&["status"]));
    snapshot("config_bad_check", &folder, &folder.run(&["check"]));
    snapshot("config_bad_json", &folder, &folder.run(&["status", "--json"]));
    snapshot("config_missing", &folder, &folder.run(&["status", "--config", "nowhere.toml"]));
    snapshot("config_good_check", &folder, &Folder::with_config(CONFIG).run(&["check"]));
}

#[test]
fn a_flip_that_breaks_a_rule_is_exit_5_with_the_legal_way() {
    let folder = Folder::with_config(CONFIG);
    snapshot("flip_write", &folder, &folder.run(&["route", "flip", "messages.create", "new"]));
    snapshot("flip_illegal", &folder, &folder.run(&["route", "flip", "messages.list", "new"]));
    snapshot("rollback_nothing", &folder, &folder.run(&["rollback", "messages.list"]));
    folder.expect(&["route", "flip", "messages.list", "shadow"], 0);
    folder.expect(&["freeze", "--reason", "incident 7", "--as", "ada"], 0);
    let canary = ["route", "flip", "messages.list", "canary", "--percent", "10"];
    snapshot("flip_frozen", &folder, &folder.run(&canary));
    snapshot("rollback_while_frozen", &folder, &folder.run(&["rollback", "messages"]));
    let stale = ["route", "flip", "messages.list", "shadow", "--generation", "1"];
    snapshot("flip_stale", &folder, &folder.run(&stale));
    let audit = folder.json(&["audit"]);
    let outcomes: Vec<&str> = audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["outcome"].as_str().unwrap())
        .collect();
    assert!(outcomes.contains(&"refused") && outcomes.contains(&"stale"), "{outcomes:?}");
}

#[test]
fn the_commands_answer_on_an_untouched_installation() {
    let folder = Folder::with_config(CONFIG);
    folder.expect(&["route", "flip", "messages.list", "shadow", "--reason", "first"], 0);
    snapshot("route_list", &folder, &folder.run(&["route", "list"]));
    snapshot(
        "route_why",
        &folder,
        &folder.run(&["route", "why", "GET", "/users/3/messages?page=2"]),
    );
    snapshot(
        "route_why_refused",
        &folder,
        &folder.run(&["route", "why", "GET", "/users//3/messages"]),
    );
    snapshot("suggestions_of_nothing", &folder, &folder.run(&["shadow", "rules", "suggest"]));
    snapshot("templates_of_nothing", &folder, &folder.run(&["shadow", "templates"]));
    snapshot("gate_of_nothing", &folder, &folder.run(&["shadow", "gate"]));
    let watched = ["shadow", "gate", "--watched", "--since", "1402567200000", "--target", "99"];
    snapshot("gate_watched", &folder, &folder.run(&watched));
    snapshot("gate_impossible", &folder, &folder.run(&["shadow", "gate", "--target", "100"]));
    snapshot("gate_junit", &folder, &folder.run(&["shadow", "gate", "--junit", "-"]));
    let unwritable = ["shadow", "report", "--markdown", "no/such/folder/comment.md"];
    snapshot("report_unwritable", &folder, &folder.run(&unwritable));
    let files = ["shadow", "report", "--html", "pages", "--junit", "gate.xml", "--markdown", "-"];
    assert!(folder.run(&files).contains("## INCONCLUSIVE"));
    for file in ["pages/index.html", "pages/report.css", "gate.xml"] {
        assert!(folder.path().join(file).exists(), "{file}");
    }
    snapshot("events_none", &folder, &folder.run(&["events", "status"]));
    snapshot("sync_none", &folder, &folder.run(&["sync", "plan"]));
    snapshot("explain", &folder, &folder.run(&["explain", "banyan::flip::write_endpoint"]));
    snapshot("explain_exit", &folder, &folder.run(&["explain", "exit", "4"]));
    for command in
        [&["status"][..], &["route", "list"], &["audit"], &["config", "show"], &["check"]]
    {
        assert!(folder.json(command).is_object(), "{command:?}");
    }
}

#[test]
fn an_expired_rule_fails_the_check_and_is_marked_in_the_list() {
    let rules = r#"
[[shadow.rule]]
at = "$.server_time"
do = "ignore_value"
endpoint = "messages.list"
reason = "the clock of the host"
owner = "messages-team"

[[shadow.rule]]
id = "old-build"
at = "header:x-build"
do = "ignore"
reason = "names the build"
expires = 2020-01-31
"#;
    let folder = Folder::with_config(&format!("{CONFIG}{rules}"));
    snapshot("check_expired_rule", &folder, &folder.run(&["check"]));
    let list = folder.run(&["shadow", "rules", "list"]);
    let own: Vec<&str> = list.lines().filter(|line| !line.contains("builtin/")).collect();
    snapshot("rules_list", &folder, &own.join("\n"));
    let listed = folder.json(&["shadow", "rules", "list", "--endpoint", "messages.create"]);
    let states = listed["rules"].as_array().unwrap();
    assert_eq!(
        (states[0]["id"].as_str(), states[0]["health"].as_str()),
        (Some("old-build"), Some("expired"))
    );
    assert!(states.iter().skip(1).all(|rule| rule["source"] == "builtin"), "{listed}");
    let covering = rules.replace("$.server_time", "$.messages[*].id");
    let folder = Folder::with_config(&format!("{CONFIG}{covering}"));
    snapshot("check_covering_rule", &folder, &folder.run(&["check"]));
}

#[test]
fn looking_makes_no_control_store() {
    let folder = Folder::with_config(CONFIG);
    snapshot("status_before_serve", &folder, &folder.run(&["status"]));
    assert_eq!(folder.json(&["route", "list"])["endpoints"].as_array().unwrap().len(), 2);
    folder.expect(&["route", "why", "GET", "/users/3/messages"], 0);
    assert!(!folder.file("banyan-control.db").exists());
}

#[test]
fn a_port_in_use_is_exit_6_and_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let folder = Folder::with_config(&CONFIG.replace(
        "listen = \"127.0.0.1:0\"\nlegacy",
        &format!("listen = \"127.0.0.1:{port}\"\nlegacy"),
    ));
    snapshot("port_in_use", &folder, &folder.run(&["serve"]));
    // Told before anything runs, also where the port is free; and one of an earlier process does not stay.
    let nowhere = folder.run(&["serve", "--ready-file", "missing/ready"]);
    assert!(
        nowhere.contains("exit 6") && nowhere.contains("cannot write `missing/ready`"),
        "{nowhere}"
    );
    folder.write("ready", "{}");
    folder.expect(&["serve", "--ready-file", "ready"], 6);
    assert!(!folder.file("ready").exists() && !folder.file("ready.part").exists());
}

#[test]
fn an_unreachable_database_is_exit_6_and_no_password_is_shown() {
    let port = free_port();
    let databases = format!(
        "legacy-database = \"mysql://app:s3cret@127.0.0.1:{port}/x\"\nnew-database = \"sqlite:new.db\"\nnew ="
    );
    let job = r#"
[[sync]]
job = "people"
context = "messages"
root = "user"
key = ["integer"]
[[sync.roots]]
select = "SELECT id AS k FROM users"
[[sync.capture]]
table = "users"
key = "{row}.id"
[[sync.table]]
name = "people"
key = ["id"]
root-column = "id"
select = "SELECT id FROM users WHERE id IN ({keys.1})"
"#;
    let folder = Folder::with_config(&(CONFIG.replacen("new =", &databases, 1) + job));
    let said = folder.run(&["sync", "plan"]);
    assert!(!said.contains("s3cret"), "{said}");
    snapshot("database_unreachable", &folder, &said);
}

/// An outbox of which nothing is known yet, made by the printed statements.
fn make_outbox(folder: &Folder, file: &str) {
    let ddl = folder.command(&["events", "outbox", "ddl", "sqlite"]).output().unwrap().stdout;
    execute(folder, file, String::from_utf8(ddl).unwrap());
}

/// Runs statements on a SQLite file, which is made if it is not there.
fn execute(folder: &Folder, file: &str, sql: String) {
    let url = format!("sqlite:{}?mode=rwc", folder.file(file).display());
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut database = sqlx::SqliteConnection::connect(&url).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut database).await.unwrap();
        database.close().await.unwrap();
    });
}

#[test]
fn an_outbox_that_cannot_be_reached_is_named_and_the_others_are_shown() {
    let databases = "legacy-database = \"sqlite:legacy.db\"\nnew-database = \"postgres://u:s3cret@127.0.0.1:1/d\"\nnew =";
    let folder = Folder::with_config(&CONFIG.replacen("new =", databases, 1));
    make_outbox(&folder, "legacy.db");
    let said = folder.run(&["events", "outbox", "status"]);
    assert!(!said.contains("s3cret"), "{said}");
    snapshot("outbox_unreachable", &folder, &said);
    folder.write("legacy.db", "only words, long enough to be taken for the head of a database");
    let broken = folder.run(&["events", "outbox", "dead"]);
    assert!(broken.contains("exit 6") && broken.contains("new-database"), "{broken}");
}

#[test]
fn triggers_are_installed_only_when_they_were_shown_and_confirmed() {
    let job = include_str!("../sync-jobs/mappings/sqlite-to-sqlite.toml");
    let databases =
        "legacy-database = \"sqlite:legacy.db\"\nnew-database = \"sqlite:new.db\"\nnew =";
    let folder = Folder::with_config(&(CONFIG.replacen("new =", databases, 1) + job));
    assert!(folder.run(&["sync", "doctor"]).contains("exit 6"), "there is no database yet");
    let seed = ["--seed-only", "--users", "20", "--messages", "40"];
    let seed = [&["fixture", "mothership", "--database", "sqlite:legacy.db"], &seed[..]].concat();
    folder.expect(&seed, 0);
    let service = folder.start(&[
        "fixture",
        "messages",
        "--database",
        "sqlite:new.db",
        "--ready-file",
        "ready",
    ]);
    folder.wait_for_file("ready");
    drop(service);
    let doctor = folder.expect(&["sync", "doctor", "people", "--sample"], 0);
    for line in [
        "warn  new     installation    by_state is not there yet",
        "0 fail",
        "rows inserted and deleted",
    ] {
        assert!(doctor.contains(line), "{line}: {doctor}");
    }
    let refused = folder.run(&["sync", "run", "people", "--once"]);
    assert!(refused.contains("exit 5") && refused.contains("CREATE TRIGGER"), "{refused}");
    assert!(folder.expect(&["sync", "plan", "people"], 1).contains("CREATE TRIGGER"));
    folder.expect(&["sync", "run", "--once", "--execute"], 0);
    assert!(folder.expect(&["sync", "plan"], 0).contains("nothing to do"));
    let again = folder.expect(&["sync", "run", "--once"], 0);
    assert!(again.contains("0 rows inserted, 0 updated, 0 deleted"), "{again}");
    let verify = folder.json(&["sync", "verify"]);
    assert_eq!(verify["drift"], 0, "{verify:#}");
    repair_is_shown_then_enqueued_then_applied(&folder);
    let doctor = folder.json(&["sync", "doctor", "people"]);
    assert_ne!(doctor["jobs"][0]["result"], "fail", "{doctor:#}");
    assert!(doctor["jobs"][0]["checks"][0]["topic"].is_string(), "{doctor:#}");
    execute(&folder, "legacy.db", "DROP TRIGGER by_people_1_au".to_owned());
    let doctor = folder.expect(&["sync", "doctor", "people"], 1);
    assert!(doctor.contains("trigger by_people_1_au on users is missing"), "{doctor}");
    folder.expect(&["sync", "run", "people", "--once", "--execute"], 0);
    execute(
        &folder,
        "new.db",
        "ALTER TABLE people DROP COLUMN avatar_url; ALTER TABLE people ADD COLUMN avatar_url BLOB"
            .to_owned(),
    );
    let refused = folder.run(&["sync", "run", "people", "--once"]);
    assert!(
        refused.contains("exit 5") && refused.contains("`people.avatar_url` was TEXT"),
        "{refused}"
    );
    folder.expect(&["sync", "run", "people", "--once", "--execute"], 0);
    assert_eq!(folder.json(&["sync", "verify"])["drift"], 0);
    both_directions(&folder);
}

/// The second direction is installed, a write on the side that does not own the data is set aside, and all of it goes again.
fn both_directions(folder: &Folder) {
    let missing = folder.expect(&["sync", "install", "messages"], 1);
    assert!(missing.contains("ON \"chat_messages\"") && missing.contains("--execute"), "{missing}");
    folder.expect(&["sync", "install", "--execute"], 0);
    assert!(
        folder.expect(&["sync", "install"], 0).contains("messages to legacy: all is installed")
    );
    folder.expect(&["sync", "conflicts"], 0);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        for (database, sql) in [
            ("new.db", "UPDATE chat_messages SET body = 'theirs' WHERE id = 3"),
            ("legacy.db", "UPDATE messages SET body = 'ours' WHERE id = 3"),
        ] {
            let url = format!("sqlite:{}", folder.path().join(database).display());
            let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
            sqlx::query(sql).execute(&pool).await.unwrap();
            pool.close().await;
        }
    });
    folder.expect(&["sync", "run", "messages", "--once"], 0);
    let conflicts = folder.expect(&["sync", "conflicts"], 1);
    assert!(conflicts.contains("body: wanted ours, found theirs"), "{conflicts}");
    let conflicts = folder.expect(&["sync", "conflicts", "messages", "--json"], 1);
    let conflicts: serde_json::Value = serde_json::from_str(&conflicts).unwrap();
    let key = conflicts["data"]["jobs"][0]["keys"][0]["key"].as_str().unwrap().to_owned();
    folder.expect(&["sync", "overrule", "messages", &key], 0);
    folder.expect(&["sync", "run", "messages", "--once"], 0);
    folder.expect(&["sync", "conflicts"], 0);
    folder.expect(&["sync", "run", "messages", "--to", "legacy", "--once"], 0);
    assert_eq!(folder.json(&["sync", "verify", "messages", "--to", "legacy"])["drift"], 0);
    let would = folder.expect(&["sync", "uninstall", "messages"], 1);
    assert!(would.contains("DROP TRIGGER") && would.contains("--execute"), "{would}");
    folder.expect(&["sync", "uninstall", "messages", "--execute"], 0);
    assert!(folder.expect(&["sync", "uninstall", "messages"], 0).contains("Nothing of the job"));
}

fn repair_is_shown_then_enqueued_then_applied(folder: &Folder) {
    let url = format!("sqlite:{}", folder.file("new.db").display());
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut database = sqlx::SqliteConnection::connect(&url).await.unwrap();
        let wrong = sqlx::raw_sql("UPDATE people SET username = 'wrong' WHERE id = 3");
        wrong.execute(&mut database).await.unwrap();
        database.close().await.unwrap();
    });
    let since = folder.expect(&["sync", "verify", "people", "--since-clean"], 0);
    assert!(since.contains("0 aggregates checked"), "it went around the job: {since}");
    let shown = folder.expect(&["sync", "repair", "people"], 1);
    assert!(shown.contains("found wrong") && shown.contains("nothing was written"), "{shown}");
    let marked = folder.expect(&["sync", "repair", "people", "3", "--execute"], 4);
    assert!(marked.contains("banyan sync run people --once"), "{marked}");
    folder.expect(&["sync", "run", "people", "--once"], 0);
    let repaired = folder.json(&["sync", "repair", "people"]);
    assert_eq!(repaired["outcome"], "nothing-to-do", "{repaired:#}");
    assert_eq!(repaired["before"]["equal"], 20, "{repaired:#}");
}
