//! Setting a replay up, and summing it up.
//!
//! Owns what makes two runs the same replay, the engine's settings, and the report's endpoints. What must stay true: a
//! redacted recording is compared under its own key only; a resumed run has the settings of the first.

use crate::keeper::Keeper;
use crate::redact::Redactor;
use crate::replay::{Baseline, Finished, ReplayConfig, ReplayError, Run, TICK_MS};
use crate::route::Routes;
use crate::scan::Scanned;
use crate::side::{OpenExchanges, Patient, Sides};
use banyan_domain::{Compiled, ContextName, EndpointKind, EndpointName, Generation, Phase, Side};
use banyan_shadow::{
    CapacityConfig, Clock, Declared, Direct, EndpointConfig, HttpAsk, HttpConfig, Outcome, Ports,
    Shadow, SideLimits,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A redactor, when answers must be compared with a redacted recording.
pub(crate) fn redactor(
    config: &ReplayConfig,
    scanned: &Scanned,
) -> Result<Option<Redactor>, ReplayError> {
    let Some(head) = &scanned.head else { return Ok(None) };
    if !head.redacted || config.baseline != Baseline::Recorded {
        return Ok(None);
    }
    let redactor = Redactor::new(config.shadow.redaction.clone());
    let given = redactor.key();
    if given != head.key {
        return Err(ReplayError::OtherKey { recorded: head.key.clone(), given });
    }
    Ok(Some(redactor))
}

/// What makes two runs the same replay.
pub(crate) fn identity(config: &ReplayConfig) -> BTreeMap<String, String> {
    let files = config.files.iter().map(|file| {
        let length = std::fs::metadata(file).map_or(0, |about| about.len());
        format!("{} ({length} bytes)", file.display())
    });
    let selection = &config.selection;
    let endpoints: Vec<&str> = selection.endpoints.iter().map(EndpointName::as_str).collect();
    let baseline = match &config.baseline {
        Baseline::Url(url) => url.clone(),
        Baseline::Recorded => "recorded".to_owned(),
    };
    let pairs = [
        ("recording", files.collect::<Vec<_>>().join(", ")),
        ("against", config.against.clone()),
        ("baseline", baseline),
        ("percent", selection.percent.get().to_string()),
        ("limit", selection.limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string())),
        ("session key", format!("{:?}", selection.session_key)),
        ("endpoints", endpoints.join(", ")),
    ];
    let pairs = pairs.map(|(what, value)| (what.to_owned(), value)).into_iter();
    pairs.chain(config.identity.clone()).collect()
}

pub(crate) fn start(
    mut config: ReplayConfig,
    routes: &Routes,
    redactor: Option<Redactor>,
    open: OpenExchanges,
    keeper: &Arc<Keeper>,
    clock: Arc<dyn Clock>,
) -> Result<(Run, Shadow), ReplayError> {
    let contexts = contexts(routes);
    let baseline = match &config.baseline {
        Baseline::Url(url) => Some(url.clone()),
        Baseline::Recorded => None,
    };
    let http = HttpConfig {
        legacy_url: baseline.clone().unwrap_or_else(|| config.against.clone()),
        new_urls: contexts.into_iter().map(|name| (name, config.against.clone())).collect(),
        connect_timeout_ms: config.timeout_ms.min(5_000),
        timeout_ms: config.timeout_ms,
        body_bytes_max: config.body_bytes_max,
    };
    let sides = Arc::new(Sides {
        http: HttpAsk::new(&http)?,
        recorded: baseline.is_none(),
        open: open.clone(),
        redactor: redactor.clone(),
    });
    config.shadow.http = http;
    let side = CapacityConfig { at_once: config.concurrency, ..CapacityConfig::default() };
    config.shadow.sides = SideLimits { legacy: side, new: side, contexts: BTreeMap::new() };
    config.shadow.flush_ms = TICK_MS;
    // The state keeps the first ones.
    config.shadow.samples_per_minute = u32::MAX;
    for (name, template) in routes.inferred() {
        let rules = config.shadow.rules.for_endpoint(name.as_str());
        let endpoint = EndpointConfig { rules, template: Some(template.clone()), version: None };
        config.shadow.endpoints.insert(name.clone(), endpoint);
    }
    let ports = Ports {
        store: keeper.clone(),
        plan: Arc::new(|_: &EndpointName, _: Side, _: Generation| true),
        lag: None,
        observer: None,
        clock: clock.clone(),
        seed: clock.now_ms(),
    };
    let addresses = [baseline.as_deref().and_then(address), address(&config.against)];
    let patient = Patient::new(sides.clone(), clock.clone(), addresses, config.give_up_ms);
    let (direct, shadow) =
        Direct::start(config.shadow.clone(), sides, &ports, CancellationToken::new());
    let host = authority(baseline.as_deref().unwrap_or(&config.against));
    Ok((Run { config, direct, patient, open, redactor, clock, host }, shadow))
}

fn contexts(routes: &Routes) -> Vec<ContextName> {
    let declared = routes.compiled().into_iter().flat_map(Compiled::contexts);
    let declared = declared.map(|context| context.spec.name.clone());
    declared.chain(routes.inferred().keys().map(EndpointName::context)).collect()
}

/// Host and port of a base URL.
fn address(url: &str) -> Option<(String, u16)> {
    let (scheme, _) = url.split_once("://")?;
    let authority = authority(url)?;
    let default = if scheme == "https" { 443 } else { 80 };
    let split = authority.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
    let (host, port) = match split {
        Some((host, port)) => (host.to_owned(), port.parse().unwrap_or(default)),
        None => (authority, default),
    };
    Some((host.trim_matches(['[', ']']).to_owned(), port))
}

fn authority(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    rest.split(['/', '?']).next().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// What was found, with what was left out beforehand.
pub(crate) fn finished(
    run: &Run,
    routes: &Routes,
    keeper: &Keeper,
    scanned: Scanned,
    resumed: u64,
) -> Finished {
    let mut summary = keeper.summary();
    for ((endpoint, reason), count) in &scanned.left_out {
        let outcomes = &mut summary.endpoints.entry(endpoint.clone()).or_default().outcomes;
        let skipped = outcomes.entry(Outcome::Skipped.as_str().to_owned()).or_default();
        *skipped.entry((*reason).to_owned()).or_insert(0) += *count;
    }
    let wanted = |name: &EndpointName| {
        let only = &run.config.selection.endpoints;
        // What is left over of the paths may be nothing; of that nothing need be proven.
        let exists = !Routes::is_rest(name) || summary.endpoints.contains_key(name);
        exists && (only.is_empty() || only.contains(name))
    };
    let read = |endpoint: EndpointName| Declared {
        endpoint,
        kind: EndpointKind::Read,
        phase: Phase::Shadow,
    };
    let declared = routes.compiled().into_iter().flat_map(Compiled::endpoints);
    let declared = declared.filter(|endpoint| endpoint.kind == EndpointKind::Read);
    let declared = declared.map(|endpoint| endpoint.spec.name.clone());
    let names = declared.chain(routes.inferred().keys().cloned());
    let done = keeper.done();
    let mut warnings = scanned.warnings.clone();
    warnings.extend(keeper.warning());
    let declared = names.filter(wanted).map(read).collect();
    Finished {
        summary,
        declared,
        done,
        stopped: done < scanned.selected,
        scanned,
        resumed,
        warnings,
    }
}
