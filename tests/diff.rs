//! `banyan shadow diff` as its users see it: files, URLs, standard input; output and exit codes as snapshots.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use support::{Folder, free_port};

const LEGACY: &str = r#"{"messages":[{"id":1,"subject":"Hi","read":true,"at":"2014/06/12 10:00:00 +0000"},
 {"id":2,"subject":"caf\u00e9","read":false},{"id":3,"subject":"Gone"}],"page":1,"total":12.50}
"#;
const NEW: &str = r#"{"total":12.75,"messages":[{"id":2,"subject":"café","read":true},
 {"id":1,"subject":"Hi","read":false,"at":"2014-06-12T10:00:00Z"}],"page":"1","next":null}
"#;
const PAGE: &str =
    "<html>\n<h1>Inbox</h1>\n<p>one</p>\n<p>two</p>\n<p>three</p>\n<p>four</p>\n</html>\n";

fn snapshot(name: &str, folder: &Folder, text: &str) {
    let text = text.replace(&folder.path().display().to_string(), "FOLDER");
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"127\.0\.0\.1:\d{4,5}", "127.0.0.1:PORT");
    settings.add_filter(r"in \d+ ms", "in N ms");
    settings.add_filter(r#""elapsed_ms": \d+"#, "\"elapsed_ms\": N");
    settings.bind(|| insta::assert_snapshot!(name, text));
}

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("legacy.json", LEGACY);
    folder.write("new.json", NEW);
    folder
}

/// Answers every request with the same head and body, until the test ends. Gives its address.
fn serve(head: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream: TcpStream = stream.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0; 1];
                if stream.read(&mut byte).unwrap() == 0 {
                    break;
                }
                asked.extend(byte);
            }
            let authorised = String::from_utf8_lossy(&asked).contains("x-key: s3cret");
            let note = if authorised { "x-saw-key: yes\r\n" } else { "" };
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {head}\r\n{note}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    format!("http://{address}")
}

#[test]
fn two_files_that_differ_are_exit_1_with_the_worst_first() {
    let folder = folder();
    snapshot("different", &folder, &folder.run(&["shadow", "diff", "legacy.json", "new.json"]));
    let json = ["shadow", "diff", "legacy.json", "new.json", "--json", "--max-differences", "2"];
    snapshot("different_json", &folder, &folder.run(&json));
    let quiet = folder.run(&["shadow", "diff", "legacy.json", "new.json", "-q"]);
    assert!(quiet.contains("exit 1\n--- stdout\n--- stderr\n"), "{quiet}");
}

#[test]
fn equal_files_are_exit_0_and_what_rules_hid_is_said() {
    let folder = folder();
    folder.write("copy.json", LEGACY);
    folder.write("spelt.json", &LEGACY.replace("12.50", "1.25e1").replace('\n', "  \n"));
    snapshot("same", &folder, &folder.run(&["shadow", "diff", "legacy.json", "copy.json"]));
    let spelt = ["shadow", "diff", "legacy.json", "spelt.json"];
    snapshot("same_after_rules", &folder, &folder.run(&spelt));
    folder.write("later.json", &LEGACY.replace("2014/06/12", "2014/06/13"));
    let ignored = ["shadow", "diff", "legacy.json", "later.json", "--ignore", "$..at"];
    snapshot("same_after_ignore", &folder, &folder.run(&ignored));
}

#[test]
fn rules_of_a_file_apply_and_its_problems_are_shown_at_their_places() {
    let folder = folder();
    folder.write("later.json", &LEGACY.replace("2014/06/12", "2014/06/13"));
    let rule = "[[rule]]\nid = \"clock\"\nat = \"$..at\"\ndo = \"ignore_value\"\nendpoint = \"a.b\"\nreason = \"the host's clock\"\n";
    folder.write("rules.toml", rule);
    folder.write("bad.toml", &rule.replace("$..at", "$..").replace("reason", "reasn"));
    let diff = ["shadow", "diff", "legacy.json", "later.json", "--rules"];
    let with = |rest: &[&str]| folder.run(&[&diff[..], rest].concat());
    snapshot("same_after_rules_of_file", &folder, &with(&["rules.toml", "--endpoint", "a.b"]));
    assert!(with(&["rules.toml"]).contains("exit 1\n"), "the rule is for one endpoint only");
    snapshot("bad_rules_of_file", &folder, &with(&["bad.toml"]));
    assert!(with(&["nowhere.toml"]).contains("exit 2\n"));
}

