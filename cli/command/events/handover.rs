//! `banyan events handover`.

use crate::args::HandoverArgs;
use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Paint, columns};
use crate::wiring::control;
use crate::wiring::events::{self, StoreRoute};
use crate::wiring::parity;
use banyan_domain::{ContextName, Side};
use banyan_events::forwarder::{
    self, Begun, Check, ForwarderConfig, Handover, HandoverError, HandoverStep, Limits, Operator,
    Owners as _, preflight,
};
use banyan_report::GateVerdict;
use serde_json::json;
use std::time::Duration;

pub(super) async fn run(
    config: &Config,
    settings: &ForwarderConfig,
    args: &HandoverArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let context = super::super::flip::context(config, &args.context)?;
    let actor = control::actor(&args.who);
    let operator = Operator { name: actor.name.clone(), reason: actor.reason.clone() };
    if args.give_up {
        return give_up(settings, &context, &operator, output).await;
    }
    let to = args.to.as_deref().unwrap_or_default();
    let target = Side::from_word(to).ok_or_else(|| {
        Failure::new("banyan::usage", Exit::Usage, format!("`{to}` is no side"))
            .hint("--to legacy or --to new")
    })?;
    if args.force && args.who.reason.trim().is_empty() {
        let what = "checks are overridden only with a reason";
        return Err(Failure::new("banyan::usage", Exit::Usage, what).hint("--reason \"why\""));
    }
    let checks = checks(config, settings, &context, target).await?;
    let refused = checks.iter().any(|check| !check.holds && (check.hard || !args.force));
    if !args.execute || refused {
        return plan(&context, target, args.execute, &checks, output);
    }
    execute(config, settings, args, Wish { context, target, operator }, output).await
}

struct Wish {
    context: ContextName,
    target: Side,
    operator: Operator,
}

async fn checks(
    config: &Config,
    settings: &ForwarderConfig,
    context: &ContextName,
    target: Side,
) -> Result<Vec<Check>, Failure> {
    let status = forwarder::status(settings).await.map_err(|error| events::failure(&error))?;
    let resumes = status
        .handovers
        .iter()
        .any(|row| row.context == context.as_str() && row.target == target && !row.step.is_over());
    let mut checks = preflight(&status, context, target);
    if resumes {
        // It is under way: its own marker may hold the queue, and what waits is what it works on.
        checks.retain(|check| check.name == "brokers");
    }
    // Back is always cheaper than forward: what new announces is compared before it counts, not after.
    if target == Side::New && !resumes {
        checks.push(parity_check(config, settings, context).await?);
    }
    let tables = config.contexts.get(context).is_some_and(|places| !places.databases.is_empty());
    // Its writes are fenced by a job in both directions, and a handover moves no fence. One that has moved the owner must
    // end all the same.
    let fenced = !crate::wiring::cutover::jobs(config, context).is_empty();
    let moved = status.handovers.iter().any(|row| {
        let behind = [HandoverStep::Settle, HandoverStep::Seal, HandoverStep::Switch];
        row.context == context.as_str() && row.target == target && behind.contains(&row.step)
    });
    checks.push(Check {
        name: "tables",
        holds: !tables && !fenced,
        hard: fenced && !moved,
        unknown: false,
        found: match (fenced, tables) {
            (true, _) => "the context has a sync job in both directions",
            (false, true) => "the context has tables of its own",
            (false, false) => "no own tables",
        }
        .to_owned(),
        hint: "its data must move together with its events: that is a cutover, not a handover (banyan context cutover)",
    });
    Ok(checks)
}

/// Whether both sides announced the same lately; too little evidence is a warning.
async fn parity_check(
    config: &Config,
    settings: &ForwarderConfig,
    context: &ContextName,
) -> Result<Check, Failure> {
    let standing = parity::standing(config, settings, context).await?;
    let (holds, unknown) = match standing.verdict {
        GateVerdict::Pass => (true, false),
        GateVerdict::Fail { .. } => (false, false),
        GateVerdict::Inconclusive { .. } => (true, true),
    };
    Ok(Check {
        name: "parity",
        holds,
        hard: false,
        unknown,
        found: standing.text,
        hint: "see what differs: banyan events parity CONTEXT; then mend new, or --force --reason TEXT",
    })
}

/// The checks and the steps; nothing is done.
fn plan(
    context: &ContextName,
    target: Side,
    wanted: bool,
    checks: &[Check],
    output: &Output,
) -> Result<Exit, Failure> {
    let steps = [
        format!("put open into the raw queue of {target}; it waits there until the seal"),
        format!("make {target} the owner of the writes of `{context}`, wait for every proxy"),
        "wait for writes under way, and for what they publish after commit".to_owned(),
        format!("put seal into the raw queue of {}", target.other()),
        format!("wait until the forwarder has passed both: from then on {target} emits"),
    ];
    if output.is_json() {
        let data = json!({ "context": context, "to": target, "checks": checks, "steps": steps });
        output.json("banyan.events.handover/1", &data, &[]);
    } else {
        output.lines(&columns(&rows(checks, output)));
        for (number, step) in (1..).zip(&steps) {
            output.line(&format!("{number}. {step}"));
        }
    }
    let failed: Vec<&Check> = checks.iter().filter(|check| !check.holds).collect();
    let Some(first) = failed.first().filter(|_| wanted) else {
        output.note("nothing is done yet: add --execute --reason TEXT");
        return Ok(Exit::No);
    };
    let mut failure = Failure::new(
        "banyan::events::handover_refused",
        Exit::Refused,
        format!("cannot hand `{context}` over to {target}"),
    )
    .hint(first.hint);
    for check in &failed {
        failure = failure.because(format!("{}: {}", check.name, check.found));
    }
    Err(failure)
}

