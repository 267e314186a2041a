//! `banyan shadow report|gate|rules`; `diff` has a file of its own.
//!
//! Owns the way from the store to a judged report. What must stay true: the same evidence gives the same verdict in both; the
//! exit code of `gate` is the verdict.

mod rules;
mod suggest;

use super::publish::{exit, publish};
use crate::args::{Demand, Evidence, GateArgs, Proof, ReportArgs, ReportFiles, ShadowCommand};
use crate::config::{Config, value};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::wiring::{advice, control, shadow};
use banyan_control::ControlStore;
use banyan_domain::Compiled;
use banyan_report::{
    BaseUrls, Bound, Gate, JSON_SCHEMA, Report, Style, render_gate, render_terminal,
};
use banyan_shadow::{Declared, Period, Summary, assemble};
use serde_json::json;
use std::io::IsTerminal;

pub(crate) async fn run(
    config: &Config,
    command: &ShadowCommand,
    output: &Output,
) -> Result<Exit, Failure> {
    match command {
        ShadowCommand::Diff(args) => super::diff::run(args, output).await,
        ShadowCommand::Rules(command) => rules::run(config, command, output).await,
        ShadowCommand::Noise(command) => super::noise::run(config, command, output).await,
        ShadowCommand::Templates(args) => super::template::run(config, args, output).await,
        ShadowCommand::Report(args) => report(config, args, output).await,
        ShadowCommand::Gate(args) => gate(config, args, output).await,
        ShadowCommand::Record(args) => super::record::run(config, args, output).await,
        // These need no configuration; `command::run` has started them before it read one.
        ShadowCommand::Import(_) | ShadowCommand::Replay(_) => Ok(Exit::Usage),
    }
}

/// The documented form of the report; needs no configuration.
pub(crate) fn schema(output: &Output) -> Exit {
    output.line(JSON_SCHEMA.trim_end());
    Exit::Yes
}

async fn report(config: &Config, args: &ReportArgs, output: &Output) -> Result<Exit, Failure> {
    let report = build(config, &args.evidence, &Demand::default()).await?;
    let terminal = || render_terminal(&report, style());
    let json = |output: &Output| output.json("banyan.shadow.report/1", &report, &[]);
    publish(&report, &args.files, output, terminal, json)?;
    Ok(Exit::Yes)
}

async fn gate(config: &Config, args: &GateArgs, output: &Output) -> Result<Exit, Failure> {
    let report = build(config, &args.evidence, &args.demand).await?;
    publish_gate(&report, &args.files, output)?;
    Ok(exit(report.verdict()))
}

/// A report as a gate shows it: a line per endpoint.
pub(crate) fn publish_gate(
    report: &Report,
    files: &ReportFiles,
    output: &Output,
) -> Result<(), Failure> {
    let endpoint = |e: &banyan_report::EndpointReport| {
        json!({
            "endpoint": e.endpoint,
            "gate": e.gate,
            "compared": e.compared,
            "distinct": e.distinct_requests,
            "mismatched": e.mismatched,
            "proven_percent": e.proven_percent,
        })
    };
    let terminal = || render_gate(report, style());
    publish(report, files, output, terminal, |output| {
        let endpoints: Vec<_> = report.endpoints.iter().map(endpoint).collect();
        let data = json!({
            "verdict": report.verdict(),
            "gate": report.gate,
            "coverage": report.coverage,
            "endpoints": endpoints,
        });
        output.json("banyan.shadow.gate/1", &data, &[]);
    })
}

pub(crate) fn style() -> Style {
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if colour { Style::coloured() } else { Style::plain() }
}

/// The gate that was asked for; what was not said comes from the configuration, if there is one.
///
/// # Errors
/// Exit 2 when its numbers are impossible.
pub(crate) fn demanded(config: Option<&Config>, proof: &Proof) -> Result<Gate, Failure> {
    let default = Gate::default();
    let budget = || config.map(|config| config.shadow.max_mismatch_percent);
    let budget = proof.max_mismatch_percent.or_else(budget);
    let target = proof.target.or_else(|| budget.map(|percent| 100.0 - percent));
    let confidence =
        proof.confidence.or_else(|| config.map(|config| config.shadow.confidence_percent));
    let confidence = confidence.map_or(default.confidence, |percent| percent / 100.0);
    let gate = Gate::from_target(target.unwrap_or(default.target_percent), confidence)
        .and_then(|gate| gate.with_min_coverage(proof.min_coverage))
        .map_err(|error| {
            Failure::new("banyan::shadow::gate", Exit::Usage, error.to_string()).hint(
                "--target 99.9 --confidence 95, or shadow.max-mismatch-percent in banyan.toml",
            )
        })?;
    let gate = gate.with_min_compared(proof.min_compared.unwrap_or(1));
    Ok(Gate { max_lag_p99_ms: proof.max_lag_p99, ..gate })
}

