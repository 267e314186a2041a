//! `banyan context fence install|uninstall`: the DDL is printed first and run on request.

use super::{begin, port_failure, world};
use crate::args::Who;
use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::wiring::{control, sync};
use banyan_cutover::{Fence, FenceState, Ports as _};
use banyan_domain::{Epoch, Side};
use serde_json::json;

fn nobody() -> Who {
    Who { reason: String::new(), name: None }
}

pub(super) async fn install(
    config: &Config,
    context: &str,
    execute: bool,
    output: &Output,
) -> Result<Exit, Failure> {
    let (context, store) = begin(config, context).await?;
    let world = world(config, &context, store, control::actor(&nobody()))?;
    let doing = format!("cannot install the fences of `{context}`");
    let route = world.route().await.map_err(|error| port_failure(&doing, &error))?;
    let mut steps = Vec::new();
    // The side that must not write first: between the two both sides are as before, or one is closed already.
    for side in [route.owner.other(), route.owner] {
        let start = if side == route.owner {
            Fence::new(FenceState::Open, route.epoch)
        } else {
            Fence::new(FenceState::Shut, Epoch(0))
        };
        let fence = world.fence_of(side);
        let made = if execute { fence.install(start).await } else { fence.missing(start).await };
        steps.extend(made.map_err(|error| sync::failure(context.as_str(), &error))?);
    }
    if output.is_json() {
        let steps: Vec<_> = steps
            .iter()
            .map(|step| json!({ "side": step.side, "object": step.object, "statements": step.statements }))
            .collect();
        let data = json!({ "context": context, "executed": execute, "steps": steps });
        output.json("banyan.context.fence/1", &data, &[]);
    } else {
        let what = if execute { "made" } else { "would make" };
        for step in &steps {
            output.line(&format!("{what} {} on {}:", step.object, step.side));
            step.statements.iter().for_each(|sql| output.line(&format!("    {sql};")));
        }
        output.line(match (steps.is_empty(), execute) {
            (true, _) => "All is installed.",
            (false, true) => "Installed.",
            (false, false) => "Nothing was changed. --execute runs these statements.",
        });
    }
    Ok(if execute || steps.is_empty() { Exit::Yes } else { Exit::No })
}

pub(super) async fn uninstall(
    config: &Config,
    context: &str,
    execute: bool,
    output: &Output,
) -> Result<Exit, Failure> {
    let (context, store) = begin(config, context).await?;
    let world = world(config, &context, store, control::actor(&nobody()))?;
    let doing = format!("cannot remove the fences of `{context}`");
    let route = world.route().await.map_err(|error| port_failure(&doing, &error))?;
    if route.armed.is_some() {
        return Err(Failure::new("banyan::cutover::unfinished", Exit::Refused, doing)
            .because("a switch is under way")
            .hint(format!("banyan context cutover {context} --resume, or --abort")));
    }
    let mut statements = Vec::new();
    for side in Side::ALL {
        let removed = world.fence_of(side).uninstall(execute).await;
        let removed = removed.map_err(|error| sync::failure(context.as_str(), &error))?;
        statements.extend(removed.into_iter().map(|sql| (side, sql)));
    }
    if output.is_json() {
        let list: Vec<_> =
            statements.iter().map(|(side, sql)| json!({ "side": side, "sql": sql })).collect();
        let data = json!({ "context": context, "executed": execute, "statements": list });
        output.json("banyan.context.fence/1", &data, &[]);
    } else {
        for (side, sql) in &statements {
            output.line(&format!("  on {side}: {sql};"));
        }
        output.line(match (statements.is_empty(), execute) {
            (true, _) => "No fence is installed.",
            (false, true) => "Removed.",
            (false, false) => "Nothing was changed. --execute runs these statements.",
        });
    }
    Ok(if execute || statements.is_empty() { Exit::Yes } else { Exit::No })
}
