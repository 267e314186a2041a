//! `banyan route list|show|why|flip`.

use super::flip::{self, FlipRequest};
use crate::args::RouteCommand;
use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Paint, ago, columns, thousands};
use crate::wiring::control;
use banyan_control::shadow::Outcomes;
use banyan_control::{ControlError, ControlStore, Instance};
use banyan_domain::compiled::RoutedEndpoint;
use banyan_domain::{
    Compiled, Decision, EndpointKind, EndpointName, Mirror, Outcome, RequestHead, RouteTable,
    decide,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(crate) async fn run(
    config: &Config,
    command: &RouteCommand,
    output: &Output,
) -> Result<Exit, Failure> {
    match command {
        RouteCommand::List => list(config, output).await,
        RouteCommand::Show { endpoint } => show(config, endpoint, output).await,
        RouteCommand::Why { method, url, headers, address } => {
            let request = Request { method, url, headers, address };
            why(config, &request, output).await
        }
        RouteCommand::Flip { endpoint, phase, percent, generation, timeout, who } => {
            let request = FlipRequest {
                endpoint,
                phase,
                percent: *percent,
                generation: *generation,
                timeout_ms: *timeout,
                who,
            };
            flip::flip(config, request, output).await
        }
    }
}

/// The live table and what it compiles to.
struct Live {
    table: RouteTable,
    compiled: Compiled,
    instances: Vec<Instance>,
    outcomes: BTreeMap<EndpointName, Outcomes>,
}

type Read = (RouteTable, Vec<Instance>, BTreeMap<EndpointName, Outcomes>);

async fn read(store: &dyn ControlStore) -> Result<Read, ControlError> {
    Ok((store.table().await?, store.instances().await?, store.shadow_outcomes(None).await?))
}

/// Before the first `serve` there is no store: then the declared starting phases are what is live.
async fn live(config: &Config) -> Result<Live, Failure> {
    let opened = banyan_control::open_existing(&config.control.store).await;
    let read = match opened {
        Err(ControlError::Missing { .. }) => {
            Ok((RouteTable::default(), Vec::new(), BTreeMap::new()))
        }
        Err(error) => Err(error),
        Ok(store) => read(store.as_ref()).await,
    };
    let (table, instances, outcomes) = read.map_err(|error| control::store_failure(&error))?;
    let compiled = Compiled::new(&config.catalogue, &table).map_err(|errors| {
        let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        Failure::new("banyan::config::invalid", Exit::Config, text)
    })?;
    Ok(Live { table, compiled, instances, outcomes })
}

async fn list(config: &Config, output: &Output) -> Result<Exit, Failure> {
    let live = live(config).await?;
    if output.is_json() {
        let endpoints: Vec<Value> =
            live.compiled.endpoints().iter().map(|e| describe(e, &live)).collect();
        let data = json!({ "generation": live.table.generation, "endpoints": endpoints });
        output.json("banyan.route.list/1", &data, &[]);
        return Ok(Exit::Yes);
    }
    let mut rows = vec![
        ["ENDPOINT", "KIND", "REQUEST", "PHASE", "SINCE", "WHO / WHY"].map(str::to_owned).to_vec(),
    ];
    rows.extend(live.compiled.endpoints().iter().map(|endpoint| {
        let stamp = live.table.endpoints.get(&endpoint.spec.name).map(|state| &state.stamp);
        vec![
            endpoint.spec.name.to_string(),
            endpoint.kind.as_str().to_owned(),
            format!("{} {}", endpoint.spec.methods.join(","), endpoint.spec.path),
            phase_text(endpoint),
            stamp.map_or_else(
                || "-".to_owned(),
                |s| ago(control::now_ms().saturating_sub(s.since_ms)),
            ),
            stamp.map_or_else(|| "-".to_owned(), |s| who_why(&s.by, &s.reason)),
        ]
    }));
    output.lines(&columns(&rows));
    output.note(&format!("generation {}; everything else goes to legacy", live.table.generation));
    Ok(Exit::Yes)
}

fn phase_text(endpoint: &RoutedEndpoint) -> String {
    match endpoint.kind {
        EndpointKind::Read => endpoint.phase.to_string(),
        EndpointKind::Write => format!("{} (owner)", endpoint.phase),
    }
}

pub(crate) fn who_why(by: &str, reason: &str) -> String {
    if reason.is_empty() { by.to_owned() } else { format!("{by}: {reason}") }
}

fn describe(endpoint: &RoutedEndpoint, live: &Live) -> Value {
    let state = live.table.endpoints.get(&endpoint.spec.name);
    json!({
        "name": endpoint.spec.name,
        "kind": endpoint.kind,
        "methods": endpoint.spec.methods,
        "path": endpoint.spec.path,
        "phase": endpoint.phase,
        "since_ms": state.map(|s| s.stamp.since_ms),
        "by": state.map(|s| &s.stamp.by),
        "reason": state.map(|s| &s.stamp.reason),
        "mirror_percent": endpoint.spec.mirror_percent,
        "mirror_back": endpoint.spec.mirror_back,
        "fallback": endpoint.spec.fallback,
    })
}

async fn show(config: &Config, name: &str, output: &Output) -> Result<Exit, Failure> {
    let name = flip::endpoint(config, name)?;
    let live = live(config).await?;
    let Some(endpoint) = live.compiled.endpoints().iter().find(|e| e.spec.name == name) else {
        return Err(Failure::new(
            "banyan::name::unknown",
            Exit::Usage,
            format!("endpoint `{name}` is not declared"),
        ));
    };
    let seen = live.outcomes.get(&name).cloned().unwrap_or_default();
    if output.is_json() {
        let data = json!({
            "endpoint": describe(endpoint, &live),
            "next": endpoint.phase.next(),
            "compared": seen.compared(),
            "mismatches": seen.confirmed(),
        });
        output.json("banyan.route.show/1", &data, &[]);
        return Ok(Exit::Yes);
    }
    let line = config.endpoint_lines.get(&name).copied().unwrap_or(0);
    output.line(&format!(
        "{}  {} {}  ({}:{line})",
        output.paint(Paint::Strong, name.as_str()),
        endpoint.spec.methods.join(","),
        endpoint.spec.path,
        config.file.display()
    ));
    output.line(&format!("phase       {}", phase_text(endpoint)));
    if let Some(state) = live.table.endpoints.get(&name) {
        let since = ago(control::now_ms().saturating_sub(state.stamp.since_ms));
        output.line(&format!(
            "since       {since} by {}",
            who_why(&state.stamp.by, &state.stamp.reason)
        ));
    }
    output.line(&format!(
        "compared    {}, {} confirmed to differ",
        thousands(seen.compared()),
        thousands(seen.confirmed())
    ));
    if endpoint.kind == EndpointKind::Read {
        output.line(&format!("next        {}", endpoint.phase.next().join(", ")));
    }
    Ok(Exit::Yes)
}

/// A request as typed.
struct Request<'a> {
    method: &'a str,
    url: &'a str,
    headers: &'a [String],
    address: &'a str,
}

