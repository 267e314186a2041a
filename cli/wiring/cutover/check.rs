//! The checks before a switch, read from the live parts.
//!
//! What must stay true: nothing is changed; each check that does not pass says the next command; `Never` is kept for what
//! would lose data or events whatever anybody says.

use super::{World, store_error, sync_error};
use crate::args::{Demand, Evidence};
use crate::wiring::parity;
use banyan_cutover::{Check, CheckVerdict, PortError, Switch};
use banyan_domain::{EndpointKind, Side};
use banyan_events::forwarder;
use banyan_report::GateVerdict;
use banyan_sync_jobs::{ContextFence, VerifyOptions};
use std::time::Duration;

/// A transaction that is open for longer is named before the switch.
const OLD_TRANSACTION: Duration = Duration::from_secs(2);
/// Marks that may wait at the beginning: the catch-up moves them.
const PENDING_MAX: u64 = 20_000;
/// What is said in place of a worker's name.
const NO_WORKER: &str = "none, the switch drains by itself";

pub(super) async fn preflight(world: &World<'_>, switch: &Switch) -> Result<Vec<Check>, PortError> {
    let mut checks = Vec::new();
    proxies(world, &mut checks).await?;
    for side in Side::ALL {
        fence(world, side, &mut checks).await?;
    }
    transactions(world.fence_of(switch.from), &mut checks).await?;
    jobs(world, switch, &mut checks).await?;
    sequences(world, switch, &mut checks).await;
    if switch.to() == Side::New {
        gate(world, &mut checks).await;
    }
    emission(world, switch, &mut checks).await?;
    Ok(checks)
}

/// A check that came out like this.
fn check(
    name: impl Into<String>,
    verdict: CheckVerdict,
    detail: impl Into<String>,
    remedy: impl Into<String>,
) -> Check {
    let remedy = if verdict == CheckVerdict::Ok { String::new() } else { remedy.into() };
    Check { name: name.into(), verdict, detail: detail.into(), remedy }
}

fn verdict(holds: bool, otherwise: CheckVerdict) -> CheckVerdict {
    if holds { CheckVerdict::Ok } else { otherwise }
}

async fn proxies(world: &World<'_>, checks: &mut Vec<Check>) -> Result<(), PortError> {
    let newest = world.store.generation().await.map_err(|error| store_error(&error))?;
    let all = world.store.instances().await.map_err(|error| store_error(&error))?;
    let live: Vec<_> = all.iter().filter(|instance| instance.live).collect();
    let behind: Vec<&str> = live
        .iter()
        .filter(|instance| instance.report.applied < newest)
        .map(|instance| instance.report.instance.as_str())
        .collect();
    let silent: Vec<&str> = all
        .iter()
        .filter(|instance| !instance.live)
        .map(|instance| instance.report.instance.as_str())
        .collect();
    let silence =
        format!("{} died or lost the control store, and did not say goodbye", silent.join(", "));
    let came = verdict(silent.is_empty(), CheckVerdict::Fail);
    if came != CheckVerdict::Ok {
        let remedy = "stop or mend it; a proxy that cannot hear of the switch is fenced, so its clients get 503";
        checks.push(check("proxies silent", came, silence, remedy));
    }
    let detail = match (live.len(), behind.is_empty()) {
        (0, _) => "no proxy is running".to_owned(),
        (count, true) => format!("{count} at generation {newest}"),
        (count, false) => format!("{count} live; behind {newest}: {}", behind.join(", ")),
    };
    let came = match (live.is_empty(), behind.is_empty()) {
        (true, _) => CheckVerdict::Warn,
        (false, holds) => verdict(holds, CheckVerdict::Fail),
    };
    checks.push(check(
        "proxies",
        came,
        detail,
        "banyan status    (mend or stop the proxies named)",
    ));
    Ok(())
}

async fn fence(world: &World<'_>, side: Side, checks: &mut Vec<Check>) -> Result<(), PortError> {
    let status = world.fence_of(side).status().await.map_err(|error| sync_error(side, &error))?;
    let detail = if status.missing.is_empty() {
        format!("guards {}", status.tables.join(", "))
    } else {
        format!("missing: {}", status.missing.join(", "))
    };
    checks.push(check(
        format!("fence {side}"),
        verdict(status.missing.is_empty(), CheckVerdict::Never),
        detail,
        format!("banyan context fence install {} --execute", world.context),
    ));
    Ok(())
}

