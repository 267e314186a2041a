//! One example per kind, and what is no difference.

use crate::{Budget, Comparison, Obs, RuleSet, Severity, Verdict, compare};

fn pages(legacy: &str, new: &str) -> Comparison {
    let headers = [("content-type".to_owned(), b"text/html; charset=utf-8".to_vec())];
    let answer = |body| Obs { status: 200, headers: &headers, body };
    let (legacy, new) = (legacy.as_bytes(), new.as_bytes());
    compare(&answer(legacy), &answer(new), &RuleSet::builtin(), &Budget::default())
}

fn found(legacy: &str, new: &str) -> Vec<String> {
    let comparison = pages(legacy, new);
    let line = |d: &crate::Difference| format!("{} {}", d.kind.label(), d.location.path);
    comparison.differences.iter().map(line).collect()
}

#[test]
fn each_html_kind_is_found_at_its_place_with_its_severity() {
    use Severity::{Additive, Breaking, Order, Value};
    for (legacy, new, expected, severity) in [
        ("<p>a</p>", "<p>b</p>", "html_text:string html:p", Value),
        ("<p>a</p>", "<p>A</p>", "html_text:case html:p", Value),
        (
            "<p>2014/06/12 10:00:00 +0000</p>",
            "<p>2014-06-12T10:00:00Z</p>",
            "html_text:time_format html:p",
            Value,
        ),
        ("<p>a</p>", "<p></p>", "html_text:string html:p", Value),
        ("<p>a</p><hr>", "<p>a</p>", "html_node_missing html:hr", Breaking),
        ("<p>a</p>", "<p>a</p><hr>", "html_node_extra html:hr", Value),
        ("<b>a b c</b>", "<i>a b c</i>", "html_tag html:b", Value),
        ("<a href=/x>a</a>", "<a href=/y>a</a>", "html_attr:string html:a@href", Value),
        ("<a href=/x>a</a>", "<a>a</a>", "html_attr:missing html:a@href", Breaking),
        ("<a title=x>a</a>", "<a>a</a>", "html_attr:missing html:a@title", Value),
        ("<a>a</a>", "<a title=x>a</a>", "html_attr:extra html:a@title", Additive),
        ("<a class='x y'>a</a>", "<a class='x z'>a</a>", "html_attr:class html:a@class", Value),
        ("<!doctype html><p>a", "<html><p>a", "html_node_missing html:!doctype", Value),
        (
            "<!doctype html><title>a</title><body id=x>",
            "<!doctype html><title>b</title><body id=x>",
            "html_text:string html:head > title",
            Value,
        ),
        (
            "<ul><li>one<li>two<li>three</ul>",
            "<ul><li>two<li>three<li>one</ul>",
            "array_reordered html:ul",
            Order,
        ),
        (
            "<svg><a xlink:href='#a'/></svg>",
            "<svg><a xlink:href='#b'/></svg>",
            "html_attr:string html:svg > a@*",
            Value,
        ),
        (
            "<template><p>a</template>",
            "<template><p>b</template>",
            "html_text:string html:template > p",
            Value,
        ),
        ("<tr><td>a<td>b", "<tr><td>a<td>c", "html_text:string html:tr > td[2]", Value),
    ] {
        let comparison = pages(legacy, new);
        assert_eq!(found(legacy, new), [expected], "{legacy} {new}");
        assert_eq!(comparison.verdict, Verdict::Mismatch(severity), "{legacy} {new}");
    }
}

