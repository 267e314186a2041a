//! `banyan context cutover` and `banyan rollback CONTEXT`: plan, live progress, summary.

use super::{begin, check_rows, port_failure, world};
use crate::args::{CutoverArgs, RollbackArgs};
use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Paint, thousands};
use crate::wiring::control;
use crate::wiring::cutover::World;
use crate::wiring::signal::Stop;
use banyan_cutover::{
    Check, CheckVerdict, Cutover, Ending, GiveUp, Intent, Notice, Order, Ports as _, Stage, Step,
    Summary, Switch, Watch, observe,
};
use banyan_domain::Side;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) async fn run(
    config: &Config,
    args: &CutoverArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    if args.force && args.who.reason.trim().is_empty() {
        let what = "checks are overridden only with a reason";
        return Err(Failure::new("banyan::usage", Exit::Usage, what).hint("--reason \"why\""));
    }
    let (context, store) = begin(config, &args.context).await?;
    let mut world = world(config, &context, store, control::actor(&args.who))?;
    world.evidence_since.clone_from(&args.since);
    let intent = match (args.act.resume, args.act.abort) {
        (true, _) => Intent::Resume,
        (_, true) => Intent::Abort,
        (false, false) => Intent::Start { to: args.to },
    };
    if !args.act.execute && matches!(intent, Intent::Start { .. }) {
        return plan(&world, args.to, output).await;
    }
    let done = switch(config, &world, Order { intent, force: args.force }, output).await;
    end(world, output).await;
    done
}

/// Ownership back to legacy, by the same protocol; it never asks.
pub(crate) async fn rollback(
    config: &Config,
    args: &RollbackArgs,
    output: &Output,
) -> Result<Option<Exit>, Failure> {
    if args.scope.contains('.') {
        return Ok(None);
    }
    let (context, store) = begin(config, &args.scope).await?;
    let table = store.table().await.map_err(|error| control::store_failure(&error))?;
    let Some(state) = table.contexts.get(&context) else { return Ok(None) };
    // A switch that hangs is finished or given up first: both lead back to one owner.
    if state.owner == Side::Legacy && state.armed.is_none() {
        return Ok(None);
    }
    let world = world(config, &context, store, control::actor(&args.who))?;
    if state.armed.is_some() {
        output.note("a switch is under way: it is given up first, or finished if it is decided");
        let order = Order { intent: Intent::Abort, force: true };
        let exit = switch(config, &world, order, output).await?;
        let now = world.route().await.map_err(|error| port_failure("cannot roll back", &error))?;
        if now.owner == Side::Legacy {
            end(world, output).await;
            return Ok(Some(exit));
        }
    }
    // On-call must not be stopped by a check that a person may override; what loses data still stops it.
    let order = Order { intent: Intent::Start { to: Side::Legacy }, force: true };
    let exit = switch(config, &world, order, output).await;
    end(world, output).await;
    let exit = exit?;
    if exit == Exit::Yes {
        output.note(&format!(
            "reads stay as they are; banyan rollback {context} once more takes them back as well"
        ));
    }
    Ok(Some(exit))
}

/// Waits for the audit's last lines.
async fn end(world: World<'_>, output: &Output) {
    let lost = world.written().await;
    if lost > 0 {
        output
            .note(&format!("{lost} steps could not be written to the audit; they are in the log"));
    }
}

