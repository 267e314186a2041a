//! A Rails page: head with a CSRF token, a form, a list, scripts with digests.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::dice::Dice;
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

/// Bytes of a CSRF token, without its mask.
pub(crate) type Token = [u8; 32];

pub(crate) fn token(dice: &mut Dice) -> Token {
    std::array::from_fn(|_| dice.next().to_le_bytes()[0])
}

/// A token as Rails writes it since 4.2: under a one-time pad.
pub(crate) fn masked(token: Token, dice: &mut Dice) -> String {
    let pad = self::token(dice);
    let under = token.iter().zip(pad).map(|(token, pad)| token ^ pad);
    BASE64_STANDARD.encode(pad.into_iter().chain(under).collect::<Vec<u8>>())
}

/// A token as Rails wrote it before.
pub(crate) fn plain(token: Token) -> String {
    BASE64_STANDARD.encode(token)
}

impl Page {
    /// All elements, parents first.
    pub(crate) fn each(&mut self, visit: &mut dyn FnMut(&mut Tag)) {
        fn below(tag: &mut Tag, visit: &mut dyn FnMut(&mut Tag)) {
            visit(tag);
            for child in &mut tag.children {
                if let Node::Tag(tag) = child {
                    below(tag, visit);
                }
            }
        }
        below(&mut self.0, visit);
    }

    /// Writes the CSRF tokens of the page.
    pub(crate) fn set_tokens(&mut self, mut write: impl FnMut() -> String) {
        self.each(&mut |tag| {
            let csrf = |(_, value): &(String, String)| {
                matches!(value.as_str(), "csrf-token" | "authenticity_token")
            };
            if tag.attributes.iter().any(|own| own.0 == "name" && csrf(own)) {
                tag.attributes.last_mut().unwrap().1 = write();
            }
        });
    }

    /// Writes the names of assets anew, as after another deployment.
    pub(crate) fn set_digests(&mut self, digest: &str) {
        self.each(&mut |tag| {
            for (_, value) in &mut tag.attributes {
                if value.starts_with("/assets/") {
                    let (name, end) =
                        (value.split('-').next().unwrap(), value.rsplit('.').next().unwrap());
                    *value = format!("{name}-{digest}.{end}");
                }
            }
        });
    }

    /// Writes the nonces of scripts anew.
    pub(crate) fn set_nonces(&mut self, nonce: &str) {
        self.each(&mut |tag| {
            for (_, value) in tag.attributes.iter_mut().filter(|(name, _)| name == "nonce") {
                nonce.clone_into(value);
            }
        });
    }

    pub(crate) fn generate(world: &mut World<'_>) -> Self {
        let digest = world.dice.hex(32);
        let nonce = world.dice.hex(24);
        let raw = token(world.dice);
        let tokens = [masked(raw, world.dice), masked(raw, world.dice)];
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
                tag("meta", &[("name", "csrf-token"), ("content", &tokens[0])], vec![]),
                tag(
                    "script",
                    &[("nonce", &nonce), ("src", &format!("/assets/app-{digest}.js"))],
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
                    &[("type", "hidden"), ("name", "authenticity_token"), ("value", &tokens[1])],
                    vec![],
                ),
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
