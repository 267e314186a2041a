//! `banyan sync pause|resume|throttle`: orders to a running job, kept on its target.

use crate::args::{OrderArgs, ThrottleArgs};
use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::wiring::{control, sync};
use banyan_sync_jobs::{Job, Orders, Ports, Side};
use serde_json::json;

pub(crate) async fn pause(
    config: &Config,
    args: &OrderArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let (job, who) = (open(config, &args.job, args.to)?, control::actor(&args.who));
    let orders = job.pause(&who.name, &who.reason).await;
    answer("banyan.sync.pause/1", &job, orders, output)
}

pub(crate) async fn resume(
    config: &Config,
    args: &OrderArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let (job, who) = (open(config, &args.job, args.to)?, control::actor(&args.who));
    let orders = job.resume(&who.name, &who.reason).await;
    answer("banyan.sync.resume/1", &job, orders, output)
}

pub(crate) async fn throttle(
    config: &Config,
    args: &ThrottleArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let (job, who) = (open(config, &args.job, args.to)?, control::actor(&args.who));
    let rows = args.rows_per_second.map(std::num::NonZeroU64::get);
    let orders = job.throttle(rows, &who.name, &who.reason).await;
    answer("banyan.sync.throttle/1", &job, orders, output)
}

fn open(config: &Config, name: &str, to: Side) -> Result<Job, Failure> {
    let configured = config.jobs.iter().find(|job| job.spec.name == name).ok_or_else(|| {
        super::super::flip::unknown(
            "job",
            name,
            config.jobs.iter().map(|job| job.spec.name.as_str()),
        )
    })?;
    configured.open(to, Ports::default()).map_err(|error| sync::failure(name, &error))
}

fn answer(
    schema: &str,
    job: &Job,
    orders: Result<Orders, banyan_sync_jobs::SyncError>,
    output: &Output,
) -> Result<Exit, Failure> {
    let orders = orders.map_err(|error| sync::failure(job.name(), &error))?;
    if output.is_json() {
        output.json(schema, &json(job.name(), &orders), &[]);
        return Ok(Exit::Yes);
    }
    let own = job.rows_per_second();
    output.line(&format!("{}: {}", job.name(), words(&orders, own)));
    output.note("a running worker obeys within a second; the order stays until the next one");
    Ok(Exit::Yes)
}

/// The orders as JSON.
pub(crate) fn json(job: &str, orders: &Orders) -> serde_json::Value {
    json!({
        "job": job,
        "paused": orders.paused,
        "rows_per_second": orders.rows_per_second,
        "by": orders.by,
        "reason": orders.why,
        "changed_ms": orders.changed_ms,
    })
}

/// `paused, at most 500 rows/s (ada: "peak hour")`.
fn words(orders: &Orders, own: Option<u64>) -> String {
    let paused = if orders.paused { "paused" } else { "not paused" };
    let rows = match (orders.rows_per_second, own) {
        (Some(rows), _) => format!("at most {rows} rows/s"),
        (None, Some(rows)) => format!("at most {rows} rows/s, as in the file"),
        (None, None) => "no limit of rows/s".to_owned(),
    };
    format!("{paused}, {rows} ({})", super::super::route::who_why(&orders.by, &orders.why))
}