#[test]
fn text_is_shown_by_lines_with_what_stands_around_them() {
    let folder = folder();
    let lines = "Inbox\none\ntwo\nthree\nfour\nend\n";
    folder.write("a.txt", lines);
    folder.write("b.txt", &lines.replace("three", "drei"));
    snapshot("text", &folder, &folder.run(&["shadow", "diff", "a.txt", "b.txt"]));
    folder.write("a.html", PAGE);
    folder.write("b.html", &PAGE.replace("three", "drei"));
    snapshot("page", &folder, &folder.run(&["shadow", "diff", "a.html", "b.html"]));
    folder.write("broken.json", "{\"messages\":[}");
    let broken = ["shadow", "diff", "legacy.json", "broken.json"];
    snapshot("broken_json", &folder, &folder.run(&broken));
}

#[test]
fn standard_input_is_a_side() {
    let folder = folder();
    let mut command = folder.command(&["shadow", "diff", "-", "legacy.json"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(LEGACY.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.starts_with("SAME  equal byte for byte\nlegacy  stdin"), "{said}");
}

#[test]
fn of_two_urls_also_status_and_headers_count() {
    let folder = folder();
    let json = "200 OK\r\ncontent-type: application/json\r\ndate: today";
    let legacy = serve(json, "{\"id\":1}") + "/users/1";
    let new = serve("200 OK\r\ncontent-type: application/json\r\nx-limit: 5", "{\"id\":1}");
    let key = ["-H", "X-Key: s3cret"];
    let said = folder.run(&[&["shadow", "diff", &legacy, &new][..], &key].concat());
    assert!(said.matches("s3cret").count() == 1, "{said}");
    snapshot("urls", &folder, &said);
    let gone = serve("404 Not Found\r\ncontent-type: application/json", "{\"error\":\"gone\"}");
    snapshot("urls_status", &folder, &folder.run(&["shadow", "diff", &legacy, &gone]));
    let down = serve("503 Service Unavailable", "");
    snapshot("urls_errors", &folder, &folder.run(&["shadow", "diff", &down, &down]));
    folder.write("before.json", "{ \"id\": 1 }");
    let mixed = folder.run(&["shadow", "diff", "before.json", &new]);
    snapshot("file_and_url", &folder, &mixed);
}

#[test]
fn what_cannot_be_compared_is_never_the_same() {
    let folder = folder();
    let deep = "[".repeat(600) + "1" + &"]".repeat(600);
    folder.write("deep.json", &deep);
    folder.write("deeper.json", &deep.replace('1', "2"));
    let deep = ["shadow", "diff", "deep.json", "deeper.json"];
    snapshot("inconclusive", &folder, &folder.run(&deep));
    let large = ["shadow", "diff", "legacy.json", "legacy.json", "--max-size", "64"];
    snapshot("too_large", &folder, &folder.run(&large));
    snapshot("not_found", &folder, &folder.run(&["shadow", "diff", "legacy.json", "nowhere.json"]));
    let closed = format!("http://ada:s3cret@127.0.0.1:{}/", free_port());
    let said = folder.run(&["shadow", "diff", "legacy.json", &closed]);
    assert!(said.contains("\nexit 6\n--- stdout\n--- stderr\n"), "{said}");
    assert_eq!(said.matches("s3cret").count(), 1, "only the command line has it: {said}");
}

#[test]
fn wrong_usage_is_exit_2_with_what_to_write() {
    let folder = folder();
    snapshot("usage_stdin_twice", &folder, &folder.run(&["shadow", "diff", "-", "-"]));
    let header = ["shadow", "diff", "legacy.json", "new.json", "-H", "s3cret"];
    snapshot("usage_header", &folder, &folder.run(&header));
    let selector = ["shadow", "diff", "legacy.json", "new.json", "--ignore", "messages"];
    snapshot("usage_selector", &folder, &folder.run(&selector));
}