async fn transactions(fence: &ContextFence, checks: &mut Vec<Check>) -> Result<(), PortError> {
    let side = fence.side();
    let old = fence.old_transactions(OLD_TRANSACTION).await;
    let (came, detail) = match old {
        Ok(old) if old.is_empty() => (CheckVerdict::Ok, "none is old".to_owned()),
        Ok(old) => (CheckVerdict::Fail, old.join("; ")),
        Err(error) if error.is_transient() => return Err(sync_error(side, &error)),
        Err(error) => (CheckVerdict::Warn, format!("cannot be listed: {}", error.chain())),
    };
    checks.push(check(
        format!("transactions {side}"),
        came,
        detail,
        "end these transactions, or wait; the fence closes only after them (listing needs PROCESS on MySQL)",
    ));
    Ok(())
}

async fn jobs(
    world: &World<'_>,
    switch: &Switch,
    checks: &mut Vec<Check>,
) -> Result<(), PortError> {
    let to = switch.to();
    for toward in [to, switch.from] {
        for job in world.open(toward)? {
            let missing = job.missing().await.map_err(|error| sync_error(toward, &error))?;
            let names: Vec<_> = missing.iter().map(|step| step.object.as_str()).collect();
            let detail = if names.is_empty() { "installed".to_owned() } else { names.join(", ") };
            let came = verdict(names.is_empty(), CheckVerdict::Never);
            let name = job.name();
            let remedy = format!("banyan sync install {name} --to {toward} --execute");
            checks.push(check(format!("sync {name} to {toward}"), came, detail, remedy));
        }
    }
    if checks.iter().any(|check| check.verdict == CheckVerdict::Never) {
        return Ok(());
    }
    for job in world.open(to)? {
        let failed = |error| sync_error(to, &error);
        let found = job.watch().await.map_err(failed)?.look().await.map_err(failed)?;
        let orders = job.status().await.map_err(failed)?.orders;
        let name = job.name();
        let (came, detail, remedy) = if orders.paused {
            (
                CheckVerdict::Fail,
                "paused".to_owned(),
                format!("banyan sync resume {name} --to {to}"),
            )
        } else if found.conflicts > 0 {
            let detail = format!("{} aggregates were written on both sides", found.conflicts);
            (CheckVerdict::Never, detail, format!("banyan sync conflicts {name} --to {to}"))
        } else if !found.copied {
            let remedy = format!("banyan sync run {name} --to {to} --once --execute");
            (CheckVerdict::Never, "the first copy is not done".to_owned(), remedy)
        } else {
            let came = verdict(found.pending <= PENDING_MAX, CheckVerdict::Fail);
            let worker = found.worker.as_ref().map_or(NO_WORKER, |worker| worker.name.as_str());
            let detail = format!("{} marks wait, worker: {worker}", found.pending);
            (came, detail, "banyan sync list    (wait until it has caught up)".to_owned())
        };
        checks.push(check(format!("lag {name}"), came, detail, remedy));
        // One window: a look, not a proof; the switch itself compares again.
        let options = VerifyOptions { since_clean: true, windows: 1, ..VerifyOptions::default() };
        let report = job.verify(options).await.map_err(failed)?;
        let remedy = format!("banyan sync verify {name} --to {to}");
        let (came, detail) = match report.full_pass_needed {
            Some(why) => (CheckVerdict::Warn, format!("a full comparison comes first: {why}")),
            None if report.differing_total > 0 => {
                (CheckVerdict::Fail, format!("{} aggregates differ", report.differing_total))
            }
            None => (
                CheckVerdict::Ok,
                format!("{} aggregates since the last clean one", report.checked),
            ),
        };
        checks.push(check(format!("verify {name}"), came, detail, remedy));
    }
    Ok(())
}

async fn sequences(world: &World<'_>, switch: &Switch, checks: &mut Vec<Check>) {
    let remedy =
        "[[context.sequence]] legacy = \"table.column\", new = \"table.column\" in banyan.toml";
    if world.sequences.is_empty() {
        let detail = "no ids are declared that both sides give";
        checks.push(check("sequences", CheckVerdict::Warn, detail, remedy));
        return;
    }
    for side in [switch.from, switch.to()] {
        let columns: Vec<&str> = world.sequences.iter().map(|pair| pair.of(side)).collect();
        let (came, detail) = match world.fence_of(side).id_counters(&columns).await {
            Ok(counters) => {
                let next = counters.iter().map(|of| format!("{} next {}", of.column, of.next()));
                (CheckVerdict::Ok, next.collect::<Vec<_>>().join(", "))
            }
            Err(error) => (CheckVerdict::Never, error.chain()),
        };
        checks.push(check(format!("sequences {side}"), came, detail, remedy));
    }
}

