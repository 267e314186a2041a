//! Promises for every kind of body: total, symmetric, deterministic; a planted change of a page is found exactly.
#![expect(
    clippy::wildcard_enum_match_arm,
    clippy::format_push_string,
    reason = "a test of the kinds it names; its pages are small"
)]

use std::collections::BTreeMap;

use banyan_diff::{AttrChange, Budget, Comparison, Kind, Obs, Rule, RuleSet, Verdict, compare};
use proptest::prelude::*;
use proptest::sample::Index;

const MEDIA: [&str; 14] = [
    "",
    "application/json",
    "application/json; charset=iso-8859-1",
    "application/x-ndjson",
    "text/event-stream",
    "application/x-www-form-urlencoded",
    "text/html",
    "text/html; charset=shift_jis",
    "text/html; charset=utf-16le",
    "application/xhtml+xml",
    "text/plain; charset=windows-1251",
    "text/plain",
    "application/octet-stream",
    "image/png",
];

fn compared(media: &str, legacy: &[u8], new: &[u8], rules: &RuleSet) -> Comparison {
    compared_types((media, legacy), (media, new), rules)
}

fn compared_types(legacy: (&str, &[u8]), new: (&str, &[u8]), rules: &RuleSet) -> Comparison {
    let headers = |media: &str| [("content-type".to_owned(), media.as_bytes().to_vec())];
    let (a, b) = (headers(legacy.0), headers(new.0));
    compare(
        &Obs { status: 200, headers: &a, body: legacy.1 },
        &Obs { status: 200, headers: &b, body: new.1 },
        rules,
        &Budget::default(),
    )
}

/// Bytes that look like one of the forms, or like nothing.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let text = |pattern: &'static str| pattern.prop_map(String::into_bytes);
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        text(r#"(\[|\{|\}|\]|,|:|"|\\|a|1|\n| ){0,30}"#),
        text("(data:|event: |id: |: |\\{\"a\":|[0-9]|\\}|\n|\r){0,20}"),
        text("([a-c%+=&]|%2[0-9]|\n){0,24}"),
        text(
            r#"(<(/?(p|b|i|a|li|ul|table|tr|td|template|svg|select|option|script|title|body|html|head|br)( (id|class|href)=['"]?[ab ]{0,3}['"]?)*/?>?)|[ab&;\n<>"' ]|&lt|<!--|-->|<!doctype html>){0,30}"#
        ),
        prop::collection::vec(
            prop_oneof![
                Just(b"<p>".to_vec()),
                Just(b"</p>".to_vec()),
                prop::collection::vec(any::<u8>(), 1..4)
            ],
            0..20
        )
        .prop_map(|parts| parts.concat()),
    ]
}

fn mirrored(kind: Kind) -> Kind {
    match kind {
        Kind::KeyMissing => Kind::KeyExtra,
        Kind::KeyExtra => Kind::KeyMissing,
        Kind::ElemMissing => Kind::ElemExtra,
        Kind::ElemExtra => Kind::ElemMissing,
        Kind::HtmlNodeMissing => Kind::HtmlNodeExtra,
        Kind::HtmlNodeExtra => Kind::HtmlNodeMissing,
        Kind::HtmlAttr { sub: AttrChange::Missing } => Kind::HtmlAttr { sub: AttrChange::Extra },
        Kind::HtmlAttr { sub: AttrChange::Extra } => Kind::HtmlAttr { sub: AttrChange::Missing },
        other => other,
    }
}

fn tally(comparison: &Comparison, kind: fn(Kind) -> Kind) -> BTreeMap<Kind, usize> {
    let mut tally = BTreeMap::new();
    for difference in &comparison.differences {
        *tally.entry(kind(difference.kind)).or_default() += 1;
    }
    tally
}

/// An element of a page of which no two texts and attributes are equal.
#[derive(Debug, Clone)]
struct Element {
    name: &'static str,
    text: String,
    title: String,
    children: Vec<Element>,
}

fn element() -> impl Strategy<Value = Element> {
    let name = || prop_oneof![Just("div"), Just("section"), Just("article"), Just("span")];
    let leaf =
        |name| Element { name, text: String::new(), title: String::new(), children: Vec::new() };
    name().prop_map(leaf).prop_recursive(4, 30, 5, move |inner| {
        (name(), prop::collection::vec(inner, 0..5))
            .prop_map(move |(name, children)| Element { children, ..leaf(name) })
    })
}

impl Element {
    fn number(&mut self, next: &mut u32) {
        *next += 1;
        self.text = format!("words of number{next} here{next}");
        self.title = format!("title{next}");
        for child in &mut self.children {
            child.number(next);
        }
    }

    fn write(&self, out: &mut String) {
        let Self { name, text, title, children } = self;
        out.push_str(&format!("<{name} title=\"{title}\"><b>{text}</b>"));
        for child in children {
            child.write(out);
        }
        out.push_str(&format!("</{name}>"));
    }

