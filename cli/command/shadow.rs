//! `banyan shadow report|gate|rules`; `diff` has a file of its own.

mod rules;
mod suggest;

use crate::args::{Evidence, ShadowCommand};
use crate::config::{Config, value};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::wiring::{advice, control, shadow};
use banyan_domain::Compiled;
use banyan_report::{Gate, GateVerdict, Report, Style, render_gate, render_terminal};
use banyan_shadow::{Declared, Period, assemble};
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
        ShadowCommand::Report(evidence) => {
            let report = build(config, evidence, None).await?;
            if output.is_json() {
                output.json("banyan.shadow.report/1", &report, &[]);
            } else {
                output.line(render_terminal(&report, style()).trim_end());
            }
            Ok(Exit::Yes)
        }
        ShadowCommand::Gate { evidence, max_mismatch_percent } => {
            let report = build(config, evidence, *max_mismatch_percent).await?;
            let verdict = report.verdict();
            if output.is_json() {
                let endpoints: Vec<_> = report
                    .endpoints
                    .iter()
                    .map(|e| {
                        json!({
                            "endpoint": e.endpoint,
                            "gate": e.gate,
                            "compared": e.compared,
                            "distinct": e.distinct_requests,
                            "mismatched": e.mismatched,
                        })
                    })
                    .collect();
                output.json(
                    "banyan.shadow.gate/1",
                    &json!({ "verdict": verdict, "endpoints": endpoints }),
                    &[],
                );
            } else {
                output.line(render_gate(&report, style()).trim_end());
            }
            Ok(match verdict {
                GateVerdict::Pass => Exit::Yes,
                GateVerdict::Fail { .. } => Exit::No,
                GateVerdict::Inconclusive { .. } => Exit::Inconclusive,
            })
        }
        ShadowCommand::Record(args) => super::record::run(config, args, output).await,
        // These need no configuration; `command::run` has started them before it read one.
        ShadowCommand::Import(_) | ShadowCommand::Replay(_) => Ok(Exit::Usage),
    }
}

fn style() -> Style {
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    Style { colour, ..Style::plain() }
}

async fn build(
    config: &Config,
    evidence: &Evidence,
    budget: Option<f64>,
) -> Result<Report, Failure> {
    let now_ms = control::now_ms();
    let since_ms = evidence.since.as_deref().map(|text| since(text, now_ms)).transpose()?;
    let budget = budget.unwrap_or(config.shadow.max_mismatch_percent);
    let gate = Gate::from_target(100.0 - budget, config.shadow.confidence_percent / 100.0)
        .map_err(|error| {
            Failure::new("banyan::shadow::gate", Exit::Usage, error.to_string())
                .hint("--max-mismatch-percent 0.1, or shadow.max-mismatch-percent in banyan.toml")
        })?;
    for name in &evidence.endpoints {
        super::flip::endpoint(config, name)?;
    }
    let store = control::look(config).await?;
    let table = store.table().await.map_err(|error| control::store_failure(&error))?;
    let stored =
        store.shadow_summary(since_ms).await.map_err(|error| control::store_failure(&error))?;
    let found =
        store.shadow_advice(since_ms).await.map_err(|error| control::store_failure(&error))?;
    let compiled = Compiled::new(&config.catalogue, &table).map_err(|_| {
        Failure::new("banyan::config::invalid", Exit::Config, "routes conflict")
            .hint("banyan check")
    })?;
    let wanted =
        |name: &str| evidence.endpoints.is_empty() || evidence.endpoints.iter().any(|e| e == name);
    let declared: Vec<Declared> = compiled
        .endpoints()
        .iter()
        .filter(|endpoint| wanted(endpoint.spec.name.as_str()))
        .map(|e| Declared { endpoint: e.spec.name.clone(), kind: e.kind, phase: e.phase })
        .collect();
    let period = Period { generated_ms: now_ms, since_ms };
    let summary = shadow::summary(config, stored)?;
    let mut report = assemble(&summary, gate, &declared, period);
    report.rules = shadow::rule_reports(config, &summary, now_ms);
    advice::fill(config, &found, &mut report);
    Ok(report)
}

/// `24h` ago, or Unix milliseconds.
pub(super) fn since(text: &str, now_ms: u64) -> Result<u64, Failure> {
    if let Ok(ms) = text.parse::<u64>() {
        return Ok(ms);
    }
    let ago = value::duration_ms(text)
        .map_err(|rule| Failure::new("banyan::usage", Exit::Usage, format!("`--since`: {rule}")))?;
    Ok(now_ms.saturating_sub(ago))
}
