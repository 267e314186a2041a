//! `banyan context retire`: what still needs legacy, and the last flip of the reads.

use super::begin;
use crate::args::Who;
use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, columns};
use crate::wiring::control;
use banyan_control::ControlStore;
use banyan_domain::{Change, ContextName, EndpointKind, EndpointName, Phase, Side};
use serde_json::json;

/// What still needs legacy, and the reads that can go.
#[derive(Default)]
struct Left {
    needs: Vec<(String, String)>,
    ready: Vec<EndpointName>,
    owns_writes: bool,
}

pub(super) async fn run(
    config: &Config,
    context: &str,
    execute: bool,
    who: &Who,
    output: &Output,
) -> Result<Exit, Failure> {
    let (context, store) = begin(config, context).await?;
    let left = look(config, &context, store.as_ref()).await?;
    if execute && left.owns_writes {
        return Err(Failure::new(
            "banyan::cutover::not_owner",
            Exit::Refused,
            format!("cannot retire `{context}`: legacy still owns its writes"),
        )
        .hint(format!("banyan context cutover {context}")));
    }
    let actor = control::actor(who);
    for endpoint in left.ready.iter().filter(|_| execute) {
        let change = Change::Flip { endpoint: endpoint.clone(), to: Phase::Retired };
        let done = store.commit(&config.catalogue, &change, None, &actor).await;
        let doing = format!("cannot retire `{endpoint}`");
        done.map_err(|error| control::commit_failure(&doing, error))?;
    }
    let is_done = left.needs.is_empty() && (execute || left.ready.is_empty());
    if output.is_json() {
        let needs: Vec<_> =
            left.needs.iter().map(|(what, why)| json!({ "what": what, "why": why })).collect();
        let data = json!({ "context": context, "executed": execute, "needs_legacy": needs, "reads": left.ready });
        output.json("banyan.context.retire/1", &data, &[]);
        return Ok(if is_done { Exit::Yes } else { Exit::No });
    }
    let row = |(what, why): &(String, String)| vec![what.clone(), why.clone()];
    output.lines(&columns(&left.needs.iter().map(row).collect::<Vec<_>>()));
    for endpoint in &left.ready {
        let word = if execute { "is retired" } else { "can be retired" };
        output.line(&format!("{endpoint} {word}"));
    }
    if is_done {
        output.line(&format!("nothing of `{context}` needs legacy any more"));
    } else if !execute && !left.ready.is_empty() {
        output.note("nothing is done yet: add --execute");
    }
    Ok(if is_done { Exit::Yes } else { Exit::No })
}

async fn look(
    config: &Config,
    context: &ContextName,
    store: &dyn ControlStore,
) -> Result<Left, Failure> {
    let table = store.table().await.map_err(|error| control::store_failure(&error))?;
    let owner = table.contexts.get(context).map(|state| state.owner);
    let mut left = Left { owns_writes: owner != Some(Side::New), ..Left::default() };
    let spec = config.catalogue.context(context);
    for endpoint in spec.into_iter().flat_map(|spec| &spec.endpoints) {
        let name = &endpoint.name;
        if endpoint.kind() == EndpointKind::Write {
            if left.owns_writes {
                let why = format!("writes go to legacy: banyan context cutover {context}");
                left.needs.push((name.to_string(), why));
            }
            continue;
        }
        match table.endpoints.get(name).map(|state| state.phase) {
            Some(Phase::New) => left.ready.push(name.clone()),
            Some(Phase::Retired) => {}
            other => {
                let phase = other.map_or_else(|| "legacy".to_owned(), |phase| phase.to_string());
                let why = format!("is in phase {phase}: banyan route flip {name} ..");
                left.needs.push((name.to_string(), why));
            }
        }
    }
    for job in config.jobs.iter().filter(|job| job.spec.context == context.as_str()) {
        if !job.spec.is_two_way() {
            let name = &job.spec.name;
            left.needs.push((format!("sync {name}"), "brings what only legacy owns".to_owned()));
        }
    }
    let seen = store.shadow_advice(None).await.map_err(|error| control::store_failure(&error))?;
    if !seen.templates.is_empty() {
        let kinds = seen.templates.len();
        let why = format!(
            "{kinds} kinds of requests that nobody declared go to legacy: banyan shadow templates"
        );
        left.needs.push(("undeclared".to_owned(), why));
    }
    Ok(left)
}
