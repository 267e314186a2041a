//! `banyan context retire`: what still needs legacy, and the last flip of the reads.

use super::begin;
use crate::args::Who;
use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, columns};
use crate::wiring::control;
use banyan_domain::{Change, EndpointKind, Phase, Side};
use serde_json::json;

pub(super) async fn run(
    config: &Config,
    context: &str,
    execute: bool,
    who: &Who,
    output: &Output,
) -> Result<Exit, Failure> {
    let (context, store) = begin(config, context).await?;
    let table = store.table().await.map_err(|error| control::store_failure(&error))?;
    let owner = table.contexts.get(&context).map(|state| state.owner);
    let spec = config.catalogue.context(&context);
    let mut needs: Vec<(String, String)> = Vec::new();
    let mut ready = Vec::new();
    for endpoint in spec.into_iter().flat_map(|spec| &spec.endpoints) {
        match endpoint.kind() {
            EndpointKind::Write if owner != Some(Side::New) => needs.push((
                endpoint.name.to_string(),
                format!("writes go to legacy: banyan context cutover {context}"),
            )),
            EndpointKind::Write => {}
            EndpointKind::Read => {
                match table.endpoints.get(&endpoint.name).map(|state| state.phase) {
                    Some(Phase::New) => ready.push(endpoint.name.clone()),
                    Some(Phase::Retired) => {}
                    other => {
                        let phase =
                            other.map_or_else(|| "legacy".to_owned(), |phase| phase.to_string());
                        let flip =
                            format!("is in phase {phase}: banyan route flip {} ..", endpoint.name);
                        needs.push((endpoint.name.to_string(), flip));
                    }
                }
            }
        }
    }
    for job in config.jobs.iter().filter(|job| job.spec.context == context.as_str()) {
        if !job.spec.is_two_way() {
            let why = format!("job `{}` brings what only legacy owns", job.spec.name);
            needs.push((format!("sync {}", job.spec.name), why));
        }
    }
    let still = store.shadow_advice(None).await.map_err(|error| control::store_failure(&error))?;
    let undeclared = still.templates.len();
    if undeclared > 0 {
        let why = format!(
            "{undeclared} undeclared kinds of requests go to legacy: banyan shadow templates"
        );
        needs.push(("undeclared".to_owned(), why));
    }
    let writes_stay = needs.iter().any(|(_, why)| why.starts_with("writes go"));
    if execute && writes_stay {
        return Err(Failure::new(
            "banyan::cutover::not_owner",
            Exit::Refused,
            format!("cannot retire `{context}`: legacy still owns its writes"),
        )
        .hint(format!("banyan context cutover {context}")));
    }
    let actor = control::actor(who);
    for endpoint in ready.iter().filter(|_| execute) {
        let change = Change::Flip { endpoint: endpoint.clone(), to: Phase::Retired };
        let done = store.commit(&config.catalogue, &change, None, &actor).await;
        done.map_err(|error| {
            control::commit_failure(&format!("cannot retire `{endpoint}`"), error)
        })?;
    }
    if output.is_json() {
        let needs: Vec<_> =
            needs.iter().map(|(what, why)| json!({ "what": what, "why": why })).collect();
        let data = json!({ "context": context, "executed": execute, "needs_legacy": needs, "reads": ready });
        output.json("banyan.context.retire/1", &data, &[]);
    } else {
        let rows: Vec<Vec<String>> =
            needs.iter().map(|(what, why)| vec![what.clone(), why.clone()]).collect();
        output.lines(&columns(&rows));
        for endpoint in &ready {
            output.line(&format!(
                "{endpoint} {}",
                if execute { "is retired" } else { "can be retired" }
            ));
        }
        if needs.is_empty() && (execute || ready.is_empty()) {
            output.line(&format!("nothing of `{context}` needs legacy any more"));
        } else if !execute && !ready.is_empty() {
            output.note("nothing is done yet: add --execute");
        }
    }
    Ok(if needs.is_empty() && (execute || ready.is_empty()) { Exit::Yes } else { Exit::No })
}