pub(crate) async fn build(
    config: &Config,
    evidence: &Evidence,
    demand: &Demand,
) -> Result<Report, Failure> {
    let now_ms = control::now_ms();
    let since_ms =
        evidence.since.as_deref().map(|text| beginning(text, now_ms, demand)).transpose()?;
    let gate = Gate {
        bound: if demand.watched { Bound::Watched } else { Bound::Once },
        quiet_for_ms: demand.quiet_for,
        ..demanded(Some(config), &demand.proof)?
    };
    quiet_fits(gate, now_ms, since_ms)?;
    for name in &evidence.endpoints {
        super::flip::endpoint(config, name)?;
    }
    let store = control::look(config).await?;
    let table = store.table().await.map_err(|error| control::store_failure(&error))?;
    let found =
        store.shadow_advice(since_ms).await.map_err(|error| control::store_failure(&error))?;
    let compiled = Compiled::new(&config.catalogue, &table).map_err(|_| {
        Failure::new("banyan::config::invalid", Exit::Config, "routes conflict")
            .hint("banyan check")
    })?;
    let summary = summary(config, &*store, gate, now_ms, since_ms).await?;
    let wanted =
        |name: &str| evidence.endpoints.is_empty() || evidence.endpoints.iter().any(|e| e == name);
    let declared: Vec<Declared> = compiled
        .endpoints()
        .iter()
        .filter(|endpoint| wanted(endpoint.spec.name.as_str()))
        .map(|e| Declared { endpoint: e.spec.name.clone(), kind: e.kind, phase: e.phase })
        .collect();
    let period = Period { generated_ms: now_ms, since_ms };
    let mut report = assemble(&summary, gate, &declared, period);
    report.rules = shadow::rule_reports(&config.shadow.rules, &summary, now_ms);
    advice::fill(config, &found, &mut report);
    Ok(report.with_replay(|name| urls(config, name)))
}

/// What the store knows, and what happened in the time that has to be quiet.
async fn summary(
    config: &Config,
    store: &dyn ControlStore,
    gate: Gate,
    now_ms: u64,
    since_ms: Option<u64>,
) -> Result<Summary, Failure> {
    let failed = |error| control::store_failure(&error);
    let stored = store.shadow_summary(since_ms).await.map_err(failed)?;
    let mut summary = shadow::summary(config, stored)?;
    if let Some(quiet_ms) = gate.quiet_for_ms {
        let since_ms = Some(now_ms.saturating_sub(quiet_ms));
        let lately = store.shadow_summary(since_ms).await.map_err(failed)?;
        for (name, seen) in shadow::summary(config, lately)?.endpoints {
            let entry = summary.endpoints.entry(name).or_default();
            entry.recent.tried_while_quiet = seen.compared();
        }
    }
    Ok(summary)
}

/// Where both sides of an endpoint can be asked.
fn urls(config: &Config, endpoint: &str) -> Option<BaseUrls> {
    let (context, _) = endpoint.split_once('.')?;
    let places = config.contexts.iter().find(|(name, _)| name.as_str() == context)?.1;
    Some(BaseUrls { legacy: config.proxy.legacy.clone(), new: places.new.clone() })
}

/// `24h` ago, a moment in RFC 3339, or Unix milliseconds.
pub(crate) fn since(text: &str, now_ms: u64) -> Result<u64, Failure> {
    let usage = |message: String| Failure::new("banyan::usage", Exit::Usage, message);
    if let Ok(ms) = text.parse::<u64>() {
        return Ok(ms);
    }
    if let Ok(moment) = chrono::DateTime::parse_from_rfc3339(text) {
        return u64::try_from(moment.timestamp_millis())
            .map_err(|_| usage("`--since` must not lie before 1970".to_owned()));
    }
    let ago = value::duration_ms(text)
        .map_err(|rule| usage(format!("`--since`: {rule}, or a moment in RFC 3339")))?;
    Ok(now_ms.saturating_sub(ago))
}

/// The beginning of the evidence; that of a watched gate must not move with the clock.
fn beginning(text: &str, now_ms: u64, demand: &Demand) -> Result<u64, Failure> {
    let from_ms = since(text, now_ms)?;
    if !demand.watched || value::duration_ms(text).is_err() {
        return Ok(from_ms);
    }
    let moment = i64::try_from(from_ms).ok().and_then(chrono::DateTime::from_timestamp_millis);
    let moment = moment.map(|m| m.to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
    let message =
        format!("a watched gate needs a fixed beginning, `--since {text}` moves with the clock");
    Err(Failure::new("banyan::usage", Exit::Usage, message)
        .hint(format!("--since {}", moment.unwrap_or_default())))
}

/// What has to be quiet must have been looked at.
fn quiet_fits(gate: Gate, now_ms: u64, since_ms: Option<u64>) -> Result<(), Failure> {
    let (Some(quiet_ms), Some(since_ms)) = (gate.quiet_for_ms, since_ms) else { return Ok(()) };
    if now_ms.saturating_sub(quiet_ms) >= since_ms {
        return Ok(());
    }
    let message = "`--quiet-for` reaches further back than `--since`";
    Err(Failure::new("banyan::usage", Exit::Usage, message).hint("give an earlier --since"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched() -> Demand {
        Demand { watched: true, ..Demand::default() }
    }

    #[test]
    fn beginnings_can_be_ages_moments_and_milliseconds() {
        let now_ms = 1_402_570_800_000;
        let at = |text| since(text, now_ms).unwrap();
        assert_eq!(at("1h"), 1_402_567_200_000);
        assert_eq!(at("2014-06-12T12:00:00+02:00"), 1_402_567_200_000);
        assert_eq!(at("1402567200000"), 1_402_567_200_000);
        assert_eq!(since("soon", now_ms).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn a_watched_gate_refuses_a_beginning_that_moves() {
        let failure = beginning("1h", 1_402_570_800_000, &watched()).unwrap_err();
        assert_eq!(failure.hint.as_deref(), Some("--since 2014-06-12T10:00:00Z"));
        assert!(beginning("1402567200000", 1_402_570_800_000, &watched()).is_ok());
    }

    #[test]
    fn a_quiet_time_longer_than_the_period_is_refused() {
        let gate = Gate { quiet_for_ms: Some(60_000), ..Gate::default() };
        assert!(quiet_fits(gate, 100_000, Some(40_000)).is_ok());
        assert!(quiet_fits(gate, 100_000, None).is_ok());
        assert_eq!(quiet_fits(gate, 100_000, Some(40_001)).unwrap_err().exit, Exit::Usage);
    }
}
