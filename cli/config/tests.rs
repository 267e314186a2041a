//! The file as a whole: all problems at once, defaults, overrides, and the reference.

use super::reader::{Environment, Origin};
use super::*;

fn parse_text(text: &str) -> (Vec<Problem>, Option<Config>) {
    parse(Path::new("banyan.toml"), text, &Environment::new())
}

const SMALL: &str = "[proxy]\nlegacy = \"http://127.0.0.1:3000\"\n";

#[test]
fn the_reference_is_a_valid_file_and_shows_every_key() {
    let (problems, config) = parse_text(REFERENCE);
    assert_eq!(problems, []);
    let config = config.unwrap();
    for effective in &config.effective {
        let key = effective.key.rsplit('.').next().unwrap();
        let shown = REFERENCE.lines().any(|line| {
            line.trim_start_matches("# ").split(['=', '#']).next().is_some_and(|k| k.trim() == key)
        });
        assert!(shown, "`{}` is read but not in the reference", effective.key);
    }
    assert_eq!(config.jobs.len(), 1);
    assert_eq!(config.expects.len(), 1);
}

#[test]
fn the_reference_states_the_true_defaults() {
    let (_, minimal) = parse_text(SMALL);
    let (_, reference) = parse_text(REFERENCE);
    let reference = reference.unwrap();
    for default in minimal.unwrap().effective.iter().filter(|e| e.origin == Origin::Default) {
        let stated = reference.effective.iter().find(|e| e.key == default.key);
        assert_eq!(
            stated.map(|e| e.value.as_str()),
            Some(default.value.as_str()),
            "{}",
            default.key
        );
    }
}

#[test]
fn all_problems_come_at_once_with_places_and_hints() {
    let text = "[proxy]\nlegacy = 17\nlisten = \"here\"\nlegcy = 1\n\n[[context]]\nname = \"Messages\"\n\n[[context.endpoitn]]\nname = \"x\"\n";
    let (problems, config) = parse_text(text);
    assert!(config.is_none());
    let failure = Failure::config(Path::new("banyan.toml"), text, problems);
    let lines = failure.detail_lines();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    banyan.toml:2:10: `proxy.legacy`: must be a base URL such as "http://127.0.0.1:3000", found `17`
    banyan.toml:3:10: `proxy.listen`: must be ADDRESS:PORT such as "127.0.0.1:8080", found `here`
    banyan.toml:4:1: unknown key `legcy` in [proxy] (hint: did you mean `legacy`?)
    banyan.toml:6:1: `context.new` is missing (hint: new = "http://127.0.0.1:4000")
    banyan.toml:7:8: `context.name`: `Messages` is no context name: use a lower-case letter, then at most 47 of `a-z 0-9 _ -`
    banyan.toml:9:11: unknown key `endpoitn` in [context] (hint: did you mean `endpoint`?)
    "#);
}

#[test]
fn the_environment_overrides_the_file_and_is_named_when_wrong() {
    let environment =
        |value: &str| Environment::from([("BANYAN_PROXY__LISTEN".to_owned(), value.to_owned())]);
    let (_, config) = parse(Path::new("b.toml"), SMALL, &environment("127.0.0.1:9"));
    let config = config.unwrap();
    assert_eq!(config.proxy.listen.port(), 9);
    let listen = config.effective.iter().find(|e| e.key == "proxy.listen").unwrap();
    assert_eq!(listen.origin, Origin::Environment("BANYAN_PROXY__LISTEN".to_owned()));
    let (problems, _) = parse(Path::new("b.toml"), SMALL, &environment("nowhere"));
    assert!(problems[0].message.contains("BANYAN_PROXY__LISTEN"), "{problems:?}");
}

#[test]
fn paths_are_relative_to_the_file() {
    let (_, config) = parse(Path::new("etc/banyan.toml"), SMALL, &Environment::new());
    assert_eq!(config.unwrap().control.store, "sqlite:etc/banyan-control.db");
}

#[test]
fn a_broken_file_is_refused_with_its_place() {
    let (problems, config) = parse_text("[proxy\nlegacy = ");
    assert!(config.is_none() && !problems.is_empty());
    assert!(problems.iter().all(|problem| problem.span.is_some()));
}

#[test]
fn rules_are_read_with_their_problems_at_their_places() {
    let text = format!(
        "{SMALL}[shadow]\npacks = [\"rails\", \"django\"]\nbuiltin-off = [\"builtin/dat\"]\nprotect = [\"$..price\", \"x\"]\n\n[[shadow.rule]]\nat = \"$.a[\"\ndo = \"ignore\"\nreason = \"r\"\n"
    );
    let (problems, config) = parse_text(&text);
    assert!(config.is_none());
    let failure = Failure::config(Path::new("banyan.toml"), &text, problems);
    assert_eq!(
        failure.detail_lines(),
        [
            "banyan.toml:4:19: `shadow.packs`: unknown pack `django` (hint: known packs: rails, rails-json)",
            "banyan.toml:5:16: `shadow.builtin-off`: there is no built-in rule `builtin/dat` (hint: did you mean `builtin/date`?)",
            "banyan.toml:6:24: `shadow.protect`: unknown kind of selector (hint: start with `$.` or `/` for JSON bodies, `header:NAME` or `cookie:NAME`; `body:text` is text, `html:CSS` HTML)",
            "banyan.toml:9:11: `shadow.rule`: `at`: expected a name (hint: write a name, a `*`, or `['any text']`)",
        ]
    );

    let rules = |lines: &str| {
        let text = format!("{SMALL}[shadow]\nprotect = [\"$..price\"]\n{lines}");
        let (problems, config) = parse_text(&text);
        let failure = Failure::config(Path::new("banyan.toml"), &text, problems);
        (failure.detail_lines(), config.map(|config| config.shadow.rules))
    };
    let own = "[[shadow.rule]]\nat = \"$.a\"\ndo = \"ignore_value\"\nreason = \"r\"\nexpires = 2020-01-01\n[[shadow.ignore]]\nat = \"$.b\"\nreason = \"r\"\n";
    let (problems, set) = rules(own);
    assert_eq!(problems, Vec::<String>::new(), "an expired rule does not stop the proxy");
    let own: Vec<String> = set.unwrap().rules().map(banyan_diff::Rule::id).take(2).collect();
    assert_eq!(own, ["$.b", "$.a"]);
    let covering = "[[shadow.rule]]\nat = \"$.order.price\"\ndo = \"ignore\"\nreason = \"r\"\n";
    assert_eq!(
        rules(covering).0,
        [
            "banyan.toml:5:1: rule `$.order.price` (ignore) covers the protected `$..price` (hint: select less, or take the place out of `shadow.protect` if it may differ)"
        ]
    );
    let twice = "[[shadow.rule]]\nat = \"$.b\"\ndo = \"ignore\"\nreason = \"r\"\n[[shadow.ignore]]\nat = \"$.b\"\nreason = \"r\"\n";
    assert_eq!(
        rules(twice).0,
        ["banyan.toml:5:1: rule `$.b` is declared twice (hint: give one of them another `id`)"]
    );
}

