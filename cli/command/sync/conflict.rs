//! `banyan sync conflicts|overrule`: aggregates that both sides wrote.

use super::{chosen, chosen_toward, open, print_row, row_json};
use crate::args::JobArgs;
use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, thousands};
use crate::wiring::sync;
use banyan_sync_jobs::{Ports, Side};
use serde_json::{Value, json};

pub(super) async fn list(
    config: &Config,
    which: &JobArgs,
    limit: usize,
    output: &Output,
) -> Result<Exit, Failure> {
    let mut all = Vec::new();
    let mut total = 0;
    for (configured, to) in chosen_toward(config, which).await? {
        let job = open(configured, to, Ports::default())?;
        let found =
            job.conflicts(limit).await.map_err(|error| sync::failure(job.name(), &error))?;
        total += found.total;
        if !output.is_json() {
            let (name, to) = (job.name(), job.to());
            output.line(&format!(
                "{name} to {to}: {} aggregates written on both sides",
                thousands(found.total)
            ));
            for key in &found.keys {
                output.line(&format!("  {}", key.key));
                key.rows.iter().for_each(|row| print_row(row, output));
            }
        }
        let keys: Vec<Value> = found
            .keys
            .iter()
            .map(|key| json!({ "key": key.key, "rows": key.rows.iter().map(row_json).collect::<Vec<_>>() }))
            .collect();
        all.push(json!({ "job": job.name(), "to": job.to(), "total": found.total, "keys": keys }));
    }
    if output.is_json() {
        output.json("banyan.sync.conflicts/1", &json!({ "total": total, "jobs": all }), &[]);
    }
    Ok(if total == 0 { Exit::Yes } else { Exit::No })
}

pub(super) async fn overrule(
    config: &Config,
    (which, to): (&str, Side),
    keys: &[String],
    output: &Output,
) -> Result<Exit, Failure> {
    let mut overruled = 0;
    for configured in chosen(config, Some(which))? {
        let job = open(configured, to, Ports::default())?;
        let done = job.overrule(keys).await.map_err(|error| sync::failure(job.name(), &error))?;
        overruled += done;
    }
    let asked = keys.len();
    if output.is_json() {
        let data = json!({ "job": which, "to": to, "asked": asked, "overruled": overruled });
        output.json("banyan.sync.overrule/1", &data, &[]);
    } else {
        output.line(&format!(
            "{overruled} of {asked} were in conflict; the next run writes what the owner has"
        ));
    }
    Ok(if overruled == 0 { Exit::No } else { Exit::Yes })
}
