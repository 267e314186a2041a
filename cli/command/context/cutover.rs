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
    Check, CheckVerdict, Cutover, DryRun, Ending, GiveUp, Intent, Notice, Order, PortError,
    Ports as _, Step, Summary, Switch, Watch,
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
    let order = Order { intent, force: args.force };
    if !args.act.execute && matches!(intent, Intent::Start { .. }) {
        return plan(config, &world, args.to, output).await;
    }
    let ran = switch(config, &world, order, output).await?;
    tell(world, order, ran, output).await
}

/// Ownership back to legacy, by the same protocol; it never asks. `None` when there is none to take back.
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
    let is_plain = state.owner == Side::Legacy && state.armed.is_none();
    let actor = control::actor(&args.who);
    let world = match World::new(config, &context, store.clone(), actor.clone()) {
        Some(world) => world,
        None if is_plain => return Ok(None),
        None => super::world(config, &context, store, actor)?,
    };
    // A fence that is not open although the table says so is left of a switch that somebody gave up half.
    if is_plain && world.fence(Side::Legacy).await.ok().is_none_or(|fence| fence.is_open()) {
        return Ok(None);
    }
    // On-call must not be stopped by a check that a person may override; what loses data still stops it.
    let order = Order { intent: Intent::Start { to: Side::Legacy }, force: true };
    let mut ran = switch(config, &world, order, output).await?;
    if let (Ending::Unfinished(other), _) = &ran {
        output.note(&format!("{other} is under way and is given up first"));
        let abort = Order { intent: Intent::Abort, force: true };
        drop(switch(config, &world, abort, output).await?);
        ran = switch(config, &world, order, output).await?;
    }
    let exit = tell(world, order, ran, output).await?;
    if exit == Exit::Yes {
        output.note(&format!(
            "reads stay as they are; banyan rollback {context} once more takes them back as well"
        ));
    }
    Ok(Some(exit))
}

/// How a run ended and what it did.
type Ran = (Ending, Summary);

/// The checks and the steps, by the code of a real run on imagined ports; nothing is done.
async fn plan(
    config: &Config,
    world: &World<'_>,
    to: Side,
    output: &Output,
) -> Result<Exit, Failure> {
    readable(world).await?;
    let dry = DryRun::new(world);
    let order = Order { intent: Intent::Start { to }, force: true };
    let abort = AtomicBool::new(false);
    let mut steps = Steps(Vec::new());
    let run = Cutover::new(&dry, config.cutover, order, &abort, &mut steps);
    let (ending, summary) = run.run().await;
    let (Ending::Finished(switch) | Ending::GivenUp { switch, reason: GiveUp::NotReady(_) }) =
        &ending
    else {
        return outcome(world, order, &ending, &summary, output).await;
    };
    let stops = summary.checks.iter().any(|check| check.verdict >= CheckVerdict::Fail);
    if output.is_json() {
        let steps: Vec<_> =
            steps.0.iter().map(|step| json!({ "step": step, "does": step.explain() })).collect();
        let data = json!({
            "context": world.context, "switch": switch, "ready": !stops,
            "checks": summary.checks, "steps": steps,
        });
        output.json("banyan.context.cutover.plan/1", &data, &[]);
    } else {
        output.line(&format!("{}: {switch}", world.context));
        output.lines(&check_rows(&summary.checks, output));
        for (number, step) in (1..).zip(&steps.0) {
            output.line(&format!("{number:>3}. {:<12} {}", step.as_str(), step.explain()));
        }
        output.note("nothing is done yet: add --execute --reason TEXT");
    }
    Ok(if stops { Exit::Refused } else { Exit::No })
}

/// The steps of a run in their order.
struct Steps(Vec<Step>);

impl Watch for Steps {
    fn notice(&mut self, notice: &Notice) {
        if let Notice::Begin { step, .. } = notice
            && !self.0.contains(step)
        {
            self.0.push(*step);
        }
    }
}

/// A side that can never be read as it is, such as one without a fence, is told with its remedy.
async fn readable(world: &World<'_>) -> Result<(), Failure> {
    for side in Side::ALL {
        if let Err(error @ PortError::Refused { .. }) = world.fence(side).await {
            let doing = format!("cannot switch `{}`", world.context);
            return Err(port_failure(&doing, &error));
        }
    }
    Ok(())
}

async fn switch(
    config: &Config,
    world: &World<'_>,
    order: Order,
    output: &Output,
) -> Result<Ran, Failure> {
    readable(world).await?;
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
    let ran = run.run().await;
    waiter.abort();
    Ok(ran)
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

/// Says how it ended, and waits for the audit's last lines.
async fn tell(
    world: World<'_>,
    order: Order,
    (ending, summary): Ran,
    output: &Output,
) -> Result<Exit, Failure> {
    let told = outcome(&world, order, &ending, &summary, output).await;
    let lost = world.written().await;
    if lost > 0 {
        output
            .note(&format!("{lost} steps could not be written to the audit; they are in the log"));
    }
    told
}

async fn outcome(
    world: &World<'_>,
    order: Order,
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
        Ending::GivenUp { switch, .. } if order.intent == Intent::Abort => {
            unchanged(
                world,
                &format!("{switch} is given up: {} owns `{context}`", switch.from),
                output,
            );
            Ok(Exit::Yes)
        }
        Ending::GivenUp { switch, reason } => Err(given_up(world, switch, reason, summary)),
        Ending::Nothing { owner, epoch } => {
            let what = format!("nothing to do: {owner} owns `{context}` since epoch {epoch}");
            unchanged(world, &what, output);
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
        Ending::Interrupted { switch, decided, reason } => {
            Err(interrupted(world, switch.as_ref(), *decided, reason).await)
        }
        _ => {
            Err(Failure::new("banyan::cutover::unknown", Exit::Bug, "an ending that is not known"))
        }
    }
}

fn unchanged(world: &World<'_>, what: &str, output: &Output) {
    if output.is_json() {
        let data = json!({ "context": world.context, "changed": false, "what": what });
        output.json("banyan.context.cutover/1", &data, &[]);
    } else {
        output.line(what);
    }
}

async fn interrupted(
    world: &World<'_>,
    switch: Option<&Switch>,
    decided: Option<bool>,
    reason: &str,
) -> Failure {
    let context = &world.context;
    let mut state = match decided {
        Some(true) => "it is decided: the other side owns the context".to_owned(),
        Some(false) => "it is not decided".to_owned(),
        None => "whether it is decided is told when both databases answer".to_owned(),
    };
    if let (Some(false), Some(from)) = (decided, switch.map(|switch| switch.from)) {
        let is_closed = world.fence(from).await.is_ok_and(|fence| !fence.is_open());
        state = if is_closed {
            format!(
                "{state}, but {from} is closed: writes of the context are refused until it is finished or given up"
            )
        } else {
            format!("{state}: {from} owns the context as before")
        };
    }
    Failure::new(
        "banyan::cutover::interrupted",
        Exit::Unreachable,
        format!("the switch of `{context}` waits for something"),
    )
    .because(reason)
    .because(state)
    .hint(format!("banyan context cutover {context} --resume, or --abort"))
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
            "steps": summary.steps, "back": back,
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
    // Checks that were overridden are no reason.
    let failed = |check: &&Check| {
        matches!(reason, GiveUp::NotReady(_)) && check.verdict >= CheckVerdict::Fail
    };
    for check in summary.checks.iter().filter(failed) {
        failure = failure.because(format!("{}: {}", check.name, check.detail));
    }
    match summary.checks.iter().find(failed) {
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