/// The checks and the steps; nothing is done.
async fn plan(world: &World<'_>, to: Side, output: &Output) -> Result<Exit, Failure> {
    let doing = format!("cannot plan the cutover of `{}`", world.context);
    let seen = observe(world).await;
    let switch = match seen.stage(None) {
        Stage::Steady { owner, epoch } if owner == to => {
            output.line(&format!("{to} owns `{}` already, since epoch {epoch}", world.context));
            return Ok(Exit::Yes);
        }
        Stage::Steady { owner, epoch } => {
            Switch { from: owner, epoch: seen.next_epoch(), back_to: epoch }
        }
        Stage::Announced(switch) | Stage::Closed(switch) | Stage::Decided(switch) => {
            return Err(unfinished(world, &switch));
        }
        Stage::GivenUp(switch) | Stage::Leftover(switch) => return Err(unfinished(world, &switch)),
        Stage::Unclear => {
            let why = seen.unreachable.join("; ");
            return Err(Failure::new("banyan::cutover::unreachable", Exit::Unreachable, doing)
                .because(why)
                .hint("fences not installed yet? banyan context fence install CONTEXT --execute"));
        }
        Stage::Broken(why) => return Err(broken(world, why)),
    };
    let checks = world.preflight(&switch).await.map_err(|error| port_failure(&doing, &error))?;
    let stops = checks.iter().any(|check| check.verdict >= CheckVerdict::Fail);
    let forward = Step::ALL.iter().filter(|step| **step < Step::Bar);
    if output.is_json() {
        let steps: Vec<_> =
            forward.map(|step| json!({ "step": step, "does": step.explain() })).collect();
        let data = json!({ "context": world.context, "switch": switch, "ready": !stops, "checks": checks, "steps": steps });
        output.json("banyan.context.cutover.plan/1", &data, &[]);
    } else {
        output.line(&format!("{}: {switch}", world.context));
        output.lines(&check_rows(&checks, output));
        for (number, step) in (1..).zip(forward) {
            output.line(&format!("{number:>3}. {:<12} {}", step.as_str(), step.explain()));
        }
        output.note("nothing is done yet: add --execute --reason TEXT");
    }
    Ok(if stops { Exit::Refused } else { Exit::No })
}

async fn switch(
    config: &Config,
    world: &World<'_>,
    order: Order,
    output: &Output,
) -> Result<Exit, Failure> {
    let stop = Stop::listen();
    let abort = Arc::new(AtomicBool::new(false));
    let asked = abort.clone();
    let token = stop.token.clone();
    let waiter = tokio::spawn(async move {
        token.cancelled().await;
        asked.store(true, Ordering::Relaxed);
    });
    let mut lines = Lines { output, context: world.context.to_string(), last: String::new() };
    let run = Cutover::new(world, config.cutover, order, &abort, &mut lines);
    let (ending, summary) = run.run().await;
    waiter.abort();
    tell(world, &ending, &summary, output)
}

/// One line per step as it happens, on stderr.
struct Lines<'a> {
    output: &'a Output,
    context: String,
    last: String,
}

impl Watch for Lines<'_> {
    fn notice(&mut self, notice: &Notice) {
        let line = match notice {
            Notice::Done { step, detail, elapsed_ms } if detail.is_empty() => {
                format!("{:<12} {elapsed_ms:>5} ms", step.as_str())
            }
            Notice::Done { step, detail, elapsed_ms } => {
                format!("{:<12} {elapsed_ms:>5} ms  {detail}", step.as_str())
            }
            Notice::Again { step, reason } => format!("{:<12}   again  {reason}", step.as_str()),
            Notice::Waiting { reason } => format!("{:<12}          {reason}", "wait"),
            Notice::GivingUp { reason } => format!("{:<12}          {reason}", "giving up"),
            Notice::NotRecorded { reason } => format!("{:<12}          {reason}", "no audit"),
            Notice::Checked { checks } => {
                let bad: Vec<Check> = checks
                    .iter()
                    .filter(|check| check.verdict > CheckVerdict::Ok)
                    .cloned()
                    .collect();
                if self.output.wants_progress() && !self.output.is_json() {
                    for row in check_rows(&bad, self.output) {
                        self.output.error_line(&row);
                    }
                }
                return;
            }
            Notice::Begin { .. } | Notice::Ended { .. } | _ => return,
        };
        // A wait that counts down is one line.
        let kind = line.replace(|c: char| c.is_ascii_digit(), "");
        if kind == self.last || !self.output.wants_progress() {
            return;
        }
        if self.output.is_json() {
            let value = json!({ "type": "progress", "context": self.context, "line": line });
            self.output.error_line(&value.to_string());
        } else {
            self.output.error_line(&line);
        }
        self.last = kind;
    }
}