fn rows(checks: &[Check], output: &Output) -> Vec<Vec<String>> {
    checks
        .iter()
        .map(|check| {
            let word = match (check.holds, check.hard) {
                (true, _) if check.unknown => output.paint(Paint::Warn, "warn"),
                (true, _) => output.paint(Paint::Good, "ok"),
                (false, false) => output.paint(Paint::Warn, "warn"),
                (false, true) => output.paint(Paint::Bad, "fail"),
            };
            vec![word, check.name.to_owned(), check.found.clone()]
        })
        .collect()
}

async fn execute(
    config: &Config,
    settings: &ForwarderConfig,
    args: &HandoverArgs,
    wish: Wish,
    output: &Output,
) -> Result<Exit, Failure> {
    let store = control::open(config).await?;
    super::super::flip::adopt(config, store.as_ref()).await?;
    let timeout = Duration::from_millis(args.timeout);
    let actor = control::actor(&args.who);
    let port = StoreRoute::new(config, store.clone(), actor, timeout);
    let told = events::StoreOwners(store).owner(&wish.context).await.map_err(|error| {
        Failure::of("banyan::events::failed", Exit::Unreachable, "cannot begin", &error)
    })?;
    let Wish { context, target, operator } = wish;
    let begun = Handover::begin(settings, &context, target, told, &operator).await;
    let (mut handover, begun) = begun.map_err(|error| failure(&context, &error))?;
    if begun == Begun::Resumed {
        output.note(&format!("goes on at step {}", handover.view().step.as_str()));
    }
    let settle = if args.now { Duration::ZERO } else { Duration::from_millis(args.settle) };
    let limits = Limits { drain_max: timeout, settle, switch_max: timeout };
    let done = handover.run(&port, limits).await.map_err(|error| failure(&context, &error))?;
    if output.is_json() {
        let data = json!({
            "context": context, "to": target, "epoch": done.epoch,
            "steps": done.steps.iter()
                .map(|(step, ms)| json!({ "step": step, "ms": ms })).collect::<Vec<_>>(),
        });
        output.json("banyan.events.handover/1", &data, &[]);
        return Ok(Exit::Yes);
    }
    for (step, ms) in &done.steps {
        output.line(&format!("{:<7} done in {ms} ms", step.as_str()));
    }
    output.line(&format!("{target} emits the events of {context} since epoch {}", done.epoch));
    let back = target.other();
    output.line(&format!("back: banyan events handover {context} --to {back} --execute"));
    Ok(Exit::Yes)
}

async fn give_up(
    settings: &ForwarderConfig,
    context: &ContextName,
    operator: &Operator,
    output: &Output,
) -> Result<Exit, Failure> {
    let row = forwarder::give_up(settings, context, operator)
        .await
        .map_err(|error| failure(context, &error))?;
    if output.is_json() {
        output.json("banyan.events.handover/1", &row, &[]);
    } else {
        output.line(&format!(
            "given up: {} goes on emitting the events of {context}; epoch {} is not used",
            row.target.other(),
            row.epoch
        ));
    }
    Ok(Exit::Yes)
}

fn failure(context: &ContextName, error: &HandoverError) -> Failure {
    let doing = format!("the handover of `{context}` is not done");
    let (code, exit, hint) = match error {
        HandoverError::Forwarder(error) => return events::failure(error),
        HandoverError::NotConfigured { .. } | HandoverError::OnlyTap => (
            "banyan::events::handover_config",
            Exit::Config,
            "correct the `[events]` section; banyan config reference shows every key",
        ),
        HandoverError::NotSwitched { .. } | HandoverError::InFlight { .. } => (
            "banyan::events::handover_waits",
            Exit::Unreachable,
            "run it again: it goes on where it waits; banyan events status says for what",
        ),
        HandoverError::Route(_) => (
            "banyan::events::handover_route",
            Exit::Refused,
            "run it again, or give it up: banyan events handover CONTEXT --give-up",
        ),
        HandoverError::TooLate { .. } => (
            "banyan::events::handover_refused",
            Exit::Refused,
            "finish it by running it again, then hand back with --to the other side",
        ),
        HandoverError::AlreadyThere { .. }
        | HandoverError::Unfinished { .. }
        | HandoverError::NothingToGiveUp { .. }
        | _ => ("banyan::events::handover_refused", Exit::Refused, "banyan events status"),
    };
    Failure::of(code, exit, &doing, error).hint(hint)
}
