//! `banyan events parity`.
//!
//! Owns what is asked and how the answer is written. What must stay true: the exit code is the verdict.

use crate::args::{ParityArgs, ParityDemand};
use crate::command::publish::{exit, one_on_stdout, publish};
use crate::command::shadow::{since, style};
use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, thousands};
use crate::wiring::control;
use crate::wiring::parity::{self, Look, Wish};
use banyan_events::forwarder::ForwarderConfig;
use banyan_parity::Finding;
use banyan_report::{Gate, render_terminal};
use serde_json::json;

pub(super) async fn run(
    config: &Config,
    settings: &ForwarderConfig,
    args: &ParityArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let context = super::super::flip::context(config, &args.context)?;
    one_on_stdout(&args.files, output)?;
    let from_ms = i64::try_from(since(&args.since, control::now_ms())?).unwrap_or(i64::MAX);
    let default = crate::config::events::Parity::default();
    let own = config.contexts.get(&context).map_or(&default, |places| &places.events.parity);
    let window_ms = args.window.unwrap_or(own.window_ms);
    // A shorter window than the file's makes its limit of lateness meaningless, not wrong.
    let late_max_ms = args.late_max.unwrap_or_else(|| own.late_max_ms.min(window_ms));
    if late_max_ms > window_ms {
        let what = "--late-max is longer than the window: nothing would be late";
        return Err(Failure::new("banyan::usage", Exit::Usage, what)
            .hint("give a longer --window, or a shorter --late-max"));
    }
    let gate = demanded(config, &args.demand)?;
    let wish = Wish { context, from_ms, window_ms, late_max_ms, gate, rows_max: None };
    let look = parity::look(config, settings, &wish).await?;
    let terminal = || text(&look);
    let report = &look.report;
    publish(report, &args.files, output, terminal, |output| {
        let data = json!({
            "context": wish.context,
            "verdict": report.verdict(),
            "period": look.span,
            "counts": look.outcome.counts,
            "report": report,
        });
        output.json("banyan.events.parity/1", &data, &[]);
    })?;
    Ok(exit(report.verdict()))
}

fn demanded(config: &Config, demand: &ParityDemand) -> Result<Gate, Failure> {
    let budget = demand.max_mismatch_percent.unwrap_or(config.shadow.max_mismatch_percent);
    let confidence = demand.confidence.unwrap_or(config.shadow.confidence_percent) / 100.0;
    let gate = Gate::from_target(100.0 - budget, confidence)
        .and_then(|gate| gate.with_min_coverage(demand.min_coverage))
        .map_err(|error| {
            Failure::new("banyan::usage", Exit::Usage, error.to_string()).hint(
                "--max-mismatch-percent 0.1 --confidence 95, or shadow.max-mismatch-percent in banyan.toml",
            )
        })?;
    Ok(demand.min_compared.into_iter().fold(gate, Gate::with_min_compared))
}

/// The report, and below it the numbers over all types.
fn text(look: &Look) -> String {
    let counts = &look.outcome.counts;
    let mut lines =
        vec![render_terminal(&look.report, style()).trim_end().to_owned(), String::new()];
    lines.push(format!(
        "legacy published {}, new {}: {} pairs, {} mismatch, {} pending, {} undecided",
        thousands(counts.legacy),
        thousands(counts.new),
        thousands(counts.pairs),
        thousands(counts.mismatched),
        thousands(counts.pending),
        thousands(counts.unknown),
    ));
    let found: Vec<String> = Finding::ALL
        .into_iter()
        .filter_map(|kind| {
            let count = look.outcome.found(kind);
            (count > 0).then(|| format!("{} {}", kind.as_str(), thousands(count)))
        })
        .collect();
    if !found.is_empty() {
        lines.push(format!("findings: {}", found.join(", ")));
    }
    lines.extend(hints(look));
    lines.join("\n")
}

fn hints(look: &Look) -> Vec<String> {
    let counts = &look.outcome.counts;
    let mut hints = Vec::new();
    if look.report.endpoints.iter().any(|of| of.inconclusive > 0) && counts.unknown > counts.pairs {
        hints.push(
            "hint: most events lack a part of the key: set `parity-key` of the context, e.g. [\"type\", \"/subject/id\"]"
                .to_owned(),
        );
    }
    if look.span.read_until_ms.is_none() && counts.legacy + counts.new > 0 {
        hints.push(
            "hint: a raw queue was never seen empty: let the forwarder run until both are"
                .to_owned(),
        );
    }
    if look.span.trimmed {
        hints.push(
            "hint: begin later with --since, or compare more often than the log is trimmed"
                .to_owned(),
        );
    }
    hints
}
