//! A Rails page: head with a CSRF token, a form, a list, scripts with digests.

use super::world::World;

#[derive(Debug, Clone)]
pub(crate) enum Node {
    Text(String),
    Tag(Tag),
}

#[derive(Debug, Clone)]
pub(crate) struct Tag {
    pub(crate) name: &'static str,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) children: Vec<Node>,
}

#[derive(Debug, Clone)]
pub(crate) struct Page(pub(crate) Tag);

fn tag(name: &'static str, attributes: &[(&str, &str)], children: Vec<Node>) -> Node {
    let attributes = attributes.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    Node::Tag(Tag { name, attributes, children })
}

fn text(text: &str) -> Node {
    Node::Text(text.to_owned())
}

impl Page {
    pub(crate) fn generate(world: &mut World<'_>) -> Self {
        let digest = world.dice.hex(32);
        let head = tag(
            "head",
            &[],
            vec![
                tag("title", &[], vec![text(&format!("Inbox of {}", world.name()))]),
                tag("meta", &[("name", "csrf-param"), ("content", "authenticity_token")], vec![]),
                tag(
                    "link",
                    &[("rel", "stylesheet"), ("href", &format!("/assets/app-{digest}.css"))],
                    vec![],
                ),
            ],
        );
        let rows = (0..world.dice.between(2, 8)).map(|_| {
            let id = world.id();
            let title = world.words(2, 5).replace(['<', '>', '&', '"'], "");
            tag(
                "li",
                &[("class", "message"), ("data-id", &id.to_string())],
                vec![
                    tag(
                        "a",
                        &[("href", &format!("/messages/{id}")), ("class", "subject")],
                        vec![text(&title)],
                    ),
                    tag("span", &[("class", "from")], vec![text(&world.name())]),
                ],
            )
        });
        let list = tag("ul", &[("id", "messages")], rows.collect());
        let form = tag(
            "form",
            &[("action", "/session"), ("method", "post"), ("id", "login")],
            vec![
                tag(
                    "input",
                    &[("type", "text"), ("name", "user[login]"), ("maxlength", "80")],
                    vec![],
                ),
                tag("input", &[("type", "password"), ("name", "user[password]")], vec![]),
                tag("button", &[("type", "submit")], vec![text("Sign in")]),
            ],
        );
        let main = tag(
            "main",
            &[("class", "page")],
            vec![tag("h1", &[], vec![text("Messages")]), list, form],
        );
        let body = tag("body", &[], vec![main, tag("footer", &[], vec![text("the monolith")])]);
        Self(Tag { name: "html", attributes: Vec::new(), children: vec![head, body] })
    }

    pub(crate) fn write(&self) -> String {
        let mut out = String::from("<!DOCTYPE html>\n");
        write(&self.0, &mut out);
        out.push('\n');
        out
    }
}

const VOID: [&str; 3] = ["meta", "link", "input"];

fn write(tag: &Tag, out: &mut String) {
    let attributes: Vec<String> = tag
        .attributes
        .iter()
        .map(|(n, v)| format!(" {n}=\"{}\"", v.replace('"', "&quot;")))
        .collect();
    *out += &format!("<{}{}>", tag.name, attributes.concat());
    if VOID.contains(&tag.name) {
        out.push('\n');
        return;
    }
    for child in &tag.children {
        match child {
            Node::Text(text) => *out += &text.replace('&', "&amp;").replace('<', "&lt;"),
            Node::Tag(tag) => write(tag, out),
        }
    }
    *out += &format!("</{}>\n", tag.name);
}
