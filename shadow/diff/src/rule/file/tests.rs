//! All problems at once with their places, and rules that read back as they were written.

use super::*;
use crate::{Action, Expected, StatusScope, Tolerance};

fn problems(text: &str) -> Vec<String> {
    rules_from_toml(text).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn a_rule_is_read_with_scope_action_owner_and_day() {
    let text = r#"
[[rule]]
id = "prices"
at = "$.items[?@.kind=='track'].price"
do = "tolerance"
abs = 0.01
decimals = 2
context = "tracks"
endpoint = "tracks.list"
method = "get"
status = "2xx"
reason = "legacy rounds late"
owner = "ada"
expires = 2026-12-31

[[rule]]
at = "header:x-build"
do = "ignore"
reason = "names the build"
source = "learned"
status = 200
"#;
    let rules = rules_from_toml(text).unwrap();
    let tolerance = Tolerance { abs: Some(0.01), rel: None, decimals: Some(2) };
    assert_eq!(*rules[0].action(), Action::Tolerance(tolerance));
    assert_eq!((rules[0].id().as_str(), rules[0].owner()), ("prices", Some("ada")));
    assert_eq!(rules[0].expires().unwrap().to_string(), "2026-12-31");
    assert_eq!(rules[0].scope().to_string(), "GET tracks.list context tracks status 2xx");
    assert_eq!(
        (rules[1].id().as_str(), rules[1].source()),
        ("header:x-build", RuleSource::Learned)
    );
    assert_eq!(rules[1].scope().status, Some(StatusScope::Is(200)));
}

#[test]
fn all_problems_come_at_once_with_places_and_hints() {
    let text = r#"tolerance = 1
[[rule]]
at = "$.a[-1]"
do = "ignore"
reason = "x"
[[rule]]
at = "$.a"
do = "ignroe"
reasn = "x"
[[rule]]
at = "$.a"
do = "ignore"
abs = 1
reason = " "
expires = "soon"
status = "9xx"
source = "builtin"
[[rule]]
at = "$.a"
do = "tolerance"
reason = "x"
[[rule]]
at = "$.a"
do = "regex_replace"
pattern = "("
reason = "x"
[[rule]]
at = "$.a"
do = "expect"
reason = "x"
[[rule]]
at = "$.a"
do = "url_host_map"
hosts = { "http://a/b" = "https://b" }
reason = "x"
[[rule]]
at = "status"
do = "ignore"
reason = "x"
"#;
    let expected = [
        "1:1: unknown key `tolerance` (hint: a rules file only has [[rule]] tables)",
        "3:11: `at`: invalid index (hint: use a whole number from 0, or `*` for all elements)",
        "6:1: `reason` is missing (hint: reason = \"why the difference is harmless\")",
        "8:6: unknown action `ignroe` (hint: did you mean `ignore`?)",
        "9:1: unknown key `reasn` in a rule (hint: did you mean `reason`?)",
        "13:1: `abs` has no meaning for `ignore` (hint: it is for tolerance)",
        "14:10: `reason` must be a text that is not empty",
        "15:11: `expires` must be a day such as 2026-12-31, found `soon`",
        "16:10: `status` must be a status such as 200 or a class such as \"2xx\", found `9xx`",
        "17:10: `source` must be `human` or `learned`, found `builtin`",
        "20:6: `tolerance` needs `abs`, `rel` or `decimals` (hint: abs = 0.01, rel = 0.001 or decimals = 2)",
        "25:11: `pattern`: unclosed group (hint: the syntax is that of the Rust regex crate, without look-around)",
        "27:1: `expect` needs what new must have (hint: value = \"open\" (or a number, true, false), or value-is = \"null\", \"absent\" or \"rails3-emoji\")",
        "34:11: `hosts` must be a table of URLs without a path (hint: hosts = { \"http://api.old.example\" = \"https://api.example\" })",
        "37:7: `at`: the status is protected (hint: status differences always count; fix them or take the endpoint out of shadow)",
    ];
    let found = problems(text);
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn what_is_no_list_of_rules_is_refused() {
    assert!(problems("[[rule]")[0].contains("not TOML"));
    assert!(problems("rule = 1")[0].contains("must be a list of tables"));
    assert!(problems("rule = [1]")[0].contains("a rule must be a table"));
    let twice = "[[rule]]\nat=\"$.a\"\ndo=\"ignore\"\nreason=\"x\"\n".repeat(2);
    assert_eq!(
        problems(&twice),
        ["5:1: rule `$.a` is declared twice (hint: give one of them another `id`)"]
    );
    assert_eq!(rules_from_toml("").unwrap(), []);
}

#[test]
fn every_action_reads_back_as_it_was_written() {
    let texts = [
        "do = \"ignore\"",
        "do = \"ignore_value\"",
        "do = \"tolerance\"\nabs = 0.5\nrel = 0.01\ndecimals = 3",
        "do = \"tolerance\"\nabs = 2.0",
        "do = \"time\"",
        "do = \"time\"\nslack = \"1500ms\"\nformats = [\"iso8601\", \"epoch-ms\"]",
        "do = \"ordered\"",
        "do = \"set\"",
        "do = \"multiset\"",
        "do = \"key\"\nkey = [\"a\", \"b\"]\nany-order = true",
        "do = \"null_eq_missing\"",
        "do = \"null_eq_empty\"",
        "do = \"number_eq_string\"\ndecimals = 2",
        "do = \"case\"",
        "do = \"trim\"",
        "do = \"url_host_map\"\nhosts = { \"http://a:1\" = \"https://b\" }",
        "do = \"regex_replace\"\npattern = \"\\\\d+\"\nwith = \"\\u0007$0\"",
        "do = \"normaliser\"\nnormaliser = \"whitespace\"",
        "do = \"bijection\"\ndomain = \"user\"\nany-type = true",
        "do = \"expect\"\nvalue = \"a\\nb\"",
        "do = \"expect\"\nvalue = -1.50e3",
        "do = \"expect\"\nvalue = true",
        "do = \"expect\"\nvalue-is = \"absent\"",
        "do = \"expect\"\nvalue-is = \"rails3-emoji\"",
    ];
    for text in texts {
        let text =
            format!("[[rule]]\nat = \"$['it\\\\'s \\\"x\\\"'][*]\"\n{text}\nreason = \"r\"\n");
        let rule = rules_from_toml(&text).unwrap().remove(0);
        assert_eq!(rule.to_toml(), text);
    }
    let full = Rule::new("cookie:a", Action::Expect(Expected::Text("x".to_owned())), "r")
        .unwrap()
        .within(Scope { status: Some(StatusScope::Class(4)), ..Scope::default() })
        .for_endpoint("a.b")
        .named("n")
        .owned_by("o")
        .until("2030-01-01".parse().unwrap())
        .from_source(RuleSource::Learned);
    assert_eq!(rules_from_toml(&full.to_toml()).unwrap(), std::slice::from_ref(&full));
    assert!(full.to_toml_as("shadow.rule").starts_with("[[shadow.rule]]\n"));
}