    /// The element with that number in the order of the page, counted from 0.
    fn at(&mut self, wanted: usize) -> Option<&mut Self> {
        fn find<'e>(element: &'e mut Element, left: &mut usize) -> Option<&'e mut Element> {
            if *left == 0 {
                return Some(element);
            }
            *left -= 1;
            element.children.iter_mut().find_map(|child| find(child, left))
        }
        find(self, &mut { wanted })
    }

    fn count(&self) -> usize {
        1 + self.children.iter().map(Self::count).sum::<usize>()
    }
}

fn page(element: &Element) -> String {
    let mut out = String::from("<!doctype html><title>t</title><body>");
    element.write(&mut out);
    out
}

/// A thousand cases each, or what `PROPTEST_CASES` asks for.
fn config() -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let config = ProptestConfig::default();
    if asked { config } else { ProptestConfig { cases: 1_000, ..config } }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_two_bodies_of_any_types_get_a_verdict(
        (media_a, media_b) in (prop::sample::select(&MEDIA), prop::sample::select(&MEDIA)),
        (a, b) in (body(), body()),
    ) {
        let rules = RuleSet::builtin().with([
            Rule::ignore("header:content-type", "test").unwrap(),
            Rule::ignore("html:a@href", "test").unwrap(),
        ]);
        let comparison = compared_types((media_a, &a), (media_b, &b), &rules);
        prop_assert_eq!(&comparison, &compared_types((media_a, &a), (media_b, &b), &rules));
        let back = compared_types((media_b, &b), (media_a, &a), &rules);
        prop_assert_eq!(comparison.verdict.is_match(), back.verdict.is_match());
        if comparison.verdict == Verdict::Match {
            prop_assert!(comparison.differences.is_empty() && comparison.hidden.is_empty());
        }
        prop_assert_eq!(compared(media_a, &a, &a, &rules).verdict, Verdict::Match);
    }

    #[test]
    fn swapping_the_sides_swaps_missing_and_extra(
        media in prop::sample::select(&MEDIA),
        (a, b) in (body(), body()),
    ) {
        let rules = RuleSet::builtin();
        let (forth, back) = (compared(media, &a, &b, &rules), compared(media, &b, &a, &rules));
        prop_assert_eq!(tally(&forth, |kind| kind), tally(&back, mirrored));
        prop_assert_eq!(forth.total_differences, back.total_differences);
    }

    #[test]
    fn any_css_selector_is_a_rule_or_an_error_inside_it(text in r#"html:[a-z#.>+~ :()\[\]='"@*!0-9\\é-]{0,24}"#) {
        match Rule::ignore(&text, "test") {
            Ok(rule) => {
                let rules = RuleSet::builtin().with([rule]);
                compared("text/html", b"<p id=a>1<b>2", b"<p id=a>2<b>3", &rules);
            }
            Err(error) => prop_assert!(text.get(error.at..error.at + error.len).is_some()),
        }
    }

    #[test]
    fn planted_change_of_a_page_is_found_exactly(
        mut legacy in element(),
        at in any::<Index>(),
        plant in 0..5,
    ) {
        legacy.number(&mut 0);
        let mut new = legacy.clone();
        let place = new.at(at.index(legacy.count())).unwrap();
        let expected = match plant {
            0 => {
                place.text.push_str(" more");
                "html_text:string"
            }
            1 => {
                place.title.push('x');
                "html_attr:string"
            }
            2 if !place.children.is_empty() => {
                let at = at.index(place.children.len());
                place.children.remove(at);
                "html_node_missing"
            }
            3 => {
                let mut planted = Element { name: "aside", ..place.clone() };
                planted.children.clear();
                planted.text = "something new".to_owned();
                let at = at.index(place.children.len() + 1);
                place.children.insert(at, planted);
                "html_node_extra"
            }
            4 if place.children.len() > 1 => {
                place.children.rotate_left(1);
                "array_reordered"
            }
            _ => return Ok(()),
        };
        let comparison = compared("text/html", page(&legacy).as_bytes(), page(&new).as_bytes(), &RuleSet::builtin());
        let found: Vec<_> = comparison.differences.iter().map(|d| d.kind.label()).collect();
        prop_assert_eq!(found, vec![expected], "{}\n{}", page(&legacy), page(&new));
    }

    #[test]
    fn pages_that_differ_in_markup_only_are_normalised(mut element in element()) {
        element.number(&mut 0);
        let page = page(&element);
        let loud = page.replace("><", ">\n  <").replace("<b>", "<B >").replace("title=", "TITLE = ");
        let comparison = compared("text/html", page.as_bytes(), loud.as_bytes(), &RuleSet::builtin());
        prop_assert!(comparison.verdict.is_match(), "{:?}", comparison);
    }
}