#[test]
fn what_a_reader_cannot_see_is_normalised() {
    for (legacy, new) in [
        ("<p>a b</p>", "<p>\n  a\n  b\n</p>"),
        ("<ul><li>a</li><li>b</li></ul>", "<UL>\n<LI>a\n<LI>b\n</UL>\n"),
        ("<a href=x class='b a'>t</a>", "<a class=\"a  b a\" href='x'>t</a>"),
        ("<p>&lt;&eacute;&#39;</p>", "<p>&#60;é'</p>"),
        ("<p>a<!-- served by legacy --> b</p>", "<p>a b<!-- x --></p>"),
        ("<input disabled>", "<input disabled=\"\">"),
        ("<br/>", "<br>"),
        ("<!DOCTYPE html><p>a", "<!doctype HTML>\n<html><head></head><body><p>a</p></body></html>"),
    ] {
        let comparison = pages(legacy, new);
        assert_eq!(comparison.verdict, Verdict::MatchNormalised, "{legacy} {new} {comparison:?}");
        assert_eq!(comparison.hidden[0].rule, "builtin/html-text");
    }
    assert_eq!(found("<pre>a\n b</pre>", "<pre>a b</pre>"), ["html_text:whitespace html:pre"]);
    assert_eq!(found("<p>a b</p>", "<p>a&nbsp;b</p>"), ["html_text:string html:p"]);
}

#[test]
fn locations_have_three_spellings() {
    let page = |href: &str| {
        format!(
            "<!doctype html><body><h1>Inbox</h1><ul id=inbox><li>1<li>2<li id=message_42><a href={href}>x</a></ul>"
        )
    };
    let location = pages(&page("/a"), &page("/b")).differences[0].location.clone();
    assert_eq!(location.path, "html:body > ul#inbox > li#message_42 > a@href");
    assert_eq!(location.shape, "html:body > ul#inbox > li > a@href");
    assert_eq!(location.pointer, "/1/1/2/0@href");
}

fn list(items: impl Iterator<Item = u32>, time: &str) -> String {
    let item = |n: u32| {
        format!(
            "<li class=message><a href=/messages/{n}>Subject {n}</a> <span>from user {n}</span> <em>{time}</em></li>"
        )
    };
    format!("<!doctype html><body><ul id=inbox>{}</ul>", items.map(item).collect::<String>())
}

#[test]
fn one_new_item_is_one_difference() {
    let legacy = list(1..40, "now");
    for at in [1, 20, 39] {
        let new = list((1..at).chain([900]).chain(at..40), "now");
        assert_eq!(
            found(&legacy, &new),
            [format!("html_node_extra html:body > ul#inbox > li[{at}]")],
            "{at}"
        );
    }
    // Also when each item differs a little.
    let new = list((1..20).chain([900]).chain(20..40), "then");
    let kinds: Vec<_> = found(&legacy, &new)
        .iter()
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "html_node_extra").count(), 1);
    assert_eq!(kinds.iter().filter(|kind| *kind == "html_text:string").count(), 39);
    assert_eq!(kinds.len(), 40);
}

#[test]
fn elements_with_an_id_are_found_again_wherever_they_are() {
    let section =
        |id: &str, text: &str| format!("<div id={id}><h2>{text}</h2><p>same words here</p></div>");
    let legacy = ["a", "b", "c"].map(|id| section(id, id)).concat();
    let new = [section("c", "c"), section("a", "changed"), section("b", "b")].concat();
    assert_eq!(
        found(&legacy, &new),
        ["array_reordered html:html", "html_text:string html:div#a > h2"]
    );
}

#[test]
fn rules_hide_what_they_select_and_nothing_else() {
    let (legacy, new) = (
        "<!doctype html><div id=a><time class=x datetime=1>one</time><p>same</p></div>",
        "<!doctype html><div id=a><time class=x datetime=2>two</time><p>same</p></div>",
    );
    let compared = |rules: &[&str]| {
        let rules = rules.iter().map(|at| crate::Rule::ignore(at, "test").unwrap());
        let headers = [("content-type".to_owned(), b"text/html".to_vec())];
        let answer =
            |body: &'static str| Obs { status: 200, headers: &headers, body: body.as_bytes() };
        let rules = RuleSet::builtin().with(rules);
        compare(&answer(legacy), &answer(new), &rules, &Budget::default())
    };
    for rules in
        [&["html:time"][..], &["html:body > #a"], &["html:time@datetime", "html:time"], &["html:*"]]
    {
        let comparison = compared(rules);
        assert_eq!(comparison.verdict, Verdict::MatchNormalised, "{rules:?} {comparison:?}");
        assert_eq!(comparison.hidden[0].rule, rules[rules.len() - 1]);
    }
    let attribute = compared(&["html:time@datetime"]);
    assert_eq!(attribute.differences.len(), 1);
    assert_eq!(attribute.hidden[0].location, "html:body > div#a > time@datetime");
    assert_eq!(compared(&["html:p", "html:time@class", "html:span"]).differences.len(), 2);
    let shape = &attribute.differences[0].location.shape;
    assert_eq!(compared(&["html:time@*", shape]).verdict, Verdict::MatchNormalised);
}

