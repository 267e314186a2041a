use super::*;

const NAMES: [&str; 2] = ["messages.list", "messages.show"];

fn entry(reason: &str) -> Entry {
    Entry {
        pairs: 120,
        noisy: 30,
        rate_low_percent: 18.11,
        rate_high_percent: 33.4,
        first_ms: 1_780_000_000_000,
        last_ms: 1_780_000_100_000,
        example: "tok:hex32:0123456789ab".to_owned(),
        accepted_by: "ada".to_owned(),
        accepted_ms: 1_780_000_200_000,
        reason: reason.to_owned(),
        comments: Vec::new(),
    }
}

fn place(path: &str) -> Place {
    Place {
        endpoint: "messages.list".to_owned(),
        path: path.to_owned(),
        kind: "value_changed:string".to_owned(),
    }
}

fn lock(paths: &[&str]) -> Lock {
    Lock { entries: paths.iter().map(|path| (place(path), entry("random"))).collect() }
}

fn problems(text: &str) -> Vec<(usize, String)> {
    let (_, problems) = parse(text, &NAMES, &Protect::default());
    let line = |problem: &Problem| {
        super::super::problem::location("noise.lock", text, problem)
            .split(':')
            .nth(1)
            .map_or(0, |line| line.parse().unwrap())
    };
    problems.iter().map(|problem| (line(problem), problem.message.clone())).collect()
}

#[test]
fn the_same_entries_give_the_same_bytes_in_one_order() {
    let text = lock(&["$.b", "$.a", "header:x-cache"]).render();
    assert_eq!(text, lock(&["header:x-cache", "$.a", "$.b"]).render());
    let (read, problems) = parse(&text, &NAMES, &Protect::default());
    assert_eq!(problems, []);
    assert_eq!(read.render(), text);
    assert!(text.starts_with("# Noise") && text.contains("\nversion = 1\n"), "{text}");
}

#[test]
fn comments_above_an_entry_stay_with_it() {
    let text = lock(&["$.b"]).render();
    let text = text.replace("[[noise]]", "# asked Bob: it is random\n  # until 2027\n[[noise]]");
    let (mut read, problems) = parse(&text, &NAMES, &Protect::default());
    assert_eq!(problems, []);
    read.entries.insert(place("$.a"), entry("first"));
    let written = read.render();
    let expected = "\n# asked Bob: it is random\n# until 2027\n[[noise]]\nendpoint = \"messages.list\"\npath = \"$.b\"";
    assert!(written.contains(expected), "{written}");
    assert_eq!(parse(&written, &NAMES, &Protect::default()).0.render(), written);
}

#[test]
fn all_problems_are_named_at_once_with_their_lines() {
    let text = lock(&["$.a", "$.b", "$.sender_id"]).render();
    let text = text.replacen("pairs = 120", "pairs = many", 1).replacen(
        "pairs = 120",
        "pairs = \"many\"",
        1,
    );
    assert!(problems(&text)[0].1.starts_with("not TOML"), "{:?}", problems(&text));
    let text = lock(&["$.a", "$.b", "$.sender_id", "$.c d"]).render();
    let text = text
        .replacen("pairs = 120", "pairs = \"many\"", 1)
        .replacen("noisy = 30\nrate-low-percent = 18.11", "noisy = 0\nrate-low-percent = 101", 2)
        .replacen("kind = \"value_changed:string\"", "knid = \"value_changed:string\"", 1);
    let found: Vec<String> = problems(&text).into_iter().map(|(_, message)| message).collect();
    for wanted in [
        "`noise.pairs`: must be a whole number, found `many`",
        "unknown key `knid` in [noise]",
        "`noise.kind` is missing",
        "`noisy` must be 1 to `pairs` (120)",
        "`noise.rate-low-percent`: must be a percentage 0 to 100, found `101`",
        "`$.sender_id` cannot be accepted as noise: the place is protected",
        "`path`: read rule selector `$.c d`: expected `.` or `[`",
    ] {
        assert!(found.iter().any(|message| message == wanted), "{wanted} in {found:?}");
    }
}

#[test]
fn what_is_never_noise_is_refused_whoever_wrote_it() {
    let text = lock(&["$.a"]).render().replace("value_changed:string", "key_missing");
    let found = problems(&text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].1.contains("a difference of structure is never noise"), "{found:?}");
}

#[test]
fn what_the_configuration_protects_is_refused() {
    let text = lock(&["$.prices[*].amount", "$.a"]).render();
    let protect = Protect::new(["$..amount"]).unwrap();
    let (_, found) = parse(&text, &NAMES, &protect);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].message.contains("the configuration protects the place"), "{found:?}");
}

#[test]
fn a_newer_version_is_refused_by_name_and_nothing_else_is_read() {
    let text = lock(&["$.a"]).render().replace("version = 1", "version = 2\nnew-key = 1");
    let found = problems(&text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].1.contains("version 2 was written by a newer release"), "{found:?}");
    assert_eq!(problems("").len(), 1, "a file without version");
}

#[test]
fn an_entry_of_an_unknown_endpoint_is_a_warning_and_a_twin_an_error() {
    let text = lock(&["$.a"]).render();
    let text = text.replace("messages.list", "messages.lsit");
    let (_, found) = parse(&text, &NAMES, &Protect::default());
    assert_eq!(found[0].severity, Severity::Warning);
    assert_eq!(found[0].hint.as_deref(), Some("did you mean `messages.list`?"));
    let text = lock(&["$.a"]).render();
    let twin = text.split_once("[[noise]]").unwrap().1.to_owned();
    let found = problems(&format!("{text}\n[[noise]]{twin}"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].1.contains("is listed twice"));
}

#[test]
fn a_lock_becomes_rules_of_its_endpoints_only() {
    let names = NAMES.map(|name| EndpointName::new(name).unwrap());
    let base = names.iter().map(|name| (name.clone(), RuleSet::builtin())).collect();
    let rules = lock(&["$.a", "$.b"]).rules(&base);
    assert_eq!(rules.len(), 1);
    let ids: Vec<String> = rules[&names[0]].list().into_iter().map(|listed| listed.0).collect();
    assert!(ids.contains(&"noise/$.a".to_owned()) && ids.contains(&"noise/$.b".to_owned()));
}

#[test]
fn a_write_replaces_the_whole_file_and_minds_changes_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("noise.lock");
    let file = LockFile { path: path.clone(), text: None, lock: lock(&["$.a"]), warnings: vec![] };
    file.save().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, file.lock.render());
    let refused = file.save().unwrap_err();
    assert_eq!((refused.code, refused.exit), ("banyan::noise::changed", Exit::Refused));
    let file = LockFile { text: Some(text), lock: lock(&["$.b"]), ..file };
    file.save().unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left over");
}

#[test]
fn any_reason_survives() {
    for reason in ["", "it's \"random\"", r"a \ b", "\u{1}\t", "# no comment", "[[noise]]", "é 🌳"]
    {
        let written = Lock { entries: [(place("$.a"), entry(reason))].into() };
        let (read, problems) = parse(&written.render(), &NAMES, &Protect::default());
        assert_eq!(problems, [], "{reason}");
        assert_eq!(read, written, "{reason}");
    }
}
