//! `banyan shadow templates`: endpoints that nobody declared.

use crate::args::TemplatesArgs;
use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, columns, thousands};
use crate::wiring::{advice, control};
use banyan_control::advice::LostCount;
use banyan_template::{Candidate, Template, candidates};
use serde_json::json;

/// Query keys that a line shows.
const KEYS_SHOWN: usize = 6;

pub(crate) async fn run(
    config: &Config,
    args: &TemplatesArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let now_ms = control::now_ms();
    let since = args.since.as_deref();
    let since_ms = since.map(|text| super::shadow::since(text, now_ms)).transpose()?;
    let store = control::look(config).await?;
    let found = store.shadow_advice(since_ms).await.map_err(|e| control::store_failure(&e))?;
    let templates = advice::templates(config, &found.templates);
    let candidates = candidates(&templates);
    if output.is_json() {
        let data = json!({ "templates": templates, "candidates": candidates, "lost": found.lost });
        output.json("banyan.shadow.templates/1", &data, &[]);
    } else if args.toml {
        output.lines(&candidates.iter().map(lines).collect::<Vec<_>>());
    } else {
        output.lines(&table(&templates));
        output.lines(&lost(&found.lost));
        if !templates.is_empty() {
            output.note(
                "hint: banyan shadow templates --toml prints endpoints to paste into banyan.toml",
            );
        }
    }
    Ok(Exit::Yes)
}

/// Ready to paste, with what speaks for it.
fn lines(candidate: &Candidate) -> String {
    format!("# {} requests seen\n{}", thousands(candidate.count), candidate.toml())
}

fn table(templates: &[Template]) -> Vec<String> {
    if templates.is_empty() {
        return vec!["no undeclared endpoint was seen".to_owned()];
    }
    let heads = ["REQUESTS", "ENDPOINT", "QUERY", "ANSWERS"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    let mut templates: Vec<&Template> = templates.iter().collect();
    templates.sort_by(|a, b| (b.count, &a.path, &a.query).cmp(&(a.count, &b.path, &b.query)));
    rows.extend(templates.into_iter().map(|template| {
        vec![
            thousands(template.count),
            format!("{} {}", template.method, template.path),
            keys(&template.query),
            advice::answers(template),
        ]
    }));
    columns(&rows)
}

fn keys(query: &[String]) -> String {
    let shown: Vec<&str> = query.iter().take(KEYS_SHOWN).map(String::as_str).collect();
    match (shown.is_empty(), query.len() > KEYS_SHOWN) {
        (true, _) => "-".to_owned(),
        (false, false) => shown.join("&"),
        (false, true) => format!("{}&…", shown.join("&")),
    }
}

/// What is under no template, in words.
fn lost(lost: &[LostCount]) -> Vec<String> {
    let why = |reason: &str| match reason {
        "misses" => "client errors on paths that never answered otherwise",
        "overflow" => "on new paths for which there was no room",
        _ => "not looked at (more than 200 in a second)",
    };
    let line = |row: &LostCount| format!("{} requests {}", thousands(row.count), why(&row.reason));
    lost.iter().map(line).collect()
}
