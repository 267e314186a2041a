//! `banyan events outbox status|dead|retry|drop|ddl`.
//!
//! Owns the way from the databases of the file to the outboxes in them. What must stay true: a database without an
//! outbox is no error as long as another has one; what can be reached is shown although another database cannot; no data of an event is printed; each context or event is named.

use crate::args::{EngineName, OutboxCommand, RetryArgs};
use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, ago, columns, thousands};
use banyan_domain::{ContextName, Side};
use banyan_outbox::{
    ContextStatus, DeadRow, Dialect, Operate, OutboxError, OutboxStatus, RelayStatus, Which, ddl,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(crate) async fn run(
    config: &Config,
    command: &OutboxCommand,
    output: &Output,
) -> Result<Exit, Failure> {
    match command {
        OutboxCommand::Status => status(look(config).await, output),
        OutboxCommand::Dead { limit } => dead(&find(config).await?, *limit, output).await,
        OutboxCommand::Retry(which) => retry(config, which, output).await,
        OutboxCommand::Drop { event, yes } => drop_dead(config, event, *yes, output).await,
        OutboxCommand::Ddl { engine } => Ok(print_ddl(*engine, output)),
    }
}

/// An outbox that was found in a database of the file.
struct Found {
    side: Side,
    /// The setting that names its database.
    of: String,
    outbox: Box<dyn Operate>,
    status: OutboxStatus,
}

/// What the databases of the file hold, as far as they can be reached.
struct Looked {
    found: Vec<Found>,
    failed: Vec<Failure>,
}

/// The outboxes of all databases that the file names, all of which must be reached.
async fn find(config: &Config) -> Result<Vec<Found>, Failure> {
    let Looked { found, failed } = look(config).await;
    match failed.into_iter().next() {
        Some(failure) => Err(failure),
        None if found.is_empty() => Err(none()),
        None => Ok(found),
    }
}

/// The outboxes of all databases that the file names; each database once.
async fn look(config: &Config) -> Looked {
    let databases: BTreeMap<&str, (&ContextName, Side)> = config
        .contexts
        .iter()
        .flat_map(|(name, places)| {
            places.databases.iter().map(move |(side, url)| (url.as_str(), (name, *side)))
        })
        .collect();
    let mut looked = Looked { found: Vec::new(), failed: Vec::new() };
    for (url, (context, side)) in databases {
        let of = format!("`{side}-database` of context `{context}`");
        let outbox = match banyan_outbox::open(url).await {
            Ok(outbox) => outbox,
            Err(error) => {
                looked.failed.push(failure(&of, &error));
                continue;
            }
        };
        match outbox.status().await {
            Ok(status) => looked.found.push(Found { side, of, outbox, status }),
            Err(error) if error.is_absent() => {}
            Err(error) => looked.failed.push(failure(&of, &error)),
        }
    }
    looked
}

fn none() -> Failure {
    Failure::new("banyan::outbox::none", Exit::Config, "no database of the file has an outbox")
        .hint("a service makes its tables by `banyan events outbox ddl`; the file names its database as `new-database`")
}

fn failure(of: &str, error: &OutboxError) -> Failure {
    let failure = Failure::of(
        "banyan::outbox::failed",
        Exit::Unreachable,
        &format!("cannot use the outbox in {of}"),
        error,
    );
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Shows every outbox that was reached; exit 6 when a database was not.
fn status(looked: Looked, output: &Output) -> Result<Exit, Failure> {
    let Looked { found, failed } = looked;
    if found.is_empty() {
        return Err(failed.into_iter().next().unwrap_or_else(none));
    }
    if output.is_json() {
        let outboxes: Vec<Value> = found
            .iter()
            .map(|f| json!({ "side": f.side, "relays": f.status.relays, "contexts": f.status.contexts }))
            .collect();
        output.json("banyan.events.outbox.status/1", &json!({ "outboxes": outboxes }), &[]);
    } else {
        for found in &found {
            print_status(found, output);
        }
    }
    if let Some(failure) = failed.into_iter().next() {
        return Err(failure);
    }
    let is_well = found.iter().all(|found| found.status.is_well());
    Ok(if is_well { Exit::Yes } else { Exit::No })
}

fn print_status(found: &Found, output: &Output) {
    if found.status.relays.is_empty() {
        output.line(&format!("outbox of {}: no relay ever led", found.side));
    }
    for relay in &found.status.relays {
        output.line(&format!("outbox of {}: {}", found.side, relay_line(relay)));
    }
    let head = ["CONTEXT", "EMITS", "EPOCH", "ORDER", "READY", "WAITING", "DEAD", "LAG", "LOST"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(found.status.contexts.iter().map(context_row));
    output.lines(&columns(&rows));
}

fn relay_line(relay: &RelayStatus) -> String {
    let leads = if relay.leads { "leads" } else { "nobody leads" };
    let reason = if relay.reason.is_empty() { "" } else { ": " };
    let (name, state, age) = (&relay.name, relay.state.as_str(), ago(relay.age_ms));
    format!("{name} {leads}, {state} {age} ago{reason}{}", relay.reason)
}

fn context_row(context: &ContextStatus) -> Vec<String> {
    let emits = if context.fence == "open" { "yes" } else { context.fence };
    vec![
        context.context.clone(),
        emits.to_owned(),
        context.epoch.to_string(),
        context.order.as_str().to_owned(),
        thousands(context.ready),
        thousands(context.waiting),
        thousands(context.dead),
        ago(context.lag_ms),
        context.lost.map_or_else(|| "-".to_owned(), thousands),
    ]
}

async fn dead(found: &[Found], limit: u32, output: &Output) -> Result<Exit, Failure> {
    let mut rows: Vec<(Side, DeadRow)> = Vec::new();
    for place in found {
        let dead = place.outbox.dead(limit).await.map_err(|error| failure(&place.of, &error))?;
        rows.extend(dead.into_iter().map(|row| (place.side, row)));
    }
    if output.is_json() {
        let rows: Vec<Value> =
            rows.iter().map(|(side, row)| json!({ "side": side, "row": row })).collect();
        output.json("banyan.events.outbox.dead/1", &json!({ "dead": rows }), &[]);
    } else if !rows.is_empty() {
        let head = ["EVENT", "CONTEXT", "SUBJECT", "TYPE", "TRIES", "AGE", "ERROR"];
        let mut table = vec![head.map(str::to_owned).to_vec()];
        table.extend(rows.iter().map(|(_, row)| dead_row(row)));
        output.lines(&columns(&table));
    }
    Ok(if rows.is_empty() { Exit::Yes } else { Exit::No })
}

fn dead_row(row: &DeadRow) -> Vec<String> {
    vec![
        row.event_id.clone(),
        row.context.clone(),
        row.subject.clone(),
        row.kind.clone(),
        row.attempts.to_string(),
        ago(u64::try_from(row.age_ms).unwrap_or(0)),
        row.error.clone().unwrap_or_default(),
    ]
}

async fn retry(config: &Config, which: &RetryArgs, output: &Output) -> Result<Exit, Failure> {
    let which = match (&which.event, &which.context) {
        (Some(event), _) => Which::Event(event.clone()),
        (None, Some(name)) => Which::Context(context(config, name)?),
        (None, None) => {
            return Err(Failure::new("banyan::usage", Exit::Usage, "name an event or a context"));
        }
    };
    let mut retried = 0;
    for place in find(config).await? {
        let count = place.outbox.retry(&which).await;
        retried += count.map_err(|error| failure(&place.of, &error))?;
    }
    if output.is_json() {
        output.json("banyan.events.outbox.retry/1", &json!({ "retried": retried }), &[]);
    } else {
        output.line(&format!("{} dead rows will be published", thousands(retried)));
    }
    Ok(if retried > 0 { Exit::Yes } else { Exit::No })
}

fn context(config: &Config, name: &str) -> Result<ContextName, Failure> {
    let known = config.contexts.keys();
    let found = known.clone().find(|known| known.as_str() == name);
    found
        .cloned()
        .ok_or_else(|| super::flip::unknown("context", name, known.map(ContextName::as_str)))
}

async fn drop_dead(
    config: &Config,
    event: &str,
    yes: bool,
    output: &Output,
) -> Result<Exit, Failure> {
    if !yes {
        return Err(Failure::new(
            "banyan::outbox::not_confirmed",
            Exit::Refused,
            format!("consumers will never see event `{event}`"),
        )
        .hint(format!("banyan events outbox drop {event} --yes")));
    }
    let mut dropped = false;
    for place in find(config).await? {
        let done = place.outbox.drop_dead(event).await;
        dropped |= done.map_err(|error| failure(&place.of, &error))?;
    }
    if output.is_json() {
        output.json("banyan.events.outbox.drop/1", &json!({ "dropped": dropped }), &[]);
    } else {
        output.line(if dropped { "dropped" } else { "no dead row has this event" });
    }
    Ok(if dropped { Exit::Yes } else { Exit::No })
}

/// Needs no configuration file.
pub(crate) fn print_ddl(engine: EngineName, output: &Output) -> Exit {
    let dialect = match engine {
        EngineName::Mysql => Dialect::MySql,
        EngineName::Postgres => Dialect::Postgres,
        EngineName::Sqlite => Dialect::Sqlite,
    };
    if output.is_json() {
        let data = json!({ "engine": dialect.as_str(), "statements": ddl(dialect) });
        output.json("banyan.events.outbox.ddl/1", &data, &[]);
    } else {
        for statement in ddl(dialect) {
            output.line(&format!("{statement};"));
        }
    }
    Exit::Yes
}
