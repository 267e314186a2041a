//! `banyan events doctor`.

use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Paint, columns};
use crate::wiring::events;
use banyan_events::doctor::{self, Finding, Level};
use banyan_events::forwarder::ForwarderConfig;
use serde_json::json;

pub(super) async fn run(
    config: &Config,
    settings: &ForwarderConfig,
    output: &Output,
) -> Result<Exit, Failure> {
    let management = config.events.as_ref().and_then(|events| events.management.as_deref());
    let found = doctor::examine(settings, management).await;
    let findings = found.map_err(|error| events::failure(&error))?;
    if output.is_json() {
        output.json("banyan.events.doctor/1", &json!({ "findings": findings }), &[]);
    } else {
        output.lines(&columns(&rows(&findings, output)));
        for finding in findings.iter().filter(|finding| !finding.hint.is_empty()) {
            output.note(&format!("{}: {}", finding.check, finding.hint));
        }
    }
    Ok(exit(&findings))
}

fn rows(findings: &[Finding], output: &Output) -> Vec<Vec<String>> {
    let paint = |level: Level| match level {
        Level::Ok => Paint::Good,
        Level::Warn | Level::Unknown => Paint::Warn,
        Level::Fail => Paint::Bad,
    };
    let row = |finding: &Finding| {
        vec![
            output.paint(paint(finding.level), finding.level.as_str()),
            finding.check.to_owned(),
            finding.found.clone(),
        ]
    };
    findings.iter().map(row).collect()
}

fn exit(findings: &[Finding]) -> Exit {
    let any = |level: Level| findings.iter().any(|finding| finding.level == level);
    match (any(Level::Fail), any(Level::Unknown)) {
        (true, _) => Exit::No,
        (false, true) => Exit::Inconclusive,
        (false, false) => Exit::Yes,
    }
}
