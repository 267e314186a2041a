//! The on-call verbs: flip, rollback, freeze, unfreeze.
//!
//! Owns the way of a change: commit it with its generation, then wait until every living proxy applies it and
//! say so. What must stay true: the answer names the proxies that did not answer; a rollback never asks.

use crate::args::{RollbackArgs, Who};
use crate::config::Config;
use crate::config::problem::closest;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Paint};
use crate::wiring::control;
use banyan_control::{Applied, Committed, ControlStore};
use banyan_domain::{Actor, Change, ContextName, EndpointName, Generation, Percent, Phase};
use serde_json::json;
use std::time::Duration;

/// A flip as typed.
pub(crate) struct FlipRequest<'a> {
    pub(crate) endpoint: &'a str,
    pub(crate) phase: &'a str,
    pub(crate) percent: Option<u8>,
    pub(crate) generation: Option<u64>,
    pub(crate) timeout_ms: u64,
    pub(crate) who: &'a Who,
}

pub(crate) async fn flip(
    config: &Config,
    request: FlipRequest<'_>,
    output: &Output,
) -> Result<Exit, Failure> {
    let usage = |why: String| Failure::new("banyan::flip::usage", Exit::Usage, why);
    let percent = request.percent.map(Percent::new).transpose().map_err(usage)?;
    let to = Phase::from_words(request.phase, percent).map_err(|why| {
        let hint = match closest(request.phase, Phase::WORDS) {
            Some("canary") => "banyan route flip ENDPOINT canary --percent 10".to_owned(),
            Some(word) => format!("banyan route flip ENDPOINT {word}"),
            None => format!("phases are {}", Phase::WORDS.join(", ")),
        };
        usage(why).hint(hint)
    })?;
    let endpoint = endpoint(config, request.endpoint)?;
    let doing = format!("cannot flip `{endpoint}` to `{to}`");
    let change = Change::Flip { endpoint, to };
    let wish = Wish {
        change,
        expected: request.generation.map(Generation),
        actor: control::actor(request.who),
    };
    change_table(config, wish, &doing, request.timeout_ms, output).await
}

pub(crate) async fn rollback(
    config: &Config,
    args: &RollbackArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let change = if args.scope.contains('.') {
        Change::RollbackEndpoint { endpoint: endpoint(config, &args.scope)? }
    } else {
        Change::RollbackContext { context: context(config, &args.scope)? }
    };
    let wish = Wish { change, expected: None, actor: control::actor(&args.who) };
    let doing = format!("cannot roll back `{}`", args.scope);
    change_table(config, wish, &doing, args.timeout, output).await
}

pub(crate) async fn freeze(config: &Config, who: &Who, output: &Output) -> Result<Exit, Failure> {
    let wish = Wish { change: Change::Freeze, expected: None, actor: control::actor(who) };
    change_table(config, wish, "cannot freeze", DEFAULT_WAIT_MS, output).await
}

pub(crate) async fn unfreeze(config: &Config, who: &Who, output: &Output) -> Result<Exit, Failure> {
    let wish = Wish { change: Change::Unfreeze, expected: None, actor: control::actor(who) };
    change_table(config, wish, "cannot unfreeze", DEFAULT_WAIT_MS, output).await
}

const DEFAULT_WAIT_MS: u64 = 5_000;

struct Wish {
    change: Change,
    expected: Option<Generation>,
    actor: Actor,
}

async fn change_table(
    config: &Config,
    wish: Wish,
    doing: &str,
    timeout_ms: u64,
    output: &Output,
) -> Result<Exit, Failure> {
    let store = control::open(config).await?;
    adopt(config, store.as_ref()).await?;
    let committed = store
        .commit(&config.catalogue, &wish.change, wish.expected, &wish.actor)
        .await
        .map_err(|error| control::commit_failure(doing, error))?;
    let timeout = Duration::from_millis(timeout_ms);
    let applied = store
        .wait_applied(committed.table.generation, timeout)
        .await
        .map_err(|error| control::store_failure(&error))?;
    answer(&committed, &applied, &wish.change, output);
    if applied.is_complete() { Ok(Exit::Yes) } else { Ok(Exit::Unreachable) }
}

