//! `banyan config show|reference` and `banyan completions`.

use crate::args::{Arguments, ConfigCommand};
use crate::config::problem::Place;
use crate::config::reader::{Effective, Origin};
use crate::config::{self, Config, REFERENCE};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Paint, columns};
use clap::CommandFactory;
use serde_json::json;
use std::path::Path;

pub(crate) fn run(file: &Path, command: &ConfigCommand, output: &Output) -> Result<Exit, Failure> {
    match command {
        ConfigCommand::Reference => {
            if output.is_json() {
                output.json("banyan.config.reference/1", &json!({ "text": REFERENCE }), &[]);
            } else {
                output.line(REFERENCE.trim_end());
            }
        }
        ConfigCommand::Show => show(&config::load(file)?, output),
    }
    Ok(Exit::Yes)
}

fn show(config: &Config, output: &Output) {
    let origin = |effective: &Effective| match &effective.origin {
        Origin::Default => "default".to_owned(),
        Origin::Environment(name) => format!("env {name}"),
        Origin::File(span) => {
            format!("{}:{}", config.file.display(), Place::of(&config.text, span.start).line)
        }
    };
    if output.is_json() {
        let values: Vec<_> = config
            .effective
            .iter()
            .map(|e| json!({ "key": e.key, "value": masked(e), "origin": origin(e) }))
            .collect();
        output.json("banyan.config.show/1", &json!({ "values": values }), &[]);
        return;
    }
    let rows: Vec<Vec<String>> = config
        .effective
        .iter()
        .map(|e| vec![e.key.clone(), masked(e), output.paint(Paint::Faint, &origin(e))])
        .collect();
    output.lines(&columns(&rows));
}

/// The value, without what is secret: tokens whole, passwords in URLs.
fn masked(effective: &Effective) -> String {
    let key = effective.key.rsplit('.').next().unwrap_or_default();
    if ["token", "secret"].contains(&key) {
        return "******".to_owned();
    }
    let one_line = effective.value.split_whitespace().collect::<Vec<_>>().join(" ");
    let Some((scheme, rest)) = one_line.split_once("://") else { return one_line };
    match rest.rsplit_once('@') {
        Some((login, place)) => {
            let user = login.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:******@{place}")
        }
        None => one_line,
    }
}

pub(crate) fn completions(shell: clap_complete::Shell, output: &Output) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "banyan", &mut script);
    output.line(String::from_utf8_lossy(&script).trim_end());
    Exit::Yes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        let show = |key: &str, value: &str| {
            masked(&Effective {
                key: key.to_owned(),
                value: value.to_owned(),
                origin: Origin::Default,
            })
        };
        assert_eq!(show("admin.token", "s3cret-s3cret-s3cret"), "******");
        assert_eq!(
            show("context.new-database", "postgres://app:pw@db/x"),
            "postgres://app:******@db/x"
        );
        assert_eq!(show("proxy.legacy", "http://127.0.0.1:3000"), "http://127.0.0.1:3000");
    }
}
