//! `banyan events wrap|unwrap`.

use crate::args::WrapArgs;
use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::wiring::control;
use crate::wiring::events::{self, StoreOwners};
use async_trait::async_trait;
use banyan_domain::Side;
use banyan_events::forwarder::{self, ForwarderConfig};
use banyan_events::wrap::{self, Known, WrapError, WrapPause, WrapStep};
use serde_json::json;
use std::sync::Arc;

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Wrap,
    Unwrap,
}

impl Direction {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Wrap => "wrap",
            Self::Unwrap => "unwrap",
        }
    }
}

pub(super) async fn run(
    config: &Config,
    settings: &ForwarderConfig,
    args: &WrapArgs,
    direction: Direction,
    output: &Output,
) -> Result<Exit, Failure> {
    let known = known(config, settings, args).await?;
    let planned = match direction {
        Direction::Wrap => wrap::wrap_plan(settings, &known),
        Direction::Unwrap => wrap::unwrap_plan(settings, &known),
    };
    let steps = planned.map_err(|error| failure(direction, &error))?;
    let texts: Vec<String> = steps.iter().map(ToString::to_string).collect();
    if output.is_json() {
        let data = json!({ "steps": texts, "executed": args.execute });
        output.json(&format!("banyan.events.{}/1", direction.as_str()), &data, &[]);
    } else {
        for (number, text) in (1..).zip(&texts) {
            output.line(&format!("{number}. {text}"));
        }
    }
    if steps.is_empty() {
        output.note(&format!("nothing to {}", direction.as_str()));
        return Ok(Exit::Yes);
    }
    if !args.execute {
        output.note("nothing is done yet: add --execute --reason TEXT");
        return Ok(Exit::No);
    }
    if direction == Direction::Unwrap {
        refuse_while_new_emits(settings).await?;
    }
    let store = control::open(config).await?;
    super::super::flip::adopt(config, store.as_ref()).await?;
    let owners = Arc::new(StoreOwners(store));
    let done = wrap::run(settings, &steps, owners, &Say(output)).await;
    done.map_err(|error| failure(direction, &error))?;
    if !output.is_json() {
        output.line(match direction {
            Direction::Wrap => "wrapped: start the forwarder now, events wait in its raw queue",
            Direction::Unwrap => "unwrapped: consumers hang on the monolith's exchange again",
        });
    }
    Ok(Exit::Yes)
}

async fn known(
    config: &Config,
    settings: &ForwarderConfig,
    args: &WrapArgs,
) -> Result<Known, Failure> {
    let failed = |error: WrapError| failure(Direction::Wrap, &error);
    if !args.bindings.is_empty() {
        return Known::given(settings, &args.bindings).map_err(failed);
    }
    let management = config.events.as_ref().and_then(|events| events.management.as_deref());
    let Some(management) = management else {
        return Err(Failure::new(
            "banyan::events::no_management",
            Exit::Config,
            "the bindings cannot be read: `events.management` is not set",
        )
        .hint("set it to the URL of RabbitMQ's management API, or give each --binding QUEUE=KEY"));
    };
    wrap::look(settings, management).await.map_err(failed)
}

/// After an unwrap legacy's events reach consumers whatever the owner is.
async fn refuse_while_new_emits(settings: &ForwarderConfig) -> Result<(), Failure> {
    let status = forwarder::status(settings).await.map_err(|error| events::failure(&error))?;
    match status.contexts.iter().find(|context| context.owner == Some(Side::New)) {
        Some(context) => Err(Failure::new(
            "banyan::events::unwrap_refused",
            Exit::Refused,
            format!("new emits the events of `{}`", context.context),
        )
        .hint(format!("banyan events handover {} --to legacy --execute", context.context))),
        None => Ok(()),
    }
}

struct Say<'a>(&'a Output);

#[async_trait]
impl WrapPause for Say<'_> {
    async fn before(&self, step: &WrapStep) {
        self.0.note(&format!("now: {step}"));
    }
}

fn failure(direction: Direction, error: &WrapError) -> Failure {
    let doing = format!("cannot {}", direction.as_str());
    let (exit, hint) = match error {
        WrapError::Forwarder(error) => return events::failure(error),
        WrapError::Config { .. } => (
            Exit::Config,
            "events.insertion = \"wrap\", one RabbitMQ virtual host for legacy and public",
        ),
        WrapError::Running { .. } => {
            (Exit::Refused, "stop every `banyan serve` with the role events, then run it again")
        }
        WrapError::Broker { .. }
        | WrapError::TooMany { .. }
        | WrapError::NotDrained { .. }
        | WrapError::Management(_)
        | _ => (Exit::Unreachable, "run it again: each step may be done twice"),
    };
    Failure::of("banyan::events::wrap", exit, &doing, error).hint(hint)
}
