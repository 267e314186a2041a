//! `banyan events release|drop`.

use crate::args::ResolveArgs;
use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::wiring::{control, events};
use banyan_events::forwarder::{
    self, ForwarderConfig, Operator, QuarantineError, Resolution, Selection,
};
use serde_json::json;

pub(super) async fn resolve(
    config: &Config,
    settings: &ForwarderConfig,
    args: &ResolveArgs,
    resolution: Resolution,
    output: &Output,
) -> Result<Exit, Failure> {
    let selection = match &args.which.context {
        Some(name) => Selection::Context {
            context: super::super::flip::context(config, name)?,
            expected: args.expect,
        },
        None => Selection::Ids(args.which.ids.clone()),
    };
    let actor = control::actor(&args.who);
    let operator = Operator { name: actor.name, reason: actor.reason };
    let ids = forwarder::resolve(settings, &selection, resolution, &operator)
        .await
        .map_err(|error| failure(&error))?;
    let verb = match resolution {
        Resolution::Release => "released",
        Resolution::Drop => "dropped",
    };
    if output.is_json() {
        output.json("banyan.events.resolve/1", &json!({ "resolution": verb, "ids": ids }), &[]);
        return Ok(Exit::Yes);
    }
    let noun = if ids.len() == 1 { "event" } else { "events" };
    let list = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    output.line(&format!("{} late {noun} {verb}: {list}", ids.len()));
    if resolution == Resolution::Release {
        output.note("the leading forwarder publishes them within a second: banyan events status");
    }
    Ok(Exit::Yes)
}

fn failure(error: &QuarantineError) -> Failure {
    let doing = "cannot resolve late events";
    match error {
        QuarantineError::Store(error) => events::failure(error),
        QuarantineError::NoReason => {
            Failure::of("banyan::events::no_reason", Exit::Usage, doing, error)
                .hint("--reason \"why\"; it goes to the audit")
        }
        QuarantineError::Empty
        | QuarantineError::NotThere(_)
        | QuarantineError::Changed { .. }
        | _ => Failure::of("banyan::events::quarantine", Exit::Refused, doing, error)
            .hint("banyan events status        (lists what waits)"),
    }
}