#[test]
fn a_wrong_parity_key_is_told_at_its_place() {
    let context = |lines: &str| {
        format!(
            "{SMALL}\n[[context]]\nname = \"messages\"\nnew = \"http://127.0.0.1:4000\"\n{lines}\n"
        )
    };
    let told = |lines: &str| {
        let text = context(lines);
        let (problems, _) = parse_text(&text);
        Failure::config(Path::new("banyan.toml"), &text, problems).detail_lines().join("\n")
    };
    let wrong = "parity-key = [\"type\", \"sbject\"]\nparity-window = \"10ms\"";
    insta::assert_snapshot!(told(wrong), @r#"
    banyan.toml:7:23: `parity-key`: must be `type`, `subject`, `routing-key`, `message-id`, `trace-id`, a JSON pointer such as `/data/id` or `header:NAME`, found `sbject`
    banyan.toml:8:17: `context.parity-window`: must be from 1s to 24h, found `10ms`
    "#);
    let wrong = "parity-key = [\"type\"]\nparity-late-max = \"10m\"";
    insta::assert_snapshot!(told(wrong), @r#"
    banyan.toml:7:1: `parity-key` needs a part that says which change it is: `subject`, a JSON pointer, `message-id`, `trace-id` or `header:NAME` (hint: parity-key = ["type", "subject"])
    banyan.toml:8:1: `parity-late-max` is longer than `parity-window`: nothing would be late (hint: a pair that is further apart than the window is no pair)
    "#);
    let (problems, config) = parse_text(&context("parity-key = [\"type\", \"subject|/data/id\"]"));
    assert_eq!(problems, []);
    let config = config.unwrap();
    let parity = &config.contexts.values().next().unwrap().events.parity;
    assert_eq!(parity.key.words().collect::<Vec<_>>(), ["type", "subject|/data/id"]);
    assert_eq!((parity.window_ms, parity.late_max_ms), (300_000, 30_000));
}

#[test]
fn limits_of_a_cutover_that_contradict_each_other_are_told_at_their_places() {
    let told = |proxy: &str, cutover: &str| {
        let text = format!("{SMALL}{proxy}\n[cutover]\n{cutover}\n");
        let (problems, config) = parse_text(&text);
        assert_eq!(config.is_none(), !problems.is_empty());
        Failure::config(Path::new("banyan.toml"), &text, problems).detail_lines().join("\n")
    };
    // Both sides of each rule.
    assert_eq!(told("hold-max = \"4500ms\"", ""), "");
    assert_eq!(told("", "hold-max = \"4500ms\"\nquiet-max = \"4499ms\""), "");
    let wrong = "hold-max = \"4501ms\"\nquiet-max = \"5s\"\nlock-wait = \"4501ms\"";
    insta::assert_snapshot!(told("", wrong), @r"
    banyan.toml:5:1: `cutover.hold-max` must be at least 500ms shorter than `proxy.hold-max` (hint: else held writes are refused before the switch gives up)
    banyan.toml:6:1: `cutover.quiet-max` must be shorter than `cutover.hold-max` (hint: it is a part of the hold, and the switch needs the rest)
    banyan.toml:7:1: `cutover.lock-wait` must be shorter than `cutover.hold-max` (hint: it is a part of the hold, and the switch needs the rest)
    ");
    // Against a default, the place is that of the key that is there.
    insta::assert_snapshot!(told("hold-max = \"4s\"", "settle = \"1s\""), @r"
    banyan.toml:3:1: `cutover.hold-max` must be at least 500ms shorter than `proxy.hold-max` (hint: else held writes are refused before the switch gives up)
    ");
    // Also beside another fault: all of them are told at once.
    insta::assert_snapshot!(told("hold-max = \"4s\"\nthreads = \"many\"", ""), @r"
    banyan.toml:3:1: `cutover.hold-max` must be at least 500ms shorter than `proxy.hold-max` (hint: else held writes are refused before the switch gives up)
    banyan.toml:4:11: `proxy.threads`: must be a whole number of at least 1, found `many`
    ");
    insta::assert_snapshot!(told("", "hold-max = \"2s\""), @r"
    banyan.toml:5:1: `cutover.quiet-max` must be shorter than `cutover.hold-max` (hint: it is a part of the hold, and the switch needs the rest)
    ");
}
