//! `banyan events ..`: the forwarder, its quarantine, handovers, and the broker's health.

mod doctor;
mod forward;
mod handover;
mod parity;
mod quarantine;
mod wrap;

use crate::args::EventsCommand;
use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, ago, columns, thousands};
use crate::wiring::{control, events};
use banyan_events::forwarder::{ForwarderConfig, ForwarderStatus, Resolution, status};

/// Late events shown to people; `--json` lists more.
const LATE_SHOWN_MAX: usize = 10;

pub(crate) async fn run(
    config: &Config,
    command: &EventsCommand,
    output: &Output,
) -> Result<Exit, Failure> {
    match command {
        EventsCommand::Status => show(&settings(config)?, output).await,
        EventsCommand::Forward(args) => {
            forward::run(config, &settings(config)?, args, output).await
        }
        EventsCommand::Release(args) => {
            quarantine::resolve(config, &settings(config)?, args, Resolution::Release, output).await
        }
        EventsCommand::Drop(args) => {
            quarantine::resolve(config, &settings(config)?, args, Resolution::Drop, output).await
        }
        EventsCommand::Handover(args) => {
            handover::run(config, &settings(config)?, args, output).await
        }
        EventsCommand::Parity(args) => parity::run(config, &settings(config)?, args, output).await,
        EventsCommand::Wrap(args) => {
            wrap::run(config, &settings(config)?, args, wrap::Direction::Wrap, output).await
        }
        EventsCommand::Unwrap(args) => {
            wrap::run(config, &settings(config)?, args, wrap::Direction::Unwrap, output).await
        }
        EventsCommand::Doctor => doctor::run(config, &settings(config)?, output).await,
        EventsCommand::Outbox(outbox) => super::outbox::run(config, outbox, output).await,
    }
}

/// The forwarder of the file.
///
/// # Errors
/// Exit 3 when the file has no `[events]` section.
pub(crate) fn settings(config: &Config) -> Result<ForwarderConfig, Failure> {
    events::settings(config).ok_or_else(|| {
        Failure::new("banyan::events::none", Exit::Config, "the file has no [events] section")
            .hint("banyan config reference shows one")
    })
}

async fn show(settings: &ForwarderConfig, output: &Output) -> Result<Exit, Failure> {
    let status = status(settings).await.map_err(|error| events::failure(&error))?;
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
        "forwarder {} ({}): {}{age}  {}",
        status.name,
        status.insertion,
        status.state.as_str(),
        status.reason
    ));
    print_contexts(status, output);
    output.line(&format!("unmigrated, passed through: {}", thousands(status.unmigrated)));
    for side in &status.sides {
        if let Some(error) = &side.error {
            output.line(&format!("raw {}: {error}", side.side));
        }
    }
    for held in &status.held {
        output.line(&format!(
            "raw {} waits at {}({}) of {} for the other side's marker, {}",
            held.side,
            held.marker,
            held.epoch,
            held.context,
            since(held.since_ms)
        ));
    }
    for handover in status.handovers.iter().filter(|handover| !handover.step.is_over()) {
        output.line(&format!(
            "handover of {} to {} (epoch {}) is at step {}, {}: run it again to go on",
            handover.context,
            handover.target,
            handover.epoch,
            handover.step.as_str(),
            since(handover.at_ms)
        ));
    }
    print_quarantine(status, output);
}

fn print_contexts(status: &ForwarderStatus, output: &Output) {
    let head =
        ["CONTEXT", "EMITS", "EPOCH", "FORWARDED", "MUTED", "LATE", "DUP", "LAG", "UNDELIVERED"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
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
    for context in status.contexts.iter().filter(|context| context.unrouted > 0) {
        output.line(&format!(
            "{}: {} published events reached no queue: no consumer is bound to their routing key",
            context.context,
            thousands(context.unrouted)
        ));
    }
}

fn print_quarantine(status: &ForwarderStatus, output: &Output) {
    if status.quarantine_events == 0 {
        return;
    }
    output.line(&format!(
        "quarantine: {} of at most {} late events",
        thousands(status.quarantine_events),
        thousands(status.quarantine_events_max)
    ));
    let head = ["ID", "CONTEXT", "SIDE", "KEY", "MESSAGE ID", "BYTES", "CAME"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(status.quarantine.iter().take(LATE_SHOWN_MAX).map(|late| {
        let came = since(late.decided_ms);
        vec![
            late.id.to_string(),
            late.context.clone(),
            late.side.to_string(),
            late.routing_key.clone(),
            late.message_id.clone().unwrap_or_else(|| "-".to_owned()),
            late.body_bytes.to_string(),
            if late.releasing { format!("{came}, is being released") } else { came },
        ]
    }));
    output.lines(&columns(&rows));
    if status.quarantine.len() > LATE_SHOWN_MAX {
        output.note("more of them: banyan events status --json");
    }
    output.note("banyan events release|drop --id ID --reason TEXT");
}

fn since(at_ms: i64) -> String {
    let then = u64::try_from(at_ms).unwrap_or(0);
    format!("{} ago", ago(control::now_ms().saturating_sub(then)))
}