#[test]
fn siblings_are_aligned_by_what_rules_leave() {
    let item = |text: &str, time: u32| format!("<li>{text}<time>{time}</time></li>");
    let legacy = [item("a", 1), item("b", 2), item("c", 3)].concat();
    let new = [item("b", 7), item("c", 8)].concat();
    let headers = [("content-type".to_owned(), b"text/html".to_vec())];
    let rules = RuleSet::builtin().with([crate::Rule::ignore("html:time", "clock").unwrap()]);
    let comparison = compare(
        &Obs { status: 200, headers: &headers, body: legacy.as_bytes() },
        &Obs { status: 200, headers: &headers, body: new.as_bytes() },
        &rules,
        &Budget::default(),
    );
    assert_eq!(comparison.total_differences, 1);
    assert_eq!(comparison.differences[0].location.path, "html:li[1]");
    assert_eq!(comparison.hidden.iter().map(|hidden| hidden.count).sum::<u64>(), 2);
}

#[test]
fn charsets_are_undone_before_pages_are_compared() {
    let compared = |first: (&str, &[u8]), second: (&str, &[u8])| {
        let headers = |media: &str| [("content-type".to_owned(), media.as_bytes().to_vec())];
        let (a, b) = (headers(first.0), headers(second.0));
        let rules =
            RuleSet::builtin().with([crate::Rule::ignore("header:content-type", "test").unwrap()]);
        let (a, b) = (
            Obs { status: 200, headers: &a, body: first.1 },
            Obs { status: 200, headers: &b, body: second.1 },
        );
        compare(&a, &b, &rules, &Budget::default())
    };
    let latin = ("text/html; charset=iso-8859-1", &b"<p>caf\xe9"[..]);
    let same = compared(latin, ("text/html; charset=utf-8", "<p>café".as_bytes()));
    assert_eq!(same.verdict, Verdict::MatchNormalised, "{same:?}");
    let wrong = compared(latin, ("text/html; charset=utf-8", "<p>cafe".as_bytes()));
    assert_eq!(wrong.differences[0].kind.label(), "html_text:string");
    let broken = compared(
        ("text/html; charset=utf-8", b"<p>caf\xe9"),
        ("text/html; charset=utf-8", b"<p>caf\xe8"),
    );
    assert!(!broken.verdict.is_match());
}

#[test]
fn bodies_that_are_not_what_they_say_are_flagged() {
    let compared = |media: &str, legacy: &str, new: &str| {
        let headers = [("content-type".to_owned(), media.as_bytes().to_vec())];
        let answer = |body| Obs { status: 200, headers: &headers, body };
        let comparison = compare(
            &answer(legacy.as_bytes()),
            &answer(new.as_bytes()),
            &RuleSet::builtin(),
            &Budget::default(),
        );
        let lies = comparison.content_type_lies;
        (comparison.differences[0].kind.label().into_owned(), lies.legacy, lies.new)
    };
    let kind = |label: &str, legacy, new| (label.to_owned(), legacy, new);
    assert_eq!(
        compared("text/html", "{\"a\":1}", "{\"a\":2}"),
        kind("value_changed:number", true, true)
    );
    assert_eq!(
        compared("application/json", "<html>", "{\"a\":2}"),
        kind("type_changed", true, false)
    );
    assert_eq!(
        compared("application/json", "<html>a", "<html>b"),
        kind("html_text:string", true, true)
    );
    assert_eq!(
        compared("application/json", "{\"a\":1}", "{\"a\":2}"),
        kind("value_changed:number", false, false)
    );
    assert_eq!(compared("text/html", "<p>a", "<p>b"), kind("html_text:string", false, false));
    assert_eq!(compared("", "<html>a", "<html>b"), kind("html_text:string", false, false));
    assert_eq!(compared("text/html", "{oops", "{oops2"), kind("html_text:string", false, false));
}

