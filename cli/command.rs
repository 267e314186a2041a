//! The commands, one file per noun. Each reads what it needs, answers through [`Output`] and says its exit code.

mod audit;
mod check;
mod context;
mod diff;
mod events;
mod explain;
mod flip;
mod import;
mod noise;
mod outbox;
mod publish;
mod record;
mod reference;
mod replay;
mod route;
mod serve;
pub(crate) mod shadow;
mod status;
mod sync;
mod template;

use crate::args::{
    Arguments, Command, EventsCommand, FixtureCommand, OutboxCommand, ShadowCommand,
};
use crate::config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::wiring::signal::Stop;
use fixture_consumers::App;

/// Runs the command that was typed.
pub(crate) async fn run(arguments: &Arguments, output: &Output) -> Result<Exit, Failure> {
    let load = || config::load(&arguments.global.config);
    match &arguments.command {
        Command::Demo(demo) => crate::demo::run(demo, output).await,
        Command::Check(check) => check::run(&arguments.global.config, check, output).await,
        Command::Serve(serve) => serve::run(load()?, serve, output).await,
        Command::Status(status) => status::run(&load()?, status, output).await,
        Command::Route(route) => route::run(&load()?, route, output).await,
        Command::Context(context) => context::run(&load()?, context, output).await,
        Command::Rollback(rollback) => {
            let config = load()?;
            match context::rollback(&config, rollback, output).await? {
                Some(exit) => Ok(exit),
                None => flip::rollback(&config, rollback, output).await,
            }
        }
        Command::Freeze(who) => flip::freeze(&load()?, who, output).await,
        Command::Unfreeze(who) => flip::unfreeze(&load()?, who, output).await,
        Command::Shadow(ShadowCommand::Diff(args)) => diff::run(args, output).await,
        Command::Shadow(ShadowCommand::Import(args)) => {
            import::run(&arguments.global.config, args.clone(), output).await
        }
        Command::Shadow(ShadowCommand::Replay(args)) => {
            replay::run(&arguments.global.config, args, output).await
        }
        Command::Shadow(ShadowCommand::Report(report)) if report.schema => {
            Ok(shadow::schema(output))
        }
        Command::Shadow(shadow) => shadow::run(&load()?, shadow, output).await,
        Command::Sync(sync) => sync::run(&load()?, sync, output).await,
        Command::Events(EventsCommand::Outbox(OutboxCommand::Ddl { engine })) => {
            Ok(outbox::print_ddl(*engine, output))
        }
        Command::Events(events) => events::run(&load()?, events, output).await,
        Command::Audit(audit) => audit::run(&load()?, audit, output).await,
        Command::Config(command) => reference::run(&arguments.global.config, command, output),
        Command::Explain(what) => explain::run(&what.what, output),
        Command::Completions(shell) => Ok(reference::completions(shell.shell, output)),
        Command::Fixture(fixture) => run_fixture(fixture, output).await,
    }
}

async fn run_fixture(fixture: &FixtureCommand, output: &Output) -> Result<Exit, Failure> {
    let stop = Stop::listen();
    let stopped = stop.token.clone().cancelled_owned();
    let failed = |what: &str, error: &dyn std::error::Error| {
        Failure::of(
            "banyan::fixture::failed",
            Exit::Unreachable,
            &format!("cannot run the {what}"),
            error,
        )
        .hint("see banyan fixture --help; is the port free and the database reachable?")
    };
    match fixture {
        FixtureCommand::Mothership(args) => {
            fixture_mothership::run(args.clone(), stopped)
                .await
                .map_err(|e| failed("mothership", &e))?;
        }
        FixtureCommand::Messages(args) => {
            fixture_messages::run(args.clone(), stopped)
                .await
                .map_err(|e| failed("messages service", &e))?;
        }
        FixtureCommand::PushNotifications(args) => {
            fixture_consumers::run(App::PushNotifications, args.clone(), stopped)
                .await
                .map_err(|e| failed("push-notifications", &e))?;
        }
        FixtureCommand::Stats(args) => {
            fixture_consumers::run(App::Stats, args.clone(), stopped)
                .await
                .map_err(|e| failed("stats", &e))?;
        }
        FixtureCommand::Traffic(args) => {
            let summary = fixture_traffic::run(args.clone(), stopped)
                .await
                .map_err(|e| failed("traffic", &e))?;
            output.json_line(&summary);
            return Ok(if summary.failed == 0 { Exit::Yes } else { Exit::No });
        }
    }
    Ok(stop.exit().unwrap_or(Exit::Yes))
}