fn tell(
    world: &World<'_>,
    ending: &Ending,
    summary: &Summary,
    output: &Output,
) -> Result<Exit, Failure> {
    let context = &world.context;
    match ending {
        Ending::Finished(switch) => {
            finished(world, switch, summary, output);
            Ok(Exit::Yes)
        }
        Ending::GivenUp { switch, reason } => Err(given_up(world, switch, reason, summary)),
        Ending::Nothing { owner, epoch } => {
            if output.is_json() {
                let data =
                    json!({ "context": context, "changed": false, "owner": owner, "epoch": epoch });
                output.json("banyan.context.cutover/1", &data, &[]);
            } else {
                output
                    .line(&format!("nothing to do: {owner} owns `{context}` since epoch {epoch}"));
            }
            Ok(Exit::Yes)
        }
        Ending::Unfinished(switch) => Err(unfinished(world, switch)),
        Ending::TooLate(switch) => Err(Failure::new(
            "banyan::cutover::too_late",
            Exit::Refused,
            format!("`{context}`: {switch} is decided, so it cannot be given up"),
        )
        .hint(format!(
            "banyan context cutover {context} --resume; then banyan rollback {context}"
        ))),
        Ending::Broken(why) => Err(broken(world, why)),
        Ending::Interrupted { decided, reason, .. } => {
            let state = match decided {
                Some(true) => "it is decided: the other side owns the context",
                Some(false) => "it is not decided: the owner is what it was",
                None => "whether it is decided is told when both databases answer",
            };
            Err(Failure::new(
                "banyan::cutover::interrupted",
                Exit::Unreachable,
                format!("the switch of `{context}` waits for something"),
            )
            .because(reason.clone())
            .because(state)
            .hint(format!(
                "banyan context cutover {context} --resume    (from any machine; or --abort)"
            )))
        }
        _ => {
            Err(Failure::new("banyan::cutover::unknown", Exit::Bug, "an ending that is not known"))
        }
    }
}

fn finished(world: &World<'_>, switch: &Switch, summary: &Summary, output: &Output) {
    let context = &world.context;
    let hold_ms = summary.hold.map(|hold| u64::try_from(hold.as_millis()).unwrap_or(u64::MAX));
    let back = match switch.to() {
        Side::New => format!("banyan rollback {context}"),
        Side::Legacy => format!("banyan context cutover {context} --execute"),
    };
    if output.is_json() {
        let data = json!({
            "context": context, "changed": true, "switch": switch, "owner": switch.to(),
            "epoch": switch.epoch, "hold_ms": hold_ms, "drained_rows": summary.drained_rows,
            "caught_up_rows": summary.caught_up_rows, "verified": summary.verified,
            "in_flight_at_close": summary.in_flight_at_close, "behind": summary.behind,
            "steps": summary.steps, "not_recorded": summary.not_recorded, "back": back,
        });
        output.json("banyan.context.cutover/1", &data, &[]);
        return;
    }
    output.line(&output.paint(
        Paint::Good,
        &format!("{} owns `{context}` since epoch {}", switch.to(), switch.epoch),
    ));
    if let Some(hold) = hold_ms {
        output.line(&format!("  hold        {hold} ms, from the proxies' hold to their release"));
    }
    output.line(&format!(
        "  rows        {} while held, {} before",
        thousands(summary.drained_rows),
        thousands(summary.caught_up_rows)
    ));
    output.line(&format!("  verified    {} aggregates", thousands(summary.verified)));
    if !summary.behind.is_empty() {
        output.line(&format!("  behind      {} (fenced meanwhile)", summary.behind.join(", ")));
    }
    output.line(&format!("  back        {back}"));
}

fn given_up(world: &World<'_>, switch: &Switch, reason: &GiveUp, summary: &Summary) -> Failure {
    let context = &world.context;
    let mut failure = Failure::new(
        "banyan::cutover::given_up",
        Exit::Refused,
        format!("the switch of `{context}` was given up; {} still owns it", switch.from),
    )
    .because(reason.to_string());
    for check in summary.checks.iter().filter(|check| check.verdict >= CheckVerdict::Fail) {
        failure = failure.because(format!("{}: {}", check.name, check.detail));
    }
    let first = summary.checks.iter().find(|check| check.verdict >= CheckVerdict::Fail);
    match first {
        Some(check) => failure.hint(check.remedy.clone()),
        None => failure
            .hint(format!("mend the cause, then: banyan context cutover {context} --execute")),
    }
}

fn unfinished(world: &World<'_>, switch: &Switch) -> Failure {
    let context = &world.context;
    Failure::new(
        "banyan::cutover::unfinished",
        Exit::Refused,
        format!("`{context}`: {switch} is under way"),
    )
    .hint(format!("banyan context cutover {context} --resume, or --abort"))
}

fn broken(world: &World<'_>, why: &str) -> Failure {
    Failure::new(
        "banyan::cutover::broken",
        Exit::Refused,
        format!("the fences and the control store of `{}` contradict each other", world.context),
    )
    .because(why)
    .hint(format!("banyan context show {}; nothing was changed", world.context))
}
