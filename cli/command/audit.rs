//! `banyan audit`: who changed what, when and why; also what was refused.

use crate::args::AuditArgs;
use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, columns};
use crate::wiring::control;
use chrono::{DateTime, Utc};
use serde_json::json;

pub(crate) async fn run(
    config: &Config,
    args: &AuditArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let store = control::look(config).await?;
    let entries =
        store.audit(args.limit, None).await.map_err(|error| control::store_failure(&error))?;
    if output.is_json() {
        output.json("banyan.audit/1", &json!({ "entries": entries }), &[]);
        return Ok(Exit::Yes);
    }
    if entries.is_empty() {
        output.note("nothing has been changed yet");
        return Ok(Exit::Yes);
    }
    let mut rows = vec![
        ["WHEN (UTC)", "WHO", "WHAT", "OUTCOME", "GENERATION", "DETAIL", "WHY"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(entries.iter().map(|entry| {
        vec![
            utc(entry.at_ms),
            entry.actor.clone(),
            entry.action.clone(),
            entry.outcome.to_string(),
            format!("{} -> {}", entry.before, entry.after),
            entry.detail.clone(),
            if entry.reason.is_empty() { "-".to_owned() } else { entry.reason.clone() },
        ]
    }));
    output.lines(&columns(&rows));
    Ok(Exit::Yes)
}

/// `2026-11-21 03:00:05`.
pub(crate) fn utc(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(DateTime::<Utc>::from_timestamp_millis);
    at.map_or_else(|| "-".to_owned(), |at| at.format("%Y-%m-%d %H:%M:%S").to_string())
}