/// Takes in what the file declares, so that a flip works before the first `serve`.
pub(crate) async fn adopt(config: &Config, store: &dyn ControlStore) -> Result<(), Failure> {
    let actor = Actor {
        name: "banyan".to_owned(),
        reason: "declared in the file".to_owned(),
        at_ms: control::now_ms(),
    };
    let table = store.table().await.map_err(|error| control::store_failure(&error))?;
    let Ok((_, effect)) = banyan_domain::apply(&table, &config.catalogue, &Change::Adopt, &actor)
    else {
        return Ok(());
    };
    if !effect.changed {
        return Ok(());
    }
    let adopted = store.commit(&config.catalogue, &Change::Adopt, None, &actor).await;
    adopted.map(drop).map_err(|error| control::commit_failure("cannot take in the file", error))
}

fn answer(committed: &Committed, applied: &Applied, change: &Change, output: &Output) {
    let generation = committed.table.generation;
    if output.is_json() {
        let data = json!({
            "changed": committed.effect.changed,
            "moved": committed.effect.moved,
            "generation": generation,
            "applied": applied,
        });
        output.json("banyan.flip/1", &data, &[]);
        return;
    }
    for step in &committed.effect.moved {
        output.line(&step.to_string());
    }
    match change {
        Change::Freeze => {
            output.line("frozen: forward flips are refused, rollback stays allowed");
        }
        Change::Unfreeze => output.line("not frozen: forward flips are allowed"),
        Change::Flip { .. } if !committed.effect.changed => {
            output.line("already so: nothing changed");
        }
        Change::Flip { .. }
        | Change::RollbackEndpoint { .. }
        | Change::RollbackContext { .. }
        | Change::Arm { .. }
        | Change::Hold { .. }
        | Change::Disarm { .. }
        | Change::MoveOwner { .. }
        | Change::Adopt => {}
    }
    output.line(&applied_line(generation, applied, output));
}

/// `generation 42 applied on 3/3 proxies in 87 ms`.
fn applied_line(generation: Generation, applied: &Applied, output: &Output) -> String {
    if applied.of == 0 {
        return format!("generation {generation}; no proxy is running");
    }
    let line = format!(
        "generation {generation} applied on {}/{} proxies in {} ms",
        applied.applied, applied.of, applied.elapsed_ms
    );
    if applied.is_complete() {
        return line;
    }
    let missing = applied.missing.join(", ");
    format!("{line}; {}", output.paint(Paint::Bad, &format!("no answer from {missing}")))
}

/// The declared endpoint of this name.
pub(crate) fn endpoint(config: &Config, name: &str) -> Result<EndpointName, Failure> {
    let known: Vec<&EndpointName> = config.catalogue.endpoints().map(|e| &e.name).collect();
    let found = known.iter().find(|known| known.as_str() == name);
    let unknown = || unknown("endpoint", name, known.iter().map(|known| known.as_str()));
    found.map(|found| (*found).clone()).ok_or_else(unknown)
}

/// The declared context of this name.
pub(crate) fn context(config: &Config, name: &str) -> Result<ContextName, Failure> {
    let known = config.catalogue.contexts.iter().map(|context| &context.name);
    let found = known.clone().find(|known| known.as_str() == name);
    found.cloned().ok_or_else(|| unknown("context", name, known.map(ContextName::as_str)))
}

/// A name that is not declared, with the closest one.
pub(crate) fn unknown<'a>(
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Failure {
    let failure = Failure::new(
        "banyan::name::unknown",
        Exit::Usage,
        format!("{what} `{name}` is not declared"),
    );
    match closest(name, known.clone()) {
        Some(meant) => failure.hint(format!("did you mean `{meant}`?")),
        None => failure.hint(format!("declared: {}", known.collect::<Vec<_>>().join(", "))),
    }
}