async fn why(config: &Config, request: &Request<'_>, output: &Output) -> Result<Exit, Failure> {
    let mut headers = Vec::new();
    for header in request.headers {
        let Some((name, value)) = header.split_once(':') else {
            return Err(Failure::new(
                "banyan::usage",
                Exit::Usage,
                format!("header `{header}` has no colon"),
            )
            .hint("-H 'Name: value'"));
        };
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    let path = path_of(request.url);
    let live = live(config).await?;
    let head = RequestHead {
        method: &request.method.to_ascii_uppercase(),
        path: path.as_bytes(),
        headers: &headers,
        address: request.address,
        upgrade: false,
        forced: None,
        sample: 0,
    };
    match decide(&live.compiled, &head, &|_, _| false) {
        Outcome::Route(decision) => {
            explain(config, request, &live, &decision, output);
            Ok(Exit::Yes)
        }
        Outcome::Refuse(refused) => {
            if output.is_json() {
                output.json(
                    "banyan.route.why/1",
                    &json!({ "refused": refused.to_string(), "status": 400 }),
                    &[],
                );
            } else {
                output.line(&format!(
                    "{} {} -> refused with 400: {refused}",
                    request.method, request.url
                ));
            }
            Ok(Exit::No)
        }
    }
}

/// The path of a target or whole URL, without the query.
fn path_of(url: &str) -> &str {
    let rest = match url.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
        None => url,
    };
    rest.split(['?', '#']).next().unwrap_or(rest)
}

fn explain(
    config: &Config,
    request: &Request<'_>,
    live: &Live,
    decision: &Decision,
    output: &Output,
) {
    let mirror = match decision.mirror {
        Mirror::To(side) => format!(", then mirrored to {side} for comparison"),
        Mirror::Sampled => ", outside the mirror sample".to_owned(),
        Mirror::Pinned | Mirror::Off => String::new(),
    };
    let up_to_date = live
        .instances
        .iter()
        .filter(|i| i.live && i.report.applied >= live.table.generation)
        .count();
    let alive = live.instances.iter().filter(|i| i.live).count();
    if output.is_json() {
        let data = json!({
            "endpoint": decision.endpoint,
            "context": decision.context,
            "kind": decision.kind.as_str(),
            "phase": decision.phase,
            "side": decision.side,
            "mirror": match decision.mirror { Mirror::To(side) => Some(side), Mirror::Sampled | Mirror::Pinned | Mirror::Off => None },
            "reason": decision.why(),
            "generation": decision.generation,
            "proxies": { "applied": up_to_date, "of": alive },
        });
        output.json("banyan.route.why/1", &data, &[]);
        return;
    }
    let matched = decision.endpoint.as_ref().map_or_else(
        || "(nothing declared)".to_owned(),
        |name| {
            let line = config.endpoint_lines.get(name).copied().unwrap_or(0);
            let path = config.catalogue.endpoint(name).map_or("", |spec| spec.path.as_str());
            format!("{name}   ({}:{line}, pattern {path})", config.file.display())
        },
    );
    output.line(&format!("{} {} -> {matched}", request.method, request.url));
    output.line(&format!("{} -> answered by {}{mirror}", decision.why(), decision.side));
    output.line(&format!(
        "decided from generation {}, same on {up_to_date}/{alive} proxies",
        decision.generation
    ));
}

#[cfg(test)]
mod tests {
    use super::path_of;

    #[test]
    fn a_url_or_a_target_gives_its_path() {
        assert_eq!(path_of("http://host:80/a/b?c#d"), "/a/b");
        assert_eq!(path_of("/a?b"), "/a");
        assert_eq!(path_of("http://host"), "/");
    }
}
