//! Causes in pages and forms.

use banyan_diff::{RuleSet, Severity, Verdict};

use super::super::answer::{Answer, Body};
use super::super::dice::Dice;
use super::super::html::{Node, Page, Tag};
use super::super::world::World;
use super::{Cause, Found, Pair, judged};

pub(crate) fn causes() -> Vec<Cause> {
    let cause = |name, plant| Cause { name, plant };
    vec![
        cause("html text changed", |dice| {
            html_text(dice, "string", |dice, _| format!("planted {}", dice.hex(6)))
        }),
        cause("html text in other case", |dice| {
            html_text(dice, "case", |_, text| text.to_lowercase())
        }),
        cause("html link goes elsewhere", |dice| {
            attribute(dice, "href", Edit::Set("/planted/9".to_owned()), "string", Severity::Value)
        }),
        cause("html link lost", |dice| {
            attribute(dice, "href", Edit::Drop, "missing", Severity::Breaking)
        }),
        cause("html attribute lost", |dice| {
            attribute(dice, "maxlength", Edit::Drop, "missing", Severity::Value)
        }),
        cause("html attribute extra", |dice| {
            attribute(dice, "title", Edit::Add, "extra", Severity::Additive)
        }),
        cause("html class changed", |dice| {
            attribute(dice, "class", Edit::Set("planted".to_owned()), "class", Severity::Value)
        }),
        cause("html tag changed", tag_changed),
        cause("html node missing", node_missing),
        cause("html node extra", node_extra),
        cause("html list reordered", reordered),
        cause("rails: page written otherwise", written_otherwise),
        cause("form value changed", |dice| {
            form(dice, |pairs, dice| {
                pairs[1].1 = format!("planted{}", dice.hex(4));
                Found::shaped("value_changed:string", "$.token_type", "string -> string")
            })
        }),
        cause("form member missing", |dice| {
            form(dice, |pairs, _| {
                pairs.remove(2);
                Found::shaped("key_missing", "$.scope", "string -> absent")
            })
        }),
        cause("form member extra", |dice| {
            form(dice, |pairs, _| {
                pairs.push(("planted".to_owned(), "yes".to_owned()));
                Found::shaped("key_extra", "$.planted", "absent -> string")
            })
        }),
    ]
}

/// The way to an element: places among the children of its parents.
type Way = Vec<usize>;

fn page(dice: &mut Dice) -> Answer {
    World::new(dice).answer("login.page")
}

fn root(answer: &mut Answer) -> &mut Tag {
    let Body::Html(Page(root)) = &mut answer.body else { panic!("no page") };
    root
}

fn tag_at<'a>(root: &'a mut Tag, way: &[usize]) -> &'a mut Tag {
    way.iter().fold(root, |tag, at| match &mut tag.children[*at] {
        Node::Tag(tag) => tag,
        Node::Text(_) => panic!("no element"),
    })
}

/// All elements below the root with their shape.
fn elements(tag: &Tag, way: &Way, shape: &str, found: &mut Vec<(Way, String)>) {
    for (at, child) in tag.children.iter().enumerate() {
        let Node::Tag(child) = child else { continue };
        let id = child.attributes.iter().find(|(name, _)| name == "id");
        let id = id.map_or(String::new(), |(_, id)| format!("#{id}"));
        let between = if shape.is_empty() { "" } else { " > " };
        let shape = format!("{shape}{between}{}{id}", child.name);
        let way = [way.as_slice(), &[at]].concat();
        found.push((way.clone(), shape.clone()));
        elements(child, &way, &shape, found);
    }
}

fn choose(
    dice: &mut Dice,
    answer: &mut Answer,
    wish: impl Fn(&Tag) -> bool,
) -> Option<(Way, String)> {
    let root = root(answer);
    let mut all = Vec::new();
    elements(root, &Vec::new(), "", &mut all);
    all.retain(|(way, _)| wish(tag_at(root, way)));
    (!all.is_empty()).then(|| dice.pick(&all).clone())
}

fn planted(
    legacy: &Answer,
    new: &Answer,
    found: Found,
    severity: Severity,
    dice: &mut Dice,
) -> Pair {
    judged(legacy, new, vec![found], Verdict::Mismatch(severity), dice)
}

fn html_text(dice: &mut Dice, sub: &str, change: fn(&mut Dice, &str) -> String) -> Option<Pair> {
    let mut legacy = page(dice);
    let has_text = |tag: &Tag| matches!(tag.children.first(), Some(Node::Text(text)) if text.is_ascii() && text.to_lowercase() != *text);
    let (way, shape) = choose(dice, &mut legacy, has_text)?;
    let mut new = legacy.clone();
    let Some(Node::Text(text)) = tag_at(root(&mut new), &way).children.first_mut() else {
        return None;
    };
    *text = change(dice, text);
    let cause = if sub == "case" { "lower" } else { "string -> string" };
    let found = Found::shaped(&format!("html_text:{sub}"), &format!("html:{shape}"), cause);
    Some(planted(&legacy, &new, found, Severity::Value, dice))
}

