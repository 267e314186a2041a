//! `banyan explain`: the page behind a code.
//!
//! Owns one text per error code. A test of the repository checks that every code in the sources has its text.

use crate::config::problem::closest;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use serde_json::json;

/// The embedded pages: a `## code` heading, then its text.
const PAGES: &str = include_str!("explain.md");

pub(crate) fn run(what: &[String], output: &Output) -> Result<Exit, Failure> {
    let wanted = what.join(" ");
    let text = match what {
        [word, number] if word == "exit" => exit_page(number),
        _code => page(&wanted),
    };
    let Some(text) = text else { return Err(unknown(&wanted)) };
    if output.is_json() {
        output.json("banyan.explain/1", &json!({ "code": wanted, "text": text }), &[]);
    } else {
        output.line(&text);
    }
    Ok(Exit::Yes)
}

fn pages() -> impl Iterator<Item = (&'static str, &'static str)> {
    PAGES.split("\n## ").skip(1).filter_map(|page| page.split_once('\n'))
}

fn page(code: &str) -> Option<String> {
    let (code, text) = pages().find(|(heading, _)| heading.trim() == code)?;
    Some(format!("{}\n\n{}", code.trim(), text.trim()))
}

fn exit_page(number: &str) -> Option<String> {
    let exit = Exit::ALL.into_iter().find(|exit| exit.number().to_string() == number)?;
    Some(format!("exit {number}: {}", exit.meaning()))
}

fn unknown(wanted: &str) -> Failure {
    let failure = Failure::new(
        "banyan::explain::unknown",
        Exit::Usage,
        format!("there is no code `{wanted}`"),
    );
    match closest(wanted, pages().map(|(code, _)| code.trim())) {
        Some(meant) => failure.hint(format!("did you mean `{meant}`?")),
        None => failure.hint("codes stand in error[..]; exit codes: banyan explain exit N"),
    }
}
