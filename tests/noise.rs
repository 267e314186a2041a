//! Accepted noise through the command line: list, accept, forget, check, and a `serve` that takes a change up.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

mod support;

use banyan_control::shadow::{NoiseCount, NoiseSums};
use banyan_control::{ShadowBatch, StoreOptions};
use banyan_domain::EndpointName;
use serde_json::Value;
use support::{Folder, wait_until};

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
"#;

const TOKEN: &str = "$.messages[*].token";

/// A folder whose control store has seen noise of each kind.
fn seen() -> Folder {
    let folder = Folder::with_config(CONFIG);
    folder.expect(&["route", "flip", "messages.list", "shadow"], 0);
    let value = "value_changed:string";
    let noise = vec![
        count("", "", NoiseSums { pairs: 200, triples: 60, ..NoiseSums::default() }),
        count(TOKEN, value, noisy(60, 2, 3)),
        count("$.stamp", "value_changed:number", noisy(9, 0, 0)),
        count("$.mood", value, noisy(40, 25, 1)),
        count("$.messages[*].id", "value_changed:number", noisy(5, 0, 0)),
        count("$.extra", "key_missing", noisy(5, 0, 0)),
        count("$.late", value, NoiseSums { moved: 7, ..NoiseSums::default() }),
    ];
    let url = format!("sqlite:{}", folder.file("banyan-control.db").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = banyan_control::attach(&url, StoreOptions::default()).unwrap();
        store.record_shadow(&ShadowBatch { noise, ..ShadowBatch::default() }).await.unwrap();
    });
    folder
}

fn noisy(noisy: u64, new_alone: u64, legacy_alone: u64) -> NoiseSums {
    let example = Some("tok:hex16:0123456789ab".to_owned());
    NoiseSums { noisy, new_alone, legacy_alone, example, ..NoiseSums::default() }
}

fn count(shape: &str, kind: &str, sums: NoiseSums) -> NoiseCount {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    NoiseCount {
        at_ms: u64::try_from(now.as_millis()).unwrap(),
        endpoint: EndpointName::new("messages.list").unwrap(),
        shape: shape.to_owned(),
        kind: kind.to_owned(),
        sums,
    }
}

fn states(folder: &Folder) -> Vec<(String, String, String)> {
    let listed = folder.json(&["shadow", "noise", "list"]);
    let word = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    let rows = listed["places"].as_array().unwrap();
    rows.iter().map(|row| (word(row, "path"), word(row, "decision"), word(row, "state"))).collect()
}

fn state(folder: &Folder, path: &str) -> String {
    states(folder).into_iter().find(|(found, _, _)| found == path).unwrap().2
}

fn lock(folder: &Folder) -> String {
    std::fs::read_to_string(folder.file("noise.lock")).unwrap_or_default()
}

#[test]
fn a_list_shows_what_each_place_amounts_to() {
    let folder = seen();
    let expected = [
        ("$.extra", "refused", "open"),
        ("$.late", "steady", "open"),
        ("$.messages[*].id", "refused", "open"),
        (TOKEN, "noise", "proposed"),
        ("$.mood", "real", "open"),
        ("$.stamp", "noise", "proposed"),
    ];
    let expected = expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
    assert_eq!(states(&folder), expected);
    let shown = folder.run(&["shadow", "noise", "list"]);
    insta::assert_snapshot!("noise_list", shown);
}

#[test]
fn a_named_place_is_accepted_at_once_and_forgotten_again() {
    let folder = seen();
    let accept = ["shadow", "noise", "accept", "messages.list", TOKEN];
    folder.expect(&[&accept[..], &["--reason", "random", "--as", "ada"]].concat(), 0);
    let text = lock(&folder);
    for line in ["pairs = 200", "noisy = 60", "accepted-by = \"ada\"", "reason = \"random\""] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert_eq!(state(&folder, TOKEN), "accepted");
    assert!(folder.expect(&["check"], 0).contains("noise.lock: 1 accepted places"));
    folder.expect(&accept, 0);
    assert_eq!(lock(&folder).matches("[[noise]]").count(), 1);
    folder.expect(&["shadow", "noise", "forget", "messages.list", TOKEN], 0);
    assert!(!lock(&folder).contains("[[noise]]"));
    assert!(states(&folder).iter().all(|(path, _, _)| path != TOKEN), "its evidence went too");
    folder.expect(&["shadow", "noise", "forget", "messages.list", TOKEN], 1);
}

#[test]
fn what_is_refused_real_or_unseen_is_never_written() {
    let folder = seen();
    for (path, exit, code) in [
        ("$.messages[*].id", 5, "banyan::noise::refused"),
        ("$.extra", 5, "banyan::noise::refused"),
        ("$.mood", 5, "banyan::noise::real"),
        ("$.late", 4, "banyan::noise::no_evidence"),
        ("$.nowhere", 4, "banyan::noise::no_evidence"),
    ] {
        let said = folder.run(&["shadow", "noise", "accept", "messages.list", path]);
        assert!(said.contains(&format!("exit {exit}\n")) && said.contains(code), "{said}");
    }
    folder.expect(&["shadow", "noise", "accept", "messages.lst", TOKEN], 2);
    folder.expect(&["shadow", "noise", "accept", "messages.list"], 2);
    assert_eq!(lock(&folder), "");
}

#[test]
fn all_proposed_places_are_shown_first_and_written_with_yes() {
    let folder = seen();
    let all = ["shadow", "noise", "accept", "--all-proposed"];
    let plan = folder.expect(&all, 1);
    assert!(plan.contains("would accept") && plan.contains(TOKEN) && plan.contains("$.stamp"));
    assert_eq!(lock(&folder), "");
    folder.expect(&[&all[..], &["--yes"]].concat(), 0);
    assert_eq!(lock(&folder).matches("[[noise]]").count(), 2);
    assert!(folder.expect(&all, 0).contains("nothing is proposed"));
}

#[test]
fn a_broken_lock_is_exit_3_with_every_problem_at_its_place() {
    let folder = seen();
    folder.expect(&["shadow", "noise", "accept", "messages.list", TOKEN], 0);
    let broken = lock(&folder)
        .replace("pairs = 200", "pairs = \"many\"")
        .replace("kind = ", "knid = ")
        .replace("noisy = 60\n", "");
    folder.write("noise.lock", &broken);
    let checked = folder.expect(&["check"], 3);
    for found in ["noise.lock:", "`noise.pairs`", "unknown key `knid`", "`noise.noisy` is missing"]
    {
        assert!(checked.contains(found), "{found} in {checked}");
    }
    folder.expect(&["shadow", "noise", "list"], 3);
    folder.expect(&["shadow", "gate"], 3);
    folder.write("noise.lock", "version = 7\n");
    assert!(folder.expect(&["check"], 3).contains("written by a newer release"));
}

#[test]
fn a_running_serve_takes_up_a_changed_lock_and_keeps_the_old_one_when_it_is_broken() {
    let folder = seen();
    let running = folder.start(&["serve", "--ready-file", "ready", "-v"]);
    folder.wait_for_file("ready");
    folder.expect(&["shadow", "noise", "accept", "messages.list", TOKEN], 0);
    let said = |text: &str| folder.log().matches(text).count();
    wait_until("the change is taken up", || said("the accepted noise is in force") == 2);
    let good = lock(&folder);
    folder.write("noise.lock", "version = one\n");
    wait_until("the broken file is told", || said("the accepted noise is broken") == 1);
    folder.write("noise.lock", &good);
    wait_until("the good file is back", || said("the accepted noise is in force") == 3);
    assert_eq!(running.terminate(), Some(143));
}
