//! `banyan context show`: where a context is, as everybody would read it.

use super::{begin, world};
use crate::args::Who;
use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Paint, columns};
use crate::wiring::control;
use banyan_cutover::{Events, Fence, Stage, observe};
use banyan_domain::Side;
use serde_json::json;

pub(super) async fn run(config: &Config, context: &str, output: &Output) -> Result<Exit, Failure> {
    let (context, store) = begin(config, context).await?;
    let nobody = Who { reason: String::new(), name: None };
    let world = world(config, &context, store, control::actor(&nobody))?;
    let seen = observe(&world).await;
    let stage = seen.stage(None);
    let (word, next) = match &stage {
        Stage::Steady { owner: Side::Legacy, .. } => {
            ("steady".to_owned(), format!("banyan context cutover {context}"))
        }
        Stage::Steady { owner: Side::New, .. } => (
            "steady".to_owned(),
            format!("banyan context drill {context}; back: banyan rollback {context}"),
        ),
        Stage::Announced(switch) => (format!("announced: {switch}"), resume(&context)),
        Stage::Leftover(switch) => (format!("left over: {switch}"), resume(&context)),
        Stage::Closed(switch) => (format!("closed, not decided: {switch}"), resume(&context)),
        Stage::GivenUp(switch) => (format!("given up: {switch}"), resume(&context)),
        Stage::Decided(switch) => (format!("decided: {switch}"), resume(&context)),
        Stage::Unclear => ("unclear".to_owned(), "make what is named below answer".to_owned()),
        Stage::Broken(why) => {
            (format!("broken: {why}"), "a person must look; nothing moves".to_owned())
        }
    };
    let events = match seen.events {
        Events::Standing(standing) => format!("{} since epoch {}", standing.owner, standing.epoch),
        Events::None => "no forwarder is in their path".to_owned(),
        Events::Unknown => "unknown".to_owned(),
    };
    let fence = |fence: Option<Fence>| {
        fence.map_or_else(|| "unknown".to_owned(), |f| format!("{}({})", f.state.as_str(), f.epoch))
    };
    let tables: Vec<_> = Side::ALL.map(|side| world.fence_of(side).tables().join(", ")).into();
    if output.is_json() {
        let data = json!({
            "context": context, "stage": word, "next": next, "route": seen.route,
            "fences": { "legacy": seen.legacy, "new": seen.new },
            "events": events, "unreachable": seen.unreachable,
        });
        output.json("banyan.context.show/1", &data, &[]);
    } else {
        let row = |name: &str, text: String| vec![name.to_owned(), text];
        let owner = seen.route.as_ref().map_or_else(
            || "unknown".to_owned(),
            |route| format!("{} since epoch {}", route.owner, route.epoch),
        );
        let rows = [
            row("context", context.to_string()),
            row("owner", owner),
            row("stage", word),
            row("fence legacy", format!("{}  {}", fence(seen.legacy), tables[0])),
            row("fence new", format!("{}  {}", fence(seen.new), tables[1])),
            row("events", events),
            row("next", next),
        ];
        output.lines(&columns(&rows));
        for why in &seen.unreachable {
            output.line(&output.paint(Paint::Bad, why));
        }
    }
    Ok(if seen.unreachable.is_empty() { Exit::Yes } else { Exit::Unreachable })
}

fn resume(context: &banyan_domain::ContextName) -> String {
    format!("banyan context cutover {context} --resume, or --abort")
}
