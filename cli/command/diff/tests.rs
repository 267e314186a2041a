use super::*;
use crate::output::Color;

fn loaded(body: &str, media: &str) -> Loaded {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(format!("a.{media}"));
    std::fs::write(&path, body).unwrap();
    let request = Request::new(&[], 1_000, 1 << 20).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let name = path.display().to_string();
    let (mut a, _) = runtime.block_on(source::load(&name, &name, &request)).unwrap();
    a.name = format!("a.{media}");
    a
}

fn outcome(legacy: &str, new: &str, media: &str, shown: usize) -> Outcome {
    let (legacy, new) = (loaded(legacy, media), loaded(new, media));
    let rules = RuleSet::builtin();
    let budget = Budget { differences: 50, ..Budget::default() };
    let mut comparison = compare(&legacy.obs(), &new.obs(), &rules, &budget);
    worst_first(&mut comparison.differences);
    Outcome { legacy, new, comparison, rules, shown, warnings: Vec::new() }
}

fn text(outcome: &Outcome) -> String {
    render::lines(outcome, &Output::new(false, Color::Never, 0, false)).join("\n")
}

#[test]
fn the_worst_stands_first_and_what_belongs_together_is_one_group() {
    let legacy = r#"{"a":[{"id":1,"n":1},{"id":2,"n":2}],"gone":1,"s":"x"}"#;
    let new = r#"{"a":[{"id":1,"n":3},{"id":2,"n":4}],"s":"y","extra":2}"#;
    let shown = text(&outcome(legacy, new, "json", 10));
    let place = |word: &str| shown.find(word).unwrap_or_else(|| panic!("{word} in {shown}"));
    assert!(shown.starts_with("DIFFERENT  5 differences: 1 breaking, 3 value, 1 additive\n"));
    assert!(place("$.gone  key_missing") < place("$.a[*].n  value_changed:number, 2 times"));
    assert!(place("$.a[?@.id==2].n  2 -> 4") < place("$.extra  key_extra"));
}

#[test]
fn no_control_character_reaches_the_terminal() {
    let legacy = "{\"a\u{202e}b\":\"\\u001b[31m\"}\n";
    for (legacy, new, media) in [
        (legacy, "{}", "json"),
        ("x\u{1b}[31m\u{202e}\u{9b}\n", "y\n", "txt"),
        ("a\u{0}b\u{1b}", "c", "bin"),
    ] {
        let shown = text(&outcome(legacy, new, media, 10));
        let bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!shown.contains(bad), "{shown:?}");
    }
}

#[test]
fn long_values_that_begin_alike_are_not_shown_as_if_they_were_equal() {
    let long = |end: &str| format!("{{\"a\":\"{}{end}\"}}", "x".repeat(500));
    let shown = text(&outcome(&long("1"), &long("2"), "json", 10));
    assert!(shown.contains("both begin alike; they differ further on"), "{shown}");
    assert!(!text(&outcome("{\"a\":1}", "{\"a\":2}", "json", 10)).contains("further on"));
}

#[test]
fn more_differences_than_shown_are_counted() {
    let list = |n: u32| {
        let all: Vec<String> = (0..80).map(|i| (i * n).to_string()).collect();
        format!("{{\"a\":{{\"k\":[{}]}}}}", all.join(","))
    };
    let outcome = outcome(&list(1), &list(1_000), "json", 3);
    let shown = text(&outcome);
    assert!(outcome.comparison.total_differences > 50);
    assert!(shown.contains("; of the first 50: "), "{shown}");
    assert!(shown.contains("the worst 3 shown (--max-differences)"), "{shown}");
    assert_eq!(data(&outcome, Exit::No)["differences"].as_array().unwrap().len(), 3);
}

#[test]
fn json_that_does_not_parse_is_named_with_its_place() {
    let outcome = outcome("{\"a\":1}", "{\n \"a\":01}", "json", 3);
    let named = broken_json(&outcome.new, &outcome.comparison).unwrap();
    assert_eq!(named, "a.json is no JSON, line 2 column 6: invalid number");
    assert_eq!(broken_json(&outcome.legacy, &outcome.comparison), None);
}