#[test]
fn what_rails_makes_anew_in_each_page_is_normalised_and_the_rest_is_not() {
    let page = |pad: &str, digest: &str, token: &str| {
        let csrf = format!("{}aA==", pad.repeat(42));
        let digest = digest.repeat(16);
        format!(
            "<!doctype html><head><meta name=csrf-token content='{csrf}'>\
             <link rel=stylesheet href=/assets/app-{digest}.css><script nonce={token} src=/assets/app-{digest}.js></script></head>\
             <body><form><input type=hidden name=authenticity_token value='{csrf}'><input name=q></form>"
        )
    };
    let comparison = pages(&page("aB", "0a", "k3JYc2Fu8Q=="), &page("c9", "ff", "p0ZZc2Fu8w=="));
    assert_eq!(comparison.verdict, Verdict::MatchNormalised, "{comparison:?}");
    let rules: std::collections::BTreeSet<_> =
        comparison.hidden.iter().map(|hidden| hidden.rule.as_str()).collect();
    assert_eq!(
        rules.into_iter().collect::<Vec<_>>(),
        ["builtin/asset-digest", "builtin/csrf-token", "builtin/nonce"]
    );
    let legacy = page("aB", "0a", "k3JYc2Fu8Q==");
    for (other, expected) in [
        (
            legacy.replace("/assets/app-", "/assets/other-"),
            "html_attr:string html:head > link@href",
        ),
        (
            legacy.replacen("aA==", "==", 1).replacen("aA==", "==", 1),
            "html_attr:string html:head > meta@content",
        ),
        (legacy.replace(" nonce=k3JYc2Fu8Q==", ""), "html_attr:missing html:head > script@nonce"),
        (
            legacy.replace("<meta name=csrf-token", "<meta name=csrf"),
            "html_attr:string html:head > meta@name",
        ),
    ] {
        assert_eq!(found(&legacy, &other).first().map(String::as_str), Some(expected), "{other}");
    }
}

#[test]
fn rules_on_elements_judge_their_text() {
    use crate::{Action, Rule, TimeRule};
    let compared = |legacy: &str, new: &str, rule: Rule| {
        let headers = [("content-type".to_owned(), b"text/html".to_vec())];
        let rules = RuleSet::builtin().with([rule]);
        compare(
            &Obs { status: 200, headers: &headers, body: legacy.as_bytes() },
            &Obs { status: 200, headers: &headers, body: new.as_bytes() },
            &rules,
            &Budget::default(),
        )
    };
    let time = || Rule::new("html:time", Action::Time(TimeRule::default()), "formats").unwrap();
    let (a, b) = ("<time>2014/06/12 10:00:00 +0000</time>", "<time>2014-06-12T10:00:00Z</time>");
    assert_eq!(compared(a, b, time()).verdict, Verdict::MatchNormalised);
    assert!(!compared(a, "<time>2014-06-12T10:00:01Z</time>", time()).verdict.is_match());
    let value = || Rule::ignore_value("html:b", "counter").unwrap();
    let (one, two) = ("<b>deadbeefdeadbeef</b>", "<b>beefdeadbeefdead</b>");
    assert_eq!(compared(one, two, value()).verdict, Verdict::MatchNormalised);
    assert!(!compared(one, "<b></b>", value()).verdict.is_match());
    assert!(!compared(one, "", value()).verdict.is_match());
}
