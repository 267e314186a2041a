//! The whole walk through the real binary: on embedded defaults, and on MariaDB, Postgres and RabbitMQ.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test helpers fail by panicking")]

mod support;

use banyan_test_servers::{mariadb, or_skip, postgres, rabbitmq};
use serde_json::Value;
use std::sync::{Mutex, PoisonError};
use support::Folder;

/// A walk starts eight processes and wants the machine for itself.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs the demo; answers its summary object.
fn demo(folder: &Folder, options: &[&str]) -> Value {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let world = folder.file("world").display().to_string();
    let arguments = [&["demo", "--fast", "--json", "--dir", &world], options].concat();
    let output = folder.command(&arguments).output().unwrap();
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let last = stdout.lines().last().unwrap_or_default();
    let summary: Value = serde_json::from_str(last)
        .unwrap_or_else(|_| panic!("no summary\n{stdout}\n{stderr}\n{}", logs(folder)));
    assert_eq!(output.status.code(), Some(0), "{summary:#}\n{stderr}\n{}", logs(folder));
    summary
}

fn logs(folder: &Folder) -> String {
    let read = |name: &str| {
        let text = std::fs::read_to_string(folder.file("world").join(name)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.len().saturating_sub(15);
        format!("== {name}\n{}\n", lines[last..].join("\n"))
    };
    let names = ["mothership.log", "messages.log", "serve.log", "traffic.log", "traffic.out"];
    let consumers = ["push-notifications.log", "stats.log"];
    names.into_iter().chain(consumers).map(read).collect()
}

/// What must hold after every walk.
fn assert_whole(summary: &Value) {
    assert_eq!(summary["schema"], "banyan.demo/1");
    assert_eq!(summary["failed"], 0, "{summary:#}");
    assert!(summary["writes"].as_u64().unwrap() > 100, "{summary:#}");
    assert_eq!(summary["mismatches"], 0, "{summary:#}");
    assert_eq!(summary["drift"], false, "{summary:#}");
    let events = &summary["events"];
    assert!(events["committed"].as_u64().unwrap() > 100, "{summary:#}");
    assert_eq!(events["committed"], events["public"], "{summary:#}");
    for none in ["missing", "duplicated", "unknown"] {
        assert_eq!(events[none], 0, "{summary:#}");
    }
    let consumers = &summary["consumers"];
    assert!(consumers["notifications"].as_u64().unwrap() > 20, "{summary:#}");
    assert_eq!(consumers["notifications"], consumers["sent_to_others"], "{summary:#}");
    assert_eq!(consumers["counted"], consumers["to_count"], "{summary:#}");
    for none in ["notified_twice", "wrong_counts", "poison"] {
        assert_eq!(consumers[none], 0, "{summary:#}");
    }
    let mut causes: Vec<(&str, &str)> = summary["causes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cause| (cause["endpoint"].as_str().unwrap(), cause["path"].as_str().unwrap()))
        .collect();
    causes.sort_unstable();
    let planted = [
        ("messages.conversation", "$.messages[*]"),
        ("messages.list", "$.messages[*].sender.badge"),
        ("messages.show", "$.message.created_at"),
        ("messages.unread_count", "$.unread_count"),
    ];
    assert_eq!(causes, planted, "exactly the planted defects, and nothing else");
}

#[test]
fn a_context_moves_on_embedded_defaults_and_no_request_fails() {
    let folder = Folder::new();
    assert_whole(&demo(&folder, &[]));
}

#[test]
fn a_context_moves_on_mariadb_postgres_and_rabbitmq() {
    let (Some(legacy), Some(new), Some(broker)) =
        (or_skip(mariadb()), or_skip(postgres()), or_skip(rabbitmq()))
    else {
        return;
    };
    let folder = Folder::new();
    let legacy = format!("mysql://root@127.0.0.1:{}/mothership", legacy.port());
    let new = format!("postgres://postgres@127.0.0.1:{}/postgres", new.port());
    let broker = broker.fresh_url();
    let servers = ["--legacy-database", &legacy, "--new-database", &new, "--broker", &broker];
    assert_whole(&demo(&folder, &servers));
}