#[derive(Clone)]
enum Edit {
    Set(String),
    Drop,
    Add,
}

fn attribute(
    dice: &mut Dice,
    name: &str,
    edit: Edit,
    sub: &str,
    severity: Severity,
) -> Option<Pair> {
    let mut legacy = page(dice);
    let has = |tag: &Tag| tag.attributes.iter().any(|(own, _)| own == name);
    let wish = |tag: &Tag| match edit {
        Edit::Add => !has(tag) && tag.name != "meta" && tag.name != "link",
        Edit::Set(_) | Edit::Drop => has(tag) && tag.name != "link",
    };
    let (way, shape) = choose(dice, &mut legacy, wish)?;
    let mut new = legacy.clone();
    let tag = tag_at(root(&mut new), &way);
    let cause = match &edit {
        Edit::Set(value) => {
            tag.attributes.iter_mut().find(|(own, _)| own == name)?.1.clone_from(value);
            "string -> string"
        }
        Edit::Drop => {
            tag.attributes.retain(|(own, _)| own != name);
            "string -> absent"
        }
        Edit::Add => {
            tag.attributes.push((name.to_owned(), "planted words".to_owned()));
            "absent -> string"
        }
    };
    let cause = if name == "maxlength" { "string -> absent" } else { cause };
    let found = Found::shaped(&format!("html_attr:{sub}"), &format!("html:{shape}@{name}"), cause);
    Some(planted(&legacy, &new, found, severity, dice))
}

fn tag_changed(dice: &mut Dice) -> Option<Pair> {
    let mut legacy = page(dice);
    let (way, shape) = choose(dice, &mut legacy, |tag| tag.name == "h1" || tag.name == "span")?;
    let mut new = legacy.clone();
    let tag = tag_at(root(&mut new), &way);
    tag.name = if tag.name == "h1" { "h2" } else { "em" };
    let found = Found::shaped("html_tag", &format!("html:{shape}"), "object -> object");
    Some(planted(&legacy, &new, found, Severity::Value, dice))
}

fn node_missing(dice: &mut Dice) -> Option<Pair> {
    let mut legacy = page(dice);
    let (way, shape) = choose(dice, &mut legacy, |tag| tag.name == "li" || tag.name == "button")?;
    let mut new = legacy.clone();
    let (at, parent) = way.split_last()?;
    tag_at(root(&mut new), parent).children.remove(*at);
    let found = Found::shaped("html_node_missing", &format!("html:{shape}"), "object -> absent");
    Some(planted(&legacy, &new, found, Severity::Breaking, dice))
}

fn node_extra(dice: &mut Dice) -> Option<Pair> {
    let mut legacy = page(dice);
    let (way, shape) = choose(dice, &mut legacy, |tag| tag.name == "ul")?;
    let mut new = legacy.clone();
    let list = tag_at(root(&mut new), &way);
    let at = dice.below(list.children.len() + 1);
    let text = Node::Text(format!("planted {}", dice.hex(6)));
    let item = Tag { name: "li", attributes: Vec::new(), children: vec![text] };
    list.children.insert(at, Node::Tag(item));
    let found = Found::shaped("html_node_extra", &format!("html:{shape} > li"), "absent -> object");
    Some(planted(&legacy, &new, found, Severity::Value, dice))
}

fn reordered(dice: &mut Dice) -> Option<Pair> {
    let mut legacy = page(dice);
    let (way, shape) = choose(dice, &mut legacy, |tag| tag.name == "ul")?;
    let mut new = legacy.clone();
    tag_at(root(&mut new), &way).children.rotate_left(1);
    let found = Found::shaped("array_reordered", &format!("html:{shape}"), "object -> object");
    Some(planted(&legacy, &new, found, Severity::Order, dice))
}

/// White space, entities, comments, the order of attributes.
fn written_otherwise(dice: &mut Dice) -> Option<Pair> {
    let legacy = page(dice);
    let mut new = legacy.clone();
    let Body::Html(page) = &mut new.body else { return None };
    let mut all = Vec::new();
    elements(&page.0, &Vec::new(), "", &mut all);
    for (way, _) in &all {
        let tag = tag_at(&mut page.0, way);
        tag.attributes.reverse();
    }
    let text = page
        .write()
        .replace("><", ">\n  <")
        .replace("<ul", "<!-- planted -->\n<ul")
        .replace("</h1>", "</H1 >");
    new.body = Body::Bytes(text.into_bytes());
    let (legacy, new) = (legacy.raw(dice), new.raw(dice));
    let (rules, verdict) = (RuleSet::builtin(), Verdict::MatchNormalised);
    Some(Pair { legacy, new, rules, verdict, found: Vec::new(), hidden: Some("builtin/html-text") })
}

fn form(
    dice: &mut Dice,
    plant: fn(&mut Vec<(String, String)>, &mut Dice) -> Found,
) -> Option<Pair> {
    let legacy = World::new(dice).answer("token");
    let mut new = legacy.clone();
    let Body::Form(pairs) = &mut new.body else { return None };
    let found = plant(pairs, dice);
    Some(super::pair(&legacy, &new, vec![found], dice))
}
