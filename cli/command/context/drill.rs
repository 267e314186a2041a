//! `banyan context drill`: would a switch away from the owner succeed now?
//!
//! What must stay true: nothing is armed, held, closed or opened. The other side gets what it would get anyway from the sync.

use super::{begin, check_rows, port_failure, world};
use crate::args::Who;
use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Paint};
use crate::wiring::control;
use banyan_cutover::{Check, CheckVerdict, Ports as _, Stage, Switch, observe};
use banyan_domain::Side;
use serde_json::json;
use std::time::Instant;

pub(super) async fn run(config: &Config, context: &str, output: &Output) -> Result<Exit, Failure> {
    let (context, store) = begin(config, context).await?;
    let nobody = Who { reason: String::new(), name: None };
    let world = world(config, &context, store, control::actor(&nobody))?;
    let doing = format!("cannot drill the rollback of `{context}`");
    let seen = observe(&world).await;
    let Stage::Steady { owner, epoch } = seen.stage(None) else {
        return Err(Failure::new("banyan::cutover::unfinished", Exit::Refused, doing)
            .because(seen.unreachable.join("; "))
            .hint(format!("banyan context show {context}")));
    };
    let switch = Switch { from: owner, epoch: seen.next_epoch(), back_to: epoch };
    let failed = |error| port_failure(&doing, &error);
    let limits = config.cutover;
    let started = Instant::now();
    let mut checks = world.preflight(&switch).await.map_err(failed)?;
    if checks.iter().all(|check| check.verdict < CheckVerdict::Never) {
        // What a run does before it holds anything; it ends by itself when the sync cannot keep up.
        let drained = world.catch_up(&switch, limits.catch_up_max).await.map_err(failed)?;
        let verified = world.verify(&switch, limits.catch_up_max).await.map_err(failed)?;
        let holds = drained.conflicts.is_empty() && verified.equal;
        let detail = match (holds, verified.differing.first(), drained.conflicts.first()) {
            (true, ..) => {
                format!("{} aggregates equal, {} marks wait", verified.checked, drained.pending)
            }
            (false, Some(differing), _) => format!("differs or moves: {differing}"),
            (false, None, conflict) => conflict.cloned().unwrap_or_default(),
        };
        checks.push(Check {
            name: format!("data to {}", switch.to()),
            verdict: if holds { CheckVerdict::Ok } else { CheckVerdict::Never },
            detail,
            remedy: if holds {
                String::new()
            } else {
                "banyan sync verify; banyan sync conflicts".to_owned()
            },
        });
    }
    // What a person may override does not stop a rollback; unequal data does.
    let stops = if switch.to() == Side::Legacy { CheckVerdict::Never } else { CheckVerdict::Fail };
    let ready = checks.iter().all(|check| check.verdict < stops);
    let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    if output.is_json() {
        let data = json!({ "context": context, "from": owner, "to": switch.to(), "ready": ready, "elapsed_ms": elapsed_ms, "checks": checks });
        output.json("banyan.context.drill/1", &data, &[]);
    } else {
        output.lines(&check_rows(&checks, output));
        let (paint, text) = if ready {
            (Paint::Good, format!("a switch of `{context}` to {} would succeed now", switch.to()))
        } else {
            (
                Paint::Bad,
                format!("a switch of `{context}` to {} would not succeed now", switch.to()),
            )
        };
        output.line(&output.paint(paint, &text));
    }
    Ok(if ready { Exit::Yes } else { Exit::No })
}
