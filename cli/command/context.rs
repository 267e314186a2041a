//! `banyan context show|cutover|drill|retire|fence`, and the rollback of a whole context.
//!
//! Owns what an operator sees of a switch. What comes next is decided in `seams/cutover`, what it works on is
//! `cli/wiring/cutover.rs`.

mod cutover;
mod drill;
mod fence;
mod retire;
mod show;

use crate::args::{ContextCommand, FenceCommand};
use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Paint};
use crate::wiring::control;
use crate::wiring::cutover::World;
use banyan_control::ControlStore;
use banyan_cutover::{Check, CheckVerdict, PortError};
use banyan_domain::{Actor, ContextName};
use std::sync::Arc;

pub(crate) use cutover::rollback;

pub(crate) async fn run(
    config: &Config,
    command: &ContextCommand,
    output: &Output,
) -> Result<Exit, Failure> {
    match command {
        ContextCommand::Show { context } => show::run(config, context, output).await,
        ContextCommand::Cutover(args) => cutover::run(config, args, output).await,
        ContextCommand::Drill { context } => drill::run(config, context, output).await,
        ContextCommand::Retire { context, execute, who } => {
            retire::run(config, context, *execute, who, output).await
        }
        ContextCommand::Fence(FenceCommand::Install { context, execute }) => {
            fence::install(config, context, *execute, output).await
        }
        ContextCommand::Fence(FenceCommand::Uninstall { context, execute }) => {
            fence::uninstall(config, context, *execute, output).await
        }
    }
}

/// The world of a declared context.
fn world<'a>(
    config: &'a Config,
    context: &ContextName,
    store: Arc<dyn ControlStore>,
    actor: Actor,
) -> Result<World<'a>, Failure> {
    World::new(config, context, store, actor).ok_or_else(|| {
        Failure::new(
            "banyan::cutover::no_jobs",
            Exit::Config,
            format!("context `{context}` has no sync job in both directions, so its data cannot be switched"),
        )
        .hint("describe the way back in its [[sync]] job; a context without tables of its own: banyan events handover")
    })
}

/// The store and the context's name, with the file's declarations taken in.
async fn begin(
    config: &Config,
    name: &str,
) -> Result<(ContextName, Arc<dyn ControlStore>), Failure> {
    let context = super::flip::context(config, name)?;
    let store = control::open(config).await?;
    super::flip::adopt(config, store.as_ref()).await?;
    Ok((context, store))
}

/// A port's error as a failure.
fn port_failure(doing: &str, error: &PortError) -> Failure {
    match error {
        PortError::Refused { hint, .. } => {
            Failure::of("banyan::cutover::refused", Exit::Refused, doing, error).hint(hint.clone())
        }
        PortError::Unreachable { .. } | PortError::TimedOut { .. } | _ => {
            Failure::of("banyan::cutover::unreachable", Exit::Unreachable, doing, error)
                .hint("nothing was lost; try again when it answers")
        }
    }
}

/// `ok  proxies  2 at generation 41`, with the remedy below what does not pass.
fn check_rows(checks: &[Check], output: &Output) -> Vec<String> {
    let row = |check: &Check| {
        let word = match check.verdict {
            CheckVerdict::Ok => output.paint(Paint::Good, "ok"),
            CheckVerdict::Warn => output.paint(Paint::Warn, "warn"),
            CheckVerdict::Fail => output.paint(Paint::Bad, "fail"),
            CheckVerdict::Never => output.paint(Paint::Bad, "never"),
        };
        vec![word, check.name.clone(), check.detail.clone()]
    };
    let lines = crate::output::columns(&checks.iter().map(row).collect::<Vec<_>>());
    let mut all = Vec::new();
    for (check, line) in checks.iter().zip(lines) {
        all.push(line);
        if !check.remedy.is_empty() {
            all.push(format!("         -> {}", check.remedy));
        }
    }
    all
}