/// The shadow gate over all reads of the context, as `banyan shadow gate` judges it.
async fn gate(world: &World<'_>, checks: &mut Vec<Check>) {
    let spec = world.config.catalogue.context(&world.context);
    let reads = spec.into_iter().flat_map(|spec| &spec.endpoints);
    let reads = reads.filter(|endpoint| endpoint.kind() == EndpointKind::Read);
    let evidence = Evidence {
        since: world.evidence_since.clone(),
        endpoints: reads.map(|endpoint| endpoint.name.to_string()).collect(),
    };
    let report = crate::command::shadow::build(world.config, &evidence, &Demand::default()).await;
    let (came, detail) = match report.map(|report| report.verdict()) {
        Ok(GateVerdict::Pass) => (CheckVerdict::Ok, "passes".to_owned()),
        Ok(GateVerdict::Fail { .. }) => (CheckVerdict::Fail, "fails".to_owned()),
        Ok(GateVerdict::Inconclusive { .. }) => {
            (CheckVerdict::Fail, "too little evidence".to_owned())
        }
        Err(failure) => (CheckVerdict::Fail, failure.message.clone()),
    };
    checks.push(check("shadow gate", came, detail, "banyan shadow gate"));
}

async fn emission(
    world: &World<'_>,
    switch: &Switch,
    checks: &mut Vec<Check>,
) -> Result<(), PortError> {
    let to = switch.to();
    let Some(settings) = world.forwarder.as_ref().map(forwarder::Remote::config) else {
        let detail = match world.config.events {
            Some(_) => "no forwarder is in the path of its events (tap, or none declared)",
            None => "no [events] section: nobody keeps the two sides' events apart",
        };
        checks.push(check("events", CheckVerdict::Warn, detail, "banyan config reference"));
        return Ok(());
    };
    let places = world.config.contexts.get(&world.context);
    if switch.from == Side::Legacy && places.is_some_and(|p| p.legacy_unpublished.is_none()) {
        let detail = "how many events legacy has committed and not published is not known";
        let remedy = "context.legacy-unpublished = \"SELECT COUNT(*) ..\"; else [cutover] settle must be long enough";
        checks.push(check("events unpublished", CheckVerdict::Warn, detail, remedy));
    }
    let status = forwarder::status(settings).await;
    let status = status.map_err(|error| super::events_error(&error))?;
    for found in forwarder::preflight(&status, &world.context, to) {
        let otherwise = match (found.hard, found.name) {
            // It waits for markers that are put already, of the last switch say: events come later, none is lost.
            (true, "raw queue") => CheckVerdict::Fail,
            (true, _) => CheckVerdict::Never,
            // Under traffic something is always on its way, and the switch waits for its markers anyway.
            (false, "lag") => CheckVerdict::Warn,
            (false, _) => CheckVerdict::Fail,
        };
        let came = if found.unknown { CheckVerdict::Warn } else { verdict(found.holds, otherwise) };
        let remedy = match found.name {
            "raw queue" => format!(
                "wait until the forwarder has passed it; if it does not: banyan context cutover {} --resume",
                world.context
            ),
            _ => found.hint.to_owned(),
        };
        checks.push(check(format!("events {}", found.name), came, found.found, remedy));
    }
    if to == Side::New {
        let (came, detail) = match parity::standing(world.config, settings, &world.context).await {
            Ok(standing) => {
                let came = match standing.verdict {
                    GateVerdict::Pass => CheckVerdict::Ok,
                    GateVerdict::Fail { .. } => CheckVerdict::Fail,
                    GateVerdict::Inconclusive { .. } => CheckVerdict::Warn,
                };
                (came, standing.text)
            }
            Err(failure) => (CheckVerdict::Warn, failure.message.clone()),
        };
        checks.push(check(
            "events parity",
            came,
            detail,
            "banyan events parity CONTEXT --since 24h",
        ));
    }
    Ok(())
}
