//! `banyan events status`.

use crate::args::EventsCommand;
use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, columns, thousands};
use crate::wiring::events;
use banyan_events::forwarder::{ForwarderStatus, status};

pub(crate) async fn run(
    config: &Config,
    command: &EventsCommand,
    output: &Output,
) -> Result<Exit, Failure> {
    if let EventsCommand::Outbox(outbox) = command {
        return super::outbox::run(config, outbox, output).await;
    }
    let Some(settings) = events::settings(config) else {
        return Err(Failure::new(
            "banyan::events::none",
            Exit::Config,
            "the file has no [events] section",
        )
        .hint("banyan config reference shows one"));
    };
    let status = status(&settings).await.map_err(|error| events::failure(&error))?;
    if output.is_json() {
        output.json("banyan.events.status/1", &status, &[]);
    } else {
        print(&status, output);
    }
    Ok(if status.connected { Exit::Yes } else { Exit::Unreachable })
}

fn print(status: &ForwarderStatus, output: &Output) {
    let age = status.age_ms.map_or(String::new(), |age| format!(", {} s ago", age / 1_000));
    output.line(&format!(
        "forwarder {}: {}{age}  {}",
        status.name,
        status.state.as_str(),
        status.reason
    ));
    let mut rows = vec![
        ["CONTEXT", "EMITS", "EPOCH", "FORWARDED", "MUTED", "LATE", "DUP", "LAG", "UNDELIVERED"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    rows.extend(status.contexts.iter().map(|context| {
        vec![
            context.context.clone(),
            or_dash(context.owner.map(|side| side.to_string())),
            or_dash(context.epoch.map(|epoch| epoch.to_string())),
            thousands(context.forwarded),
            thousands(context.muted),
            thousands(context.late),
            thousands(context.dup),
            or_dash(context.lag_events.map(thousands)),
            thousands(context.undelivered),
        ]
    }));
    output.lines(&columns(&rows));
    output.line(&format!("unmigrated, passed through: {}", thousands(status.unmigrated)));
    for side in &status.sides {
        if let Some(error) = &side.error {
            output.line(&format!("raw {}: {error}", side.side));
        }
    }
}
